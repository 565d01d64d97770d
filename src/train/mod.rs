//! Training: cells, losses, optimiser, loop, evaluation, report.
//!
//! Lives here: everything between captured features ([`Series`]) and a published version. Must not live here: reading
//! the source or making features (`runtime` runs the same stages as for serving), and the ONNX file (`model`).

mod backtest;
#[cfg(test)]
mod backtest_tests;
mod calibration;
mod column;
#[cfg(test)]
mod core_tests;
pub mod ctc;
pub mod dataset;
pub mod dropout;
mod errors;
mod examples;
mod fit;
mod gradients;
#[cfg(test)]
mod graph_tests;
mod groups;
#[cfg(test)]
mod groups_tests;
pub mod head;
mod import;
mod init;
mod keep;
pub mod lanes;
mod layers;
mod learner;
pub mod loss;
mod magnitude;
#[cfg(test)]
mod meaning_tests;
mod members;
#[cfg(test)]
mod members_tests;
pub mod network;
mod noise;
pub mod optimizer;
mod parity;
#[cfg(test)]
mod parity_tests;
mod pass;
#[cfg(test)]
mod patch_tests;
pub mod plan;
mod publish;
#[cfg(test)]
mod quantile_tests;
mod rate;
pub mod report;
pub mod ridge;
pub mod scaling;
mod schedule;
pub mod search;
mod sequences;
mod series;
mod share;
mod so_far;
mod space;
pub mod split;
pub mod start;
#[cfg(test)]
mod tests;
mod trained;
mod training;
mod vocabulary;
pub mod windows;

pub use backtest::{Backtest, Fold};
pub use column::{Column, Plain};
pub use errors::{Compared, Errors, KeyErrors};
pub use fit::{Event, Looked, Member, Phase, Progress};
pub use groups::{Group, Groups, arrange};
pub use import::import;
pub use keep::{EVERY, Keep};
pub use layers::{Chosen, Tried};
pub use members::MemberResult;
pub use network::{Network, Pass, State, Workspace};
pub use plan::{Plan, architecture};
pub use publish::{Destination, publish};
pub use series::{Series, Texts};
pub use space::Space;
pub use split::{Cuts, Subset};
pub use trained::{KeySplit, Look, Trained};
pub use training::{train, train_kept};
