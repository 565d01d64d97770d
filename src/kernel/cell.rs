//! What a cell is: its form (states, gates, how it begins, its ONNX operator) and one step of one row, forward and
//! backward.
//! Must not live here: which cells there are (`kind`), time and matrix products (`recurrent`).

use std::fmt;
use std::ops::Range;

use super::activation::Activation;
use super::float::Number;

/// A cell: what it is, and its arithmetic on one row. Loops run over slices cut to the layer's width, so that they
/// become vector code.
pub trait Cell<F: Number>: fmt::Debug + Sync {
    /// What it is.
    fn form(&self) -> &'static Form;

    /// One step of one row.
    fn forward(&self, step: Forward<'_, F>);

    /// Whether [`Cell::backward`] reads the hidden state before the step.
    fn reads_h(&self) -> bool {
        true
    }

    /// The gradients of one step of one row.
    fn backward(&self, step: Backward<'_, F>);
}

/// Everything about a cell but its arithmetic.
#[derive(Debug)]
pub struct Form {
    /// Its words under `layers:` in the pipeline file.
    pub words: &'static [&'static str],
    /// The `activation:` that tells cells of one word apart; the first of them is the default.
    pub activation: Option<Activation>,
    /// Its name in Keras.
    pub keras_name: &'static str,
    /// Names of the gates in the order of their blocks, each `units` columns wide: Keras' order.
    pub gates: &'static [&'static str],
    /// Letters of its states, each `units` wide: `h` first, which is its output and what the recurrent kernel
    /// multiplies.
    pub states: &'static [&'static str],
    /// Whether the recurrent part of the gates (with a bias of its own) is handed to the cell next to the input's part.
    /// Otherwise both come as one sum, and the second bias is there when it is asked for.
    pub recurrent_apart: bool,
    /// Of a recurrent part that is apart: the first gates, whose gradient is the same on both sides.
    pub same_gates: usize,
    /// Whether there is a recurrent kernel: without one the gates see the input alone.
    pub recurrent_kernel: bool,
    /// What it learns beside kernels and bias. Where there is any, the bias is the cell's too, and not in the gates.
    pub own: &'static [OwnTensor],
    /// Blocks of `units` numbers that a step keeps for the backward pass, besides gates and states.
    pub kept: usize,
    /// The gate whose bias begins at one.
    pub bias_of_one: Option<usize>,
    /// How the exported graph computes it.
    pub onnx: Onnx,
}

impl Form {
    /// The operator that ONNX has for it.
    pub fn operator(&self) -> Option<&Operator> {
        match &self.onnx {
            Onnx::Operator(operator) => Some(operator),
            Onnx::Body(_) => None,
        }
    }

    /// Whether its bias always has a recurrent half.
    pub fn has_two_biases(&self) -> bool {
        self.recurrent_apart && self.own.is_empty()
    }
}

/// Numbers that a cell learns beside kernels and bias: gains and shifts.
#[derive(Debug)]
pub struct OwnTensor {
    /// Its name within the layer.
    pub name: &'static str,
    /// Its width in blocks of `units`.
    pub blocks: usize,
    /// Whether it begins at one; else at zero.
    pub ones: bool,
}

/// How a graph computes a cell.
#[derive(Debug)]
pub enum Onnx {
    /// By an operator of its own, over all timesteps.
    Operator(Operator),
    /// By plain operators, step by step.
    Body(Body),
}

/// A cell of plain operators. Names are those of its tensors, the letters of its states, and of the nodes before.
#[derive(Debug)]
pub struct Body {
    /// From `product`, the input times the kernel, to `inputs`, what each step takes; all timesteps at once.
    pub before: &'static [Node],
    /// From `inputs` and the states to the states after the step, such as `h'`.
    pub step: &'static [Node],
}

/// A node of a graph.
#[derive(Debug)]
pub struct Node {
    /// Its ONNX operator.
    pub operator: &'static str,
    /// What it takes.
    pub inputs: &'static [&'static str],
    /// What it gives.
    pub outputs: &'static [&'static str],
    /// Its attributes.
    pub attributes: &'static [(&'static str, Attribute)],
}

impl Node {
    /// Of these, in the order of the fields.
    pub const fn new(
        operator: &'static str,
        inputs: &'static [&'static str],
        outputs: &'static [&'static str],
        attributes: &'static [(&'static str, Attribute)],
    ) -> Node {
        Node { operator, inputs, outputs, attributes }
    }
}

/// An ONNX operator with operands `W`, `R`, `B` and one initial state for each of [`Form::states`].
#[derive(Debug)]
pub struct Operator {
    /// Its name, `LSTM`.
    pub name: &'static str,
    /// Block `j` of its operands is block `gates[j]` of [`Form::gates`].
    pub gates: &'static [usize],
    /// The same for the reader of the graph.
    pub order: &'static str,
    /// Attributes besides direction and width.
    pub attributes: &'static [(&'static str, Attribute)],
}

/// An attribute of an ONNX operator.
#[derive(Debug, Clone, Copy)]
pub enum Attribute {
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Texts.
    Texts(&'static [&'static str]),
}

/// One step of one row, of width u.
#[derive(Debug)]
pub struct Forward<'a, F> {
    /// [g·u] before activation, both biases included (without the recurrent part if that is apart); the activated gates
    /// afterwards.
    pub gates: &'a mut [F],
    /// [g·u] The recurrent part with its bias if it is apart, else empty.
    pub recurrent: &'a [F],
    /// Bias and own tensors of a cell that has any, else empty.
    pub own: &'a [F],
    /// [u] Hidden state before, and after.
    pub h: &'a mut [F],
    /// The other states before, and after, concatenated.
    pub c: &'a mut [F],
    /// [kept·u] What the backward pass will need.
    pub kept: &'a mut [F],
}

/// The gradients of one step of one row.
#[derive(Debug)]
pub struct Backward<'a, F> {
    /// [g·u] The activated gates.
    pub gates: &'a [F],
    /// Bias and own tensors of a cell that has any, else empty.
    pub own: &'a [F],
    /// [u] Hidden state before the step.
    pub h: &'a [F],
    /// The other states before the step.
    pub c: &'a [F],
    /// [kept·u] What the forward step kept.
    pub kept: &'a [F],
    /// [u] Gradient of the hidden state after the step; becomes that of what the step takes directly from the hidden
    /// state before it (not through the recurrent kernel).
    pub dh: &'a mut [F],
    /// Gradient of the other states after the step; becomes that before it.
    pub dc: &'a mut [F],
    /// [g·u] Receives the gradient of the gates before activation.
    pub d_gates: &'a mut [F],
    /// [g·u] Receives that of the recurrent part if it is apart, else empty.
    pub d_recurrent: &'a mut [F],
    /// Added to: the gradients of `own`.
    pub d_own: &'a mut [F],
}

/// A tensor that a layer learns.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerTensor {
    /// Its name within the layer, `kernel`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its first values.
    pub initial: Initial,
}

/// First values of a tensor; Keras' defaults.
#[derive(Debug, Clone, PartialEq)]
pub enum Initial {
    /// Uniform by Glorot and Bengio 2010, [fan_in, fan_out].
    Glorot,
    /// Orthonormal rows or columns.
    Orthogonal,
    /// Uniform within ±0.05, the vectors of ids.
    Embedding,
    /// Zero, but one in this range.
    Zeros(Range<usize>),
}
