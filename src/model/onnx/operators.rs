//! What is known of a graph's operators before it is run: which of them let rows of a batch influence each other, draw
//! random numbers, have shapes that depend on data, or give other last bits at another place in the batch.
//!
//! The lists are measured (ONNX Runtime's CPU kernels, 1.31); a test measures them again. An operator that isn't here
//! may still do any of this: import proves it by runs. Must not live here: those runs.

use std::collections::{BTreeMap, BTreeSet};

use super::batch_axes::{BatchAxes, Place};
use super::proto::{GraphProto, ModelProto, NodeProto};
use super::values;
use super::view::{constants, input, integer, integers, name, operator, opset, output, subgraphs};
use crate::network::TensorSpec;

/// What an operator does to rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A row's numbers depend on the other rows.
    CrossRow,
    /// It draws random numbers: no replay gives the same bits.
    Random,
    /// The shape of its result depends on the data.
    DataDependentShape,
    /// A row's last bits depend on its place in the batch, at widths that aren't a multiple of the vector unit's.
    Position,
    /// A row alone has other last bits than a row among others; from two rows up they are the same.
    FromTwoRows,
}

impl Class {
    /// What it means, for a user.
    pub fn text(self) -> &'static str {
        match self {
            Class::CrossRow => "rows of a batch influence each other",
            Class::Random => "draws random numbers",
            Class::DataDependentShape => "the shape of its result depends on the data",
            Class::Position => "last bits may depend on the place in the batch",
            Class::FromTwoRows => "last bits of one row alone differ from those among others",
        }
    }
}

/// An operator of the graph with something to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it does.
    pub class: Class,
    /// The operator, `Softmax` or `com.microsoft.DynamicQuantizeLSTM`.
    pub operator: String,
    /// The node's name, with those of the nodes around it: `branch/softmax`.
    pub node: String,
    /// Whether that is certain; if not, it depends on axes that the file doesn't tell.
    pub certain: bool,
}

/// What is known of the operators of a graph and of the graphs within it, each node once per class. `inputs` tell the
/// batch axis of the graph's inputs; without them, axes that are named `batch` count.
pub fn find(model: &ModelProto, inputs: &[TensorSpec]) -> Vec<Finding> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let mut walk = Walk { opset: opset(model), axes: BatchAxes::new(graph, inputs), findings: Vec::new() };
    let data = graph.input.iter().map(|info| info.name()).filter(|name| !is_initializer(graph, name)).collect();
    walk.graph(graph, data, "");
    walk.findings
}

/// Whether the rows of a batch certainly influence each other; where that is uncertain, runs tell.
pub fn rows_influence(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.class == Class::CrossRow && finding.certain)
}

fn is_initializer(graph: &GraphProto, name: &str) -> bool {
    graph.initializer.iter().any(|tensor| tensor.name() == name)
}

struct Walk {
    opset: i64,
    axes: BatchAxes,
    findings: Vec<Finding>,
}

impl Walk {
    /// `data`: names whose values depend on the graph's inputs, not only on their shapes. Returns them with those of
    /// this graph.
    fn graph<'a>(&mut self, graph: &'a GraphProto, mut data: BTreeSet<&'a str>, path: &str) -> BTreeSet<&'a str> {
        let constants = constants(graph);
        for node in &graph.node {
            let here = format!("{path}{}", name(node));
            let from_data = |index: usize| input(node, index).is_some_and(|name| data.contains(name));
            let mut depends = node.input.iter().any(|name| data.contains(name.as_str()));
            for (index, body) in subgraphs(node).enumerate() {
                let inner = self.body(node, body, &data, &format!("{here}/"));
                let results: Vec<bool> = body.output.iter().map(|out| inner.contains(out.name())).collect();
                let condition = node.op_type() == "Loop" && index == 0 && results.first() == Some(&true);
                if condition || node.op_type() == "Loop" && (from_data(0) || from_data(1)) {
                    self.push(Class::CrossRow, node, &here, true);
                }
                depends |= results.contains(&true);
            }
            if node.op_type() == "If" && from_data(0) {
                // One decision for the whole batch, taken on the values of all rows.
                self.push(Class::CrossRow, node, &here, true);
            }
            if depends {
                for (class, certain) in self.classes(node, &constants, &data) {
                    self.push(class, node, &here, certain);
                }
            }
            if is_random(node, &constants) {
                self.push(Class::Random, node, &here, true);
                depends = true;
            }
            if depends && !matches!(node.op_type(), "Shape" | "Size") {
                data.extend(node.output.iter().map(String::as_str).filter(|name| !name.is_empty()));
            }
        }
        data
    }

    /// A graph within a node: what it takes from the graph around it, and its own inputs.
    fn body<'a>(
        &mut self,
        node: &'a NodeProto,
        body: &'a GraphProto,
        data: &BTreeSet<&'a str>,
        path: &str,
    ) -> BTreeSet<&'a str> {
        let mut known = data.clone();
        // A counter and a condition come first in a loop's body; the other inputs are the node's.
        let skip = if node.op_type() == "Loop" { 2 } else { 0 };
        for (index, info) in body.input.iter().enumerate().skip(skip) {
            let from = if node.op_type() == "Loop" || node.op_type() == "Scan" { input(node, index) } else { None };
            if from.is_some_and(|name| data.contains(name)) {
                known.insert(info.name());
            }
        }
        // What a step gives is what the next one takes, until nothing more becomes known.
        loop {
            let before = known.len();
            let found = self.findings.len();
            let inner = self.graph(body, known.clone(), path);
            let carried = if skip == 2 { 1 } else { 0 };
            for (info, out) in body.input.iter().skip(skip).zip(body.output.iter().skip(carried)) {
                if matches!(node.op_type(), "Loop" | "Scan") && inner.contains(out.name()) {
                    known.insert(info.name());
                }
            }
            if known.len() == before {
                return inner;
            }
            self.findings.truncate(found);
        }
    }

    fn push(&mut self, class: Class, node: &NodeProto, here: &str, certain: bool) {
        let finding = Finding { class, operator: operator(node), node: here.to_owned(), certain };
        if !self.findings.iter().any(|known| known.class == class && known.node == finding.node) {
            self.findings.push(finding);
        }
    }

    /// The classes of a node that works on data.
    fn classes(&self, node: &NodeProto, constants: &Constants<'_>, data: &BTreeSet<&str>) -> Vec<(Class, bool)> {
        let mut classes = Vec::new();
        if let Some(certain) = self.cross_row(node, constants, data) {
            classes.push((Class::CrossRow, certain));
        }
        if has_data_shape(node, data) {
            classes.push((Class::DataDependentShape, true));
        }
        match node.op_type() {
            "Softplus"
            | "Elu"
            | "Selu"
            | "Celu"
            | "Mish"
            | "Log"
            | "Sin"
            | "Cos"
            | "Asin"
            | "Acos"
            | "Atan"
            | "ReduceMean"
            | "ReduceSum"
            | "InstanceNormalization" => classes.push((Class::Position, true)),
            "RNN" | "MatMulNBits" | "Einsum" | "Loop" => classes.push((Class::FromTwoRows, true)),
            "MatMul" | "Gemm" if self.batch_is_last(node) => classes.push((Class::FromTwoRows, true)),
            _ => {}
        }
        classes
    }

    /// Whether rows influence each other here, and whether that is certain.
    fn cross_row(&self, node: &NodeProto, constants: &Constants<'_>, data: &BTreeSet<&str>) -> Option<bool> {
        let of = input(node, 0)?;
        let second =
            || input(node, 1).and_then(|name| constants.get(name)).and_then(|tensor| values::to_integers(tensor));
        let place = |axes: &[i64]| self.axes.place(of, axes);
        let known = |place: Place| if place == Place::Unknown { Place::Elsewhere } else { place };
        let certain = match node.op_type() {
            "DynamicQuantizeLinear" | "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM" => Place::Batch,
            "BatchNormalization" if integer(node, "training_mode") == Some(1) => Place::Batch,
            "Softmax" | "LogSoftmax" | "Hardmax" if self.opset >= 13 => place(&[integer(node, "axis").unwrap_or(-1)]),
            // Before opset 13 they normalise over the axis and all after it.
            "Softmax" | "LogSoftmax" | "Hardmax" => self.axes.from(of, integer(node, "axis").unwrap_or(1)),
            "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization" => {
                self.axes.from(of, integer(node, "axis").unwrap_or(-1))
            }
            "ArgMax" | "ArgMin" => place(&[integer(node, "axis").unwrap_or(0)]),
            "TopK" | "LpNormalization" => place(&[integer(node, "axis").unwrap_or(-1)]),
            "MeanVarianceNormalization" => place(integers(node, "axes").unwrap_or(&[0, 2, 3])),
            "CumSum" | "CumProd" => match second() {
                Some(axes) => place(&axes),
                None => Place::Unknown,
            },
            // Joining and choosing along the batch is rare, along the steps it is usual: only what is known counts.
            "Concat" => known(place(&[integer(node, "axis").unwrap_or(0)])),
            "Gather" | "GatherElements" | "ScatterElements" if data.contains(of) => {
                known(place(&[integer(node, "axis").unwrap_or(0)]))
            }
            "MatMul" | "Gemm" | "MatMulInteger" => self.contracts_batch(node),
            op if op.starts_with("Reduce") => match integers(node, "axes").map(<[i64]>::to_vec).or_else(second) {
                Some(axes) if !axes.is_empty() => place(&axes),
                _ if integer(node, "noop_with_empty_axes") == Some(1) => Place::Elsewhere,
                _ if input(node, 1).is_some() && second().is_none() => Place::Unknown,
                _ => Place::Batch,
            },
            _ => Place::Elsewhere,
        };
        match certain {
            Place::Batch => Some(true),
            Place::Unknown => Some(false),
            Place::Elsewhere => None,
        }
    }

    /// A product that sums over the batch: it is the left operand's last axis or the right one's last but one.
    fn contracts_batch(&self, node: &NodeProto) -> Place {
        let turned = |attribute: &str| integer(node, attribute) == Some(1);
        let left = if turned("transA") { -2 } else { -1 };
        let right = if turned("transB") { -1 } else { -2 };
        let at = |index: usize, axis: i64| {
            input(node, index).is_some_and(|name| self.axes.place(name, &[axis]) == Place::Batch)
        };
        if at(0, left) || at(1, right) { Place::Batch } else { Place::Elsewhere }
    }

    fn batch_is_last(&self, node: &NodeProto) -> bool {
        let last = |name: Option<&str>| name.is_some_and(|name| self.axes.place(name, &[-1]) == Place::Batch);
        last(input(node, 1)) || last(output(node, 0))
    }
}

type Constants<'a> = BTreeMap<&'a str, &'a super::proto::TensorProto>;

/// Whether the shape of a result depends on values of the data.
fn has_data_shape(node: &NodeProto, data: &BTreeSet<&str>) -> bool {
    let by = |from: usize| (from..node.input.len()).any(|index| data.contains(node.input[index].as_str()));
    match node.op_type() {
        "NonZero" | "Unique" | "Compress" | "NonMaxSuppression" => true,
        // Their first input is the data, the others say the shape.
        "Reshape" | "Expand" | "Tile" | "Slice" | "TopK" => by(1),
        "Pad" => input(node, 1).is_some_and(|name| data.contains(name)),
        "Range" | "ConstantOfShape" => by(0),
        _ => false,
    }
}

fn is_random(node: &NodeProto, constants: &Constants<'_>) -> bool {
    match node.op_type() {
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Bernoulli" | "Multinomial" => {
            true
        }
        "Dropout" => {
            let training = input(node, 2).and_then(|name| constants.get(name));
            training.is_some_and(|tensor| values::bytes(tensor).as_deref() == Some(&[1])) || {
                // Where training is no constant, it may be on.
                input(node, 2).is_some() && training.is_none()
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::executor::trial::Trial;
    use crate::model::onnx::graph::{Axis, Graph, integer as int};
    use crate::model::onnx::testing::{model, noise};
    use crate::model::onnx::values::{floats, to_floats};
    use crate::network::{Axis as Ax, Element};

    fn batch(name: &str, shape: &[Ax]) -> TensorSpec {
        TensorSpec { name: name.into(), element: Element::Float32, shape: shape.to_vec() }
    }

    fn found(graph: Graph, shape: &[Ax]) -> Vec<(Class, String, bool)> {
        let findings = find(&model(graph, 18), &[batch("x", shape)]);
        findings.into_iter().map(|found| (found.class, found.operator, found.certain)).collect()
    }

    #[test]
    fn softmax_is_cross_row_over_the_batch_only() {
        let softmax = |axis: i64| {
            let mut graph = Graph::default();
            graph.input("x", &[Axis::Open("batch"), Axis::Fixed(3)]);
            graph.output("y", &[Axis::Open("batch"), Axis::Fixed(3)]);
            graph.node("Softmax", &["x"], "y", vec![int("axis", axis)]);
            graph
        };
        let rows = [Ax::Batch, Ax::Fixed(3)];
        assert_eq!(found(softmax(-1), &rows), []);
        assert_eq!(found(softmax(1), &rows), []);
        assert_eq!(found(softmax(0), &rows), [(Class::CrossRow, "Softmax".into(), true)]);
        // The batch in the last axis.
        let columns = found(softmax(-1), &[Ax::Fixed(3), Ax::Batch]);
        assert_eq!(columns, [(Class::CrossRow, "Softmax".into(), true)]);
    }

    #[test]
    fn shape_arithmetic_is_no_data_and_a_mean_over_everything_is_cross_row() {
        let mut graph = Graph::default();
        graph.input("x", &[Axis::Open("batch"), Axis::Fixed(4)]);
        graph.output("y", &[]);
        graph.output("size", &[]);
        let shape = graph.node("Shape", &["x"], "shape", vec![]);
        graph.node("ReduceProd", &[&shape], "size", vec![]);
        graph.node("ReduceMean", &["x"], "y", vec![]);
        let found = found(graph, &[Ax::Batch, Ax::Fixed(4)]);
        let mean = |class| (class, "ReduceMean".to_owned(), true);
        assert_eq!(found, [mean(Class::CrossRow), mean(Class::Position)]);
    }

    #[test]
    fn random_numbers_data_dependent_shapes_and_conditions_are_found_in_branches_too() {
        let mut branch = Graph::default();
        branch.output("r", &[]);
        branch.node("RandomNormalLike", &["x"], "r", vec![]);
        let mut graph = Graph::default();
        graph.input("x", &[Axis::Open("batch"), Axis::Fixed(4)]);
        graph.output("n", &[]);
        graph.output("z", &[]);
        graph.node("NonZero", &["x"], "n", vec![]);
        graph.node("ReduceMax", &["x"], "max", vec![int("keepdims", 0)]);
        graph.node("Cast", &["max"], "condition", vec![int("to", 9)]);
        let body = |name: &str| crate::model::onnx::graph::graph(name, branch.0.clone());
        graph.node("If", &["condition"], "z", vec![body("then_branch"), body("else_branch")]);
        let found = find(&model(graph, 18), &[batch("x", &[Ax::Batch, Ax::Fixed(4)])]);
        let has = |class, node: &str| found.iter().any(|found| found.class == class && found.node == node);
        assert!(has(Class::Random, "z/r") && has(Class::DataDependentShape, "n"), "{found:?}");
        assert!(has(Class::CrossRow, "z") && has(Class::CrossRow, "max"), "{found:?}");
    }

    #[test]
    fn quantising_by_the_batch_is_cross_row() {
        let mut graph = Graph::default();
        graph.input("x", &[Axis::Open("batch"), Axis::Fixed(4)]);
        graph.output("q", &[]);
        graph.node_with("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"], vec![]);
        assert_eq!(found(graph, &[Ax::Batch, Ax::Fixed(4)]), [(Class::CrossRow, "DynamicQuantizeLinear".into(), true)]);
    }

    #[test]
    fn operators_that_are_not_listed_give_the_same_bits_at_every_place() {
        let plain = [
            "Exp",
            "Sigmoid",
            "Tanh",
            "Erf",
            "Sqrt",
            "Softsign",
            "Relu",
            "LeakyRelu",
            "HardSigmoid",
            "HardSwish",
            "Gelu",
            "Softmax",
            "LogSoftmax",
            "Reciprocal",
            "Abs",
        ];
        for op in plain {
            for width in [5, 7, 13, 48] {
                let mut graph = Graph::default();
                graph.input("x", &[Axis::Open("batch"), Axis::Fixed(width)]);
                graph.output("y", &[Axis::Open("batch"), Axis::Fixed(width)]);
                graph.node(op, &["x"], "y", vec![]);
                let model = model(graph, 20);
                assert_eq!(find(&model, &[batch("x", &[Ax::Batch, Ax::Fixed(width)])]), [], "{op}");
                let mut trial = Trial::new(&model).unwrap();
                let rows: Vec<f32> = noise(31 * width, 3).iter().map(|value| value.abs() + 0.1).collect();
                let mut run = |from: usize, to: usize| {
                    let x = floats("x", &[to - from, width], &rows[from * width..to * width]);
                    to_floats(&trial.run(&[x]).unwrap()[0]).unwrap()
                };
                let all = run(0, 31);
                for (from, to) in [(0, 1), (1, 3), (3, 10), (14, 31)] {
                    assert_eq!(run(from, to), all[from * width..to * width], "{op}, width {width}, rows {from}..{to}");
                }
            }
        }
    }
}
