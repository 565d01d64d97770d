//! Connectionist temporal classification (Graves, Fernandez, Gomez and Schmidhuber 2006): how likely a transcript is
//! when it isn't known which step says which token, and the most likely transcript.
//!
//! Lives here: loss and gradient by the forward-backward sums in log space, whole sequences decoded, the edit distance
//! of transcripts. Must not live here: which tokens there are (`head::ctc`), a step of the decoding (`kernel::ctc`).
//!
//! `y` [steps, outputs] is what is before a softmax; the last output is the blank, which stands between tokens.

use super::loss;
use crate::kernel::ctc::{Beam, add_ln as add, best};
use crate::kernel::softmax;

/// Steps that a transcript needs: one for each token, and a blank between equal neighbours.
pub fn needs(tokens: &[u32]) -> usize {
    tokens.len() + tokens.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

/// ln of the softmax of each row.
fn log_softmax(y: &[f32], outputs: usize) -> Vec<f64> {
    y.chunks_exact(outputs).flat_map(|row| (0..outputs).map(loss::log_softmax(row))).collect()
}

/// Outputs from which on their softmax is that of f32, to 1e-6: exponentials of f64 would take longer than the network.
const MANY: usize = 256;

/// Per row its largest number, and ln of the sum of all e^(y - that); the softmax of all rows into `to`.
fn sums(y: &[f32], outputs: usize, to: &mut [f32]) -> Vec<(f64, f64)> {
    if outputs >= MANY {
        let sums = softmax::probabilities(y, outputs, to);
        return sums.into_iter().map(|(most, of_all)| (f64::from(most), of_all)).collect();
    }
    let rows = y.chunks_exact(outputs).zip(to.chunks_exact_mut(outputs));
    rows.map(|(row, to)| {
        let (most, of_all) = loss::sums(row);
        to.iter_mut().zip(row).for_each(|(to, y)| *to = (f64::from(*y) - most - of_all).exp() as f32);
        (most, of_all)
    })
    .collect()
}

/// -ln of the probability of the tokens, and its gradient by `y` into `gradient`, as long as `y`. Infinite, without a
/// gradient, where there are fewer steps than they need.
pub fn loss(y: &[f32], outputs: usize, tokens: &[u32], gradient: &mut [f32]) -> f64 {
    let (steps, blank) = (y.len() / outputs, outputs - 1);
    if steps < needs(tokens) || steps == 0 {
        return f64::INFINITY;
    }
    let sums = sums(y, outputs, gradient);
    let log_p = |step: usize, token: usize| f64::from(y[step * outputs + token]) - sums[step].0 - sums[step].1;
    // Blanks around every token.
    let states = 2 * tokens.len() + 1;
    let token = |state: usize| if state.is_multiple_of(2) { blank } else { tokens[state / 2] as usize };
    let skips = |state: usize| state % 2 == 1 && state > 1 && token(state) != token(state - 2);
    let none = f64::NEG_INFINITY;
    // ln of the probability of all ways that are in a state after a step, the step itself included.
    let mut before = vec![none; steps * states];
    let mut after = before.clone();
    for step in 0..steps {
        for state in 0..states {
            let mut sum = if step == 0 && state < 2 { 0.0 } else { none };
            if step > 0 {
                let row = &before[(step - 1) * states..];
                sum = row[state];
                sum = if state > 0 { add(sum, row[state - 1]) } else { sum };
                sum = if skips(state) { add(sum, row[state - 2]) } else { sum };
            }
            before[step * states + state] = sum + log_p(step, token(state));
        }
    }
    // The same from a step to the end, without the step itself.
    for step in (0..steps).rev() {
        for state in 0..states {
            let mut sum = if step + 1 == steps && state + 2 >= states { 0.0 } else { none };
            if step + 1 < steps {
                let next = |to: usize| after[(step + 1) * states + to] + log_p(step + 1, token(to));
                sum = next(state);
                sum = if state + 1 < states { add(sum, next(state + 1)) } else { sum };
                sum = if state + 2 < states && skips(state + 2) { add(sum, next(state + 2)) } else { sum };
            }
            after[step * states + state] = sum;
        }
    }
    let all = (0..states).fold(none, |sum, state| add(sum, before[state] + after[state]));
    for step in 0..steps {
        let gradient = &mut gradient[step * outputs..(step + 1) * outputs];
        for state in 0..states {
            let at = step * states + state;
            gradient[token(state)] -= (before[at] + after[at] - all).exp() as f32;
        }
    }
    -all
}

/// The most likely token of each step, without repetitions and blanks.
pub fn greedy(y: &[f32], outputs: usize) -> Vec<u32> {
    let mut tokens = Vec::new();
    let mut last = outputs - 1;
    for row in y.chunks_exact(outputs) {
        let best = best(row);
        if best != last && best != outputs - 1 {
            tokens.push(best as u32);
        }
        last = best;
    }
    tokens
}

/// The most likely transcript among the `width` best beginnings after each step: the ways that lead to one beginning
/// are added up.
pub fn beam(y: &[f32], outputs: usize, width: usize) -> Vec<u32> {
    let mut beam = Beam::new(width, usize::MAX);
    log_softmax(y, outputs).chunks_exact(outputs).for_each(|row| beam.step(row));
    beam.best().to_vec()
}

/// Tokens to insert, remove or replace to make one transcript of another (Levenshtein 1966).
pub fn distance(a: &[u32], b: &[u32]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, of_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(of_a != of_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::network::testing::Numbers;

    /// What a way through the outputs says.
    fn said(way: &[usize], blank: usize) -> Vec<u32> {
        let mut tokens = Vec::new();
        for (at, token) in way.iter().enumerate() {
            if *token != blank && (at == 0 || way[at - 1] != *token) {
                tokens.push(*token as u32);
            }
        }
        tokens
    }

    /// Probability of each transcript, summed over every way.
    fn by_hand(y: &[f32], outputs: usize) -> BTreeMap<Vec<u32>, f64> {
        let steps = y.len() / outputs;
        let log_p = log_softmax(y, outputs);
        let mut all = BTreeMap::new();
        for number in 0..outputs.pow(steps as u32) {
            let way: Vec<usize> = (0..steps).map(|step| number / outputs.pow(step as u32) % outputs).collect();
            let p: f64 = way.iter().enumerate().map(|(step, token)| log_p[step * outputs + token]).sum();
            *all.entry(said(&way, outputs - 1)).or_insert(0.0) += p.exp();
        }
        all
    }

    #[test]
    fn the_loss_is_the_sum_over_every_way_and_its_gradient_that_of_finite_differences() {
        for (steps, outputs, seed) in [(1, 3, 1), (4, 3, 2), (5, 3, 3), (5, 4, 4)] {
            let y: Vec<f32> = Numbers(seed).take(steps * outputs).map(|value| 2.0 * value).collect();
            let all = by_hand(&y, outputs);
            assert!((all.values().sum::<f64>() - 1.0).abs() < 1e-9);
            for (tokens, p) in &all {
                assert!(needs(tokens) <= steps);
                let mut gradient = vec![0.0; y.len()];
                let found = loss(&y, outputs, tokens, &mut gradient);
                assert!((found + p.ln()).abs() < 1e-9, "{tokens:?}: {found} {}", -p.ln());
                for at in 0..y.len() {
                    let moved = |by: f32| {
                        let mut y = y.clone();
                        y[at] += by;
                        loss(&y, outputs, tokens, &mut vec![0.0; y.len()])
                    };
                    let slope = (moved(0.0078125) - moved(-0.0078125)) / 0.015625;
                    assert!((slope - f64::from(gradient[at])).abs() < 1e-4, "{tokens:?} {at}: {slope} {gradient:?}");
                }
            }
        }
        assert_eq!(loss(&[0.0; 6], 3, &[1, 1], &mut [0.0; 6]), f64::INFINITY);
    }

    /// Many tokens, of which the steps are sure that they are not said: the loss is that of the few others.
    #[test]
    fn the_loss_of_many_tokens_is_that_of_the_few_that_count() {
        let few: Vec<f32> = Numbers(8).take(6 * 4).map(|value| 2.0 * value).collect();
        let outputs = MANY + 5;
        let mut many = vec![-60.0; 6 * outputs];
        for (many, few) in many.chunks_exact_mut(outputs).zip(few.chunks_exact(4)) {
            many[..3].copy_from_slice(&few[..3]);
            many[outputs - 1] = few[3];
        }
        let (mut of_few, mut of_many) = (vec![0.0; few.len()], vec![0.0; many.len()]);
        let tokens = [2, 2, 0];
        let (a, b) = (loss(&few, 4, &tokens, &mut of_few), loss(&many, outputs, &tokens, &mut of_many));
        assert!((a - b).abs() < 1e-5, "{a} {b}");
        for (many, few) in of_many.chunks_exact(outputs).zip(of_few.chunks_exact(4)) {
            let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
            assert!((0..3).all(|at| near(many[at], few[at])) && near(many[outputs - 1], few[3]), "{many:?} {few:?}");
            assert!(many[3..outputs - 1].iter().all(|slope| slope.abs() < 1e-6));
        }
    }

    #[test]
    fn a_wide_beam_finds_the_most_likely_transcript_and_greedy_that_of_the_most_likely_way() {
        for seed in 0..20 {
            let y: Vec<f32> = Numbers(seed).take(5 * 3).map(|value| 1.5 * value).collect();
            let all = by_hand(&y, 3);
            let best = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(&beam(&y, 3, 1000), best, "{all:?}");
            let way: Vec<usize> =
                y.chunks(3).map(|row| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap()).collect();
            assert_eq!(greedy(&y, 3), said(&way, 2));
        }
        // Twice "a" or nothing: each step says blank with 0.6, so greedy says nothing; the ways with one "a" add up.
        let y = [0.4_f32.ln(), 0.6_f32.ln(), 0.4_f32.ln(), 0.6_f32.ln()];
        assert_eq!((greedy(&y, 2), beam(&y, 2, 4)), (vec![], vec![0]));
    }

    /// The same search over all candidates of each step, in a map.
    fn slow(y: &[f32], outputs: usize, width: usize) -> Vec<u32> {
        let (blank, none) = (outputs - 1, f64::NEG_INFINITY);
        let mut beams: Vec<(Vec<u32>, f64, f64)> = vec![(Vec::new(), 0.0, none)];
        for row in log_softmax(y, outputs).chunks_exact(outputs) {
            let mut next: BTreeMap<Vec<u32>, (f64, f64)> = BTreeMap::new();
            for (tokens, in_blank, in_token) in &beams {
                let any = add(*in_blank, *in_token);
                let same = next.entry(tokens.clone()).or_insert((none, none));
                same.0 = add(same.0, any + row[blank]);
                if let Some(last) = tokens.last() {
                    same.1 = add(same.1, in_token + row[*last as usize]);
                }
                for token in 0..blank as u32 {
                    let from = if tokens.last() == Some(&token) { *in_blank } else { any };
                    let longer = next.entry([&tokens[..], &[token]].concat()).or_insert((none, none));
                    longer.1 = add(longer.1, from + row[token as usize]);
                }
            }
            beams = next.into_iter().map(|(tokens, (in_blank, in_token))| (tokens, in_blank, in_token)).collect();
            beams.sort_by(|a, b| add(b.1, b.2).total_cmp(&add(a.1, a.2)));
            beams.truncate(width);
        }
        beams.into_iter().next().map(|(tokens, ..)| tokens).unwrap_or_default()
    }

    #[test]
    fn a_beam_is_the_search_over_all_candidates() {
        for seed in 0..60 {
            let (outputs, width) = (2 + seed as usize % 11, 1 + seed as usize % 9);
            let sharp = 1.0 + seed as f32 / 8.0;
            let y: Vec<f32> = Numbers(seed).take(60 * outputs).map(|value| sharp * value).collect();
            assert_eq!(beam(&y, outputs, width), slow(&y, outputs, width), "{outputs} {width}");
        }
    }

    #[test]
    fn distances_by_hand() {
        let of = |a: &str, b: &str| {
            distance(&a.bytes().map(u32::from).collect::<Vec<_>>(), &b.bytes().map(u32::from).collect::<Vec<_>>())
        };
        assert_eq!(
            [of("kitten", "sitting"), of("", "abc"), of("abc", ""), of("abc", "abc"), of("ab", "ba")],
            [3, 3, 3, 0, 2]
        );
    }
}
