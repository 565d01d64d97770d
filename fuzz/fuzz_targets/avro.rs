//! Avro bodies in Confluent's frame, of a schema with types of all kinds and of a plain one.
#![no_main]

use std::cell::RefCell;

use kolk::format::{Decoder, law};

thread_local!(static DECODERS: RefCell<[Box<dyn Decoder>; 2]> = RefCell::new([law::avro(false), law::avro(true)]));

libfuzzer_sys::fuzz_target!(|input: (bool, Vec<Vec<u8>>)| {
    let (wide, bodies) = input;
    let payloads: Vec<Vec<u8>> = bodies.iter().map(|body| law::in_frame(body)).collect();
    DECODERS
        .with_borrow_mut(|decoders| law::alone_as_together(decoders[usize::from(wide)].as_mut(), &payloads))
        .unwrap();
});
