//! What a network is, as data: its layers, its tensors by name, its summary.
//!
//! Lives here: shapes and names ([`Architecture`], [`Layer`], [`Tensor`]), the tensors of any graph ([`Signature`]),
//! and the layers as rows of a table ([`summary`]). Must not live here: arithmetic (`kernel`, `train`), files
//! (`model`).

mod architecture;
mod input;
mod layer;
pub mod quantiles;
mod signature;
mod state_pair;
mod stored;
pub mod summary;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;
mod vocabulary;

pub use architecture::{Architecture, Embedding, PlacedLayer};
pub use input::Input;
pub use layer::{DenseLayer, Layer, LayerNormLayer, Pool, RecurrentLayer};
pub(crate) use signature::taken;
pub use signature::{
    Ahead, Axis, Element, Feed, Initial, InputTensor, OutputTensor, Run, Signature, StateTensor, TensorSpec,
};
pub use state_pair::StatePair;
pub(crate) use tensors::ByName;
pub use tensors::{NamedTensor, Tensor};
pub use vocabulary::{Vocabulary, ids_name};
