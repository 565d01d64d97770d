//! The number type of training and its one matrix product.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// `f32` to train with, `f64` to check gradients with.
pub trait Float:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// The same number.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Logistic function 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
}

impl Float for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn sqrt(self) -> Self {
        self.sqrt()
    }

    fn tanh(self) -> Self {
        self.tanh()
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
}

/// Both functions are within 2e-7 of the true value. They have no branches, so that the compiler does several at once,
/// and are made of operations that IEEE 754 defines, so that every machine gives the same bits; the C library's are not.
impl Float for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        let (grown, scale) = exp(2.0 * self);
        // e^2x - 1, to all digits near zero too: there the scale is 1.
        let e = grown * scale + (scale - 1.0);
        e / (e + 2.0)
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        let (grown, scale) = exp(-self);
        1.0 / (1.0 + (grown * scale + scale))
    }
}

/// e^x as (1 + `.0`) · `.1` for x within ±40, beyond that e^±40; NaN stays NaN.
///
/// e^x = 2^n e^r with |r| <= ln 2 / 2, and e^r - 1 by its Taylor series, whose first term left out is below 6e-9.
#[inline(always)]
fn exp(x: f32) -> (f32, f32) {
    /// 1.5 * 2^23: a number of up to 2^22 added to it is rounded to an integer, which stands in the low bits.
    const ROUNDING: f32 = 12_582_912.0;
    /// ln 2 in two parts; n times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-40.0, 40.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    (series * r, f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits())))
}

/// A matrix seen in a slice: row-major, or the transpose of one that is.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, F> {
    data: &'a [F],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a, F> Matrix<'a, F> {
    /// `data` as [rows, columns], row-major.
    ///
    /// # Panics
    /// If `data` is shorter.
    pub fn new(data: &'a [F], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "{} numbers for [{rows}, {columns}]", data.len());
        Matrix { data, rows, columns, transposed: false }
    }

    /// The transpose; nothing is copied.
    pub fn t(self) -> Self {
        Matrix { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Distance of columns, distance of rows.
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.columns as isize) }
    }
}

/// What becomes of what was in the output of [`multiply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It is replaced.
    Replace,
    /// The product is added to it.
    Add,
}

/// `out = a b` or `out += a b`, `out` row-major [a.rows, b.columns]. One thread, so that sums have one order.
///
/// # Panics
/// If the shapes don't fit.
pub fn multiply<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, output: Output) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert!(out.len() >= a.rows * b.columns, "{} numbers for [{}, {}]", out.len(), a.rows, b.columns);
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    let (a_columns, a_rows) = a.strides();
    let (b_columns, b_rows) = b.strides();
    // SAFETY: `Matrix::new` and the assertion above make every index that the strides reach lie inside its slice; `out`
    // is borrowed mutably and so overlaps neither input; F is f32 or f64, both of which gemm dispatches on.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            output == Output::Add,
            a.data.as_ptr(),
            a_columns,
            a_rows,
            b.data.as_ptr(),
            b_columns,
            b_rows,
            F::ONE,
            F::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Longest inner dimension that gemm sums up in one go, whatever the number of rows; less than that, to be safe.
const INNER: usize = 256;

/// As [`multiply`] for row-major matrices, and every row of `out` has the same bits however many rows are multiplied with
/// it: so a network gives the same outputs for a chunk as for the whole, and for a key alone as among others.
///
/// gemm doesn't promise that. It sums in another order for a single row and for a single column, and cuts long inner
/// dimensions in places that depend on the rows; the test below watches what is relied on.
///
/// # Panics
/// If the shapes don't fit.
pub fn multiply_rows<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, output: Output) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert!(!a.transposed && !b.transposed, "row-major");
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    if columns == 1 {
        for (out, row) in out[..rows].iter_mut().zip(a.data.chunks_exact(inner.max(1))) {
            let sum = dot(row, &b.data[..inner]);
            *out = if output == Output::Add { *out + sum } else { sum };
        }
    } else if rows == 1 {
        let twice = |values: &[F]| [values, values].concat();
        let (a, mut both) = (twice(&a.data[..inner]), twice(&out[..columns]));
        multiply_rows(&mut both, Matrix::new(&a, 2, inner), b, output);
        out[..columns].copy_from_slice(&both[..columns]);
    } else if inner <= INNER {
        multiply(out, a, b, output);
    } else {
        for from in (0..inner).step_by(INNER) {
            let piece = INNER.min(inner - from);
            let part: Vec<F> = a.data.chunks_exact(inner).flat_map(|row| &row[from..from + piece]).copied().collect();
            let output = if from > 0 { Output::Add } else { output };
            let b = Matrix::new(&b.data[from * columns..], piece, columns);
            multiply(out, Matrix::new(&part, rows, piece), b, output);
        }
    }
}

/// Sum of products, always in the same order: eight sums side by side, which the processor does at once.
fn dot<F: Float>(a: &[F], b: &[F]) -> F {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [F::ZERO; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += *a * *b);
    }
    sums.iter_mut().zip(a_rest).zip(b_rest).for_each(|((sum, a), b)| *sum += *a * *b);
    sums.into_iter().fold(F::ZERO, |all, sum| all + sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_and_sigmoid_are_within_2e_7() {
        let steps = (-2_000_000..=2_000_000).map(|i| i as f32 * 1e-5);
        for x in steps.chain([1e-30, -1e-30, 50.0, -50.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY]) {
            let exact = f64::from(x);
            assert!((f64::from(Float::tanh(x)) - exact.tanh()).abs() <= 2e-7, "tanh {x}: {}", Float::tanh(x));
            let digits = (f64::from(Float::tanh(x)) - exact.tanh()).abs() / exact.tanh().abs();
            assert!(x == 0.0 || digits <= 4e-7, "tanh {x}: {digits:e} of itself");
            assert!((f64::from(x.sigmoid()) - exact.sigmoid()).abs() <= 2e-7, "sigmoid {x}: {}", x.sigmoid());
        }
        assert_eq!((Float::tanh(0.0_f32), 0.0_f32.sigmoid()), (0.0, 0.5));
        assert!(Float::tanh(f32::NAN).is_nan() && f32::NAN.sigmoid().is_nan());
    }

    #[test]
    fn products_of_transposes_are_those_by_hand() {
        let a: Vec<f64> = (0..6).map(f64::from).collect(); // [2, 3]
        let b: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.5 - 2.0).collect(); // [3, 4]
        let mut by_hand = [0.0; 8];
        for i in 0..2 {
            for j in 0..4 {
                by_hand[i * 4 + j] = (0..3).map(|k| a[i * 3 + k] * b[k * 4 + j]).sum();
            }
        }
        let mut out = vec![7.0; 8];
        multiply(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 4), Output::Replace);
        assert_eq!(out, by_hand);
        let a_t: Vec<f64> = (0..3).flat_map(|k| (0..2).map(move |i| (i * 3 + k) as f64)).collect();
        multiply(&mut out, Matrix::new(&a_t, 3, 2).t(), Matrix::new(&b, 3, 4), Output::Add);
        assert_eq!(out, by_hand.map(|x| 2.0 * x));
    }

    #[test]
    fn a_row_has_the_same_bits_among_any_number_of_rows() {
        let mut numbers = crate::model::testing::Numbers(1);
        const MOST: usize = 130;
        for inner in [1, 2, 3, 5, 17, 50, 256, 300] {
            for columns in [1, 2, 3, 17, 50, 200] {
                let a: Vec<f32> = numbers.by_ref().take(MOST * inner).collect();
                let b: Vec<f32> = numbers.by_ref().take(inner * columns).collect();
                let before: Vec<f32> = numbers.by_ref().take(MOST * columns).collect();
                for output in [Output::Replace, Output::Add] {
                    let product = |rows: usize| {
                        let mut out = before[..rows * columns].to_vec();
                        multiply_rows(&mut out, Matrix::new(&a, rows, inner), Matrix::new(&b, inner, columns), output);
                        out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                    };
                    let whole = product(MOST);
                    for rows in [1, 2, 3, 4, 5, 8, 15, 31, 32, 33, 64, 65] {
                        assert!(product(rows) == whole[..rows * columns], "{rows} of [{inner}, {columns}] {output:?}");
                    }
                    let exact = |at: usize| {
                        let (row, column) = (at / columns, at % columns);
                        let terms =
                            (0..inner).map(|k| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]));
                        terms.sum::<f64>() + if output == Output::Add { f64::from(before[at]) } else { 0.0 }
                    };
                    for at in (0..whole.len()).step_by(97) {
                        assert!((f64::from(f32::from_bits(whole[at])) - exact(at)).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
