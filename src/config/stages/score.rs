//! `score: { actual, step, tail, long, short, quiet }`

use super::{Around, MAX_RING, Options, Stage};
use crate::config::At;
use crate::config::read::{Field, Reader};
use crate::config::table::{Bound, Shape, word};
use crate::config::words::Words;
use crate::error::Problems;

/// `score: { actual, step, tail, long, short, quiet }`
#[derive(Debug, Clone)]
pub struct Score {
    /// The column that the prediction is about; empty for the model's only target.
    pub actual: At<String>,
    /// Which step of the horizon is scored, from 1.
    pub step: At<usize>,
    /// Tail probability below which `alert` is set.
    pub tail: f64,
    /// Rows of the long window of residuals.
    pub long: usize,
    /// Rows of the short window of residuals.
    pub short: usize,
    /// Rows after an alert without another one, unless one is more unusual.
    pub quiet: usize,
}

/// What a file without any of its fields has.
impl Default for Score {
    fn default() -> Self {
        Score { actual: At::default(), step: At::default_value(1), tail: 0.001, long: 8000, short: 10, quiet: 0 }
    }
}

const TAIL: Shape = Shape::Number(Bound::Open(0.0), Bound::Open(0.5));

impl Options for Score {
    const ABOUT: &'static str = "Compares an earlier prediction with the value that was then observed";
    const WORDS: Words = Words::new(
        "`score`",
        &[
            word("actual", Shape::Text, "Column of the observed value; the model's only target by default"),
            word("step", Shape::Integer(1, MAX_RING as i64), "The step of the horizon that is scored").or("1"),
            word("tail", TAIL, "`alert` is set below this tail probability").or("0.001"),
            word("long", Shape::Integer(2, MAX_RING as i64), "Rows that a row is compared with").or("8000"),
            word("short", Shape::Integer(1, MAX_RING as i64), "Residuals of a short mean").or("10"),
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
            long,
            short,
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
