//! The one matrix product.
//! Must not live here: number types (`float`), time (`layer`).

use super::float::Float;

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

/// What [`multiply`] does with the previous content of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// The product is added to it.
    Add,
}

/// `out = a b` or `out += a b`, `out` row-major [a.rows, b.columns]. One thread, so that sums have one order.
///
/// # Panics
/// If the shapes don't fit.
pub fn multiply<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, existing: Existing) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert!(out.len() >= a.rows * b.columns, "{} numbers for [{}, {}]", out.len(), a.rows, b.columns);
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    // The gradients of a dense layer of few outputs: gemm would ask for memory to bring them into another order.
    if b.columns <= FEW && a.transposed && !b.transposed {
        return multiply_transposed(out, a, b, existing);
    }
    if (1..=FEW).contains(&a.columns) && !a.transposed {
        return multiply_few(out, a, b, existing);
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
            existing == Existing::Add,
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

/// Columns, or terms of a sum, that are done without gemm.
const FEW: usize = 8;

/// [`multiply`] of a transpose, row after row of what both are made of.
fn multiply_transposed<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, existing: Existing) {
    let (rows, columns) = (a.rows, b.columns);
    let out = &mut out[..rows * columns];
    if existing == Existing::Replace {
        out.fill(F::ZERO);
    }
    for (a, b) in a.data.chunks_exact(rows).zip(b.data.chunks_exact(columns)).take(a.columns) {
        if let [b] = b {
            // The same sums, several at once.
            out.iter_mut().zip(a).for_each(|(out, a)| *out += *a * *b);
            continue;
        }
        for (out, a) in out.chunks_exact_mut(columns).zip(a) {
            out.iter_mut().zip(b).for_each(|(out, b)| *out += *a * *b);
        }
    }
}

/// [`multiply`] whose sums have few terms.
fn multiply_few<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, existing: Existing) {
    let (columns, (of_column, of_row)) = (b.columns, b.strides());
    for (out, a) in out.chunks_exact_mut(columns).zip(a.data.chunks_exact(a.columns)).take(a.rows) {
        if existing == Existing::Replace {
            out.fill(F::ZERO);
        }
        for (k, a) in a.iter().enumerate() {
            let b = &b.data[k * of_row as usize..];
            if of_column == 1 {
                // The same sums, several at once.
                out.iter_mut().zip(b).for_each(|(out, b)| *out += *a * *b);
            } else {
                out.iter_mut().zip(b.iter().step_by(of_column as usize)).for_each(|(out, b)| *out += *a * *b);
            }
        }
    }
}

/// Longest inner dimension that gemm sums up in one go, whatever the number of rows; less than that, to be safe.
const INNER: usize = 256;

/// As [`multiply`] for row-major matrices, and every row of `out` has the same bits however many rows are multiplied
/// with it: so a network gives the same outputs for a chunk as for the whole, and for a key alone as among others.
///
/// gemm doesn't promise that. It sums in another order for a single row and for a single column, and cuts long inner
/// dimensions in places that depend on the rows; the test below checks the properties that kolk relies on.
///
/// # Panics
/// If the shapes don't fit.
pub fn multiply_rows<F: Float>(out: &mut [F], a: Matrix<'_, F>, b: Matrix<'_, F>, existing: Existing) {
    assert_eq!(a.columns, b.rows, "inner dimensions");
    assert!(!a.transposed && !b.transposed, "row-major");
    let (rows, inner, columns) = (a.rows, a.columns, b.columns);
    if columns == 1 {
        for (out, row) in out[..rows].iter_mut().zip(a.data.chunks_exact(inner.max(1))) {
            let sum = dot(row, &b.data[..inner]);
            *out = if existing == Existing::Add { *out + sum } else { sum };
        }
    } else if rows == 1 {
        let twice = |values: &[F]| [values, values].concat();
        let (a, mut both) = (twice(&a.data[..inner]), twice(&out[..columns]));
        multiply_rows(&mut both, Matrix::new(&a, 2, inner), b, existing);
        out[..columns].copy_from_slice(&both[..columns]);
    } else if inner <= INNER {
        multiply(out, a, b, existing);
    } else {
        for from in (0..inner).step_by(INNER) {
            let piece = INNER.min(inner - from);
            let part: Vec<F> = a.data.chunks_exact(inner).flat_map(|row| &row[from..from + piece]).copied().collect();
            let existing = if from > 0 { Existing::Add } else { existing };
            let b = Matrix::new(&b.data[from * columns..], piece, columns);
            multiply(out, Matrix::new(&part, rows, piece), b, existing);
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

/// Adds all rows of `values` to `sums`.
pub fn add_rows<F: Float>(sums: &mut [F], values: &[F]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
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
        multiply(&mut out, Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 4), Existing::Replace);
        assert_eq!(out, by_hand);
        let a_t: Vec<f64> = (0..3).flat_map(|k| (0..2).map(move |i| (i * 3 + k) as f64)).collect();
        multiply(&mut out, Matrix::new(&a_t, 3, 2).t(), Matrix::new(&b, 3, 4), Existing::Add);
        assert_eq!(out, by_hand.map(|x| 2.0 * x));
    }

    #[test]
    fn a_row_has_the_same_bits_among_any_number_of_rows() {
        let mut numbers = crate::network::testing::Numbers(1);
        const MOST: usize = 130;
        for inner in [1, 2, 3, 5, 17, 50, 256, 300] {
            for columns in [1, 2, 3, 17, 50, 200] {
                let a: Vec<f32> = numbers.by_ref().take(MOST * inner).collect();
                let b: Vec<f32> = numbers.by_ref().take(inner * columns).collect();
                let before: Vec<f32> = numbers.by_ref().take(MOST * columns).collect();
                for existing in [Existing::Replace, Existing::Add] {
                    let product = |rows: usize| {
                        let mut out = before[..rows * columns].to_vec();
                        multiply_rows(
                            &mut out,
                            Matrix::new(&a, rows, inner),
                            Matrix::new(&b, inner, columns),
                            existing,
                        );
                        out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                    };
                    let whole = product(MOST);
                    for rows in [1, 2, 3, 4, 5, 8, 15, 31, 32, 33, 64, 65] {
                        assert!(
                            product(rows) == whole[..rows * columns],
                            "{rows} of [{inner}, {columns}] {existing:?}"
                        );
                    }
                    let exact = |at: usize| {
                        let (row, column) = (at / columns, at % columns);
                        let terms =
                            (0..inner).map(|k| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]));
                        terms.sum::<f64>() + if existing == Existing::Add { f64::from(before[at]) } else { 0.0 }
                    };
                    for at in (0..whole.len()).step_by(97) {
                        assert!((f64::from(f32::from_bits(whole[at])) - exact(at)).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
