//! Rows that are held in the state of their keys, until the stage that holds them lets them go.
//!
//! Lives here: a row with all its columns as words of state, and rows made of such words again. A text has a place of
//! [`LONGEST`] bytes. Must not live here: when a row is held or let go (the stage).

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, StringArray, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::Result;
use crate::error::Context;
use crate::record::{Batch, Column, Kind, Layout, Values};
use crate::state::StateSpec;

/// Bytes of a text that is held, at most.
pub(super) const LONGEST: usize = 256;
const WORD: usize = size_of::<u64>();

/// How the rows of a layout are held.
#[derive(Clone)]
pub(super) struct Holds {
    columns: Vec<Hold>,
    /// Words of the marks: one bit per column.
    marks: usize,
    out: Vec<Given>,
}

/// A column of the layout.
#[derive(Clone)]
struct Hold {
    name: String,
    what: What,
    /// Its first word.
    at: usize,
}

#[derive(Clone, PartialEq)]
enum What {
    Number,
    Vector(usize),
    Doubles(usize),
    Flag,
    Time,
    Integer,
    /// A passthrough column of a type without fixed bytes.
    Truth,
    Text(DataType),
    /// Of a type with so many bytes.
    Bytes(DataType, usize),
}

/// What comes out of a column.
#[derive(Clone, Default)]
struct Given {
    words: Vec<u64>,
    floats: Vec<f32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    marks: Vec<bool>,
}

/// The columns of a batch, ready to be taken row by row.
pub(super) struct Rows<'a>(Vec<Row<'a>>);

enum Row<'a> {
    Column(&'a Column),
    Truth(&'a BooleanArray),
    Text(StringArray),
    Bytes(ArrayData, Option<NullBuffer>),
}

impl What {
    fn of(kind: &Kind) -> Option<What> {
        Some(match kind {
            Kind::Number => What::Number,
            Kind::Vector(width) => What::Vector(*width),
            Kind::Doubles(width) => What::Doubles(*width),
            Kind::Flag => What::Flag,
            Kind::Time => What::Time,
            Kind::Integer => What::Integer,
            Kind::Samples => return None,
            Kind::Passthrough(DataType::Boolean) => What::Truth,
            Kind::Passthrough(of) => match (of, of.primitive_width()) {
                (_, Some(bytes)) => What::Bytes(of.clone(), bytes),
                (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => What::Text(of.clone()),
                (DataType::Dictionary(_, values), _) if **values == DataType::Utf8 => What::Text(of.clone()),
                _ => return None,
            },
        })
    }

    fn words(&self) -> usize {
        match self {
            What::Vector(width) => width.div_ceil(2),
            What::Doubles(width) => *width,
            What::Text(_) => 1 + LONGEST / WORD,
            What::Bytes(_, bytes) => bytes.div_ceil(WORD),
            _ => 1,
        }
    }
}

impl Holds {
    /// For the rows of a layout, or the name of a column that can't be held.
    pub(super) fn plan(layout: &Layout) -> std::result::Result<Holds, String> {
        let marks = layout.columns.len().div_ceil(u64::BITS as usize);
        let (mut columns, mut words): (Vec<Hold>, usize) = (Vec::new(), marks);
        for column in &layout.columns {
            let what = What::of(&column.kind).ok_or_else(|| column.name.clone())?;
            let named = columns.iter().filter(|other| other.name.starts_with(&column.name)).count();
            let name = if named > 0 { format!("{}.{}", column.name, columns.len()) } else { column.name.clone() };
            let at = words;
            words += what.words();
            columns.push(Hold { name, what, at });
        }
        let out = vec![Given::default(); columns.len()];
        Ok(Holds { columns, marks, out })
    }

    /// Adds a row to what is kept per key.
    pub(super) fn state(&self, spec: StateSpec) -> StateSpec {
        self.columns.iter().fold(spec.i64s("held.marks", self.marks), |spec, Hold { name, what, .. }| {
            let name = format!("held.{name}");
            match what {
                What::Number => spec.f64(name, 0.0),
                What::Vector(width) => spec.f32s(name, *width),
                What::Doubles(width) => spec.f64s(name, *width, 0.0),
                What::Flag | What::Truth => spec.flag(name, false),
                What::Time | What::Integer => spec.i64(name, 0),
                What::Text(_) => spec.u64(format!("{name}.length"), 0).i64s(name, LONGEST / WORD),
                What::Bytes(_, bytes) => spec.i64s(name, bytes.div_ceil(WORD)),
            }
        })
    }

    /// The columns of a batch.
    pub(super) fn rows<'a>(&self, batch: &'a Batch) -> Result<Rows<'a>> {
        let row = |(hold, column): (&Hold, &'a Column)| {
            Ok(match (&hold.what, &column.values) {
                (What::Truth, Values::Passthrough(array)) => Row::Truth(array.as_boolean()),
                (What::Text(_), Values::Passthrough(array)) => {
                    let text = cast(array, &DataType::Utf8).or_failed(|| "reading a text".into())?;
                    Row::Text(text.as_string::<i32>().clone())
                }
                (What::Bytes(..), Values::Passthrough(array)) => Row::Bytes(array.to_data(), array.nulls().cloned()),
                _ => Row::Column(column),
            })
        };
        Ok(Rows(self.columns.iter().zip(&batch.columns).map(row).collect::<Result<_>>()?))
    }

    /// Takes a row.
    pub(super) fn take(&self, rows: &Rows<'_>, row: usize, to: &mut [u64]) {
        to[..self.marks].fill(0);
        for (index, (hold, from)) in self.columns.iter().zip(&rows.0).enumerate() {
            let words = &mut to[hold.at..hold.at + hold.what.words()];
            let mark = match from {
                Row::Column(column) => {
                    match &column.values {
                        Values::Number(values) => words[0] = values[row].to_bits(),
                        Values::Flag(values) => words[0] = values[row].into(),
                        Values::Time(values) | Values::Integer(values) => words[0] = values[row] as u64,
                        Values::Vector(values, width) => {
                            bytemuck::cast_slice_mut(words)[..*width]
                                .copy_from_slice(&values[row * width..(row + 1) * width]);
                        }
                        Values::Doubles(values, width) => {
                            bytemuck::cast_slice_mut(words).copy_from_slice(&values[row * width..(row + 1) * width]);
                        }
                        Values::Passthrough(_) => {}
                    }
                    column.is_observed(row)
                }
                Row::Truth(array) => {
                    words[0] = u64::from(array.is_valid(row) && array.value(row));
                    array.is_valid(row)
                }
                Row::Text(array) => {
                    let text = if array.is_valid(row) { array.value(row) } else { "" };
                    words.fill(0);
                    words[0] = text.len() as u64;
                    bytemuck::cast_slice_mut::<u64, u8>(&mut words[1..])[..text.len()].copy_from_slice(text.as_bytes());
                    array.is_valid(row)
                }
                Row::Bytes(data, nulls) => {
                    let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                    words.fill(0);
                    if let (true, What::Bytes(_, bytes)) = (valid, &hold.what) {
                        let from = &data.buffers()[0][(data.offset() + row) * bytes..][..*bytes];
                        bytemuck::cast_slice_mut::<u64, u8>(words)[..*bytes].copy_from_slice(from);
                    }
                    valid
                }
            };
            to[index / 64] |= u64::from(mark) << (index % 64);
        }
    }

    /// Adds a row that was held to those that come out.
    pub(super) fn give(&mut self, from: &[u64]) {
        for (index, (hold, given)) in self.columns.iter().zip(&mut self.out).enumerate() {
            let words = &from[hold.at..hold.at + hold.what.words()];
            given.marks.push(from[index / 64] >> (index % 64) & 1 == 1);
            match &hold.what {
                What::Text(_) => {
                    let text: &[u8] = bytemuck::cast_slice(&words[1..]);
                    given.bytes.extend_from_slice(&text[..(words[0] as usize).min(LONGEST)]);
                    given.ends.push(given.bytes.len());
                }
                What::Bytes(_, bytes) => given.bytes.extend_from_slice(&bytemuck::cast_slice(words)[..*bytes]),
                What::Vector(width) => given.floats.extend_from_slice(&bytemuck::cast_slice(words)[..*width]),
                _ => given.words.extend_from_slice(words),
            }
        }
    }

    /// The columns of all rows that came out.
    pub(super) fn columns(&mut self) -> Result<Vec<Column>> {
        self.columns.iter().zip(&mut self.out).map(|(hold, given)| std::mem::take(given).column(&hold.what)).collect()
    }
}

impl Rows<'_> {
    /// Whether all texts of a row are short enough.
    pub(super) fn fits(&self, row: usize) -> bool {
        self.0.iter().all(|column| match column {
            Row::Text(array) => array.is_null(row) || array.value(row).len() <= LONGEST,
            _ => true,
        })
    }
}

impl Given {
    fn column(self, what: &What) -> Result<Column> {
        let Given { words, floats, bytes, ends, marks } = self;
        let numbers = |words: Vec<u64>| words.into_iter().map(f64::from_bits).collect::<Vec<f64>>();
        let whole = |words: Vec<u64>| words.into_iter().map(|word| word as i64).collect::<Vec<i64>>();
        let values = match what {
            What::Number => return Ok(Column { values: Values::Number(numbers(words)), observed: Some(marks) }),
            What::Vector(width) => Values::Vector(floats, *width),
            What::Doubles(width) => Values::Doubles(numbers(words), *width),
            What::Flag => Values::Flag(words.into_iter().map(|word| word != 0).collect()),
            What::Time => Values::Time(whole(words)),
            What::Integer => Values::Integer(whole(words)),
            What::Truth => {
                let values = words.iter().zip(&marks).map(|(word, mark)| mark.then_some(*word != 0));
                Values::Passthrough(Arc::new(values.collect::<BooleanArray>()))
            }
            What::Text(of) => {
                let text = |(n, mark): (usize, &bool)| {
                    let start = if n == 0 { 0 } else { ends[n - 1] };
                    mark.then(|| String::from_utf8_lossy(&bytes[start..ends[n]]))
                };
                let array: ArrayRef = Arc::new(marks.iter().enumerate().map(text).collect::<StringArray>());
                let array = if *of == DataType::Utf8 { Ok(array) } else { cast(&array, of) };
                Values::Passthrough(array.or_failed(|| "a held text".into())?)
            }
            What::Bytes(of, _) => {
                let nulls = Some(NullBuffer::from(marks.clone())).filter(|nulls| nulls.null_count() > 0);
                let data = ArrayData::builder(of.clone()).len(marks.len()).nulls(nulls);
                let data = data.add_buffer(Buffer::from_vec(bytes)).align_buffers(true).build();
                Values::Passthrough(make_array(data.or_failed(|| "a held value".into())?))
            }
        };
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, DictionaryArray, Int32Array, TimestampMillisecondArray, UInt8Array};
    use arrow::datatypes::Int8Type;

    use super::*;
    use crate::record::{Clock, KeyType, Role};

    /// Every kind of column, with nulls, in slices that begin anywhere.
    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let texts = [Some("a"), None, Some(""), Some("déjà vu")];
        let dictionary: DictionaryArray<Int8Type> = texts.iter().copied().collect();
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
            Arc::new(StringArray::from(texts.to_vec())),
            cast(&StringArray::from(texts.to_vec()), &DataType::Utf8View).unwrap(),
            Arc::new(dictionary),
            Arc::new(Int32Array::from(vec![Some(-7), None, Some(i32::MAX), Some(0)])),
            Arc::new(UInt8Array::from(vec![1, 2, 3, 255])),
            Arc::new(Decimal128Array::from(vec![1_i128 << 100, -5, 0, 9]).with_precision_and_scale(38, 2).unwrap()),
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), Some(-2), None, Some(4)]).with_timezone("UTC")),
        ];
        let mut layout = Layout::new("key", KeyType::Utf8, "time", Clock::default());
        for (name, kind) in [
            ("n", Kind::Number),
            ("v", Kind::Vector(3)),
            ("d", Kind::Doubles(2)),
            ("f", Kind::Flag),
            ("t", Kind::Time),
            ("n", Kind::Integer),
        ] {
            layout.add(name, kind, Role::Value);
        }
        let mut columns: Vec<Column> = vec![
            Column {
                values: Values::Number(vec![1.5, f64::NAN, -0.0, 4.0]),
                observed: Some(vec![true, false, false, true]),
            },
            Values::Vector((0..12).map(|n| n as f32).collect(), 3).into(),
            Values::Doubles((0..8).map(f64::from).collect(), 2).into(),
            Values::Flag(vec![true, false, true, false]).into(),
            Values::Time(vec![i64::MIN, 1, 2, i64::MAX]).into(),
            Values::Integer(vec![-1, 0, 1, 2]).into(),
        ];
        for array in &arrays {
            layout.add("p", Kind::Passthrough(array.data_type().clone()), Role::Field);
            columns.push(Values::Passthrough(array.clone()).into());
        }
        let whole = Batch { slots: vec![0; 4], times: vec![0; 4], positions: vec![0; 4], columns, rejects: vec![] };
        let mut holds = Holds::plan(&layout).unwrap();
        let mut words = vec![u64::MAX; holds.state(StateSpec::default()).width()];
        let mut later = whole.clone();
        let later = later.split_off(1);
        for (batch, offset) in [(&whole, 0), (&later, 1)] {
            let rows = holds.rows(batch).unwrap();
            for row in 0..batch.rows() {
                assert!(rows.fits(row));
                holds.take(&rows, row, &mut words);
                holds.give(&words);
            }
            let given = holds.columns().unwrap();
            for (index, (given, from)) in given.iter().zip(&whole.columns).enumerate() {
                match (&given.values, &from.values) {
                    (Values::Passthrough(given), Values::Passthrough(from)) => {
                        assert_eq!(given, &from.slice(offset, 4 - offset), "column {index}");
                    }
                    (Values::Number(given), Values::Number(from)) => {
                        let bits = |all: &[f64]| all.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                        assert_eq!(bits(given), bits(&from[offset..]));
                    }
                    (given, from) => {
                        let rest = Column::from(from.clone()).split_at(offset);
                        assert_eq!(format!("{given:?}"), format!("{rest:?}"), "column {index}");
                    }
                }
                (0..4 - offset).for_each(|row| assert_eq!(given.is_observed(row), from.is_observed(row + offset)));
            }
        }
    }

    trait SplitAt {
        fn split_at(self, at: usize) -> Values;
    }

    impl SplitAt for Column {
        fn split_at(self, at: usize) -> Values {
            let rows = self.values.rows();
            let mut batch = Batch {
                slots: vec![0; rows],
                times: vec![0; rows],
                positions: vec![0; rows],
                columns: vec![self],
                rejects: vec![],
            };
            batch.split_off(at).columns.remove(0).values
        }
    }

    #[test]
    fn lists_are_refused_by_name_and_long_texts_do_not_fit() {
        let mut layout = Layout::new("key", KeyType::Utf8, "time", Clock::default());
        layout.add("text", Kind::Passthrough(DataType::Utf8), Role::Field);
        let long = "x".repeat(LONGEST + 1);
        let array: ArrayRef = Arc::new(StringArray::from(vec![&long[1..], &long]));
        let batch = Batch { columns: vec![Values::Passthrough(array).into()], ..Batch::default() };
        let rows = Holds::plan(&layout).unwrap().rows(&batch).unwrap();
        assert!(rows.fits(0) && !rows.fits(1));
        layout.add("sound", Kind::Samples, Role::Value);
        assert_eq!(Holds::plan(&layout).err().unwrap(), "sound");
    }
}
