//! `infer`, planned: the model's own columns and what it predicts. Must not live here: whether the model fits the
//! pipeline (`runtime::plan`), and running it.

use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use super::classes::{self, Classes};
use super::{Infer, PREDICTION_TIME, is_final};
use crate::Result;
use crate::config::{self, Mode};
use crate::error::Problems;
use crate::model::executor::grouped;
use crate::network::{Ahead, Element, OutputTensor};
use crate::problem::Place;
use crate::record::{Clock, Every, Features, Forecast, Kind, Layout, Role};
use crate::stage::{Build, Model, Operator, Stage, columns};

/// Names of the other columns that `infer` makes.
const MODEL_VERSION: &str = "model_version";
const WARM_UP: &str = "warm_up";

/// `infer` with its model; without one it has a word and columns, and can't be planned.
pub struct Network<'a> {
    /// What the file says.
    pub options: &'a config::Infer,
    /// The model, opened.
    pub model: Option<Model>,
    /// Names of the columns that its outputs become, with that of the time of a forecast.
    pub outputs: Vec<String>,
    /// Names of columns that somebody asks for: a class has one only there.
    pub wanted: Vec<String>,
    /// Names of the columns of text that the model looks up.
    pub texts: Vec<String>,
}

impl Operator for Network<'_> {
    fn word(&self) -> &'static str {
        "infer"
    }

    fn reads(&self) -> Vec<config::At<String>> {
        self.texts.iter().map(|text| config::At { value: text.clone(), place: self.options.model.place }).collect()
    }

    fn adds(&self) -> Vec<String> {
        self.outputs.iter().cloned().chain([MODEL_VERSION, WARM_UP].map(String::from)).collect()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        let config::Infer { model, mode, window, max_length, beam: _, max_tokens: _, ttl, gap } = self.options;
        let mut options = Map::from_iter([("model".to_string(), json!(model.value))]);
        if *mode != Mode::default() {
            options.insert("mode".into(), json!(mode.word()));
        }
        if let Some(window) = window {
            options.insert("window".into(), json!(window.value));
        }
        if max_length.value != config::Infer::MAX_LENGTH {
            options.insert("max_length".into(), json!(max_length.value));
        }
        if self.options.beam() != 1 {
            options.insert("beam".into(), json!(self.options.beam()));
        }
        if self.options.most_tokens() != config::Infer::MAX_TOKENS {
            options.insert("max_tokens".into(), json!(self.options.most_tokens()));
        }
        for (word, span) in [("ttl", ttl), ("gap", gap)] {
            if let Some(span) = span {
                options.insert(word.into(), json!(span.to_string()));
            }
        }
        Some(json!({ "infer": options }))
    }

    /// Adds a column for each output and what belongs to it. `inputs` comes before it.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        if self.model.is_some() && layout.columns.iter().any(|c| c.name == WARM_UP && c.role == Role::Output) {
            problems.add(place, "a pipeline has one infer stage, this is the second");
            return None;
        }
        let Some(model) = self.model.clone() else {
            check_spans(self.options, &layout.clock, problems);
            return None;
        };
        if !self.transcribes(&model, place, layout, problems) {
            return None;
        }
        let features = layout.features.clone();
        // Versions with other numbers of inputs have the same columns for what follows.
        if let Some(Features { x, .. }) = &mut layout.features
            && let Some(second) = x.get(1).copied()
        {
            x.truncate(1);
            layout.columns.truncate(second);
        }
        self.adds().iter().for_each(|name| columns::hide(layout, name));
        let mut outputs = Vec::new();
        let mut forecasts: Vec<Forecast> = Vec::new();
        let classes = &model.version.manifest.classes;
        for output in &model.signature.outputs {
            let mut planned = PlannedOutput::plan(output, layout, place, problems);
            let kind = if planned.is_number { Kind::Number } else { Kind::Vector(planned.width) };
            if layout.find(&output.column).is_some() && model.version.manifest.signature.is_some() {
                let message = format!("the model makes a column \"{}\", but there is one already", output.column);
                problems.add(place, message);
            }
            if model.version.manifest.makes_transcripts() {
                layout.add(&output.column, Kind::Passthrough(DataType::Utf8), Role::Output);
                if self.options.mode == Mode::Carry {
                    layout.add(is_final(&output.column), Kind::Flag, Role::Output);
                }
                outputs.push(planned);
                continue;
            }
            if !classes.is_empty() {
                if planned.width != classes.len() {
                    let (width, count) = (planned.width, classes.len());
                    problems.add(place, format!("the model's output has {width} numbers for {count} classes"));
                }
                planned.classes = Some(Classes::add(classes, &output.column, &self.wanted, layout));
                outputs.push(planned);
                continue;
            }
            let column = layout.add(&output.column, kind, Role::Output);
            if let Some(Ahead { targets, horizon, quantiles }) = output.forecast.clone() {
                forecasts.push(Forecast { targets, horizon, quantiles, column });
            }
            outputs.push(planned);
        }
        let horizon = forecasts.first().map(|forecast| forecast.horizon);
        if let Some(other) = forecasts.iter().find(|forecast| Some(forecast.horizon) != horizon) {
            let first = horizon.unwrap_or_default();
            let message = format!("the model's outputs have the horizons {first} and {}, not one", other.horizon);
            problems.add(place, message);
        }
        if horizon.is_some() {
            layout.add(PREDICTION_TIME, Kind::Time, Role::Output);
        }
        layout.add(MODEL_VERSION, Kind::Integer, Role::Output);
        layout.add(WARM_UP, Kind::Flag, Role::Output);
        layout.forecasts = forecasts;
        Some(Box::new(PlannedNetwork {
            mode: self.options.mode,
            window: self.options.window.as_ref().map_or(1, |window| window.value),
            most: self.options.max_length.value,
            beam: self.options.beam(),
            most_tokens: self.options.most_tokens(),
            ends: layout.ends,
            features: features?,
            outputs,
            horizon,
            clock: layout.clock.clone(),
            every: layout.interval.and_then(|span| layout.clock.every(span).ok()),
            model,
        }))
    }

    fn is_needed(&self) -> bool {
        true
    }
}

impl Network<'_> {
    /// Whether what the file says about transcripts fits the model.
    fn transcribes(&self, model: &Model, place: Place, layout: &Layout, problems: &mut Problems) -> bool {
        let version = &model.version;
        let label = format!("{}/{}", version.name, version.number);
        if version.manifest.makes_transcripts() {
            let is_open = self.options.mode == Mode::Carry && layout.ends.is_none();
            if is_open {
                let message = format!(
                    "{label} makes transcripts: write `sequence` within `record`, which says where one ends, as in \
                     `sequence: {{ end: last }}`"
                );
                problems.add(place, message);
            }
            return !is_open;
        }
        let written = [("beam", &self.options.beam), ("max_tokens", &self.options.max_tokens)];
        for (word, written) in written {
            if let Some(written) = written {
                let message = format!("`{word}` is for models of transcripts (`task: ctc`), which {label} isn't");
                problems.add(written.place, message);
            }
        }
        written.iter().all(|(_, written)| written.is_none())
    }
}

/// Names of the columns that an output with these classes becomes, of those of classes the ones that are `wanted`.
pub fn class_columns<'a>(
    column: &'a str,
    classes: &'a [String],
    wanted: &'a [String],
) -> impl Iterator<Item = String> + 'a {
    let of_class = classes.iter().map(|class| classes::of_class(column, class));
    [column.to_string(), classes::probability(column)].into_iter().chain(of_class.filter(|name| wanted.contains(name)))
}

/// Adds what of `ttl` and `gap` the clock has no measure for.
pub fn check_spans(options: &config::Infer, clock: &Clock, problems: &mut Problems) {
    for (word, span) in [("ttl", &options.ttl), ("gap", &options.gap)] {
        if let Some(span) = span
            && let Err(message) = clock.every(span.value)
        {
            problems.add(span.place, format!("{word}: {message}"));
        }
    }
}

/// `infer`, but for its session.
pub struct PlannedNetwork {
    /// The model.
    pub model: Model,
    /// `mode:` of the pipeline file.
    pub mode: Mode,
    /// `window:` of the pipeline file.
    pub window: usize,
    /// Rows of a sequence at most, for a network that must see it whole.
    pub most: usize,
    /// Beginnings of a transcript that are kept; 1: the most probable token of each step counts.
    pub beam: usize,
    /// Tokens of a transcript at most, in mode carry.
    pub most_tokens: usize,
    /// The flag of rows that end a sequence.
    pub ends: Option<usize>,
    /// Where `inputs` puts what it makes.
    pub features: Features,
    /// What the network gives.
    pub(super) outputs: Vec<PlannedOutput>,
    /// Steps ahead, where an output is a forecast.
    pub horizon: Option<usize>,
    /// Unit of time.
    pub clock: Clock,
    /// Distance of rows where a stage before guarantees it.
    pub every: Option<Every>,
}

/// An output of the network.
#[derive(Debug, Clone)]
pub(super) struct PlannedOutput {
    /// Numbers of a row.
    pub(super) width: usize,
    /// Whether it becomes a number of 64 bits instead of a vector.
    pub(super) is_number: bool,
    /// Per target of a forecast, the columns of the pair that it is scaled back with.
    pub(super) scaled_by: Vec<Option<(usize, usize)>>,
    /// Per target, whether these are of its logarithms.
    pub(super) log: Vec<bool>,
    /// Quantiles of each step and target of a forecast; 0 for points.
    pub(super) quantiles: usize,
    /// Set where its numbers are the probabilities of classes.
    pub(super) classes: Option<Classes>,
}

impl PlannedOutput {
    fn plan(output: &OutputTensor, layout: &Layout, place: Place, problems: &mut Problems) -> PlannedOutput {
        let width = output.tensor.width();
        let Some(Ahead { targets, horizon, quantiles }) = &output.forecast else {
            let is_number = width == 1 && !matches!(output.tensor.element, Element::Float32 | Element::Float16);
            return PlannedOutput { width, is_number, scaled_by: vec![], log: vec![], quantiles: 0, classes: None };
        };
        for target in targets {
            if let Err(message) = layout.number(target) {
                problems.add(place, format!("the model's target \"{target}\": {message}"));
            }
        }
        let expected = horizon * targets.len() * quantiles.max(&1);
        if width != expected {
            let name = &output.tensor.name;
            let message = format!("the model's output \"{name}\" has {width} numbers, its forecast has {expected}");
            problems.add(place, message);
        }
        let pair = |target: &String| layout.find(target).and_then(|column| layout.columns[column].scaled_by);
        let scaled_by = targets.iter().map(pair).collect();
        let is_log = |target: &String| layout.find(target).is_some_and(|column| layout.columns[column].log);
        let log = targets.iter().map(is_log).collect();
        PlannedOutput { width, is_number: false, scaled_by, log, quantiles: *quantiles, classes: None }
    }
}

impl Build for PlannedNetwork {
    fn build(&self) -> Result<Box<dyn Stage>> {
        let version = &self.model.version;
        Ok(Box::new(Infer::new(self, grouped::of(version, self.model.metrics.clone())?)?))
    }
}
