//! Counts a record that is refused, and logs it: each reason at once, and then now and then, with an example.

use crate::metrics::Metrics;

/// Counts a dead letter. `example` says where it came from, and what exactly is wrong where that is known; it is asked
/// only if a line of the log is due.
pub fn refused(metrics: &Metrics, reason: &'static str, example: impl FnOnce() -> (String, Option<String>)) {
    metrics.dead_letters(reason, 1);
    if let Some(count) = metrics.refusals.note(reason) {
        let (at, detail) = example();
        match detail {
            Some(detail) => tracing::warn!(reason, count, at, detail, "refused: in the dead letters"),
            None => tracing::warn!(reason, count, at, "refused: in the dead letters"),
        }
    }
}
