//! The layers of a network as rows of a table, counted and named as Keras does.
//! Must not live here: the graphs of others (`model::onnx::inspect`), drawing the table (`cli::summary`).

use super::{Architecture, Embedding, Layer};
use crate::error::counted;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Name, `lstm_1`.
    pub name: String,
    /// Type, `LSTM`.
    pub kind: String,
    /// Shape of its output after the batch axis; `None`: open. Empty: unknown.
    pub shape: Vec<Option<usize>>,
    /// Numbers in it.
    pub parameters: usize,
    /// Bytes they take.
    pub bytes: usize,
    /// Whether they were learned by gradient; statistics are not.
    pub trainable: bool,
}

/// Gives names as Keras does: `dense`, `dense_1`, …
#[derive(Debug, Default)]
pub(crate) struct LayerNames(Vec<String>);

impl LayerNames {
    pub(crate) fn next(&mut self, kind: &str) -> String {
        let count = self.0.iter().filter(|known| *known == kind).count();
        self.0.push(kind.to_owned());
        let mut name = String::new();
        for (i, c) in kind.chars().enumerate() {
            // A capital that starts a word: `SimpleRNN` is simple_rnn, `LSTM` is lstm.
            let after_small = i > 0 && kind.chars().nth(i - 1).is_some_and(char::is_lowercase);
            if c.is_uppercase() && after_small {
                name.push('_');
            }
            name.extend(c.to_lowercase());
        }
        if count > 0 { format!("{name}_{count}") } else { name }
    }
}

impl Architecture {
    /// The layers in their order. `window`: the rows that a window model sees at once; without it every layer gives an
    /// output per step, of any number of steps.
    pub fn layer_table(&self, window: Option<usize>) -> Vec<LayerRow> {
        let mut names = LayerNames::default();
        let mut rows = Vec::new();
        let steps = |width: usize| vec![window, Some(width)];
        let is_one = window.is_some() || !self.pool.is_none();
        let last = |width: usize| if is_one { vec![Some(width)] } else { vec![None, Some(width)] };
        let mut push = |name: String, kind: &str, shape: Vec<Option<usize>>, parameters: usize, trainable: bool| {
            let bytes = parameters * size_of::<f32>();
            rows.push(LayerRow { name, kind: kind.into(), shape, parameters, bytes, trainable });
        };
        if self.scaling && self.features > 0 {
            // Constants of the graph, as in Keras' layer of that name: they aren't parameters.
            push("scaling".into(), "Rescaling", steps(self.features), 0, true);
        }
        for embedding in (0..self.members).flat_map(|_| &self.embeddings) {
            let Embedding { rows, size } = *embedding;
            push(names.next("Embedding"), "Embedding", steps(size), rows * size, true);
        }
        let stack = self.stack();
        for width in (0..self.members).filter_map(|_| self.decoded_width()) {
            let segments = vec![Some(self.segments), Some(width)];
            push(names.next("Embedding"), "Embedding", segments, self.segments * width, true);
        }
        let steps = |width: usize| vec![window.map(|rows| rows / self.patch.max(1)), Some(width)];
        if self.patch > 1 {
            push("patches".into(), "Reshape", steps(self.first_width() * self.patch), 0, true);
        }
        let last_recurrent = stack.iter().rposition(|placed| matches!(placed.layer, Layer::Recurrent(_))).unwrap_or(0);
        for (i, placed) in (0..self.members).flat_map(|_| stack.iter().enumerate()) {
            let kind = placed.layer.keras_name();
            let units = placed.layer.units();
            let shape = match i {
                _ if i < last_recurrent => steps(units),
                _ if self.segments > 0 => vec![Some(self.segments), Some(units)],
                _ => last(units),
            };
            let tensors = placed.layer.tensors(placed.inputs);
            let parameters = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
            push(names.next(kind), kind, shape, parameters, true);
        }
        if self.members > 1 {
            push("mean".into(), "Average", last(self.outputs), 0, true);
        }
        if !self.skip.is_empty() {
            push("skip".into(), "Dense", last(self.outputs), self.skip.len() * self.outputs, true);
        }
        if self.scales_outputs() {
            push("output_scaling".into(), "Rescaling", last(self.outputs), 0, true);
        }
        if !self.residual.is_empty() {
            push("residual".into(), "Add", last(self.outputs), 0, true);
        }
        rows
    }

    /// The layers in a few words, `LSTM(50), Dense(32, relu), Dense(1)`, or `mean of 5: LSTM(50), Dense(1)`.
    pub fn in_words(&self) -> String {
        let table = |embedding: &Embedding| format!("Embedding({}, {})", embedding.rows, embedding.size);
        let mut words: Vec<String> = self.embeddings.iter().map(table).collect();
        words.extend(self.stack().iter().map(|placed| placed.layer.in_words()));
        if self.segments > 0 {
            words.push(format!("decoded by position in {}", counted(self.segments, "segment")));
        }
        let words = words.join(", ");
        if self.members > 1 { format!("mean of {}: {words}", self.members) } else { words }
    }

    /// Numbers that training learns.
    pub fn parameters(&self) -> usize {
        self.layer_table(None).iter().filter(|layer| layer.trainable).map(|layer| layer.parameters).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::CellKind;
    use crate::network::Pool;
    use crate::network::testing::{plain, rich, with_first_cell};

    /// The table counts what the tensors hold.
    #[test]
    fn parameters_are_the_values_of_the_tensors() {
        for cell in CellKind::ALL.iter().copied() {
            let several = Architecture { members: 3, ..with_first_cell(rich(), cell) };
            let mut embedded = plain(3, &[(cell, 7), (cell, 5)]);
            embedded.embeddings = vec![Embedding { rows: 11, size: 4 }];
            let both = Architecture { members: 2, ..embedded.clone() };
            let plain = plain(3, &[(cell, 7), (cell, 5)]);
            let mut decoded = Architecture { members: 2, patch: 4, segments: 3, outputs: 6, ..plain.clone() };
            decoded.pool = Pool::Last;
            for architecture in [with_first_cell(rich(), cell), plain, several, embedded, both, decoded] {
                let trained =
                    architecture.tensor_shapes().into_iter().filter(|(name, _)| !name.starts_with("scaling/"));
                let values: usize = trained.map(|(_, shape)| shape.iter().product::<usize>()).sum();
                let counted: usize = architecture.layer_table(None).iter().map(|layer| layer.parameters).sum();
                assert_eq!(counted, values, "{architecture:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_keras() {
        let mut names = LayerNames::default();
        let kinds = ["SimpleRNN", "LSTM", "LSTM", "GRU", "Dense", "Dense", "SimpleRNN"];
        let found: Vec<String> = kinds.iter().map(|kind| names.next(kind)).collect();
        assert_eq!(found, ["simple_rnn", "lstm", "lstm_1", "gru", "dense", "dense_1", "simple_rnn_1"]);
    }

    #[test]
    fn a_network_in_words() {
        assert_eq!(plain(1, &[(CellKind::Lstm, 50)]).in_words(), "LSTM(50), Dense(1)");
        let several = Architecture { members: 5, ..plain(1, &[(CellKind::Lstm, 50)]) };
        assert_eq!(several.in_words(), "mean of 5: LSTM(50), Dense(1)");
        assert_eq!(
            rich().in_words(),
            "LSTM(7), GRU(5), SimpleRNN(4), SimpleRNN(6), Dense(9, relu), Dense(3, tanh), Dense(4), Dense(3)"
        );
    }
}
