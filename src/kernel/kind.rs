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

    /// The tensors of a layer of this cell: kernel, recurrent kernel, bias; in this order everywhere.
    pub fn tensors(self, inputs: usize, units: usize, two_biases: bool) -> [LayerTensor; 3] {
        let width = self.gates() * units;
        let one = self.form().bias_of_one.map_or(0..0, |gate| gate * units..(gate + 1) * units);
        let bias = if two_biases { vec![2, width] } else { vec![width] };
        [
            LayerTensor { name: "kernel", shape: vec![inputs, width], initial: Initial::Glorot },
            LayerTensor { name: "recurrent_kernel", shape: vec![units, width], initial: Initial::Orthogonal },
            LayerTensor { name: "bias", shape: bias, initial: Initial::Zeros(one) },
        ]
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
            assert!((0..form.gates.len()).all(|gate| form.onnx.gates.contains(&gate)), "{kind:?}: {:?}", form.onnx);
            assert!(form.onnx.gates.iter().chain(&form.bias_of_one).all(|gate| *gate < form.gates.len()), "{kind:?}");
            for word in form.words {
                assert!(!known.contains(&(word, form.activation)), "{kind:?}: {word}");
                known.push((word, form.activation));
            }
        }
    }
}
