//! Texts out of the probabilities of tokens at each step: the most probable token of each step, those that come again
//! and again once, without blanks (Graves et al. 2006, the best path); or by a beam the transcript that all its ways
//! together make the most probable.
//!
//! Lives here: the names of tokens, and the texts of whole sequences. Must not live here: running the network
//! (`sequence`, `streamed`), a step of the beam (`kernel::ctc`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use crate::kernel::ctc::{Beam, best};
use crate::record::{Column, Values};

/// The names of tokens.
#[derive(Debug, Clone)]
pub(super) struct Names(Arc<[String]>);

impl Names {
    /// The last one is the blank, whose name stands between two tokens.
    pub(super) fn new(tokens: &[String]) -> Names {
        Names(tokens.into())
    }

    /// Numbers of a step.
    pub(super) fn width(&self) -> usize {
        self.0.len()
    }

    /// The place of the blank.
    pub(super) fn blank(&self) -> usize {
        self.width().saturating_sub(1)
    }

    /// Tokens as a text.
    pub(super) fn join(&self, tokens: &[u32]) -> String {
        let names: Vec<&str> =
            tokens.iter().filter_map(|token| self.0.get(*token as usize)).map(String::as_str).collect();
        names.join(self.0.last().map_or("", String::as_str))
    }
}

/// ln of the probabilities of a step, for a beam.
pub(super) fn logarithms(probabilities: &[f32], to: &mut Vec<f64>) {
    to.clear();
    to.extend(probabilities.iter().map(|p| f64::from(*p).ln()));
}

/// What the tokens are, and the texts of a batch.
pub(super) struct Transcripts {
    names: Names,
    /// Beginnings that are kept; 1: the best path.
    beam: usize,
    /// By row of the batch.
    made: BTreeMap<u32, String>,
}

impl Transcripts {
    pub(super) fn new(tokens: &[String], beam: usize) -> Transcripts {
        Transcripts { names: Names::new(tokens), beam, made: BTreeMap::new() }
    }

    /// Numbers of a step.
    pub(super) fn width(&self) -> usize {
        self.names.width()
    }

    /// Makes the text of a row of the batch out of steps of probabilities.
    pub(super) fn take(&mut self, row: u32, probabilities: &[f32], steps: Range<usize>) {
        let (width, blank) = (self.width(), self.names.blank());
        let steps = probabilities[steps.start * width..steps.end * width].chunks_exact(width);
        let mut tokens: Vec<u32> = Vec::new();
        if self.beam > 1 {
            let (mut beam, mut ln_p) = (Beam::new(self.beam, usize::MAX), Vec::new());
            for step in steps {
                logarithms(step, &mut ln_p);
                beam.step(&ln_p);
            }
            tokens.extend(beam.best());
        } else {
            let mut before = blank;
            for step in steps {
                let token = best(step);
                if token != before && token != blank {
                    tokens.push(token as u32);
                }
                before = token;
            }
        }
        self.made.insert(row, self.names.join(&tokens));
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

    fn text(tokens: &[&str], beam: usize, path: &[usize]) -> String {
        let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
        let mut transcripts = Transcripts::new(&tokens, beam);
        let step = |token: usize| (0..tokens.len()).map(move |n| if n == token { 0.5 } else { 0.2 });
        // A step before that is another sequence's.
        let probabilities: Vec<f32> = [0].into_iter().chain(path.iter().copied()).flat_map(step).collect();
        transcripts.take(2, &probabilities, 1..path.len() + 1);
        let Values::Passthrough(array) = transcripts.column(&[true, false, true]).values else { panic!() };
        let array = array.as_string::<i32>();
        assert_eq!(array.iter().next(), Some(None), "without a step");
        array.value(1).to_string()
    }

    #[test]
    fn a_token_that_comes_again_counts_once_unless_a_blank_is_between() {
        let characters = ["a", "b", ""];
        assert_eq!(text(&characters, 1, &[0, 0, 2, 0, 1, 1, 2]), "aab");
        assert_eq!(text(&characters, 1, &[2, 2]), "");
        assert_eq!(text(&["go", "no", " "], 1, &[1, 2, 0, 0, 1]), "no go no");
    }

    /// Three steps of a blank at 0.5 beside 0.2 and 0.3, or so: the best path is empty, all ways with one b are more.
    #[test]
    fn a_beam_adds_up_the_ways() {
        let tokens = ["a", "b", ""].map(String::from);
        let mut probabilities = [0.15, 0.4, 0.45].repeat(2);
        for (beam, expected) in [(1, ""), (8, "b")] {
            let mut transcripts = Transcripts::new(&tokens, beam);
            // 0.2025 for nothing; b: 2 * 0.4 * 0.45 + 0.4 * 0.4 = 0.52.
            transcripts.take(0, &probabilities, 0..2);
            assert_eq!(transcripts.made[&0], expected, "{beam}");
        }
        // A probability of 0 is no way.
        probabilities[..3].copy_from_slice(&[0.0, 0.0, 1.0]);
        probabilities[3..].copy_from_slice(&[0.0, 1.0, 0.0]);
        let mut transcripts = Transcripts::new(&tokens, 4);
        transcripts.take(0, &probabilities, 0..2);
        assert_eq!(transcripts.made[&0], "b");
        assert_eq!(text(&["go", "no", " "], 4, &[1, 2, 0, 2, 1]), "no go no");
    }
}
