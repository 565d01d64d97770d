//! Files, folders and object stores: one opener for whatever is read or written by name.
//!
//! Lives here: a folder that is written whole file by whole file ([`Folder`]), random access to one file ([`File`]),
//! URLs and their credentials, and whether a folder could be written. Must not live here: what is in the files. No
//! other module opens an object store or looks for credentials.

mod file;
mod folder;
mod url;
mod writable;

pub use file::{DATA_BLOCK, FOOTER_BLOCKS, File};
pub use folder::Folder;
pub use url::{block_on, open_url, spawn};
pub use writable::{writable, writable_path};

use std::hash::{BuildHasher, RandomState};

/// A name that no other process has.
pub fn unique_name() -> String {
    // The standard library's seeds of hash tables are the randomness at hand.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
