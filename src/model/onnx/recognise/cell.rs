//! Which formulas are a cell of ONNX' recurrent operators, and the operator's weights. Must not live here: where the
//! formula comes from (`rows`), and putting the operator into the graph (`rewrite`).

use std::rc::Rc;

use super::expr::{Activation, Expr, Part, Source};

/// A cell: the operator, what it takes, and its weights in ONNX' order.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    /// `LSTM`, `GRU` or `RNN`.
    pub(super) operator: &'static str,
    pub(super) units: usize,
    pub(super) x: Source,
    /// The cell state before the step, and the formula of the one after it.
    pub(super) c: Option<(Source, Rc<Expr>)>,
    /// [gates · units, x's width].
    pub(super) w: Vec<f32>,
    /// [gates · units, units].
    pub(super) r: Vec<f32>,
    /// [2 · gates · units].
    pub(super) b: Vec<f32>,
    pub(super) activations: Vec<Activation>,
    pub(super) linear_before_reset: Option<i64>,
}

/// The cell whose next hidden state is `next`, if it is one. `formula` gives that of a tensor by its name.
pub(super) fn cell(next: &Rc<Expr>, formula: &dyn Fn(&str) -> Option<Rc<Expr>>, h: &Source) -> Option<Cell> {
    lstm(next, h).or_else(|| gru(next, formula, h)).or_else(|| rnn(next, h))
}

/// `h' = f(Wx + Rh + b)`.
fn rnn(next: &Rc<Expr>, h: &Source) -> Option<Cell> {
    let Expr::Activation(activation, inner) = &**next else { return None };
    let gate = gate(inner, h)?;
    assemble("RNN", vec![gate], h, vec![activation.clone()])
}

/// `c' = f·c + i·g(..)`, `h' = o·tanh(c')`.
fn lstm(next: &Rc<Expr>, h: &Source) -> Option<Cell> {
    let Expr::Mul(a, b) = &**next else { return None };
    let (o, c_next, out) = [(a, b), (b, a)].into_iter().find_map(|(o, t)| {
        let Expr::Activation(out, c_next) = &**t else { return None };
        matches!(&**c_next, Expr::Add(..)).then_some((o, c_next, out))
    })?;
    let Expr::Add(a, b) = &**c_next else { return None };
    for (kept, fresh) in [(a, b), (b, a)] {
        let (Expr::Mul(f1, f2), Expr::Mul(g1, g2)) = (&**kept, &**fresh) else { continue };
        let Some((f, c)) = [(f1, f2), (f2, f1)].into_iter().find_map(|(f, c)| match (&**f, &**c) {
            (Expr::Activation(..), Expr::Source(c)) => Some((f, c)),
            _ => None,
        }) else {
            continue;
        };
        // The gates are told apart by their activation: the input gate has that of the forget gate.
        let Some((kind, _)) = activated(f) else { continue };
        let Some((i, g)) = [(g1, g2), (g2, g1)].into_iter().find(|(i, _)| activated(i).is_some_and(|(k, _)| k == kind))
        else {
            continue;
        };
        let (i_gate, o_gate, f_gate, g_gate) = (
            gate(activated(i)?.1, h)?,
            gate(activated(o)?.1, h)?,
            gate(activated(f)?.1, h)?,
            gate(activated(g)?.1, h)?,
        );
        if activated(o)?.0 != kind {
            return None;
        }
        let activations = vec![kind.clone(), activated(g)?.0.clone(), out.clone()];
        let cell = assemble("LSTM", vec![i_gate, o_gate, f_gate, g_gate], h, activations)?;
        return Some(Cell { c: Some((c.clone(), Rc::clone(c_next))), ..cell });
    }
    None
}

/// `h' = z·h + (1 - z)·n`, in the forms that it is written in.
fn gru(next: &Rc<Expr>, formula: &dyn Fn(&str) -> Option<Rc<Expr>>, h: &Source) -> Option<Cell> {
    let is_h = |expr: &Rc<Expr>| matches!(&**expr, Expr::Source(source) if source == h);
    let Expr::Add(a, b) = &**next else { return None };
    for (left, right) in [(a, b), (b, a)] {
        let Expr::Mul(r1, r2) = &**right else { continue };
        for (gate, other) in [(r1, r2), (r2, r1)] {
            // n + z·(h - n), or h + z·(n - h).
            if let Expr::Sub(first, second) = &**other
                && second == left
            {
                let found = if is_h(first) {
                    gru_of(gate, left, false, formula, h)
                } else if is_h(second) {
                    gru_of(gate, first, true, formula, h)
                } else {
                    None
                };
                if found.is_some() {
                    return found;
                }
            }
            // z·h + (1 - z)·n, or (1 - z)·h + z·n.
            let Expr::Mul(l1, l2) = &**left else { continue };
            for (kept, state) in [(l1, l2), (l2, l1)] {
                if !is_h(state) {
                    continue;
                }
                let one_minus = |expr: &Rc<Expr>, z: &Rc<Expr>| match &**expr {
                    Expr::Sub(one, of) => matches!(&**one, Expr::Constant(v) if v.iter().all(|v| *v == 1.0)) && of == z,
                    _ => false,
                };
                let found = if one_minus(gate, kept) {
                    gru_of(kept, other, false, formula, h)
                } else if one_minus(kept, gate) {
                    gru_of(gate, other, true, formula, h)
                } else {
                    None
                };
                if found.is_some() {
                    return found;
                }
            }
        }
    }
    None
}

/// `z` keeps the old state, or takes the new one where `inverted`: then its weights change their sign.
fn gru_of(
    z: &Rc<Expr>,
    n: &Rc<Expr>,
    inverted: bool,
    formula: &dyn Fn(&str) -> Option<Rc<Expr>>,
    h: &Source,
) -> Option<Cell> {
    let (kind, z) = activated(z)?;
    if inverted && kind.name != "Sigmoid" {
        return None;
    }
    let mut z = gate(z, h)?;
    if inverted {
        z.negate();
    }
    let (g, inner) = activated(n)?;
    let activations = vec![kind.clone(), g.clone()];
    let reset = |r: &Rc<Expr>| activated(r).filter(|(k, _)| *k == kind).and_then(|(_, r)| gate(r, h));
    // The reset gate after the product with h.
    if let Expr::Add(a, b) = &**inner {
        for (input, product) in [(a, b), (b, a)] {
            let Expr::Mul(p1, p2) = &**product else { continue };
            for (r, recurrent) in [(p1, p2), (p2, p1)] {
                let Some(r) = reset(r) else { continue };
                let (Expr::Affine(x, width), Expr::Affine(of_h, other)) = (&**input, &**recurrent) else { continue };
                let ([x], [of_h]) = (x.as_slice(), of_h.as_slice()) else { continue };
                if of_h.source != *h || width != other {
                    continue;
                }
                let n = Gate { x: x.clone(), h: of_h.clone() };
                let cell = assemble("GRU", vec![z, r, n], h, activations)?;
                return Some(Cell { linear_before_reset: Some(1), ..cell });
            }
        }
        return None;
    }
    // And before it: the second part is a product with r·h.
    let Expr::Affine(parts, _) = &**inner else { return None };
    let [first, second] = parts.as_slice() else { return None };
    for (x, scaled) in [(first, second), (second, first)] {
        let Some(product) = formula(&scaled.source.name) else { continue };
        let Expr::Mul(a, b) = &*product else { continue };
        for (r, state) in [(a, b), (b, a)] {
            if !matches!(&**state, Expr::Source(source) if source == h) {
                continue;
            }
            let Some(r) = reset(r) else { continue };
            let of_h = Part { source: h.clone(), ..scaled.clone() };
            let cell = assemble("GRU", vec![z, r, Gate { x: x.clone(), h: of_h }], h, activations)?;
            return Some(Cell { linear_before_reset: Some(0), ..cell });
        }
    }
    None
}

fn activated(expr: &Rc<Expr>) -> Option<(&Activation, &Rc<Expr>)> {
    match &**expr {
        Expr::Activation(activation, inner) => Some((activation, inner)),
        _ => None,
    }
}

/// `Wx + Rh + b` of one gate.
struct Gate {
    x: Part,
    h: Part,
}

impl Gate {
    fn negate(&mut self) {
        for part in [&mut self.x, &mut self.h] {
            part.matrix = Rc::new(part.matrix.iter().map(|value| -value).collect());
            part.bias.iter_mut().for_each(|value| *value = -*value);
        }
    }
}

fn gate(expr: &Rc<Expr>, h: &Source) -> Option<Gate> {
    let Expr::Affine(parts, _) = &**expr else { return None };
    let [first, second] = parts.as_slice() else { return None };
    let (x, of_h) = if first.source == *h { (second, first) } else { (first, second) };
    (of_h.source == *h && x.source != *h).then(|| Gate { x: x.clone(), h: of_h.clone() })
}

/// The operator's weights: each gate's after the other, transposed.
fn assemble(operator: &'static str, gates: Vec<Gate>, h: &Source, activations: Vec<Activation>) -> Option<Cell> {
    let units = h.width;
    let x = gates.first()?.x.source.clone();
    let fits = |gate: &Gate| gate.x.source == x && gate.x.bias.len() == units && gate.h.bias.len() == units;
    if !gates.iter().all(fits) {
        return None;
    }
    let transposed = |part: &Part| -> Vec<f32> {
        let rows = part.source.width;
        (0..units).flat_map(|unit| (0..rows).map(move |row| row * units + unit)).map(|at| part.matrix[at]).collect()
    };
    let mut b: Vec<f32> = gates.iter().flat_map(|gate| gate.x.bias.clone()).collect();
    b.extend(gates.iter().flat_map(|gate| gate.h.bias.clone()));
    Some(Cell {
        operator,
        units,
        c: None,
        w: gates.iter().flat_map(|gate| transposed(&gate.x)).collect(),
        r: gates.iter().flat_map(|gate| transposed(&gate.h)).collect(),
        b,
        x,
        activations,
        linear_before_reset: None,
    })
}
