//! Running the graphs of others within bounds of memory and time.
//!
//! A small file can say that a loop never ends, or compute the size of a tensor that fills the memory, and only running
//! it tells. Loading a graph can't be interrupted, so the process ends. Must not live here: what can be told before a
//! run (`model::onnx::bounds`).

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::cli::messages::say;
use crate::cli::signals::end_at_once;
#[cfg(target_os = "linux")]
use crate::metrics::{free_memory, kernel_bytes};

/// Runs it. After `minutes` the process ends with exit code 2; memory beyond three quarters of what is free at the
/// start is refused to it, which ONNX Runtime reports as an error.
pub(super) fn bounded<T>(minutes: u64, what: &str, run: impl FnOnce() -> T) -> T {
    limit_memory();
    let (done, wait) = channel::<()>();
    let what = what.to_string();
    let watch = move || {
        if wait.recv_timeout(Duration::from_secs(minutes.saturating_mul(60))) == Err(RecvTimeoutError::Timeout) {
            say(format_args!(
                "error: {what} took more than {minutes} minutes: the graph may hold a loop that doesn't end; to give it \
                 longer: --time-limit MINUTES"
            ));
            end_at_once(2);
        }
    };
    // Without the thread there is no bound of time, and nothing else changes.
    let watching = std::thread::Builder::new().name("kolk-time-limit".into()).spawn(watch);
    let result = run();
    drop(done);
    drop(watching);
    result
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn limit_memory() {
    let (Some(free), Some(now)) = (free_memory(), kernel_bytes("/proc/self/status", "VmData:")) else { return };
    let most = now.saturating_add(free / 4 * 3);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the struct that they are given, which lives until they return. Where one
    // fails, nothing is changed.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_DATA, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_cur.min(most);
            libc::setrlimit(libc::RLIMIT_DATA, &limit);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn limit_memory() {}
