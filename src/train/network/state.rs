//! The state of a network between two passes. Must not live here: what a pass makes of it (the file above).

use super::Network;
use crate::kernel::float::Float;

/// State of every recurrent layer, [B, units] each; the first member's layers before the second's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State<F> {
    /// Hidden states.
    pub h: Vec<Vec<F>>,
    /// The other states of the cell, concatenated in each row; empty for a cell without any.
    pub c: Vec<Vec<F>>,
}

impl<F: Float> Network<F> {
    /// The state of `b` new keys.
    pub fn zero_state(&self, b: usize) -> State<F> {
        let mut state = State::default();
        self.clear_state(b, &mut state);
        state
    }

    /// As [`Network::zero_state`], in memory that is used again.
    pub fn clear_state(&self, b: usize, state: &mut State<F>) {
        let layers = self.shape.recurrent().count() * self.shape.members;
        state.h.resize_with(layers, Vec::new);
        state.c.resize_with(layers, Vec::new);
        let layers = (0..self.shape.members).flat_map(|_| self.shape.recurrent());
        for (layer, (h, c)) in layers.zip(state.h.iter_mut().zip(&mut state.c)) {
            for (values, states) in [(h, 1), (c, layer.cell.form().states.len() - 1)] {
                values.clear();
                values.resize(states * b * layer.units, F::ZERO);
            }
        }
    }
}
