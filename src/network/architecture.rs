//! The shape of a network: its layers in order and the named paths parallel to them, without its numbers. Must not live
//! here: its numbers by name (`tensors`), any arithmetic (`kernel`, `train`).

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::stored::Stored;
use super::{DenseLayer, Layer, Pool, RecurrentLayer, StatePair, quantiles};
use crate::kernel::Activation;
use crate::{Error, Result};

/// Shape of a network: everything but its numbers.
///
/// With several members, `output(layers(z))` is the mean of theirs, summed in their order.
/// `y = out_sd * (output(layers(z[network], embeddings)) + skip(z[skip])) + out_mean + x[residual]` with
/// `z = (x - mean) / sd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    /// Features of `x`.
    pub features: usize,
    /// Indices into `x` of what feeds the first layer.
    pub network: Vec<usize>,
    /// Tables of vectors that the first layer takes after those features, each looked up by an input of ids of its own.
    pub embeddings: Vec<Embedding>,
    /// Indices into `x` of the inputs of the linear path parallel to the layers; empty: there is none.
    pub skip: Vec<usize>,
    /// Groups of keys that have a linear path each, chosen by the second input `group`; 0: all have the same.
    pub groups: usize,
    /// Per output, the index into `x` of what is added to it unscaled; empty: nothing is added to any.
    pub residual: Vec<usize>,
    /// Layers, first to last, before the output layer. Each takes what the one before gives.
    pub layers: Vec<Layer>,
    /// Width of the output layer, a dense one without activation. With quantiles, [quantiles, the same for each].
    pub outputs: usize,
    /// Names of the graph's outputs by ascending quantile, see [`quantiles`]; empty: there is one, `y`.
    pub quantiles: Vec<String>,
    /// Whether `mean`, `sd`, `out_mean`, `out_sd` are part of the network (false: as if 0 and 1). With `softmax` there
    /// are only the first two.
    pub scaling: bool,
    /// What is made of the outputs of the last recurrent layer over a sequence: then `y` has no time.
    pub pool: Pool,
    /// Whether the outputs are the probabilities of classes.
    pub softmax: bool,
    /// Networks of these layers side by side, each with numbers and states of its own; what is published is the mean of
    /// their outputs before the linear path, the scaling and the softmax. 1: there is one network.
    pub members: usize,
    /// Steps of a window that are one input of the first layer, side by side: a timestep of the layers is so many
    /// steps, and `y` is of the window, [B, outputs]. 1: each step is one.
    pub patch: usize,
    /// Segments of the outputs that are decoded each by one more step of the last recurrent layer from its state after
    /// the window, see [`Architecture::decoded_width`]; the layers above it and the output layer are of a segment.
    /// 0: the outputs are made of that state at once.
    pub segments: usize,
    /// Indices into `x`, among those of `network`, from which the layers get what each step differs by from the last
    /// one of the window, `z = (x - last) / sd`; empty: none is.
    pub centred: Vec<usize>,
}

/// A table of vectors, one for each id; id 0 is whatever the vocabulary doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// Ids, 0 included.
    pub rows: usize,
    /// Numbers of a vector.
    pub size: usize,
}

/// A layer in its place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLayer {
    /// What its tensors' names begin with: `recurrent_0`, `dense_0`, `output`.
    pub name: String,
    /// Width of its input.
    pub inputs: usize,
    /// The layer.
    pub layer: Layer,
}

impl Architecture {
    /// Width of what the first layer takes of a step.
    pub fn first_width(&self) -> usize {
        self.network.len() + if self.segments == 0 { self.embedded_width() } else { 0 }
    }

    /// Numbers of the vectors of all embeddings.
    pub fn embedded_width(&self) -> usize {
        self.embeddings.iter().map(|embedding| embedding.size).sum()
    }

    /// Index of the last recurrent layer.
    pub fn last_recurrent(&self) -> Option<usize> {
        self.layers.iter().rposition(|layer| matches!(layer, Layer::Recurrent(_)))
    }

    /// Width of a segment's own vector: with those of the embeddings it is what the last recurrent layer takes. `None`
    /// where nothing is decoded so.
    pub fn decoded_width(&self) -> Option<usize> {
        let inputs = self.stack().get(self.last_recurrent()?)?.inputs;
        (self.segments > 0).then(|| inputs.saturating_sub(self.embedded_width()))
    }

    /// Width of the output layer: of all outputs, or of those of a segment.
    pub fn output_width(&self) -> usize {
        self.outputs / self.segments.max(1)
    }

    /// The same with one member.
    pub fn single(&self) -> Architecture {
        Architecture { members: 1, ..self.clone() }
    }

    /// What the names of each member's tensors and states begin with: nothing where there is one.
    pub fn prefixes(&self) -> impl Iterator<Item = String> {
        let several = self.members > 1;
        (0..self.members).map(move |member| if several { format!("member_{member}/") } else { String::new() })
    }

    /// All layers of a member in order, the output layer last, each with its name and the width of its input.
    pub fn stack(&self) -> Vec<PlacedLayer> {
        let mut inputs = self.first_width() * self.patch;
        let mut stack: Vec<PlacedLayer> = Vec::with_capacity(self.layers.len() + 1);
        for (i, layer) in self.layers.iter().enumerate() {
            let before = self.layers[..i].iter().filter(|other| other.prefix() == layer.prefix()).count();
            stack.push(PlacedLayer { name: format!("{}_{before}", layer.prefix()), inputs, layer: *layer });
            inputs = layer.units();
        }
        let layer = Layer::Dense(DenseLayer { units: self.output_width(), activation: Activation::Linear });
        stack.push(PlacedLayer { name: "output".into(), inputs, layer });
        stack
    }

    /// The recurrent layers of a member, first to last.
    pub fn recurrent(&self) -> impl Iterator<Item = &RecurrentLayer> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Recurrent(layer) => Some(layer),
            Layer::Dense(_) | Layer::LayerNorm(_) => None,
        })
    }

    /// The state pairs of the graph: `h_<i>`, and `c_<i>` for an LSTM, in the order of recurrent layers; a layer of
    /// both directions has none. For a mean over the sequence `pool_sum`, the sum so far, and `pool_count`, its steps
    /// so far. With several members they are `member_0/h_0` and so on, the first member's before the second's.
    pub fn states(&self) -> Vec<StatePair> {
        let pair = |name: String, units: usize| StatePair {
            output: format!("{name}_out"),
            input: name,
            shape: vec![units],
            init: "zero".into(),
        };
        let mut states = Vec::new();
        for prefix in self.prefixes() {
            for (i, layer) in self.recurrent().enumerate().filter(|(_, layer)| !layer.bidirectional) {
                let names = layer.cell.form().states.iter().map(|letter| format!("{prefix}{letter}_{i}"));
                states.extend(names.map(|name| pair(name, layer.units)));
            }
            if self.pool == Pool::Mean && !self.is_bidirectional() {
                let width = self.recurrent().last().map_or(0, RecurrentLayer::width);
                states.extend([pair(format!("{prefix}pool_sum"), width), pair(format!("{prefix}pool_count"), 1)]);
            }
        }
        states
    }

    /// Whether a layer runs in both directions of time: then a sequence is run at once, without state.
    pub fn is_bidirectional(&self) -> bool {
        self.recurrent().any(|layer| layer.bidirectional)
    }

    /// Whether the graph takes `lengths` [B], the steps of each sequence. A window of patches is always whole.
    pub fn takes_lengths(&self) -> bool {
        self.patch == 1 && (!self.pool.is_none() || self.is_bidirectional())
    }

    /// The graph's outputs with the width of each: the median, or all there is, first; then the other quantiles,
    /// ascending.
    pub fn graph_outputs(&self) -> Vec<(&str, usize)> {
        let width = self.outputs / self.quantiles.len().max(1);
        let others = self.quantiles.iter().map(String::as_str).filter(|name| *name != quantiles::MAIN);
        std::iter::once(quantiles::MAIN).chain(others).map(|name| (name, width)).collect()
    }

    /// Whether the outputs are brought into the units of the target.
    pub fn scales_outputs(&self) -> bool {
        self.scaling && !self.softmax
    }

    /// Refuses an architecture that no graph can have: no layer, widths of zero, indices outside of `x`.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Vec::new();
        let recurrent = self.recurrent().count();
        let without = self.embeddings.is_empty() && (self.features == 0 || self.network.is_empty());
        if without || self.outputs == 0 || recurrent == 0 {
            wrong.push("features, network, layers and outputs must not be empty".to_owned());
        }
        if self.members == 0 {
            wrong.push("there is no member".to_owned());
        }
        for (what, indices) in [("network", &self.network), ("skip", &self.skip), ("residual", &self.residual)] {
            if let Some(index) = indices.iter().find(|index| **index >= self.features) {
                wrong.push(format!("{what} names input {index} of {} (they count from 0)", self.features));
            }
        }
        if self.embeddings.iter().any(|embedding| embedding.rows == 0 || embedding.size == 0) {
            wrong.push("an embedding has no rows or no numbers".to_owned());
        }
        if self.groups > 0 && self.skip.is_empty() {
            wrong.push("there are groups, but no skip path for them".to_owned());
        }
        if !self.residual.is_empty() && self.residual.len() != self.outputs {
            wrong.push(format!("residual has {} entries for {} outputs", self.residual.len(), self.outputs));
        }
        if self.centred.iter().any(|index| !self.network.contains(index)) || !self.centred.is_empty() && self.patch < 2
        {
            wrong.push("what is centred is an input of the layers, of windows in patches".to_owned());
        }
        if self.patch == 0 {
            wrong.push("a patch has no steps".to_owned());
        }
        self.check_segments(&mut wrong);
        if self.patch > 1 && (self.pool != Pool::Last || !self.embeddings.is_empty() && self.segments == 0) {
            wrong.push("patches are of windows of numbers, whose last state counts".to_owned());
        }
        let is_sequence = !self.pool.is_none() && self.patch == 1;
        if !(self.skip.is_empty() && self.residual.is_empty()) && (self.softmax || is_sequence) {
            wrong.push("classes and sequences have no linear path and nothing that is added".to_owned());
        }
        if !self.quantiles.is_empty() {
            let (count, main) = (self.quantiles.len(), |name: &&String| *name == quantiles::MAIN);
            if self.quantiles.iter().filter(main).count() != 1 || !self.outputs.is_multiple_of(count) || self.softmax {
                wrong.push(format!(
                    "{count} quantiles of {} outputs: one of them is `{}`, none is of classes",
                    self.outputs,
                    quantiles::MAIN
                ));
            }
            let mut names: Vec<&String> = self.quantiles.iter().collect();
            names.sort();
            names.dedup();
            if names.len() < count {
                wrong.push("two quantiles have the same name".to_owned());
            }
        }
        if self.layers.iter().any(|layer| layer.units() == 0) {
            wrong.push("a layer has no units".to_owned());
        }
        let takes_lengths = self.takes_lengths();
        if let Some(layer) = self.recurrent().find(|layer| layer.cell.form().operator().is_none() && takes_lengths) {
            let name = layer.cell.form().keras_name;
            wrong.push(format!("{name} runs over rows in one direction alone, not over whole sequences"));
        }
        let is_apart =
            |placed: &PlacedLayer| matches!(placed.layer, Layer::LayerNorm(layer) if layer.units != placed.inputs);
        if let Some(placed) = self.stack().into_iter().find(is_apart) {
            let (units, inputs) = (placed.layer.units(), placed.inputs);
            wrong.push(format!("{} has {units} units over an input of {inputs}", placed.name));
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::refused(format!("architecture: {}", wrong.join("; ")))) }
    }

    /// What is wrong about decoding by segments.
    fn check_segments(&self, wrong: &mut Vec<String>) {
        if self.segments == 0 {
            return;
        }
        if self.patch < 2 || self.softmax {
            wrong.push("segments are decoded of windows in patches, and are numbers".to_owned());
        }
        let of_quantile = self.outputs / self.quantiles.len().max(1);
        if !of_quantile.is_multiple_of(self.segments) {
            let (outputs, segments) = (self.outputs, self.segments);
            wrong.push(format!("{outputs} outputs don't divide into {segments} segments"));
        }
        if self.recurrent().last().is_some_and(|layer| layer.bidirectional) {
            wrong.push("a layer of both directions has no state to decode segments from".to_owned());
        }
        if self.decoded_width() == Some(0) {
            wrong.push("the embeddings leave the segments no number of their own".to_owned());
        }
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Stored::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Stored::deserialize(deserializer).map(Architecture::from)
    }
}
