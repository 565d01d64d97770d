//! What the exported graph gives: outputs in the units of the targets, and probabilities of classes.
//! Must not live here: the layers (the file above), what is wanted of the outputs (`head`).

use super::{Network, Pass, Statistics, Workspace};
use crate::kernel::float::Float;
use crate::kernel::recurrent::Mask;
use crate::network::quantiles;

impl<F: Float> Network<F> {
    /// What the exported graph gives for `x` [t, b, features] of keys of group 0 from zero state: [t, b, outputs].
    pub fn outputs(&self, x: &[F], t: usize, b: usize) -> Vec<F> {
        self.outputs_of(x, &[], t, b)
    }

    /// The same for keys of the groups [t, b].
    pub fn outputs_of(&self, x: &[F], group: &[u32], t: usize, b: usize) -> Vec<F> {
        self.outputs_until(x, (group, &[]), &[], t, b)
    }

    /// As [`Network::outputs_of`], of sequences that end earlier than `t`: `active` [t, b] says where there is a step.
    /// `ids` [t, b, embeddings]. [b, outputs] of what is pooled.
    pub fn outputs_until(
        &self,
        x: &[F],
        (group, ids): (&[u32], &[u32]),
        active: &[bool],
        t: usize,
        b: usize,
    ) -> Vec<F> {
        let pass = Pass { t, b, x, mask: Mask { reset: &[], active }, group, ids, last_only: false };
        let mut work = Workspace::default();
        let mut y = self.forward(pass, &mut self.zero_state(b), &mut work).to_vec();
        match self.shape.softmax {
            true => y.chunks_exact_mut(self.shape.outputs.max(1)).for_each(softmax),
            false => self.finish(x, &mut y),
        }
        y
    }

    /// Turns standardised outputs of the last rows of `x` into those of the graph.
    pub fn finish(&self, x: &[F], y: &mut [F]) {
        let Statistics { out_mean, out_sd, .. } = &self.scaling;
        let (count, median) = (self.shape.quantiles.len(), quantiles::median(&self.shape.quantiles));
        let rows = y.len() / self.shape.outputs.max(1);
        let x = &x[x.len() - (rows * self.shape.features).min(x.len())..];
        let features = self.shape.features;
        for (at, row) in y.chunks_exact_mut(self.shape.outputs).enumerate() {
            for (i, y) in row.iter_mut().enumerate() {
                *y = *y * out_sd[i] + out_mean[i];
                if let Some(base) = self.shape.residual.get(i) {
                    *y += x[at * features + base];
                }
            }
            quantiles::keep_apart(row, count, median);
        }
    }
}

/// Turns numbers into probabilities.
fn softmax<F: Float>(y: &mut [F]) {
    let most = y.iter().copied().fold(y[0], |most, y| if y > most { y } else { most });
    y.iter_mut().for_each(|y| *y = (*y - most).exp());
    let sum = F::from_f64(y.iter().map(|y| y.to_f64()).sum());
    y.iter_mut().for_each(|y| *y = *y / sum);
}
