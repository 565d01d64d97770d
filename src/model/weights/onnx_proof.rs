//! Whether the layers that were read from a graph compute what the graph computes: both are run on random inputs, from
//! zero state. Must not live here: reading the graph (`onnx_layers`).

use super::Found;
use super::onnx_layers::Read;
use crate::model::executor::trial::Trial;
use crate::model::onnx::proto::{GraphProto, ModelProto, TensorProto};
use crate::model::onnx::view::{self, Dim};
use crate::model::onnx::{export, import, values};
use crate::network::{Architecture, Pool, Tensor};
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
    let (architecture, tensors) = network(&read.found);
    let own = import::model(&export::onnx(&architecture, &tensors, "weights")?)?;
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
    let mut pair =
        Pair { own: Trial::new(&own)?, theirs: Trial::new(original)?, own_graph: own.graph, graph, read: &read };
    let mut best: Option<(f64, Layout)> = None;
    let mut failed = None;
    for layout in layouts {
        match pair.apart(*layout, &dims, &architecture, &tensors) {
            Ok(apart) if best.is_none_or(|(least, _)| apart < least) => best = Some((apart, *layout)),
            Ok(_) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let Some((apart, layout)) = best else {
        return Err(failed.unwrap_or_else(|| Error::refused("the graph can't be run")));
    };
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
    Ok(found)
}

/// The layers alone, as a network of ours.
fn network(found: &Found) -> (Architecture, Vec<Tensor>) {
    let inputs = found.layers.first().map_or(0, |layer| layer.inputs);
    let end = found.layers.len().saturating_sub(1);
    let architecture = Architecture {
        features: inputs,
        network: (0..inputs).collect(),
        embeddings: vec![],
        skip: vec![],
        groups: 0,
        residual: vec![],
        layers: found.layers[..end].iter().map(|layer| layer.layer).collect(),
        outputs: found.layers.last().map_or(0, |layer| layer.layer.units()),
        quantiles: vec![],
        scaling: found.inputs.is_some() || found.outputs.is_some(),
        pool: Pool::None,
        softmax: false,
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let mut tensors = if architecture.scaling { found.scaling(&architecture) } else { Vec::new() };
    for (placed, layer) in architecture.stack().iter().zip(&found.layers) {
        let named = |tensor: &Tensor| Tensor { name: format!("{}/{}", placed.name, tensor.name), ..tensor.clone() };
        tensors.extend(layer.tensors.iter().map(named));
    }
    (architecture, tensors)
}

struct Pair<'a> {
    own: Trial,
    theirs: Trial,
    own_graph: Option<GraphProto>,
    graph: &'a GraphProto,
    read: &'a Read,
}

impl Pair<'_> {
    /// The largest difference of both in that layout.
    fn apart(&mut self, layout: Layout, dims: &[Dim], architecture: &Architecture, tensors: &[Tensor]) -> Result<f64> {
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
        let first = self.apart_of(layout, steps, sequences, architecture, tensors);
        // An axis can be open by its name and fixed by the nodes.
        if first.is_err() && sequences > 1 { self.apart_of(layout, steps, 1, architecture, tensors) } else { first }
    }

    fn apart_of(
        &mut self,
        layout: Layout,
        steps: usize,
        sequences: usize,
        architecture: &Architecture,
        tensors: &[Tensor],
    ) -> Result<f64> {
        // Graphs of one step carry their states on.
        let runs = if steps == 1 && !self.read.ends.states.is_empty() { STEPS } else { 1 };
        let width = architecture.features;
        let mut largest = 0f64;
        for (at, scale) in SCALES.into_iter().enumerate() {
            let all = runs * steps;
            let x = random(at as u64, [all, sequences, width], scale, tensors);
            let own = self.of_own([all, sequences, width], &x)?;
            let theirs = self.of_theirs(layout, [runs, steps, sequences, width], &x)?;
            largest = largest.max(difference(layout, [all, sequences, architecture.outputs], &own, &theirs)?);
        }
        Ok(largest)
    }

    /// Our outputs [steps, sequences, outputs].
    fn of_own(&mut self, [steps, sequences, width]: [usize; 3], x: &[f32]) -> Result<Vec<f32>> {
        let Some(graph) = &self.own_graph else { return Ok(Vec::new()) };
        let mut given = vec![values::floats("x", &[steps, sequences, width], x)];
        given.extend(zeros(graph, &|name| name != "x", sequences)?);
        numbers(&self.own.run(&given)?, "y")
    }

    /// Their outputs, one run after the other, each in the graph's own order.
    fn of_theirs(&mut self, layout: Layout, sizes: [usize; 4], x: &[f32]) -> Result<Vec<Vec<f32>>> {
        let [runs, steps, sequences, width] = sizes;
        let mut states = zeros(self.graph, &|name| name != self.read.ends.input, sequences)?;
        let mut made = Vec::new();
        for chunk in x.chunks_exact(steps * sequences * width).take(runs) {
            let turned = match layout {
                Layout::BatchFirst => exchanged(chunk, steps, sequences, width),
                _ => chunk.to_vec(),
            };
            let mut given =
                vec![values::floats(&self.read.ends.input, &layout.shape(steps, sequences, width), &turned)];
            given.extend(states.iter().cloned());
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

/// The largest difference, relative to the spread of each output. Theirs are of all steps or of each run's last one.
fn difference(
    layout: Layout,
    [steps, sequences, outputs]: [usize; 3],
    own: &[f32],
    theirs: &[Vec<f32>],
) -> Result<f64> {
    let per_run = steps / theirs.len().max(1);
    let mut pairs: Vec<Vec<(f64, f64)>> = vec![Vec::new(); outputs];
    for (run, theirs) in theirs.iter().enumerate() {
        let own = &own[run * per_run * sequences * outputs..(run + 1) * per_run * sequences * outputs];
        let of_all = theirs.len() == own.len();
        if !of_all && theirs.len() != sequences * outputs {
            return Err(Error::refused(format!(
                "the graph gives {} numbers for {sequences} sequences of {per_run} steps, its last layer {outputs} a step",
                theirs.len()
            )));
        }
        let own = match (of_all, layout) {
            (true, Layout::BatchFirst) => exchanged(own, per_run, sequences, outputs),
            (true, _) => own.to_vec(),
            (false, _) => own[own.len() - sequences * outputs..].to_vec(),
        };
        for (at, (own, theirs)) in own.iter().zip(theirs).enumerate() {
            pairs[at % outputs].push((f64::from(*own), f64::from(*theirs)));
        }
    }
    let mut largest = 0f64;
    for pairs in pairs {
        let (mut low, mut high, mut size) = (f64::INFINITY, f64::NEG_INFINITY, 0f64);
        for (_, value) in &pairs {
            (low, high, size) = (low.min(*value), high.max(*value), size.max(value.abs()));
        }
        // Where a large number hardly moves, its last bits are those of its size.
        let scale = (high - low).max(0.1 * size).max(f64::MIN_POSITIVE);
        for (own, theirs) in pairs {
            let apart = (own - theirs).abs() / scale;
            largest = largest.max(if apart.is_nan() { f64::INFINITY } else { apart });
        }
    }
    Ok(largest)
}
