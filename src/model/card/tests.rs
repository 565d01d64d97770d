//! Cards that are proposed for small graphs.

use std::path::Path;

use super::propose;
use crate::config::{CardFeed, card_of};
use crate::model::onnx::graph::{self, Axis, Graph, integer};
use crate::model::onnx::proto::{ModelProto, type_proto::Value};

const BATCH: Axis = Axis::Open("batch");

fn card(graph: Graph) -> String {
    let model = ModelProto { graph: Some(graph.0), ..Default::default() };
    propose(&model).card("some/model.onnx", "model v1")
}

fn lstm(x: &[Axis], state: &[Axis]) -> Graph {
    let mut graph = Graph::default();
    for (name, axes) in [("x", x), ("b_in", state), ("a_in", state)] {
        graph.input(name, axes);
    }
    graph.floats("w", &[1, 16, 3], &[0.1; 48], "");
    graph.floats("r", &[1, 16, 4], &[0.1; 64], "");
    // h is `b_in` and becomes `aa`: the names sort the other way round than they pair.
    graph.node_with(
        "LSTM",
        &["x", "w", "r", "", "", "b_in", "a_in"],
        &["y", "aa", "bb"],
        vec![integer("hidden_size", 4)],
    );
    for name in ["y", "aa", "bb"] {
        graph.output(name, if name == "y" { &[BATCH, BATCH, BATCH, Axis::Fixed(4)] } else { state });
    }
    graph
}

#[test]
fn states_of_an_operator_are_paired_by_its_wires_whatever_their_names() {
    let text = card(lstm(&[Axis::Open("time"), BATCH, Axis::Fixed(3)], &[Axis::Fixed(1), BATCH, Axis::Fixed(4)]));
    for line in [
        "onnx: some/model.onnx",
        "name: model_v1",
        "layout: time_first",
        "  b_in: { out: aa, shape: [1, batch, 4], init: zero }  # float32 [1, batch, 4]",
        "  a_in: { out: bb, shape: [1, batch, 4], init: zero }  # float32 [1, batch, 4]",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
    let read = card_of(&text, Path::new("/cards/card.yaml")).unwrap();
    assert!(matches!(&read.inputs[0].feed, CardFeed::Columns(columns) if columns[0].value == "x"));
}

/// Sums of states with what comes in: no operator says which output is which state.
fn sums(names: [&str; 2], outs: [&str; 2]) -> Graph {
    let mut graph = Graph::default();
    graph.input("x", &[BATCH, Axis::Fixed(4)]);
    for (name, out) in names.into_iter().zip(outs) {
        graph.input(name, &[BATCH, Axis::Fixed(4)]);
        graph.node("Add", &["x", name], out, vec![]);
        graph.output(out, &[BATCH, Axis::Fixed(4)]);
    }
    graph.node("Add", &[outs[0], outs[1]], "y", vec![]);
    graph.output("y", &[BATCH, Axis::Fixed(4)]);
    graph
}

#[test]
fn what_only_order_tells_apart_is_left_to_the_user() {
    let text = card(sums(["a", "b"], ["q", "p"]));
    let expected = "  a: { out: ~, shape: [batch, 4], init: zero }  # float32 [batch, 4]; fill in out: q or p (only order \
                    tells them apart)";
    assert!(text.lines().any(|line| line == expected), "{text}");
    let refused = card_of(&text, Path::new("card.yaml")).unwrap_err().to_string();
    assert!(refused.contains("`out`: expected the output that gives the next state, found nothing"), "{refused}");
    let text = card(sums(["slow_state", "fast_state"], ["fast_state_out", "slow_state_out"]));
    let expected = "  slow_state: { out: slow_state_out, shape: [batch, 4], init: zero }  # float32 [batch, 4]; guess: \
                    paired by name";
    assert!(text.lines().any(|line| line == expected), "{text}");
    card_of(&text, Path::new("card.yaml")).unwrap();
}

#[test]
fn a_graph_without_states_is_a_window() {
    let mut graph = Graph::default();
    graph.input("keras:0", &[Axis::Open("unk__4"), Axis::Fixed(10), Axis::Fixed(2)]);
    graph.node("Relu", &["keras:0"], "Identity:0", vec![]);
    graph.output("Identity:0", &[Axis::Open("unk__5"), Axis::Fixed(1)]);
    let text = card(graph);
    assert!(text.contains("layout: window  # guess") && text.contains("window: 10"), "{text}");
    let read = card_of(&text, Path::new("card.yaml")).unwrap();
    assert_eq!((read.inputs[0].name.as_str(), read.outputs[0].column.as_str()), ("keras:0", "Identity"));
}

/// A whole number that is always the same.
fn rate(graph: &mut Graph, name: &str) {
    graph.input(name, &[]);
    let of = graph.0.input.last_mut().and_then(|info| info.r#type.as_mut()).and_then(|of| of.value.as_mut());
    let Some(Value::TensorType(tensor)) = of else { panic!("{name} is no tensor") };
    tensor.elem_type = Some(7);
}

#[test]
fn a_number_that_the_graph_compares_is_guessed_wherever_it_does() {
    let mut graph = Graph::default();
    graph.input("x", &[BATCH, Axis::Fixed(4)]);
    for name in ["sr", "mode", "idle", "unused", "other"] {
        rate(&mut graph, name);
    }
    // Reshaped and picked before it is compared, as PyTorch's exporter does, in a branch and in a branch of that.
    let mut inner = Graph::default();
    inner.integers("low", &[8000]);
    inner.node("Equal", &["picked", "low"], "is_low", vec![]);
    let mut branch = Graph::default();
    branch.integers("high", &[16000]);
    branch.node("Equal", &["high", "picked"], "is_high", vec![]);
    branch.node_with("If", &["is_high"], &["chosen"], vec![graph::graph("then_branch", inner.0)]);
    graph.integers("flat", &[-1]);
    graph.integers("first", &[0]);
    graph.integers("three", &[3]);
    graph.node("Reshape", &["sr", "flat"], "listed", vec![]);
    graph.node("Gather", &["listed", "first"], "picked", vec![]);
    graph.node("Less", &["mode", "three"], "is_less", vec![]);
    graph.node_with("If", &["is_less"], &["y"], vec![graph::graph("then_branch", branch.0)]);
    graph.node("Mul", &["first", "idle"], "nothing", vec![]);
    graph.node("Mul", &["three", "other"], "thrice", vec![]);
    graph.output("y", &[BATCH, Axis::Fixed(4)]);
    let text = card(graph);
    for line in [
        "  sr: { constant: 16000 }  # int64 []; guess: the graph compares it with 16000 and 8000",
        "  mode: { constant: 3 }  # int64 []; guess: the graph compares it with this",
        "  idle: { constant: 0 }  # int64 []; guess: the graph makes no use of it, any number does",
        "  unused: { constant: 0 }  # int64 []; guess: the graph makes no use of it, any number does",
        "  other: { constant: ~ }  # int64 []; fill in constant: the number that it always is",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in\n{text}");
    }
}

#[test]
fn names_of_tensors_are_read_as_they_are_written() {
    let mut graph = Graph::default();
    graph.input("x${HOME}", &[BATCH, Axis::Fixed(4)]);
    graph.input("h${A}", &[BATCH, Axis::Fixed(4)]);
    graph.node("Add", &["x${HOME}", "h${A}"], "h${A}_out", vec![]);
    graph.output("h${A}_out", &[BATCH, Axis::Fixed(4)]);
    let text = card(graph);
    let read = card_of(&text, Path::new("/cards/card.yaml")).unwrap();
    assert_eq!(read.inputs[0].name.value, "x${HOME}");
    assert_eq!((read.states[0].name.value.as_str(), read.states[0].out.value.as_str()), ("h${A}", "h${A}_out"));
    assert_eq!(read.outputs[0].name.value, "h${A}_out");
}
