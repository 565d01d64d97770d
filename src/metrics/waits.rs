//! What the workers of a process wait for, and what of it takes longer than it should.
//!
//! A worker registers what it waits for before it waits, and removes it afterwards; another thread looks at the clock.
//! So a worker that is held up inside a call is seen too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From then on a wait is worth a word.
pub const LONG: Duration = Duration::from_secs(10);

/// A process that starts is not ready until then, or another one would be stopped too early in a rolling update.
const STARTS: &str = "starting: it joins the group and restores its partitions";

/// What all workers wait for.
#[derive(Debug, Default)]
pub struct Waits {
    all: Mutex<BTreeMap<u64, Wait>>,
    workers: AtomicU64,
    /// How many of them have not yet begun to process what the group gave them.
    starting: AtomicU64,
}

#[derive(Debug)]
struct Wait {
    kind: &'static str,
    since: Instant,
    text: String,
}

impl Waits {
    /// A number for a worker, which no other has.
    pub fn worker(&self) -> u64 {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// So many workers start now.
    pub fn start(&self, workers: usize) {
        self.starting.store(workers as u64, Ordering::Relaxed);
    }

    /// One of them processes what the group gave it, or rightly has nothing.
    pub fn begun(&self) {
        let one_less = |starting: u64| starting.checked_sub(1);
        self.starting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Wait>> {
        // A map is sound whatever a thread was doing when it panicked.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker waits for something of this kind, described for people, and has waited this long already. It keeps
    /// waiting if it did so before.
    pub fn begin(&self, worker: u64, kind: &'static str, text: String, waited: Duration) {
        let now = Instant::now();
        let since = now.checked_sub(waited).unwrap_or(now);
        let mut all = self.all();
        let wait = all.entry(worker).or_insert_with(|| Wait { kind, since, text: String::new() });
        if wait.kind != kind {
            (wait.kind, wait.since) = (kind, since);
        }
        wait.text = text;
    }

    /// A worker doesn't wait.
    pub fn end(&self, worker: u64) {
        self.all().remove(&worker);
    }

    /// Why the process is not ready, if it is not: what is overdue, or that it starts.
    pub fn reason(&self) -> Option<String> {
        let starts = || (self.starting.load(Ordering::Relaxed) > 0).then(|| STARTS.to_string());
        self.overdue().or_else(starts)
    }

    /// What has been waited for longest, if that is too long.
    pub fn overdue(&self) -> Option<String> {
        let all = self.all();
        let oldest = all.values().min_by_key(|wait| wait.since)?;
        (oldest.since.elapsed() >= LONG).then(|| oldest.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_told_and_another_kind_begins_again() {
        let waits = Waits::default();
        let (a, b) = (waits.worker(), waits.worker());
        waits.begin(a, "store", "the store".into(), Duration::ZERO);
        assert_eq!(waits.overdue(), None);
        waits.begin(b, "group", "the group".into(), LONG);
        assert_eq!(waits.overdue().as_deref(), Some("the group"));
        waits.begin(b, "group", "the group, by other words".into(), Duration::ZERO);
        assert_eq!(waits.overdue().as_deref(), Some("the group, by other words"));
        waits.begin(b, "store", "the store".into(), Duration::ZERO);
        assert_eq!(waits.overdue(), None);
        waits.begin(a, "group", "the group".into(), LONG);
        waits.end(a);
        assert_eq!(waits.overdue(), None);
    }

    #[test]
    fn a_process_starts_until_all_its_workers_have_begun() {
        let waits = Waits::default();
        assert_eq!(waits.reason(), None);
        waits.start(2);
        waits.begun();
        assert_eq!(waits.reason().as_deref(), Some(STARTS));
        assert_eq!(waits.overdue(), None);
        let worker = waits.worker();
        waits.begin(worker, "store", "the store".into(), LONG);
        assert_eq!(waits.reason().as_deref(), Some("the store"));
        waits.end(worker);
        waits.begun();
        assert_eq!(waits.reason(), None);
        waits.begun();
        assert_eq!(waits.reason(), None);
    }
}
