//! Cards that are proposed for small graphs.

use std::path::Path;

use super::propose;
use crate::config::{CardFeed, card_of};
use crate::model::onnx::graph::{Axis, Graph, integer};
use crate::model::onnx::proto::ModelProto;

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
