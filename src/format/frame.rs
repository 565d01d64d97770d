//! Confluent's wire format: a magic byte 0, the id of the writer's schema in 4 bytes (big-endian), the body.

/// Confluent's frame: a zero byte, the id of the writer's schema, the body.
pub(super) fn frame(payload: &[u8]) -> std::result::Result<(u32, &[u8]), (&'static str, String)> {
    match payload {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [0, ..] => Err(("bad_frame", format!("{} bytes are too few for Confluent's frame", payload.len()))),
        [first, ..] => Err(("bad_frame", format!("expected Confluent's frame, which begins with 0, found {first}"))),
        [] => Err(("bad_frame", "no bytes".into())),
    }
}

/// The begin of a frame.
pub(super) fn put_frame(id: u32, to: &mut Vec<u8>) {
    to.push(0);
    to.extend_from_slice(&id.to_be_bytes());
}

/// JSON without what may come before it: the frame of a registry's JSON Schema, a byte-order mark.
pub fn json(payload: &[u8]) -> &[u8] {
    let payload = match payload {
        [0, _, _, _, _, body @ ..] => body,
        _ => payload,
    };
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}
