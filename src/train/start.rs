//! Training that goes on with the weights of a version.
//!
//! Lives here: whether a version is the network that the plan wants, and what the training takes from it. Must not live
//! here: opening versions (`model::registry`).

use super::Plan;
use super::import::finite;
use super::plan::input_text;
use super::scaling::Scaling;
use crate::config::Skip;
use crate::model::{GroupNetwork, Groups, Input, Manifest, Version, onnx::import, weights};
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

/// What the training of a group begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStart {
    /// The group's value.
    pub value: String,
    /// The shape of its network.
    pub architecture: Architecture,
    /// Keys with a linear path of their own.
    pub keys: Vec<String>,
    /// Its numbers.
    pub start: Start,
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
        if let Some(groups) = &version.manifest.groups {
            self.has_groups(&from, groups)?;
        }
        if version.manifest.signature.is_some() {
            return self.start_from_graph(version, from);
        }
        let (architecture, tensors) = import::network(&version.onnx)
            .map_err(|error| Error::refused(format!("training can't go on with {from}: {error}")))?;
        let (there, mut here) = (&version.manifest, version.manifest.clone());
        // Those that the pipeline names are compared.
        let named = self.head.is_text() && self.head.outputs() > 0;
        if let Some(head) = self.head.with_classes(&there.classes).filter(|_| !named) {
            self.architecture.outputs = head.outputs();
            self.head = head;
        }
        self.head.describe(&mut here);
        let sides = |what, part: fn(&Architecture) -> &Vec<usize>| {
            (what, chosen(&there.inputs, part(&architecture)), chosen(&self.inputs, part(&self.architecture)))
        };
        let (skip_there, skip_here) = self.sides_of_skip(there, &architecture);
        let lines = [
            sides("inputs", |architecture| &architecture.network),
            ("embeddings", tables(there, &architecture), self.tables()),
            ("layers", layers(&architecture), layers(&self.architecture)),
            ("patch", architecture.patch.to_string(), self.architecture.patch.to_string()),
            ("decoder", decoder(&architecture), decoder(&self.architecture)),
            sides("subtract", |architecture| &architecture.centred),
            ("seeds", architecture.members.to_string(), self.architecture.members.to_string()),
            ("targets", there.targets.join(", "), here.targets.join(", ")),
            ("classes", there.classes.join(", "), here.classes.join(", ")),
            ("horizon", there.horizon.to_string(), here.horizon.to_string()),
            sides("residual", |architecture| &architecture.residual),
            ("skip", skip_there, skip_here),
        ];
        different(&from, lines)?;
        // The lags of its linear path, and whose groups they are.
        there.inputs.iter().for_each(|input| {
            self.feature(input.clone());
        });
        self.keys.clone_from(&there.keys);
        for (own, there) in self.embeddings.iter_mut().zip(&there.vocabularies) {
            own.tokens.clone_from(&there.tokens);
        }
        let networks = there.groups.iter().flat_map(|groups| &groups.networks);
        let starts = networks.map(|network| group_start(version, network, (&from, &architecture)));
        self.starts = starts.collect::<Result<_>>()?;
        self.architecture = architecture;
        self.start = Some(Start { from, tensors });
        Ok(())
    }

    /// Refuses a version whose groups are others than those of the plan.
    fn has_groups(&self, from: &str, groups: &Groups) -> Result<()> {
        let of = |column: Option<&str>| column.map_or("key".into(), |column| format!("value of \"{column}\""));
        let there = of(groups.column.as_deref());
        let here = match &self.per {
            Some(per) if per.column() == groups.column.as_deref() => return Ok(()),
            Some(per) => format!("the pipeline one for each {}", of(per.column())),
            None => "the pipeline one for all keys".into(),
        };
        let own = groups.column.as_deref().unwrap_or("key");
        Err(Error::refused(format!(
            "training can't go on with {from}, which has a network for each {there}, {here}: write `per: {own}`, name a \
             version that is one network, with which each network then begins, or train from scratch"
        )))
    }

    /// Goes on with the layers of a graph of others: what is published then is a network of ours.
    fn start_from_graph(&mut self, version: &Version, from: String) -> Result<()> {
        let there = &version.manifest;
        let refused = |error: Error| Error::refused(format!("training can't go on with {from}: {error}"));
        if let Some(state) = there.states.iter().find(|state| state.init != "zero") {
            return Err(refused(Error::refused(format!(
                "its state \"{}\" begins with {}, a state of ours with zeros",
                state.input, state.init
            ))));
        }
        let found = weights::of_graph(&version.onnx).map_err(refused)?;
        let own: Vec<String> = self.architecture.network.iter().map(|index| input_text(&self.inputs[*index])).collect();
        let mut here = there.clone();
        self.head.describe(&mut here);
        // A graph whose outputs aren't said to be forecasts has no targets.
        let names =
            |manifest: &Manifest| if there.targets.is_empty() { String::new() } else { manifest.targets.join(", ") };
        let ahead = |manifest: &Manifest| if there.targets.is_empty() { 0 } else { manifest.horizon };
        let lines = [
            ("inputs", listed(there.inputs.iter().map(input_text)), listed(own.into_iter())),
            ("embeddings", "none".into(), self.tables()),
            ("decoder", "dense".into(), decoder(&self.architecture)),
            ("subtract", "none".into(), chosen(&self.inputs, &self.architecture.centred)),
            ("targets", names(there), names(&here)),
            ("horizon", ahead(there).to_string(), ahead(&here).to_string()),
            ("quantiles", format!("{:?}", there.quantiles), format!("{:?}", here.quantiles)),
            ("residual", "none".into(), chosen(&self.inputs, &self.architecture.residual)),
        ];
        different(&from, lines)?;
        let (architecture, tensors) = found.fit(&self.architecture).map_err(refused)?;
        finite(&tensors).map_err(refused)?;
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

/// What the network of a group is in a version; `shared`: its label and the shape of its network of all keys.
fn group_start(version: &Version, network: &GroupNetwork, (from, shared): (&str, &Architecture)) -> Result<GroupStart> {
    let refused = |why: &str| {
        Error::refused(format!("training can't go on with {from}, {} of \"{}\": {why}", network.file, network.value))
    };
    let graph = version.files.get(&network.file).ok_or_else(|| refused("the version has no such file"))?;
    let (architecture, tensors) = import::network(graph).map_err(|error| refused(&error.to_string()))?;
    let alike = Architecture { skip: shared.skip.clone(), groups: shared.groups, ..architecture.clone() };
    if alike != *shared {
        return Err(refused("it is another network than that of all keys"));
    }
    let start = Start { from: from.to_string(), tensors };
    Ok(GroupStart { value: network.value.clone(), architecture, keys: network.keys.clone(), start })
}

/// Refuses what a version has otherwise than the pipeline, both sides shown.
fn different<const N: usize>(from: &str, lines: [(&str, String, String); N]) -> Result<()> {
    let wrong: Vec<String> = lines
        .into_iter()
        .filter(|(_, there, here)| there != here)
        .map(|(what, there, here)| format!("{what}: {from} has {there}, the pipeline {here}"))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{from} is another network than the pipeline's `train` section describes:\n  {}",
        wrong.join("\n  ")
    )))
}

fn decoder(architecture: &Architecture) -> String {
    if architecture.segments > 0 { "position".into() } else { "dense".into() }
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
