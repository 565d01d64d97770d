//! JSON messages: a record for each, and each as if it had come alone.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("json"), |bytes: &[u8]| {
    hostile::within(hostile::kind("json"), bytes);
});
