//! What pipelines share: anchors, merge keys, included files.

use super::*;

/// Writes files into a folder and reads the first of them.
fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Pipeline>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = folder.path().join(files[0].0);
    let text = std::fs::read_to_string(&path).unwrap();
    let read = parse_with(&text, &path, &variable).and_then(whole);
    (folder, read)
}

/// The problems with their files, within the folder.
fn refused(files: &[(&str, &str)]) -> Vec<String> {
    let (folder, read) = read(files);
    let Err(Error::Problems(problems)) = read else { panic!("{read:?}") };
    let inside = format!("{}/", folder.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&inside, "")).collect()
}

#[test]
fn sections_of_anchors_are_ignored_at_the_top_only() {
    let text = "x-values: &values [x, y]\nx-broken: { no: such, words: '${NOWHERE}' }\nname: a\n\
                source: { parquet: { path: i } }\nrecord: { time: t, values: *values }\n";
    assert_eq!(parse(text).unwrap().record.values.len(), 2);
    let found = more("on: { x-late: process }\n");
    assert!(found.len() == 1 && found[0].starts_with("4:7: unknown field `x-late` in `on`"), "{found:?}");
}

#[test]
fn merge_keys_are_those_of_yaml_1_1() {
    let text = |source: &str| {
        format!(
            "x-a: &a {{ late: dead_letter, null: skip }}\nx-b: &b {{ null: reset, error: refuse }}\nx-c: &c {{ <<: *b, late: process }}\n\
             {SMALLEST}on: {{ {source} }}\n"
        )
    };
    for (source, null, late, error) in [
        ("<<: *a", OnNull::Skip, OnLate::DeadLetter, OnError::DeadLetter),
        // What is written wins, wherever it is.
        ("null: carry, <<: *a", OnNull::Carry, OnLate::DeadLetter, OnError::DeadLetter),
        ("<<: *a, null: carry", OnNull::Carry, OnLate::DeadLetter, OnError::DeadLetter),
        // Of several, the first.
        ("<<: [*a, *b]", OnNull::Skip, OnLate::DeadLetter, OnError::Refuse),
        ("<<: [*b, *a]", OnNull::Reset, OnLate::DeadLetter, OnError::Refuse),
        ("<<: *c", OnNull::Reset, OnLate::Process, OnError::Refuse),
        ("<<: { late: dead_letter }", OnNull::Carry, OnLate::DeadLetter, OnError::DeadLetter),
    ] {
        let on = parse(&text(source)).unwrap().on;
        assert_eq!((on.null, on.late, on.error), (null, late, error), "{source}");
    }
    for (source, expected) in [
        ("<<: 5", "7:11: `<<` takes a mapping, such as *anchor, or a list of mappings"),
        ("<<: [*a, x]", "7:16: `<<` takes a mapping"),
        ("<<: *a, <<: *b", "7:15: `<<` is written twice, first in line 7"),
        ("'<<': *a", "7:7: unknown field `<<` in `on`"),
        // A problem is where the value was written.
        ("<<: { lat: process }", "7:13: unknown field `lat` in `on`"),
    ] {
        let found = problems(&text(source));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{source}: {found:?}");
    }
    // The merge is shallow.
    let deep = "name: a\nx-s: &s { parquet: { path: i, order: time } }\nsource: { <<: *s, parquet: { path: j } }\n\
                record: { time: t, values: [x] }\n";
    let Input::Parquet(files) = parse(deep).unwrap().source.input else { panic!() };
    assert_eq!((files.path.0.as_str(), files.order.value), ("/p/j", FileOrder::Path));
}

const SHARED: &str = "\
x-topics: &topics { topic: in }
source:
  kafka: { <<: *topics, brokers: 'h:${H}', key: k, properties: { socket.timeout.ms: 10000, sasl.password: '${SECRET}' } }
record: { key: k, time: { column: t, unit: ms }, values: [x, y] }
sink: { kafka: { topic: out } }
state: { path: shared-state }
stages: [ { scale: { values: [x], half_life: 3 } } ]
";

#[test]
fn an_included_file_is_beneath_the_one_that_includes_it() {
    let main = "include: shared/kafka.yaml\nname: a\nsource: { kafka: { group: g, properties: { socket.timeout.ms: 5000 } } }\n\
                record: { values: [z] }\nruntime: { batch: 9 }\n";
    let (folder, read) = read(&[("a.yaml", main), ("shared/kafka.yaml", SHARED)]);
    let p = read.unwrap();
    let kafka = p.source.kafka().unwrap();
    assert_eq!((kafka.brokers.as_str(), kafka.topic.as_str(), kafka.group.as_str()), ("h:12", "in", "g"));
    let properties: Vec<_> = kafka.properties.0.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(properties, [("socket.timeout.ms", "5000"), ("sasl.password", "hunter2")]);
    // Lists are replaced, mappings merged.
    assert_eq!(p.record.values.iter().map(|v| v.as_str()).collect::<Vec<_>>(), ["z"]);
    assert!(matches!(&p.record.key, Key::Column(key) if key.value == "k"));
    assert_eq!((p.stages.len(), p.runtime.batch), (1, 9));
    // Paths are relative to the file that has them; defaults, to the pipeline file.
    let within = |path: &str| folder.path().join(path).to_string_lossy().into_owned();
    assert_eq!(p.state.path.0, within("shared/shared-state"));
    assert_eq!(p.models.value, folder.path().join("models"));
    assert_eq!(p.state.path.place, Place { file: p.state.path.place.file, ..at(6, 16) });
    assert!(p.state.path.place.file.unwrap().ends_with("shared/kafka.yaml"));
}

/// What the including file chooses takes the place of what it excludes.
#[test]
fn a_choice_replaces_the_other_one() {
    let main = "include: shared.yaml\nname: a\nsource: { parquet: { path: i } }\nsink: { stdout: }\n";
    let (_folder, read) = read(&[("a.yaml", main), ("shared.yaml", SHARED)]);
    let p = read.unwrap();
    assert!(matches!(p.source.input, Input::Parquet(_)) && matches!(p.sink.unwrap().value, Sink::Stdout { .. }));
}

#[test]
fn of_several_files_the_later_one_wins() {
    let main = "include: [one.yaml, 'sub/two.yaml']\nname: a\nsource: { parquet: { path: i } }\nrecord: { time: t, values: [x] }\n";
    let one = "runtime: { batch: 1, workers: 1 }\non: { late: '${NOWHERE}' }";
    let two = "include: ../three.yaml\nruntime: { batch: 2 }\non: { late: process }";
    let three = "runtime: { batch: 3, linger: 3ms }";
    let (_folder, read) = read(&[("a.yaml", main), ("one.yaml", one), ("sub/two.yaml", two), ("three.yaml", three)]);
    let runtime = read.unwrap().runtime;
    assert_eq!((runtime.batch, runtime.workers, runtime.linger), (2, 1, std::time::Duration::from_millis(3)));
}

#[test]
fn problems_name_the_file_that_they_are_in() {
    let base = "source: { parquet: { path: i } }\nrecord: { time: t, values: [x] }\n";
    for (main, shared, expected) in [
        (
            "on: { late: proces }",
            "runtime: { batch: 0 }",
            vec![
                "a.yaml:5:13: `late`: expected one of: process, dead_letter, found the text \"proces\", did you mean",
                "s.yaml:1:19: `batch`: expected a whole number from 1 to 1048576, found the number 0",
            ],
        ),
        ("", "runtime: { batc: 1 }", vec!["s.yaml:1:12: unknown field `batc` in `runtime`"]),
        ("", "\n\nstate: { path: '${NOWHERE}' }", vec!["s.yaml:3:16: the variable NOWHERE is not set"]),
        ("", "on: { late: process", vec!["s.yaml:1:20: this is not YAML"]),
        ("", "on: { null: skip }\non: { null: skip }", vec!["s.yaml:2:1: `on` is written twice, first in line 1"]),
        ("", "- a", vec!["s.yaml:1:1: expected sections of a pipeline, found a list"]),
        ("", "stages: [ score: ]", vec!["s.yaml:1:11: `score` needs an `infer` before it"]),
        ("", "include: nowhere.yaml", vec!["s.yaml:1:10: `include`: nowhere.yaml: No such file or directory"]),
        (
            "",
            "include: [a.yaml]",
            vec!["s.yaml:1:11: `include`: a file can't include itself: a.yaml → s.yaml → a.yaml"],
        ),
        ("", "include: ./s.yaml", vec!["s.yaml:1:10: `include`: a file can't include itself: s.yaml → ./s.yaml"]),
        ("", "include: .", vec!["s.yaml:1:10: `include`: .: this is not a file"]),
        (
            "",
            "include: { a: b }",
            vec!["s.yaml:1:10: `include`: expected the path of a file, or a list of them, found a ma"],
        ),
        ("", "include: s3://b/c", vec!["s.yaml:1:10: `include`: expected the path of a file"]),
        ("", "include: ${NOWHERE}", vec!["s.yaml:1:10: the variable NOWHERE is not set"]),
    ] {
        let main = format!("include: s.yaml\nname: a\n{base}{main}");
        let found = refused(&[("a.yaml", &main), ("s.yaml", shared)]);
        let all = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| a.starts_with(*b));
        assert!(all, "{shared}: {found:#?}");
    }
    // An empty one says nothing, and one that is included twice is no cycle.
    let main = format!("include: [s.yaml, s.yaml]\nname: a\n{base}");
    let (_folder, read) = read(&[("a.yaml", &main), ("s.yaml", "# nothing\n")]);
    read.unwrap();
    let found = more("on: { include: x }");
    assert!(found[0].contains("write it in the top level of the file"), "{found:?}");
}

/// Each file includes the next one twice: without a bound, a few lines would be read a million times.
#[test]
fn there_are_not_too_many_files() {
    let files: Vec<(String, String)> =
        (0..20).map(|i| (format!("f{i}.yaml"), format!("include: [f{0}.yaml, f{0}.yaml]\n", i + 1))).collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("f20.yaml", "runtime: { batch: 1 }"));
    let found = refused(&files);
    assert!(found[0].ends_with("more than 100 files are included"), "{found:?}");
}
