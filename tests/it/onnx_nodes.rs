//! ONNX's own node tests of operators with a state: each is imported and served with state, equal in every step to one
//! run over all of them, or refused with the reason that docs/models.md gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kolk::metrics::Metrics;
use kolk::model::executor::trial::{Trial, difference};
use kolk::model::executor::{Executor, Input, OnnxRuntime, Output, Rows, RowsMut, Steps, described, limits};
use kolk::model::import::{Beside, import as import_model};
use kolk::model::onnx::backport::backport;
use kolk::model::onnx::import;
use kolk::model::onnx::proto::{ModelProto, TensorProto, TypeProto, ValueInfoProto, type_proto};
use kolk::model::onnx::recognise::expose;
use kolk::model::onnx::values::{self, bytes, kind, shape, width};
use kolk::model::signing::PublicKeys;
use kolk::model::{Version, registry};
use kolk::network::{Axis, Element, InputTensor, Signature, StateTensor, TensorSpec};
use kolk::state::{Memory, RowLayout, StateSpec};
use kolk::{Result, config};
use prost::Message;

use super::common::*;
use super::official::python;

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

/// Runs the test itself, then a longer sequence in one run, and imported in one run and in steps that carry the state.
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
    show_steps(&mut model);
    let exposed = expose(&mut model, &specs)?;
    let b = shape(&kept[0])[batch];
    let long: Vec<TensorProto> = kept.iter().map(|tensor| repeated(tensor, time, 5)).collect();
    let from_zero = exposed.states.iter().map(|state| zero(&model, state, b)).collect();
    let once = Trial::new(&model)?.run(&[long.clone(), from_zero].concat())?;

    // The same through an import and the registry, all steps in one run and one by one.
    let version = imported(path, &model, &specs, &exposed.states)?;
    let signature = version.manifest.signature()?;
    let [output] = &signature.outputs[..] else { panic!("{:?}", signature.outputs) };
    let expected = once.iter().find(|tensor| tensor.name() == output.tensor.name).unwrap();
    let rows = |tensor: &TensorProto, spec: &TensorSpec| rows(tensor, &spec.shape, b);
    let expected = rows(expected, &output.tensor);
    let inputs: Vec<Vec<f64>> =
        long.iter().zip(&signature.inputs).map(|(tensor, input)| rows(tensor, &input.tensor)).collect();
    let steps = shape(&long[0])[time];
    assert_eq!(expected.len(), steps * b * output.tensor.width(), "{}", path.display());
    for pieces in [vec![steps], vec![1; steps]] {
        let found = served(&version, &signature, &inputs, b, &pieces)?;
        let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs() / scale).fold(0.0, f64::max);
        assert!(apart <= tolerance, "{}: {steps} steps in pieces {pieces:?} differ by {apart}", path.display());
    }
    Ok(())
}

/// Of a recurrent operator of which only the last state is an output: what it gives of each step is one, too.
fn show_steps(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let node = &mut graph.node[0];
    if node.output[0].is_empty() {
        node.output[0] = "each".into();
        let element = graph.output[0].r#type.clone().map(|r#type| match r#type.value {
            Some(type_proto::Value::TensorType(tensor)) => tensor.elem_type,
            _ => None,
        });
        let tensor = type_proto::Tensor { elem_type: element.flatten(), shape: None };
        let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
        graph.output.push(ValueInfoProto { name: Some("each".into()), r#type, ..Default::default() });
    }
}

/// Publishes a graph by a card, and opens it again.
fn imported(path: &Path, model: &ModelProto, specs: &[TensorSpec], states: &[StateTensor]) -> Result<Version> {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let folder = path.parent().unwrap().join(format!("of-{name}"));
    std::fs::create_dir(&folder).unwrap();
    // Files are exported with open axes; those of the node tests are of one size.
    let mut open = model.clone();
    let graph = open.graph.as_mut().unwrap();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut info.r#type {
            tensor.shape = None;
        }
    }
    std::fs::write(folder.join("exposed.onnx"), open.encode_to_vec()).unwrap();
    let line = |spec: &TensorSpec| format!("  {0}: {{ columns: [{0}], shape: {1} }}\n", spec.name, spec.axes());
    let inputs: String = specs.iter().map(line).collect();
    let state = |state: &StateTensor| {
        format!("  {}: {{ out: {}, shape: {} }}\n", state.tensor.name, state.out, state.tensor.axes())
    };
    let carried: String = states.iter().map(state).collect();
    let is_carried = |name: &str| states.iter().any(|state| state.out == name);
    let outputs = &model.graph.as_ref().unwrap().output;
    let output = outputs.iter().find(|info| !is_carried(info.name())).unwrap().name();
    let card = format!(
        "onnx: exposed.onnx\nname: node\nlayout: time_first\ninputs:\n{inputs}states:\n{carried}outputs:\n  {output}: {{ column: each }}\n"
    );
    let card = config::card_of(&card, &folder.join("card.yaml"))?;
    let models = folder.join("models");
    import_model(&card, Beside { width: &|_| None, rows: None, reference: None }, &mut |_, _, _| {})?
        .publish(&models, None)?;
    registry::open(&models, "node/1", &PublicKeys::none())
}

/// The numbers of a tensor as rows: [steps, sequences, numbers of a row].
fn rows(tensor: &TensorProto, axes: &[Axis], b: usize) -> Vec<f64> {
    let (sizes, values) = (shape(tensor), values::to_numbers(tensor).unwrap());
    assert_eq!(sizes.len(), axes.len());
    let width: usize = axes.iter().map(|axis| if let Axis::Fixed(size) = axis { *size } else { 1 }).product();
    let mut out = vec![0.0; values.len()];
    for (n, value) in values.into_iter().enumerate() {
        let (mut rest, mut at, mut stride, mut step, mut sequence) = (n, 0, 1, 0, 0);
        for (axis, size) in axes.iter().zip(&sizes).rev() {
            let index = rest % size;
            rest /= size;
            match axis {
                Axis::Time => step = index,
                Axis::Batch => sequence = index,
                Axis::Fixed(_) => (at, stride) = (at + index * stride, stride * size),
            }
        }
        out[(step * b + sequence) * width + at] = value;
    }
    out
}

/// What a version gives of each step of sequences, in runs of so many steps that carry the state.
fn served(
    version: &Version,
    signature: &Signature,
    inputs: &[Vec<f64>],
    b: usize,
    pieces: &[usize],
) -> Result<Vec<f64>> {
    let mut executor = OnnxRuntime::of(version, Arc::new(Metrics::new().unwrap()))?;
    let spec = described(StateSpec::default().u64("steps", 0), &signature.states, &|_| None)?;
    let mut memory = Memory::new(Arc::new(RowLayout::new([("infer", spec)])));
    memory.grow_to(b);
    let slots: Vec<u32> = (0..b as u32).collect();
    let of = |(values, input): (&'_ Vec<f64>, &InputTensor)| (values.clone(), input.tensor.width());
    let inputs: Vec<(Vec<f64>, usize)> = inputs.iter().zip(&signature.inputs).map(of).collect();
    let inputs: Vec<Input<'_>> =
        inputs.iter().map(|(values, width)| Input { values: Rows::F64(values), width: *width }).collect();
    let width = signature.outputs[0].tensor.width();
    let steps: usize = pieces.iter().sum();
    let mut found = vec![0.0; steps * b * width];
    let mut begun = 0;
    for t in pieces {
        let rows: Vec<u32> = (begun * b..(begun + t) * b).map(|row| row as u32).collect();
        let reset = vec![begun == 0; b];
        let run =
            Steps { t: *t, slots: &slots, inputs: &inputs, rows: &rows, gives: &rows, reset: &reset, lengths: &[] };
        let mut outputs = [Output { values: RowsMut::F64(&mut found), width }];
        executor.run(&run, memory.part(0).bank.as_deref_mut(), &mut outputs)?;
        begun += t;
    }
    Ok(found)
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
