//! Which id a text or a key has: what a version keeps for each of its embeddings.
//!
//! Lives here: the list, and the input of the graph that it feeds. Must not live here: how it is learned (`train`),
//! reading the ids of rows (`stage::infer`).

use serde::{Deserialize, Serialize};

use super::{Architecture, Axis, Element, Feed, InputTensor, Signature, TensorSpec};

/// The ids of an embedding: what its table has a vector for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// The column of its texts; `None`: they are keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The texts by id, from 1; id 0 is any other one, and null.
    pub tokens: Vec<String>,
}

impl Vocabulary {
    /// What it is of, in words.
    pub fn of(&self) -> &str {
        self.column.as_deref().unwrap_or("the key")
    }

    /// What feeds the input of ids.
    pub fn feed(&self) -> Feed {
        match &self.column {
            Some(column) => Feed::Tokens { column: column.clone(), tokens: self.tokens.clone() },
            None => Feed::Key(self.tokens.clone()),
        }
    }
}

/// Name of the input of ids of an embedding.
pub fn ids_name(embedding: usize) -> String {
    format!("ids_{embedding}")
}

impl Signature {
    /// With an input of ids, int64 [time, batch], for each embedding; and without `x` if the network has no features.
    pub fn with_embeddings(mut self, architecture: &Architecture, vocabularies: &[Vocabulary]) -> Signature {
        if architecture.features == 0 {
            self.inputs.retain(|input| input.tensor.name != "x");
        }
        self.inputs.extend(vocabularies.iter().enumerate().map(|(i, vocabulary)| InputTensor {
            tensor: TensorSpec { name: ids_name(i), element: Element::Int64, shape: vec![Axis::Time, Axis::Batch] },
            feed: vocabulary.feed(),
        }));
        self
    }
}
