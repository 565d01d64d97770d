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

use std::hash::{BuildHasher, RandomState};
use std::io::{Error, Read, Result};
use std::path::Path;

/// The bytes of a file that has so many at most. What is no file (a device, a pipe) has no end.
///
/// # Errors
/// It can't be read, is no file or is larger.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    // To open a pipe would wait for somebody who writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::other("it is not a file"));
    }
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    match file.take(most + 1).read_to_end(&mut bytes)? as u64 > most {
        true => Err(Error::other(format!("it has more than {most} bytes, the most that is read"))),
        false => Ok(bytes),
    }
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
        assert!(read_file(&path, 9).unwrap_err().to_string().contains("more than 9 bytes"));
    }
}
