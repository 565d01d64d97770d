//! One file per operator of `stages:`.
//!
//! Lives here: what each operator does to a batch and which row of state it keeps per key. Must not live here: reading
//! or writing, threads, when to checkpoint, and anything that depends on how records were batched.

mod calendar;
mod columns;
mod filter;
mod filter_bounds;
mod filter_eval;
mod filter_parse;
mod filter_tokens;
mod frame;
mod held;
pub mod infer;
mod judge;
mod lags;
mod nulls;
mod operator;
mod plan;
#[cfg(test)]
mod plan_tests;
mod reorder;
mod resample;
mod resample_buckets;
mod resample_key;
#[cfg(test)]
mod resample_tests;
mod scale;
mod score;
mod score_rank;
mod score_season;
mod score_waiting;
mod score_window;
mod sequence;
#[cfg(test)]
mod testing;

pub use filter_bounds::{Bounds, Conditions, Extent, Reads, filtered_columns, is_instant};
pub use judge::Judge;
pub use nulls::Unread;
pub use operator::{Build, Operator};
pub use plan::{
    Model, PlannedStage, PlannedStages, Step, before_infer, canonical, chain, describe, ever_looked_up, from_source,
    looked_up, steps,
};

use std::sync::Arc;

use crate::record::Batch;
use crate::state::{State, StateSpec};
use crate::{Result, config};

/// The operator of a word of the file.
fn operator_of(stage: &config::Stage) -> Box<dyn Operator + '_> {
    match stage {
        config::Stage::Filter(options) => Box::new(options),
        config::Stage::Resample(options) => Box::new(options),
        config::Stage::Frame(options) => Box::new(options),
        config::Stage::Calendar(options) => Box::new(options),
        config::Stage::Scale(options) => Box::new(options),
        config::Stage::Lags(options) => Box::new(options),
        config::Stage::Infer(options) => {
            Box::new(infer::Network { options, model: None, outputs: Vec::new(), wanted: vec![], texts: vec![] })
        }
        config::Stage::Score(options) => Box::new(options),
    }
}

/// An operator on batches of one partition.
///
/// The engine calls [`Stage::process`] with the rows of one partition in their order, and with that partition's state.
/// What comes out for a record must depend only on the record, on the state, and on the order of the records: never on
/// where a batch begins or ends, on the clock or on other partitions. A stage value itself keeps only scratch memory
/// and its plan; it is used for many partitions in turn.
///
/// A stage may make no row of a record, or many:
///
/// - A record is refused before it becomes many rows: either all of its rows come out, or none does.
/// - The rows of a record come out in the order in which they belong to its key, and take the record's position. What
///   has many parts (tokens, frames) is many rows, never one row with a list.
/// - However many rows there are, the stage hands them over at once. The engine cuts what grew: a stage after it may
///   see the rows of one record in several batches, and must make the same of them.
/// - Where rows of a key form sequences, a row says by a flag column of the layout that it begins or ends one, as
///   [`crate::record::Layout::restart`] does. A batch's end never means that.
pub trait Stage: Send {
    /// The word of the pipeline file, for messages and metrics.
    fn name(&self) -> &'static str;

    /// What it remembers of each key, and what a new key begins with; nothing for a stage without state. Asked once, at
    /// the start.
    fn state(&self) -> StateSpec {
        StateSpec::default()
    }

    /// The meaning of its row of state, as text. When another model version replaces a model, rows are kept between
    /// stages at the same place with the same meaning; `None`: a key starts from scratch. The stages before the network
    /// are the same for all versions; what depends on the network must say so.
    fn meaning(&self) -> Option<String> {
        Some(self.name().to_string())
    }

    /// What the values of a record must be: records that aren't so are refused before any stage sees them.
    fn judges(&self) -> &[Judge] {
        &[]
    }

    /// What the source leaves unread, if it does: for a stage that remembers something even of rows that a filter
    /// drops.
    fn take_unread(&mut self, _unread: &Arc<dyn Unread>) {}

    /// Turns a batch of its input layout into one of its output layout. Called with at least one row. May remove rows
    /// ([`Batch::keep`]), replace them, add columns, and refuse records by [`Batch::rejects`]; an error stops the run.
    fn process(&mut self, batch: &mut Batch, state: &mut State<'_>) -> Result<()>;

    /// For a stage that holds rows until time has advanced: the first time after `since` at which [`Stage::advance`]
    /// may emit something. It must depend on `since` alone.
    fn due(&self, _since: i64) -> Option<i64> {
        None
    }

    /// Positions of records that it emitted late since it was last asked, if it puts records in order.
    fn late(&mut self) -> Vec<u64> {
        Vec::new()
    }

    /// Rows that are emitted because time has reached `until` for every key, although no record showed it; `None` for
    /// `until` is the end of the source. Of the first `keys` slots; rows take `position`. Asked of stages that hold
    /// something back; it must depend on `until` and the state alone.
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
