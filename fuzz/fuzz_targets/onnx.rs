//! ONNX files: all that is done with one before ONNX Runtime gets it.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("onnx"), |bytes: &[u8]| {
    hostile::within(hostile::kind("onnx"), bytes);
});
