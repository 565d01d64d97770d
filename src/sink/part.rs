//! Part files: the output of a stretch of a partition's input, as one Parquet file.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};

use crate::error::Context;
use crate::record::PartitionId;
use crate::state::{Part, STAGED, Target};
use crate::storage::Folder;
use crate::{Error, Result};

/// Rows that are handed to the Parquet writer at a time. Where it cuts pages depends on that, so it is the same however
/// the rows came.
const CHUNK: usize = 8192;

/// Rows of a row group; a whole number of chunks.
const ROW_GROUP: usize = 16 * CHUNK;

/// One kind of part files of a pipeline: their folder and their columns.
#[derive(Debug, Clone)]
pub struct Parts {
    target: Target,
    folder: Folder,
    pipeline: String,
    schema: SchemaRef,
}

impl Parts {
    /// Parts of this schema in this folder.
    pub fn new(target: Target, folder: Folder, pipeline: &str, schema: SchemaRef) -> Parts {
        Parts { target, folder, pipeline: pipeline.into(), schema }
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Refused if no file can be created in the folder, which is created. Tried where parts are staged: whatever a
    /// killed process leaves there, no reader sees.
    pub fn probe(&self) -> Result<()> {
        self.folder.folder(STAGED).probe()
    }

    /// Names of the files in the folder that a run would add to or write over: all Parquet files of an output folder,
    /// the pipeline's own of one for dead letters.
    pub fn existing(&self) -> Result<Vec<String>> {
        let mut files = self.folder.files()?;
        let own = format!("dead-{}-", self.pipeline);
        files.retain(|name| match self.target {
            Target::Output => name.ends_with(".parquet") && !name.starts_with(['_', '.']) && !name.starts_with("dead-"),
            Target::DeadLetters => name.ends_with(".parquet") && name.starts_with(&own),
        });
        Ok(files)
    }

    /// Whether there are any.
    pub fn has_output(&self) -> Result<bool> {
        Ok(!self.existing()?.is_empty())
    }

    /// Gives a finished part its final name. Only if nothing commits it: for dead letters with a sink without state.
    pub fn publish(&self, part: &Part) -> Result<()> {
        if self.folder.rename(&part.staged, &part.name)? {
            return Ok(());
        }
        Err(Error::failed(format!("{}/{} is gone before it was published", self.folder, part.staged)))
    }

    /// Begins the part of a partition that holds the output of its records from position `first` on.
    pub fn begin(&self, partition: PartitionId, first: u64) -> PartWriter {
        PartWriter {
            parts: self.clone(),
            partition,
            first,
            waiting: Vec::new(),
            waiting_rows: 0,
            rows: 0,
            writer: None,
        }
    }
}

/// A part in memory, compressed row group by row group. The same rows give the same bytes, however they are handed in.
pub struct PartWriter {
    parts: Parts,
    partition: PartitionId,
    first: u64,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    rows: u64,
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl PartWriter {
    /// Position of the first record whose output it holds.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes it holds, about.
    pub fn memory(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(RecordBatch::get_array_memory_size).sum();
        waiting + self.writer.as_ref().map_or(0, |writer| writer.memory_size() + writer.bytes_written())
    }

    /// Adds rows of the parts' schema.
    pub fn write(&mut self, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows() as u64;
        self.waiting_rows += rows.num_rows();
        self.waiting.push(rows);
        if self.waiting_rows >= CHUNK { self.drain(CHUNK) } else { Ok(()) }
    }

    /// Ends the part and uploads it where no reader looks; `None`, and no file, if there was no row. `commit`: its
    /// number, where no record was taken since the part began.
    pub fn finish(mut self, commit: Option<u64>) -> Result<Option<Part>> {
        self.drain(1)?;
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let Parts { target, folder, pipeline, .. } = &self.parts;
        let name = target.part(pipeline, self.partition, self.first, commit);
        let bytes = writer.into_inner().or_failed(|| format!("cannot write {folder}/{name}"))?;
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let staged = target.staged(pipeline, self.partition, self.first, &sha256);
        let part = Part { target: *target, name, staged, rows: self.rows, bytes: bytes.len() as u64, sha256 };
        folder.put(&part.staged, bytes)?;
        Ok(Some(part))
    }

    /// Hands on whole chunks while at least `least` rows wait, and then the rest if that is enough too.
    fn drain(&mut self, least: usize) -> Result<()> {
        if self.waiting_rows < least {
            return Ok(());
        }
        let failed = || format!("cannot write a part into {}", self.parts.folder);
        let all = concat_batches(&self.parts.schema, &self.waiting).or_failed(failed)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(
                ArrowWriter::try_new(Vec::new(), self.parts.schema.clone(), Some(properties())).or_failed(failed)?,
            ),
        };
        let mut done = 0;
        while all.num_rows() - done >= least.max(1) {
            let rows = CHUNK.min(all.num_rows() - done);
            writer.write(&all.slice(done, rows)).or_failed(failed)?;
            done += rows;
        }
        self.waiting.clear();
        self.waiting_rows = all.num_rows() - done;
        if self.waiting_rows > 0 {
            self.waiting.push(all.slice(done, self.waiting_rows));
        }
        Ok(())
    }
}

/// Nothing in them may depend on the machine or the moment.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(format!("kolk {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build()
}

impl std::fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartWriter")
            .field("partition", &self.partition)
            .field("first", &self.first)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
