//! The JSON of an architecture, in manifests and in a graph's metadata: recurrent layers under `layers`, dense ones
//! under `head`. Published versions keep it: what it can't say gets other fields with a default. Must not live here:
//! anything that works with a network.

use serde::{Deserialize, Serialize};

use super::{Architecture, DenseLayer, Layer, Pool, RecurrentLayer};

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
    #[serde(default, skip_serializing_if = "Pool::is_none")]
    pool: Pool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    softmax: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    groups: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl TryFrom<&Architecture> for Stored {
    type Error = String;

    fn try_from(architecture: &Architecture) -> Result<Self, String> {
        let Architecture { features, network, skip, groups, residual, layers: all, outputs, scaling, pool, softmax } =
            architecture.clone();
        let (mut layers, mut head) = (Vec::new(), Vec::new());
        for layer in all {
            match layer {
                Layer::Recurrent(layer) if head.is_empty() => layers.push(layer),
                Layer::Recurrent(_) => return Err("a recurrent layer follows a dense one".into()),
                Layer::Dense(layer) => head.push(layer),
            }
        }
        Ok(Stored { features, network, skip, residual, layers, head, outputs, scaling, pool, softmax, groups })
    }
}

impl From<Stored> for Architecture {
    fn from(stored: Stored) -> Self {
        let Stored { features, network, skip, residual, layers, head, outputs, scaling, pool, softmax, groups } =
            stored;
        let layers = layers.into_iter().map(Layer::Recurrent).chain(head.into_iter().map(Layer::Dense)).collect();
        Architecture { features, network, skip, groups, residual, layers, outputs, scaling, pool, softmax }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::{Activation, CellKind};
    use crate::network::testing::{plain, rich};
    use crate::network::{Architecture, Layer, Pool};

    /// As the first published versions have it.
    const RICH: &str = "{\"features\":5,\"network\":[0,3],\"skip\":[1,2,3],\"residual\":[4,4,0],\
        \"layers\":[{\"cell\":\"lstm\",\"units\":7,\"double_bias\":true},\
        {\"cell\":\"gru\",\"units\":5,\"double_bias\":false},{\"cell\":\"rnn_relu\",\"units\":4,\"double_bias\":false},\
        {\"cell\":\"rnn_tanh\",\"units\":6,\"double_bias\":true}],\
        \"head\":[{\"units\":9,\"activation\":\"relu\"},{\"units\":3,\"activation\":\"tanh\"},\
        {\"units\":4,\"activation\":\"linear\"}],\"outputs\":3,\"scaling\":true}";

    #[test]
    fn the_json_is_that_of_the_first_versions_and_comes_back() {
        assert_eq!(serde_json::to_string(&rich()).unwrap(), RICH);
        assert_eq!(serde_json::from_str::<Architecture>(RICH).unwrap(), rich());
    }

    #[test]
    fn what_classifies_sequences_comes_back() {
        let mut architecture = plain(2, &[(CellKind::Gru, 3)]);
        let Layer::Recurrent(layer) = &mut architecture.layers[0] else { panic!() };
        layer.bidirectional = true;
        (architecture.pool, architecture.softmax) = (Pool::Mean, true);
        let json = serde_json::to_string(&architecture).unwrap();
        assert!(
            json.contains("\"bidirectional\":true") && json.contains("\"pool\":\"mean\",\"softmax\":true"),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        architecture.skip = vec![0];
        assert!(architecture.validate().unwrap_err().to_string().contains("no linear path"));
    }

    #[test]
    fn what_it_can_not_say_is_refused() {
        let mut architecture = plain(2, &[(CellKind::Gru, 3)]);
        architecture.layers.insert(0, Layer::dense(4, Activation::Relu));
        let message = architecture.validate().unwrap_err().to_string();
        assert!(message.contains("a recurrent layer follows a dense one"), "{message}");
        assert!(serde_json::to_string(&architecture).is_err());
    }
}
