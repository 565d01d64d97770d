//! Which steps of a pass have outputs, and which gradients are added to. Must not live here: what is made of them (the
//! file above).

use super::{Network, Pass};
use crate::kernel::float::Float;
use crate::network::Layer;

impl<F: Float> Network<F> {
    /// Index of the last recurrent layer: layers above it are only run for steps that have outputs.
    pub(super) fn last_recurrent(&self) -> Option<usize> {
        self.layers.iter().rposition(|range| matches!(range.layer, Layer::Recurrent(_)))
    }

    /// Timesteps that have outputs.
    pub(super) fn output_steps(&self, pass: Pass<'_, F>) -> usize {
        if pass.last_only || !self.shape.pool.is_none() { 1 } else { pass.t }
    }

    /// Whether segments are decoded from the state of this layer.
    pub(super) fn is_decoded(&self, layer: usize) -> bool {
        self.shape.segments > 0 && self.last_recurrent() == Some(layer)
    }

    /// Rows of the layers above the last recurrent one.
    pub(super) fn output_rows(&self, pass: Pass<'_, F>) -> usize {
        self.output_steps(pass) * pass.b * self.shape.segments.max(1)
    }

    /// Makes gradients zero that are added to; those of recurrent layers are replaced.
    pub(super) fn clear_added(&self, gradients: &mut [F]) {
        for range in self.layers.iter().filter(|range| !matches!(range.layer, Layer::Recurrent(_))) {
            gradients[self.tensors[range.first].range.start..self.tensors[range.first + 1].range.end].fill(F::ZERO);
        }
        let after = self.tensors.get(self.after_layers()).map_or(gradients.len(), |tensor| tensor.range.start);
        gradients[after..].fill(F::ZERO);
    }
}
