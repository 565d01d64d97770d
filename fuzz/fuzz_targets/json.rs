//! JSON messages: a record for each, and each as if it had come alone.
#![no_main]

use std::cell::RefCell;

use kolk::format::{Decoder, law};

thread_local!(static DECODER: RefCell<Box<dyn Decoder>> = RefCell::new(law::json()));

libfuzzer_sys::fuzz_target!(|payloads: Vec<Vec<u8>>| {
    DECODER.with_borrow_mut(|decoder| law::alone_as_together(decoder.as_mut(), &payloads)).unwrap();
});
