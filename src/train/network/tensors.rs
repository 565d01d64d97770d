//! A network's numbers by name: the arrays that the contract documents, in and out.

use std::ops::Range;

use super::{Network, Statistics, TensorRange};
use crate::kernel::float::Float;
use crate::network::{Architecture, Tensor};
use crate::{Error, Result};

impl<F: Float> Network<F> {
    /// Where the kernels are among [`Network::parameters`]: what regularisation makes small. Biases are not.
    pub fn kernels(&self) -> Vec<Range<usize>> {
        let is_fixed = |tensor: &&TensorRange| self.is_frozen && tensor.name.starts_with("skip/");
        let kernels = self.tensors.iter().filter(|tensor| tensor.is_kernel && !is_fixed(tensor));
        kernels.map(|tensor| tensor.range.clone()).collect()
    }

    /// The network of an architecture with these numbers.
    ///
    /// # Errors
    /// Refused if a tensor is missing, unknown, given twice or of another shape.
    pub fn restored(architecture: &Architecture, tensors: &[Tensor]) -> Result<Self> {
        let mut network = Network::zeros(architecture);
        network.load(tensors)?;
        Ok(network)
    }

    /// Replaces all numbers, those of the scaling too where the architecture has it.
    ///
    /// # Errors
    /// As [`Network::restored`]; the numbers are then partly replaced.
    pub fn load(&mut self, tensors: &[Tensor]) -> Result<()> {
        let mut left: Vec<String> = self.tensors().into_iter().map(|tensor| tensor.name).collect();
        for tensor in tensors {
            let Some(at) = left.iter().position(|name| *name == tensor.name) else {
                return Err(Error::refused(format!("tensor {} is not part of this network", tensor.name)));
            };
            left.remove(at);
            let (shape, numbers) = self.named(&tensor.name);
            if shape != tensor.shape || numbers.len() != tensor.data.len() {
                return Err(Error::refused(format!(
                    "tensor {}: shape {:?} with {} values, expected {shape:?}",
                    tensor.name,
                    tensor.shape,
                    tensor.data.len()
                )));
            }
            for (number, value) in numbers.iter_mut().zip(&tensor.data) {
                *number = F::from_f64(f64::from(*value));
            }
        }
        self.share_scaling();
        if left.is_empty() { Ok(()) } else { Err(Error::refused(format!("tensors are missing: {}", left.join(", ")))) }
    }

    /// Shape and numbers of a tensor; nothing for an unknown one.
    fn named(&mut self, name: &str) -> (Vec<usize>, &mut [F]) {
        let scaling = match name {
            "scaling/mean" => &mut self.scaling.mean,
            "scaling/sd" => &mut self.scaling.sd,
            "scaling/out_mean" => &mut self.scaling.out_mean,
            "scaling/out_sd" => &mut self.scaling.out_sd,
            _ => {
                let (member, name) = self.member_of(name);
                let network = match member.checked_sub(1) {
                    Some(other) => &mut self.others[other],
                    None => self,
                };
                return match network.tensors.iter().find(|tensor| tensor.name == name) {
                    Some(tensor) => (tensor.shape.clone(), &mut network.parameters[tensor.range.clone()]),
                    None => (Vec::new(), &mut []),
                };
            }
        };
        (vec![scaling.len()], scaling)
    }

    /// The member that a tensor is of, and its name there.
    fn member_of<'a>(&self, name: &'a str) -> (usize, &'a str) {
        let prefixes = self.shape.prefixes().enumerate().filter(|_| self.shape.members > 1);
        let own = |(at, prefix): (usize, String)| Some((at, name.strip_prefix(&prefix)?));
        prefixes.into_iter().find_map(own).unwrap_or((0, name))
    }

    /// All numbers by name; those of the scaling last, where the architecture has it.
    pub fn tensors(&self) -> Vec<Tensor> {
        let tensor = |name: &str, shape: &[usize], numbers: &[F]| Tensor {
            name: name.to_string(),
            shape: shape.to_vec(),
            data: numbers.iter().map(|number| number.to_f64() as f32).collect(),
        };
        let mut tensors: Vec<Tensor> = Vec::new();
        let path = self.skip.unwrap_or(self.tensors.len());
        for (prefix, network) in self.shape.prefixes().zip(std::iter::once(self).chain(&self.others)) {
            let own = network.tensors[..path].iter();
            tensors.extend(own.map(|range| {
                tensor(&format!("{prefix}{}", range.name), &range.shape, &network.parameters[range.range.clone()])
            }));
        }
        let path = self.tensors[path..].iter();
        tensors.extend(path.map(|range| tensor(&range.name, &range.shape, &self.parameters[range.range.clone()])));
        if self.shape.scaling {
            let Statistics { mean, sd, out_mean, out_sd } = &self.scaling;
            let all = [("mean", mean), ("sd", sd), ("out_mean", out_mean), ("out_sd", out_sd)];
            let all = all.into_iter().take(if self.shape.scales_outputs() { 4 } else { 2 });
            for (name, numbers) in all.skip(if self.shape.features > 0 { 0 } else { 2 }) {
                tensors.push(tensor(&format!("scaling/{name}"), &[numbers.len()], numbers));
            }
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Activation, CellKind};
    use crate::network::Layer;
    use crate::network::testing::layer;

    fn architecture() -> Architecture {
        Architecture {
            features: 3,
            network: vec![0, 2],
            skip: vec![1],
            groups: 0,
            embeddings: vec![],
            residual: vec![],
            layers: vec![
                layer(CellKind::Lstm, 4, false),
                layer(CellKind::Gru, 3, false),
                layer(CellKind::RnnTanh, 2, true),
                Layer::dense(5, Activation::Relu),
            ],
            outputs: 2,
            scaling: true,
            pool: crate::network::Pool::None,
            softmax: false,
            members: 1,
            quantiles: vec![],
            patch: 1,
            segments: 0,
            centred: vec![],
        }
    }

    #[test]
    fn names_and_shapes_are_those_of_the_contract() {
        let tensors = Network::<f32>::new(&architecture(), 1).tensors();
        let listed: Vec<(&str, &[usize])> = tensors.iter().map(|t| (t.name.as_str(), &t.shape[..])).collect();
        let wanted: [(&str, &[usize]); 18] = [
            ("recurrent_0/kernel", &[2, 16]),
            ("recurrent_0/recurrent_kernel", &[4, 16]),
            ("recurrent_0/bias", &[16]),
            ("recurrent_1/kernel", &[4, 9]),
            ("recurrent_1/recurrent_kernel", &[3, 9]),
            ("recurrent_1/bias", &[2, 9]),
            ("recurrent_2/kernel", &[3, 2]),
            ("recurrent_2/recurrent_kernel", &[2, 2]),
            ("recurrent_2/bias", &[2, 2]),
            ("dense_0/kernel", &[2, 5]),
            ("dense_0/bias", &[5]),
            ("output/kernel", &[5, 2]),
            ("output/bias", &[2]),
            ("skip/kernel", &[1, 2]),
            ("scaling/mean", &[3]),
            ("scaling/sd", &[3]),
            ("scaling/out_mean", &[2]),
            ("scaling/out_sd", &[2]),
        ];
        assert_eq!(listed, wanted);
    }

    #[test]
    fn new_networks_are_initialised_as_keras_does_and_by_the_seed_alone() {
        let tensors = Network::<f32>::new(&architecture(), 7).tensors();
        let by_name = |name: &str| &tensors.iter().find(|t| t.name == name).unwrap().data;
        // Forget gate 1, all other biases 0.
        let bias: Vec<f32> = (0..16).map(|j| if (4..8).contains(&j) { 1.0 } else { 0.0 }).collect();
        assert_eq!(by_name("recurrent_0/bias"), &bias);
        for name in ["recurrent_1/bias", "recurrent_2/bias", "dense_0/bias", "output/bias"] {
            assert!(by_name(name).iter().all(|b| *b == 0.0), "{name}");
        }
        let limit = (6.0_f32 / 18.0).sqrt();
        assert!(by_name("recurrent_0/kernel").iter().all(|k| k.abs() <= limit && *k != 0.0));
        assert_eq!(tensors, Network::<f32>::new(&architecture(), 7).tensors());
        assert_ne!(tensors, Network::<f32>::new(&architecture(), 8).tensors());
        // The first numbers of seed 7, so that no update changes what a seed means unseen.
        let first: Vec<f32> = by_name("recurrent_0/kernel")[..2].to_vec();
        assert_eq!(first, SEED_7, "{first:?}");
    }

    const SEED_7: [f32; 2] = [-0.39514303, -0.38337287];

    #[test]
    fn tensors_load_back_and_what_does_not_fit_is_refused() {
        let tensors = Network::<f32>::new(&architecture(), 1).tensors();
        let mut network = Network::<f32>::new(&architecture(), 2);
        network.load(&tensors).unwrap();
        assert_eq!(network.tensors(), tensors);
        let refused = |change: &dyn Fn(&mut Vec<Tensor>)| {
            let mut changed = tensors.clone();
            change(&mut changed);
            Network::<f32>::restored(&architecture(), &changed).unwrap_err().to_string()
        };
        assert!(refused(&|t| drop(t.remove(3))).contains("missing: recurrent_1/kernel"));
        assert!(refused(&|t| drop(t.pop())).contains("missing: scaling/out_sd"));
        assert!(refused(&|t| t[0].name = "kernel".into()).contains("tensor kernel is not part"));
        assert!(refused(&|t| t.push(t[0].clone())).contains("recurrent_0/kernel is not part"));
        assert!(refused(&|t| t[0].shape = vec![16, 2]).contains("expected [2, 16]"));
        assert!(refused(&|t| t[15].data.truncate(2)).contains("scaling/sd: shape [3] with 2 values"));
        let plain = Architecture { scaling: false, ..architecture() };
        assert!(Network::<f32>::restored(&plain, &tensors).unwrap_err().to_string().contains("scaling/mean"));
    }
}
