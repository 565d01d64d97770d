//! The source on real files.

mod files;
mod laws;
mod structs;
mod types;
