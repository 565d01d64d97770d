//! When the row that a prediction is for will come, where no `resample` makes rows regular.
//!
//! Lives here: what is learned of the distances of a key's rows, in one word of its state, and the time that follows.
//! Must not live here: the vote over the distances (`inputs`), and which row a prediction is compared with (`score`).
//!
//! Training takes the target n rows later, whatever the time of that row. So the time of a prediction has to be that of
//! a row that isn't there yet. What is known of it:
//!
//! - **Days of the week**, those of the clock's zone. Where the usual distance is a number of whole days, each day of
//!   the week remembers how many days later the key's next row came: a majority vote (Boyer and Moore 1981) of one
//!   byte. A row of Friday that was followed by Monday's says 3. The n-th row is n such jumps away, and unknown while
//!   one of them is.
//! - **A regular clock.** Other usual distances, of hours or of calendar months say, count as long as other distances
//!   are rare. Each other distance costs [`COST`] points, each usual one earns a point back; from [`UNSURE`] points on
//!   nothing is known.

use crate::record::{Clock, Every, NO_TIME};

const DAY_NANOS: i64 = 86_400_000_000_000;
/// Points of an unusual distance. With one in ten of them, a key has no regular clock.
const COST: u64 = 24;
/// Points from which on the usual distance counts no more.
const UNSURE: u64 = 16;
/// The points lie in 7 bits.
const MOST: u64 = 127;
/// The longest jump that a day of the week remembers, in days: 5 bits.
const LONGEST: i64 = 31;
/// The surest that a day of the week can be: 3 bits.
const SUREST: u64 = 7;

/// What is known of one row for the time of its prediction, as the integer of a column between `inputs` and `infer`.
pub(super) const NOTHING: i64 = 0;
/// The usual distance counts. Any other integer holds the days of the week as [`Rhythm`] does.
pub(super) const REGULAR: i64 = 1;

/// A key's word of state. Bit 0 is not of the rhythm. Bits 1 to 7 are the points; byte 1 is Monday's, byte 7 Sunday's:
/// the jump in days (5 bits, 0: unknown), and the lead of its vote (3 bits).
pub(super) struct Rhythm<'a> {
    word: &'a mut u64,
    clock: &'a Clock,
    /// Ticks of a day; `None` without a calendar.
    day: Option<i64>,
}

/// Ticks of a day; `None` for a clock without days, and for ticks that no day is a whole number of.
fn ticks_of_a_day(clock: &Clock) -> Option<i64> {
    clock.nanos_per_tick.filter(|tick| DAY_NANOS % tick == 0).map(|tick| DAY_NANOS / tick)
}

/// Day of the week, from 0 for Monday. 1970-01-01 was a Thursday.
fn weekday(clock: &Clock, t: i64) -> u64 {
    (clock.day(t).unwrap_or_default() + 3).rem_euclid(7) as u64
}

impl<'a> Rhythm<'a> {
    pub(super) fn of(word: &'a mut u64, clock: &'a Clock) -> Self {
        Rhythm { word, clock, day: ticks_of_a_day(clock) }
    }

    /// Learns from the distance of two rows. `usual` is the distance that led the vote before, 0 for none; `distance`
    /// the one that is counted now, both negative for calendar months.
    pub(super) fn learn(&mut self, last: i64, t: i64, usual: i64, distance: i64) {
        let points = *self.word >> 1 & MOST;
        let points = match usual == 0 || usual == distance {
            true => points.saturating_sub(1),
            false => (points + COST).min(MOST),
        };
        *self.word = *self.word & !(MOST << 1) | points << 1;
        if let Some(day) = self.day {
            let days = self.clock.whole_days(last, t).filter(|days| *days <= LONGEST);
            // Rows that are less than a day apart tell nothing about days. A day of a zone may have 23 hours.
            if days.is_some_and(|days| days > 0) || t.saturating_sub(last) >= day {
                self.vote(8 * (1 + weekday(self.clock, last)), days.unwrap_or(0) as u64);
            }
        }
    }

    /// A vote of one day of the week, whose byte begins at that bit. 0 days: too many, or not a whole number of them.
    fn vote(&mut self, bit: u64, days: u64) {
        let byte = *self.word >> bit & 0xff;
        let (jump, lead) = (byte & 0x1f, byte >> 5);
        let (jump, lead) = match lead {
            0 => (days, 1),
            _ if jump == days => (jump, (lead + 1).min(SUREST)),
            1 => (0, 0),
            _ => (jump, lead - 1),
        };
        *self.word = *self.word & !(0xff << bit) | (lead << 5 | jump) << bit;
    }

    /// What is known for a row, where that distance leads the vote.
    pub(super) fn known(&self, usual: i64) -> i64 {
        match self.day {
            _ if usual == 0 => NOTHING,
            Some(day) if usual > 0 && usual % day == 0 => (*self.word & !0xff) as i64,
            _ if (*self.word >> 1 & MOST) < UNSURE => REGULAR,
            _ => NOTHING,
        }
    }
}

/// The time `steps` rows after `t`; [`NO_TIME`] where it is unknown. `interval` is the usual distance of the key's
/// rows, negative for calendar months.
pub(super) fn time_ahead(clock: &Clock, t: i64, interval: i64, known: i64, steps: usize) -> i64 {
    let (every, steps) = match known {
        NOTHING => return NO_TIME,
        REGULAR if interval < 0 => (Every::Months(interval.unsigned_abs() as u32), steps as i64),
        REGULAR => (Every::Ticks(interval), steps as i64),
        days => match ticks_of_a_day(clock) {
            Some(day) => {
                let every = if clock.zone.is_some() { Every::Days(1) } else { Every::Ticks(day) };
                (every, days_ahead(days as u64, weekday(clock, t), steps))
            }
            None => return NO_TIME,
        },
    };
    if steps == 0 { NO_TIME } else { clock.step(t, every, steps).unwrap_or(NO_TIME) }
}

/// Days to the row that many rows later, from that day of the week; 0 where one of the jumps is unknown.
fn days_ahead(word: u64, mut weekday: u64, steps: usize) -> i64 {
    let mut days = 0;
    for _ in 0..steps {
        let jump = word >> (8 * (1 + weekday)) & 0x1f;
        if jump == 0 {
            return 0;
        }
        days += jump;
        weekday = (weekday + jump) % 7;
    }
    days as i64
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    /// The time of each row's prediction, that many rows ahead, for rows at these times.
    fn times(clock: &Clock, rows: &[i64], steps: usize) -> Vec<i64> {
        let (mut word, mut usual, mut lead) = (0, 0, 0);
        let mut out = Vec::new();
        for (n, t) in rows.iter().enumerate() {
            let mut rhythm = Rhythm::of(&mut word, clock);
            if n > 0 {
                let distance = clock.distance(rows[n - 1], *t);
                rhythm.learn(rows[n - 1], *t, usual, distance);
                match lead {
                    0 => (usual, lead) = (distance, 1),
                    _ => lead += if usual == distance { 1 } else { -1 },
                }
            }
            out.push(time_ahead(clock, *t, usual, rhythm.known(usual), steps));
        }
        out
    }

    fn days() -> Clock {
        Clock::of(&DataType::Date32, None).unwrap()
    }

    /// How many times are unknown; none of the others may be wrong.
    fn unknown(clock: &Clock, rows: &[i64], steps: usize) -> usize {
        let times = times(clock, rows, steps);
        for (n, time) in times.iter().enumerate().take(rows.len() - steps) {
            assert!(*time == NO_TIME || *time == rows[n + steps], "row {n}: {time}, not {}", rows[n + steps]);
        }
        times.iter().filter(|time| **time == NO_TIME).count()
    }

    /// 400 days of which those of the week are there, from Monday, 1970-01-05 on.
    fn weeks(of: &[i64]) -> Vec<i64> {
        (0..400).filter(|day| of.contains(&(day % 7))).map(|day| day + 4).collect()
    }

    #[test]
    fn days_of_the_week_are_the_keys_own() {
        for (of, first) in [
            (vec![0, 1, 2, 3, 4], 5),
            (vec![0, 2, 4], 3),
            (vec![0, 3], 2),
            (vec![5, 6], 2),
            (vec![2], 1),
            (vec![0, 1, 2, 3, 4, 5, 6], 7),
        ] {
            assert_eq!(unknown(&days(), &weeks(&of), 1), first, "{of:?}");
            assert!(unknown(&days(), &weeks(&of), 5) <= first + 1, "{of:?}");
        }
        // At 16:00 in milliseconds too.
        let clock = Clock::of(&DataType::Timestamp(TimeUnit::Millisecond, None), None).unwrap();
        let at_four: Vec<i64> = weeks(&[0, 1, 2, 3, 4]).iter().map(|day| (day * 24 + 16) * 3_600_000).collect();
        assert_eq!(unknown(&clock, &at_four, 1), 5);
        // Every third day, which is each day of the week in turn; every other week.
        assert_eq!(unknown(&days(), &(0..90).map(|n| n * 3).collect::<Vec<_>>(), 1), 7);
        assert_eq!(unknown(&days(), &(0..90).map(|n| n * 14).collect::<Vec<_>>(), 2), 1);
    }

    #[test]
    fn days_and_months_are_those_of_the_zone() {
        let zone = Some("America/New_York".into());
        let clock = Clock::of(&DataType::Timestamp(TimeUnit::Second, zone), None).unwrap();
        let midnight = |day: i64| clock.step(18_000, Every::Days(1), day).unwrap();
        let days: Vec<i64> = (0..800).map(midnight).collect();
        assert_eq!(unknown(&clock, &days, 1), 7);
        assert_eq!(unknown(&clock, &days, 3), 7);
        // Evenings, which are the next day in UTC, but at weekends.
        let business = weeks(&[0, 1, 2, 3, 4]);
        let evenings: Vec<i64> = business.iter().map(|day| midnight(*day)).map(|start| start + 20 * 3600).collect();
        assert_eq!(unknown(&clock, &evenings, 1), 5);
        let months: Vec<i64> = (0..60).map(|month| clock.step(18_000, Every::Months(month), 1).unwrap()).collect();
        assert_eq!(unknown(&clock, &months, 2), 1);
        let hours: Vec<i64> = (0..9_000).map(|hour| 18_000 + hour * 3600).collect();
        assert_eq!(unknown(&clock, &hours, 24), 1);
    }

    #[test]
    fn a_holiday_is_an_exception() {
        let holiday = 4 + 21 * 7;
        let rows: Vec<i64> = weeks(&[0, 1, 2, 3, 4]).into_iter().filter(|day| *day != holiday).collect();
        let wrong: Vec<i64> = times(&days(), &rows, 1)
            .windows(2)
            .zip(rows.windows(2))
            .filter(|(time, row)| time[0] != NO_TIME && time[0] != row[1])
            .map(|(_, row)| row[0])
            .collect();
        assert_eq!(wrong, [holiday - 3], "the Friday before it alone");
        // Where Saturday becomes a day of the key, it is one after some weeks.
        let rows: Vec<i64> = (4..400).filter(|day| (day - 4) % 7 < if *day < 200 { 5 } else { 6 }).collect();
        let last = times(&days(), &rows, 1);
        assert_eq!(last[rows.len() - 8..rows.len() - 1], rows[rows.len() - 7..]);
    }

    #[test]
    fn a_regular_clock_stays_one_through_a_gap_and_chance_is_none() {
        let clock = Clock::of(&DataType::Timestamp(TimeUnit::Second, None), None).unwrap();
        let hours: Vec<i64> = (0..200).map(|hour| hour * 3600).collect();
        assert_eq!(unknown(&clock, &hours, 3), 1);
        let gap: Vec<i64> = hours.iter().copied().filter(|t| *t != 100 * 3600).collect();
        let found = times(&clock, &gap, 1);
        assert_eq!(found.iter().filter(|time| **time == NO_TIME).count(), 1 + 9);
        assert_eq!(found[150], gap[151]);
        // Seven rows a day: only the first evening can't be told from an hour like the others.
        let open: Vec<i64> = hours.iter().copied().filter(|t| (9..16).contains(&(t / 3600 % 24))).collect();
        let found = times(&clock, &open, 1);
        let wrong = found.iter().zip(&open[1..]).filter(|(time, next)| **time != NO_TIME && time != next).count();
        assert_eq!(wrong, 1);
        let mut chance = 1_u64;
        let mut t = 0;
        let odd: Vec<i64> = std::iter::repeat_with(|| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            t += 60 + (chance >> 60) as i64;
            t
        })
        .take(300)
        .collect();
        let told = times(&clock, &odd, 1).iter().filter(|time| **time != NO_TIME).count();
        assert!(told < 5, "{told}");
        // Integer steps have no days.
        let steps = Clock::of(&DataType::Int64, None).unwrap();
        assert_eq!(unknown(&steps, &(0..50).collect::<Vec<_>>(), 7), 1);
    }
}
