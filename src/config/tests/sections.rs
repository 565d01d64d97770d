//! What can be wrong in each section, at its exact place.

use super::*;

#[test]
fn labels_of_metrics_follow_prometheus() {
    let labels = |text: &str| format!("{SMALLEST}metrics: {{ labels: {{ {text} }} }}\n");
    let p = parse(&labels("pipeline: a, _x9: \"7\"")).unwrap();
    let found: Vec<(&str, &str)> = p.metric_labels.iter().map(|(name, v)| (name.as_str(), v.as_str())).collect();
    assert_eq!(found, [("pipeline", "a"), ("_x9", "7")]);
    for (text, expected) in [
        ("le: a", "4:22: `le`: Prometheus keeps this label"),
        ("__name__: a", "4:22: `__name__`: labels that begin with __"),
        ("9x: a", "4:22: `9x`: the name of a label consists of"),
        ("my-team: a", "4:22: `my-team`: the name of a label consists of"),
        ("team: 7", "4:28: `team`: expected the value of a label"),
        ("team: [a]", "4:28: `team`: expected the value of a label"),
    ] {
        let found = problems(&labels(text));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
}

#[test]
fn words_of_later_versions_say_so() {
    let found = problems(&format!("{SMALLEST}stages: [ infer: {{ model: m, layout: time_first }} ]"));
    let expected = "4:30: `layout` does not belong in `infer`: the card of a model says it, see `kolk models import`";
    assert_eq!(found, [expected]);
    for (line, place, word) in [("  tests: 1", "8:3", "tests"), ("  attention: 4", "8:3", "attention")] {
        let found = train(line);
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(word), "{line}: {found:?}");
        assert!(found[0].ends_with("is not in this version of kolk"), "{found:?}");
    }
    let text = "stages: [ infer: { model: m } ]\n\
                train: { target: x, layers: [ { gru: 3 }, { batch_norm: true } ] }";
    assert_eq!(more(text), ["5:45: `batch_norm` is not in this version of kolk"]);
}

/// Quantiles: the median is added to them; what doesn't go with them.
#[test]
fn quantiles_are_levels_with_the_median_among_them() {
    for (text, levels) in [("[0.1, 0.9]", &[0.1, 0.5, 0.9][..]), ("[0.5]", &[0.5]), ("[0.6, 0.7]", &[0.5, 0.6, 0.7])] {
        let text = format!("stages: [ infer: {{ model: m }} ]\ntrain: {{ target: x, quantiles: {text} }}");
        let read = parse(&format!("{SMALLEST}{text}")).unwrap();
        assert_eq!(read.train.unwrap().value.quantiles, levels);
    }
    for (line, place, expected) in [
        ("  quantiles: [0.9, 0.1]", "8:14: ", "write them ascending"),
        ("  quantiles: []", "8:14: ", "names no quantile"),
        ("  quantiles: [0.1, 1]", "8:20: ", "expected a number above 0 and below 1"),
        ("  loss: quantile(0.1, 0.9)", "8:9: ", "write `quantiles: [0.1, 0.9]` instead of this loss"),
        ("  quantiles: [0.1, 0.9]\n  loss: mae", "9:3: ", "`loss` doesn't go with `quantiles`"),
        ("  task: label\n  quantiles: [0.1, 0.9]", "9:3: ", "`quantiles` is not for `task: label`"),
    ] {
        let found = train(line);
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(expected), "{line}: {found:?}");
    }
}

#[test]
fn losses_in_own_units_and_logarithms_are_read() {
    for (word, loss) in [("smape", Loss::Smape), ("msle", Loss::Msle)] {
        let text = format!("stages: [ infer: {{ model: m }} ]\ntrain: {{ target: x, loss: {word} }}");
        let read = parse(&format!("{SMALLEST}{text}")).unwrap();
        assert_eq!(read.train.unwrap().value.loss, loss);
    }
    for (log, expected) in [("", false), (", log: true", true), (", log: false", false)] {
        let text = format!("{SMALLEST}stages: [ scale: {{ values: [x], half_life: 3d{log} }} ]");
        let stages = parse(&text).unwrap().stages;
        assert!(matches!(&stages[0].value, Stage::Scale(scale) if scale.log == expected), "{log}");
    }
    let found = stages("scale: { values: [x], half_life: 3d, log: maybe }");
    assert!(found.len() == 1 && found[0].starts_with("5:") && found[0].contains("log"), "{found:?}");
}

/// A field that belongs elsewhere, and the words of other tools, get their place.
#[test]
fn a_word_in_the_wrong_section_gets_its_place() {
    for (line, expected) in [
        (
            "  learning_rate: 0.01",
            "`learning_rate` does not belong in `train`: write it in `train: { optimizer: { adam:",
        ),
        ("  lr_scheduler: cosine", "write `train: { schedule: cosine }`"),
        ("  warmup_steps: 10", "write `train: { warm_up: 100 }`"),
        ("  lr: 0.01", "write `train: { optimizer: { adam: { learning_rate: 0.001 } } }`"),
        ("  hidden_size: 50", "write the number of units with its layer"),
        ("  num_layers: 2", "write one entry of `train: { layers:"),
        (
            "  optimizer: { learning_rate: 0.01 }",
            "does not belong in `optimizer`: write it in `train: { optimizer: { adam:",
        ),
        ("  timezone: UTC", "or the stage `calendar: { … }`"),
        ("  weight_decay: 0.1", "write it in `train: { optimizer: { adamw: { … } } }`"),
        ("  dropout: 0.1", "write it in `train: { layers: [ … ] }` or `train: { head: [ … ] }`"),
        ("  kernel_regularizer: l2", "write `train: { l2: 0.0001 }`"),
        ("  optimizer: adagrad", "`adagrad` is not in this version of kolk"),
        ("  future_covariates: [h]", "write `train: { known_ahead: [holiday] }`"),
        ("  task: label\n  known_ahead: [h]", "`known_ahead`: is for `task: forecast`"),
        ("  static: [region]", "write `train: { embeddings: [ { column: region, size: 4 } ] }`"),
        ("  vocab_size: 7", "max_tokens: 10000"),
        ("  batch_sise: 4", "did you mean \"batch_size\"?"),
    ] {
        let found = train(line);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{line}: {found:?}");
    }
    for (text, expected) in [
        ("epochs: 3", "write it in `train: { … }`"),
        ("dropout: 3", "write it in `train: { layers: [ … ] }` or `train: { head: [ … ] }`"),
        ("infer: { model: m }", "`infer` does not belong in the pipeline: write it in the list `stages: [ … ]`"),
        ("on: { key: 1, gap: 6h }", "the stage `frame: { … }` or the stage `infer: { … }`"),
        ("runtime: { processing.guarantee: exactly_once }", "write `runtime: { delivery: exactly_once }`"),
        ("stages: [ { dropout: 0.1 } ]", "write it in `train: { layers: [ … ] }` or `train: { head: [ … ] }`"),
        ("state: { state.dir: x }", "write `state: { path: folder }`"),
    ] {
        let found = more(text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
    }
    let kafka = |field: &str| {
        problems(&format!(
            "name: a\nsource: {{ kafka: {{ brokers: h, topic: t, key: k, {field} }} }}\n\
             record: {{ key: k, time: {{ column: t, unit: ms }}, values: [x] }}"
        ))
    };
    for (field, expected) in [
        ("bootstrap.servers: h", "write `source: { kafka: { brokers: \"host:9092\" } }`"),
        ("group.id: g", "write `source: { kafka: { group: name } }`"),
        ("auto.offset.reset: earliest", "write `source: { kafka: { start: earliest } }`"),
        ("sasl.password: geheim", "write it in `properties: { … }`"),
        ("schema.registry.url: u", "write `format: { avro: { registry:"),
        ("headers: all", "write it in `sink: { kafka: { … } }`"),
    ] {
        let found = kafka(field);
        assert!(found.len() == 1 && found[0].contains(expected), "{field}: {found:?}");
        assert!(!found[0].contains("geheim"), "{found:?}");
    }
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
        ("[ infer: { model: m/0 } ]".into(), "4:27: `model`: expected a version after /"),
        ("[ infer: { model: ../m } ]".into(), "4:27: `model`: a name begins with a letter"),
        ("[ infer: { model: m, ttl: 0s } ]".into(), "4:35: `ttl`: a duration of zero has no meaning here"),
        ("[ infer ]".into(), "4:11: `stages`: expected a stage such as"),
        ("[ filter: { where: 5 } ]".into(), "4:28: `where`: expected a condition"),
        ("[ calendar: { features: [hour], timezone: Europe/Berln } ]".into(), "4:51: `timezone`: \"Europe/Berln\""),
        ("[ calendar: { features: [] } ]".into(), "4:33: `features`: the list is empty"),
        ("[ lags: { x: [0] } ]".into(), "4:23: `x`: expected a whole number from 1"),
        ("[ lags: { x: 1..24 } ]".into(), ""),
        ("[ lags: { x: [1..24, 168] } ]".into(), ""),
        ("[ lags: { x: [24..1] } ]".into(), "4:23: `x`: expected a range from the smaller lag to the larger"),
        ("[ lags: { x: 0..4 } ]".into(), "4:22: `x`: expected a range such as 1..24, of whole numbers from 1 to"),
        ("[ lags: { x: 1..9999999 } ]".into(), "4:22: `x`: expected a range such as 1..24"),
        ("[ lags: { x: [1..4, a..b] } ]".into(), "4:29: `x`: expected a range such as 1..24"),
        ("[ lags: { x: [1..4, 4..8] } ]".into(), "4:29: `x`: 4 is listed twice"),
        ("[ lags: { x: 24 } ]".into(), "4:22: `x`: expected a list of lags in rows in brackets"),
        (format!("[ {infer}, {{ score: {{ long: 5 }} }} ]"), "4:53: `short` (10) must not be more than `long` (5)"),
        (format!("[ {infer}, {{ score: {{ tail: 2 }} }} ]"), "4:53: `tail`: expected a probability"),
        (
            format!("[ {infer}, {{ score: {{ threshold: 3, tail: 0.1 }} }} ]"),
            "4:67: `alert` is set by `tail` or by `threshold`",
        ),
        (format!("[ {infer}, {{ score: {{ threshold: 0 }} }} ]"), "4:58: `threshold`: expected a number above 0"),
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
        ("  patience: 3", "8:13: `patience`: 3 updates are fewer than lie between two looks at validation (50)"),
        ("  horizon: 0", "8:12: `horizon`: expected a whole number from 1 to 65536, found the number 0"),
        ("  horizon: 1.5", "8:12: `horizon`: expected a whole number from 1 to 65536, found the number 1.5"),
        ("  horizon: soon", "8:12: `horizon`: expected a whole number from 1 to 65536, found the text \"soon\""),
        ("  horizon: '24'", "8:12: `horizon`: expected a whole number from 1 to 65536, found the text \"24\""),
        ("  horizon:", "8:3: `horizon`: expected a whole number from 1 to 65536, found nothing"),
        ("  window: 10", "8:3: `window` does not belong in `train`: write it under `infer`"),
        ("  residual: seasonal", "8:13: `residual`: expected seasonal(24)"),
        ("  residual: seasonal(0)", "8:13: `residual`: expected seasonal(rows)"),
        ("  loss: hubert", "8:9: `loss`: expected one of: mse, mae, huber, huber(0.5), smape, msle, found the text"),
        ("  loss: huber(-1)", "8:9: `loss`: expected huber(delta)"),
        ("  optimizer: { adam: { beta_1: 1 } }", "8:32: `beta_1`: expected a number from 0 to below 1"),
        ("  optimizer: { adagrad: {} }", "8:16: `adagrad` is not in this version of kolk"),
        ("  optimizer: { sgd: { nesterov: true } }", "8:33: `nesterov`: Nesterov momentum needs `momentum` above 0"),
        ("  optimizer: { sgd: { momentum: 1 } }", "8:33: `momentum`: expected a number from 0 to below 1"),
        ("  optimizer: { adamw: { weight_decay: -1 } }", "8:39: `weight_decay`: expected a number from 0"),
        ("  schedule: cosine", "8:13: `schedule`: a cosine falls to zero at the end of the training"),
        ("  schedule: step", "8:13: `schedule`: write what it needs, as in `schedule: { step: { every: 1000 } }`"),
        ("  schedule: { plateau: { factor: 0.5 } }", "8:15: `plateau` needs `patience`"),
        ("  schedule: { step: { every: 9, factor: 1 } }", "8:41: `factor`: expected a number above 0 and below 1"),
        ("  clip_norm: .nan", "8:14: `clip_norm`: expected a number above 0"),
        ("  split: { per_key: [0.7, 0.3, 0.1] }", "8:21: `per_key`: the shares add up to 1.1000"),
        ("  split: { per_key: [0.7, 0.3] }", "8:21: `per_key`: expected 3 shares"),
        ("  split: { at: [2014-02-01, 2014-01-01] }", "8:29: `at`: test can't start before validation"),
        ("  split: { at: [2014-02-01, 5] }", "8:29: `at`: one is a time and the other an integer step"),
        ("  split: { rows: [0, 1, 1] }", "8:19: `rows`: expected a whole number, at least 1"),
        ("  split: { last: 4, column: c }", "8:21: `last` and `column` exclude each other, write one"),
        ("  refit: always", "8:10: `refit`: expected one of: none, best_epochs"),
        ("  head: [ dense: 0 ]", "8:18: `dense`: expected a whole number from 1"),
        ("  head: [ { dropout: 1 } ]", "8:22: `dropout`: expected a share from 0 to below 1"),
        ("  head: [ { dropout: 0.1, dense: 3 } ]", "8:27: `dense` and `dropout` exclude each other, write one"),
        ("  head: [ { layer_norm: false } ]", "8:25: `layer_norm`: expected one of: true"),
        ("  head: [ { layer_norm: true, activation: relu } ]", "8:31: `activation` is only for dense, not for layer_n"),
        ("  backtest: { folds: 1 }", "8:22: `folds`: expected a whole number from 2 to 100"),
        ("  backtest: { retrain: true }", "8:3: `backtest` needs `folds`"),
        (
            "  backtest: { folds: 2 }\n  split: { by_key: hash }",
            "8:13: `backtest`: needs a split by time, whose test part comes after the others",
        ),
        ("  patch: 24", "8:10: `patch`: folds the rows of a window, but in mode carry"),
        ("  seeds: 0", "8:10: `seeds`: expected a whole number from 1 to 100"),
        ("  l2: -1", "8:7: `l2`: expected a number from 0"),
    ] {
        let found = train(fields);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{fields}: {found:?}");
    }
    for fields in [
        "  split: { rows: [8, 0, 2] }",
        "  split: { column: part }",
        "  seed: 1e6",
        "  backtest: { folds: 3, retrain: false }\n  split: { last: 48 }",
        "  optimizer: adam",
        "  optimizer: { rmsprop: { rho: 0.99, epsilon_form: torch } }",
        "  epochs: 2\n  schedule: cosine\n  warm_up: 50",
        "  schedule: { plateau: { patience: 5 } }",
        "  patience: 50",
        "  epochs: 4\n  patience: 3",
    ] {
        assert_eq!(train(fields), Vec::<String>::new(), "{fields}");
    }
    let infer = "stages: [ infer: { model: m } ]\n";
    for (text, expected) in [
        ("train: { target: x, layers: [ lstm: 4 ] }".to_string(), "4:1: `train` needs an `infer` under `stages`"),
        (format!("{infer}train: {{ layers: [ lstm: 4 ] }}"), "5:1: `train` needs one of: target, targets"),
        (
            format!("{infer}train: {{ target: x, max_time: 2mo }}"),
            "5:31: `max_time`: expected a time by the clock such as 10m or 2h",
        ),
        (format!("{infer}train: {{ target: x, ema: 1 }}"), "5:26: `ema`: expected a number from 0 to below 1"),
        (format!("{infer}train: {{ target: x, layers: [] }}"), "5:29: `layers`: needs at least one recurrent layer"),
        (
            format!("{infer}train: {{ target: x, layers: [ dense: 3 ] }}"),
            "5:29: `layers`: needs at least one recurrent layer",
        ),
        (
            format!("{infer}train: {{ target: x, layers: [ {{ min_gru: 4, recurrent_dropout: 0.1 }} ] }}"),
            "5:64: `recurrent_dropout`: no step of this cell sees the state",
        ),
        (
            format!("{infer}train: {{ target: x, layers: [ lstm: 4, {{ dense: 4, recurrent_dropout: 0.1 }} ] }}"),
            "5:52: `recurrent_dropout` is only for recurrent layers, not for dense",
        ),
        (format!("{infer}train: {{ target: x, layers: [ {{ lstm: 4, gru: 4 }} ] }}"), "5:31: `layers`: expected exact"),
        (
            format!("{infer}train: {{ target: x, layers: [ {{ lstm: 4, activation: relu }} ] }}"),
            "5:42: `activation` is only for simple_rnn and dense, not for lstm",
        ),
        (
            "stages: [ infer: { model: m, mode: window, window: 5 } ]\n\
             train: { target: x, chunk: 9, layers: [ lstm: 4 ] }"
                .into(),
            "5:21: `chunk` is only for mode carry, `infer` is in mode window",
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
        ("sink: { path: out }", "4:9: `path` does not belong in `sink`: write it within parquet"),
        ("sink: {}", "4:1: `sink` needs one of: parquet, kafka, stdout"),
        ("models: s3://bucket/models", "4:9: `models`: the registry is a local folder"),
        ("? [a]\n: b", "4:3: expected the name of a field, found a list or a mapping"),
    ] {
        let found = more(text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:?}");
    }
    let melted = "name: a\nsource: { parquet: { path: s3://b/x/ } }\nrecord: { time: { column: t, unit: ms }, columns_as_keys: [a, b] }";
    let p = parse(melted).unwrap();
    assert_eq!((p.source.path().unwrap().0.as_str(), p.record.values[0].as_str()), ("s3://b/x/", "value"));
    assert_eq!(
        p.record.time.value,
        TimeColumn { column: "t".into(), unit: Some(EpochUnit::Millisecond), timezone: None }
    );
    assert!(matches!(&p.record.key, Key::Melted(columns) if columns.len() == 2));
}

#[test]
fn where_sequences_end() {
    let of = |sequence: &str, infer: &str| {
        let file = "name: a\nsource: { parquet: { path: in.parquet } }\n";
        let record = format!("record: {{ key: k, time: t, values: [x], sequence: {sequence} }}\n");
        format!("{file}{record}stages: [ infer: {{ model: m, {infer} }} ]\n")
    };
    let read = |sequence: &str| {
        let pipeline = parse(&of(sequence, "mode: sequence")).unwrap();
        (pipeline.record.canonical()["sequence"].to_string(), pipeline.record.sequence.unwrap().value)
    };
    assert_eq!(read("key"), ("\"key\"".to_string(), Sequence::Key));
    let (canonical, end) = read("{ end: last }");
    assert_eq!(canonical, r#"{"end":"last"}"#);
    assert!(matches!(end, Sequence::End(column) if column.value == "last"));
    let (canonical, gap) = read("{ gap: 300s }");
    assert_eq!(canonical, r#"{"gap":"5m"}"#);
    assert!(matches!(gap, Sequence::Gap(span) if span.value == Span::Nanos(300_000_000_000)));
    assert_eq!(read("{ length: 24 }"), (r#"{"length":24}"#.to_string(), Sequence::Length(24)));
    // Also in mode carry, where an end resets the state.
    assert!(parse(&of("{ length: 3 }", "mode: carry")).unwrap().record.sequence.is_some());

    for (sequence, infer, expected) in [
        ("keys", "mode: sequence", "3:51: `sequence`: expected key, { end: COLUMN }, { gap: 5m } or { length: n }"),
        ("{ gap: 0s }", "mode: sequence", "3:58: `gap`: a duration of zero has no meaning here"),
        ("{ length: 0 }", "mode: sequence", "3:61: `length`: expected a whole number from 1"),
        ("{}", "mode: sequence", "3:41: `sequence` needs one of: end, gap, length"),
        ("{ end: l, gap: 5m }", "mode: sequence", "3:61: `end` and `gap` exclude each other, write one"),
        ("{ end: t }", "mode: sequence", "3:58: column \"t\" is already the time"),
        ("{ end: k }", "mode: sequence", "3:58: column \"k\" is already the key"),
        ("key", "mode: window, window: 3", "3:51: `sequence` is for `infer` in mode sequence or carry"),
        ("key", "mode: sequence, gap: 5m", "4:46: `gap` is not for mode sequence: a sequence ends as `record:"),
        ("key", "mode: carry, max_length: 5", "4:43: `max_length` is only for mode sequence, this is mode carry"),
        ("{ length: 9 }", "mode: sequence, max_length: 0", "4:58: `max_length`: expected a whole number from 1"),
    ] {
        let found = problems(&of(sequence, infer));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{sequence} {infer}: {found:?}");
    }
    let found = more("stages: [ infer: { model: m, mode: sequence } ]");
    assert!(found.len() == 1 && found[0].contains("mode sequence needs `sequence` within `record`"), "{found:?}");
    let found = problems(&SMALLEST.replace("values: [x]", "values: [x], sequence: key"));
    assert!(found.len() == 1 && found[0].starts_with("3:43: `sequence` needs an `infer`"), "{found:?}");
    let melted =
        of("{ end: l }", "mode: sequence").replace("key: k, time: t, values: [x]", "time: t, columns_as_keys: [a]");
    let found = problems(&melted);
    assert!(found.len() == 1 && found[0].contains("there is no column beside the values"), "{found:?}");
    let kafka = of("key", "mode: sequence")
        .replace("parquet: { path: in.parquet }", "kafka: { brokers: b, topic: t, format: json, partitioned_by: key }");
    let found = problems(&kafka);
    assert!(
        found.iter().any(|problem| problem.contains("`sequence: key` is for files: on Kafka no record is")),
        "{found:?}"
    );
}
