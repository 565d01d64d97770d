//! What the last layer of a file gives: numbers, or the probabilities of classes. Must not live here: the other layers
//! (`mod`).

use super::{Found, FoundLayer};
use crate::network::{Architecture, DenseLayer, Layer, Pool};

/// What is made of the last layer's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// Nothing. They can be what others make probabilities of.
    #[default]
    Numbers,
    /// Probabilities of classes.
    Softmax,
    /// Their logarithms.
    LogSoftmax,
    /// The probability of the second of two classes.
    Sigmoid,
}

impl Found {
    /// What `architecture` needs: one number of two classes becomes two, of which the first is always 0, since
    /// `softmax(0, z)` is `1 - sigmoid(z), sigmoid(z)`.
    pub(super) fn for_classes(mut self, architecture: &Architecture) -> Found {
        if architecture.softmax && architecture.outputs == 2 {
            self.layers.last_mut().filter(|last| last.layer.units() == 1).into_iter().for_each(two_classes);
        }
        self
    }

    /// How what the file gives differs from what the pipeline wants, if it does.
    pub(super) fn other_end(&self, architecture: &Architecture) -> Option<String> {
        if self.end != End::Numbers && !architecture.softmax {
            return Some(
                "the file gives the probabilities of classes, the pipeline's network numbers: write `task: label`, or in \
                 mode sequence `task: classify`"
                    .into(),
            );
        }
        let found = self.pool.filter(|found| !is_same(architecture, *found))?;
        let words = |pool| match pool {
            Pool::None => "an output for each step",
            Pool::Last => "the state after the last step (`pool: last`)",
            Pool::Mean => "the mean of the steps (`pool: mean`)",
        };
        Some(format!(
            "the file makes {} of a sequence or window, the pipeline's network {}",
            words(found),
            words(architecture.pool)
        ))
    }

    /// What to know about the classes, where the file has none of its own.
    pub fn note_on_classes(&self, architecture: &Architecture) -> Option<String> {
        (architecture.softmax && self.end == End::Numbers).then(|| {
            "the file ends in numbers without a softmax: they are taken as those that a softmax makes the probabilities \
             of classes of"
                .into()
        })
    }
}

/// Whether the network of `architecture`, run over a sequence or window, gives what the file does.
fn is_same(architecture: &Architecture, found: Pool) -> bool {
    match (architecture.pool, found) {
        (own, found) if own == found => true,
        // In one direction the last output is that of the last state.
        (Pool::None, Pool::Last) | (Pool::Last, Pool::None) => !architecture.is_bidirectional(),
        _ => false,
    }
}

/// A dense layer of one number as one of two, the first of them 0.
pub(super) fn two_classes(layer: &mut FoundLayer) {
    let Layer::Dense(DenseLayer { units: 1, activation }) = layer.layer else { return };
    layer.layer = Layer::Dense(DenseLayer { units: 2, activation });
    for tensor in &mut layer.tensors {
        if let Some(columns) = tensor.shape.last_mut() {
            *columns = 2;
        }
        tensor.data = tensor.data.iter().flat_map(|number| [0.0, *number]).collect();
    }
}
