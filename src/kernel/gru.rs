//! GRU (Cho et al. 2014) in the `reset_after` form: one step of one row, forward and backward.

// One index into many blocks of one length: with `zip` the formulas couldn't be read any more.
#![allow(clippy::needless_range_loop)]

use super::float::Float;
use super::gates::{blocks, blocks_mut, sigmoid_all, tanh_all};

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
