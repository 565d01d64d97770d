//! `vectors:` of `record`: columns that hold many numbers per record.

use super::At;
use super::read::{Field, Reader};
use super::table::{Shape, names, word};
use super::words::{Words, word_of};

/// Numbers of a vector, at most.
pub const MOST_NUMBERS: usize = 1 << 20;

/// A column of vectors: `frame: 576`, `samples: any`, `samples: { width: any, type: int16 }`.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorColumn {
    /// The column.
    pub name: At<String>,
    /// How many numbers each record has; `None`: any number.
    pub width: Option<usize>,
    /// What its bytes are; `None`: it has no bytes, but lists.
    pub number: Option<NumberType>,
}

/// `type:` of a vector's numbers
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    /// Bytes are floats of 32 bits, little-endian.
    Float32,
    /// Bytes are integers of 16 bits, little-endian. Numbers, also those of lists, are scaled by 1/32768.
    Int16,
}

const TYPES: [(&str, NumberType); 2] = [("float32", NumberType::Float32), ("int16", NumberType::Int16)];

impl NumberType {
    /// Its word in the pipeline file.
    pub fn word(self) -> &'static str {
        word_of(&TYPES, self)
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            NumberType::Float32 => 4,
            NumberType::Int16 => 2,
        }
    }
}

const WIDTH: &str = "a whole number from 1 to 1048576, or any";
const WIDTHS: [Shape; 2] = [Shape::Integer(1, MOST_NUMBERS as i64), Shape::Word(&["any"])];

/// What a vector column takes.
pub(super) const SHAPE: Shape = Shape::Names(&Shape::Any(&[
    Shape::Integer(1, MOST_NUMBERS as i64),
    Shape::Word(&["any"]),
    Shape::Section(&VECTOR),
]));
const VECTOR: Words = Words::new(
    "a vector column",
    &[
        word("width", Shape::Any(&WIDTHS), "How many numbers each record has; `any`: it may differ").needed(),
        word(
            "type",
            Shape::Word(&names(&TYPES)),
            "What bytes are, little-endian; `int16`: numbers, also those of lists, are scaled by 1/32768",
        ),
    ],
);

/// Reads the columns.
pub(super) fn vectors(reader: &mut Reader, field: Field<'_>) -> Vec<VectorColumn> {
    let what =
        "columns with the width of their vectors, such as `frame: 576` or `samples: { width: any, type: int16 }`";
    let columns = reader.names(field, what).unwrap_or_default();
    columns.into_iter().filter_map(|column| vector(reader, column)).collect()
}

fn vector(reader: &mut Reader, column: Field<'_>) -> Option<VectorColumn> {
    let name = At { value: column.name.to_string(), place: column.name_place };
    if column.node.text().is_some() {
        return Some(VectorColumn { name, width: width(reader, column)?, number: None });
    }
    let fields = reader.section(column, &VECTOR)?;
    let width = reader.need(&fields, "width").and_then(|field| width(reader, field));
    let number = fields.get("type").map(|field| reader.word(field, &TYPES, &[]));
    Some(VectorColumn { name, width: width?, number: number.map_or(Some(None), |number| number.map(Some))? })
}

/// A width; `Some(None)` is any.
fn width(reader: &mut Reader, field: Field<'_>) -> Option<Option<usize>> {
    match field.node.text() {
        Some("any") => Some(None),
        Some(text) if text.trim().parse::<f64>().is_ok() => reader.count(field, 1, MOST_NUMBERS).map(Some),
        _ => reader.expected(field, WIDTH),
    }
}
