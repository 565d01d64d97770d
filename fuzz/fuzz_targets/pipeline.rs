//! Pipeline files and cards: read, or refused with their problems.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("pipeline"), |bytes: &[u8]| {
    hostile::within(hostile::kind("pipeline"), bytes);
});
