//! A run over files: from wherever the last one stopped to the end of the source.
//!
//! Lives here: the threads of such a run, one partition's parts and commits ([`PartitionTask`]), refused records as
//! dead letters, and training's capture. Must not live here: what a partition does to records (`runtime::engine`).

mod capture;
mod dead_letters;
mod late;
mod partition_task;
mod run;
mod versions;

pub use capture::{Captured, Wanted, capture};
pub use late::Late;
pub use partition_task::{PartitionTask, Shared};
pub use run::{Finished, check_state, joined, moment, new_files, open_sink, restore, run};
