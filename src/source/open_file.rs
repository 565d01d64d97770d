//! An open Parquet file: readers of its row groups, with the types that suit kolk.
//!
//! Must not live here: which row group comes next, and what becomes of its rows (`parquet`).

use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use ::parquet::basic::Encoding;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use super::pages::Pages;
use super::parquet::BATCH;
use super::schema::{Columns, KeyColumn};
use super::{deltas, int96, merge, nested, plan, text};
use crate::error::contained;
use crate::storage::{DATA_BLOCK, File};

/// Bytes of the rows that are decoded at once, about, at most.
const BATCH_BYTES: u64 = 32 << 20;
/// The most that they may have if each were as long as the longest value that a few bytes of the file stand for.
const MOST_BATCH_BYTES: u64 = 256 << 20;

/// A file that is read, its footer the one that was planned.
pub(super) struct OpenFile {
    input: File,
    pages: Pages,
    metadata: Arc<ParquetMetaData>,
    /// Its columns as they are read, text as text.
    pub schema: Schema,
    /// With the key as a dictionary, and as plain text.
    readers: [Option<ArrowReaderMetadata>; 2],
    /// With text as bytes.
    bytes: Option<ArrowReaderMetadata>,
    /// Whether the reader of Parquet would take text for UTF-8 unseen.
    is_unchecked: bool,
}

impl OpenFile {
    /// Opens it and checks that it is the one that was planned.
    pub fn open(planned: &plan::PlannedFile, columns: &Columns) -> Result<Self, String> {
        let blocks = columns.names().len() + 2;
        let input = planned.file.open((blocks, DATA_BLOCK)).map_err(|e| e.to_string())?;
        let (metadata, footer) = plan::footer_of(&input)?;
        if footer != planned.footer {
            return Err("the file was changed after the start".into());
        }
        let file = metadata.file_metadata();
        let schema = int96::schema_of(file).map_err(|e| e.to_string())?;
        let is_unchecked = text::is_unchecked(file.schema_descr(), &schema, &columns.names());
        let pages = Pages::new(input.clone(), &metadata);
        let metadata = Arc::new(metadata);
        Ok(OpenFile { input, pages, metadata, schema, readers: [None, None], bytes: None, is_unchecked })
    }

    /// Begins a batch of rows of its readers.
    pub fn begin(&self) {
        self.pages.begin();
    }

    /// Whether its text must be read as bytes and checked: [`OpenFile::readers`].
    pub fn is_unchecked(&self) -> bool {
        self.is_unchecked
    }

    /// Whether it has text among the columns that are read.
    pub fn has_text(&self, columns: &Columns) -> bool {
        let names = columns.names();
        let mut fields = self.schema.fields().iter().filter(|field| names.contains(field.name().as_str()));
        fields.any(|field| text::has_text(field.data_type())) || nested::has_text(&self.schema, &names)
    }

    /// Readers of a row group from a row of it on: of all columns, and of those that are INT96 again. `as_bytes`: text
    /// is read as bytes, whatever they are.
    pub fn readers(
        &mut self,
        index: usize,
        columns: &Columns,
        skip: usize,
        as_bytes: bool,
    ) -> ::parquet::errors::Result<(ParquetRecordBatchReader, Option<ParquetRecordBatchReader>)> {
        let group = self.metadata.row_group(index);
        let descriptor = self.metadata.file_metadata().schema_descr();
        let names = columns.names();
        let roots = descriptor.root_schema().get_fields().iter().enumerate();
        let roots: Vec<usize> = roots.filter(|(_, root)| names.contains(root.name())).map(|(root, _)| root).collect();
        let (mask, is_read) = nested::mask(&self.schema, descriptor, &roots, &names);
        let as_dictionary = match &columns.key {
            KeyColumn::Text(name) => !as_bytes && is_dictionary(group, name),
            _ => false,
        };
        let (mut bytes, mut at_most) = (0, 0_u64);
        for (leaf, column) in group.columns().iter().enumerate() {
            if is_read(leaf) {
                at_most = at_most.saturating_add(deltas::longest_at_most(&self.pages, column)?);
                let is_key =
                    matches!(&columns.key, KeyColumn::Text(name) if column.column_path().parts() == [name.as_str()]);
                let text = column.unencoded_byte_array_data_bytes().filter(|_| !(is_key && as_dictionary));
                bytes += u64::try_from(column.uncompressed_size().max(text.unwrap_or(0))).unwrap_or(0);
            }
        }
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        let mut batch = (BATCH_BYTES / (bytes / rows).max(1)).clamp(1, (BATCH / columns.cells()).max(1) as u64);
        if MOST_BATCH_BYTES / at_most.max(1) < batch {
            let mut longest = 0_u64;
            for (_, column) in group.columns().iter().enumerate().filter(|(leaf, _)| is_read(*leaf)) {
                longest = longest.saturating_add(deltas::longest(&self.pages, group, column)?);
            }
            batch = batch.min(MOST_BATCH_BYTES / longest.max(1)).max(1);
        }
        if skip > 0 {
            self.pages.pass();
        }
        let metadata = match &self.readers[usize::from(!as_dictionary)] {
            _ if as_bytes => match &self.bytes {
                Some(metadata) => metadata.clone(),
                None => {
                    let (footer, _) = plan::footer_bytes(&self.input).map_err(ParquetError::General)?;
                    let metadata = Arc::new(text::as_bytes(&footer, &self.metadata)?);
                    let wanted = Arc::new(text::schema_as_bytes(&self.schema));
                    let options = ArrowReaderOptions::new().with_schema(wanted);
                    self.bytes.insert(ArrowReaderMetadata::try_new(metadata, options)?).clone()
                }
            },
            Some(metadata) => metadata.clone(),
            None => {
                let metadata = hinted(&self.metadata, &self.schema, columns, as_dictionary)?;
                self.readers[usize::from(!as_dictionary)].insert(metadata).clone()
            }
        };
        let reader = |metadata, mask| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.pages.clone(), metadata)
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
pub(super) fn read(reader: &mut ParquetRecordBatchReader) -> Result<Option<RecordBatch>, String> {
    // The reader is not used again: an error ends the source.
    match contained(|| reader.next()) {
        Ok(batch) => batch.transpose().map_err(|e| e.to_string()),
        Err(what) => Err(format!("it is corrupt: the decoder gave up on it: {what}")),
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
