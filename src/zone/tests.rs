//! Tests of time zones: another implementation's answers, and laws that hold for all zones.

use chrono::{DateTime, Offset as _, TimeZone};
use proptest::prelude::*;

use super::*;

fn zone(name: &str) -> Zone {
    Zone::find(name).unwrap().unwrap()
}

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp()
}

/// Seconds of a wall clock.
fn local(text: &str) -> i64 {
    at(&format!("{text}:00Z"))
}

#[test]
fn equals_chrono_tz_where_the_rules_did_not_change() {
    // chrono-tz 0.10.4 holds 2025b. Times after its release may have changed since, earlier ones were corrected here
    // and there; what lies before 1970 is not compared.
    let until = at("2026-01-01T00:00:00Z");
    let mut differ = Vec::new();
    for theirs in chrono_tz::TZ_VARIANTS {
        let Some(ours) = Zone::read(&Database::compiled_in(), theirs.name()).unwrap() else {
            panic!("{} is missing", theirs.name())
        };
        let expected = |time: i64| {
            let utc = DateTime::from_timestamp(time, 0).unwrap().naive_utc();
            i64::from(theirs.offset_from_utc_datetime(&utc).fix().local_minus_utc())
        };
        let mut time = 0;
        let mut same = true;
        while time < until {
            let offset = ours.offset(time);
            let last = (offset.until - 1).min(until);
            same &= (expected(time), expected(last)) == (offset.seconds, offset.seconds);
            time = offset.until;
        }
        if !same {
            differ.push(theirs.name());
        }
    }
    let corrected = [
        "America/Bogota",
        "America/Ensenada",
        "America/Santa_Isabel",
        "America/Tijuana",
        "Asia/Tehran",
        "Europe/Chisinau",
        "Europe/Tiraspol",
        "Iran",
        "Mexico/BajaNorte",
    ];
    assert_eq!(differ, corrected);
}

#[test]
fn changes_of_2026_are_known() {
    // British Columbia and Alberta stay on summer time, Morocco is on UTC.
    let zone = |name: &str| Zone::read(&Database::compiled_in(), name).unwrap().unwrap();
    assert_eq!(zone("America/Vancouver").offset(at("2026-12-25T12:00:00Z")).seconds, -7 * 3600);
    assert_eq!(zone("America/Edmonton").offset(at("2026-12-25T12:00:00Z")).seconds, -6 * 3600);
    assert_eq!(zone("Africa/Casablanca").offset(at("2026-12-25T12:00:00Z")).seconds, 0);
}

#[test]
fn rules_hold_for_ever() {
    let berlin = zone("Europe/Berlin");
    for year in [2040, 2399, 2499, 3333, 9999] {
        assert_eq!(berlin.offset(at(&format!("{year}-07-01T00:00:00Z"))).seconds, 7200, "{year}");
        let winter = berlin.offset(at(&format!("{year}-01-01T00:00:00Z")));
        assert_eq!(winter.seconds, 3600, "{year}");
        // Last Sundays at 01:00 UTC.
        for change in [winter.from, winter.until] {
            assert_eq!((change.rem_euclid(DAY), (change.div_euclid(DAY) + 4).rem_euclid(7)), (3600, 0), "{year}");
        }
    }
    assert_eq!(zone("Asia/Kolkata").offset(i64::MAX).until, i64::MAX);
    assert_eq!(berlin.offset(i64::MIN).from, i64::MIN);
}

#[test]
fn skipped_and_repeated_times_are_as_java_has_them() {
    let berlin = zone("Europe/Berlin");
    // 02:30 on 2024-03-31 does not exist.
    assert_eq!(berlin.instant(local("2024-03-31T02:30"), 3600), at("2024-03-31T03:30:00+02:00"));
    // 02:30 on 2024-10-27 comes twice.
    let twice = local("2024-10-27T02:30");
    assert_eq!(berlin.instant(twice, 7200), at("2024-10-27T02:30:00+02:00"));
    assert_eq!(berlin.instant(twice, 3600), at("2024-10-27T02:30:00+01:00"));
    assert_eq!(berlin.instant(twice, 0), at("2024-10-27T02:30:00+02:00"));
    assert_eq!(berlin.instant(local("2024-10-27T12:00"), 7200), at("2024-10-27T12:00:00+01:00"));
    // Samoa had no 2011-12-30.
    assert_eq!(zone("Pacific/Apia").instant(local("2011-12-30T12:00"), -36_000), at("2011-12-31T12:00:00+14:00"));
}

#[test]
fn days_begin_after_a_midnight_that_is_skipped() {
    let start = |name: &str, day: &str| zone(name).start_of_day(local(&format!("{day}T00:00")) / DAY);
    assert_eq!(start("Europe/Berlin", "2024-03-31"), at("2024-03-31T00:00:00+01:00"));
    assert_eq!(start("America/Sao_Paulo", "2018-11-04"), at("2018-11-04T01:00:00-02:00"));
    assert_eq!(start("America/Havana", "2024-11-03"), at("2024-11-03T00:00:00-04:00"));
    assert_eq!(start("Pacific/Apia", "2011-12-30"), at("2011-12-31T00:00:00+14:00"));
    assert_eq!(start("Pacific/Apia", "2011-12-31"), at("2011-12-31T00:00:00+14:00"));
    // Midnight was shown twice, as the clocks went back at one minute past it.
    assert_eq!(start("America/St_Johns", "2010-11-07"), at("2010-11-07T00:00:00-02:30"));
}

#[test]
fn names_are_those_of_the_list_or_offsets() {
    assert_eq!(zone("+05:30").offset(0).seconds, 19_800);
    assert_eq!(zone("-0330").offset(0).seconds, -12_600);
    assert!(zone("Z").is_utc() && zone("Etc/UTC").is_utc() && zone("+00:00").is_utc() && zone("UTC").is_utc());
    assert!(!zone("Europe/London").is_utc() && zone("Europe/London").is_of_database());
    assert!(!zone("+02:00").is_of_database());
    for name in ["", "Mars/Olympus", "europe/berlin", "+2", "+25:00", "+02:0x", "UTC+2", "../UTC", "right/UTC"] {
        assert_eq!(Zone::find(name), Ok(None), "{name}");
    }
    assert!(zone("America/New_York").was_behind_utc() && !zone("Europe/Berlin").was_behind_utc());
}

proptest! {
    #[test]
    fn an_instant_is_found_again(
        which in 0_usize..1_000, time in -3_000_000_000_i64..30_000_000_000, near in prop::option::of(-7_300_i64..7_300),
    ) {
        let names: Vec<&str> = names().collect();
        let zone = zone(names[which % names.len()]);
        // Near a change as often as not.
        let change = zone.offset(time).until;
        let time = near.filter(|_| change < i64::MAX).map_or(time, |near| change + near);
        let offset = zone.offset(time);
        prop_assert!(offset.from <= time && time < offset.until);
        prop_assert_eq!(zone.instant(time + offset.seconds, offset.seconds), time);
        let mut offsets = Offsets::new(zone.clone());
        prop_assert_eq!((offsets.at(time), offsets.at(time + 1)), (offset.seconds, zone.offset(time + 1).seconds));
        let day = (time + offset.seconds).div_euclid(DAY);
        let (start, next) = (zone.start_of_day(day), zone.start_of_day(day + 1));
        prop_assert!(start <= next && zone.start_of_day(day - 1) <= start);
        prop_assert!((start + zone.offset(start).seconds).div_euclid(DAY) >= day);
        prop_assert!((start - 1 + zone.offset(start - 1).seconds).div_euclid(DAY) < day);
    }
}
