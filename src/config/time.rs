//! Lengths of time and moments as a user writes them.

use chrono::{DateTime, Utc};

/// A length of time. Calendar lengths stay calendar lengths: a month is not 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// `ms s m h d w`, in nanoseconds.
    Nanos(i64),
    /// `mo` and `y`, in calendar months.
    Months(u32),
    /// A bare integer: steps of a time without a clock.
    Steps(i64),
}

/// A point in time as written: `2014-01-01`, RFC 3339, or an integer for a time without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// An instant (a date means its first moment in UTC).
    Instant(DateTime<Utc>),
    /// An integer step.
    Step(i64),
}
