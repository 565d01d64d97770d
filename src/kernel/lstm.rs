//! LSTM (Hochreiter and Schmidhuber 1997 with Gers et al. 2000): c = f c + i g, h = o tanh(c); i, f, o are sigmoids, g
//! is a tanh of W x + U h + b.

// One index into many blocks of one length: with `zip` the formulas would be unreadable.
#![allow(clippy::needless_range_loop)]

use super::blocks::{blocks, blocks_mut};
use super::cell::{Backward, Cell, Form, Forward, Onnx, Operator};
use super::float::Number;

/// Keeps tanh(c).
#[derive(Debug)]
pub(super) struct Lstm;

static FORM: Form = Form {
    words: &["lstm"],
    activation: None,
    keras_name: "LSTM",
    gates: &["i", "f", "g", "o"],
    states: &["h", "c"],
    recurrent_apart: false,
    same_gates: 0,
    recurrent_kernel: true,
    own: &[],
    kept: 1,
    bias_of_one: Some(1),
    onnx: Onnx::Operator(Operator {
        name: "LSTM",
        gates: &[0, 3, 1, 2],
        order: "ONNX order i, o, f, c; Keras has i, f, c, o",
        attributes: &[],
    }),
};

impl<F: Number> Cell<F> for Lstm {
    fn form(&self) -> &'static Form {
        &FORM
    }

    #[inline(always)]
    fn forward(&self, step: Forward<'_, F>) {
        let Forward { gates, h, c, kept: c_tanh, .. } = step;
        let u = h.len();
        let [i, f, g, o] = blocks_mut(gates, u);
        let (c, c_tanh) = (&mut c[..u], &mut c_tanh[..u]);
        for j in 0..u {
            i[j] = i[j].sigmoid();
            f[j] = f[j].sigmoid();
            g[j] = g[j].tanh();
            o[j] = o[j].sigmoid();
            c[j] = f[j] * c[j] + i[j] * g[j];
        }
        // A loop of its own: the processor works on several units at once, which the long way from gates to h would
        // hinder.
        for j in 0..u {
            c_tanh[j] = c[j].tanh();
            h[j] = o[j] * c_tanh[j];
        }
    }

    #[inline(always)]
    fn reads_h(&self) -> bool {
        false
    }

    #[inline(always)]
    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, c, kept, dh, dc, d_gates, .. } = step;
        gradients(gates, c, kept, dh, dc, d_gates);
        dh.fill(F::ZERO);
    }
}

/// Slices as arguments don't overlap, so that the loop becomes vector code without asking.
#[inline(always)]
fn gradients<F: Number>(gates: &[F], c: &[F], c_tanh: &[F], dh: &[F], dc: &mut [F], d_gates: &mut [F]) {
    let u = dh.len();
    let [i, f, g, o] = blocks(gates, u);
    let [d_i, d_f, d_g, d_o] = blocks_mut(d_gates, u);
    let (c, c_tanh, dc) = (&c[..u], &c_tanh[..u], &mut dc[..u]);
    for j in 0..u {
        let d_cell = dc[j] + dh[j] * o[j] * (F::ONE - c_tanh[j] * c_tanh[j]);
        d_i[j] = d_cell * g[j] * i[j] * (F::ONE - i[j]);
        d_f[j] = d_cell * c[j] * f[j] * (F::ONE - f[j]);
        d_g[j] = d_cell * i[j] * (F::ONE - g[j] * g[j]);
        d_o[j] = dh[j] * c_tanh[j] * o[j] * (F::ONE - o[j]);
        dc[j] = d_cell * f[j];
    }
}
