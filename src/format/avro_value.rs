//! Values of Avro, as arrow-avro makes them: arrays of one value.
//!
//! Lives here: one value, out of unions and records. Must not live here: schemas, and which field is which column.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type};

use crate::record::{digits, nearest, nearest_of_digits};

/// The value of a field within records, by its path; `None`: it is null, or something on the way is, or has no such
/// field.
pub(super) fn within(array: ArrayRef, path: &[String]) -> Option<ArrayRef> {
    let array = present(array)?;
    let Some((first, rest)) = path.split_first() else { return Some(array) };
    within(array.as_struct_opt()?.column_by_name(first)?.clone(), rest)
}

/// The type of a field within records, by its path; `None`: there is none.
pub(super) fn type_within<'t>(found: &'t DataType, path: &[String]) -> Option<&'t DataType> {
    let Some((first, rest)) = path.split_first() else { return Some(found) };
    match found {
        DataType::Struct(fields) => type_within(fields.find(first)?.1.data_type(), rest),
        DataType::Union(branches, _) => branches.iter().find_map(|(_, branch)| type_within(branch.data_type(), path)),
        _ => None,
    }
}

/// The value of a field, out of its union; `None`: null.
pub(super) fn present(array: ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::Null => None,
        DataType::Union(..) => present(array.as_union().value(0)),
        _ => (!array.is_null(0)).then_some(array),
    }
}

pub(super) fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let array = cast(array, to).map_err(|e| e.to_string())?;
    if array.is_null(0) { Err(format!("is out of the range of {to}")) } else { Ok(array) }
}

pub(super) fn text(array: &ArrayRef) -> Result<Option<String>, String> {
    if let Some(parts) = array.as_struct_opt() {
        return variable(parts).map(Some);
    }
    Ok(Some(converted(array, &DataType::Utf8)?.as_string::<i32>().value(0).to_string()))
}

pub(super) fn integer(array: &ArrayRef) -> Result<i64, String> {
    let array = match array.data_type() {
        DataType::Date32 => converted(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    Ok(converted(&array, &DataType::Int64)?.as_primitive::<Int64Type>().value(0))
}

/// The digits of Debezium's decimal whose scale comes with each value.
fn variable(parts: &StructArray) -> Result<String, String> {
    let part = |name: &str| parts.column_by_name(name).ok_or_else(|| format!("it has no {name}"));
    digits(part("value")?.as_binary::<i32>().value(0), integer(part("scale")?)?)
}

pub(super) fn number(array: &ArrayRef) -> Result<f64, String> {
    match array.data_type() {
        DataType::Decimal128(_, scale) => return Ok(nearest(array.as_primitive::<Decimal128Type>().value(0), *scale)),
        DataType::Decimal256(_, scale) => {
            let value = array.as_primitive::<Decimal256Type>().value(0);
            return Ok(nearest_of_digits(value, *scale).unwrap_or(f64::NAN));
        }
        DataType::Struct(_) => return variable(array.as_struct())?.parse().map_err(|_| "is no number".to_string()),
        _ => {}
    }
    Ok(converted(array, &DataType::Float64)?.as_primitive::<Float64Type>().value(0))
}

/// A decimal or an integer as a decimal, unscaled, if there is exactly that one.
pub(super) fn decimal(array: &ArrayRef, precision: u8, scale: i8) -> Result<i128, String> {
    let (value, from) = match array.data_type() {
        DataType::Decimal128(_, from) => (array.as_primitive::<Decimal128Type>().value(0), *from),
        DataType::Decimal256(_, from) => {
            let value = array.as_primitive::<Decimal256Type>().value(0);
            (value.to_i128().ok_or_else(|| format!("{value} of scale {from} doesn't fit into"))?, *from)
        }
        _ => (i128::from(integer(array)?), 0),
    };
    let shown = || format!("{value} of scale {from} doesn't fit into");
    let power = |digits: i8| 10_i128.checked_pow(u32::from(digits.unsigned_abs()));
    let unscaled = match scale.checked_sub(from).map(|more| (more, power(more))) {
        Some((0.., Some(power))) => value.checked_mul(power),
        Some((_, Some(power))) => (value % power == 0).then(|| value / power),
        _ => None,
    };
    let fits = |value: &i128| power(precision as i8).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs());
    unscaled.filter(fits).ok_or_else(shown)
}
