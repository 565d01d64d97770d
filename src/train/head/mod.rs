//! What the outputs of a network are for: what they are taught, how they are judged, how that is shown.
//!
//! Lives here: the trait [`Head`] and which heads there are. Must not live here: what is the same for all of them, such
//! as batches (`windows`, `lanes`), the loop (`fit`) and the frame of the report (`report`).

pub mod classify;
pub mod ctc;
pub mod forecast;
pub mod value;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::dataset::Dataset;
use super::pass::Model;
use super::scaling::Scaling;
use super::windows::Examples;
use crate::model::{Input, Manifest};
use crate::record::Clock;
use crate::{Result, config};

/// The head that a `train` section asks for.
pub fn head(train: &config::Train) -> Arc<dyn Head> {
    match train.task {
        config::Task::Forecast => Arc::new(forecast::Forecast::new(train)),
        config::Task::Value => Arc::new(value::Value::new(train)),
        config::Task::Classify | config::Task::Label => Arc::new(classify::Classify::new(train)),
        config::Task::Ctc => Arc::new(ctc::Ctc::new(train)),
    }
}

/// What a network's outputs mean. An output row belongs to an origin: a row of a series, up to which the network has
/// seen.
pub trait Head: fmt::Debug + Send + Sync {
    /// Columns that it is taught from: those of [`super::Series::targets`], in this order.
    fn columns(&self) -> &[String];

    /// Whether its column holds classes or transcripts: [`super::Series::labels`] instead of targets. Whole numbers are
    /// classes by their text.
    fn is_text(&self) -> bool {
        false
    }

    /// Whether its columns can be beside the record's values: read in training alone, null where nothing is known.
    fn is_beside_values(&self) -> bool {
        false
    }

    /// Column that says how much an example counts: [`super::Series::weights`].
    fn sample_weight(&self) -> Option<&str> {
        None
    }

    /// Outputs of the network; 0 as long as the data has to say it.
    fn outputs(&self) -> usize;

    /// Rows after the origin that an example needs; it belongs to the part that holds all of them.
    fn reach(&self) -> usize;

    /// Per output, the feature that is added to it unscaled; empty: nothing is added to any.
    fn residual(&self) -> Vec<Input>;

    /// Names of the graph's outputs by quantile, see [`crate::network::quantiles`]; empty: there is one.
    fn quantiles(&self) -> Vec<String> {
        Vec::new()
    }

    /// Levels of the quantiles, ascending; empty: there are none.
    fn levels(&self) -> &[f64] {
        &[]
    }

    /// The level of an output; `None` without quantiles.
    fn level(&self, _output: usize) -> Option<f64> {
        None
    }

    /// What the network itself has to make for an output, in its own units and less what is added to it; `None` where
    /// that isn't known. Must be finite.
    fn target(&self, data: &Dataset, series: usize, row: usize, output: usize) -> Option<f64>;

    /// Whether a step of a part's rows is an example.
    fn is_example(&self, data: &Dataset, series: usize, step: usize) -> bool {
        let row = data.steps[series].rows[step] as usize;
        (0..self.outputs()).any(|output| self.target(data, series, row, output).is_some())
    }

    /// Numbers that say what is wanted of a step.
    fn wanted_width(&self) -> usize {
        self.outputs()
    }

    /// What is wanted of a step, standardised, and how much each of it counts; both are 0 before.
    fn put(
        &self,
        data: &Dataset,
        scaling: &Scaling,
        (series, step): (usize, usize),
        wanted: &mut [f32],
        weight: &mut [f32],
    ) {
        let row = data.steps[series].rows[step] as usize;
        for (output, (wanted, weight)) in wanted.iter_mut().zip(weight).enumerate() {
            if let Some(target) = self.target(data, series, row, output) {
                (*wanted, *weight) = (scaling.standardise(output, target), 1.0);
            }
        }
    }

    /// Whether the loss has to know what an output is in the user's units: [`Head::put_own`].
    fn counts_own_units(&self) -> bool {
        false
    }

    /// How each output of a step becomes what the user sees: three numbers for each, of
    /// [`crate::train::loss::OwnUnits`].
    fn put_own(&self, _data: &Dataset, _scaling: &Scaling, _at: (usize, usize), _own: &mut [f32]) {}

    /// What is wanted of a sequence that ends at a step, into a row of a batch.
    fn put_sequence(&self, data: &Dataset, scaling: &Scaling, at: (usize, usize), lane: usize, batch: &mut Examples) {
        batch.put_wanted(data, scaling, 0, lane, at.0, at.1);
    }

    /// Mean loss over the outputs `y` of a batch that count, and its gradient by `y`. All are standardised.
    fn loss(&self, y: &[f32], batch: &Examples, gradient: &mut Vec<f32>) -> f64;

    /// Adds the loss of one origin's outputs as they are served (`y`: unscaled, with what is added; of classes, before
    /// the softmax) to a sum and to the weight of its entries. `origin`: series and step.
    fn add_loss(&self, data: &Dataset, scaling: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, f64));

    /// The head with what the train part has to say about it, such as its classes; `None`: nothing.
    fn learned(&self, _data: &Dataset) -> Result<Option<Arc<dyn Head>>> {
        Ok(None)
    }

    /// The head with the classes of a version; `None` where it has none.
    fn with_classes(&self, _classes: &[String]) -> Option<Arc<dyn Head>> {
        None
    }

    /// Judges the network on the test part.
    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn Evaluation>>;

    /// Adds to a manifest what its outputs are.
    fn describe(&self, manifest: &mut Manifest);

    /// Itself if it forecasts numbers, for which a linear path can be fitted.
    fn forecast(&self) -> Option<&forecast::Forecast> {
        None
    }

    /// What it does, for the first line of the report: `forecasts temp 1 to 24 rows ahead`.
    fn headline(&self) -> String;

    /// What it is taught, as rows of the report's table: word and value.
    fn words(&self) -> Vec<(&'static str, String)>;

    /// What an example needs besides its inputs, and the option that lowers it; for the message that there is none.
    fn needs(&self) -> (String, &'static str);
}

/// Figures that belong together, for a table over several evaluations.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What they are of, such as a target; empty where there is only one.
    pub of: String,
    /// Each with its name.
    pub values: Vec<(String, f64)>,
}

/// How a network did on the test part, and how that is shown.
pub trait Evaluation: fmt::Debug + Send + Sync {
    /// Every number by name, for the manifest.
    fn metrics(&self) -> BTreeMap<String, f64>;

    /// The figures by which networks are compared: names of [`Evaluation::metrics`], few.
    fn figures(&self) -> Vec<String>;

    /// What is shown of it in a table over several evaluations.
    fn compared(&self) -> Vec<Figures> {
        let metrics = self.metrics();
        let value = |name: String| {
            let value = metrics.get(&name).copied().unwrap_or(f64::NAN);
            (name, value)
        };
        vec![Figures { of: String::new(), values: self.figures().into_iter().map(value).collect() }]
    }

    /// Rows of a new key after which it is served as well as a known one.
    fn warm_up(&self) -> usize {
        0
    }

    /// What the user should know, a sentence each.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The errors on the validation part, a sentence each; none without one.
    fn validation(&self) -> Vec<String> {
        Vec::new()
    }

    /// The tables for the console.
    fn table(&self) -> String;

    /// The figures at the top of the report, as HTML.
    fn cards(&self, out: &mut String);

    /// The report's sections, as HTML. `refit`: whether the network was trained again after this.
    fn sections(&self, out: &mut String, clock: &Clock, refit: bool) -> Result<()>;

    /// Itself, for who knows the head.
    fn as_any(&self) -> &dyn Any;
}
