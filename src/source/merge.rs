//! One type for a column whose type differs between files of a source.
//!
//! Lives here: which types go together, and as what both are read. A type is only ever widened: every value stays what
//! it is. Must not live here: which columns are read (`schema`), and the reading itself (`decode`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// What a column is read for; it decides which types go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Key,
    Time,
    /// Becomes f64, whatever number it is.
    Value,
    /// Becomes f32s, whatever lists or bytes it is.
    Vector,
    /// Goes to the output as it is.
    Field,
}

impl Purpose {
    /// Whether it is one of the record's values or vectors.
    pub fn is_value(self) -> bool {
        matches!(self, Purpose::Value | Purpose::Vector)
    }
}

/// The type that holds what both hold, without dictionaries and views; `None` where there is none.
pub(super) fn merged(purpose: Purpose, a: &DataType, b: &DataType) -> Option<DataType> {
    match (purpose, a, b) {
        _ if a == b => Some(a.clone()),
        // A column without any value has whatever type the others have.
        (_, DataType::Null, other) | (_, other, DataType::Null) => Some(other.clone()),
        (Purpose::Value, a, b) if is_number(a) && is_number(b) => Some(a.clone()),
        // The wider type, so that the column takes both.
        (Purpose::Vector, a, b) if is_vector(a) && is_vector(b) => {
            Some(if is_fixed(a) { b.clone() } else { a.clone() })
        }
        (Purpose::Key, a, b) if is_text(a) && is_text(b) => Some(a.clone()),
        (Purpose::Key, a, b) if is_bytes(a) && is_bytes(b) => Some(a.clone()),
        (Purpose::Key, a, b) => integers(a, b).or_else(|| decimals(a, b)).or_else(|| dates(a, b)),
        (Purpose::Time, a, b) => times(a, b).or_else(|| dates(a, b)).or_else(|| steps(a, b)),
        (_, a, b) => fields(a, b),
    }
}

/// The types of a column that is written as it is.
fn fields(a: &DataType, b: &DataType) -> Option<DataType> {
    let simple = integers(a, b)
        .or_else(|| floats(a, b))
        .or_else(|| decimals(a, b))
        .or_else(|| times(a, b))
        .or_else(|| dates(a, b))
        .or_else(|| clocks(a, b));
    if simple.is_some() {
        return simple;
    }
    let item = |a: &Arc<Field>, b: &Arc<Field>| {
        let data_type = merged(Purpose::Field, &plain(a.data_type()), &plain(b.data_type()))?;
        let nullable = a.is_nullable() || b.is_nullable();
        Some(Arc::new(Field::new(a.name(), data_type, nullable)))
    };
    match (a, b) {
        // They differ only in the widest text that they could hold.
        (a, b) if is_text(a) && is_text(b) || is_bytes(a) && is_bytes(b) => Some(a.clone()),
        (DataType::List(a), DataType::List(b) | DataType::LargeList(b)) => Some(DataType::List(item(a, b)?)),
        (DataType::LargeList(a), DataType::List(b) | DataType::LargeList(b)) => Some(DataType::LargeList(item(a, b)?)),
        (DataType::FixedSizeList(a, width), DataType::FixedSizeList(b, other)) if width == other => {
            Some(DataType::FixedSizeList(item(a, b)?, *width))
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            let pairs = a.iter().zip(b);
            let fields = pairs.map(|(a, b)| if a.name() == b.name() { item(a, b) } else { None });
            (a.len() == b.len()).then(|| fields.collect::<Option<Fields>>().map(DataType::Struct))?
        }
        _ => None,
    }
}

/// The type without what only says how it is stored: dictionaries and views.
pub(super) fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary)
}

/// Numbers, flags as 0 and 1, and the type of a column without any value.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null)
}

fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_number(item.data_type())
        }
        other => is_bytes(other) || matches!(other, DataType::FixedSizeBinary(_)),
    }
}

fn is_fixed(data_type: &DataType) -> bool {
    matches!(data_type, DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_))
}

/// Bits of an integer, and whether it is signed.
fn bits(data_type: &DataType) -> Option<(u8, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

fn integers(a: &DataType, b: &DataType) -> Option<DataType> {
    let ((a_bits, a_signed), (b_bits, b_signed)) = (bits(a)?, bits(b)?);
    if a_signed == b_signed {
        return Some(if a_bits >= b_bits { a.clone() } else { b.clone() });
    }
    let (signed, unsigned) = if a_signed { (a_bits, b_bits) } else { (b_bits, a_bits) };
    match signed.max(unsigned.checked_mul(2)?) {
        16 => Some(DataType::Int16),
        32 => Some(DataType::Int32),
        64 => Some(DataType::Int64),
        // Nothing holds both.
        _ => None,
    }
}

/// Steps and epochs: beyond 64 signed bits there is no time in any case.
fn steps(a: &DataType, b: &DataType) -> Option<DataType> {
    bits(a)?;
    bits(b)?;
    integers(a, b).or(Some(DataType::Int64))
}

/// Where one is a float. A 64-bit integer becomes float64 too: pandas makes that of integers where one is missing.
/// Reading it refuses those that float64 does not have.
fn floats(a: &DataType, b: &DataType) -> Option<DataType> {
    let digits = |data_type: &DataType| match data_type {
        DataType::Float16 => Some(11),
        DataType::Float32 => Some(24),
        DataType::Float64 => Some(53),
        other => Some(bits(other)?.0),
    };
    let digits = digits(a)?.max(digits(b)?);
    (a.is_floating() || b.is_floating()).then_some(match digits {
        ..=11 => DataType::Float16,
        12..=24 => DataType::Float32,
        _ => DataType::Float64,
    })
}

fn decimals(a: &DataType, b: &DataType) -> Option<DataType> {
    let parts = |data_type: &DataType| match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((i16::from(*precision), i16::from(*scale))),
        _ => None,
    };
    let ((a_precision, a_scale), (b_precision, b_scale)) = (parts(a)?, parts(b)?);
    let scale = a_scale.max(b_scale);
    let precision = (a_precision - a_scale).max(b_precision - b_scale) + scale;
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    match precision {
        ..=38 => Some(DataType::Decimal128(precision, scale)),
        39..=76 => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// Timestamps. Those with a zone are instants, those without are not, so they don't go together. Different zones have
/// no common day: it is that of UTC, whatever the order of files.
fn times(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Timestamp(a, a_zone), DataType::Timestamp(b, b_zone)) if a_zone.is_some() == b_zone.is_some() => {
            let zone = if a_zone == b_zone { a_zone.clone() } else { Some("UTC".into()) };
            Some(DataType::Timestamp(finer(*a, *b), zone))
        }
        _ => None,
    }
}

fn dates(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Date32, DataType::Date64) | (DataType::Date64, DataType::Date32) => Some(DataType::Date64),
        _ => None,
    }
}

/// Times of the day, and durations.
fn clocks(a: &DataType, b: &DataType) -> Option<DataType> {
    match (a, b) {
        (DataType::Time32(a) | DataType::Time64(a), DataType::Time32(b) | DataType::Time64(b)) => {
            Some(match finer(*a, *b) {
                unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                unit => DataType::Time64(unit),
            })
        }
        (DataType::Duration(a), DataType::Duration(b)) => Some(DataType::Duration(finer(*a, *b))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::{
        Boolean, Date32, Date64, Float32, Float64, Int8, Int32, Int64, LargeUtf8, Null, UInt32, UInt64, Utf8,
    };

    fn stamp(unit: TimeUnit, zone: Option<&str>) -> DataType {
        DataType::Timestamp(unit, zone.map(Into::into))
    }

    #[test]
    fn what_goes_together_and_as_what() {
        let (us, ns) = (TimeUnit::Microsecond, TimeUnit::Nanosecond);
        let list = |name: &str, item: DataType| DataType::List(Arc::new(Field::new(name, item, true)));
        let cases = [
            (Purpose::Time, stamp(us, None), stamp(ns, None), Some(stamp(ns, None))),
            (Purpose::Time, stamp(us, Some("UTC")), stamp(ns, Some("Asia/Tokyo")), Some(stamp(ns, Some("UTC")))),
            (Purpose::Time, stamp(us, None), stamp(us, Some("UTC")), None),
            (Purpose::Time, Date32, Date64, Some(Date64)),
            (Purpose::Time, Date32, stamp(us, None), None),
            (Purpose::Time, Int64, UInt64, Some(Int64)),
            (Purpose::Time, Int64, stamp(us, None), None),
            (Purpose::Key, Utf8, LargeUtf8, Some(Utf8)),
            (Purpose::Key, Int32, Int64, Some(Int64)),
            (Purpose::Key, UInt32, Int8, Some(Int64)),
            (Purpose::Key, UInt64, Int64, None),
            (Purpose::Key, Utf8, Int64, None),
            (Purpose::Key, Null, Utf8, Some(Utf8)),
            (Purpose::Value, Boolean, DataType::Decimal128(10, 2), Some(Boolean)),
            (Purpose::Value, Float64, Utf8, None),
            (Purpose::Field, Float32, Float64, Some(Float64)),
            (Purpose::Field, Float32, Int8, Some(Float32)),
            (Purpose::Field, Int32, Float32, Some(Float64)),
            (Purpose::Field, Int64, Float64, Some(Float64)),
            (Purpose::Field, Boolean, Int64, None),
            (
                Purpose::Field,
                DataType::Decimal128(10, 2),
                DataType::Decimal64(12, 6),
                Some(DataType::Decimal128(14, 6)),
            ),
            (Purpose::Field, list("item", Int32), list("element", Int64), Some(list("item", Int64))),
            (Purpose::Field, list("item", Utf8), list("item", Int64), None),
        ];
        for (purpose, a, b, expected) in cases {
            assert_eq!(merged(purpose, &a, &b), expected, "{purpose:?} {a} {b}");
            // Which file comes first only decides about the names of things.
            assert_eq!(merged(purpose, &b, &a).is_some(), expected.is_some(), "{purpose:?} {b} {a}");
        }
    }
}
