//! Which files are read, and what is refused before the start.

use arrow::array::*;
use arrow::datatypes::Int32Type;
use tempfile::tempdir;

use ::parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::config::{FileOrder, Input, Key, Location, Moment};
use crate::source::parquet::PlannedParquet;
use crate::source::testing::*;

#[test]
fn empty_files_and_single_rows() {
    let folder = tempdir().unwrap();
    for (name, rows) in [("a", 0), ("b", 1), ("c", 0), ("d", 2)] {
        let keys = array(StringArray::from_iter_values((0..rows).map(|n| format!("{name}{n}"))));
        write(&folder.path().join(format!("{name}.parquet")), three(keys, steps(rows)), 100);
    }
    let one = |name: &str| read(&planned(&pipeline(folder.path().join(name).display()), &[]), None).unwrap().len();
    assert_eq!((one("a.parquet"), one("b.parquet")), (0, 1));
    let all = read(&planned(&pipeline(folder.path().display()), &[]), None).unwrap();
    let found: Vec<_> = all.iter().map(|one| (one.key.as_str(), one.origin.file)).collect();
    assert_eq!(found, [("b0", 1), ("d0", 3), ("d1", 3)]);
}

#[test]
fn folders_and_globs_are_read_in_path_order() {
    let folder = tempdir().unwrap();
    let names =
        ["b/1.parquet", "a.parquet", "b.parquet", "b/_old/1.parquet", "_x.parquet", ".y.parquet", "b/0.PARQUET"];
    for name in names {
        sample(&folder.path().join(name), name);
    }
    std::fs::write(folder.path().join("_SUCCESS"), "").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "not data").unwrap();
    let root = folder.path().display().to_string();
    let files = |location: &str| {
        let planned = planned(&pipeline(location), &[]);
        let all = read(&planned, None).unwrap();
        let found = planned.files.files;
        assert_eq!(all.len(), found.len() * 2);
        (found.iter().map(|file| file.name.clone()).collect::<Vec<_>>(), found)
    };
    for root in [root.clone(), format!("file://{root}")] {
        let (names, whole) = files(&root);
        assert_eq!(names, ["a.parquet", "b/0.PARQUET", "b/1.parquet", "b.parquet"], "{root}");
        assert_eq!(files(&format!("{root}/")).1, whole);
        assert_eq!(files(&format!("{root}/**/*.[pP]*")).0, names, "{root}");
        assert_eq!(files(&format!("{root}/*.parquet")).0, ["a.parquet", "b.parquet"]);
        assert_eq!(files(&format!("{root}/b/?.parquet")).0, ["1.parquet"]);
        assert_eq!(files(&format!("{root}/b/_old/*.parquet")).0, ["1.parquet"]);
        assert_eq!(files(&format!("{root}/_x.parquet")).0, ["_x.parquet"]);
    }
    // Where it lies doesn't matter, what it holds does.
    let (_, before) = files(&root);
    let moved = tempdir().unwrap();
    for name in ["a.parquet", "b/0.PARQUET", "b/1.parquet", "b.parquet"] {
        std::fs::create_dir_all(moved.path().join("b")).unwrap();
        std::fs::copy(folder.path().join(name), moved.path().join(name)).unwrap();
    }
    let other = moved.path().display().to_string();
    assert_eq!(files(&other).1, before);
    sample(&moved.path().join("b/1.parquet"), "changed key");
    assert_ne!(files(&other).1, before);
}

#[test]
fn what_is_not_there_is_refused() {
    let folder = tempdir().unwrap();
    let root = folder.path().display().to_string();
    let refused = |location: &str| {
        let message = problems(&pipeline(location), &[]).unwrap_err();
        assert!(message.starts_with("pipeline.yaml:7:3: "), "{message}");
        message
    };
    assert!(refused(&format!("{root}/none.parquet")).contains("there is no file or folder"));
    assert!(refused(&format!("{root}/none*.parquet")).contains("no file matches"));
    assert!(refused(&root).contains("holds no *.parquet file"));
    assert!(refused(&format!("file://{root}/none.parquet")).contains("neither an object nor"));
    assert!(refused("nowhere://x/y").contains("can't use nowhere://x/y"));
}

#[test]
fn broken_files_are_refused_by_name() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    sample(&path, "a");
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 3, 7, 8, 50, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let message = problems(&pipeline(folder.path().display()), &[]).unwrap_err();
        assert!(message.contains("a.parquet: can't be read as Parquet"), "{length}: {message}");
    }
    // The end is whole, the data before it isn't there.
    std::fs::write(&path, &whole[whole.len() / 2..]).unwrap();
    let message = problems(&pipeline(path.display()), &[]).unwrap_err();
    assert!(message.contains("truncated"), "{message}");
}

#[test]
fn wrong_columns_are_refused_at_their_place() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let mut columns = three(steps(2), steps(2));
    columns.push(("text", array(StringArray::from_iter_values(["x", "y"]))));
    columns.push(("flag", array(BooleanArray::from(vec![true, false]))));
    write(&path, columns, 10);
    let mut p = pipeline(path.display());
    p.record.key = Key::Column(at("value".into()));
    p.record.time.value.column = "text".into();
    p.record.values = vec![at("text".into()), at("valeu".into())];
    let message = problems(&p, &["txet"]).unwrap_err();
    for part in [
        "expected text, integers, decimals, dates, booleans or bytes as keys in column \"value\"",
        "expected a timestamp, a date or an integer",
        "expected numbers in column \"text\"",
        "there is no column \"valeu\"",
        "did you mean \"value\"?",
        "did you mean \"text\"?",
    ] {
        assert!(message.contains(part), "{part} not in\n{message}");
    }
    let dated = between(pipeline(path.display()), Some(Moment::Instant(chrono::Utc::now())), None);
    assert!(problems(&dated, &[]).unwrap_err().contains("integer step without a clock"));
}

#[test]
fn files_of_another_schema_are_refused() {
    let folder = tempdir().unwrap();
    let text = || array(StringArray::from_iter_values(["a", "b"]));
    write(&folder.path().join("a.parquet"), three(text(), steps(2)), 10);
    let second = folder.path().join("b.parquet");
    // Another order, another width of numbers, another way to store text: the same to kolk.
    let by_dictionary = array(vec!["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>());
    write(&second, vec![("value", array(Int32Array::from(vec![1, 2]))), ("ts", steps(2)), ("key", by_dictionary)], 10);
    assert_eq!(read(&planned(&pipeline(folder.path().display()), &[]), None).unwrap().len(), 4);
    let cases: Vec<(Vec<(&str, ArrayRef)>, &str)> = vec![
        (three(steps(2), steps(2)), "column \"key\" is Int64, but text in"),
        (three(text(), array(Date32Array::from(vec![1, 2]))), "column \"ts\" is Date32, but Int64 in"),
        (vec![("key", text()), ("ts", steps(2)), ("value", text())], "column \"value\" is Utf8, but numbers in"),
        (vec![("key", text()), ("ts", steps(2))], "there is no column \"value\""),
    ];
    for (columns, part) in cases {
        write(&second, columns, 10);
        let message = problems(&pipeline(folder.path().display()), &[]).unwrap_err();
        assert!(message.contains("b.parquet") && message.contains(part), "{message}");
    }
}

#[test]
fn a_folder_of_a_table_is_refused_and_a_list_of_its_files_is_not() {
    for (mark, kind) in [
        ("_delta_log/00000000000000000000.json", "a Delta table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        ("metadata/00000-9c12d441-03fe-4693-9a96-a0705ddf69c1.metadata.json", "an Iceberg table"),
    ] {
        let folder = tempdir().unwrap();
        let root = folder.path().join("lake/sales");
        for name in ["data/day=1/hour=2/a.parquet", "b.parquet"] {
            sample(&root.join(name), "a");
        }
        let lake = folder.path().join("lake").display().to_string();
        let locations = [
            format!("{lake}/sales"),
            format!("{lake}/sales/data"),
            format!("{lake}/sales/data/day=1"),
            format!("{lake}/sales/data/day=1/hour=2"),
            format!("{lake}/sales/*.parquet"),
            format!("{lake}/sales/data/day=*/hour=*/*.parquet"),
            format!("{lake}/*/*.parquet"),
            lake.clone(),
        ];
        for location in &locations {
            for scheme in ["", "file://"] {
                problems(&pipeline(format!("{scheme}{location}")), &[]).unwrap();
            }
        }
        let at = root.join(mark);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, "{}").unwrap();
        for location in &locations {
            for scheme in ["", "file://"] {
                let message = problems(&pipeline(format!("{scheme}{location}")), &[]).unwrap_err();
                assert!(message.contains(kind) && message.contains("lake/sales"), "{scheme}{location}: {message}");
                assert!(message.contains("path: [a.parquet, b.parquet]"), "{message}");
            }
        }
        // Who names a file knows it.
        let file = format!("{lake}/sales/b.parquet");
        assert_eq!(planned(&pipeline(&file), &[]).files.files.len(), 1);
        let mut listed = pipeline(&file);
        let Input::Parquet(input) = &mut listed.source.input else { panic!() };
        input.list = vec![at_location(&file), at_location(&format!("{lake}/sales/data/day=1/hour=2/a.parquet"))];
        let found = planned(&listed, &[]).files.files;
        assert!(found[0].name.ends_with("sales/b.parquet") && found[1].name.ends_with("hour=2/a.parquet"), "{found:?}");
    }
}

fn at_location(path: &str) -> crate::config::At<Location> {
    at(Location(path.into()))
}

#[test]
fn a_list_names_files_once_and_nothing_else() {
    let folder = tempdir().unwrap();
    sample(&folder.path().join("a.parquet"), "a");
    let root = folder.path().display().to_string();
    let refused = |second: &str| {
        let mut listed = pipeline(format!("{root}/a.parquet"));
        let Input::Parquet(input) = &mut listed.source.input else { panic!() };
        input.list = vec![at_location(&format!("{root}/a.parquet")), at_location(&format!("{root}/{second}"))];
        problems(&listed, &[]).unwrap_err()
    };
    assert!(refused("a.parquet").contains("is in the list twice"));
    assert!(refused("").contains("a list names files one by one"));
    assert!(refused("*.parquet").contains("a list names files one by one"));
    assert!(refused("b.parquet").contains("there is no file or folder"));
}

#[test]
fn the_order_of_time_needs_footers_that_say_it() {
    let folder = tempdir().unwrap();
    let times = |from: i64| array(Int64Array::from_iter_values(from..from + 3));
    let keys = || array(StringArray::from_iter_values(["a", "b", "c"]));
    for (name, from) in [("a", 20), ("b", 0), ("c", 10)] {
        write(&folder.path().join(format!("{name}.parquet")), three(keys(), times(from)), 2);
    }
    write(&folder.path().join("empty.parquet"), three(array(StringArray::from_iter_values([""; 0])), steps(0)), 2);
    let mut by_time = pipeline(folder.path().display());
    let Input::Parquet(input) = &mut by_time.source.input else { panic!() };
    input.order = at(FileOrder::Time);
    let names = |planned: PlannedParquet| planned.files.files.into_iter().map(|file| file.name).collect::<Vec<_>>();
    assert_eq!(names(planned(&by_time, &[])), ["b.parquet", "c.parquet", "a.parquet"]);
    assert_eq!(planned(&by_time, &[]).notes, [""; 0]);
    let by_path = planned(&pipeline(folder.path().display()), &[]);
    assert!(by_path.notes[0].contains("a.parquet (from 20) comes before ") && by_path.notes.len() == 1);
    assert_eq!(names(by_path), ["a.parquet", "b.parquet", "c.parquet", "empty.parquet"]);

    // Files of other keys may have any times.
    let other = || array(StringArray::from_iter_values(["x", "y", "z"]));
    write(&folder.path().join("b.parquet"), three(other(), times(0)), 2);
    std::fs::remove_file(folder.path().join("c.parquet")).unwrap();
    assert_eq!(planned(&pipeline(folder.path().display()), &[]).notes, [""; 0]);

    let none = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build();
    write_with(&folder.path().join("b.parquet"), three(keys(), times(0)), none);
    let message = problems(&by_time, &[]).unwrap_err();
    assert!(message.contains("b.parquet: order: time needs statistics of column \"ts\""), "{message}");
    let nulls = array(Int64Array::from(vec![None, None, None]));
    write(&folder.path().join("b.parquet"), three(keys(), nulls), 5);
    let message = problems(&by_time, &[]).unwrap_err();
    assert!(message.contains("b.parquet: order: time needs times"), "{message}");
}
