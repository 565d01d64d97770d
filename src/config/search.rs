//! The section `search`: fields of `train` with the values that are tried.
//!
//! Lives here: what a user writes of a search, and which values a trial has: they follow from the section and the
//! number of the trial alone. Must not live here: training, and what becomes of a trial (`train::search`).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::rc::Rc;

use super::read::{Field, Reader};
use super::table::{Shape, Word, names, word};
use super::train_words::TRAIN;
use super::words::Words;
use super::write::line;
use super::yaml::{self, Kind, Node, Scalar};
use super::{At, one_line};
use crate::error::did_you_mean;
use crate::problem::Place;

/// Trials of a search, at most.
const MOST: usize = 100_000;
/// Digits of a number that is drawn.
const DIGITS: usize = 3;
/// Fields by which the validation loss of two trials would be of different things.
const COMPARED: [&str; 16] = [
    "per",
    "target",
    "targets",
    "task",
    "tokens",
    "horizon",
    "loss",
    "quantiles",
    "residual",
    "classes",
    "class_weights",
    "sample_weight",
    "split",
    "refit",
    "seasonality",
    "data",
];

const SCALES: [(&str, bool); 2] = [("linear", false), ("log", true)];
const ENDS: [(&str, bool); 2] = [("median", true), ("none", false)];

const RANGE: Words = Words::new(
    "a range of `over`",
    &[
        word("from", Shape::NUMBER, "The smallest value; whole numbers are drawn where both ends are whole").needed(),
        word("to", Shape::NUMBER, "The largest value").needed(),
        word("scale", Shape::Word(&names(&SCALES)), "log: each factor is equally likely").or("linear"),
    ],
);
const CHOICES: Shape = Shape::Any(&[Shape::Some(&Shape::Anything), Shape::Section(&RANGE)]);
const FIELDS: &[Word] = &[
    word("over", Shape::Names(&CHOICES), "Fields of `train` by their way, each with its values or a range").needed(),
    word("trials", Shape::Integer(1, MOST as i64), "How many are drawn; by default, every combination is tried"),
    word("seed", Shape::COUNT, "Seed of what is drawn").or("7"),
    word(
        "stop",
        Shape::Word(&names(&ENDS)),
        "median: a trial ends early whose validation loss is above the median of the trials before it",
    )
    .or("median"),
];

/// The section's table.
pub(super) const SEARCH: Words = Words::new("`search`", FIELDS);

/// `search:`
#[derive(Debug, Clone)]
pub struct Search {
    /// Fields of `train` with what is tried.
    pub over: Vec<Over>,
    /// Trials besides the one of the file as it is.
    pub trials: usize,
    /// Whether they are drawn, or all combinations in order.
    drawn: bool,
    /// Seed of what is drawn.
    pub seed: u64,
    /// Whether hopeless trials end early.
    pub stops: bool,
}

/// A field and its values.
#[derive(Debug, Clone)]
pub struct Over {
    /// Its way, `train.optimizer.adam.learning_rate`.
    pub field: String,
    values: Values,
    /// Where they are written.
    place: Place,
}

#[derive(Debug, Clone)]
enum Values {
    /// Each as YAML, with its place.
    List(Vec<At<String>>),
    Range {
        from: f64,
        to: f64,
        log: bool,
        whole: bool,
    },
}

/// A field and the value that a trial has for it, as YAML on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The field's way.
    pub field: String,
    /// Its value.
    pub value: String,
    place: Place,
}

impl Search {
    /// The values of a trial; none for trial 0, which is the file as it is.
    pub fn trial(&self, number: usize) -> Vec<Tried> {
        if number == 0 {
            return Vec::new();
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(number as u64);
        let mut rest = number - 1;
        let mut tried = Vec::with_capacity(self.over.len());
        // The last field changes first, as in nested loops.
        for over in self.over.iter().rev() {
            let (value, place) = match &over.values {
                Values::List(values) => {
                    let at = if self.drawn { below(&mut random, values.len()) } else { rest % values.len() };
                    rest /= values.len();
                    (values[at].value.clone(), values[at].place)
                }
                Values::Range { from, to, log, whole } => {
                    (between(&mut random, (*from, *to), *log, *whole), over.place)
                }
            };
            tried.push(Tried { field: over.field.clone(), value, place });
        }
        tried.reverse();
        tried
    }

    /// Everything that its trials follow from, besides the file itself.
    pub fn canonical(&self) -> serde_json::Value {
        let values = |over: &Over| match &over.values {
            Values::List(values) => serde_json::json!(values.iter().map(|value| &value.value).collect::<Vec<_>>()),
            Values::Range { from, to, log, whole } => serde_json::json!([from, to, log, whole]),
        };
        let over: Vec<_> = self.over.iter().map(|over| serde_json::json!([over.field, values(over)])).collect();
        serde_json::json!({ "over": over, "trials": self.trials, "drawn": self.drawn, "seed": self.seed,
            "stops": self.stops })
    }
}

fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

fn between(random: &mut ChaCha8Rng, (from, to): (f64, f64), log: bool, whole: bool) -> String {
    let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    // Each whole number has the same room.
    let (from, to) = if whole { (from - 0.5, to + 0.5) } else { (from, to) };
    let value = if log { (from.ln() + share * (to.ln() - from.ln())).exp() } else { from + share * (to - from) };
    if whole {
        return format!("{}", (value.round().clamp((from + 0.5).ceil(), (to - 0.5).floor())) as i64);
    }
    let rounded: f64 = format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value);
    rounded.clamp(from, to).to_string()
}

/// Reads `search`.
pub(super) fn search(reader: &mut Reader, field: Field<'_>) -> Option<Search> {
    let fields = reader.section(field, &SEARCH)?;
    let mut over = Vec::new();
    if let Some(field) = reader.need(&fields, "over") {
        for field in reader.names(field, "fields of `train` such as train.batch_size: [16, 32]")? {
            over.extend(one(reader, field));
        }
        if over.is_empty() {
            reader.note(field, "needs at least one field of `train` such as train.batch_size: [16, 32]");
            return None;
        }
    }
    let trials = fields.get("trials").and_then(|field| reader.count(field, 1, MOST));
    let seed = fields.get("seed").and_then(|field| reader.count(field, 0, usize::MAX)).unwrap_or(7);
    let stops = fields.get("stop").and_then(|field| reader.word(field, &ENDS, &[])).unwrap_or(true);
    let combinations = over.iter().try_fold(1_usize, |all, over| match &over.values {
        Values::List(values) => all.checked_mul(values.len()),
        Values::Range { .. } => None,
    });
    let (trials, drawn) = match (trials, combinations) {
        (Some(trials), Some(all)) if trials >= all => (all, false),
        (Some(trials), _) => (trials, true),
        (None, Some(all)) if all <= MOST => (all, false),
        (None, _) => {
            let what = if combinations.is_none() { "a range has no end" } else { "there are too many combinations" };
            reader.note(field, format_args!("write `trials`, the number of trials to draw: {what}"));
            return None;
        }
    };
    Some(Search { over, trials, drawn, seed: seed as u64, stops })
}

fn one(reader: &mut Reader, field: Field<'_>) -> Option<Over> {
    let values = values(reader, field);
    let way: Vec<&str> = field.name.split('.').collect();
    let of_train = |name: &str| TRAIN.has(name);
    let message = match way[..] {
        ["train", first, ..] if COMPARED.contains(&first) => {
            format!("trials that differ in `{first}` can't be compared by their validation loss")
        }
        ["train", first, ..] if of_train(first) => {
            return Some(Over { field: field.name.to_string(), values: values?, place: field.place() });
        }
        ["train", first, ..] => {
            let near = did_you_mean(first, TRAIN.names());
            format!("`train` has no field \"{}\"{near}", one_line(first))
        }
        _ => {
            let near = if of_train(way[0]) { format!(", did you mean train.{}?", field.name) } else { String::new() };
            format!("`{}` is no field of `train` such as train.batch_size{near}", one_line(field.name))
        }
    };
    reader.problems.add(field.name_place, message);
    None
}

fn values(reader: &mut Reader, field: Field<'_>) -> Option<Values> {
    if !field.node.is_list() {
        return range(reader, field);
    }
    let items = reader.list(field, "values")?;
    reader.not_empty(field)?;
    Some(Values::List(items.iter().map(|item| At { value: line(item.node), place: item.place() }).collect()))
}

fn range(reader: &mut Reader, field: Field<'_>) -> Option<Values> {
    if field.node.text().is_some() {
        return reader.expected(field, "a list of values, or a range { from: 0.0001, to: 0.01, scale: log }");
    }
    let fields = reader.section(field, &RANGE)?;
    let mut end = |name| {
        let field = reader.need(&fields, name)?;
        let whole = field.node.text().is_some_and(|text| text.trim().parse::<i64>().is_ok());
        Some((reader.number(field, "a number", |_| true)?, whole))
    };
    let (from, to) = (end("from"), end("to"));
    let log = fields.get("scale").and_then(|field| reader.word(field, &SCALES, &[])).unwrap_or(false);
    let ((from, from_whole), (to, to_whole)) = (from?, to?);
    if from >= to {
        return reader.wrong(field, "`from` has to be less than `to`");
    }
    if log && from <= 0.0 {
        return reader.wrong(field, "`scale: log` needs a range above 0");
    }
    Some(Values::Range { from, to, log, whole: from_whole && to_whole })
}

/// Puts the values of a trial in place of those of the file. Problems with them are at the places of the values.
pub(super) fn put(root: &mut Node, tried: &[Tried]) -> Result<(), (Place, String)> {
    for Tried { field, value, place } in tried {
        let (node, _) = yaml::read(value, None)?;
        let mut node = node.ok_or_else(|| (*place, "expected a value, found nothing".to_string()))?;
        relocate(&mut node, *place);
        let way: Vec<&str> = field.split('.').collect();
        set(root, &way, node, *place);
    }
    Ok(())
}

fn relocate(node: &mut Node, place: Place) {
    node.place = place;
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => Rc::make_mut(items).iter_mut().for_each(|item| relocate(item, place)),
        Kind::Map(pairs) => Rc::make_mut(pairs).iter_mut().for_each(|(key, value)| {
            relocate(key, place);
            relocate(value, place);
        }),
    }
}

fn set(node: &mut Node, way: &[&str], value: Node, place: Place) {
    let [first, rest @ ..] = way else {
        *node = value;
        return;
    };
    if !matches!(node.kind, Kind::Map(_)) {
        node.kind = Kind::Map(Rc::new(Vec::new()));
    }
    let Kind::Map(pairs) = &mut node.kind else { return };
    let pairs = Rc::make_mut(pairs);
    let at = pairs.iter().position(|(key, _)| key.text() == Some(first)).unwrap_or_else(|| {
        let text = Scalar { text: (*first).to_string(), plain: true, written: None, secret: false, broken: false };
        let empty = Node { place, kind: Kind::Map(Rc::new(Vec::new())) };
        pairs.push((Node { place, kind: Kind::Scalar(text) }, empty));
        pairs.len() - 1
    });
    // Of an optimizer there is one.
    if !rest.is_empty() && *first == "optimizer" {
        let other = |(key, _): &(Node, Node)| key.text() == Some(rest[0]);
        if let Kind::Map(own) = &mut pairs[at].1.kind {
            Rc::make_mut(own).retain(other);
        }
    }
    set(&mut pairs[at].1, rest, value, place);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Optimizer, parse, parse_trial};

    const FILE: &str = "name: a\nsource: { parquet: { path: d } }\nrecord: { time: ts, values: [v] }\n\
        stages: [ infer: { model: m } ]\ntrain: { target: v, layers: [ lstm: 4 ], optimizer: adamw }\n";

    fn search(text: &str) -> String {
        format!("{FILE}search: {text}\n")
    }

    fn refused(text: &str) -> String {
        parse(&search(text), Path::new("p.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn lists_are_all_combinations_and_ranges_are_drawn() {
        let text = search("{ over: { train.layers: [[lstm: 8], [gru: 6, gru: 3]], train.batch_size: [8, 16, 32] } }");
        let found = parse(&text, Path::new("p.yaml")).unwrap().search.unwrap();
        assert_eq!((found.trials, found.trial(0).len()), (6, 0));
        let values: Vec<Vec<String>> =
            (1..=6).map(|at| found.trial(at).into_iter().map(|tried| tried.value).collect()).collect();
        assert_eq!(values[0], ["[{ lstm: 8 }]", "8"]);
        assert_eq!(values[1], ["[{ lstm: 8 }]", "16"]);
        assert_eq!(values[5], ["[{ gru: 6 }, { gru: 3 }]", "32"]);
        let trial = parse_trial(&text, Path::new("p.yaml"), &found.trial(6)).unwrap().train.unwrap();
        assert_eq!((trial.layers.len(), trial.batch_size), (2, 32));

        let text = search(
            "{ trials: 200, seed: 3, stop: none, over: { train.optimizer.adam.learning_rate: { from: 1e-4, to: 1e-2, \
             scale: log }, train.chunk: { from: 16, to: 18 }, train.clip_norm: [1, 2] } }",
        );
        let found = parse(&text, Path::new("p.yaml")).unwrap().search.unwrap();
        assert!(!found.stops && found.trials == 200);
        let drawn: Vec<_> = (1..=200).map(|at| found.trial(at)).collect();
        assert_eq!(drawn[17], found.trial(18));
        let numbers = |at: usize| drawn.iter().map(move |tried| tried[at].value.parse::<f64>().unwrap());
        assert!(numbers(0).all(|rate| (1e-4..=1e-2).contains(&rate)));
        let low = numbers(0).filter(|rate| *rate < 1e-3).count();
        assert!((70..130).contains(&low), "{low}");
        for chunk in [16.0, 17.0, 18.0] {
            assert!((40..95).contains(&numbers(1).filter(|found| *found == chunk).count()), "{chunk}");
        }
        let trial = parse_trial(&text, Path::new("p.yaml"), &drawn[0]).unwrap().train.unwrap();
        let Optimizer::Adam(adam) = trial.optimizer else { panic!("{:?}", trial.optimizer) };
        assert_eq!(adam.learning_rate, drawn[0][0].value.parse::<f64>().unwrap());
        assert_eq!(trial.clip_norm, drawn[0][2].value.parse().ok());
    }

    #[test]
    fn what_is_wrong_is_named_at_its_place() {
        for (text, words) in [
            ("{}", "`search` needs `over`"),
            ("{ over: {} }", "needs at least one field of `train`"),
            (
                "{ over: { batch_size: [1] } }",
                "6:19: `batch_size` is no field of `train` such as train.batch_size, did",
            ),
            ("{ over: { train.batchsize: [1] } }", "`train` has no field \"batchsize\""),
            ("{ over: { train.loss: [mse, mae] } }", "trials that differ in `loss` can't be compared"),
            ("{ over: { train.task: [label, ctc] } }", "trials that differ in `task` can't be compared"),
            ("{ over: { train.per: [key, a] } }", "trials that differ in `per` can't be compared"),
            ("{ over: { train.tokens: [words] } }", "trials that differ in `tokens` can't be compared"),
            ("{ over: { train.class_weights: [balanced] } }", "trials that differ in `class_weights` can't be"),
            ("{ over: { train.sample_weight: [a, b] } }", "trials that differ in `sample_weight` can't be"),
            ("{ over: { train.chunk: [] } }", "6:32"),
            ("{ over: { train.chunk: 5 } }", "expected a list of values, or a range { from: 0.0001"),
            ("{ over: { train.chunk: { from: 5, to: 5 } }, trials: 3 }", "`from` has to be less than `to`"),
            ("{ over: { train.chunk: { from: 0, to: 5, scale: log } }, trials: 3 }", "needs a range above 0"),
            ("{ over: { train.chunk: { from: 5, to: 9 } } }", "write `trials`, the number of trials to draw"),
        ] {
            let message = refused(text);
            assert!(message.contains(words), "{text}: {message}");
        }
        // A value that isn't one of the field is found where it is written.
        let text = search("{ over: { train.batch_size: [8, none] } }");
        let found = parse(&text, Path::new("p.yaml")).unwrap().search.unwrap();
        let message = parse_trial(&text, Path::new("p.yaml"), &found.trial(2)).unwrap_err().to_string();
        assert!(message.contains("6:41") && message.contains("`batch_size`"), "{message}");
    }
}
