//! The source on real files.

mod files;
mod hostile;
mod laws;
mod structs;
mod types;
