//! What a pipeline needs at a rate and a number of keys, from costs that are measured here.
//!
//! Lives here: measuring a pipeline with the code that runs it ([`measure`]), and the arithmetic from costs to pods,
//! partitions and brokers ([`Need`]). Must not live here: a model of what the engine does, and what is printed (`cli`).

mod assumed;
mod costs;
mod limits;
mod load;
mod made;
mod measure;
mod need;
mod out;
mod resident;
mod sample;

pub use assumed::{Assumed, Settings};
pub use costs::{Costs, Piece};
pub use limits::{Limit, limits};
pub use measure::{Wanted, measure};
pub use need::{Checkpoints, Need, Rate, Restore};
pub use sample::{Asked, From};
