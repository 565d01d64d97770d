//! Parquet files, row group by row group.

use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use serde_json::{Value, json};

use super::decode::{Dictionary, Piece};
use super::folders::with_folders;
use super::gathered::Gathered;
use super::open_file::{OpenFile, read};
use super::plan::{self, Shape, Unneeded};
use super::unread::UnreadGroups;
use super::{Files, FilesReader, int96, nested, text};
use crate::Error;
use crate::config::FileOrder;
use crate::error::{contained, counted};
use crate::record::{Layout, Origin, Records};
use crate::stage::Unread;
use crate::state::SourceFiles;

pub use super::plan::{PlannedParquet, plan, plan_history};

/// Records that are delivered at once, at most.
pub const BATCH: usize = 8192;

/// Reads the records of a [`PlannedParquet`] source in order.
pub struct ParquetSource {
    shape: Arc<Shape>,
    /// The first record to deliver, until it was met.
    start: Option<Origin>,
    /// The file and row group to open next, and the first row of that group.
    next: (usize, usize, u64),
    file: Option<OpenFile>,
    group: Option<OpenGroup>,
    piece: Option<Piece>,
    dictionary: Dictionary,
    /// Rows that were decoded or left out.
    passed: u64,
}

struct OpenGroup {
    reader: ParquetRecordBatchReader,
    /// Whether it reads text as bytes, which are checked.
    as_bytes: bool,
    /// The INT96 columns of the same rows, as milliseconds.
    millis: Option<ParquetRecordBatchReader>,
    /// Number of the row group in its file.
    index: usize,
    file: usize,
    /// Its first row in the file, the next to deliver, and the last one's successor.
    first: u64,
    row: u64,
    end: u64,
}

impl Files for PlannedParquet {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn records(&self) -> u64 {
        PlannedParquet::records(self)
    }

    fn files(&self) -> &SourceFiles {
        &self.files
    }

    fn fingerprint(&self) -> Value {
        let mut fingerprint = json!({});
        if self.order == FileOrder::Time {
            fingerprint["order"] = json!("time");
        }
        // State that counted the same times in nanoseconds can't go on in microseconds.
        if self.shape.is_int96 {
            fingerprint["int96_times"] = json!("microseconds");
        }
        if !self.shape.above.is_empty() {
            fingerprint["folders"] = self.shape.above.iter().cloned().collect();
        }
        // Its ticks are not those of the first file alone.
        if self.shape.is_finer {
            fingerprint["times"] = json!(self.layout.clock.data_type.to_string());
        }
        fingerprint
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn was<'a>(&self, before: &'a str) -> Option<&'a str> {
        (!self.shape.is_int96 && !self.shape.is_finer && self.shape.above.is_empty()).then_some(before)
    }

    fn unread(&self) -> Option<Arc<dyn Unread>> {
        UnreadGroups::of(&self.shape).map(|unread| Arc::new(unread) as Arc<dyn Unread>)
    }

    fn open(&self, start: Option<Origin>) -> crate::Result<Box<dyn FilesReader>> {
        Ok(Box::new(PlannedParquet::open(self, start)?))
    }
}

impl FilesReader for ParquetSource {
    fn next(&mut self) -> crate::Result<Option<Records>> {
        ParquetSource::next(self)
    }

    fn records_passed(&self) -> u64 {
        ParquetSource::records_passed(self)
    }
}

impl PlannedParquet {
    /// Begins to read; `start` is the first record to deliver.
    pub fn open(&self, start: Option<Origin>) -> crate::Result<ParquetSource> {
        let files = self.shape.files.len();
        match start {
            Some(start) if start.file as usize >= files => Err(Error::refused(format!(
                "the source has {}, a checkpoint says file {}: it changed since",
                counted(files, "file"),
                start.file
            ))),
            _ => Ok(ParquetSource::new(self.shape.clone(), start)),
        }
    }
}

impl ParquetSource {
    pub(super) fn new(shape: Arc<Shape>, start: Option<Origin>) -> Self {
        let mut source = ParquetSource {
            shape,
            start,
            next: (0, 0, 0),
            file: None,
            group: None,
            piece: None,
            dictionary: Dictionary::default(),
            passed: 0,
        };
        if let Some(start) = start {
            let file = start.file as usize;
            source.passed = source.shape.files[..file].iter().map(plan::PlannedFile::rows).sum();
            source.next = (file, 0, 0);
        }
        source
    }

    /// Records in all files, those outside of `from` and `until` and those before the start included.
    pub fn records_total(&self) -> u64 {
        self.shape.files.iter().map(plan::PlannedFile::rows).sum::<u64>() * self.shape.columns.cells() as u64
    }

    /// How many of [`ParquetSource::records_total`] were delivered or left out so far (decoded, to be exact).
    pub fn records_passed(&self) -> u64 {
        self.passed * self.shape.columns.cells() as u64
    }

    /// The next records, at least one; `None` at the end. After an error the source can't continue.
    #[allow(clippy::should_implement_trait)] // not an iterator: after an error there is nothing to ask for
    pub fn next(&mut self) -> crate::Result<Option<Records>> {
        let mut gathered = Gathered::default();
        while !gathered.is_full(BATCH) {
            let Some(mut piece) = (match self.piece.take() {
                Some(piece) => Some(piece),
                None => self.decode()?,
            }) else {
                break;
            };
            piece.take(BATCH, &mut gathered).map_err(Error::failed)?;
            if !piece.is_empty() {
                self.piece = Some(piece);
            }
        }
        gathered.finish().map_err(Error::failed)
    }

    /// The next rows that hold anything.
    fn decode(&mut self) -> crate::Result<Option<Piece>> {
        loop {
            let Some(group) = &mut self.group else {
                if self.open_group()? {
                    continue;
                }
                return Ok(None);
            };
            let shape = Arc::clone(&self.shape);
            let (file, index) = (group.file, group.index);
            let failed = |e: &dyn std::fmt::Display| {
                Error::failed(format!("{}: row group {index}: {e}", shape.files[file].file.shown))
            };
            if let Some(open) = &self.file {
                open.begin();
            }
            let open = self.file.as_mut().filter(|open| !group.as_bytes && open.has_text(&shape.columns));
            let next = match (read(&mut group.reader), open) {
                (Err(error), Some(open)) => {
                    // It may be text that isn't UTF-8: then only those rows are refused.
                    let again = open.readers(index, &shape.columns, (group.row - group.first) as usize, true);
                    let again = again.map_err(|e| e.to_string()).and_then(|(mut reader, millis)| {
                        let next = read(&mut reader)?;
                        (group.reader, group.millis, group.as_bytes) = (reader, millis, true);
                        Ok(next)
                    });
                    // Both fail where something else is wrong: the first error says it better.
                    again.map_err(|_| error)
                }
                (next, _) => next,
            };
            let Some(batch) = next.map_err(|e| failed(&e))? else {
                if group.row < group.end {
                    return Err(failed(&format!("of the row group's rows, {} are missing", group.end - group.row)));
                }
                self.group = None;
                continue;
            };
            let mut flaws = match &mut group.millis {
                None => Vec::new(),
                Some(millis) => match read(millis).map_err(|e| failed(&e))? {
                    Some(millis) if millis.num_rows() == batch.num_rows() => int96::wrapped(&batch, &millis),
                    _ => return Err(failed(&"its INT96 columns have fewer rows than the others")),
                },
            };
            let batch = nested::flattened(batch, &shape.columns.names()).map_err(|e| failed(&e))?;
            let batch = match &self.file {
                Some(open) if group.as_bytes => {
                    let types = nested::extended(&open.schema, shape.columns.names().into_iter());
                    text::checked(batch, &types, &mut flaws).map_err(|e| failed(&e))?
                }
                _ => batch,
            };
            let batch = with_folders(batch, &shape.files[file].folders).map_err(|e| failed(&e))?;
            let batch = batch.map_err(|(row, why)| failed(&format!("row {}: {why}", group.row + row as u64)))?;
            let first = group.row;
            group.row += batch.num_rows() as u64;
            if group.row > group.end {
                return Err(failed(&"it has more rows than the footer says"));
            }
            self.passed += batch.num_rows() as u64;
            // Origins have 32 bits for the file, more than there can be files.
            let at = (file as u32, first);
            let mut piece = Piece::decode(batch, &shape.columns, shape.wanted, &mut self.dictionary, at, flaws)
                .map_err(|e| failed(&e))?;
            if let Some(start) = self.start.take() {
                // A melted row may have been delivered in part.
                piece.skip_before(start);
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Opens the next row group that may hold something; false at the end of the source.
    fn open_group(&mut self) -> crate::Result<bool> {
        loop {
            let (file, index, first) = self.next;
            let Some(planned) = self.shape.files.get(file) else { return Ok(false) };
            let Some(group) = planned.groups.get(index) else {
                self.next = (file + 1, 0, 0);
                self.file = None;
                continue;
            };
            let end = first + group.rows;
            self.next = (file, index + 1, end);
            let mut row = first;
            if let Some(start) = self.start {
                let start_row = start.row / self.shape.columns.cells() as u64;
                if start.file as usize == file {
                    row = start_row.clamp(first, end);
                }
                if start.file as usize != file {
                    self.start = None;
                }
            }
            if row == end || group.is_outside(self.shape.wanted) || group.unneeded != Unneeded::No {
                self.passed += group.rows;
                continue;
            }
            self.passed += row - first;
            let open = match self.file.take() {
                Some(open) => self.file.insert(open),
                None => {
                    let open = OpenFile::open(planned, &self.shape.columns)
                        .map_err(|e| Error::failed(format!("{}: {e}", planned.file.shown)))?;
                    self.file.insert(open)
                }
            };
            let as_bytes = open.is_unchecked();
            let readers = contained(|| open.readers(index, &self.shape.columns, (row - first) as usize, as_bytes));
            let (reader, millis) = readers
                .and_then(|readers| readers.map_err(|e| e.to_string()))
                .map_err(|e| Error::failed(format!("{}: row group {index}: {e}", planned.file.shown)))?;
            self.group = Some(OpenGroup { reader, millis, as_bytes, index, file, first, row, end });
            return Ok(true);
        }
    }
}
