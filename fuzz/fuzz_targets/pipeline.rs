//! Pipeline files: read, or told what is wrong.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = kolk::config::parse(text, Path::new("/p/p.yaml"));
});
