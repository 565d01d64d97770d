//! Columns of a layout, as the plan of a stage finds and adds them.

use crate::config::At;
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Kind, Layout, Role};

/// Hides a column of the source that was read for the stages before: from here on its name means what a stage makes.
/// Whoever writes asks for a column by its name at the end, so nothing needs it.
pub(super) fn hide(layout: &mut Layout, name: &str) {
    for column in &mut layout.columns {
        if column.role == Role::Field && column.name == name {
            column.role = Role::Internal;
        }
    }
    layout.constants.retain(|(constant, _)| constant != name);
}

/// Adds a column that a stage makes; a second one of its name is a problem.
pub(super) fn add(
    layout: &mut Layout,
    name: String,
    kind: Kind,
    role: Role,
    place: Place,
    problems: &mut Problems,
) -> usize {
    hide(layout, &name);
    if layout.find(&name).is_some() || name == layout.key_name || name == layout.time_name {
        problems.add(place, format!("this stage makes a column \"{name}\", but there is one of that name already"));
    }
    layout.add(name, kind, role)
}

/// The numeric column that a user named; `None` after reporting that there is none.
pub(super) fn number(layout: &Layout, name: &At<String>, problems: &mut Problems) -> Option<usize> {
    match layout.number(name) {
        Ok(index) => Some(index),
        Err(message) => {
            problems.add(name.place, message);
            None
        }
    }
}

/// The record's own numeric columns, in order.
pub(super) fn values(layout: &Layout) -> Vec<usize> {
    let is_value = |index: &usize| {
        let column = &layout.columns[*index];
        column.role == Role::Value && column.kind == Kind::Number
    };
    (0..layout.columns.len()).filter(is_value).collect()
}

/// The record's own vectors with their widths, and its columns of any number of values, in order.
pub(super) fn vectors(layout: &Layout) -> (Vec<(usize, usize)>, Vec<usize>) {
    let (mut vectors, mut samples) = (Vec::new(), Vec::new());
    for (index, column) in layout.columns.iter().enumerate().filter(|(_, column)| column.role == Role::Value) {
        match column.kind {
            Kind::Vector(width) => vectors.push((index, width)),
            Kind::Samples => samples.push(index),
            _ => {}
        }
    }
    (vectors, samples)
}
