//! What is taught: the words of classes and transcripts, and what doesn't go with them.

use super::*;
use crate::config::{ClassWeights, Pooling, Split, Task, Tokens, Train, TrainLayer};

fn of(mode: &str, fields: &str) -> String {
    let window = if mode == "window" { ", window: 3" } else { "" };
    let smallest = match mode {
        "carry" if fields.contains("task: ctc") => {
            SMALLEST.replace("values: [x] }", "values: [x], sequence: { gap: 5s } }")
        }
        "sequence" => SMALLEST.replace("values: [x] }", "values: [x], sequence: key }"),
        _ => SMALLEST.to_string(),
    };
    format!(
        "{smallest}stages: [ infer: {{ model: m, mode: {mode}{window} }} ]\ntrain:\n  target: x\n  layers: [ lstm: 4 ]\n\
         {fields}"
    )
}

fn read(mode: &str, fields: &str) -> Train {
    parse(&of(mode, fields)).unwrap().train.unwrap().value
}

#[test]
fn tasks_and_their_words_are_read() {
    assert_eq!(read("carry", "").task, Task::Forecast);
    assert!(matches!(read("carry", "").split.value, Split::PerKey(_)));
    let classify =
        read("sequence", "  pool: mean\n  class_weights: balanced\n  loss: cross_entropy\n  input_noise: 0.3");
    assert_eq!((classify.task, classify.pool, classify.two_classes), (Task::Classify, Some(Pooling::Mean), false));
    assert_eq!((classify.class_weights, classify.input_noise), (ClassWeights::Balanced, 0.3));
    assert!(matches!(classify.split.value, Split::ByKey([0.7, 0.15, 0.15])));
    let named = "  task: label\n  loss: binary_cross_entropy\n  class_weights: { walk: 2, \"1\": 0.5 }\n  sample_weight: w\n\
                 \x20 split: { by_key: [0.5, 0.2, 0.3] }";
    let label = read("window", named);
    let weights = vec![("walk".into(), 2.0), ("1".into(), 0.5)];
    assert_eq!((label.class_weights, label.two_classes), (ClassWeights::Named(weights), true));
    assert_eq!(label.sample_weight.unwrap().value, "w");
    assert_eq!(
        (label.classes.len(), read("sequence", "  classes: [stand, \"1\"]").classes.join(" ")),
        (0, "stand 1".into())
    );
    assert!(matches!(label.split.value, Split::ByKey([0.5, 0.2, 0.3])));
    assert!(matches!(read("carry", "  split: { by_key: hash }").split.value, Split::ByKey([0.7, 0.15, 0.15])));
    let ctc = read("sequence", "  task: ctc\n  tokens: words");
    assert_eq!((ctc.task, ctc.tokens), (Task::Ctc, Tokens::Words));
    let value = read("sequence", "  task: value\n  inputs: [x]\n  quantiles: [0.1, 0.9]\n  pool: mean");
    assert_eq!((value.task, value.quantiles), (Task::Value, vec![0.1, 0.5, 0.9]));
    assert_eq!(read("sequence", "  task: value\n  inputs: [x]\n  loss: mae").loss, crate::config::Loss::Mae);
    // In mode carry too: whole sequences are learned from.
    let ctc = read("carry", "  task: ctc");
    assert_eq!((ctc.task, ctc.tokens, ctc.skip), (Task::Ctc, Tokens::Chars, crate::config::Skip::None));
    assert!(matches!(ctc.split.value, Split::ByKey([0.7, 0.15, 0.15])));
    let both = of("window", "").replace("lstm: 4", "{ lstm: 4, bidirectional: true }");
    let TrainLayer::Recurrent(layer) = parse(&both).unwrap().train.unwrap().layers[0].value else { panic!() };
    assert!(layer.bidirectional);
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    for (mode, fields, expected) in [
        (
            "carry",
            "  task: classify",
            "8:9: `task`: `classify` is one class for each sequence and needs `mode: sequence`",
        ),
        ("window", "  task: ctc", "8:9: `task`: `ctc` is one transcript for each sequence"),
        ("sequence", "  task: forecast", "8:9: `task`: mode sequence has one answer at the end of a sequence"),
        ("sequence", "  task: value", "6:11: the target is the record's only value, and by itself no input"),
        ("carry", "  task: value", "8:9: `task`: `value` is numbers of each sequence and needs `mode: sequence`"),
        ("sequence", "  task: value\n  inputs: [x]\n  horizon: 2", "10:3: `horizon` is not for `task: value`"),
        (
            "sequence",
            "  task: value\n  inputs: [x]\n  classes: [a, b]",
            "10:3: `classes` is not for `task: value`: only classes have it",
        ),
        ("sequence", "  task: label", "8:9: `task`: `label` is one class for each record"),
        ("sequence", "  horizon: 2", "8:3: `horizon` is not for `task: classify`"),
        ("carry", "  task: label\n  residual: last", "9:3: `residual` is not for `task: label`"),
        (
            "carry",
            "  class_weights: balanced",
            "8:3: `class_weights` is not for `task: forecast`: only classes have it",
        ),
        ("carry", "  loss: cross_entropy", "8:9: `loss`: cross_entropy is a loss of classes"),
        ("sequence", "  loss: mse", "8:9: `loss`: expected one of: cross_entropy, binary_cross_entropy"),
        ("carry", "  task: ctc\n  chunk: 3", "9:3: `chunk` is not for `task: ctc`, which learns from whole sequences"),
        ("carry", "  task: ctc\n  burn_in: 3", "9:3: `burn_in` is not for `task: ctc`"),
        ("sequence", "  task: ctc\n  loss: mse", "9:9: `loss`: the task ctc has a loss of its own"),
        ("carry", "  task: label\n  pool: last", "9:3: `pool` is what is made of a whole sequence or window"),
        ("sequence", "  class_weights: { a: 0 }", "8:23: `a`: expected a number above 0"),
        ("sequence", "  chunk: 3", "8:3: `chunk` is only for mode carry, `infer` is in mode sequence"),
        ("sequence", "  classes: [a, b, a]", "8:19: `classes`: this is listed twice"),
        ("sequence", "  classes: [a]", "8:12: `classes`: there is nothing to tell apart: name at least two classes"),
        ("carry", "  classes: [a, b]", "8:3: `classes` is not for `task: forecast`: only classes have it"),
        ("sequence", "  tokens: words", "8:3: `tokens` is not for `task: classify`"),
    ] {
        let found = problems(&of(mode, fields));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{mode} {fields}: {found:?}");
    }
    let open = of("carry", "  task: ctc").replace(", sequence: { gap: 5s }", "");
    let expected = "5:1: `task: ctc` needs `sequence` within `record`: where a transcript ends";
    assert!(problems(&open)[0].starts_with(expected), "{:?}", problems(&open));
    let both = of("carry", "").replace("lstm: 4", "{ lstm: 4, bidirectional: true }");
    assert!(
        problems(&both)[0].contains("7:13: a layer in both directions needs the records that come after"),
        "{:?}",
        problems(&both)
    );
}

#[test]
fn what_decodes_transcripts_is_read_and_goes_with_them_alone() {
    let infer = |mode: &str, task: &str, options: &str| {
        of(mode, task).replace(&format!("mode: {mode}"), &format!("mode: {mode}, {options}"))
    };
    let read = |text: &str| {
        let pipeline = parse(text).unwrap();
        let infer = pipeline.infer().unwrap();
        (infer.beam(), infer.most_tokens())
    };
    assert_eq!(read(&of("carry", "  task: ctc")), (1, 256));
    assert_eq!(read(&infer("carry", "  task: ctc", "beam: 8, max_tokens: 40")), (8, 40));
    assert_eq!(read(&infer("sequence", "  task: ctc", "beam: 256")), (256, 256));
    for (mode, task, options, expected) in [
        ("carry", "  task: ctc", "beam: 0", "`beam`: expected a whole number from 1 to 256"),
        ("carry", "  task: ctc", "beam: 257", "`beam`: expected a whole number from 1 to 256"),
        ("carry", "  task: ctc", "max_tokens: 0", "`max_tokens`: expected a whole number from 1"),
        ("sequence", "  task: ctc", "max_tokens: 9", "`max_tokens` is only for mode carry, this is mode sequence"),
        ("window", "", "beam: 4", "`beam` is for transcripts, which mode window doesn't make"),
        ("carry", "", "beam: 4", "`beam` is for transcripts: `task: ctc` within `train`"),
        ("sequence", "", "beam: 4", "`beam` is for transcripts: `task: ctc` within `train`"),
        ("carry", "  task: label", "max_tokens: 4", "`max_tokens` is for transcripts: `task: ctc` within `train`"),
    ] {
        let found = problems(&infer(mode, task, options));
        assert!(found[0].contains(expected), "{mode} {options}: {found:?}");
    }
}

/// Their graph takes no lengths, and runs forward only.
#[test]
fn cells_of_plain_operators_are_not_for_whole_sequences() {
    for (mode, cell) in [("sequence", "min_gru: 4"), ("window", "{ layer_norm_lstm: 4, bidirectional: true }")] {
        let found = problems(&of(mode, "").replace("lstm: 4", cell));
        let runs = |problem: &&String| problem.contains("runs over rows in one direction, in modes carry and window");
        assert_eq!(found.iter().filter(runs).count(), 1, "{found:?}");
    }
}

#[test]
fn a_network_is_per_column_or_per_key() {
    let of = |rest: &str| {
        let text = format!("{SMALLEST}stages: [ infer: {{ model: m }} ]\ntrain: {{ target: x, {rest} }}\n");
        parse(&text).map(|pipeline| pipeline.train.unwrap().value.per)
    };
    assert_eq!(of("horizon: 1").unwrap(), None);
    assert_eq!(of("per: key").unwrap(), Some(Per::Key));
    let streamed = parse(&self::of("carry", "  task: ctc\n  per: region")).unwrap_err().to_string();
    assert!(streamed.contains("`per`: a transcript that streams in mode carry"), "{streamed}");
    let region = of("per: region").unwrap().unwrap();
    assert_eq!(region.column(), Some("region"));
    assert!(of("per: region, backtest: { folds: 3 }").is_ok());
    let found = of("per: [region]").unwrap_err().to_string();
    assert!(found.contains("`per`: expected a column, or key"), "{found}");
}

#[test]
fn embeddings_are_of_columns_and_of_the_key() {
    let of = |entries: &str| {
        let text = format!(
            "{SMALLEST}stages: [ infer: {{ model: m }} ]\n\
             train: {{ target: x, inputs: [], embeddings: [ {entries} ] }}\n"
        );
        parse(&text).map(|pipeline| pipeline.train.unwrap().value)
    };
    let train =
        of("{ column: word, size: 16, max_tokens: 500, min_count: 2, unseen: 0 }, { key: true, size: 4 }").unwrap();
    assert!(train.inputs.is_empty());
    let [word, key] = &train.embeddings[..] else { panic!() };
    assert_eq!(word.column.as_ref().map(|column| column.value.as_str()), Some("word"));
    assert_eq!((word.size, word.max_tokens, word.min_count, word.unseen), (16, 500, 2, 0.0));
    assert_eq!(key, &Embedding { column: None, size: 4, max_tokens: 10_000, min_count: 1, unseen: 0.05 });
    for (entries, expected) in [
        ("{ size: 4 }", "needs one of: column, key"),
        ("{ column: word, key: true, size: 4 }", "`column` and `key` exclude each other"),
        ("{ column: word }", "needs `size`"),
        ("{ column: word, size: 0 }", "`size`: expected a whole number from 1 to 4096"),
        ("{ column: word, size: 4, unseen: 1 }", "`unseen`: expected a share from 0 to below 1"),
        ("{ column: word, size: 4, max_token: 5 }", "did you mean \"max_tokens\"?"),
        ("{ column: word, size: 4 }, { column: word, size: 5 }", "`column`: there is an embedding of it already"),
        ("{ key: false, size: 4 }", "`key`: expected one of: true"),
    ] {
        let found = of(entries).unwrap_err().to_string();
        assert!(found.contains(expected), "{entries}: {found}");
    }
    assert!(
        problems(&format!("{SMALLEST}stages: [ infer: {{ model: m }} ]\ntrain: {{ target: x, inputs: [] }}"))[0]
            .contains("`inputs`: the list is empty")
    );
}
