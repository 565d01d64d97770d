//! `score: { actual, step, tail | threshold, long, short, season, quiet }`

use super::{Around, MAX_RING, Options, Stage};
use crate::config::read::{Field, Reader};
use crate::config::table::{Bound, Shape, word};
use crate::config::words::Words;
use crate::config::{At, Span};
use crate::error::Problems;

/// `score: { actual, step, tail | threshold, long, short, season, quiet }`
#[derive(Debug, Clone)]
pub struct Score {
    /// The column that the prediction is about; empty for the model's only target.
    pub actual: At<String>,
    /// Which step of the horizon is scored, from 1.
    pub step: At<usize>,
    /// Tail probability below which `alert` is set.
    pub tail: f64,
    /// Anomaly score from which on `alert` is set, in place of `tail`.
    pub threshold: Option<f64>,
    /// Rows of the long window of residuals.
    pub long: usize,
    /// Rows of the short window of residuals.
    pub short: usize,
    /// Length of a season, of which values are compared with those of the same time.
    pub season: Option<At<Span>>,
    /// Rows after an alert without another one, unless one is more unusual.
    pub quiet: usize,
}

/// What a file without any of its fields has.
impl Default for Score {
    fn default() -> Self {
        Score {
            actual: At::default(),
            step: At::default_value(1),
            tail: 0.001,
            threshold: None,
            long: 8000,
            short: 10,
            season: None,
            quiet: 0,
        }
    }
}

const TAIL: Shape = Shape::Number(Bound::Open(0.0), Bound::Open(0.5));
const THRESHOLD: Shape = Shape::Number(Bound::Open(0.0), Bound::Closed(20.0));

impl Options for Score {
    const ABOUT: &'static str = "Compares an earlier prediction with the value that was then observed";
    const WORDS: Words = Words::new(
        "`score`",
        &[
            word("actual", Shape::Text, "Column of the observed value; the model's only target by default"),
            word("step", Shape::Integer(1, MAX_RING as i64), "The step of the horizon that is scored").or("1"),
            word("tail", TAIL, "`alert` is set below this tail probability").or("0.001"),
            word("threshold", THRESHOLD, "`alert` is set from this `anomaly_score` on, in place of `tail`"),
            word("long", Shape::Integer(2, MAX_RING as i64), "Rows that a row is compared with").or("8000"),
            word("short", Shape::Integer(1, MAX_RING as i64), "Residuals of a short mean").or("10"),
            word(
                "season",
                Shape::Span { zero: false },
                "Values are compared with those of the same time of this season",
            ),
            word(
                "quiet",
                Shape::Integer(0, MAX_RING as i64),
                "Rows after an alert without another one, unless one is more unusual",
            )
            .or("0"),
        ],
    );

    /// The scored column is known only with the model: empty means its only target.
    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let default = Score::default();
        let actual = fields.get("actual").and_then(|f| reader.text(f, "a column"));
        let step = fields.get("step").and_then(|f| Some(f.at(reader.count(f, 1, MAX_RING)?)));
        let tail = fields
            .get("tail")
            .and_then(|f| reader.number(f, "a probability above 0 and below 0.5", |tail| tail > 0.0 && tail < 0.5));
        let threshold = fields
            .get("threshold")
            .and_then(|f| reader.number(f, "a number above 0 and up to 20", |score| score > 0.0 && score <= 20.0));
        if let (Some(_), Some(tail)) = (fields.get("threshold"), fields.get("tail")) {
            let message = "`alert` is set by `tail` or by `threshold`: write one of them";
            reader.problems.add(tail.place(), message);
        }
        let season = fields.get("season").and_then(|f| reader.span(f, false));
        let long = fields.get("long").and_then(|f| reader.count(f, 2, MAX_RING)).unwrap_or(default.long);
        let short = fields.get("short").and_then(|f| reader.count(f, 1, MAX_RING)).unwrap_or(default.short);
        let quiet = fields.get("quiet").and_then(|f| reader.count(f, 0, MAX_RING)).unwrap_or(default.quiet);
        if short > long {
            let written = fields.get("short").or(fields.get("long"));
            let place = written.map_or(fields.place, |field| field.place());
            reader.problems.add(place, format_args!("`short` ({short}) must not be more than `long` ({long})"));
        }
        Some(Score {
            actual: actual.unwrap_or(default.actual),
            step: step.unwrap_or(default.step),
            tail: tail.unwrap_or(default.tail),
            threshold,
            long,
            short,
            season,
            quiet,
        })
    }

    fn check(&self, around: &Around<'_>, problems: &mut Problems) {
        if !around.before().iter().any(|stage| matches!(stage.value, Stage::Infer(_))) {
            problems.add(around.place, "`score` needs an `infer` before it");
        }
        let horizon = around.pipeline.train.as_ref().map(|train| train.horizon);
        if let Some(horizon) = horizon.filter(|horizon| self.step.value > *horizon) {
            problems.add(self.step.place, format_args!("`step` is {}, but the horizon is {horizon}", self.step.value));
        }
    }
}
