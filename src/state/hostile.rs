//! Bytes of others as state: for fuzzing, and for tests that change valid bytes. A file that was changed fails by its
//! checksum; so it is also read with checksums that were made right again. Only in tests and under fuzzing.

#![allow(clippy::expect_used)]

use super::chain::Entry;
use super::delta::{self, Outline};
use super::{Checkpoint, CommitPosition, Fingerprint, KeyList, Keys, Manifest, Pages};

/// Reads bytes as a checkpoint, as a delta, and as what lies beside them.
pub fn read(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes)] {
        if let Ok(found) = Checkpoint::decode(bytes) {
            let again = found.encode().expect("what was read can be written");
            assert_eq!(Checkpoint::decode(&again).map(|found| found.keys.len()).ok(), Some(found.keys.len()));
            for slot in 0..found.keys.len().min(100) {
                found.row(slot as u32).expect("a row");
            }
            let _ = Keys::from_list(found.keys.clone());
        }
        let _ = delta::apply(bytes, base());
    }
    let _ = serde_json::from_slice::<Entry>(bytes).map(|entry| (entry.place(), entry.bytes()));
    let _ = serde_json::from_slice::<Manifest>(bytes).map(|manifest| manifest.files_read(1, None));
    if let Ok(found) = serde_json::from_slice::<Fingerprint>(bytes) {
        let _ = found.changes(&Fingerprint::default());
        let _ = found.environment_changes(&Fingerprint::default());
    }
}

/// Valid bytes of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let (base, later) = (base(), later());
    let outline = Outline::of(&base).expect("rows").expect("a commit");
    let changed: Vec<usize> = (0..later.rows.resolve().expect("rows").numbers().count()).collect();
    let json = br#"{"version":2,"sections":{"source":{"a":1}},"environment":{},"partitions":2,"rows":[]}"#;
    vec![
        base.encode().expect("bytes"),
        later.encode().expect("bytes"),
        delta::encode(&later, &outline, &changed).expect("bytes"),
        json.to_vec(),
    ]
}

fn base() -> Checkpoint {
    made(3, 1)
}

fn later() -> Checkpoint {
    made(5, 2)
}

fn made(count: usize, sequence: u64) -> Checkpoint {
    let mut keys = KeyList::default();
    (0..count).for_each(|n| keys.push(format!("key-{n}").as_bytes()));
    let words: Vec<u64> = (0..count as u64 * 4).collect();
    let at = Some(CommitPosition { sequence, offset: 7, hash: 9 });
    Checkpoint { position: 10, keys, rows: Pages::from_words(4, &words).into(), at, ..Checkpoint::default() }
}

/// The same with lengths that don't go beyond the end, and checksums that are right.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let Some(end) = out.len().checked_sub(4) else { return out };
    let mut at = 12;
    while at + 12 <= end {
        let said = u64::from_le_bytes(out[at..at + 8].try_into().expect("8 bytes"));
        let length = said.min((end - at - 12) as u64) as usize;
        out[at..at + 8].copy_from_slice(&(length as u64).to_le_bytes());
        let sum = crc32fast::hash(&out[at + 12..at + 12 + length]);
        out[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
        at += 12 + length;
    }
    out.truncate(at.min(end));
    let whole = crc32fast::hash(&out);
    out.extend(whole.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_bytes_stay_valid_when_they_are_sealed() {
        for seed in &seeds()[..3] {
            assert_eq!(&sealed(seed), seed);
        }
        assert!(delta::apply(&seeds()[2], base()).is_ok());
    }

    #[test]
    fn rows_wider_than_memory_are_refused_by_their_header() {
        // Without keys there are no words either, so nothing else shows it.
        for words in [1_u64 << 61, 1 << 60, u64::MAX / 8] {
            let header = format!(r#"{{"position":1,"origin":null,"keys":0,"row_words":{words},"extra":{{}}}}"#);
            let mut out = super::super::sections::begin(b"KOLKCKPT", 1, 0);
            super::super::sections::section(&mut out, |out| out.extend_from_slice(header.as_bytes()));
            (0..3).for_each(|_| super::super::sections::section(&mut out, |_| {}));
            let bytes = super::super::sections::finish(out);
            let error = Checkpoint::decode(&bytes).unwrap_err().to_string();
            assert!(error.contains(&format!("its rows have {words} words")), "{error}");
        }
    }
}
