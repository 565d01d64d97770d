//! Whether a folder could be written, found out without leaving anything behind.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::unique_name;
use crate::config::Location;

/// Why a folder on disk can't be written; nothing is said of an object store.
///
/// # Errors
/// The reason, for people.
pub fn writable(location: &Location) -> Result<(), String> {
    match location.0.split_once("://") {
        Some(("file", path)) => writable_path(Path::new(path)),
        Some(_) => Ok(()),
        None => writable_path(Path::new(&location.0)),
    }
}

/// The same of a path.
///
/// # Errors
/// The reason, for people.
pub fn writable_path(folder: &Path) -> Result<(), String> {
    let refused = |error: Error| format!("the folder {} can't be written: {error}", folder.display());
    let path = std::path::absolute(folder).map_err(refused)?;
    // Where it isn't there, it would be made in the nearest folder that is.
    let there = nearest(&path).map_err(refused)?;
    if let Some(made) = nameless(&there) {
        return made.map_err(refused);
    }
    let probe = there.join(format!(".kolk-{}", unique_name()));
    OpenOptions::new().write(true).create_new(true).open(&probe).map_err(refused)?;
    std::fs::remove_file(&probe).map_err(refused)
}

/// Makes a file that has no name in the folder: of a process that is killed meanwhile nothing is left, which readers of
/// the folder would find. `None`: this file system has no such files.
#[cfg(target_os = "linux")]
fn nameless(folder: &Path) -> Option<Result<(), Error>> {
    use std::os::unix::fs::OpenOptionsExt;
    match OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder) {
        Ok(_) => Some(Ok(())),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => None,
        Err(error) => Some(Err(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn nameless(_: &Path) -> Option<Result<(), Error>> {
    None
}

fn nearest(path: &Path) -> Result<PathBuf, Error> {
    for folder in path.ancestors() {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => return Ok(folder.to_path_buf()),
            Ok(_) => return Err(Error::new(ErrorKind::NotADirectory, format!("{} is a file", folder.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::from(ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_made_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(writable_path(&root.path().join("a/b")), Ok(()));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        for below in ["file", "file/state", "file/state/deep"] {
            let why = writable_path(&root.path().join(below)).unwrap_err();
            assert!(why.contains("can't be written") && why.contains("file is a file"), "{why}");
        }
    }
}
