//! What has to hold before a graph of others is served, tried on inputs that are meant to break it. Whatever differs
//! says where, with both numbers.

use super::lab::{Data, Lab, Moved, Outcome};
use super::rows::Set;
use crate::network::{Axis, Element, Run, Signature};
use crate::{Error, Result};

/// Sequences that are run beside each other: past every step of the ladder up to 48, and an odd one.
pub(super) const SEQUENCES: usize = 53;
/// Sizes of runs: every size of the ladder, and those that are filled up to it.
const SIZES: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 32, 48];
/// Steps of a sequence of made-up rows, and of the user's.
pub(super) const STEPS: (usize, usize) = (6, 12);

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proved {
    pub signature: Signature,
    /// Whether a row has the same bits in every run.
    pub bitwise: bool,
    /// In words.
    pub tried: Vec<String>,
    /// What the user's rows show that is hardly meant.
    pub warnings: Vec<String>,
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

/// Tries everything on each set of rows. `progress` is told what is tried, and how much of it is done.
///
/// # Errors
/// A graph that doesn't give the same numbers twice, or whose state can't be stored and loaded.
pub(super) fn prove(
    mut lab: Lab<'_>,
    asked: Asked,
    alone: Option<String>,
    sets: &[Set],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Proved> {
    let (mut tried, mut warnings) = (Vec::new(), Vec::new());
    // Whether bits depend on how many steps a run has, and on what is beside a row.
    let (mut by_steps, mut by_rows) = (false, false);
    let signature = lab.signature.clone();
    let is_window = asked.window.is_some();

    progress("twice", 0, 5);
    lab = lab.batch(if alone.is_some() { Run::One } else { Run::Many })?;
    let mut bases = Vec::new();
    for set in sets {
        let base = lab.run(&set.data, &set.all(), &set.singly(is_window), Moved::No)?;
        let again = lab.run(&set.data, &set.all(), &set.singly(is_window), Moved::No)?;
        if let Some(difference) = compare(&signature, set, &set.all(), &base, &again) {
            return Err(Error::refused(format!(
                "the same rows give other numbers when they are run again: {}; the graph draws random numbers",
                difference.what
            )));
        }
        warnings.extend(no_number(&signature, set, &base));
        tried.push(format!("{}, run twice: the same bits", set.shown()));
        bases.push(base);
    }

    progress("steps", 1, 5);
    if !is_window && lab.has_time() && lab.signature.steps == Run::Many && asked.steps == Some(Run::One) {
        lab = lab.steps(Run::One)?;
        tried.push("steps: one, as the card says".into());
    }
    for (set, base) in sets.iter().zip(&bases) {
        let (steps, on) = (set.data.steps, set.on());
        if is_window || !lab.has_time() || lab.signature.steps == Run::One || steps == 1 {
            continue;
        }
        let all = set.all();
        let mut differs = None;
        let ways = pieces(steps);
        for pieces in &ways {
            let found = lab.run(&set.data, &all, pieces, Moved::No)?;
            differs = worst(differs, compare(&signature, set, &all, base, &found));
        }
        if signature.outputs.iter().any(|output| !output.tensor.has(Axis::Time)) {
            differs = worst(differs, at_the_end(&mut lab, set, base)?);
        }
        match (differs, asked.steps) {
            (None, _) => {
                let ways: Vec<String> = ways[1..].iter().map(|pieces| list(pieces)).collect();
                let ways = if ways.is_empty() { "alone".into() } else { ways.join(" and of ") };
                tried.push(format!("{steps} steps in one run, in runs of {ways}: the same bits{on}"));
            }
            (Some(difference), Some(Run::Many)) => {
                by_steps = true;
                tried.push(format!(
                    "{steps} steps in one run differ from {steps} runs by up to {:.1e}: {}; the card asks for `steps: \
                     many`{on}",
                    difference.drift, difference.what
                ));
            }
            (Some(difference), _) if difference.drift > last_bits(&lab.signature) && !asked.quantised => {
                return Err(Error::refused(format!(
                    "{steps} steps in one run give other numbers than {steps} runs that carry the state: {}; a step \
                     depends on more than what came before it. If the graph is meant to get one step a run, write \
                     `steps: one`; else serve it as `layout: window`",
                    difference.what
                )));
            }
            (Some(difference), _) => {
                lab = lab.steps(Run::One)?;
                tried.push(format!(
                    "{steps} steps in one run differ from {steps} runs: {}; so steps: one{on}",
                    difference.what
                ));
            }
        }
    }

    progress("rows", 2, 5);
    match &alone {
        Some(why) => tried.push(format!("{why}; so batch: one")),
        None if asked.batch == Some(Run::One) => {
            lab = lab.batch(Run::One)?;
            tried.push("batch: one, as the card says".into());
        }
        None => {}
    }
    for (set, base) in sets.iter().zip(&bases) {
        let on = set.on();
        if lab.signature.batch == Run::One {
            continue;
        }
        match influence(&mut lab, set, base, &set.singly(is_window))? {
            None => tried.push(format!(
                "rows don't influence each other, and padding does nothing: permuted, in runs of {SIZES:?} sequences \
                 (filled up where that is no size of the ladder), beside neighbours times 30, of zeros and of NaN: the \
                 same bits{on}"
            )),
            Some(difference) if asked.batch == Some(Run::Many) || difference.drift <= last_bits(&lab.signature) => {
                by_rows = true;
                tried.push(format!(
                    "a row differs by up to {:.1e} by what is beside it: {}; so bitwise: no{on}",
                    difference.drift, difference.what
                ));
            }
            Some(difference) => {
                // One by one, nothing is beside a row.
                lab = lab.batch(Run::One)?;
                by_rows = false;
                tried.push(format!("rows influence each other: {}; so batch: one{on}", difference.what));
            }
        }
    }

    progress("state", 3, 5);
    let bitwise = !by_steps && !by_rows;
    // A window has its initial state at its start.
    let has_states = !is_window && !lab.signature.states.is_empty();
    for set in sets.iter().filter(|_| has_states) {
        let few: Vec<usize> = set.all().into_iter().take(7).collect();
        // Where bits depend on the place, only the same place can give the same.
        let (moved, place) =
            if bitwise { (Moved::Elsewhere, "another place") } else { (Moved::Back, "the same place") };
        let straight = lab.run(&set.data, &few, &set.singly(is_window), Moved::No)?;
        let stored = lab.run(&set.data, &few, &set.singly(is_window), moved)?;
        if let Some(difference) = compare(&lab.signature, set, &few, &straight, &stored) {
            return Err(Error::refused(format!(
                "a state that is stored and loaded gives other numbers: {}",
                difference.what
            )));
        }
        let on = set.on();
        tried.push(format!("states taken out after each step and put back at {place}: the same bits{on}"));
    }
    progress("done", 5, 5);
    Ok(Proved { signature: lab.signature.clone(), bitwise, tried, warnings })
}

/// The difference between the last row of one run of all steps and that of single steps.
fn at_the_end(lab: &mut Lab<'_>, set: &Set, base: &[Outcome]) -> Result<Option<Difference>> {
    lab.only_last = true;
    let found = lab.run(&set.data, &set.all(), &[set.data.steps], Moved::No);
    lab.only_last = false;
    let mut found = found?;
    for (found, base) in found.iter_mut().zip(base) {
        for ((found, base), output) in found.outputs.iter_mut().zip(&base.outputs).zip(&lab.signature.outputs) {
            let before = base.len() - output.tensor.width();
            found[..before].copy_from_slice(&base[..before]);
        }
    }
    Ok(compare(&lab.signature, set, &set.all(), base, &found))
}

/// Ways to cut steps into runs: in one, and two others.
fn pieces(steps: usize) -> Vec<Vec<usize>> {
    match steps {
        0..=2 => vec![vec![steps]],
        3 => vec![vec![3], vec![1, 2], vec![2, 1]],
        _ => vec![vec![steps], vec![1, 2, steps - 3], vec![steps - 2, 2]],
    }
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// An output of the user's rows, which are numbers, that isn't one.
fn no_number(signature: &Signature, set: &Set, found: &[Outcome]) -> Option<String> {
    let mut found = found.iter().enumerate().filter(|_| !set.on().is_empty());
    found.find_map(|(sequence, outcome)| {
        signature.outputs.iter().zip(&outcome.outputs).find_map(|(output, values)| {
            let at = values.iter().position(|value| !value.is_finite())?;
            let step = set.step(at, values.len(), output.tensor.width());
            let (name, value) = (&output.tensor.name, values[at]);
            Some(format!("output \"{name}\", {step} of {}, is {value}", set.sequence(sequence)))
        })
    })
}

/// The largest difference that what is beside a row makes.
fn influence(lab: &mut Lab<'_>, set: &Set, base: &[Outcome], singly: &[usize]) -> Result<Option<Difference>> {
    let mut differs = None;
    let all = set.data.sequences;
    let mut arrange = |lab: &mut Lab<'_>, data: &Data, picks: &[usize], which: fn(usize) -> bool| -> Result<()> {
        let found = lab.run(data, picks, singly, Moved::No)?;
        let kept: Vec<usize> = (0..picks.len()).filter(|at| which(picks[*at])).collect();
        let places: Vec<usize> = kept.iter().map(|at| picks[*at]).collect();
        let expected: Vec<Outcome> = places.iter().map(|pick| base[*pick].clone()).collect();
        let found: Vec<Outcome> = kept.iter().map(|at| found[*at].clone()).collect();
        differs = worst(differs.take(), compare(&lab.signature, set, &places, &expected, &found));
        Ok(())
    };
    let every = |_: usize| true;
    let reversed: Vec<usize> = (0..all).rev().collect();
    let shuffled: Vec<usize> = (0..all).map(|n| n * 20 % all).collect();
    arrange(lab, &set.data, &reversed, every)?;
    arrange(lab, &set.data, &shuffled, every)?;
    for size in SIZES {
        arrange(lab, &set.data, &(0..size).collect::<Vec<_>>(), every)?;
        arrange(lab, &set.data, &(all - size..all).rev().collect::<Vec<_>>(), every)?;
    }
    let odd = |n: usize| n % 2 == 1;
    let even = |n: usize| n.is_multiple_of(2);
    for change in [|value: f64| value * 30.0, |_| 0.0, |_| f64::NAN] {
        let changed = set.data.with(&lab.signature.clone(), odd, change);
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

/// The largest difference of the same sequences' outputs, relative to the largest number of each, and where it is.
pub(super) fn same(signature: &Signature, set: &Set, expected: &[Outcome], found: &[Outcome]) -> (f64, String) {
    let without = |outcomes: &[Outcome]| -> Vec<Outcome> {
        outcomes.iter().map(|outcome| Outcome { outputs: outcome.outputs.clone(), state: Vec::new() }).collect()
    };
    match compare(signature, set, &set.all(), &without(expected), &without(found)) {
        Some(difference) => (difference.drift, difference.what),
        None => (0.0, String::new()),
    }
}

/// Relative differences up to this are rounding, not influence.
pub(super) fn last_bits(signature: &Signature) -> f64 {
    let elements = signature.taken().into_iter().chain(signature.given()).map(|tensor| tensor.element);
    let of = |element: Element| match element {
        Element::Float16 => 1e-2,
        Element::Float32 => 1e-5,
        _ => 1e-12,
    };
    elements.map(of).fold(0.0, f64::max)
}

/// The largest difference between the bits of two runs of the same sequences; `picks` says which ones of the set.
fn compare(
    signature: &Signature,
    set: &Set,
    picks: &[usize],
    expected: &[Outcome],
    found: &[Outcome],
) -> Option<Difference> {
    let (mut of_outputs, mut of_states): (Option<Difference>, Option<Difference>) = (None, None);
    for ((a, b), pick) in expected.iter().zip(found).zip(picks) {
        for (output, (a, b)) in signature.outputs.iter().zip(a.outputs.iter().zip(&b.outputs)) {
            let what = format!("output \"{}\"", output.tensor.name);
            let step = |at: usize| set.step(at, a.len(), output.tensor.width());
            of_outputs = worst(of_outputs, of_numbers(&what, &step, &set.sequence(*pick), a, b));
        }
        if a.state == b.state {
            continue;
        }
        let mut begun = 0;
        for state in &signature.states {
            let bytes = state.tensor.row_bytes();
            let numbers = |state_of: &[u8]| -> Vec<f64> {
                let bytes = state_of[begun..begun + bytes].chunks_exact(state.tensor.element.bytes());
                bytes.map(|bytes| number(state.tensor.element, bytes)).collect()
            };
            let what = format!("state \"{}\"", state.out);
            let place = |at: usize| format!("number {} after step {}", at + 1, set.data.steps);
            of_states = worst(
                of_states,
                of_numbers(&what, &place, &set.sequence(*pick), &numbers(&a.state), &numbers(&b.state)),
            );
            begun += crate::state::bank_words(bytes) * size_of::<u32>();
        }
    }
    match (of_outputs, of_states) {
        // An output says at which step it was; its numbers count unless a state says far more.
        (Some(output), Some(state)) if output.drift * 100.0 >= state.drift => {
            Some(Difference { drift: output.drift.max(state.drift), ..output })
        }
        (output, state) => state.or(output),
    }
}

/// The largest difference between the bits of two lists of numbers, relative to the largest number.
fn of_numbers(what: &str, place: &dyn Fn(usize) -> String, of: &str, a: &[f64], b: &[f64]) -> Option<Difference> {
    let scale = a.iter().filter(|value| value.is_finite()).fold(1e-3_f64, |most, value| most.max(value.abs()));
    let mut largest: Option<(usize, f64)> = None;
    // The bits of NaN are nowhere to be seen: a sum of two NaN has those of either.
    let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    for (at, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| !same(a, b)) {
        let drift = if a.is_finite() && b.is_finite() { (a - b).abs() / scale } else { f64::INFINITY };
        if largest.is_none_or(|(_, most)| drift > most) {
            largest = Some((at, drift));
        }
    }
    let (at, drift) = largest?;
    Some(Difference { what: format!("{what}, {} of {of}: {} against {}", place(at), a[at], b[at]), drift })
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
