//! One step of one row: the formulas of the cells, forward and backward.
//!
//! Lives here: what happens between gates before activation and the new state, elementwise. Must not live here: matrix
//! products and time (`cell`). Loops run over slices cut to the layer's width, so that they become vector code.

// One index into many blocks of one length: with `zip` the formulas couldn't be read any more.
#![allow(clippy::needless_range_loop)]

use super::float::Float;

/// The first `N` blocks of `u` numbers of a row.
#[inline]
fn blocks<const N: usize, F>(row: &[F], u: usize) -> [&[F]; N] {
    std::array::from_fn(|k| &row[k * u..][..u])
}

/// As [`blocks`], to be changed.
#[inline]
fn blocks_mut<const N: usize, F>(row: &mut [F], u: usize) -> [&mut [F]; N] {
    let mut rest = row;
    std::array::from_fn(|_| {
        let (block, after) = std::mem::take(&mut rest).split_at_mut(u);
        rest = after;
        block
    })
}

#[inline]
fn tanh_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.tanh());
}

#[inline]
fn sigmoid_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.sigmoid());
}

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

/// GRU, `reset_after`: n = tanh(a_n + r s_n), h = z h + (1 - z) n; gates z r n, `side` the state's part s of each with its
/// bias. Leaves s_n in `candidate`.
pub fn gru_forward<F: Float>(gates: &mut [F], side: &[F], h: &mut [F], candidate: &mut [F]) {
    let u = h.len();
    let (zr, n) = gates.split_at_mut(2 * u);
    zr.iter_mut().zip(side).for_each(|(a, s)| *a += *s);
    sigmoid_all(zr);
    let [z, r] = blocks(zr, u);
    let (n, candidate) = (&mut n[..u], &mut candidate[..u]);
    candidate.copy_from_slice(&side[2 * u..]);
    for j in 0..u {
        n[j] += r[j] * candidate[j];
    }
    tanh_all(n);
    for j in 0..u {
        h[j] = z[j] * h[j] + (F::ONE - z[j]) * n[j];
    }
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

/// As [`tanh_backward`], with the part that goes through z left in `dh`; `d_side` is the gradient of the state's part of
/// the gates.
pub fn gru_backward<F: Float>(
    gates: &[F],
    h_before: &[F],
    candidate: &[F],
    dh: &mut [F],
    d: &mut [F],
    d_side: &mut [F],
) {
    let u = dh.len();
    let [z, r, n] = blocks(gates, u);
    let [d_z, d_r, d_n] = blocks_mut(d, u);
    let [side_z, side_r, side_n] = blocks_mut(d_side, u);
    let (h_before, candidate) = (&h_before[..u], &candidate[..u]);
    for j in 0..u {
        let d_new = dh[j] * (F::ONE - z[j]) * (F::ONE - n[j] * n[j]);
        d_z[j] = dh[j] * (h_before[j] - n[j]) * z[j] * (F::ONE - z[j]);
        d_r[j] = d_new * candidate[j] * r[j] * (F::ONE - r[j]);
        d_n[j] = d_new;
        side_z[j] = d_z[j];
        side_r[j] = d_r[j];
        side_n[j] = d_new * r[j];
        dh[j] *= z[j];
    }
}
