//! Named numbers as bytes, with a checksum: what a training checkpoint is made of.
//!
//! Lives here: the form on disk. Must not live here: which numbers there are; each part of a training puts its own and
//! takes them back by the same names.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Begins every file; the number is the version of this form.
const MAGIC: &[u8; 16] = b"kolk training 1\n";
const CHECKSUM: usize = 32;

/// Numbers by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Bytes of each, with the width of its numbers.
    fields: BTreeMap<String, (u8, Vec<u8>)>,
}

/// A number that a record holds, as its little-endian bytes.
pub trait Number: Copy {
    /// Bytes of one.
    const WIDTH: u8;
    /// Adds its bytes.
    fn put(self, to: &mut Vec<u8>);
    /// It, of so many bytes.
    fn take(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Number for $type {
            const WIDTH: u8 = size_of::<$type>() as u8;

            fn put(self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }

            fn take(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                <$type>::from_le_bytes(own)
            }
        }
    )*};
}

number!(u8, f32, f64, u64);

impl Record {
    /// Puts numbers under a name that nothing else has.
    pub fn put<N: Number>(&mut self, name: &str, numbers: &[N]) {
        let mut bytes = Vec::with_capacity(numbers.len() * usize::from(N::WIDTH));
        numbers.iter().for_each(|number| number.put(&mut bytes));
        self.fields.insert(name.to_string(), (N::WIDTH, bytes));
    }

    /// Puts counts.
    pub fn put_counts(&mut self, name: &str, counts: &[usize]) {
        let counts: Vec<u64> = counts.iter().map(|count| *count as u64).collect();
        self.put(name, &counts);
    }

    /// Puts a text.
    pub fn put_text(&mut self, name: &str, text: &str) {
        self.put(name, text.as_bytes());
    }

    /// The numbers of a name.
    ///
    /// # Errors
    /// There are none, or of another width.
    pub fn take<N: Number>(&self, name: &str) -> Result<Vec<N>, String> {
        match self.fields.get(name) {
            Some((width, bytes)) if *width == N::WIDTH => {
                Ok(bytes.chunks_exact(usize::from(N::WIDTH)).map(N::take).collect())
            }
            Some((width, _)) => Err(format!("{name}: numbers of {width} bytes, expected {}", N::WIDTH)),
            None => Err(format!("{name} is missing")),
        }
    }

    /// So many numbers of a name, into `numbers`.
    ///
    /// # Errors
    /// As [`Record::take`]; another number of them.
    pub fn take_into<N: Number>(&self, name: &str, numbers: &mut [N]) -> Result<(), String> {
        let found = self.take::<N>(name)?;
        if found.len() != numbers.len() {
            return Err(format!("{name}: {} numbers, expected {}", found.len(), numbers.len()));
        }
        numbers.copy_from_slice(&found);
        Ok(())
    }

    /// So many counts of a name.
    ///
    /// # Errors
    /// As [`Record::take_into`].
    pub fn take_counts<const N: usize>(&self, name: &str) -> Result<[usize; N], String> {
        let mut counts = [0_u64; N];
        self.take_into(name, &mut counts)?;
        Ok(counts.map(|count| count as usize))
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Record::take`]; not UTF-8.
    pub fn take_text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.take::<u8>(name)?).map_err(|_| format!("{name} is no text"))
    }

    /// Whether a name is there.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The bytes of a file; the last ones are the sha256 of those before.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        (self.fields.len() as u64).put(&mut bytes);
        for (name, (width, numbers)) in &self.fields {
            (name.len() as u64).put(&mut bytes);
            bytes.extend(name.as_bytes());
            bytes.push(*width);
            (numbers.len() as u64).put(&mut bytes);
            bytes.extend(numbers);
        }
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);
        bytes
    }

    /// The record that a file's bytes are of.
    ///
    /// # Errors
    /// They are damaged, or of another form.
    pub fn parse(bytes: &[u8]) -> Result<Record, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("it is no training checkpoint of this version of kolk".into());
        }
        let damaged = || "it is damaged: its checksum is another".to_string();
        let end = bytes.len().checked_sub(CHECKSUM).filter(|end| *end >= MAGIC.len()).ok_or_else(damaged)?;
        let (content, checksum) = bytes.split_at(end);
        if Sha256::digest(content)[..] != *checksum {
            return Err(damaged());
        }
        read(&content[MAGIC.len()..]).ok_or_else(|| "it is damaged".into())
    }
}

/// What is between magic and checksum.
fn read(mut rest: &[u8]) -> Option<Record> {
    let mut record = Record::default();
    for _ in 0..length(&mut rest)? {
        let size = length(&mut rest)?;
        let name = std::str::from_utf8(rest.split_off(..size)?).ok()?;
        let width = *rest.split_off_first()?;
        let size = length(&mut rest)?;
        record.fields.insert(name.to_string(), (width, rest.split_off(..size)?.to_vec()));
    }
    rest.is_empty().then_some(record)
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::take(rest.split_off(..8)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::default();
        record.put("weights", &[1.5_f32, f32::NAN, -0.0]);
        record.put("losses", &[f64::INFINITY, 1e-300]);
        record.put_counts("epoch", &[3, 17]);
        record.put_text("plan", "a: 1\nb: ü");
        record.put::<f32>("empty", &[]);
        record
    }

    #[test]
    fn numbers_come_back_bit_by_bit() {
        let read = Record::parse(&record().bytes()).unwrap();
        assert_eq!(read, record());
        let weights: Vec<u32> = read.take::<f32>("weights").unwrap().iter().map(|w| w.to_bits()).collect();
        assert_eq!(weights, [1.5_f32, f32::NAN, -0.0].map(f32::to_bits));
        assert_eq!(read.take::<f64>("losses").unwrap(), [f64::INFINITY, 1e-300]);
        assert_eq!(read.take_counts("epoch"), Ok([3, 17]));
        assert_eq!(read.take_text("plan").unwrap(), "a: 1\nb: ü");
        assert!(read.has("empty") && !read.has("more"));
        assert_eq!(read.take::<f32>("more"), Err("more is missing".into()));
        assert_eq!(read.take::<f64>("weights"), Err("weights: numbers of 4 bytes, expected 8".into()));
        assert_eq!(read.take_counts::<1>("epoch"), Err("epoch: 2 numbers, expected 1".into()));
    }

    #[test]
    fn any_changed_or_missing_byte_is_found() {
        let bytes = record().bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Record::parse(&changed).is_err(), "byte {at}");
            assert!(Record::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(Record::parse(&[bytes, vec![0]].concat()).is_err());
    }
}
