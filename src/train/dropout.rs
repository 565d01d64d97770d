//! Dropout (Srivastava et al. 2014) with one mask per chunk or window, shared by its timesteps (Gal and Ghahramani
//! 2016): which numbers of an update are dropped.
//!
//! Lives here: rates and masks. Masks follow from the seed and the number of the update alone, so that a training that
//! goes on after a stop drops the same. Must not live here: applying them (`network`).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::config::{self, TrainLayer};
use crate::kernel::float::Float;
use crate::network::{Architecture, Layer};

/// The streams of a seed from here on are those of updates; epochs have those below.
const STREAMS: u64 = 1 << 48;

/// Shares of numbers that are dropped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dropout {
    /// Of the input of each layer, the output layer last; empty: none.
    inputs: Vec<f64>,
    /// Of what the recurrent kernel of each recurrent layer multiplies; empty: none.
    recurrent: Vec<f64>,
}

/// What the numbers of an update are multiplied by: 0 where they are dropped, else 1 / (1 - rate).
#[derive(Debug, Clone, Default)]
pub struct Masks<F> {
    /// Of the input of each layer [B, inputs]; empty: all stay.
    pub inputs: Vec<Vec<F>>,
    /// Of the hidden state of each recurrent layer [B, units]; empty: all stay.
    pub recurrent: Vec<Vec<F>>,
}

impl Dropout {
    /// That of a `train` section.
    pub fn new(train: &config::Train) -> Dropout {
        let (mut inputs, mut recurrent) = (vec![0.0], Vec::new());
        for layer in train.layers.iter().map(|layer| layer.value).chain(train.head.iter().copied()) {
            match (layer, inputs.last_mut()) {
                // Two in a row leave the product of what each leaves.
                (TrainLayer::Dropout(rate), Some(next)) => *next += rate - *next * rate,
                (TrainLayer::Recurrent(layer), _) => {
                    recurrent.push(layer.recurrent_dropout);
                    inputs.push(0.0);
                }
                _ => inputs.push(0.0),
            }
        }
        let only = |rates: Vec<f64>| if rates.iter().any(|rate| *rate > 0.0) { rates } else { Vec::new() };
        Dropout { inputs: only(inputs), recurrent: only(recurrent) }
    }

    /// Makes the masks of an update of `b` examples; `update` counts from 0.
    pub fn draw<F: Float>(&self, shape: &Architecture, seed: u64, update: usize, b: usize, masks: &mut Masks<F>) {
        if self.inputs.is_empty() && self.recurrent.is_empty() {
            return;
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(STREAMS + update as u64);
        let stack = shape.stack();
        masks.inputs.resize_with(self.inputs.len(), Vec::new);
        for ((mask, rate), placed) in masks.inputs.iter_mut().zip(&self.inputs).zip(&stack) {
            fill(mask, *rate, b * placed.inputs, &mut random);
        }
        masks.recurrent.resize_with(self.recurrent.len(), Vec::new);
        for ((mask, rate), layer) in masks.recurrent.iter_mut().zip(&self.recurrent).zip(shape.recurrent()) {
            fill(mask, *rate, b * layer.units, &mut random);
        }
    }

    /// For a report, `0.2 before lstm_1`; empty without any.
    pub fn in_words(&self, shape: &Architecture) -> String {
        let stack = shape.stack();
        let before = self.inputs.iter().zip(&stack).map(|(rate, placed)| (*rate, "before", placed.name.clone()));
        let names = stack.iter().filter(|placed| matches!(placed.layer, Layer::Recurrent(_)));
        let within = self.recurrent.iter().zip(names).map(|(rate, placed)| (*rate, "within", placed.name.clone()));
        let all = before.chain(within).filter(|(rate, ..)| *rate > 0.0);
        all.map(|(rate, how, name)| format!("{rate} {how} {name}")).collect::<Vec<_>>().join(", ")
    }
}

fn fill<F: Float>(mask: &mut Vec<F>, rate: f64, numbers: usize, random: &mut ChaCha8Rng) {
    mask.clear();
    if rate > 0.0 {
        // Of 2^32 equally likely numbers.
        let dropped = (rate * 4_294_967_296.0) as u64;
        let kept = F::from_f64(1.0 / (1.0 - rate));
        mask.extend((0..numbers).map(|_| if u64::from(random.next_u32()) < dropped { F::ZERO } else { kept }));
    }
}

impl<F: Float> Masks<F> {
    /// That of the hidden state of a recurrent layer; empty: all stay.
    pub fn of_state(&self, layer: usize) -> &[F] {
        self.recurrent.get(layer).map_or(&[], |mask| &mask[..])
    }

    /// The input of a layer after its mask; `dropped` holds it, where there is one.
    pub fn of_input<'a>(&self, layer: usize, x: &'a [F], dropped: &'a mut Vec<F>) -> &'a [F] {
        let Some(mask) = self.inputs.get(layer).filter(|mask| !mask.is_empty()) else { return x };
        dropped.clear();
        dropped.extend_from_slice(x);
        apply(dropped, mask);
        dropped
    }
}

/// Multiplies rows [.., B, width] by a mask [B, width]; an empty one leaves them.
pub fn apply<F: Float>(values: &mut [F], mask: &[F]) {
    if mask.is_empty() {
        return;
    }
    for rows in values.chunks_exact_mut(mask.len()) {
        rows.iter_mut().zip(mask).for_each(|(value, mask)| *value *= *mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{At, Recurrent};
    use crate::kernel::CellKind;
    use crate::network::testing::plain;
    use crate::train::plan::tests::section;

    fn layers(layers: &[TrainLayer]) -> Dropout {
        let mut train = section(1, &["v"]);
        train.layers = layers.iter().map(|layer| At::default_value(*layer)).collect();
        Dropout::new(&train)
    }

    fn gru(recurrent_dropout: f64) -> TrainLayer {
        TrainLayer::Recurrent(Recurrent { recurrent_dropout, ..Recurrent::new(CellKind::Gru, 200) })
    }

    #[test]
    fn a_mask_is_of_the_seed_and_the_update_alone_and_keeps_the_mean() {
        let dropout = layers(&[gru(0.5), TrainLayer::Dropout(0.5), TrainLayer::Dropout(0.25), gru(0.0)]);
        assert_eq!(dropout.recurrent, [0.5, 0.0]);
        assert_eq!(dropout.inputs, [0.0, 0.625, 0.0]);
        let shape = plain(1, &[(CellKind::Gru, 200), (CellKind::Gru, 200)]);
        let draw = |seed, update| {
            let mut masks = Masks::<f64>::default();
            dropout.draw(&shape, seed, update, 50, &mut masks);
            masks
        };
        let masks = draw(7, 3);
        assert!(masks.inputs[0].is_empty() && masks.inputs[2].is_empty() && masks.recurrent[1].is_empty());
        for (mask, rate) in [(&masks.inputs[1], 0.625), (&masks.recurrent[0], 0.5)] {
            assert_eq!(mask.len(), 10_000);
            let dropped = mask.iter().filter(|value| **value == 0.0).count() as f64 / 10_000.0;
            assert!((dropped - rate).abs() < 0.02, "{dropped}");
            assert!(mask.iter().all(|value| *value == 0.0 || (value - 1.0 / (1.0 - rate)).abs() < 1e-12));
        }
        assert_eq!(draw(7, 3).inputs, masks.inputs);
        assert_ne!(draw(7, 4).inputs, masks.inputs);
        assert_ne!(draw(8, 3).inputs, masks.inputs);
        assert_eq!(dropout.in_words(&shape), "0.625 before recurrent_1, 0.5 within recurrent_0");
    }

    #[test]
    fn without_a_rate_nothing_is_drawn() {
        let dropout = layers(&[gru(0.0), TrainLayer::LayerNorm]);
        assert_eq!(dropout, Dropout::default());
        let mut values = [1.0, 2.0, 3.0, 4.0];
        apply(&mut values, &[0.0, 2.0]);
        assert_eq!(values, [0.0, 4.0, 0.0, 8.0]);
    }
}
