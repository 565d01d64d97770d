//! The signals that ask a process to end: SIGTERM, SIGINT and SIGHUP.
//!
//! Lives here: the handler, and who is told of a signal. Must not live here: how a run drains.
//!
//! The kernel ignores a signal without a handler where the process is the first one of a container. So `main` installs
//! the handler before it does anything else. Until something drains, a signal ends the process at once, with the code
//! that a shell shows for it. Nothing is lost by that: versions, parts and checkpoints exist completely or not at all.

#![allow(unsafe_code)]

use std::io::Read;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use libc::{SIGHUP, SIGINT, SIGTERM, c_int};

use crate::Result;
use crate::error::Context;

/// The end of the pipe that the handler writes to; -1 until something drains.
static DRAINS: AtomicI32 = AtomicI32::new(-1);

/// What a process ends with after a signal, as a shell counts it.
pub fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Ends the process while other threads work.
///
/// `std::process::exit` runs the destructors of the libraries of C++ first. A thread that is within ONNX Runtime or
/// librdkafka then uses what is gone, and the process dies by a signal instead of ending with its code.
pub fn end_at_once(code: i32) -> ! {
    // SAFETY: it ends the process, and reads nothing of it.
    unsafe { libc::_exit(code) }
}

/// Installs the handler. A SIGHUP that is ignored at the start stays ignored, which is what `nohup` asks for.
pub fn catch() {
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // SAFETY: both structures are plain data that `sigaction` fills or reads; the handler calls only functions that
        // are safe in a handler, and lives as long as the process.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if signal == SIGHUP
                && libc::sigaction(signal, std::ptr::null(), &raw mut before) == 0
                && before.sa_sigaction == libc::SIG_IGN
            {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn handle(signal: c_int) {
    let drains = DRAINS.load(Ordering::Acquire);
    // SAFETY: `_exit` and `write` are safe in a handler; the byte lives during the call. `errno` is left as it was.
    unsafe {
        if drains < 0 {
            libc::_exit(exit_code(signal));
        }
        let error = *errno();
        let byte = signal as u8;
        libc::write(drains, (&raw const byte).cast(), 1);
        *errno() = error;
    }
}

/// Where the last error of this thread is kept.
///
/// # Safety
/// None beyond that of the pointer, which is this thread's.
unsafe fn errno() -> *mut c_int {
    #[cfg(target_os = "linux")]
    // SAFETY: always a valid pointer.
    unsafe {
        libc::__errno_location()
    }
    #[cfg(not(target_os = "linux"))]
    // SAFETY: always a valid pointer.
    unsafe {
        libc::__error()
    }
}

/// The signals from now on, for a run that drains: they no longer end the process.
pub struct Signals(UnixStream);

impl Signals {
    /// Takes them over.
    ///
    /// # Errors
    /// No pipe.
    pub fn take() -> Result<Signals> {
        let (reads, writes) = UnixStream::pair().or_failed(|| "cannot listen for signals".into())?;
        // It stays open until the process ends: the handler may use it at any time.
        DRAINS.store(writes.into_raw_fd(), Ordering::Release);
        Ok(Signals(reads))
    }

    /// Waits for the next signal, for at most that long.
    pub fn next(&mut self, timeout: Option<Duration>) -> Option<i32> {
        self.0.set_read_timeout(timeout).ok()?;
        let mut byte = [0];
        self.0.read_exact(&mut byte).ok()?;
        Some(byte[0].into())
    }
}
