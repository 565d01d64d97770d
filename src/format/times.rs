//! The times of messages: ticks, text, numbers with a fraction.
//!
//! Must not live here: which field is the time ([`super::columns`]), and how a format writes it.

use arrow::datatypes::{DataType, TimeUnit};

use super::columns::Fault;
use crate::config::{EpochUnit, Moment};
use crate::record::{Clock, TIME_OUT_OF_RANGE, explain_beyond};

/// Where times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFrom {
    /// A field with the time as text (RFC 3339), in microseconds.
    Text,
    /// A field with ticks.
    Ticks,
    /// A field with a number that has a fraction: that many microseconds each, in microseconds.
    Fraction(i64),
    /// The message's timestamp.
    Message,
}

impl TimeFrom {
    /// How a field of this type is a time, the type of its column, and the unit that says what its integers are; or why
    /// it is none. `unit`: that of the pipeline.
    pub fn of(found: DataType, unit: Option<EpochUnit>) -> Result<(TimeFrom, DataType, Option<EpochUnit>), String> {
        let is_text = found == DataType::Utf8;
        match unit.and_then(EpochUnit::fractional) {
            _ if is_text && unit.is_none() => Ok((TimeFrom::Text, utc(TimeUnit::Microsecond), None)),
            _ if is_text => Err("the time is text, which has no unit: leave `unit` out".into()),
            Some(micros) if found.is_floating() => Ok((TimeFrom::Fraction(micros), utc(TimeUnit::Microsecond), None)),
            None if found.is_floating() => Err(format!("the time is {found}: {FRACTIONS}")),
            _ => Ok((TimeFrom::Ticks, found, unit)),
        }
    }
}

/// What to write where times have a fraction.
pub(super) const FRACTIONS: &str = "`unit: float_s` and `float_ms` read times with a fraction";

/// A time as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ticks {
    Null,
    /// Ticks of the column, or of a length of their own.
    Of(i64, Option<i64>),
    /// Beyond 64 bits.
    Beyond(String),
}

impl Ticks {
    /// Of a time with a fraction, which counts so many microseconds; one that is no number is null.
    pub fn of_fraction(time: f64, micros: i64) -> Ticks {
        let since = (time * micros as f64).round();
        match since.abs() < 9.2e18 {
            true => Ticks::Of(since as i64, Some(1_000)),
            false if time.is_finite() => Ticks::Beyond(time.to_string()),
            false => Ticks::Null,
        }
    }

    /// The same of an integer.
    pub fn of_whole(time: i64, micros: i64) -> Ticks {
        match time.checked_mul(micros) {
            Some(since) => Ticks::Of(since, Some(1_000)),
            None => Ticks::Beyond(time.to_string()),
        }
    }

    /// Of text.
    pub fn of_text(text: &str) -> Result<Ticks, String> {
        micros(text).map(|micros| Ticks::Of(micros, Some(1_000)))
    }
}

/// Why a value of a field can't be one of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is beyond what the column's type can hold.
    Beyond,
    /// The column's type can hold it only in part.
    Inexact,
}

impl Unfit {
    /// As a time: why its message is refused.
    pub fn of_time(self, name: &str, value: i64, nanos: Option<i64>) -> Fault {
        match self {
            Unfit::Beyond => (TIME_OUT_OF_RANGE, explain_beyond(name, value, nanos)),
            Unfit::Inexact => {
                ("bad_schema", format!("field \"{name}\": {value} is finer than the schema of the start can hold"))
            }
        }
    }
}

/// A time in ticks of another length, if there is exactly that one.
pub(super) fn in_ticks(value: i64, from: i64, to: i64) -> Result<i64, Unfit> {
    if from == to {
        return Ok(value);
    }
    let nanos = i128::from(value) * i128::from(from);
    match nanos.rem_euclid(i128::from(to)) {
        0 => i64::try_from(nanos / i128::from(to)).map_err(|_| Unfit::Beyond),
        _ => Err(Unfit::Inexact),
    }
}

/// Nanoseconds of a tick of a type of times; `None`: it is none.
pub(super) fn nanos_of(data_type: &DataType) -> Option<i64> {
    Clock::of(data_type, None).ok()?.nanos_per_tick
}

pub(super) fn utc(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("UTC".into()))
}

/// RFC 3339 as microseconds.
fn micros(text: &str) -> Result<i64, String> {
    match Moment::parse(text) {
        Ok(Moment::Instant(at)) => Ok(at.timestamp_micros()),
        _ => Err(format!("expected a time such as 2024-01-31T12:00:00Z, found \"{text}\"")),
    }
}
