//! Protobuf bodies in Confluent's frame, the index of the message included.
#![no_main]

use std::cell::RefCell;

use kolk::format::{Decoder, law};

thread_local!(static DECODER: RefCell<Box<dyn Decoder>> = RefCell::new(law::protobuf()));

libfuzzer_sys::fuzz_target!(|bodies: Vec<Vec<u8>>| {
    let payloads: Vec<Vec<u8>> = bodies.iter().map(|body| law::in_frame(body)).collect();
    DECODER.with_borrow_mut(|decoder| law::alone_as_together(decoder.as_mut(), &payloads)).unwrap();
});
