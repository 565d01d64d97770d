//! Reads the NumPy archives (`.npz`) of the reference models, for tests only.
//!
//! An `.npz` is a zip of `.npy` files, stored or deflated; `.npy` is a short text header and the values, little-endian.
//! A zip crate would bring ciphers and further compressors, and with them other features of shared dependencies.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// An array of an archive, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values, whatever their float or integer type in the file.
    pub data: Vec<f64>,
}

impl Array {
    /// The values as `f32`; exact for arrays that were `f32` in the file.
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|v| *v as f32).collect()
    }
}

/// All numeric arrays of an archive by name (without `.npy`); arrays of text are left out.
pub fn npz(path: impl AsRef<Path>) -> BTreeMap<String, Array> {
    let bytes = std::fs::read(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()));
    entries(&bytes)
        .into_iter()
        .filter_map(|(name, content)| Some((name.trim_end_matches(".npy").to_string(), npy(&content)?)))
        .collect()
}

/// Name and content of every file of a zip archive (APPNOTE 6.3.3, sections 4.3.7, 4.3.12, 4.3.16; no ZIP64 sizes in
/// the central directory: NumPy writes those only in the local headers).
fn entries(zip: &[u8]) -> Vec<(String, Vec<u8>)> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([zip[at], zip[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes([zip[at], zip[at + 1], zip[at + 2], zip[at + 3]]) as usize;
    let end = (0..=zip.len() - 22).rev().find(|at| zip[*at..].starts_with(b"PK\x05\x06")).expect("not a zip archive");
    let mut at = u32_at(end + 16);
    (0..u16_at(end + 10))
        .map(|_| {
            let (method, packed, unpacked) = (u16_at(at + 10), u32_at(at + 20), u32_at(at + 24));
            let (name_len, local) = (u16_at(at + 28), u32_at(at + 42));
            let name = String::from_utf8(zip[at + 46..at + 46 + name_len].to_vec()).expect("name in UTF-8");
            at += 46 + name_len + u16_at(at + 30) + u16_at(at + 32);
            let start = local + 30 + u16_at(local + 26) + u16_at(local + 28);
            let raw = &zip[start..start + packed];
            let mut content = Vec::with_capacity(unpacked);
            match method {
                0 => content.extend_from_slice(raw),
                8 => drop(flate2::read::DeflateDecoder::new(raw).read_to_end(&mut content).expect("deflate")),
                other => panic!("{name}: zip method {other}"),
            }
            assert_eq!(content.len(), unpacked, "{name}: cut short");
            (name, content)
        })
        .collect()
}

/// One `.npy` file (NEP 1), C order, of a little-endian float or integer type; `None` for text (`<U`).
fn npy(bytes: &[u8]) -> Option<Array> {
    assert!(bytes.starts_with(b"\x93NUMPY"), "not an .npy file");
    let (start, length) = match bytes[6] {
        1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        _ => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
    };
    let header = std::str::from_utf8(&bytes[start..start + length]).expect("header in UTF-8");
    let body = &bytes[start + length..];
    let after = |word: &str| header.split_once(word).unwrap_or_else(|| panic!("no {word} in {header}")).1;
    assert!(after("'fortran_order':").trim_start().starts_with("False"), "Fortran order: {header}");
    let shape = after("'shape':").split_once('(').and_then(|(_, s)| s.split_once(')')).expect("a shape").0;
    let shape: Vec<usize> =
        shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().expect("a size")).collect();
    let data: Vec<f64> = match after("'descr':").split('\'').nth(1) {
        Some("<f4") => body.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Some("<f8") => body.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Some("<i4") => body.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        Some("<i8") => body.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        Some(text) if text.starts_with("<U") => return None,
        other => panic!("type {other:?}"),
    };
    assert_eq!(data.len(), shape.iter().product::<usize>(), "values and shape: {header}");
    Some(Array { shape, data })
}

#[test]
fn reads_stored_and_deflated_archives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let stored = npz(folder.join("keras_rnn.npz"));
    assert_eq!((stored["x"].shape.as_slice(), stored["y"].shape.as_slice()), (&[256, 10, 1][..], &[256, 1][..]));
    assert!(stored["w1"].f32().iter().any(|weight| *weight != 0.0));
    let deflated = npz(folder.join("parity_keras_rnn.npz"));
    assert_eq!(deflated["loss"].shape, [100]);
    assert!(deflated["loss"].data.iter().all(|loss| loss.is_finite() && *loss > 0.0));
}
