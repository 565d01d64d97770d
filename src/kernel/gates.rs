//! Blocks of a row and activations over them: what the formulas of all cells are written with.
//! Must not live here: a cell's formulas (a file of its own each).

use super::float::Float;

/// The first `N` blocks of `u` numbers of a row.
#[inline]
pub(super) fn blocks<const N: usize, F>(row: &[F], u: usize) -> [&[F]; N] {
    std::array::from_fn(|k| &row[k * u..][..u])
}

/// As [`blocks`], to be changed.
#[inline]
pub(super) fn blocks_mut<const N: usize, F>(row: &mut [F], u: usize) -> [&mut [F]; N] {
    let mut rest = row;
    std::array::from_fn(|_| {
        let (block, after) = std::mem::take(&mut rest).split_at_mut(u);
        rest = after;
        block
    })
}

/// tanh of each number.
#[inline]
pub(super) fn tanh_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.tanh());
}

/// The logistic function of each number.
#[inline]
pub(super) fn sigmoid_all<F: Float>(values: &mut [F]) {
    values.iter_mut().for_each(|v| *v = v.sigmoid());
}
