//! Reads the nodes of a graph as formulas of a row. Nodes that it doesn't know begin a new source: whatever they make
//! is what later formulas are made of. Must not live here: which formulas are a cell (`cell`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::expr::{Activation, Expr, Source};
use crate::model::onnx::proto::{GraphProto, NodeProto, TensorProto};
use crate::model::onnx::values;
use crate::model::onnx::view::{Dim, dims, float, input, integer, integers, one_integer};

/// Sizes of the axes, `None` for the batch. The features are those of all other axes, in their order.
pub(super) type Axes = Vec<Option<usize>>;

/// A tensor that is known.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) expr: Rc<Expr>,
    pub(super) axes: Axes,
}

/// The formulas of a graph's tensors, by name.
pub(super) struct Rows<'a> {
    constants: BTreeMap<&'a str, &'a TensorProto>,
    known: BTreeMap<String, Row>,
    /// Features of tensors [batch, n] that the file declares.
    declared: BTreeMap<&'a str, usize>,
    /// Names in the order of their nodes.
    pub(super) order: Vec<String>,
}

impl<'a> Rows<'a> {
    /// Of a graph; `constants` include those around it that it sees.
    pub(super) fn new(graph: &'a GraphProto, constants: BTreeMap<&'a str, &'a TensorProto>) -> Self {
        let rows = graph.input.iter().chain(&graph.value_info).filter_map(|info| match dims(info)?.as_slice() {
            [Dim::Named(_) | Dim::Open, Dim::Fixed(width)] => Some((info.name(), *width)),
            _ => None,
        });
        Rows { constants, known: BTreeMap::new(), declared: rows.collect(), order: Vec::new() }
    }

    /// A tensor that formulas begin with.
    pub(super) fn source(&mut self, name: &str, axes: Axes) {
        let width = axes.iter().flatten().product();
        let expr = Rc::new(Expr::Source(Source { name: name.to_owned(), from: 0, width }));
        self.insert(name, Row { expr, axes });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Row> {
        self.known.get(name)
    }

    pub(super) fn formula(&self, name: &str) -> Option<Rc<Expr>> {
        self.known.get(name).map(|row| Rc::clone(&row.expr))
    }

    /// The first tensor of that formula.
    pub(super) fn named(&self, expr: &Rc<Expr>) -> Option<(&str, &Row)> {
        let same = |name: &&String| self.known.get(*name).is_some_and(|row| row.expr == *expr);
        let name = self.order.iter().find(same)?;
        Some((name, self.known.get(name)?))
    }

    fn insert(&mut self, name: &str, row: Row) {
        self.order.push(name.to_owned());
        self.known.insert(name.to_owned(), row);
    }

    /// Reads a node; what isn't understood stays unknown.
    pub(super) fn node(&mut self, node: &NodeProto) {
        if matches!(node.op_type(), "Split") {
            self.split(node);
        } else if let (Some(row), Some(name)) = (self.read(node), node.output.first()) {
            self.insert(name, row);
        }
    }

    /// An operand: a known tensor or a constant row.
    fn operand(&self, node: &NodeProto, index: usize) -> Option<Row> {
        let name = input(node, index)?;
        if let Some(row) = self.known.get(name) {
            return Some(row.clone());
        }
        if let Some(width) = self.declared.get(name) {
            let source = Source { name: name.to_owned(), from: 0, width: *width };
            return Some(Row { expr: Rc::new(Expr::Source(source)), axes: vec![None, Some(*width)] });
        }
        let constant = self.constants.get(name)?;
        let values = values::to_floats(constant)?;
        let leading = constant.dims.split_last().is_none_or(|(_, rest)| rest.iter().all(|size| *size == 1));
        leading.then(|| Row { expr: Rc::new(Expr::Constant(values)), axes: Vec::new() })
    }

    fn integers(&self, node: &NodeProto, index: usize, attribute: &str) -> Option<Vec<i64>> {
        match input(node, index) {
            Some(name) => values::to_integers(self.constants.get(name)?),
            None => integers(node, attribute).map(<[i64]>::to_vec),
        }
    }

    fn read(&self, node: &NodeProto) -> Option<Row> {
        let unary = |name: &str, alpha: Option<f32>, beta: Option<f32>| {
            let row = self.operand(node, 0)?;
            let activation = Activation { name: name.to_owned(), alpha, beta };
            Some(Row { expr: Rc::new(Expr::Activation(activation, row.expr)), axes: row.axes })
        };
        match node.op_type() {
            "Identity" => self.operand(node, 0),
            op @ ("Sigmoid" | "Tanh" | "Relu" | "Softsign" | "Softplus") => unary(op, None, None),
            "HardSigmoid" => unary(
                "HardSigmoid",
                Some(float(node, "alpha").unwrap_or(0.2)),
                Some(float(node, "beta").unwrap_or(0.5)),
            ),
            op @ ("Add" | "Sub" | "Mul") => {
                let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
                let axes = if a.axes.len() >= b.axes.len() { a.axes } else { b.axes };
                if let (Some(left), Some(right)) = (a.expr.width(), b.expr.width())
                    && left != right
                {
                    return None;
                }
                let expr = match op {
                    "Add" => Expr::add(&a.expr, &b.expr),
                    "Sub" => Rc::new(Expr::Sub(a.expr, b.expr)),
                    _ => Rc::new(Expr::Mul(a.expr, b.expr)),
                };
                Some(Row { expr, axes })
            }
            "MatMul" => self.product(node, false, None),
            "Gemm" => {
                let one = |name| float(node, name).is_none_or(|value| value == 1.0);
                if integer(node, "transA") == Some(1) || !one("alpha") || !one("beta") {
                    return None;
                }
                let bias = match input(node, 2) {
                    Some(_) => Some(self.operand(node, 2)?),
                    None => None,
                };
                self.product(node, integer(node, "transB") == Some(1), bias)
            }
            "Concat" => {
                let rows: Option<Vec<Row>> = (0..node.input.len()).map(|index| self.operand(node, index)).collect();
                let rows = rows?;
                let first = rows.first()?.axes.clone();
                let axis = at(integer(node, "axis")?, first.len())?;
                // The axes before the joined one must be the batch or of one element, or features would interleave.
                let plain = first[..axis].iter().all(|size| size.is_none_or(|size| size == 1));
                if !plain || first[axis].is_none() || rows.iter().any(|row| row.axes.len() != first.len()) {
                    return None;
                }
                let mut axes = first;
                axes[axis] = rows.iter().map(|row| row.axes[axis]).sum();
                Some(Row { expr: Rc::new(Expr::Concat(rows.into_iter().map(|row| row.expr).collect())), axes })
            }
            "Slice" => {
                let row = self.operand(node, 0)?;
                let (starts, ends) = (self.integers(node, 1, "starts")?, self.integers(node, 2, "ends")?);
                let axes = self.integers(node, 3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
                if input(node, 4).is_some() && self.integers(node, 4, "")?.iter().any(|step| *step != 1) {
                    return None;
                }
                let mut row = row;
                for ((start, end), axis) in starts.iter().zip(&ends).zip(&axes) {
                    let axis = at(*axis, row.axes.len())?;
                    let Some(size) = row.axes[axis] else {
                        // All of the batch.
                        if *start == 0 && *end >= i64::from(i32::MAX) { continue } else { return None }
                    };
                    let clamp =
                        |value: i64| (if value < 0 { value + size as i64 } else { value }).clamp(0, size as i64);
                    let (from, to) = (clamp(*start) as usize, clamp(*end) as usize);
                    row = part(&row, axis, from, to.checked_sub(from)?)?;
                }
                Some(row)
            }
            "Gather" => {
                let row = self.operand(node, 0)?;
                let axis = at(integer(node, "axis").unwrap_or(0), row.axes.len())?;
                let index = self.constants.get(input(node, 1)?)?;
                let size = row.axes[axis]?;
                let mut row = part(&row, axis, at(one_integer(index)?, size)?, 1)?;
                if index.dims.is_empty() {
                    row.axes.remove(axis);
                }
                Some(row)
            }
            "Squeeze" => {
                let mut row = self.operand(node, 0)?;
                let axes = self.integers(node, 1, "axes")?;
                let mut places: Vec<usize> =
                    axes.iter().map(|axis| at(*axis, row.axes.len())).collect::<Option<_>>()?;
                places.sort_unstable();
                for place in places.into_iter().rev() {
                    (row.axes.remove(place) == Some(1)).then_some(())?;
                }
                Some(row)
            }
            "Unsqueeze" => {
                let mut row = self.operand(node, 0)?;
                let axes = self.integers(node, 1, "axes")?;
                let rank = row.axes.len() + axes.len();
                let mut places: Vec<usize> = axes.iter().map(|axis| at(*axis, rank)).collect::<Option<_>>()?;
                places.sort_unstable();
                for place in places {
                    row.axes.insert(place.min(row.axes.len()), Some(1));
                }
                Some(row)
            }
            "Transpose" => {
                let row = self.operand(node, 0)?;
                let perm = integers(node, "perm")?;
                let order: Vec<usize> = perm.iter().map(|axis| at(*axis, row.axes.len())).collect::<Option<_>>()?;
                // Features keep their order where at most one axis has more than one of them.
                let wide = |axes: &Axes| axes.iter().flatten().filter(|size| **size > 1).count();
                if order.len() != row.axes.len() || wide(&row.axes) > 1 {
                    return None;
                }
                Some(Row { axes: order.iter().map(|axis| row.axes[*axis]).collect(), expr: row.expr })
            }
            _ => None,
        }
    }

    /// A product with a constant matrix [n, width], or [width, n] where it is turned.
    fn product(&self, node: &NodeProto, turned: bool, bias: Option<Row>) -> Option<Row> {
        let matrix = self.constants.get(input(node, 1)?)?;
        let [rows, columns] = values::shape(matrix)[..] else { return None };
        let mut numbers = values::to_floats(matrix)?;
        let (n, width) = if turned { (columns, rows) } else { (rows, columns) };
        if turned {
            numbers =
                (0..n).flat_map(|row| (0..width).map(move |column| column * n + row)).map(|at| numbers[at]).collect();
        }
        let name = input(node, 0)?;
        let known = self.known.get(name);
        let mut axes = known.map_or_else(|| vec![None, Some(n)], |row| row.axes.clone());
        let last = axes.len().checked_sub(1)?;
        let others = axes[..last].iter().flatten().all(|size| *size == 1);
        if axes[last] != Some(n) || !others {
            return None;
        }
        axes[last] = Some(width);
        let whole = Source { name: name.to_owned(), from: 0, width: n };
        let sources: Vec<Source> = match known.map(|row| &*row.expr) {
            Some(Expr::Source(source)) => vec![source.clone()],
            Some(Expr::Concat(parts)) => {
                let sources = parts.iter().map(|part| match &**part {
                    Expr::Source(source) => Some(source.clone()),
                    _ => None,
                });
                sources.collect::<Option<_>>().unwrap_or_else(|| vec![whole])
            }
            _ => vec![whole],
        };
        let mut parts = Vec::new();
        let mut from = 0;
        for source in sources {
            let to = from + source.width;
            parts.push(source.times(numbers.get(from * width..to * width)?.to_vec(), width));
            from = to;
        }
        let mut expr = Rc::new(Expr::Affine(parts, width));
        if let Some(bias) = bias {
            expr = Expr::add(&expr, &bias.expr);
        }
        Some(Row { expr, axes })
    }

    fn split(&mut self, node: &NodeProto) -> Option<()> {
        let row = self.operand(node, 0)?;
        let axis = at(integer(node, "axis").unwrap_or(0), row.axes.len())?;
        let size = row.axes[axis]?;
        let outputs = node.output.len();
        let sizes = match self.integers(node, 1, "split").filter(|sizes| !sizes.is_empty()) {
            Some(sizes) => sizes.iter().map(|size| *size as usize).collect(),
            None if size % outputs == 0 => vec![size / outputs; outputs],
            None => return None,
        };
        let mut from = 0;
        for (name, width) in node.output.iter().zip(sizes) {
            let piece = part(&row, axis, from, width)?;
            from += width;
            self.insert(name, piece);
        }
        Some(())
    }
}

/// A part of an axis. The features of it lie together only where the axes before it have one element.
fn part(row: &Row, axis: usize, from: usize, width: usize) -> Option<Row> {
    let before = row.axes[..axis].iter().flatten().all(|size| *size == 1);
    let after: usize = row.axes[axis + 1..].iter().flatten().product();
    if !before && width != row.axes[axis]? {
        return None;
    }
    let mut axes = row.axes.clone();
    axes[axis] = Some(width);
    Some(Row { expr: row.expr.slice(from * after, width * after)?, axes })
}

/// An axis or index counted from the start.
fn at(index: i64, size: usize) -> Option<usize> {
    let from_start = if index < 0 { index + size as i64 } else { index };
    usize::try_from(from_start).ok().filter(|index| *index < size)
}
