//! Tests of the time line: days and months of a zone.

use super::*;

fn clock(zone: &str) -> Clock {
    Clock::of(&DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into())), None).unwrap()
}

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

const DAY_OF_HOURS: Every = Every::Ticks(86_400_000_000);

#[test]
fn days_and_months_follow_the_zone_of_the_column() {
    let berlin = clock("Europe/Berlin");
    let day = berlin.every(Span::Days(1)).unwrap();
    assert_eq!(day, Every::Days(1));
    for (from, every, n, to) in [
        ("2018-03-01T00:00:00+01:00", Every::Months(1), 1, "2018-04-01T00:00:00+02:00"),
        ("2018-04-01T00:00:00+02:00", Every::Months(1), -1, "2018-03-01T00:00:00+01:00"),
        ("2018-01-31T12:00:00+01:00", Every::Months(1), 2, "2018-03-31T12:00:00+02:00"),
        ("2018-02-28T12:00:00+01:00", Every::Months(12), 2, "2020-02-29T12:00:00+01:00"),
        ("2018-03-24T00:00:00+01:00", day, 1, "2018-03-25T00:00:00+01:00"),
        ("2018-03-25T00:00:00+01:00", day, 1, "2018-03-26T00:00:00+02:00"),
        ("2018-10-28T00:00:00+02:00", day, 1, "2018-10-29T00:00:00+01:00"),
        ("2018-03-20T09:30:00.25+01:00", Every::Days(7), 1, "2018-03-27T09:30:00.25+02:00"),
        ("2018-10-29T00:00:00+01:00", day, -1, "2018-10-28T00:00:00+02:00"),
        // A time that is skipped, and one that is shown twice.
        ("2018-03-24T02:30:00+01:00", day, 1, "2018-03-25T03:30:00+02:00"),
        ("2018-10-27T02:30:00+02:00", day, 1, "2018-10-28T02:30:00+02:00"),
        ("2018-10-29T02:30:00+01:00", day, -1, "2018-10-28T02:30:00+01:00"),
        // 24 hours are 24 hours.
        ("2018-03-25T00:00:00+01:00", berlin.every(Span::Nanos(DAY)).unwrap(), 1, "2018-03-26T01:00:00+02:00"),
    ] {
        let moved = berlin.step(at(from), every, n);
        assert_eq!(moved, Some(at(to)), "{from} {every:?} {n}: {}", berlin.text(moved.unwrap()));
    }
    // A day whose midnight is skipped begins at 01:00, and the one after it at midnight.
    let sao_paulo = clock("America/Sao_Paulo");
    let (before, day, after) =
        (at("2018-11-03T00:00:00-03:00"), at("2018-11-04T01:00:00-02:00"), at("2018-11-05T00:00:00-02:00"));
    let step = |ticks: i64, n: i64| sao_paulo.step(ticks, Every::Days(1), n).unwrap();
    assert_eq!((step(before, 1), step(day, 1), step(before, 2), step(after, -1)), (day, after, after, day));
}

#[test]
fn without_a_zone_days_are_those_of_utc() {
    for zone in ["UTC", "+00:00", "Etc/UTC", "Z"] {
        assert_eq!((clock(zone).zone, clock(zone).every(Span::Days(1))), (None, Ok(DAY_OF_HOURS)), "{zone}");
    }
    let naive = Clock::of(&DataType::Timestamp(TimeUnit::Microsecond, None), None).unwrap();
    assert_eq!((naive.every(Span::Days(1)), naive.every(Span::Nanos(DAY))), (Ok(DAY_OF_HOURS), Ok(DAY_OF_HOURS)));
    assert_eq!(naive.step(at("2018-01-31T12:00:00Z"), Every::Months(1), 1), Some(at("2018-02-28T12:00:00Z")));
    assert_eq!(Clock::of(&DataType::Date32, None).unwrap().every(Span::Days(7)), Ok(Every::Ticks(7)));
    // An offset is a zone too: its days begin at its own midnight.
    let date = clock("+05:30").date(at("2024-01-01T00:00:00+05:30")).unwrap();
    assert_eq!(
        (date.to_string(), clock("+05:30").start_of(date)),
        ("2024-01-01".into(), Some(at("2023-12-31T18:30:00Z")))
    );
}

#[test]
fn a_zone_is_that_of_the_column_unless_another_is_named() {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let berlin = Zone::find("Europe/Berlin").unwrap();
    assert_eq!(Clock::of_column(&utc, None, berlin.as_ref()).unwrap().zone, berlin);
    let epoch = Clock::of_column(&DataType::Int64, Some(EpochUnit::Second), berlin.as_ref()).unwrap();
    assert_eq!(epoch.every(Span::Days(1)), Ok(Every::Days(1)));
    let new_york = DataType::Timestamp(TimeUnit::Millisecond, Some("America/New_York".into()));
    assert_eq!(Clock::of_column(&new_york, None, Some(&Zone::utc())).unwrap().zone, None);
    for (data_type, unit, part) in [
        (DataType::Date32, None, "a date has no time zone"),
        (DataType::Date64, None, "a date has no time zone"),
        (DataType::Int64, None, "a step without a clock has no time zone"),
    ] {
        assert!(Clock::of_column(&data_type, unit, berlin.as_ref()).unwrap_err().contains(part), "{data_type}");
    }
    let unknown = Clock::of(&DataType::Timestamp(TimeUnit::Second, Some("Mars/Olympus".into())), None);
    assert!(unknown.unwrap_err().contains("\"Mars/Olympus\" is not in the tz database"));
}

#[test]
fn rows_are_days_or_months_of_the_zone_apart() {
    let berlin = clock("Europe/Berlin");
    for (from, to, distance) in [
        ("2018-03-25T00:00:00+01:00", "2018-03-26T00:00:00+02:00", 86_400_000_000),
        ("2018-03-23T18:00:00+01:00", "2018-03-26T18:00:00+02:00", 3 * 86_400_000_000),
        ("2018-10-28T00:00:00+02:00", "2018-10-29T00:00:00+01:00", 86_400_000_000),
        ("2018-03-01T00:00:00+01:00", "2018-04-01T00:00:00+02:00", -1),
        ("2018-03-01T00:00:00+01:00", "2019-03-01T00:00:00+01:00", -12),
        ("2018-03-25T00:00:00+01:00", "2018-03-25T01:00:00+01:00", 3_600_000_000),
    ] {
        assert_eq!(berlin.distance(at(from), at(to)), distance, "{from} {to}");
    }
    let whole = |from: &str, to: &str| berlin.whole_days(at(from), at(to));
    assert_eq!(whole("2018-03-25T00:00:00+01:00", "2018-03-26T00:00:00+02:00"), Some(1));
    assert_eq!(whole("2018-03-25T00:00:00+01:00", "2018-03-26T01:00:00+02:00"), None);
    let utc = Clock::default();
    assert_eq!(utc.whole_days(0, 3 * 86_400_000_000), Some(3));
    assert_eq!((utc.whole_days(0, 3_600_000_000), utc.distance(0, 31 * 86_400_000_000)), (None, -1));
}
