//! What the original framework gave, beside what the graph gives: an `.npz` with arrays by the names of tensors or of
//! columns. Must not live here: the format of an array (`npy`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::lab::{Data, Lab, Moved, Outcome};
use super::npy::{self, Array};
use crate::error::Context;
use crate::network::{Axis, Feed, Run, TensorSpec};
use crate::{Error, Result};

/// The most that an array may have.
const MAX_BYTES: u64 = 1 << 30;
/// Relative differences above this aren't rounding.
const MOST: f64 = 1e-3;

/// Runs the inputs of a reference and compares what comes out; says how far it is from the outputs there. `outputs`:
/// their names in the card.
///
/// # Errors
/// Refused: a file that isn't one; arrays that are missing or of other sizes; numbers that are too far apart.
pub(super) fn compare(lab: Lab<'_>, path: &Path, outputs: &[&str], is_window: bool) -> Result<Vec<String>> {
    let arrays = read(path)?;
    let refused = |message: String| Error::refused(format!("{}: {message}", path.display()));
    let names = || arrays.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |names: &[&str]| names.iter().find_map(|name| arrays.iter().find(|(other, _)| other == name));
    let signature = lab.signature.clone();
    let mut inputs = Vec::new();
    let mut size: Option<(usize, usize, &str)> = None;
    for input in &signature.inputs {
        let column = match &input.feed {
            Feed::Columns(columns) if columns.len() == 1 => columns[0].column.as_str(),
            Feed::Columns(_) => "",
            Feed::Ids { column, .. } | Feed::Tokens { column, .. } | Feed::PerKey(column) => column.as_str(),
            Feed::Key(_) => "",
        };
        let Some((name, array)) = find(&[&input.tensor.name, column]) else {
            return Err(refused(format!("it has no array \"{}\" (there are: {})", input.tensor.name, names())));
        };
        let rows =
            Rows::new(array, &input.tensor).map_err(|message| refused(format!("array \"{name}\": {message}")))?;
        inputs.push((rows, array));
        let has_time = inputs.last().is_some_and(|(rows, _)| rows.time.is_some());
        let (rows, _) = &inputs[inputs.len() - 1];
        match size.filter(|_| has_time) {
            Some((steps, sequences, of)) if (steps, sequences) != (rows.steps, rows.sequences) => {
                return Err(refused(format!(
                    "array \"{name}\" has {} steps of {} sequences, \"{of}\" has {steps} of {sequences}",
                    rows.steps, rows.sequences
                )));
            }
            _ if has_time || size.is_none() => size = Some((rows.steps, rows.sequences, name)),
            _ => {}
        }
    }
    let Some((steps, sequences, _)) = size else { return Err(refused("the graph has no inputs".into())) };
    let values = inputs.iter().zip(&signature.inputs).map(|((rows, array), input)| {
        let all = (0..sequences).flat_map(|b| (0..steps).map(move |t| (b, t)));
        all.flat_map(|(b, t)| rows.row(array, t, b, input.tensor.width())).collect()
    });
    let data = Data { inputs: values.collect(), sequences, steps };
    // Step by step, as the framework's loop is written; a window is one run.
    let run = if is_window { signature.steps } else { Run::One };
    let mut lab = lab.steps(run)?;
    let pieces = if is_window { vec![steps] } else { vec![1; steps] };
    let found = lab.run(&data, &(0..sequences).collect::<Vec<_>>(), &pieces, Moved::No)?;
    let mut said = Vec::new();
    for (n, (output, written)) in signature.outputs.iter().zip(outputs).enumerate() {
        let Some((name, array)) = find(&[written, &output.column]) else { continue };
        let rows =
            Rows::new(array, &output.tensor).map_err(|message| refused(format!("array \"{name}\": {message}")))?;
        let difference = difference(&found, n, &rows, array, (steps, is_window), output.tensor.width());
        let (apart, at) = difference.map_err(|message| refused(format!("array \"{name}\": {message}")))?;
        if apart > MOST {
            return Err(refused(format!("output \"{name}\" differs by up to {apart:.1e} of its largest number: {at}")));
        }
        said.push(format!(
            "output \"{name}\" differs from the reference by at most {apart:.1e} of its largest number, over {steps} steps of \
             {sequences} sequences"
        ));
    }
    if said.is_empty() {
        return Err(refused(format!("it has none of the outputs (there are: {})", names())));
    }
    Ok(said)
}

/// The largest difference relative to the largest number, and where it is.
fn difference(
    found: &[Outcome],
    output: usize,
    rows: &Rows,
    array: &Array,
    (steps, is_window): (usize, bool),
    width: usize,
) -> std::result::Result<(f64, String), String> {
    if rows.sequences != found.len() || (rows.time.is_some() && rows.steps != steps) {
        return Err(format!("it has {} steps of {} sequences", rows.steps, rows.sequences));
    }
    let scale =
        array.values.iter().filter(|value| value.is_finite()).fold(1e-30_f64, |most, value| most.max(value.abs()));
    let mut worst = (0.0, String::new());
    for (b, outcome) in found.iter().enumerate() {
        let given = outcome.outputs[output].chunks_exact(width);
        let first = if rows.time.is_none() || is_window { given.len() - 1 } else { 0 };
        for (n, given) in given.enumerate().skip(first) {
            let step = if is_window { steps - 1 } else { n };
            let expected = rows.row(array, step, b, width);
            for (at, (expected, given)) in expected.iter().zip(given).enumerate() {
                let apart = (expected - given).abs() / scale;
                let apart = if apart.is_nan() && expected.is_nan() != given.is_nan() { f64::INFINITY } else { apart };
                if apart > worst.0 {
                    let place = format!("step {} of sequence {}, number {}", step + 1, b + 1, at + 1);
                    worst = (apart, format!("{place}: {given} against {expected} of the reference"));
                }
            }
        }
    }
    Ok(worst)
}

/// Where the rows of a tensor are in an array, which may have a time axis before those of the tensor.
struct Rows {
    strides: Vec<(Axis, usize, usize)>,
    time: Option<usize>,
    steps: usize,
    sequences: usize,
}

impl Rows {
    fn new(array: &Array, tensor: &TensorSpec) -> std::result::Result<Rows, String> {
        let mut axes = tensor.shape.clone();
        if array.sizes.len() == axes.len() + 1 && !tensor.has(Axis::Time) {
            axes.insert(0, Axis::Time);
        }
        let fits = array.sizes.len() == axes.len()
            && axes.iter().zip(&array.sizes).all(|(axis, size)| match axis {
                Axis::Fixed(fixed) => fixed == size,
                _ => *size > 0,
            });
        if !fits {
            return Err(format!("it is {:?}, the tensor is {}", array.sizes, tensor.describe()));
        }
        let mut strides = Vec::new();
        let mut stride = 1;
        for (axis, size) in axes.iter().zip(&array.sizes).rev() {
            strides.push((*axis, *size, stride));
            stride *= size;
        }
        strides.reverse();
        let size = |axis| strides.iter().find(|(other, ..)| *other == axis).map(|(_, size, _)| *size);
        let (time, batch) = (size(Axis::Time), size(Axis::Batch));
        Ok(Rows { time, steps: time.unwrap_or(1), sequences: batch.unwrap_or(1), strides })
    }

    /// The numbers of a step of a sequence.
    fn row(&self, array: &Array, t: usize, b: usize, width: usize) -> Vec<f64> {
        let mut row = Vec::with_capacity(width);
        for n in 0..width {
            let (mut rest, mut from) = (n, 0);
            for (axis, size, stride) in self.strides.iter().rev() {
                from += stride
                    * match axis {
                        Axis::Time => t,
                        Axis::Batch => b,
                        Axis::Fixed(_) => {
                            let at = rest % size;
                            rest /= size;
                            at
                        }
                    };
            }
            row.push(array.values[from]);
        }
        row
    }
}

/// The arrays of an `.npz`, by name.
fn read(path: &Path) -> Result<Vec<(String, Array)>> {
    let shown = || format!("read {}", path.display());
    let mut archive = zip::ZipArchive::new(File::open(path).or_refused(shown)?).or_refused(shown)?;
    let mut arrays = Vec::new();
    for n in 0..archive.len() {
        let entry = archive.by_index(n).or_refused(shown)?;
        let name = entry.name().or_refused(shown)?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        let mut bytes = Vec::new();
        entry.take(MAX_BYTES + 1).read_to_end(&mut bytes).or_refused(shown)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::refused(format!("{}: array \"{name}\" is larger than 1 GiB", path.display())));
        }
        // Texts and the like are of no use here.
        if let Ok(array) = npy::read(&bytes) {
            arrays.push((name, array));
        }
    }
    Ok(arrays)
}
