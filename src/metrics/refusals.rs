//! What a process refused: how much of it, when a line of the log about it is due, and whether it is most of what
//! comes.
//!
//! Lives here: counts, a share that forgets, and the pause between two lines. Must not live here: what a line says.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of the log about one reason.
pub const PAUSE: Duration = Duration::from_secs(30);
/// Records of which the share is taken, about: what is older counts half, and so on.
const LATELY: f64 = 1000.0;
/// With fewer records, a share says nothing.
const FEW: f64 = 20.0;

/// What a process refused.
#[derive(Debug, Default)]
pub struct Refusals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reasons: BTreeMap<&'static str, Reason>,
    /// Records that came lately, the refused ones included.
    lately: f64,
}

#[derive(Debug, Default)]
struct Reason {
    total: u64,
    /// Refusals since the last line of the log.
    unlogged: u64,
    logged: Option<Instant>,
    lately: f64,
}

impl Refusals {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counts are sound whatever a thread was doing when it panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records came, the refused ones included.
    pub fn came(&self, records: u64) {
        let mut state = self.state();
        state.lately += records as f64;
        while state.lately > 2.0 * LATELY {
            state.lately /= 2.0;
            state.reasons.values_mut().for_each(|reason| reason.lately /= 2.0);
        }
    }

    /// A record was refused. If a line of the log is due: how many it stands for, this one included.
    pub fn note(&self, reason: &'static str) -> Option<u64> {
        self.note_at(reason, Instant::now())
    }

    fn note_at(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut state = self.state();
        let reason = state.reasons.entry(reason).or_default();
        reason.total += 1;
        reason.unlogged += 1;
        reason.lately += 1.0;
        if reason.logged.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return None;
        }
        reason.logged = Some(now);
        Some(std::mem::take(&mut reason.unlogged))
    }

    /// How many were refused, by reason.
    pub fn by_reason(&self) -> BTreeMap<String, u64> {
        self.state().reasons.iter().map(|(name, reason)| (name.to_string(), reason.total)).collect()
    }

    /// Says that more than half of what came lately was refused, if that is so.
    pub fn mostly(&self) -> Option<String> {
        let state = self.state();
        let refused: f64 = state.reasons.values().map(|reason| reason.lately).sum();
        let (name, _) = state.reasons.iter().max_by(|a, b| a.1.lately.total_cmp(&b.1.lately))?;
        let all = state.lately.max(refused);
        (all >= FEW && refused * 2.0 > all).then(|| {
            let percent = refused / all * 100.0;
            format!("most of what comes is refused: {percent:.0} % of the last records, most often {name}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_reason_is_due_and_then_one_line_a_pause() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.note_at("late", now), Some(1));
        assert_eq!(refusals.note_at("late", now + PAUSE / 2), None);
        assert_eq!(refusals.note_at("null_key", now + PAUSE / 2), Some(1));
        assert_eq!(refusals.note_at("late", now + PAUSE), Some(2));
        assert_eq!(refusals.note_at("late", now + PAUSE), None);
        assert_eq!(refusals.by_reason(), BTreeMap::from([("late".into(), 4), ("null_key".into(), 1)]));
    }

    #[test]
    fn most_is_more_than_half_of_what_came_lately() {
        let refusals = Refusals::default();
        let batch = |bad: u64, all: u64| {
            (0..bad).for_each(|_| _ = refusals.note("bad_json"));
            refusals.came(all);
        };
        batch(19, 19);
        assert_eq!(refusals.mostly(), None, "too few to say");
        batch(1, 1);
        let said = refusals.mostly().unwrap();
        assert!(said.contains("100 %") && said.contains("bad_json"), "{said}");
        batch(0, 20);
        assert_eq!(refusals.mostly(), None, "exactly half is not most");
        batch(0, 1_000_000);
        assert_eq!(refusals.mostly(), None);
        // What was long ago doesn't count.
        (0..100).for_each(|_| batch(90, 100));
        assert!(refusals.mostly().unwrap().contains("90 %"), "{:?}", refusals.mostly());
    }
}
