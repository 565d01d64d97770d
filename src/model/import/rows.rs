//! Rows of the user's data as the network would get them. Must not live here: reading them (`runtime`), and what is
//! proved on them (`proofs`).

use std::collections::BTreeSet;

use super::lab::Data;
use crate::error::counted;
use crate::network::{InputTensor, Signature};
use crate::{Error, Result};

/// What rows of a pipeline are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The network's inputs.
    pub inputs: &'a [InputTensor],
    /// Columns that are forecast.
    pub targets: &'a [String],
    /// Rows of a key at most.
    pub each: usize,
    /// Rows at most.
    pub most: usize,
}

/// Gives the rows of a pipeline; `None` where its topic has no messages yet.
pub type RowsOf<'a> = &'a dyn Fn(Asked<'_>) -> Result<Option<Rows>>;

/// What the network gets of the first rows of a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// What they are read from, for people.
    pub source: String,
    /// Records that were read.
    pub records: u64,
    /// How many of them didn't become rows, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Sequences that begin with the initial state, key by key.
    pub sequences: Vec<Sequence>,
}

/// Rows of a key from its first one, or from one at which it begins again.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// The key.
    pub key: String,
    /// The row of the key that it begins with, from 1.
    pub first: usize,
    /// Rows.
    pub rows: usize,
    /// Per input [rows, width].
    pub inputs: Vec<Vec<f64>>,
    /// Per target, its value in each row; NaN where there is none.
    pub targets: Vec<Vec<f64>>,
    /// Per target, mean and standard deviation by which a `scale` stage has the network's numbers scaled.
    pub scale: Vec<Option<Vec<(f64, f64)>>>,
    /// Per target, whether these are of its logarithms.
    pub log: Vec<bool>,
}

/// Sequences of equal length that are run beside each other, and where their rows are from.
pub(super) struct Set {
    pub data: Data,
    /// Key and row that each sequence begins with; of rows that are made up there are none.
    labels: Vec<(String, usize)>,
    /// Rows that differ, and keys that they are of.
    counts: (usize, usize),
    /// What they are read from.
    pub source: String,
}

impl Set {
    /// Rows that are made up.
    pub fn made(signature: &Signature, sequences: usize, steps: usize) -> Set {
        let data = Data::made(signature, sequences, steps);
        Set { data, labels: Vec::new(), counts: (0, 0), source: String::new() }
    }

    /// The first rows of data, those of all keys in turn, as so many sequences of at most `steps` steps; fewer are
    /// repeated. A window has exactly its rows.
    ///
    /// # Errors
    /// Refused: too few rows, with what there is.
    pub fn of(rows: &Rows, sequences: usize, steps: usize, window: Option<usize>) -> Result<Set> {
        let lengths = match window {
            Some(window) => vec![window],
            None => (1..=steps).rev().collect(),
        };
        // As long as several keys have that many rows: shorter where there are few.
        let enough = sequences.min(rows.keys().max(2));
        let cuts = lengths.into_iter().map(|length| (length, rows.cut(sequences, length, window.is_some())));
        let cuts: Vec<(usize, Vec<(usize, usize)>)> = cuts.filter(|(_, cut)| !cut.is_empty()).collect();
        let chosen = cuts.iter().find(|(_, cut)| cut.len() >= enough).or(cuts.first());
        let Some((steps, cut)) = chosen else { return Err(rows.too_few(window.unwrap_or(1))) };
        let of = |input: usize, &(at, first): &(usize, usize)| {
            let sequence = &rows.sequences[at];
            let width = sequence.inputs[input].len() / sequence.rows.max(1);
            sequence.inputs[input][first * width..(first + steps) * width].to_vec()
        };
        let all: Vec<&(usize, usize)> = cut.iter().cycle().take(sequences).collect();
        let inputs = rows.sequences[cut[0].0].inputs.len();
        let inputs = (0..inputs).map(|input| all.iter().flat_map(|place| of(input, place)).collect());
        let data = Data { inputs: inputs.collect(), sequences, steps: *steps };
        let label = |&&(at, first): &&(usize, usize)| {
            let sequence = &rows.sequences[at];
            (sequence.key.clone(), sequence.first + first)
        };
        let taken: BTreeSet<(usize, usize)> =
            cut.iter().flat_map(|(at, first)| (*first..first + steps).map(|row| (*at, row))).collect();
        let keys: BTreeSet<&str> = cut.iter().map(|(at, _)| rows.sequences[*at].key.as_str()).collect();
        let counts = (taken.len(), keys.len());
        Ok(Set { data, labels: all.iter().map(label).collect(), counts, source: rows.source.clone() })
    }

    /// All of its sequences.
    pub fn all(&self) -> Vec<usize> {
        (0..self.data.sequences).collect()
    }

    /// Its steps one by one; a window is one run.
    pub fn singly(&self, is_window: bool) -> Vec<usize> {
        if is_window { vec![self.data.steps] } else { vec![1; self.data.steps] }
    }

    /// The step of a number of an output, which of a window has only the last one.
    pub fn step(&self, at: usize, numbers: usize, width: usize) -> String {
        let width = width.max(1);
        format!("step {}", (at + (self.data.steps * width).saturating_sub(numbers)) / width + 1)
    }

    /// What it is, as the beginning of a sentence.
    pub fn shown(&self) -> String {
        let sequences = format!("{} sequences of {}", self.data.sequences, counted(self.data.steps, "step"));
        match self.counts {
            _ if self.labels.is_empty() => sequences,
            (rows, keys) => {
                format!("{} of {} of {} as {sequences}", counted(rows, "row"), counted(keys, "key"), self.source)
            }
        }
    }

    /// Which rows something was tried on, as the end of a sentence; of made-up ones nothing is said.
    pub fn on(&self) -> String {
        if self.labels.is_empty() { String::new() } else { format!(" (rows of {})", self.source) }
    }

    /// A sequence of it, from 0.
    pub fn sequence(&self, at: usize) -> String {
        match self.labels.get(at) {
            Some((key, row)) => format!("the sequence of key \"{key}\" from its row {row}"),
            None => format!("sequence {}", at + 1),
        }
    }
}

impl Rows {
    /// Keys that have rows.
    pub fn keys(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.key.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// Rows of all keys.
    pub fn rows(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.rows).sum()
    }

    /// Where sequences of a length can be cut out, those of all keys in turn: sequence and first row. Windows overlap
    /// where there would be too few.
    fn cut(&self, most: usize, length: usize, overlap: bool) -> Vec<(usize, usize)> {
        let by = |stride: usize| {
            let mut cut: Vec<(usize, usize, usize)> = Vec::new();
            for (at, sequence) in self.sequences.iter().enumerate() {
                let firsts = (0..sequence.rows).step_by(stride).filter(|first| first + length <= sequence.rows);
                cut.extend(firsts.take(most).enumerate().map(|(turn, first)| (turn, at, first)));
            }
            cut.sort_unstable();
            cut.truncate(most);
            cut.into_iter().map(|(_, at, first)| (at, first)).collect::<Vec<_>>()
        };
        let apart = by(length);
        if overlap && apart.len() < most { by(length.div_ceil(8)) } else { apart }
    }

    /// Why there is nothing to try.
    fn too_few(&self, needed: usize) -> Error {
        let longest = self.sequences.iter().map(|sequence| sequence.rows).max().unwrap_or(0);
        let refused: Vec<String> = self.refused.iter().map(|(reason, count)| format!("{count} ({reason})")).collect();
        let refused =
            if refused.is_empty() { String::new() } else { format!(", of which were refused: {}", refused.join(", ")) };
        let read = format!("{} of {} were read{refused}", counted(self.records, "record"), self.source);
        Error::refused(if longest == 0 {
            format!("--data: no row gets to the network: {read}. The rows need a number in every column of the card")
        } else {
            format!("--data: a window has {needed} rows, the longest sequence of a key has {longest}: {read}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lengths: &[(&str, usize)]) -> Rows {
        let sequence = |(n, (key, rows)): (usize, &(&str, usize))| Sequence {
            key: (*key).into(),
            first: 1,
            rows: *rows,
            inputs: vec![(0..rows * 2).map(|at| (n * 1000 + at) as f64).collect()],
            ..Sequence::default()
        };
        let sequences = lengths.iter().enumerate().map(sequence).collect();
        Rows { source: "some.parquet".into(), records: 9, refused: vec![("bad_id", 2)], sequences }
    }

    #[test]
    fn sequences_are_those_of_all_keys_in_turn_and_are_repeated_where_there_are_few() {
        let set = Set::of(&rows(&[("a", 30), ("b", 7), ("c", 100)]), 5, 6, None).unwrap();
        assert_eq!((set.data.sequences, set.data.steps), (5, 6));
        assert_eq!(set.shown(), "30 rows of 3 keys of some.parquet as 5 sequences of 6 steps");
        assert_eq!(set.sequence(3), "the sequence of key \"a\" from its row 7");
        assert_eq!(set.data.inputs[0][..12], (0..12).map(f64::from).collect::<Vec<_>>());
        assert_eq!(set.data.inputs[0][3 * 12], 12.0);
        let few = Set::of(&rows(&[("a", 3), ("b", 2)]), 5, 6, None).unwrap();
        assert_eq!(
            (few.data.steps, few.shown().as_str()),
            (2, "4 rows of 2 keys of some.parquet as 5 sequences of 2 steps")
        );
        assert_eq!(few.sequence(2), few.sequence(0));
    }

    #[test]
    fn windows_overlap_where_rows_are_few_and_too_few_are_refused_with_what_there_is() {
        let set = Set::of(&rows(&[("a", 18)]), 5, 6, Some(16)).unwrap();
        assert_eq!((set.data.steps, set.counts), (16, (18, 1)));
        let refused = Set::of(&rows(&[("a", 15)]), 5, 6, Some(16)).err().unwrap().to_string();
        assert!(refused.contains("a window has 16 rows, the longest sequence of a key has 15"), "{refused}");
        let refused = Set::of(&rows(&[]), 5, 6, None).err().unwrap().to_string();
        assert!(
            refused.contains("9 records of some.parquet were read, of which were refused: 2 (bad_id)"),
            "{refused}"
        );
    }
}
