//! What training leaves: the network's numbers, and how well it does.
//!
//! Lives here: the result that is exported and reported. Must not live here: how it came about (`fit`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::network::{Architecture, Tensor};

use super::Plan;
use super::backtest::Backtest;
use super::gradients::Gradients;
use super::groups::Groups;
use super::head::Evaluation;
use super::layers::Chosen;
use super::members::MemberResult;

/// Losses at one look at the validation part, in standardised output space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Updates so far.
    pub updates: usize,
    /// Over the train part since the last look, while it was learned from.
    pub train: f64,
    /// Over the validation part with the weights of now; `None` without one.
    pub validation: Option<f64>,
}

/// How a key's rows are split.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySplit {
    /// The key.
    pub key: String,
    /// Its rows.
    pub rows: usize,
    /// Rows that are steps of the network.
    pub usable: usize,
    /// Examples in train, validation and test.
    pub examples: [usize; 3],
    /// Ticks of its first and last row; `None` without rows.
    pub span: Option<(i64, i64)>,
}

impl KeySplit {
    /// The parts that hold no example of the key.
    pub fn lacks(&self) -> Vec<&'static str> {
        super::Subset::ALL.iter().zip(self.examples).filter(|(_, n)| *n == 0).map(|(part, _)| part.name()).collect()
    }
}

/// A trained network, evaluated.
#[derive(Debug, Clone)]
pub struct Trained {
    /// What was trained, and how.
    pub plan: Plan,
    /// The network's shape.
    pub architecture: Architecture,
    /// The network's numbers, as [`Tensor`] names them.
    pub tensors: Vec<Tensor>,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Steps of a new key until its error is within 1 % of a warm one's; 0 in mode window.
    pub warm_up: usize,
    /// Errors by name, for the manifest.
    pub metrics: BTreeMap<String, f64>,
    /// How each network did by itself, where several are averaged; `looks`, `best` and `gradients` are of the first.
    pub members: Vec<MemberResult>,
    /// Their mean's validation loss; `None` where there is one network, or no validation part.
    pub validation: Option<f64>,
    /// Losses of the training that was evaluated.
    pub looks: Vec<Look>,
    /// The look whose weights were kept.
    pub best: Look,
    /// Whether it stopped before its length because validation no longer improved.
    pub stopped_early: bool,
    /// What the linear path is and what the network adds to it, a sentence; `None` without `skip: ridge`.
    pub path: Option<String>,
    /// The layers that were tried, with `layers: auto`.
    pub chosen: Option<Chosen>,
    /// Updates of the last training on everything; `None` if there was none.
    pub refit_updates: Option<usize>,
    /// Errors on the test part, of the weights before a refit.
    pub evaluation: Arc<dyn Evaluation>,
    /// How networks trained earlier did at successive times; `None` where it isn't asked for.
    pub backtest: Option<Backtest>,
    /// Per key, its rows and examples.
    pub keys: Vec<KeySplit>,
    /// What its gradients were like.
    pub gradients: Gradients,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
    /// How many of them came before the training.
    pub warned: usize,
    /// sha256 of the training data.
    pub data_hash: String,
    /// With `per`, the networks of groups of keys: then this is that of all keys, and evaluation, metrics and steps of
    /// the warm-up are those of all networks together, each on its own keys.
    pub groups: Option<Groups>,
}

impl Trained {
    /// Keys that lack a part, with the names of the parts.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        self.keys.iter().map(|key| (key.key.as_str(), key.lacks())).filter(|(_, lacks)| !lacks.is_empty())
    }
}
