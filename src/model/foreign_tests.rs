//! The graphs of others through the executor, against the same arithmetic by hand. All numbers are such that every type
//! holds them exactly. Needs ONNX Runtime.

use std::sync::Arc;

use prost::Message;

use super::executor::{Executor, Input, OnnxRuntime, Output, Rows, RowsMut, Steps, described};
use super::onnx::export;
use super::onnx::graph::{Axis as Declared, Graph, integer};
use super::onnx::proto::{
    AttributeProto, ModelProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto, type_proto,
};
use super::*;
use crate::kernel::CellKind;
use crate::metrics::Metrics;
use crate::network::testing::{Numbers, plain, tensors};
use crate::network::{
    Axis, Element, Feed, Initial, InputTensor, OutputTensor, Run, Signature, StateTensor, TensorSpec,
};
use crate::state::{Memory, RowLayout, StateSpec};

const B: Axis = Axis::Batch;
const T: Axis = Axis::Time;

fn fixed(size: usize) -> Axis {
    Axis::Fixed(size)
}

fn c_type(element: Element) -> i32 {
    match element {
        Element::Float32 => 1,
        Element::Int32 => 6,
        Element::Int64 => 7,
        Element::Bool => 9,
        Element::Float16 => 10,
        Element::Float64 => 11,
    }
}

/// An input or output whose shape the graph doesn't declare.
fn value(name: &str, element: Element, rank: usize) -> ValueInfoProto {
    let shape = Some(TensorShapeProto { dim: vec![Default::default(); rank] });
    let tensor = type_proto::Tensor { elem_type: Some(c_type(element)), shape };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn constant(graph: &mut Graph, name: &str, element: Element, dims: &[i64], bytes: Vec<u8>) {
    graph.0.initializer.push(TensorProto {
        dims: dims.to_vec(),
        data_type: Some(c_type(element)),
        name: Some(name.into()),
        raw_data: Some(bytes),
        ..Default::default()
    });
}

fn number(value: f64, element: Element) -> Vec<u8> {
    match element {
        Element::Float32 => (value as f32).to_le_bytes().to_vec(),
        Element::Float16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        Element::Float64 => value.to_le_bytes().to_vec(),
        Element::Int64 => (value as i64).to_le_bytes().to_vec(),
        Element::Int32 => (value as i32).to_le_bytes().to_vec(),
        Element::Bool => vec![u8::from(value != 0.0)],
    }
}

fn model(graph: Graph) -> Vec<u8> {
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(export::OPSET) };
    let mut graph = graph.0;
    graph.name = Some("foreign".into());
    ModelProto {
        ir_version: Some(export::IR_VERSION),
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}

fn spec(name: &str, element: Element, shape: &[Axis]) -> TensorSpec {
    TensorSpec { name: name.into(), element, shape: shape.to_vec() }
}

fn taken(tensor: TensorSpec) -> InputTensor {
    InputTensor { tensor, feed: Feed::Columns(Vec::new()) }
}

fn given(tensor: TensorSpec) -> OutputTensor {
    OutputTensor { column: tensor.name.clone(), tensor, forecast: None }
}

/// `b` becomes 2 b + x and comes out as `a_next`; `a` becomes a + 3 x and comes out as `b_next`: names in their order
/// would pair them wrongly. `y` is the new b + 4 times the new a, `z` the new a.
fn swapped(element: Element) -> Vec<u8> {
    let mut graph = Graph::default();
    for (n, name) in [(2.0, "two"), (3.0, "three"), (4.0, "four")] {
        constant(&mut graph, name, element, &[], number(n, element));
    }
    for (op, inputs, output) in [
        ("Mul", ["b", "two"], "b2"),
        ("Add", ["b2", "x"], "a_next"),
        ("Mul", ["x", "three"], "x3"),
        ("Add", ["a", "x3"], "b_next"),
        ("Mul", ["b_next", "four"], "a4"),
        ("Add", ["a_next", "a4"], "y"),
        ("Identity", ["b_next", ""], "z"),
    ] {
        let inputs = if inputs[1].is_empty() { &inputs[..1] } else { &inputs[..] };
        graph.node(op, inputs, output, vec![]);
    }
    graph.0.input = ["a", "b", "x"].map(|name| value(name, element, 0)).to_vec();
    graph.0.output = ["a_next", "b_next", "y", "z", "a4"].map(|name| value(name, element, 0)).to_vec();
    for io in graph.0.input.iter_mut().chain(&mut graph.0.output) {
        // Of unknown rank.
        if let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &mut io.r#type {
            tensor.shape = None;
        }
    }
    model(graph)
}

/// A memory for the states of a graph.
fn memory(signature: &Signature, file: &dyn Fn(&str) -> Option<&'static [u8]>) -> Memory {
    let spec = described(StateSpec::default().u64("steps", 0), &signature.states, file).unwrap();
    let mut memory = Memory::new(Arc::new(RowLayout::new([("infer", spec)])));
    memory.grow_to(64);
    memory
}

fn executor(onnx: &[u8], signature: &Signature, file: &dyn Fn(&str) -> Option<&'static [u8]>) -> OnnxRuntime {
    let session = Session::foreign(onnx, signature).unwrap();
    OnnxRuntime::new(session, file, Arc::new(Metrics::new().unwrap())).unwrap()
}

#[test]
fn any_type_and_any_place_of_the_batch_and_any_initial_state() {
    let types = [Element::Float32, Element::Float16, Element::Float64, Element::Int32, Element::Int64];
    for element in types {
        for shape in [vec![B, fixed(6)], vec![fixed(6), B], vec![fixed(2), B, fixed(3)], vec![fixed(1), B, fixed(6)]] {
            let bytes: &'static [u8] = (0..6).flat_map(|n| number(n.into(), element)).collect::<Vec<_>>().leak();
            let file = |name: &str| (name == "h0.bin").then_some(bytes);
            let state = |name: &str, out: &str, initial| {
                let tensor = spec(name, element, &shape);
                StateTensor { tensor, out: out.into(), initial }
            };
            for batch in [Run::Many, Run::One] {
                let signature = Signature {
                    inputs: vec![taken(spec("x", element, &shape))],
                    states: vec![
                        state("b", "a_next", Initial::File("h0.bin".into())),
                        state("a", "b_next", Initial::Number(5.0)),
                    ],
                    outputs: vec![given(spec("y", element, &shape)), given(spec("z", element, &shape))],
                    lengths: None,
                    batch,
                    steps: Run::One,
                };
                check_swapped(&signature, &file, element);
            }
        }
    }
}

fn check_swapped(signature: &Signature, file: &dyn Fn(&str) -> Option<&'static [u8]>, element: Element) {
    let (slots, steps) = ([5_u32, 0, 9, 3, 7], 3);
    let mut executor = executor(&swapped(element), signature, file);
    let mut memory = memory(signature, file);
    let begin = ((0..6).map(f64::from).collect::<Vec<_>>(), vec![5.0; 6]);
    let mut by_hand = vec![begin.clone(); slots.len()];
    for round in 0..2_usize {
        let x: Vec<f64> = (0..15 * 6).map(|n| ((n * 7 + round) % 5) as f64 - 2.0).collect();
        let narrow: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let rows: Vec<u32> = (0..15).map(|n| (n * 4 + round as u32) % 15).collect();
        let reset = [round == 0, false, round == 1, false, round == 0];
        let (mut y, mut z) = (vec![f32::NAN; 15 * 6], vec![f64::NAN; 15 * 6]);
        let mut outputs =
            [Output { values: RowsMut::F32(&mut y), width: 6 }, Output { values: RowsMut::F64(&mut z), width: 6 }];
        let values = if element == Element::Float32 { Rows::F32(&narrow) } else { Rows::F64(&x) };
        let inputs = [Input { values, width: 6 }];
        let run =
            Steps { t: steps, slots: &slots, inputs: &inputs, rows: &rows, gives: &rows, reset: &reset, lengths: &[] };
        executor.run(&run, memory.part(0).bank, &mut outputs).unwrap();
        for (sequence, (b, a)) in by_hand.iter_mut().enumerate() {
            if reset[sequence] {
                (*b, *a) = begin.clone();
            }
            for step in 0..steps {
                let row = rows[step * slots.len() + sequence] as usize;
                for n in 0..6 {
                    let x = x[row * 6 + n];
                    (b[n], a[n]) = (2.0 * b[n] + x, a[n] + 3.0 * x);
                    assert_eq!(z[row * 6 + n], a[n], "{signature:?} {round} {step} {sequence}");
                    assert_eq!(y[row * 6 + n], (b[n] + 4.0 * a[n]) as f32, "{signature:?} {round} {step} {sequence}");
                }
            }
        }
    }
}

/// An embedding of ids, a flag that stays, and the rows of a batch that influence each other.
#[test]
fn ids_flags_and_rows_that_must_run_alone() {
    let mut graph = Graph::default();
    let table: Vec<u8> = (0..10).flat_map(|n| (n as f32 * 1.5).to_le_bytes()).collect();
    constant(&mut graph, "table", Element::Float32, &[5, 2], table);
    graph.node("Gather", &["table", "id"], "row", vec![integer("axis", 0)]);
    graph.node("ReduceMax", &["row"], "greatest", vec![integer("keepdims", 1), axes(&[0])]);
    graph.node("Add", &["row", "greatest"], "y", vec![]);
    graph.node("Or", &["seen", "now"], "seen_next", vec![]);
    graph.node("Identity", &["seen_next"], "flag", vec![]);
    graph.0.input =
        vec![value("id", Element::Int32, 1), value("now", Element::Bool, 2), value("seen", Element::Bool, 2)];
    graph.0.output =
        vec![value("y", Element::Float32, 2), value("seen_next", Element::Bool, 2), value("flag", Element::Bool, 2)];
    let signature = Signature {
        inputs: vec![
            InputTensor {
                tensor: spec("id", Element::Int32, &[B]),
                feed: Feed::Ids { column: "token".into(), below: 5 },
            },
            taken(spec("now", Element::Bool, &[B, fixed(1)])),
        ],
        states: vec![StateTensor {
            tensor: spec("seen", Element::Bool, &[B, fixed(1)]),
            out: "seen_next".into(),
            initial: Initial::Zero,
        }],
        outputs: vec![
            given(spec("y", Element::Float32, &[B, fixed(2)])),
            given(spec("flag", Element::Bool, &[B, fixed(1)])),
        ],
        lengths: None,
        batch: Run::One,
        steps: Run::One,
    };
    let mut executor = executor(&model(graph), &signature, &|_| None);
    let mut memory = memory(&signature, &|_| None);
    let (ids, now) = ([4_i64, 0, 2, 1], [0.0, 1.0, 0.0, 0.0]);
    let inputs = [Input { values: Rows::I64(&ids), width: 1 }, Input { values: Rows::F64(&now), width: 1 }];
    let (mut y, mut flag) = (vec![0.0; 8], vec![0.0; 4]);
    let mut outputs =
        [Output { values: RowsMut::F32(&mut y), width: 2 }, Output { values: RowsMut::F64(&mut flag), width: 1 }];
    // Two steps of two keys.
    let rows = [0, 1, 2, 3];
    let reset = [true, true];
    let steps = Steps { t: 2, slots: &[1, 0], inputs: &inputs, rows: &rows, gives: &rows, reset: &reset, lengths: &[] };
    executor.run(&steps, memory.part(0).bank, &mut outputs).unwrap();
    // Alone, a row is its own greatest.
    let expected: Vec<f32> = ids.iter().flat_map(|id| [*id as f32 * 6.0, (*id as f32 * 2.0 + 1.0) * 3.0]).collect();
    assert_eq!((y, flag), (expected, vec![0.0, 1.0, 0.0, 1.0]));
}

fn axes(values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some("axes".into()),
        r#type: Some(attribute_proto::AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// Our own graph with the batch first, and one whose output is that of the last step: the bits are those of our own.
#[test]
fn batch_first_and_a_last_step_give_the_bits_of_time_first() {
    let architecture = plain(3, &[(CellKind::Gru, 8)]);
    let onnx = export::onnx(&architecture, &tensors(&architecture, 3), "own").unwrap();
    let own = Signature::of_own(&architecture, Vec::new(), &[], None);
    let mut wrapped = ModelProto::decode(onnx.as_slice()).unwrap();
    let inner = wrapped.graph.as_mut().unwrap();
    for name in inner.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
        match name.as_str() {
            "x" => *name = "x_inner".into(),
            "y" => *name = "y_inner".into(),
            _ => {}
        }
    }
    let mut around = Graph::default();
    let turn = || AttributeProto { name: Some("perm".into()), ..axes(&[1, 0, 2]) };
    around.node("Transpose", &["x"], "x_inner", vec![turn()]);
    around.0.node.append(&mut inner.node);
    around.node("Transpose", &["y_inner"], "y", vec![turn()]);
    around.integers("last", &[-1]);
    around.node("Gather", &["y_inner", "last"], "at_last", vec![integer("axis", 0)]);
    around.integers("first_axis", &[0]);
    around.node("Squeeze", &["at_last", "first_axis"], "end", vec![]);
    around.output("end", &[Declared::Open("B"), Declared::Fixed(1)]);
    inner.node = around.0.node;
    inner.initializer.append(&mut around.0.initializer);
    inner.output.append(&mut around.0.output);
    // What is declared is wrong, as it often is: the axes are the other way round.
    let batch_first = |name: &str, width| spec(name, Element::Float32, &[B, T, fixed(width)]);
    let mut first = own.clone();
    first.inputs[0].tensor = batch_first("x", 3);
    first.outputs[0].tensor = batch_first("y", 1);
    let mut last = first.clone();
    last.outputs = vec![given(spec("end", Element::Float32, &[B, fixed(1)]))];
    let wrapped = wrapped.encode_to_vec();

    let x: Vec<f32> = Numbers(4).take(20 * 3).collect();
    let rows: Vec<u32> = (0..20).map(|n| (n * 3) % 20).collect();
    let run = |mut executor: OnnxRuntime, gives: &[u32], carry: bool| {
        let mut memory = memory(&own, &|_| None);
        let mut y = vec![-1.0; 20];
        for reset in [[true; 5], [false, true, false, false, false]] {
            let inputs = [Input { values: Rows::F32(&x), width: 3 }];
            let steps = Steps {
                t: 4,
                slots: &[4, 3, 2, 1, 0],
                inputs: &inputs,
                rows: &rows,
                gives,
                reset: &reset,
                lengths: &[],
            };
            let mut outputs = [Output { values: RowsMut::F32(&mut y), width: 1 }];
            executor.run(&steps, memory.part(0).bank.filter(|_| carry), &mut outputs).unwrap();
        }
        y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
    };
    let own = || OnnxRuntime::new(Session::own(&onnx, &own).unwrap(), &|_| None, Arc::new(Metrics::new().unwrap()));
    let expected = run(own().unwrap(), &rows, true);
    assert_eq!(run(executor(&wrapped, &first, &|_| None), &rows, true), expected);
    // Of the last step alone, but of every row: step by step.
    assert_eq!(run(executor(&wrapped, &last, &|_| None), &rows, true), expected);
    let mut ends = vec![Steps::NONE; 15];
    ends.extend_from_slice(&rows[15..]);
    let expected = run(own().unwrap(), &ends, false);
    assert_eq!(run(executor(&wrapped, &last, &|_| None), &ends, false), expected, "windows, in one run each");
}

#[test]
fn what_a_graph_gives_is_compared_in_its_first_run() {
    let element = Element::Float32;
    let shape = [B, fixed(6)];
    let state = |name: &str, out: &str| StateTensor {
        tensor: spec(name, element, &shape),
        out: out.into(),
        initial: Initial::Zero,
    };
    let mut signature = Signature {
        inputs: vec![taken(spec("x", element, &shape))],
        states: vec![state("b", "a_next"), state("a", "b_next")],
        outputs: vec![given(spec("y", element, &[B, fixed(4)]))],
        lengths: None,
        batch: Run::Many,
        steps: Run::One,
    };
    let mut wrong = executor(&swapped(element), &signature, &|_| None);
    let x = [0.0; 12];
    let inputs = [Input { values: Rows::F32(&x), width: 6 }];
    let steps =
        Steps { t: 1, slots: &[0, 1], inputs: &inputs, rows: &[0, 1], gives: &[0, 1], reset: &[true; 2], lengths: &[] };
    let mut y = [0.0; 8];
    let error = wrong.run(&steps, None, &mut [Output { values: RowsMut::F32(&mut y), width: 4 }]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("output \"y\" is [2, 6]") && message.contains("expected [2, 4]"), "{message}");
    assert_eq!(error.exit_code(), 2);

    signature.inputs[0].tensor.element = Element::Float64;
    signature.states[0].out = "b_later".into();
    let message = Session::foreign(&swapped(element), &signature).unwrap_err().to_string();
    assert!(message.contains("input \"x\": expected float64 [batch, 6], the graph has float32"), "{message}");
    assert!(message.contains("output \"b_later\""), "{message}");
    signature.states[0].initial = Initial::File("h0.bin".into());
    let described = |file| described(StateSpec::default(), &signature.states, file).unwrap_err().to_string();
    assert!(described(&|_| None).contains("the version has no file \"h0.bin\""));
    assert!(described(&|_| Some(&[0; 20])).contains("\"h0.bin\" has 20 bytes, float32 [batch, 6] of a key has 24"));
}
