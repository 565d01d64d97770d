//! What the graph of others costs beside one of ours of the same shape: GRU(50) with the same weights, batch first and
//! with its state as [layers, batch, units], as PyTorch exports it. One step of so many keys through the executor, with
//! gathering and scattering.
//!
//! `cargo bench --bench foreign`

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use kolk::kernel::CellKind;
use kolk::metrics::Metrics;
use kolk::model::Session;
use kolk::model::executor::{Executor, Input, OnnxRuntime, Output, Rows, RowsMut, Steps, described};
use kolk::model::onnx::export;
use kolk::model::onnx::proto::{AttributeProto, ModelProto, NodeProto, attribute_proto};
use kolk::network::{Architecture, Axis, Layer, Signature};
use kolk::state::{Memory, RowLayout, StateSpec};
use prost::Message;

const UNITS: usize = 50;
const FEATURES: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn own() -> Result<(Vec<u8>, Signature)> {
    let architecture = Architecture {
        features: FEATURES,
        network: (0..FEATURES).collect(),
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![],
        layers: vec![Layer::recurrent(CellKind::Gru, UNITS)],
        outputs: 1,
        scaling: false,
        pool: Default::default(),
        softmax: false,
        quantiles: Vec::new(),
        members: 1,
        patch: 1,
        segments: 0,
        centred: vec![],
    };
    let network = kolk::train::Network::<f32>::new(&architecture, 3);
    let onnx = export::onnx(&architecture, &network.tensors(), "own")?;
    Ok((onnx, Signature::of_own(&architecture, Vec::new(), &[], None)))
}

/// Transposes around the network, and its state as the operator takes it.
fn foreign(own: &[u8], mut signature: Signature) -> Result<(Vec<u8>, Signature)> {
    let mut model = ModelProto::decode(own)?;
    let graph = model.graph.as_mut().ok_or("no graph")?;
    graph.node.retain(|node| !(node.output[0] == "recurrent_0/h" || node.output[0] == "h_0_out"));
    let renamed = [("x", "x_inner"), ("y", "y_inner"), ("recurrent_0/h", "h_0"), ("recurrent_0/h_last", "h_0_out")];
    for name in graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
        if let Some((_, to)) = renamed.iter().find(|(from, _)| from == name) {
            *name = (*to).into();
        }
    }
    let turn = |from: &str, to: &str| NodeProto {
        op_type: Some("Transpose".into()),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![AttributeProto {
            name: Some("perm".into()),
            r#type: Some(attribute_proto::AttributeType::Ints as i32),
            ints: vec![1, 0, 2],
            ..Default::default()
        }],
        ..Default::default()
    };
    graph.node.insert(0, turn("x", "x_inner"));
    graph.node.push(turn("y_inner", "y"));
    for io in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(kolk::model::onnx::proto::type_proto::Value::TensorType(tensor)) =
            io.r#type.as_mut().and_then(|of| of.value.as_mut())
        {
            tensor.shape = None;
        }
    }
    model.metadata_props.clear();
    for tensor in [&mut signature.inputs[0].tensor, &mut signature.outputs[0].tensor] {
        tensor.shape.swap(0, 1);
    }
    signature.states[0].tensor.shape = vec![Axis::Fixed(1), Axis::Batch, Axis::Fixed(UNITS)];
    Ok((model.encode_to_vec(), signature))
}

/// One step of `keys`, again and again.
fn step(
    criterion: &mut Criterion,
    name: &str,
    mut executor: OnnxRuntime,
    signature: &Signature,
    keys: usize,
) -> Result<()> {
    let spec = described(StateSpec::default().u64("steps", 0), &signature.states, &|_| None)?;
    let mut memory = Memory::new(Arc::new(RowLayout::new([("infer", spec)])));
    memory.grow_to(keys);
    let slots: Vec<u32> = (0..keys as u32).map(|n| n * 7 % keys as u32).collect();
    let x: Vec<f32> = (0..keys * FEATURES).map(|n| (n as f32).sin()).collect();
    let (mut y, reset) = (vec![0.0; keys], vec![false; keys]);
    let rows: Vec<u32> = (0..keys as u32).collect();
    let inputs = [Input { values: Rows::F32(&x), width: FEATURES }];
    criterion.bench_with_input(BenchmarkId::new(name, keys), &keys, |bench, _| {
        bench.iter(|| {
            let steps =
                Steps { t: 1, slots: &slots, inputs: &inputs, rows: &rows, gives: &rows, reset: &reset, lengths: &[] };
            let mut outputs = [Output { values: RowsMut::F32(&mut y), width: 1 }];
            executor.run(&steps, memory.part(0).bank, &mut outputs).unwrap_or_else(|error| panic!("{error}"));
        });
    });
    Ok(())
}

fn bench(criterion: &mut Criterion) -> Result<()> {
    let metrics = Arc::new(Metrics::new()?);
    let (onnx, signature) = own()?;
    let (other, other_signature) = foreign(&onnx, signature.clone())?;
    // Keys that are no multiple of seven: every slot is there once.
    for keys in [1, 16, 256, 1024] {
        let executor = OnnxRuntime::new(Session::own(&onnx, &signature)?, &|_| None, metrics.clone())?;
        step(criterion, "own", executor, &signature, keys)?;
        let executor = OnnxRuntime::new(Session::foreign(&other, &other_signature)?, &|_| None, metrics.clone())?;
        step(criterion, "foreign", executor, &other_signature, keys)?;
    }
    Ok(())
}

fn all(criterion: &mut Criterion) {
    bench(criterion).unwrap_or_else(|error| panic!("{error}"));
}

criterion_group!(benches, all);
criterion_main!(benches);
