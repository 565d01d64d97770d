//! Pipeline files: read, or refused with their problems.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = kolk::config::parse(text, Path::new("/p/p.yaml"));
});
