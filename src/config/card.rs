//! The card of a model: what the tensors of an ONNX file are, in the user's words.
//!
//! Lives here: reading it, with every problem at once. Must not live here: what is in the ONNX file, and whether the
//! card fits it (`model::card`).

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::card_words::{CARD, FILE, INPUT, NO_SEQUENCES, OUTPUT, STATE};
use super::read::{Field, Fields, Reader};
use super::stages::{MODES, Mode};
use super::yaml::{self, Lines};
use super::{At, MAX_BYTES, expand, hint, problem};
use crate::error::{Context, Problems};
use crate::problem::Place;
use crate::{Error, Result};

/// A card.
#[derive(Debug, Clone)]
pub struct Card {
    /// The card itself.
    pub file: PathBuf,
    /// The ONNX file.
    pub onnx: At<PathBuf>,
    /// Name of the model in the registry.
    pub name: At<String>,
    /// Axes of tensors without a shape.
    pub layout: At<Layout>,
    /// Rows of a window, for layout window.
    pub window: Option<At<usize>>,
    /// How state is used, where the card says it.
    pub mode: Option<At<Mode>>,
    /// Inputs that are no states.
    pub inputs: Vec<CardInput>,
    /// Inputs that are carried.
    pub states: Vec<CardState>,
    /// Outputs that become columns.
    pub outputs: Vec<CardOutput>,
    /// Sequences of a run, where the card says it.
    pub batch: Option<At<Runs>>,
    /// Steps of a run, where the card says it.
    pub steps: Option<At<Runs>>,
    /// Rows of a new key whose outputs are marked.
    pub warm_up: usize,
    /// Where the sections of inputs, states and outputs are.
    pub sections: [Place; 3],
}

/// `layout:`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// `[batch, ..]`, a step of each sequence.
    #[default]
    Step,
    /// `[time, batch, ..]`
    TimeFirst,
    /// `[batch, time, ..]`
    BatchFirst,
    /// `[time, ..]`, one sequence.
    TimeOnly,
    /// `[batch, time, ..]`, the last rows of each key; no state.
    Window,
}

/// `batch:` and `steps:`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// As many as there are.
    Many,
    /// One by one.
    One,
}

/// `step:` of an output
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStep {
    /// Each row has that of its own step.
    Each,
    /// Only that of the last step counts.
    Last,
}

pub(super) const LAYOUTS: [(&str, Layout); 5] = [
    ("step", Layout::Step),
    ("time_first", Layout::TimeFirst),
    ("batch_first", Layout::BatchFirst),
    ("time_only", Layout::TimeOnly),
    ("window", Layout::Window),
];
pub(super) const RUNS: [(&str, Runs); 2] = [("many", Runs::Many), ("one", Runs::One)];
pub(super) const STEPS: [(&str, OutputStep); 2] = [("each", OutputStep::Each), ("last", OutputStep::Last)];

impl Card {
    /// A refusal at a place of it.
    pub fn refused(&self, place: Place, message: impl fmt::Display) -> Error {
        super::problem(&self.file, place, message)
    }

    /// Rows of a window that is computed again for each row.
    pub fn as_window(&self) -> Option<usize> {
        let carried = self.mode.as_ref().is_some_and(|mode| mode.value == Mode::Carry);
        self.window_rows().filter(|_| !carried)
    }

    /// Rows of a window, also of one whose states are carried.
    pub fn window_rows(&self) -> Option<usize> {
        (self.layout.value == Layout::Window).then(|| self.window.as_ref().map_or(1, |window| window.value))
    }
}

impl Layout {
    /// Its word in a card.
    pub fn word(self) -> &'static str {
        super::words::word_of(&LAYOUTS, self)
    }
}

/// An axis in a card's `shape`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardAxis {
    /// Sequences side by side.
    Batch,
    /// Steps.
    Time,
    /// So many numbers.
    Fixed(usize),
}

/// An input with what feeds it.
#[derive(Debug, Clone)]
pub struct CardInput {
    /// Its name in the graph.
    pub name: At<String>,
    /// What feeds it.
    pub feed: CardFeed,
    /// Its axes.
    pub shape: Option<At<Vec<CardAxis>>>,
}

/// What feeds an input.
#[derive(Debug, Clone)]
pub enum CardFeed {
    /// Numbers and vectors, side by side.
    Columns(Vec<At<String>>),
    /// A column of ids, and how many there are.
    Ids(At<String>, At<u64>),
    /// A column whose vector is set once per key.
    PerKey(At<String>),
    /// One number, or all of them in the order of the axes.
    Constant(At<Vec<f64>>),
}

/// A state: an input, and the output that gives the next one.
#[derive(Debug, Clone)]
pub struct CardState {
    /// The input's name in the graph.
    pub name: At<String>,
    /// The output's name in the graph.
    pub out: At<String>,
    /// Their axes.
    pub shape: Option<At<Vec<CardAxis>>>,
    /// What it is before a key's first step.
    pub init: At<Init>,
}

/// `init:`
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Zero everywhere, or this number.
    Number(f64),
    /// The values of a NumPy file.
    File(PathBuf),
}

impl Default for Init {
    fn default() -> Self {
        Init::Number(0.0)
    }
}

/// An output with its column.
#[derive(Debug, Clone)]
pub struct CardOutput {
    /// Its name in the graph.
    pub name: At<String>,
    /// The column that it becomes.
    pub column: At<String>,
    /// Its axes.
    pub shape: Option<At<Vec<CardAxis>>>,
    /// Which step counts.
    pub step: Option<At<OutputStep>>,
    /// Set where it is a forecast.
    pub forecast: Option<CardForecast>,
}

/// What a forecast is of.
#[derive(Debug, Clone)]
pub struct CardForecast {
    /// Columns that are forecast.
    pub targets: Vec<At<String>>,
    /// Steps ahead.
    pub horizon: At<usize>,
    /// Quantiles; empty for point forecasts.
    pub quantiles: Vec<f64>,
}

/// Reads a card.
///
/// # Errors
/// [`Error::Problems`] with everything that is wrong in it; [`Error::Refused`] when it can't be read at all.
pub fn card(path: &Path) -> Result<Card> {
    let shown = || format!("{}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).or_refused(shown)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).or_refused(shown)?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::refused(format!("{}: larger than 1 MiB, this is not a card", path.display())));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => card_of(text, path),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            Err(problem(path, Lines::end(&before), "this is not UTF-8"))
        }
    }
}

/// Reads the text of a card. `file` names it in messages, and relative paths are relative to its folder.
///
/// # Errors
/// As [`card`].
pub fn card_of(text: &str, file: &Path) -> Result<Card> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        return Err(problem(file, Lines::end(&text[..at]), "this is not a text file: it holds a zero byte"));
    }
    let (root, faults) = yaml::read(text, None).map_err(|(at, message)| problem(file, at, message + hint(text, at)))?;
    let Some(mut root) = root.filter(|root| !root.is_null()) else {
        let message = "the file is empty: a card needs at least `onnx`, `name`, `layout`, `inputs` and `outputs`";
        return Err(problem(file, Place::new(1, 1), message));
    };
    let mut problems = Problems::new(file);
    let mut expander = expand::Expander::new(&|name| std::env::var(name));
    expander.expand_all(&mut root);
    for (place, message) in faults.into_iter().chain(expander.faults) {
        problems.add(place, message);
    }
    let mut reader = Reader::new(problems, file)?;
    let whole = Field { name: "the card", name_place: Place::new(1, 1), node: &root };
    let card = reader.section(whole, &CARD).map(|fields| read(&mut reader, &fields, file));
    #[cfg(test)]
    super::tests::schema::card_agrees(&root, &reader.problems);
    match card {
        Some(card) => reader.problems.finish(card),
        None => reader.problems.finish(()).and(Err(problem(file, Place::new(1, 1), "this is not a card"))),
    }
}

fn read(reader: &mut Reader, fields: &Fields, file: &Path) -> Card {
    let onnx = reader.need(fields, "onnx").and_then(|field| path(reader, field)).unwrap_or_default();
    let name = reader.need(fields, "name").and_then(|field| reader.name(field, "a name")).unwrap_or_default();
    let layout = reader.need(fields, "layout").and_then(|field| {
        if field.node.text() == Some("sequence") {
            return reader.wrong(field, NO_SEQUENCES);
        }
        Some(field.at(reader.word(field, &LAYOUTS, &[])?))
    });
    let window = fields.get("window").and_then(|field| Some(field.at(reader.count(field, 1, usize::MAX)?)));
    match (&layout, fields.get("window")) {
        (Some(At { value: Layout::Window, .. }), None) => {
            reader.problems.add(fields.place, "the card needs `window` with layout window: the rows of a window");
        }
        (Some(At { value: Layout::Window, .. }), Some(_)) | (_, None) | (None, _) => {}
        (Some(layout), Some(window)) => {
            let word = layout.word();
            reader.problems.add(window.name_place, format_args!("`window` is only for layout window, this is {word}"));
        }
    }
    let mode = fields.get("mode").and_then(|field| Some(field.at(reader.word(field, &MODES, &[])?)));
    if let (Some(mode), Some(layout)) = (&mode, &layout)
        && mode.value == Mode::Window
        && layout.value != Layout::Window
    {
        let word = layout.word();
        reader.problems.add(mode.place, format_args!("`mode: window` is only for layout window, this is {word}"));
    }
    let place = |name: &'static str| fields.get(name).map_or(fields.place, |field| field.name_place);
    let sections = [place("inputs"), place("states"), place("outputs")];
    let inputs = reader.need(fields, "inputs").map(|field| each(reader, field, input)).unwrap_or_default();
    let states = fields.get("states").filter(|field| !field.node.is_null());
    if let (Some(At { value: Layout::Window, .. }), Some(field)) = (&layout, states) {
        reader.note(
            field,
            "a window carries no state: its rows are computed again each time; with `mode: carry`, the \
                            states are those of the graph's recurrent operators",
        );
    }
    let states = states.map(|field| each(reader, field, state)).unwrap_or_default();
    let outputs = reader.need(fields, "outputs").map(|field| each(reader, field, output)).unwrap_or_default();
    let runs = |reader: &mut Reader, name| {
        let field = fields.get(name)?;
        Some(field.at(reader.word(field, &RUNS, &[])?))
    };
    Card {
        file: file.into(),
        onnx,
        name,
        layout: layout.unwrap_or_default(),
        window,
        mode,
        inputs,
        states,
        outputs,
        batch: runs(reader, "batch"),
        steps: runs(reader, "steps"),
        warm_up: fields.get("warm_up").and_then(|field| reader.count(field, 0, usize::MAX)).unwrap_or_default(),
        sections,
    }
}

/// What is under each name of the user's.
fn each<T>(reader: &mut Reader, field: Field<'_>, one: fn(&mut Reader, Field<'_>, At<String>) -> Option<T>) -> Vec<T> {
    let names = reader.names(field, "a mapping of names of the graph").unwrap_or_default();
    let named = |name: &Field<'_>| At { value: name.name.to_string(), place: name.name_place };
    names.into_iter().filter_map(|field| one(reader, field, named(&field))).collect()
}

fn input(reader: &mut Reader, field: Field<'_>, name: At<String>) -> Option<CardInput> {
    let fields = reader.section(field, &INPUT)?;
    let shape = fields.get("shape").and_then(|field| shape(reader, field));
    let feed = reader.one_of(&fields, &["columns", "ids", "per_key", "constant"]);
    if let Some(below) = fields.get("below").filter(|_| fields.get("ids").is_none()) {
        reader.problems.add(below.name_place, "`below` is only for `ids`");
    }
    let feed = match feed {
        Some(field) if field.name == "columns" => CardFeed::Columns(reader.some_texts(field, "columns")?),
        Some(field) if field.name == "ids" => {
            let column = reader.text(field, "a column");
            let below = reader.need(&fields, "below");
            let below = below.and_then(|field| Some(field.at(reader.integer(field, 1, i64::MAX)?)))?;
            CardFeed::Ids(column?, At { value: below.value.unsigned_abs(), place: below.place })
        }
        Some(field) if field.name == "per_key" => CardFeed::PerKey(reader.text(field, "a vector column")?),
        Some(field) => CardFeed::Constant(field.at(constant(reader, field)?)),
        None => return None,
    };
    Some(CardInput { name, feed, shape })
}

fn constant(reader: &mut Reader, field: Field<'_>) -> Option<Vec<f64>> {
    const WHAT: &str = "a number, or a list of numbers";
    if field.node.is_list() {
        reader.not_empty(field)?;
        let items = reader.list(field, "numbers")?;
        let numbers: Vec<Option<f64>> =
            items.into_iter().map(|item| reader.number(item, "a number", |_| true)).collect();
        return numbers.into_iter().collect();
    }
    match field.node.text() {
        Some("true") => Some(vec![1.0]),
        Some("false") => Some(vec![0.0]),
        _ => reader.number(field, WHAT, |_| true).map(|number| vec![number]),
    }
}

fn state(reader: &mut Reader, field: Field<'_>, name: At<String>) -> Option<CardState> {
    let fields = reader.section(field, &STATE)?;
    let out = reader.need(&fields, "out").and_then(|field| reader.text(field, "the output that gives the next state"));
    let shape = fields.get("shape").and_then(|field| shape(reader, field));
    if let Some(shape) = shape.as_ref().filter(|shape| shape.contains(&CardAxis::Time)) {
        reader.problems.add(shape.place, "a state has no time axis");
    }
    let init = fields.get("init").and_then(|field| init(reader, field)).unwrap_or_default();
    Some(CardState { name, out: out?, shape, init })
}

fn init(reader: &mut Reader, field: Field<'_>) -> Option<At<Init>> {
    const WHAT: &str = "zero, a number, or { file: PATH }";
    if field.node.get("file").is_some() {
        let fields = reader.section(field, &FILE)?;
        let file = reader.need(&fields, "file").and_then(|field| path(reader, field))?;
        return Some(At { value: Init::File(file.value), place: file.place });
    }
    if field.node.text() == Some("zero") {
        return Some(field.at(Init::default()));
    }
    reader.number(field, WHAT, |_| true).map(|number| field.at(Init::Number(number)))
}

fn output(reader: &mut Reader, field: Field<'_>, name: At<String>) -> Option<CardOutput> {
    let fields = reader.section(field, &OUTPUT)?;
    let column = reader.need(&fields, "column").and_then(|field| reader.text(field, "a column"));
    let shape = fields.get("shape").and_then(|field| shape(reader, field));
    let step = fields.get("step").and_then(|field| Some(field.at(reader.word(field, &STEPS, &[])?)));
    let (horizon, targets) = (fields.get("horizon"), fields.get("targets"));
    let forecast = if horizon.is_some() || targets.is_some() || fields.get("quantiles").is_some() {
        let targets = reader.need(&fields, "targets").and_then(|field| reader.some_texts(field, "columns"));
        let horizon = reader.need(&fields, "horizon");
        let horizon = horizon.and_then(|field| Some(field.at(reader.count(field, 1, usize::MAX)?)));
        let quantiles = fields.get("quantiles").and_then(|field| quantiles(reader, field));
        targets.zip(horizon).map(|(targets, horizon)| CardForecast {
            targets,
            horizon,
            quantiles: quantiles.unwrap_or_default(),
        })
    } else {
        None
    };
    Some(CardOutput { name, column: column?, shape, step, forecast })
}

fn quantiles(reader: &mut Reader, field: Field<'_>) -> Option<Vec<f64>> {
    reader.not_empty(field)?;
    let items = reader.list(field, "quantiles")?;
    let each = items.into_iter().map(|item| reader.number(item, "a number between 0 and 1", |q| q > 0.0 && q < 1.0));
    let each: Vec<Option<f64>> = each.collect();
    let quantiles: Vec<f64> = each.into_iter().collect::<Option<_>>()?;
    if quantiles.is_sorted_by(|a, b| a < b) { Some(quantiles) } else { reader.wrong(field, "write them ascending") }
}

fn shape(reader: &mut Reader, field: Field<'_>) -> Option<At<Vec<CardAxis>>> {
    const WHAT: &str = "batch, time, or a size";
    let mut axes = Vec::new();
    for item in reader.list(field, "axes")? {
        let axis = match item.node.text() {
            Some("batch") => CardAxis::Batch,
            Some("time") => CardAxis::Time,
            Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                CardAxis::Fixed(reader.count(item, 1, usize::MAX)?)
            }
            _ => return reader.expected(item, WHAT),
        };
        if !matches!(axis, CardAxis::Fixed(_)) && axes.contains(&axis) {
            return reader.wrong(item, "an axis is there twice");
        }
        axes.push(axis);
    }
    Some(field.at(axes))
}

/// A path, relative to the folder of the card.
fn path(reader: &mut Reader, field: Field<'_>) -> Option<At<PathBuf>> {
    let text = reader.text(field, "the path of a file")?;
    if text.contains("://") {
        return reader.wrong(field, "a file of this machine is meant, not a URL");
    }
    Some(field.at(reader.beside(&text).0.into()))
}
