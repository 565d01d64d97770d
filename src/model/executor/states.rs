//! The states of a graph: out of the bank into its tensors and back, each in its own type and with its batch axis
//! wherever that is, and what they are before a first step. Must not live here: the bank itself (`state`).

use std::ops::Range;

use super::convert::bytes_of;
use super::place::Place;
use super::{Buffer, Steps};
use crate::network::{Initial, StateTensor};
use crate::state::{Bank, StateSpec, Type, bank_words};
use crate::{Error, Result};

/// All states of a graph.
pub(super) struct States(Vec<State>);

struct State {
    /// Bytes of a number.
    number: usize,
    /// Bytes of a row.
    bytes: usize,
    /// Where its bytes begin in a slot of the bank.
    at: usize,
    place: Place,
    initial: Vec<u8>,
}

/// What a state is before a key's first step, as the bytes of a row. `file` gives the files of the version.
///
/// # Errors
/// Refused: a file that is missing or of another size.
pub fn initial<'f>(state: &StateTensor, file: &dyn Fn(&str) -> Option<&'f [u8]>) -> Result<Vec<u8>> {
    let (tensor, bytes) = (&state.tensor, state.tensor.row_bytes());
    let refused = |what: String| Err(Error::refused(format!("the initial state \"{}\": {what}", tensor.name)));
    match &state.initial {
        Initial::Zero => Ok(vec![0; bytes]),
        Initial::Number(value) => Ok(bytes_of(*value, tensor.element).repeat(tensor.width())),
        Initial::File(name) => match file(name) {
            None => refused(format!("the version has no file \"{name}\"")),
            Some(found) if found.len() != bytes => {
                refused(format!("\"{name}\" has {} bytes, {} of a key has {bytes}", found.len(), tensor.describe()))
            }
            Some(found) => Ok(found.to_vec()),
        },
    }
}

/// The states as the bank keeps them of each key, after what `spec` has.
///
/// # Errors
/// As [`initial`].
pub fn described<'f>(
    spec: StateSpec,
    states: &[StateTensor],
    file: &dyn Fn(&str) -> Option<&'f [u8]>,
) -> Result<StateSpec> {
    states.iter().try_fold(spec, |spec, state| {
        let initial = initial(state, file)?;
        Ok(spec.tensor(&state.tensor.name, Type::of(state.tensor.element), &initial))
    })
}

impl States {
    pub(super) fn new<'f>(states: &[StateTensor], file: &dyn Fn(&str) -> Option<&'f [u8]>) -> Result<States> {
        let mut at = 0;
        let one = |state: &StateTensor| {
            let (number, bytes) = (state.tensor.element.bytes(), state.tensor.row_bytes());
            let place = Place::new(&state.tensor);
            let one = State { number, bytes, at, place, initial: initial(state, file)? };
            at += bank_words(bytes) * size_of::<u32>();
            Ok(one)
        };
        Ok(States(states.iter().map(one).collect::<Result<_>>()?))
    }

    /// Words of a slot of the bank.
    pub(super) fn words(&self) -> usize {
        self.0.iter().map(|state| bank_words(state.bytes)).sum()
    }

    /// Makes room for `b` sequences.
    pub(super) fn resize(&self, b: usize, buffers: &mut [Buffer]) {
        self.0.iter().zip(buffers).for_each(|(state, buffer)| buffer.resize(b * state.bytes));
    }

    /// The states of sequences into a run of `b`: those of the bank, or what they begin with.
    pub(super) fn gather(
        &mut self,
        steps: &Steps<'_>,
        sequences: Range<usize>,
        b: usize,
        bank: Option<&mut Bank>,
        buffers: &mut [Buffer],
    ) {
        self.resize(b, buffers);
        if b != sequences.len() {
            buffers.iter_mut().for_each(|buffer| buffer.bytes_mut().fill(0));
        }
        self.0.iter_mut().for_each(|state| state.place.lay_out(1, b));
        let bank = bank.map(|Bank::Host(bank)| bank.numbers());
        for (n, sequence) in sequences.enumerate() {
            let row = match &bank {
                Some(bank) if !steps.reset[sequence] => Some(bank.get(steps.slots[sequence])),
                _ => None,
            };
            for (state, buffer) in self.0.iter().zip(buffers.iter_mut()) {
                let from = row.map_or(&state.initial[..], |row| &row[state.at..state.at + state.bytes]);
                let to = buffer.bytes_mut();
                state.pieces(n).zip(from.chunks_exact(state.piece())).for_each(|(at, from)| {
                    to[at..at + from.len()].copy_from_slice(from);
                });
            }
        }
    }

    /// The states of sequences back into the bank.
    pub(super) fn scatter(
        &self,
        steps: &Steps<'_>,
        sequences: Range<usize>,
        bank: Option<&mut Bank>,
        buffers: &[Buffer],
    ) {
        let Some(Bank::Host(bank)) = bank else { return };
        let mut bank = bank.numbers();
        for (n, sequence) in sequences.enumerate() {
            let row = bank.get_mut(steps.slots[sequence]);
            for (state, buffer) in self.0.iter().zip(buffers) {
                let (to, from) = (&mut row[state.at..state.at + state.bytes], buffer.bytes());
                state.pieces(n).zip(to.chunks_exact_mut(state.piece())).for_each(|(at, to)| {
                    to.copy_from_slice(&from[at..at + to.len()]);
                });
            }
        }
    }
}

impl State {
    /// Bytes of a piece of a row.
    fn piece(&self) -> usize {
        self.place.piece * self.number
    }

    /// Where the pieces of a sequence begin.
    fn pieces(&self, sequence: usize) -> impl Iterator<Item = usize> {
        let start = sequence * self.place.batch;
        self.place.pieces.iter().map(move |piece| (start + piece) * self.number)
    }
}
