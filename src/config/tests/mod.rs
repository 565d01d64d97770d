//! Whole files: what is read from a right one, what holds for every file, and where problems are placed.

use std::env::VarError;
use std::path::Path;

use super::*;
use crate::kernel::{Activation, CellKind};

mod card;
mod effective;
mod include;
mod kafka;
mod patches;
mod random;
pub(super) mod schema;
mod sections;
mod task;

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
  layers: [ { lstm: 50 }, { gru: 32 }, { simple_rnn: 8, activation: relu, recurrent_dropout: 0.1 } ]
  head: [ { dropout: 0.2 }, { layer_norm: true }, { dense: 32, activation: relu } ]
  l2: 1e-4
  chunk: 64
  loss: huber(0.5)
  optimizer: { adam: { learning_rate: 0.002, epsilon: 1e-7, epsilon_form: torch } }
  clip_norm: 1.0
  updates: 5000
  patience: 500
  batch_size: 16
  seed: 8
  seeds: 5
  seasonality: 24
  split: { per_key: [0.7, 0.2, 0.1] }
  refit: best_epochs
  backtest: { folds: 5 }
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
    whole(parse_with(text, Path::new("/p/a.yaml"), &variable)?)
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

/// Problems of the smallest pipeline with more lines after it, which start at line 4.
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
    Place::new(line, column)
}

#[test]
fn the_whole_example_is_read() {
    let p = parse(WHOLE).unwrap();
    assert_eq!((p.name.as_str(), p.name.place), ("taxi-demand", at(1, 7)));
    assert_eq!(
        (p.source.path().unwrap().0.as_str(), p.source.path().unwrap().place),
        ("/p/data/taxi/*.parquet", at(4, 20))
    );
    assert_eq!(p.source.from.as_ref().unwrap().value, Moment::parse("2014-01-01").unwrap());
    assert_eq!((p.source.until.is_none(), p.source.emit_from.as_ref().unwrap().place), (true, at(6, 14)));
    assert!(matches!(&p.record.key, Key::Column(key) if key.value == "series" && key.place == at(9, 8)));
    assert_eq!(p.record.time.value, TimeColumn { column: "ts".into(), unit: None, timezone: None });
    assert_eq!(format!("{:?}", p.on), format!("{:?}", Policies::default()));
    assert_eq!(p.dead_letters.folder().unwrap().0, "/p/refused");
    assert_eq!(p.stages.len(), 7);
    assert_eq!(p.stages[1].place, at(22, 5));
    let Stage::Resample(resample) = &p.stages[1].value else { panic!() };
    assert_eq!(resample.every.value, Span::Nanos(1_800_000_000_000));
    assert_eq!((resample.aggregate, resample.fill.value), (Aggregate::Mean, Fill::Last));
    let Stage::Calendar(calendar) = &p.stages[2].value else { panic!() };
    assert_eq!(calendar.timezone.value.name(), "America/New_York");
    assert_eq!(calendar.features[1].value, CalendarFeature::Weekday);
    let Stage::Lags(lags) = &p.stages[4].value else { panic!() };
    assert_eq!((lags.columns[0].0.as_str(), &lags.columns[0].1[..]), ("value", &[1, 2, 24][..]));
    let infer = p.infer().unwrap();
    assert_eq!((infer.model.as_str(), infer.mode, infer.window.is_none()), ("taxi-demand", Mode::Carry, true));
    let Some(At { value: Sink::Parquet { path, fields, part_records }, .. }) = &p.sink else { panic!() };
    assert_eq!((path.0.as_str(), fields[0].as_str(), *part_records), ("/p/out", "value", 131_072));
    assert_eq!((p.state.path.0.as_str(), p.state.or_records, p.state.partitions), ("/p/state", 1_000_000, 16));
    assert_eq!(p.runtime.http.as_ref().unwrap().value.address, "127.0.0.1:9464".parse().ok());
    assert_eq!(p.models.value, Path::new("/p/models"));
    let t = p.train.unwrap();
    assert_eq!((t.horizon, t.residual, t.skip), (24, Residual::Seasonal(24), Skip::Linear));
    let cells: Vec<TrainLayer> = t.layers.iter().map(|layer| layer.value).collect();
    assert_eq!(cells[0], TrainLayer::Recurrent(Recurrent::new(CellKind::Lstm, 50)));
    let dropping = Recurrent { recurrent_dropout: 0.1, ..Recurrent::new(CellKind::RnnRelu, 8) };
    assert_eq!(cells[2], TrainLayer::Recurrent(dropping));
    let dense = TrainLayer::Dense(Dense { units: 32, activation: Activation::Relu });
    assert_eq!(t.head, [TrainLayer::Dropout(0.2), TrainLayer::LayerNorm, dense]);
    assert_eq!((t.l1, t.l2), (0.0, 1e-4));
    assert_eq!((t.loss, t.length, t.patience), (Loss::Huber { delta: 0.5 }, Length::Updates(5000), Some(500)));
    let adam = Adam { learning_rate: 0.002, epsilon_form: EpsilonForm::Torch, ..Adam::DEFAULT };
    assert_eq!(t.optimizer, Optimizer::Adam(adam));
    assert_eq!((t.clip_norm, t.batch_size, t.seed, t.refit), (Some(1.0), 16, 8, true));
    assert_eq!((t.seeds, t.backtest), (5, Some(Backtest { folds: 5, retrain: true })));
    assert!(matches!(t.split.value, Split::PerKey([0.7, 0.2, 0.1])));
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let p = parse(SMALLEST).unwrap();
    assert!(matches!(p.record.key, Key::Single) && p.stages.is_empty() && p.sink.is_none() && p.train.is_none());
    assert_eq!(p.dead_letters.folder(), Some(&At::default_value(Location("/p/dead_letters".into()))));
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
    assert_eq!((resample.aggregate, resample.fill.clone()), (Aggregate::Mean, At::default_value(Fill::Last)));
    let Stage::Score(score) = &p.stages[2].value else { panic!() };
    assert_eq!((score.actual.as_str(), score.step.value, score.tail), ("", 1, 0.001));
    assert_eq!((score.long, score.short), (8000, 10));
    let t = p.train.unwrap();
    assert_eq!(t.inputs, vec![At::default_value("x".to_string())]);
    assert_eq!(t.layers[0].value, TrainLayer::Recurrent(Recurrent::new(CellKind::RnnTanh, 4)));
    assert_eq!((t.horizon, t.residual, t.skip, t.chunk, t.burn_in), (1, Residual::None, Skip::Ridge, 64, 0));
    assert_eq!((t.loss, t.length, t.patience, t.clip_norm), (Loss::Mse, Length::Open, None, None));
    let adam = Optimizer::Adam(Adam::DEFAULT);
    assert_eq!((t.schedule, t.warm_up), (RateSchedule::Constant, 0));
    assert_eq!((t.optimizer, t.batch_size, t.seed, t.refit), (adam, 32, 7, false));
    assert!(
        !t.auto_layers
            && parse(&format!("{SMALLEST}{}", text.replace("[ { rnn: 4 } ]", "auto")))
                .unwrap()
                .train
                .unwrap()
                .auto_layers
    );
    assert!(matches!(t.split.value, Split::PerKey([0.7, 0.15, 0.15])));
    assert_eq!((t.lags, t.ema, t.max_time, t.seeds), (None, 0.99, None, 1));
}

#[test]
fn the_length_of_a_training_and_its_average() {
    let train = |text: &str| parse(&format!("{SMALLEST}{text}")).unwrap().train.unwrap().value;
    let carry = "stages: [ infer: { model: m } ]\ntrain: { target: x";
    let t = train(&format!("{carry}, lags: 48, epochs: 3, max_time: 90s }}"));
    assert_eq!((t.lags, t.ema, t.max_time), (Some(48), 0.0, Some(std::time::Duration::from_secs(90))));
    assert_eq!(t.layers[0].value, TrainLayer::Recurrent(Recurrent::new(CellKind::Gru, 64)));
    let t = train(&format!("{carry}, ema: 0.9, epochs: 3, max_time: 1d, skip: none }}"));
    assert_eq!((t.skip, t.ema, t.max_time), (Skip::None, 0.9, Some(std::time::Duration::from_secs(86_400))));
    let window = "stages: [ infer: { model: m, mode: window, window: 4 } ]\ntrain: { target: x }";
    assert_eq!(train(window).skip, Skip::None);
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
             dead_letters, stages, sink, state, runtime, metrics, models, train, search, include)",
            "3:3: unknown field `parqet` in `source`, did you mean \"parquet\"? (there are: parquet, kafka, dead_letters, from, until, \
             emit_from)",
            "4:9: `from`: expected a date (2014-01-31), a time (2014-01-31T12:00:00Z) or an integer step, found the \
             text \"yesterday\"",
            "6:8: `key`: expected a column, found a list",
            "7:28: `unit`: expected one of: s, ms, us, ns, float_s, float_ms, step, found the text \"min\"",
            "8:11: `values`: expected a list of columns in brackets, found the text \"x\"",
            "9:13: `late`: expected one of: process, dead_letter, found the text \"proces\", did you mean \
             \"process\"?",
            "10:19: `batch`: expected a whole number from 1 to 1048576, found the text \"many\"",
            "10:34: `workers`: expected a whole number from 1 to 1024, found the number 0",
            "12:5: unknown stage `infr` in `stages`, did you mean \"infer\"? (there are: filter, resample, frame, calendar, \
             scale, lags, infer, score)",
            "13:5: `stages`: expected one stage after each dash",
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
        ("a: &a [*a]", "1:8: an alias can't be inside the value that it names"),
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

/// The reference is right about the words there are: each is in it, and its example is read.
#[test]
fn the_reference_names_every_word() {
    let text = include_str!("../../../docs/pipeline.md");
    table::walk(&mut |_, section| {
        for word in section.names().chain(section.later.iter().copied()) {
            let named = [format!("`{word}`"), format!("`{word}("), format!("{word}: "), format!("**{word}**")];
            assert!(named.iter().any(|form| text.contains(form)), "{word} of {}", section.section);
        }
    });
    let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(problems(example), Vec::<String>::new());
}

#[test]
fn a_range_of_lags_is_the_list_written_out() {
    let of = |lags: &str| {
        let pipeline = parse(&format!("{SMALLEST}stages: [ lags: {{ x: {lags} }} ]\n")).unwrap();
        let Stage::Lags(lags) = &pipeline.stages[0].value else { panic!() };
        lags.columns[0].1.clone()
    };
    assert_eq!(of("1..4"), [1, 2, 3, 4]);
    assert_eq!(of("[ 168, 1..3, 7 .. 8 ]"), of("[1, 2, 3, 7, 8, 168]"));
    assert_eq!(of("5..5"), [5]);
}

#[test]
fn the_nearest_name_is_offered() {
    let near = |word| crate::error::did_you_mean(word, ["key", "time", "values", "columns_as_keys"]);
    assert_eq!(near("ky"), ", did you mean \"key\"?");
    assert_eq!(near("vlaues"), ", did you mean \"values\"?");
    assert_eq!(near("column_as_key"), ", did you mean \"columns_as_keys\"?");
    assert_eq!((near("sequence"), near("x"), near("")), (String::new(), String::new(), String::new()));
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
        ["3:16: column \"t\" is already the time", "3:40: column \"t\" is already the time"]
    );
}

#[test]
fn variables_are_expanded_in_values() {
    let text = format!(
        "{SMALLEST}stages: [ infer: {{ model: m }} ]\n# ${{COMMENT}}\n\
                train: {{ target: x, horizon: \"${{H}}\", chunk: '${{C:-32}}', layers: [ lstm: '${{H}}' ] }}"
    );
    let t = parse(&text).unwrap().train.unwrap();
    assert_eq!((t.horizon, t.chunk), (12, 32));
    assert_eq!(t.layers[0].value, TrainLayer::Recurrent(Recurrent::new(CellKind::Lstm, 12)));

    let p = parse("name: 'a-${H}'\nsource: { parquet: { path: '$${H}/${H}' } }\nrecord: { time: t, values: [x] }");
    let p = p.unwrap();
    assert_eq!((p.name.as_str(), p.source.path().unwrap().0.as_str()), ("a-12", "/p/${H}/12"));

    assert_eq!(
        problems("name: ${NO}\nsource: { parquet: { path: i } }\nrecord: { time: '${NOR}', values: [x] }"),
        [
            "1:7: the variable NO is not set; set it, or write ${NO:-default}",
            "3:17: the variable NOR is not set; set it, or write ${NOR:-default}"
        ]
    );
}

#[test]
fn of_a_missing_variable_only_that_is_said() {
    let text = WHOLE
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((field, value)) if !value.contains(['{', '[']) => format!("{field}: ${{NO}}"),
            _ => line.to_string(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    let found = problems(&text);
    assert!(found.len() > 20, "{found:#?}");
    assert!(found.iter().all(|message| message.contains("the variable NO is not set")), "{found:#?}");
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
fn a_word_of_yaml_can_be_a_word_of_ours() {
    let text = format!("{SMALLEST}on: {{ null: refuse }}\nstages: [ resample: {{ every: 1d, fill: null }} ]");
    let p = parse(&text).unwrap();
    assert_eq!(p.on.null, OnNull::Refuse);
    assert!(matches!(&p.stages[0].value, Stage::Resample(it) if it.fill.value == Fill::Null));
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
    assert_eq!(load(&path).unwrap().source.path().unwrap().0, folder.path().join("in.parquet").to_string_lossy());
}
