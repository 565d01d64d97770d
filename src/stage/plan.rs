//! From the stages of a pipeline file to stages that run, with the layout between them.
//!
//! Lives here: the order of stages, the column each one may name, the place of `on.null`, and the canonical form that a
//! model's manifest keeps of the stages it was trained behind. Must not live here: what a stage does, and anything that
//! opens a model: `infer` is planned by whoever calls [`chain`].

use serde_json::{Value, json};

use super::{Stage, calendar, filter, lags, nulls, reorder, resample, scale, score};
use crate::config::{self, Aggregate, At, Fill, Infer, OnNull, Pipeline, Span};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::Layout;

/// How far [`chain`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The stages whose rows `infer` would read: what training captures.
    BeforeInfer,
    /// All stages.
    End,
}

/// What `infer` predicts, for the stages behind it.
///
/// The column `prediction` is [`Kind::Vector`] of width `horizon * targets * max(1, quantiles)`, in that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Columns that are forecast, as the model's manifest names them.
    pub targets: Vec<String>,
    /// Steps ahead.
    pub horizon: usize,
    /// Quantiles of each step and target; 0 for point forecasts.
    pub quantiles: usize,
}

/// What the planner of `infer` gives back.
pub struct PlannedInfer {
    /// The stages it runs as, in order.
    pub stages: Vec<Box<dyn Stage>>,
    /// What they predict.
    pub forecast: Forecast,
}

/// Plans `infer`: resolves its model, adds `prediction`, `prediction_time` (time of the last step) and the internal
/// `interval_ticks` to the layout; `None` after reporting every problem.
pub type PlanInfer<'a> = dyn FnMut(&At<Infer>, &mut Layout, &mut Problems) -> Option<PlannedInfer> + 'a;

/// The planned stages.
pub struct Chain {
    /// In order. Fewer than the pipeline has where a problem was reported.
    pub stages: Vec<Box<dyn Stage>>,
    /// Shape of the rows that `infer` reads; without an `infer`, that of the last rows.
    pub before_infer: Layout,
    /// Shape of the rows that come out of the last stage.
    pub layout: Layout,
    /// Columns that there were until `resample`.
    dropped: Vec<String>,
}

impl Chain {
    /// The message for a column that isn't in `layout`, one of this chain's; names `resample` where that dropped it.
    pub fn unknown(&self, layout: &Layout, name: &str) -> String {
        if self.dropped.iter().any(|dropped| dropped == name) { gone(name) } else { layout.unknown(name) }
    }
}

/// Plans the stages of a pipeline for batches of `layout`, and reports everything that is wrong with them.
///
/// `on.null` becomes a stage of its own: behind the last `resample` (which passes over nulls) or, without one, the
/// first of all. Its policy `refuse` is about records, not about buckets, so it always comes first.
pub fn chain(
    pipeline: &Pipeline,
    layout: Layout,
    stop: Stop,
    plan_infer: &mut PlanInfer<'_>,
    problems: &mut Problems,
) -> Chain {
    let mut planner = Planner { layout, stages: Vec::new(), dropped: Vec::new(), forecast: None, before_infer: None };
    for step in steps(pipeline) {
        match step {
            Step::Reorder(span) => {
                let stage = reorder::plan(span, pipeline.on.late, &planner.layout, problems);
                planner.stages.extend(stage);
            }
            Step::Nulls(policy) => {
                let stage = nulls::plan(policy, &mut planner.layout, problems);
                planner.stages.push(stage);
            }
            Step::Stage(stage) => {
                if let config::Stage::Infer(infer) = &stage.value {
                    if stop == Stop::BeforeInfer {
                        break;
                    }
                    if !planner.infer(infer, plan_infer, problems) {
                        break; // What comes behind needs its columns: nothing true could be said of it.
                    }
                } else {
                    planner.stage(stage, problems);
                }
            }
        }
    }
    let Planner { layout, stages, dropped, before_infer, .. } = planner;
    Chain { stages, before_infer: before_infer.unwrap_or_else(|| layout.clone()), layout, dropped }
}

struct Planner {
    layout: Layout,
    stages: Vec<Box<dyn Stage>>,
    dropped: Vec<String>,
    forecast: Option<Forecast>,
    before_infer: Option<Layout>,
}

impl Planner {
    fn infer(&mut self, infer: &At<Infer>, plan: &mut PlanInfer<'_>, problems: &mut Problems) -> bool {
        if self.before_infer.is_some() {
            problems.add(infer.place, "a pipeline has one infer stage, this is the second");
            return false;
        }
        self.before_infer = Some(self.layout.clone());
        let Some(planned) = plan(infer, &mut self.layout, problems) else { return false };
        self.stages.extend(planned.stages);
        self.forecast = Some(planned.forecast);
        true
    }

    fn stage(&mut self, stage: &At<config::Stage>, problems: &mut Problems) {
        let place = stage.place;
        if self.names_dropped_column(stage, problems) {
            return;
        }
        let layout = &mut self.layout;
        let planned = match &stage.value {
            config::Stage::Filter(config) => filter::plan(config, layout, problems),
            config::Stage::Calendar(config) => calendar::plan(config, layout, place, problems),
            config::Stage::Scale(config) => scale::plan(config, layout, place, problems),
            config::Stage::Lags(config) => lags::plan(config, layout, problems),
            config::Stage::Resample(_) if self.before_infer.is_some() => {
                problems.add(place, "resample must stand before infer: a prediction can't be put into buckets");
                None
            }
            config::Stage::Resample(config) => {
                let before: Vec<String> = layout.names().map(str::to_owned).collect();
                let planned = resample::plan(config, layout, place, problems);
                self.dropped.extend(before.into_iter().filter(|name| self.layout.find(name).is_none()));
                planned
            }
            config::Stage::Score(config) => match &self.forecast {
                Some(forecast) => score::plan(config, forecast, layout, place, problems),
                None => {
                    problems.add(place, "score needs an infer stage before it");
                    None
                }
            },
            config::Stage::Infer(_) => None,
        };
        self.stages.extend(planned);
    }

    /// Whether a stage names a column that `resample` dropped; says so.
    fn names_dropped_column(&self, stage: &At<config::Stage>, problems: &mut Problems) -> bool {
        let named: Vec<(String, Place)> = match &stage.value {
            config::Stage::Filter(c) => {
                filter::columns(&c.predicate).into_iter().map(|name| (name, c.predicate.place)).collect()
            }
            config::Stage::Scale(c) => c.values.iter().map(|name| (name.value.clone(), name.place)).collect(),
            config::Stage::Lags(c) => c.columns.iter().map(|(name, _)| (name.value.clone(), name.place)).collect(),
            _ => Vec::new(),
        };
        let mut any = false;
        for (name, place) in named {
            if self.dropped.contains(&name) && self.layout.find(&name).is_none() {
                problems.add(place, gone(&name));
                any = true;
            }
        }
        any
    }
}

fn gone(name: &str) -> String {
    format!(
        "column \"{name}\" is gone behind resample, which keeps the record's values only: use it before resample, or \
         make it behind it"
    )
}

enum Step<'a> {
    Reorder(&'a At<Span>),
    Nulls(OnNull),
    Stage(&'a At<config::Stage>),
}

/// The pipeline's stages with `on.null` in its place.
fn steps(pipeline: &Pipeline) -> Vec<Step<'_>> {
    let stages = &pipeline.stages;
    let infer = stages.iter().position(|s| matches!(s.value, config::Stage::Infer(_))).unwrap_or(stages.len());
    let policy = pipeline.on.null;
    let resampled = stages[..infer].iter().rposition(|s| matches!(s.value, config::Stage::Resample(_)));
    let at = match (policy, resampled) {
        (OnNull::Refuse, _) | (_, None) => 0,
        (_, Some(resample)) => resample + 1,
    };
    let mut steps: Vec<Step<'_>> = stages.iter().map(Step::Stage).collect();
    steps.insert(at, Step::Nulls(policy));
    if let Some(span) = &pipeline.on.reorder {
        // Behind `refuse`, so that a record that is refused is there to be refused.
        steps.insert(usize::from(policy == OnNull::Refuse), Step::Reorder(span));
    }
    steps
}

/// The stages before `infer` with `on.null` in its place, in a form that is equal exactly where the features are
/// made in the same way: one JSON object each, spans and defaults written out.
pub fn describe(pipeline: &Pipeline) -> Vec<Value> {
    let mut described = Vec::new();
    for step in steps(pipeline) {
        described.push(match step {
            // In which order records come is no property of the features.
            Step::Reorder(_) => continue,
            Step::Nulls(policy) => json!({ "null": null_word(policy) }),
            Step::Stage(stage) => match &stage.value {
                config::Stage::Infer(_) => break,
                config::Stage::Filter(c) => json!({ "filter": { "where": c.predicate.trim() } }),
                config::Stage::Resample(c) => json!({ "resample": {
                    "every": span_word(c.every.value),
                    "aggregate": aggregate_word(c.aggregate),
                    "fill": fill_word(c.fill.value),
                    "max_gap": c.max_gap.as_ref().map(|span| span_word(span.value)),
                    "delay": span_word(c.delay.value),
                } }),
                config::Stage::Calendar(c) => json!({ "calendar": {
                    "features": c.features.iter().map(|f| calendar::feature_word(f.value)).collect::<Vec<_>>(),
                    "timezone": c.timezone.name(),
                } }),
                config::Stage::Scale(c) => json!({ "scale": {
                    "values": c.values.iter().map(|name| &name.value).collect::<Vec<_>>(),
                    "half_life": span_word(c.half_life.value),
                    "min_count": c.min_count,
                } }),
                config::Stage::Lags(c) => json!({ "lags":
                    c.columns.iter().map(|(name, lags)| json!([name.value, lags])).collect::<Vec<_>>()
                }),
                config::Stage::Score(c) => json!({ "score": { "actual": c.actual.value } }),
            },
        });
    }
    described
}

/// A span as a user would write it, in the largest unit that divides it; a length of nothing is `0` in every unit.
fn span_word(span: Span) -> String {
    match span {
        Span::Nanos(0) | Span::Months(0) | Span::Steps(0) => "0".into(),
        Span::Steps(n) => n.to_string(),
        Span::Months(n) if n % 12 == 0 => format!("{}y", n / 12),
        Span::Months(n) => format!("{n}mo"),
        Span::Nanos(n) => {
            let units = [
                (604_800_000_000_000, "w"),
                (86_400_000_000_000, "d"),
                (3_600_000_000_000, "h"),
                (60_000_000_000, "m"),
                (1_000_000_000, "s"),
                (1_000_000, "ms"),
            ];
            let unit = units.into_iter().find(|(nanos, _)| n % nanos == 0);
            unit.map_or_else(|| format!("{n}ns"), |(nanos, word)| format!("{}{word}", n / nanos))
        }
    }
}

fn null_word(policy: OnNull) -> &'static str {
    match policy {
        OnNull::Carry => "carry",
        OnNull::Skip => "skip",
        OnNull::Reset => "reset",
        OnNull::Refuse => "refuse",
    }
}

fn aggregate_word(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Mean => "mean",
        Aggregate::Sum => "sum",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::First => "first",
        Aggregate::Last => "last",
        Aggregate::Count => "count",
    }
}

fn fill_word(fill: Fill) -> &'static str {
    match fill {
        Fill::Last => "last",
        Fill::Linear => "linear",
        Fill::Null => "null",
        Fill::Zero => "zero",
    }
}
