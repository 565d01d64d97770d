//! What a graph goes through before its proofs: passes over its nodes, each only where it is needed, and the axes that
//! runs then show. Must not live here: the passes (`model::onnx`), and what is proved of the result (`proofs`).

use prost::Message;

use super::axes::{self, Seen};
use crate::Result;
use crate::config::{Card, Layout};
use crate::model::card::Resolved;
use crate::model::executor::trial::{Trial, difference};
use crate::model::onnx;
use crate::model::onnx::proto::ModelProto;
use crate::network::{Axis, StateTensor, TensorSpec};

/// Steps of one sequence that a changed graph is compared over.
const STEPS: usize = 4;
/// Differences of outputs that another order of the same sums makes, relative to the size of the inputs.
const CLOSE: f64 = 1e-6;

/// A graph as it is going to be published, and what was changed in it.
pub(super) struct Ready {
    pub graph: Vec<u8>,
    pub seen: Seen,
    pub notes: Vec<String>,
}

/// Folds and rewrites a graph whose constants are in it, and opens its batch axis if it has none that is open.
///
/// # Errors
/// The graph doesn't load or doesn't run at all; an output that isn't as the card says.
pub(super) fn ready(card: &Card, model: &ModelProto, resolved: &Resolved, window: Option<usize>) -> Result<Ready> {
    // Before any width is fixed: shapes are inferred through branches that are never taken, too.
    let (folded, notes) = rewritten(model.clone(), resolved)?;
    let graph = folded.encode_to_vec();
    let seen = axes::seen(card, &graph, resolved, window)?;
    if seen.one_by_one.is_none() {
        return Ok(Ready { graph, seen, notes });
    }
    for open in [opened, turned] {
        // Folding builds the sizes of axes into the graph, so they are opened before it.
        if let Some((open, resolved, note)) = open(card, model, resolved, &seen)
            && let Ok((open, rewritten)) = rewritten(open, &resolved)
            && let Ok(again) = axes::seen(card, &open.encode_to_vec(), &resolved, window)
            && again.one_by_one.is_none()
            && same_one_by_one(&folded, &seen, &open, &again)?
        {
            let notes = note.into_iter().chain(rewritten).collect();
            return Ok(Ready { graph: open.encode_to_vec(), seen: again, notes });
        }
    }
    Ok(Ready { graph, seen, notes })
}

/// The graph without what never changes, and with ONNX' operators where its nodes are those of one.
fn rewritten(mut model: ModelProto, resolved: &Resolved) -> Result<(ModelProto, Vec<String>)> {
    let mut notes = onnx::fold::fold(&mut model)?;
    let inputs: Vec<TensorSpec> = inputs(resolved);
    notes.extend(onnx::recognise::recognise(&mut model, &inputs, &resolved.states)?);
    Ok((model, notes))
}

fn inputs(resolved: &Resolved) -> Vec<TensorSpec> {
    let states = resolved.states.iter().map(|state| state.tensor.clone());
    resolved.inputs.iter().map(|input| input.tensor.clone()).chain(states).collect()
}

type Changed = (ModelProto, Resolved, Vec<String>);

/// The batch axes that the file declares with a size are open.
fn opened(_: &Card, model: &ModelProto, resolved: &Resolved, seen: &Seen) -> Option<Changed> {
    let mut model = model.clone();
    let states = seen.signature.states.iter().map(given);
    let outputs = seen.signature.outputs.iter().map(|output| match output.tensor.has(Axis::Batch) {
        true => output.tensor.clone(),
        // Runs of one sequence don't tell where it is.
        false => TensorSpec { shape: vec![Axis::Batch], ..output.tensor.clone() },
    });
    let tensors: Vec<TensorSpec> = inputs(resolved).into_iter().chain(states).chain(outputs).collect();
    let notes = onnx::open_batch::open_batch(&mut model, &tensors);
    (!notes.is_empty()).then(|| (model, resolved.clone(), notes))
}

/// Where the steps of one sequence are in the place of a batch, one step of many sequences takes it.
fn turned(card: &Card, model: &ModelProto, resolved: &Resolved, seen: &Seen) -> Option<Changed> {
    if card.layout.value != Layout::TimeOnly {
        return None;
    }
    let mut model = model.clone();
    let states = seen.signature.states.iter().map(given);
    let outputs = seen.signature.outputs.iter().map(|output| output.tensor.clone());
    let tensors: Vec<TensorSpec> = inputs(resolved).into_iter().chain(states).chain(outputs).collect();
    let notes = onnx::open_batch::batch_for_time(&mut model, &tensors);
    let mut resolved = resolved.clone();
    let turn = |shape: &mut Vec<Axis>| {
        let time = shape.iter_mut().filter(|axis| **axis == Axis::Time);
        time.for_each(|axis| *axis = Axis::Batch);
    };
    resolved.inputs.iter_mut().for_each(|input| turn(&mut input.tensor.shape));
    resolved.outputs.iter_mut().filter_map(|output| output.shape.as_mut()).for_each(turn);
    (!notes.is_empty()).then_some((model, resolved, notes))
}

/// What a state is as an output.
fn given(state: &StateTensor) -> TensorSpec {
    TensorSpec { name: state.out.clone(), ..state.tensor.clone() }
}

/// Whether two graphs give the same for single steps of one sequence that carry the state: both in the first one's
/// order of axes, since a batch of one and a step of one are as large.
fn same_one_by_one(before: &ModelProto, seen: &Seen, after: &ModelProto, again: &Seen) -> Result<bool> {
    let (mut first, mut second) = (Trial::new(before)?, Trial::new(after)?);
    let (Some(graph), tensors) = (&before.graph, seen.signature.taken()) else { return Ok(false) };
    if tensors.len() != again.signature.taken().len() {
        return Ok(false);
    }
    for scale in [1.0, 20.0] {
        let mut given = onnx::prove::random(graph, &tensors, 1, 1, scale);
        for _ in 0..STEPS {
            let (left, right) = (first.run(&given)?, second.run(&given)?);
            match difference(&left, &right, f64::from(scale)) {
                Ok(apart) if apart <= CLOSE => {}
                _ => return Ok(false),
            }
            for state in &seen.signature.states {
                let next = left.iter().find(|tensor| tensor.name() == state.out);
                let place = given.iter_mut().find(|tensor| tensor.name() == state.tensor.name);
                if let (Some(next), Some(place)) = (next, place) {
                    *place = onnx::proto::TensorProto { name: place.name.clone(), ..next.clone() };
                }
            }
        }
    }
    Ok(true)
}
