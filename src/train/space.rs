//! The memory that the columns of a training share, and the files that take what is beyond its bound.
//!
//! Lives here: pieces of memory. Must not live here: the values in them (`column`).

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Context;
use crate::storage::unique_name;
use crate::{Error, Result};

/// Bytes of the smallest piece of a file; pieces are aligned to it.
pub(super) const PIECE: usize = 64;
/// Bytes of the files that small pieces are cut from.
pub(super) const FILE: usize = 64 << 20;
/// Sizes of small pieces: `PIECE`, twice that, and so on below `FILE`.
const SIZES: usize = (FILE / PIECE).ilog2() as usize;

/// The memory of a training's columns, and its bound.
#[derive(Debug)]
pub struct Space {
    most: usize,
    folder: PathBuf,
    state: Mutex<Used>,
}

#[derive(Debug, Default)]
pub(super) struct Used {
    /// Bytes in memory.
    pub memory: usize,
    /// Bytes in files.
    files: usize,
    /// The files that small pieces are cut from, and how much of the last one is taken.
    cut: Vec<Mapped>,
    taken: usize,
    /// Small pieces that are free again, by size.
    free: [Vec<usize>; SIZES],
}

/// A file of its own, without a name, mapped as a whole.
#[derive(Debug)]
struct Mapped {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is memory that belongs to nobody else.
unsafe impl Send for Mapped {}
// SAFETY: it is only read where it is shared.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// A new file in a folder. It has no name once it is made, so nothing of it is left when the process ends, however
    /// that is. All of its blocks are there from the start: a full disk is an error here, not a signal later.
    fn new(folder: &Path, bytes: usize) -> Result<Mapped> {
        let failed = || format!("train: {} for data beyond `train.memory`, in {}", size(bytes), folder.display());
        std::fs::create_dir_all(folder).or_failed(failed)?;
        let path = folder.join(format!(".{}", unique_name()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).or_failed(failed)?;
        std::fs::remove_file(&path).or_failed(failed)?;
        allocate(&file, bytes).or_failed(failed)?;
        // SAFETY: a new mapping of a file that is open and that long; where it can't be made, nothing is.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).or_failed(failed);
        }
        let at =
            NonNull::new(at.cast()).ok_or_else(|| Error::failed("a mapping at 0: internal error, please report"))?;
        Ok(Mapped { at, bytes })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and whoever had a piece of it is gone.
        unsafe {
            libc::munmap(self.at.as_ptr().cast(), self.bytes);
        }
    }
}

/// Gives a file its length, with all blocks.
fn allocate(file: &File, bytes: usize) -> std::io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(std::io::Error::other)?;
    // SAFETY: the file is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code)),
    }
}

fn size(bytes: usize) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

impl Space {
    /// Of so many bytes in memory; the rest goes into files in a folder, which is made when it is needed.
    pub fn new(most: usize, folder: &Path) -> Arc<Space> {
        Arc::new(Space { most, folder: folder.into(), state: Mutex::default() })
    }

    /// Bytes in memory and in files at present.
    #[cfg(test)]
    pub fn used(&self) -> (usize, usize) {
        let used = self.locked();
        (used.memory, used.files)
    }

    pub(super) fn locked(&self) -> MutexGuard<'_, Used> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes memory if so much is free.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let mut used = self.locked();
        let fits = used.memory.saturating_add(bytes) <= self.most;
        used.memory += if fits { bytes } else { 0 };
        fits
    }

    /// Memory is free again.
    pub(super) fn give_back(&self, bytes: usize) {
        let mut used = self.locked();
        used.memory = used.memory.saturating_sub(bytes);
    }

    /// A piece of a file.
    pub(super) fn piece(self: &Arc<Self>, bytes: usize) -> Result<Piece> {
        let bytes = bytes.next_power_of_two().max(PIECE);
        let space = self.clone();
        if bytes >= FILE {
            let bytes = bytes.div_ceil(FILE) * FILE;
            let own = Mapped::new(&self.folder, bytes)?;
            self.locked().files += bytes;
            return Ok(Piece { at: own.at, bytes, own: Some(own), space });
        }
        let mut used = self.locked();
        let sizes = size_of_piece(bytes);
        if let Some(at) = used.free[sizes].pop().and_then(|at| NonNull::new(at as *mut u8)) {
            used.files += bytes;
            return Ok(Piece { at, bytes, own: None, space });
        }
        if used.cut.is_empty() || used.taken + bytes > FILE {
            used.cut.push(Mapped::new(&self.folder, FILE)?);
            used.taken = 0;
        }
        let file = used.cut.last().ok_or_else(|| Error::failed("no file: internal error, please report"))?;
        // SAFETY: `taken + bytes` is within the file.
        let at = unsafe { file.at.add(used.taken) };
        // Sizes differ: each begins at a multiple of its alignment, which is that of the smallest piece.
        used.taken += bytes;
        used.files += bytes;
        Ok(Piece { at, bytes, own: None, space })
    }
}

fn size_of_piece(bytes: usize) -> usize {
    (bytes / PIECE).ilog2() as usize
}

/// A piece of a file that nobody else has.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it begins, aligned to [`PIECE`].
    pub at: NonNull<u8>,
    /// Its size.
    pub bytes: usize,
    /// The file, where it is the piece's own.
    own: Option<Mapped>,
    space: Arc<Space>,
}

// SAFETY: nobody else has this memory.
unsafe impl Send for Piece {}
// SAFETY: it is only read where it is shared.
unsafe impl Sync for Piece {}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut used = self.space.locked();
        used.files -= self.bytes;
        if self.own.is_none() {
            used.free[size_of_piece(self.bytes)].push(self.at.as_ptr() as usize);
        }
    }
}
