//! What a key's values are at each time of a season, such as a day: a running mean per part of the season.
//!
//! Lives here: which part a time is in, and how far a value is from the mean there. It needs no training, and, unlike a
//! prediction from the last values, it does not follow a change that comes slowly. Must not live here: what is made of
//! the distance (`score_rank`).
//!
//! The mean is that of all values, or, from [`MEMORY`] of them on, one that forgets.

use crate::config::Span;
use crate::record::{Clock, Every};
use crate::state::StateSpec;

/// Parts of a season: 5 minutes of a day.
const PARTS: usize = 288;
/// Values after which an older one counts less.
const MEMORY: f32 = 30.0;

/// The length of a season in a clock.
#[derive(Clone)]
pub(super) struct Season {
    clock: Clock,
    every: Every,
}

impl Season {
    /// Of a length, or why there is no such season.
    pub(super) fn new(clock: &Clock, length: Span) -> Result<Season, String> {
        match clock.every(length)? {
            Every::Months(_) => Err("months differ in length: write days, such as 7d".into()),
            every => Ok(Season { clock: clock.clone(), every }),
        }
    }

    /// The part of the season that a time is in; `None` beyond the calendar.
    fn part(&self, ticks: i64) -> Option<usize> {
        let (into, length) = match self.every {
            Every::Ticks(length) => (ticks.rem_euclid(length), length),
            // The days of the zone: the same part is the same time of day, whatever summer time does.
            Every::Days(days) => {
                let date = self.clock.date(ticks)?;
                let (start, next) = (self.clock.start_of(date)?, self.clock.start_of(date.succ_opt()?)?);
                let day = self.clock.day(ticks)?.rem_euclid(days);
                let of_day = (ticks - start).saturating_mul(PARTS as i64) / (next - start).max(1);
                return Some(((day * PARTS as i64 + of_day) / days) as usize);
            }
            Every::Months(_) => return None,
        };
        Some((i128::from(into) * PARTS as i128 / i128::from(length)) as usize)
    }
}

/// Adds what a [`Profile`] lies over.
pub(super) fn add(spec: StateSpec, long: usize) -> StateSpec {
    spec.u64("season.count", 0).f32s("season.means", PARTS).f32s("season.counts", PARTS).f32s("season.distances", long)
}

/// A key's means, over what [`add`] adds; all of them are 0 for a new key.
pub(super) struct Profile<'a> {
    means: &'a mut [f32],
    counts: &'a mut [f32],
    /// How many distances there ever were, and the last `long` of them.
    pub(super) count: &'a mut u64,
    pub(super) distances: &'a mut [f32],
}

impl<'a> Profile<'a> {
    /// A view of a key's part of the row.
    pub(super) fn of(words: &'a mut [u64], long: usize) -> Option<Self> {
        let (count, rest) = words.split_first_mut()?;
        let (means, rest) = rest.split_at_mut_checked(PARTS / 2)?;
        let (counts, distances) = rest.split_at_mut_checked(PARTS / 2)?;
        let distances = &mut bytemuck::cast_slice_mut::<u64, f32>(distances)[..long];
        Some(Profile {
            means: bytemuck::cast_slice_mut(means),
            counts: bytemuck::cast_slice_mut(counts),
            count,
            distances,
        })
    }

    /// The distance of a value from the mean of those before it in the same part; `None` for the first one there. The
    /// value is taken in.
    pub(super) fn distance(&mut self, season: &Season, ticks: i64, value: f32) -> Option<f32> {
        let part = season.part(ticks)?;
        let (mean, count) = (self.means.get_mut(part)?, self.counts.get_mut(part)?);
        let found = (*count > 0.0).then(|| (value - *mean).abs());
        *count = (*count + 1.0).min(MEMORY);
        *mean += (value - *mean) / *count;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EpochUnit;
    use crate::zone::Zone;
    use arrow::datatypes::DataType;

    fn clock() -> Clock {
        Clock::of(&DataType::Int64, Some(EpochUnit::Second)).unwrap()
    }

    #[test]
    fn a_value_is_compared_with_those_of_the_same_time_of_day() {
        let season = Season::new(&clock(), Span::Days(1)).unwrap();
        let mut words = add(StateSpec::default(), 4).initial().to_vec();
        let mut profile = Profile::of(&mut words, 4).unwrap();
        const HOUR: i64 = 3600;
        let mut at = |time: i64, value: f32| profile.distance(&season, time, value);
        assert_eq!(at(-23 * HOUR, 4.0), None);
        assert_eq!(at(2 * HOUR, 9.0), None);
        assert_eq!(at(HOUR, 6.0), Some(2.0));
        assert_eq!(at(25 * HOUR + 299, 8.0), Some(3.0), "the mean of 4 and 6");
        assert_eq!(at(25 * HOUR + 300, 8.0), None, "the next five minutes");
        for _ in 0..1000 {
            at(49 * HOUR, 1.0);
        }
        let last = at(49 * HOUR, 31.0).unwrap();
        assert!((last - 30.0).abs() < 1e-3, "{last}: older values are forgotten");
        assert!((at(49 * HOUR, 2.0).unwrap() - 0.0).abs() < 1e-3);
    }

    #[test]
    fn days_of_a_zone_keep_the_time_of_day() {
        let zone = Zone::find("Europe/Berlin").unwrap().unwrap();
        let season = Season::new(&clock().in_zone(&zone).unwrap(), Span::Days(7)).unwrap();
        // 12:00 on the Sunday before, and on the Sunday of the change to summer time in 2026.
        let (before, after) = (1_774_177_200_i64, 1_774_778_400_i64);
        assert_eq!(after - before, 7 * 86_400 - 3600);
        let part = |ticks| season.part(ticks).unwrap();
        assert!(part(before).abs_diff(part(after)) <= 1, "{} and {}", part(before), part(after));
        assert_ne!(part(before), part(before + 86_400));
        assert!(Season::new(&clock(), Span::Months(1)).is_err_and(|message| message.contains("such as 7d")));
    }
}
