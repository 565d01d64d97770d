//! What the tests of many rooms share: architectures with numbers in them.

use super::{Architecture, Layer, LayerNormLayer, Pool, RecurrentLayer, Tensor};
use crate::kernel::{Activation, CellKind};

/// A network of recurrent layers alone, one output, no scaling.
pub(crate) fn plain(features: usize, layers: &[(CellKind, usize)]) -> Architecture {
    Architecture {
        features,
        network: (0..features).collect(),
        skip: vec![],
        groups: 0,
        embeddings: vec![],
        residual: vec![],
        layers: layers.iter().map(|(cell, units)| Layer::recurrent(*cell, *units)).collect(),
        outputs: 1,
        scaling: false,
        pool: Pool::None,
        softmax: false,
        members: 1,
        quantiles: vec![],
        patch: 1,
        segments: 0,
        centred: vec![],
    }
}

/// One of everything: stacked cells with both kinds of bias, head, skip, repeated residual, scaling.
pub(crate) fn rich() -> Architecture {
    Architecture {
        features: 5,
        network: vec![0, 3],
        skip: vec![1, 2, 3],
        groups: 0,
        embeddings: vec![],
        residual: vec![4, 4, 0],
        layers: vec![
            layer(CellKind::Lstm, 7, true),
            layer(CellKind::Gru, 5, false),
            layer(CellKind::RnnRelu, 4, false),
            layer(CellKind::RnnTanh, 6, true),
            Layer::dense(9, Activation::Relu),
            Layer::dense(3, Activation::Tanh),
            Layer::dense(4, Activation::Linear),
        ],
        outputs: 3,
        scaling: true,
        pool: Pool::None,
        softmax: false,
        members: 1,
        quantiles: vec![],
        patch: 1,
        segments: 0,
        centred: vec![],
    }
}

/// As [`rich`], with layers of each kind between and behind the others.
pub(crate) fn mixed() -> Architecture {
    let mut mixed = rich();
    let norm = |units| Layer::LayerNorm(LayerNormLayer { units });
    mixed.layers.insert(7, norm(4));
    mixed.layers.insert(5, norm(9));
    mixed.layers.insert(2, Layer::dense(6, Activation::Tanh));
    mixed.layers.insert(1, norm(7));
    mixed.layers.insert(0, norm(2));
    mixed
}

/// A recurrent layer.
pub(crate) fn layer(cell: CellKind, units: usize, double_bias: bool) -> Layer {
    Layer::Recurrent(RecurrentLayer { cell, units, double_bias, bidirectional: false })
}

/// The architecture with another cell in its first layer.
pub(crate) fn with_first_cell(mut architecture: Architecture, cell: CellKind) -> Architecture {
    if let Some(Layer::Recurrent(layer)) = architecture.layers.first_mut() {
        layer.cell = cell;
    }
    architecture
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
