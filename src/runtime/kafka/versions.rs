//! The stages of each version of the model that some partition of a worker needs.

use std::collections::BTreeMap;

use crate::runtime::engine::Chain;
use crate::state::{ModelEpoch, shown};
use crate::{Error, Result};

/// Where versions of the model come from. [`super::registered`] implements it on the registry.
pub trait Models: Send {
    /// The version that is wanted from now on, with the stages it runs in, if it isn't the one that was wanted before.
    /// One that doesn't fit is reported to the user, not to the caller.
    fn look(&mut self) -> Option<(String, Chain)>;

    /// The stages with a version that a commit names.
    ///
    /// # Errors
    /// Refused: it no longer exists, or can't be run.
    fn chain(&mut self, model: &str) -> Result<Chain>;
}

/// Stages by version.
pub struct Versions {
    wanted: String,
    versions: BTreeMap<String, Chain>,
    models: Box<dyn Models>,
}

impl Versions {
    /// With the version that is wanted at the start.
    pub fn new(wanted: String, chain: Chain, models: Box<dyn Models>) -> Versions {
        Versions { versions: BTreeMap::from([(wanted.clone(), chain)]), wanted, models }
    }

    /// The version that all partitions should have.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// Finds out whether another version is wanted now.
    pub(super) fn look(&mut self) {
        if let Some((model, chain)) = self.models.look() {
            tracing::info!(from = shown(&self.wanted), to = shown(&model), "a new version of the model");
            self.versions.insert(model.clone(), chain);
            self.wanted = model;
        }
    }

    /// Makes sure that the stages with a version are loaded.
    ///
    /// # Errors
    /// Those of [`Models::chain`].
    pub(super) fn load(&mut self, model: &str) -> Result<()> {
        if !self.versions.contains_key(model) {
            let chain = self.models.chain(model)?;
            self.versions.insert(model.to_string(), chain);
        }
        Ok(())
    }

    /// The stages of an epoch.
    ///
    /// # Errors
    /// A version that was not loaded.
    pub(super) fn get(&self, epoch: &ModelEpoch) -> Result<&Chain> {
        self.versions.get(&epoch.model).ok_or_else(|| missing(epoch))
    }

    /// The stages of an epoch, to be run.
    ///
    /// # Errors
    /// A version that was not loaded.
    pub(super) fn run(&mut self, epoch: &ModelEpoch) -> Result<&mut Chain> {
        self.versions.get_mut(&epoch.model).ok_or_else(|| missing(epoch))
    }

    /// Drops what is neither needed nor wanted.
    pub(super) fn keep(&mut self, needed: &[&str]) {
        let Versions { wanted, versions, .. } = self;
        versions.retain(|model, _| model == wanted || needed.contains(&model.as_str()));
    }
}

fn missing(epoch: &ModelEpoch) -> Error {
    Error::failed(format!("the stages with {} are not loaded: internal error, please report", shown(&epoch.model)))
}
