//! Buckets of time: which one a time falls into, and where each ends.
//!
//! A bucket is `(start, end]` and has a number; ends lie a whole number of widths from the epoch. Weeks end as Mondays
//! begin, calendar months and years as their first day begins. Days, weeks, months and years are those of the clock's
//! zone, whatever their length; hours and what is shorter are counted in UTC. A time exactly at an end belongs to the
//! bucket that ends there, so data that is stamped regularly keeps its stamps.

use chrono::{Datelike, NaiveDate};

use crate::config::Span;
use crate::record::{Clock, Every};

const WEEK_NANOS: i64 = 604_800_000_000_000;
/// 1970-01-05, the first Monday.
const MONDAY_NANOS: i64 = 345_600_000_000_000;
/// The same, in days.
const MONDAY: i64 = 4;
const MONTHS_TO_EPOCH: i64 = 1970 * 12;

/// The buckets of one width on one clock.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    clock: Clock,
    every: Every,
    /// Where bucket 0 ends, in ticks, or in days where these are the zone's.
    origin: i64,
}

impl Buckets {
    /// Buckets of width `every`, or the error in it.
    pub(super) fn new(clock: &Clock, every: Span) -> Result<Self, String> {
        let width = clock.every(every)?;
        if matches!(width, Every::Ticks(..1) | Every::Days(..1) | Every::Months(0)) {
            return Err("the width of a bucket must be more than nothing".into());
        }
        let origin = match (width, every.in_hours(), clock.nanos_per_tick) {
            (Every::Days(days), ..) if days % 7 == 0 => MONDAY,
            (Every::Days(_), ..) => 0,
            (_, Span::Nanos(nanos), Some(tick)) if nanos % WEEK_NANOS == 0 => MONDAY_NANOS / tick,
            _ => 0,
        };
        Ok(Buckets { clock: clock.clone(), every: width, origin })
    }

    /// The bucket of a time; `None` where it ends outside the range of times.
    pub(super) fn number(&self, time: i64) -> Option<i64> {
        let number = match self.every {
            Every::Ticks(width) => {
                let from_origin = time.checked_sub(self.origin)?;
                from_origin.div_euclid(width) + i64::from(from_origin.rem_euclid(width) != 0)
            }
            Every::Days(width) => ceil(self.unit_of(time)? - self.origin, width),
            Every::Months(width) => ceil(self.unit_of(time)?, i64::from(width)),
        };
        self.end(number).map(|_| number)
    }

    /// Where a bucket ends; `None` outside the range of times.
    pub(super) fn end(&self, number: i64) -> Option<i64> {
        let end = match self.every {
            Every::Ticks(width) => number.checked_mul(width)?.checked_add(self.origin),
            Every::Days(width) => self.start(number.checked_mul(width)?.checked_add(self.origin)?),
            Every::Months(width) => self.start(number.checked_mul(i64::from(width))?),
        };
        end.filter(|end| self.clock.range().has(*end))
    }

    /// Whether a bucket has no length: a day that the clocks skipped as the date line moved.
    pub(super) fn is_skipped(&self, number: i64) -> bool {
        matches!(self.every, Every::Days(_)) && self.end(number) == self.end(number.saturating_sub(1))
    }

    /// The first day or month that doesn't begin before a time, counted from 1970.
    fn unit_of(&self, time: i64) -> Option<i64> {
        let date = self.clock.date(time)?;
        let mut unit = match self.every {
            Every::Months(_) => i64::from(date.year()) * 12 + i64::from(date.month0()) - MONTHS_TO_EPOCH,
            _ => date.signed_duration_since(NaiveDate::default()).num_days(),
        };
        // Where clocks go back over midnight, the date of a time may be one that was over.
        while self.start(unit)? < time {
            unit += 1;
        }
        while self.start(unit - 1).is_some_and(|start| start >= time) {
            unit -= 1;
        }
        Some(unit)
    }

    /// The first tick of a day or of a month, counted from 1970.
    fn start(&self, unit: i64) -> Option<i64> {
        let date = match self.every {
            Every::Months(_) => {
                let month = unit.checked_add(MONTHS_TO_EPOCH)?;
                let year = i32::try_from(month.div_euclid(12)).ok()?;
                NaiveDate::from_ymd_opt(year, month.rem_euclid(12) as u32 + 1, 1)?
            }
            _ => NaiveDate::default().checked_add_signed(chrono::TimeDelta::try_days(unit)?)?,
        };
        self.clock.start_of(date)
    }

    /// `ticks` moved by a span, once forth or (`-1`) back.
    pub(super) fn moved(&self, ticks: i64, by: Every, n: i64) -> Option<i64> {
        self.clock.step(ticks, by, n)
    }

    /// How many buckets can end within a span, at most; buckets that are touched by it are one more.
    pub(super) fn within(&self, span: Every) -> i64 {
        // The shortest month and the longest: it is an upper bound that is asked for.
        match (self.every, span) {
            (Every::Ticks(width), Every::Ticks(span)) => ceil(span, width),
            (Every::Months(width), Every::Months(span)) => ceil(i64::from(span), i64::from(width)),
            (Every::Ticks(width), Every::Months(span)) => ceil(i64::from(span).saturating_mul(self.days(31)), width),
            (Every::Months(width), Every::Ticks(span)) => ceil(span, i64::from(width).saturating_mul(self.days(28))),
            (Every::Days(width), Every::Days(span)) => ceil(span, width),
            (Every::Days(width), Every::Months(span)) => ceil(i64::from(span) * 31, width),
            (Every::Months(width), Every::Days(span)) => ceil(span, i64::from(width) * 28),
            // A day may have less than 24 hours, or none.
            (_, Every::Ticks(0)) => 0,
            (Every::Days(width), Every::Ticks(span)) => ceil(span, self.days(1)).saturating_add(1) / width + 1,
            (Every::Ticks(width), Every::Days(span)) => ceil(self.days(span.saturating_add(1)), width),
        }
    }

    /// Whether span `a` is at least as long as span `b` wherever on the calendar they lie.
    pub(super) fn covers(&self, a: Every, b: Every) -> bool {
        match (a, b) {
            (Every::Ticks(a), Every::Ticks(b)) => a >= b,
            (Every::Months(a), Every::Months(b)) => a >= b,
            (Every::Ticks(a), Every::Months(b)) => a >= i64::from(b).saturating_mul(self.days(31)),
            (Every::Months(a), Every::Ticks(b)) => i64::from(a).saturating_mul(self.days(28)) >= b,
            (Every::Days(a), Every::Days(b)) => a >= b,
            (Every::Days(a), Every::Months(b)) => a >= i64::from(b) * 31,
            (Every::Months(a), Every::Days(b)) => i64::from(a) * 28 >= b,
            (Every::Days(a), Every::Ticks(b)) => b == 0 || self.days(a.saturating_sub(1)) >= b,
            (Every::Ticks(a), Every::Days(b)) => a >= self.days(b.saturating_add(1)),
        }
    }

    fn days(&self, days: i64) -> i64 {
        // Calendar months need a clock; without one they were refused before.
        (days.saturating_mul(86_400_000_000_000) / self.clock.nanos_per_tick.unwrap_or(1)).max(1)
    }
}

fn ceil(a: i64, b: i64) -> i64 {
    a.div_euclid(b) + i64::from(a.rem_euclid(b) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, TimeUnit};
    use chrono::DateTime;
    use proptest::prelude::*;

    fn seconds() -> Clock {
        Clock::of(&DataType::Timestamp(TimeUnit::Second, None), None).unwrap()
    }

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    fn end_of(every: Span, time: &str) -> String {
        let buckets = Buckets::new(&seconds(), every).unwrap();
        seconds().text(buckets.end(buckets.number(at(time)).unwrap()).unwrap())
    }

    #[test]
    fn an_end_belongs_to_the_bucket_that_ends_there() {
        let hour = Span::Nanos(3_600_000_000_000);
        assert_eq!(end_of(hour, "2014-01-01T10:00:00Z"), "2014-01-01T10:00:00Z");
        assert_eq!(end_of(hour, "2014-01-01T10:00:01Z"), "2014-01-01T11:00:00Z");
        assert_eq!(end_of(hour, "1969-12-31T22:30:00Z"), "1969-12-31T23:00:00Z");
        assert_eq!(end_of(hour, "1969-12-31T23:00:00Z"), "1969-12-31T23:00:00Z");
    }

    #[test]
    fn weeks_end_on_mondays_and_months_on_the_first() {
        assert_eq!(end_of(Span::Nanos(WEEK_NANOS), "2014-01-01T10:00:00Z"), "2014-01-06T00:00:00Z");
        assert_eq!(end_of(Span::Nanos(WEEK_NANOS), "1965-03-03T10:00:00Z"), "1965-03-08T00:00:00Z");
        assert_eq!(end_of(Span::Months(1), "2014-01-31T10:00:00Z"), "2014-02-01T00:00:00Z");
        assert_eq!(end_of(Span::Months(1), "2014-02-01T00:00:00Z"), "2014-02-01T00:00:00Z");
        assert_eq!(end_of(Span::Months(3), "2014-01-01T00:00:01Z"), "2014-04-01T00:00:00Z");
        assert_eq!(end_of(Span::Months(12), "1965-05-01T00:00:00Z"), "1966-01-01T00:00:00Z");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let steps = Clock::of(&DataType::Int64, None).unwrap();
        assert!(Buckets::new(&steps, Span::Months(1)).is_err());
        assert!(Buckets::new(&steps, Span::Steps(0)).is_err());
        assert!(Buckets::new(&seconds(), Span::Nanos(1)).is_err());
        let buckets = Buckets::new(&steps, Span::Steps(10)).unwrap();
        assert_eq!((buckets.number(11), buckets.number(-9)), (Some(2), Some(0)));
        assert_eq!(
            (buckets.number(i64::MAX), Buckets::new(&seconds(), Span::Months(1)).unwrap().number(i64::MAX)),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn every_time_lies_in_its_bucket(time in -4_000_000_000_i64..4_000_000_000, width in 1_u32..30, months: bool) {
            let every = if months { Span::Months(width) } else { Span::Nanos(i64::from(width) * 43_200_000_000_000) };
            let buckets = Buckets::new(&seconds(), every).unwrap();
            let number = buckets.number(time).unwrap();
            prop_assert!(time <= buckets.end(number).unwrap());
            prop_assert!(time > buckets.end(number - 1).unwrap());
        }
    }
}
