//! The JSON of an architecture, in manifests and in a graph's metadata: recurrent layers under `layers`, dense ones
//! after them under `head`, all others under `others` with their place. Published versions keep it: what it can't say
//! gets other fields with a default. Must not live here: anything that works with a network.

use serde::{Deserialize, Serialize};

use super::{Architecture, DenseLayer, Embedding, Layer, LayerNormLayer, Pool, RecurrentLayer};

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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quantiles: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    groups: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Other>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    members: usize,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    patch: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    embeddings: Vec<Embedding>,
    #[serde(default, skip_serializing_if = "is_zero")]
    segments: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    centred: Vec<usize>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn one() -> usize {
    1
}

fn is_one(number: &usize) -> bool {
    *number == 1
}

/// A layer that is neither a recurrent one nor a dense one after them, in its place among all layers.
#[derive(Serialize, Deserialize)]
struct Other {
    at: usize,
    #[serde(flatten)]
    layer: OtherLayer,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OtherLayer {
    Dense(DenseLayer),
    LayerNorm(LayerNormLayer),
}

impl From<&Architecture> for Stored {
    fn from(architecture: &Architecture) -> Self {
        let Architecture {
            features,
            network,
            embeddings,
            skip,
            groups,
            residual,
            layers: all,
            outputs,
            quantiles,
            scaling,
            pool,
            softmax,
            members,
            patch,
            segments,
            centred,
        } = architecture.clone();
        let (mut layers, mut head, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let last = all.iter().rposition(|layer| matches!(layer, Layer::Recurrent(_))).unwrap_or(0);
        for (at, layer) in all.into_iter().enumerate() {
            match layer {
                Layer::Recurrent(layer) => layers.push(layer),
                Layer::Dense(layer) if at > last => head.push(layer),
                Layer::Dense(layer) => others.push(Other { at, layer: OtherLayer::Dense(layer) }),
                Layer::LayerNorm(layer) => others.push(Other { at, layer: OtherLayer::LayerNorm(layer) }),
            }
        }
        Stored {
            features,
            network,
            skip,
            residual,
            layers,
            head,
            outputs,
            scaling,
            pool,
            softmax,
            quantiles,
            groups,
            others,
            members,
            patch,
            embeddings,
            segments,
            centred,
        }
    }
}

impl From<Stored> for Architecture {
    fn from(stored: Stored) -> Self {
        let Stored {
            features,
            network,
            skip,
            residual,
            layers: recurrent,
            head,
            outputs,
            scaling,
            pool,
            softmax,
            quantiles,
            groups,
            others,
            members,
            patch,
            embeddings,
            segments,
            centred,
        } = stored;
        let mut layers: Vec<Layer> =
            recurrent.into_iter().map(Layer::Recurrent).chain(head.into_iter().map(Layer::Dense)).collect();
        for Other { at, layer } in others {
            let layer = match layer {
                OtherLayer::Dense(layer) => Layer::Dense(layer),
                OtherLayer::LayerNorm(layer) => Layer::LayerNorm(layer),
            };
            layers.insert(at.min(layers.len()), layer);
        }
        Architecture {
            features,
            network,
            embeddings,
            skip,
            groups,
            residual,
            layers,
            outputs,
            quantiles,
            scaling,
            pool,
            softmax,
            members,
            patch,
            segments,
            centred,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::CellKind;
    use crate::network::testing::{mixed, plain, rich};
    use crate::network::{Architecture, Embedding, Layer, LayerNormLayer, Pool};

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
    fn members_come_back_and_one_is_not_written() {
        let several = Architecture { members: 3, ..rich() };
        let json = serde_json::to_string(&several).unwrap();
        assert_eq!(json, RICH.replace("\"scaling\":true}", "\"scaling\":true,\"members\":3}"));
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), several);
        let states: Vec<String> = several.states().into_iter().map(|pair| pair.input).collect();
        assert_eq!(states[..3], ["member_0/h_0", "member_0/c_0", "member_0/h_1"]);
        assert_eq!(states[states.len() - 1], "member_2/h_3");
        let none = Architecture { members: 0, ..rich() };
        assert!(none.validate().unwrap_err().to_string().contains("no member"));
    }

    #[test]
    fn segments_come_back_and_none_are_not_written() {
        let mut architecture = plain(2, &[(CellKind::Gru, 3)]);
        (architecture.pool, architecture.patch, architecture.outputs) = (Pool::Last, 4, 6);
        assert!(!serde_json::to_string(&architecture).unwrap().contains("segments"));
        architecture.segments = 3;
        let json = serde_json::to_string(&architecture).unwrap();
        assert!(json.ends_with(",\"patch\":4,\"segments\":3}"), "{json}");
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        architecture.validate().unwrap();
        let refused = |change: &dyn Fn(&mut Architecture)| {
            let mut changed = architecture.clone();
            change(&mut changed);
            changed.validate().unwrap_err().to_string()
        };
        assert!(refused(&|one| one.segments = 4).contains("6 outputs don't divide into 4 segments"));
        assert!(refused(&|one| one.patch = 1).contains("segments are decoded of windows in patches"));
        assert!(refused(&|one| one.centred = vec![2]).contains("what is centred is an input of the layers"));
        let centred = Architecture { centred: vec![1], ..architecture.clone() };
        let json = serde_json::to_string(&centred).unwrap();
        assert!(json.ends_with(",\"centred\":[1]}"), "{json}");
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), centred);
        // The layer takes 4 steps of 2 numbers.
        let embedding = |size| vec![Embedding { rows: 2, size }];
        assert!(refused(&|one| one.embeddings = embedding(8)).contains("no number of their own"));
        architecture.embeddings = embedding(7);
        architecture.validate().unwrap();
        assert_eq!((architecture.decoded_width(), architecture.output_width()), (Some(1), 2));
    }

    #[test]
    fn tables_of_vectors_come_back() {
        let mut architecture = plain(2, &[(CellKind::Gru, 3)]);
        architecture.embeddings = vec![Embedding { rows: 5, size: 4 }];
        let json = serde_json::to_string(&architecture).unwrap();
        assert!(json.ends_with(",\"embeddings\":[{\"rows\":5,\"size\":4}]}"), "{json}");
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        // Texts may be all there is.
        (architecture.features, architecture.network) = (0, vec![]);
        architecture.validate().unwrap();
        architecture.embeddings.clear();
        assert!(architecture.validate().unwrap_err().to_string().contains("must not be empty"));
    }

    #[test]
    fn quantiles_come_back_and_are_outputs_of_their_own() {
        let mut architecture = plain(2, &[(CellKind::Gru, 3)]);
        (architecture.outputs, architecture.quantiles) = (6, ["y_q10", "y", "y_q90"].map(String::from).to_vec());
        architecture.validate().unwrap();
        let json = serde_json::to_string(&architecture).unwrap();
        assert!(json.contains("\"quantiles\":[\"y_q10\",\"y\",\"y_q90\"]"), "{json}");
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), architecture);
        let signature = crate::network::Signature::of_own(&architecture, Vec::new(), &[], None);
        let outputs =
            signature.outputs.iter().map(|output| (&output.tensor.name[..], output.tensor.width(), &output.column[..]));
        let wanted = [("y", 2, "prediction"), ("y_q10", 2, "prediction_q10"), ("y_q90", 2, "prediction_q90")];
        assert_eq!(outputs.collect::<Vec<_>>(), wanted);
        architecture.outputs = 5;
        assert!(architecture.validate().unwrap_err().to_string().contains("3 quantiles of 5 outputs"));
        (architecture.outputs, architecture.quantiles[0]) = (6, "y_q90".into());
        assert!(architecture.validate().unwrap_err().to_string().contains("two quantiles have the same name"));
    }

    #[test]
    fn layers_of_any_order_come_back() {
        let json = serde_json::to_string(&mixed()).unwrap();
        assert!(json.contains("\"others\":[{\"at\":0,\"layer_norm\":{\"units\":2}},"), "{json}");
        assert_eq!(serde_json::from_str::<Architecture>(&json).unwrap(), mixed());
        mixed().validate().unwrap();
        let mut wrong = plain(2, &[(CellKind::Gru, 3)]);
        wrong.layers.push(Layer::LayerNorm(LayerNormLayer { units: 4 }));
        let message = wrong.validate().unwrap_err().to_string();
        assert!(message.contains("layer_norm_0 has 4 units over an input of 3"), "{message}");
    }
}
