//! An expression of `filter` on the rows of a batch: what it reads, and what it is of a row. What a name means is
//! decided in [`super::filter`], the grammar is in [`super::filter_parse`].

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type};
use arrow::error::ArrowError;
use chrono::NaiveDate;

use super::filter_parse::{Arithmetic, Comparison};
use crate::error::Context;
use crate::record::{Batch, NO_TIME, Values, nearest, nearest_of_digits};
use crate::state::Keys;

/// What an expression reads, and as what.
#[derive(Clone)]
pub(super) struct Operand {
    /// Where it is.
    pub from: From,
    /// What it is.
    pub kind: Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Column(usize),
    /// The text of the row's key.
    Key,
    /// The row's time.
    Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Text,
    Flag,
    /// Ticks of a clock.
    Time,
    /// A date or a time in words.
    Moment,
    /// A whole number as it is.
    Whole,
}

impl Type {
    /// The word of the type, for messages.
    pub fn word(self) -> &'static str {
        match self {
            Type::Number | Type::Whole => "a number",
            Type::Text => "text",
            Type::Flag => "true or false",
            Type::Time => "a time",
            Type::Moment => "a date",
        }
    }
}

/// An expression that gives a number; NaN is null.
#[derive(Clone)]
pub(super) enum Number {
    Constant(f64),
    Source(usize),
    Negate(Box<Number>),
    Arithmetic(Arithmetic, Box<Number>, Box<Number>),
}

/// An expression that gives a whole number that f64 may not have.
#[derive(Clone)]
pub(super) enum Whole {
    Constant(i128),
    Source(usize),
}

/// An expression that gives text.
#[derive(Clone)]
pub(super) enum Text {
    Constant(String),
    Source(usize),
}

/// An expression that gives a time in ticks; [`NO_TIME`] is null.
#[derive(Clone)]
pub(super) enum Time {
    Constant(i64),
    Source(usize),
}

/// An expression that is true, false or null.
#[derive(Clone)]
pub(super) enum Test {
    Constant(bool),
    Source(usize),
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Numbers(Comparison, Number, Number),
    Wholes(Comparison, Whole, Whole),
    Texts(Comparison, Text, Text),
    Times(Comparison, Time, Time),
    /// Times of clocks that differ, with the nanoseconds of their ticks.
    Instants(Comparison, (Time, i64), (Time, i64)),
    Flags(Comparison, Box<Test>, Box<Test>),
    NumberIsNull(Number, bool),
    TextIsNull(Text, bool),
    TimeIsNull(Time, bool),
    FlagIsNull(Box<Test>, bool),
}

/// What is read of the batch, ready row by row.
pub(super) enum Loaded<'a> {
    /// Slots, and the keys that they belong to.
    Keys(&'a [u32], Option<&'a Keys>),
    /// Ticks, [`NO_TIME`] for null.
    Times(&'a [i64]),
    /// The same of a passthrough column, or of keys that are dates.
    OwnTimes(Vec<i64>),
    Numbers(&'a [f64]),
    Singles(&'a [f32]),
    Integers(&'a [i64]),
    Flags(&'a [bool]),
    PassthroughNumbers(Float64Array),
    PassthroughWholes(Int64Array),
    PassthroughUnsigned(UInt64Array),
    PassthroughFlags(BooleanArray),
    PassthroughTexts(StringArray),
}

pub(super) fn load<'a>(source: &Operand, batch: &'a Batch, keys: Option<&'a Keys>) -> crate::Result<Loaded<'a>> {
    let column = match source.from {
        From::Key if source.kind == Type::Time => return Ok(Loaded::OwnTimes(dates(&batch.slots, keys))),
        From::Key => return Ok(Loaded::Keys(&batch.slots, keys)),
        From::Time => return Ok(Loaded::Times(&batch.times)),
        From::Column(column) => column,
    };
    Ok(match &batch.columns[column].values {
        Values::Number(v) | Values::Doubles(v, _) => Loaded::Numbers(v),
        Values::Vector(v, _) => Loaded::Singles(v),
        Values::Flag(v) => Loaded::Flags(v),
        Values::Integer(v) => Loaded::Integers(v),
        Values::Time(v) => Loaded::Times(v),
        Values::Passthrough(array) => {
            let cast = |to: DataType| {
                arrow::compute::cast(array, &to).or_failed(|| format!("filter reads a column of {}", array.data_type()))
            };
            match source.kind {
                Type::Whole if array.data_type().is_unsigned_integer() => {
                    Loaded::PassthroughUnsigned(cast(DataType::UInt64)?.as_primitive().clone())
                }
                Type::Whole => Loaded::PassthroughWholes(cast(DataType::Int64)?.as_primitive().clone()),
                Type::Number if array.data_type().is_decimal() => {
                    Loaded::PassthroughNumbers(decimals(array).or_failed(|| "filter reads decimals".into())?)
                }
                Type::Number => {
                    Loaded::PassthroughNumbers(cast(DataType::Float64)?.as_primitive::<Float64Type>().clone())
                }
                Type::Flag => Loaded::PassthroughFlags(array.as_boolean().clone()),
                Type::Time => Loaded::OwnTimes(ticks(array).or_failed(|| "filter reads times".into())?),
                Type::Text | Type::Moment => Loaded::PassthroughTexts(cast(DataType::Utf8)?.as_string::<i32>().clone()),
            }
        }
    })
}

impl Number {
    fn at(&self, sources: &[Loaded<'_>], row: usize) -> f64 {
        let value = match self {
            Number::Constant(value) => *value,
            Number::Source(source) => match &sources[*source] {
                Loaded::Numbers(v) => v[row],
                Loaded::Singles(v) => f64::from(v[row]),
                Loaded::Integers(v) => v[row] as f64,
                Loaded::Times(v) if v[row] != NO_TIME => v[row] as f64,
                Loaded::Keys(slots, keys) => {
                    key(*keys, slots[row]).and_then(|key| key.parse().ok()).unwrap_or(f64::NAN)
                }
                Loaded::PassthroughNumbers(v) if v.is_valid(row) => v.value(row),
                _ => f64::NAN,
            },
            Number::Negate(a) => -a.at(sources, row),
            Number::Arithmetic(operation, a, b) => {
                let (a, b) = (a.at(sources, row), b.at(sources, row));
                match operation {
                    Arithmetic::Add => a + b,
                    Arithmetic::Subtract => a - b,
                    Arithmetic::Multiply => a * b,
                    Arithmetic::Divide => a / b,
                }
            }
        };
        if value.is_finite() { value } else { f64::NAN }
    }
}

impl Whole {
    fn at(&self, sources: &[Loaded<'_>], row: usize) -> Option<i128> {
        match self {
            Whole::Constant(number) => Some(*number),
            Whole::Source(source) => match &sources[*source] {
                Loaded::Integers(v) => Some(v[row].into()),
                Loaded::PassthroughWholes(v) => v.is_valid(row).then(|| v.value(row).into()),
                Loaded::PassthroughUnsigned(v) => v.is_valid(row).then(|| v.value(row).into()),
                Loaded::Keys(slots, keys) => key(*keys, slots[row])?.parse().ok(),
                _ => None,
            },
        }
    }
}

impl Text {
    fn at<'a>(&'a self, sources: &'a [Loaded<'_>], row: usize) -> Option<&'a str> {
        match self {
            Text::Constant(text) => Some(text),
            Text::Source(source) => match &sources[*source] {
                Loaded::PassthroughTexts(texts) if texts.is_valid(row) => Some(texts.value(row)),
                Loaded::Keys(slots, keys) => key(*keys, slots[row]),
                _ => None,
            },
        }
    }
}

/// Decimals as the nearest numbers.
fn decimals(array: &ArrayRef) -> Result<Float64Array, ArrowError> {
    let DataType::Decimal256(_, scale) = *array.data_type() else {
        let (scale, wide) = match *array.data_type() {
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                (scale, cast(array, &DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale))?)
            }
            _ => return Ok(cast(array, &DataType::Float64)?.as_primitive().clone()),
        };
        return Ok(wide.as_primitive::<Decimal128Type>().unary(|unscaled| nearest(unscaled, scale)));
    };
    let number = |unscaled| nearest_of_digits(unscaled, scale).unwrap_or(f64::NAN);
    Ok(array.as_primitive::<Decimal256Type>().unary(number))
}

/// Ticks of timestamps or dates, [`NO_TIME`] where they are null.
fn ticks(array: &ArrayRef) -> Result<Vec<i64>, ArrowError> {
    let ticks = match array.data_type() {
        DataType::Dictionary(_, values) => return ticks(&cast(array, values)?),
        // There is no cast from 32 bits.
        DataType::Date32 => cast(&cast(array, &DataType::Int32)?, &DataType::Int64)?,
        _ => cast(array, &DataType::Int64)?,
    };
    Ok(ticks.as_primitive::<Int64Type>().iter().map(|ticks| ticks.unwrap_or(NO_TIME)).collect())
}

/// The days of keys that are dates.
fn dates(slots: &[u32], keys: Option<&Keys>) -> Vec<i64> {
    let mut seen: HashMap<u32, i64> = HashMap::new();
    let day = |slot| {
        let date: Option<NaiveDate> = key(keys, slot).and_then(|text| text.parse().ok());
        date.map_or(NO_TIME, |date| date.signed_duration_since(NaiveDate::default()).num_days())
    };
    slots.iter().map(|slot| *seen.entry(*slot).or_insert_with(|| day(*slot))).collect()
}

fn key(keys: Option<&Keys>, slot: u32) -> Option<&str> {
    std::str::from_utf8(keys?.get(slot)).ok()
}

impl Time {
    fn at(&self, sources: &[Loaded<'_>], row: usize) -> Option<i64> {
        match self {
            Time::Constant(ticks) => Some(*ticks),
            Time::Source(source) => match &sources[*source] {
                Loaded::Times(times) if times[row] != NO_TIME => Some(times[row]),
                Loaded::OwnTimes(times) if times[row] != NO_TIME => Some(times[row]),
                _ => None,
            },
        }
    }
}

impl Test {
    /// Of a row; `None` is null.
    pub fn at(&self, sources: &[Loaded<'_>], row: usize) -> Option<bool> {
        match self {
            Test::Constant(flag) => Some(*flag),
            Test::Source(source) => match &sources[*source] {
                Loaded::Flags(flags) => Some(flags[row]),
                Loaded::PassthroughFlags(flags) => flags.is_valid(row).then(|| flags.value(row)),
                Loaded::Keys(slots, keys) => key(*keys, slots[row]).map(|key| key == "true"),
                _ => None,
            },
            Test::Not(a) => a.at(sources, row).map(|a| !a),
            Test::And(a, b) => match (a.at(sources, row), b.at(sources, row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Test::Or(a, b) => match (a.at(sources, row), b.at(sources, row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Test::Numbers(comparison, a, b) => compare(*comparison, &a.at(sources, row), &b.at(sources, row)),
            Test::Wholes(comparison, a, b) => compare(*comparison, &a.at(sources, row)?, &b.at(sources, row)?),
            Test::Texts(comparison, a, b) => compare(*comparison, a.at(sources, row)?, b.at(sources, row)?),
            Test::Times(comparison, a, b) => compare(*comparison, &a.at(sources, row)?, &b.at(sources, row)?),
            Test::Instants(comparison, (a, tick), (b, other)) => {
                let nanos = |ticks: i64, tick: &i64| i128::from(ticks) * i128::from(*tick);
                compare(*comparison, &nanos(a.at(sources, row)?, tick), &nanos(b.at(sources, row)?, other))
            }
            Test::Flags(comparison, a, b) => compare(*comparison, &a.at(sources, row)?, &b.at(sources, row)?),
            Test::NumberIsNull(a, wanted) => Some(a.at(sources, row).is_nan() == *wanted),
            Test::TextIsNull(a, wanted) => Some(a.at(sources, row).is_none() == *wanted),
            Test::TimeIsNull(a, wanted) => Some(a.at(sources, row).is_none() == *wanted),
            Test::FlagIsNull(a, wanted) => Some(a.at(sources, row).is_none() == *wanted),
        }
    }
}

fn compare<T: PartialOrd + ?Sized>(comparison: Comparison, a: &T, b: &T) -> Option<bool> {
    let order = a.partial_cmp(b)?;
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}
