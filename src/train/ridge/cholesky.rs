//! Symmetric positive definite systems, in f64.
//! Must not live here: where the systems come from (`solve`).

use super::gram::dot;
use crate::kernel::gemm::{Existing, Matrix, multiply};

/// Solves `a x = b` in place: `a` [n, n] row-major becomes its Cholesky factor (below the diagonal), `b` [n, columns]
/// row-major the solution. False where `a` isn't positive definite.
pub(super) fn solve(a: &mut [f64], b: &mut [f64], n: usize) -> bool {
    if n == 0 {
        return true;
    }
    let columns = b.len() / n;
    for i in 0..n {
        for j in 0..=i {
            let (before, row) = a.split_at_mut(i * n);
            let above = if i == j { None } else { Some(&before[j * n..j * n + j]) };
            let sum = row[j] - above.map_or_else(|| dot(&row[..j], &row[..j]), |above| dot(&row[..j], above));
            if i > j {
                row[j] = sum / before[j * n + j];
            } else if sum > 0.0 && sum.is_finite() {
                row[j] = sum.sqrt();
            } else {
                return false;
            }
        }
    }
    // By the factor's inverse, so that many columns are products of matrices.
    let inverse = inverted(a, n);
    let inverse = Matrix::new(&inverse, n, n);
    let mut half = vec![0.0; b.len()];
    multiply(&mut half, inverse, Matrix::new(b, n, columns), Existing::Replace);
    multiply(b, inverse.t(), Matrix::new(&half, n, columns), Existing::Replace);
    true
}

/// The inverse of a lower triangular matrix.
fn inverted(a: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        let (before, row) = inverse.split_at_mut(i * n);
        row[i] = 1.0;
        for k in 0..i {
            subtract(&mut row[..=k], a[i * n + k], &before[k * n..k * n + k + 1]);
        }
        row[..=i].iter_mut().for_each(|value| *value /= a[i * n + i]);
    }
    inverse
}

fn subtract(from: &mut [f64], factor: f64, values: &[f64]) {
    from.iter_mut().zip(values).for_each(|(to, value)| *to -= factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_one_that_is_not_definite_refused() {
        // [[4, 2, 0], [2, 5, 1], [0, 1, 3]] times [[1, 0], [2, -1], [3, 4]].
        let a = [4.0, 2.0, 0.0, 2.0, 5.0, 1.0, 0.0, 1.0, 3.0];
        let mut b = [8.0, -2.0, 15.0, -1.0, 11.0, 11.0];
        assert!(solve(&mut a.clone(), &mut b, 3));
        for (found, wanted) in b.iter().zip([1.0, 0.0, 2.0, -1.0, 3.0, 4.0]) {
            assert!((found - wanted).abs() < 1e-12, "{b:?}");
        }
        assert!(!solve(&mut [1.0, 2.0, 2.0, 1.0], &mut [1.0, 1.0], 2));
    }
}
