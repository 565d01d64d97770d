//! Columns of vectors: lists of numbers and bytes of all kinds, as floats of 32 bits.
//!
//! Lives here: what a vector column takes, how wide a vector must be, and the arrays that records hold them in. Must
//! not live here: which column is a vector (`config`), and the formats that deliver it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray, OffsetSizeTrait, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use arrow::error::ArrowError;

use super::{Kind, Values};
use crate::config::{NumberType, VectorColumn};
use crate::error::counted;

/// The reason that a record is refused for whose vector has another width, or bytes that are no numbers.
pub const BAD_VECTOR: &str = "bad_vector";

/// What full scale of 16 bits is divided by: a power of two, so nothing is rounded.
const FULL_SCALE: f32 = 32_768.0;

/// The items of every list that kolk makes.
fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

impl Kind {
    /// The type of the array in which records hold a column of this kind, and in which samples are written; `None`: it
    /// is no vector.
    pub fn vectors(&self) -> Option<DataType> {
        match self {
            Kind::Vector(width) => Some(DataType::FixedSizeList(item(), i32::try_from(*width).unwrap_or(i32::MAX))),
            Kind::Samples => Some(DataType::List(item())),
            _ => None,
        }
    }

    /// So many records without a value: vectors of NaN, no samples.
    pub fn no_vectors(&self, rows: usize) -> Option<ArrayRef> {
        match self {
            Kind::Vector(width) => fixed(vec![f32::NAN; rows * width], *width, rows).ok(),
            other => other.vectors().map(|data_type| new_null_array(&data_type, rows)),
        }
    }
}

/// Rows of a width; NaN is null.
fn fixed(numbers: Vec<f32>, width: usize, rows: usize) -> Result<ArrayRef, ArrowError> {
    let width = i32::try_from(width).map_err(|_| ArrowError::InvalidArgumentError("a vector is too wide".into()))?;
    let numbers = Arc::new(Float32Array::from(numbers));
    Ok(Arc::new(FixedSizeListArray::try_new_with_length(item(), width, numbers, None, rows)?))
}

/// The numbers of all rows of a vector column of a fixed width, row by row.
pub fn vector_numbers(array: &ArrayRef) -> Option<Vec<f32>> {
    let rows = array.as_fixed_size_list_opt()?;
    let width = usize::try_from(rows.value_length()).ok()?;
    let items = rows.values().as_primitive_opt::<Float32Type>()?;
    let from = rows.value_offset_at(0);
    let mut numbers = items.values().get(from..from + rows.len() * width)?.to_vec();
    if let Some(nulls) = items.nulls() {
        (0..numbers.len()).filter(|at| nulls.is_null(from + at)).for_each(|at| numbers[at] = f32::NAN);
    }
    if let Some(nulls) = rows.nulls() {
        (0..rows.len())
            .filter(|row| nulls.is_null(*row))
            .for_each(|row| numbers[row * width..(row + 1) * width].fill(f32::NAN));
    }
    Some(numbers)
}

/// The numbers of one record, of samples or of a vector; `None`: it has none. Null is NaN.
pub fn vector_of(array: &ArrayRef, row: usize) -> Option<Vec<f32>> {
    if array.is_null(row) {
        return None;
    }
    let items = match array.data_type() {
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        DataType::List(_) => array.as_list::<i32>().value(row),
        _ => return None,
    };
    let items = items.as_primitive_opt::<Float32Type>()?;
    Some(items.iter().map(|number| number.unwrap_or(f32::NAN)).collect())
}

/// The samples of one row.
#[derive(Debug, Clone)]
pub enum SamplesOf<'a> {
    /// Of a vector.
    Numbers(&'a [f32]),
    /// A single value.
    One(f32),
    /// A part of a list.
    List(&'a Float32Array, usize, usize),
}

/// The samples of a row, whatever kind of numbers the column has; nothing of any other column.
pub fn samples_of(values: &Values, row: usize) -> SamplesOf<'_> {
    match values {
        Values::Vector(numbers, width) => SamplesOf::Numbers(&numbers[row * width..(row + 1) * width]),
        Values::Number(numbers) => SamplesOf::One(numbers[row] as f32),
        Values::Passthrough(array) if array.is_valid(row) => match array.as_list_opt::<i32>() {
            Some(lists) => match lists.values().as_primitive_opt::<Float32Type>() {
                Some(items) => {
                    let ends = lists.value_offsets();
                    SamplesOf::List(items, ends[row] as usize, ends[row + 1] as usize)
                }
                None => SamplesOf::Numbers(&[]),
            },
            None => SamplesOf::Numbers(&[]),
        },
        _ => SamplesOf::Numbers(&[]),
    }
}

impl SamplesOf<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            SamplesOf::Numbers(numbers) => numbers.len(),
            SamplesOf::One(_) => 1,
            SamplesOf::List(_, from, to) => to - from,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends those from one on; what isn't finite, and null, is NaN.
    pub fn push_from(&self, first: usize, to: &mut Vec<f32>) {
        let start = to.len();
        match self {
            SamplesOf::Numbers(numbers) => to.extend_from_slice(&numbers[first..]),
            SamplesOf::One(number) => to.extend((first == 0).then_some(*number)),
            SamplesOf::List(items, from, end) => {
                to.extend_from_slice(&items.values()[from + first..*end]);
                if let Some(nulls) = items.nulls() {
                    let null = (from + first..*end).filter(|at| nulls.is_null(*at));
                    null.for_each(|at| to[start + at - from - first] = f32::NAN);
                }
            }
        }
        to[start..].iter_mut().filter(|number| !number.is_finite()).for_each(|number| *number = f32::NAN);
    }
}

impl VectorColumn {
    /// The kind of the column.
    pub fn kind(&self) -> Kind {
        self.width.map_or(Kind::Samples, Kind::Vector)
    }

    /// Whether a column of this type can be it, or what is expected.
    pub fn takes(&self, found: &DataType) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("expected {}, found {found}{why}", self.expected()));
        match found {
            DataType::Null => Ok(()),
            DataType::Dictionary(_, values) => self.takes(values),
            DataType::FixedSizeList(item, width) if is_number(item.data_type()) => {
                match self.width.filter(|wanted| usize::try_from(*width) != Ok(*wanted)) {
                    None => Ok(()),
                    Some(wanted) => wrong(&format!(", whose lists have {width} numbers, not {wanted}")),
                }
            }
            DataType::List(item) | DataType::LargeList(item) if is_number(item.data_type()) => Ok(()),
            DataType::FixedSizeBinary(size) => match self.number {
                None => wrong(UNTYPED),
                Some(number) => {
                    let (size, of) = (usize::try_from(*size).unwrap_or_default(), number.size());
                    match size % of == 0 && self.width.is_none_or(|width| width * of == size) {
                        true => Ok(()),
                        false => {
                            wrong(&format!(", which are {} numbers of {}", size as f64 / of as f64, number.word()))
                        }
                    }
                }
            },
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => match self.number {
                None => wrong(UNTYPED),
                Some(_) => Ok(()),
            },
            _ => wrong(""),
        }
    }

    /// Whether every record of a column of this type has the right width.
    pub fn is_always(&self, found: &DataType) -> bool {
        match found {
            DataType::List(_) | DataType::LargeList(_) => self.width.is_none(),
            DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) | DataType::Null => self.takes(found).is_ok(),
            _ => false,
        }
    }

    fn expected(&self) -> String {
        match (self.width, self.number) {
            (_, None) => "lists of numbers".to_string(),
            (_, Some(number)) => format!("lists of numbers, or bytes that are {}", number.word()),
        }
    }

    /// A number as the column has it.
    pub fn number(&self, number: f64) -> f32 {
        match self.number {
            Some(NumberType::Int16) => (number / f64::from(FULL_SCALE)) as f32,
            _ => number as f32,
        }
    }

    /// Appends the numbers that bytes are, or returns what is wrong.
    pub fn of_bytes(&self, bytes: &[u8], to: &mut Vec<f32>) -> Result<(), String> {
        let Some(number) = self.number else {
            return Err(format!("{}, and nothing says what they are: write its `type`", counted(bytes.len(), "byte")));
        };
        if !bytes.len().is_multiple_of(number.size()) {
            return Err(format!("{}, which are no whole numbers of {}", counted(bytes.len(), "byte"), number.word()));
        }
        match number {
            NumberType::Float32 => {
                to.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            NumberType::Int16 => {
                let chunks = bytes.as_chunks::<2>().0.iter();
                to.extend(chunks.map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / FULL_SCALE));
            }
        }
        Ok(())
    }

    /// What is wrong with a vector of so many numbers, if anything.
    pub fn fault(&self, found: usize) -> Option<String> {
        let wanted = self.width.filter(|wanted| *wanted != found)?;
        Some(format!("column \"{}\": a vector of {}, expected {wanted}", self.name.value, counted(found, "number")))
    }

    /// A column of a source as the array that records hold, and the rows that are refused with the reason for each.
    ///
    /// # Errors
    /// A column that [`VectorColumn::takes`] refuses.
    pub fn read(&self, array: &ArrayRef) -> Result<(ArrayRef, Vec<(usize, String)>), ArrowError> {
        let mut to = VectorBuilder::new(self.clone());
        let bad = match array.data_type() {
            DataType::Dictionary(_, values) => return self.read(&cast(array, values)?),
            DataType::BinaryView => return self.read(&cast(array, &DataType::LargeBinary)?),
            DataType::Null => {
                (0..array.len()).for_each(|_| to.push_null());
                Vec::new()
            }
            DataType::FixedSizeList(..) => {
                let lists = array.as_fixed_size_list();
                let width = lists.value_length() as usize;
                to.push_lists(array, lists.values(), |row| {
                    let from = lists.value_offset_at(row);
                    (from, from + width)
                })?
            }
            DataType::List(_) => to.push_offsets(array, array.as_list::<i32>())?,
            DataType::LargeList(_) => to.push_offsets(array, array.as_list::<i64>())?,
            DataType::FixedSizeBinary(_) => to.push_bytes(array, |row| array.as_fixed_size_binary().value(row)),
            DataType::LargeBinary => to.push_bytes(array, |row| array.as_binary::<i64>().value(row)),
            DataType::Binary => to.push_bytes(array, |row| array.as_binary::<i32>().value(row)),
            other => return Err(ArrowError::CastError(format!("{other} is no vector"))),
        };
        Ok((to.finish()?, bad))
    }
}

const UNTYPED: &str = ": write what the bytes are, `type: float32` or `type: int16`";

/// Numbers, and flags as 0 and 1.
fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// Numbers of lists as floats of 32 bits; null is NaN.
fn floats(array: &ArrayRef) -> Result<Float32Array, ArrowError> {
    let floats = match array.data_type() {
        DataType::Null => new_null_array(&DataType::Float32, array.len()),
        DataType::Float32 => array.clone(),
        // Once to the nearest float of 64 bits, as values are.
        data_type if data_type.is_decimal() => cast(&cast(array, &DataType::Float64)?, &DataType::Float32)?,
        _ => cast(array, &DataType::Float32)?,
    };
    let floats = floats.as_primitive::<Float32Type>();
    Ok(match floats.nulls() {
        None => floats.clone(),
        Some(_) => floats.iter().map(|number| number.unwrap_or(f32::NAN)).collect::<Vec<_>>().into(),
    })
}

/// A vector column while it is filled, record by record.
#[derive(Debug)]
pub struct VectorBuilder {
    column: VectorColumn,
    numbers: Vec<f32>,
    /// Per record so far, where its numbers end; only where widths differ.
    ends: Vec<usize>,
    valid: Vec<bool>,
}

impl VectorBuilder {
    /// Without any record.
    pub fn new(column: VectorColumn) -> VectorBuilder {
        VectorBuilder { column, numbers: Vec::new(), ends: Vec::new(), valid: Vec::new() }
    }

    /// A record without a vector.
    pub fn push_null(&mut self) {
        self.numbers.resize(self.numbers.len() + self.column.width.unwrap_or(0), f32::NAN);
        self.end(false);
    }

    /// A record with the numbers of a vector, whose width is right: [`VectorColumn::fault`].
    pub fn push(&mut self, numbers: &[f32]) {
        self.numbers.extend_from_slice(numbers);
        self.end(true);
    }

    fn end(&mut self, is_valid: bool) {
        self.ends.push(self.numbers.len());
        self.valid.push(is_valid);
    }

    /// Records of lists; where their numbers are, `span` says.
    fn push_lists(
        &mut self,
        array: &ArrayRef,
        numbers: &ArrayRef,
        span: impl Fn(usize) -> (usize, usize),
    ) -> Result<Vec<(usize, String)>, ArrowError> {
        let (numbers, mut bad) = (floats(numbers)?, Vec::new());
        let start = self.numbers.len();
        for row in 0..array.len() {
            let (from, to) = span(row);
            match self.column.fault(to - from) {
                _ if array.is_null(row) => self.push_null(),
                None => self.push(&numbers.values()[from..to]),
                Some(fault) => {
                    bad.push((row, fault));
                    self.push_null();
                }
            }
        }
        if self.column.number == Some(NumberType::Int16) {
            self.numbers[start..].iter_mut().for_each(|number| *number /= FULL_SCALE);
        }
        Ok(bad)
    }

    fn push_offsets<O: OffsetSizeTrait>(
        &mut self,
        array: &ArrayRef,
        lists: &arrow::array::GenericListArray<O>,
    ) -> Result<Vec<(usize, String)>, ArrowError> {
        let ends = lists.value_offsets();
        self.push_lists(array, lists.values(), |row| (ends[row].as_usize(), ends[row + 1].as_usize()))
    }

    /// Records of bytes.
    fn push_bytes<'a>(&mut self, array: &ArrayRef, bytes: impl Fn(usize) -> &'a [u8]) -> Vec<(usize, String)> {
        let mut bad = Vec::new();
        for row in 0..array.len() {
            if array.is_null(row) {
                self.push_null();
                continue;
            }
            let start = self.numbers.len();
            let read = self.column.of_bytes(bytes(row), &mut self.numbers);
            let read = read.map_err(|what| format!("column \"{}\": {what}", self.column.name.value));
            match read.and_then(|()| self.column.fault(self.numbers.len() - start).map_or(Ok(()), Err)) {
                Ok(()) => self.end(true),
                Err(fault) => {
                    bad.push((row, fault));
                    self.numbers.truncate(start);
                    self.push_null();
                }
            }
        }
        bad
    }

    /// The column.
    ///
    /// # Errors
    /// More numbers than a batch can have.
    pub fn finish(self) -> Result<ArrayRef, ArrowError> {
        let rows = self.valid.len();
        if let Some(width) = self.column.width {
            return fixed(self.numbers, width, rows);
        }
        let mut offsets = vec![0_i32];
        for end in self.ends {
            offsets.push(i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?);
        }
        let nulls = (rows > 0 && self.valid.contains(&false)).then(|| NullBuffer::from(self.valid));
        // A number that is none is null, as in other lists.
        let known: Option<NullBuffer> =
            self.numbers.iter().any(|number| number.is_nan()).then(|| {
                NullBuffer::new(self.numbers.iter().map(|number| !number.is_nan()).collect::<BooleanBuffer>())
            });
        let numbers = Float32Array::new(self.numbers.into(), known);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(ListArray::try_new(item(), offsets, Arc::new(numbers), nulls)?))
    }
}

#[cfg(test)]
#[path = "vector_tests.rs"]
mod tests;
