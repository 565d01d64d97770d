//! What the outputs of a network are for: what they are taught, how they are judged, how that is shown.
//!
//! Lives here: the trait [`Head`] and which heads there are. Must not live here: what is the same for all of them, such
//! as batches (`windows`, `lanes`), the loop (`fit`) and the frame of the report (`report`).

pub mod forecast;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::dataset::Dataset;
use super::pass::Model;
use super::scaling::Scaling;
use crate::model::{Input, Manifest};
use crate::record::Clock;
use crate::{Result, config};

/// The head that a `train` section asks for.
pub fn head(train: &config::Train) -> Arc<dyn Head> {
    Arc::new(forecast::Forecast::new(train))
}

/// What a network's outputs mean. An output row belongs to an origin: a row of a series, up to which the network has
/// seen.
pub trait Head: fmt::Debug + Send + Sync {
    /// Columns that it is taught from: those of [`super::Series::targets`], in this order.
    fn columns(&self) -> &[String];

    /// Outputs of the network.
    fn outputs(&self) -> usize;

    /// Rows after the origin that an example needs; it belongs to the part that holds all of them.
    fn reach(&self) -> usize;

    /// Per output, the feature that is added to it unscaled; empty: nothing is added to any.
    fn residual(&self) -> Vec<Input>;

    /// What the network itself has to make for an output, in its own units and less what is added to it; `None` where
    /// that isn't known. Must be finite.
    fn target(&self, data: &Dataset, series: usize, row: usize, output: usize) -> Option<f64>;

    /// Mean loss over the outputs `y` whose `weight` is not 0, and its gradient by `y`. All are standardised.
    fn loss(&self, y: &[f32], wanted: &[f32], weight: &[f32], gradient: &mut Vec<f32>) -> f64;

    /// Adds the loss of one origin's outputs as they are served (`y`: unscaled, with what is added) to a sum and to the
    /// number of its entries.
    fn add_loss(&self, data: &Dataset, scaling: &Scaling, origin: (usize, usize), y: &[f32], total: &mut (f64, u64));

    /// Judges the network on the test part.
    fn evaluate(&self, data: &Dataset, model: &Model) -> Result<Arc<dyn Evaluation>>;

    /// Adds to a manifest what its outputs are.
    fn describe(&self, manifest: &mut Manifest);

    /// What it does, for the first line of the report: `forecasts temp 1 to 24 rows ahead`.
    fn headline(&self) -> String;

    /// What it is taught, as rows of the report's table: word and value.
    fn words(&self) -> Vec<(&'static str, String)>;

    /// What an example needs besides its inputs, and the option that lowers it; for the message that there is none.
    fn needs(&self) -> (String, &'static str);
}

/// How a network did on the test part, and how that is shown.
pub trait Evaluation: fmt::Debug + Send + Sync {
    /// Every number by name, for the manifest.
    fn metrics(&self) -> BTreeMap<String, f64>;

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
