//! Threads that share the work of a step of training.
//!
//! Lives here: a few threads that wait for work that is cut into parts. Must not live here: how work is cut; that must
//! not depend on the number of threads, so that results don't either.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often a thread looks for more work before it sleeps: some ten microseconds, as long as the longest piece of a
/// step that one thread does alone.
const LOOKS: usize = 20_000;

/// Threads; the one that calls is the first of them.
#[derive(Debug, Clone, Default)]
pub struct Threads {
    pool: Option<Arc<Pool>>,
}

/// Work as the threads see it.
#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    parts: usize,
}

// SAFETY: the work is `Sync`, and `Threads::each` returns only when no thread uses it and none can begin to.
#[allow(unsafe_code)]
unsafe impl Send for Job {}

struct Shared {
    /// The work of now, and its number.
    job: Mutex<(usize, Option<Job>)>,
    /// The number of the newest work, to be looked at without the lock.
    newest: AtomicUsize,
    changed: Condvar,
    /// The next part.
    next: AtomicUsize,
    /// Threads of the pool that are at it.
    busy: AtomicUsize,
    ends: AtomicBool,
    panicked: AtomicBool,
}

struct Pool {
    shared: Arc<Shared>,
    others: Vec<JoinHandle<()>>,
    /// One piece of work at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool of {} threads", self.others.len() + 1)
    }
}

impl Threads {
    /// That many threads, the calling one included. Fewer where the system doesn't give them.
    pub fn new(count: usize) -> Threads {
        if count < 2 {
            return Threads::default();
        }
        let shared = Arc::new(Shared {
            job: Mutex::new((0, None)),
            newest: AtomicUsize::new(0),
            changed: Condvar::new(),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let start = |at: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("train-{at}")).spawn(move || shared.wait_and_work()).ok()
        };
        let others: Vec<JoinHandle<()>> = (1..count).map_while(start).collect();
        Threads { pool: Some(Arc::new(Pool { shared, others, turn: Mutex::new(()) })) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.others.len() + 1)
    }

    /// Does `work(0)` to `work(parts - 1)`, in any order and several at once; returns when all are done.
    pub fn each(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        match &self.pool {
            Some(pool) if parts > 1 => pool.each(parts, work),
            _ => (0..parts).for_each(work),
        }
    }
}

impl Pool {
    #[allow(unsafe_code)]
    fn each(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. A thread takes the work, and is counted in `busy`, under the lock; this
        // function takes it away under the lock and then waits for those that are counted, on every way out.
        let work =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(work) };
        let job = Job { work, parts };
        shared.next.store(0, Ordering::Relaxed);
        {
            let mut now = shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            *now = (now.0 + 1, Some(job));
            shared.newest.store(now.0, Ordering::Release);
        }
        shared.changed.notify_all();
        /// Ends the work: a thread that comes late, since the machine is busy, isn't waited for.
        struct Wait<'a>(&'a Shared);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                self.0.job.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
                let mut looks = 0;
                while self.0.busy.load(Ordering::Acquire) > 0 {
                    std::hint::spin_loop();
                    looks += 1;
                    if looks > LOOKS {
                        std::thread::yield_now();
                    }
                }
            }
        }
        let wait = Wait(shared);
        shared.work(job);
        drop(wait);
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a thread of the training panicked");
    }
}

impl Shared {
    #[allow(unsafe_code)]
    fn work(&self, job: Job) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= job.parts {
                return;
            }
            // SAFETY: see `Pool::each`, which waits for this thread.
            unsafe { (*job.work)(part) };
        }
    }

    /// What the threads of the pool do.
    fn wait_and_work(&self) {
        let mut seen = 0;
        while let Some(job) = self.wait(&mut seen) {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(job)));
            if done.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Work newer than what was seen, for which this thread is then counted; `None` at the end.
    fn wait(&self, seen: &mut usize) -> Option<Job> {
        loop {
            for _ in 0..LOOKS {
                if self.newest.load(Ordering::Acquire) != *seen || self.ends.load(Ordering::Relaxed) {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut now = self.job.lock().unwrap_or_else(PoisonError::into_inner);
            while now.0 == *seen && !self.ends.load(Ordering::Relaxed) {
                now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
            }
            if self.ends.load(Ordering::Relaxed) {
                return None;
            }
            *seen = now.0;
            // It may be over already.
            if let Some(job) = now.1 {
                self.busy.fetch_add(1, Ordering::Relaxed);
                return Some(job);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _now = self.shared.job.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.ends.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
        for thread in self.others.drain(..) {
            // A panic of it was passed on by `each`.
            let _ = thread.join();
        }
    }
}

/// A slice whose parts are given to several threads.
#[derive(Debug)]
pub(super) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: a part is given to one thread only, as `range` demands.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Of a slice that nobody else uses meanwhile.
    pub fn new(values: &'a mut [T]) -> Self {
        Parts { start: values.as_mut_ptr(), len: values.len(), of: PhantomData }
    }

    /// Whether there is nothing to give.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part.
    ///
    /// # Panics
    /// If it isn't inside the slice.
    ///
    /// # Safety
    /// No other part that is in use overlaps it.
    #[allow(unsafe_code)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the slice, which is borrowed for 'a; nothing else uses it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The `at`-th part of `width` values.
    ///
    /// # Safety
    /// As [`Parts::range`].
    #[allow(unsafe_code)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, at: usize, width: usize) -> &'a mut [T] {
        // SAFETY: as the caller promises.
        unsafe { self.range(at * width..(at + 1) * width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once_whatever_the_threads() {
        for count in [1, 2, 3, 8] {
            let threads = Threads::new(count);
            assert_eq!(threads.count(), count);
            for parts in [0, 1, 2, 7, 100] {
                let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                threads.each(parts, &|part| {
                    done[part].fetch_add(part + 1, Ordering::Relaxed);
                });
                let done: Vec<usize> = done.into_iter().map(AtomicUsize::into_inner).collect();
                assert_eq!(done, (1..=parts).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_panic_of_a_part_is_passed_on_and_the_threads_go_on() {
        let threads = Threads::new(3);
        for round in 0..20 {
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                threads.each(50, &|part| assert!(part != 49, "on purpose"));
            }));
            assert!(tried.is_err(), "{round}");
            let sum = AtomicUsize::new(0);
            threads.each(4, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 6);
        }
    }
}
