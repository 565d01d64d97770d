//! GRU (Cho et al. 2014) in the `reset_after` form: n = tanh(a_n + r s_n), h = z h + (1 - z) n; z and r are sigmoids of
//! a + s, where a = W x + b and s = U h + b' are the input's and the recurrent part.

// One index into many blocks of one length: with `zip` the formulas would be unreadable.
#![allow(clippy::needless_range_loop)]

use super::blocks::{blocks, blocks_mut};
use super::cell::{Attribute, Backward, Cell, Form, Forward, Onnx, Operator};
use super::float::Number;

/// Keeps s_n.
#[derive(Debug)]
pub(super) struct Gru;

static FORM: Form = Form {
    words: &["gru"],
    activation: None,
    keras_name: "GRU",
    gates: &["z", "r", "n"],
    states: &["h"],
    recurrent_apart: true,
    same_gates: 2,
    recurrent_kernel: true,
    own: &[],
    kept: 1,
    bias_of_one: None,
    onnx: Onnx::Operator(Operator {
        name: "GRU",
        gates: &[0, 1, 2],
        order: "ONNX order z, r, h, as Keras",
        attributes: &[("linear_before_reset", Attribute::Integer(1))],
    }),
};

impl<F: Number> Cell<F> for Gru {
    fn form(&self) -> &'static Form {
        &FORM
    }

    #[inline(always)]
    fn forward(&self, step: Forward<'_, F>) {
        let Forward { gates, recurrent, h, kept: s_n, .. } = step;
        let u = h.len();
        let [z, r, n] = blocks_mut(gates, u);
        let [recurrent_z, recurrent_r, recurrent_n] = blocks(recurrent, u);
        let s_n = &mut s_n[..u];
        for j in 0..u {
            z[j] = (z[j] + recurrent_z[j]).sigmoid();
            r[j] = (r[j] + recurrent_r[j]).sigmoid();
            s_n[j] = recurrent_n[j];
            n[j] = (n[j] + r[j] * s_n[j]).tanh();
            h[j] = z[j] * h[j] + (F::ONE - z[j]) * n[j];
        }
    }

    #[inline(always)]
    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, h, kept, dh, d_gates, d_recurrent, .. } = step;
        gradients(gates, h, kept, dh, d_gates, d_recurrent);
    }
}

/// Slices as arguments don't overlap, so that the loop becomes vector code without asking.
#[inline(always)]
fn gradients<F: Number>(gates: &[F], h: &[F], s_n: &[F], dh: &mut [F], d_gates: &mut [F], d_recurrent: &mut [F]) {
    let u = dh.len();
    let [z, r, n] = blocks(gates, u);
    let [d_z, d_r, d_n] = blocks_mut(d_gates, u);
    let [s_z, s_r, d_s_n] = blocks_mut(d_recurrent, u);
    let (h, s_n) = (&h[..u], &s_n[..u]);
    for j in 0..u {
        let d_new = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
        d_z[j] = dh[j] * (h[j] - n[j]) * z[j] * (F::ONE - z[j]);
        d_r[j] = d_new * s_n[j] * r[j] * (F::ONE - r[j]);
        d_n[j] = d_new;
        s_z[j] = d_z[j];
        s_r[j] = d_r[j];
        d_s_n[j] = d_new * r[j];
        dh[j] *= z[j];
    }
}
