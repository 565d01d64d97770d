//! A folder on disk or in an object store, as state and sinks use it: whole files, put in place atomically.
//!
//! On disk every write is flushed to the device before it counts as done. All calls block; they may come from any
//! thread that isn't one of Tokio's own.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::url::{block_on, open_url};
use crate::config::Location;
use crate::error::Context;
use crate::{Error, Result};

/// Age from which the remains of a broken upload are considered abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder: a store and a prefix in it. Names are relative, with `/` between their parts.
#[derive(Debug, Clone)]
pub struct Folder {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
    local: Option<PathBuf>,
    #[cfg(test)]
    pub(crate) budget: Option<Arc<std::sync::atomic::AtomicI64>>,
}

impl Folder {
    /// The folder at a location. Nothing is created; a location that can't be one is refused.
    pub fn open(location: &Location) -> Result<Folder> {
        let text = location.0.as_str();
        let (store, prefix, local): (Arc<dyn ObjectStore>, Path, Option<PathBuf>) = match text.split_once("://") {
            Some((scheme, _)) if scheme != "file" => {
                let url = url::Url::parse(text).or_refused(|| format!("{text} is not a location"))?;
                let (store, prefix) = open_url(&url).or_refused(|| format!("cannot use the location {text}"))?;
                (store, prefix, None)
            }
            other => {
                let path = std::path::absolute(other.map_or(text, |(_, path)| path))
                    .or_refused(|| format!("{text} is not a location"))?;
                let prefix =
                    Path::from_absolute_path(resolved(path)).or_refused(|| format!("{text} is not a location"))?;
                // Tests can't simulate a power failure, so they need not wait for the disk.
                let disk = LocalFileSystem::new().with_fsync(!cfg!(test));
                (Arc::new(disk), prefix.clone(), on_disk(&prefix))
            }
        };
        Ok(Folder {
            store,
            prefix,
            shown: text.trim_end_matches('/').to_string(),
            local,
            #[cfg(test)]
            budget: None,
        })
    }

    /// As the user knows it, for messages.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> Folder {
        let prefix = self.path(name);
        let local = self.local.as_ref().and_then(|_| on_disk(&prefix));
        Folder { prefix, shown: format!("{}/{name}", self.shown), local, ..self.clone() }
    }

    /// Writes a file; it replaces an existing one.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.spend("write", name)?;
        let path = self.path(name);
        block_on(self.store.put(&path, PutPayload::from(bytes)))?
            .map(|_| ())
            .map_err(|e| self.failed("write", name, &e))
    }

    /// Creates a file; if it exists, returns false and writes nothing.
    pub fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.spend("write", name)?;
        let path = self.path(name);
        let put = self.store.put_opts(&path, PutPayload::from(bytes), PutOptions::from(PutMode::Create));
        match block_on(put)? {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(false),
            Err(e) => Err(self.failed("write", name, &e)),
        }
    }

    /// The content of a file, if it exists.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        match block_on(read)? {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("read", name, &e)),
        }
    }

    /// Length of a file in bytes, if it exists.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        match block_on(self.store.head(&self.path(name)))? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("read", name, &e)),
        }
    }

    /// Names of the files directly in it, sorted; none if it isn't there.
    pub fn files(&self) -> Result<Vec<String>> {
        Ok(self.list()?.0)
    }

    /// Names of the folders directly in it, sorted; none if it isn't there.
    pub fn folders(&self) -> Result<Vec<String>> {
        Ok(self.list()?.1)
    }

    fn list(&self) -> Result<(Vec<String>, Vec<String>)> {
        if self.local.as_ref().is_some_and(|local| !local.exists()) {
            return Ok(Default::default());
        }
        let listed = match block_on(self.store.list_with_delimiter(Some(&self.prefix)))? {
            Ok(listed) => listed,
            Err(StoreError::NotFound { .. }) => return Ok(Default::default()),
            Err(e) => return Err(self.failed("list", "", &e)),
        };
        let name = |path: &Path| path.filename().map(str::to_string);
        let mut files: Vec<String> = listed.objects.iter().filter_map(|object| name(&object.location)).collect();
        let mut folders: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        files.sort();
        folders.sort();
        Ok((files, folders))
    }

    /// Renames a file, in place of the one that may be at `to`; false if there is none at `from`.
    pub fn rename(&self, from: &str, to: &str) -> Result<bool> {
        self.spend("write", to)?;
        match block_on(self.store.rename(&self.path(from), &self.path(to)))? {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed("write", to, &e)),
        }
    }

    /// Deletes a file; a missing one is not an error.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.spend("delete", name)?;
        match block_on(self.store.delete(&self.path(name)))? {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("delete", name, &e)),
        }
    }

    /// Deletes everything in it, the files directly in it last, and on disk the folder itself.
    pub fn remove_all(&self) -> Result<()> {
        let (files, folders) = self.list()?;
        for name in folders {
            self.folder(&name).remove_all()?;
        }
        for name in files {
            self.remove(&name)?;
        }
        self.sweep(Duration::ZERO);
        self.remove_if_empty();
        Ok(())
    }

    /// Whether a file can be created in it: creates the folder, writes a file and deletes it. Refused if not.
    pub fn probe(&self) -> Result<()> {
        // Pods that start together do this at once, each as process 1; a store may refuse one of them for a moment.
        let name = format!("probe-{}", super::unique_name());
        let mut tries = if self.local.is_some() { 1 } else { 3 };
        loop {
            tries -= 1;
            match self.put(&name, b"kolk".to_vec()).and_then(|()| self.remove(&name)) {
                Ok(()) => return Ok(()),
                Err(_) if tries > 0 => std::thread::sleep(Duration::from_millis(500)),
                Err(e) => return Err(Error::refused(format!("{} can't be written to: {e}", self.shown))),
            }
        }
    }

    /// Deletes what uploads left that were killed long ago.
    pub fn sweep_abandoned(&self) {
        self.sweep(ABANDONED);
    }

    /// On disk, removes the folder if nothing is in it.
    pub fn remove_if_empty(&self) {
        if let Some(local) = &self.local {
            // It may hold something, or be gone: both are as they should be.
            let _ = std::fs::remove_dir(local);
        }
    }

    /// `object_store` uploads to `name#1` next to the file and never lists such names, so only this finds them.
    fn sweep(&self, age: Duration) {
        let Some(entries) = self.local.as_ref().and_then(|local| std::fs::read_dir(local).ok()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let upload = name.to_str().and_then(|name| name.rsplit_once('#'));
            let old = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() >= age);
            if upload.is_some_and(|(_, n)| n.parse::<u32>().is_ok()) && old {
                // Only space is lost if it stays.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn failed(&self, action: &str, name: &str, error: &dyn std::error::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        // On disk the innermost error has the system's own message; the outer ones repeat the path.
        while let (true, Some(inner)) = (self.local.is_some(), cause.source()) {
            cause = inner;
        }
        let name = if name.is_empty() { self.shown.clone() } else { format!("{}/{name}", self.shown) };
        Error::failed(format!("cannot {action} {name}: {cause}"))
    }

    /// In tests, writes can be given a number after which every one fails, as if the process had been killed.
    #[cfg(test)]
    fn spend(&self, action: &str, name: &str) -> Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        match &self.budget {
            Some(budget) if budget.fetch_sub(1, SeqCst) <= 0 => Err(Error::failed(format!("killed: {action} {name}"))),
            _ => Ok(()),
        }
    }

    #[cfg(not(test))]
    fn spend(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
}

impl Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Where the disk's own store has a folder.
fn on_disk(prefix: &Path) -> Option<PathBuf> {
    LocalFileSystem::new().path_to_filesystem(prefix).ok()
}

/// Resolves `..` after a symbolic link as the system does: the store would resolve it textually.
fn resolved(path: PathBuf) -> PathBuf {
    if !path.components().any(|part| part == std::path::Component::ParentDir) {
        return path;
    }
    for known in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (known.canonicalize(), path.strip_prefix(known)) {
            return real.join(rest);
        }
    }
    path
}
