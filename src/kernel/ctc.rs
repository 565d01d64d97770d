//! Transcripts out of the probabilities of tokens, step by step: the most likely token of each step, and the search of
//! a beam (Graves et al. 2006; Hannun et al. 2014, prefix search without a language model).
//!
//! Lives here: what one step does to the beginnings that are kept, with memory that their number and their length
//! bound. Must not live here: the loss (`train::ctc`), what the tokens are called, where beginnings are kept between
//! records (`stage::infer`).
//!
//! A step is a row of numbers, one for each token; the last one is that of the blank, which stands between tokens.

use std::cmp::Ordering;

/// The place of the largest number of a row, of equal ones the first.
pub fn best(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
}

/// ln(e^a + e^b)
pub fn add_ln(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY { most } else { most + (least - most).exp().ln_1p() }
}

/// A beginning of a transcript, with ln of the probability of all ways that lead to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Of the ways that end in a blank.
    pub in_blank: f64,
    /// Of the ways that end in its last token.
    pub in_token: f64,
}

impl Beginning {
    /// Before the first step.
    fn none() -> Beginning {
        Beginning { tokens: Vec::new(), in_blank: 0.0, in_token: f64::NEG_INFINITY }
    }

    fn any(&self) -> f64 {
        add_ln(self.in_blank, self.in_token)
    }

    /// Of the ways after which a token makes it longer: the same token again needs a blank before it.
    fn before(&self, token: u32) -> f64 {
        if self.tokens.last() == Some(&token) { self.in_blank } else { self.any() }
    }
}

/// What a step may make of a beginning: itself, or itself and a token.
#[derive(Clone, Copy)]
struct Candidate {
    ln: f64,
    of: u32,
    token: Option<u32>,
}

/// The most likely beginnings after each step, at most so many; equally likely ones in the order of their tokens.
#[derive(Debug, Clone)]
pub struct Beam {
    width: usize,
    most: usize,
    kept: Vec<Beginning>,
    is_cut: bool,
}

impl Beam {
    /// Of so many beginnings, each of at most so many tokens: at that length they no longer grow.
    pub fn new(width: usize, most: usize) -> Beam {
        Beam { width: width.max(1), most, kept: vec![Beginning::none()], is_cut: false }
    }

    /// Beginnings that it keeps at most.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The beginnings, the most likely first; there is at least one.
    pub fn kept(&self) -> &[Beginning] {
        &self.kept
    }

    /// Goes on from these beginnings, or from none.
    pub fn restore(&mut self, kept: impl IntoIterator<Item = Beginning>) {
        self.kept.clear();
        self.kept.extend(kept);
        if self.kept.is_empty() {
            self.kept.push(Beginning::none());
        }
        self.is_cut = false;
    }

    /// The tokens of the most likely beginning.
    pub fn best(&self) -> &[u32] {
        self.kept.first().map_or(&[], |first| &first.tokens)
    }

    /// Whether a beginning has been too long to grow since the last [`Beam::restore`].
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Takes a step: ln of the probability of each token, and of the blank.
    pub fn step(&mut self, ln_p: &[f64]) {
        let Some((blank, tokens)) = ln_p.split_last() else { return };
        let same: Vec<(f64, f64)> = self.kept.iter().map(|one| self.same(one, ln_p, *blank)).collect();
        let mut found = Found { beam: self, all: Vec::new(), least: f64::NEG_INFINITY };
        for (of, (in_blank, in_token)) in same.iter().enumerate() {
            found.add(Candidate { ln: add_ln(*in_blank, *in_token), of: of as u32, token: None });
        }
        let mut is_cut = false;
        for (of, one) in self.kept.iter().enumerate() {
            if one.tokens.len() >= self.most {
                is_cut = true;
                continue;
            }
            // Longer ones that are kept already have these ways in `same`.
            let longer = |token: u32| {
                let is_it = |other: &Beginning| other.tokens.split_last() == Some((&token, &one.tokens[..]));
                self.kept.iter().any(is_it)
            };
            let any = one.any();
            for (token, ln_p) in (0_u32..).zip(tokens) {
                let before = if one.tokens.last() == Some(&token) { one.in_blank } else { any };
                let ln = before + ln_p;
                if ln.total_cmp(&found.least) != Ordering::Less && !longer(token) {
                    found.add(Candidate { ln, of: of as u32, token: Some(token) });
                }
            }
        }
        let made = |candidate: Candidate| {
            let of = candidate.of as usize;
            let mut tokens = self.kept[of].tokens.clone();
            tokens.extend(candidate.token);
            match candidate.token {
                None => Beginning { tokens, in_blank: same[of].0, in_token: same[of].1 },
                Some(_) => Beginning { tokens, in_blank: f64::NEG_INFINITY, in_token: candidate.ln },
            }
        };
        let kept: Vec<Beginning> = found.first().into_iter().map(made).collect();
        self.kept = kept;
        self.is_cut |= is_cut;
    }

    /// Of the ways that end in a blank, and in the last token, after a step that leaves a beginning as it is: those
    /// that were in it, and those that come to it from the one that lacks its last token.
    fn same(&self, one: &Beginning, ln_p: &[f64], blank: f64) -> (f64, f64) {
        let Some((last, before)) = one.tokens.split_last() else {
            return (one.any() + blank, f64::NEG_INFINITY);
        };
        let ln_p = ln_p[*last as usize];
        let mut in_token = one.in_token + ln_p;
        if let Some(shorter) = self.kept.iter().find(|other| other.tokens == before) {
            in_token = add_ln(in_token, shorter.before(*last) + ln_p);
        }
        (one.any() + blank, in_token)
    }

    /// The more likely first, of equally likely ones that whose tokens come first.
    fn order(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let tokens = |of: &Candidate| self.kept[of.of as usize].tokens.iter().copied().chain(of.token);
        b.ln.total_cmp(&a.ln).then_with(|| tokens(a).cmp(tokens(b)))
    }
}

/// The candidates of a step: at most eight times as many as the beam keeps.
struct Found<'a> {
    beam: &'a Beam,
    all: Vec<Candidate>,
    /// What is less likely isn't kept.
    least: f64,
}

impl Found<'_> {
    fn add(&mut self, candidate: Candidate) {
        self.all.push(candidate);
        if self.all.len() >= 8 * self.beam.width {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.all.sort_by(|a, b| self.beam.order(a, b));
        self.all.truncate(self.beam.width);
        if let (true, Some(last)) = (self.all.len() == self.beam.width, self.all.last()) {
            self.least = last.ln;
        }
    }

    fn first(mut self) -> Vec<Candidate> {
        self.cut();
        self.all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Steps of probabilities of tokens and the blank, from some numbers.
    fn steps(seed: u64, steps: usize, outputs: usize) -> Vec<Vec<f64>> {
        let mut noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut number = || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            ((noise >> 40) as f64 / f64::from(1 << 24) * 3.0).exp()
        };
        let row = |_| {
            let row: Vec<f64> = (0..outputs).map(|_| number()).collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(|p| (p / sum).ln()).collect()
        };
        (0..steps).map(row).collect()
    }

    /// The probability of each transcript, summed over every way through the steps.
    fn every_way(steps: &[Vec<f64>]) -> BTreeMap<Vec<u32>, f64> {
        let outputs = steps[0].len();
        let mut all = BTreeMap::new();
        for number in 0..outputs.pow(steps.len() as u32) {
            let (mut tokens, mut p, mut last) = (Vec::new(), 0.0, outputs - 1);
            for (at, step) in steps.iter().enumerate() {
                let token = number / outputs.pow(at as u32) % outputs;
                p += step[token];
                if token != last && token != outputs - 1 {
                    tokens.push(token as u32);
                }
                last = token;
            }
            *all.entry(tokens).or_insert(0.0) += f64::exp(p);
        }
        all
    }

    fn run(steps: &[Vec<f64>], width: usize, most: usize) -> Beam {
        let mut beam = Beam::new(width, most);
        steps.iter().for_each(|step| beam.step(step));
        beam
    }

    #[test]
    fn a_beam_that_keeps_all_has_the_probability_of_every_transcript() {
        for (seed, count, outputs) in [(1, 1, 2), (2, 4, 3), (3, 5, 3), (4, 5, 4), (5, 6, 2)] {
            let steps = steps(seed, count, outputs);
            let all = every_way(&steps);
            let beam = run(&steps, 100_000, usize::MAX);
            let kept: Vec<&Beginning> = beam.kept().iter().filter(|one| one.any() > f64::NEG_INFINITY).collect();
            assert_eq!(kept.len(), all.len());
            for one in &kept {
                assert!((one.any().exp() - all[&one.tokens]).abs() < 1e-12, "{one:?}");
            }
            assert!(kept.windows(2).all(|pair| pair[0].any() >= pair[1].any()));
        }
    }

    /// "a" 0.4 and blank 0.6, twice: aa, a-, -a are 0.64 in all, nothing is 0.36.
    #[test]
    fn two_steps_by_hand() {
        let step = [0.4_f64.ln(), 0.6_f64.ln()];
        let mut beam = Beam::new(4, 9);
        beam.step(&step);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let [nothing, a] = beam.kept() else { panic!("{beam:?}") };
        assert!(nothing.tokens.is_empty() && near(nothing.any(), 0.6_f64.ln()) && nothing.in_token.is_infinite());
        assert!(a.tokens == [0] && near(a.in_token, 0.4_f64.ln()) && a.in_blank.is_infinite());
        beam.step(&step);
        let [a, nothing, ..] = beam.kept() else { panic!("{beam:?}") };
        assert!(a.tokens == [0] && near(a.in_blank.exp(), 0.24) && near(a.in_token.exp(), 0.16 + 0.24));
        assert!(nothing.tokens.is_empty() && near(nothing.any().exp(), 0.36));
        // Twice "a" needs a blank between them: not in two steps.
        assert!(beam.kept()[2..].iter().all(|one| one.any() == f64::NEG_INFINITY));
        beam.step(&step);
        let twice = beam.kept().iter().find(|one| one.tokens == [0, 0]).unwrap();
        assert!(near(twice.any().exp(), 0.4 * 0.6 * 0.4));
        // One way is the most likely beginning of each step: nothing, though "a" is more likely.
        assert_eq!(best(&[0.4, 0.6]), 1);
    }

    #[test]
    fn equally_likely_ones_come_in_the_order_of_their_tokens() {
        let step = vec![0.25_f64.ln(); 4];
        let mut beam = Beam::new(3, 9);
        beam.step(&step);
        let tokens = |beam: &Beam| beam.kept().iter().map(|one| one.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&beam), [vec![], vec![0], vec![1]]);
        // Of many candidates too, more than are sorted at once.
        let mut beam = Beam::new(2, 9);
        beam.step(&vec![0.01_f64.ln(); 100]);
        assert_eq!(tokens(&beam), [vec![], vec![0]]);
        assert_eq!(best(&[0.2, 0.4, 0.4, 0.1]), 1);
    }

    /// What a narrow beam keeps is what sorting all it could have kept gives.
    #[test]
    fn a_narrow_beam_is_the_head_of_the_wide_step() {
        for seed in 0..20 {
            let steps = steps(seed, 7, 40);
            let mut beam = Beam::new(3, usize::MAX);
            for step in &steps {
                let mut wide = Beam::new(1000, usize::MAX);
                wide.restore(beam.kept().to_vec());
                wide.step(step);
                beam.step(step);
                assert_eq!(beam.kept(), &wide.kept()[..3]);
            }
        }
    }

    #[test]
    fn a_beginning_of_the_most_tokens_no_longer_grows_and_a_restored_beam_goes_on() {
        let steps = steps(3, 8, 3);
        let free = run(&steps, 4, usize::MAX);
        assert!(!free.is_cut() && free.best().len() > 2, "{free:?}");
        let short = run(&steps, 4, 2);
        assert!(short.is_cut() && short.kept().iter().all(|one| one.tokens.len() <= 2), "{short:?}");
        let mut again = Beam::new(4, usize::MAX);
        again.restore(run(&steps[..5], 4, usize::MAX).kept().to_vec());
        steps[5..].iter().for_each(|step| again.step(step));
        assert_eq!(again.kept(), free.kept());
        again.restore([]);
        assert_eq!(again.kept(), Beam::new(1, 1).kept());
    }
}
