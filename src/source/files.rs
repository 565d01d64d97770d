//! The files of a source: a file, a folder, a glob, or the same by an object-store URL.
//!
//! Names are relative to where the search began, with `/`; files are in the order of these names. Hidden files and
//! those that start with `_` (`_SUCCESS`, `_temporary/`) are left out, as other readers of Parquet folders do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::tables;
use crate::config::{self, Location};
use crate::storage::{self, block_on, open_url};

/// A file of a source.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Relative to the folder (or the part of a glob without wildcards), with `/`.
    pub name: String,
    /// For messages: the whole path or URL.
    pub shown: String,
    /// Bytes.
    pub size: u64,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Disk(PathBuf),
    Store(Arc<dyn ObjectStore>, ObjectPath),
}

impl File {
    /// Opens the file; `blocks` says how many blocks of how many bytes are kept of a remote one.
    pub fn open(&self, blocks: (usize, usize)) -> std::io::Result<storage::File> {
        match &self.at {
            At::Disk(path) => storage::File::disk(std::fs::File::open(path)?),
            At::Store(store, path) => Ok(storage::File::store(store.clone(), path.clone(), self.size, blocks)),
        }
    }
}

/// The files of a list, in its order; or why one of them is none.
pub(super) fn listed(list: &[config::At<Location>], folder: &Path) -> Result<Vec<File>, String> {
    // A file that is named without a folder is in "", which has no absolute path.
    let here = std::path::absolute(folder.join(".")).unwrap_or_else(|_| folder.to_path_buf());
    let mut files: Vec<File> = Vec::with_capacity(list.len());
    for location in list {
        let location = location.0.as_str();
        let is_file = location.contains("://") || Path::new(location).is_file();
        if location.contains(WILDCARDS) && !is_file || Path::new(location).is_dir() {
            return Err(format!("{location} is a folder or a pattern: a list names files one by one"));
        }
        let found = match location.split_once("://") {
            Some(_) => find_in_store(location)?,
            None => find_on_disk(Path::new(location))?,
        };
        let [file] = &found[..] else { return Err(format!("{location} is a folder: a list names files one by one")) };
        let name = match Path::new(location).strip_prefix(&here) {
            Ok(below) => below.display().to_string(),
            Err(_) => file.shown.clone(),
        };
        if files.iter().any(|other| other.name == name) {
            return Err(format!("{location} is in the list twice"));
        }
        files.push(File { name, ..file.clone() });
    }
    Ok(files)
}

/// The files of a location, in order, or why there are none.
pub(super) fn find(location: &str) -> Result<Vec<File>, String> {
    let mut files = match location.split_once("://") {
        Some(_) => find_in_store(location)?,
        None => find_on_disk(Path::new(location))?,
    };
    files.sort_by(|a, b| a.name.split('/').cmp(b.name.split('/')));
    Ok(files)
}

fn find_on_disk(location: &Path) -> Result<Vec<File>, String> {
    let shown = location.display();
    match std::fs::metadata(location) {
        Ok(meta) if meta.is_file() => {
            let base = location.parent().unwrap_or(Path::new(""));
            return Ok(vec![on_disk(location, base, meta.len())]);
        }
        Ok(_) => {
            tables::refuse_on_disk(location)?;
            let mut files = Vec::new();
            walk(location, location, &mut files)
                .map_err(|e| format!("can't read the folder {shown}: {e}"))?
                .map_or(Ok(()), Err)?;
            return non_empty(files, || {
                format!("the folder {shown} holds no *.parquet file (names that start with \"_\" or \".\" don't count)")
            });
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("can't read {shown}: {e}")),
        Err(_) => {}
    }
    let text = location.to_str().ok_or_else(|| format!("{shown} isn't UTF-8"))?;
    let Some(wildcard) = text.find(WILDCARDS) else {
        return Err(format!("there is no file or folder {shown}"));
    };
    let (base, pattern) = text.split_at(text[..wildcard].rfind('/').map_or(0, |slash| slash + 1));
    tables::refuse_on_disk(Path::new(if base.is_empty() { "." } else { base }))?;
    let paths = glob::glob(text).map_err(|e| format!("{shown} isn't a pattern: {e}"))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| format!("can't read {}: {}", e.path().display(), e.error()))?;
        let meta = std::fs::metadata(&path).map_err(|e| format!("can't read {}: {e}", path.display()))?;
        let file = on_disk(&path, Path::new(base), meta.len());
        if meta.is_file() && is_wanted(pattern, &file.name) {
            files.push(file);
        }
    }
    // A wildcard may lead into tables.
    let mut folders: Vec<PathBuf> = Vec::new();
    for file in &files {
        let At::Disk(path) = &file.at else { continue };
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        if folders.last() != Some(&folder) && folder.as_os_str().len() > base.len() {
            folders.push(folder);
        }
    }
    folders.iter().try_for_each(|folder| tables::refuse_on_disk(folder))?;
    non_empty(files, || format!("no file matches {shown}"))
}

fn on_disk(path: &Path, base: &Path, size: u64) -> File {
    let parts: Vec<_> = path.strip_prefix(base).unwrap_or(path).iter().map(|part| part.to_string_lossy()).collect();
    File { name: parts.join("/"), shown: path.display().to_string(), size, at: At::Disk(path.to_path_buf()) }
}

/// Finds all files below a folder; or refuses a table that is among them.
fn walk(folder: &Path, base: &Path, files: &mut Vec<File>) -> std::io::Result<Option<String>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_hidden(&name) {
            continue;
        }
        let meta = std::fs::metadata(&path)?;
        if meta.is_dir() {
            if let Err(refused) = tables::refuse_one_on_disk(&path) {
                return Ok(Some(refused));
            }
            if let Some(refused) = walk(&path, base, files)? {
                return Ok(Some(refused));
            }
        } else if is_parquet(&name) {
            files.push(on_disk(&path, base, meta.len()));
        }
    }
    Ok(None)
}

fn find_in_store(location: &str) -> Result<Vec<File>, String> {
    // A wildcard isn't part of the URL: "?" would begin its query.
    let (base, pattern) = match location.find(WILDCARDS) {
        Some(wildcard) => location.split_at(location[..wildcard].rfind('/').map_or(0, |slash| slash + 1)),
        None => (location, ""),
    };
    let url = Url::parse(base).map_err(|e| format!("{base} isn't a URL: {e}"))?;
    let (store, path) = open_url(&url).map_err(|e| format!("can't use {base}: {e}"))?;
    let unanswered = |e: String| format!("can't read {location}: {e}");
    let failed = |e: object_store::Error| format!("can't read {location}: {e}");
    let file = |meta: ObjectMeta, base: &ObjectPath| {
        let parts = meta.location.prefix_match(base).into_iter().flatten();
        let name = parts.map(|part| part.as_ref().to_string()).collect::<Vec<_>>().join("/");
        File {
            shown: format!("{}/{name}", location_of(&url)),
            name,
            size: meta.size,
            at: At::Store(store.clone(), meta.location),
        }
    };
    if pattern.is_empty() && !path.as_ref().is_empty() {
        match within(store.head(&path)).map_err(unanswered)? {
            Ok(meta) => {
                let name = path.filename().unwrap_or_default().to_string();
                return Ok(vec![File { name, shown: location.to_string(), ..file(meta, &path) }]);
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let shown = |at: &ObjectPath| format!("{}://{}/{at}", url.scheme(), url.host_str().unwrap_or_default());
    tables::refuse_in_store(&*store, &path, shown)?;
    let filter = glob::Pattern::new(pattern).map_err(|e| format!("{location} isn't a pattern: {e}"))?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    let mut found = Vec::new();
    let mut folders = vec![path.clone()];
    while let Some(folder) = folders.pop() {
        let list = within(store.list_with_delimiter(Some(&folder))).map_err(unanswered)?.map_err(failed)?;
        tables::refuse_listed(&*store, &list, || shown(&folder))?;
        folders.extend(list.common_prefixes.into_iter().filter(|folder| {
            let name = folder.filename().unwrap_or_default();
            !is_hidden(name) || !pattern.is_empty()
        }));
        for meta in list.objects {
            let file = file(meta, &path);
            let wanted = if pattern.is_empty() {
                is_parquet(&file.name) && !file.name.split('/').any(is_hidden)
            } else {
                filter.matches_with(&file.name, options) && is_wanted(pattern, &file.name)
            };
            if wanted {
                found.push(file);
            }
        }
    }
    non_empty(found, || match pattern {
        "" => format!("{location} is neither an object nor does anything below it end in .parquet"),
        _ => format!("no object matches {location}"),
    })
}

/// The answer to a request, unless it takes long: a store tries again for minutes, someone who checks a pipeline
/// doesn't.
pub(super) fn within<F: Future>(request: F) -> Result<F::Output, String> {
    block_on(async { tokio::time::timeout(Duration::from_secs(30), request).await })
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("no answer ({e})"))
}

/// The URL without a trailing slash, a query or a password.
fn location_of(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

const WILDCARDS: [char; 3] = ['*', '?', '['];

fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

fn is_parquet(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet"))
}

/// Whether a match of a pattern counts: hidden names only where the pattern itself has a hidden name.
fn is_wanted(pattern: &str, name: &str) -> bool {
    pattern.split('/').any(is_hidden) || !name.split('/').any(is_hidden)
}

fn non_empty(files: Vec<File>, message: impl FnOnce() -> String) -> Result<Vec<File>, String> {
    if files.is_empty() { Err(message()) } else { Ok(files) }
}
