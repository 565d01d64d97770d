//! A partition of a run to files goes on with another version of the model than it was left with.
//!
//! What the last commit holds is final, and so is the version that it names. A run with another version converts the
//! rows of the partition's checkpoint as a swap on Kafka does: what means the same to both is kept, the rest is as for
//! new keys. Everything after that commit is made by the new version, and the next commit names it. Nothing is written
//! for the change itself: killed before the next commit, a partition converts the same checkpoint again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::metrics::Metrics;
use crate::runtime::engine::{Chain, Partition};
use crate::runtime::plan::{Opener, Plan, identity, named};
use crate::state::{Checkpoint, Fingerprint, Manifest, Store, shown};
use crate::{Error, Result};

/// The version of this run, and those of the runs before.
pub struct Versions {
    /// Identity of the version that this run makes its rows with; empty without a model.
    wanted: String,
    /// That of the first run: commits of earlier releases of kolk name none.
    first: Option<String>,
    opener: Opener,
    earlier: Mutex<BTreeMap<String, Chain>>,
    reported: Mutex<BTreeSet<String>>,
}

impl Versions {
    /// `before`: the fingerprint of the state, if there is some.
    ///
    /// # Errors
    /// A pipeline without a sink.
    pub fn of(plan: &Plan, before: Option<&Fingerprint>) -> Result<Versions> {
        Ok(Versions {
            wanted: identity(plan.model.as_deref()),
            first: before.and_then(first_of),
            opener: Opener::of(plan)?,
            earlier: Mutex::default(),
            reported: Mutex::default(),
        })
    }

    /// The version of this run, as commits name it.
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// The version that a partition was left with.
    fn left<'a>(&'a self, manifest: &'a Manifest) -> &'a str {
        match &self.first {
            _ if !manifest.model.is_empty() => &manifest.model,
            Some(first) => first,
            None => &self.wanted,
        }
    }

    /// Refuses commits that this run could not go on from.
    ///
    /// # Errors
    /// Those of [`Opener::chain_to_convert`], and a store that can't be read.
    pub fn check(&self, store: &Store) -> Result<()> {
        let left: BTreeSet<String> = store.status()?.iter().map(|manifest| self.left(manifest).to_string()).collect();
        left.iter()
            .filter(|model| **model != self.wanted)
            .try_for_each(|model| self.opener.chain_to_convert(model).map(drop))
    }

    /// A partition as a commit left it, ready for the stages of this run.
    ///
    /// # Errors
    /// A checkpoint that does not fit the stages; an earlier version that is no longer there.
    pub fn restore(
        &self,
        manifest: &Manifest,
        checkpoint: Checkpoint,
        chain: &Chain,
        metrics: &Metrics,
    ) -> Result<Partition> {
        let (id, left) = (manifest.id(), self.left(manifest));
        let Checkpoint { keys, rows, position, watermark, .. } = checkpoint;
        if left == self.wanted {
            let mut partition = Partition::new(id, chain);
            partition.restore(keys, &rows, position, watermark)?;
            return Ok(partition);
        }
        // The map stays whole whatever happened to another thread that held it.
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if !earlier.contains_key(left) {
            earlier.insert(left.to_string(), self.opener.chain_to_convert(left)?);
        }
        let Some(from) = earlier.get(left) else {
            return Err(Error::failed("a version of the model was lost: internal error, please report"));
        };
        let mut partition = Partition::new(id, from);
        partition.restore(keys, &rows, position, watermark)?;
        partition.memory = partition.converted(from, chain);
        metrics.stream.model_swaps.inc();
        if self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(left.to_string()) {
            tracing::info!(
                from = shown(left),
                to = shown(&self.wanted),
                "partitions continue with another model version from their last commit on"
            );
        }
        Ok(partition)
    }

    /// Drops what only a restore needs.
    pub fn forget(&self) {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The version that a pipeline's first run was made with.
fn first_of(before: &Fingerprint) -> Option<String> {
    match before.sections.get("model")? {
        Value::Object(model) => {
            Some(named(model.get("version")?.as_str()?, model.get("sha256").and_then(Value::as_str).unwrap_or("")))
        }
        // As releases before fingerprints had fields wrote it: `m/1 Some("717f…")`.
        Value::String(text) => {
            let (version, rest) = text.split_once(' ')?;
            Some(named(version, rest.split('"').nth(1).unwrap_or("")))
        }
        _ => None,
    }
}
