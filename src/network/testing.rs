//! What the tests of many rooms share: architectures with numbers in them.

use super::{Architecture, CellKind, DenseActivation, DenseLayer, RecurrentLayer, Tensor};

/// A network of recurrent layers alone, one output, no scaling.
pub(crate) fn plain(features: usize, layers: &[(CellKind, usize)]) -> Architecture {
    Architecture {
        features,
        network: (0..features).collect(),
        skip: vec![],
        residual: vec![],
        layers: layers
            .iter()
            .map(|(cell, units)| RecurrentLayer { cell: *cell, units: *units, double_bias: false })
            .collect(),
        head: vec![],
        outputs: 1,
        scaling: false,
    }
}

/// One of everything: stacked cells with both kinds of bias, head, skip, repeated residual, scaling.
pub(crate) fn rich() -> Architecture {
    Architecture {
        features: 5,
        network: vec![0, 3],
        skip: vec![1, 2, 3],
        residual: vec![4, 4, 0],
        layers: vec![
            RecurrentLayer { cell: CellKind::Lstm, units: 7, double_bias: true },
            RecurrentLayer { cell: CellKind::Gru, units: 5, double_bias: false },
            RecurrentLayer { cell: CellKind::RnnRelu, units: 4, double_bias: false },
            RecurrentLayer { cell: CellKind::RnnTanh, units: 6, double_bias: true },
        ],
        head: vec![
            DenseLayer { units: 9, activation: DenseActivation::Relu },
            DenseLayer { units: 3, activation: DenseActivation::Tanh },
            DenseLayer { units: 4, activation: DenseActivation::Linear },
        ],
        outputs: 3,
        scaling: true,
    }
}

/// Numbers in -1..1 that depend on the seed alone (SplitMix64 by Steele, Lea and Flood).
pub(crate) struct Numbers(pub(crate) u64);

impl Iterator for Numbers {
    type Item = f32;

    fn next(&mut self) -> Option<f32> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0)
    }
}

/// Tensors for an architecture: kernels of the size that trained ones have, standard deviations around 1.
pub(crate) fn tensors(architecture: &Architecture, seed: u64) -> Vec<Tensor> {
    let mut numbers = Numbers(seed);
    let fill = |(name, shape): (String, Vec<usize>)| {
        let size: usize = shape.iter().product();
        let scale = if name.ends_with("kernel") { 1.5 / (shape[0] as f32).sqrt() } else { 0.5 };
        let centre = if name.ends_with("sd") { 1.25 } else { 0.0 };
        let data = numbers.by_ref().take(size).map(|value| centre + scale * value).collect();
        Tensor { name, shape, data }
    };
    architecture.tensor_shapes().into_iter().map(fill).collect()
}
