//! Weights of Keras and PyTorch, and NumPy arrays.
#![no_main]

use kolk::hostile;

#[global_allocator]
static COUNTING: hostile::Counting = hostile::Counting;

libfuzzer_sys::fuzz_target!(init: hostile::begin("weights"), |bytes: &[u8]| {
    hostile::within(hostile::kind("weights"), bytes);
});
