//! `resample: { every, aggregate, fill, max_gap, delay, timezone }`

use super::{Around, Options, Stage};
use crate::config::read::{Field, Reader};
use crate::config::table::{Shape, names, word};
use crate::config::words::{Words, word_of};
use crate::config::{At, Span};
use crate::error::Problems;
use crate::zone::Zone;

/// `resample: { every, aggregate, fill, max_gap, delay, timezone }`
#[derive(Debug, Clone)]
pub struct Resample {
    /// Width of a bucket.
    pub every: At<Span>,
    /// What a bucket holds of its records.
    pub aggregate: Aggregate,
    /// What an empty bucket holds.
    pub fill: At<Fill>,
    /// Up to which age empty buckets are filled; beyond it none are emitted. `None`: without limit.
    pub max_gap: Option<At<Span>>,
    /// How long after its end a bucket still takes records.
    pub delay: At<Span>,
    /// Whose days and months buckets are; `None`: those of the time column.
    pub timezone: Option<At<Zone>>,
}

/// `aggregate:` of `resample`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Aggregate {
    #[default]
    Mean,
    Sum,
    Min,
    Max,
    First,
    Last,
    Count,
}

/// `fill:` of `resample`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// The last observed value.
    #[default]
    Last,
    /// A line between the observed values on both sides; looks ahead.
    Linear,
    /// Null.
    Null,
    /// Zero.
    Zero,
}

const AGGREGATES: [(&str, Aggregate); 7] = [
    ("mean", Aggregate::Mean),
    ("sum", Aggregate::Sum),
    ("min", Aggregate::Min),
    ("max", Aggregate::Max),
    ("first", Aggregate::First),
    ("last", Aggregate::Last),
    ("count", Aggregate::Count),
];

const FILLS: [(&str, Fill); 4] =
    [("last", Fill::Last), ("linear", Fill::Linear), ("null", Fill::Null), ("zero", Fill::Zero)];

impl Aggregate {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&AGGREGATES, self)
    }
}

impl Fill {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&FILLS, self)
    }
}

impl Options for Resample {
    const ABOUT: &'static str = "Makes one row per key and bucket of time";
    const WORDS: Words = Words::new(
        "`resample`",
        &[
            word("every", Shape::Span { zero: false }, "Width of a bucket").needed(),
            word("aggregate", Shape::Word(&names(&AGGREGATES)), "How the records of a bucket become one value")
                .or("mean"),
            word("fill", Shape::Word(&names(&FILLS)), "The value of a bucket without values").or("last"),
            word("max_gap", Shape::Span { zero: false }, "Buckets without records are filled up to this age"),
            word("delay", Shape::Span { zero: true }, "How long after its end a bucket still takes records").or("0s"),
            word("timezone", Shape::Zone, "Whose days, weeks, months and years the buckets are"),
        ],
    );

    fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let fields = reader.section(field, &Self::WORDS)?;
        let every = reader.need(&fields, "every").and_then(|f| reader.span(f, false));
        let aggregate = fields.get("aggregate").and_then(|f| reader.word(f, &AGGREGATES, &[]));
        let fill = fields.get("fill").and_then(|f| Some(f.at(reader.word(f, &FILLS, &[])?)));
        let max_gap = fields.get("max_gap").and_then(|f| reader.span(f, false));
        let delay = fields.get("delay").and_then(|f| reader.span(f, true));
        let timezone = fields.get("timezone").and_then(|f| reader.timezone(f));
        let every = every?;
        // The default delay has the unit of the width: steps for a time without a clock.
        let no_delay = if matches!(every.value, Span::Steps(_)) { Span::Steps(0) } else { Span::Nanos(0) };
        let delay = match delay {
            Some(delay) if !delay.is_zero() => delay,
            Some(delay) => At { value: no_delay, place: delay.place },
            None => At::default_value(no_delay),
        };
        Some(Resample {
            every,
            aggregate: aggregate.unwrap_or_default(),
            fill: fill.unwrap_or_default(),
            max_gap,
            delay,
            timezone,
        })
    }

    fn check(&self, around: &Around<'_>, problems: &mut Problems) {
        around.once("resample", problems);
        let covered = self.max_gap.as_ref().is_some_and(|gap| self.delay.covers(gap.value));
        let infer_comes = around.after().iter().any(|stage| matches!(stage.value, Stage::Infer(_)));
        if self.fill.value == Fill::Linear && !covered && infer_comes {
            problems.add(
                self.fill.place,
                "`fill: linear` looks ahead: before `infer` it needs `max_gap`, and a `delay` at least as long",
            );
        }
    }
}
