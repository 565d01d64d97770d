//! What the pages of a Parquet file may cost, found out before they are unpacked.
//!
//! The library unpacks whatever a page holds, and makes room for as many values as it says. A file of some kilobytes
//! can so ask for all memory there is. Here the bytes pass that it reads: a page's header, and then its body. Must not
//! live here: how compressed bytes grow (`unpacked`), and the lengths that a page of differences has (`deltas`).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::basic::Compression;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;

use super::deltas;
use super::thrift::{INTEGERS, STRUCT, Thrift};
use super::unpacked;
use crate::storage::{File, FileFrom};

/// The most that a page may have, unpacked. Writers make them of 1 MiB; those that make one page of a column of a row
/// group are held by [`GROWTH`].
pub(super) const MOST_PAGE: u64 = 256 << 20;
/// So many times as large as it lies in the file, a page may be at any size: memory then has the size of the file.
const GROWTH: u64 = 4;
/// The most by which the pages that the rows of one batch are in may be larger together, besides those of every column.
const MOST_BATCH: u64 = 1 << 30;
const EACH_COLUMN: u64 = 4 << 20;
/// How many bytes are looked for a page's header in, at first. It holds a smallest and a largest value, of any length.
const HEADER: u64 = 8 << 10;
/// Values of a page of a repeated column may be so many for each of its bytes, and besides as many as there are rows: a
/// list without values takes next to no byte.
const VALUES_PER_BYTE: u64 = 64;
const VALUES_PER_PAGE: u64 = 1 << 20;
/// The most values of repeated columns that the pages of one batch may have, besides those of every column.
const MOST_BATCH_VALUES: u64 = 64 << 20;

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
    rows: u64,
    /// Whether its pages may be texts written as differences.
    has_deltas: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Per chunk the headers that were read last: of its dictionary, and of its values.
    headers: Vec<[Option<Header>; 2]>,
    /// By how many bytes the pages of this batch grow.
    batch: u64,
    /// Values of repeated columns in the pages of this batch.
    values: u64,
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

    /// Bytes that it may have for those in the file.
    fn allowed(&self) -> u64 {
        u64::try_from(self.packed).unwrap_or(0).saturating_mul(GROWTH)
    }

    /// The most bytes that it may have.
    fn most(&self) -> u64 {
        MOST_PAGE.max(self.allowed())
    }
}

impl Pages {
    /// Of a file with this footer.
    pub fn new(input: File, metadata: &ParquetMetaData) -> Pages {
        let groups = metadata.row_groups().iter();
        let chunks = groups.flat_map(|group| group.columns().iter().map(|column| (group.num_rows(), column)));
        let mut chunks: Vec<Chunk> = chunks
            .map(|(rows, column)| {
                let (start, length) = column.byte_range();
                Chunk {
                    name: column.column_path().string(),
                    start,
                    end: start.saturating_add(length),
                    codec: column.compression(),
                    is_repeated: column.column_descr().max_rep_level() > 0,
                    rows: u64::try_from(rows).unwrap_or(0),
                    has_deltas: column.encodings().any(deltas::is_delta),
                }
            })
            .collect();
        chunks.sort_by_key(|chunk| chunk.start);
        let state = State { headers: vec![[None; 2]; chunks.len()], ..State::default() };
        let columns = metadata.file_metadata().schema_descr().num_columns() as u64;
        Pages { input, chunks: Arc::new(chunks), columns, state: Arc::new(Mutex::new(state)) }
    }

    /// Begins a batch of rows.
    pub fn begin(&self) {
        let mut state = self.state();
        (state.batch, state.values) = (0, 0);
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

    /// The header of a page that begins there.
    fn header(&self, chunk: &Chunk, start: u64) -> std::result::Result<Header, String> {
        let end = chunk.end.min(Length::len(&self.input));
        let most = end.saturating_sub(start).min(MOST_PAGE);
        let mut length = HEADER;
        loop {
            let bytes = self.input.get_bytes(start, length.min(most) as usize).map_err(|e| e.to_string())?;
            match Header::read(&bytes) {
                Some(header) => return Ok(Header { start, ..header }),
                None if length < most => length *= 8,
                None => return Err(format!("column \"{}\": the header of a page isn't as Parquet's are", chunk.name)),
            }
        }
    }

    /// The most bytes that the dictionary of a column has; 0: it has none.
    ///
    /// # Errors
    /// Its first page has no header.
    pub fn dictionary(&self, column: &ColumnChunkMetaData) -> Result<u64> {
        let (start, _) = column.byte_range();
        let Some((_, chunk)) = self.chunk(start) else { return Ok(0) };
        let header = self.header(chunk, start).map_err(ParquetError::General)?;
        // What isn't packed has the bytes that are there, whatever it says.
        let bytes = u64::try_from(header.unpacked.max(header.packed)).unwrap_or(0);
        Ok(if header.is_dictionary { bytes } else { 0 })
    }

    /// Looks at a header before the library reads it. `buffered` are the first of its bytes.
    fn look(&self, start: u64, buffered: &[u8]) -> std::result::Result<(), String> {
        let (index, chunk) = self.chunk(start).ok_or("a page lies outside of all columns")?;
        let header = match Header::read(buffered) {
            Some(header) => Header { start, ..header },
            None => self.header(chunk, start)?,
        };
        let refused = |what: String| Err(format!("column \"{}\": a page {what}", chunk.name));
        let unpacked = u64::try_from(header.unpacked).unwrap_or(u64::MAX);
        let values = u64::try_from(header.values).unwrap_or(u64::MAX);
        if unpacked > header.most() {
            return refused(format!(
                "has {} bytes unpacked, at most {} are read: write the file with smaller pages",
                header.unpacked,
                header.most()
            ));
        }
        if header.is_dictionary && start != chunk.start {
            return refused("holds a dictionary, and isn't the first one".into());
        }
        if header.is_dictionary && values > unpacked {
            return refused(format!("says that it holds {values} values in {unpacked} bytes"));
        }
        if deltas::is_number_of_delta(header.encoding) && !chunk.has_deltas {
            return refused("is encoded otherwise than the footer says".into());
        }
        let mut state = self.state();
        if chunk.is_repeated && !header.is_dictionary {
            if values > (unpacked * VALUES_PER_BYTE + VALUES_PER_PAGE).saturating_add(chunk.rows) {
                return refused(format!("says that it holds {values} values in {unpacked} bytes"));
            }
            state.values = state.values.saturating_add(values);
            let most = MOST_BATCH_VALUES + VALUES_PER_PAGE * self.columns;
            if state.values > most && !state.passes[0] {
                return Err(format!(
                    "column \"{}\": the pages of {} rows have more than {most} values in lists: write the file with \
                     smaller pages",
                    chunk.name,
                    super::parquet::BATCH
                ));
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
        let grown = u64::try_from(header.unpacked).unwrap_or(0).saturating_sub(header.allowed());
        state.batch = state.batch.saturating_add(grown);
        let most = MOST_BATCH + EACH_COLUMN * self.columns;
        if state.batch > most && !state.passes[0] {
            return Err(format!(
                "column \"{}\": the pages of {} rows grow by more than {most} bytes when they are unpacked: write the \
                 file with smaller pages",
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
        if unpacked::may_exceed(chunk.codec, packed, header.most()) {
            return Err(format!(
                "column \"{}\": a page says that it has {} bytes unpacked, and would grow beyond {}",
                chunk.name,
                header.unpacked,
                header.most()
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
