//! Cards: what is read from a right one, and where problems are placed.

use std::path::Path;

use super::super::card_words::CARD;
use super::super::{CardAxis, CardFeed, Init, Layout, OutputStep, Runs, card_of, table};
use crate::Error;

const WHOLE: &str = "\
onnx: silero_vad_16k_op15.onnx
name: voice
layout: time_first
inputs:
  input: { columns: [frame, level], shape: [time, batch, 577] }
  token: { ids: word, below: 8000 }
  dvec: { per_key: speaker }
  sr: { constant: 16000 }
  mask: { constant: [1, 0, 1.5] }
  training: { constant: false }
states:
  state: { out: stateN, shape: [2, batch, 128], init: zero }
  c: { out: cN, init: -0.5 }
  h: { out: hN, init: { file: h0.npy } }
outputs:
  output: { column: speech, step: last }
  y: { column: ahead, targets: [value], horizon: 24, quantiles: [0.1, 0.5, 0.9] }
batch: one
steps: many
warm_up: 20
";

fn problems(text: &str) -> Vec<String> {
    match card_of(text, Path::new("/cards/card.yaml")) {
        Ok(_) => Vec::new(),
        Err(Error::Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn a_whole_card_is_read() {
    let card = card_of(WHOLE, Path::new("/cards/card.yaml")).unwrap();
    assert_eq!(card.onnx.value, Path::new("/cards/silero_vad_16k_op15.onnx"));
    assert_eq!((card.name.as_str(), card.layout.value, card.warm_up), ("voice", Layout::TimeFirst, 20));
    assert_eq!((card.batch.unwrap().value, card.steps.unwrap().value), (Runs::One, Runs::Many));
    let shape = card.inputs[0].shape.as_ref().unwrap();
    assert_eq!(shape.value, [CardAxis::Time, CardAxis::Batch, CardAxis::Fixed(577)]);
    assert!(matches!(&card.inputs[0].feed, CardFeed::Columns(columns) if columns.len() == 2));
    assert!(matches!(&card.inputs[1].feed, CardFeed::Ids(column, below) if column.value == "word" && **below == 8000));
    assert!(matches!(&card.inputs[2].feed, CardFeed::PerKey(column) if column.value == "speaker"));
    let constants: Vec<&[f64]> = card.inputs[3..]
        .iter()
        .filter_map(|input| match &input.feed {
            CardFeed::Constant(values) => Some(values.as_slice()),
            _ => None,
        })
        .collect();
    assert_eq!(constants, [&[16000.0][..], &[1.0, 0.0, 1.5], &[0.0]]);
    let inits: Vec<&Init> = card.states.iter().map(|state| &state.init.value).collect();
    assert_eq!(inits, [&Init::Number(0.0), &Init::Number(-0.5), &Init::File("/cards/h0.npy".into())]);
    assert_eq!(card.outputs[0].step.as_ref().unwrap().value, OutputStep::Last);
    let forecast = card.outputs[1].forecast.as_ref().unwrap();
    assert_eq!((forecast.horizon.value, &forecast.quantiles[..]), (24, &[0.1, 0.5, 0.9][..]));
}

#[test]
fn all_problems_are_shown_at_once_with_their_places() {
    let text = "\
onnx: s3://bucket/model.onnx
name: voice
layout: steps
window: 0
inputs:
  x: { columns: [] }
  y: { ids: word }
  z: { column: word }
states:
  h: { out: ~, shape: [time, batch, 2] }
  c: { out: c_out, shape: [batch, batch], init: nought }
outputs:
  y: { horizon: 2 }
";
    let found = problems(text);
    for (place, message) in [
        ("1:7", "`onnx`: a file of this machine is meant"),
        ("3:9", "did you mean \"step\"?"),
        ("4:9", "`window`: expected a whole number, at least 1"),
        ("6:17", "`columns`: the list is empty"),
        ("7:3", "an input needs `below`"),
        ("8:8", "unknown field `column` in an input, did you mean \"columns\"?"),
        ("10:13", "`out`: expected the output that gives the next state, found nothing"),
        ("10:23", "a state has no time axis"),
        ("11:35", "`shape`: an axis is there twice"),
        ("11:49", "`init`: expected zero, a number, or { file: PATH }"),
        ("13:3", "an output needs `column`"),
        ("13:3", "an output needs `targets`"),
    ] {
        let there =
            found.iter().any(|line| line.starts_with(&format!("/cards/card.yaml:{place}: ")) && line.contains(message));
        assert!(there, "{place} {message} in {found:#?}");
    }
}

#[test]
fn windows_have_rows_and_no_state() {
    let window =
        "onnx: a.onnx\nname: a\nlayout: window\ninputs: { x: { columns: [v] } }\noutputs: { y: { column: p } }\n";
    assert!(problems(window)[0].contains("needs `window`"), "{:?}", problems(window));
    assert_eq!(problems(&format!("{window}window: 10\n")), Vec::<String>::new());
    let stateful = problems(&format!("{window}window: 10\nstates: {{ h: {{ out: hn }} }}\n"));
    assert!(stateful[0].contains("carries no state"), "{stateful:?}");
    let step = problems(&format!("{}window: 10\n", window.replace("layout: window", "layout: step")));
    assert!(step[0].contains("only for layout window, this is step"), "{step:?}");
    let sequence = problems(&window.replace("layout: window", "layout: sequence"));
    assert!(sequence[0].contains("import its weights (`kolk models import FILE.onnx"), "{sequence:?}");
    assert!(problems("")[0].contains("the file is empty"));
    assert!(problems("- a\n")[0].contains("a mapping"));
    assert!(problems("source: {}\n").iter().any(|line| line.contains("a pipeline file has it")));
}

/// The document about models names every word of a card.
#[test]
fn the_document_names_every_word_of_a_card() {
    let text = include_str!("../../../docs/models.md");
    table::walk_from(&CARD, &mut |_, section| {
        for word in section.names() {
            let named = [format!("`{word}`"), format!("{word}: ")];
            assert!(named.iter().any(|form| text.contains(form)), "{word} of {}", section.section);
        }
    });
}
