//! Training that goes on with the weights of a version.
//!
//! Lives here: whether a version is the network that the plan wants, and what the training takes from it. Must not live
//! here: opening versions (`model::registry`).

use super::Plan;
use super::plan::input_text;
use super::scaling::Scaling;
use crate::config::Skip;
use crate::model::{Input, Manifest, Version, onnx::import};
use crate::network::{Architecture, Embedding, Layer, Tensor, Vocabulary};
use crate::{Error, Result};

/// What a training begins with instead of random numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The version, `name/3`.
    pub from: String,
    /// Its numbers, with those of its scaling.
    pub tensors: Vec<Tensor>,
}

impl Plan {
    /// Goes on with the weights of a version. Its scaling and its second biases stay: they belong to the weights.
    ///
    /// # Errors
    /// Refused if the version is another network than the plan's, both sides shown, or not a network of ours.
    pub fn start_from(&mut self, version: &Version) -> Result<()> {
        let from = format!("{}/{}", version.name, version.number);
        if !self.candidates.is_empty() {
            return Err(Error::refused(format!(
                "`layers: auto` chooses the layers of a training from scratch: to go on with {from}, write its layers"
            )));
        }
        let (architecture, tensors) = import::network(&version.onnx).map_err(|error| {
            Error::refused(format!(
                "training can't go on with {from}: {error}; of a model from Keras or PyTorch, import the weights instead \
                 of the graph (`kolk models import FILE.keras --pipeline PIPELINE`, or FILE.safetensors)"
            ))
        })?;
        let (there, mut here) = (&version.manifest, version.manifest.clone());
        if let Some(head) = self.head.with_classes(&there.classes) {
            self.architecture.outputs = head.outputs();
            self.head = head;
        }
        self.head.describe(&mut here);
        let sides = |part: fn(&Architecture) -> &Vec<usize>| {
            (chosen(&there.inputs, part(&architecture)), chosen(&self.inputs, part(&self.architecture)))
        };
        let lines = [
            ("inputs", sides(|architecture| &architecture.network)),
            ("embeddings", (tables(there, &architecture), self.tables())),
            ("layers", (layers(&architecture), layers(&self.architecture))),
            ("patch", (architecture.patch.to_string(), self.architecture.patch.to_string())),
            ("seeds", (architecture.members.to_string(), self.architecture.members.to_string())),
            ("targets", (there.targets.join(", "), here.targets.join(", "))),
            ("classes", (there.classes.join(", "), here.classes.join(", "))),
            ("horizon", (there.horizon.to_string(), here.horizon.to_string())),
            ("residual", sides(|architecture| &architecture.residual)),
            ("skip", self.sides_of_skip(there, &architecture)),
        ];
        let wrong: Vec<String> = lines
            .into_iter()
            .filter(|(_, (there, here))| there != here)
            .map(|(what, (there, here))| format!("{what}: {from} has {there}, the pipeline {here}"))
            .collect();
        if !wrong.is_empty() {
            return Err(Error::refused(format!(
                "{from} is another network than the pipeline's `train` section describes:\n  {}",
                wrong.join("\n  ")
            )));
        }
        // The lags of its linear path, and whose groups they are.
        there.inputs.iter().for_each(|input| {
            self.feature(input.clone());
        });
        self.keys.clone_from(&there.keys);
        for (own, there) in self.embeddings.iter_mut().zip(&there.vocabularies) {
            own.tokens.clone_from(&there.tokens);
        }
        self.architecture = architecture;
        self.start = Some(Start { from, tensors });
        Ok(())
    }

    /// What the linear path reads in the version and in the pipeline. That of `skip: ridge` is the version's, whatever
    /// lags it has, if it has one that reads the pipeline's columns.
    fn sides_of_skip(&self, there: &Manifest, architecture: &Architecture) -> (String, String) {
        let begins = there.inputs.starts_with(&self.inputs);
        match self.skip {
            Skip::Ridge if begins && !architecture.skip.is_empty() => (String::new(), String::new()),
            Skip::Ridge if architecture.skip.is_empty() => ("none".into(), "ridge".into()),
            _ => (chosen(&there.inputs, &architecture.skip), chosen(&self.inputs, &self.architecture.skip)),
        }
    }
}

/// What a version looks up, with the sizes of the vectors.
fn tables(there: &Manifest, architecture: &Architecture) -> String {
    let of = |(vocabulary, table): (&Vocabulary, &Embedding)| format!("{} ({})", vocabulary.of(), table.size);
    listed(there.vocabularies.iter().zip(&architecture.embeddings).map(of))
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl Plan {
    /// What the pipeline looks up, with the sizes of the vectors.
    fn tables(&self) -> String {
        let vocabularies = self.vocabularies();
        listed(
            vocabularies
                .iter()
                .zip(&self.embeddings)
                .map(|(vocabulary, own)| format!("{} ({})", vocabulary.of(), own.size)),
        )
    }
}

impl Start {
    /// What a member begins with: its own numbers, and those that all share.
    pub(super) fn member(&self, at: usize, of: usize) -> Start {
        let own = format!("member_{at}/");
        let numbers = self.tensors.iter().filter_map(|tensor| match tensor.name.strip_prefix(&own) {
            Some(name) if of > 1 => Some(Tensor { name: name.into(), ..tensor.clone() }),
            _ => (of == 1 || !tensor.name.starts_with("member_")).then(|| tensor.clone()),
        });
        Start { from: self.from.clone(), tensors: numbers.collect() }
    }

    /// The scaling of the version; neutral where it has none.
    pub(super) fn scaling(&self, plan: &Plan) -> Scaling {
        let mut scaling = Scaling::neutral(plan);
        for tensor in &self.tensors {
            let values = match tensor.name.as_str() {
                "scaling/mean" => &mut scaling.mean,
                "scaling/sd" => &mut scaling.sd,
                "scaling/out_mean" => &mut scaling.out_mean,
                "scaling/out_sd" => &mut scaling.out_sd,
                _ => continue,
            };
            *values = tensor.data.iter().map(|value| f64::from(*value)).collect();
        }
        scaling
    }
}

/// Features by their columns.
fn chosen(inputs: &[Input], indices: &[usize]) -> String {
    listed(indices.iter().filter_map(|index| inputs.get(*index)).map(input_text))
}

/// The layers in words, activations of recurrent ones too: `SimpleRNN(4, relu), Dense(1)`.
fn layers(architecture: &Architecture) -> String {
    let words = |layer: Layer| match layer {
        Layer::Recurrent(own) => match own.cell.form().activation {
            Some(activation) => format!("{}({}, {})", layer.keras_name(), own.units, activation.word()),
            None => layer.in_words(),
        },
        Layer::Dense(_) | Layer::LayerNorm(_) => layer.in_words(),
    };
    let words: Vec<String> = architecture.stack().iter().map(|placed| words(placed.layer)).collect();
    words.join(", ")
}
