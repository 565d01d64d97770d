//! The time line of a pipeline: what one tick of a record's time means.
//!
//! Times are `i64` ticks in the unit of the source's own column, so that nothing is lost or rounded on the way through.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Days, Months, NaiveDateTime, TimeZone, Utc};

use super::TimeRange;
use crate::config::{EpochUnit, Moment, Span};

/// Means "no time" in a column of times.
pub const NO_TIME: i64 = i64::MIN;

const DAY: i64 = 86_400_000_000_000;

/// Unit and Arrow type of a time column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds of a tick; `None`: integer steps without a clock.
    pub nanos_per_tick: Option<i64>,
    /// Type of the column, for output.
    pub data_type: DataType,
}

/// A [`Span`] in the ticks of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// A fixed number of ticks.
    Ticks(i64),
    /// Calendar months (UTC).
    Months(u32),
}

impl Clock {
    /// The clock of a column of this type, or the error in it.
    pub fn of(data_type: &DataType, unit: Option<EpochUnit>) -> Result<Clock, String> {
        let nanos = match (data_type, unit) {
            (DataType::Timestamp(TimeUnit::Second, _), None) => Some(1_000_000_000),
            (DataType::Timestamp(TimeUnit::Millisecond, _), None) | (DataType::Date64, None) => Some(1_000_000),
            (DataType::Timestamp(TimeUnit::Microsecond, _), None) => Some(1_000),
            (DataType::Timestamp(TimeUnit::Nanosecond, _), None) => Some(1),
            (DataType::Date32, None) => Some(DAY),
            (t, Some(unit)) if t.is_integer() => match unit {
                EpochUnit::Second => Some(1_000_000_000),
                EpochUnit::Millisecond => Some(1_000_000),
                EpochUnit::Microsecond => Some(1_000),
                EpochUnit::Nanosecond => Some(1),
                EpochUnit::Step => None,
            },
            (t, None) if t.is_integer() => None,
            (t, Some(_)) => return Err(format!("a unit is only for integer columns, this one is {t}")),
            (t, None) => {
                return Err(format!("expected a timestamp, a date or an integer for the time, the column is {t}"));
            }
        };
        Ok(Clock { nanos_per_tick: nanos, data_type: data_type.clone() })
    }

    /// A span in ticks, or why there is none.
    pub fn every(&self, span: Span) -> Result<Every, String> {
        match (self.nanos_per_tick, span) {
            (None, Span::Steps(n)) => Ok(Every::Ticks(n)),
            (None, _) => {
                Err("the time is an integer step without a clock: write a number of steps, without a unit".into())
            }
            (Some(_), Span::Steps(_)) => Err("expected a duration with a unit, such as 30m or 6h".into()),
            (Some(_), Span::Months(n)) => Ok(Every::Months(n)),
            (Some(tick), Span::Nanos(n)) if n % tick == 0 => Ok(Every::Ticks(n / tick)),
            (Some(_), Span::Nanos(_)) => Err(format!("finer than the time column, which is {}", self.data_type)),
        }
    }

    /// A moment in ticks, or why there is none. A moment between two ticks becomes the later one.
    pub fn moment(&self, moment: Moment) -> Result<i64, String> {
        match (self.nanos_per_tick, moment) {
            (None, Moment::Step(n)) => Ok(n),
            (None, Moment::Instant(_)) => Err("the time is an integer step without a clock: write an integer".into()),
            (Some(_), Moment::Step(n)) => Err(format!("expected a date or time, found {n}")),
            (Some(tick), Moment::Instant(at)) => {
                let nanos = i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos());
                let tick = i128::from(tick);
                let ticks = nanos.div_euclid(tick) + i128::from(nanos.rem_euclid(tick) != 0);
                i64::try_from(ticks).map_err(|_| "outside the range of the time column".to_string())
            }
        }
    }

    /// The ticks that there are.
    pub fn range(&self) -> TimeRange {
        TimeRange::of_ticks(self.nanos_per_tick)
    }

    /// Ticks as UTC; `None` without a clock or outside the range of dates.
    pub fn utc(&self, ticks: i64) -> Option<DateTime<Utc>> {
        let nanos = i128::from(ticks) * i128::from(self.nanos_per_tick?);
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
        let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?;
        DateTime::from_timestamp(seconds, rest)
    }

    /// UTC as ticks, rounded down; `None` without a clock or outside the range.
    pub fn ticks(&self, at: DateTime<Utc>) -> Option<i64> {
        let nanos = i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos());
        i64::try_from(nanos.div_euclid(i128::from(self.nanos_per_tick?))).ok()
    }

    /// Milliseconds since 1970 as ticks, as [`Clock::ticks`].
    pub fn ticks_of_millis(&self, millis: i64) -> Option<i64> {
        self.ticks(DateTime::from_timestamp_millis(millis)?)
    }

    /// `ticks` moved by `n` times `every`. Calendar months keep the day where the month has it, else its last day;
    /// the last day of a month stays the last day.
    /// `None` beyond the calendar.
    pub fn step(&self, ticks: i64, every: Every, n: i64) -> Option<i64> {
        let moved = match every {
            Every::Ticks(width) => ticks.checked_add(width.checked_mul(n)?),
            Every::Months(width) => {
                let at = self.utc(ticks)?;
                let months = u32::try_from(n.unsigned_abs()).ok()?.checked_mul(width)?;
                let last_day = is_last_day(at.naive_utc());
                let moved = if n >= 0 {
                    at.checked_add_months(Months::new(months))?
                } else {
                    at.checked_sub_months(Months::new(months))?
                };
                let moved = if last_day { last_of_month(moved)? } else { moved };
                self.ticks(moved)
            }
        };
        moved.filter(|moved| self.range().has(*moved))
    }

    /// Ticks as text: RFC 3339, or the integer itself without a clock or beyond the calendar.
    pub fn text(&self, ticks: i64) -> String {
        match self.utc(ticks).filter(|_| self.range().has(ticks)) {
            Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            None => ticks.to_string(),
        }
    }
}

fn is_last_day(at: NaiveDateTime) -> bool {
    at.date().checked_add_days(Days::new(1)).is_some_and(|next| next.month() != at.month())
}

fn last_of_month(at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let first = at.date_naive().with_day(1)?;
    let last = first.checked_add_months(Months::new(1))?.pred_opt()?;
    Some(Utc.from_utc_datetime(&last.and_time(at.time())))
}
