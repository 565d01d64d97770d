//! What the pages of a Parquet file may cost, found out before they are unpacked.
//!
//! The library unpacks whatever a page holds, and makes room for as many values as it says. A file of some kilobytes
//! can so ask for all memory there is. Here the bytes pass that it reads: a page's header, and then its body. Must not
//! live here: how compressed bytes grow (`unpacked`), and the lengths that a page of differences has (`deltas`).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::basic::Compression;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

use super::deltas;
use super::thrift::{INTEGERS, STRUCT, Thrift};
use super::unpacked;
use crate::storage::{File, FileFrom};

/// The most that a page may have, unpacked. Writers make them of 1 MiB.
pub(super) const MOST_PAGE: u64 = 256 << 20;
/// The most that the pages may have together that the rows of one batch are in, besides those of every column.
const MOST_BATCH: u64 = 1 << 30;
const EACH_COLUMN: u64 = 4 << 20;
/// The most bytes that a page's header may have; it holds a smallest and a largest value.
const MOST_HEADER: u64 = 1 << 20;
/// Values of a repeated column may be so many for each byte of its pages, and for each page besides: a list without
/// values takes next to none.
const VALUES_PER_BYTE: u64 = 64;
const VALUES_PER_PAGE: u64 = 1 << 20;

/// A file of which pages are read.
#[derive(Clone)]
pub(super) struct Pages {
    input: File,
    chunks: Arc<Vec<Chunk>>,
    /// Columns of a row group.
    columns: u64,
    state: Arc<Mutex<State>>,
}

/// A column of a row group: where it lies, and what of its pages is allowed.
#[derive(Debug)]
struct Chunk {
    name: String,
    start: u64,
    end: u64,
    codec: Compression,
    is_repeated: bool,
    /// Whether its pages may be texts written as differences.
    has_deltas: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Per chunk the headers that were read last: of its dictionary, and of its values.
    headers: Vec<[Option<Header>; 2]>,
    /// Per chunk values and bytes so far.
    so_far: Vec<(u64, u64)>,
    /// Bytes of the pages of this batch.
    batch: u64,
    /// Whether this batch begins behind rows that are passed over, and whether the next one does: their pages are
    /// unpacked one after another, and none is kept.
    passes: [bool; 2],
}

/// A page's header.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    start: u64,
    is_dictionary: bool,
    unpacked: i64,
    packed: i64,
    values: i64,
    encoding: i64,
    /// Levels before the values, which are never packed.
    levels: i64,
    is_packed: bool,
}

impl Header {
    /// Of bytes that begin with one; `None`: it doesn't end in them, or is none.
    fn read(bytes: &[u8]) -> Option<Header> {
        let mut found = Header { is_packed: true, ..Header::default() };
        let mut has = [false; 3];
        Thrift(bytes).fields(|id, kind, walk| {
            match (id, kind) {
                (1..=3, kind) if INTEGERS.contains(&kind) => {
                    let number = walk.integer()?;
                    has[id as usize - 1] = true;
                    match id {
                        1 => found.is_dictionary = number == 2,
                        2 => found.unpacked = number,
                        _ => found.packed = number,
                    }
                }
                // Values, a dictionary, values of the second version.
                (5 | 7 | 8, STRUCT) => walk.fields(|field, kind, walk| {
                    let encoding = if id == 8 { 4 } else { 2 };
                    match (field, kind) {
                        (1, kind) if INTEGERS.contains(&kind) => found.values = walk.integer()?,
                        (field, kind) if field == encoding && INTEGERS.contains(&kind) => {
                            found.encoding = walk.integer()?;
                        }
                        (5 | 6, kind) if id == 8 && INTEGERS.contains(&kind) => {
                            found.levels = found.levels.checked_add(walk.integer()?)?;
                        }
                        (7, kind) if id == 8 => {
                            found.is_packed = kind == 1;
                            walk.skip(kind)?;
                        }
                        _ => walk.skip(kind)?,
                    }
                    Some(())
                })?,
                _ => walk.skip(kind)?,
            }
            Some(())
        })?;
        has.iter().all(|has| *has).then_some(found)
    }
}

impl Pages {
    /// Of a file with this footer.
    pub fn new(input: File, metadata: &ParquetMetaData) -> Pages {
        let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        let mut chunks: Vec<Chunk> = chunks
            .map(|column| {
                let (start, length) = column.byte_range();
                Chunk {
                    name: column.column_path().string(),
                    start,
                    end: start.saturating_add(length),
                    codec: column.compression(),
                    is_repeated: column.column_descr().max_rep_level() > 0,
                    has_deltas: column.encodings().any(deltas::is_delta),
                }
            })
            .collect();
        chunks.sort_by_key(|chunk| chunk.start);
        let state =
            State { headers: vec![[None; 2]; chunks.len()], so_far: vec![(0, 0); chunks.len()], ..State::default() };
        let columns = metadata.file_metadata().schema_descr().num_columns() as u64;
        Pages { input, chunks: Arc::new(chunks), columns, state: Arc::new(Mutex::new(state)) }
    }

    /// Begins a batch of rows.
    pub fn begin(&self) {
        let mut state = self.state();
        state.batch = 0;
        state.passes = [state.passes[1], false];
    }

    /// The next batch begins behind rows that are passed over.
    pub fn pass(&self) {
        self.state().passes[1] = true;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Counts are sound whatever a thread was doing when it panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk that a place is in. A file whose chunks overlap has another one there at worst, with other bounds.
    fn chunk(&self, at: u64) -> Option<(usize, &Chunk)> {
        let index = self.chunks.partition_point(|chunk| chunk.start <= at).checked_sub(1)?;
        self.chunks.get(index).map(|chunk| (index, chunk)).filter(|(_, chunk)| at < chunk.end)
    }

    /// Looks at a header before the library reads it. `buffered` are the first of its bytes.
    fn look(&self, start: u64, buffered: &[u8]) -> std::result::Result<(), String> {
        let (index, chunk) = self.chunk(start).ok_or("a page lies outside of all columns")?;
        let header = match Header::read(buffered) {
            Some(header) => header,
            None => {
                let length = (chunk.end - start).min(MOST_HEADER) as usize;
                let bytes = self.input.get_bytes(start, length).map_err(|e| e.to_string())?;
                let what = || format!("column \"{}\": the header of a page isn't as Parquet's are", chunk.name);
                Header::read(&bytes).ok_or_else(what)?
            }
        };
        let header = Header { start, ..header };
        let refused = |what: String| Err(format!("column \"{}\": a page {what}", chunk.name));
        let unpacked = u64::try_from(header.unpacked).unwrap_or(u64::MAX);
        let values = u64::try_from(header.values).unwrap_or(u64::MAX);
        if unpacked > MOST_PAGE {
            return refused(format!(
                "has {} bytes unpacked, at most {MOST_PAGE} are read: write the file with smaller pages",
                header.unpacked
            ));
        }
        if header.is_dictionary && values > unpacked {
            return refused(format!("says that it holds {values} values in {unpacked} bytes"));
        }
        if deltas::is_number_of_delta(header.encoding) && !chunk.has_deltas {
            return refused("is encoded otherwise than the footer says".into());
        }
        let mut state = self.state();
        if chunk.is_repeated {
            let (all, bytes) = &mut state.so_far[index];
            *all = all.saturating_add(values);
            *bytes = bytes.saturating_add(unpacked * VALUES_PER_BYTE + VALUES_PER_PAGE);
            if *all > *bytes {
                return refused(format!("says that it holds {values} values in {unpacked} bytes"));
            }
        }
        state.headers[index][usize::from(header.is_dictionary)] = Some(header);
        Ok(())
    }

    /// Looks at a body before the library unpacks it.
    fn check(&self, start: u64, body: &[u8]) -> std::result::Result<(), String> {
        let Some((index, chunk)) = self.chunk(start) else { return Ok(()) };
        let mut state = self.state();
        let headers = state.headers[index].iter().flatten().filter(|header| header.start < start);
        let Some(header) = headers.max_by_key(|header| header.start).copied() else { return Ok(()) };
        state.batch = state.batch.saturating_add(u64::try_from(header.unpacked).unwrap_or(0));
        let most = MOST_BATCH + EACH_COLUMN * self.columns;
        if state.batch > most && !state.passes[0] {
            return Err(format!(
                "column \"{}\": the pages of {} rows have more than {most} bytes unpacked: write the file with smaller \
                 pages",
                chunk.name,
                super::parquet::BATCH
            ));
        }
        drop(state);
        if !header.is_packed {
            return Ok(());
        }
        let levels = usize::try_from(header.levels).unwrap_or(usize::MAX);
        let packed = body.get(levels..).unwrap_or_default();
        if unpacked::may_exceed(chunk.codec, packed, MOST_PAGE) {
            return Err(format!(
                "column \"{}\": a page says that it has {} bytes unpacked, and would grow beyond {MOST_PAGE}",
                chunk.name, header.unpacked
            ));
        }
        Ok(())
    }
}

/// Reads a header, which is looked at before.
pub(super) struct HeaderReader {
    inner: BufReader<FileFrom>,
    /// Where it begins, until it was looked at.
    unseen: Option<(u64, Pages)>,
}

impl Read for HeaderReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((start, pages)) = self.unseen.take() {
            pages.look(start, self.inner.fill_buf()?).map_err(io::Error::other)?;
        }
        self.inner.read(buffer)
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        Length::len(&self.input)
    }
}

impl ChunkReader for Pages {
    type T = HeaderReader;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(HeaderReader { inner: self.input.get_read(start)?, unseen: Some((start, self.clone())) })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.input.get_bytes(start, length)?;
        self.check(start, &bytes).map_err(ParquetError::General)?;
        Ok(bytes)
    }
}
