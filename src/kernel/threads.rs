//! Threads that share the work of a step of training.
//!
//! Lives here: a few threads that wait for work that is cut into parts. Must not live here: how work is cut; that must
//! not depend on the number of threads, so that results don't either.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How often a thread looks for more work before it sleeps: longer than the longest piece of a step that one thread
/// does alone.
const LOOKS: usize = 20_000;

/// Threads; the one that calls is the first of them.
#[derive(Debug, Clone, Default)]
pub struct Threads {
    pool: Option<Arc<Pool>>,
}

/// Work: gets the number of a part, and of the thread that does it.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Work as the threads see it, for as long as `Threads::each` needs it.
struct Job(*const Work<'static>);

/// Memory that only one thread writes often. Processors move it in pairs of lines of 64 bytes.
#[derive(Debug, Clone, Default)]
#[repr(align(128))]
pub(super) struct Apart<T>(pub T);

struct Shared {
    /// The number of the newest work.
    newest: Apart<AtomicUsize>,
    /// Its parts that are not done yet.
    undone: Apart<AtomicUsize>,
    /// Its parts that nobody has begun, by the thread that is to do them.
    queues: Box<[Apart<Queue>]>,
    job: AtomicPtr<Job>,
    panicked: AtomicBool,
    ends: AtomicBool,
    /// Threads that sleep, or are about to.
    asleep: AtomicUsize,
    sleep: Mutex<()>,
    changed: Condvar,
}

/// Parts that follow each other: the next one, and in the upper half the one after the last.
#[derive(Default)]
struct Queue(AtomicU64);

impl Queue {
    fn fill(&self, parts: Range<usize>) {
        self.0.store(Queue::pack(parts.start as u64, parts.end as u64), Ordering::Release);
    }

    fn pack(next: u64, end: u64) -> u64 {
        end << 32 | next
    }

    fn unpack(parts: u64) -> (u64, u64) {
        (parts & 0xffff_ffff, parts >> 32)
    }

    /// Takes the first part, or the last for a thread that the queue isn't of. Which work it is of may have changed
    /// since the caller looked for work: it is of the work of now, which cannot end before the part is done.
    fn take(&self, is_own: bool) -> Option<usize> {
        let taken = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |parts| {
            let (next, end) = Queue::unpack(parts);
            (next < end).then(|| if is_own { Queue::pack(next + 1, end) } else { Queue::pack(next, end - 1) })
        });
        let (next, end) = Queue::unpack(taken.ok()?);
        Some(if is_own { next } else { end - 1 } as usize)
    }
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
            newest: Apart::default(),
            undone: Apart::default(),
            queues: (0..count).map(|_| Apart::default()).collect(),
            job: AtomicPtr::new(ptr::null_mut()),
            panicked: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            changed: Condvar::new(),
        });
        let start = |at: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("train-{at}")).spawn(move || shared.wait_and_work(at)).ok()
        };
        let others: Vec<JoinHandle<()>> = (1..count).map_while(start).collect();
        Threads { pool: Some(Arc::new(Pool { shared, others, turn: Mutex::new(()) })) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.others.len() + 1)
    }

    /// Does `work(0, _)` to `work(parts - 1, _)`, in any order and several at once; returns when all are done. The
    /// second number is that of the thread, below [`Threads::count`]; no other thread has it at the same time. A thread
    /// does parts that follow each other, the same ones each time, unless another has time to help: so what the parts
    /// of one work leave in its cache is there for those of the next.
    pub fn each(&self, parts: usize, work: &Work<'_>) {
        match &self.pool {
            Some(pool) if parts > 1 => pool.each(parts, work),
            _ => (0..parts).for_each(|part| work(part, 0)),
        }
    }
}

impl Pool {
    #[allow(unsafe_code)]
    fn each(&self, parts: usize, work: &Work<'_>) {
        assert!(u32::try_from(parts).is_ok(), "{parts} parts");
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. A thread uses the work only for a part that it has taken, and this
        // function waits for all that are taken, on every way out.
        let mut job = Job(unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) });
        shared.panicked.store(false, Ordering::Relaxed);
        shared.job.store(&raw mut job, Ordering::Relaxed);
        shared.undone.0.store(parts, Ordering::Relaxed);
        let wait = Wait(shared);
        let count = self.others.len() + 1;
        for (at, queue) in shared.queues.iter().take(count).enumerate() {
            queue.0.fill(at * parts / count..(at + 1) * parts / count);
        }
        shared.announce();
        shared.work(0);
        drop(wait);
        assert!(!shared.panicked.load(Ordering::Relaxed), "a thread of the training panicked");
    }
}

/// Ends the work: what nobody has begun is left, what is begun is waited for. A thread that comes late, since the
/// machine is busy, finds nothing to begin, and isn't waited for.
struct Wait<'a>(&'a Shared);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // There is something left only if this thread panicked.
        while self.0.take(0).is_some() {
            self.0.undone.0.fetch_sub(1, Ordering::Relaxed);
        }
        let mut looks = 0;
        while self.0.undone.0.load(Ordering::Acquire) > 0 {
            look_again(&mut looks);
        }
    }
}

/// Counts the parts that a thread has taken as done, also if one of them panics.
struct Taken<'a> {
    shared: &'a Shared,
    parts: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.panicked.store(true, Ordering::Relaxed);
        }
        self.shared.undone.0.fetch_sub(self.parts, Ordering::Release);
    }
}

/// Waits a moment. Now and then the thread gives way: what it waits for may be the turn of another thread on this core.
fn look_again(looks: &mut usize) {
    *looks += 1;
    if looks.is_multiple_of(256) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

impl Shared {
    /// A part that nobody has begun, for a thread: of its own queue first.
    fn take(&self, thread: usize) -> Option<usize> {
        let of = |at: usize| &self.queues[at].0;
        of(thread).take(true).or_else(|| (0..self.queues.len()).find_map(|at| of(at).take(false)))
    }

    /// Does parts until all are begun.
    #[allow(unsafe_code)]
    fn work(&self, thread: usize) {
        let mut taken = Taken { shared: self, parts: 0 };
        while let Some(part) = self.take(thread) {
            taken.parts += 1;
            // SAFETY: `Pool::each` waits for the part that is taken, so job and work are there. It has put them there
            // before the part, and doesn't change them before the part is done.
            unsafe {
                let job = &*self.job.load(Ordering::Relaxed);
                (*job.0)(part, thread);
            }
        }
    }

    /// What the threads of the pool do.
    fn wait_and_work(&self, thread: usize) {
        let mut seen = 0;
        while self.wait(&mut seen) {
            // `Taken` has told of a panic.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(thread)));
        }
    }

    /// Says that there is something new.
    fn announce(&self) {
        self.newest.0.fetch_add(1, Ordering::SeqCst);
        // Either this sees that a thread sleeps, or the thread sees what is new before it does.
        if self.asleep.load(Ordering::SeqCst) > 0 {
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }

    /// Waits for work newer than what was seen; false at the end.
    fn wait(&self, seen: &mut usize) -> bool {
        let is_new = |seen: usize| self.newest.0.load(Ordering::SeqCst) != seen;
        let mut looks = 0;
        while looks < LOOKS && !is_new(*seen) {
            look_again(&mut looks);
        }
        if !is_new(*seen) {
            let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.asleep.fetch_add(1, Ordering::SeqCst);
            while !is_new(*seen) {
                guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.fetch_sub(1, Ordering::SeqCst);
        }
        *seen = self.newest.0.load(Ordering::SeqCst);
        !self.ends.load(Ordering::SeqCst)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        self.shared.announce();
        for thread in self.others.drain(..) {
            // A panic of it was passed on by `each`.
            let _ = thread.join();
        }
    }
}

/// A slice whose parts are given to several threads.
#[derive(Debug)]
pub struct Parts<'a, T> {
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
                threads.each(parts, &|part, thread| {
                    assert!(thread < count);
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
                threads.each(50, &|part, _| assert!(part != 49, "on purpose"));
            }));
            assert!(tried.is_err(), "{round}");
            let sum = AtomicUsize::new(0);
            threads.each(4, &|part, _| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 6);
        }
    }
}
