//! LSTM with layer normalisation (Ba et al. 2016): the gates are LN(W x) + LN(U h) + b, each normalised over all four
//! with gains of its own; c = f c + i g, h = o tanh(LN(c)) with gain and shift. LN divides by the root of the variance
//! and epsilon, as [`super::layer_norm`].

// One index into many blocks of one length: with `zip` the formulas would be unreadable.
#![allow(clippy::needless_range_loop)]

use super::activation::{sigmoid_all, tanh_all};
use super::blocks::{blocks, blocks_mut};
use super::cell::{Attribute, Backward, Body, Cell, Form, Forward, Node, Onnx, OwnTensor};
use super::float::Float;
use super::layer_norm::{EPSILON, moments, through};

/// Keeps W x and U h before normalisation, c after the step, and tanh(LN(c)).
#[derive(Debug)]
pub(super) struct LayerNormLstm;

const AXIS: (&str, Attribute) = ("axis", Attribute::Integer(-1));
const NORM: &[(&str, Attribute)] = &[AXIS, ("epsilon", Attribute::Number(EPSILON))];

static FORM: Form = Form {
    words: &["layer_norm_lstm"],
    activation: None,
    keras_name: "LayerNormLSTM",
    gates: &["i", "f", "g", "o"],
    states: &["h", "c"],
    recurrent_apart: true,
    same_gates: 0,
    recurrent_kernel: true,
    own: &[
        OwnTensor { name: "input_gain", blocks: 4, ones: true },
        OwnTensor { name: "recurrent_gain", blocks: 4, ones: true },
        OwnTensor { name: "state_gain", blocks: 1, ones: true },
        OwnTensor { name: "state_shift", blocks: 1, ones: false },
    ],
    kept: 10,
    bias_of_one: Some(1),
    onnx: Onnx::Body(Body {
        before: &[
            Node::new("LayerNormalization", &["product", "input_gain"], &["normalised"], NORM),
            Node::new("Add", &["normalised", "bias"], &["inputs"], &[]),
        ],
        step: &[
            Node::new("MatMul", &["h", "recurrent_kernel"], &["product"], &[]),
            Node::new("LayerNormalization", &["product", "recurrent_gain"], &["normalised"], NORM),
            Node::new("Add", &["inputs", "normalised"], &["sum"], &[]),
            Node::new("Split", &["sum"], &["i_sum", "f_sum", "g_sum", "o_sum"], &[AXIS]),
            Node::new("Sigmoid", &["i_sum"], &["i"], &[]),
            Node::new("Sigmoid", &["f_sum"], &["f"], &[]),
            Node::new("Tanh", &["g_sum"], &["g"], &[]),
            Node::new("Sigmoid", &["o_sum"], &["o"], &[]),
            Node::new("Mul", &["f", "c"], &["kept"], &[]),
            Node::new("Mul", &["i", "g"], &["new"], &[]),
            Node::new("Add", &["kept", "new"], &["c'"], &[]),
            Node::new("LayerNormalization", &["c'", "state_gain", "state_shift"], &["state"], NORM),
            Node::new("Tanh", &["state"], &["state_tanh"], &[]),
            Node::new("Mul", &["o", "state_tanh"], &["h'"], &[]),
        ],
    }),
};

impl<F: Float> Cell<F> for LayerNormLstm {
    fn form(&self) -> &'static Form {
        &FORM
    }

    fn forward(&self, step: Forward<'_, F>) {
        let Forward { gates, recurrent, own, h, c, kept } = step;
        let u = h.len();
        let (sums, state) = kept.split_at_mut(8 * u);
        let (input, product) = sums.split_at_mut(4 * u);
        input.copy_from_slice(gates);
        product.copy_from_slice(recurrent);
        let (bias, gains) = own.split_at(4 * u);
        let (of_input, of_product) = (moments(input), moments(product));
        for j in 0..4 * u {
            let [input, product] =
                [(input[j], of_input), (product[j], of_product)].map(|(x, (mean, scale))| (x - mean) * scale);
            gates[j] = input * gains[j] + product * gains[4 * u + j] + bias[j];
        }
        sigmoid_all(&mut gates[..2 * u]);
        tanh_all(&mut gates[2 * u..3 * u]);
        sigmoid_all(&mut gates[3 * u..]);
        let [i, f, g, o] = blocks(gates, u);
        let (gain, shift) = gains[8 * u..].split_at(u);
        let (c, (after, state)) = (&mut c[..u], state.split_at_mut(u));
        for j in 0..u {
            c[j] = f[j] * c[j] + i[j] * g[j];
        }
        after.copy_from_slice(c);
        let (mean, scale) = moments(after);
        for j in 0..u {
            state[j] = (after[j] - mean) * scale * gain[j] + shift[j];
        }
        tanh_all(state);
        for j in 0..u {
            h[j] = o[j] * state[j];
        }
    }

    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, own, c, kept, dh, dc, d_gates, d_recurrent, d_own, .. } = step;
        let u = dh.len();
        let [i, f, g, o] = blocks(gates, u);
        let (sums, state) = kept.split_at(8 * u);
        let (input, product) = sums.split_at(4 * u);
        let (after, state) = state.split_at(u);
        let gains = &own[4 * u..];
        let (d_bias, d_gains) = d_own.split_at_mut(4 * u);
        let of_state = moments(after);
        // Of LN(c), then of c through it; dh has done its part.
        for j in 0..u {
            let d_state = dh[j] * o[j] * (F::ONE - state[j] * state[j]);
            let d_o = dh[j] * state[j] * o[j] * (F::ONE - o[j]);
            d_gates[3 * u + j] = d_o;
            d_gains[8 * u + j] += d_state * (after[j] - of_state.0) * of_state.1;
            d_gains[9 * u + j] += d_state;
            dh[j] = d_state * gains[8 * u + j];
        }
        through(after, of_state, dh);
        {
            let [d_i, d_f, d_g, _] = blocks_mut(d_gates, u);
            for j in 0..u {
                let d_cell = dc[j] + dh[j];
                d_i[j] = d_cell * g[j] * i[j] * (F::ONE - i[j]);
                d_f[j] = d_cell * c[j] * f[j] * (F::ONE - f[j]);
                d_g[j] = d_cell * i[j] * (F::ONE - g[j] * g[j]);
                dc[j] = d_cell * f[j];
            }
        }
        // Of the sum, to both of its normalised parts.
        let (of_input, of_product) = (moments(input), moments(product));
        for j in 0..4 * u {
            let d = d_gates[j];
            d_bias[j] += d;
            d_gains[j] += d * (input[j] - of_input.0) * of_input.1;
            d_gains[4 * u + j] += d * (product[j] - of_product.0) * of_product.1;
            d_gates[j] = d * gains[j];
            d_recurrent[j] = d * gains[4 * u + j];
        }
        through(input, of_input, d_gates);
        through(product, of_product, d_recurrent);
        dh.fill(F::ZERO);
    }
}
