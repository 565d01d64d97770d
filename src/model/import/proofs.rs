//! What has to hold before a graph of others is served, tried on inputs that are meant to break it. Whatever differs
//! says where, with both numbers.

use super::lab::{Data, Lab, Outcome};
use crate::network::{Axis, Element, Run, Signature};
use crate::{Error, Result};

/// Sequences that are run beside each other: past every step of the ladder up to 48, and an odd one.
const SEQUENCES: usize = 53;
/// Sizes of runs: every size of the ladder, and those that are filled up to it.
const SIZES: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 32, 48];
/// Steps of a sequence.
const STEPS: usize = 6;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proved {
    pub signature: Signature,
    /// Whether a row has the same bits in every run.
    pub bitwise: bool,
    /// In words.
    pub tried: Vec<String>,
}

/// What the card asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub batch: Option<Run>,
    pub steps: Option<Run>,
    /// Rows of a window.
    pub window: Option<usize>,
    /// Whether the graph quantises by what is in a run, so that steps change each other's rounding.
    pub quantised: bool,
}

/// How two outcomes differ.
#[derive(Debug, Clone, PartialEq)]
struct Difference {
    what: String,
    /// Relative to the larger number; infinite where only one of them is a number.
    drift: f64,
}

/// Tries everything. `progress` is told what is tried, and how much of it is done.
///
/// # Errors
/// A graph that doesn't give the same numbers twice, or whose state can't be stored and loaded.
pub(super) fn prove(
    mut lab: Lab<'_>,
    asked: Asked,
    alone: Option<String>,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Proved> {
    let mut tried = Vec::new();
    let mut bitwise = true;
    let steps = asked.window.unwrap_or(STEPS);
    let single = vec![1; steps];
    let singly: &[usize] = if asked.window.is_some() { &[steps] } else { &single };
    let sequences = if alone.is_some() { 8 } else { SEQUENCES };
    let data = Data::made(&lab.signature, sequences, steps);

    progress("twice", 0, 5);
    let all: Vec<usize> = (0..sequences).collect();
    let signature = lab.signature.clone();
    lab = lab.batch(if alone.is_some() { Run::One } else { Run::Many })?;
    let base = lab.run(&data, &all, singly, false)?;
    if let Some(difference) = compare(&signature, &base, &lab.run(&data, &all, singly, false)?) {
        return Err(Error::refused(format!(
            "the same rows give other numbers when they are run again: {}; the graph draws random numbers",
            difference.what
        )));
    }
    tried.push(format!("{sequences} sequences of {steps} steps, run twice: the same bits"));

    progress("steps", 1, 5);
    if asked.window.is_none() && lab.has_time() && lab.signature.steps == Run::Many {
        if asked.steps == Some(Run::One) {
            lab = lab.steps(Run::One)?;
        } else {
            let mut differs = None;
            for pieces in [&[STEPS][..], &[1, 2, 3], &[4, 2]] {
                let found = compare(&signature, &base, &lab.run(&data, &all, pieces, false)?);
                differs = worst(differs, found);
            }
            if lab.signature.outputs.iter().any(|output| !output.tensor.has(Axis::Time)) {
                differs = worst(differs, at_the_end(&mut lab, &data, &base)?);
            }
            match (differs, asked.steps) {
                (None, _) => {
                    tried.push(format!("{STEPS} steps in one run, in runs of 1, 2, 3 and of 4, 2: the same bits"))
                }
                (Some(difference), Some(Run::Many)) => {
                    bitwise = false;
                    tried.push(format!(
                        "{STEPS} steps in one run differ from {STEPS} runs by up to {:.1e}: {}; the card asks for `steps: \
                         many`",
                        difference.drift, difference.what
                    ));
                }
                (Some(difference), _) if difference.drift > last_bits(&lab.signature) && !asked.quantised => {
                    return Err(Error::refused(format!(
                        "{STEPS} steps in one run give other numbers than {STEPS} runs that carry the state: {}; a step \
                         depends on more than what came before it. If the graph is meant to get one step a run, write \
                         `steps: one`; else serve it as `layout: window`",
                        difference.what
                    )));
                }
                (Some(difference), _) => {
                    lab = lab.steps(Run::One)?;
                    tried.push(format!(
                        "{STEPS} steps in one run differ from {STEPS} runs: {}; so steps: one",
                        difference.what
                    ));
                }
            }
        }
    }

    progress("rows", 2, 5);
    match (alone, asked.batch) {
        (Some(why), _) => tried.push(format!("{why}; so batch: one")),
        (None, Some(Run::One)) => {
            lab = lab.batch(Run::One)?;
            tried.push("batch: one, as the card says".into());
        }
        (None, batch) => match influence(&mut lab, &data, &base, singly)? {
            None => tried.push(format!(
                "rows don't influence each other: permuted, in runs of {SIZES:?} sequences (filled up where that is no \
                 size of the ladder), beside neighbours times 30, of zeros and of NaN: the same bits"
            )),
            Some(difference) if batch == Some(Run::Many) || difference.drift <= last_bits(&lab.signature) => {
                bitwise = false;
                tried.push(format!(
                    "a row differs by up to {:.1e} by what is beside it: {}; so bitwise: no",
                    difference.drift, difference.what
                ));
            }
            Some(difference) => {
                lab = lab.batch(Run::One)?;
                tried.push(format!("rows influence each other: {}; so batch: one", difference.what));
            }
        },
    }

    progress("state", 3, 5);
    // The states of a window begin anew with each.
    if asked.window.is_none() && !lab.signature.states.is_empty() {
        let few: Vec<usize> = all.iter().copied().take(7).collect();
        let straight = lab.run(&data, &few, singly, false)?;
        let moved = lab.run(&data, &few, singly, true)?;
        if let Some(difference) = compare(&lab.signature, &straight, &moved).filter(|_| bitwise) {
            return Err(Error::refused(format!(
                "a state that is stored and loaded gives other numbers: {}",
                difference.what
            )));
        }
        tried.push("states taken out after each step and put back at another place: the same bits".into());
    }
    progress("done", 5, 5);
    Ok(Proved { signature: lab.signature.clone(), bitwise, tried })
}

/// The difference between the last row of one run of all steps and that of single steps.
fn at_the_end(lab: &mut Lab<'_>, data: &Data, base: &[Outcome]) -> Result<Option<Difference>> {
    lab.only_last = true;
    let found = lab.run(data, &(0..data.sequences).collect::<Vec<_>>(), &[data.steps], false);
    lab.only_last = false;
    let mut found = found?;
    for (found, base) in found.iter_mut().zip(base) {
        for ((found, base), output) in found.outputs.iter_mut().zip(&base.outputs).zip(&lab.signature.outputs) {
            let before = base.len() - output.tensor.width();
            found[..before].copy_from_slice(&base[..before]);
        }
    }
    Ok(compare(&lab.signature, base, &found))
}

/// The largest difference that what is beside a row makes.
fn influence(lab: &mut Lab<'_>, data: &Data, base: &[Outcome], singly: &[usize]) -> Result<Option<Difference>> {
    let mut differs = None;
    let all = data.sequences;
    let mut arrange = |lab: &mut Lab<'_>, data: &Data, picks: &[usize], which: fn(usize) -> bool| -> Result<()> {
        let found = lab.run(data, picks, singly, false)?;
        let kept = picks.iter().zip(&found).filter(|(pick, _)| which(**pick));
        let (expected, found): (Vec<Outcome>, Vec<Outcome>) =
            kept.map(|(pick, found)| (base[*pick].clone(), found.clone())).unzip();
        differs = worst(differs.take(), compare(&lab.signature, &expected, &found));
        Ok(())
    };
    let every = |_: usize| true;
    let reversed: Vec<usize> = (0..all).rev().collect();
    let shuffled: Vec<usize> = (0..all).map(|n| n * 20 % all).collect();
    arrange(lab, data, &reversed, every)?;
    arrange(lab, data, &shuffled, every)?;
    for size in SIZES {
        arrange(lab, data, &(0..size).collect::<Vec<_>>(), every)?;
        arrange(lab, data, &(all - size..all).rev().collect::<Vec<_>>(), every)?;
    }
    let odd = |n: usize| n % 2 == 1;
    let even = |n: usize| n.is_multiple_of(2);
    for change in [|value: f64| value * 30.0, |_| 0.0, |_| f64::NAN] {
        let changed = data.with(&lab.signature.clone(), odd, change);
        arrange(lab, &changed, &(0..all).collect::<Vec<_>>(), even)?;
        arrange(lab, &changed, &[0, 1, 2], even)?;
    }
    Ok(differs)
}

fn worst(a: Option<Difference>, b: Option<Difference>) -> Option<Difference> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.drift > a.drift { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Relative differences up to this are rounding, not influence.
fn last_bits(signature: &Signature) -> f64 {
    let elements = signature.taken().into_iter().chain(signature.given()).map(|tensor| tensor.element);
    let of = |element: Element| match element {
        Element::Float16 => 1e-2,
        Element::Float32 => 1e-5,
        _ => 1e-12,
    };
    elements.map(of).fold(0.0, f64::max)
}

/// The largest difference between the bits of two runs of the same sequences.
fn compare(signature: &Signature, expected: &[Outcome], found: &[Outcome]) -> Option<Difference> {
    let mut differs: Option<Difference> = None;
    for (sequence, (a, b)) in expected.iter().zip(found).enumerate() {
        for (output, (a, b)) in signature.outputs.iter().zip(a.outputs.iter().zip(&b.outputs)) {
            let width = output.tensor.width().max(1);
            let scale = a.iter().filter(|value| value.is_finite()).fold(1e-3_f64, |most, value| most.max(value.abs()));
            // The bits of NaN are nowhere to be seen: a sum of two NaN has those of either.
            let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            for (at, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| !same(a, b)) {
                let drift = if a.is_finite() && b.is_finite() { (a - b).abs() / scale } else { f64::INFINITY };
                if differs.as_ref().is_none_or(|differs| drift > differs.drift) {
                    let (name, step) = (&output.tensor.name, at / width + 1);
                    let what = format!("output \"{name}\", step {step} of sequence {}: {a} against {b}", sequence + 1);
                    differs = Some(Difference { what, drift });
                }
            }
        }
        if a.state != b.state && differs.is_none() {
            differs = of_states(signature, sequence, &a.state, &b.state);
        }
    }
    differs
}

/// Where the bytes of states differ, but for those of NaN.
fn of_states(signature: &Signature, sequence: usize, a: &[u8], b: &[u8]) -> Option<Difference> {
    let mut begun = 0;
    for state in &signature.states {
        let bytes = state.tensor.row_bytes();
        let (mine, other) = (&a[begun..begun + bytes], &b[begun..begun + bytes]);
        let (name, width) = (&state.out, state.tensor.element.bytes());
        let numbers = |bytes: &[u8]| number(state.tensor.element, bytes);
        let pairs = mine.chunks_exact(width).zip(other.chunks_exact(width)).enumerate();
        let mut pairs = pairs
            .filter(|(_, (a, b))| a != b)
            .map(|(at, (a, b))| (at, numbers(a), numbers(b)))
            .filter(|(_, a, b)| !(a.is_nan() && b.is_nan()))
            .peekable();
        if let Some((at, a, b)) = pairs.peek().copied() {
            let what = format!("state \"{name}\" of sequence {}, number {}: {a} against {b}", sequence + 1, at + 1);
            let drift = pairs
                .map(|(_, a, b)| (a - b).abs() / a.abs().max(1e-3))
                .fold(0.0, |most: f64, drift| if drift.is_nan() { f64::INFINITY } else { most.max(drift) });
            return Some(Difference { what, drift });
        }
        begun += crate::state::bank_words(bytes) * size_of::<u32>();
    }
    None
}

fn number(element: Element, bytes: &[u8]) -> f64 {
    match (element, bytes) {
        (Element::Float32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]).into(),
        (Element::Int32, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]).into(),
        (Element::Float64, bytes) => bytes.try_into().map_or(f64::NAN, f64::from_le_bytes),
        (Element::Int64, bytes) => bytes.try_into().map_or(f64::NAN, |bytes| i64::from_le_bytes(bytes) as f64),
        (Element::Float16, [a, b]) => half::f16::from_le_bytes([*a, *b]).into(),
        (_, bytes) => bytes.first().map_or(f64::NAN, |byte| f64::from(*byte)),
    }
}
