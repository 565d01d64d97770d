//! Mode sequence: one answer at the end of each sequence.
//!
//! A network that runs in one direction of time advances with each row, as in mode carry; its answer of the last row
//! that took a step is that of the sequence. One that runs in both directions must see the whole sequence: its rows
//! are kept until the sequence ends, and then it runs once. So does one that makes a text. Must not live here: where a
//! sequence ends (`stage::sequence`).

use bytemuck::{Pod, Zeroable};

use super::carry::Carry;
use super::transcript::Transcripts;
use super::{Answer, LARGEST, Made, misfit};
use crate::Result;
use crate::model::executor::{Executor, Input, Output, Rows, RowsMut, Steps};
use crate::network::{Element, Signature};
use crate::record::Column;
use crate::state::{State, StateSpec};

/// Steps of a run at most, those that fill up shorter sequences included.
const MOST_STEPS: usize = 1 << 15;

/// What is kept per key before the answer or the rows.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Steps of the sequence so far.
    steps: u64,
    /// 1 if the sequence was seen from its first row on: not where another version came in between.
    from_start: u64,
}

/// What every key has at first.
pub(super) fn head() -> StateSpec {
    StateSpec::default().u64("steps", 0).flag("from_start", false)
}

/// A network whose state advances with each row.
pub(super) struct Stepwise {
    carry: Carry,
    /// Numbers of an answer.
    width: usize,
}

impl Stepwise {
    /// `state` is that of the network after the [`head`] and an answer of so many numbers.
    pub(super) fn new(carry: Carry, width: usize) -> Stepwise {
        Stepwise { carry, width }
    }

    pub(super) fn state(&self) -> StateSpec {
        self.carry.state()
    }

    /// Advances every key by its rows of the batch; rows that end a sequence have its answer.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        ends: &[bool],
        state: &mut State<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<()> {
        self.carry.run(executor, made, state, answer)?;
        for (row, ends) in ends.iter().enumerate() {
            let (head, last): (&mut RowHead, &mut [u64]) = state.rows.split_mut(made.slots[row]);
            let last = &mut bytemuck::cast_slice_mut::<u64, f32>(last)[..self.width];
            if made.restart[row] {
                head.from_start = 1;
                last.fill(f32::NAN);
            }
            // Another network hasn't seen the rows before.
            if self.carry.begins_again(row) && !made.restart[row] {
                head.from_start = 0;
            }
            let mut at = 0;
            for output in 0..answer.outputs.len() {
                let given = answer.row(output, row).ok_or_else(misfit)?;
                let last = &mut last[at..at + given.len()];
                // A row that took no step doesn't change what the sequence has come to.
                if made.usable[row] {
                    last.copy_from_slice(given)
                } else {
                    given.copy_from_slice(last)
                }
                at += given.len();
            }
            if *ends {
                answer.warm_up[row] = head.from_start == 0;
            }
        }
        Ok(())
    }
}

/// A network that sees a whole sequence at once.
pub(super) struct Whole {
    /// Rows of a sequence at most.
    most: usize,
    /// Numbers of a row; 0: there are ids alone.
    width: usize,
    /// Inputs of ids.
    ids: usize,
    /// Whether the graph asks for the steps of each sequence.
    takes_lengths: bool,
    /// Set where the answer is a text.
    transcripts: Option<Transcripts>,
    /// The rows of the sequences that ended.
    values: Vec<f32>,
    /// Their ids, of each input.
    values_of_ids: Vec<Vec<i64>>,
    /// How many rows those are.
    kept: usize,
    /// Those sequences: the row that ended each, its first row in `values` and its rows.
    ended: Vec<Ended>,
    slots: Vec<u32>,
    rows: Vec<u32>,
    gives: Vec<u32>,
    reset: Vec<bool>,
    lengths: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Ended {
    row: u32,
    slot: u32,
    first: u32,
    length: u32,
}

impl Whole {
    pub(super) fn new(most: usize, signature: &Signature, transcripts: Option<Transcripts>) -> Whole {
        let numbers = || signature.inputs.iter().filter(|input| input.tensor.element == Element::Float32);
        Whole {
            most,
            width: numbers().map(|input| input.tensor.width()).sum(),
            ids: signature.inputs.len() - numbers().count(),
            takes_lengths: signature.lengths.is_some(),
            transcripts,
            values: Vec::new(),
            values_of_ids: vec![Vec::new(); signature.inputs.len() - numbers().count()],
            kept: 0,
            ended: Vec::new(),
            slots: Vec::new(),
            rows: Vec::new(),
            gives: Vec::new(),
            reset: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// The texts of the rows of the last batch that end a sequence, if there are any.
    pub(super) fn texts(&mut self, ends: &[bool]) -> Option<Column> {
        self.transcripts.as_mut().map(|transcripts| transcripts.column(ends))
    }

    /// The [`RowHead`] and the rows of the sequence so far.
    pub(super) fn state(&self) -> StateSpec {
        let rows = head().f32s("past", self.most * self.width);
        if self.ids == 0 { rows } else { rows.i64s("ids", self.most * self.ids) }
    }

    /// Keeps the rows of the batch, and runs the sequences that end.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        ends: &[bool],
        state: &mut State<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<()> {
        let (width, words) = (self.width, (self.most * self.width).div_ceil(2));
        let (x, ids) = match *made.inputs {
            [Input { values: Rows::F32(x), .. }, ref ids @ ..] if width > 0 => (x, ids),
            ref ids if width == 0 => (&[][..], ids),
            _ => return Err(misfit()),
        };
        let count = self.ids;
        for (row, ends) in ends.iter().enumerate() {
            let (head, past): (&mut RowHead, &mut [u64]) = state.rows.split_mut(made.slots[row]);
            let (past, past_ids) = past.split_at_mut(words);
            let past = bytemuck::cast_slice_mut::<u64, f32>(past);
            if made.restart[row] {
                *head = RowHead { steps: 0, from_start: 1 };
            }
            let steps = head.steps as usize;
            if made.usable[row] && steps < self.most {
                past[steps * width..(steps + 1) * width].copy_from_slice(&x[row * width..(row + 1) * width]);
                for (to, input) in past_ids[steps * count..].iter_mut().zip(ids) {
                    let Rows::I64(ids) = input.values else { return Err(misfit()) };
                    *to = ids[row].cast_unsigned();
                }
                head.steps += 1;
            }
            if !*ends {
                continue;
            }
            answer.warm_up[row] = head.from_start == 0;
            let length = head.steps as usize;
            head.steps = 0;
            if length > 0 {
                let first = self.kept as u32;
                self.kept += length;
                self.values.extend_from_slice(&past[..length * width]);
                for (at, values) in self.values_of_ids.iter_mut().enumerate() {
                    let own = past_ids[..length * count].iter().skip(at).step_by(count);
                    values.extend(own.map(|id| id.cast_signed()));
                }
                self.ended.push(Ended { row: row as u32, slot: made.slots[row], first, length: length as u32 });
            }
            if self.ended.len() == LARGEST || self.kept >= MOST_STEPS {
                self.predict(executor, answer)?;
            }
        }
        self.predict(executor, answer)
    }

    /// Runs the sequences that ended, those of similar lengths together: each has the bits that it has alone.
    fn predict(&mut self, executor: &mut dyn Executor, answer: &mut Answer<'_>) -> Result<()> {
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|one| one.length);
        let mut tokens = self.transcripts.as_ref().map(|all| vec![f32::NAN; self.kept * all.width()]);
        while let Some(longest) = ended.last() {
            let t = longest.length as usize;
            let together = ended.split_off(ended.len().saturating_sub((MOST_STEPS / t).max(1)));
            self.lay_out(t, &together);
            let numbers = Input { values: Rows::F32(&self.values), width: self.width };
            let ids = self.values_of_ids.iter().map(|ids| Input { values: Rows::I64(ids), width: 1 });
            let inputs: Vec<Input<'_>> = (self.width > 0).then_some(numbers).into_iter().chain(ids).collect();
            let steps = Steps {
                t,
                slots: &self.slots,
                inputs: &inputs,
                rows: &self.rows,
                gives: &self.gives,
                reset: &self.reset,
                lengths: if self.takes_lengths { &self.lengths } else { &[] },
            };
            match (&mut tokens, &mut self.transcripts) {
                (Some(tokens), Some(transcripts)) => {
                    let output = Output { values: RowsMut::F32(tokens), width: transcripts.width() };
                    executor.run(&steps, None, &mut [output])?;
                    for Ended { row, first, length, .. } in together {
                        transcripts.take(row, tokens, first as usize..(first + length) as usize);
                    }
                }
                _ => executor.run(&steps, None, &mut answer.outputs)?,
            }
        }
        self.values.clear();
        self.values_of_ids.iter_mut().for_each(Vec::clear);
        self.kept = 0;
        self.ended = ended;
        Ok(())
    }

    /// A run of these sequences over `t` steps. Beyond its end a sequence repeats its last row, which nothing reads.
    fn lay_out(&mut self, t: usize, sequences: &[Ended]) {
        let Whole { slots, rows, gives, reset, lengths, transcripts, .. } = self;
        [&mut *slots, rows, gives, lengths].into_iter().for_each(Vec::clear);
        rows.reserve(t * sequences.len());
        for step in 0..t as u32 {
            rows.extend(sequences.iter().map(|one| one.first + step.min(one.length - 1)));
        }
        match transcripts {
            // Each step of a sequence gives tokens.
            Some(_) => gives.extend((0..t as u32).flat_map(|step| {
                let row = move |one: &Ended| if step < one.length { one.first + step } else { Steps::NONE };
                sequences.iter().map(row)
            })),
            None => {
                gives.resize((t - 1) * sequences.len(), Steps::NONE);
                gives.extend(sequences.iter().map(|one| one.row));
            }
        }
        slots.extend(sequences.iter().map(|one| one.slot));
        lengths.extend(sequences.iter().map(|one| one.length));
        reset.clear();
        reset.resize(sequences.len(), true);
    }
}
