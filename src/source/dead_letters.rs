//! Dead letters as a source: replays rejected messages from a dead-letter folder, as from a topic.
//!
//! The files are those that [`crate::sink::DeadLetters`] writes. A letter from a topic has the bytes of its message;
//! one from a Parquet source has its record as JSON, which is read instead. A message that is refused again keeps those
//! bytes: they follow the passthrough columns of the records.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use serde_json::{Value, json};

use super::parquet::{self, ParquetSource};
use super::{Files, FilesReader};
use crate::config::{At, Input, Key, LettersSource, Metadatum, Pipeline, Record, Source, TimeColumn};
use crate::error::Context;
use crate::error::Problems;
use crate::format::{self, DecodeError, Decoder, Messages, PlannedDecoder};
use crate::record::{Kind, Layout, Origin, Records};
use crate::state::SourceFiles;
use crate::{Error, Result};

/// What is read of a letter, in this order.
const COLUMNS: [&str; 4] = ["message_key", "payload", "timestamp", "record"];

/// The column of letters that says where their message was.
fn written(of: Metadatum) -> &'static str {
    match of {
        Metadatum::Topic => "file",
        Metadatum::Partition => "partition",
        Metadatum::Offset => "row",
    }
}

/// What is wanted instead, where a column has another type than letters have. Earlier versions wrote timestamps as
/// integers.
fn wanted(column: &str, found: &DataType) -> Option<&'static str> {
    match (column, found) {
        ("message_key" | "payload", DataType::Binary) => None,
        ("timestamp", DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, _)) => None,
        ("record" | "file", DataType::Utf8) => None,
        ("partition", DataType::Int32) | ("row", DataType::Int64) => None,
        ("message_key" | "payload", _) => Some("Binary"),
        ("timestamp", _) => Some("Timestamp(ms)"),
        ("partition", _) => Some("Int32"),
        ("row", _) => Some("Int64"),
        _ => Some("Utf8"),
    }
}

/// How long a schema registry may leave a question without an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files of dead letters, found, and how their messages are decoded.
pub struct PlannedDeadLetters {
    layout: Layout,
    files: parquet::PlannedParquet,
    decoder: Arc<PlannedDecoder>,
    /// Records of a message.
    cells: u64,
    /// Columns that say where the messages were, in the order in which they are read: their places among the
    /// passthrough columns.
    metadata: Vec<usize>,
}

/// Finds the files of a pipeline's source and plans its format; `fields` as for [`format::plan_decoder`]. Adds every
/// problem to `problems`, and returns `None` if there is one.
pub fn plan(
    pipeline: &Pipeline,
    source: &LettersSource,
    fields: &[At<String>],
    problems: &mut Problems,
) -> Option<PlannedDeadLetters> {
    let decoder = format::plan_decoder(pipeline, fields, problems);
    let here = |value: &str| At { value: value.to_string(), place: source.path.place };
    let mut letters = pipeline.clone();
    letters.source =
        Source { input: Input::Parquet(source.path.clone().into()), from: None, until: None, emit_from: None };
    // The position serves as a time, which nothing uses.
    let time =
        At { value: TimeColumn { column: "position".into(), unit: None, timezone: None }, place: source.path.place };
    letters.record = Record { key: Key::Single, time, values: Vec::new(), vectors: Vec::new(), sequence: None };
    let carried = decoder.iter().flat_map(|decoder| &decoder.layout.columns);
    let carried = carried.filter(|column| matches!(column.kind, Kind::Passthrough(_))).enumerate();
    let metadata: Vec<(usize, Metadatum)> =
        carried.filter_map(|(at, column)| Some((at, source.encoding.metadata.find(&column.name)?))).collect();
    let columns: Vec<At<String>> =
        COLUMNS.into_iter().chain(metadata.iter().map(|(_, of)| written(*of))).map(here).collect();
    let files = parquet::plan(&letters, &columns, problems);
    let (decoder, files) = (decoder?, files?);
    for column in &files.layout.columns {
        if let Kind::Passthrough(found) = &column.kind
            && let Some(wanted) = wanted(&column.name, found)
        {
            let name = &column.name;
            problems.add(
                source.path.place,
                format!("column \"{name}\" is {found}, and {wanted} in dead letters as kolk writes them"),
            );
            return None;
        }
    }
    let cells = match &pipeline.record.key {
        Key::Melted(columns) => columns.len() as u64,
        _ => 1,
    };
    let metadata = metadata.into_iter().map(|(at, _)| at).collect();
    Some(PlannedDeadLetters { layout: decoder.layout.clone(), files, decoder: Arc::new(decoder), cells, metadata })
}

impl Files for PlannedDeadLetters {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A message that can't be decoded is one record, however many it would be.
    fn records(&self) -> u64 {
        self.files.records() * self.cells
    }

    fn files(&self) -> &SourceFiles {
        &self.files.files
    }

    fn fingerprint(&self) -> Value {
        json!({ "reads": self.decoder.reads })
    }

    fn was<'a>(&self, before: &'a str) -> Option<&'a str> {
        before.split_once(' ').filter(|(_, read)| self.decoder.reads_as(read)).map(|(hash, _)| hash)
    }

    fn notes(&self) -> &[String] {
        &self.files.notes
    }

    fn open(&self, start: Option<Origin>) -> Result<Box<dyn FilesReader>> {
        let cells = self.cells.max(1);
        let letters = self.files.open(start.map(|start| Origin { row: start.row / cells, ..start }))?;
        Ok(Box::new(DeadLettersReader {
            letters,
            decoder: self.decoder.decoder()?,
            cells,
            metadata: self.metadata.clone(),
        }))
    }
}

/// Reads the records of a [`PlannedDeadLetters`] source in order.
struct DeadLettersReader {
    letters: ParquetSource,
    decoder: Box<dyn Decoder>,
    cells: u64,
    metadata: Vec<usize>,
}

impl FilesReader for DeadLettersReader {
    fn next(&mut self) -> Result<Option<Records>> {
        match self.letters.next()? {
            Some(letters) => self.decode(&letters).map(Some),
            None => Ok(None),
        }
    }

    fn records_passed(&self) -> u64 {
        self.letters.records_passed() * self.cells
    }
}

impl DeadLettersReader {
    fn decode(&mut self, letters: &Records) -> Result<Records> {
        let (keys, payloads, timestamps, messages, tombstones) = messages(letters)?;
        let decoded = format::decode_patiently(&mut *self.decoder, &messages, PATIENCE);
        let mut records = match decoded {
            Ok(decoded) => {
                let mut records = decoded.records;
                records.details = decoded.details;
                // They are looked up by row.
                records.details.sort_by_key(|(row, _)| *row);
                records
            }
            Err(DecodeError::Unavailable(why)) => return Err(Error::failed(why)),
            Err(DecodeError::Failed(error)) => return Err(error),
        };
        // There is nothing to decode; the reason stays.
        for (index, reason) in &mut records.bad {
            if tombstones.contains(&records.origins[*index].row) {
                *reason = "tombstone";
            }
        }
        let of: Vec<u32> = records.origins.iter().map(|origin| origin.row as u32).collect();
        let mut within = 0;
        for (at, origin) in records.origins.iter_mut().enumerate() {
            within = if at > 0 && of[at] == of[at - 1] { within + 1 } else { 0 };
            let letter = letters.origins[of[at] as usize];
            *origin = Origin { file: letter.file, row: letter.row * self.cells + within };
        }
        let of = UInt32Array::from(of);
        let failed = || "reading dead letters".to_string();
        for (from, to) in self.metadata.iter().enumerate() {
            records.passthrough[*to] = take(&letters.passthrough[COLUMNS.len() + from], &of, None).or_failed(failed)?;
        }
        for raw in [keys, payloads, timestamps] {
            records.passthrough.push(take(&raw, &of, None).or_failed(failed)?);
        }
        Ok(records)
    }
}

/// Key, payload and timestamp of each letter, the same as messages whose offsets count them, and those of them that had
/// no payload.
type Raw = (ArrayRef, ArrayRef, ArrayRef, Messages, Vec<u64>);

fn messages(letters: &Records) -> Result<Raw> {
    let [keys, bytes, timestamps, records, ..] = &letters.passthrough[..] else {
        return Err(Error::failed("dead letters have other columns than planned: internal error, please report"));
    };
    let timestamps = cast(timestamps, &DataType::Int64).or_failed(|| "reading dead letters".into())?;
    let (key, payload, time, record) = (
        keys.as_binary::<i32>(),
        bytes.as_binary::<i32>(),
        timestamps.as_primitive::<Int64Type>(),
        records.as_string::<i32>(),
    );
    let mut messages = Messages::default();
    let mut tombstones = Vec::new();
    for row in 0..letters.len() {
        let key = key.is_valid(row).then(|| key.value(row));
        let time = if time.is_valid(row) { time.value(row) } else { -1 };
        let bytes = if payload.is_valid(row) { payload.value(row) } else { record.value(row).as_bytes() };
        if payload.is_null(row) && bytes.is_empty() {
            tombstones.push(row as u64);
        }
        messages.push(row as i64, time, key, Some(bytes));
    }
    let effective: BinaryArray = (0..letters.len())
        .map(|row| messages.payload(row).filter(|_| tombstones.binary_search(&(row as u64)).is_err()))
        .collect();
    Ok((keys.clone(), Arc::new(effective), timestamps, messages, tombstones))
}
