//! Softmax over rows of classes, thousands of them: with the loss and its gradient while a row is in the cache, on the
//! vectors of the machine. Must not live here: what the classes are (`train::head::classify`).
//!
//! A row is read once for its largest number and once for all that is made of it, then what was made is scaled. The
//! operations and their order are the same on every machine, and so are the bits.

use super::float::Float;
use super::lanes::{Isa, LANES, Vector, Work};

/// Sums of a row side by side.
const SUMS: usize = 8;
/// Numbers of a row that stay in the nearest cache between two loops.
const PIECE: usize = 32 * LANES;

/// Rows of numbers before the softmax, with the class and the weight of each.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, F> {
    /// [rows, classes]
    pub y: &'a [F],
    /// Classes.
    pub classes: usize,
    /// The class of each row.
    pub wanted: &'a [F],
    /// What it weighs; rows of weight 0 don't count.
    pub weight: &'a [F],
}

/// The sum of the cross-entropies by weight, and its gradient by `y` over `total` into `gradient`, as long as `y`.
pub fn cross_entropy<F: Float>(rows: Rows<'_, F>, total: f64, gradient: &mut [F]) -> f64 {
    let mut sum = 0.0;
    F::run_on(Isa::best(), CrossEntropy { rows, total, gradient, sum: &mut sum });
    sum
}

/// ln of the softmax's probability of a class of a row.
pub fn ln_of<F: Float>(row: &[F], class: usize) -> f64 {
    let mut of_all = (F::ZERO, 0.0);
    F::run_on(Isa::best(), Sum { row, of_all: &mut of_all });
    row[class].to_f64() - of_all.0.to_f64() - of_all.1.ln()
}

/// The softmax of rows of `y` [rows, classes] into `to`, as long as `y`; per row its largest number, and ln of the sum
/// of all e^(y - that).
pub fn probabilities<F: Float>(y: &[F], classes: usize, to: &mut [F]) -> Vec<(F, f64)> {
    let mut of_all = Vec::with_capacity(y.len() / classes.max(1));
    F::run_on(Isa::best(), Probabilities { y, classes, to, of_all: &mut of_all });
    of_all
}

struct Probabilities<'a, 'o, F> {
    y: &'a [F],
    classes: usize,
    to: &'o mut [F],
    of_all: &'o mut Vec<(F, f64)>,
}

impl<F: Float> Work<F> for Probabilities<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        for (y, to) in self.y.chunks_exact(self.classes).zip(self.to.chunks_exact_mut(self.classes)) {
            let most = largest(y);
            let of_all = exponentials::<V>(y, most, to);
            let scale = F::from_f64(1.0 / of_all);
            to.iter_mut().for_each(|to| *to *= scale);
            self.of_all.push((most, of_all.ln()));
        }
    }
}

struct CrossEntropy<'a, 'o, F> {
    rows: Rows<'a, F>,
    total: f64,
    gradient: &'o mut [F],
    sum: &'o mut f64,
}

impl<F: Float> Work<F> for CrossEntropy<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let Rows { y, classes, wanted, weight } = self.rows;
        let rows = y.chunks_exact(classes).zip(self.gradient.chunks_exact_mut(classes));
        for ((y, gradient), (wanted, weight)) in rows.zip(wanted.iter().zip(weight)) {
            let weight = weight.to_f64();
            if weight == 0.0 {
                gradient.fill(F::ZERO);
                continue;
            }
            let most = largest(y);
            let of_all = exponentials::<V>(y, most, gradient);
            let class = wanted.to_f64() as usize;
            *self.sum += weight * (of_all.ln() - (y[class] - most).to_f64());
            let share = F::from_f64(weight / self.total);
            let scale = F::from_f64(weight / self.total / of_all);
            gradient.iter_mut().for_each(|gradient| *gradient *= scale);
            gradient[class] = gradient[class] - share;
        }
    }
}

/// The largest number of a row, and the sum of e^(y - that).
struct Sum<'a, 'o, F> {
    row: &'a [F],
    of_all: &'o mut (F, f64),
}

impl<F: Float> Work<F> for Sum<'_, '_, F> {
    #[inline(always)]
    fn run<V: Vector<Element = F>>(self) {
        let most = largest(self.row);
        let (mut sums, mut made) = (Sums::default(), [F::ZERO; PIECE]);
        for row in self.row.chunks(PIECE) {
            let made = &mut made[..row.len()];
            exponentials_of::<V>(row, most, made);
            sums.add(made);
        }
        *self.of_all = (most, sums.all());
    }
}

/// The largest number of a row. Lanes that the compiler compares side by side: the order makes no difference.
#[inline(always)]
fn largest<F: Float>(row: &[F]) -> F {
    let Some(first) = row.first() else { return F::ZERO };
    let larger = |most: F, y: F| if y > most { y } else { most };
    let mut lanes = [*first; 4 * SUMS];
    let (blocks, rest) = row.as_chunks::<{ 4 * SUMS }>();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(most, y)| *most = larger(*most, *y));
    }
    lanes.iter().chain(rest).fold(*first, |most, y| larger(most, *y))
}

/// Writes e^(y - most) of a row, and gives their sum.
#[inline(always)]
fn exponentials<V: Vector>(row: &[V::Element], most: V::Element, to: &mut [V::Element]) -> f64 {
    let mut sums = Sums::default();
    for (row, to) in row.chunks(PIECE).zip(to.chunks_mut(PIECE)) {
        exponentials_of::<V>(row, most, to);
        sums.add(to);
    }
    sums.all()
}

/// Writes e^(y - most) of some numbers.
#[inline(always)]
fn exponentials_of<V: Vector>(row: &[V::Element], most: V::Element, to: &mut [V::Element]) {
    let (blocks, rest) = row.as_chunks::<LANES>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<LANES>();
    for (block, to) in blocks.iter().zip(to_blocks) {
        V::Element::exp_lanes(V::load(block) - V::splat(most)).store(to);
    }
    to_rest.iter_mut().zip(rest).for_each(|(to, y)| *to = (*y - most).exp());
}

/// Eight sums side by side over a row, to be added up in their order, and then the numbers that are left over.
#[derive(Default)]
struct Sums<F> {
    lanes: [F; SUMS],
    left: [F; SUMS],
    count: usize,
}

impl<F: Float> Sums<F> {
    /// Adds a piece; all but the last one have a multiple of [`SUMS`] numbers.
    #[inline(always)]
    fn add(&mut self, piece: &[F]) {
        let (blocks, rest) = piece.as_chunks::<SUMS>();
        let mut lanes = self.lanes;
        for block in blocks {
            for lane in 0..SUMS {
                lanes[lane] += block[lane];
            }
        }
        self.lanes = lanes;
        self.left[..rest.len()].copy_from_slice(rest);
        self.count = rest.len();
    }

    #[inline(always)]
    fn all(&self) -> f64 {
        self.lanes.iter().chain(&self.left[..self.count]).map(|value| value.to_f64()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| (at as f32 * 0.37).sin() * 12.0 + (at % 7) as f32).collect()
    }

    /// The whole matrix, pass after pass, as it was before there were kernels for it.
    fn plain(rows: Rows<'_, f32>, total: f64, gradient: &mut [f32]) -> f64 {
        let mut sum = 0.0;
        for (row, y) in rows.y.chunks_exact(rows.classes).enumerate() {
            let gradient = &mut gradient[row * rows.classes..(row + 1) * rows.classes];
            let weight = f64::from(rows.weight[row]);
            gradient.fill(0.0);
            if weight == 0.0 {
                continue;
            }
            let most = y.iter().copied().fold(y[0], |most, y| if y > most { y } else { most });
            gradient.iter_mut().zip(y).for_each(|(gradient, y)| *gradient = Float::exp(*y - most));
            let mut lanes = [0.0_f32; 8];
            let (blocks, rest) = gradient.as_chunks::<8>();
            for block in blocks {
                lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += *value);
            }
            let of_all: f64 = lanes.iter().chain(rest).map(|value| f64::from(*value)).sum();
            let class = rows.wanted[row] as usize;
            sum += weight * (of_all.ln() - f64::from(y[class] - most));
            let scale = (weight / total / of_all) as f32;
            gradient.iter_mut().for_each(|gradient| *gradient *= scale);
            gradient[class] -= (weight / total) as f32;
        }
        sum
    }

    #[test]
    fn every_kind_of_vector_gives_the_same_bits() {
        for classes in [1, 2, 3, 8, 31, 33, 1000, 1003] {
            let y = numbers(5 * classes);
            let wanted: Vec<f32> = (0..5).map(|row| (row * 7 % classes) as f32).collect();
            let rows = Rows { y: &y, classes, wanted: &wanted, weight: &[1.0, 0.0, 2.5, 0.125, 1.0] };
            let mut expected = vec![f32::NAN; y.len()];
            let sum = plain(rows, 4.625, &mut expected);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            for isa in Isa::all() {
                let (mut gradient, mut found) = (vec![f32::NAN; y.len()], 0.0);
                isa.run(CrossEntropy { rows, total: 4.625, gradient: &mut gradient, sum: &mut found });
                assert_eq!((bits(&gradient), found.to_bits()), (bits(&expected), sum.to_bits()), "{isa:?} {classes}");
                let (mut all, mut given) = (vec![f32::NAN; y.len()], Vec::new());
                isa.run(Probabilities { y: &y, classes, to: &mut all, of_all: &mut given });
                let of_row = |row: usize| all[row * classes..(row + 1) * classes].iter().map(|p| f64::from(*p));
                assert!((0..5).all(|row| (of_row(row).sum::<f64>() - 1.0).abs() < 1e-5));
                let ln = f64::from(y[classes] - given[1].0) - given[1].1;
                assert!(classes == 1 || (of_row(1).next().unwrap() - ln.exp()).abs() < 1e-6);
                let mut of_all = (0.0_f32, 0.0);
                isa.run(Sum { row: &y[..classes], of_all: &mut of_all });
                let probability = ln_of(&y[..classes], classes - 1).exp();
                let exact: f64 = y[..classes].iter().map(|y| f64::from(*y - of_all.0).exp()).sum();
                assert!((of_all.1 - exact).abs() < 1e-5 * exact);
                assert!((probability - f64::from(y[classes - 1] - of_all.0).exp() / exact).abs() < 1e-6);
            }
        }
    }
}
