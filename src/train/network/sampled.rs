//! What samples of gradients ask a network: norms by layer, and how saturated its gates are.

use super::{Network, Pass, Workspace};
use crate::kernel::float::Float;
use crate::network::Layer;
use crate::train::gradients::is_saturated;

/// Gates that aren't squashed into 0 to 1: what a cell proposes as its new state.
const CANDIDATES: [&str; 3] = ["g", "n", "h"];
/// Gates without an activation, which can't saturate.
const LINEAR: [&str; 1] = ["v"];

impl<F: Float> Network<F> {
    /// Names of the layers with trained numbers, and of the linear path.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.tensors.iter().map(|tensor| group(&tensor.name).to_string()).collect();
        groups.dedup();
        groups
    }

    /// Names of the recurrent layers.
    pub fn recurrent_layers(&self) -> Vec<String> {
        let recurrent = self.layers.iter().filter(|range| matches!(range.layer, Layer::Recurrent(_)));
        recurrent.map(|range| group(&self.tensors[range.first].name).to_string()).collect()
    }

    /// Norms of gradients, in the order of [`Network::groups`].
    pub fn group_norms(&self, gradients: &[F]) -> Vec<f64> {
        let groups = self.tensors.chunk_by(|a, b| group(&a.name) == group(&b.name));
        let squares = |numbers: &[F]| numbers.iter().map(|value| value.to_f64() * value.to_f64()).sum::<f64>();
        groups
            .map(|tensors| tensors.iter().map(|tensor| squares(&gradients[tensor.range.clone()])).sum::<f64>().sqrt())
            .collect()
    }

    /// Share of saturated gates of each recurrent layer, in the forward pass that `work` is from.
    pub fn saturated(&self, pass: Pass<'_, F>, work: &Workspace<F>) -> Vec<f64> {
        let mut shares = Vec::new();
        for (range, trace) in self.layers.iter().zip(&work.layers) {
            let Layer::Recurrent(layer) = range.layer else { continue };
            let form = layer.cell.form();
            let saturates = |gate: &&'static str| (!LINEAR.contains(gate)).then(|| CANDIDATES.contains(gate));
            let both_signs: Vec<Option<bool>> = form.gates.iter().map(saturates).collect();
            let (mut saturated, mut all) = (0_usize, 0_usize);
            for (at, row) in trace.gates().chunks_exact(form.gates.len() * layer.units).enumerate() {
                if !pass.mask.active(at) {
                    continue;
                }
                for (gate, both_signs) in row.chunks_exact(layer.units).zip(&both_signs) {
                    let Some(both_signs) = both_signs else { continue };
                    saturated += gate.iter().filter(|value| is_saturated(value.to_f64(), *both_signs)).count();
                    all += gate.len();
                }
            }
            shares.push(saturated as f64 / all.max(1) as f64);
        }
        shares
    }
}

/// A tensor's layer.
fn group(tensor: &str) -> &str {
    tensor.split('/').next().unwrap_or(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recurrent::Mask;
    use crate::kernel::{Activation, CellKind};
    use crate::network::Architecture;
    use crate::network::testing::layer;

    fn network(layers: Vec<Layer>) -> Network<f64> {
        let architecture = Architecture {
            features: 1,
            network: vec![0],
            skip: vec![],
            groups: 0,
            embeddings: vec![],
            residual: vec![],
            layers,
            outputs: 1,
            pool: Default::default(),
            softmax: Default::default(),
            members: 1,
            quantiles: vec![],
            patch: 1,
            segments: 0,
            centred: vec![],
            scaling: true,
        };
        Network::new(&architecture, 3)
    }

    #[test]
    fn norms_are_of_layers() {
        let network = network(vec![layer(CellKind::RnnTanh, 2, false), Layer::dense(1, Activation::Relu)]);
        assert_eq!(network.groups(), ["recurrent_0", "dense_0", "output"]);
        assert_eq!(network.recurrent_layers(), ["recurrent_0"]);
        // 2 + 4 + 2 numbers, then 2 + 1, then 1 + 1.
        let gradients: Vec<f64> = (0..13)
            .map(|at| {
                if at < 8 {
                    1.0
                } else if at < 11 {
                    2.0
                } else {
                    3.0
                }
            })
            .collect();
        assert_eq!(network.group_norms(&gradients), [8.0_f64.sqrt(), 12.0_f64.sqrt(), 18.0_f64.sqrt()]);
    }

    /// A tanh cell with one unit and weights 1 and w: dh at each step is the one after it times w (1 - h²).
    #[test]
    fn the_gradient_by_distance_is_the_product_of_the_steps_factors() {
        let mut network = network(vec![layer(CellKind::RnnTanh, 1, false)]);
        let w = 0.7;
        // kernel, recurrent, bias; output kernel and bias.
        network.parameters_mut().copy_from_slice(&[1.0, w, 0.0, 2.0, 0.0]);
        let x = [0.5, -0.3, 0.8, 4.0];
        let pass = Pass { t: 4, b: 1, x: &x, mask: Mask::default(), group: &[], ids: &[], last_only: false };
        let (mut work, mut gradients) = (Workspace::for_samples(), vec![0.0; 5]);
        network.forward(pass, &mut network.zero_state(1), &mut work);
        assert_eq!(network.saturated(pass, &work), [0.25]);
        work.norms = Some(Vec::new());
        network.backward(pass, &[0.0, 0.0, 0.0, 1.0], &mut work, &mut gradients);
        let mut h = vec![0.0_f64];
        x.iter().for_each(|x| h.push((x + w * h[h.len() - 1]).tanh()));
        let mut wanted = vec![2.0];
        for at in (2..=4).rev() {
            wanted.push(wanted[wanted.len() - 1] * w * (1.0 - h[at] * h[at]));
        }
        let found = &work.norms.as_ref().unwrap()[0];
        assert_eq!(found.len(), 4);
        assert!(
            found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12),
            "{found:?} {wanted:?}"
        );
        work.norms = None;
        network.backward(pass, &[0.0, 0.0, 0.0, 1.0], &mut work, &mut gradients);
        assert!(work.norms.is_none());
    }
}
