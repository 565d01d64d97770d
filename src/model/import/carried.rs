//! A window model that is carried on, because its card asks for it: the states of its recurrent operators become inputs
//! and outputs, a window from the initial state stays what it was, and what carrying on does to the errors is measured.
//! Must not live here: giving a graph its states (`onnx::recognise`).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::lab::{Data, Lab, Moved, Outcome};
use super::passes::Ready;
use super::proofs::{last_bits, same};
use super::rows::{Rows, Sequence, Set};
use super::{axes, onnx, sets};
use crate::config::Card;
use crate::error::counted;
use crate::model::card::Resolved;
use crate::model::onnx::recognise::Exposed;
use crate::network::{Ahead, Run};
use crate::problem::Place;
use crate::record::logarithm;
use crate::{Error, Result};

/// Windows of a run.
const AT_ONCE: usize = 64;
/// Rows of a key, and of all, that errors are measured on.
pub(super) const ROWS: (usize, usize) = (2048, 8192);

/// An error of the window beside that of the same weights carried on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compared {
    /// What of.
    pub of: String,
    pub window: f64,
    pub carry: f64,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub errors: Vec<Compared>,
    /// What was tried, in words.
    pub tried: Vec<String>,
    pub warnings: Vec<String>,
}

/// Gives a window's graph its states.
///
/// # Errors
/// Refused at the card's `mode`: no recurrent operator that begins from zero, or a graph that can't run single steps.
pub(super) fn carried(card: &Card, place: Place, ready: &Ready, resolved: &Resolved) -> Result<Ready> {
    let at_mode = |error: Error| card.refused(place, format!("`mode: carry` can't be: {error}"));
    let mut model = onnx::import::model(&ready.graph)?;
    // States that the card names are there already.
    let exposed = if resolved.states.is_empty() {
        onnx::recognise::expose(&mut model, &resolved.taken()).map_err(at_mode)?
    } else {
        Exposed { states: resolved.states.clone(), notes: Vec::new() }
    };
    let graph = model.encode_to_vec();
    let mut resolved = resolved.clone();
    resolved.states = exposed.states;
    let seen = axes::seen(card, &graph, &resolved, None).map_err(|error| match error {
        Error::Refused(message) => at_mode(Error::refused(format!("in steps of one row, {message}"))),
        error => error,
    })?;
    Ok(Ready { graph, seen, notes: exposed.notes, window: None, axes_changed: true })
}

/// Proves the graph with states equal to the window's, and measures both on the rows.
///
/// # Errors
/// As [`equal`] and [`measure`].
pub(super) fn both(
    window: &Ready,
    carry: &Ready,
    (rows, steps): (&Rows, usize),
    alone: bool,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Measured> {
    let batch = if alone { Run::One } else { Run::Many };
    let file = |name: &str| files.get(name).map(Vec::as_slice);
    let mut first = Lab::new(&window.graph, window.seen.signature.clone(), true, &file)?.batch(batch)?;
    let mut second = Lab::new(&carry.graph, carry.seen.signature.clone(), false, &file)?.batch(batch)?;
    let equal = equal(&mut first, &mut second, &sets(&window.seen.signature, Some(rows), Some(steps), false)?)?;
    let mut measured = measure(&mut first, &mut second, rows, steps)?;
    measured.tried.splice(0..0, equal);
    Ok(measured)
}

/// Whether windows that begin from the initial state give the same step by step.
///
/// # Errors
/// Refused with both numbers where they don't.
fn equal(window: &mut Lab<'_>, carry: &mut Lab<'_>, sets: &[Set]) -> Result<Vec<String>> {
    let signature = window.signature.clone();
    let mut tried = Vec::new();
    for set in sets {
        let all = set.all();
        let base = window.run(&set.data, &all, &[set.data.steps], Moved::No)?;
        let mut found = carry.run(&set.data, &all, &vec![1; set.data.steps], Moved::No)?;
        for outcome in &mut found {
            for (values, output) in outcome.outputs.iter_mut().zip(&signature.outputs) {
                values.drain(..values.len() - output.tensor.width());
            }
        }
        let (apart, what) = same(&signature, set, &base, &found);
        if apart > last_bits(&signature) {
            return Err(Error::refused(format!(
                "`mode: carry`: a window that is run step by step from the initial state gives other numbers: {what}; \
                 other operators than recurrent ones look at several rows of the window"
            )));
        }
        tried.push(format!(
            "{}, step by step from the initial state: outputs differ by at most {apart:.1e} from those of the window",
            set.shown()
        ));
    }
    Ok(tried)
}

/// Runs the rows both ways and compares what both say from a full window on: with the targets where an output is a
/// forecast, with each other otherwise.
fn measure(window: &mut Lab<'_>, carry: &mut Lab<'_>, rows: &Rows, steps: usize) -> Result<Measured> {
    let signature = window.signature.clone();
    let targets = signature.outputs.iter().flat_map(|output| &output.forecast).flat_map(|ahead| &ahead.targets);
    for (n, target) in targets.enumerate() {
        if rows.sequences.iter().any(|sequence| sequence.targets.get(n).is_none_or(Vec::is_empty)) {
            return Err(Error::refused(format!(
                "`mode: carry`: the target \"{target}\" is no column of numbers before `infer` in the pipeline of --data, so \
                 no error can be measured"
            )));
        }
    }
    let mut sums: Vec<Sums> = signature.outputs.iter().map(|output| Sums::of(output.forecast.as_ref())).collect();
    let (mut measured_rows, mut keys) = (0, BTreeSet::new());
    for sequence in rows.sequences.iter().filter(|sequence| sequence.rows >= steps) {
        let data = Data { inputs: sequence.inputs.clone(), sequences: 1, steps: sequence.rows };
        let carried = carry.run(&data, &[0], &[sequence.rows], Moved::No)?;
        let windows = windows(window, sequence, steps)?;
        measured_rows += windows.len();
        keys.insert(sequence.key.as_str());
        for (n, (output, sums)) in signature.outputs.iter().zip(&mut sums).enumerate() {
            let width = output.tensor.width();
            for (at, given) in windows.iter().enumerate() {
                let row = at + steps - 1;
                let carried = &carried[0].outputs[n][row * width..(row + 1) * width];
                sums.add(output.forecast.as_ref(), sequence, row, &given.outputs[n], carried);
            }
        }
    }
    let on = format!("{} of {} of {}", counted(measured_rows, "row"), counted(keys.len(), "key"), rows.source);
    let mut measured = Measured::default();
    for (output, sums) in signature.outputs.iter().zip(&sums) {
        let name = &output.tensor.name;
        let targets = output.forecast.as_ref().map(|ahead| ahead.targets.clone()).unwrap_or_default();
        for (target, errors) in targets.iter().zip(&sums.errors).filter(|(_, errors)| errors.count > 0) {
            let ([window, carry], absolute) = errors.means();
            for (of, [window, carry]) in [("RMSE", [window, carry]), ("MAE", absolute)] {
                measured.errors.push(Compared { of: format!("{target}, {of}"), window, carry });
            }
            measured.tried.push(format!(
                "RMSE of \"{target}\": {window:.6} as a window, {carry:.6} carried on ({on}, after {steps} rows of a key)"
            ));
            if carry > window {
                measured.warnings.push(format!(
                    "carried on, the forecasts of \"{target}\" are worse: RMSE {carry:.6} against {window:.6} as a window. {ADVICE}"
                ));
            }
        }
        if sums.errors.iter().all(|errors| errors.count == 0) {
            let (count, squares, largest, size) = sums.apart;
            if count == 0 {
                continue;
            }
            let (apart, size) = ((squares / count as f64).sqrt(), (size / count as f64).sqrt());
            measured.errors.push(Compared { of: format!("{name}, root mean square"), window: size, carry: apart });
            measured.tried.push(format!(
                "output \"{name}\": carried on, it differs from the window's by {apart:.6} on average (root mean square; \
                 the window's is {size:.6}) and {largest:.6} at most ({on}, after {steps} rows of a key)"
            ));
            measured.warnings.push(format!(
                "carried on, output \"{name}\" differs from the window's by {apart:.6} on average, and no `targets` say \
                 which is better. {ADVICE}"
            ));
        }
    }
    if measured.errors.is_empty() {
        let longest = rows.sequences.iter().map(|sequence| sequence.rows).max().unwrap_or(0);
        return Err(Error::refused(format!(
            "--data: nothing can be compared: the longest sequence of {} has {longest} rows, a window {steps}",
            rows.source
        )));
    }
    Ok(measured)
}

const ADVICE: &str = "Weights that were trained on windows are seldom good when they are carried on: leave `mode` out, or \
                      train them further with `mode: carry` (`kolk models import x.keras --pipeline P`, then `kolk train \
                      P --from NAME/N`, for networks that `train` has)";

/// The windows that end with each row, from the first full one on.
fn windows(lab: &mut Lab<'_>, sequence: &Sequence, steps: usize) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let ends: Vec<usize> = (steps..=sequence.rows).collect();
    for ends in ends.chunks(AT_ONCE) {
        let cut = |values: &Vec<f64>| {
            let width = values.len() / sequence.rows.max(1);
            ends.iter().flat_map(|end| values[(end - steps) * width..end * width].iter().copied()).collect()
        };
        let data = Data { inputs: sequence.inputs.iter().map(cut).collect(), sequences: ends.len(), steps };
        outcomes.extend(lab.run(&data, &(0..ends.len()).collect::<Vec<_>>(), &[steps], Moved::No)?);
    }
    Ok(outcomes)
}

/// Sums over the errors of a target: of the window, and carried on.
#[derive(Debug, Clone, Copy, Default)]
struct Errors {
    count: u64,
    squares: [f64; 2],
    absolute: [f64; 2],
}

impl Errors {
    /// RMSE and MAE, each of the window and carried on.
    fn means(&self) -> ([f64; 2], [f64; 2]) {
        let mean = |sum: f64| sum / self.count as f64;
        (self.squares.map(|sum| mean(sum).sqrt()), self.absolute.map(mean))
    }
}

/// What is said of an output.
struct Sums {
    /// Per target.
    errors: Vec<Errors>,
    /// Between both outputs: how many, squares, the largest, and squares of the window's own numbers.
    apart: (u64, f64, f64, f64),
}

impl Sums {
    fn of(ahead: Option<&Ahead>) -> Sums {
        let targets = ahead.map_or(0, |ahead| ahead.targets.len());
        Sums { errors: vec![Errors::default(); targets], apart: (0, 0.0, 0.0, 0.0) }
    }

    fn add(&mut self, ahead: Option<&Ahead>, sequence: &Sequence, row: usize, window: &[f64], carry: &[f64]) {
        for (a, b) in window.iter().zip(carry).filter(|(a, b)| a.is_finite() && b.is_finite()) {
            let (count, squares, largest, size) = self.apart;
            self.apart = (count + 1, squares + (a - b).powi(2), largest.max((a - b).abs()), size + a * a);
        }
        let Some(ahead) = ahead else { return };
        let (targets, quantiles) = (ahead.targets.len(), ahead.quantiles.max(1));
        for step in 0..ahead.horizon {
            for (target, sum) in self.errors.iter_mut().enumerate() {
                let Some(truth) = sequence.targets[target].get(row + step + 1).filter(|truth| truth.is_finite()) else {
                    continue;
                };
                let (mean, sd) = sequence.scale[target].as_ref().map_or((0.0, 1.0), |scale| scale[row]);
                // Of quantiles the middle one.
                let at = (step * targets + target) * quantiles + quantiles / 2;
                let back = |value: f64| if sequence.log[target] { logarithm::back(value) } else { value };
                let error = |given: &[f64]| back(given[at] * sd + mean) - truth;
                let (a, b) = (error(window), error(carry));
                if a.is_finite() && b.is_finite() {
                    sum.count += 1;
                    for (at, error) in [a, b].into_iter().enumerate() {
                        sum.squares[at] += error * error;
                        sum.absolute[at] += error.abs();
                    }
                }
            }
        }
    }
}
