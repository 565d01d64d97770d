//! Files, folders and object stores: one opener for whatever is read or written by name.
//!
//! Lives here: a folder that is written whole file by whole file ([`Folder`]), random access to one file ([`File`]),
//! URLs and their credentials, and whether a folder could be written. Must not live here: what is in the files. No
//! other module opens an object store or looks for credentials.

mod file;
mod folder;
mod url;
mod writable;

pub use file::{DATA_BLOCK, FOOTER_BLOCKS, File, From as FileFrom};
pub use folder::Folder;
pub use url::{block_on, open_url, spawn};
pub use writable::{writable, writable_path};

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::{Error, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The bytes of a file that has so many at most. A pipe or a device, which have no end, is refused and not waited for.
///
/// # Errors
/// It can't be read, is no file or is larger.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    read(path, most, 0)
}

/// The same of a path that must not be a symbolic link.
///
/// # Errors
/// As [`read_file`]; a link.
pub fn read_file_itself(path: &Path, most: u64) -> Result<Vec<u8>> {
    let is_link = || std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    read(path, most, libc::O_NOFOLLOW).map_err(|error| match is_link() {
        true => Error::other("it is a symbolic link, which a signature doesn't cover: put the file there"),
        false => error,
    })
}

fn read(path: &Path, most: u64, flags: i32) -> Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Error::other("it is not a file"));
    }
    let too_large = |bytes: u64| Error::other(format!("it has {bytes} bytes, at most {most} are read"));
    if found.len() > most {
        return Err(too_large(found.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
    // It may grow meanwhile.
    file.by_ref().take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// A name that no other process has.
pub fn unique_name() -> String {
    // The standard library's seeds of hash tables are the randomness at hand.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_and_one_that_is_too_large_are_not_read() {
        assert!(read_file(Path::new("/dev/zero"), 10).unwrap_err().to_string().contains("not a file"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [1; 10]).unwrap();
        assert_eq!(read_file(&path, 10).unwrap(), [1; 10]);
        assert!(read_file(&path, 9).unwrap_err().to_string().contains("has 10 bytes, at most 9"));
        // A pipe that nobody writes to.
        let pipe = folder.path().join("pipe");
        let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
        #[allow(unsafe_code)]
        let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
        assert_eq!(made, 0);
        assert!(read_file(&pipe, 10).unwrap_err().to_string().contains("not a file"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read_file(&link, 10).unwrap(), [1; 10]);
        assert!(read_file_itself(&link, 10).unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(read_file_itself(&path, 10).unwrap(), [1; 10]);
    }
}
