//! Bytes of messages as others write them: Confluent's frame, and the integers of Avro and Protobuf.

/// What is before a body: the id of its schema.
pub fn frame(id: u32) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes()].concat()
}

/// An integer of Avro, or a `sint` of Protobuf.
pub fn zigzag(number: i64, to: &mut Vec<u8>) {
    varint(((number << 1) ^ (number >> 63)) as u64, to);
}

/// An integer of Protobuf.
pub fn varint(mut rest: u64, to: &mut Vec<u8>) {
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}
