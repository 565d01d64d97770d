//! The stages of a pipeline, ready to run, and where each keeps its part of a row of state.

use std::sync::Arc;

use crate::config::{OnLate, Pipeline, Watermark};
use crate::metrics::{Metrics, StageMetrics};
use crate::stage::Stage;
use crate::state::RowSpan;

/// Words of a row before those of the stages: the key's latest time, and whether there is one.
pub(super) const HEADER: usize = 2;

/// How a pipeline takes the order and the time of its records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Order {
    /// What becomes of records older than their key's newest.
    pub late: OnLate,
    /// Whose records move time on.
    pub watermark: Watermark,
}

impl Order {
    /// As the pipeline file says.
    pub fn of(pipeline: &Pipeline) -> Order {
        let on = &pipeline.on;
        // With `reorder`, its stage knows which records are late.
        let late = if on.reorder.is_some() { OnLate::Process } else { on.late };
        Order { late, watermark: on.watermark }
    }
}

/// The stages of a pipeline, and where each keeps its part of a row of state.
pub struct Chain {
    pub(super) stages: Vec<Box<dyn Stage>>,
    /// Per stage, first word and width of its part.
    pub(super) rows: Vec<(usize, usize)>,
    pub(super) initial_row: Vec<u64>,
    pub(super) order: Order,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stage_metrics: Vec<StageMetrics>,
}

impl Chain {
    /// Lays the stages' rows of state one behind the other.
    pub fn new(stages: Vec<Box<dyn Stage>>, order: Order, metrics: Arc<Metrics>) -> Self {
        let mut initial_row = vec![0; HEADER];
        let mut rows = Vec::new();
        for stage in &stages {
            let row = stage.initial_row();
            rows.push((initial_row.len(), row.len()));
            initial_row.extend(row);
        }
        let stage_metrics = stages.iter().enumerate().map(|(i, stage)| metrics.stage(i, stage.name())).collect();
        Chain { stages, rows, initial_row, order, metrics, stage_metrics }
    }

    /// The row of a new key.
    pub fn initial_row(&self) -> &[u64] {
        &self.initial_row
    }

    /// Each stage's part of a row.
    pub fn rows(&self) -> Vec<RowSpan> {
        let of = |stage: &str, (start, width): (usize, usize)| RowSpan { stage: stage.into(), start, width };
        let stages = self.stages.iter().zip(&self.rows).map(|(stage, row)| of(stage.name(), *row));
        std::iter::once(of("kolk", (0, HEADER))).chain(stages).collect()
    }

    /// The first time behind `since` at which some stage may let something go that it holds back; at first, any time.
    pub(super) fn due(&self, since: Option<i64>) -> Option<i64> {
        let Some(since) = since else { return Some(i64::MIN) };
        let next = since.checked_add(1)?;
        self.stages.iter().filter_map(|stage| stage.due(since)).min().map(|due| due.max(next))
    }

    /// The parts of a row that mean the same to the stages of another version of the model: first word here, first word there, width.
    pub(super) fn common(&self, other: &Chain) -> Vec<(usize, usize, usize)> {
        let mut common = vec![(0, 0, HEADER)];
        let there = other.stages.iter().zip(&other.rows);
        for ((stage, (start, width)), (same, (to, as_wide))) in self.stages.iter().zip(&self.rows).zip(there) {
            let meaning = stage.meaning();
            if meaning.is_some() && meaning == same.meaning() && width == as_wide {
                common.push((*start, *to, *width));
            }
        }
        common
    }
}
