use super::*;
use crate::model::executor::trial::{Trial, difference};
use crate::model::onnx::graph::{Axis as Declared, Graph, graph as attribute, integer};
use crate::model::onnx::proto::{ModelProto, TensorProto};
use crate::model::onnx::prove::random;
use crate::model::onnx::testing::{model, noise};
use crate::model::onnx::values::{floats, integers};
use crate::network::{Axis, Element, Initial};

const UNITS: usize = 5;
const FEATURES: usize = 3;
const ROW: [Declared; 2] = [Declared::Open("batch"), Declared::Fixed(UNITS)];

/// Weights of about 0.4: what a trained network has.
fn weights(count: usize, seed: u64) -> Vec<f32> {
    noise(count, seed).iter().map(|value| value * 0.4).collect()
}

fn spec(name: &str, shape: &[Axis]) -> TensorSpec {
    TensorSpec { name: name.into(), element: Element::Float32, shape: shape.to_vec() }
}

fn state(name: &str, out: &str, shape: &[Axis]) -> StateTensor {
    StateTensor { tensor: spec(name, shape), out: out.into(), initial: Initial::Zero }
}

fn operators(model: &ModelProto) -> Vec<&str> {
    model.graph.as_ref().unwrap().node.iter().map(|node| node.op_type()).collect()
}

/// Recognises, and requires that one operator came of it and that outputs are the same.
fn becomes(before: &ModelProto, inputs: &[TensorSpec], states: &[StateTensor], operator: &str) -> ModelProto {
    let mut after = before.clone();
    let notes = recognise(&mut after, inputs, states).unwrap();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(!notes[0].contains("not taken"), "{notes:?}");
    assert!(notes[0].contains(&format!("is the operator {operator} with 5 units now")), "{notes:?}");
    assert_eq!(operators(&after).iter().filter(|op| **op == operator).count(), 1, "{:?}", operators(&after));
    let apart = distance(before, &after, inputs).unwrap();
    assert!(apart <= TOLERANCE, "{apart}");
    after
}

fn sequence() -> Vec<TensorSpec> {
    vec![spec("x", &[Axis::Batch, Axis::Time, Axis::Fixed(FEATURES)])]
}

/// A loop over time as Keras writes it: weights are handed on, a counter picks the step, a sequence is collected.
/// `cell` makes the state `next` of the row `x_t` and the state `before`.
fn keras(carried: &[(&str, &[usize])], cell: impl Fn(&mut Graph)) -> ModelProto {
    let mut body = Graph::default();
    for name in ["iteration", "go_on", "counter"] {
        body.input(name, &[]);
    }
    body.0.input[0] = crate::model::onnx::testing::declared("iteration", 7);
    body.0.input[1] = crate::model::onnx::testing::declared("go_on", 9);
    body.0.input[2] = crate::model::onnx::testing::declared("counter", 6);
    body.input("before", &ROW);
    body.0.output.push(crate::model::onnx::testing::declared("less", 9));
    body.0.output.push(crate::model::onnx::testing::declared("counted", 6));
    body.output("next", &ROW);
    for (name, shape) in carried {
        let axes: Vec<Declared> = shape.iter().map(|size| Declared::Fixed(*size)).collect();
        body.input(&format!("{name}_in"), &axes);
        body.output(&format!("{name}_in"), &axes);
    }
    body.output("step", &ROW);
    let one = TensorProto { data_type: Some(6), raw_data: Some(vec![1, 0, 0, 0]), ..integers("one_step", &[], &[0]) };
    body.0.initializer.push(one);
    body.0.initializer.push(floats("limit", &[], &[10.0]));
    body.node("Gather", &["turned", "counter"], "x_t", vec![]);
    cell(&mut body);
    body.node("Add", &["counter", "one_step"], "counted", vec![]);
    body.node("Cast", &["counted"], "as_float", vec![integer("to", 1)]);
    body.node("Less", &["as_float", "limit"], "less", vec![]);
    body.node("Identity", &["next"], "step", vec![]);

    let mut net = Graph::default();
    net.input("x", &[Declared::Open("batch"), Declared::Fixed(10), Declared::Fixed(FEATURES)]);
    net.output("y", &ROW);
    let zero = TensorProto { data_type: Some(6), raw_data: Some(vec![0; 4]), ..integers("zero", &[], &[0]) };
    net.0.initializer.push(zero);
    net.0.initializer.push(integers("trips", &[], &[10]));
    net.0.initializer.push(TensorProto { data_type: Some(9), raw_data: Some(vec![1]), ..integers("yes", &[], &[0]) });
    for (index, (name, shape)) in carried.iter().enumerate() {
        net.floats(name, shape, &weights(shape.iter().product(), index as u64 + 1), "");
    }
    net.node("Transpose", &["x"], "turned", vec![rewrite::ints("perm", &[1, 0, 2])]);
    net.node("Shape", &["x"], "shape", vec![]);
    for (name, values) in [("first", vec![0]), ("second", vec![1]), ("units", vec![UNITS as i64]), ("last", vec![-1])] {
        net.integers(name, &values);
    }
    net.node("Slice", &["shape", "first", "second", "first"], "rows", vec![]);
    net.node("Concat", &["rows", "units"], "size", vec![integer("axis", 0)]);
    net.floats("nought", &[], &[0.0], "");
    net.node("Expand", &["nought", "size"], "zeros", vec![]);
    let mut inputs = vec!["trips", "yes", "zero", "zeros"];
    inputs.extend(carried.iter().map(|(name, _)| *name));
    let handed: Vec<String> = carried.iter().map(|(name, _)| format!("{name}_out")).collect();
    let mut outputs = vec!["counter_out", "state_out"];
    outputs.extend(handed.iter().map(String::as_str));
    outputs.push("all");
    net.node_with("Loop", &inputs, &outputs, vec![attribute("body", body.0)]);
    net.integers("end", &[i64::from(i32::MAX)]);
    net.node("Slice", &["all", "last", "end", "first"], "end_of_all", vec![]);
    net.node("Squeeze", &["end_of_all", "first"], "y", vec![]);
    model(net, 15)
}

/// Keras' GRU: both biases in one tensor, gates cut out of the sums.
fn keras_gru() -> ModelProto {
    const WIDE: usize = 3 * UNITS;
    keras(&[("bias", &[2, WIDE]), ("kernel", &[FEATURES, WIDE]), ("recurrent", &[UNITS, WIDE])], |body| {
        body.node_with("Split", &["bias_in"], &["bias_x", "bias_h"], vec![integer("axis", 0)]);
        let first = body.integers("axis_0", &[0]);
        for half in ["x", "h"] {
            body.node("Squeeze", &[&format!("bias_{half}"), &first], &format!("flat_{half}"), vec![]);
        }
        body.node("MatMul", &["x_t", "kernel_in"], "of_x", vec![]);
        body.node("Add", &["of_x", "flat_x"], "sum_x", vec![]);
        body.node("MatMul", &["before", "recurrent_in"], "of_h", vec![]);
        body.node("Add", &["of_h", "flat_h"], "sum_h", vec![]);
        body.node_with("Split", &["sum_x"], &["xz", "xr", "xn"], vec![integer("axis", -1)]);
        body.integers("both", &[0, 1]);
        for (index, gate) in ["z", "r", "n"].iter().enumerate() {
            let from = body.integers(&format!("from_{gate}"), &[0, (index * UNITS) as i64]);
            let end = if index == 2 { i64::from(i32::MAX) } else { ((index + 1) * UNITS) as i64 };
            let to = body.integers(&format!("to_{gate}"), &[i64::from(i32::MAX), end]);
            body.node("Slice", &["sum_h", &from, &to, "both"], &format!("h{gate}"), vec![]);
        }
        for gate in ["z", "r"] {
            body.node("Add", &[&format!("x{gate}"), &format!("h{gate}")], &format!("s{gate}"), vec![]);
            body.node("Sigmoid", &[&format!("s{gate}")], gate, vec![]);
        }
        body.node("Mul", &["r", "hn"], "reset", vec![]);
        body.node("Add", &["xn", "reset"], "sn", vec![]);
        body.node("Tanh", &["sn"], "n", vec![]);
        body.floats("one", &[], &[1.0], "");
        body.node("Sub", &["one", "z"], "rest", vec![]);
        body.node("Mul", &["rest", "n"], "fresh", vec![]);
        body.node("Mul", &["z", "before"], "kept", vec![]);
        body.node("Add", &["kept", "fresh"], "next", vec![]);
    })
}

#[test]
fn keras_loops_become_gru_and_rnn() {
    becomes(&keras_gru(), &[], &[], "GRU");
    let rnn = keras(&[("kernel", &[FEATURES, UNITS]), ("bias", &[UNITS]), ("recurrent", &[UNITS, UNITS])], |body| {
        body.node("MatMul", &["before", "recurrent_in"], "of_h", vec![]);
        body.node("MatMul", &["x_t", "kernel_in"], "of_x", vec![]);
        body.node("Add", &["of_x", "bias_in"], "sum_x", vec![]);
        body.node("Add", &["sum_x", "of_h"], "sum", vec![]);
        body.node("Tanh", &["sum"], "next", vec![]);
    });
    becomes(&rnn, &[], &[], "RNN");
}

#[test]
fn a_loop_that_is_no_cell_stays() {
    // Two activations, one after the other: no operator of ONNX has that.
    let other = keras(&[("kernel", &[FEATURES, UNITS]), ("recurrent", &[UNITS, UNITS])], |body| {
        body.node("MatMul", &["before", "recurrent_in"], "of_h", vec![]);
        body.node("MatMul", &["x_t", "kernel_in"], "of_x", vec![]);
        body.node("Add", &["of_x", "of_h"], "sum", vec![]);
        body.node("Tanh", &["sum"], "once", vec![]);
        body.node("Sigmoid", &["once"], "next", vec![]);
    });
    let mut after = other.clone();
    assert_eq!(recognise(&mut after, &[], &[]).unwrap(), Vec::<String>::new());
    assert_eq!(after, other);
}

#[test]
fn a_window_of_keras_is_carried_on_by_its_states() {
    let window = becomes(&keras_gru(), &[], &[], "GRU");
    let mut carried = window.clone();
    let exposed = expose(&mut carried, &sequence()).unwrap();
    assert_eq!(exposed.states.len(), 1);
    assert_eq!((exposed.states[0].tensor.name.as_str(), exposed.states[0].out.as_str()), ("h_0", "h_0_out"));
    let x = random(window.graph.as_ref().unwrap(), &[], 10, 4, 1.0);
    let expected = Trial::new(&window).unwrap().run(&x).unwrap();
    let all = crate::model::onnx::values::to_floats(&x[0]).unwrap();
    let mut trial = Trial::new(&carried).unwrap();
    let mut h = floats("h_0", &[1, 4, UNITS], &[0.0; 4 * UNITS]);
    let mut y = Vec::new();
    // Ten runs of one step each.
    for step in 0..10 {
        let row = |b: usize| (b * 10 + step) * FEATURES..(b * 10 + step + 1) * FEATURES;
        let x_t: Vec<f32> = (0..4).flat_map(|b| all[row(b)].to_vec()).collect();
        y = trial.run(&[floats("x", &[4, 1, FEATURES], &x_t), h.clone()]).unwrap();
        h = TensorProto { name: Some("h_0".into()), ..y.iter().find(|out| out.name() == "h_0_out").unwrap().clone() };
    }
    y.retain(|out| out.name() == "y");
    assert!(difference(&expected, &y, 1.0).unwrap() <= TOLERANCE);
}

/// The states [B, units] of one step, or packed into one tensor [2, B, units].
fn step(states: &[&str], cell: impl Fn(&mut Graph)) -> (ModelProto, Vec<TensorSpec>, Vec<StateTensor>) {
    let mut net = Graph::default();
    net.input("x", &[Declared::Open("batch"), Declared::Fixed(FEATURES)]);
    let mut inputs = vec![spec("x", &[Axis::Batch, Axis::Fixed(FEATURES)])];
    let mut pairs = Vec::new();
    for name in states {
        let out = format!("{name}n");
        let (declared, shape): (Vec<Declared>, Vec<Axis>) = if *name == "packed" {
            ([vec![Declared::Fixed(2)], ROW.to_vec()].concat(), vec![Axis::Fixed(2), Axis::Batch, Axis::Fixed(UNITS)])
        } else {
            (ROW.to_vec(), vec![Axis::Batch, Axis::Fixed(UNITS)])
        };
        net.input(name, &declared);
        net.output(&out, &declared);
        inputs.push(spec(name, &shape));
        pairs.push(state(name, &out, &shape));
    }
    cell(&mut net);
    (model(net, 18), inputs, pairs)
}

/// `W x + bw` and `R h + br` as PyTorch's cells have them: transposed weights, two biases.
fn sums(net: &mut Graph, gates: usize, h: &str) {
    let wide = gates * UNITS;
    net.floats("w_ih", &[wide, FEATURES], &weights(wide * FEATURES, 1), "");
    net.floats("w_hh", &[wide, UNITS], &weights(wide * UNITS, 2), "");
    net.floats("b_ih", &[wide], &weights(wide, 3), "");
    net.floats("b_hh", &[wide], &weights(wide, 4), "");
    net.node("Gemm", &["x", "w_ih", "b_ih"], "gx", vec![integer("transB", 1)]);
    net.node("Gemm", &[h, "w_hh", "b_hh"], "gh", vec![integer("transB", 1)]);
}

fn split(net: &mut Graph, from: &str, gates: &[&str]) {
    let attributes = vec![integer("axis", 1), integer("num_outputs", gates.len() as i64)];
    net.node_with("Split", &[from], gates, attributes);
}

#[test]
fn steps_of_pytorchs_cells_become_operators() {
    let (rnn, inputs, states) = step(&["h"], |net| {
        sums(net, 1, "h");
        net.node("Add", &["gx", "gh"], "sum", vec![]);
        net.node("Relu", &["sum"], "hn", vec![]);
    });
    becomes(&rnn, &inputs, &states, "RNN");

    let (gru, inputs, states) = step(&["h"], |net| {
        sums(net, 3, "h");
        split(net, "gx", &["xr", "xz", "xn"]);
        split(net, "gh", &["hr", "hz", "hcell"]);
        net.node("Add", &["xr", "hr"], "sr", vec![]);
        net.node("Sigmoid", &["sr"], "r", vec![]);
        net.node("Add", &["xz", "hz"], "sz", vec![]);
        net.node("Sigmoid", &["sz"], "z", vec![]);
        net.node("Mul", &["hcell", "r"], "reset", vec![]);
        net.node("Add", &["xn", "reset"], "sn", vec![]);
        net.node("Tanh", &["sn"], "n", vec![]);
        net.node("Sub", &["h", "n"], "apart", vec![]);
        net.node("Mul", &["apart", "z"], "back", vec![]);
        net.node("Add", &["back", "n"], "hn", vec![]);
    });
    becomes(&gru, &inputs, &states, "GRU");

    // One tensor holds h and c, as voice models have it.
    let (lstm, inputs, states) = step(&["packed"], |net| {
        for (index, name) in ["h", "c"].iter().enumerate() {
            net.0.initializer.push(integers(&format!("at_{name}"), &[], &[index as i64]));
            net.node("Gather", &["packed", &format!("at_{name}")], name, vec![integer("axis", 0)]);
        }
        sums(net, 4, "h");
        net.node("Add", &["gh", "gx"], "sum", vec![]);
        split(net, "sum", &["si", "sf", "sg", "so"]);
        for gate in ["i", "f", "o"] {
            net.node("Sigmoid", &[&format!("s{gate}")], gate, vec![]);
        }
        net.node("Tanh", &["sg"], "g", vec![]);
        net.node("Mul", &["f", "c"], "kept", vec![]);
        net.node("Mul", &["i", "g"], "fresh", vec![]);
        net.node("Add", &["kept", "fresh"], "c_next", vec![]);
        net.node("Tanh", &["c_next"], "bent", vec![]);
        net.node("Mul", &["o", "bent"], "h_next", vec![]);
        let axis = net.integers("front", &[0]);
        net.node("Unsqueeze", &["h_next", &axis], "h_front", vec![]);
        net.node("Unsqueeze", &["c_next", &axis], "c_front", vec![]);
        net.node("Concat", &["h_front", "c_front"], "packedn", vec![integer("axis", 0)]);
    });
    becomes(&lstm, &inputs, &states, "LSTM");
}

#[test]
fn a_reset_before_the_product_and_an_update_the_other_way_round_are_a_gru_too() {
    let (gru, inputs, states) = step(&["h"], |net| {
        for (index, gate) in ["z", "r", "n"].iter().enumerate() {
            let (w, r) = (format!("w_{gate}"), format!("r_{gate}"));
            net.floats(&w, &[FEATURES, UNITS], &weights(FEATURES * UNITS, index as u64), "");
            net.floats(&r, &[UNITS, UNITS], &weights(UNITS * UNITS, 10 + index as u64), "");
            let bias = net.floats(&format!("b_{gate}"), &[UNITS], &weights(UNITS, 20 + index as u64), "");
            let from = if *gate == "n" { net.node("Mul", &["r", "h"], "reset", vec![]) } else { "h".to_owned() };
            net.node("MatMul", &["x", &w], &format!("x{gate}"), vec![]);
            net.node("MatMul", &[&from, &r], &format!("m{gate}"), vec![]);
            net.node("Add", &[&format!("x{gate}"), &format!("m{gate}")], &format!("p{gate}"), vec![]);
            net.node("Add", &[&format!("p{gate}"), &bias], &format!("s{gate}"), vec![]);
            net.node(if *gate == "n" { "Tanh" } else { "Sigmoid" }, &[&format!("s{gate}")], gate, vec![]);
        }
        net.floats("one", &[], &[1.0], "");
        net.node("Sub", &["one", "z"], "rest", vec![]);
        net.node("Mul", &["rest", "h"], "kept", vec![]);
        net.node("Mul", &["z", "n"], "fresh", vec![]);
        net.node("Add", &["kept", "fresh"], "hn", vec![]);
    });
    becomes(&gru, &inputs, &states, "GRU");
}

#[test]
fn a_scan_of_a_cell_on_the_joined_row_becomes_an_lstm() {
    let mut body = Graph::default();
    for name in ["h_in", "c_in"] {
        body.input(name, &ROW);
    }
    body.input("x_t", &[Declared::Open("batch"), Declared::Fixed(FEATURES)]);
    for name in ["h_next", "c_next", "h_step"] {
        body.output(name, &ROW);
    }
    let (rows, wide) = (FEATURES + UNITS, 4 * UNITS);
    body.floats("kernel", &[rows, wide], &weights(rows * wide, 1), "");
    body.floats("bias", &[wide], &weights(wide, 2), "");
    body.node("Concat", &["x_t", "h_in"], "joined", vec![integer("axis", 1)]);
    body.node("MatMul", &["joined", "kernel"], "product", vec![]);
    body.node("Add", &["product", "bias"], "sum", vec![]);
    split(&mut body, "sum", &["si", "sg", "sf", "so"]);
    for gate in ["i", "f", "o"] {
        body.node("Sigmoid", &[&format!("s{gate}")], gate, vec![]);
    }
    body.node("Tanh", &["sg"], "g", vec![]);
    body.node("Mul", &["c_in", "f"], "kept", vec![]);
    body.node("Mul", &["g", "i"], "fresh", vec![]);
    body.node("Add", &["fresh", "kept"], "c_next", vec![]);
    body.node("Tanh", &["c_next"], "bent", vec![]);
    body.node("Mul", &["bent", "o"], "h_next", vec![]);
    body.node("Identity", &["h_next"], "h_step", vec![]);
    let mut net = Graph::default();
    net.input("x", &[Declared::Open("time"), Declared::Open("batch"), Declared::Fixed(FEATURES)]);
    ["h", "c"].iter().for_each(|name| net.input(name, &ROW));
    net.output("y", &[Declared::Open("time"), Declared::Open("batch"), Declared::Fixed(UNITS)]);
    ["hn", "cn"].iter().for_each(|name| net.output(name, &ROW));
    let attributes = vec![integer("num_scan_inputs", 1), attribute("body", body.0)];
    net.node_with("Scan", &["h", "c", "x"], &["hn", "cn", "y"], attributes);
    let rows = [Axis::Batch, Axis::Fixed(UNITS)];
    let inputs = [spec("x", &[Axis::Time, Axis::Batch, Axis::Fixed(FEATURES)]), spec("h", &rows), spec("c", &rows)];
    becomes(&model(net, 18), &inputs, &[], "LSTM");
}

#[test]
fn the_tail_of_pytorchs_dynamo_exporter_is_a_squeeze() {
    let mut net = Graph::default();
    net.input("x", &[Declared::Open("time"), Declared::Open("batch"), Declared::Fixed(FEATURES)]);
    net.output("y", &[Declared::Open("time"), Declared::Open("batch"), Declared::Fixed(UNITS)]);
    let w = net.floats("W", &[1, UNITS, FEATURES], &weights(UNITS * FEATURES, 1), "");
    let r = net.floats("R", &[1, UNITS, UNITS], &weights(UNITS * UNITS, 2), "");
    net.node("RNN", &["x", &w, &r], "all", vec![integer("hidden_size", UNITS as i64)]);
    net.node("Transpose", &["all"], "turned", vec![rewrite::ints("perm", &[0, 2, 1, 3])]);
    net.node("Shape", &["turned"], "shape", vec![]);
    for at in 0..5 {
        net.integers(&format!("at_{at}"), &[at]);
    }
    for at in 0..4 {
        net.node("Slice", &["shape", &format!("at_{at}"), &format!("at_{}", at + 1)], &format!("size_{at}"), vec![]);
    }
    net.node("Mul", &["size_2", "size_3"], "width", vec![]);
    net.node("Concat", &["size_0", "size_1", "width"], "to", vec![integer("axis", 0)]);
    net.node("Reshape", &["turned", "to"], "y", vec![]);
    let before = model(net, 20);
    let mut after = before.clone();
    let notes = recognise(&mut after, &[], &[]).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("it is a Squeeze"), "{notes:?}");
    assert_eq!(operators(&after), ["RNN", "Squeeze"]);
    assert_eq!(distance(&before, &after, &[]).unwrap(), 0.0);
}

#[test]
fn an_unrolled_rnn_is_found_and_a_stack_of_different_layers_is_not() {
    let build = |shared: bool| {
        let mut net = Graph::default();
        net.input("x", &[Declared::Open("batch"), Declared::Fixed(4), Declared::Fixed(UNITS)]);
        net.output("y", &ROW);
        let mut h = "start".to_owned();
        net.0.initializer.push(floats("start", &[1, UNITS], &weights(UNITS, 9)));
        for step in 0..4 {
            // Each step has a copy of its own, as the exporter writes it.
            let r = net.floats(
                &format!("r_{step}"),
                &[UNITS, UNITS],
                &weights(UNITS * UNITS, if shared { 1 } else { step }),
                "",
            );
            net.0.initializer.push(integers(&format!("i_{step}"), &[], &[step as i64]));
            net.node("Gather", &["x", &format!("i_{step}")], &format!("x_{step}"), vec![integer("axis", 1)]);
            net.node("MatMul", &[&h, &r], &format!("p_{step}"), vec![]);
            net.node("Add", &[&format!("p_{step}"), &format!("x_{step}")], &format!("s_{step}"), vec![]);
            h = net.node(
                "Tanh",
                &[&format!("s_{step}")],
                &if step == 3 { "y".into() } else { format!("h_{step}") },
                vec![],
            );
        }
        model(net, 18)
    };
    let found = unrolled(&build(true)).unwrap();
    assert_eq!(found, Unrolled { steps: 4, units: UNITS });
    let error = found.refuse::<()>().unwrap_err().to_string();
    assert!(error.contains("unrolled over 4 steps") && error.contains("TorchScript"), "{error}");
    assert_eq!(unrolled(&build(false)), None);
}
