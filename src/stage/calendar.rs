//! `calendar: { features, timezone }`: the position of a row in the hour, day, week, month and year, as points on a
//! circle. A date has no zone: its day is its own, and its time of day is midnight.
//!
//! Feature `f` becomes `f_sin` and `f_cos` of `2π · fraction`, by the wall clock of the time zone (so that a habit of
//! people stays at its hour when daylight saving begins): minute / 60, minutes since midnight / 1440 for `hour`,
//! days since Monday / 7, days since the 1st / 31, months since January / 12, days since January 1st / 366.
//! Rows outside the range of dates have NaN. Without state.

use chrono::{DateTime, Datelike, NaiveDate};
use serde_json::{Value, json};

use super::{Build, Operator, Stage, columns};
use crate::Result;
use crate::config::{self, At, CalendarFeature};
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Batch, Clock, Kind, Layout, Role, Values};
use crate::state::State;
use crate::zone::{Offsets, Zone};

const DAY: i64 = 86_400;

impl Operator for config::Calendar {
    fn word(&self) -> &'static str {
        "calendar"
    }

    fn adds(&self) -> Vec<String> {
        let names = |feature: &At<CalendarFeature>| ["sin", "cos"].map(|part| format!("{}_{part}", feature.word()));
        self.features.iter().flat_map(names).collect()
    }

    /// Of dates the zone doesn't matter. Where it never did (a zone ahead of UTC, and no time of day), models keep it.
    fn canonical(&self, clock: &Clock) -> Option<Value> {
        let zone = &self.timezone.value;
        let of_time =
            |feature: &At<CalendarFeature>| matches!(feature.value, CalendarFeature::Minute | CalendarFeature::Hour);
        let mattered = zone.was_behind_utc() || self.features.iter().any(of_time);
        let zone = if clock.is_date() && mattered { Zone::utc().name().to_string() } else { zone.name().to_string() };
        Some(json!({ "calendar": {
            "features": self.features.iter().map(|feature| feature.word()).collect::<Vec<_>>(),
            "timezone": zone,
        } }))
    }

    /// Plans the features.
    fn plan(&self, place: Place, layout: &mut Layout, problems: &mut Problems) -> Option<Box<dyn Build>> {
        let mut features = Vec::new();
        for feature in &self.features {
            let word = feature.word();
            for part in ["sin", "cos"] {
                let name = format!("{word}_{part}");
                columns::add(layout, name, Kind::Number, Role::Feature, feature.place, problems);
            }
            features.push(Circle::of(feature.value));
        }
        let Some(nanos_per_tick) = layout.clock.nanos_per_tick else {
            problems.add(place, "calendar needs times with a clock, here the time is an integer step");
            return None;
        };
        let zone = if layout.clock.is_date() { Zone::utc() } else { self.timezone.value.clone() };
        Some(Box::new(Calendar {
            features,
            nanos_per_tick,
            offsets: Offsets::new(zone),
            day: (i64::MIN, NaiveDate::default()),
            locals: Vec::new(),
        }))
    }
}

/// A feature with the sine and cosine of each of its values.
#[derive(Clone)]
struct Circle {
    feature: CalendarFeature,
    points: Vec<(f64, f64)>,
}

impl Circle {
    fn of(feature: CalendarFeature) -> Self {
        let count = match feature {
            CalendarFeature::Minute => 60,
            CalendarFeature::Hour => 1440,
            CalendarFeature::Weekday => 7,
            CalendarFeature::Day => 31,
            CalendarFeature::Month => 12,
            CalendarFeature::Yearday => 366,
        };
        let point = |value: u32| (std::f64::consts::TAU * f64::from(value) / f64::from(count)).sin_cos();
        Circle { feature, points: (0..count).map(point).collect() }
    }

    fn point(&self, local: Local) -> (f64, f64) {
        let value = match self.feature {
            CalendarFeature::Minute => local.minute % 60,
            CalendarFeature::Hour => local.minute,
            CalendarFeature::Weekday => local.date.weekday().num_days_from_monday(),
            CalendarFeature::Day => local.date.day0(),
            CalendarFeature::Month => local.date.month0(),
            CalendarFeature::Yearday => local.date.ordinal0(),
        };
        self.points[value as usize]
    }
}

/// The wall clock of a row.
#[derive(Debug, Clone, Copy)]
struct Local {
    date: NaiveDate,
    /// Since midnight, below 1440.
    minute: u32,
}

#[derive(Clone)]
struct Calendar {
    features: Vec<Circle>,
    nanos_per_tick: i64,
    offsets: Offsets,
    /// The last day looked up, in days since the epoch.
    day: (i64, NaiveDate),
    locals: Vec<Option<Local>>,
}

impl Calendar {
    fn local(&mut self, ticks: i64) -> Option<Local> {
        const SECOND: i64 = 1_000_000_000;
        // A tick divides a second or is a whole number of them.
        let utc = if self.nanos_per_tick >= SECOND {
            ticks.checked_mul(self.nanos_per_tick / SECOND)?
        } else {
            ticks.div_euclid(SECOND / self.nanos_per_tick)
        };
        let local = utc.checked_add(self.offsets.at(utc))?;
        let day = local.div_euclid(DAY);
        if day != self.day.0 {
            self.day = (day, DateTime::from_timestamp(day.checked_mul(DAY)?, 0)?.date_naive());
        }
        Some(Local { date: self.day.1, minute: (local.rem_euclid(DAY) / 60) as u32 })
    }
}

impl Stage for Calendar {
    fn name(&self) -> &'static str {
        "calendar"
    }

    fn process(&mut self, batch: &mut Batch, _state: &mut State<'_>) -> Result<()> {
        let mut locals = std::mem::take(&mut self.locals);
        locals.clear();
        locals.extend(batch.times.iter().map(|ticks| self.local(*ticks)));
        for circle in &self.features {
            let mut sines = Vec::with_capacity(locals.len());
            let mut cosines = Vec::with_capacity(locals.len());
            for local in &locals {
                let (sine, cosine) = local.map_or((f64::NAN, f64::NAN), |local| circle.point(local));
                sines.push(sine);
                cosines.push(cosine);
            }
            batch.columns.push(Values::Number(sines).into());
            batch.columns.push(Values::Number(cosines).into());
        }
        self.locals = locals;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::testing::{self, Table};
    use arrow::datatypes::{DataType, TimeUnit};
    use chrono::Timelike;
    use chrono_tz::Tz;

    fn config(features: &[CalendarFeature], timezone: Tz) -> config::Calendar {
        config::Calendar {
            features: features.iter().map(|f| At::default_value(*f)).collect(),
            timezone: At::default_value(Zone::find(timezone.name()).unwrap().unwrap()),
        }
    }

    const ALL: [CalendarFeature; 6] = [
        CalendarFeature::Minute,
        CalendarFeature::Hour,
        CalendarFeature::Weekday,
        CalendarFeature::Day,
        CalendarFeature::Month,
        CalendarFeature::Yearday,
    ];

    fn run(timezone: Tz, time: DataType, times: &[i64]) -> Batch {
        let mut table = Table::new(&["value"]);
        table.time = time;
        times.iter().for_each(|time| table.push(0, *time, &[0.0]));
        let mut problems = Problems::new("p.yaml");
        let stage = testing::plan(&config(&ALL, timezone), &mut table.layout(), &mut problems);
        testing::run(&mut [stage.unwrap()], &table.batch(), &[])
    }

    fn assert_fraction(out: &Batch, column: usize, row: usize, fraction: f64) {
        let (sine, cosine) = (std::f64::consts::TAU * fraction).sin_cos();
        let found = (out.columns[column].numbers()[row], out.columns[column + 1].numbers()[row]);
        assert!((found.0 - sine).abs() < 1e-12 && (found.1 - cosine).abs() < 1e-12, "{found:?}, {fraction}");
    }

    #[test]
    fn follows_daylight_saving() {
        // New York 2013: 01:30 EST on March 10 is 06:30 UTC; half an hour later the wall clock jumps from 02:00 to
        // 03:00.
        let before = 1_362_897_000;
        let out = run(
            chrono_tz::America::New_York,
            DataType::Timestamp(TimeUnit::Second, None),
            &[before, before + 1_800, before + 86_400],
        );
        assert_fraction(&out, 3, 0, 1.5 / 24.0);
        assert_fraction(&out, 3, 1, 3.0 / 24.0);
        assert_fraction(&out, 3, 2, 2.5 / 24.0);
        assert_fraction(&out, 1, 0, 0.5);
        assert_fraction(&out, 5, 0, 6.0 / 7.0); // a Sunday
        assert_fraction(&out, 7, 0, 9.0 / 31.0);
        assert_fraction(&out, 9, 0, 2.0 / 12.0);
        assert_fraction(&out, 11, 0, 68.0 / 366.0);
    }

    #[test]
    fn equals_chrono_everywhere() {
        // Lord Howe shifts by half an hour, at times that aren't whole hours of UTC; before 1970 zones have odd
        // offsets.
        for zone in [chrono_tz::Australia::Lord_Howe, chrono_tz::America::New_York, chrono_tz::Asia::Kathmandu] {
            let mut times: Vec<i64> = (-3_000..3_000).map(|n| n * 977_777 + n * n % 4_000).collect();
            // Minute by minute over Lord Howe's shift at 2013-10-05 15:30 UTC.
            times.extend((-120..120).map(|minute| 1_380_987_000 + minute * 60));
            let millis: Vec<i64> = times.iter().map(|t| t * 1_000 + 999).collect();
            let out = run(zone, DataType::Timestamp(TimeUnit::Millisecond, None), &millis);
            for (row, time) in times.iter().enumerate() {
                let local = DateTime::from_timestamp(*time, 0).unwrap().with_timezone(&zone);
                assert_fraction(&out, 1, row, f64::from(local.minute()) / 60.0);
                assert_fraction(&out, 3, row, (f64::from(local.hour()) + f64::from(local.minute()) / 60.0) / 24.0);
                assert_fraction(&out, 11, row, f64::from(local.ordinal0()) / 366.0);
            }
        }
    }

    #[test]
    fn days_count_and_what_is_no_date_is_null() {
        let out = run(Tz::UTC, DataType::Date32, &[0, i64::MAX, -1]);
        assert_fraction(&out, 5, 0, 3.0 / 7.0); // 1970-01-01 was a Thursday
        assert!(out.columns[5].numbers()[1].is_nan());
        assert_fraction(&out, 7, 2, 30.0 / 31.0);
    }

    #[test]
    fn dates_have_no_zone() {
        // 2024-01-01, a Monday, as days and as milliseconds.
        for (time, ticks) in [(DataType::Date32, 19_723), (DataType::Date64, 19_723 * 86_400_000)] {
            for zone in [Tz::America__New_York, Tz::Pacific__Kiritimati, Tz::UTC] {
                let out = run(zone, time.clone(), &[ticks]);
                for (column, fraction) in [(1, 0.0), (3, 0.0), (5, 0.0), (7, 0.0), (9, 0.0), (11, 0.0)] {
                    assert_fraction(&out, column, 0, fraction);
                }
            }
        }
        // A model that was trained on the wrong days isn't taken; one for which nothing changed is.
        let zone_of = |features: &[CalendarFeature], zone: Tz, time: &DataType| {
            let clock = Clock::of(time, None).unwrap();
            let canonical = config(features, zone).canonical(&clock).unwrap();
            canonical["calendar"]["timezone"].as_str().unwrap().to_string()
        };
        let weekday = [CalendarFeature::Weekday];
        assert_eq!(zone_of(&weekday, Tz::America__New_York, &DataType::Date32), "UTC");
        assert_eq!(zone_of(&weekday, Tz::Europe__Berlin, &DataType::Date32), "Europe/Berlin");
        assert_eq!(zone_of(&ALL, Tz::Europe__Berlin, &DataType::Date64), "UTC");
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(zone_of(&ALL, Tz::America__New_York, &micros), "America/New_York");
    }

    #[test]
    fn needs_a_clock() {
        let mut table = Table::new(&["value"]);
        table.time = DataType::Int64;
        let mut problems = Problems::new("p.yaml");
        assert!(testing::plan(&config(&ALL, Tz::UTC), &mut table.layout(), &mut problems).is_none());
        assert!(!problems.is_empty());
    }

    #[test]
    fn bits_do_not_depend_on_batches_or_interleaving() {
        testing::laws(&["value"], 64, |layout, problems| {
            let config = config(&ALL, chrono_tz::Europe::Berlin);
            testing::plan(&config, layout, problems).into_iter().collect()
        });
    }
}
