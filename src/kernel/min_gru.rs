//! minGRU (Feng et al. 2024, "Were RNNs All We Needed?", without its logarithms): h = (1 - z) h + z v, where z is a
//! sigmoid of W x + b and v = W' x + b'. Nothing of a step but h depends on the step before.

// One index into many blocks of one length: with `zip` the formulas would be unreadable.
#![allow(clippy::needless_range_loop)]

use super::activation::sigmoid_all;
use super::blocks::{blocks, blocks_mut};
use super::cell::{Attribute, Backward, Body, Cell, Form, Forward, Node, Onnx};
use super::float::Float;

/// Keeps nothing.
#[derive(Debug)]
pub(super) struct MinGru;

static FORM: Form = Form {
    words: &["min_gru"],
    activation: None,
    keras_name: "MinGRU",
    gates: &["z", "v"],
    states: &["h"],
    recurrent_apart: false,
    same_gates: 0,
    recurrent_kernel: false,
    own: &[],
    kept: 0,
    bias_of_one: None,
    onnx: Onnx::Body(Body {
        before: &[Node::new("Add", &["product", "bias"], &["inputs"], &[])],
        step: &[
            Node::new("Split", &["inputs"], &["z_sum", "v"], &[("axis", Attribute::Integer(-1))]),
            Node::new("Sigmoid", &["z_sum"], &["z"], &[]),
            Node::new("Sub", &["v", "h"], &["way"], &[]),
            Node::new("Mul", &["z", "way"], &["taken"], &[]),
            Node::new("Add", &["h", "taken"], &["h'"], &[]),
        ],
    }),
};

impl<F: Float> Cell<F> for MinGru {
    fn form(&self) -> &'static Form {
        &FORM
    }

    fn forward(&self, step: Forward<'_, F>) {
        let Forward { gates, h, .. } = step;
        let u = h.len();
        sigmoid_all(&mut gates[..u]);
        let [z, v] = blocks(gates, u);
        for j in 0..u {
            h[j] += z[j] * (v[j] - h[j]);
        }
    }

    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, h, dh, d_gates, .. } = step;
        let u = dh.len();
        let [z, v] = blocks(gates, u);
        let [d_z, d_v] = blocks_mut(d_gates, u);
        for j in 0..u {
            d_z[j] = dh[j] * (v[j] - h[j]) * z[j] * (F::ONE - z[j]);
            d_v[j] = dh[j] * z[j];
            dh[j] *= F::ONE - z[j];
        }
    }
}
