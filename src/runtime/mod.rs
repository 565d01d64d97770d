//! The way of a batch: planning a pipeline, routing records to partitions, running stages, committing.
//!
//! Lives here: everything between the parts that read, compute and write. Must not live here: what a stage does, how a
//! file is read or written, and anything typed by the user (`config`).
//!
//! ```text
//! source ── reader thread ──(bounded)──> worker 0: partitions 0, 2, 4 … ──> parts and checkpoints
//!            routes by key  └─(bounded)──> worker 1: partitions 1, 3, 5 …
//! ```

mod engine;
mod files;
mod first_rows;
pub mod kafka;
mod plan;
pub mod size;

pub use engine::{Chain, Partition};
pub use files::{Captured, Finished, Wanted, capture, check_state, new_files, run};
pub use first_rows::BeforeInfer;
pub use plan::{
    Plan, PlannedSource, Purpose, Seen, check, check_shard, has_model, label, plan, plan_shard, plan_unasked,
    stages_of_model, trusted,
};
