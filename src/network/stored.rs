//! The JSON of an architecture, in manifests and in a graph's metadata: recurrent layers under `layers`, dense ones under
//! `head`. Published versions keep it: what it can't say gets other fields with a default.
//! Must not live here: anything that works with a network.

use serde::{Deserialize, Serialize};

use super::{Architecture, DenseLayer, Layer, RecurrentLayer};

/// An [`Architecture`] as it is written. Fields keep their order: equal networks have equal bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    features: usize,
    network: Vec<usize>,
    skip: Vec<usize>,
    residual: Vec<usize>,
    layers: Vec<RecurrentLayer>,
    head: Vec<DenseLayer>,
    outputs: usize,
    scaling: bool,
}

impl TryFrom<&Architecture> for Stored {
    type Error = String;

    fn try_from(architecture: &Architecture) -> Result<Self, String> {
        let Architecture { features, network, skip, residual, layers: all, outputs, scaling } = architecture.clone();
        let (mut layers, mut head) = (Vec::new(), Vec::new());
        for layer in all {
            match layer {
                Layer::Recurrent(layer) if head.is_empty() => layers.push(layer),
                Layer::Recurrent(_) => return Err("a recurrent layer follows a dense one".into()),
                Layer::Dense(layer) => head.push(layer),
            }
        }
        Ok(Stored { features, network, skip, residual, layers, head, outputs, scaling })
    }
}

impl From<Stored> for Architecture {
    fn from(stored: Stored) -> Self {
        let Stored { features, network, skip, residual, layers, head, outputs, scaling } = stored;
        let layers = layers.into_iter().map(Layer::Recurrent).chain(head.into_iter().map(Layer::Dense)).collect();
        Architecture { features, network, skip, residual, layers, outputs, scaling }
    }
}
