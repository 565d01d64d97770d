//! The exported graph against the network that was trained, on its own data: they must agree before it is published.
//!
//! Lives here: the runs that are compared: all steps at once, sequences of two lengths, and step by step. Must not live
//! here: what is published (`publish`), ONNX Runtime (`model::executor`).

use super::Network;
use crate::model::executor::Buffer;
use crate::model::{Manifest, Session};
use crate::network::{Architecture, Axis, Element, Tensor, TensorSpec};
use crate::{Error, Result};

/// The most that ONNX Runtime may differ from what was trained, in standard deviations of the output.
const PARITY: f32 = 1e-4;

/// Runs steps [steps, features] through our network and through ONNX Runtime: they must agree. What takes lengths also
/// runs a shorter sequence beside the longer, and what carries state step by step. Ids go through all of each table.
pub(super) fn check_parity(
    onnx: &[u8],
    manifest: &Manifest,
    shape: &Architecture,
    tensors: &[Tensor],
    (x, steps): (&[f32], usize),
) -> Result<()> {
    let features = shape.features;
    let steps = steps / shape.patch * shape.patch;
    // The same rows in both lanes: a batch of one is computed by other code.
    let x: Vec<f32> = (0..2 * steps).flat_map(|cell| &x[cell / 2 * features..][..features]).copied().collect();
    if steps == 0 {
        return Ok(());
    }
    let network = Network::<f32>::restored(shape, tensors)?;
    let signature = manifest.signature()?;
    let mut graph =
        Graph { session: Session::own(onnx, &signature)?, taken: signature.taken(), given: signature.given() };
    let scales = tensors.iter().find(|tensor| tensor.name == "scaling/out_sd").map(|tensor| &tensor.data[..]);
    let scales = scales.filter(|_| shape.scales_outputs()).unwrap_or(&[]);
    let lengths = if shape.takes_lengths() { [steps, steps.div_ceil(2)] } else { [steps; 2] };
    let active: Vec<bool> = (0..steps).flat_map(|at| lengths.map(|length| at < length)).collect();
    let group: Vec<u32> = (0..2 * steps).map(|cell| (cell % shape.groups.max(1)) as u32).collect();
    let id = |cell: usize, rows: usize| (cell * rows / (2 * steps)) as u32;
    let ids_of = |cell: usize| shape.embeddings.iter().map(move |embedding| id(cell, embedding.rows));
    let ids: Vec<u32> = (0..2 * steps).flat_map(ids_of).collect();
    let expected = network.outputs_until(&x, (&group, &ids), &active, steps, 2);
    let given = graph.run(&x, (&group, &ids), steps, lengths, &[])?;
    let of_graph = shape.graph_outputs().len();
    compare(&expected, &together(shape, &given[..of_graph]), shape.outputs, scales, &active)?;
    if !shape.takes_lengths() || shape.is_bidirectional() {
        return Ok(());
    }
    let expected = network.outputs_until(&x, (&[], &ids), &[], steps, 2);
    let mut states = Vec::new();
    let mut y = Vec::new();
    let width = 2 * shape.embeddings.len();
    for at in 0..steps {
        let (row, ids) = (&x[at * 2 * features..][..2 * features], &ids[at * width..][..width]);
        let mut given = graph.run(row, (&[], ids), 1, [1, 1], &states)?;
        states = given.split_off(of_graph);
        y = together(shape, &given);
    }
    let last = &expected[expected.len() - y.len()..];
    compare(last, &y, shape.outputs, scales, &[])
}

/// The rows of a graph's outputs as the network has them: quantile after quantile.
fn together(shape: &Architecture, given: &[Buffer]) -> Vec<f32> {
    let outputs = shape.graph_outputs();
    let place = |name: &String| outputs.iter().position(|(output, _)| output == name).unwrap_or(0);
    let order: Vec<usize> =
        if shape.quantiles.is_empty() { vec![0] } else { shape.quantiles.iter().map(place).collect() };
    let width = outputs[0].1;
    let rows = given[0].values::<f32>().len() / width.max(1);
    let row = |row: usize| order.iter().flat_map(move |at| &given[*at].values::<f32>()[row * width..(row + 1) * width]);
    (0..rows).flat_map(row).copied().collect()
}

/// A loaded graph with what it takes and gives.
struct Graph {
    session: Session,
    taken: Vec<TensorSpec>,
    given: Vec<TensorSpec>,
}

impl Graph {
    /// What it gives for two sequences from these states, or from zero.
    fn run(
        &mut self,
        x: &[f32],
        (group, ids): (&[u32], &[u32]),
        steps: usize,
        lengths: [usize; 2],
        states: &[Buffer],
    ) -> Result<Vec<Buffer>> {
        let zeros = |tensor: &TensorSpec| Buffer::of(&vec![0.0_f32; tensor.numbers(steps, 2)]);
        let embeddings = ids.len() / (2 * steps);
        let of = |ids: &[u32], at: usize, each: usize| {
            let ids: Vec<i64> = ids.iter().skip(at).step_by(each).map(|id| i64::from(*id)).collect();
            Buffer::of(&ids)
        };
        let (mut taken, mut embedding, mut states) = (Vec::new(), 0, states.iter());
        for tensor in &self.taken {
            taken.push(match tensor.element {
                Element::Int64 if tensor.name == "group" => {
                    let none = vec![0; 2 * steps];
                    of(if group.is_empty() { &none } else { group }, 0, 1)
                }
                Element::Int64 => {
                    embedding += 1;
                    of(ids, embedding - 1, embeddings)
                }
                Element::Int32 if tensor.shape == [Axis::Batch] => Buffer::of(&lengths.map(|n| n as i32)),
                _ if tensor.name == "x" => Buffer::of(x),
                _ => states.next().cloned().unwrap_or_else(|| zeros(tensor)),
            });
        }
        let mut given: Vec<Buffer> = self.given.iter().map(zeros).collect();
        self.session.run(steps, 2, &taken, &mut given)?;
        Ok(given)
    }
}

/// `active`: which rows count; empty: all. Of what is pooled each row counts.
fn compare(expected: &[f32], found: &[f32], outputs: usize, scales: &[f32], active: &[bool]) -> Result<()> {
    let rows = expected.len() / outputs;
    for (i, (trained, exported)) in expected.iter().zip(found).enumerate() {
        let row = i / outputs;
        if rows == active.len() && !active[row] {
            continue;
        }
        let scale = scales.get(i % outputs).map_or(1.0, |scale| *scale).max(trained.abs() * 1e-2);
        if (trained - exported).abs() > PARITY * scale {
            return Err(Error::failed(format!(
                "the exported graph gives {exported} but the trained network gives {trained} (step {}): not published; \
                 please report this",
                row / 2
            )));
        }
    }
    Ok(())
}
