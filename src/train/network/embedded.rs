//! The vectors of ids beside the features: looked up before the first layer, and what they learn.
//! Must not live here: which id a text has (`train::vocabulary`, `stage::infer`).
//!
//! Gradients are added to the rows that a batch has looked up; the others' are zero. The optimizer moves all rows, as
//! Keras does: with Adam a row that was looked up goes on for as long as its mean does.

use super::{Network, Pass};
use crate::kernel::float::Float;

impl<F: Float> Network<F> {
    /// What the first layer takes [t, b, features and vectors]: the standardised features of each cell, then the vector
    /// of each embedding; all 0 where there is no step.
    pub(super) fn first_inputs(&self, pass: Pass<'_, F>, out: &mut Vec<F>) {
        if !self.is_embedded() {
            return self.standardise(pass, 0, &self.shape.network, out);
        }
        out.clear();
        let (features, width) = (self.shape.features, self.shape.first_width());
        for cell in 0..pass.t * pass.b {
            if !pass.mask.active(cell) {
                out.resize(out.len() + width, F::ZERO);
                continue;
            }
            let x = &pass.x[cell * features..(cell + 1) * features];
            let standard = |i: &usize| (x[*i] - self.scaling.mean[*i]) / self.scaling.sd[*i];
            out.extend(self.shape.network.iter().map(standard));
            self.put_vectors(pass, cell, out);
        }
    }

    /// Whether the first layer takes vectors.
    pub(super) fn is_embedded(&self) -> bool {
        !self.shape.embeddings.is_empty() && self.shape.segments == 0
    }

    /// Appends the vectors of a cell.
    pub(super) fn put_vectors(&self, pass: Pass<'_, F>, cell: usize, out: &mut Vec<F>) {
        for (i, embedding) in self.shape.embeddings.iter().enumerate() {
            let at = self.id(pass, cell, i) * embedding.size;
            out.extend_from_slice(&self.tensor(self.embeddings + i)[at..at + embedding.size]);
        }
    }

    /// Adds the gradients `d` [t, b, features and vectors] of what the first layer takes to the rows of the tables.
    pub(super) fn add_to_embeddings(&self, pass: Pass<'_, F>, d: &[F], gradients: &mut [F]) {
        if !self.is_embedded() {
            return;
        }
        for (cell, d) in d.chunks_exact(self.shape.first_width()).enumerate() {
            if !pass.mask.active(cell) {
                continue;
            }
            self.add_to_vectors(pass, cell, &d[self.shape.network.len()..], gradients);
        }
    }

    /// Adds the gradients of the vectors of a cell to their rows.
    pub(super) fn add_to_vectors(&self, pass: Pass<'_, F>, cell: usize, d: &[F], gradients: &mut [F]) {
        let mut rest = d;
        for (i, embedding) in self.shape.embeddings.iter().enumerate() {
            let (own, after) = rest.split_at(embedding.size);
            let at = self.tensors[self.embeddings + i].range.start + self.id(pass, cell, i) * embedding.size;
            gradients[at..at + embedding.size].iter_mut().zip(own).for_each(|(to, d)| *to += *d);
            rest = after;
        }
    }

    fn id(&self, pass: Pass<'_, F>, cell: usize, embedding: usize) -> usize {
        pass.ids.get(cell * self.shape.embeddings.len() + embedding).map_or(0, |id| *id as usize)
    }
}
