//! Which types of Avro become which columns, by their types in Arrow.
//!
//! Must not live here: values, schemas.

use arrow::datatypes::{DataType, TimeUnit};

use super::avro_vector;
use super::columns::{Columns, PassthroughFrom, Target};

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
        found => found.is_numeric() || *found == DataType::Boolean,
    }
}

/// Whether a value of a type is a key.
pub(super) fn is_key(found: &DataType) -> bool {
    if let DataType::Union(branches, _) = found {
        return branches.iter().all(|(_, branch)| *branch.data_type() == DataType::Null || is_key(branch.data_type()));
    }
    found.is_integer()
        || matches!(
            found,
            DataType::Utf8
                | DataType::Dictionary(..)
                | DataType::Boolean
                | DataType::Binary
                | DataType::FixedSizeBinary(_)
                | DataType::Decimal128(..)
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
        DataType::Date32 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Binary | DataType::FixedSizeBinary(_) => DataType::Binary,
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
    let is_text = matches!(found, DataType::Utf8 | DataType::Dictionary(..) | DataType::Binary);
    let to = match target {
        Target::Key => {
            return match own {
                Some(DataType::Binary | DataType::FixedSizeBinary(_)) => is_text || is_bytes,
                Some(DataType::Decimal128(..)) => found.is_integer() || matches!(found, DataType::Decimal128(..)),
                Some(own @ (DataType::Boolean | DataType::Date32)) => found == own,
                _ => is_text || found.is_integer(),
            };
        }
        Target::Vector(_) => return false,
        Target::Value(_) => return found.is_numeric() || *found == DataType::Boolean,
        Target::Time => return found.is_integer() || is_same_time(found, &columns.clock.data_type),
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
        DataType::Decimal128(..) => found.is_integer() || matches!(found, DataType::Decimal128(..)),
        _ => found.is_integer() || is_same_time(found, to),
    }
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
