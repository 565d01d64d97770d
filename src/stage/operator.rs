//! A word of `stages:` as it is planned, and what the plan becomes.
//!
//! Lives here: the contract of an [`Operator`] and of what it is planned into ([`Build`]). Must not live here: any
//! word, and the order of stages (`plan`).

use serde_json::Value;

use super::Stage;
use crate::Result;
use crate::config::At;
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Clock, Layout};

/// A word of `stages:`, with its options; most are implemented on the options themselves, next to the stage that they
/// plan.
pub trait Operator {
    /// The word of the pipeline file.
    fn word(&self) -> &'static str;

    /// Columns of any kind that it names, with their places. Those that no stage before makes are read from the source.
    fn reads(&self) -> Vec<At<String>> {
        Vec::new()
    }

    /// Columns of numbers that it names, with their places: values of the record, or what a stage before makes.
    fn numbers(&self) -> Vec<At<String>> {
        Vec::new()
    }

    /// Names of the columns that it makes.
    fn adds(&self) -> Vec<String> {
        Vec::new()
    }

    /// Its options in one form, equal exactly where it makes the same of the same rows; `None`: it changes nothing that
    /// a model could notice. Models and state keep this form for years, so it may only grow: a new option is left out
    /// if it has its default. `clock` is the source's: what a day is may be part of what is made.
    fn canonical(&self, clock: &Clock) -> Option<Value>;

    /// Plans it for rows of `layout`, and makes that the layout of the output; `None` after reporting what is wrong.
    /// `place` is that of its word in the file. Opens nothing.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>>;

    /// Whether problems of later stages would be misleading if it can't be planned.
    fn is_needed(&self) -> bool {
        false
    }
}

impl<O: Operator + ?Sized> Operator for &O {
    fn word(&self) -> &'static str {
        (**self).word()
    }

    fn reads(&self) -> Vec<At<String>> {
        (**self).reads()
    }

    fn numbers(&self) -> Vec<At<String>> {
        (**self).numbers()
    }

    fn adds(&self) -> Vec<String> {
        (**self).adds()
    }

    fn canonical(&self, clock: &Clock) -> Option<Value> {
        (**self).canonical(clock)
    }

    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        (**self).plan(place, layout, problems)
    }

    fn is_needed(&self) -> bool {
        (**self).is_needed()
    }
}

/// A planned stage: made once per process, built once per worker.
pub trait Build: Send + Sync {
    /// The stage of one worker. A stage opens what it needs (sessions of ONNX Runtime) here and nowhere else.
    ///
    /// # Errors
    /// What can't be opened.
    fn build(&self) -> Result<Box<dyn Stage>>;
}

/// A stage that opens nothing is its own plan.
impl<S: Stage + Clone + Sync + 'static> Build for S {
    fn build(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(self.clone()))
    }
}
