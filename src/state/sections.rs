//! The layout of state files, everything little-endian: eight magic bytes, format version (u32), the sections, and the
//! crc32 of everything before it. A section is its length (u64), its crc32 (u32) and its bytes.

/// What is wrong with bytes that were read.
pub(super) type Damage = String;

/// Begins a file of about `size` bytes.
pub(super) fn begin(magic: &[u8; 8], format: u32, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 256);
    out.extend_from_slice(magic);
    out.extend_from_slice(&format.to_le_bytes());
    out
}

/// Adds a section. Length and checksum are filled in once its bytes are written, so that nothing is copied twice.
pub(super) fn section(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    fill(out);
    let (head, bytes) = out[start..].split_at_mut(12);
    head[..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    head[8..].copy_from_slice(&crc32fast::hash(bytes).to_le_bytes());
}

/// Ends a file.
pub(super) fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let whole = crc32fast::hash(&out);
    out.extend_from_slice(&whole.to_le_bytes());
    out
}

/// The checksum of a file, for its name and manifest: that of all but the last four bytes, which are this very sum. (A
/// crc over bytes and their crc is the same for all bytes.)
pub(super) fn checksum(file: &[u8]) -> u32 {
    crc32fast::hash(&file[..file.len().saturating_sub(4)])
}

/// Adds words.
pub(super) fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    let start = out.len();
    out.resize(start + size_of_val(words), 0);
    let (places, _) = out[start..].as_chunks_mut();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

/// The words of a section.
pub(super) fn words<'a>(bytes: &'a [u8], name: &str) -> Result<impl Iterator<Item = u64> + use<'a>, Damage> {
    match bytes.as_chunks() {
        (words, []) => Ok(words.iter().map(|word| u64::from_le_bytes(*word))),
        _ => Err(format!("its {name} are truncated")),
    }
}

/// The sections of a file, read one after the other.
pub(super) struct Sections<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    /// A file that begins so and has this format.
    pub fn open(bytes: &'a [u8], magic: &[u8; 8], format: u32) -> Result<Self, Damage> {
        let mut sections = Sections { whole: bytes, rest: bytes };
        if sections.take(8)? != magic {
            return Err("it doesn't begin as a checkpoint of kolk does".into());
        }
        let found = sections.number(4)?;
        if found != u64::from(format) {
            return Err(format!("its format is {found}, this kolk reads {format}"));
        }
        Ok(sections)
    }

    /// The next section.
    pub fn next(&mut self, name: &str) -> Result<&'a [u8], Damage> {
        let length = usize::try_from(self.number(8)?).map_err(|_| "it ends too early")?;
        let crc = self.number(4)?;
        let bytes = self.take(length)?;
        if u64::from(crc32fast::hash(bytes)) != crc {
            return Err(format!("the checksum of its {name} doesn't match"));
        }
        Ok(bytes)
    }

    /// The end of the file.
    pub fn end(mut self) -> Result<(), Damage> {
        let body = self.whole.len() - self.rest.len();
        if self.number(4)? != u64::from(crc32fast::hash(&self.whole[..body])) {
            return Err("its checksum doesn't match".into());
        }
        if !self.rest.is_empty() {
            return Err(format!("{} bytes follow its end", self.rest.len()));
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, left) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = left;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u64, Damage> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_tell_files_apart() {
        let file = |words: &[u64]| {
            let mut out = begin(b"KOLKTEST", 1, 0);
            section(&mut out, |out| put_words(out, words));
            finish(out)
        };
        let (one, other) = (file(&[1]), file(&[2]));
        assert_ne!(checksum(&one), checksum(&other));
        assert_eq!(crc32fast::hash(&one), crc32fast::hash(&other), "which is why the last bytes are left out");
    }
}
