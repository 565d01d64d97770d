//! Products of small matrices with sixteen rows at once.
//! Must not live here: time, and what is multiplied (`forward`, `backward`, `sums`).

use super::vector::Vector;
use crate::kernel::float::Float;

/// A matrix [inner, columns], packed as [`multiply`] reads it: column tile after column tile, each [inner, its width].
#[derive(Debug, Clone, Default)]
pub struct Packed<F> {
    numbers: Vec<F>,
    inner: usize,
    columns: usize,
    /// Columns of the widest tile.
    widest: usize,
}

impl<F: Float> Packed<F> {
    /// Packs matrices of so many columns, the rows of one after those of the other, for tiles of at most `widest`.
    pub fn pack(&mut self, columns: usize, widest: usize, matrices: &[&[F]]) {
        self.make_room(matrices.iter().map(|matrix| matrix.len()).sum::<usize>() / columns, columns, widest);
        let mut numbers = &mut self.numbers[..];
        for (first, width) in tiles(columns, widest) {
            for row in matrices.iter().flat_map(|matrix| matrix.chunks_exact(columns)) {
                let (into, rest) = std::mem::take(&mut numbers).split_at_mut(width);
                numbers = rest;
                into.iter_mut().zip(&row[first..first + width]).for_each(|(into, number)| *into = *number);
            }
        }
    }

    /// Packs the transpose of a matrix of so many rows.
    pub fn pack_transposed(&mut self, rows: usize, widest: usize, matrix: &[F]) {
        let inner = matrix.len() / rows;
        self.make_room(inner, rows, widest);
        let mut numbers = &mut self.numbers[..];
        for (first, width) in tiles(rows, widest) {
            let (tile, rest) = std::mem::take(&mut numbers).split_at_mut(inner * width);
            numbers = rest;
            for (at, row) in matrix[first * inner..(first + width) * inner].chunks_exact(inner).enumerate() {
                let into = tile[at..].iter_mut().step_by(width);
                into.zip(row).for_each(|(into, number)| *into = *number);
            }
        }
    }

    fn make_room(&mut self, inner: usize, columns: usize, widest: usize) {
        self.numbers.resize(inner * columns, F::ZERO);
        (self.inner, self.columns, self.widest) = (inner, columns, widest);
    }
}

/// First column and width of a tile; all are about as wide.
#[inline(always)]
fn tile_at(columns: usize, widest: usize, tile: usize) -> (usize, usize) {
    let count = columns.div_ceil(widest.max(1));
    let first = tile * columns / count;
    (first, (tile + 1) * columns / count - first)
}

/// Every tile.
#[inline(always)]
fn tiles(columns: usize, widest: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..columns.div_ceil(widest.max(1))).map(move |tile| tile_at(columns, widest, tile))
}

/// Two matrices, packed by a thread for itself. All threads read all of the weights in each pass, so each packs them on
/// its own: to read what another has packed takes longer.
#[derive(Debug, Clone, Default)]
pub struct Packs<F> {
    /// The matrices; the second one may be missing.
    pub packed: [Packed<F>; 2],
    /// The pass that they are of.
    pass: usize,
}

impl<F: Float> Packs<F> {
    /// The matrices of a pass, after `pack` where they are of one before.
    pub fn of_pass(&mut self, pass: usize, pack: impl FnOnce(&mut [Packed<F>; 2])) -> &[Packed<F>; 2] {
        if self.pass != pass {
            pack(&mut self.packed);
            self.pass = pass;
        }
        &self.packed
    }
}

/// What a product begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// What is in the output.
    Output,
    /// The first row of the matrix, a bias, which belongs to no number of the sources.
    Bias,
}

/// What is done between the tiles of a product.
pub trait Between {
    /// Does what comes before tile `at` of so many.
    fn before(&mut self, at: usize, of: usize);
}

impl Between for () {
    #[inline(always)]
    fn before(&mut self, _: usize, _: usize) {}
}

/// `out[column] = begin + Σ source[k] · packed[k, column]`, where `source` is both parts one after the other. Where
/// the second part is missing, it counts as zero.
#[inline(always)]
pub fn multiply<V: Vector>(
    out: &mut [V],
    begin: Begin,
    packed: &Packed<V::Element>,
    source: [&[V]; 2],
    mut between: impl Between,
) {
    let mut numbers = &packed.numbers[..];
    let count = packed.columns.div_ceil(packed.widest.max(1));
    for (at, (first, width)) in tiles(packed.columns, packed.widest).enumerate() {
        between.before(at, count);
        let (tile, rest) = numbers.split_at(packed.inner * width);
        numbers = rest;
        V::tile(&mut out[first..first + width], begin, tile, source);
    }
}

/// A tile of `N` columns.
#[inline(always)]
pub fn tile<V: Vector, const N: usize>(out: &mut [V], begin: Begin, numbers: &[V::Element], source: [&[V]; 2]) {
    let (rows, _) = numbers.as_chunks::<N>();
    let Some(out) = out.first_chunk_mut::<N>() else { return };
    let mut sums = *out;
    let rows = match (begin, rows.split_first()) {
        (Begin::Bias, Some((bias, rows))) => {
            for i in 0..N {
                sums[i] = V::splat(bias[i]);
            }
            rows
        }
        _ => rows,
    };
    let (first, second) = rows.split_at(source[0].len().min(rows.len()));
    for (rows, source) in [(first, source[0]), (second, source[1])] {
        for (row, value) in rows.iter().zip(source) {
            for i in 0..N {
                sums[i] = V::splat(row[i]).mul_add(*value, sums[i]);
            }
        }
    }
    *out = sums;
}

/// Vectors of a block on the left of a product of sums, and on its right.
pub const BLOCK: [usize; 2] = [4, 6];

/// Sums of a block.
pub type Block<F> = [[F; BLOCK[1]]; BLOCK[0]];

/// Sums over steps and rows of a block's left vectors times its right ones, step after step; of `A` and `B` of them at
/// a time, which is what the registers hold.
#[inline(always)]
pub fn block<V: Vector, const A: usize, const B: usize>(left: &[V], right: &[V], block: &mut Block<V::Element>) {
    let ((left, _), (right, _)) = (left.as_chunks::<{ BLOCK[0] }>(), right.as_chunks::<{ BLOCK[1] }>());
    for a in 0..BLOCK[0] / A {
        for b in 0..BLOCK[1] / B {
            let mut sums = [[V::ZERO; B]; A];
            for (left, right) in left.iter().zip(right) {
                for i in 0..A {
                    for j in 0..B {
                        sums[i][j] = left[a * A + i].mul_add(right[b * B + j], sums[i][j]);
                    }
                }
            }
            for i in 0..A {
                let sums = V::sums(sums[i]);
                for j in 0..B {
                    block[a * A + i][b * B + j] += sums[j];
                }
            }
        }
    }
}
