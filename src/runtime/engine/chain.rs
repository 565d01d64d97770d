//! The stages of a pipeline, ready to run, and where each keeps its part of a row of state.

use std::sync::Arc;

use crate::config::{OnLate, Pipeline, Watermark};
use crate::metrics::{Metrics, StageMetrics};
use crate::stage::{Judge, Stage};
use crate::state::{RowLayout, RowPart, StateSpec};

/// What the engine itself remembers of each key, in part 0 of a row: its latest time, and whether there is one.
fn header() -> StateSpec {
    StateSpec::default().i64("time", 0).flag("seen", false)
}

/// How a pipeline takes the order and the time of its records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Order {
    /// How records older than their key's newest are treated.
    pub late: OnLate,
    /// Whose records move time on.
    pub watermark: Watermark,
    /// Whether a stage puts records in order: then it knows which ones are late.
    pub reorders: bool,
}

impl Order {
    /// As the pipeline file says.
    pub fn of(pipeline: &Pipeline) -> Order {
        let on = &pipeline.on;
        // With `reorder`, its stage knows which records are late.
        let late = if on.reorder.is_some() { OnLate::Process } else { on.late };
        Order { late, watermark: on.watermark, reorders: on.reorder.is_some() }
    }
}

/// The stages of a pipeline, and where each keeps its part of a row of state.
pub struct Chain {
    pub(super) stages: Vec<Box<dyn Stage>>,
    /// The row of state: the engine's own part, then one for each stage.
    pub(super) layout: Arc<RowLayout>,
    pub(super) order: Order,
    /// What the values of a record must be.
    pub(super) judges: Vec<Judge>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stage_metrics: Vec<StageMetrics>,
}

impl Chain {
    /// Concatenates the stages' rows of state.
    pub fn new(stages: Vec<Box<dyn Stage>>, order: Order, metrics: Arc<Metrics>) -> Self {
        let parts = stages.iter().map(|stage| (stage.name(), stage.state()));
        let layout = Arc::new(RowLayout::new(std::iter::once(("kolk", header())).chain(parts)));
        let stage_metrics = stages.iter().enumerate().map(|(i, stage)| metrics.stage(i, stage.name())).collect();
        let judges = stages.iter().flat_map(|stage| stage.judges()).cloned().collect();
        Chain { stages, layout, order, judges, metrics, stage_metrics }
    }

    /// The row of state.
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// Each stage's name, and how many seconds of the clock it has taken so far.
    pub fn spent(&self) -> Vec<(&'static str, f64)> {
        let stages = self.stages.iter().zip(&self.stage_metrics);
        stages.map(|(stage, metrics)| (stage.name(), metrics.seconds.get_sample_sum())).collect()
    }

    /// Each stage's part of a row.
    pub(super) fn parts(&self) -> &[RowPart] {
        self.layout.parts().get(1..).unwrap_or_default()
    }

    /// The first time after `since` at which some stage may emit held rows; at first, any time.
    pub(super) fn due(&self, since: Option<i64>) -> Option<i64> {
        let Some(since) = since else { return Some(i64::MIN) };
        let next = since.checked_add(1)?;
        self.stages.iter().filter_map(|stage| stage.due(since)).min().map(|due| due.max(next))
    }

    /// Which parts of a row mean the same to the stages of another version of the model.
    pub(super) fn common(&self, other: &Chain) -> Vec<usize> {
        let mut common = vec![0];
        let there = other.stages.iter().zip(other.parts());
        for (index, ((stage, part), (same, to))) in self.stages.iter().zip(self.parts()).zip(there).enumerate() {
            let meaning = stage.meaning();
            if meaning.is_some() && meaning == same.meaning() && part.width == to.width {
                common.push(index + 1);
            }
        }
        common
    }
}
