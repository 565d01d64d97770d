//! A `.safetensors` file with the names of PyTorch's `state_dict`.
//!
//! The format keeps names in alphabetical order, so the order of modules is lost: it is found by shapes and by the
//! numbers in names, or given. Layers of one module (`lstm.weight_ih_l0`, `lstm.weight_ih_l1`) are in the order of
//! their numbers. PyTorch's gates are LSTM i, f, g, o and GRU r, z, n; its kernels are [g·u, n].

use std::collections::{BTreeMap, BTreeSet};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Found, FoundLayer, tensor};
use crate::kernel::{Activation, CellKind};
use crate::network::{Architecture, DenseLayer, Layer, PlacedLayer, RecurrentLayer};

/// The tensors of one layer by PyTorch's name without module and number, `weight_ih`.
#[derive(Debug, Default)]
struct Parts(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

/// A layer of a module.
#[derive(Debug)]
struct Candidate {
    /// Its module.
    module: String,
    /// Its number in the module.
    number: usize,
    /// What it can be: recurrent cells and activations aren't in the file.
    cells: Vec<CellKind>,
    inputs: usize,
    units: usize,
    parts: Parts,
}

pub(super) fn read(bytes: &[u8], architecture: &Architecture, modules: &[String]) -> Result<Found, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| format!("not a .safetensors file: {error}"))?;
    let mut found = Found::default();
    let mut groups: BTreeMap<(String, usize), Parts> = BTreeMap::new();
    let mut names = file.names();
    names.sort_unstable();
    for name in names {
        let view = file.tensor(name).map_err(|error| format!("{name}: {error}"))?;
        let (module, number, part) = split(name)?;
        groups.entry((module, number)).or_default().0.insert(part, values(name, &view, &mut found.notes)?);
    }
    let mut candidates = Vec::new();
    let mut wrong = Vec::new();
    for ((module, number), parts) in groups {
        match candidate(module, number, parts) {
            Ok(candidate) => candidates.push(candidate),
            Err(message) => wrong.push(message),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n  "));
    }
    let stack = architecture.stack();
    for (at, candidate) in ordered(candidates, &stack, modules)?.into_iter().enumerate() {
        let wanted = stack.get(at).map(|placed| placed.layer);
        found.layers.push(layer(candidate, wanted, &mut found.notes));
    }
    Ok(found)
}

/// Module, number and part in `encoder.lstm.weight_ih_l0`; those of a cell have no number.
fn split(name: &str) -> Result<(String, usize, String), String> {
    let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
    if last.ends_with("_reverse") {
        return Err(format!(
            "\"{name}\": the module also reads backwards, which is read of ONNX files alone: export the model with `torch.onnx.export`"
        ));
    }
    if last.starts_with("weight_hr") {
        return Err(format!("\"{name}\": the module projects its state (proj_size); our networks have no such cell"));
    }
    let numbered = last.rsplit_once("_l").and_then(|(part, number)| Some((part, number.parse().ok()?)));
    let (part, number) = numbered.unwrap_or((last, 0));
    Ok((module.into(), number, part.into()))
}

/// The numbers of a tensor as float32.
fn values(name: &str, view: &TensorView<'_>, notes: &mut Vec<String>) -> Result<(Vec<usize>, Vec<f32>), String> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::F64 => {
            notes.push(format!("\"{name}\" is float64 and was rounded to float32"));
            data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()
        }
        other => return Err(format!("\"{name}\" is {other:?}: expected float32, float64, float16 or bfloat16")),
    };
    Ok((view.shape().to_vec(), values))
}

/// A module's layer by its tensors.
fn candidate(module: String, number: usize, parts: Parts) -> Result<Candidate, String> {
    let shape = |name: &str| parts.0.get(name).map(|(shape, _)| shape.as_slice());
    let known: BTreeSet<&str> = parts.0.keys().map(String::as_str).collect();
    let only = |names: &[&str]| known.iter().all(|name| names.contains(name));
    let fault = |what: &str| {
        let list: Vec<String> = parts.0.iter().map(|(name, (shape, _))| format!("{name} {shape:?}")).collect();
        format!("module \"{module}\" ({}): {what}", list.join(", "))
    };
    let (cells, inputs, units) = match (shape("weight_ih"), shape("weight_hh"), shape("weight")) {
        (Some(&[gates, inputs]), Some(&[rows, units]), None)
            if gates == rows && only(&["weight_ih", "weight_hh", "bias_ih", "bias_hh"]) =>
        {
            let cells: Vec<CellKind> =
                CellKind::ALL.iter().copied().filter(|cell| is_torch(*cell) && cell.gates() * units == gates).collect();
            (cells, inputs, units)
        }
        (None, None, Some(&[units, inputs])) if only(&["weight", "bias"]) => (Vec::new(), inputs, units),
        _ => return Err(fault("our networks have RNN, LSTM, GRU and Linear")),
    };
    let biases_fit = parts.0.iter().filter(|(name, _)| name.starts_with("bias")).all(|(_, (shape, _))| {
        let gates = cells.first().map_or(1, |cell| cell.gates());
        shape[..] == [gates * units]
    });
    if units == 0 || !biases_fit || (cells.is_empty() && shape("weight").is_none()) {
        return Err(fault("the shapes don't fit each other"));
    }
    Ok(Candidate { module, number, cells, inputs, units, parts })
}

/// Whether PyTorch has the cell: those that ONNX has an operator for.
fn is_torch(cell: CellKind) -> bool {
    cell.form().operator().is_some()
}

/// The candidates in the order of the stack.
fn ordered(
    mut candidates: Vec<Candidate>,
    stack: &[PlacedLayer],
    modules: &[String],
) -> Result<Vec<Candidate>, String> {
    if !modules.is_empty() {
        let there: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.module.as_str()).collect();
        let named: BTreeSet<&str> = modules.iter().map(String::as_str).collect();
        if there != named || named.len() != modules.len() {
            let list = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("--modules names {}, the file has {}", modules.join(", "), list(there)));
        }
        candidates
            .sort_by_key(|candidate| (modules.iter().position(|name| *name == candidate.module), candidate.number));
        return Ok(candidates);
    }
    candidates.sort_by_key(|candidate| (natural(&candidate.module), candidate.number));
    let orders = orders(&candidates, stack);
    if let [one, other] = &orders[..] {
        let text = |order: &[usize]| {
            let mut names: Vec<&str> = order.iter().map(|at| candidates[*at].module.as_str()).collect();
            names.dedup();
            names.join(",")
        };
        return Err(format!(
            "several orders of its modules fit the pipeline's layers, and .safetensors keeps none: say which with \
             --modules, such as --modules {} or --modules {}",
            text(one),
            text(other)
        ));
    }
    let Some(order) = orders.into_iter().next() else {
        // None fits, and the comparison shows where: recurrent layers come before linear ones.
        candidates.sort_by_key(|candidate| candidate.cells.is_empty());
        return Ok(candidates);
    };
    let mut slots: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| slots[at].take()).collect())
}

/// Up to two orders in which the candidates are the stack's layers. Those of a module stay in their order, and so do
/// those of equal shape whose names differ in numbers alone.
fn orders(candidates: &[Candidate], stack: &[PlacedLayer]) -> Vec<Vec<usize>> {
    fn search(candidates: &[Candidate], stack: &[PlacedLayer], taken: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        let Some(placed) = stack.get(taken.len()) else {
            if taken.len() == candidates.len() {
                found.push(taken.clone());
            }
            return;
        };
        for at in 0..candidates.len() {
            let candidate = &candidates[at];
            // Layers of one module follow each other.
            let after_own = match candidate.number.checked_sub(1) {
                None => true,
                Some(before) => taken.last().is_some_and(|last| {
                    (&candidates[*last].module, candidates[*last].number) == (&candidate.module, before)
                }),
            };
            let is_next = (0..at).all(|earlier| taken.contains(&earlier) || !numbered(&candidates[earlier], candidate));
            if found.len() < 2 && !taken.contains(&at) && after_own && is_next && could_be(candidate, placed) {
                taken.push(at);
                search(candidates, stack, taken, found);
                taken.pop();
            }
        }
    }
    let mut found = Vec::new();
    if candidates.len() == stack.len() {
        search(candidates, stack, &mut Vec::new(), &mut found);
    }
    found
}

fn could_be(candidate: &Candidate, placed: &PlacedLayer) -> bool {
    let kind = match placed.layer {
        Layer::Recurrent(layer) => candidate.cells.contains(&layer.cell),
        Layer::Dense(_) => candidate.cells.is_empty(),
        Layer::LayerNorm(_) => false,
    };
    kind && (candidate.inputs, candidate.units) == (placed.inputs, placed.layer.units())
}

/// Whether two have equal shapes, and names that differ in numbers alone.
fn numbered(one: &Candidate, other: &Candidate) -> bool {
    let stem = |candidate: &Candidate| candidate.module.replace(|c: char| c.is_ascii_digit(), "");
    (&one.cells, one.inputs, one.units) == (&other.cells, other.inputs, other.units) && stem(one) == stem(other)
}

/// A name cut into texts and numbers, so that `head.10` comes after `head.2`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut pieces = vec![(String::new(), 0_u64)];
    let mut in_number = false;
    for c in name.chars() {
        if let (Some(digit), Some(piece)) = (c.to_digit(10), pieces.last_mut()) {
            piece.1 = piece.1.saturating_mul(10).saturating_add(u64::from(digit));
            in_number = true;
            continue;
        }
        if std::mem::take(&mut in_number) {
            pieces.push((String::new(), 0));
        }
        if let Some(piece) = pieces.last_mut() {
            piece.0.push(c);
        }
    }
    pieces
}

/// The layer in our layout; what PyTorch's file doesn't say is as it is wanted.
fn layer(candidate: Candidate, wanted: Option<Layer>, notes: &mut Vec<String>) -> FoundLayer {
    let Candidate { module, number, cells, inputs, units, mut parts } = candidate;
    let name = if number == 0 { module } else { format!("{module} (layer {number})") };
    let mut take = |part: &str| parts.0.remove(part).map(|(_, data)| data);
    let Some(first) = cells.first().copied() else {
        let activation = match wanted {
            Some(Layer::Dense(dense)) => dense.activation,
            _ => Activation::Linear,
        };
        let kernel = transposed(&take("weight").unwrap_or_default(), &[0], units, inputs);
        let bias = take("bias").unwrap_or_else(|| {
            notes.push(no_bias(&name));
            vec![0.0; units]
        });
        let layer = Layer::Dense(DenseLayer { units, activation });
        let tensors = vec![tensor("kernel", vec![inputs, units], kernel), tensor("bias", vec![units], bias)];
        return FoundLayer { name, layer, inputs, tensors };
    };
    let cell = match wanted {
        Some(Layer::Recurrent(layer)) if cells.contains(&layer.cell) => layer.cell,
        _ => first,
    };
    // Where each of our gates is among PyTorch's.
    let blocks: &[usize] = if cell == CellKind::Gru { &[1, 0, 2] } else { &[0, 1, 2, 3][..cell.gates()] };
    let width = blocks.len() * units;
    let biases = (take("bias_ih"), take("bias_hh"));
    let double_bias = cell == CellKind::Gru || biases.0.is_some() || biases.1.is_some();
    if biases.0.is_none() {
        notes.push(no_bias(&name));
    }
    let layer = Layer::Recurrent(RecurrentLayer { cell, units, double_bias, bidirectional: false });
    let mut bias = Vec::new();
    for half in [biases.0, biases.1].into_iter().take(if double_bias { 2 } else { 1 }) {
        bias.extend(half.map_or(vec![0.0; width], |half| transposed(&half, blocks, units, 1)));
    }
    let kernel = transposed(&take("weight_ih").unwrap_or_default(), blocks, units, inputs);
    let recurrent = transposed(&take("weight_hh").unwrap_or_default(), blocks, units, units);
    let bias_shape = if double_bias { vec![2, width] } else { vec![width] };
    let tensors = vec![
        tensor("kernel", vec![inputs, width], kernel),
        tensor("recurrent_kernel", vec![units, width], recurrent),
        tensor("bias", bias_shape, bias),
    ];
    FoundLayer { name, layer, inputs, tensors }
}

fn no_bias(name: &str) -> String {
    format!("module \"{name}\" has no bias: it gets one of zeros, which training would change")
}

/// PyTorch's [g·u, n] as [n, g·u], our block `j` being its block `blocks[j]`.
fn transposed(values: &[f32], blocks: &[usize], units: usize, inputs: usize) -> Vec<f32> {
    (0..inputs)
        .flat_map(|input| {
            let rows = blocks.iter().flat_map(move |block| block * units..(block + 1) * units);
            rows.map(move |row| row * inputs + input)
        })
        .map(|at| values[at])
        .collect()
}
