//! A pipeline file and the files that it includes, as one tree.
//!
//! Lives here: `include`, sections whose names begin with `x-`, and the order in which all of that happens. Each file
//! is read as YAML, sections of `x-` are dropped, and included files are merged beneath the file that includes them.
//! Only then variables are expanded, so what isn't used needs no variable. Must not live here: any other word of the
//! file; which fields exclude each other comes from the table.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use super::document::PIPELINE;
use super::expand::Expander;
use super::table::Shape;
use super::words::{Words, found};
use super::yaml::{self, Fault, Kind, Lines, Node};
use super::{MAX_BYTES, hint, one_line, problem};
use crate::problem::Place;
use crate::{Error, Result};

/// Files that a pipeline may consist of; one that is included twice counts twice.
const MAX_FILES: usize = 100;

/// The word at the top of a file.
pub(super) const INCLUDE: &str = "include";
/// What the names of sections begin with that only hold anchors.
pub(super) const EXTENSION: &str = "x-";

/// The files of one pipeline.
pub(super) struct Files<'a, 'b> {
    expander: &'a mut Expander<'b>,
    /// What is wrong, besides what the expander has found.
    pub faults: Vec<Fault>,
    /// One of them couldn't be read.
    pub is_missing: bool,
    /// The files that are being read, each included by the one before it: as they really are, and as they are shown.
    chain: Vec<(PathBuf, String)>,
    files: usize,
}

impl<'a, 'b> Files<'a, 'b> {
    /// None read so far.
    pub fn new(expander: &'a mut Expander<'b>) -> Self {
        Files { expander, faults: Vec::new(), is_missing: false, chain: Vec::new(), files: 0 }
    }

    /// Reads the text of the pipeline file and all that it includes; variables are not expanded yet. `None`: there is
    /// nothing in it.
    ///
    /// # Errors
    /// One of them is not YAML.
    pub fn whole(&mut self, text: &str, file: &Path) -> Result<Option<Node>> {
        self.read(text, file, None)
    }

    fn read(&mut self, text: &str, file: &Path, included: Option<&'static Path>) -> Result<Option<Node>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            return Err(Error::refused(format!("{}: larger than 1 MiB, this is not a pipeline file", file.display())));
        }
        if let Some(at) = text.find('\0') {
            return Err(problem(file, Lines::end(&text[..at]), "this is not a text file: it holds a zero byte"));
        }
        let (root, faults) =
            yaml::read(text, included).map_err(|(at, message)| problem(file, at, message + hint(text, at)))?;
        self.faults.extend(faults);
        let Some(root) = root.filter(|root| !root.is_null()) else { return Ok(None) };
        let real = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
        self.chain.push((real, file.display().to_string()));
        let merged = self.merged(root, file);
        self.chain.pop();
        merged.map(Some)
    }

    /// The tree of a file over those of the files that it includes.
    fn merged(&mut self, root: Node, file: &Path) -> Result<Node> {
        let Kind::Map(pairs) = &root.kind else { return Ok(root) };
        let named = |key: &Node, is: fn(&str) -> bool| key.text().is_some_and(is);
        if !pairs.iter().any(|(key, _)| named(key, |name| name == INCLUDE || name.starts_with(EXTENSION))) {
            return Ok(root);
        }
        let mut own = Vec::new();
        let mut beneath: Option<Node> = None;
        for (key, value) in pairs.iter() {
            if named(key, |name| name == INCLUDE) {
                for node in self.included(value, file)? {
                    beneath = Some(match beneath {
                        Some(before) => over(before, node, Some(&PIPELINE)),
                        None => node,
                    });
                }
            } else if !named(key, |name| name.starts_with(EXTENSION)) {
                own.push((key.clone(), value.clone()));
            }
        }
        let own = Node { place: root.place, kind: Kind::Map(Rc::new(own)) };
        Ok(match beneath {
            Some(beneath) => over(beneath, own, Some(&PIPELINE)),
            None => own,
        })
    }

    /// The trees of what `include` names.
    fn included(&mut self, value: &Node, file: &Path) -> Result<Vec<Node>> {
        let items: &[Node] = match &value.kind {
            Kind::List(items) => items,
            _ => std::slice::from_ref(value),
        };
        let mut nodes = Vec::new();
        for item in items {
            match self.one(item, file)? {
                Ok(node) => nodes.extend(node),
                Err(message) => {
                    self.is_missing = true;
                    self.faults.extend(message.map(|message| (item.place, format!("`{INCLUDE}`: {message}"))));
                }
            }
        }
        Ok(nodes)
    }

    /// One included file; the inner error is a problem of the `include` itself, if there isn't one already.
    fn one(&mut self, item: &Node, file: &Path) -> Result<std::result::Result<Option<Node>, Option<String>>> {
        let refused = |message: String| Ok(Err(Some(message)));
        let mut item = item.clone();
        self.expander.expand_all(&mut item);
        let path = match &item.kind {
            Kind::Scalar(scalar) if scalar.broken => return Ok(Err(None)),
            Kind::Scalar(scalar) if !scalar.text.is_empty() && !item.is_null() && !scalar.text.contains("://") => {
                file.parent().unwrap_or(Path::new("")).join(&scalar.text)
            }
            _ => return refused(format!("expected the path of a file, or a list of them, found {}", found(&item))),
        };
        let shown = one_line(&path.display().to_string());
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => {
                return refused(format!("{shown}: {error} (a path is relative to the file that includes it)"));
            }
        };
        if let Some(start) = self.chain.iter().position(|(other, _)| *other == real) {
            let chain: Vec<&str> = self.chain[start..].iter().map(|(_, shown)| shown.as_str()).collect();
            return refused(format!("a file can't include itself: {} → {shown}", chain.join(" → ")));
        }
        self.files += 1;
        if self.files > MAX_FILES {
            return refused(format!("more than {MAX_FILES} files are included"));
        }
        let bytes = match regular(&real) {
            Ok(bytes) => bytes,
            Err(error) => return refused(format!("{shown}: {error}")),
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
                return Err(problem(&path, Lines::end(&before), "this is not UTF-8"));
            }
        };
        let node = self.read(&text, &path, Some(kept(&path)))?;
        if let Some(node) = node.as_ref().filter(|node| !matches!(node.kind, Kind::Map(_))) {
            return Err(problem(
                &path,
                node.place,
                format_args!("expected sections of a pipeline, found {}", found(node)),
            ));
        }
        Ok(Ok(node))
    }
}

/// The content of a regular file.
fn regular(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("this is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The path for places, which live as long as the process: a pipeline has few files, and is read a few times.
fn kept(path: &Path) -> &'static Path {
    static KEPT: Mutex<BTreeSet<&'static Path>> = Mutex::new(BTreeSet::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(path) {
        return known;
    }
    let path: &'static Path = Box::leak(path.to_path_buf().into_boxed_path());
    kept.insert(path);
    path
}

/// One tree over another: mappings are merged, anything else is replaced. Where fields exclude each other, the one that
/// is written above replaces the others.
fn over(beneath: Node, above: Node, words: Option<&'static Words>) -> Node {
    let (Kind::Map(lower), Kind::Map(upper)) = (&beneath.kind, &above.kind) else { return above };
    let has = |name: &str| upper.iter().any(|(key, _)| key.text() == Some(name));
    let is_excluded = |name: &str| {
        let choices = words.map_or(&[][..], |words| words.choices);
        !has(name) && choices.iter().any(|choice| choice.of.contains(&name) && choice.of.iter().any(|other| has(other)))
    };
    let mut pairs = Vec::new();
    for (key, value) in lower.iter() {
        let Some(name) = key.text() else {
            pairs.push((key.clone(), value.clone()));
            continue;
        };
        match upper.iter().find(|(other, _)| other.text() == Some(name)) {
            Some((key, upper)) => {
                pairs.push((
                    key.clone(),
                    over(value.clone(), upper.clone(), words.and_then(|words| inner(words, name))),
                ));
            }
            None if is_excluded(name) => {}
            None => pairs.push((key.clone(), value.clone())),
        }
    }
    let is_new = |key: &Node| !lower.iter().any(|(other, _)| other.text().is_some() && other.text() == key.text());
    pairs.extend(upper.iter().filter(|(key, _)| is_new(key)).cloned());
    Node { place: above.place, kind: Kind::Map(Rc::new(pairs)) }
}

/// The section that a field of a section is.
fn inner(words: &'static Words, name: &str) -> Option<&'static Words> {
    let field = words.fields.iter().find(|field| field.name == name)?;
    match field.shape {
        Shape::Names(_) => None,
        shape => shape.sections().first().copied(),
    }
}

/// The folder that a path is relative to: that of the file in which it is written.
pub(super) fn folder_of(place: Place) -> Option<PathBuf> {
    let folder = place.file?.parent()?;
    std::path::absolute(if folder == Path::new("") { Path::new(".") } else { folder }).ok()
}
