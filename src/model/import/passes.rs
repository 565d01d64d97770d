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
use crate::model::onnx::prove::{TOLERANCE, random, size_of, with_states};
use crate::network::Axis;

/// Steps of one sequence that a changed graph is compared over.
const STEPS: usize = 4;

/// A graph as it is going to be published, and what was changed in it.
pub(super) struct Ready {
    pub graph: Vec<u8>,
    pub seen: Seen,
    pub notes: Vec<String>,
    /// Rows of a window, if that is what it takes.
    pub window: Option<usize>,
    /// Whether its axes mean something else than those of the file, but for one step of one sequence.
    pub axes_changed: bool,
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
    let mut model = model.clone();
    let wrong = onnx::declared::open_wrong(model.graph.get_or_insert_default(), &seen.signature.given());
    if !wrong.is_empty() {
        let ready = ready(card, &model, resolved, window)?;
        return Ok(Ready { notes: wrong.into_iter().chain(ready.notes).collect(), ..ready });
    }
    let model = &model;
    if seen.one_by_one.is_none() {
        return Ok(Ready { graph, seen, notes, window, axes_changed: false });
    }
    // Folding builds the sizes of axes into the graph, so they are opened before it.
    let turned = (card.layout.value == Layout::TimeOnly).then(|| turned(model, resolved, &seen));
    for Changed { model, resolved, notes } in [Some(opened(model, resolved, &seen)), turned].into_iter().flatten() {
        if !notes.is_empty()
            && let Ok((open, rewritten)) = rewritten(model, &resolved)
            && let graph = open.encode_to_vec()
            && let Ok(again) = axes::seen(card, &graph, &resolved, window)
            && again.one_by_one.is_none()
            && same_one_by_one(&folded, &seen, &open)?
        {
            let notes = notes.into_iter().chain(rewritten).collect();
            return Ok(Ready { graph, seen: again, notes, window, axes_changed: true });
        }
    }
    Ok(Ready { graph, seen, notes, window, axes_changed: false })
}

/// The graph without what never changes, and with ONNX' operators where its nodes are those of one.
fn rewritten(mut model: ModelProto, resolved: &Resolved) -> Result<(ModelProto, Vec<String>)> {
    let mut notes = onnx::fold::fold(&mut model)?;
    notes.extend(onnx::recognise::recognise(&mut model, &resolved.taken(), &resolved.states)?);
    Ok((model, notes))
}

/// A graph that can perhaps run many sequences; no notes: nothing was changed.
struct Changed {
    model: ModelProto,
    resolved: Resolved,
    notes: Vec<String>,
}

/// The batch axes that the file declares with a size are open.
fn opened(model: &ModelProto, resolved: &Resolved, seen: &Seen) -> Changed {
    let mut model = model.clone();
    let mut signature = seen.signature.clone();
    // Runs of one sequence don't always tell where an output has it.
    let unsure = signature.outputs.iter_mut().filter(|output| !output.tensor.has(Axis::Batch));
    unsure.for_each(|output| output.tensor.shape = vec![Axis::Batch]);
    let notes = onnx::open_batch::open_batch(&mut model, &[signature.taken(), signature.given()].concat());
    Changed { model, resolved: resolved.clone(), notes }
}

/// Where the steps of one sequence are in the place of a batch, one step of many sequences takes it.
fn turned(model: &ModelProto, resolved: &Resolved, seen: &Seen) -> Changed {
    let (mut model, mut resolved) = (model.clone(), resolved.clone());
    let notes =
        onnx::open_batch::batch_for_time(&mut model, &[seen.signature.taken(), seen.signature.given()].concat());
    let inputs = resolved.inputs.iter_mut().map(|input| &mut input.tensor.shape);
    let outputs = resolved.outputs.iter_mut().filter_map(|output| output.shape.as_mut());
    let times = inputs.chain(outputs).flatten().filter(|axis| **axis == Axis::Time);
    times.for_each(|axis| *axis = Axis::Batch);
    Changed { model, resolved, notes }
}

/// Whether two graphs give the same for single steps of one sequence that carry the state: both in the first one's
/// order of axes, since a batch of one and a step of one are as large.
fn same_one_by_one(before: &ModelProto, seen: &Seen, after: &ModelProto) -> Result<bool> {
    let (mut first, mut second) = (Trial::new(before)?, Trial::new(after)?);
    let (Some(graph), tensors) = (&before.graph, seen.signature.taken()) else { return Ok(false) };
    for scale in [1.0, 20.0] {
        let mut given = random(graph, &tensors, 1, 1, scale);
        for _ in 0..STEPS {
            let (left, right) = (first.run(&given)?, second.run(&given)?);
            match difference(&left, &right, size_of(&given)) {
                Ok(apart) if apart <= TOLERANCE => {}
                _ => return Ok(false),
            }
            given = with_states(&given, &left, &seen.signature.states);
        }
    }
    Ok(true)
}
