//! Vectors in Avro: arrays of numbers, bytes and fixed.
//!
//! Must not live here: schemas, and which field is which column.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use super::avro_value::{number, present};
use super::vector::Vector;
use crate::config::VectorColumn;
use crate::record::vector_of;

/// Whether a column can be made of values of a type, or what is expected; of a union, of one of its types.
pub(super) fn takes(column: &VectorColumn, found: &DataType) -> Result<(), String> {
    match found {
        DataType::Union(branches, _) => {
            let mut branches = branches.iter().map(|(_, branch)| branch.data_type()).filter(|t| **t != DataType::Null);
            match branches.any(|branch| takes(column, branch).is_ok()) {
                true => Ok(()),
                false => column.takes(found),
            }
        }
        DataType::List(item) if super::avro_types::is_value(item.data_type()) => Ok(()),
        found => column.takes(found),
    }
}

/// Reads the one vector of an array.
pub(super) fn read(column: &VectorColumn, array: &ArrayRef, to: &mut Vector) -> Result<(), String> {
    // Items of several types.
    if let Some(list) = array.as_list_opt::<i32>()
        && let DataType::Union(..) = list.value_type()
    {
        let items = list.value(0);
        to.is_there = true;
        for row in 0..items.len() {
            let item = present(items.slice(row, 1)).map(|item| number(&item)).transpose()?;
            to.numbers.push(item.map_or(f32::NAN, |item| column.number(item)));
        }
        return Ok(());
    }
    // Of any width here: whether it is right is judged with the other formats' vectors.
    let any = VectorColumn { width: None, ..column.clone() };
    let (read, bad) = any.read(array).map_err(|e| e.to_string())?;
    to.is_there = true;
    to.fault = bad.into_iter().next().map(|(_, what)| what);
    to.numbers.extend(vector_of(&read, 0).unwrap_or_default());
    Ok(())
}
