//! A row cut into blocks, so that a cell's formula can name its gates.
//! Must not live here: any formula (a file for each cell).

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
