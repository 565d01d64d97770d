//! Which cells there are. Each is a file of this folder and a line of the list below.
//! Must not live here: anything about one cell alone.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Form, Initial, LayerTensor};
use super::float::Float;

/// Makes [`CellKind`] of a list of cells.
macro_rules! cells {
    ($($(#[$doc:meta])* $kind:ident: $cell:path,)*) => {
        /// Cell of a recurrent layer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CellKind {
            $($(#[$doc])* $kind,)*
        }

        impl CellKind {
            /// Every cell.
            pub const ALL: &'static [CellKind] = &[$(CellKind::$kind,)*];

            /// The cell's arithmetic.
            pub fn cell<F: Float>(self) -> &'static dyn Cell<F> {
                match self {
                    $(CellKind::$kind => &$cell,)*
                }
            }
        }
    };
}

cells! {
    /// SimpleRNN with tanh.
    RnnTanh: super::simple_rnn::Tanh,
    /// SimpleRNN with ReLU.
    RnnRelu: super::simple_rnn::Relu,
    /// LSTM.
    Lstm: super::lstm::Lstm,
    /// GRU, reset_after.
    Gru: super::gru::Gru,
    /// minGRU.
    MinGru: super::min_gru::MinGru,
    /// LSTM with layer normalisation.
    LayerNormLstm: super::layer_norm_lstm::LayerNormLstm,
}

impl CellKind {
    /// Everything about it but its arithmetic.
    pub fn form(self) -> &'static Form {
        self.cell::<f32>().form()
    }

    /// Gates: blocks of `units` columns in a kernel.
    pub fn gates(self) -> usize {
        self.form().gates.len()
    }

    /// The tensors of a layer of this cell: kernel, recurrent kernel if it has one, bias, its own; in this order
    /// everywhere.
    pub fn tensors(self, inputs: usize, units: usize, two_biases: bool) -> Vec<LayerTensor> {
        let form = self.form();
        let width = self.gates() * units;
        let one = form.bias_of_one.map_or(0..0, |gate| gate * units..(gate + 1) * units);
        let bias = if two_biases { vec![2, width] } else { vec![width] };
        let mut tensors = vec![LayerTensor { name: "kernel", shape: vec![inputs, width], initial: Initial::Glorot }];
        if form.recurrent_kernel {
            let (shape, initial) = (vec![units, width], Initial::Orthogonal);
            tensors.push(LayerTensor { name: "recurrent_kernel", shape, initial });
        }
        tensors.push(LayerTensor { name: "bias", shape: bias, initial: Initial::Zeros(one) });
        tensors.extend(form.own.iter().map(|own| {
            let width = own.blocks * units;
            let initial = Initial::Zeros(0..if own.ones { width } else { 0 });
            LayerTensor { name: own.name, shape: vec![width], initial }
        }));
        tensors
    }
}

/// The words of all cells, each once, in the order of the cells.
pub fn words() -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Vec::new();
    for word in CellKind::ALL.iter().flat_map(|kind| kind.form().words) {
        if !words.contains(word) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_fits_itself_and_no_other_has_its_word() {
        let mut known = Vec::new();
        for kind in CellKind::ALL {
            let form = kind.form();
            assert_eq!(form.states[0], "h", "{kind:?}");
            if let Some(operator) = form.operator() {
                assert!((0..form.gates.len()).all(|gate| operator.gates.contains(&gate)), "{kind:?}: {operator:?}");
                assert!(operator.gates.iter().all(|gate| *gate < form.gates.len()), "{kind:?}");
                assert!(form.own.is_empty() && form.recurrent_kernel, "{kind:?}: no operator has such operands");
            }
            assert!(form.bias_of_one.is_none_or(|gate| gate < form.gates.len()), "{kind:?}");
            for word in form.words {
                assert!(!known.contains(&(word, form.activation)), "{kind:?}: {word}");
                known.push((word, form.activation));
            }
        }
    }
}
