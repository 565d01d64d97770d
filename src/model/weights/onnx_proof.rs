//! Whether the layers that were read from a graph compute what the graph computes: both are run on random inputs, from
//! zero state. Must not live here: reading the graph (`onnx_layers`).

use super::end::two_classes;
use super::onnx_layers::Read;
use super::{End, Found, FoundLayer};
use crate::model::executor::trial::Trial;
use crate::model::onnx::proto::{GraphProto, ModelProto, TensorProto, tensor_proto::DataType};
use crate::model::onnx::view::{self, Dim};
use crate::model::onnx::{export, import, values};
use crate::network::{Architecture, Layer, Pool, Tensor};
use crate::{Error, Result};

/// Two networks are equal if no output differs by more than this, relative to how far the outputs are spread.
const TOLERANCE: f64 = 1e-5;
/// Sequences of a run where the graph takes several, and steps where it takes any number.
const SEQUENCES: usize = 3;
const STEPS: usize = 7;
/// Of the inputs, in their standard deviations.
const SCALES: [f32; 2] = [1.0, 3.0];

/// Which axis of an input is what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// [sequences, steps, numbers]
    BatchFirst,
    /// [steps, sequences, numbers]
    TimeFirst,
    /// [sequences, numbers] of one step.
    Step,
    /// [steps, numbers] of one sequence.
    Sequence,
}

impl Layout {
    fn shape(self, steps: usize, sequences: usize, width: usize) -> Vec<usize> {
        match self {
            Layout::BatchFirst => vec![sequences, steps, width],
            Layout::TimeFirst => vec![steps, sequences, width],
            Layout::Step => vec![sequences, width],
            Layout::Sequence => vec![steps, width],
        }
    }

    /// Which axis holds the steps.
    fn time(self) -> Option<usize> {
        match self {
            Layout::BatchFirst => Some(1),
            Layout::TimeFirst | Layout::Sequence => Some(0),
            Layout::Step => None,
        }
    }
}

/// What is left of `read` after both were run: the layers, with the window that the graph takes.
pub(super) fn prove(original: &ModelProto, read: Read) -> Result<Found> {
    let graph = original.graph.as_ref().ok_or_else(|| Error::refused("the file holds no graph"))?;
    let info = graph.input.iter().find(|info| info.name() == read.ends.input);
    let dims = info.and_then(view::dims).ok_or_else(|| {
        Error::refused(format!(
            "input \"{}\" has no declared axes: export it with their sizes or names",
            read.ends.input
        ))
    })?;
    let layouts: &[Layout] = match dims.len() {
        3 => &[Layout::BatchFirst, Layout::TimeFirst],
        2 => &[Layout::Step, Layout::Sequence],
        n => {
            return Err(Error::refused(format!(
                "input \"{}\" has {n} axes: two or three are expected",
                read.ends.input
            )));
        }
    };
    let is_both = |layer: &FoundLayer| matches!(layer.layer, Layer::Recurrent(own) if own.bidirectional);
    let both_ways = read.found.layers.iter().any(is_both);
    let pools: &[Pool] = match (read.means, both_ways) {
        (true, _) => &[Pool::Mean],
        (false, true) => &[Pool::Last, Pool::None],
        // The last output is that of the last state.
        (false, false) => &[Pool::None],
    };
    let mut best: Option<(Apart, Pool, Layout)> = None;
    let mut failed = None;
    for pool in pools {
        let (architecture, tensors) = network(&read.found, *pool);
        let own = import::model(&export::onnx(&architecture, &tensors, "weights")?)?;
        let mut pair = Pair {
            own: Trial::new(&own)?,
            theirs: Trial::new(original)?,
            own_graph: own.graph,
            graph,
            read: &read,
            architecture: &architecture,
            tensors: &tensors,
        };
        for layout in layouts {
            match pair.apart(*layout, &dims) {
                Ok(apart) if best.is_none_or(|(least, ..)| apart.apart < least.apart) => {
                    best = Some((apart, *pool, *layout));
                }
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    let Some((apart, pool, layout)) = best else {
        return Err(failed.unwrap_or_else(|| Error::refused("the graph can't be run")));
    };
    let Apart { apart, once } = apart;
    let mixes = both_ways && pool == Pool::None && once && apart <= TOLERANCE;
    if mixes {
        return Err(Error::refused(
            "the graph takes the outputs of both directions at the last step (such as PyTorch's `out[:, -1]`), where the \
             backward direction has seen one step alone: ours takes the state of each direction after its own last step \
             (`torch.cat((h[-2], h[-1]), -1)`, as Keras' Bidirectional does). Change the model so, or train from scratch",
        ));
    }
    if apart > TOLERANCE {
        let layers: Vec<String> = read.found.layers.iter().map(|layer| layer.layer.in_words()).collect();
        return Err(Error::refused(format!(
            "the graph computes something else than its layers in a row ({}): from zero state, outputs differ by {apart:.1e} \
             of their spread",
            layers.join(", ")
        )));
    }
    let window = layout.time().and_then(|axis| dims.get(axis)).and_then(|dim| match dim {
        Dim::Fixed(steps) if *steps > 1 => Some(*steps),
        _ => None,
    });
    let Read { mut found, .. } = read;
    found.window = window;
    found.pool = Some(if pool.is_none() && once { Pool::Last } else { pool });
    Ok(found)
}

/// The layers alone, as a network of ours.
fn network(found: &Found, pool: Pool) -> (Architecture, Vec<Tensor>) {
    let inputs = found.layers.first().map_or(0, |layer| layer.inputs);
    let mut layers = found.layers.clone();
    if found.end == End::Sigmoid {
        layers.last_mut().into_iter().for_each(two_classes);
    }
    let end = layers.len().saturating_sub(1);
    let architecture = Architecture {
        features: inputs,
        network: (0..inputs).collect(),
        embeddings: vec![],
        skip: vec![],
        groups: 0,
        residual: vec![],
        layers: layers[..end].iter().map(|layer| layer.layer).collect(),
        outputs: layers.last().map_or(0, |layer| layer.layer.units()),
        quantiles: vec![],
        scaling: found.inputs.is_some() || found.outputs.is_some(),
        pool,
        softmax: found.end != End::Numbers,
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let mut tensors = if architecture.scaling { found.scaling(&architecture) } else { Vec::new() };
    for (placed, layer) in architecture.stack().iter().zip(&layers) {
        let named = |tensor: &Tensor| Tensor { name: format!("{}/{}", placed.name, tensor.name), ..tensor.clone() };
        tensors.extend(layer.tensors.iter().map(named));
    }
    (architecture, tensors)
}

/// How far both are apart, and whether theirs gives one output for all steps of a run.
#[derive(Debug, Clone, Copy)]
struct Apart {
    apart: f64,
    once: bool,
}

/// What is run.
struct Sizes {
    runs: usize,
    /// Of a run.
    steps: usize,
    sequences: usize,
    /// Steps of each sequence that count.
    lengths: Vec<usize>,
}

struct Pair<'a> {
    own: Trial,
    theirs: Trial,
    own_graph: Option<GraphProto>,
    graph: &'a GraphProto,
    read: &'a Read,
    architecture: &'a Architecture,
    tensors: &'a [Tensor],
}

impl Pair<'_> {
    /// The largest difference of both in that layout.
    fn apart(&mut self, layout: Layout, dims: &[Dim]) -> Result<Apart> {
        let size = |axis: usize, open: usize| match dims.get(axis) {
            Some(Dim::Fixed(size)) => *size,
            _ => open,
        };
        let (steps, sequences) = match layout {
            Layout::BatchFirst => (size(1, STEPS), size(0, SEQUENCES)),
            Layout::TimeFirst => (size(0, STEPS), size(1, SEQUENCES)),
            Layout::Step => (1, size(0, SEQUENCES)),
            Layout::Sequence => (size(0, STEPS), 1),
        };
        let first = self.apart_of(layout, steps, sequences);
        // An axis can be open by its name and fixed by the nodes.
        if first.is_err() && sequences > 1 { self.apart_of(layout, steps, 1) } else { first }
    }

    fn apart_of(&mut self, layout: Layout, steps: usize, sequences: usize) -> Result<Apart> {
        // Graphs of one step carry their states on.
        let runs = if steps == 1 && !self.read.ends.states.is_empty() { STEPS } else { 1 };
        // Packed sequences come with the longest one first.
        let length = |at: usize| steps.saturating_sub(2 * at).max(1);
        let lengths = match self.read.ends.lengths {
            Some(_) => (0..sequences).map(length).collect(),
            None => vec![runs * steps; sequences],
        };
        let sizes = Sizes { runs, steps, sequences, lengths };
        let mut largest = Apart { apart: 0.0, once: false };
        for (at, scale) in SCALES.into_iter().enumerate() {
            let x = random(at as u64, [runs * steps, sequences, self.architecture.features], scale, self.tensors);
            let own = self.of_own(&sizes, &x)?;
            let theirs = self.of_theirs(layout, &sizes, &x)?;
            let one = self.difference(layout, &sizes, &own, &theirs)?;
            largest = Apart { apart: largest.apart.max(one.apart), once: one.once };
        }
        Ok(largest)
    }

    /// Our outputs [steps, sequences, outputs], or [sequences, outputs] of all steps.
    fn of_own(&mut self, sizes: &Sizes, x: &[f32]) -> Result<Vec<f32>> {
        let Some(graph) = &self.own_graph else { return Ok(Vec::new()) };
        let (all, sequences) = (sizes.runs * sizes.steps, sizes.sequences);
        let mut given = vec![values::floats("x", &[all, sequences, self.architecture.features], x)];
        if self.architecture.takes_lengths() {
            given.push(counts("lengths", DataType::Int32, &sizes.lengths));
        }
        given.extend(zeros(graph, &|name| !matches!(name, "x" | "lengths"), sequences)?);
        numbers(&self.own.run(&given)?, "y")
    }

    /// Their outputs, one run after the other, each in the graph's own order.
    fn of_theirs(&mut self, layout: Layout, sizes: &Sizes, x: &[f32]) -> Result<Vec<Vec<f32>>> {
        let Sizes { runs, steps, sequences, ref lengths } = *sizes;
        let width = self.architecture.features;
        let ends = &self.read.ends;
        let mut states =
            zeros(self.graph, &|name| name != ends.input && Some(name) != ends.lengths.as_deref(), sequences)?;
        let of_lengths = ends.lengths.as_ref().and_then(|name| {
            let info = self.graph.input.iter().find(|info| info.name() == name)?;
            Some(counts(name, DataType::try_from(view::element(info)?).ok()?, lengths))
        });
        let mut made = Vec::new();
        for chunk in x.chunks_exact(steps * sequences * width).take(runs) {
            let turned = match layout {
                Layout::BatchFirst => exchanged(chunk, steps, sequences, width),
                _ => chunk.to_vec(),
            };
            let mut given =
                vec![values::floats(&self.read.ends.input, &layout.shape(steps, sequences, width), &turned)];
            given.extend(states.iter().chain(&of_lengths).cloned());
            let outputs = self.theirs.run(&given)?;
            made.push(numbers(&outputs, &self.read.ends.output)?);
            for state in &mut states {
                let next = self.read.ends.states.iter().find(|(input, _)| input == state.name());
                if let Some(next) = next.and_then(|(_, out)| outputs.iter().find(|made| made.name() == out)) {
                    *state = TensorProto { name: state.name.clone(), ..next.clone() };
                }
            }
        }
        Ok(made)
    }

    /// The largest difference, relative to the spread of each output. Theirs are of all steps, or one of each run.
    fn difference(&self, layout: Layout, sizes: &Sizes, own: &[f32], theirs: &[Vec<f32>]) -> Result<Apart> {
        let Sizes { steps, sequences, ref lengths, .. } = *sizes;
        let (outputs, end) = (self.architecture.outputs, self.read.found.end);
        // Of two classes theirs gives the second one's probability alone.
        let given = if end == End::Sigmoid { 1 } else { outputs };
        let of_own = |step: usize, sequence: usize, output: usize| {
            let row = if self.architecture.pool.is_none() { step * sequences + sequence } else { sequence };
            let value = f64::from(own[row * outputs + output + outputs - given]);
            if end == End::LogSoftmax { value.ln() } else { value }
        };
        let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); given];
        let mut once = false;
        for (run, theirs) in theirs.iter().enumerate() {
            let of_all = theirs.len() == steps * sequences * given;
            once = !of_all;
            if !of_all && theirs.len() != sequences * given {
                return Err(Error::refused(format!(
                    "the graph gives {} numbers for {sequences} sequences of {steps} steps, its last layer {given} a step",
                    theirs.len()
                )));
            }
            if of_all && steps > 1 && !self.architecture.pool.is_none() {
                return Err(Error::refused("the graph gives numbers for each step, not for all of them"));
            }
            for (at, value) in theirs.iter().enumerate() {
                let (row, output) = (at / given, at % given);
                let (step, sequence) = match (of_all, layout) {
                    (true, Layout::BatchFirst) => (row % steps, row / steps),
                    (true, _) => (row / sequences, row % sequences),
                    (false, _) => (lengths[row].min(steps) - 1, row),
                };
                if run * steps + step < lengths[sequence] {
                    pairs[output].push((of_own(run * steps + step, sequence, output), f64::from(*value)));
                }
            }
        }
        Ok(Apart { apart: largest(&pairs), once })
    }
}

/// Zeros for inputs, as many as they declare, with so many sequences.
fn zeros(graph: &GraphProto, is: &dyn Fn(&str) -> bool, sequences: usize) -> Result<Vec<TensorProto>> {
    let one = |info: &crate::model::onnx::proto::ValueInfoProto| {
        let dims = view::dims(info)
            .ok_or_else(|| Error::refused(format!("state \"{}\" has no declared axes", info.name())))?;
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { sequences };
        let shape: Vec<usize> = dims.iter().map(size).collect();
        Ok(values::floats(info.name(), &shape, &vec![0.0; shape.iter().product()]))
    };
    graph.input.iter().filter(|info| is(info.name())).map(one).collect()
}

/// Whole numbers for an input.
fn counts(name: &str, kind: DataType, lengths: &[usize]) -> TensorProto {
    let bytes = |length: &usize| match kind {
        DataType::Int64 => (*length as i64).to_le_bytes().to_vec(),
        _ => (*length as i32).to_le_bytes().to_vec(),
    };
    values::tensor(name, kind, &[lengths.len()], lengths.iter().flat_map(bytes).collect())
}

/// The numbers of an output.
fn numbers(outputs: &[TensorProto], name: &str) -> Result<Vec<f32>> {
    let found = outputs.iter().find(|tensor| tensor.name() == name).and_then(values::to_floats);
    found.ok_or_else(|| Error::refused(format!("output \"{name}\" isn't float32")))
}

/// [steps, sequences, width] as [sequences, steps, width].
fn exchanged(values: &[f32], steps: usize, sequences: usize, width: usize) -> Vec<f32> {
    let places = (0..sequences).flat_map(|sequence| (0..steps).map(move |step| step * sequences + sequence));
    places.flat_map(|place| values[place * width..(place + 1) * width].to_vec()).collect()
}

/// Inputs [steps, sequences, width] around the mean of the scaling, if there is one.
fn random(seed: u64, [steps, sequences, width]: [usize; 3], scale: f32, tensors: &[Tensor]) -> Vec<f32> {
    let values = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.data);
    let (mean, sd) = (values("scaling/mean"), values("scaling/sd"));
    let mut state = seed + 1;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / 2f64.powi(31) * 2.0 - 1.0) as f32 * scale
    };
    let one = |at: usize| {
        let (mean, sd) = (mean.map_or(0.0, |mean| mean[at]), sd.map_or(1.0, |sd| sd[at]));
        mean + sd * number()
    };
    (0..steps * sequences * width).map(|n| n % width).map(one).collect()
}

/// The largest difference of pairs, relative to the spread of each output.
fn largest(pairs: &[Vec<(f64, f64)>]) -> f64 {
    let mut largest = 0f64;
    for pairs in pairs {
        let (mut low, mut high, mut size) = (f64::INFINITY, f64::NEG_INFINITY, 0f64);
        for (_, value) in pairs {
            (low, high, size) = (low.min(*value), high.max(*value), size.max(value.abs()));
        }
        // Where a large number hardly moves, its last bits are those of its size.
        let scale = (high - low).max(0.1 * size).max(f64::MIN_POSITIVE);
        for (own, theirs) in pairs {
            let apart = (own - theirs).abs() / scale;
            largest = largest.max(if apart.is_nan() { f64::INFINITY } else { apart });
        }
    }
    largest
}
