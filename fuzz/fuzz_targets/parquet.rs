//! Parquet files: found, planned and read as by a run.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("parquet"), |bytes: &[u8]| {
    hostile::within(hostile::kind("parquet"), bytes);
});
