//! Which types of Avro become which columns, by their types in Arrow.
//!
//! Must not live here: values, schemas.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, TimeUnit};

use super::avro_vector;
use super::columns::{Columns, PassthroughFrom, Target};
use super::times::TimeFrom;

/// A union of several numbers, or of null and one other type, as the type that holds them all; any other as it is.
pub(super) fn united(found: &DataType) -> DataType {
    let DataType::Union(branches, _) = found else { return found.clone() };
    let types: Vec<&DataType> =
        branches.iter().map(|(_, branch)| branch.data_type()).filter(|found| **found != DataType::Null).collect();
    match &types[..] {
        [one] => (*one).clone(),
        [] => found.clone(),
        all if all.iter().all(|one| one.is_integer()) => DataType::Int64,
        all if all.iter().all(|one| one.is_integer() || one.is_floating()) => DataType::Float64,
        _ => found.clone(),
    }
}

/// Whether a value of a type is a number, as a value of the record.
pub(super) fn is_value(found: &DataType) -> bool {
    match found {
        DataType::Union(branches, _) => {
            branches.iter().all(|(_, one)| *one.data_type() == DataType::Null || is_value(one.data_type()))
        }
        found => found.is_numeric() || *found == DataType::Boolean || is_variable(found),
    }
}

/// Whether it is Debezium's decimal whose scale comes with each value.
pub(super) fn is_variable(found: &DataType) -> bool {
    let DataType::Struct(fields) = found else { return false };
    let has = |name: &str, of: &DataType| fields.find(name).is_some_and(|(_, field)| field.data_type() == of);
    fields.len() == 2 && has("scale", &DataType::Int32) && has("value", &DataType::Binary)
}

/// Whether a value of a type is a time.
pub(super) fn is_time(found: &DataType) -> bool {
    found.is_integer()
        || matches!(
            found,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8 | DataType::Float32 | DataType::Float64
        )
}

/// Whether a value of a type is a key.
pub(super) fn is_key(found: &DataType) -> bool {
    if let DataType::Union(branches, _) = found {
        return branches.iter().all(|(_, branch)| *branch.data_type() == DataType::Null || is_key(branch.data_type()));
    }
    found.is_integer()
        || is_variable(found)
        || matches!(
            found,
            DataType::Utf8
                | DataType::Dictionary(..)
                | DataType::Boolean
                | DataType::Binary
                | DataType::FixedSizeBinary(_)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Date32
        )
}

/// The type of a passthrough column; `None`: there is none.
pub(super) fn passthrough(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::Utf8 | DataType::Dictionary(..) => DataType::Utf8,
        DataType::Boolean => DataType::Boolean,
        t if t.is_integer() => DataType::Int64,
        DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Timestamp(..) | DataType::Decimal128(..) => found.clone(),
        // Kafka Connect writes a precision of 64 where it knows none.
        DataType::Decimal256(_, scale) if *scale <= DECIMAL128_MAX_SCALE => {
            DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)
        }
        DataType::Date32 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Binary | DataType::FixedSizeBinary(_) => DataType::Binary,
        found if is_variable(found) => DataType::Utf8,
        _ => return None,
    })
}

/// Whether a column can hold a writer's values without loss, as far as their type says. `own`: that of the reader's
/// schema.
pub(super) fn takes(columns: &Columns, target: Target, own: Option<&DataType>, found: &DataType) -> bool {
    if let Target::Vector(index) = target {
        return avro_vector::takes(&columns.vectors[index], found).is_ok();
    }
    if let DataType::Union(branches, _) = found {
        return branches.iter().any(|(_, branch)| takes(columns, target, own, branch.data_type()));
    }
    let is_bytes = matches!(found, DataType::Binary | DataType::FixedSizeBinary(_));
    // Digits are text.
    let is_text = matches!(found, DataType::Utf8 | DataType::Dictionary(..) | DataType::Binary) || is_variable(found);
    let to = match target {
        Target::Key => {
            return match own {
                Some(DataType::Binary | DataType::FixedSizeBinary(_)) => is_text || is_bytes,
                Some(DataType::Decimal128(..) | DataType::Decimal256(..)) => is_decimal(found),
                Some(own @ (DataType::Boolean | DataType::Date32)) => found == own,
                _ => is_text || found.is_integer(),
            };
        }
        Target::Vector(_) => return false,
        Target::Value(_) => return is_value(found),
        Target::Time => {
            let is_written = match columns.time {
                TimeFrom::Text => *found == DataType::Utf8,
                TimeFrom::Fraction(_) => found.is_integer() || found.is_floating(),
                TimeFrom::Ticks | TimeFrom::Message => found.is_integer(),
            };
            return is_written || is_same_time(found, &columns.clock.data_type);
        }
        Target::Passthrough(index) => match &columns.passthrough[index].1 {
            PassthroughFrom::Field(data_type) => data_type,
            PassthroughFrom::MessageKey(_) | PassthroughFrom::MessageTimestamp | PassthroughFrom::Metadata(_) => {
                return true;
            }
        },
    };
    match to {
        DataType::Utf8 => is_text,
        DataType::Binary => is_text || is_bytes,
        DataType::Boolean => *found == DataType::Boolean,
        DataType::Float64 => found.is_integer() || found.is_floating(),
        DataType::Decimal128(..) => is_decimal(found),
        _ => found.is_integer() || is_same_time(found, to),
    }
}

/// Whether a value of a type is one of a column of decimals.
fn is_decimal(found: &DataType) -> bool {
    found.is_integer() || matches!(found, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// Whether a type of times means the same kind of times as a column's. An instant is no time of a wall clock; a date is
/// one, that of midnight. A column of plain integers takes them all: what its numbers mean, it doesn't say.
fn is_same_time(found: &DataType, to: &DataType) -> bool {
    match (found, to) {
        (DataType::Timestamp(_, zone), DataType::Timestamp(_, to)) => zone.is_some() == to.is_some(),
        (DataType::Timestamp(_, zone), DataType::Date32) => zone.is_none(),
        (DataType::Date32, DataType::Timestamp(_, zone)) => zone.is_none(),
        (DataType::Date32, DataType::Date32) => true,
        (DataType::Timestamp(..) | DataType::Date32, to) => to.is_integer(),
        _ => false,
    }
}
