//! What this process has used so far: CPU time by thread, and memory.

use std::fs;
use std::time::{Duration, Instant};

/// The threads of librdkafka's own broker, which stands for one elsewhere.
const BROKER: &str = "rdk:mock";

/// CPU time of the calling thread and of all others; without a kernel that counts it, the wall's.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    started: Instant,
    own: Option<Duration>,
    others: Duration,
}

/// CPU time between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Of the calling thread.
    pub own: Duration,
    /// Of all other threads, those of a broker in this process left out.
    pub others: Duration,
    /// By the clock on the wall.
    pub wall: Duration,
}

impl Used {
    /// Up to now, by this thread alone.
    pub fn own() -> Used {
        Used { started: Instant::now(), own: nanos("/proc/thread-self/schedstat"), others: Duration::ZERO }
    }

    /// Up to now, by all threads.
    pub fn all() -> Used {
        let used = Used::own();
        let all = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().filter(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            !name.starts_with(BROKER)
        });
        let all: Duration = all.filter_map(|task| nanos(&task.path().join("schedstat").to_string_lossy())).sum();
        Used { others: all.saturating_sub(used.own.unwrap_or_default()), ..used }
    }

    /// Since then, by this thread alone.
    pub fn since(&self) -> Spent {
        self.until(&Used::own())
    }

    /// Since then, by all threads. Threads that have ended meanwhile don't count.
    pub fn all_since(&self) -> Spent {
        self.until(&Used::all())
    }

    fn until(&self, now: &Used) -> Spent {
        let wall = self.started.elapsed();
        let own = match (self.own, now.own) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => wall,
        };
        Spent { own, others: now.others.saturating_sub(self.others), wall }
    }
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, more: Spent) {
        self.own += more.own;
        self.others += more.others;
        self.wall += more.wall;
    }
}

/// The first number of a schedstat: nanoseconds on a CPU.
fn nanos(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// Bytes of memory that this process has in use.
pub fn resident() -> Option<u64> {
    kernel_bytes("/proc/self/status", "VmRSS:")
}

/// The bytes that a file of the kernel has after a name; it counts in kB.
pub fn kernel_bytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Memory that is free for this process: of the machine, or of its container if that is less.
pub fn free_memory() -> Option<u64> {
    let number = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let machine = kernel_bytes("/proc/meminfo", "MemAvailable:")?;
    let container = number("memory.max").zip(number("memory.current")).map(|(most, now)| most.saturating_sub(now));
    Some(container.map_or(machine, |container| container.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_waiting_is_not() {
        let began = Used::all();
        std::thread::sleep(Duration::from_millis(60));
        let idle = began.since();
        let began = Used::own();
        let mut sum = 0_u64;
        while began.started.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(idle.own < idle.wall && idle.wall >= Duration::from_millis(60));
        assert!(began.since().own > Duration::ZERO);
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
