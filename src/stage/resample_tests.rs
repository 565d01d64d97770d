//! Tests of `resample`: cases worked out by hand, and its laws.

use arrow::datatypes::DataType;

use super::testing::{self, Table};
use crate::config::{self, Aggregate, At, Fill, Span};
use crate::error::Problems;
use crate::record::{Batch, Clock, Kind, Layout, Role, Values};
use crate::stage::{Operator, Stage};
use crate::zone::Zone;

const SECOND: i64 = 1_000_000_000;

fn config(every: i64, fill: Fill, max_gap: Option<i64>, delay: i64) -> config::Resample {
    let at = |seconds: i64| At::default_value(Span::Nanos(seconds * SECOND));
    config::Resample {
        every: at(every),
        aggregate: Aggregate::Mean,
        fill: At::default_value(fill),
        max_gap: max_gap.map(at),
        delay: at(delay),
        timezone: None,
    }
}

fn planned(config: &config::Resample, table: &Table) -> (Layout, Vec<Box<dyn Stage>>) {
    let (mut layout, mut problems) = (table.layout(), Problems::new("p.yaml"));
    let stage = testing::plan(config, &mut layout, &mut problems);
    problems.finish(()).unwrap();
    (layout, stage.into_iter().collect())
}

fn run(config: &config::Resample, rows: &[(i64, f64)]) -> Batch {
    let mut table = Table::new(&["value"]);
    rows.iter().for_each(|(time, value)| table.push(0, *time, &[*value]));
    let (_, mut stages) = planned(config, &table);
    testing::run(&mut stages, &table.batch(), &(0..rows.len()).collect::<Vec<_>>())
}

/// Time, value (null as -1), observed, age, position of every row.
fn rows(out: &Batch) -> Vec<(i64, f64, bool, f64, u64)> {
    let row = |row: usize| {
        let Values::Flag(any) = &out.columns[1].values else { panic!("no observed") };
        let value = out.columns[0].numbers()[row];
        let observed = out.columns[0].is_observed(row);
        assert_eq!(any[row], observed, "with one column both are the same");
        let value = if value.is_nan() { -1.0 } else { value };
        (out.times[row], value, observed, out.columns[2].numbers()[row], out.positions[row])
    };
    (0..out.rows()).map(row).collect()
}

#[test]
fn a_bucket_is_stamped_by_its_end_and_closed_by_a_later_record() {
    let out = run(&config(10, Fill::Last, None, 0), &[(1, 1.0), (10, 3.0), (11, 5.0), (20, 7.0), (20, 9.0), (21, 0.0)]);
    assert_eq!(rows(&out), [(10, 2.0, true, 0.0, 2), (20, 7.0, true, 0.0, 5)]);
    assert!(out.rejects.is_empty());
}

#[test]
fn empty_buckets_are_filled_up_to_max_gap() {
    let input = [(5, 1.0), (12, 4.0), (75, 2.0), (95, 3.0)];
    let expected = |fill: f64| {
        vec![
            (10, 1.0, true, 0.0, 1),
            (20, 4.0, true, 0.0, 2),
            (30, fill, false, 10.0, 2),
            (40, fill, false, 20.0, 2),
            (80, 2.0, true, 0.0, 3),
            (90, fill, false, 10.0, 3),
        ]
    };
    assert_eq!(rows(&run(&config(10, Fill::Null, Some(29), 0), &input)), expected(-1.0));
    assert_eq!(rows(&run(&config(10, Fill::Zero, Some(20), 0), &input)), expected(0.0));
    let mut last = expected(4.0);
    last[5].1 = 2.0;
    assert_eq!(rows(&run(&config(10, Fill::Last, Some(20), 0), &input)), last);
    assert_eq!(rows(&run(&config(10, Fill::Last, None, 0), &input)).len(), 9);
    assert_eq!(rows(&run(&config(10, Fill::Last, Some(0), 0), &input)).len(), 3);
}

#[test]
fn a_wrong_time_does_not_write_rows_without_end() {
    let out = run(&config(1, Fill::Last, None, 0), &[(1, 1.0), (1 << 36, 2.0), (1 << 37, 3.0)]);
    assert_eq!(out.rows(), 2 * 100_001);
    assert_eq!(out.times[100_001], 1 << 36);
}

#[test]
fn nulls_are_passed_over() {
    let input = [(5, f64::NAN), (12, 4.0), (13, f64::NAN), (14, f64::INFINITY), (25, f64::NAN), (31, 1.0)];
    let expected = [(20, 4.0, true, 0.0, 4), (30, 4.0, false, 10.0, 5)];
    assert_eq!(rows(&run(&config(10, Fill::Last, None, 0), &input)), expected);
}

#[test]
fn delay_keeps_buckets_open_and_late_records_are_refused() {
    let input = [(5, 1.0), (25, 2.0), (8, 3.0), (30, 4.0), (31, 5.0), (9, 6.0), (11, 7.0), (41, 8.0)];
    let out = run(&config(10, Fill::Null, None, 20), &input);
    // Bucket 10 is over with the record at 31 (beyond 10 + 20), bucket 20 with the one at 41.
    assert_eq!(rows(&out), [(10, 2.0, true, 0.0, 4), (20, 7.0, true, 0.0, 7)]);
    assert_eq!(out.rejects.iter().map(|r| (r.position, r.reason)).collect::<Vec<_>>(), [(5, "late")]);
}

#[test]
fn out_of_order_within_delay_opens_earlier_buckets() {
    let out = run(&config(10, Fill::Null, None, 20), &[(35, 1.0), (18, 2.0), (60, 3.0)]);
    assert_eq!(rows(&out), [(20, 2.0, true, 0.0, 2), (30, -1.0, false, 10.0, 2)]);
    let refused = run(&config(10, Fill::Null, None, 20), &[(35, 1.0), (9, 2.0), (60, 3.0)]);
    assert_eq!(refused.rejects.len(), 1);
}

#[test]
fn linear_draws_lines_over_gaps_up_to_max_gap() {
    let config = config(10, Fill::Linear, Some(30), 30);
    let out = run(&config, &[(10, 1.0), (40, 4.0), (90, 9.0), (200, 0.0)]);
    let found = rows(&out);
    assert_eq!(
        found[..4],
        [(10, 1.0, true, 0.0, 2), (20, 2.0, false, 10.0, 2), (30, 3.0, false, 20.0, 2), (40, 4.0, true, 0.0, 2)]
    );
    // 50 apart: too far for a line, but filled (with null) up to 30 after 40.
    assert_eq!(
        found[4..8].iter().map(|r| (r.0, r.1)).collect::<Vec<_>>(),
        [(50, -1.0), (60, -1.0), (70, -1.0), (90, 9.0)]
    );
}

#[test]
fn months_before_1970_and_the_calendar() {
    let day = 86_400;
    // 1968-01-31, 1968-02-29, 1968-03-01T00:00, 1968-06-15, 1968-07-02
    let input = [(-701 * day, 1.0), (-672 * day, 2.0), (-671 * day, 4.0), (-565 * day, 5.0), (-548 * day, 6.0)];
    let mut config = config(1, Fill::Null, None, 0);
    config.every = At::default_value(Span::Months(1));
    config.max_gap = Some(At::default_value(Span::Months(1)));
    let out = run(&config, &input);
    let found: Vec<(i64, f64)> = rows(&out).iter().map(|r| (r.0 / day, r.1)).collect();
    assert_eq!(found, [(-700, 1.0), (-671, 3.0), (-640, -1.0), (-549, 5.0)]);
    assert_eq!(out.columns[2].numbers()[2], 31.0 * 86_400.0);
}

#[test]
fn every_aggregate() {
    use Aggregate::{Count, First, Last, Max, Mean, Min, Sum};
    let input = [(2, 4.0), (1, 1.0), (3, f64::NAN), (4, 7.0), (11, 0.0)];
    let expected = [(Mean, 4.0), (Sum, 12.0), (Min, 1.0), (Max, 7.0), (First, 4.0), (Last, 7.0), (Count, 3.0)];
    for (aggregate, value) in expected {
        let config = config::Resample { aggregate, ..config(10, Fill::Last, None, 0) };
        assert_eq!(rows(&run(&config, &input)), [(10, value, true, 0.0, 4)], "{aggregate:?}");
    }
}

#[test]
fn each_column_is_filled_and_flagged_for_itself() {
    let mut table = Table::new(&["a", "b"]);
    for (time, a, b) in [(5, 1.0, f64::NAN), (15, f64::NAN, 2.0), (25, 3.0, 4.0), (35, 0.0, 0.0)] {
        table.push(0, time, &[a, b]);
    }
    let (_, mut stages) = planned(&config(10, Fill::Last, None, 0), &table);
    let out = testing::run(&mut stages, &table.batch(), &[2]);
    assert_eq!(out.columns[0].numbers(), [1.0, 1.0, 3.0]);
    assert!(out.columns[1].numbers()[0].is_nan() && out.columns[1].numbers()[1..] == [2.0, 4.0]);
    let observed = |column: usize| (0..3).map(|row| out.columns[column].is_observed(row)).collect::<Vec<_>>();
    assert_eq!((observed(0), observed(1)), (vec![true, false, true], vec![false, true, true]));
    assert!(matches!(&out.columns[2].values, Values::Flag(any) if *any == [true; 3]));
}

#[test]
fn only_the_records_values_go_on() {
    let mut layout = Table::new(&["value"]).layout();
    layout.add("hour_sin", Kind::Number, Role::Feature);
    layout.add("shop", Kind::Passthrough(DataType::Utf8), Role::Field);
    layout.columns[0].scaled_by = Some((1, 1));
    let mut problems = Problems::new("p.yaml");
    testing::plan(&config(60, Fill::Last, None, 0), &mut layout, &mut problems);
    assert_eq!(layout.names().collect::<Vec<_>>(), ["value", "observed", "age"]);
    assert_eq!((layout.interval, layout.columns[0].scaled_by), (Some(Span::Nanos(60 * SECOND)), None));
}

#[test]
fn what_can_not_be_done_is_refused() {
    let mut huge = config(1, Fill::Last, None, 1_000_000);
    let mut finer = config(1, Fill::Last, None, 0);
    finer.every = At::default_value(Span::Nanos(1));
    let mut nothing = config(0, Fill::Last, None, 0);
    nothing.max_gap = Some(At::default_value(Span::Steps(1)));
    for (config, part) in [
        (&config(10, Fill::Linear, Some(30), 29), "looks ahead"),
        (&config(10, Fill::Linear, None, 29), "looks ahead"),
        (&huge, "use wider buckets"),
        (&finer, "finer than the time column"),
        (&nothing, "more than nothing"),
    ] {
        let mut problems = Problems::new("p.yaml");
        assert!(testing::plan(config, &mut Table::new(&["value"]).layout(), &mut problems).is_none());
        let text = problems.finish(()).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
    huge.delay = At::default_value(Span::Nanos(0));
    let mut taken = Table::new(&["age"]).layout();
    let mut problems = Problems::new("p.yaml");
    testing::plan(&huge, &mut taken, &mut problems);
    assert!(!problems.is_empty());
}

#[test]
fn times_at_the_ends_of_time() {
    // The years 1 to 9999, in seconds: the bucket of the last one ends as the year 10000 begins.
    let (first, last) = (-62_135_596_800, 253_402_300_799);
    let input = [(first, 1.0), (first + 11, 2.0), (0, 3.0), (last - 20, 4.0), (last - 9, 5.0), (last, 6.0)];
    let out = run(&config(10, Fill::Null, Some(10), 5), &input);
    assert!(out.rows() >= 2 && out.times.iter().all(|time| *time <= last), "{out:?}");
    let refused: Vec<_> = out.rejects.iter().map(|reject| (reject.position, reject.reason)).collect();
    assert_eq!(refused, [(5, "time_out_of_range")]);
}

#[test]
fn bits_do_not_depend_on_batches_or_interleaving() {
    for (fill, max_gap, delay) in
        [(Fill::Last, None, 0), (Fill::Zero, Some(9), 5), (Fill::Null, Some(6), 4), (Fill::Linear, Some(9), 10)]
    {
        testing::laws(&["value", "other"], 100, |layout, problems| {
            testing::plan(&config(3, fill, max_gap, delay), layout, problems).into_iter().collect()
        });
    }
}

/// The output of `resample` for one key, computed with all records at hand.
fn reference(input: &[(i64, f64)], every: i64, max_gap: i64, delay: i64) -> Vec<(i64, Option<f64>)> {
    let end = |time: i64| -(-time).div_euclid(every) * every;
    let mut latest = i64::MIN;
    let mut buckets: std::collections::BTreeMap<i64, Vec<f64>> = Default::default();
    for (time, value) in input {
        if latest == i64::MIN || end(*time) + delay >= latest {
            latest = latest.max(*time);
            let bucket = buckets.entry(end(*time)).or_default();
            if value.is_finite() {
                bucket.push(*value);
            }
        }
    }
    let mut out = Vec::new();
    let mut observed = None;
    let Some(first) = buckets.keys().next().copied() else { return out };
    let mut bucket = first;
    while bucket + delay < latest {
        match buckets.get(&bucket) {
            Some(values) if !values.is_empty() => {
                out.push((bucket, Some(values.iter().sum::<f64>() / values.len() as f64)));
                observed = Some(bucket);
            }
            _ if observed.is_some_and(|observed| bucket - observed <= max_gap) => out.push((bucket, None)),
            _ => {}
        }
        bucket += every;
    }
    out
}

#[test]
fn equals_a_slow_reference() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let inputs = (testing::rows(1, 120), 1..6_i64, 0..12_i64, 0..12_i64);
    let config_ = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config_).run(&inputs, |(input, every, max_gap, delay)| {
        let input: Vec<(i64, f64)> =
            input.iter().filter(|row| row.0 == 0).map(|(_, time, values)| (*time, values[0])).collect();
        let out = run(&config(every, Fill::Null, Some(max_gap), delay), &input);
        let found: Vec<(i64, Option<f64>)> =
            rows(&out).iter().map(|(time, value, observed, ..)| (*time, observed.then_some(*value))).collect();
        prop_assert_eq!(found, reference(&input, every, max_gap, delay));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// The ends of the buckets of local days, as the wall clock shows them.
fn days(every: Span, zone: &str, named: bool, times: &[&str]) -> Vec<String> {
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp();
    let mut config = config(0, Fill::Null, None, 0);
    config.every = At::default_value(every);
    let mut table = Table::new(&["value"]);
    let column = if named { "UTC" } else { zone };
    table.time = DataType::Timestamp(arrow::datatypes::TimeUnit::Second, Some(column.into()));
    config.timezone = named.then(|| At::default_value(Zone::find(zone).unwrap().unwrap()));
    times.iter().for_each(|time| table.push(0, at(time), &[1.0]));
    let (layout, mut stages) = planned(&config, &table);
    assert_eq!(layout.clock.zone, Zone::find(zone).unwrap());
    let out = testing::run(&mut stages, &table.batch(), &(0..times.len()).collect::<Vec<_>>());
    assert!(out.rejects.is_empty());
    let zone: chrono_tz::Tz = zone.parse().unwrap();
    let local = |time: &i64| chrono::DateTime::from_timestamp(*time, 0).unwrap().with_timezone(&zone);
    out.times.iter().map(|time| local(time).format("%Y-%m-%d %H:%M").to_string()).collect()
}

#[test]
fn days_are_those_of_the_zone() {
    for named in [false, true] {
        let times = ["2024-03-09T12:00:00-05:00", "2024-03-11T00:00:00-04:00", "2024-03-11T00:00:01-04:00"];
        let ends = days(Span::Days(1), "America/New_York", named, &times);
        // The day of 23 hours between them has no record, and midnight belongs to the day that ends.
        assert_eq!(ends, ["2024-03-10 00:00", "2024-03-11 00:00"]);
        let times = ["2018-11-03T12:00:00-03:00", "2018-11-04T12:00:00-02:00", "2018-11-05T12:00:00-02:00"];
        assert_eq!(days(Span::Days(1), "America/Sao_Paulo", named, &times), ["2018-11-04 01:00", "2018-11-05 00:00"]);
        // The date line moved: there was no December 30th, and there is no row for it.
        let times = ["2011-12-28T12:00:00-10:00", "2012-01-01T12:00:00+14:00"];
        let ends = days(Span::Days(1), "Pacific/Apia", named, &times);
        assert_eq!(ends, ["2011-12-29 00:00", "2011-12-31 00:00", "2012-01-01 00:00"]);
        // Twice around midnight: 23:30 comes again after 00:00:30 of the next day.
        let times = ["2010-11-07T00:00:30-02:30", "2010-11-06T23:30:00-03:30", "2010-11-08T12:00:00-03:30"];
        assert_eq!(days(Span::Days(1), "America/St_Johns", named, &times), ["2010-11-08 00:00"]);
        let times = ["2018-03-20T12:00:00+01:00", "2018-04-03T12:00:00+02:00"];
        assert_eq!(days(Span::Days(7), "Europe/Berlin", named, &times), ["2018-03-26 00:00", "2018-04-02 00:00"]);
        assert_eq!(days(Span::Months(1), "Europe/Berlin", named, &times), ["2018-04-01 00:00"]);
        // 24 hours are no day of the zone.
        let hours = Span::Nanos(86_400 * SECOND);
        assert_eq!(days(hours, "Europe/Berlin", named, &times)[..2], ["2018-03-21 01:00", "2018-03-22 01:00"]);
    }
}

#[test]
fn what_was_made_with_days_of_utc_is_something_else() {
    let canonical = |every: Span, timezone: Option<Zone>, zone: Option<&str>| {
        let mut config = config(0, Fill::Last, None, 0);
        (config.every, config.timezone) = (At::default_value(every), timezone.map(At::default_value));
        let data_type = DataType::Timestamp(arrow::datatypes::TimeUnit::Second, zone.map(Into::into));
        config.canonical(&Clock::of(&data_type, None).unwrap()).unwrap()["resample"].clone()
    };
    let (day, hours) = (Span::Days(1), Span::Nanos(86_400 * SECOND));
    let before = canonical(day, None, None);
    assert_eq!((&before["every"], before.get("timezone")), (&"1d".into(), None));
    for same in [
        canonical(day, None, Some("UTC")),
        canonical(hours, None, Some("America/New_York")),
        canonical(day, Some(Zone::utc()), Some("America/New_York")),
    ] {
        assert_eq!(same, before);
    }
    assert_eq!(canonical(day, None, Some("America/New_York"))["timezone"], "America/New_York");
    assert_eq!(canonical(Span::Months(1), Zone::find("Asia/Tokyo").unwrap(), None)["timezone"], "Asia/Tokyo");
}

#[test]
fn local_days_do_not_depend_on_batches_or_interleaving() {
    for (fill, days) in [(Fill::Null, 1), (Fill::Linear, 2)] {
        testing::laws(&["value"], 100, |layout, problems| {
            layout.clock = layout.clock.clone().in_zone(&Zone::find("Europe/Berlin").unwrap().unwrap()).unwrap();
            let mut config = config(0, fill, None, 0);
            let span = |days: i64| At::default_value(Span::Days(days));
            (config.every, config.max_gap, config.delay) = (span(days), Some(span(3)), span(3));
            testing::plan(&config, layout, problems).into_iter().collect()
        });
    }
}
