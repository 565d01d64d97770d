//! An RNN that PyTorch's exporter wrote out step by step, as the operator that it was: for reading its weights, not for
//! running it. Must not live here: whether a graph is unrolled (`onnx::recognise`), and the proof (`onnx_proof`).
//!
//! A step is `act(h R + b + x_t)`, where `x_t` is a part of one product `x W + b` of all steps. Steps with the same `R`
//! and the same product are one layer. Which step is which isn't followed: the runs show it.

use std::collections::BTreeMap;

use crate::model::onnx::graph::{Graph, integer as integer_of, string, strings};
use crate::model::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::model::onnx::values;
use crate::model::onnx::view::{constants, float, input, integer, name, output};

/// A step.
struct Step {
    /// Index of the node that is its activation.
    node: usize,
    activation: String,
    /// Names of the state before it, and after it.
    before: String,
    after: String,
    /// [units, units], row-major, from the state's side.
    recurrent: Vec<f32>,
    units: usize,
    bias: Vec<f32>,
    /// The product that it takes a part of, and whether its steps are in reverse order.
    product: usize,
    turned: bool,
}

/// A product with constants, and the sum behind it.
struct Product {
    from: String,
    /// [rows, columns], row-major.
    kernel: Vec<f32>,
    columns: usize,
    bias: Vec<f32>,
}

/// Puts an operator RNN in the place of each unrolled layer; whether there was one.
pub(super) fn roll(graph: &mut GraphProto) -> bool {
    let steps = Reading::new(graph).steps();
    let mut layers: BTreeMap<(usize, Vec<u32>), Vec<Step>> = BTreeMap::new();
    for step in steps {
        let bits = step.recurrent.iter().map(|number| number.to_bits()).collect();
        layers.entry((step.product, bits)).or_default().push(step);
    }
    let layers: Vec<Vec<Step>> = layers.into_values().filter(|steps| steps.len() > 1).collect();
    let made: Option<Vec<_>> = layers.iter().map(|steps| layer(graph, steps)).collect();
    let Some(made) = made.filter(|made| !made.is_empty()) else { return false };
    // From the last product on, so that the places of the others stay.
    let mut nodes: Vec<(usize, NodeProto)> = Vec::new();
    for (steps, (product, operator, weights)) in layers.iter().zip(made) {
        for step in steps {
            let last = operator.output.get(1).cloned().unwrap_or_default();
            let node = &mut graph.node[step.node];
            (node.op_type, node.input) = (Some("Identity".into()), vec![last]);
            node.attribute.clear();
        }
        graph.initializer.extend(weights);
        nodes.push((product, operator));
    }
    nodes.sort_by_key(|(product, _)| std::cmp::Reverse(*product));
    for (product, operator) in nodes {
        graph.node.insert(product + 1, operator);
    }
    true
}

/// The operator of a layer with its weights, and the node that it comes after.
fn layer(graph: &GraphProto, steps: &[Step]) -> Option<(usize, NodeProto, Vec<TensorProto>)> {
    let first = steps.iter().find(|step| steps.iter().all(|other| other.after != step.before))?;
    let reading = Reading::new(graph);
    let product = reading.product(&graph.node[first.product])?;
    let (units, inputs) = (first.units, product.kernel.len() / product.columns.max(1));
    if product.columns != units {
        return None;
    }
    let turned = |from: &[f32], rows: usize| -> Vec<f32> {
        (0..units).flat_map(|unit| (0..rows).map(move |row| row * units + unit)).map(|at| from[at]).collect()
    };
    let own = format!("{}/unrolled", name(&graph.node[first.node]));
    let mut made = Graph::default();
    let w = made.floats(&format!("{own}/w"), &[1, units, inputs], &turned(&product.kernel, inputs), "");
    let r = made.floats(&format!("{own}/r"), &[1, units, units], &turned(&first.recurrent, units), "");
    let b = made.floats(&format!("{own}/b"), &[1, 2 * units], &[product.bias, first.bias.clone()].concat(), "");
    let mut attributes = vec![integer_of("hidden_size", units as i64), strings("activations", &[&first.activation])];
    if first.turned {
        attributes.push(string("direction", "reverse"));
    }
    let (all, last) = (format!("{own}/all"), format!("{own}/last"));
    made.node_with("RNN", &[&product.from, &w, &r, &b, "", &first.before], &[&all, &last], attributes);
    let operator = made.0.node.pop()?;
    Some((first.product, NodeProto { name: Some(own), ..operator }, made.0.initializer))
}

struct Reading<'a> {
    graph: &'a GraphProto,
    constants: BTreeMap<&'a str, &'a TensorProto>,
    makers: BTreeMap<&'a str, usize>,
}

impl<'a> Reading<'a> {
    fn new(graph: &'a GraphProto) -> Reading<'a> {
        let made = |(at, node): (usize, &'a NodeProto)| node.output.iter().map(move |name| (name.as_str(), at));
        let makers = graph.node.iter().enumerate().flat_map(made).collect();
        Reading { graph, constants: constants(graph), makers }
    }

    fn steps(&self) -> Vec<Step> {
        let nodes = self.graph.node.iter().enumerate();
        nodes
            .filter(|(_, node)| matches!(node.op_type(), "Tanh" | "Relu"))
            .filter_map(|(at, node)| self.step(at, node))
            .collect()
    }

    fn step(&self, at: usize, node: &NodeProto) -> Option<Step> {
        let mut open = vec![input(node, 0)?];
        let (mut recurrent, mut bias, mut part) = (None, Vec::new(), None);
        while let Some(name) = open.pop() {
            if let Some(constant) = self.constants.get(name) {
                add(&mut bias, &values::to_floats(constant)?)?;
                continue;
            }
            let maker = &self.graph.node[*self.makers.get(name)?];
            match maker.op_type() {
                "Add" => open.extend([input(maker, 0)?, input(maker, 1)?]),
                "MatMul" | "Gemm" if recurrent.is_none() => {
                    let product = self.product(maker)?;
                    add(&mut bias, &product.bias)?;
                    recurrent = Some(product);
                }
                _ if part.is_none() => part = Some(self.whole(name)?),
                _ => return None,
            }
        }
        let (recurrent, (product, turned)) = (recurrent?, part?);
        let units = recurrent.columns;
        if recurrent.kernel.len() != units * units {
            return None;
        }
        bias.resize(units, 0.0);
        Some(Step {
            node: at,
            activation: node.op_type().to_owned(),
            before: self.moved(&recurrent.from).to_owned(),
            after: output(node, 0)?.to_owned(),
            recurrent: recurrent.kernel,
            units,
            bias,
            product,
            turned,
        })
    }

    /// The product that a tensor is a part of.
    fn whole(&self, name: &str) -> Option<(usize, bool)> {
        let (mut name, mut turned) = (name, false);
        loop {
            let at = *self.makers.get(name)?;
            let node = &self.graph.node[at];
            match node.op_type() {
                "Slice" => {
                    let steps = input(node, 4).and_then(|name| self.constants.get(name));
                    turned ^=
                        steps.and_then(|steps| values::to_integers(steps)).is_some_and(|steps| steps.contains(&-1));
                    name = input(node, 0)?;
                }
                "Squeeze" | "Unsqueeze" | "Gather" | "Split" | "Identity" | "Reshape" | "Transpose" => {
                    name = input(node, 0)?;
                }
                _ => return self.product(node).map(|_| (at, turned)),
            }
        }
    }

    /// The tensor whose numbers a tensor has in another shape.
    fn moved<'b>(&'b self, name: &'b str) -> &'b str {
        let mut name = name;
        while let Some(node) = self.makers.get(name).map(|at| &self.graph.node[*at])
            && matches!(node.op_type(), "Squeeze" | "Unsqueeze" | "Identity")
            && let Some(from) = input(node, 0)
        {
            name = from;
        }
        name
    }

    fn product(&self, node: &NodeProto) -> Option<Product> {
        if node.op_type() == "Add" {
            let (a, b) = (input(node, 0)?, input(node, 1)?);
            let (from, constant) = if self.constants.contains_key(b) { (a, b) } else { (b, a) };
            let mut product = self.product(&self.graph.node[*self.makers.get(from)?])?;
            add(&mut product.bias, &values::to_floats(self.constants.get(constant)?)?)?;
            return Some(product);
        }
        let plain = |word| float(node, word).is_none_or(|number| number == 1.0);
        if !matches!(node.op_type(), "MatMul" | "Gemm")
            || integer(node, "transA") == Some(1)
            || !plain("alpha")
            || !plain("beta")
        {
            return None;
        }
        let tensor = self.constants.get(input(node, 1)?)?;
        let [rows, columns] = values::shape(tensor)[..] else { return None };
        let numbers = values::to_floats(tensor)?;
        let (kernel, columns) = match integer(node, "transB") {
            Some(1) => {
                let turned = (0..columns).flat_map(|row| (0..rows).map(move |unit| unit * columns + row));
                (turned.map(|at| numbers[at]).collect(), rows)
            }
            _ => (numbers, columns),
        };
        let mut bias = vec![0.0; columns];
        if let Some(own) = input(node, 2) {
            add(&mut bias, &values::to_floats(self.constants.get(own)?)?)?;
        }
        Some(Product { from: input(node, 0)?.to_owned(), kernel, columns, bias })
    }
}

/// Adds numbers to a bias, which may be empty.
fn add(bias: &mut Vec<f32>, numbers: &[f32]) -> Option<()> {
    if bias.is_empty() {
        bias.extend_from_slice(numbers);
        return Some(());
    }
    (bias.len() == numbers.len()).then_some(())?;
    bias.iter_mut().zip(numbers).for_each(|(bias, number)| *bias += number);
    Some(())
}
