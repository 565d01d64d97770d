//! `train.per`: which keys have a network together.

use super::At;
use super::read::{Field, Reader};

/// What the key is called.
const KEY: &str = "key";

/// `train.per`
#[derive(Debug, Clone, PartialEq)]
pub enum Per {
    /// Each key has its own.
    Key,
    /// Keys with the same text in this column.
    Column(At<String>),
}

impl Per {
    /// The column; `None`: it is the key.
    pub fn column(&self) -> Option<&str> {
        match self {
            Per::Key => None,
            Per::Column(column) => Some(&column.value),
        }
    }
}

/// Reads it. `streams`: whether transcripts are made while records stream in.
pub(super) fn per(reader: &mut Reader, field: Field<'_>, streams: bool) -> Option<Per> {
    if streams {
        reader.note(
            field,
            "a transcript that streams in mode carry is the text of one network's steps, which another one can't go on \
             with: leave `per` out, or write mode sequence",
        );
    }
    let column = reader.text(field, "a column, or key")?;
    Some(if column.value == KEY { Per::Key } else { Per::Column(column) })
}
