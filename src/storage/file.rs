//! Random access to one file, on disk or in an object store, for the Parquet reader.
//!
//! Remote files are read by blocks of which only a few are kept, so that memory does not grow with the size of a row
//! group (the crate's own asynchronous reader loads whole column chunks).

use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::url::block_on;

/// Blocks of a remote file for its footer: how many, of how many bytes.
pub const FOOTER_BLOCKS: (usize, usize) = (2, 256 << 10);
/// Bytes of a block for reading data.
pub const DATA_BLOCK: usize = 4 << 20;

/// An open file; clones share it.
#[derive(Debug, Clone)]
pub struct File {
    size: u64,
    bytes: Arc<Backing>,
}

#[derive(Debug)]
enum Backing {
    Disk(std::fs::File),
    Store(Remote),
}

#[derive(Debug)]
struct Remote {
    store: Arc<dyn ObjectStore>,
    path: Path,
    block: u64,
    keep: usize,
    /// Index and bytes of the blocks used last, the newest at the end.
    blocks: Mutex<Vec<(u64, Bytes)>>,
}

impl File {
    /// A file of the disk.
    ///
    /// # Errors
    /// Its length can't be asked for.
    pub fn disk(file: std::fs::File) -> io::Result<Self> {
        Ok(File { size: file.metadata()?.len(), bytes: Arc::new(Backing::Disk(file)) })
    }

    /// An object of `size` bytes, of which `keep` blocks of `block` bytes are kept.
    pub fn store(store: Arc<dyn ObjectStore>, path: Path, size: u64, (keep, block): (usize, usize)) -> Self {
        let remote = Remote { store, path, block: block as u64, keep, blocks: Mutex::default() };
        File { size, bytes: Arc::new(Backing::Store(remote)) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        match self.bytes.as_ref() {
            Backing::Disk(file) => file.read_at(&mut buffer[..length], offset),
            Backing::Store(_) if length == 0 => Ok(0),
            Backing::Store(remote) => {
                let block = remote.block_at(offset / remote.block, self.size)?;
                let from = &block[(offset % remote.block) as usize..];
                let length = length.min(from.len());
                buffer[..length].copy_from_slice(&from[..length]);
                Ok(length)
            }
        }
    }
}

impl Remote {
    fn block_at(&self, index: u64, size: u64) -> io::Result<Bytes> {
        // The list stays whole whatever happened to another thread that held it.
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = blocks.iter().position(|(at, _)| *at == index) {
            let block = blocks.remove(found);
            blocks.push(block.clone());
            return Ok(block.1);
        }
        let start = index * self.block;
        let range = start..(start + self.block).min(size);
        let length = range.end - range.start;
        let bytes =
            block_on(self.store.get_range(&self.path, range)).map_err(io::Error::other)?.map_err(io::Error::other)?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if blocks.len() >= self.keep {
            blocks.remove(0);
        }
        blocks.push((index, bytes.clone()));
        Ok(bytes)
    }
}

/// Reads on from a place; the place is its own, so that several can be read at once.
pub struct From {
    input: File,
    offset: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Length for File {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for File {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> ::parquet::errors::Result<Self::T> {
        Ok(BufReader::new(From { input: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ::parquet::errors::Result<Bytes> {
        // A corrupt length must not make it ask for more memory than the file has bytes.
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the end of the file")));
        }
        let mut bytes = vec![0; length];
        From { input: self.clone(), offset: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_give_the_bytes_of_the_object() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let path = Path::from("x");
        block_on(store.put(&path, bytes.clone().into())).unwrap().unwrap();
        for (keep, block) in [(1, 7), (2, 64), (3, 1000), (1, 4096)] {
            let input = File::store(store.clone(), path.clone(), 1000, (keep, block));
            for (start, length) in [(0, 1000), (3, 4), (6, 2), (999, 1), (500, 130), (1000, 0)] {
                assert_eq!(input.get_bytes(start, length).unwrap(), bytes[start as usize..start as usize + length]);
            }
            let (mut one, mut other) = (input.get_read(100).unwrap(), input.get_read(900).unwrap());
            let (mut a, mut b) = (Vec::new(), Vec::new());
            other.read_to_end(&mut b).unwrap();
            one.read_to_end(&mut a).unwrap();
            assert_eq!((&a[..], &b[..]), (&bytes[100..], &bytes[900..]));
            assert!(input.get_bytes(990, 11).is_err());
            assert!(input.get_bytes(u64::MAX, 11).is_err());
        }
    }

    #[test]
    fn an_object_that_became_shorter_is_an_error() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        block_on(store.put(&Path::from("x"), vec![1; 50].into())).unwrap().unwrap();
        let input = File::store(store, Path::from("x"), 100, (1, 64));
        assert!(input.get_bytes(0, 100).is_err());
    }
}
