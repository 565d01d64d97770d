//! YAML as a tree of nodes, each with its place. Nothing here knows a word of the pipeline file.
//!
//! Built from the parser's events, one after the other, so that depth and aliases are bounded before memory or the
//! stack is used, and duplicate fields are all found.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use super::words::{Plain, plain};
use crate::problem::Place;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

/// Maximum depth of lists and mappings.
pub(super) const MAX_DEPTH: usize = 64;
/// Maximum number of nodes; those that aliases repeat count each time.
pub(super) const MAX_NODES: usize = 100_000;

/// The name of a merge key.
const MERGE: &str = "<<";

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Rc<Vec<Node>>),
    Map(Rc<Vec<(Node, Node)>>),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// The value, variables expanded.
    pub text: String,
    /// Written without quotes: may be a number or a word as well as text.
    pub plain: bool,
    /// The text of the file if a variable was expanded: messages show this, since the value may be a secret.
    pub written: Option<String>,
    /// A variable was expanded whose name says that it holds a secret.
    pub secret: bool,
    /// A variable could not be expanded, which is already a problem: the value causes no further ones.
    pub broken: bool,
}

/// What is wrong with the text as YAML.
pub(super) type Fault = (Place, String);

impl Node {
    /// Whether nothing was written: `field:`, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(s) if s.plain && matches!(plain(&s.text), Plain::Nothing))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(&self.kind, Kind::List(_))
    }

    /// Whether a scalar is exactly as written, without variables.
    pub fn is_written(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.written.is_none() && !scalar.broken && !self.is_null())
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The value of a field of a mapping.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let Kind::Map(pairs) = &self.kind else { return None };
        pairs.iter().find(|(key, _)| key.text() == Some(name)).map(|(_, value)| value)
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(Node::count).sum(),
            Kind::Map(pairs) => pairs.iter().map(|(key, value)| key.count() + value.count()).sum(),
        }
    }

    fn depth(&self) -> usize {
        match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Kind::Map(pairs) => 1 + pairs.iter().map(|(k, v)| k.depth().max(v.depth())).max().unwrap_or(0),
        }
    }
}

/// Where and how a list or mapping that is still open began.
struct Open {
    place: Place,
    anchor: usize,
    is_map: bool,
    children: Vec<Node>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
    faults: Vec<Fault>,
}

/// Reads one YAML document; `file` is that of its places. Aliases and merge keys are resolved. Faults that don't hinder
/// reading on (duplicate fields) are listed in the second part; a fault that does is the error. `None` is an empty
/// document.
pub(super) fn read(text: &str, file: Option<&'static Path>) -> Result<(Option<Node>, Vec<Fault>), Fault> {
    let mut builder = Builder::default();
    let mut documents = 0;
    let lines = Lines::of(text);
    // The parser reports missing text beyond the end.
    let place = |marker: Marker| {
        let place = lines.clamp(Place::new(marker.line().max(1), marker.col() + 1));
        Place { file, ..place }
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            (place(*error.marker()), format!("this is not YAML: {}", super::shown(error.info(), 200)))
        })?;
        let at = place(span.start);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err((at, "a pipeline file holds one document, a second one starts here".into()));
                }
            }
            Event::SequenceStart(_, Some(tag)) | Event::MappingStart(_, Some(tag)) | Event::Scalar(.., Some(tag)) => {
                let tag = super::one_line(&tag.to_string());
                return Err((at, format!("tags such as {tag} have no meaning in a pipeline file")));
            }
            Event::SequenceStart(anchor, _) => builder.start(at, anchor, false)?,
            Event::MappingStart(anchor, _) => builder.start(at, anchor, true)?,
            Event::SequenceEnd | Event::MappingEnd => builder.end()?,
            Event::Scalar(value, style, anchor, None) => {
                let plain = style == ScalarStyle::Plain;
                let name = builder.name_waiting();
                let scalar = Scalar { text: value.into_owned(), plain, written: None, secret: false, broken: false };
                // A field without a value has no text to point at: the place is that of its name.
                let at = if plain && scalar.text.is_empty() { name.unwrap_or(at) } else { at };
                builder.add(Node { place: at, kind: Kind::Scalar(scalar) }, anchor)?;
            }
            Event::Alias(anchor) => builder.alias(at, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    Ok((builder.root, builder.faults))
}

impl Builder {
    fn start(&mut self, place: Place, anchor: usize, is_map: bool) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err((place, format!("lists and mappings are nested more than {MAX_DEPTH} deep")));
        }
        self.open.push(Open { place, anchor, is_map, children: Vec::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = if open.is_map {
            let mut pairs = Vec::with_capacity(open.children.len() / 2);
            let mut children = open.children.into_iter();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                pairs.push((key, value));
            }
            self.refuse_duplicates(&pairs);
            Kind::Map(Rc::new(self.merged(pairs)))
        } else {
            Kind::List(Rc::new(open.children))
        };
        self.add(Node { place: open.place, kind }, open.anchor)
    }

    fn refuse_duplicates(&mut self, pairs: &[(Node, Node)]) {
        let mut first: HashMap<&str, Place> = HashMap::new();
        for (key, _) in pairs {
            let Some(name) = key.text() else { continue };
            match first.get(name) {
                Some(at) => self.faults.push((
                    key.place,
                    format!("`{}` is written twice, first in line {}", super::one_line(name), at.line),
                )),
                None => drop(first.insert(name, key.place)),
            }
        }
    }

    /// Merge keys as YAML 1.1 has them: what `<<` names is added where it isn't written; of several mappings the first
    /// that has a field gives it.
    fn merged(&mut self, pairs: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
        let is_merge = |key: &Node| matches!(&key.kind, Kind::Scalar(key) if key.plain && key.text == MERGE);
        if !pairs.iter().any(|(key, _)| is_merge(key)) {
            return pairs;
        }
        let (merges, own): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| is_merge(key));
        let mut names: HashSet<String> = own.iter().filter_map(|(key, _)| key.text().map(String::from)).collect();
        let mut all = Vec::new();
        for (_, value) in merges {
            let items: &[Node] = match &value.kind {
                Kind::List(items) => items,
                _ => std::slice::from_ref(&value),
            };
            for item in items {
                let Kind::Map(fields) = &item.kind else {
                    let message = format!("`{MERGE}` takes a mapping, such as *anchor, or a list of mappings");
                    self.faults.push((item.place, message));
                    continue;
                };
                for (key, value) in fields.iter() {
                    if key.text().is_none_or(|name| names.insert(name.into())) {
                        all.push((key.clone(), value.clone()));
                    }
                }
            }
        }
        all.extend(own);
        all
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err((node.place, format!("more than {MAX_NODES} values, aliases counted each time")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), node.count()));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }

    /// What the anchor holds, at the place where it was written, so that a problem points at the text that is wrong.
    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), Fault> {
        let Some((node, count)) = self.anchors.get(&anchor).cloned() else {
            return Err((place, "an alias can't be inside the value that it names".into()));
        };
        self.nodes = self.nodes.saturating_add(count - 1);
        if self.open.len() + node.depth() > MAX_DEPTH {
            return Err((place, format!("lists and mappings are nested more than {MAX_DEPTH} deep")));
        }
        self.add(node, 0)
    }

    /// The place of the field's name whose value is next.
    fn name_waiting(&self) -> Option<Place> {
        let open = self.open.last().filter(|open| open.is_map && open.children.len() % 2 == 1)?;
        open.children.last().map(|name| name.place)
    }
}

/// Widths of the lines of a text, in characters.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Of a text whose lines end in any of the usual ways.
    pub fn of(text: &str) -> Self {
        let mut widths = vec![0];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\n' || (c == '\r' && chars.peek() != Some(&'\n')) {
                widths.push(0);
            } else if c != '\r'
                && let Some(width) = widths.last_mut()
            {
                *width += 1;
            }
        }
        // The end of the last line is not another line.
        if widths.len() > 1 && widths.last() == Some(&0) {
            widths.pop();
        }
        Lines(widths)
    }

    /// The place right after a text.
    pub fn end(text: &str) -> Place {
        let text = text.replace("\r\n", "\n");
        let line = text.matches(['\n', '\r']).count() + 1;
        let column = text.rsplit(['\n', '\r']).next().map_or(0, |last| last.chars().count()) + 1;
        Place::new(line, column)
    }

    /// The place, or the end of the text if it is beyond: the parser reports missing text there.
    pub fn clamp(&self, at: Place) -> Place {
        let last = self.0.len();
        let line = at.line.clamp(1, last);
        let end = self.0[line - 1] + 1;
        Place::new(line, if at.line > last { end } else { at.column.clamp(1, end) })
    }
}
