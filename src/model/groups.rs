//! A version with a network for each group of keys: which record belongs to which, and what all of them take.
//!
//! All networks of a version take the same inputs and give the same outputs and states; they differ in their numbers,
//! and in what of the inputs their linear path reads. Must not live here: running them (`executor::grouped`), training
//! them (`train`).

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Manifest, registry};
use crate::network::{Architecture, Axis, Element, Feed, InputTensor, Signature, TensorSpec};
use crate::{Error, Result};

/// Networks beside that of `model.onnx`, which is for whatever has none of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// The column that tells the group of a record; `None`: the key does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The networks, by the number of their group from 1; group 0 is that of `model.onnx`.
    pub networks: Vec<GroupNetwork>,
}

/// The network of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupNetwork {
    /// The text in the column, or the key.
    pub value: String,
    /// The file of its graph.
    pub file: String,
    /// Its shape, where it isn't that of `model.onnx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Keys with a linear path of their own, as [`Manifest::keys`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

impl Groups {
    /// Name of the input with the number of a row's group; no graph takes it.
    pub const INPUT: &'static str = "per";

    /// Where the number of a row's group comes from.
    fn input(&self) -> InputTensor {
        let values: Vec<String> = self.networks.iter().map(|network| network.value.clone()).collect();
        let feed = match &self.column {
            Some(column) => Feed::Tokens { column: column.clone(), tokens: values },
            None => Feed::Key(values),
        };
        let shape = vec![Axis::Time, Axis::Batch];
        InputTensor { tensor: TensorSpec { name: Groups::INPUT.into(), element: Element::Int64, shape }, feed }
    }
}

impl Manifest {
    /// The manifest that the network of `model.onnx` would have if it were alone.
    pub fn of_shared(&self) -> Manifest {
        Manifest { groups: None, ..self.clone() }
    }

    /// The same of the network of a group, by that of the shared one.
    pub fn of_network(&self, network: &GroupNetwork) -> Manifest {
        Manifest {
            architecture: network.architecture.clone().or_else(|| self.architecture.clone()),
            keys: network.keys.clone(),
            ..self.clone()
        }
    }

    /// Keys with a linear path of their own in any network, in the order of the version's numbers for them.
    pub fn all_keys(&self) -> Vec<String> {
        let mut keys = self.keys.clone();
        let mut known: HashSet<&str> = self.keys.iter().map(String::as_str).collect();
        for network in self.groups.iter().flat_map(|groups| &groups.networks) {
            keys.extend(network.keys.iter().filter(|key| known.insert(key)).cloned());
        }
        keys
    }

    /// What the numbers of groups mean, in a few letters; empty where there are none.
    pub fn values(&self) -> String {
        let Some(groups) = &self.groups else { return String::new() };
        let values: Vec<&String> = groups.networks.iter().map(|network| &network.value).collect();
        format!(", values {}", registry::sha256(json!(values).to_string().as_bytes()))
    }

    /// What records have to give: the graph's tensors, and with networks of groups those of all of them, and the number
    /// of the group as the last input.
    ///
    /// # Errors
    /// As [`Manifest::signature`]; networks that take or give other tensors than `model.onnx`.
    pub fn interface(&self) -> Result<Signature> {
        let own = self.signature()?;
        let (Some(groups), Some(architecture)) = (&self.groups, &self.architecture) else { return Ok(own) };
        let shared = self.of_shared();
        let mut by_key = architecture.groups > 0;
        for network in &groups.networks {
            let alone = shared.of_network(network);
            let shape = alone.architecture.as_ref().unwrap_or(architecture);
            let of = alone.signature()?;
            let same = of.outputs == own.outputs
                && of.states == own.states
                && of.lengths == own.lengths
                && shape.features == architecture.features
                && shape.embeddings == architecture.embeddings;
            if !same {
                return Err(Error::refused(format!(
                    "the manifest of {} says that the network of \"{}\" takes or gives other tensors than its model.onnx: \
                     restore it or publish a new version",
                    self.name, network.value
                )));
            }
            by_key |= shape.groups > 0;
        }
        let keys = self.all_keys();
        let shape = Architecture { groups: if by_key { keys.len() + 1 } else { 0 }, ..architecture.clone() };
        let united = Manifest { architecture: Some(shape), keys, ..shared };
        let mut all = united.signature()?;
        all.inputs.push(groups.input());
        Ok(all)
    }
}
