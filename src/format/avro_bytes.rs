//! The parts that Avro's bytes are made of.

/// Takes that many bytes.
pub(super) fn taken<'a>(from: &mut &'a [u8], size: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = from.split_at_checked(size).ok_or("truncated")?;
    *from = rest;
    Ok(taken)
}

/// Takes bytes with their length before them.
pub(super) fn sized<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let size = zigzag(from)?;
    taken(from, usize::try_from(size).map_err(|_| format!("a length of {size}"))?)
}

/// Takes the number of one of these.
pub(super) fn chosen<'a, T>(all: &'a [T], from: &mut &[u8]) -> Result<&'a T, String> {
    let number = zigzag(from)?;
    let found = usize::try_from(number).ok().and_then(|number| all.get(number));
    found.ok_or_else(|| format!("number {number} of {} that the schema has", all.len()))
}

/// Takes an integer; the indexes before a Protobuf message are such integers too.
pub(super) fn zigzag(from: &mut &[u8]) -> Result<i64, String> {
    let mut found = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = taken(from, 1)?[0];
        found |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((found >> 1) as i64 ^ -((found & 1) as i64));
        }
    }
    Err("an integer of more than 64 bits".into())
}
