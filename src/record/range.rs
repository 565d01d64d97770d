//! The calendar: which times there are, for every type of time. Beyond it no time can be written as text (RFC 3339), as
//! a Protobuf `Timestamp`, or be read by most other programs.
//!
//! Lives here: the range, and finding what lies beyond it in a column. Sources judge every time by it before they take
//! a record. Must not live here: what becomes of such a record.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use arrow::datatypes::{
    Date32Type, Date64Type, DurationMillisecondType, DurationSecondType, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use super::NO_TIME;

/// Why a record is refused that has a time beyond the calendar.
pub const TIME_OUT_OF_RANGE: &str = "time_out_of_range";

/// Seconds from 1970 to the beginning of the year 1, and to that of the year 10000.
const FIRST: i128 = -62_135_596_800;
const END: i128 = 253_402_300_800;
const SECOND: i128 = 1_000_000_000;
const DAY: i64 = 86_400;

/// The values of a type of times that lie in the calendar: the years 1 to 9999, a time of day within its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    low: i64,
    high: i64,
}

impl TimeRange {
    /// That of ticks of this length; `None`: of steps without a clock, all but [`NO_TIME`].
    pub fn of_ticks(nanos: Option<i64>) -> TimeRange {
        // Asked for single times: the usual lengths cost no division.
        const MICROS: TimeRange = TimeRange::within(1_000);
        const MILLIS: TimeRange = TimeRange::within(1_000_000);
        const SECONDS: TimeRange = TimeRange::within(1_000_000_000);
        match nanos {
            // Nanoseconds in 64 bits end earlier, in 1677 and 2262.
            None | Some(..=1) => TimeRange { low: NO_TIME + 1, high: i64::MAX },
            Some(1_000) => MICROS,
            Some(1_000_000) => MILLIS,
            Some(1_000_000_000) => SECONDS,
            Some(nanos) => TimeRange::within(nanos),
        }
    }

    /// Of ticks of a microsecond or longer, which all have 64 bits.
    const fn within(nanos: i64) -> TimeRange {
        let nanos = nanos as i128;
        TimeRange { low: (FIRST * SECOND / nanos) as i64, high: (END * SECOND - 1).div_euclid(nanos) as i64 }
    }

    /// That of a type of columns; `None`: it is no time.
    pub fn of(data_type: &DataType) -> Option<TimeRange> {
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000_i64,
        };
        Some(match data_type {
            DataType::Timestamp(unit, _) => TimeRange::of_ticks(Some(1_000_000_000 / per_second(unit))),
            DataType::Date32 => TimeRange::of_ticks(Some(DAY * 1_000_000_000)),
            DataType::Date64 => TimeRange::of_ticks(Some(1_000_000)),
            DataType::Time32(unit) | DataType::Time64(unit) => TimeRange { low: 0, high: DAY * per_second(unit) - 1 },
            // What a library for times can hold; finer ones always fit.
            DataType::Duration(TimeUnit::Second) => TimeRange { low: -i64::MAX / 1000, high: i64::MAX / 1000 },
            DataType::Duration(TimeUnit::Millisecond) => TimeRange { low: -i64::MAX, high: i64::MAX },
            _ => return None,
        })
    }

    /// Whether a value lies in it.
    pub fn has(self, value: i64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The rows of a column that hold a time beyond the calendar, ascending; times within lists and structs too.
pub fn rows_beyond(array: &ArrayRef) -> Vec<usize> {
    let mut rows = Vec::new();
    if holds_times(array.data_type()) {
        search(array, &mut |row| rows.push(row));
        rows.sort_unstable();
        rows.dedup();
    }
    rows
}

fn holds_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => holds_times(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_times(field.data_type())),
        DataType::Dictionary(_, values) => holds_times(values),
        other => TimeRange::of(other).is_some(),
    }
}

/// Calls `found` with rows that hold such a time, in no order, perhaps more than once.
fn search(array: &ArrayRef, found: &mut dyn FnMut(usize)) {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => values::<TimestampSecondType>(array, found),
        DataType::Timestamp(TimeUnit::Millisecond, _) => values::<TimestampMillisecondType>(array, found),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values::<TimestampMicrosecondType>(array, found),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values::<TimestampNanosecondType>(array, found),
        DataType::Date32 => values::<Date32Type>(array, found),
        DataType::Date64 => values::<Date64Type>(array, found),
        DataType::Time32(TimeUnit::Second) => values::<Time32SecondType>(array, found),
        DataType::Time32(_) => values::<Time32MillisecondType>(array, found),
        DataType::Time64(TimeUnit::Microsecond) => values::<Time64MicrosecondType>(array, found),
        DataType::Time64(_) => values::<Time64NanosecondType>(array, found),
        DataType::Duration(TimeUnit::Second) => values::<DurationSecondType>(array, found),
        DataType::Duration(TimeUnit::Millisecond) => values::<DurationMillisecondType>(array, found),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.offsets().iter().skip(1).map(|end| usize::try_from(*end).unwrap_or(0)).collect();
            within(list, list.values(), ends, found);
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ends = list.offsets().iter().skip(1).map(|end| usize::try_from(*end).unwrap_or(0)).collect();
            within(list, list.values(), ends, found);
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let ends = map.offsets().iter().skip(1).map(|end| usize::try_from(*end).unwrap_or(0)).collect();
            let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
            within(map, &entries, ends, found);
        }
        DataType::FixedSizeList(_, width) => {
            let width = usize::try_from(*width).unwrap_or(0);
            let ends = (1..=array.len()).map(|row| row * width).collect();
            within(array, array.as_fixed_size_list().values(), ends, found);
        }
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                search(column, &mut |row| {
                    if array.is_valid(row) {
                        found(row);
                    }
                });
            }
        }
        DataType::Dictionary(_, values) => {
            if let Ok(plain) = cast(array, values) {
                search(&plain, found);
            }
        }
        _ => {}
    }
}

fn values<T: ArrowPrimitiveType>(array: &ArrayRef, found: &mut dyn FnMut(usize))
where
    T::Native: Into<i64>,
{
    let (Some(range), Some(array)) = (TimeRange::of(array.data_type()), array.as_primitive_opt::<T>()) else { return };
    // Almost always all are in range, nulls (which hold anything) included: one loop without branches says so.
    if array.values().iter().fold(true, |fine, value| fine & range.has((*value).into())) {
        return;
    }
    for (row, value) in array.values().iter().enumerate() {
        if array.is_valid(row) && !range.has((*value).into()) {
            found(row);
        }
    }
}

/// The rows of lists whose items, which end there, hold such a time.
fn within(lists: &dyn Array, items: &ArrayRef, ends: Vec<usize>, found: &mut dyn FnMut(usize)) {
    search(items, &mut |item| {
        let row = ends.partition_point(|end| *end <= item);
        if row < lists.len() && lists.is_valid(row) {
            found(row);
        }
    });
}

/// Why a value of a column is beyond the calendar, for people; a tick has this many nanoseconds.
pub fn explain(name: &str, value: i64, nanos: Option<i64>) -> String {
    let Some(nanos) = nanos else { return format!("column \"{name}\": {value} is beyond the range of times") };
    let unit = |nanos: i64| match nanos {
        1 => "ns",
        1_000 => "us",
        1_000_000 => "ms",
        1_000_000_000 => "s",
        _ => "days",
    };
    let mut text = format!("column \"{name}\": {value} {} is beyond the years 1 to 9999", unit(nanos));
    // The one unit in which it would be a time of our age.
    let recent = |finer: &i64| {
        let seconds = i128::from(value) * i128::from(*finer) / SECOND;
        *finer < nanos && (0..4_102_444_800).contains(&seconds)
    };
    if let Some(finer) = [1_000_000, 1_000, 1].iter().find(|finer| recent(finer)) {
        text.push_str(&format!("; it looks like {}", unit(*finer)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;
    use std::sync::Arc;

    const DAYS: [i64; 2] = [-719_162, 2_932_896];

    #[test]
    fn the_years_1_to_9999_are_in_range_in_every_unit() {
        let first = chrono::DateTime::parse_from_rfc3339("0001-01-01T00:00:00Z").unwrap().timestamp();
        let last = chrono::DateTime::parse_from_rfc3339("9999-12-31T23:59:59Z").unwrap().timestamp();
        for (unit, per_second) in
            [(TimeUnit::Second, 1), (TimeUnit::Millisecond, 1_000), (TimeUnit::Microsecond, 1_000_000)]
        {
            let range = TimeRange::of(&DataType::Timestamp(unit, None)).unwrap();
            let (low, high) = (first * per_second, last * per_second + per_second - 1);
            assert_eq!(range, TimeRange { low, high });
            assert!(range.has(low) && range.has(high) && !range.has(low - 1) && !range.has(high + 1));
        }
        let range = TimeRange::of(&DataType::Date32).unwrap();
        assert_eq!(range, TimeRange { low: DAYS[0], high: DAYS[1] });
        let nanos = TimeRange::of(&DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap();
        assert!(nanos.has(i64::MAX) && nanos.has(i64::MIN + 1) && !nanos.has(NO_TIME));
        let steps = TimeRange::of_ticks(None);
        assert!(steps.has(i64::MAX) && !steps.has(NO_TIME));
        assert_eq!(TimeRange::of(&DataType::Int64), None);
    }

    #[test]
    fn what_is_beyond_is_found_within_lists_and_structs_too() {
        let far = 1_700_000_000_000_000_000;
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(2_932_897), None, Some(i32::MIN)]));
        assert_eq!(rows_beyond(&days), [1, 3]);
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2, far, 4, far]));
        assert_eq!(rows_beyond(&times), [2, 4]);
        let field = Arc::new(Field::new_list_field(times.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([2, 0, 2, 1]);
        let lists: ArrayRef = Arc::new(ListArray::new(field.clone(), offsets, times.clone(), None));
        assert_eq!(rows_beyond(&lists), [2, 3]);
        assert_eq!(rows_beyond(&lists.slice(2, 1)), [0]);
        let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(field, 5, times.clone(), None));
        assert_eq!(rows_beyond(&fixed), [0]);
        let field = Arc::new(Field::new("at", times.data_type().clone(), true));
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(field, times)]));
        assert_eq!(rows_beyond(&structs), [2, 4]);
        let noon: ArrayRef = Arc::new(Time32SecondArray::from(vec![43_200, 86_400, -1]));
        assert_eq!(rows_beyond(&noon), [1, 2]);
        let spans: ArrayRef = Arc::new(DurationSecondArray::from(vec![i64::MAX, 5]));
        assert_eq!(rows_beyond(&spans), [0]);
    }

    #[test]
    fn a_wrong_unit_is_guessed() {
        let why = explain("ts", 1_700_000_000_000_000_000, Some(1_000_000));
        assert_eq!(why, "column \"ts\": 1700000000000000000 ms is beyond the years 1 to 9999; it looks like ns");
        assert!(!explain("ts", i64::MIN + 1, Some(1_000_000)).contains("looks"));
    }
}
