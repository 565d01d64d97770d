//! What a version of a model promises: the manifest next to `model.onnx`. Must not live here: what the network is
//! (`network`), where versions are kept (`registry`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Groups, registry};
pub use crate::network::Input;
use crate::network::{Ahead, Architecture, Pool, Signature, StatePair, Vocabulary};
use crate::{Error, Result};

/// `manifest.json`. Holds no wall time: the same data, seed and program write the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the manifest itself; 1.
    pub format: u32,
    /// Name of the model in the registry.
    pub name: String,
    /// `carry`, `window` or `sequence`.
    pub kind: ModelKind,
    /// Form of recurrent layers in the graph; `operator`: the ONNX operators RNN, LSTM, GRU.
    pub form: String,
    /// Whether equal rows give equal bits in every batch.
    pub bitwise: bool,
    /// Rows of a window, for kind window.
    pub window: Option<usize>,
    /// The features of `x`, in order.
    pub inputs: Vec<Input>,
    /// State pairs, in the order of layers; also in the graph's metadata under `kolk.states`.
    pub states: Vec<StatePair>,
    /// Steps ahead; `y` holds one output for each of 1..=horizon and each target, [horizon, targets] flattened.
    pub horizon: usize,
    /// Columns that are forecast.
    pub targets: Vec<String>,
    /// Quantiles; empty for point forecasts.
    pub quantiles: Vec<f64>,
    /// The classes whose probabilities the outputs are, in their order; empty for numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Whether the outputs of kind carry are the tokens of transcripts; see [`Manifest::makes_transcripts`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transcripts: bool,
    /// What is made of the steps of a sequence.
    #[serde(default, skip_serializing_if = "Pool::is_none")]
    pub pool: Pool,
    /// The stages before the network in training, canonical (see `stage::describe`); compared before a start.
    pub stages: Vec<serde_json::Value>,
    /// Rows of a new key before its predictions are within 1 % of a warm one's; such rows are flagged.
    pub warm_up: usize,
    /// Seed of the training.
    pub seed: u64,
    /// sha256 of the training data.
    pub data_hash: String,
    /// Errors on the held-out time, by name.
    pub metrics: BTreeMap<String, f64>,
    /// The network's shape; `None` for the graphs of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// The tensors of a graph of others; our own are those of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Keys with a linear path of their own, in the order of its groups from 1; group 0 is that of all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What the embeddings have vectors for, in the order of the architecture's; their ids are the graph's inputs
    /// `ids_0`, `ids_1`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabularies: Vec<Vocabulary>,
    /// The networks of groups of keys; `None`: one network is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    /// What was proved when a graph of others was imported, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<String>,
    /// Where its first numbers are from, if not from the seed: a version, `name/3`, or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// ONNX opset of the graph.
    pub opset: i64,
    /// ONNX IR version of the file.
    pub ir_version: i64,
    /// ONNX Runtime that it was checked with.
    pub onnx_runtime: String,
    /// Version of the tz database that it was trained with, where a time zone mattered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz_database: Option<String>,
    /// sha256 of each file of the version but this one.
    pub files: BTreeMap<String, String>,
}

/// How a model uses state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// State carried from record to record.
    Carry,
    /// From zero state over the last `window` records; the last output counts.
    Window,
    /// From zero state over the records of a sequence; one output at its end.
    Sequence,
}

impl Manifest {
    /// What tells the version from another one of its number: the sha256 of its graph. For the graphs of others that of
    /// all that results depend on, since other columns or another initial state leave the graph as it is; so do other
    /// vocabularies.
    pub fn hash(&self) -> String {
        let graph = || self.files.get(registry::MODEL).cloned().unwrap_or_default();
        if let Some(groups) = &self.groups {
            let graphs: Vec<_> = groups.networks.iter().map(|network| self.files.get(&network.file)).collect();
            let all =
                json!({ "graph": graph(), "vocabularies": self.vocabularies, "groups": groups, "graphs": graphs });
            return registry::sha256(all.to_string().as_bytes());
        }
        if !self.vocabularies.is_empty() {
            let all = json!({ "graph": graph(), "vocabularies": self.vocabularies });
            return registry::sha256(all.to_string().as_bytes());
        }
        let Some(signature) = &self.signature else { return graph() };
        let mut files = self.files.clone();
        files.remove(registry::REPORT);
        let all = json!({ "signature": signature, "files": files, "window": self.window, "warm_up": self.warm_up });
        registry::sha256(all.to_string().as_bytes())
    }

    /// What the ids of its inputs mean, in a few letters; empty where there are none.
    pub fn ids(&self) -> String {
        let keys = self.all_keys();
        match self.vocabularies.is_empty() && keys.is_empty() {
            true => String::new(),
            false => format!(", ids {}", registry::sha256(json!([self.vocabularies, keys]).to_string().as_bytes())),
        }
    }

    /// Whether it makes a text of each sequence: its outputs are the probabilities of tokens at each step. The last
    /// class is the blank; its name is what stands between two tokens.
    pub fn makes_transcripts(&self) -> bool {
        let of_sequence = self.kind == ModelKind::Sequence && self.pool.is_none();
        (of_sequence || self.transcripts) && !self.classes.is_empty()
    }

    /// Whether a sequence is run at once, when it has ended.
    pub fn sees_whole_sequences(&self) -> bool {
        let is_bidirectional = self.architecture.as_ref().is_some_and(Architecture::is_bidirectional);
        self.kind == ModelKind::Sequence && (is_bidirectional || self.makes_transcripts())
    }

    /// The graph's tensors.
    ///
    /// # Errors
    /// A manifest that has neither a signature nor an architecture.
    pub fn signature(&self) -> Result<Signature> {
        match (&self.signature, &self.architecture) {
            (Some(signature), _) => Ok(signature.clone()),
            (None, Some(architecture)) => {
                let tables = self.vocabularies.iter().map(|vocabulary| vocabulary.tokens.len() + 1);
                if !tables.eq(architecture.embeddings.iter().map(|table| table.rows)) {
                    return Err(Error::refused(format!(
                        "the manifest of {} has other vocabularies than its network has tables: restore it or publish a \
                         new version",
                        self.name
                    )));
                }
                // Where the network has quantiles, each is an output of its own.
                let of_each = if architecture.quantiles.is_empty() { self.quantiles.len() } else { 0 };
                let forecast = Ahead { targets: self.targets.clone(), horizon: self.horizon, quantiles: of_each };
                // Classes and numbers of a sequence are about no row ahead.
                let forecast = (self.classes.is_empty() && self.horizon > 0).then_some(forecast);
                let signature = Signature::of_own(architecture, self.inputs.clone(), &self.keys, forecast);
                Ok(signature.with_embeddings(architecture, &self.vocabularies))
            }
            (None, None) => Err(Error::refused(format!(
                "the manifest of {} has neither signature nor architecture: restore it or publish a new version",
                self.name
            ))),
        }
    }
}
