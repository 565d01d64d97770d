//! The text of a sequence by the probabilities of its tokens at each step: the most probable token of each step, those
//! that come again and again once, without blanks (Graves et al. 2006, the best path). Must not live here: running the
//! network (`sequence`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use crate::record::{Column, Values};

/// What the tokens are, and the texts of a batch.
pub(super) struct Transcripts {
    /// The last one is the blank, whose name stands between two tokens.
    tokens: Arc<[String]>,
    /// By row of the batch.
    made: BTreeMap<u32, String>,
}

impl Transcripts {
    pub(super) fn new(tokens: &[String]) -> Transcripts {
        Transcripts { tokens: tokens.into(), made: BTreeMap::new() }
    }

    /// Numbers of a step.
    pub(super) fn width(&self) -> usize {
        self.tokens.len()
    }

    /// Makes the text of a row of the batch out of steps of probabilities.
    pub(super) fn take(&mut self, row: u32, probabilities: &[f32], steps: Range<usize>) {
        let (width, blank) = (self.width(), self.width().saturating_sub(1));
        let mut text: Vec<&str> = Vec::new();
        let mut before = blank;
        for step in probabilities[steps.start * width..steps.end * width].chunks_exact(width) {
            // Of equal ones the first.
            let better = |best: usize, (n, p): (usize, &f32)| if *p > step[best] { n } else { best };
            let token = step.iter().enumerate().fold(0, better);
            if token != before && token != blank {
                text.push(&self.tokens[token]);
            }
            before = token;
        }
        let text = text.join(self.tokens.last().map_or("", String::as_str));
        self.made.insert(row, text);
    }

    /// The texts of the rows that end a sequence, null where it had no step; forgets them.
    pub(super) fn column(&mut self, ends: &[bool]) -> Column {
        let made = std::mem::take(&mut self.made);
        let rows = (0_u32..).zip(ends).filter(|(_, ends)| **ends);
        let texts: ArrayRef = Arc::new(rows.map(|(row, _)| made.get(&row)).collect::<StringArray>());
        Values::Passthrough(texts).into()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn a_token_that_comes_again_counts_once_unless_a_blank_is_between() {
        let text = |tokens: &[&str], path: &[usize]| {
            let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
            let mut transcripts = Transcripts::new(&tokens);
            let step = |token: usize| (0..tokens.len()).map(move |n| if n == token { 0.5 } else { 0.2 });
            // A step before that is another sequence's.
            let probabilities: Vec<f32> = [0].into_iter().chain(path.iter().copied()).flat_map(step).collect();
            transcripts.take(2, &probabilities, 1..path.len() + 1);
            let Values::Passthrough(array) = transcripts.column(&[true, false, true]).values else { panic!() };
            let array = array.as_string::<i32>();
            assert_eq!(array.iter().next(), Some(None), "without a step");
            array.value(1).to_string()
        };
        let characters = ["a", "b", ""];
        assert_eq!(text(&characters, &[0, 0, 2, 0, 1, 1, 2]), "aab");
        assert_eq!(text(&characters, &[2, 2]), "");
        assert_eq!(text(&["go", "no", " "], &[1, 2, 0, 0, 1]), "no go no");
    }
}
