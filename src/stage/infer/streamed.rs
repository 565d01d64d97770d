//! Mode carry with a network of transcripts: with each record the text of its sequence so far.
//!
//! The network advances as in mode carry. What the text is so far is part of the key's state: with `beam: 1` its tokens
//! and the most probable token of the last step, else the beginnings that the beam keeps. Memory per key is bounded: a
//! text has at most `max_tokens` tokens; what would make it longer is left out until its sequence ends, and counted.
//! Must not live here: where a sequence ends (`stage::sequence`), what a token is called (`transcript`).

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use bytemuck::{Pod, Zeroable};

use super::carry::Carry;
use super::transcript::{Names, logarithms};
use super::{Answer, Made, misfit};
use crate::Result;
use crate::kernel::ctc::{Beam, Beginning, best};
use crate::metrics::Metrics;
use crate::model::executor::Executor;
use crate::record::{Column, Values};
use crate::state::{State, StateSpec};

/// What is kept per key before the tokens.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowHead {
    /// Steps of the sequence so far, which [`Carry`] counts.
    steps: u64,
    /// 1 if the sequence was seen from its first row on: not where another version came in between.
    from_start: u64,
    /// 1 if a step of it was decoded.
    has_step: u64,
    /// 1 if its text has been too long.
    is_cut: u64,
}

/// How tokens become a text, with what that keeps: words of state after the [`RowHead`].
enum Decoding {
    /// The most probable token of the last step, from 1 (0: there is none); the number of tokens; the tokens.
    Path,
    /// The number of beginnings; of each ln of its two probabilities and its length; the tokens of each.
    Beam(Beam, Vec<f64>),
}

/// The network, and the texts that it makes.
pub(super) struct Streamed {
    carry: Carry,
    names: Names,
    /// Tokens of a text at most.
    most: usize,
    decoding: Decoding,
    metrics: Arc<Metrics>,
    /// The texts of a batch.
    made: Vec<Option<String>>,
}

/// What every key has at first.
pub(super) fn state(beam: usize, most: usize) -> StateSpec {
    let head = StateSpec::default().u64("steps", 0).flag("from_start", false).flag("has_step", false);
    let head = head.flag("is_cut", false);
    match beam {
        1 => head.u64("last", 0).u64("length", 0).i32s("tokens", most),
        _ => head
            .u64("kept", 0)
            .f64s("ln_blank", beam, 0.0)
            .f64s("ln_token", beam, 0.0)
            .i64s("length", beam)
            .i32s("tokens", beam * most),
    }
}

impl Streamed {
    /// `carry` has the [`state`] of the same beam and the same number of tokens.
    pub(super) fn new(carry: Carry, names: Names, (beam, most): (usize, usize), metrics: Arc<Metrics>) -> Streamed {
        let decoding = if beam == 1 { Decoding::Path } else { Decoding::Beam(Beam::new(beam, most), Vec::new()) };
        Streamed { carry, names, most, decoding, metrics, made: Vec::new() }
    }

    pub(super) fn state(&self) -> StateSpec {
        self.carry.state()
    }

    /// The text of each row of the last batch, null before the first step of a sequence, and which rows end one;
    /// forgets them.
    pub(super) fn columns(&mut self, ends: &[bool]) -> Vec<Column> {
        let texts: ArrayRef = Arc::new(std::mem::take(&mut self.made).into_iter().collect::<StringArray>());
        vec![Values::Passthrough(texts).into(), Values::Flag(ends.to_vec()).into()]
    }

    /// Advances every key by its rows of the batch, and its text with it.
    pub(super) fn run(
        &mut self,
        executor: &mut dyn Executor,
        made: Made<'_>,
        state: &mut State<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<()> {
        self.carry.run(executor, made, state, answer)?;
        self.made.clear();
        let mut cut = 0;
        for row in 0..made.slots.len() {
            let (head, words): (&mut RowHead, &mut [u64]) = state.rows.split_mut(made.slots[row]);
            if made.restart[row] {
                *head = RowHead { from_start: 1, has_step: 0, is_cut: 0, ..*head };
                self.decoding.restart(words);
            }
            if made.usable[row] {
                let step = answer.row(0, row).filter(|step| step.len() == self.names.width()).ok_or_else(misfit)?;
                head.has_step = 1;
                let is_cut = self.decoding.step(words, step, self.names.blank(), self.most);
                cut += u64::from(is_cut && head.is_cut == 0);
                head.is_cut |= u64::from(is_cut);
            }
            let text = (head.has_step == 1).then(|| self.names.join(self.decoding.tokens(words, self.most)));
            self.made.push(text);
            answer.warm_up[row] = head.from_start == 0;
        }
        self.metrics.transcripts_cut.inc_by(cut);
        Ok(())
    }
}

impl Decoding {
    /// No step yet.
    fn restart(&self, words: &mut [u64]) {
        match self {
            Decoding::Path => words[..2].fill(0),
            Decoding::Beam(..) => words[0] = 0,
        }
    }

    /// Takes the probabilities of a step; returns whether a text is too long to grow.
    fn step(&mut self, words: &mut [u64], probabilities: &[f32], blank: usize, most: usize) -> bool {
        match self {
            Decoding::Path => {
                let (head, tokens) = words.split_at_mut(2);
                let token = best(probabilities);
                let is_new = token != blank && head[0] != token as u64 + 1;
                head[0] = token as u64 + 1;
                let length = head[1] as usize;
                if is_new && length < most {
                    bytemuck::cast_slice_mut::<u64, u32>(tokens)[length] = token as u32;
                    head[1] += 1;
                }
                is_new && length >= most
            }
            Decoding::Beam(beam, ln_p) => {
                let mut kept = Kept::of(words, beam.width(), most);
                beam.restore((0..kept.count()).map(|at| kept.get(at)));
                logarithms(probabilities, ln_p);
                beam.step(ln_p);
                kept.put(beam.kept());
                beam.is_cut()
            }
        }
    }

    /// The tokens of the text so far.
    fn tokens<'a>(&self, words: &'a [u64], most: usize) -> &'a [u32] {
        let (length, first) = match self {
            Decoding::Path => (words[1], 2),
            Decoding::Beam(..) if words[0] == 0 => (0, 0),
            // The most probable beginning comes first.
            Decoding::Beam(beam, _) => (words[1 + 2 * beam.width()], 1 + 3 * beam.width()),
        };
        &bytemuck::cast_slice(&words[first..])[..(length as usize).min(most)]
    }
}

/// The beginnings of a beam in words of state.
struct Kept<'a> {
    words: &'a mut [u64],
    width: usize,
    most: usize,
}

impl<'a> Kept<'a> {
    fn of(words: &'a mut [u64], width: usize, most: usize) -> Kept<'a> {
        Kept { words, width, most }
    }

    fn count(&self) -> usize {
        (self.words[0] as usize).min(self.width)
    }

    fn get(&self, at: usize) -> Beginning {
        let number = |of: usize| f64::from_bits(self.words[1 + of * self.width + at]);
        let length = (self.words[1 + 2 * self.width + at] as usize).min(self.most);
        let tokens: &[u32] = bytemuck::cast_slice(&self.words[1 + 3 * self.width..]);
        let tokens = tokens[at * self.most..][..length].to_vec();
        Beginning { tokens, in_blank: number(0), in_token: number(1) }
    }

    fn put(&mut self, kept: &[Beginning]) {
        let (width, most) = (self.width, self.most);
        self.words[0] = kept.len() as u64;
        let (head, tokens) = self.words.split_at_mut(1 + 3 * width);
        let tokens: &mut [u32] = bytemuck::cast_slice_mut(tokens);
        for (at, one) in kept.iter().enumerate() {
            head[1 + at] = one.in_blank.to_bits();
            head[1 + width + at] = one.in_token.to_bits();
            head[1 + 2 * width + at] = one.tokens.len() as u64;
            tokens[at * most..][..one.tokens.len()].copy_from_slice(&one.tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both decodings over steps, whose state is words that are taken up again before each of them.
    fn texts(beam: usize, most: usize, steps: &[[f32; 3]]) -> (Vec<String>, Vec<bool>) {
        let names = Names::new(&["a", "b", "-"].map(String::from));
        let head = size_of::<RowHead>() / size_of::<u64>();
        let mut words = state(beam, most).initial()[head..].to_vec();
        let mut made = (Vec::new(), Vec::new());
        for step in steps {
            let mut decoding = if beam == 1 { Decoding::Path } else { Decoding::Beam(Beam::new(beam, most), vec![]) };
            made.1.push(decoding.step(&mut words, step, names.blank(), most));
            made.0.push(names.join(decoding.tokens(&words, most)));
        }
        let decoding = if beam == 1 { Decoding::Path } else { Decoding::Beam(Beam::new(beam, most), vec![]) };
        decoding.restart(&mut words);
        assert!(decoding.tokens(&words, most).is_empty());
        made
    }

    const A: [f32; 3] = [0.8, 0.1, 0.1];
    const B: [f32; 3] = [0.1, 0.8, 0.1];
    const BLANK: [f32; 3] = [0.1, 0.1, 0.8];

    #[test]
    fn a_text_grows_with_each_step_and_stops_at_the_most_tokens() {
        for beam in [1, 8] {
            let steps = [BLANK, A, A, BLANK, A, B, B, A, BLANK];
            let (made, cut) = texts(beam, 9, &steps);
            assert_eq!(made, ["", "a", "a", "a", "a-a", "a-a-b", "a-a-b", "a-a-b-a", "a-a-b-a"], "{beam}");
            assert!(beam > 1 || !cut.contains(&true), "{cut:?}");
            let (made, cut) = texts(beam, 2, &steps);
            assert_eq!(made[4], "a-a");
            assert!(made.iter().all(|text| text.len() <= 3), "{made:?}");
            assert!(cut.contains(&true) && !cut[0], "{cut:?}");
        }
        // An odd number of tokens, of which two lie in a word.
        assert_eq!(texts(3, 3, &[A, B, A, B]).0[2], "a-b-a");
    }

    /// Blank is 0.45 at each of two steps, but the ways with one b are more.
    #[test]
    fn a_beam_may_change_what_it_said() {
        let steps = [[0.15, 0.4, 0.45]; 2];
        assert_eq!(texts(1, 4, &steps).0, ["", ""]);
        assert_eq!(texts(4, 4, &steps).0, ["", "b"]);
    }
}
