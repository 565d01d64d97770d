//! What statistics in footers say of the values of a row group.
//!
//! Lives here: finding those of a column, and which of them are to be trusted (never those of INT96, which writers
//! order by bytes). Must not live here: what follows of them ([`super::skip`], [`super::order`]).

use ::parquet::file::metadata::RowGroupMetaData;
use ::parquet::file::statistics::Statistics;
use arrow::datatypes::{DataType, TimeUnit};

use super::merge::is_text;
use super::nested;
use crate::record::nearest;
use crate::stage::Bounds;

pub(super) const DAY: i64 = 86_400_000_000_000;

pub(super) fn nanos(ticks: i64, tick: i64) -> i128 {
    i128::from(ticks) * i128::from(tick)
}

/// What a file says of a column of a row group, or of a field of a struct.
pub(super) fn of<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<&'a Statistics> {
    let find = |is: &dyn Fn(&[String]) -> bool| group.columns().iter().find(|column| is(column.column_path().parts()));
    find(&|parts| parts == [name]).or_else(|| find(&|parts| nested::is_leaf(parts, name)))?.statistics()
}

/// Bounds of the values of a column of this type, where its statistics are to be trusted.
pub(super) fn bounds(statistics: &Statistics, data_type: &DataType) -> Option<Bounds> {
    if statistics.is_min_max_deprecated() && !statistics.is_min_max_backwards_compatible() {
        return None;
    }
    let integers = match statistics {
        Statistics::Int32(bounds) => Some((i64::from(*bounds.min_opt()?), i64::from(*bounds.max_opt()?))),
        Statistics::Int64(bounds) => Some((*bounds.min_opt()?, *bounds.max_opt()?)),
        _ => None,
    };
    let found = match (data_type, statistics, integers) {
        // As they are stored, an unsigned one beyond the signed range looks negative.
        (t, _, Some((low, high))) if t.is_unsigned_integer() && low >= 0 && high >= 0 => {
            Bounds::Numbers(low as f64, high as f64)
        }
        (t, _, Some((low, high))) if t.is_signed_integer() => Bounds::Numbers(low as f64, high as f64),
        (DataType::Float32, Statistics::Float(bounds), _) => {
            Bounds::Numbers((*bounds.min_opt()?).into(), (*bounds.max_opt()?).into())
        }
        (DataType::Float64, Statistics::Double(bounds), _) => Bounds::Numbers(*bounds.min_opt()?, *bounds.max_opt()?),
        (t, Statistics::ByteArray(bounds), _) if is_text(t) => {
            Bounds::Texts(bounds.min_opt()?.data().to_vec(), bounds.max_opt()?.data().to_vec())
        }
        // Their order is that of the bytes, without a sign, and that of their digits.
        (t, Statistics::ByteArray(bounds), _) if is_binary(t) => {
            Bounds::Texts(bounds.min_opt()?.data().to_vec(), bounds.max_opt()?.data().to_vec())
        }
        (t, Statistics::FixedLenByteArray(bounds), _) if is_binary(t) => {
            Bounds::Texts(bounds.min_opt()?.data().to_vec(), bounds.max_opt()?.data().to_vec())
        }
        (t, Statistics::FixedLenByteArray(bounds), _) if let Some(scale) = scale(t) => Bounds::Numbers(
            nearest(signed(bounds.min_opt()?.data())?, scale),
            nearest(signed(bounds.max_opt()?.data())?, scale),
        ),
        (t, _, Some((low, high))) if let Some(scale) = scale(t) => {
            Bounds::Numbers(nearest(low.into(), scale), nearest(high.into(), scale))
        }
        (DataType::Date32, Statistics::Int32(_), Some((low, high))) => Bounds::Times(nanos(low, DAY), nanos(high, DAY)),
        (DataType::Timestamp(unit, _), Statistics::Int64(_), Some((low, high))) => {
            let tick = match unit {
                TimeUnit::Second => 1_000_000_000,
                TimeUnit::Millisecond => 1_000_000,
                TimeUnit::Microsecond => 1_000,
                TimeUnit::Nanosecond => 1,
            };
            Bounds::Times(nanos(low, tick), nanos(high, tick))
        }
        _ => return None,
    };
    // What isn't in order, such as NaN, says nothing.
    let is_sound = match &found {
        Bounds::Numbers(low, high) => low <= high,
        Bounds::Texts(low, high) => low <= high,
        Bounds::Times(low, high) => low <= high,
    };
    is_sound.then_some(found)
}

pub(super) fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_))
}

fn scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

/// An integer in two's complement, big-endian; `None`: it is beyond 128 bits.
fn signed(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let (beyond, own) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut all = [fill; 16];
    all[16 - own.len()..].copy_from_slice(own);
    let is_same = beyond.iter().all(|byte| *byte == fill) && own.first()? & 0x80 == fill & 0x80;
    is_same.then(|| i128::from_be_bytes(all))
}
