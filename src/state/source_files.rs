//! The files of a source as state remembers them, and how a source may grow: by files behind those that were read.
//!
//! Lives here: what identifies a file, and the comparison of two lists. Must not live here: finding files (`source`).

use std::collections::HashMap;

use crate::error::counted;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Differences that are named, at most.
const NAMED: usize = 5;

/// A file as it was when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the source's folder, with `/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 of its footer, as hex.
    pub footer: String,
}

/// What a source reads from, in the order in which it is read. Kept as the list of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceFiles {
    /// The files.
    pub files: Vec<SourceFile>,
    /// What comes before a name in messages, such as `data/`.
    #[serde(skip)]
    pub folder: String,
    /// How many of the first files a hash stands for, where an earlier version kept no list.
    #[serde(skip)]
    pub hashed: Option<usize>,
}

/// SHA-256 over the names, lengths, rows and footers of the files, as versions kept it that had no list; `None` for a
/// footer that isn't hex.
fn hashes(files: &[SourceFile]) -> impl Iterator<Item = Option<String>> {
    let mut hash = Sha256::new();
    files.iter().map(move |file| {
        hash.update((file.name.len() as u64).to_le_bytes());
        hash.update(file.name.as_bytes());
        hash.update(file.bytes.to_le_bytes());
        hash.update(file.rows.to_le_bytes());
        let digits = file.footer.as_bytes().chunks_exact(2);
        let bytes: Option<Vec<u8>> =
            digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect();
        hash.update(bytes?);
        Some(hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    })
}

/// How many of the first files a hash of an earlier version stands for.
pub fn hashed(hash: &str, files: &[SourceFile]) -> Option<usize> {
    hashes(files).position(|of| of.as_deref() == Some(hash)).map(|last| last + 1)
}

impl SourceFiles {
    /// A file as messages name it.
    fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// The files that aren't among those of before, as messages name them.
    pub(super) fn new_since(&self, before: &[SourceFile]) -> Vec<String> {
        let there: HashMap<&str, ()> = before.iter().map(|file| (file.name.as_str(), ())).collect();
        self.files.iter().filter(|f| !there.contains_key(f.name.as_str())).map(|f| self.shown(&f.name)).collect()
    }

    /// What keeps reading from going on behind the files that were read: one that is changed, missing, or no longer in
    /// its place. Each a line.
    pub(super) fn differences(&self, read: &[SourceFile]) -> Vec<String> {
        let places: HashMap<&str, usize> = self.files.iter().enumerate().map(|(at, f)| (f.name.as_str(), at)).collect();
        let was: HashMap<&str, usize> = read.iter().enumerate().map(|(at, f)| (f.name.as_str(), at)).collect();
        let mut found = Vec::new();
        for before in read {
            let shown = self.shown(&before.name);
            match places.get(before.name.as_str()).map(|at| &self.files[*at]) {
                None => found.push(format!("{shown} was read and is missing")),
                Some(now) if now != before => found.push(format!("{shown} {}", changed(before, now))),
                Some(_) => {}
            }
        }
        // The place of the last one that was read: whatever is new has to come behind it.
        let last = read.iter().filter_map(|file| places.get(file.name.as_str())).max();
        let mut newest = 0;
        for file in last.map_or(&[][..], |last| &self.files[..=*last]) {
            let shown = self.shown(&file.name);
            match was.get(file.name.as_str()) {
                None => {
                    let next = last.map(|last| self.shown(&self.files[*last].name)).unwrap_or_default();
                    found.push(format!("{shown} is new and comes before {next}, which was read"));
                }
                Some(at) if *at < newest => {
                    let other = self.shown(&read[newest].name);
                    found.push(format!("{shown} was read before {other} and would now come after it"));
                }
                Some(at) => newest = *at,
            }
        }
        let more = found.len().saturating_sub(NAMED);
        found.truncate(NAMED);
        if more > 0 {
            found.push(format!("and {more} more"));
        }
        found
    }
}

/// What is different about a file.
fn changed(before: &SourceFile, now: &SourceFile) -> String {
    let both = |what: &str, before: u64, now: u64| {
        format!("was changed after it was read: it had {}, and has {now}", counted(before, what))
    };
    if before.rows != now.rows {
        both("row", before.rows, now.rows)
    } else if before.bytes != now.bytes {
        both("byte", before.bytes, now.bytes)
    } else {
        "was written again after it was read: its footer is another one".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, rows: u64) -> SourceFile {
        SourceFile { name: name.into(), bytes: rows * 10, rows, footer: "0a".repeat(32) }
    }

    fn source(files: &[SourceFile]) -> SourceFiles {
        SourceFiles { files: files.to_vec(), folder: "data/".into(), hashed: None }
    }

    #[test]
    fn a_source_grows_behind_what_was_read() {
        let (a, b, c, d) = (file("a", 1), file("b", 2), file("c", 3), file("d", 4));
        let read = [a.clone(), c.clone()];
        let grown = source(&[a.clone(), c.clone(), d.clone()]);
        assert_eq!(grown.differences(&read), [""; 0]);
        assert_eq!(grown.new_since(&read), ["data/d"]);
        assert_eq!(source(&read).differences(&[]), [""; 0]);

        let refused = |now: &[SourceFile]| source(now).differences(&read);
        assert_eq!(
            refused(&[a.clone(), b.clone(), c.clone()]),
            ["data/b is new and comes before data/c, which was read"]
        );
        assert_eq!(
            refused(&[b, c.clone()]),
            ["data/a was read and is missing", "data/b is new and comes before data/c, which was read"]
        );
        assert_eq!(
            refused(&[file("a", 9), c.clone()]),
            ["data/a was changed after it was read: it had 1 row, and has 9"]
        );
        let again = SourceFile { footer: "0b".repeat(32), ..c.clone() };
        assert_eq!(
            refused(&[a.clone(), again]),
            ["data/c was written again after it was read: its footer is another one"]
        );
        assert_eq!(refused(&[c, a, d]), ["data/a was read before data/c and would now come after it"]);
    }

    /// The text that versions without a list wrote, of one and of two files.
    #[test]
    fn a_hash_stands_for_the_first_files() {
        let files = [file("a.parquet", 3), file("b.parquet", 4), file("c.parquet", 5)];
        let of: Vec<Option<String>> = hashes(&files).collect();
        for (at, hash) in of.iter().enumerate() {
            assert_eq!(hashed(hash.as_deref().unwrap(), &files), Some(at + 1));
        }
        assert_eq!(hashed(of[1].as_deref().unwrap(), &files[..1]), None);
    }
}
