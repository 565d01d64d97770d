//! Parquet files, row group by row group.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::basic::Encoding;
use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use serde_json::{Value, json};

use super::decode::{Dictionary, Gathered, Piece};
use super::int96;
use super::merge;
use super::plan::{self, Shape};
use super::schema::{Columns, KeyColumn};
use super::{Files, FilesReader};
use crate::Error;
use crate::record::{Layout, Origin, Records};
use crate::storage::{DATA_BLOCK, File};

pub use super::plan::{PlannedParquet, plan};

/// Records that are delivered at once, at most.
pub const BATCH: usize = 8192;
/// Bytes of the rows that are decoded at once, about, at most.
const BATCH_BYTES: u64 = 32 << 20;

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

struct OpenFile {
    input: File,
    metadata: Arc<ParquetMetaData>,
    schema: Schema,
    /// With the key as a dictionary, and as plain text.
    readers: [Option<ArrowReaderMetadata>; 2],
}

struct OpenGroup {
    reader: ParquetRecordBatchReader,
    /// The INT96 columns of the same rows, as milliseconds.
    millis: Option<ParquetRecordBatchReader>,
    /// Number of the row group in its file.
    index: usize,
    file: usize,
    /// Rows delivered and not.
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

    fn names(&self) -> Vec<String> {
        self.files().map(String::from).collect()
    }

    fn fingerprint(&self) -> Value {
        let mut fingerprint = json!({ "files": PlannedParquet::fingerprint(self) });
        // State that counted the same times in nanoseconds can't go on in microseconds.
        if self.shape.is_int96 {
            fingerprint["int96_times"] = json!("microseconds");
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

    fn was(&self, before: &str) -> bool {
        !self.shape.is_int96 && !self.shape.is_finer && PlannedParquet::fingerprint(self) == before
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
                "the source has {files} files, a checkpoint says file {}: it changed since",
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
            let Some(batch) = read(&mut group.reader).map_err(|e| failed(&e))? else {
                if group.row < group.end {
                    return Err(failed(&format!("{} rows are missing", group.end - group.row)));
                }
                self.group = None;
                continue;
            };
            let flaws = match &mut group.millis {
                None => Vec::new(),
                Some(millis) => match read(millis).map_err(|e| failed(&e))? {
                    Some(millis) if millis.num_rows() == batch.num_rows() => int96::wrapped(&batch, &millis),
                    _ => return Err(failed(&"its INT96 columns have fewer rows than the others")),
                },
            };
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
            let (from, until) = self.shape.wanted;
            let outside = group.times.is_some_and(|(low, high)| {
                from.is_some_and(|from| high < from) || until.is_some_and(|until| low >= until)
            });
            if row == end || outside {
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
            let (reader, millis) = open
                .readers(index, &self.shape.columns, (row - first) as usize)
                .map_err(|e| Error::failed(format!("{}: row group {index}: {e}", planned.file.shown)))?;
            self.group = Some(OpenGroup { reader, millis, index, file, row, end });
            return Ok(true);
        }
    }
}

impl OpenFile {
    fn open(planned: &plan::PlannedFile, columns: &Columns) -> Result<Self, String> {
        let blocks = columns.names().len() + 2;
        let input = planned.file.open((blocks, DATA_BLOCK)).map_err(|e| e.to_string())?;
        let (metadata, footer) = plan::footer_of(&input)?;
        if footer != planned.footer {
            return Err("the file was changed after the start".into());
        }
        let file = metadata.file_metadata();
        let schema = int96::schema_of(file).map_err(|e| e.to_string())?;
        Ok(OpenFile { input, metadata: Arc::new(metadata), schema, readers: [None, None] })
    }

    /// Readers of a row group: of all columns, and of those that are INT96 again.
    fn readers(
        &mut self,
        index: usize,
        columns: &Columns,
        skip: usize,
    ) -> ::parquet::errors::Result<(ParquetRecordBatchReader, Option<ParquetRecordBatchReader>)> {
        let group = self.metadata.row_group(index);
        let descriptor = self.metadata.file_metadata().schema_descr();
        let names = columns.names();
        let roots = descriptor.root_schema().get_fields().iter().enumerate();
        let roots: Vec<usize> = roots.filter(|(_, root)| names.contains(root.name())).map(|(root, _)| root).collect();
        let mask = ProjectionMask::roots(descriptor, roots.iter().copied());
        let as_dictionary = match &columns.key {
            KeyColumn::Text(name) => is_dictionary(group, name),
            _ => false,
        };
        let mut bytes = 0;
        for (leaf, column) in group.columns().iter().enumerate() {
            if roots.contains(&descriptor.get_column_root_idx(leaf)) {
                let is_key =
                    matches!(&columns.key, KeyColumn::Text(name) if column.column_path().parts() == [name.as_str()]);
                let text = column.unencoded_byte_array_data_bytes().filter(|_| !(is_key && as_dictionary));
                bytes += u64::try_from(column.uncompressed_size().max(text.unwrap_or(0))).unwrap_or(0);
            }
        }
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        let batch = (BATCH_BYTES / (bytes / rows).max(1)).clamp(1, (BATCH / columns.cells()).max(1) as u64);
        let metadata = match &self.readers[usize::from(!as_dictionary)] {
            Some(metadata) => metadata.clone(),
            None => {
                let metadata = hinted(&self.metadata, &self.schema, columns, as_dictionary)?;
                self.readers[usize::from(!as_dictionary)].insert(metadata).clone()
            }
        };
        let reader = |metadata, mask| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), metadata)
                .with_row_groups(vec![index])
                .with_projection(mask)
                .with_batch_size(batch as usize)
                .with_offset(skip)
                .build()
        };
        let file = self.metadata.file_metadata();
        let is_int96 = |root: &&usize| int96::is_int96(file, descriptor.root_schema().get_fields()[**root].name());
        let int96: Vec<usize> = roots.iter().filter(is_int96).copied().collect();
        let millis = match int96.is_empty() {
            true => None,
            false => {
                let mask = ProjectionMask::roots(descriptor, int96.iter().copied());
                Some(reader(as_millis(&self.metadata, &self.schema, &int96)?, mask)?)
            }
        };
        Ok((reader(metadata, mask)?, millis))
    }
}

/// The next rows of a row group. The decoder panics on some corrupt pages (for example a definition level without
/// room); to the user that is corrupt data like any other.
fn read(reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, String> {
    match catch_unwind(AssertUnwindSafe(|| reader.next())) {
        Ok(batch) => batch.transpose().map_err(|e| e.to_string()),
        // The reader is not used again: an error ends the source.
        Err(_) => Err("it is corrupt: the decoder gave up on it".into()),
    }
}

/// Whether a column of a row group is stored by a dictionary throughout: then each distinct value is hashed only once.
/// Where the writer gave up on its dictionary half-way, reading as a dictionary would build a new one for every batch.
fn is_dictionary(group: &RowGroupMetaData, name: &str) -> bool {
    group.columns().iter().filter(|column| column.column_path().parts() == [name]).any(|column| {
        column.dictionary_page_offset().is_some()
            && column.page_encoding_stats_mask().is_none_or(|pages| {
                pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY)
            })
    })
}

/// The reader's plan for a file, with the types that suit kolk instead of those the file was written from.
fn hinted(
    metadata: &Arc<ParquetMetaData>,
    schema: &Schema,
    columns: &Columns,
    as_dictionary: bool,
) -> ::parquet::errors::Result<ArrowReaderMetadata> {
    let names = columns.names();
    let fields = schema.fields().iter().map(|field| {
        let name = field.name().as_str();
        let data_type = match &columns.key {
            KeyColumn::Text(key) if key == name && as_dictionary => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            // Offsets of 32 bits would overflow in a batch of very long keys.
            KeyColumn::Text(key) if key == name => DataType::LargeUtf8,
            _ if names.contains(name) => merge::plain(field.data_type()),
            _ => field.data_type().clone(),
        };
        field.as_ref().clone().with_data_type(data_type)
    });
    let wanted = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    // A file whose types can't be asked for in another way is read in its own; decoding casts.
    let own = || match int96::has_any(metadata.file_metadata()) {
        true => ArrowReaderOptions::new().with_schema(Arc::new(schema.clone())),
        false => ArrowReaderOptions::new(),
    };
    ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new().with_schema(wanted))
        .or_else(|_| ArrowReaderMetadata::try_new(metadata.clone(), own()))
}

/// The reader's plan for a file with some of its columns, INT96 ones, as milliseconds.
fn as_millis(
    metadata: &Arc<ParquetMetaData>,
    schema: &Schema,
    int96: &[usize],
) -> ::parquet::errors::Result<ArrowReaderMetadata> {
    let fields = schema.fields().iter().enumerate().map(|(root, field)| match int96.contains(&root) {
        true => field.as_ref().clone().with_data_type(int96::every_one()),
        false => field.as_ref().clone(),
    });
    let wanted = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new().with_schema(wanted))
}
