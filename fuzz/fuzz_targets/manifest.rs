//! Manifests of model versions.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("manifest"), |bytes: &[u8]| {
    hostile::within(hostile::kind("manifest"), bytes);
});
