//! ONNX's own node tests of operators with a state: each is served with state, or refused with the reason that
//! docs/models.md gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::common::*;
use super::official::python;
use kolk::Result;
use kolk::model::executor::limits;
use kolk::model::executor::trial::{Trial, difference};
use kolk::model::onnx::backport::backport;
use kolk::model::onnx::import;
use kolk::model::onnx::proto::{ModelProto, TensorProto};
use kolk::model::onnx::recognise::expose;
use kolk::model::onnx::values::{self, bytes, kind, shape, width};
use kolk::network::{Axis, Element, StateTensor, TensorSpec};

#[test]
fn each_node_test_is_served_with_state_or_refused_with_the_reason() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/onnx_nodes.py");
    let output = finished(Command::new(python).arg(script).arg(folder.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut outcomes: BTreeMap<String, String> = BTreeMap::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            let outcome = match stateful(&path) {
                Ok(()) => "served".to_owned(),
                Err(error) => format!("refused: {error}"),
            };
            outcomes.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), outcome);
        }
    }
    assert_eq!(outcomes.len(), 39, "{outcomes:?}");
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/models.md")).unwrap();
    let mut wrong = Vec::new();
    for (name, outcome) in &outcomes {
        let row = table.lines().find(|line| line.contains(&format!("`{name}`"))).unwrap_or("no row");
        let said = if row.contains("| served") { "served" } else { "refused" };
        if row == "no row" || !outcome.starts_with(said) {
            wrong.push(format!("{name}: {outcome}; docs/models.md says: {row}"));
        }
        if name.ends_with("batchwise") {
            assert!(outcome.contains("layout"), "{outcome}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs the test itself, then a longer sequence in one run and in steps that carry the state.
fn stateful(path: &Path) -> Result<()> {
    let mut model = import::model(&std::fs::read(path).unwrap())?;
    let data = import::model(&std::fs::read(path.with_extension("data")).unwrap())?.graph.unwrap().initializer;
    backport(&mut model, limits::limits()?);
    limits::check(&model)?;
    let (mut given, mut expected) = (Vec::new(), Vec::new());
    for tensor in data {
        match tensor.name().strip_prefix("expected:").map(str::to_owned) {
            Some(name) => expected.push(TensorProto { name: Some(name), ..tensor }),
            None => given.push(tensor),
        }
    }
    let outputs = Trial::new(&model)?.run(&given)?;
    let tolerance = if expected.iter().any(|tensor| tensor.data_type() == 10) { 2e-3 } else { 1e-5 };
    let apart = difference(&outputs, &expected, 1.0).unwrap();
    assert!(apart <= tolerance, "{}: {apart}", path.display());

    // Steps are the first axis of ONNX's recurrent operators, the second of attention, the last of a convolution.
    let node = model.graph.as_ref().unwrap().node[0].clone();
    let (time, batch) = match node.op_type() {
        "LinearAttention" => (1, 0),
        "CausalConvWithState" => (2, 0),
        _ => (0, 1),
    };
    let kept: Vec<TensorProto> = given.iter().filter(|tensor| !is_state(tensor.name())).cloned().collect();
    let specs: Vec<TensorSpec> = kept
        .iter()
        .map(|tensor| {
            let axes = shape(tensor).into_iter().enumerate().map(|(axis, size)| match axis {
                axis if axis == time => Axis::Time,
                axis if axis == batch => Axis::Batch,
                _ => Axis::Fixed(size),
            });
            TensorSpec { name: tensor.name().into(), element: Element::Float32, shape: axes.collect() }
        })
        .collect();
    let exposed = expose(&mut model, &specs)?;
    let b = shape(&kept[0])[batch];
    let long: Vec<TensorProto> = kept.iter().map(|tensor| repeated(tensor, time, 5)).collect();
    let steps = shape(&long[0])[time];
    let mut trial = Trial::new(&model)?;
    let from_zero = || exposed.states.iter().map(|state| zero(&model, state, b)).collect::<Vec<_>>();
    let once = trial.run(&[long.clone(), from_zero()].concat())?;
    let mut states = from_zero();
    let mut last = Vec::new();
    for step in 0..steps {
        let one: Vec<TensorProto> = long.iter().map(|tensor| cut(tensor, time, step, step + 1)).collect();
        last = trial.run(&[one, states].concat())?;
        states = exposed
            .states
            .iter()
            .map(|state| {
                let next = last.iter().find(|tensor| tensor.name() == state.out).unwrap();
                TensorProto { name: Some(state.tensor.name.clone()), ..next.clone() }
            })
            .collect();
    }
    // The states after all steps are those of the one run; for outputs the last step is enough, if they have steps.
    let ends = |outputs: &[TensorProto]| -> Vec<TensorProto> {
        let is_end = |tensor: &&TensorProto| exposed.states.iter().any(|state| state.out == tensor.name());
        outputs.iter().filter(is_end).cloned().collect()
    };
    assert!(!ends(&once).is_empty());
    let apart = difference(&ends(&once), &ends(&last), 1.0).unwrap();
    assert!(apart <= tolerance, "{}: {steps} steps at once differ from one by one by {apart}", path.display());
    Ok(())
}

fn is_state(name: &str) -> bool {
    name.starts_with("initial_") || name == "past_state"
}

fn zero(model: &ModelProto, state: &StateTensor, b: usize) -> TensorProto {
    let float16 = state.tensor.element == Element::Float16;
    let kind = if float16 { 10 } else { 1 };
    let sizes = state.tensor.sizes(1, b);
    let count = sizes.iter().product::<usize>() * if float16 { 2 } else { 4 };
    assert!(model.graph.as_ref().unwrap().input.iter().any(|info| info.name() == state.tensor.name));
    TensorProto {
        name: Some(state.tensor.name.clone()),
        data_type: Some(kind),
        dims: sizes.iter().map(|size| *size as i64).collect(),
        raw_data: Some(vec![0; count]),
        ..Default::default()
    }
}

/// The tensor so many times, one after the other along an axis.
fn repeated(tensor: &TensorProto, axis: usize, times: usize) -> TensorProto {
    let (sizes, all) = (shape(tensor), bytes(tensor).unwrap());
    let block = sizes[axis..].iter().product::<usize>() * width(kind(tensor).unwrap()).unwrap();
    let raw = all.chunks_exact(block).flat_map(|block| block.repeat(times)).collect();
    let mut sizes = sizes;
    sizes[axis] *= times;
    values::tensor(tensor.name(), kind(tensor).unwrap(), &sizes, raw)
}

/// Steps `from .. to` of a tensor.
fn cut(tensor: &TensorProto, axis: usize, from: usize, to: usize) -> TensorProto {
    let (mut sizes, all) = (shape(tensor), bytes(tensor).unwrap());
    let step = sizes[axis + 1..].iter().product::<usize>() * width(kind(tensor).unwrap()).unwrap();
    let raw = all.chunks_exact(step * sizes[axis]).flat_map(|block| block[from * step..to * step].to_vec()).collect();
    sizes[axis] = to - from;
    values::tensor(tensor.name(), kind(tensor).unwrap(), &sizes, raw)
}
