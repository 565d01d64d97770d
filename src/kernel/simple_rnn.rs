//! SimpleRNN with tanh or ReLU: one step of one row, forward and backward.

// One index into many blocks of one length: with `zip` the formulas couldn't be read any more.
#![allow(clippy::needless_range_loop)]

use super::float::Float;
use super::gates::tanh_all;

/// SimpleRNN: h = tanh(a).
pub fn tanh_forward<F: Float>(gates: &mut [F], h: &mut [F]) {
    tanh_all(gates);
    h.copy_from_slice(gates);
}

/// SimpleRNN: h = max(a, 0).
pub fn relu_forward<F: Float>(gates: &mut [F], h: &mut [F]) {
    // Written so that NaN stays NaN.
    gates.iter_mut().for_each(|v| *v = if *v < F::ZERO { F::ZERO } else { *v });
    h.copy_from_slice(gates);
}

/// `dh`, the gradient of the state after the step, becomes that of what the step takes directly from the state before
/// (here nothing); `d` that of the gates before activation.
pub fn tanh_backward<F: Float>(gates: &[F], dh: &mut [F], d: &mut [F]) {
    let u = dh.len();
    let (gates, d) = (&gates[..u], &mut d[..u]);
    for j in 0..u {
        d[j] = dh[j] * (F::ONE - gates[j] * gates[j]);
    }
    dh.fill(F::ZERO);
}

/// As [`tanh_backward`].
pub fn relu_backward<F: Float>(gates: &[F], dh: &mut [F], d: &mut [F]) {
    let u = dh.len();
    let (gates, d) = (&gates[..u], &mut d[..u]);
    for j in 0..u {
        d[j] = if gates[j] > F::ZERO { dh[j] } else { F::ZERO };
    }
    dh.fill(F::ZERO);
}
