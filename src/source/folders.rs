//! Columns in the names of folders: `day=2024-01-31/store=A/part-0.parquet`, as Spark, Hive, DuckDB and pyarrow write
//! them. The files themselves mostly leave these columns out.
//!
//! Lives here: finding them, their types, their values as columns of a batch. Must not live here: which files are read.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, Scalar, StringArray, new_null_array,
};
use arrow::compute::{cast, kernels::cmp::not_distinct};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use chrono::{NaiveDate, NaiveDateTime};

use super::merge::Purpose;

/// What stands in the place of null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The values of a file's folders, by column.
pub(super) type Values = Vec<(String, Option<String>)>;

/// The columns in the path of a file, from the outermost folder in.
pub(super) fn values(path: &str) -> Values {
    let mut folders: Vec<&str> = path.split('/').collect();
    folders.pop();
    let column = |folder: &str| {
        let (name, value) = folder.split_once('=')?;
        let value = decoded(value)?;
        Some((decoded(name).filter(|name| !name.is_empty())?, (value != NULL).then_some(value)))
    };
    folders.into_iter().filter_map(column).collect()
}

/// Percent-encoded text; `None` where it isn't UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = (*first == b'%').then(|| more.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Names and types of the columns in the paths of files: integers if all are, dates if all are, timestamps if all are
/// and it isn't the key, else text. One of the record's values is a number if all are. `purpose`: what a column is read
/// for. `is_text`: whether it has to meet text elsewhere, and so stays as it is written.
pub(super) fn types(
    files: &[Values],
    purpose: impl Fn(&str) -> Option<Purpose>,
    is_text: impl Fn(&str) -> bool,
) -> Vec<(String, DataType)> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in files.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let of = |name: &str| {
        if is_text(name) {
            return DataType::Utf8;
        }
        let named = files.iter().flatten().filter(|(other, _)| other == name);
        let mut texts: Vec<&str> = named.filter_map(|(_, value)| value.as_deref()).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut integers: Vec<i64> = texts.iter().filter_map(|text| integer(text)).collect();
        integers.sort_unstable();
        integers.dedup();
        // `7` and `007` stay apart, and so text.
        if !texts.is_empty() && integers.len() == texts.len() {
            return DataType::Int64;
        }
        let all = |is: fn(&str) -> bool| !texts.is_empty() && texts.iter().all(|text| is(text));
        match purpose(name) {
            Some(Purpose::Value) if all(|text| text.parse::<f64>().is_ok()) => DataType::Float64,
            _ if all(date) => DataType::Date32,
            Some(Purpose::Time | Purpose::Field) if all(time) => TIME,
            _ => DataType::Utf8,
        }
    };
    names.iter().map(|name| (name.to_string(), of(name))).collect()
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_one = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| text.parse().ok()).flatten()
}

fn date(text: &str) -> bool {
    text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

/// Timestamps as Spark and DuckDB write them into names of folders.
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn time(text: &str) -> bool {
    let is_one = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .any(|format| NaiveDateTime::parse_from_str(text, format).is_ok());
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    is_one && cast(&array, &TIME).is_ok_and(|time| time.null_count() == 0)
}

/// A file's columns with those of its path that it doesn't have itself.
pub(super) fn extended(schema: &Schema, values: &Values, types: &[(String, DataType)]) -> Schema {
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    for (name, data_type) in types {
        if values.iter().any(|(own, _)| own == name) && schema.field_with_name(name).is_err() {
            fields.push(Field::new(name, data_type.clone(), true));
        }
    }
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// A column of a file's path: every row has its value.
#[derive(Debug, Clone)]
pub(super) struct FolderColumn {
    pub name: String,
    /// As it stands in the path.
    text: Option<String>,
    /// The value, once.
    value: ArrayRef,
}

impl FolderColumn {
    /// Those of a file that are wanted; the file may have some of them itself.
    pub fn of(values: &Values, types: &[(String, DataType)], is_wanted: impl Fn(&str) -> bool) -> Vec<FolderColumn> {
        let column = |(name, data_type): &(String, DataType)| {
            // Of two folders with one name the inner one counts, as for Spark and DuckDB.
            let (_, text) = values.iter().rev().find(|(own, _)| own == name)?;
            let array: ArrayRef = Arc::new(StringArray::from(vec![text.as_deref()]));
            let value = cast(&array, data_type).ok()?;
            Some(FolderColumn { name: name.clone(), text: text.clone(), value })
        };
        types.iter().filter(|(name, _)| is_wanted(name)).filter_map(column).collect()
    }

    /// The value as it stands in the path.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(NULL)
    }

    /// Whether it is null in all rows.
    pub fn is_null(&self) -> bool {
        self.text.is_none()
    }

    /// The type of the column.
    pub fn data_type(&self) -> &DataType {
        self.value.data_type()
    }

    /// The value of an integer, a date or a timestamp.
    pub fn ticks(&self) -> Option<i64> {
        let number = match self.data_type() {
            DataType::Date32 => cast(&self.value, &DataType::Int32),
            DataType::Int64 | DataType::Timestamp(..) => Ok(self.value.clone()),
            _ => return None,
        };
        let number = number.and_then(|number| cast(&number, &DataType::Int64)).ok()?;
        let number = number.as_primitive::<Int64Type>();
        (number.len() == 1 && number.is_valid(0)).then(|| number.value(0))
    }

    fn array(&self, rows: usize) -> Result<ArrayRef, ArrowError> {
        if self.text.is_none() {
            return Ok(new_null_array(self.value.data_type(), rows));
        }
        let all = DictionaryArray::try_new(Int32Array::from(vec![0; rows]), self.value.clone())?;
        Ok(Arc::new(all))
    }
}

/// The batch with the columns of its file's path, or where a column of the file says something else than the path: the
/// first such row, and how the two differ.
pub(super) fn with_folders(
    batch: RecordBatch,
    folders: &[FolderColumn],
) -> Result<Result<RecordBatch, (usize, String)>, ArrowError> {
    if folders.is_empty() {
        return Ok(Ok(batch));
    }
    let rows = batch.num_rows();
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        columns.push((field.name().clone(), array.clone()));
    }
    for folder in folders {
        match batch.column_by_name(&folder.name) {
            None => columns.push((folder.name.clone(), folder.array(rows)?)),
            Some(own) => {
                if let Some(row) = disagrees(own, folder)? {
                    return Ok(Err((
                        row,
                        format!("column \"{}\" is not {}, as the folder says", folder.name, folder.text()),
                    )));
                }
            }
        }
    }
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).map(Ok)
}

/// The first row where the file says something else.
fn disagrees(own: &ArrayRef, folder: &FolderColumn) -> Result<Option<usize>, ArrowError> {
    let plain = super::merge::plain(own.data_type());
    let own = cast(own, &plain)?;
    let text: ArrayRef = Arc::new(StringArray::from(vec![folder.text.as_deref()]));
    let value = cast(&text, &plain)?;
    let same = not_distinct(&own, &Scalar::new(value))?;
    Ok((0..same.len()).find(|row| !same.value(*row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_columns() {
        let found = values("/data/a=b/day=2024-01-31/st%C3%B6re=A%20%2F%3D/n=__HIVE_DEFAULT_PARTITION__/x=1.parquet");
        let some = |text: &str| Some(text.to_string());
        let expected = [("a", some("b")), ("day", some("2024-01-31")), ("störe", some("A /=")), ("n", None)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_string(), value)));
        assert!(values("s3://bucket/plain/=x/100%/part.parquet").is_empty());
        assert_eq!(values("k=100%/p")[0].1, some("100%"));
        assert!(values("k=%FF/p").is_empty());
    }

    #[test]
    fn types_are_those_of_all_files() {
        let files = |names: &[&str]| names.iter().map(|name| values(&format!("k={name}/p"))).collect::<Vec<_>>();
        for (names, expected) in [
            (&["1", "-2", "__HIVE_DEFAULT_PARTITION__"][..], DataType::Int64),
            (&["01", "12"], DataType::Int64),
            (&["7", "007"], DataType::Utf8),
            (&["9223372036854775808"], DataType::Utf8),
            (&["2024-01-31", "2024-02-29"], DataType::Date32),
            (&["2024-01-31", "2024-02-30"], DataType::Utf8),
            (&["1", "A"], DataType::Utf8),
            (&["__HIVE_DEFAULT_PARTITION__"], DataType::Utf8),
            (&["2024-01-31 12%3A00%3A00", "2024-01-31T12:00:00.5"], TIME),
            (&["2024-01-31 12%3A00%3A00", "2024-01-31"], DataType::Utf8),
            (&["0.5", "1"], DataType::Utf8),
        ] {
            let found = types(&files(names), |_| Some(Purpose::Field), |_| false);
            assert_eq!(found, [("k".to_string(), expected)], "{names:?}");
        }
        // The name of a key stays what it is; values are numbers.
        let of = |name: &str, purpose| types(&files(&[name, "1"]), |_| Some(purpose), |_| false).remove(0).1;
        let key = |name: &str, is_text| types(&files(&[name]), |_| Some(Purpose::Key), |_| is_text).remove(0).1;
        assert_eq!(key("2024-01-31 12:00:00", false), DataType::Utf8);
        assert_eq!((key("007", false), key("007", true)), (DataType::Int64, DataType::Utf8));
        assert_eq!((of("0.5", Purpose::Value), of("x", Purpose::Value)), (DataType::Float64, DataType::Utf8));
    }
}
