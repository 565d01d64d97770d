//! Checkpoints, deltas and manifests of state, also with their checksums made right.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("checkpoint"), |bytes: &[u8]| {
    hostile::within(hostile::kind("checkpoint"), bytes);
});
