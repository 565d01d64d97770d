//! Several steps of a window as one input of the first layer. Must not live here: the layers (the file above).

use super::{Network, Pass};
use crate::kernel::float::Float;
use crate::kernel::recurrent::Mask;

impl<F: Float> Network<F> {
    /// The pass as the layers see it: a timestep is a patch. A window is whole and begins from zero state.
    pub(super) fn of_patches<'a>(&self, pass: Pass<'a, F>) -> Pass<'a, F> {
        match self.shape.patch {
            1 => pass,
            patch => Pass { t: pass.t / patch, mask: Mask::default(), ..pass },
        }
    }

    /// Turns the centred features of what the first layer takes [t, b, network] into what they differ by from the
    /// window's last step.
    pub(super) fn centre(&self, pass: Pass<'_, F>, z: &mut [F]) {
        let (shape, sd) = (&self.shape, &self.scaling.sd);
        let places = shape.network.iter().enumerate().filter(|(_, index)| shape.centred.contains(index));
        let last = (pass.t - 1) * pass.b;
        for (at, index) in places {
            for (cell, z) in z.chunks_exact_mut(shape.network.len()).enumerate() {
                let of = |cell: usize| pass.x[cell * shape.features + index];
                z[at] = (of(cell) - of(last + cell % pass.b)) / sd[*index];
            }
        }
    }

    /// Folds what the first layer takes: [t, b, n] becomes [t / patch, b, patch · n], with `spare` as memory.
    pub(super) fn fold(&self, t: usize, b: usize, z: &mut Vec<F>, spare: &mut Vec<F>) {
        let patch = self.shape.patch;
        if patch == 1 {
            return;
        }
        std::mem::swap(z, spare);
        z.clear();
        let width = spare.len() / (t * b).max(1);
        for first in (0..t / patch * patch).step_by(patch) {
            for lane in 0..b {
                for at in first..first + patch {
                    z.extend_from_slice(&spare[(at * b + lane) * width..][..width]);
                }
            }
        }
    }
}
