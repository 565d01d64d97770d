//! Whole files: what is read from a right one, and every kind of problem at its exact place.

use std::env::VarError;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// `pipeline.md`'s example, as far as this version goes. Laid out for the tests that point at its lines.
const WHOLE: &str = "\
name: taxi-demand

source:
  parquet: { path: data/taxi/*.parquet }
  from: 2014-01-01
  emit_from: 2014-10-01

record:
  key: series
  time: ts
  values: [value]

on:
  null: carry
  late: process
  reorder: 0s
  error: dead_letter
dead_letters: { parquet: { path: refused } }

stages:
  - filter: { where: \"value > 0\" }
  - resample: { every: 30m, aggregate: mean, fill: last, max_gap: 6h, delay: 0s }
  - calendar: { features: [hour, weekday], timezone: America/New_York }
  - scale: { values: [value], half_life: 30d, min_count: 24 }
  - lags: { value: [24, 1, 2] }
  - infer: { model: taxi-demand, mode: carry, ttl: 30d, gap: 6h }
  - score: { actual: value, step: 1, tail: 0.001 }

sink:
  parquet: { path: out/, fields: [value] }

state: { path: state/, checkpoint_every: 30s, or_records: 1000000 }
runtime: { workers: cores, batch: 4096, http: 127.0.0.1:9464 }
models: models/
train:
  inputs: [value, hour_sin, hour_cos]
  target: value
  horizon: 24
  residual: seasonal(24)
  skip: linear
  layers: [ { lstm: 50 }, { gru: 32 }, { simple_rnn: 8, activation: relu } ]
  head: [ { dense: 32, activation: relu } ]
  chunk: 64
  loss: huber(0.5)
  optimizer: { adam: { learning_rate: 0.002, epsilon: 1e-7, epsilon_form: torch } }
  clip_norm: 1.0
  updates: 5000
  patience: 500
  batch_size: 16
  seed: 8
  seasonality: 24
  split: { per_key: [0.7, 0.2, 0.1] }
  refit: best_epochs
";

const SMALLEST: &str = "\
name: a
source: { parquet: { path: in.parquet } }
record: { time: t, values: [x] }
";

fn variable(name: &str) -> std::result::Result<String, VarError> {
    match name {
        "H" => Ok("12".into()),
        "SECRET" => Ok("hunter2".into()),
        _ => Err(VarError::NotPresent),
    }
}

fn parse(text: &str) -> Result<Pipeline> {
    parse_with(text, Path::new("/p/a.yaml"), &variable)
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(Error::Problems(problems)) => {
            problems.iter().map(|p| format!("{}:{}: {}", p.place.line, p.place.column, p.message)).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

/// Problems of the smallest pipeline with more lines behind it, which start at line 4.
fn more(lines: &str) -> Vec<String> {
    problems(&format!("{SMALLEST}{lines}"))
}

fn stages(stage: &str) -> Vec<String> {
    more(&format!("stages:\n  - {stage}"))
}

fn train(fields: &str) -> Vec<String> {
    more(&format!("stages: [ infer: {{ model: m }} ]\ntrain:\n  target: x\n  layers: [ lstm: 4 ]\n{fields}"))
}

fn at(line: usize, column: usize) -> Place {
    Place { line, column }
}

#[test]
fn the_whole_example_is_read() {
    let p = parse(WHOLE).unwrap();
    assert_eq!((p.name.as_str(), p.name.place), ("taxi-demand", at(1, 7)));
    assert_eq!((p.source.path.0.as_str(), p.source.path.place), ("/p/data/taxi/*.parquet", at(4, 20)));
    assert_eq!(p.source.from.as_ref().unwrap().value, Moment::parse("2014-01-01").unwrap());
    assert_eq!((p.source.until.is_none(), p.source.emit_from.as_ref().unwrap().place), (true, at(6, 14)));
    assert!(matches!(&p.record.key, Key::Column(key) if key.value == "series" && key.place == at(9, 8)));
    assert_eq!(p.record.time.value, TimeColumn { column: "ts".into(), unit: None });
    assert_eq!(p.on, Policies::default());
    assert_eq!(p.dead_letters.0, "/p/refused");
    assert_eq!(p.stages.len(), 7);
    assert_eq!(p.stages[1].place, at(22, 5));
    let Stage::Resample(resample) = &p.stages[1].value else { panic!() };
    assert_eq!(resample.every.value, Span::Nanos(1_800_000_000_000));
    assert_eq!((resample.aggregate, resample.fill.value), (Aggregate::Mean, Fill::Last));
    let Stage::Calendar(calendar) = &p.stages[2].value else { panic!() };
    assert_eq!(calendar.timezone.value, chrono_tz::America::New_York);
    assert_eq!(calendar.features[1].value, CalendarFeature::Weekday);
    let Stage::Lags(lags) = &p.stages[4].value else { panic!() };
    assert_eq!((lags.columns[0].0.as_str(), &lags.columns[0].1[..]), ("value", &[1, 2, 24][..]));
    let infer = p.infer().unwrap();
    assert_eq!((infer.model.as_str(), infer.mode, infer.window.is_none()), ("taxi-demand", Mode::Carry, true));
    let Some(At { value: Sink::Parquet { path, fields, part_records }, .. }) = &p.sink else { panic!() };
    assert_eq!((path.0.as_str(), fields[0].as_str(), *part_records), ("/p/out", "value", 131_072));
    assert_eq!((p.state.path.0.as_str(), p.state.or_records, p.state.partitions), ("/p/state", 1_000_000, 16));
    assert_eq!(p.runtime.http.as_ref().unwrap().value, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(p.models.value, Path::new("/p/models"));
    let t = p.train.unwrap();
    assert_eq!((t.horizon, t.residual, t.skip_linear), (24, Residual::Seasonal(24), true));
    let cells: Vec<Layer> = t.layers.iter().map(|layer| layer.value).collect();
    assert_eq!(cells[0], Layer { cell: Cell::Lstm, units: 50 });
    assert_eq!(cells[2], Layer { cell: Cell::SimpleRnn(Activation::Relu), units: 8 });
    assert_eq!(t.head, [Dense { units: 32, activation: Activation::Relu }]);
    assert_eq!((t.loss, t.length, t.patience), (Loss::Huber { delta: 0.5 }, Length::Updates(5000), Some(500)));
    assert_eq!(t.optimizer.epsilon_form, EpsilonForm::Torch);
    assert_eq!((t.clip_norm, t.batch_size, t.seed, t.refit), (Some(1.0), 16, 8, true));
    assert!(matches!(t.split.value, Split::PerKey([0.7, 0.2, 0.1])));
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let p = parse(SMALLEST).unwrap();
    assert!(matches!(p.record.key, Key::Single) && p.stages.is_empty() && p.sink.is_none() && p.train.is_none());
    assert_eq!(p.dead_letters, At::default_value(Location("/p/dead_letters".into())));
    assert_eq!(p.state.path.0, "/p/state");
    assert_eq!(p.state.checkpoint_every, std::time::Duration::from_secs(30));
    assert_eq!((p.state.or_records, p.state.partitions, p.runtime.batch), (1_000_000, 16, 4096));
    assert!(p.runtime.workers >= 1 && p.runtime.http.is_none());
    assert_eq!(p.models.value, Path::new("/p/models"));

    let text = "stages: [ { resample: { every: 5 } }, { infer: { model: m } }, { score: } ]\nsink: { stdout: }\n\
                train: { target: x, layers: [ { rnn: 4 } ] }";
    let p = parse(&format!("{SMALLEST}{text}")).unwrap();
    let Stage::Resample(resample) = &p.stages[0].value else { panic!() };
    assert_eq!((resample.every.value, resample.delay.value), (Span::Steps(5), Span::Steps(0)));
    let Stage::Score(score) = &p.stages[2].value else { panic!() };
    assert_eq!((score.actual.as_str(), score.step.value, score.tail), ("", 1, 0.001));
    assert_eq!((score.long, score.short), (4000, 10));
    let t = p.train.unwrap();
    assert_eq!(t.inputs, vec![At::default_value("x".to_string())]);
    assert_eq!(t.layers[0].value, Layer { cell: Cell::SimpleRnn(Activation::Tanh), units: 4 });
    assert_eq!((t.horizon, t.residual, t.skip_linear, t.chunk, t.burn_in), (1, Residual::None, false, 64, 0));
    assert_eq!((t.loss, t.length, t.patience, t.clip_norm), (Loss::Mse, Length::Epochs(10), None, None));
    let adam =
        Adam { learning_rate: 0.001, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, epsilon_form: EpsilonForm::Keras };
    assert_eq!((t.optimizer, t.batch_size, t.seed, t.refit), (adam, 32, 7, false));
    assert!(matches!(t.split.value, Split::PerKey([0.7, 0.15, 0.15])));
}

#[test]
fn everything_wrong_is_listed_at_once_in_the_order_of_the_file() {
    let text = "\
nam: a
source:
  parqet: { path: in.parquet }
  from: yesterday
record:
  key: [k]
  time: { column: t, unit: min }
  values: x
on: { late: proces }
runtime: { batch: many, workers: 0 }
stages:
  - infr: { model: m }
  - filter: { where: \"x > 0\" }
    scale: { values: [x] }
sink: { parquet: { path: out }, stdout: {} }
";
    assert_eq!(
        problems(text),
        [
            "1:1: the pipeline needs `name`",
            "1:1: unknown field `nam` in the pipeline, did you mean \"name\"? (there are: name, source, record, on, \
             dead_letters, stages, sink, state, runtime, models, train)",
            "3:3: unknown field `parqet` in `source`, did you mean \"parquet\"? (there are: parquet, from, until, \
             emit_from)",
            "4:9: `from`: expected a date (2014-01-31), a time (2014-01-31T12:00:00Z) or an integer step, found the \
             text \"yesterday\"",
            "6:8: `key`: expected a column, found a list",
            "7:28: `unit`: expected one of: s, ms, us, ns, found the text \"min\"",
            "8:11: `values`: expected a list of columns in brackets, found the text \"x\"",
            "9:13: `late`: expected one of: process, dead_letter, found the text \"proces\", did you mean \
             \"process\"?",
            "10:19: `batch`: expected a whole number from 1 to 1048576, found the text \"many\"",
            "10:34: `workers`: expected a whole number from 1 to 1024, found the number 0",
            "12:5: unknown stage `infr` in `stages`, did you mean \"infer\"? (there are: filter, resample, calendar, \
             scale, lags, infer, score)",
            "13:5: `stages`: expected one stage behind each dash",
            "15:33: `parquet` and `stdout` exclude each other, write one",
        ]
    );
}

#[test]
fn text_that_is_no_pipeline_gives_one_problem() {
    let cases = [
        ("", "1:1: the file is empty: a pipeline needs at least `name`, `source` and `record`"),
        ("# only this\n", "1:1: the file is empty: a pipeline needs at least `name`, `source` and `record`"),
        ("- a\n", "1:1: `the file`: expected a mapping with the fields name, source"),
        ("name: a\n---\nname: b\n", "2:1: a pipeline file holds one document, a second one starts here"),
        ("name: [a\n", "1:9: this is not YAML: "),
        ("name: a\n  b: c\n", "2:4: this is not YAML: "),
        ("a: \"\n", "1:4: this is not YAML: "),
        ("name: !secret x\n", "1:7: tags such as !secret have no meaning in a pipeline file"),
        ("é: \0", "1:4: this is not a text file: it holds a zero byte"),
        (
            "a: { b: ${H}/x }",
            "1:10: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}' (within { } and [ ], \
             a value with ${…} must be in quotes)",
        ),
        ("a: &a [*a]", "1:8: an alias can't stand within what it names"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text:?}: {found:?}");
    }
}

#[test]
fn bounds_hold_before_memory_or_the_stack_is_used() {
    assert_eq!(problems(&format!("a: {}", "[".repeat(64))), ["1:67: lists and mappings are nested more than 64 deep"]);
    // The parser's own bound is in the way here, since it looks ahead on a line.
    assert!(problems(&format!("a: {}", "[".repeat(MAX_BYTES - 3)))[0].contains("recursion limit"));
    let blocks: String = (0..70).map(|i| format!("{}- a:\n", " ".repeat(2 * i))).collect();
    assert!(problems(&blocks)[0].contains("nested more than 64 deep"));

    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for i in 1..12 {
        let previous = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs += &format!("a{i}: &a{i} [{previous}]\n");
    }
    assert!(problems(&laughs)[0].contains("more than 100000 values"), "{:?}", problems(&laughs));

    let large = format!("name: a\n# {}", "x".repeat(MAX_BYTES));
    assert!(matches!(parse(&large), Err(Error::Refused(message)) if message.contains("larger than 1 MiB")));
}

#[test]
fn duplicates_are_found_everywhere() {
    assert_eq!(more("name: b\n"), ["4:1: `name` is written twice, first in line 1"]);
    assert_eq!(
        stages("lags: { x: [1, 2, 1], x: [3] }\n"),
        ["5:23: `x`: 1 is listed twice", "5:27: `x` is written twice, first in line 5"]
    );
    assert_eq!(stages("scale: { values: [x, y, x], half_life: 3 }"), ["5:29: `values`: this is listed twice"]);
    assert_eq!(
        problems("name: a\nsource: { parquet: { path: i } }\nrecord: { key: t, time: t, values: [x, t] }\n"),
        ["3:16: column \"t\" is the time already", "3:40: column \"t\" is the time already"]
    );
}

#[test]
fn variables_are_expanded_in_values() {
    let text = format!(
        "{SMALLEST}stages: [ infer: {{ model: m }} ]\n# ${{COMMENT}}\n\
                train: {{ target: x, horizon: \"${{H}}\", chunk: '${{C:-32}}', layers: [ lstm: '${{H}}' ] }}"
    );
    let t = parse(&text).unwrap().train.unwrap();
    assert_eq!((t.horizon, t.chunk, t.layers[0].units), (12, 32, 12));

    let p = parse("name: 'a-${H}'\nsource: { parquet: { path: '$${H}/${H}' } }\nrecord: { time: t, values: [x] }");
    let p = p.unwrap();
    assert_eq!((p.name.as_str(), p.source.path.0.as_str()), ("a-12", "/p/${H}/12"));

    assert_eq!(
        problems("name: ${NO}\nsource: { parquet: { path: i } }\nrecord: { time: '${NOR}', values: [x] }"),
        [
            "1:7: the variable NO is not set; set it, or write ${NO:-default}",
            "3:17: the variable NOR is not set; set it, or write ${NOR:-default}"
        ]
    );
}

#[test]
fn what_a_variable_holds_is_never_said() {
    let fields = "  horizon: ${SECRET}\n  loss: ${SECRET}\n  residual: ${SECRET}\n  split: { last: '${SECRET}' }\n  \
                  patience: \"${SECRET}\"\n  refit: ${SECRET}\n  optimizer: ${SECRET}\n";
    let mut found = train(fields);
    found.extend(more("on: { late: '${SECRET}', reorder: '${SECRET}' }\nruntime: { http: '${SECRET}' }"));
    found.extend(stages("calendar: { features: ['${SECRET}'], timezone: '${SECRET}' }"));
    found.extend(stages("infer: { model: 'm/${SECRET}', ttl: '${SECRET}' }"));
    assert_eq!(found.len(), 14, "{found:#?}");
    assert!(found.iter().all(|message| !message.contains("hunter2")), "{found:#?}");
}

#[test]
fn words_of_later_versions_say_so() {
    let cases = [
        ("name: a\nsource: { kafka: { topic: t } }\nrecord: { time: t, values: [x] }", "2:11", "kafka"),
        (&format!("{SMALLEST}sink: {{ kafka: {{ topic: t }} }}"), "4:9", "kafka"),
        (&format!("{SMALLEST}dead_letters: {{ kafka: {{ topic: t }} }}"), "4:17", "kafka"),
        (&format!("{SMALLEST}on: {{ tombstone: skip }}"), "4:7", "tombstone"),
        (&format!("{SMALLEST}runtime: {{ linger: 5ms }}"), "4:12", "linger"),
        (&format!("{SMALLEST}stages: [ infer: {{ model: m, mode: sequence }} ]"), "4:36", "sequence"),
        (&format!("{SMALLEST}stages: [ infer: {{ model: m, layout: time_first }} ]"), "4:30", "layout"),
    ];
    for (text, place, word) in cases {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{place}: ")), "{found:?}");
        assert!(found[0].ends_with(&format!("`{word}` is not in this version of kolk")), "{found:?}");
    }
    for (line, place, word) in [
        ("  patch: 24", "8:3", "patch"),
        ("  known_ahead: [h]", "8:3", "known_ahead"),
        ("  loss: quantile(0.1, 0.9)", "8:9", "quantile"),
        ("  head: [ { dropout: 0.1, dense: 3 } ]", "8:13", "dropout"),
        ("  split: { by_key: hash }", "8:12", "by_key"),
    ] {
        let found = train(line);
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(word), "{line}: {found:?}");
        assert!(found[0].ends_with("is not in this version of kolk"), "{found:?}");
    }
    let text = "stages: [ infer: { model: m } ]\n\
                train: { target: x, layers: [ { gru: 3, bidirectional: true }, { dropout: 0.2 } ] }";
    assert_eq!(
        more(text),
        ["5:41: `bidirectional` is not in this version of kolk", "5:66: `dropout` is not in this version of kolk"]
    );
    assert_eq!(more("on: { reorder: 5s }"), ["4:16: `reorder`: reordering is not in this version of kolk, only 0s is"]);
}

#[test]
fn stages_are_checked_against_each_other() {
    let infer = "{ infer: { model: m } }";
    let cases = [
        ("[ score: { actual: x } ]".to_string(), "4:11: `score` needs an `infer` before it"),
        (format!("[ {infer}, {infer} ]"), "4:38: a second `infer`, the first is in line 4"),
        (
            "[ { resample: { every: 1h } }, { resample: { every: 1d } } ]".into(),
            "4:42: a second `resample`, the first is in line 4",
        ),
        (
            format!("[ {{ resample: {{ every: 1h, fill: linear, max_gap: 6h, delay: 5h }} }}, {infer} ]"),
            "4:42: `fill: linear` looks ahead: before `infer` it needs `max_gap`, and a `delay` at least as long",
        ),
        (
            format!("[ {{ resample: {{ every: 1h, fill: linear }} }}, {infer} ]"),
            "4:42: `fill: linear` looks ahead: before `infer` it needs `max_gap`, and a `delay` at least as long",
        ),
        (format!("[ {{ resample: {{ every: 1h, fill: linear, max_gap: 6h, delay: 6h }} }}, {infer} ]"), ""),
        ("[ infer: { model: m, mode: window } ]".into(), "4:11: `infer` needs `window` in mode window"),
        ("[ infer: { model: m, window: 3 } ]".into(), "4:30: `window` is only for mode window"),
        ("[ infer: { model: m, mode: window, window: 0 } ]".into(), "4:52: `window`: expected a whole number from 1"),
        ("[ infer: { mode: carry } ]".into(), "4:11: `infer` needs `model`"),
        ("[ infer: { model: m/0 } ]".into(), "4:27: `model`: expected a version behind /"),
        ("[ infer: { model: ../m } ]".into(), "4:27: `model`: a name begins with a letter"),
        ("[ infer: { model: m, ttl: 0s } ]".into(), "4:35: `ttl`: a duration of zero has no meaning here"),
        ("[ infer ]".into(), "4:11: `stages`: expected a stage such as"),
        ("[ filter: { where: 5 } ]".into(), "4:28: `where`: expected a condition"),
        ("[ calendar: { features: [hour], timezone: Europe/Berln } ]".into(), "4:51: `timezone`: \"Europe/Berln\""),
        ("[ calendar: { features: [] } ]".into(), "4:33: `features`: the list is empty"),
        ("[ lags: { x: [0] } ]".into(), "4:23: `x`: expected a whole number from 1"),
        (format!("[ {infer}, {{ score: {{ long: 5 }} }} ]"), "4:53: `short` (10) must not be more than `long` (5)"),
        (format!("[ {infer}, {{ score: {{ tail: 2 }} }} ]"), "4:53: `tail`: expected a probability"),
    ];
    for (text, expected) in cases {
        let found = more(&format!("stages: {text}"));
        match expected {
            "" => assert!(found.is_empty(), "{text}: {found:?}"),
            expected => assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}"),
        }
    }
}

#[test]
fn the_train_section_is_checked() {
    for (fields, expected) in [
        ("  targets: [x]", "8:3: `target` and `targets` exclude each other, write one"),
        ("  epochs: 1\n  updates: 2", "9:3: `epochs` and `updates` exclude each other, write one"),
        ("  horizon: 0", "8:12: `horizon`: expected a whole number from 1 to 65536, found the number 0"),
        ("  horizon: 1.5", "8:12: `horizon`: expected a whole number from 1 to 65536, found the number 1.5"),
        ("  horizon: soon", "8:12: `horizon`: expected a whole number from 1 to 65536, found the text \"soon\""),
        ("  horizon: '24'", "8:12: `horizon`: expected a whole number from 1 to 65536, found the text \"24\""),
        ("  horizon:", "8:3: `horizon`: expected a whole number from 1 to 65536, found nothing"),
        ("  window: 10", "8:3: `window` is written under `infer`"),
        ("  residual: seasonal", "8:13: `residual`: expected seasonal(24)"),
        ("  residual: seasonal(0)", "8:13: `residual`: expected seasonal(rows)"),
        ("  loss: hubert", "8:9: `loss`: expected one of: mse, mae, huber, huber(0.5), found the text \"hubert\", did"),
        ("  loss: huber(-1)", "8:9: `loss`: expected huber(delta)"),
        ("  optimizer: { adam: { beta_1: 1 } }", "8:32: `beta_1`: expected a number from 0 to below 1"),
        ("  optimizer: { sgd: {} }", "8:16: unknown field `sgd` in `optimizer` (there are: adam)"),
        ("  clip_norm: .nan", "8:14: `clip_norm`: expected a number above 0"),
        ("  split: { per_key: [0.7, 0.3, 0.1] }", "8:21: `per_key`: the shares add up to 1.1000"),
        ("  split: { per_key: [0.7, 0.3] }", "8:21: `per_key`: expected 3 shares"),
        ("  split: { at: [2014-02-01, 2014-01-01] }", "8:29: `at`: test can't start before validation"),
        ("  split: { at: [2014-02-01, 5] }", "8:29: `at`: one is a time and the other an integer step"),
        ("  split: { rows: [0, 1, 1] }", "8:19: `rows`: expected a whole number, at least 1"),
        ("  split: { last: 4, column: c }", "8:21: `last` and `column` exclude each other, write one"),
        ("  refit: always", "8:10: `refit`: expected one of: none, best_epochs"),
        ("  head: [ dense: 0 ]", "8:18: `dense`: expected a whole number from 1"),
    ] {
        let found = train(fields);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{fields}: {found:?}");
    }
    for fields in ["  split: { rows: [8, 0, 2] }", "  split: { column: part }", "  seed: 1e6", "  optimizer: adam"] {
        assert_eq!(train(fields), Vec::<String>::new(), "{fields}");
    }
    let infer = "stages: [ infer: { model: m } ]\n";
    for (text, expected) in [
        ("train: { target: x, layers: [ lstm: 4 ] }".to_string(), "4:1: `train` needs an `infer` under `stages`"),
        (format!("{infer}train: {{ layers: [ lstm: 4 ] }}"), "5:1: `train` needs one of: target, targets"),
        (format!("{infer}train: {{ target: x }}"), "5:1: `train` needs `layers`"),
        (format!("{infer}train: {{ target: x, layers: [] }}"), "5:29: `layers`: needs at least one recurrent layer"),
        (format!("{infer}train: {{ target: x, layers: [ {{ lstm: 4, gru: 4 }} ] }}"), "5:31: `layers`: expected exact"),
        (
            format!("{infer}train: {{ target: x, layers: [ {{ lstm: 4, activation: relu }} ] }}"),
            "5:42: `activation` is only for simple_rnn, not for lstm",
        ),
        (
            "stages: [ infer: { model: m/2 } ]\ntrain: { target: x, layers: [ lstm: 4 ] }".into(),
            "4:27: `train` publishes a new version",
        ),
        (
            "stages: [ { infer: { model: m } }, { score: { step: 3 } } ]\n\
             train: { target: x, horizon: 2, layers: [ lstm: 4 ] }"
                .into(),
            "4:53: `step` is 3, but the horizon is 2",
        ),
    ] {
        let found = more(&text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn records_places_and_limits_are_checked() {
    for (text, expected) in [
        ("name: a/b\nsource: { parquet: { path: i } }\nrecord: { time: t, values: [x] }", "1:7: `name`: a name cons"),
        ("name: 5\nsource: { parquet: { path: i } }\nrecord: { time: t, values: [x] }", "1:7: `name`: expected a name"),
        ("name: a\nsource: { parquet: { path: http://x/y } }\nrecord: { time: t, values: [x] }", "2:28: `path`: expec"),
        ("name: a\nsource: { parquet: { path: s3:// } }\nrecord: { time: t, values: [x] }", "2:28: `path`: expected a"),
        ("name: a\nsource: { from: 1 }\nrecord: { time: t, values: [x] }", "2:1: `source` needs one of: parquet"),
        ("name: a\nsource:\nrecord: { time: t, values: [x] }", "2:1: `source` needs one of: parquet"),
        ("name: a\nrecord: { time: t, values: [x] }", "1:1: the pipeline needs `source`"),
        ("name: a\nsource: { parquet: { path: i } }\nrecord: { values: [x] }", "3:1: `record` needs `time`"),
        ("name: a\nsource: { parquet: { path: i } }\nrecord: { time: t }", "3:1: `record` needs `values`"),
        (
            "name: a\nsource: { parquet: { path: i } }\nrecord: { time: t, key: k, columns_as_keys: [a], values: [x] }",
            "3:28: `key` and `columns_as_keys` exclude each other",
        ),
        (
            "name: a\nsource: { parquet: { path: i } }\nrecord: { time: t, columns_as_keys: [a], values: [x, y] }",
            "3:50: `values`: with `columns_as_keys` there is one value",
        ),
        (
            "name: a\nsource: { parquet: { path: i }, from: 2014-01-02, until: 2014-01-02 }\n\
             record: { time: t, values: [x] }",
            "2:58: `until` must be later than `from`",
        ),
        (
            "name: a\nsource: { parquet: { path: i }, from: 2014-01-02, until: 7 }\nrecord: { time: t, values: [x] }",
            "2:58: `until` and `from`: one is a time, the other a step",
        ),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    for (text, expected) in [
        ("state: { partitions: 5000 }", "4:22: `partitions`: expected a whole number from 1 to 4096"),
        ("state: { checkpoint_every: 1mo }", "4:28: `checkpoint_every`: expected a duration such as 30s or 5m"),
        ("state: { checkpoint_every: 30 }", "4:28: `checkpoint_every`: expected a duration such as 30s or 5m"),
        ("state: [a]", "4:8: `state`: expected a mapping with the fields path, checkpoint_every"),
        ("runtime: { http: 9464 }", "4:18: `http`: expected an address and a port"),
        ("sink: { parquet: { path: . } }\ndead_letters: { parquet: { path: . } }", "4:26: output, state and dead let"),
        ("sink: { parquet: { path: in.parquet } }", "4:26: the sink is the source"),
        ("sink: {}", "4:1: `sink` needs one of: parquet, stdout"),
        ("models: s3://bucket/models", "4:9: `models`: the registry is a local folder"),
        ("? [a]\n: b", "4:3: expected the name of a field, found a list or a mapping"),
    ] {
        let found = more(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    let melted = "name: a\nsource: { parquet: { path: s3://b/x/ } }\nrecord: { time: { column: t, unit: ms }, columns_as_keys: [a, b] }";
    let p = parse(melted).unwrap();
    assert_eq!((p.source.path.0.as_str(), p.record.values[0].as_str()), ("s3://b/x/", "value"));
    assert_eq!(p.record.time.value, TimeColumn { column: "t".into(), unit: Some(EpochUnit::Millisecond) });
    assert!(matches!(&p.record.key, Key::Melted(columns) if columns.len() == 2));
}

#[test]
fn aliases_repeat_what_they_name() {
    let text = "name: a\nsource: { parquet: { path: i } }\nrecord: { time: t, values: &v [x, y] }\n\
                stages: [ scale: { values: *v, half_life: 3 } ]";
    let p = parse(text).unwrap();
    let Stage::Scale(scale) = &p.stages[0].value else { panic!() };
    assert_eq!((scale.values[1].as_str(), scale.values[1].place), ("y", at(3, 35)));
}

#[test]
fn files_that_cant_be_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    assert!(matches!(load(&path), Err(Error::Refused(message)) if message.contains("p.yaml")));
    assert!(matches!(load(folder.path()), Err(Error::Refused(_))));
    std::fs::write(&path, b"name: a\nso\xffurce: b\n").unwrap();
    let Err(Error::Problems(problems)) = load(&path) else { panic!() };
    assert_eq!((problems[0].place, problems[0].message.as_str()), (at(2, 3), "this is not UTF-8"));
    std::fs::write(&path, "x".repeat(MAX_BYTES + 1)).unwrap();
    assert!(matches!(load(&path), Err(Error::Refused(message)) if message.contains("1 MiB")));
    std::fs::write(&path, format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"))).unwrap();
    assert_eq!(load(&path).unwrap().source.path.0, folder.path().join("in.parquet").to_string_lossy());
}

/// Every problem must point into the file, at a line and at most one column behind its end.
fn points_into(text: &str) -> std::result::Result<(), TestCaseError> {
    let Err(Error::Problems(problems)) = parse(text) else { return Ok(()) };
    prop_assert!(!problems.is_empty());
    let lines: Vec<usize> = text.replace("\r\n", "\n").split(['\n', '\r']).map(|line| line.chars().count()).collect();
    for problem in problems {
        let Place { line, column } = problem.place;
        prop_assert!((1..=lines.len()).contains(&line), "{problem}");
        prop_assert!((1..=lines[line - 1] + 1).contains(&column), "{problem}");
        prop_assert!(!problem.message.contains('\n'), "{problem}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_within_it(
        text in "([a-z]{1,3}|name|source|train|[-:,?&*!|>'\"#%@`{}\\[\\]$~.0-9 é]|\n|\r\n|\n  |: |\\$\\{H\\}|\t){0,40}"
    ) {
        points_into(&text)?;
    }

    #[test]
    fn any_change_of_a_pipeline_is_read_or_refused_within_it(
        start in 0usize..1900,
        cut in 0usize..12,
        put in "([a-z]{1,6}|[-:,?&*!|>'\"#{}\\[\\]~.0-9 ]|\n|\\$\\{NO\\}|null|[0-9]{1,20}){0,3}",
    ) {
        let at = |index: usize| WHOLE.len().min(index);
        let text = format!("{}{put}{}", &WHOLE[..at(start)], &WHOLE[at(start + cut)..]);
        points_into(&text)?;
    }

    #[test]
    fn any_value_anywhere_is_read_or_refused(
        line in 0usize..55,
        value in "[a-z]{0,8}|-?[0-9]{1,25}|[0-9]{1,9}\\.[0-9]{0,3}|\\[[a-z0-9, ]{0,9}\\]|\\{ [a-z]{1,6}: [0-9]{0,4} \\}|~|\"\""
    ) {
        let lines: Vec<String> = WHOLE
            .lines()
            .enumerate()
            .map(|(i, text)| match text.split_once(": ") {
                Some((field, _)) if i == line && !text.trim_start().starts_with('-') => format!("{field}: {value}"),
                _ => text.to_string(),
            })
            .collect();
        points_into(&lines.join("\n"))?;
    }
}
