//! From Arrow arrays of one file's rows to [`Records`].

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, filter_record_batch, take};
use arrow::datatypes::{DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Int32Type};
use arrow::error::ArrowError;

use super::flaws::{Flaw, beyond, widened, without_flaws};
use super::gathered::{Gathered, TEXT_LIMIT};
use super::merge::plain;
use super::plan::ticks_per;
use super::schema::{Columns, KeyColumn, Wanted};
use crate::config::VectorColumn;
use crate::record::{
    BAD_VECTOR, Clock, NO_TIME, Origin, Records, TIME_OUT_OF_RANGE, murmur2, nearest, nearest_of_digits,
};

/// Rows of one file, without those outside of the requested time.
pub(super) struct Piece {
    file: u32,
    rows: Rows,
    keys: Keys,
    /// Rows that have key and time; `None`: all.
    valid: Option<NullBuffer>,
    /// Rows that are refused, ascending.
    bad: Vec<(usize, &'static str)>,
    /// For some of them, what exactly is wrong.
    details: Vec<(usize, String)>,
    times: Vec<i64>,
    values: Vec<Vec<f64>>,
    vectors: Vec<ArrayRef>,
    passthrough: Vec<ArrayRef>,
    /// The next record to take; a record is a row or, melted, one of its cells.
    at: usize,
}

/// The place of each row in the file.
enum Rows {
    From(u64),
    Listed(Vec<u64>),
}

enum Keys {
    Dictionary {
        keys: Int32Array,
        values: StringArray,
        hashes: Arc<Vec<u32>>,
    },
    Text(LargeStringArray),
    Signed(Int64Array),
    Unsigned(UInt64Array),
    /// Melted; per cell, with its hash.
    Names(Arc<Vec<(String, u32)>>),
    Single,
}

/// Hashes of the dictionary seen last: it stays the same for a whole row group.
#[derive(Default)]
pub(super) struct Dictionary {
    seen: Option<(StringArray, Arc<Vec<u32>>)>,
}

impl Dictionary {
    fn hashes(&mut self, values: &StringArray) -> Arc<Vec<u32>> {
        match &self.seen {
            // The array kept here keeps its memory from being used by another one.
            Some((seen, hashes))
                if seen.value_offsets().as_ptr() == values.value_offsets().as_ptr()
                    && seen.value_data().as_ptr() == values.value_data().as_ptr()
                    && seen.len() == values.len() =>
            {
                hashes.clone()
            }
            _ => {
                let hashes = Arc::new((0..values.len()).map(|i| murmur2(values.value(i).as_bytes())).collect());
                self.seen = Some((values.clone(), Arc::clone(&hashes)));
                hashes
            }
        }
    }
}

impl Piece {
    /// Decodes a batch whose first row is row `first` of file number `file`.
    pub fn decode(
        mut batch: RecordBatch,
        columns: &Columns,
        wanted: Wanted,
        dictionary: &mut Dictionary,
        (file, first): (u32, u64),
        mut flaws: Vec<Flaw>,
    ) -> Result<Piece, ArrowError> {
        let (mut times, time_null) = ticks(column(&batch, &columns.time)?, &columns.clock)?;
        for flaw in flaws.iter().filter(|flaw| flaw.column == columns.time) {
            times[flaw.row] = NO_TIME;
        }
        if flaws.iter().any(|flaw| flaw.column != columns.time) {
            batch = without_flaws(&batch, &flaws)?;
        }
        let (batch, times, time_null, rows) = match outside(&times, wanted) {
            None => (batch, times, time_null, Rows::From(first)),
            Some(inside) => {
                let kept: Vec<usize> = (0..times.len()).filter(|row| inside.value(*row)).collect();
                let null = time_null.map(|null| kept.iter().map(|row| null.is_valid(*row)).collect::<NullBuffer>());
                let times = kept.iter().map(|row| times[*row]).collect();
                flaws.retain_mut(|flaw| match kept.binary_search(&flaw.row) {
                    Ok(row) => {
                        flaw.row = row;
                        true
                    }
                    Err(_) => false,
                });
                let rows = kept.iter().map(|row| first + *row as u64).collect();
                (filter_record_batch(&batch, &inside)?, times, null, Rows::Listed(rows))
            }
        };
        let mut passthrough = Vec::with_capacity(columns.passthrough.len());
        for (name, data_type) in &columns.passthrough {
            passthrough.push(match batch.column_by_name(name) {
                None => new_null_array(data_type, times.len()),
                Some(array) if array.data_type() == data_type => array.clone(),
                Some(array) => widened(array, data_type, name, &mut flaws)?,
            });
        }
        let mut vectors = Vec::with_capacity(columns.vectors.len());
        for column in &columns.vectors {
            vectors.push(read_vectors(&batch, column, times.len(), &mut flaws)?);
        }
        flaws.extend(beyond(&times, &passthrough, columns));
        let (keys, key_null) = keys(&batch, columns, dictionary)?;
        let valid = NullBuffer::union(key_null.as_ref(), valid_times(&times).as_ref());
        flaws.sort_by_key(|flaw| flaw.row);
        flaws.dedup_by_key(|flaw| flaw.row);
        let mut bad: Vec<(usize, &'static str)> = flaws.iter().map(|flaw| (flaw.row, flaw.reason)).collect();
        if let Some(valid) = &valid {
            let is_flawed = |row: usize| flaws.binary_search_by_key(&row, |flaw| flaw.row).is_ok();
            for row in (0..times.len()).filter(|row| valid.is_null(*row) && !is_flawed(*row)) {
                let reason = match (times[row] == NO_TIME, &time_null) {
                    (false, _) => "null_key",
                    (true, Some(null)) if null.is_null(row) => "null_time",
                    (true, _) => TIME_OUT_OF_RANGE,
                };
                bad.push((row, reason));
            }
        }
        bad.sort_unstable();
        let values = columns.values.iter().map(|name| match batch.column_by_name(name) {
            Some(array) => numbers(array),
            None => Ok(vec![f64::NAN; times.len()]),
        });
        let values = values.collect::<Result<_, _>>()?;
        let details = flaws.into_iter().map(|flaw| (flaw.row, flaw.detail)).collect();
        Ok(Piece { file, rows, keys, valid, bad, details, times, values, vectors, passthrough, at: 0 })
    }

    /// Leaves out the records before a place.
    pub fn skip_before(&mut self, start: Origin) {
        let records = self.times.len() * self.cells();
        while self.at < records && self.origin(self.at) < start {
            self.at += 1;
        }
    }

    fn origin(&self, record: usize) -> Origin {
        let cells = self.cells();
        let row = match &self.rows {
            Rows::From(first) => first + (record / cells) as u64,
            Rows::Listed(rows) => rows[record / cells],
        };
        Origin { file: self.file, row: row * cells as u64 + (record % cells) as u64 }
    }

    /// Whether all records were taken.
    pub fn is_empty(&self) -> bool {
        self.at >= self.times.len() * self.cells()
    }

    fn cells(&self) -> usize {
        match &self.keys {
            Keys::Names(names) => names.len(),
            _ => 1,
        }
    }

    /// Moves records to `into`, until it holds `limit` of them or a lot of text.
    pub fn take(&mut self, limit: usize, into: &mut Gathered) -> Result<(), ArrowError> {
        let cells = self.cells();
        let end = (self.times.len() * cells).min(self.at + limit.saturating_sub(into.records.len()));
        let base = into.records.len();
        let end = self.push_keys(self.at..end, &mut into.records);
        let range = self.at..end;
        self.at = end;
        let records = &mut into.records;
        let first_bad = self.bad.partition_point(|(row, _)| *row < range.start / cells);
        for (row, reason) in &self.bad[first_bad..] {
            for record in (row * cells..(row + 1) * cells).filter(|record| range.contains(record)) {
                records.bad.push((base + record - range.start, reason));
                if let Ok(at) = self.details.binary_search_by_key(row, |(row, _)| *row) {
                    records.details.push((base + record - range.start, self.details[at].1.clone()));
                }
            }
        }
        for record in range.clone() {
            records.times.push(self.times[record / cells]);
            records.origins.push(self.origin(record));
        }
        if let Keys::Names(_) = &self.keys {
            records.values.resize(1, Vec::new());
            records.values[0].extend(range.clone().map(|record| self.values[record % cells][record / cells]));
        } else {
            records.values.resize(self.values.len(), Vec::new());
            for (to, from) in records.values.iter_mut().zip(&self.values) {
                to.extend_from_slice(&from[range.clone()]);
            }
        }
        into.vectors.resize(self.vectors.len(), Vec::new());
        for (to, from) in into.vectors.iter_mut().zip(&self.vectors) {
            to.push(from.slice(range.start, range.len()));
        }
        into.passthrough.resize(self.passthrough.len(), Vec::new());
        for (to, from) in into.passthrough.iter_mut().zip(&self.passthrough) {
            to.push(match cells {
                1 => from.slice(range.start, range.len()),
                _ => take(from, &range.clone().map(|record| (record / cells) as u32).collect::<UInt32Array>(), None)?,
            });
        }
        Ok(())
    }

    /// Appends keys and hashes of a range of records and says how far it came before the text was enough.
    fn push_keys(&self, range: Range<usize>, records: &mut Records) -> usize {
        let empty = murmur2(b"");
        let cells = self.cells();
        // What the integer key before this one was, and where its text is.
        let mut before: Option<(i128, Range<usize>)> = None;
        for record in range.clone() {
            let row = record / cells;
            let text = &mut records.key_text;
            let mut hash = empty;
            if self.valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                match &self.keys {
                    Keys::Dictionary { keys, values, hashes } => {
                        let entry = keys.value(row) as usize;
                        text.extend_from_slice(values.value(entry).as_bytes());
                        hash = hashes[entry];
                    }
                    Keys::Text(values) => {
                        text.extend_from_slice(values.value(row).as_bytes());
                        hash = murmur2(values.value(row).as_bytes());
                    }
                    Keys::Signed(values) => {
                        hash = push_integer(i128::from(values.value(row)), &mut before, &records.hashes, text);
                    }
                    Keys::Unsigned(values) => {
                        hash = push_integer(i128::from(values.value(row)), &mut before, &records.hashes, text);
                    }
                    Keys::Names(names) => {
                        let (name, name_hash) = &names[record % cells];
                        text.extend_from_slice(name.as_bytes());
                        hash = *name_hash;
                    }
                    Keys::Single => {}
                }
            } else {
                before = None;
            }
            records.hashes.push(hash);
            records.key_ends.push(text.len());
            if text.len() >= TEXT_LIMIT {
                return record + 1;
            }
        }
        range.end
    }
}

fn push_integer(value: i128, before: &mut Option<(i128, Range<usize>)>, hashes: &[u32], text: &mut Vec<u8>) -> u32 {
    let start = text.len();
    if let (Some((last, range)), Some(hash)) = (before.as_mut(), hashes.last())
        && *last == value
    {
        text.extend_from_within(range.clone());
        return *hash;
    }
    // Writing to a vector can't fail.
    let _ = write!(text, "{value}");
    *before = Some((value, start..text.len()));
    murmur2(&text[start..])
}

/// A column of vectors, null where the file doesn't have it.
fn read_vectors(
    batch: &RecordBatch,
    column: &VectorColumn,
    rows: usize,
    flaws: &mut Vec<Flaw>,
) -> Result<ArrayRef, ArrowError> {
    let name = column.name.as_str();
    let (read, bad) = match batch.column_by_name(name) {
        Some(array) => column.read(array)?,
        None => column.read(&new_null_array(&DataType::Null, rows))?,
    };
    flaws.extend(bad.into_iter().map(|(row, detail)| Flaw {
        column: name.to_string(),
        row,
        reason: BAD_VECTOR,
        detail,
    }));
    Ok(read)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("there is no column \"{name}\"")))
}

/// Ticks, [`NO_TIME`] where null or beyond `i64`, and where the source is null.
fn ticks(array: &ArrayRef, clock: &Clock) -> Result<(Vec<i64>, Option<NullBuffer>), ArrowError> {
    // Timestamps and dates are cast as the integers they are; an unsigned one that doesn't fit becomes null.
    let cast = match array.data_type() {
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        DataType::Dictionary(_, values) => cast(&cast(array, values)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    let ticks = cast.as_primitive::<arrow::datatypes::Int64Type>();
    let mut values: Vec<i64> = match ticks.nulls() {
        None => ticks.values().to_vec(),
        Some(nulls) => ticks.values().iter().zip(nulls).map(|(v, valid)| if valid { *v } else { NO_TIME }).collect(),
    };
    let factor = ticks_per(&plain(array.data_type()), clock);
    if factor != 1 {
        values.iter_mut().for_each(|tick| *tick = tick.checked_mul(factor).unwrap_or(NO_TIME));
    }
    Ok((values, array.logical_nulls()))
}

/// Which rows are wanted, unless all are. A row without a time stays: it is refused and counted later.
fn outside(times: &[i64], (from, until): Wanted) -> Option<BooleanArray> {
    let inside = |time: &i64| {
        *time == NO_TIME || (from.is_none_or(|from| *time >= from) && until.is_none_or(|until| *time < until))
    };
    if times.iter().all(inside) {
        return None;
    }
    Some(times.iter().map(|time| Some(inside(time))).collect())
}

fn valid_times(times: &[i64]) -> Option<NullBuffer> {
    times.contains(&NO_TIME).then(|| times.iter().map(|time| *time != NO_TIME).collect())
}

fn keys(
    batch: &RecordBatch,
    columns: &Columns,
    dictionary: &mut Dictionary,
) -> Result<(Keys, Option<NullBuffer>), ArrowError> {
    let name = match &columns.key {
        KeyColumn::Single => return Ok((Keys::Single, None)),
        KeyColumn::Melted(names) => return Ok((Keys::Names(names.clone()), None)),
        KeyColumn::Text(name) | KeyColumn::Integer(name) | KeyColumn::Typed(name, _) => name,
    };
    let array = column(batch, name)?;
    let nulls = array.logical_nulls();
    let keys = match (&columns.key, array.data_type()) {
        (KeyColumn::Typed(_, key_type), _) => Keys::Text(key_type.texts(array)?),
        (KeyColumn::Integer(_), DataType::UInt64) => Keys::Unsigned(array.as_primitive().clone()),
        (KeyColumn::Integer(_), DataType::Dictionary(_, values)) if **values == DataType::UInt64 => {
            Keys::Unsigned(cast(array, values)?.as_primitive().clone())
        }
        (KeyColumn::Integer(_), _) => Keys::Signed(cast(array, &DataType::Int64)?.as_primitive().clone()),
        (_, DataType::Dictionary(key_type, values)) if **key_type == DataType::Int32 && **values == DataType::Utf8 => {
            let array = array.as_dictionary::<Int32Type>();
            let values = array.values().as_string::<i32>().clone();
            let hashes = dictionary.hashes(&values);
            Keys::Dictionary { keys: array.keys().clone(), values, hashes }
        }
        _ => Keys::Text(cast(array, &DataType::LargeUtf8)?.as_string().clone()),
    };
    Ok((keys, nulls))
}

/// Numbers as the nearest f64, NaN for null.
fn numbers(array: &ArrayRef) -> Result<Vec<f64>, ArrowError> {
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    Ok(match array.data_type() {
        DataType::Decimal32(_, scale) => {
            let values = array.as_primitive::<Decimal32Type>();
            values.iter().map(|v| or_nan(v.map(|v| nearest(i128::from(v), *scale)))).collect()
        }
        DataType::Decimal64(_, scale) => {
            let values = array.as_primitive::<Decimal64Type>();
            values.iter().map(|v| or_nan(v.map(|v| nearest(i128::from(v), *scale)))).collect()
        }
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            values.iter().map(|v| or_nan(v.map(|v| nearest(v, *scale)))).collect()
        }
        DataType::Decimal256(_, scale) => {
            let values = array.as_primitive::<Decimal256Type>();
            values.iter().map(|v| or_nan(v.and_then(|v| nearest_of_digits(v, *scale)))).collect()
        }
        _ => {
            let array = cast(array, &DataType::Float64)?;
            let numbers = array.as_primitive::<arrow::datatypes::Float64Type>();
            match numbers.nulls() {
                None => numbers.values().to_vec(),
                Some(_) => numbers.iter().map(or_nan).collect(),
            }
        }
    })
}
