//! Records that were refused, with where they came from and why.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{PartWriter, Parts};
use crate::Result;
use crate::error::Context;
use crate::record::PartitionId;
use crate::state::{Part, Target};
use crate::storage::Folder;

/// Letters that are gathered before they go to the part.
const GATHERED: usize = 1024;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("record", DataType::Utf8, false),
        Field::new("file", DataType::Utf8, true),
        Field::new("row", DataType::Int64, true),
        Field::new("partition", DataType::Int32, false),
        Field::new("position", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("message_key", DataType::Binary, true),
        Field::new("payload", DataType::Binary, true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("detail", DataType::Utf8, true),
    ]))
});

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its key, if it has one.
    pub key: Option<String>,
    /// The record as JSON.
    pub record: String,
    /// The file or topic it is from.
    pub file: Option<String>,
    /// Its row or offset there, from 0.
    pub row: Option<u64>,
    /// Its position in its partition.
    pub position: u64,
    /// Why: one of few words.
    pub reason: &'static str,
    /// The key of the message it came in, as it was.
    pub message_key: Option<Vec<u8>>,
    /// The message's payload, as it was.
    pub payload: Option<Vec<u8>>,
    /// The message's timestamp, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// What exactly is wrong, for people.
    pub detail: Option<String>,
}

/// The dead letters of one part of a partition.
#[derive(Debug)]
pub struct DeadLetters {
    partition: PartitionId,
    gathered: Vec<DeadLetter>,
    writer: PartWriter,
}

impl DeadLetters {
    /// Where dead letters of a pipeline go.
    pub fn parts(folder: Folder, pipeline: &str) -> Parts {
        Parts::new(Target::DeadLetters, folder, pipeline, SCHEMA.clone())
    }

    /// Begins the part of a partition that holds the rejects from position `first` on. `parts` are those of
    /// [`DeadLetters::parts`].
    pub fn begin(parts: &Parts, partition: PartitionId, first: u64) -> DeadLetters {
        DeadLetters { partition, gathered: Vec::new(), writer: parts.begin(partition, first) }
    }

    /// Adds one.
    pub fn push(&mut self, letter: DeadLetter) -> Result<()> {
        self.gathered.push(letter);
        if self.gathered.len() < GATHERED { Ok(()) } else { self.drain() }
    }

    /// Ends and uploads it, as [`PartWriter::finish`] does; `None` if there was none.
    pub fn finish(mut self) -> Result<Option<Part>> {
        self.drain()?;
        self.writer.finish(None)
    }

    fn drain(&mut self) -> Result<()> {
        let letters = std::mem::take(&mut self.gathered);
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let text = |pick: fn(&DeadLetter) -> Option<&str>| -> ArrayRef {
            Arc::new(letters.iter().map(pick).collect::<StringArray>())
        };
        let timestamps: TimestampMillisecondArray = letters.iter().map(|letter| letter.timestamp).collect();
        let partition = i32::try_from(self.partition.number).unwrap_or(i32::MAX);
        let columns = vec![
            text(|letter| letter.key.as_deref()),
            text(|letter| Some(&letter.record)),
            text(|letter| letter.file.as_deref()),
            Arc::new(letters.iter().map(|letter| letter.row.map(signed)).collect::<Int64Array>()),
            Arc::new(letters.iter().map(|_| Some(partition)).collect::<Int32Array>()),
            Arc::new(letters.iter().map(|letter| Some(signed(letter.position))).collect::<Int64Array>()),
            text(|letter| Some(letter.reason)),
            Arc::new(letters.iter().map(|letter| letter.message_key.as_deref()).collect::<BinaryArray>()),
            Arc::new(letters.iter().map(|letter| letter.payload.as_deref()).collect::<BinaryArray>()),
            Arc::new(timestamps.with_timezone("UTC")),
            text(|letter| letter.detail.as_deref()),
        ];
        let rows = RecordBatch::try_new(SCHEMA.clone(), columns).or_failed(|| "cannot form dead letters".into())?;
        self.writer.write(rows)
    }
}
