//! Protobuf: messages of known schemas, and of a schema that is in the bytes.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("protobuf"), |bytes: &[u8]| {
    hostile::within(hostile::kind("protobuf"), bytes);
});
