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
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Logistic function 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
}

macro_rules! float {
    ($type:ty) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn from_f64(value: f64) -> Self {
                value as $type
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn tanh(self) -> Self {
                self.tanh()
            }

            fn sigmoid(self) -> Self {
                1.0 / (1.0 + (-self).exp())
            }
        }
    };
}

float!(f32);
float!(f64);

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
