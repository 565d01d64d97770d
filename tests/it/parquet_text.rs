//! Text in Parquet that isn't UTF-8: only those rows are refused.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::common::*;
use super::parquet_differ::{lines, pipeline_of};

/// The bytes of `key` and `note`.
type Row = (&'static [u8], &'static [u8]);

/// Rows of `key` and `note`, one a step, in row groups of `group`; the writer takes any bytes for text.
fn write_bytes(path: &Path, rows: &[Row], group: usize, dictionary: bool) {
    // All are text.
    let (key, note) = if dictionary { ("ENUM", "JSON") } else { ("STRING", "UTF8") };
    let schema = format!(
        "message m {{ optional binary key ({key}); optional int64 ts; optional double value; \
         optional group notes (LIST) {{ repeated group list {{ optional binary element (STRING); }} }} \
         optional binary note ({note}); }}"
    );
    let properties = WriterProperties::builder().set_dictionary_enabled(dictionary).set_encoding(Encoding::PLAIN);
    let file = std::fs::File::create(path).unwrap();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    for (number, rows) in rows.chunks(group).enumerate() {
        let there = vec![1; rows.len()];
        let texts = |pick: fn(&Row) -> &'static [u8]| -> Vec<ByteArray> {
            rows.iter().map(|row| ByteArray::from(pick(row).to_vec())).collect()
        };
        let mut to = writer.next_row_group().unwrap();
        let mut column = to.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts(|row| row.0), Some(&there), None).unwrap();
        column.close().unwrap();
        let mut column = to.next_column().unwrap().unwrap();
        let times: Vec<i64> = (0..rows.len()).map(|row| (number * group + row) as i64).collect();
        column.typed::<Int64Type>().write_batch(&times, Some(&there), None).unwrap();
        column.close().unwrap();
        let mut column = to.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&vec![1.0; rows.len()], Some(&there), None).unwrap();
        column.close().unwrap();
        // Lists of one text each: `note` again.
        let mut column = to.next_column().unwrap().unwrap();
        let (deep, first) = (vec![3; rows.len()], vec![0; rows.len()]);
        let notes = texts(|row| row.1);
        column.typed::<ByteArrayType>().write_batch(&notes, Some(&deep), Some(&first)).unwrap();
        column.close().unwrap();
        let mut column = to.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&notes, Some(&there), None).unwrap();
        column.close().unwrap();
        to.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn only_rows_whose_text_is_not_utf8_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/a.parquet");
    let good: Row = ("Änna".as_bytes(), b"x");
    // Latin-1 in the key of row 3, in what is carried of row 7.
    let mut rows = vec![good; 9];
    rows[3].0 = b"M\xfcller";
    rows[7].1 = b"\xff\xfe";
    for (field, refused) in [("value", 1), ("note", 2), ("notes", 2)] {
        let file = pipeline_of(folder.path(), "", &format!("stdout: {{ fields: [{field}] }}"), "");
        for (group, dictionary) in [(9, true), (9, false), (2, true), (4, false)] {
            write_bytes(&path, &rows, group, dictionary);
            let _ = std::fs::remove_dir_all(folder.path().join("dead_letters"));
            let (out, err) = kolk_exits(0, &["run", &file]);
            let lines = lines(&out);
            assert_eq!(lines.len(), 9 - refused, "{field} {group} {dictionary}: {out} {err}");
            assert!(lines.iter().all(|line| line["key"] == "Änna"));
            let count = format!("{refused} record");
            assert!(err.contains(&count) && err.contains("to the dead letters: not_utf8"), "{err}");
            let letters = format!("{:?}", self::rows(&folder.path().join("dead_letters")));
            assert!(letters.contains(r"M\\xfcller"), "{letters}");
            assert!(letters.contains("column \\\"key\\\" is not UTF-8"), "{letters}");
            assert_eq!(letters.contains(&format!("column \\\"{field}\\\" is not UTF-8")), refused == 2, "{letters}");
        }
    }
}

#[test]
fn a_refusal_says_column_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [note] }", "on: { error: refuse }");
    let mut rows: Vec<Row> = vec![(b"a", b"x"); 9];
    rows[5].1 = b"caf\xe9";
    write_bytes(&folder.path().join("data/a.parquet"), &rows, 4, true);
    let (_, err) = kolk_exits(1, &["run", &file]);
    assert!(err.contains("a.parquet, row 5 (from 0): column \"note\" is not UTF-8: \"caf\\xe9\""), "{err}");
}

#[test]
fn a_file_that_is_corrupt_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = pipeline_of(folder.path(), "", "stdout: { fields: [note] }", "");
    let rows: Vec<Row> = vec![(b"a", b"x"); 300];
    let path = folder.path().join("data/a.parquet");
    write_bytes(&path, &rows, 300, false);
    let mut bytes = std::fs::read(&path).unwrap();
    // The header of the first page.
    bytes[4..12].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let (_, err) = kolk_exits(1, &["run", &file]);
    assert!(err.contains("a.parquet: row group 0"), "{err}");
}
