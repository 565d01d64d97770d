//! Imports of small graphs. Needs ONNX Runtime.

use std::path::Path;

use prost::Message;

use super::*;
use crate::config::card_of;
use crate::kernel::CellKind;
use crate::model::onnx::export;
use crate::model::onnx::graph::{Axis, Graph, integer, string};
use crate::model::onnx::proto::{AttributeProto, ModelProto, OperatorSetIdProto};
use crate::model::onnx::testing::noise;
use crate::model::signing::PublicKeys;
use crate::model::{card, onnx};
use crate::network::testing::{plain, tensors};

const BATCH: Axis = Axis::Open("batch");

fn bytes(graph: Graph) -> Vec<u8> {
    let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
    ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph.0), ..Default::default() }
        .encode_to_vec()
}

fn imported(folder: &Path, bytes: &[u8], text: &str) -> Result<Imported> {
    imported_on(folder, bytes, text, None)
}

fn imported_on(folder: &Path, bytes: &[u8], text: &str, rows: Option<RowsOf<'_>>) -> Result<Imported> {
    std::fs::write(folder.join("model.onnx"), bytes).unwrap();
    let card = card_of(text, &folder.join("card.yaml"))?;
    let beside = Beside { width: &|_| None, rows, reference: None };
    import(&card, beside, &mut |_, _, _| {}).map_err(|error| at_file(&card, error))
}

/// A sum `s_out = f(x + s)` of 4 numbers with one more node, whose output is `y`.
fn cell(op: &str, axis: Option<i64>) -> Vec<u8> {
    let mut graph = Graph::default();
    for name in ["x", "s"] {
        graph.input(name, &[BATCH, Axis::Fixed(5)]);
    }
    graph.node("Add", &["x", "s"], "sum", vec![]);
    graph.node("Sigmoid", &["sum"], "s_out", vec![]);
    graph.node(op, &["sum"], "y", axis.map(|axis| integer("axis", axis)).into_iter().collect());
    for name in ["y", "s_out"] {
        graph.output(name, &[BATCH, Axis::Fixed(5)]);
    }
    bytes(graph)
}

const CELL: &str = "\
onnx: model.onnx
name: cell
layout: step
inputs: { x: { columns: [a, b, c, d, e] } }
states: { s: { out: s_out } }
outputs: { y: { column: z } }
";

#[test]
fn our_own_graph_is_imported_as_any_other_from_the_card_that_is_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let architecture = plain(2, &[(CellKind::Lstm, 5), (CellKind::Gru, 4)]);
    let own = export::onnx(&architecture, &tensors(&architecture, 3), "own").unwrap();
    let text = card::propose(&onnx::import::model(&own).unwrap()).card("model.onnx", "own");
    let imported = imported(folder.path(), &own, &text).unwrap();
    let signature = imported.manifest.signature.clone().unwrap();
    assert_eq!((signature.batch, signature.steps, imported.manifest.bitwise), (Run::Many, Run::Many, true));
    assert_eq!(signature.states.len(), 3);
    assert_eq!(signature.outputs[0].tensor.describe(), "float32 [time, batch, 1]");
    let version = imported.publish(&folder.path().join("models"), None).unwrap();
    assert_eq!(
        registry::open(&folder.path().join("models"), "own/1", &PublicKeys::none()).unwrap().manifest,
        version.manifest
    );
    let report = std::fs::read_to_string(version.folder.join("report.html")).unwrap();
    assert!(report.contains("bitwise: yes") && report.contains("the same bits"), "{report}");
}

#[test]
fn rows_that_influence_each_other_are_run_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let one = imported(folder.path(), &cell("Softmax", Some(0)), CELL).unwrap();
    let signature = one.manifest.signature.as_ref().unwrap();
    assert_eq!((signature.batch, one.manifest.bitwise), (Run::One, true), "{:?}", one.manifest.proofs);
    let many = imported(folder.path(), &cell("Softmax", Some(0)), &format!("{CELL}batch: many\n")).unwrap();
    let signature = many.manifest.signature.as_ref().unwrap();
    assert_eq!((signature.batch, many.manifest.bitwise), (Run::Many, false));
    let fine = imported(folder.path(), &cell("Softmax", Some(1)), CELL).unwrap();
    assert_eq!((fine.manifest.signature.unwrap().batch, fine.manifest.bitwise), (Run::Many, true));
    let softplus = imported(folder.path(), &cell("Softplus", None), CELL).unwrap();
    assert_eq!((softplus.manifest.signature.unwrap().batch, softplus.manifest.bitwise), (Run::Many, false));
    // NaN of half of the numbers, whose own bits depend on the place: that alone makes no row depend on another one.
    let root = imported(folder.path(), &cell("Sqrt", None), CELL).unwrap();
    assert_eq!((root.manifest.signature.unwrap().batch, root.manifest.bitwise), (Run::Many, true));

    // What one by one costs is measured where it is to be paid, and wherever it is asked.
    assert!(one.cost.is_some() && many.cost.is_none());
    let card = card_of(CELL, &folder.path().join("card.yaml")).unwrap();
    let (cost, findings) = cost(&card).unwrap();
    let (rows, seconds) = cost.beside.unwrap();
    assert!(rows == 64 && seconds > 0.0 && cost.alone > 0.0 && findings.is_empty(), "{rows} {seconds} {findings:?}");
}

#[test]
fn a_card_that_does_not_fit_is_refused_with_all_differences_and_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let text = "\
onnx: model.onnx
name: cell
layout: time_first
inputs: { x: { columns: [a] }, v: { columns: [b] } }
states: { s: { out: z, shape: [batch, 6] } }
outputs: { w: { column: z } }
";
    let refused = imported(folder.path(), &cell("Tanh", None), text).err().unwrap().to_string();
    for (place, message) in [
        ("4:32", "the graph has no input \"v\" (there are: x, s)"),
        ("5:21", "the graph has no output \"z\""),
        ("6:12", "the graph has no output \"w\""),
    ] {
        assert!(refused.contains(&format!("card.yaml:{place}: {message}")), "{place} {message} in {refused}");
    }
    for (from, to, message) in [
        (
            "s: { out: s_out }",
            "s: { out: s_out, shape: [batch, 6] }",
            "5:35: state \"s\": [batch, 6] is not what the graph has",
        ),
        ("states: { s: { out: s_out } }", "states: {}", "the graph's input \"s\" (float32 [batch, 5]) is missing"),
        ("{ out: s_out }", "{ out: s_out, init: { file: none.npy } }", "none.npy: No such file"),
        (
            "layout: step",
            "layout: time_first",
            "[time, batch] has its batch where the graph has 5 (float32 [batch, 5])",
        ),
        ("{ column: z }", "{ column: z, shape: [batch, 4] }", "is float32 [batch, 4] in the card, a run"),
        ("{ column: z }", "{ column: z, targets: [a], horizon: 3 }", "has 5 numbers a row, 3 steps of 1 targets"),
        ("onnx: model.onnx", "onnx: none.onnx", "card.yaml:1:7: read "),
    ] {
        let message_of = |text: &str| match imported(folder.path(), &cell("Tanh", None), text) {
            Ok(_) => "imported".to_owned(),
            Err(error) => error.to_string(),
        };
        let found = message_of(&CELL.replace(from, to));
        assert!(found.contains(message), "{message} in {found}");
    }
    assert!(!folder.path().join("models").exists());
}

#[test]
fn a_state_can_be_a_column_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Graph::default();
    graph.input("x", &[BATCH, Axis::Fixed(5)]);
    graph.input("s", &[BATCH, Axis::Fixed(5)]);
    graph.node("Add", &["x", "s"], "s_out", vec![]);
    graph.output("s_out", &[BATCH, Axis::Fixed(5)]);
    let bytes = bytes(graph);
    // A cell that gives nothing but its state is proposed so.
    let text = card::propose(&onnx::import::model(&bytes).unwrap()).card("model.onnx", "cell");
    assert!(text.contains("s: { out: s_out") && text.contains("s_out: { column: s_out }"), "{text}");
    let text = CELL.replace("y: { column: z }", "s_out: { column: z }");
    let imported = imported(folder.path(), &bytes, &text).unwrap();
    let signature = imported.manifest.signature.clone().unwrap();
    assert_eq!((signature.outputs[0].column.as_str(), signature.outputs[0].tensor.width()), ("z", 5));
    assert_eq!((signature.states[0].out.as_str(), imported.manifest.bitwise), ("s_out", true));
}

/// A GRU over [time, batch, 3] with its state, whose input first goes through `before`.
fn sequence(direction: &str, before: impl Fn(&mut Graph)) -> Vec<u8> {
    let mut graph = Graph::default();
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    graph.input("x", &[Axis::Open("time"), BATCH, Axis::Fixed(3)]);
    graph.input("h", &[Axis::Fixed(directions), BATCH, Axis::Fixed(4)]);
    before(&mut graph);
    let noise = noise(2 * 12 * 7, 5);
    let (w, r) = (12 * 3 * directions, 12 * 4 * directions);
    graph.floats("w", &[directions, 12, 3], &noise[..w], "");
    graph.floats("r", &[directions, 12, 4], &noise[w..w + r], "");
    let attributes = vec![integer("hidden_size", 4), string("direction", direction)];
    graph.node_with("GRU", &["seen", "w", "r", "", "", "h"], &["y", "h_out"], attributes);
    graph.output("y", &[Axis::Open("time"), Axis::Fixed(directions), BATCH, Axis::Fixed(4)]);
    graph.output("h_out", &[Axis::Fixed(directions), BATCH, Axis::Fixed(4)]);
    bytes(graph)
}

const SEQUENCE: &str = "\
onnx: model.onnx
name: sequence
layout: time_first
inputs: { x: { columns: [a, b, c] } }
states: { h: { out: h_out } }
outputs: { y: { column: z } }
";

#[test]
fn what_looks_ahead_is_not_served_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let same = |graph: &mut Graph| {
        graph.node("Identity", &["x"], "seen", vec![]);
    };
    let forward = imported(folder.path(), &sequence("forward", same), SEQUENCE).unwrap();
    assert_eq!(forward.manifest.signature.unwrap().steps, Run::Many);
    for direction in ["bidirectional", "reverse"] {
        let refused = imported(folder.path(), &sequence(direction, same), SEQUENCE).unwrap_err().to_string();
        assert!(refused.contains("card.yaml:5:11: state \"h\" begins \"y\" (GRU with direction"), "{refused}");
    }
    // The sum of a step and all that follow.
    let ahead = sequence("forward", |graph| {
        let axis = graph.integers("axis", &[0]);
        graph.node("CumSum", &["x", &axis], "seen", vec![integer("reverse", 1)]);
    });
    let refused = imported(folder.path(), &ahead, SEQUENCE).unwrap_err().to_string();
    assert!(refused.contains("6 steps in one run give other numbers than 6 runs"), "{refused}");
    assert!(refused.contains("output \"y\", step ") && refused.contains("`steps: one`"), "{refused}");
    // An output without a time axis is that of the last step: the sum of all steps is not.
    let mut pooled = onnx::import::model(&sequence("forward", same)).unwrap();
    let graph = pooled.graph.get_or_insert_default();
    let mut more = Graph(std::mem::take(graph));
    let axes = more.integers("axes", &[0, 1]);
    more.node("ReduceSum", &["y", &axes], "sum", vec![integer("keepdims", 0)]);
    more.0.output.clear();
    more.output("sum", &[BATCH, Axis::Fixed(4)]);
    more.output("h_out", &[Axis::Fixed(1), BATCH, Axis::Fixed(4)]);
    *graph = more.0;
    let text = SEQUENCE.replace("y: {", "sum: {");
    let refused = imported(folder.path(), &pooled.encode_to_vec(), &text).unwrap_err().to_string();
    assert!(refused.contains("output \"sum\", step 6 of sequence"), "{refused}");
    let one = imported(folder.path(), &ahead, &format!("{SEQUENCE}steps: one\n")).unwrap();
    assert_eq!(one.manifest.signature.unwrap().steps, Run::One);
}

#[test]
fn a_declared_output_that_is_wrong_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = onnx::import::model(&cell("Tanh", None)).unwrap();
    let mut declared = Graph::default();
    declared.output("y", &[Axis::Fixed(1), BATCH, Axis::Fixed(5)]);
    declared.output("s_out", &[BATCH, Axis::Fixed(7)]);
    model.graph.get_or_insert_default().output = declared.0.output;
    let imported = imported(folder.path(), &model.encode_to_vec(), CELL).unwrap();
    let signature = imported.manifest.signature.as_ref().unwrap();
    assert_eq!((signature.outputs[0].tensor.axes(), signature.batch), ("[batch, 5]".into(), Run::Many));
    let wrong: Vec<_> =
        imported.manifest.proofs.iter().filter(|proof| proof.contains("what counts is the run")).collect();
    assert_eq!(wrong.len(), 2, "{:?}", imported.manifest.proofs);
}

#[test]
fn lengths_of_sequences_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let same = |graph: &mut Graph| {
        graph.node("Identity", &["x"], "seen", vec![]);
    };
    let mut model = onnx::import::model(&sequence("forward", same)).unwrap();
    let plain = model.encode_to_vec();
    let graph = model.graph.get_or_insert_default();
    let mut more = Graph(std::mem::take(graph));
    more.input("lengths", &[BATCH]);
    more.node("Cast", &["lengths"], "lengths_32", vec![integer("to", 6)]);
    // A node comes after those that it takes from.
    more.0.node.rotate_right(1);
    let gru = more.0.node.iter_mut().find(|node| node.op_type() == "GRU").unwrap();
    gru.input[4] = "lengths_32".into();
    *graph = more.0;
    let with = model.encode_to_vec();
    let text = card::propose(&model).card("model.onnx", "sequence");
    assert!(!text.contains("lengths"), "{text}");
    let imported = |bytes: &[u8]| imported(folder.path(), bytes, SEQUENCE).unwrap();
    assert_eq!(imported(&with).onnx, imported(&plain).onnx);
    assert!(imported(&with).manifest.proofs[0].contains("\"lengths\" only says"));
}

/// `y` is `x + s`, and of rows above 1000 what they have in common with the others of the batch.
fn by_large_rows() -> Vec<u8> {
    let mut graph = Graph::default();
    for name in ["x", "s"] {
        graph.input(name, &[BATCH, Axis::Fixed(5)]);
    }
    graph.floats("limit", &[], &[1000.0], "");
    graph.node("Add", &["x", "s"], "sum", vec![]);
    graph.node("Sigmoid", &["sum"], "s_out", vec![]);
    // Not even NaN is above it.
    graph.node("Greater", &["x", "limit"], "above", vec![]);
    graph.node("Cast", &["above"], "large", vec![integer("to", 1)]);
    graph.node("Transpose", &["large"], "turned", vec![]);
    graph.node("MatMul", &["large", "turned"], "pairs", vec![]);
    graph.node("MatMul", &["pairs", "large"], "all", vec![]);
    graph.node("Add", &["sum", "all"], "y", vec![]);
    for name in ["y", "s_out"] {
        graph.output(name, &[BATCH, Axis::Fixed(5)]);
    }
    bytes(graph)
}

#[test]
fn what_only_the_users_rows_show_is_found_on_them_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let large = |asked: AskedRows<'_>| -> Result<Option<Rows>> {
        assert_eq!((asked.inputs.len(), asked.targets.len()), (1, 0));
        let sequence = |key: &str, size: f64| Sequence {
            key: key.into(),
            first: 1,
            rows: 20,
            inputs: vec![(0..100).map(|n| size + f64::from(n)).collect()],
            ..Sequence::default()
        };
        let sequences = vec![sequence("small", 0.0), sequence("large", 5000.0)];
        Ok(Some(Rows { source: "mine.parquet".into(), records: 40, refused: Vec::new(), sequences }))
    };
    let without = imported(folder.path(), &by_large_rows(), CELL).unwrap();
    assert_eq!(without.manifest.signature.unwrap().batch, Run::Many);
    let with = imported_on(folder.path(), &by_large_rows(), CELL, Some(&large)).unwrap();
    let proofs = with.manifest.proofs.join("\n");
    assert_eq!(with.manifest.signature.unwrap().batch, Run::One, "{proofs}");
    assert!(with.manifest.bitwise);
    for text in [
        "24 rows of 2 keys of mine.parquet as 53 sequences of 12 steps, run twice: the same bits",
        "rows influence each other: output \"y\", step ",
        "so batch: one (rows of mine.parquet)",
        "put back at another place: the same bits (rows of mine.parquet)",
        "the file as it is gives the same as the graph that is published",
        "runs on made-up rows and 96 on rows of mine.parquet",
    ] {
        assert!(proofs.contains(text), "{text} in {proofs}");
    }
    assert!(proofs.contains("of the sequence of key \"large\" from its row"), "{proofs}");
}

#[test]
fn a_constant_is_folded_and_the_file_as_it_is_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Graph::default();
    for name in ["x", "s"] {
        graph.input(name, &[BATCH, Axis::Fixed(5)]);
    }
    graph.input("rate", &[Axis::Fixed(1)]);
    graph.floats("two", &[], &[2.0], "");
    graph.node("Mul", &["rate", "two"], "factor", vec![]);
    graph.node("Sqrt", &["factor"], "root", vec![]);
    graph.node("Mul", &["x", "root"], "scaled", vec![]);
    graph.node("Add", &["scaled", "s"], "sum", vec![]);
    graph.node("Sigmoid", &["sum"], "s_out", vec![]);
    graph.node("Tanh", &["sum"], "y", vec![]);
    for name in ["y", "s_out"] {
        graph.output(name, &[BATCH, Axis::Fixed(5)]);
    }
    let text = CELL.replace("e] } }", "e] }, rate: { constant: 0.3 } }");
    let proofs = imported(folder.path(), &bytes(graph), &text).unwrap().manifest.proofs.join("\n");
    assert!(proofs.contains("constants are folded: 4 operators instead of 6"), "{proofs}");
    assert!(proofs.contains("the file as it is gives the same as the graph that is published"), "{proofs}");
}

#[test]
fn a_window_is_carried_only_if_its_steps_give_what_it_gives() {
    let folder = tempfile::tempdir().unwrap();
    // A window of 4 rows through a GRU, whose last state is the output.
    let window = |before: &str| {
        let mut graph = Graph::default();
        graph.input("x", &[BATCH, Axis::Fixed(4), Axis::Fixed(3)]);
        if before == "Conv" {
            graph.floats("kernel", &[4, 4, 1], &noise(16, 2), "");
            graph.node(before, &["x", "kernel"], "seen", vec![]);
        } else {
            let axis = graph.integers("axis", &[1]);
            graph.node("CumSum", &["x", &axis], "seen", vec![integer("reverse", i64::from(before == "ahead"))]);
        }
        graph.node(
            "Transpose",
            &["seen"],
            "turned",
            vec![AttributeProto {
                name: Some("perm".into()),
                r#type: Some(7),
                ints: vec![1, 0, 2],
                ..Default::default()
            }],
        );
        graph.floats("w", &[1, 12, 3], &noise(36, 5), "");
        graph.floats("r", &[1, 12, 4], &noise(48, 6), "");
        graph.node_with("GRU", &["turned", "w", "r"], &["", "last"], vec![integer("hidden_size", 4)]);
        let axis = graph.integers("first", &[0]);
        graph.node("Squeeze", &["last", &axis], "y", vec![]);
        graph.output("y", &[BATCH, Axis::Fixed(4)]);
        bytes(graph)
    };
    let rows = |_: AskedRows<'_>| -> Result<Option<Rows>> {
        let inputs = vec![noise(90, 1).into_iter().map(f64::from).collect()];
        let sequence = Sequence { key: "k".into(), first: 1, rows: 30, inputs, ..Sequence::default() };
        Ok(Some(Rows { source: "mine.parquet".into(), sequences: vec![sequence], ..Rows::default() }))
    };
    let text = "onnx: model.onnx\nname: w\nlayout: window\nwindow: 4\nmode: carry\ninputs: { x: { columns: [a, b, c] } }\n\
                outputs: { y: { column: z } }\n";
    for (before, why) in
        [("ahead", "step by step from the initial state gives other numbers"), ("Conv", "card.yaml:5:7: ")]
    {
        let refused = imported_on(folder.path(), &window(before), text, Some(&rows)).unwrap_err().to_string();
        assert!(refused.contains(why), "{before}: {refused}");
        assert!(refused.contains("`mode: carry`"), "{before}: {refused}");
    }
}
