//! What a network begins with. Must not live here: what becomes of it (the file above).

use super::{LayerRange, Network, Statistics, TensorRange};
use crate::kernel::cell::Initial;
use crate::kernel::float::Float;
use crate::network::Architecture;
use crate::train::init::Random;

impl<F: Float> Network<F> {
    /// A new network with Keras' defaults: kernels by Glorot, recurrent kernels orthogonal, biases zero, an LSTM's
    /// forget bias one (with two biases: the input's). The same seed gives the same numbers on every machine.
    pub fn new(architecture: &Architecture, seed: u64) -> Self {
        let mut network = Network::zeros(architecture);
        let mut random = Random::new(seed);
        let learned = architecture.tensors().into_iter().filter_map(|tensor| tensor.initial);
        for (tensor, initial) in network.tensors.iter().zip(learned) {
            let parameters = &mut network.parameters[tensor.range.clone()];
            let values = match (initial, &tensor.shape[..]) {
                (Initial::Orthogonal, &[rows, columns]) => random.orthogonal(rows, columns),
                (Initial::Glorot, &[rows, columns]) => random.glorot_uniform(rows, columns),
                (Initial::Embedding, &[rows, columns]) => random.within(0.05, rows * columns),
                (Initial::Zeros(ones), _) => {
                    parameters[ones].fill(F::ONE);
                    continue;
                }
                _ => continue,
            };
            for (parameter, value) in parameters.iter_mut().zip(values) {
                *parameter = F::from_f64(value);
            }
        }
        network
    }

    /// A network of zeros.
    pub(super) fn zeros(architecture: &Architecture) -> Self {
        let mut network = Network::zeros_of_one(&architecture.single());
        network.others = (1..architecture.members).map(|_| network.clone()).collect();
        network.shape.members = architecture.members;
        network
    }

    fn zeros_of_one(architecture: &Architecture) -> Self {
        let shape = architecture.clone();
        let mut tensors: Vec<TensorRange> = Vec::new();
        let mut length = 0;
        for tensor in shape.tensors() {
            let Some(initial) = tensor.initial else { continue };
            let range = length..length + tensor.shape.iter().product::<usize>();
            let is_kernel = matches!(initial, Initial::Glorot | Initial::Orthogonal);
            length = range.end;
            tensors.push(TensorRange { name: tensor.name, shape: tensor.shape, range, is_kernel });
        }
        let mut first = 0;
        let mut layers = Vec::new();
        for placed in shape.stack() {
            layers.push(LayerRange { layer: placed.layer, inputs: placed.inputs, first });
            first += placed.layer.tensors(placed.inputs).len();
        }
        let scaling = Statistics {
            mean: vec![F::ZERO; shape.features],
            sd: vec![F::ONE; shape.features],
            out_mean: vec![F::ZERO; shape.outputs],
            out_sd: vec![F::ONE; shape.outputs],
        };
        let embeddings = first + usize::from(shape.segments > 0);
        let skip = (!shape.skip.is_empty()).then_some(embeddings + shape.embeddings.len());
        let parameters = vec![F::ZERO; length];
        let (is_frozen, others) = (false, Vec::new());
        Network { parameters, shape, tensors, layers, skip, embeddings, is_frozen, scaling, others }
    }
}
