//! LSTM (Hochreiter and Schmidhuber 1997 with Gers et al. 2000): one step of one row, forward and backward.

// One index into many blocks of one length: with `zip` the formulas couldn't be read any more.
#![allow(clippy::needless_range_loop)]

use super::float::Float;
use super::gates::{blocks, blocks_mut, sigmoid_all, tanh_all};

/// LSTM: c = f c + i g, h = o tanh(c); gates i f g o.
pub fn lstm_forward<F: Float>(gates: &mut [F], h: &mut [F], c: &mut [F], c_tanh: &mut [F]) {
    let u = h.len();
    sigmoid_all(&mut gates[..2 * u]);
    tanh_all(&mut gates[2 * u..3 * u]);
    sigmoid_all(&mut gates[3 * u..]);
    let [i, f, g, o] = blocks(gates, u);
    let (c, c_tanh) = (&mut c[..u], &mut c_tanh[..u]);
    for j in 0..u {
        c[j] = f[j] * c[j] + i[j] * g[j];
        c_tanh[j] = c[j];
    }
    tanh_all(c_tanh);
    for j in 0..u {
        h[j] = o[j] * c_tanh[j];
    }
}

/// As [`tanh_backward`]; `dc` becomes the gradient of the cell state before.
pub fn lstm_backward<F: Float>(gates: &[F], c_before: &[F], c_tanh: &[F], dh: &mut [F], dc: &mut [F], d: &mut [F]) {
    let u = dh.len();
    let [i, f, g, o] = blocks(gates, u);
    let [d_i, d_f, d_g, d_o] = blocks_mut(d, u);
    let (c_before, c_tanh, dc) = (&c_before[..u], &c_tanh[..u], &mut dc[..u]);
    for j in 0..u {
        let d_cell = dc[j] + dh[j] * o[j] * (F::ONE - c_tanh[j] * c_tanh[j]);
        d_i[j] = d_cell * g[j] * i[j] * (F::ONE - i[j]);
        d_f[j] = d_cell * c_before[j] * f[j] * (F::ONE - f[j]);
        d_g[j] = d_cell * i[j] * (F::ONE - g[j] * g[j]);
        d_o[j] = dh[j] * c_tanh[j] * o[j] * (F::ONE - o[j]);
        dc[j] = d_cell * f[j];
    }
    dh.fill(F::ZERO);
}
