//! The stages of each version of the model that some partition of a worker needs.

use std::collections::BTreeMap;

use crate::runtime::engine::Chain;
use crate::state::{Era, shown};
use crate::{Error, Result};

/// Where versions of the model come from. [`super::registered`] implements it on the registry.
pub trait Models: Send {
    /// The version that is wanted from now on, with the stages it runs in, if it isn't the one that was wanted before. One that
    /// doesn't fit is told to the user, not to the caller.
    fn look(&mut self) -> Option<(String, Chain)>;

    /// The stages with a version that a commit names.
    ///
    /// # Errors
    /// Refused: it is not there any more, or can't be run.
    fn chain(&mut self, model: &str) -> Result<Chain>;
}

/// Stages by version.
pub struct Chains {
    wanted: String,
    chains: BTreeMap<String, Chain>,
    models: Box<dyn Models>,
}

impl Chains {
    /// With the version that is wanted at the start.
    pub fn new(wanted: String, chain: Chain, models: Box<dyn Models>) -> Chains {
        Chains { chains: BTreeMap::from([(wanted.clone(), chain)]), wanted, models }
    }

    /// The version that all partitions shall have.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// Finds out whether another version is wanted by now.
    pub(super) fn look(&mut self) {
        if let Some((model, chain)) = self.models.look() {
            tracing::info!(from = shown(&self.wanted), to = shown(&model), "a new version of the model");
            self.chains.insert(model.clone(), chain);
            self.wanted = model;
        }
    }

    /// Makes sure that the stages with a version are there.
    ///
    /// # Errors
    /// Those of [`Models::chain`].
    pub(super) fn load(&mut self, model: &str) -> Result<()> {
        if !self.chains.contains_key(model) {
            let chain = self.models.chain(model)?;
            self.chains.insert(model.to_string(), chain);
        }
        Ok(())
    }

    /// The stages of an era.
    ///
    /// # Errors
    /// A version that was not loaded.
    pub(super) fn get(&self, era: &Era) -> Result<&Chain> {
        self.chains.get(&era.model).ok_or_else(|| missing(era))
    }

    /// The stages of an era, to be run.
    ///
    /// # Errors
    /// A version that was not loaded.
    pub(super) fn run(&mut self, era: &Era) -> Result<&mut Chain> {
        self.chains.get_mut(&era.model).ok_or_else(|| missing(era))
    }

    /// Drops what is neither needed nor wanted.
    pub(super) fn keep(&mut self, needed: &[&str]) {
        let Chains { wanted, chains, .. } = self;
        chains.retain(|model, _| model == wanted || needed.contains(&model.as_str()));
    }
}

fn missing(era: &Era) -> Error {
    Error::failed(format!("the stages with {} are not there: a bug of kolk", shown(&era.model)))
}
