//! Recognising cells: what exporters write as loops, as single operators or as arithmetic of shapes becomes ONNX' own
//! operators, each change only where runs before and after it give the same. An RNN that is unrolled over a fixed
//! number of steps is found too: it can't be served with state.
//!
//! Must not live here: whether a version is published (`model::import`).

mod cell;
mod expr;
mod loops;
mod rewrite;
mod rows;
mod states;
mod steps;
mod unrolled;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::fold::fold;
use super::proto::ModelProto;
use super::prove::{TOLERANCE, distance, drift};
use crate::Result;
use crate::network::{StateTensor, TensorSpec};

pub use states::{Exposed, expose};
pub use unrolled::{Unrolled, unrolled};

/// Rewrites what it recognises, and says what it did and by how much outputs differ. `inputs` are all inputs of the
/// graph, states included; `states` those of cells that are written out for one step.
///
/// # Errors
/// Refused if the graph can't be loaded or run.
pub fn recognise(model: &mut ModelProto, inputs: &[TensorSpec], states: &[StateTensor]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut skip = BTreeSet::new();
    loop {
        let mut next = model.clone();
        let mut found = steps::tail(&mut next, &skip);
        if found.is_none() {
            next = model.clone();
            if let Some(graph) = &mut next.graph {
                loops::settle(graph);
            }
            let loops = next
                .graph
                .iter()
                .flat_map(|graph| &graph.node)
                .any(|node| matches!(node.op_type(), "Loop" | "Scan") && !skip.contains(super::view::name(node)));
            if loops {
                fold(&mut next)?;
                found = loops::rewrite(&mut next, &skip);
            }
        }
        let is_step = found.is_none();
        if is_step {
            next = model.clone();
            found = steps::rewrite(&mut next, states, &skip);
        }
        let Some((name, said)) = found else { return Ok(notes) };
        // A step runs as it is, too: so it may not even drift.
        let apart = distance(model, &next, inputs).and_then(|apart| match is_step && apart <= TOLERANCE {
            true => Ok(apart.max(drift(model, &next, inputs, states)?)),
            false => Ok(apart),
        });
        match apart {
            Ok(apart) if apart <= TOLERANCE => {
                notes.push(format!("{said} (outputs differ by {apart:.1e} at most)"));
                *model = next;
            }
            Ok(apart) => notes.push(format!("not taken, since outputs differ by {apart:.1e}: {said}")),
            Err(error) => notes.push(format!("not taken, since it can't be compared ({error}): {said}")),
        }
        skip.insert(name);
    }
}
