//! Graphs of Keras and PyTorch give, in our layout, the outputs that Keras and PyTorch give; what ours don't compute is
//! named.

use std::path::{Path, PathBuf};

use prost::Message;

use super::*;
use crate::fixtures;
use crate::kernel::CellKind;
use crate::model::onnx::export;
use crate::model::onnx::graph::{Axis, Graph, float, integer, string, strings};
use crate::model::onnx::proto::{AttributeProto, ModelProto, OperatorSetIdProto};
use crate::model::testing::{step, zero_state};
use crate::network::testing::{mixed, plain, tensors};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn last(architecture: &Architecture, tensors: &[Tensor], window: &[f64]) -> f64 {
    let mut state = zero_state(architecture);
    let steps = window.iter().map(|x| step(architecture, tensors, &[*x as f32], &mut state)[0]);
    steps.last().unwrap()
}

#[test]
fn graphs_of_keras_and_pytorch_compute_what_these_compute() {
    for (name, arrays, cell, layers, window) in [
        ("keras_rnn", "keras_rnn", CellKind::RnnTanh, 1, Some(10)),
        ("keras_lstm", "keras_lstm", CellKind::Lstm, 1, Some(10)),
        ("keras_gru", "keras_gru", CellKind::Gru, 1, Some(10)),
        ("torch_rnn_window_script", "torch_rnn", CellKind::RnnTanh, 1, Some(10)),
        ("torch_lstm_window_script", "torch_lstm", CellKind::Lstm, 1, Some(10)),
        ("torch_lstm2_window_script", "torch_lstm2", CellKind::Lstm, 2, Some(10)),
        ("torch_gru_window_script", "torch_gru", CellKind::Gru, 1, Some(10)),
        ("torch_lstm2_step_script", "torch_lstm2", CellKind::Lstm, 2, None),
        ("torch_gru_step_script", "torch_gru", CellKind::Gru, 1, None),
        ("torch_rnn_step_script", "torch_rnn", CellKind::RnnTanh, 1, None),
    ] {
        let architecture = Architecture { scaling: true, ..plain(1, &vec![(cell, 50); layers]) };
        let found = read(&fixture(&format!("{name}.onnx")), &architecture, &[]).unwrap();
        assert_eq!((found.window, &found.notes[..]), (window, &[][..]), "{name}");
        let (fitted, tensors) = found.fit(&architecture).unwrap();
        assert!(!fitted.scaling);
        // Both of PyTorch's biases, and Keras' one.
        let two = fitted.recurrent().all(|layer| layer.has_two_biases());
        assert_eq!(two, name.starts_with("torch") || cell == CellKind::Gru, "{name}");
        let arrays = fixtures::npz(fixture(&format!("{arrays}.npz")));
        let (x, y) = (&arrays["x"], &arrays["y"]);
        for row in 0..8 {
            let found = last(&fitted, &tensors, &x.data[row * 10..row * 10 + 10]);
            assert!((found - y.data[row]).abs() < 1e-5, "{name}: {found} {}", y.data[row]);
        }
    }
}

#[test]
fn what_a_graph_has_around_its_layers_is_read_to_the_bit() {
    // Every kind of layer, with scaling in front and behind; no paths beside the layers.
    let mut architecture = Architecture { network: (0..5).collect(), skip: vec![], residual: vec![], ..mixed() };
    architecture.layers.remove(0);
    let numbers = tensors(&architecture, 3);
    let bytes = export::onnx(&architecture, &numbers, "whole").unwrap();
    let found = of_graph(&bytes).unwrap();
    assert_eq!((found.window, found.layers.len()), (None, architecture.stack().len()));
    let (fitted, read) = found.fit(&Architecture { scaling: false, ..architecture.clone() }).unwrap();
    // A GRU's two biases are two either way.
    let Layer::Recurrent(gru) = &mut architecture.layers[2] else { unreachable!() };
    gru.double_bias = true;
    assert_eq!(fitted, architecture);
    for tensor in &numbers {
        let other = read.iter().find(|other| other.name == tensor.name).unwrap();
        assert_eq!(tensor, other);
    }
}

/// A graph x [4, batch, inputs] -> y that `build` makes, as a file in a folder of its own.
fn file(folder: &Path, inputs: usize, build: impl FnOnce(&mut Graph)) -> PathBuf {
    let mut graph = Graph::default();
    graph.0.name = Some("made".into());
    graph.input("x", &[Axis::Fixed(4), Axis::Open("batch"), Axis::Fixed(inputs)]);
    build(&mut graph);
    graph.output("y", &[Axis::Fixed(4), Axis::Open("batch"), Axis::Open("numbers")]);
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        graph: Some(graph.0),
        ..Default::default()
    };
    let path = folder.join("made.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// `from` through an operator of two units, without the axis of directions.
fn operator(graph: &mut Graph, op: &str, gates: usize, from: &str, more: Vec<AttributeProto>) -> String {
    let numbers = |count: usize, step: usize| -> Vec<f32> {
        (0..count).map(|at| ((at * step + 3) % 11) as f32 * 0.15 - 0.75).collect()
    };
    graph.floats("w", &[1, gates * 2, 2], &numbers(gates * 4, 5), "");
    graph.floats("r", &[1, gates * 2, 2], &numbers(gates * 4, 7), "");
    graph.floats("b", &[1, gates * 4], &numbers(gates * 4, 3), "");
    let mut attributes = vec![integer("hidden_size", 2)];
    attributes.extend(more);
    graph.node(op, &[from, "w", "r", "b"], "ran", attributes);
    graph.integers("one", &[1]);
    graph.node("Squeeze", &["ran", "one"], "hidden", vec![])
}

fn head(graph: &mut Graph, from: &str, to: &str) {
    graph.floats("kernel", &[2, 1], &[0.5, -1.5], "");
    graph.floats("bias", &[1], &[0.25], "");
    graph.node("MatMul", &[from, "kernel"], "product", vec![]);
    graph.node("Add", &["product", "bias"], to, vec![]);
}

#[test]
fn scaling_in_other_words_is_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 2, |graph| {
        graph.floats("factor", &[2], &[0.5, 4.0], "");
        graph.floats("offset", &[1], &[3.0], "");
        graph.node("Mul", &["factor", "x"], "times", vec![]);
        graph.node("Add", &["times", "offset"], "z", vec![]);
        let hidden = operator(graph, "GRU", 3, "z", vec![integer("linear_before_reset", 1)]);
        head(graph, &hidden, "small");
        graph.floats("minus", &[], &[2.0], "");
        graph.floats("by", &[], &[10.0], "");
        graph.node("Sub", &["small", "minus"], "lower", vec![]);
        graph.node("Mul", &["lower", "by"], "y", vec![]);
    });
    let architecture = plain(2, &[(CellKind::Gru, 2)]);
    let (fitted, tensors) = read(&path, &architecture, &[]).unwrap().fit(&architecture).unwrap();
    assert!(fitted.scaling);
    let data = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap().data.clone();
    // 0.5 x + 3 = (x + 6) / 2; 10 (y - 2) = 10 y - 20.
    assert_eq!((data("scaling/mean"), data("scaling/sd")), (vec![-6.0, -0.75], vec![2.0, 0.25]));
    assert_eq!((data("scaling/out_mean"), data("scaling/out_sd")), (vec![-20.0], vec![10.0]));
    assert_eq!((data("output/kernel"), data("output/bias")), (vec![0.5, -1.5], vec![0.25]));
}

#[test]
fn what_no_network_of_ours_computes_is_refused_by_node() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |what: &str, build: &dyn Fn(&mut Graph), words: &str| {
        let path = file(folder.path(), 2, build);
        let error = read(&path, &plain(2, &[(CellKind::Gru, 2)]), &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(words) && error.to_string().contains("made.onnx"), "{what}: {error}");
    };
    let with = |op: &'static str, gates, more: Vec<AttributeProto>| {
        move |graph: &mut Graph| {
            let hidden = operator(graph, op, gates, "x", more.clone());
            head(graph, &hidden, "y");
        }
    };
    let hard = strings("activations", &["HardSigmoid", "Tanh", "Tanh"]);
    refused("activation", &with("LSTM", 4, vec![hard]), "(LSTM) has the activations HardSigmoid, Tanh, Tanh, ours has");
    refused("order", &with("GRU", 3, vec![]), "\"ran\" (GRU) has linear_before_reset 0");
    refused("clip", &with("RNN", 1, vec![float("clip", 0.5)]), "\"ran\" (RNN) clips at 0.5 (clip)");
    refused("coupled", &with("LSTM", 4, vec![integer("input_forget", 1)]), "(input_forget)");
    let back = "takes \"ran\", which runs backwards in time alone";
    refused("reverse", &with("RNN", 1, vec![string("direction", "reverse")]), back);
    let peephole = |graph: &mut Graph| {
        operator(graph, "LSTM", 4, "x", vec![]);
        graph.floats("p", &[1, 6], &[0.0, 0.0, 0.5, 0.0, 0.0, 0.0], "");
        if let Some(node) = graph.0.node.iter_mut().find(|node| node.op_type() == "LSTM") {
            node.input.extend(["", "", "", "p"].map(str::to_owned));
        }
        head(graph, "hidden", "y");
    };
    refused("peephole", &peephole, "\"ran\" (LSTM) has peepholes (P)");
    let after = |build: &'static dyn Fn(&mut Graph)| {
        move |graph: &mut Graph| {
            operator(graph, "RNN", 1, "x", vec![]);
            head(graph, "hidden", "small");
            build(graph);
        }
    };
    refused(
        "sigmoid",
        &after(&|graph| {
            graph.node("Sigmoid", &["small"], "soft", vec![]);
            graph.floats("again", &[1, 1], &[2.0], "");
            graph.node("MatMul", &["soft", "again"], "y", vec![]);
        }),
        "\"y\" (MatMul) follows \"soft\" (Sigmoid), an activation that ours aren't between layers: they are linear, relu and",
    );
    refused(
        "elu",
        &after(&|graph| {
            graph.node("Elu", &["small"], "y", vec![]);
        }),
        "\"y\" (Elu) is an activation that ours aren't: they are linear, relu and tanh",
    );
    refused(
        "relu",
        &after(&|graph| {
            graph.node("Relu", &["small"], "y", vec![]);
        }),
        "Dense(1, relu): our networks end in a dense layer without activation",
    );
    refused(
        "sum",
        &after(&|graph| {
            graph.node("Add", &["small", "x"], "y", vec![]);
        }),
        "\"y\" (Add) joins two ways through the graph",
    );
    refused(
        "softmax",
        &after(&|graph| {
            graph.node("Softmax", &["small"], "soft", vec![integer("axis", -1)]);
            graph.floats("again", &[1, 1], &[2.0], "");
            graph.node("MatMul", &["soft", "again"], "y", vec![]);
        }),
        "follows \"soft\", the probabilities of classes, in which our networks end",
    );
    refused(
        "norm",
        &|graph| {
            operator(graph, "RNN", 1, "x", vec![]);
            graph.floats("gamma", &[2], &[1.0, 2.0], "");
            graph.node("LayerNormalization", &["hidden", "gamma"], "even", vec![float("epsilon", 1e-5)]);
            head(graph, "even", "y");
        },
        "\"even\" (LayerNormalization) has epsilon 0.00001, ours has 0.001",
    );
    // What else moves numbers isn't looked at: the runs show it.
    refused(
        "exchanged",
        &|graph| {
            operator(graph, "RNN", 1, "x", vec![]);
            graph.integers("wrong", &[1, 0]);
            graph.node("Gather", &["hidden", "wrong"], "other", vec![integer("axis", 2)]);
            head(graph, "other", "y");
        },
        "the graph computes something else than its layers in a row (SimpleRNN(2), Dense(1))",
    );
    refused(
        "backwards",
        &|graph| {
            for (name, value) in [("from", -1), ("to", i64::MIN), ("axis", 0), ("by", -1)] {
                graph.integers(name, &[value]);
            }
            graph.node("Slice", &["x", "from", "to", "axis", "by"], "turned", vec![]);
            operator(graph, "RNN", 1, "turned", vec![]);
            head(graph, "hidden", "y");
        },
        "takes \"ran\", which runs backwards in time alone",
    );
    refused(
        "state",
        &|graph| {
            operator(graph, "RNN", 1, "x", vec![]);
            graph.floats("first", &[1, 1, 2], &[0.5, -0.5], "");
            graph.integers("shape", &[1, 1, 2]);
            let node = graph.0.node.iter_mut().find(|node| node.op_type() == "RNN").unwrap();
            node.input.extend(["".to_owned(), "first".to_owned()]);
            head(graph, "hidden", "y");
            graph.0.input[0] = {
                let mut only = Graph::default();
                only.input("x", &[Axis::Fixed(4), Axis::Fixed(1), Axis::Fixed(2)]);
                only.0.input.remove(0)
            };
        },
        "from zero state, outputs differ by",
    );
    let whole = std::fs::read(fixture("keras_lstm.onnx")).unwrap();
    std::fs::write(folder.path().join("made.onnx"), &whole[..whole.len() / 2]).unwrap();
    let error = read(&folder.path().join("made.onnx"), &plain(1, &[(CellKind::Lstm, 50)]), &[]).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("made.onnx"), "{error}");
}
