//! How far compressed bytes grow: found without the memory that they would take.

use std::io::{Cursor, Read};

use ::parquet::basic::Compression;

/// LZ4 makes at most so many bytes of one.
const LZ4: u64 = 255;
/// Pages of gzip are unpacked to be counted where they are larger than those that writers make. Of this many bytes it
/// makes 1 GiB at most.
const GZIP_UNCOUNTED: u64 = 1 << 20;
/// A block of Zstandard has at most so many bytes unpacked.
const ZSTD_BLOCK: u64 = 128 << 10;

/// Whether bytes may be more than `most` when they are unpacked, or would be. Snappy and LZ4 without frames only fill
/// the room that a page's header asks for.
pub(super) fn may_exceed(codec: Compression, packed: &[u8], most: u64) -> bool {
    let length = packed.len() as u64;
    match codec {
        Compression::ZSTD(_) => zstd(packed).is_none_or(|unpacked| unpacked > most),
        Compression::GZIP(_) => {
            length > GZIP_UNCOUNTED && exceeds(flate2::read::MultiGzDecoder::new(Cursor::new(packed)), most)
        }
        // A few bytes of it can be any number: only unpacking tells.
        Compression::BROTLI(_) => exceeds(brotli::Decompressor::new(packed, 4096), most),
        Compression::LZ4 => packed.starts_with(&[0x04, 0x22, 0x4d, 0x18]) && length.saturating_mul(LZ4) > most,
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::LZ4_RAW | Compression::LZO => false,
    }
}

/// Whether more than that can be read, which is read into no memory. What is wrong with it otherwise is said by the
/// library.
fn exceeds(mut from: impl Read, most: u64) -> bool {
    let mut buffer = vec![0; 64 << 10];
    let mut all = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(read) => all += read as u64,
        }
        if all > most {
            return true;
        }
    }
}

/// The most bytes that frames of Zstandard become: as many as their blocks may have. `None`: they aren't whole.
fn zstd(mut rest: &[u8]) -> Option<u64> {
    let mut all = 0_u64;
    while let Some((magic, after)) = rest.split_first_chunk::<4>() {
        let magic = u32::from_le_bytes(*magic);
        if magic & 0xffff_fff0 == 0x184d_2a50 {
            let (size, after) = after.split_first_chunk::<4>()?;
            rest = after.get(u32::from_le_bytes(*size) as usize..)?;
            continue;
        }
        if magic != 0xfd2f_b528 {
            // What isn't Zstandard isn't unpacked.
            break;
        }
        let (descriptor, after) = after.split_first()?;
        let is_single = descriptor & 0x20 != 0;
        let content = match descriptor >> 6 {
            0 => usize::from(is_single),
            power => 1 << power,
        };
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        rest = after.get(usize::from(!is_single) + dictionary + content..)?;
        loop {
            let (head, after) = rest.split_first_chunk::<3>()?;
            let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
            let (is_last, kind, size) = (head & 1 == 1, head >> 1 & 3, head >> 3);
            // A block of one byte that is repeated has that byte only.
            rest = after.get(if kind == 1 { 1 } else { size as usize }..)?;
            all += if kind == 2 { ZSTD_BLOCK } else { u64::from(size) };
            if is_last {
                break;
            }
        }
        let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
        rest = rest.get(checksum..)?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MANY: usize = 40 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        brotli::CompressorWriter::new(&mut packed, 4096, 5, 22).write_all(bytes).unwrap();
        packed
    }

    /// A frame of blocks that repeat a byte.
    fn zstd(blocks: usize) -> Vec<u8> {
        let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x70];
        for n in 0..blocks {
            let head = (ZSTD_BLOCK as u32) << 3 | 1 << 1 | u32::from(n + 1 == blocks);
            packed.extend(&head.to_le_bytes()[..3]);
            packed.push(b'x');
        }
        packed
    }

    #[test]
    fn what_would_grow_beyond_is_found_and_what_would_not_is_let_through() {
        let zeros = vec![0; MANY];
        let bombs = [
            (Compression::GZIP(Default::default()), gzip(&zeros).repeat(30), 30 * MANY),
            (Compression::BROTLI(Default::default()), brotli(&zeros), MANY),
            (Compression::ZSTD(Default::default()), zstd(MANY / ZSTD_BLOCK as usize), MANY),
        ];
        for (codec, packed, most) in bombs {
            assert!(packed.len() < most / 500, "{codec}: {}", packed.len());
            assert!(!may_exceed(codec, &packed, most as u64), "{codec}");
            assert!(may_exceed(codec, &packed, most as u64 - 1), "{codec}");
            // Cut off, it is for the library to say.
            may_exceed(codec, &packed[..packed.len() / 2], most as u64);
        }
        let two = [zstd(300), zstd(300)].concat();
        assert!(may_exceed(Compression::ZSTD(Default::default()), &two, 599 * ZSTD_BLOCK));
        assert!(!may_exceed(Compression::ZSTD(Default::default()), &two, 600 * ZSTD_BLOCK));
    }
}
