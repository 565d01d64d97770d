//! One file per operator of `stages:`.
//!
//! Lives here: what each operator does to a batch and which row of state it keeps per key. Must not live here: reading
//! or writing, threads, when to checkpoint, and anything that depends on how records were batched.

mod calendar;
mod columns;
mod filter;
mod filter_parse;
pub mod infer;
pub mod inputs;
mod lags;
mod nulls;
mod plan;
#[cfg(test)]
mod plan_tests;
mod reorder;
mod resample;
mod resample_buckets;
#[cfg(test)]
mod resample_tests;
mod scale;
mod score;
mod score_window;
#[cfg(test)]
mod testing;

pub use columns::internal;
pub(crate) use filter::columns as filter_columns;
pub use plan::{Chain, Forecast, PlannedInfer, Stop, chain, describe};

use crate::Result;
use crate::record::Batch;
use crate::state::{State, StateSpec};

/// An operator on batches of one partition.
///
/// The engine calls [`Stage::process`] with the rows of one partition in their order, and with that partition's state.
/// What comes out for a record must depend only on the record, on the state, and on the order of the records:
/// never on where a batch begins or ends, on the clock or on other partitions. A stage value itself keeps only scratch
/// memory and its plan; it is used for many partitions in turn.
pub trait Stage: Send {
    /// The word of the pipeline file, for messages and metrics.
    fn name(&self) -> &'static str;

    /// What it remembers of each key, and what a new key begins with; nothing for a stage without state. Asked once, at the
    /// start.
    fn state(&self) -> StateSpec {
        StateSpec::default()
    }

    /// What its row of state means, as text. When a model is replaced by another version, rows are taken over between stages that stand at the same
    /// place and say the same; `None`: a key begins anew. The stages before the network are the same for all versions; what depends
    /// on the network has to say so.
    fn meaning(&self) -> Option<String> {
        Some(self.name().to_string())
    }

    /// Turns a batch of its input layout into one of its output layout. Called with at least one row. May remove rows
    /// ([`Batch::keep`]), replace them, add columns, and refuse records by [`Batch::rejects`]; an error stops the run.
    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()>;

    /// Of a stage that holds something back until time has moved on: the first time behind `since` at which [`Stage::advance`] may let
    /// something go. It must depend on `since` alone.
    fn due(&self, _since: i64) -> Option<i64> {
        None
    }

    /// What comes out because time has come to `until` for every key, though no record said so; `None` for `until` is the end of
    /// the source. Of the first `keys` slots; rows take `position`. Asked of stages that hold something back; it must depend on
    /// `until` and the state alone.
    fn advance(
        &mut self,
        _until: Option<i64>,
        _state: &mut State<'_>,
        _keys: u32,
        _position: u64,
    ) -> Result<Option<Batch>> {
        Ok(None)
    }
}
