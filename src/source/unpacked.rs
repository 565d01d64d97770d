//! How far compressed bytes grow: found without the memory that they would take.

use std::io::{Cursor, Read};

use ::parquet::basic::Compression;

/// LZ4 makes at most so many bytes of one.
const LZ4: u64 = 255;
/// Pages of gzip are unpacked to be counted where they are larger than those that writers make. Of this many bytes it
/// makes 1 GiB at most.
const GZIP_UNCOUNTED: u64 = 1 << 20;

/// Whether bytes may be more than `most` when they are unpacked, or would be. Snappy, Zstandard and LZ4 without
/// frames only fill the room that a page's header asks for.
pub(super) fn may_exceed(codec: Compression, packed: &[u8], most: u64) -> bool {
    let length = packed.len() as u64;
    match codec {
        Compression::GZIP(_) => {
            length > GZIP_UNCOUNTED && exceeds(flate2::read::MultiGzDecoder::new(Cursor::new(packed)), most)
        }
        // A few bytes of it can be any number: only unpacking tells.
        Compression::BROTLI(_) => exceeds(brotli::Decompressor::new(packed, 4096), most),
        Compression::LZ4 => {
            length.saturating_mul(LZ4) > most && exceeds(lz4_flex::frame::FrameDecoder::new(packed), most)
        }
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::ZSTD(_)
        | Compression::LZ4_RAW
        | Compression::LZO => false,
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

    /// A frame.
    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut to = lz4_flex::frame::FrameEncoder::new(Vec::new());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn what_would_grow_beyond_is_found_and_what_would_not_is_let_through() {
        let zeros = vec![0; MANY];
        let bombs = [
            (Compression::GZIP(Default::default()), gzip(&zeros).repeat(30), 30 * MANY),
            (Compression::BROTLI(Default::default()), brotli(&zeros), MANY),
            (Compression::LZ4, lz4(&zeros), MANY),
        ];
        for (codec, packed, most) in bombs {
            assert!(packed.len() < most / 200, "{codec}: {}", packed.len());
            assert!(!may_exceed(codec, &packed, most as u64), "{codec}");
            assert!(may_exceed(codec, &packed, most as u64 - 1), "{codec}");
            // Cut off, it is for the library to say.
            may_exceed(codec, &packed[..packed.len() / 2], most as u64);
        }
    }
}
