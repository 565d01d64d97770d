//! The folders that a pipeline writes to: each that can't be written is a problem at its place.

use super::Purpose;
use crate::config::{Pipeline, Sink};
use crate::error::Problems;
use crate::storage::{writable, writable_path};

/// Looks at the folders of a purpose; nothing is left in them.
pub(super) fn check(pipeline: &Pipeline, purpose: Purpose, problems: &mut Problems) {
    if purpose == Purpose::Train {
        if let Err(why) = writable_path(&pipeline.models) {
            problems.add(pipeline.models.place, format!("models: {why}"));
        }
        return;
    }
    let mut folders = Vec::new();
    match pipeline.sink.as_deref() {
        Some(Sink::Parquet { path, .. }) => folders.extend([("state", &pipeline.state.path), ("sink", path)]),
        Some(Sink::Kafka(_)) => folders.push(("state", &pipeline.state.path)),
        Some(Sink::Stdout { .. }) | None => {}
    }
    folders.extend(pipeline.dead_letters.folder().map(|path| ("dead_letters", path)));
    for (word, path) in folders {
        if let Err(why) = writable(path) {
            problems.add(path.place, format!("{word}: {why}"));
        }
    }
}
