//! A dense layer over rows, forward and backward: y = f(W x + b).
//! Must not live here: which layers a network has (`network`).

use super::activation::Activation;
use super::float::Float;
use super::gemm::{Existing, Matrix, add_rows, multiply, multiply_rows};

/// A dense layer and its numbers.
#[derive(Debug, Clone, Copy)]
pub struct Dense<'a, F> {
    /// Width of its input.
    pub inputs: usize,
    /// Its width.
    pub units: usize,
    /// Its activation.
    pub activation: Activation,
    /// [inputs, units]
    pub kernel: &'a [F],
    /// [units]
    pub bias: &'a [F],
}

impl<F: Float> Dense<'_, F> {
    /// `out` becomes [rows, units] for `x` [rows, inputs].
    pub fn forward(&self, x: &[F], rows: usize, out: &mut Vec<F>) {
        out.clear();
        for _ in 0..rows {
            out.extend_from_slice(self.bias);
        }
        let kernel = Matrix::new(self.kernel, self.inputs, self.units);
        multiply_rows(out, Matrix::new(x, rows, self.inputs), kernel, Existing::Add);
        self.activation.forward(out);
    }

    /// Adds the gradients of kernel and bias, and writes those of `x` to `dx` (empty: they aren't wanted). `y` is what
    /// `forward` gave, `d` the gradients of it, which become those before the activation.
    pub fn backward(&self, x: &[F], rows: usize, y: &[F], d: &mut [F], gradients: [&mut [F]; 2], dx: &mut [F]) {
        self.activation.backward(y, d);
        let d_matrix = Matrix::new(d, rows, self.units);
        let [d_kernel, d_bias] = gradients;
        multiply(d_kernel, Matrix::new(x, rows, self.inputs).t(), d_matrix, Existing::Add);
        add_rows(d_bias, d);
        if !dx.is_empty() {
            multiply(dx, d_matrix, Matrix::new(self.kernel, self.inputs, self.units).t(), Existing::Replace);
        }
    }
}
