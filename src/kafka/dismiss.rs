//! Ends a client without waiting for it for ever.
//!
//! Destroying a client of librdkafka waits for all of its threads, and closing a consumer for an answer of the group.
//! Either may never end, and the worker that waits would stand still with all of its partitions. A client that takes
//! too long ends in a thread of its own; what it may still send is refused, since a newer one has taken its place.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long a client may take: a healthy one needs milliseconds, one that leaves a group some seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Drops a client, and goes on after a while in any case.
pub(super) fn dismiss<T: Send + 'static>(client: T, what: &'static str) {
    let (ended, ending) = mpsc::channel::<()>();
    let end = move || {
        drop(client);
        drop(ended);
    };
    // Where there is no thread to be had, the closure is dropped here, and the client with it.
    let begun = std::thread::Builder::new().name("dismiss".into()).spawn(end);
    if begun.is_ok() && ending.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!(what, "a client does not end: going on without it");
    }
}

/// Calls a function of a client that may never return; `None` if it takes longer. The thread that waits for it is left.
pub(super) fn within<T: Send + 'static>(time: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answers, answer) = mpsc::channel();
    let run = move || {
        // The caller may have stopped waiting.
        answers.send(call()).ok();
    };
    std::thread::Builder::new().name("call".into()).spawn(run).ok()?;
    answer.recv_timeout(time).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Slow(Arc<Mutex<()>>, Arc<AtomicBool>);

    impl Drop for Slow {
        fn drop(&mut self) {
            drop(self.0.lock().unwrap());
            self.1.store(true, Ordering::Release);
        }
    }

    #[test]
    fn a_client_that_ends_has_ended_and_one_that_does_not_is_left() {
        let (lock, gone) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        dismiss(Slow(lock.clone(), gone.clone()), "a client");
        assert!(gone.swap(false, Ordering::AcqRel));
        let held = lock.lock().unwrap();
        dismiss(Slow(lock.clone(), gone.clone()), "a client");
        assert!(!gone.load(Ordering::Acquire));
        drop(held);
    }
}
