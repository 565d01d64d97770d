use super::*;
use crate::model::onnx::graph::{Axis, Graph, graph, integer};
use crate::model::onnx::proto::{FunctionProto, SparseTensorProto};
use crate::model::onnx::testing::model;
use crate::model::onnx::values::{floats, integers};

fn small() -> Graph {
    let mut net = Graph::default();
    net.input("x", &[Axis::Open("batch"), Axis::Fixed(2)]);
    net.output("y", &[Axis::Open("batch"), Axis::Fixed(2)]);
    net.node("Relu", &["x"], "y", vec![]);
    net
}

fn refused(net: Graph) -> String {
    check(&model(net, 18)).unwrap_err().to_string()
}

#[test]
fn tensors_whose_numbers_are_not_as_many_as_their_sizes_say_are_refused() {
    assert!(check(&model(small(), 18)).is_ok());
    let mut wrong = Vec::new();
    for dims in [vec![1 << 40, 1 << 40], vec![-1], vec![i64::MIN, 2], vec![3], vec![1 << 33]] {
        wrong.push(TensorProto { dims: dims.clone(), ..floats("w", &[2], &[0.0; 2]) });
        wrong.push(TensorProto { dims, raw_data: None, float_data: vec![0.0; 2], ..floats("w", &[2], &[]) });
    }
    for tensor in wrong {
        let mut net = small();
        net.0.initializer.push(tensor.clone());
        assert!(refused(net).contains("\"w\""), "{tensor:?}");
        // The same in an attribute.
        let mut net = small();
        let mut value = integer("value", 0);
        value.t = Some(tensor);
        net.node("Constant", &[], "c", vec![value]);
        assert!(refused(net).contains("\"w\""));
    }
    let mut net = small();
    let sparse = SparseTensorProto {
        values: Some(floats("s", &[1], &[1.0])),
        indices: Some(integers("i", &[1], &[0])),
        dims: vec![1 << 40],
    };
    net.0.sparse_initializer.push(sparse);
    assert!(refused(net).contains("sparse tensor \"s\""));
}

#[test]
fn a_large_tensor_that_is_made_of_a_few_constants_is_refused() {
    let with = |op: &str, inputs: &[&str]| {
        let mut net = small();
        net.0.initializer.push(integers("large", &[2], &[1 << 20, 1 << 20]));
        net.0.initializer.push(integers("one", &[2], &[1, 1]));
        net.0.initializer.push(integers("zero", &[], &[0]));
        net.0.initializer.push(integers("step", &[], &[1]));
        net.0.initializer.push(integers("many", &[], &[1 << 40]));
        net.0.initializer.push(integers("pads", &[4], &[0, 0, 1 << 20, 1 << 20]));
        net.0.initializer.push(floats("f", &[1, 1], &[1.0]));
        net.node(op, inputs, "bomb", vec![]);
        net
    };
    for (op, inputs) in [
        ("ConstantOfShape", &["large"][..]),
        ("Expand", &["f", "large"]),
        ("Tile", &["f", "large"]),
        ("Range", &["zero", "many", "step"]),
        ("OneHot", &["one", "many", "f"]),
        ("Pad", &["f", "pads"]),
        ("Resize", &["f", "", "", "large"]),
    ] {
        assert!(refused(with(op, inputs)).contains(&format!("\"bomb\" ({op}) makes a tensor")), "{op}");
    }
    assert!(check(&model(with("ConstantOfShape", &["one"]), 18)).is_ok());
    // The sizes are computed, and the node is in a branch.
    let mut branch = Graph::default();
    branch.node("Mul", &["some", "some"], "more", vec![]);
    branch.node("Concat", &["more", "more"], "sizes", vec![]);
    branch.node("ConstantOfShape", &["sizes"], "bomb", vec![]);
    branch.output("bomb", &[]);
    let mut net = small();
    net.0.initializer.push(integers("some", &[1], &[1 << 10]));
    net.node("If", &["c"], "z", vec![graph("then_branch", branch.0)]);
    assert!(refused(net).contains("[1048576, 1048576]"));
}

#[test]
fn graphs_within_graphs_and_functions_that_call_each_other_end() {
    let mut inner = Graph::default();
    for _ in 0..DEEPEST + 1 {
        let mut around = Graph::default();
        around.node("If", &["c"], "z", vec![graph("then_branch", inner.0)]);
        inner = around;
    }
    assert!(refused(inner).contains("nested more than 8 deep"));
    let call = |name: &str| NodeProto {
        op_type: Some(name.into()),
        domain: Some("own".into()),
        output: vec!["y".into()],
        ..Default::default()
    };
    let function = |n: usize, calls: &[&str]| FunctionProto {
        name: Some(format!("f{n}")),
        domain: Some("own".into()),
        node: calls.iter().map(|name| call(name)).collect(),
        ..Default::default()
    };
    let with = |functions: Vec<FunctionProto>| {
        let mut net = small();
        net.0.node.push(call("f0"));
        let mut model = model(net, 18);
        model.functions = functions;
        check(&model).map_err(|error| error.to_string())
    };
    assert!(with(vec![function(0, &["f1"]), function(1, &["f0"])]).unwrap_err().contains("calls itself"));
    let doubling = (0..40).map(|n| function(n, &[&format!("f{}", n + 1)[..]; 2])).collect();
    assert!(with(doubling).unwrap_err().contains("counted as often as functions are called"));
    let chain = (0..1000).map(|n| function(n, &[&format!("f{}", n + 1)[..]])).collect();
    assert!(with(chain).unwrap_err().contains("deep"));
    assert_eq!(with(vec![function(0, &["f1", "f1"]), function(1, &[])]), Ok(()));
}

#[test]
fn as_many_nodes_as_no_model_has_are_refused() {
    let mut net = small();
    for _ in 0..=MOST_NODES {
        net.0.node.push(NodeProto::default());
    }
    assert!(refused(net).contains("100002 nodes"));
}
