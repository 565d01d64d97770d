//! Lengths of time and moments as a user writes them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Utc};

use super::one_line;

/// A length of time. Calendar lengths stay calendar lengths: a month is not 30 days.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// `ms s m h`, in nanoseconds.
    Nanos(i64),
    /// `d` and `w`, in days: those of the time column's zone, or of 24 hours.
    Days(i64),
    /// `mo` and `y`, in calendar months.
    Months(u32),
    /// A bare integer: steps of a time without a clock.
    Steps(i64),
}

/// A point in time as written: `2014-01-01`, RFC 3339, or an integer for a time without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// An instant (a date means its first moment in UTC).
    Instant(DateTime<Utc>),
    /// An integer step.
    Step(i64),
}

/// Lengths that are written in a unit; [`Span::Days`] has the last two.
const UNITS: [(&str, i64); 6] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

const DAY: i64 = 86_400_000_000_000;

impl Span {
    /// Reads `30m`, `6h`, `3mo`, `1y`, or a bare integer for steps.
    ///
    /// # Errors
    /// What was expected instead, for the user.
    pub fn parse(text: &str) -> Result<Span, String> {
        let text = text.trim();
        if text.starts_with('-') {
            return Err("a duration can't be negative".into());
        }
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = (&text[..end], text[end..].trim_start());
        if digits.is_empty() {
            return Err(format!("expected a duration such as 30m, 6h or 3mo, found \"{}\"", one_line(text)));
        }
        if unit.starts_with('.') {
            return Err(format!("write a duration in whole numbers (90m, not 1.5h), found \"{}\"", one_line(text)));
        }
        let too_long = || format!("the duration {} is too long", one_line(text));
        let number: i64 = digits.parse().map_err(|_| too_long())?;
        match unit {
            "" => Ok(Span::Steps(number)),
            "mo" => u32::try_from(number).map(Span::Months).map_err(|_| too_long()),
            "y" => number
                .checked_mul(12)
                .and_then(|months| u32::try_from(months).ok())
                .map(Span::Months)
                .ok_or_else(too_long),
            unit => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, nanos)) => match number.checked_mul(*nanos).ok_or_else(too_long)? {
                    days if *nanos >= DAY => Ok(Span::Days(days / DAY)),
                    nanos => Ok(Span::Nanos(nanos)),
                },
                None => {
                    Err(format!("\"{}\" is not a unit of time (there are: ms, s, m, h, d, w, mo, y)", one_line(unit)))
                }
            },
        }
    }

    /// Whether it has no length.
    pub fn is_zero(self) -> bool {
        matches!(self, Span::Nanos(0) | Span::Days(0) | Span::Months(0) | Span::Steps(0))
    }

    /// The same with days of 24 hours.
    pub fn in_hours(self) -> Span {
        match self {
            Span::Days(days) => Span::Nanos(days.saturating_mul(DAY)),
            other => other,
        }
    }

    /// By the clock on the wall; `None` where it has no fixed length.
    pub fn by_clock(self) -> Option<Duration> {
        match self.in_hours() {
            Span::Nanos(nanos) => u64::try_from(nanos).ok().map(Duration::from_nanos),
            Span::Days(_) | Span::Months(_) | Span::Steps(_) => None,
        }
    }

    /// Whether it is at least as long as another one, for every possible length of their months. Steps are as long as
    /// steps only.
    pub fn covers(self, other: Span) -> bool {
        if other.is_zero() {
            return true;
        }
        match (self.in_hours(), other.in_hours()) {
            (Span::Nanos(a), Span::Nanos(b)) | (Span::Steps(a), Span::Steps(b)) => a >= b,
            (Span::Months(a), Span::Months(b)) => a >= b,
            (Span::Months(a), Span::Nanos(b)) => i64::from(a).saturating_mul(28 * DAY) >= b,
            (Span::Nanos(a), Span::Months(b)) => a >= i64::from(b).saturating_mul(31 * DAY),
            (Span::Steps(_) | Span::Days(_), _) | (_, Span::Steps(_) | Span::Days(_)) => false,
        }
    }
}

/// As a user would write it, in the largest unit that divides it; a length of nothing is `0` in every unit. Models and
/// state keep this form.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_hours() {
            Span::Nanos(0) | Span::Days(0) | Span::Months(0) | Span::Steps(0) => f.write_str("0"),
            Span::Days(n) => write!(f, "{n}d"),
            Span::Steps(n) => write!(f, "{n}"),
            Span::Months(n) if n % 12 == 0 => write!(f, "{}y", n / 12),
            Span::Months(n) => write!(f, "{n}mo"),
            Span::Nanos(n) => match UNITS.iter().rfind(|(_, nanos)| n % nanos == 0) {
                Some((word, nanos)) => write!(f, "{}{word}", n / nanos),
                None => write!(f, "{n}ns"),
            },
        }
    }
}

/// Days are hours here, as they were before they could be those of a zone: what was written then is compared as text.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_hours() {
            Span::Nanos(n) => write!(f, "Nanos({n})"),
            Span::Days(n) => write!(f, "Days({n})"),
            Span::Months(n) => write!(f, "Months({n})"),
            Span::Steps(n) => write!(f, "Steps({n})"),
        }
    }
}

/// As RFC 3339 in UTC, or the step. State keeps this form.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Instant(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Moment::Step(step) => write!(f, "{step}"),
        }
    }
}

/// Times without an offset: ISO 8601 with and without seconds, also without signs between their parts.
const LOCAL: [&str; 6] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y%m%dT%H%M%S%.f",
    "%Y%m%dT%H%M",
];

/// A time without its offset from UTC, and that in seconds: `Z`, `UTC`, `+01:00`, `+0100`, `+01`.
fn offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC")) {
        return Some((local.trim_end(), 0));
    }
    // Before it is a date at least, which has signs too.
    let at = text.rfind(['+', '-']).filter(|at| *at >= "20240131T12".len())?;
    let (local, offset) = text.split_at(at);
    let (sign, digits) = (if offset.starts_with('-') { -1 } else { 1 }, &offset[1..]);
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':').filter(|(hours, _)| hours.len() == 2)?,
        _ => return None,
    };
    let number = |part: &str, most: i64| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|number: &i64| is_number && *number <= most)
    };
    Some((local.trim_end(), sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60)))
}

impl Moment {
    /// Reads a date, a date and time (RFC 3339; `T` or a space between them; UTC without a zone) or an integer.
    ///
    /// # Errors
    /// What was expected instead, for the user.
    pub fn parse(text: &str) -> Result<Moment, String> {
        let text = text.trim();
        if let Ok(step) = text.parse::<i64>() {
            return Ok(Moment::Step(step));
        }
        let instant = |at: NaiveDateTime| Moment::Instant(at.and_utc());
        if let Ok(date) = text.parse::<NaiveDate>() {
            return Ok(instant(date.and_time(NaiveTime::MIN)));
        }
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Moment::Instant(at.with_timezone(&Utc)));
        }
        let offset = offset(text);
        let local = offset.map_or(text, |(local, _)| local).replace(',', ".");
        let read = LOCAL.iter().find_map(|format| NaiveDateTime::parse_from_str(&local, format).ok());
        let ahead = TimeDelta::seconds(offset.map_or(0, |(_, seconds)| seconds));
        if let Some(at) = read.and_then(|at| at.checked_sub_signed(ahead)) {
            return Ok(instant(at));
        }
        Err(format!(
            "expected a date (2014-01-31), a time (2014-01-31T12:00:00Z) or an integer step, found \"{}\"",
            one_line(text)
        ))
    }

    /// Whether it is before another; `None` where one is a step and the other an instant.
    pub fn is_before(self, other: Moment) -> Option<bool> {
        match (self, other) {
            (Moment::Instant(a), Moment::Instant(b)) => Some(a < b),
            (Moment::Step(a), Moment::Step(b)) => Some(a < b),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, span) in [
            ("250ms", Span::Nanos(250_000_000)),
            ("30s", Span::Nanos(30_000_000_000)),
            ("30 m", Span::Nanos(1_800_000_000_000)),
            ("6h", Span::Nanos(6 * 3_600_000_000_000)),
            ("1d", Span::Days(1)),
            ("2w", Span::Days(14)),
            ("24h", Span::Nanos(DAY)),
            ("3mo", Span::Months(3)),
            ("2y", Span::Months(24)),
            ("0s", Span::Nanos(0)),
            ("24", Span::Steps(24)),
        ] {
            assert_eq!(Span::parse(text), Ok(span), "{text}");
        }
        for (text, part) in [
            ("", "expected a duration"),
            ("soon", "expected a duration"),
            ("-5m", "negative"),
            ("1.5h", "whole numbers"),
            ("5min", "\"min\" is not a unit"),
            ("5M", "\"M\" is not a unit"),
            ("1h30m", "not a unit"),
            ("99999999999999999999s", "too long"),
            ("9999999999999w", "too long"),
            ("400000000y", "too long"),
        ] {
            let message = Span::parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn months_cover_what_they_cover_for_certain() {
        let days = |n| Span::Nanos(n * DAY);
        assert!(Span::Months(1).covers(days(28)) && !Span::Months(1).covers(days(29)));
        assert!(days(31).covers(Span::Months(1)) && !days(30).covers(Span::Months(1)));
        assert!(Span::Steps(3).covers(Span::Steps(3)) && !Span::Steps(3).covers(days(1)));
        assert!(days(0).covers(Span::Steps(0)));
    }

    #[test]
    fn moments_are_utc_unless_they_say_otherwise() {
        for (text, rfc3339) in [
            ("2014-01-01", "2014-01-01T00:00:00+00:00"),
            ("2014-01-01 12:30", "2014-01-01T12:30:00+00:00"),
            ("2014-01-01T12:30:05.25", "2014-01-01T12:30:05.250+00:00"),
            ("2014-01-01 12:30:05Z", "2014-01-01T12:30:05+00:00"),
            ("2014-01-01T12:30:05+02:00", "2014-01-01T10:30:05+00:00"),
            ("2014-01-01T12:30Z", "2014-01-01T12:30:00+00:00"),
            ("2014-01-01 12:30 UTC", "2014-01-01T12:30:00+00:00"),
            ("2014-01-01T12:30:05.25+0000", "2014-01-01T12:30:05.250+00:00"),
            ("2014-01-01 12:30:05+00", "2014-01-01T12:30:05+00:00"),
            ("2014-01-01T12:30-0530", "2014-01-01T18:00:00+00:00"),
            ("2014-01-01 12:30:05,5 +01", "2014-01-01T11:30:05.500+00:00"),
            ("20140101T123005Z", "2014-01-01T12:30:05+00:00"),
            ("1931-05-06", "1931-05-06T00:00:00+00:00"),
        ] {
            let Ok(Moment::Instant(at)) = Moment::parse(text) else { panic!("{text}") };
            assert_eq!(at.to_rfc3339(), rfc3339);
        }
        assert_eq!(Moment::parse("-7"), Ok(Moment::Step(-7)));
        for text in [
            "2014-13-01",
            "2014-01-01 25:00",
            "yesterday",
            "01.02.2014",
            "2014-1-1x",
            "",
            "2014-01-01T12:30+1",
            "2014-01-01T12:30+24",
            "12:30Z",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9a-z:.TZ+ é]{0,24}") {
            let _ = Span::parse(&text);
            let _ = Moment::parse(&text);
        }

        #[test]
        fn whole_numbers_of_a_unit_are_exact(n in 0i64..10_000, unit in 0usize..6) {
            let (name, nanos) = UNITS[unit];
            let span = Span::parse(&format!("{n}{name}")).map(Span::in_hours);
            prop_assert_eq!(span, Ok(Span::Nanos(n * nanos)));
        }
    }
}
