//! The time line of a pipeline: what one tick of a record's time means.
//!
//! Times are `i64` ticks in the unit of the source's own column, so that nothing is lost or rounded on the way through.
//! An instant has no zone; what a day, a week, a month or a year is after it follows the zone of the column, or UTC.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use super::TimeRange;
use crate::config::{EpochUnit, Moment, Span};
use crate::zone::{Zone, database};

/// Means "no time" in a column of times.
pub const NO_TIME: i64 = i64::MIN;

const DAY: i64 = 86_400_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Unit and Arrow type of a time column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds of a tick; `None`: integer steps without a clock.
    pub nanos_per_tick: Option<i64>,
    /// Type of the column, for output.
    pub data_type: DataType,
    /// Whose days and months there are; `None`: those of UTC, of dates, or none at all.
    pub zone: Option<Zone>,
}

/// Microseconds in UTC.
impl Default for Clock {
    fn default() -> Self {
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Clock { nanos_per_tick: Some(1_000), data_type, zone: None }
    }
}

/// A [`Span`] in the ticks of a [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// A fixed number of ticks.
    Ticks(i64),
    /// Days of the clock's zone. (In UTC all days are as long: there they are ticks.)
    Days(i64),
    /// Calendar months of the clock's zone, or UTC's.
    Months(u32),
}

impl Clock {
    /// The clock of a column of this type, in the zone of the type, or the error in it.
    pub fn of(data_type: &DataType, unit: Option<EpochUnit>) -> Result<Clock, String> {
        Clock::plain(data_type, unit)?.in_zone_of_column()
    }

    /// The clock of a column of this type, in `zone` if there is one, or the error in it.
    pub fn of_column(data_type: &DataType, unit: Option<EpochUnit>, zone: Option<&Zone>) -> Result<Clock, String> {
        match zone {
            Some(zone) => Clock::plain(data_type, unit)?.in_zone(zone),
            None => Clock::of(data_type, unit),
        }
    }

    /// The same ticks, with the days and months of a zone, or why they can't have any.
    pub fn in_zone(mut self, zone: &Zone) -> Result<Clock, String> {
        match self.data_type {
            _ if self.nanos_per_tick.is_none() => return Err("a step without a clock has no time zone".into()),
            _ if self.is_date() => return Err("a date has no time zone: its days are its own".into()),
            _ => self.zone = Some(zone.clone()).filter(|zone| !zone.is_utc()),
        }
        Ok(self)
    }

    fn in_zone_of_column(self) -> Result<Clock, String> {
        let DataType::Timestamp(_, Some(name)) = &self.data_type else { return Ok(self) };
        match Zone::find(name)? {
            Some(zone) => self.in_zone(&zone),
            None => Err(format!(
                "the time zone \"{name}\" is not in the tz database {}: name one of the IANA list, as in time: {{ \
                 column: …, timezone: Europe/Berlin }}",
                database()
            )),
        }
    }

    fn plain(data_type: &DataType, unit: Option<EpochUnit>) -> Result<Clock, String> {
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
                EpochUnit::FloatSecond | EpochUnit::FloatMillisecond => {
                    return Err(format!(
                        "`unit: float_s` and `float_ms` are for times with a fraction, this column is {data_type}"
                    ));
                }
            },
            (t, None) if t.is_integer() => None,
            (t, _) if t.is_floating() => {
                return Err(format!(
                    "times in {t} are not read from files, only from messages (`unit: float_s` and `float_ms`): write \
                     the column as a timestamp, or as an integer with a `unit`"
                ));
            }
            (t, Some(_)) => return Err(format!("a unit is only for integer columns, this one is {t}")),
            (t, None) => {
                return Err(format!("expected a timestamp, a date or an integer for the time, the column is {t}"));
            }
        };
        Ok(Clock { nanos_per_tick: nanos, data_type: data_type.clone(), zone: None })
    }

    /// Whether times are dates, which have no time of day and no zone.
    pub fn is_date(&self) -> bool {
        matches!(self.data_type, DataType::Date32 | DataType::Date64)
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
            (Some(_), Span::Days(n)) if self.zone.is_some() => Ok(Every::Days(n)),
            (Some(_), Span::Days(n)) => self.every(Span::Nanos(n.checked_mul(DAY).ok_or("too long")?)),
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

    /// Ticks as milliseconds since 1970, rounded down; `None` without a clock.
    pub fn millis(&self, ticks: i64) -> Option<i64> {
        let nanos = i128::from(ticks) * i128::from(self.nanos_per_tick?);
        i64::try_from(nanos.div_euclid(1_000_000)).ok()
    }

    /// `ticks` moved by `n` times `every`. Days and months keep the time of day: one that the clocks skip becomes as
    /// much later as they skip, and one that they show twice keeps its offset if it can, else it is the first. A day
    /// that begins late, since its midnight is skipped, counts as midnight. Calendar months keep the day where the
    /// month has it, else its last day; the last day of a month stays the last day.
    /// `None` beyond the calendar.
    pub fn step(&self, ticks: i64, every: Every, n: i64) -> Option<i64> {
        let moved = match every {
            Every::Ticks(width) => ticks.checked_add(width.checked_mul(n)?),
            Every::Days(width) => {
                let days = width.checked_mul(n)?;
                self.on_another_day(ticks, |day| day.checked_add(days))
            }
            Every::Months(width) => {
                let months = i64::from(width).checked_mul(n)?;
                if self.zone.is_some() {
                    self.on_another_day(ticks, |day| Some(day_of(months_later(date_of(day)?, months)?)))
                } else {
                    let at = self.utc(ticks)?;
                    let date = months_later(at.date_naive(), months)?;
                    self.ticks(date.and_time(at.time()).and_utc())
                }
            }
        };
        moved.filter(|moved| self.range().has(*moved))
    }

    /// Whether `to` is later than `every` after `from`.
    #[inline]
    pub fn is_beyond(&self, from: i64, every: Every, to: i64) -> bool {
        match every {
            Every::Ticks(ticks) => to.saturating_sub(from) > ticks,
            every => self.step(from, every, 1).is_some_and(|end| to > end),
        }
    }

    /// The same time of day on another local day; days are counted from 1970.
    fn on_another_day(&self, ticks: i64, other: impl Fn(i64) -> Option<i64>) -> Option<i64> {
        let zone = self.zone.as_ref()?;
        let per_second = 1_000_000_000 / self.nanos_per_tick?;
        let (utc, rest) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
        let offset = zone.offset(utc).seconds;
        let local = utc.checked_add(offset)?;
        let (day, time) = (local.div_euclid(DAY_SECONDS), local.rem_euclid(DAY_SECONDS));
        let other = other(day)?;
        let moved = if zone.start_of_day(day) == utc {
            zone.start_of_day(other)
        } else {
            zone.instant(other.checked_mul(DAY_SECONDS)?.checked_add(time)?, offset)
        };
        moved.checked_mul(per_second)?.checked_add(rest)
    }

    /// The distance of two times, the earlier one first, as rows of a series are apart: whole calendar months are
    /// negative, and a day of the zone counts as 24 hours whatever its length.
    pub fn distance(&self, from: i64, to: i64) -> i64 {
        let ticks = to.saturating_sub(from);
        let Some(nanos) = self.nanos_per_tick else { return ticks };
        let days = i128::from(ticks) * i128::from(nanos) / i128::from(DAY);
        // Daylight saving may make it less than 28 days.
        if days < if self.zone.is_some() { 27 } else { 28 } {
            return self.in_days(from, to).unwrap_or(ticks);
        }
        let months = ((days as f64) / 30.436_875).round() as u32;
        if self.step(from, Every::Months(months), 1) == Some(to) {
            return -i64::from(months);
        }
        self.in_days(from, to).unwrap_or(ticks)
    }

    /// Whole days of the zone between two times, in ticks of 24 hours. `None` for UTC, where they need no other count.
    fn in_days(&self, from: i64, to: i64) -> Option<i64> {
        self.zone.as_ref()?;
        let day = DAY / self.nanos_per_tick?;
        let ticks = to.checked_sub(from)?;
        let days = ticks.checked_add(day / 2)?.div_euclid(day);
        // Days of the same length are told by division, the others by the calendar.
        let is_whole = days > 0 && (ticks - days * day).abs() <= day / 8;
        (is_whole && self.step(from, Every::Days(days), 1) == Some(to)).then(|| days * day)
    }

    /// The whole days between two times, days of the zone; `None` without a clock or where they aren't whole.
    pub fn whole_days(&self, from: i64, to: i64) -> Option<i64> {
        let nanos = self.nanos_per_tick.filter(|nanos| DAY % nanos == 0)?;
        let day = DAY / nanos;
        match self.zone {
            Some(_) => Some(self.in_days(from, to)? / day),
            None => Some(to.saturating_sub(from)).filter(|ticks| ticks % day == 0).map(|ticks| ticks / day),
        }
    }

    /// The day of a time on the wall clock of its zone, in days since 1970; `None` without a clock.
    pub fn day(&self, ticks: i64) -> Option<i64> {
        let nanos = self.nanos_per_tick?;
        let Some(zone) = &self.zone else {
            return i64::try_from((i128::from(ticks) * i128::from(nanos)).div_euclid(i128::from(DAY))).ok();
        };
        let utc = ticks.div_euclid(1_000_000_000 / nanos);
        Some(utc.checked_add(zone.offset(utc).seconds)?.div_euclid(DAY_SECONDS))
    }

    /// The date of a time on the wall clock of its zone; `None` without a clock or outside the range of dates.
    pub fn date(&self, ticks: i64) -> Option<NaiveDate> {
        date_of(self.day(ticks)?)
    }

    /// The first tick of a date; `None` without a clock or outside the range.
    pub fn start_of(&self, date: NaiveDate) -> Option<i64> {
        let day = day_of(date);
        match &self.zone {
            Some(zone) => zone.start_of_day(day).checked_mul(1_000_000_000 / self.nanos_per_tick?),
            None => self.ticks(DateTime::from_timestamp(day.checked_mul(DAY_SECONDS)?, 0)?),
        }
    }

    /// Ticks as text: RFC 3339, or the integer itself without a clock or beyond the calendar.
    pub fn text(&self, ticks: i64) -> String {
        match self.utc(ticks).filter(|_| self.range().has(ticks)) {
            Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            None => ticks.to_string(),
        }
    }
}

/// A date some months later, or earlier; the last day of a month stays the last day.
fn months_later(date: NaiveDate, months: i64) -> Option<NaiveDate> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let moved = if months >= 0 { date.checked_add_months(count)? } else { date.checked_sub_months(count)? };
    let is_last = date.checked_add_days(Days::new(1)).is_some_and(|next| next.month() != date.month());
    if !is_last {
        return Some(moved);
    }
    moved.with_day(1)?.checked_add_months(Months::new(1))?.pred_opt()
}

/// A date by its days since 1970; `None` outside the range of dates.
fn date_of(day: i64) -> Option<NaiveDate> {
    Some(DateTime::from_timestamp(day.checked_mul(DAY_SECONDS)?, 0)?.date_naive())
}

fn day_of(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp().div_euclid(DAY_SECONDS)
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
