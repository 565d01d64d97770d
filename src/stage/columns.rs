//! Columns of a layout, as the plan of a stage finds and adds them.

use crate::config::At;
use crate::error::Problems;
use crate::problem::Place;
use crate::record::{Kind, Layout, Role};

/// Index of an internal column: those that stages add for each other and no user can name. The last one of that name:
/// `inputs` gives `restart` of `nulls` anew.
pub fn internal(layout: &Layout, name: &str) -> Option<usize> {
    layout.columns.iter().rposition(|column| column.role == Role::Internal && column.name == name)
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
