//! SimpleRNN: h = f(W x + U h + b) with f = tanh or ReLU.

// One index into many blocks of one length: with `zip` the formulas would be unreadable.
#![allow(clippy::needless_range_loop)]

use super::activation::Activation;
use super::cell::{Attribute, Backward, Cell, Form, Forward, Onnx, Operator};
use super::float::Number;

/// With tanh.
#[derive(Debug)]
pub(super) struct Tanh;

/// With max(0, x).
#[derive(Debug)]
pub(super) struct Relu;

const fn form(activation: Activation, attributes: &'static [(&'static str, Attribute)]) -> Form {
    Form {
        words: &["simple_rnn", "rnn"],
        activation: Some(activation),
        keras_name: "SimpleRNN",
        gates: &["h"],
        states: &["h"],
        recurrent_apart: false,
        same_gates: 0,
        recurrent_kernel: true,
        own: &[],
        kept: 0,
        bias_of_one: None,
        onnx: Onnx::Operator(Operator { name: "RNN", gates: &[0], order: "one gate", attributes }),
    }
}

impl<F: Number> Cell<F> for Tanh {
    fn form(&self) -> &'static Form {
        static FORM: Form = form(Activation::Tanh, &[("activations", Attribute::Texts(&["Tanh"]))]);
        &FORM
    }

    #[inline(always)]
    fn forward(&self, step: Forward<'_, F>) {
        for (h, gate) in step.h.iter_mut().zip(step.gates) {
            *gate = gate.tanh();
            *h = *gate;
        }
    }

    #[inline(always)]
    fn reads_h(&self) -> bool {
        false
    }

    #[inline(always)]
    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, dh, d_gates, .. } = step;
        let u = dh.len();
        let (gates, d_gates) = (&gates[..u], &mut d_gates[..u]);
        for j in 0..u {
            d_gates[j] = dh[j] * (F::ONE - gates[j] * gates[j]);
        }
        dh.fill(F::ZERO);
    }
}

impl<F: Number> Cell<F> for Relu {
    fn form(&self) -> &'static Form {
        static FORM: Form = form(Activation::Relu, &[("activations", Attribute::Texts(&["Relu"]))]);
        &FORM
    }

    #[inline(always)]
    fn forward(&self, step: Forward<'_, F>) {
        for (h, gate) in step.h.iter_mut().zip(step.gates) {
            *gate = gate.relu();
            *h = *gate;
        }
    }

    #[inline(always)]
    fn reads_h(&self) -> bool {
        false
    }

    #[inline(always)]
    fn backward(&self, step: Backward<'_, F>) {
        let Backward { gates, dh, d_gates, .. } = step;
        let u = dh.len();
        let (gates, d_gates) = (&gates[..u], &mut d_gates[..u]);
        for j in 0..u {
            d_gates[j] = gates[j].where_positive(dh[j]);
        }
        dh.fill(F::ZERO);
    }
}
