//! The axes of outputs, as runs of several sizes show them: what a graph declares can be open or wrong.

use crate::config::Card;
use crate::error::Problems;
use crate::model::Session;
use crate::model::card::Resolved;
use crate::model::executor::{Buffer, bytes_of};
use crate::network::{Axis, Element, OutputTensor, Run, Signature, TensorSpec};
use crate::{Error, Result};

/// A number that rows are made of: the same for the same place.
pub(super) fn number(row: usize, at: usize, salt: usize) -> f64 {
    let mut x = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((at as u64 + 1) << 32) ^ salt as u64;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
}

/// How many steps and sequences a run could have.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub signature: Signature,
    /// Why there is no run of several sequences.
    pub one_by_one: Option<String>,
}

/// What a graph takes and gives, by runs of one and of several sequences and steps.
///
/// # Errors
/// The graph doesn't load or doesn't run at all; an output that isn't as the card says, with both sides.
pub(super) fn seen(card: &Card, onnx: &[u8], resolved: &Resolved, window: Option<usize>) -> Result<Seen> {
    let outputs = resolved.outputs.iter().map(|output| OutputTensor {
        tensor: TensorSpec { name: output.name.clone(), element: output.element, shape: Vec::new() },
        column: output.column.clone(),
        forecast: output.forecast.clone(),
    });
    let mut signature = Signature {
        inputs: resolved.inputs.clone(),
        states: resolved.states.clone(),
        outputs: outputs.collect(),
        lengths: None,
        batch: Run::Many,
        steps: Run::Many,
    };
    let has_time = signature.inputs.iter().any(|input| input.tensor.has(Axis::Time));
    let has_batch = signature.taken().iter().all(|tensor| tensor.has(Axis::Batch));
    let mut session = Session::foreign(onnx, &signature)?;
    let (t, steps) = match window {
        Some(window) => (window, None),
        None => (1, has_time.then_some(3)),
    };
    let one = sizes(&mut session, &signature, t, 1)
        .map_err(|error| Error::refused(format!("the graph doesn't run: {error}")))?;
    let (mut one_by_one, mut batched) = (None, None);
    if has_batch {
        match sizes(&mut session, &signature, t, 3) {
            Ok(sizes) => batched = Some(sizes),
            Err(error) => one_by_one = Some(format!("a run of 3 sequences fails: {error}")),
        }
    } else {
        one_by_one = Some("an input has no batch axis".into());
    }
    let more = match steps.map(|steps| sizes(&mut session, &signature, steps, 1)) {
        Some(Ok(sizes)) => Some(sizes),
        Some(Err(_)) => {
            signature.steps = Run::One;
            None
        }
        None => None,
    };
    let mut problems = Problems::new(&card.file);
    let given = signature.outputs.len();
    for (n, output) in resolved.outputs.iter().enumerate() {
        let axes = axes(&one[n], batched.as_ref().map(|sizes| &sizes[n][..]), more.as_ref().map(|sizes| &sizes[n][..]));
        let shape = match (&output.shape, axes) {
            (Some(written), Ok(axes)) if fits(written, &one[n], batched.is_none() || more.is_none(), &axes) => {
                written.clone()
            }
            (Some(written), _) => {
                let written = TensorSpec { name: String::new(), element: output.element, shape: written.clone() };
                let message = format!(
                    "output \"{}\" is {} in the card, a run of {t} steps of 1 sequence gives {:?}",
                    output.name,
                    written.describe(),
                    one[n]
                );
                problems.add(output.place, message);
                continue;
            }
            (None, Ok(axes)) => by_layout(axes, &signature, &one[n], t, window.is_some(), batched.is_none()),
            (None, Err(message)) => {
                problems.add(output.place, format!("output \"{}\": {message}", output.name));
                continue;
            }
        };
        if shape.contains(&Axis::Fixed(0)) {
            problems.add(output.place, format!("output \"{}\" has no numbers: {:?}", output.name, one[n]));
        }
        signature.outputs[n].tensor.shape = shape;
    }
    for (state, (written, found)) in signature.states.iter().zip(card.states.iter().zip(&one[given..])) {
        let expected = state.tensor.sizes(t, 1);
        if *found != expected {
            let message = format!(
                "state \"{}\" is {expected:?} for one sequence ({}), a run gives {found:?} as \"{}\"",
                state.tensor.name,
                state.tensor.describe(),
                state.out
            );
            problems.add(written.name.place, message);
        }
    }
    let last = resolved.outputs.iter().any(|output| output.last);
    if last && window.is_none() {
        signature.steps = Run::One;
    }
    problems.finish(Seen { signature, one_by_one })
}

/// Sizes of everything that a run gives.
fn sizes(session: &mut Session, signature: &Signature, t: usize, b: usize) -> Result<Vec<Vec<usize>>> {
    let taken: Vec<Buffer> = signature
        .taken()
        .iter()
        .enumerate()
        .map(|(n, tensor)| {
            let below = signature.inputs.get(n).and_then(|input| match input.feed {
                crate::network::Feed::Ids { below, .. } => Some(below),
                _ => None,
            });
            let one = |at: usize| value(tensor.element, below, number(0, at, n));
            let bytes: Vec<u8> = (0..tensor.numbers(t, b)).flat_map(|at| bytes_of(one(at), tensor.element)).collect();
            Buffer::of(&bytes)
        })
        .collect();
    session.sizes(t, b, &taken)
}

/// A number from -1 to 1 as one that an input takes.
pub(super) fn value(element: Element, below: Option<u64>, number: f64) -> f64 {
    match (below, element) {
        (Some(below), _) => ((number + 1.0) / 2.0 * below as f64).floor().min(below.saturating_sub(1) as f64),
        (None, Element::Bool | Element::Int64 | Element::Int32) => f64::from(number > 0.0),
        (None, _) => number,
    }
}

/// Which axes follow the batch and the steps.
fn axes(one: &[usize], batched: Option<&[usize]>, more: Option<&[usize]>) -> std::result::Result<Vec<Axis>, String> {
    let same = |other: Option<&[usize]>| other.is_none_or(|other| other.len() == one.len());
    if !same(batched) || !same(more) {
        return Err(format!("its axes are {one:?}, {batched:?} and {more:?} in runs of different sizes"));
    }
    let axis = |at: usize| {
        let differs = |other: Option<&[usize]>| other.is_some_and(|other| other[at] != one[at]);
        match (differs(batched), differs(more)) {
            (true, true) => Err(format!("axis {at} follows both the batch and the steps ({one:?})")),
            (true, false) => Ok(Axis::Batch),
            (false, true) => Ok(Axis::Time),
            (false, false) => Ok(Axis::Fixed(one[at])),
        }
    };
    (0..one.len()).map(axis).collect()
}

/// Whether the axes of the card are those of the runs, or can be where runs of one can't tell.
fn fits(written: &[Axis], one: &[usize], unsure: bool, axes: &[Axis]) -> bool {
    written.len() == axes.len()
        && written.iter().zip(axes).zip(one).all(|((written, found), size)| match (written, found) {
            (Axis::Fixed(a), Axis::Fixed(b)) => a == b,
            (Axis::Time, Axis::Fixed(_)) => true,
            (Axis::Batch, Axis::Fixed(_)) => unsure && *size == 1,
            (written, found) => written == found,
        })
}

/// Where runs can't tell an axis of 1 or of the window, the inputs do.
fn by_layout(
    mut axes: Vec<Axis>,
    signature: &Signature,
    one: &[usize],
    t: usize,
    is_window: bool,
    no_batch: bool,
) -> Vec<Axis> {
    let Some(input) = signature.inputs.iter().max_by_key(|input| input.tensor.shape.len()) else { return axes };
    let place = |axis: Axis| input.tensor.shape.iter().position(|other| *other == axis);
    let rank = axes.len();
    if is_window && let Some(at) = place(Axis::Time).filter(|at| rank > 2 && one.get(*at) == Some(&t)) {
        axes[at] = Axis::Time;
    }
    if no_batch && let Some(at) = place(Axis::Batch).filter(|at| one.get(*at) == Some(&1) && rank > 1) {
        axes[at] = Axis::Batch;
    }
    axes
}
