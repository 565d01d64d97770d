//! Fields of structs as columns.

use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit};
use tempfile::tempdir;

use crate::config::{Key, Moment};
use crate::record::Kind;
use crate::source::testing::*;

fn nested(columns: Vec<(&str, ArrayRef)>, nulls: Option<Vec<bool>>) -> ArrayRef {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    array(StructArray::new(fields.into(), arrays, nulls.map(NullBuffer::from)))
}

#[test]
fn a_field_of_a_struct_is_a_column() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let keys = || array(StringArray::from_iter_values(["a", "b", "a", "b"]));
    let times = || array(TimestampMillisecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC"));
    let after = nested(
        vec![
            ("v", array(Float64Array::from(vec![Some(1.0), Some(2.0), None, Some(4.0)]))),
            ("note", array(StringArray::from_iter_values(["w", "x", "y", "z"]))),
            ("unread", array(StringArray::from_iter_values(["1", "2", "3", "4"]))),
        ],
        Some(vec![true, false, true, true]),
    );
    let payload = nested(vec![("after", after), ("ts", times())], None);
    let who = nested(vec![("id", keys())], None);
    write(&path, vec![("payload", payload), ("who", who), ("other", keys())], 2);
    let mut pipeline = pipeline(path.display());
    pipeline.record.key = Key::Column(at("who.id".into()));
    pipeline.record.time.value.column = "payload.ts".into();
    pipeline.record.values = vec![at("payload.after.v".into())];
    let planned = planned(&pipeline, &["payload.after.note"]);
    assert_eq!(planned.layout.names().collect::<Vec<_>>(), ["payload.after.v", "payload.after.note"]);
    assert_eq!(planned.layout.clock.data_type, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    assert_eq!(planned.layout.columns[1].kind, Kind::Passthrough(DataType::Utf8));
    // The bounds of the nested times are known, so row groups are left out by them.
    let groups: Vec<_> = planned.shape.files[0].groups.iter().map(|group| group.times).collect();
    assert_eq!(groups, [Some((1, 2)), Some((3, 4))]);
    let mut source = planned.open(None).unwrap();
    let records = source.next().unwrap().unwrap();
    let keys: Vec<_> = (0..4).map(|row| String::from_utf8_lossy(records.key(row)).into_owned()).collect();
    assert_eq!((keys, &records.times[..]), (["a", "b", "a", "b"].map(String::from).to_vec(), &[1, 2, 3, 4][..]));
    assert_eq!(records.values[0].iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, true, false]);
    let notes: Vec<_> = records.passthrough[0].as_string::<i32>().iter().collect();
    assert_eq!(notes, [Some("w"), None, Some("y"), Some("z")]);
    let later =
        between(pipeline.clone(), Some(Moment::Instant(chrono::DateTime::from_timestamp_millis(3).unwrap())), None);
    assert_eq!(read(&crate::source::testing::planned(&later, &[]), None).unwrap().len(), 2);

    // A column of that very name wins, in each file by itself.
    let plain = folder.path().join("b.parquet");
    let payload = nested(vec![("ts", times())], None);
    let after = nested(vec![("v", array(Float64Array::from(vec![9.0; 4])))], None);
    let who = array(StringArray::from_iter_values(["c"; 4]));
    let values = array(Float64Array::from(vec![5.0; 4]));
    write(
        &plain,
        vec![("payload", payload), ("who.id", who), ("payload.after.v", values), ("payload.after", after)],
        4,
    );
    let mut both = crate::source::testing::pipeline(folder.path().display());
    both.record = pipeline.record.clone();
    let planned = crate::source::testing::planned(&both, &[]);
    let found = read(&planned, None).unwrap();
    let last: Vec<_> = found[4..].iter().map(|one| (one.key.as_str(), one.values[0])).collect();
    assert_eq!(last, [("c", 5.0_f64.to_bits()); 4]);

    let mut missing = pipeline.clone();
    missing.record.values = vec![at("payload.before.v".into())];
    let said = problems(&missing, &[]).unwrap_err();
    assert!(said.contains("there is no column \"payload.before.v\""), "{said}");
}

#[test]
fn text_that_is_not_utf8_within_a_struct_is_one_bad_record() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let schema =
        "message m { optional group who { optional binary id (STRING); } optional int64 ts; optional double value; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let bytes = [&b"a"[..], b"\xff", b"c"].map(|bytes| ByteArray::from(bytes.to_vec()));
    column.typed::<ByteArrayType>().write_batch(&bytes, Some(&[2; 3]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[0, 1, 2], Some(&[1; 3]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&[1.0; 3], Some(&[1; 3]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let mut pipeline = pipeline(path.display());
    pipeline.record.key = Key::Column(at("who.id".into()));
    let records = planned(&pipeline, &[]).open(None).unwrap().next().unwrap().unwrap();
    assert_eq!(records.bad, [(1, "not_utf8")]);
    assert_eq!((records.key(0), records.key(2)), (&b"a"[..], &b"c"[..]));
}
