//! The linear path parallel to the layers, one kernel for all keys or one for each group of keys; and the features that
//! path and layers begin with.
//! Must not live here: how it is fitted (`ridge`).

use super::{Network, Pass, Statistics};
use crate::kernel::float::Float;
use crate::kernel::gemm::{Existing, Matrix, multiply_rows};

impl<F: Float> Network<F> {
    /// Sets kernel (and with groups, bias) of the skip path, which is no longer trained. The layers begin with outputs
    /// of zero: they learn what the path leaves.
    pub fn set_linear(&mut self, kernel: &[F], bias: &[F]) {
        if let Some(skip) = self.skip {
            self.parameters[self.tensors[skip].range.clone()].copy_from_slice(kernel);
            if self.shape.groups > 0 {
                self.parameters[self.tensors[skip + 1].range.clone()].copy_from_slice(bias);
            }
        }
        self.is_frozen = true;
        self.scale_output(F::ZERO);
    }

    /// Adds to the outputs of the keys of a group.
    pub fn shift_group(&mut self, group: usize, by: &[F]) {
        if let Some(skip) = self.skip.filter(|_| group < self.shape.groups) {
            let from = self.tensors[skip + 1].range.start + group * self.shape.outputs;
            self.parameters[from..].iter_mut().zip(by).for_each(|(bias, by)| *bias += *by);
        }
    }

    /// No longer trains the skip path.
    pub fn freeze_linear(&mut self) {
        self.is_frozen = true;
    }

    /// Multiplies what the layers add to the skip path, in each member.
    pub fn scale_output(&mut self, factor: F) {
        if let Some(output) = self.layers.last() {
            for tensor in &self.tensors[output.first..output.first + 2] {
                self.parameters[tensor.range.clone()].iter_mut().for_each(|value| *value *= factor);
            }
        }
        self.others.iter_mut().for_each(|other| other.scale_output(factor));
    }

    /// Adds the path's outputs for `z` [rows, skip inputs], the rows from cell `first` of the pass on, to `out`.
    pub(super) fn add_linear(&self, skip: usize, pass: Pass<'_, F>, first: usize, z: &[F], out: &mut [F]) {
        let (width, outputs) = (self.shape.skip.len(), self.shape.outputs);
        let rows = pass.t * pass.b - first;
        let kernel = self.tensor(skip);
        if self.shape.groups == 0 {
            let kernel = Matrix::new(kernel, width, outputs);
            return multiply_rows(out, Matrix::new(z, rows, width), kernel, Existing::Add);
        }
        let bias = self.tensor(skip + 1);
        let group = |row: usize| pass.group.get(first + row).map_or(0, |group| *group as usize);
        let (mut of, mut sum) = (Vec::new(), Vec::new());
        for now in 0..self.shape.groups {
            let members: Vec<usize> = (0..rows).filter(|row| group(*row) == now).collect();
            if members.is_empty() {
                continue;
            }
            of.clear();
            members.iter().for_each(|row| of.extend_from_slice(&z[row * width..(row + 1) * width]));
            sum.clear();
            sum.resize(members.len() * outputs, F::ZERO);
            let kernel = Matrix::new(&kernel[now * width * outputs..], width, outputs);
            multiply_rows(&mut sum, Matrix::new(&of, members.len(), width), kernel, Existing::Replace);
            for (row, sum) in members.iter().zip(sum.chunks_exact(outputs)) {
                let bias = &bias[now * outputs..(now + 1) * outputs];
                let out = &mut out[row * outputs..(row + 1) * outputs];
                out.iter_mut().zip(sum).zip(bias).for_each(|((out, sum), bias)| *out += *sum + *bias);
            }
        }
    }

    /// (x - mean) / sd of the chosen features of the cells from `first` on; 0 where there is no step, since there may
    /// be NaN, and 0 times NaN would reach the gradients.
    pub(super) fn standardise(&self, pass: Pass<'_, F>, first: usize, chosen: &[usize], out: &mut Vec<F>) {
        let Statistics { mean, sd, .. } = &self.scaling;
        let cells = pass.x.chunks_exact(self.shape.features.max(1)).enumerate().skip(first);
        out.resize(cells.len() * chosen.len(), F::ZERO);
        for ((at, row), out) in cells.zip(out.chunks_exact_mut(chosen.len().max(1))) {
            if pass.mask.active(at) {
                out.iter_mut().zip(chosen).for_each(|(out, i)| *out = (row[*i] - mean[*i]) / sd[*i]);
            } else {
                out.fill(F::ZERO);
            }
        }
    }
}
