//! The columns of a source of messages while they are filled, message by message.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder,
};
use arrow::datatypes::DataType;

use super::columns::{Cell, Columns, Fault, KeyFrom, PassthroughFrom, Row, Target};
use super::times::{TimeFrom, Unfit, nanos_of};
use super::{Decoded, Messages};
use crate::config::Metadatum;
use crate::error::Context;
use crate::record::{Origin, Records, TIME_OUT_OF_RANGE, TimeRange, VectorBuilder, murmur2};

/// Maximum bytes of a detail.
const LONGEST_DETAIL: usize = 200;

/// Columns that are being filled.
pub(super) struct Table {
    columns: Arc<Columns>,
    /// The text of the next message's key, or why it is none, where a schema is needed for it.
    pub key: Option<Result<String, Fault>>,
    records: Records,
    details: Vec<(usize, String)>,
    vectors: Vec<VectorBuilder>,
    passthrough: Vec<Builder>,
    /// Passthrough columns that hold times, with what they may be.
    times: Vec<(usize, TimeRange)>,
}

enum Builder {
    Text(StringBuilder),
    Float(Float64Builder),
    Integer(Int64Builder, DataType),
    Flag(BooleanBuilder),
    Decimal(Decimal128Builder, DataType),
    Bytes(BinaryBuilder),
}

impl Table {
    /// An empty table of these columns.
    pub fn new(columns: Arc<Columns>) -> Table {
        let values = if matches!(columns.key, KeyFrom::Melted(_)) { 1 } else { columns.values };
        let builder = |from: &PassthroughFrom| match from.data_type() {
            DataType::Float64 => Builder::Float(Float64Builder::new()),
            DataType::Boolean => Builder::Flag(BooleanBuilder::new()),
            DataType::Binary => Builder::Bytes(BinaryBuilder::new()),
            t @ DataType::Decimal128(..) => Builder::Decimal(Decimal128Builder::new(), t),
            t @ (DataType::Int32 | DataType::Int64 | DataType::Timestamp(..)) => {
                Builder::Integer(Int64Builder::new(), t)
            }
            _ => Builder::Text(StringBuilder::new()),
        };
        let vectors = columns.vectors.iter().map(|column| VectorBuilder::new(column.clone())).collect();
        let passthrough = columns.passthrough.iter().map(|(_, from)| builder(from)).collect();
        let range = |from: &PassthroughFrom| match from {
            PassthroughFrom::MessageKey(_) | PassthroughFrom::Metadata(_) => None,
            PassthroughFrom::MessageTimestamp => Some(TimeRange::of_ticks(Some(1_000_000))),
            PassthroughFrom::Field(data_type) => TimeRange::of(data_type),
        };
        let times = columns.passthrough.iter().enumerate().filter_map(|(at, (_, from))| Some((at, range(from)?)));
        Table {
            records: Records { values: vec![Vec::new(); values], ..Records::default() },
            details: Vec::new(),
            vectors,
            passthrough,
            times: times.collect(),
            key: None,
            columns,
        }
    }

    /// Adds the values of a message, or the reason why it was rejected.
    pub fn push(&mut self, messages: &Messages, index: usize, row: Result<&Row, Fault>) {
        let framed = self.key.take();
        let row = row.and_then(|row| self.admit(messages, index, row, framed.as_ref()));
        let columns = self.columns.clone();
        match row {
            Err((reason, mut detail)) => {
                let at = self.records.len();
                self.records.bad.push((at, reason));
                if detail.len() > LONGEST_DETAIL {
                    let end = (0..=LONGEST_DETAIL).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
                    detail.truncate(end);
                }
                if !detail.is_empty() {
                    self.details.push((at, detail));
                }
                self.add(messages, index, ("", 0), 0, None, (None, framed.as_ref()));
            }
            Ok((key, time, row)) => match &columns.key {
                KeyFrom::Melted(names) => {
                    for (value, (name, hash)) in names.iter().enumerate() {
                        self.add(
                            messages,
                            index,
                            (name, *hash),
                            time,
                            Some(&row.values[value..=value]),
                            (Some(row), framed.as_ref()),
                        );
                    }
                }
                _ => self.add(
                    messages,
                    index,
                    (&key, murmur2(key.as_bytes())),
                    time,
                    Some(&row.values),
                    (Some(row), framed.as_ref()),
                ),
            },
        }
    }

    fn admit<'r>(
        &self,
        messages: &Messages,
        index: usize,
        row: &'r Row,
        framed: Option<&Result<String, Fault>>,
    ) -> Result<(String, i64, &'r Row), Fault> {
        let key = match self.columns.key {
            KeyFrom::Field => row.key.clone().ok_or_else(|| ("null_key", self.columns.is_null(Target::Key)))?,
            KeyFrom::Message(format) => {
                let key = messages.key(index).ok_or_else(|| ("null_key", "the message has no key".to_string()))?;
                match framed {
                    Some(text) => text.clone()?,
                    None => self
                        .columns
                        .key_text(format, key)
                        .map_err(|e| ("bad_key", format!("the message's key: {e}")))?
                        .into_owned(),
                }
            }
            KeyFrom::Melted(_) | KeyFrom::Single => String::new(),
        };
        if let Some(time) = &row.beyond {
            let name = self.columns.time_name();
            return Err((TIME_OUT_OF_RANGE, format!("field \"{name}\": {time} is beyond the range of times")));
        }
        let time = match self.columns.time {
            TimeFrom::Message => Some(messages.timestamps[index]).filter(|time| *time >= 0),
            TimeFrom::Text | TimeFrom::Ticks | TimeFrom::Fraction(_) => row.time,
        };
        let time = time.ok_or_else(|| ("null_time", self.columns.is_null(Target::Time)))?;
        if !self.columns.clock.range().has(time) {
            let nanos = self.columns.clock.nanos_per_tick;
            return Err(Unfit::Beyond.of_time(self.columns.time_name(), time, nanos));
        }
        let vectors = self.columns.vectors.iter().zip(&row.vectors);
        if let Some(fault) = vectors.filter_map(|(column, vector)| vector.refused(column)).next() {
            return Err(fault);
        }
        for (at, range) in &self.times {
            let (name, from) = &self.columns.passthrough[*at];
            let (value, nanos) = match (from, &row.passthrough[*at]) {
                (PassthroughFrom::MessageTimestamp, _) => (messages.timestamps[index], Some(1_000_000)),
                (PassthroughFrom::Field(data_type), Cell::Integer(value)) => (*value, nanos_of(data_type)),
                _ => continue,
            };
            if !range.has(value) {
                return Err(Unfit::Beyond.of_time(name, value, nanos));
            }
        }
        Ok((key, time, row))
    }

    fn add(
        &mut self,
        messages: &Messages,
        index: usize,
        (key, hash): (&str, u32),
        time: i64,
        values: Option<&[f64]>,
        (row, framed): (Option<&Row>, Option<&Result<String, Fault>>),
    ) {
        let records = &mut self.records;
        records.hashes.push(hash);
        records.key_text.extend_from_slice(key.as_bytes());
        records.key_ends.push(records.key_text.len());
        records.times.push(time);
        for (at, column) in records.values.iter_mut().enumerate() {
            column.push(values.map_or(f64::NAN, |values| values[at]));
        }
        for (at, builder) in self.vectors.iter_mut().enumerate() {
            match row.map(|row| &row.vectors[at]).filter(|vector| vector.is_there) {
                Some(vector) => builder.push(&vector.numbers),
                None => builder.push_null(),
            }
        }
        records.origins.push(Origin { file: 0, row: u64::try_from(messages.offsets[index]).unwrap_or(0) });
        for (at, (builder, (_, from))) in self.passthrough.iter_mut().zip(&self.columns.passthrough).enumerate() {
            let cell = match from {
                PassthroughFrom::Field(_) => row.map_or(Cell::Null, |row| row.passthrough[at].clone()),
                PassthroughFrom::MessageKey(format) => messages.key(index).map_or(Cell::Null, |key| {
                    let text = match framed {
                        Some(text) => text.as_ref().ok().map(|text| text.as_str().into()),
                        None => self.columns.key_text(*format, key).ok(),
                    };
                    Cell::Text(text.unwrap_or_else(|| String::from_utf8_lossy(key)).into_owned())
                }),
                PassthroughFrom::MessageTimestamp => Cell::Integer(messages.timestamps[index]),
                PassthroughFrom::Metadata(Metadatum::Offset) => Cell::Integer(messages.offsets[index]),
                PassthroughFrom::Metadata(Metadatum::Partition) => Cell::Integer(messages.partition.into()),
                PassthroughFrom::Metadata(Metadatum::Topic) => {
                    // No text of its own for each message.
                    if let Builder::Text(topics) = builder {
                        topics.append_value(&messages.topic);
                    }
                    continue;
                }
            };
            builder.push(cell);
        }
    }

    /// The records.
    ///
    /// # Errors
    /// More numbers in vectors than a batch can have.
    pub fn finish(mut self) -> crate::Result<Decoded> {
        let vectors = self.vectors.into_iter().map(VectorBuilder::finish).collect::<Result<_, _>>();
        self.records.vectors = vectors.or_failed(|| "reading vectors".into())?;
        self.records.passthrough = self.passthrough.into_iter().map(Builder::finish).collect();
        Ok(Decoded { records: self.records, details: self.details, deleted: None })
    }
}

impl Builder {
    /// A cell of another type than the column's doesn't get here: it made its message a bad one.
    fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Builder::Text(b), Cell::Text(text)) => b.append_value(text),
            (Builder::Text(b), _) => b.append_null(),
            (Builder::Float(b), Cell::Float(value)) => b.append_value(value),
            (Builder::Float(b), _) => b.append_null(),
            (Builder::Integer(b, _), Cell::Integer(value)) => b.append_value(value),
            (Builder::Integer(b, _), _) => b.append_null(),
            (Builder::Flag(b), Cell::Flag(value)) => b.append_value(value),
            (Builder::Flag(b), _) => b.append_null(),
            (Builder::Decimal(b, _), Cell::Decimal(value)) => b.append_value(value),
            (Builder::Decimal(b, _), _) => b.append_null(),
            (Builder::Bytes(b), Cell::Bytes(bytes)) => b.append_value(bytes),
            (Builder::Bytes(b), _) => b.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Builder::Text(mut b) => Arc::new(b.finish()),
            Builder::Float(mut b) => Arc::new(b.finish()),
            Builder::Flag(mut b) => Arc::new(b.finish()),
            Builder::Bytes(mut b) => Arc::new(b.finish()),
            Builder::Decimal(b, data_type) => Arc::new(b.with_data_type(data_type).finish()),
            Builder::Integer(mut b, data_type) => {
                let integers: ArrayRef = Arc::new(b.finish());
                // Every type that is kept as integers has 64 bits, or holds what is kept: so there is such a cast.
                arrow::compute::cast(&integers, &data_type).unwrap_or(integers)
            }
        }
    }
}
