//! `infer`, planned: the model's own columns and what it predicts. Must not live here: whether the model fits the
//! pipeline (`runtime::plan`), and running it.

use serde_json::{Map, Value, json};

use super::{Infer, PREDICTION, PREDICTION_TIME};
use crate::Result;
use crate::config::{self, Mode};
use crate::error::Problems;
use crate::model::executor::OnnxRuntime;
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
}

impl Operator for Network<'_> {
    fn word(&self) -> &'static str {
        "infer"
    }

    fn adds(&self) -> Vec<String> {
        [PREDICTION, PREDICTION_TIME, MODEL_VERSION, WARM_UP].map(String::from).into()
    }

    fn canonical(&self, _clock: &Clock) -> Option<Value> {
        let config::Infer { model, mode, window, ttl, gap } = self.options;
        let mut options = Map::from_iter([("model".to_string(), json!(model.value))]);
        if *mode != Mode::default() {
            options.insert("mode".into(), json!(mode.word()));
        }
        if let Some(window) = window {
            options.insert("window".into(), json!(window.value));
        }
        for (word, span) in [("ttl", ttl), ("gap", gap)] {
            if let Some(span) = span {
                options.insert(word.into(), json!(span.to_string()));
            }
        }
        Some(json!({ "infer": options }))
    }

    /// Adds `prediction` and what belongs to it. `inputs` comes before it.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        if layout.forecast.is_some() {
            problems.add(place, "a pipeline has one infer stage, this is the second");
            return None;
        }
        let Some(model) = self.model.clone() else {
            check_spans(self.options, &layout.clock, problems);
            return None;
        };
        let manifest = &model.version.manifest;
        for target in &manifest.targets {
            if let Err(message) = layout.number(target) {
                problems.add(place, format!("the model's target \"{target}\": {message}"));
            }
        }
        let features = layout.features?;
        let scaled_by = manifest
            .targets
            .iter()
            .map(|target| layout.find(target).and_then(|column| layout.columns[column].scaled_by))
            .collect();
        self.adds().iter().for_each(|name| columns::hide(layout, name));
        let outputs = manifest.horizon * manifest.targets.len() * manifest.quantiles.len().max(1);
        let column = layout.add(PREDICTION, Kind::Vector(outputs), Role::Output);
        layout.add(PREDICTION_TIME, Kind::Time, Role::Output);
        layout.add(MODEL_VERSION, Kind::Integer, Role::Output);
        layout.add(WARM_UP, Kind::Flag, Role::Output);
        layout.forecast = Some(Forecast {
            targets: manifest.targets.clone(),
            horizon: manifest.horizon,
            quantiles: manifest.quantiles.len(),
            column,
        });
        Some(Box::new(PlannedNetwork {
            mode: self.options.mode,
            window: self.options.window.as_ref().map_or(1, |window| window.value),
            features,
            scaled_by,
            clock: layout.clock.clone(),
            every: layout.interval.and_then(|span| layout.clock.every(span).ok()),
            model,
        }))
    }

    fn is_needed(&self) -> bool {
        true
    }
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
    /// Where `inputs` puts what it makes.
    pub features: Features,
    /// Per target, the columns of the pair that its predictions are scaled back with.
    pub scaled_by: Vec<Option<(usize, usize)>>,
    /// Unit of time.
    pub clock: Clock,
    /// Distance of rows where a stage before guarantees it.
    pub every: Option<Every>,
}

impl Build for PlannedNetwork {
    fn build(&self) -> Result<Box<dyn Stage>> {
        let version = &self.model.version;
        let executor = OnnxRuntime::of(version, self.model.metrics.clone())?;
        Ok(Box::new(Infer::new(self, Box::new(executor))?))
    }
}
