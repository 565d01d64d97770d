//! The axes of a tensor, by its card, its file and the layout. Errors are messages with both sides; who calls knows the
//! place.

use crate::config::{CardAxis, Layout};
use crate::model::onnx::declared::Declared;
use crate::model::onnx::view::Dim;
use crate::network::Axis;

/// What holds for the whole card.
pub(super) struct Around {
    pub layout: Layout,
    pub window: Option<usize>,
}

type Shape = Result<Vec<Axis>, String>;

fn axis(axis: &CardAxis) -> Axis {
    match axis {
        CardAxis::Batch => Axis::Batch,
        CardAxis::Time => Axis::Time,
        CardAxis::Fixed(size) => Axis::Fixed(*size),
    }
}

/// As a card has it.
fn text(shape: &[CardAxis]) -> String {
    let axes = shape.iter().map(|axis| match axis {
        CardAxis::Batch => "batch".to_owned(),
        CardAxis::Time => "time".to_owned(),
        CardAxis::Fixed(size) => size.to_string(),
    });
    format!("[{}]", axes.collect::<Vec<_>>().join(", "))
}

/// The axes of an output that the card gives.
pub(super) fn of_output(shape: &[CardAxis]) -> Vec<Axis> {
    shape.iter().map(axis).collect()
}

/// The axes of an input. `columns`: how many numbers its columns have, where that is known.
pub(super) fn of_input(
    around: &Around,
    found: &Declared,
    written: Option<&[CardAxis]>,
    per_key: bool,
    columns: Option<usize>,
) -> Shape {
    if let Some(written) = written {
        agrees(around, found, written)?;
        return Ok(written.iter().map(axis).collect());
    }
    let before: &[CardAxis] = match around.layout {
        _ if per_key => &[CardAxis::Batch],
        Layout::Step => &[CardAxis::Batch],
        Layout::TimeFirst => &[CardAxis::Time, CardAxis::Batch],
        Layout::BatchFirst | Layout::Window => &[CardAxis::Batch, CardAxis::Time],
        Layout::TimeOnly => &[CardAxis::Time],
    };
    let Some(dims) = &found.dims else { return Err("the file declares no axes: write its `shape`".into()) };
    if dims.len() < before.len() {
        let layout = around.layout.word();
        return Err(format!(
            "layout {layout} has the axes {} first, the graph has {found}: write its `shape`, or another layout",
            text(before)
        ));
    }
    let rest = &dims[before.len()..];
    let open = rest.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count();
    let known: usize = rest.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 }).product();
    let one = columns.filter(|columns| open == 1 && known > 0 && columns % known == 0).map(|columns| columns / known);
    let mut axes = before.to_vec();
    for dim in rest {
        match (dim, one) {
            (Dim::Fixed(size), _) => axes.push(CardAxis::Fixed(*size)),
            (_, Some(size)) => axes.push(CardAxis::Fixed(size)),
            (open, None) => {
                return Err(format!(
                    "the file leaves its axis \"{open}\" open ({found}): write its `shape` with sizes, or give `--data \
                     PIPELINE`, whose columns say how many numbers there are"
                ));
            }
        }
    }
    agrees(around, found, &axes)?;
    Ok(axes.iter().map(axis).collect())
}

/// The axes of a state, which its output has too: a run tells.
pub(super) fn of_state(found: &Declared, written: Option<&[CardAxis]>) -> Shape {
    let step = Around { layout: Layout::Step, window: None };
    if let Some(written) = written {
        agrees(&step, found, written)?;
        return Ok(written.iter().map(axis).collect());
    }
    let Some(dims) = &found.dims else { return Err("the file declares no axes: write its `shape`".into()) };
    let open = dims.iter().filter(|dim| !matches!(dim, Dim::Fixed(_))).count();
    if open != 1 {
        return Err(format!(
            "the graph has {found}, where {} open: write its `shape` with batch and sizes",
            if open == 0 { "no axis is" } else { "more than one axis is" }
        ));
    }
    let axes: Vec<CardAxis> = dims
        .iter()
        .map(|dim| if let Dim::Fixed(size) = dim { CardAxis::Fixed(*size) } else { CardAxis::Batch })
        .collect();
    Ok(axes.iter().map(axis).collect())
}

/// Whether axes that a card has fit those that the file declares.
fn agrees(around: &Around, found: &Declared, written: &[CardAxis]) -> Result<(), String> {
    let Some(dims) = &found.dims else { return Ok(()) };
    if dims.len() != written.len() {
        return Err(format!("{} has {} axes, the graph has {found} with {}", text(written), written.len(), dims.len()));
    }
    for (axis, dim) in written.iter().zip(dims) {
        match (axis, dim) {
            (CardAxis::Fixed(size), Dim::Fixed(declared)) if size != declared => {
                return Err(format!("{} is not what the graph has, {found}: {size} against {declared}", text(written)));
            }
            (CardAxis::Batch, Dim::Fixed(declared)) if *declared != 1 => {
                return Err(format!(
                    "{} has its batch where the graph has {declared} ({found}): name the right axis, or export the graph \
                     with an open batch axis",
                    text(written)
                ));
            }
            (CardAxis::Time, Dim::Fixed(declared)) if *declared != 1 => {
                if around.layout != Layout::Window {
                    return Err(format!(
                        "{} has its time where the graph has exactly {declared} steps ({found}): it is unrolled over \
                         them. Export it with one step (T = 1), or by TorchScript, or serve it as `layout: window`",
                        text(written)
                    ));
                }
                if around.window.is_some_and(|window| window != *declared) {
                    let window = around.window.unwrap_or_default();
                    return Err(format!("`window` is {window}, the graph has {declared} steps ({found})"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
