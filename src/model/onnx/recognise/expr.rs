//! The numbers of a tensor as a formula of a row: sums of products with constant matrices, activations, products. So it
//! doesn't matter how an exporter wrote a cell: gates one by one or side by side, split before or after.
//! Must not live here: reading nodes (`rows`), and which formula is a cell (`cell`).

use std::rc::Rc;

/// Some features of a tensor: a state, an input, or whatever the formula begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) from: usize,
    pub(super) width: usize,
}

/// A source times a matrix [source's width, width], plus the bias that was added to this product alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) source: Source,
    pub(super) matrix: Rc<Vec<f32>>,
    pub(super) bias: Vec<f32>,
}

/// An activation as ONNX' recurrent operators name it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Activation {
    pub(super) name: String,
    pub(super) alpha: Option<f32>,
    pub(super) beta: Option<f32>,
}

/// A formula for the features of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Source(Source),
    /// The sum of the parts.
    Affine(Vec<Part>, usize),
    /// One number for all features, or one for each.
    Constant(Vec<f32>),
    Activation(Activation, Rc<Expr>),
    Add(Rc<Expr>, Rc<Expr>),
    Sub(Rc<Expr>, Rc<Expr>),
    Mul(Rc<Expr>, Rc<Expr>),
    Concat(Vec<Rc<Expr>>),
}

impl Expr {
    /// Features; `None` for a single number that fits any.
    pub(super) fn width(&self) -> Option<usize> {
        match self {
            Expr::Source(source) => Some(source.width),
            Expr::Affine(_, width) => Some(*width),
            Expr::Constant(values) => (values.len() > 1).then_some(values.len()),
            Expr::Activation(_, inner) => inner.width(),
            Expr::Add(a, b) | Expr::Sub(a, b) | Expr::Mul(a, b) => a.width().or(b.width()),
            Expr::Concat(parts) => parts.iter().map(|part| part.width()).sum(),
        }
    }

    /// The features `from .. from + width`.
    pub(super) fn slice(self: &Rc<Self>, from: usize, width: usize) -> Option<Rc<Expr>> {
        let whole = self.width();
        if whole.is_some_and(|whole| from + width > whole) {
            return None;
        }
        if from == 0 && whole.is_none_or(|whole| whole == width) {
            return Some(Rc::clone(self));
        }
        let both = |a: &Rc<Expr>, b: &Rc<Expr>| Some((a.slice(from, width)?, b.slice(from, width)?));
        Some(Rc::new(match &**self {
            Expr::Source(source) => Expr::Source(Source { name: source.name.clone(), from: source.from + from, width }),
            Expr::Affine(parts, whole) => {
                let columns = |part: &Part| Part {
                    source: part.source.clone(),
                    matrix: Rc::new(
                        part.matrix.chunks_exact(*whole).flat_map(|row| row[from..from + width].to_vec()).collect(),
                    ),
                    bias: part.bias[from..from + width].to_vec(),
                };
                Expr::Affine(parts.iter().map(columns).collect(), width)
            }
            Expr::Constant(values) if values.len() == 1 => Expr::Constant(values.clone()),
            Expr::Constant(values) => Expr::Constant(values[from..from + width].to_vec()),
            Expr::Activation(activation, inner) => Expr::Activation(activation.clone(), inner.slice(from, width)?),
            Expr::Add(a, b) => both(a, b).map(|(a, b)| Expr::Add(a, b))?,
            Expr::Sub(a, b) => both(a, b).map(|(a, b)| Expr::Sub(a, b))?,
            Expr::Mul(a, b) => both(a, b).map(|(a, b)| Expr::Mul(a, b))?,
            Expr::Concat(parts) => {
                let mut pieces = Vec::new();
                let mut start = 0;
                for part in parts {
                    let size = part.width()?;
                    let (low, high) = (from.max(start), (from + width).min(start + size));
                    if low < high {
                        pieces.push(part.slice(low - start, high - low)?);
                    }
                    start += size;
                }
                return match pieces.len() {
                    1 => pieces.pop(),
                    _ => Some(Rc::new(Expr::Concat(pieces))),
                };
            }
        }))
    }

    /// The sum of two formulas, one affine form where both are.
    pub(super) fn add(a: &Rc<Expr>, b: &Rc<Expr>) -> Rc<Expr> {
        Rc::new(match (&**a, &**b) {
            (Expr::Affine(left, width), Expr::Affine(right, other)) if width == other => {
                Expr::Affine(left.iter().chain(right).cloned().collect(), *width)
            }
            (Expr::Affine(parts, width), Expr::Constant(bias)) | (Expr::Constant(bias), Expr::Affine(parts, width))
                if !parts.is_empty() && (bias.len() == 1 || bias.len() == *width) =>
            {
                let mut parts = parts.clone();
                for (index, value) in parts[0].bias.iter_mut().enumerate() {
                    *value += bias[if bias.len() == 1 { 0 } else { index }];
                }
                Expr::Affine(parts, *width)
            }
            _ => Expr::Add(Rc::clone(a), Rc::clone(b)),
        })
    }
}

impl Source {
    /// This source times a matrix of `width` columns.
    pub(super) fn times(self, matrix: Vec<f32>, width: usize) -> Part {
        Part { source: self, matrix: Rc::new(matrix), bias: vec![0.0; width] }
    }
}
