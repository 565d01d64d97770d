//! What the tensors of a graph may be: states by wires, then by names, then by shapes; axes by their names. What isn't
//! sure is marked as a guess; what only order would tell apart is left open.

use std::collections::BTreeSet;

use super::names;
use crate::config::Layout;
use crate::model::onnx::declared::{self, Declared};
use crate::model::onnx::export::STATES_KEY;
use crate::model::onnx::lengths;
use crate::model::onnx::proto::{GraphProto, ModelProto};
use crate::model::onnx::view::Dim;
use crate::model::onnx::wiring::Wiring;
use crate::network::{Element, StatePair};

/// Something that was found, with why it is only a guess.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// What was found.
    pub value: T,
    /// Why it may be wrong; `None`: it follows from the file.
    pub guess: Option<String>,
}

impl<T> Found<T> {
    fn sure(value: T) -> Self {
        Found { value, guess: None }
    }

    fn guess(value: T, why: impl Into<String>) -> Self {
        Found { value, guess: Some(why.into()) }
    }
}

/// An axis of a proposed shape; `None` has to be filled in.
pub(super) type ProposedAxis = Option<Axis>;

/// An axis that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Batch,
    Time,
    Fixed(usize),
}

/// What feeds an input.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Feed {
    Columns(String),
    Ids(String, Option<usize>),
    PerKey(String),
    Constant(Option<i64>),
}

#[derive(Debug, Clone)]
pub(super) struct Input {
    pub tensor: Declared,
    pub feed: Found<Feed>,
    /// Written only where the layout doesn't say it.
    pub shape: Option<Found<Vec<ProposedAxis>>>,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub tensor: Declared,
    /// One output, or those of which one has to be chosen.
    pub outs: Found<Vec<String>>,
    pub shape: Found<Vec<ProposedAxis>>,
}

#[derive(Debug, Clone)]
pub(super) struct Output {
    pub tensor: Declared,
}

/// What the tensors of a graph may be.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub(super) layout: Found<Layout>,
    /// With layout window; `None` has to be filled in.
    pub(super) window: Option<usize>,
    pub(super) inputs: Vec<Input>,
    pub(super) states: Vec<State>,
    pub(super) outputs: Vec<Output>,
}

/// What the tensors of a graph may be.
pub fn propose(model: &ModelProto) -> Proposal {
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let (mut inputs, outputs) = (declared::inputs(graph), declared::outputs(graph));
    inputs.retain(|input| !lengths::is_lengths(graph, &input.name));
    let wiring = Wiring::new(graph);
    let pairs = pairs(model, &wiring, &inputs, &outputs);
    let is_state = |input: &Declared| pairs.iter().any(|pair| pair.input == input.name);
    let data: Vec<&Declared> = inputs.iter().filter(|input| !is_state(input) && !is_constant(input)).collect();
    let (layout, window) = layout(&data, &wiring, pairs.is_empty());
    let batches = batches(&data, layout.value);
    let states = pairs.iter().filter_map(|pair| {
        let tensor = inputs.iter().find(|input| input.name == pair.input)?.clone();
        let out = outputs.iter().find(|output| pair.outs.value == [output.name.clone()]);
        let shape = state_shape(&tensor, out, &batches);
        Some(State { tensor, outs: pair.outs.clone(), shape })
    });
    let is_out = |output: &Declared| pairs.iter().any(|pair| pair.outs.value.contains(&output.name));
    let only_states = outputs.iter().all(is_out);
    Proposal {
        window,
        states: states.collect(),
        inputs: inputs.iter().filter(|input| !is_state(input)).map(|one| input(one, layout.value, &wiring)).collect(),
        // A cell that gives nothing but its next state: that is what it says.
        outputs: outputs
            .iter()
            .filter(|one| only_states || !is_out(one))
            .map(|one| Output { tensor: one.clone() })
            .collect(),
        layout,
    }
}

impl Proposal {
    /// Inputs that are always the same number, where it is known or guessed.
    pub fn constants(&self) -> Vec<(&str, f64)> {
        let known = |input: &'_ Input| match input.feed.value {
            Feed::Constant(Some(number)) => Some(number as f64),
            _ => None,
        };
        self.inputs.iter().filter_map(|input| Some((input.tensor.name.as_str(), known(input)?))).collect()
    }

    /// With one output for each state, whichever it may be: what a run costs is the same.
    pub fn settled(&self) -> Proposal {
        let mut settled = self.clone();
        let sure = self.states.iter().filter(|state| state.outs.value.len() == 1);
        let mut taken: BTreeSet<String> = sure.flat_map(|state| state.outs.value.clone()).collect();
        for state in settled.states.iter_mut().filter(|state| state.outs.value.len() > 1) {
            state.outs.value.retain(|out| !taken.contains(out));
            state.outs.value.truncate(1);
            taken.extend(state.outs.value.iter().cloned());
        }
        settled
    }
}

/// A state with the outputs that it may come from.
struct Pair {
    input: String,
    outs: Found<Vec<String>>,
}

/// Pairs by the file's own word, by wires, by names, by shapes, in that order.
fn pairs(model: &ModelProto, wiring: &Wiring<'_>, inputs: &[Declared], outputs: &[Declared]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    let written = model.metadata_props.iter().find(|entry| entry.key() == STATES_KEY);
    let written = written.and_then(|entry| serde_json::from_str::<Vec<StatePair>>(entry.value()).ok());
    for pair in written.unwrap_or_default() {
        pairs.push(Pair { input: pair.input, outs: Found::sure(vec![pair.output]) });
    }
    let left = |pairs: &[Pair]| {
        let ins: Vec<&Declared> = inputs.iter().filter(|i| !pairs.iter().any(|pair| pair.input == i.name)).collect();
        let outs = outputs.iter().filter(|o| !pairs.iter().any(|pair| pair.outs.value.contains(&o.name)));
        (ins, outs.collect::<Vec<&Declared>>())
    };
    let (ins, outs) = left(&pairs);
    let begins: Vec<_> = ins.iter().map(|input| wiring.begins(&input.name)).collect();
    let ends: Vec<_> = outs.iter().map(|output| wiring.ends(&output.name)).collect();
    for (input, slots) in ins.iter().zip(&begins).filter(|(_, slots)| !slots.is_empty()) {
        let of: Vec<&&Declared> = outs.iter().zip(&ends).filter(|(_, ended)| *ended == slots).map(|(o, _)| o).collect();
        if let ([output], 1) = (&of[..], begins.iter().filter(|other| *other == slots).count()) {
            pairs.push(Pair { input: input.name.clone(), outs: Found::sure(vec![output.name.clone()]) });
        }
    }
    let (ins, outs) = left(&pairs);
    let best = |input: &Declared, outs: &[&Declared]| -> Vec<String> {
        let scored = outs.iter().filter(|output| may_be(input, output) && !is_step(input));
        let scored: Vec<_> =
            scored.filter_map(|output| Some((names::common(&input.name, &output.name)?, &output.name))).collect();
        let most = scored.iter().map(|(score, _)| *score).max();
        scored.iter().filter(|(score, _)| Some(*score) == most).map(|(_, name)| (*name).clone()).collect()
    };
    let chosen: Vec<Vec<String>> = ins.iter().map(|input| best(input, &outs)).collect();
    for (input, of) in ins.iter().zip(&chosen) {
        if let ([output], 1) = (&of[..], chosen.iter().filter(|other| *other == of).count()) {
            pairs.push(Pair { input: input.name.clone(), outs: Found::guess(vec![output.clone()], "paired by name") });
        }
    }
    by_shape(&mut pairs, left);
    let order = |pair: &Pair| inputs.iter().position(|input| input.name == pair.input);
    pairs.sort_by_key(order);
    pairs
}

/// What is left and has the same type and axes as an output: one of each is a guess, more are left to the user.
fn by_shape<'a>(pairs: &mut Vec<Pair>, left: impl Fn(&[Pair]) -> (Vec<&'a Declared>, Vec<&'a Declared>)) {
    let (ins, outs) = left(pairs);
    let of = |input: &Declared| -> Vec<&'a Declared> {
        outs.iter().copied().filter(|output| may_be(input, output) && !names::is_data(&output.name)).collect()
    };
    let candidates: Vec<&Declared> = ins
        .iter()
        .copied()
        .filter(|input| !names::is_data(&input.name) && !is_constant(input) && !is_step(input) && !of(input).is_empty())
        .collect();
    // A network without anything that is left for data has only data.
    let has_data = ins.len() > candidates.len();
    for input in &candidates {
        let outs = of(input);
        let rivals = candidates.iter().filter(|other| of(other).iter().any(|one| outs.contains(one))).count();
        if !has_data && !names::is_state(&input.name) {
            continue;
        }
        let names: Vec<String> = outs.iter().map(|output| output.name.clone()).collect();
        let why = if let ([_], 1) = (&outs[..], rivals) {
            "paired by its type and axes alone".to_owned()
        } else {
            "only order tells them apart".to_owned()
        };
        pairs.push(Pair { input: input.name.clone(), outs: Found::guess(names, why) });
    }
}

/// Whether an output may be the next state of an input.
fn may_be(input: &Declared, output: &Declared) -> bool {
    let (Some(a), Some(b)) = (&input.dims, &output.dims) else { return input.data_type == output.data_type };
    let agree = |(a, b): (&Dim, &Dim)| match (a, b) {
        (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
        _ => true,
    };
    input.data_type == output.data_type && a.len() == b.len() && a.iter().zip(b).all(agree)
}

/// Whether it has a time axis by name.
fn is_step(tensor: &Declared) -> bool {
    tensor.axes().len() > 2 && tensor.axes().iter().any(|dim| matches!(dim, Dim::Named(name) if names::is_time(name)))
}

/// A number without axes, or a word of one: set by the user once.
fn is_constant(tensor: &Declared) -> bool {
    tensor.dims.as_ref().is_some_and(Vec::is_empty) || (tensor.axes() == [Dim::Fixed(1)] && !is_float(tensor))
}

fn is_whole(tensor: &Declared) -> bool {
    matches!(tensor.element(), Some(Element::Int64 | Element::Int32))
}

fn is_float(tensor: &Declared) -> bool {
    matches!(tensor.element(), Some(Element::Float32 | Element::Float16 | Element::Float64))
}

/// The layout, by the input with the most axes; and the window, where there is no state.
fn layout(data: &[&Declared], wiring: &Wiring<'_>, stateless: bool) -> (Found<Layout>, Option<usize>) {
    let Some(input) = data.iter().max_by_key(|input| input.axes().len()) else {
        return (Found::guess(Layout::Step, "no input is left for data"), None);
    };
    let named = |at: usize, is: fn(&str) -> bool| matches!(input.axes().get(at), Some(Dim::Named(name)) if is(name));
    let fixed = |at: usize| match input.axes().get(at) {
        Some(Dim::Fixed(size)) => Some(*size),
        _ => None,
    };
    let ids = is_whole(input);
    let axes = input.axes().len() + usize::from(ids);
    let found = match axes {
        3 => {
            let by_wire = wiring.batch_first(&input.name);
            if named(0, names::is_time) || named(1, names::is_batch) {
                Found::sure(Layout::TimeFirst)
            } else if named(0, names::is_batch) || named(1, names::is_time) {
                Found::sure(Layout::BatchFirst)
            } else if let Some(batch_first) = by_wire {
                Found::sure(if batch_first { Layout::BatchFirst } else { Layout::TimeFirst })
            } else if fixed(0).is_none() {
                Found::guess(Layout::BatchFirst, "its first axis is open")
            } else {
                Found::guess(Layout::TimeFirst, "no axis says what it is")
            }
        }
        2 if named(0, names::is_time) && !named(1, names::is_batch) => Found::sure(Layout::TimeOnly),
        2 if named(0, names::is_batch) || fixed(0).is_none() => Found::sure(Layout::Step),
        _ => Found::guess(Layout::Step, "no axis says that it is time"),
    };
    if stateless && matches!(found.value, Layout::BatchFirst | Layout::TimeFirst) {
        let at = if found.value == Layout::BatchFirst { 1 } else { 0 };
        return (Found { value: Layout::Window, guess: Some("no state goes in and out".into()) }, fixed(at));
    }
    (found, None)
}

/// The names that the batch has.
fn batches(data: &[&Declared], layout: Layout) -> BTreeSet<String> {
    let at = match layout {
        Layout::Step | Layout::BatchFirst | Layout::Window => 0,
        Layout::TimeFirst => 1,
        Layout::TimeOnly => return BTreeSet::new(),
    };
    let named = data.iter().filter_map(|input| match input.axes().get(at) {
        Some(Dim::Named(name)) => Some(name.clone()),
        _ => None,
    });
    named.collect()
}

/// The axes of a state, by what the input and the output declare.
fn state_shape(tensor: &Declared, out: Option<&Declared>, batches: &BTreeSet<String>) -> Found<Vec<ProposedAxis>> {
    let dims = tensor.axes();
    let is_batch = |dim: &Dim| matches!(dim, Dim::Named(name) if batches.contains(name) || names::is_batch(name));
    let open = dims.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count();
    let ones: Vec<usize> = (0..dims.len()).filter(|at| dims[*at] == Dim::Fixed(1)).collect();
    let mut guess = None;
    let batch = match dims.iter().position(is_batch) {
        Some(at) => Some(at),
        None if open == 1 => dims.iter().position(|dim| !matches!(dim, Dim::Fixed(_))),
        None if open == 0 && !ones.is_empty() => {
            guess = Some("the batch is declared as 1".to_owned());
            // [layers, batch, units]: of several axes of 1 the last one before the units.
            ones.iter().copied().rfind(|at| *at + 1 < dims.len()).or(ones.first().copied())
        }
        None => None,
    };
    let size = |at: usize| match (&dims[at], out.and_then(|out| out.axes().get(at))) {
        (Dim::Fixed(size), _) => Some(Axis::Fixed(*size)),
        (_, Some(Dim::Fixed(size))) => Some(Axis::Fixed(*size)),
        _ => None,
    };
    let axes: Vec<ProposedAxis> =
        (0..dims.len()).map(|at| if Some(at) == batch { Some(Axis::Batch) } else { size(at) }).collect();
    Found { value: axes, guess }
}

fn input(tensor: &Declared, layout: Layout, wiring: &Wiring<'_>) -> Input {
    let column = column(&tensor.name);
    let rank = tensor.axes().len();
    let feed = if is_constant(tensor) {
        let compared = wiring.compared(&tensor.name);
        match compared[..] {
            [value] => Found::guess(Feed::Constant(Some(value)), "the graph compares it with this"),
            [value, ..] => {
                let all: Vec<String> = compared.iter().map(i64::to_string).collect();
                let why = format!("the graph compares it with {}", all.join(" and "));
                Found::guess(Feed::Constant(Some(value)), why)
            }
            [] if wiring.is_idle(&tensor.name) => {
                Found::guess(Feed::Constant(Some(0)), "the graph makes no use of it, any number does")
            }
            [] => Found::sure(Feed::Constant(None)),
        }
    } else if is_whole(tensor) {
        match wiring.table(&tensor.name) {
            Some(below) => Found::guess(Feed::Ids(column, Some(below)), "the name of the column"),
            None => Found::guess(Feed::Ids(column, None), "whole numbers are ids"),
        }
    } else if rank == 2 && matches!(layout, Layout::TimeFirst | Layout::BatchFirst) && !is_step(tensor) {
        Found::guess(Feed::PerKey(column), "it has no time axis")
    } else {
        Found::guess(Feed::Columns(column), "the name of the column")
    };
    let before: &[Axis] = match (layout, &feed.value) {
        (_, Feed::Constant(_)) => &[],
        (Layout::Step, _) | (_, Feed::PerKey(_)) => &[Axis::Batch],
        (Layout::TimeFirst, _) => &[Axis::Time, Axis::Batch],
        (Layout::BatchFirst | Layout::Window, _) => &[Axis::Batch, Axis::Time],
        (Layout::TimeOnly, _) => &[Axis::Time],
    };
    let rest = tensor.axes().get(before.len()..).unwrap_or_default();
    let is_open = rest.iter().any(|dim| !matches!(dim, Dim::Fixed(_)));
    let irregular = rank < before.len() || matches!(feed.value, Feed::PerKey(_));
    let shape = (is_open || irregular).then(|| {
        let known = before.iter().copied().map(Some).take(rank);
        let sizes = rest.iter().map(|dim| match dim {
            Dim::Fixed(size) => Some(Axis::Fixed(*size)),
            Dim::Named(_) | Dim::Open => None,
        });
        Found::sure(known.chain(sizes).collect())
    });
    Input { tensor: tensor.clone(), feed, shape: shape.filter(|_| rank > 0) }
}

/// A tensor's name as a column may have it.
pub(super) fn column(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name);
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect();
    plain.trim_matches('_').to_owned()
}
