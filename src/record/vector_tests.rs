//! Vectors of all kinds of columns.

use arrow::array::{
    BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, LargeBinaryArray, LargeListArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Float64Type, Int16Type, Int32Type, UInt8Type};

use super::*;
use crate::config::At;

fn column(width: Option<usize>, number: Option<NumberType>) -> VectorColumn {
    VectorColumn { name: At::default_value("x".into()), width, number }
}

/// Per row its numbers, and the rows that are refused.
type Read = (Vec<Option<Vec<f32>>>, Vec<(usize, String)>);

fn read(column: &VectorColumn, array: impl Array + 'static) -> Read {
    let array: ArrayRef = Arc::new(array);
    column.takes(array.data_type()).unwrap();
    let (read, bad) = column.read(&array).unwrap();
    assert_eq!(Some(read.data_type()), column.kind().vectors().as_ref());
    (shown(&read), bad)
}

/// Per row its numbers; no NaN, which is never equal.
fn shown(array: &ArrayRef) -> Vec<Option<Vec<f32>>> {
    let plain = |number: f32| if number.is_nan() { -999.0 } else { number };
    (0..array.len()).map(|row| Some(vector_of(array, row)?.into_iter().map(plain).collect())).collect()
}

#[test]
fn lists_of_any_numbers_are_floats_and_null_is_nan() {
    let rows = || vec![Some(vec![Some(1.0), None]), None, Some(vec![Some(-0.5), Some(1e300)])];
    let nothing = Some(vec![-999.0, -999.0]);
    let expected = [Some(vec![1.0, -999.0]), nothing.clone(), Some(vec![-0.5, f32::INFINITY])];
    let of_two = column(Some(2), None);
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(rows());
    assert_eq!(read(&of_two, lists.clone()), (expected.to_vec(), vec![]));
    assert_eq!(read(&of_two, lists.slice(1, 2)), (expected[1..].to_vec(), vec![]), "a part of an array");
    let large = LargeListArray::from_iter_primitive::<Float64Type, _, _>(rows());
    assert_eq!(read(&of_two, large).0, expected);
    let fixed = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(rows(), 2);
    assert_eq!(read(&of_two, fixed.slice(2, 1)).0, expected[2..]);
    assert_eq!(read(&of_two, fixed).0, expected);
    let bytes = ListArray::from_iter_primitive::<UInt8Type, _, _>([Some(vec![Some(255), Some(0)])]);
    assert_eq!(read(&of_two, bytes).0, [Some(vec![255.0, 0.0])]);
    let items: [ArrayRef; 2] = [
        Arc::new(Decimal128Array::from(vec![125, -1]).with_precision_and_scale(9, 2).unwrap()),
        Arc::new(BooleanArray::from(vec![true, false])),
    ];
    for (items, expected) in items.into_iter().zip([[1.25, -0.01], [1.0, 0.0]]) {
        let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([2]), items, None);
        assert_eq!(read(&of_two, list).0, [Some(expected.to_vec())]);
    }
    assert_eq!(read(&of_two, arrow::array::NullArray::new(1)).0, [nothing]);
}

#[test]
fn samples_have_any_width_and_may_be_none() {
    let rows = vec![Some(vec![Some(1), None, Some(-3)]), None, Some(vec![]), Some(vec![Some(9)])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let expected = [Some(vec![1.0, -999.0, -3.0]), None, Some(vec![]), Some(vec![9.0])];
    assert_eq!(read(&column(None, None), lists.clone()), (expected.to_vec(), vec![]));
    assert_eq!(read(&column(None, None), lists.slice(1, 3)).0, expected[1..]);
    // A null item stays one where samples are written.
    let (samples, _) = column(None, None).read(&(Arc::new(lists) as ArrayRef)).unwrap();
    assert_eq!(samples.as_list::<i32>().values().null_count(), 1);
}

#[test]
fn bytes_are_little_endian_and_full_scale_is_one() {
    let int16 = |numbers: &[i16]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let (loud, soft) = (int16(&[i16::MIN, 16_384]), int16(&[1, 0]));
    let expected = [Some(vec![-1.0, 0.5]), Some(vec![1.0 / 32_768.0, 0.0])];
    let of_int16 = column(Some(2), Some(NumberType::Int16));
    let all = [loud.as_slice(), soft.as_slice()];
    assert_eq!(read(&of_int16, BinaryArray::from_iter_values(all)), (expected.to_vec(), vec![]));
    assert_eq!(read(&of_int16, LargeBinaryArray::from_iter_values(all)).0, expected);
    assert_eq!(read(&of_int16, BinaryViewArray::from_iter_values(all)).0, expected);
    let fixed = FixedSizeBinaryArray::try_from_iter(all.into_iter()).unwrap();
    assert_eq!(read(&of_int16, fixed).0, expected);
    // So are lists of the same numbers.
    let lists = ListArray::from_iter_primitive::<Int16Type, _, _>([Some(vec![Some(i16::MIN), Some(16_384)])]);
    assert_eq!(read(&of_int16, lists).0, expected[..1]);
    let floats: Vec<u8> = [0.1_f32, f32::NAN].iter().flat_map(|number| number.to_le_bytes()).collect();
    let of_float32 = column(None, Some(NumberType::Float32));
    assert_eq!(read(&of_float32, BinaryArray::from_iter_values([&floats])).0, [Some(vec![0.1, -999.0])]);
}

#[test]
fn a_vector_of_another_width_is_refused_with_both() {
    let rows = vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(1), Some(2), Some(3)]), Some(vec![])];
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let (read_as, bad) = read(&column(Some(3), None), lists);
    assert_eq!(read_as[1], Some(vec![1.0, 2.0, 3.0]));
    assert_eq!(read_as[0], Some(vec![-999.0; 3]));
    let why = |at: usize| (bad[at].0, bad[at].1.as_str());
    assert_eq!(why(0), (0, "column \"x\": a vector of 2 numbers, expected 3"));
    assert_eq!(why(1), (2, "column \"x\": a vector of 0 numbers, expected 3"));
    let odd = BinaryArray::from_iter_values([&[1_u8, 2, 3][..], &[1, 2]]);
    let (_, bad) = read(&column(Some(2), Some(NumberType::Int16)), odd);
    assert_eq!(bad[0].1, "column \"x\": 3 bytes, which are no whole numbers of int16");
    assert_eq!(bad[1].1, "column \"x\": a vector of 1 number, expected 2");
}

#[test]
fn what_is_no_vector_is_refused_before_it_is_read() {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let fixed = |width| DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, true)), width);
    let (plain, int16) = (column(Some(4), None), column(Some(4), Some(NumberType::Int16)));
    for (column, found, expected) in [
        (&plain, DataType::Binary, "write what the bytes are"),
        (&plain, DataType::Float32, "expected lists of numbers, found Float32"),
        (&plain, list(DataType::Utf8), "expected lists of numbers"),
        (&plain, list(list(DataType::Float32)), "expected lists of numbers"),
        (&plain, fixed(5), "whose lists have 5 numbers, not 4"),
        (&int16, DataType::FixedSizeBinary(9), "which are 4.5 numbers of int16"),
        (&int16, DataType::Utf8, "or bytes that are int16"),
    ] {
        let message = column.takes(&found).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    assert!(int16.is_always(&DataType::FixedSizeBinary(8)) && !int16.is_always(&DataType::Binary));
    assert!(plain.is_always(&fixed(4)) && !plain.is_always(&list(DataType::Float32)));
    assert!(column(None, None).is_always(&list(DataType::Float32)));
}

#[test]
fn no_vector_is_nan_and_no_samples_are_null() {
    assert_eq!(shown(&Kind::Vector(2).no_vectors(2).unwrap()), [Some(vec![-999.0; 2]), Some(vec![-999.0; 2])]);
    assert_eq!(shown(&Kind::Samples.no_vectors(1).unwrap()), [None]);
    assert!(Kind::Number.no_vectors(1).is_none());
    let array = FixedSizeListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(
        [Some(vec![Some(1.0), None]), None, Some(vec![Some(2.0), Some(3.0)])],
        2,
    );
    let numbers = vector_numbers(&(Arc::new(array.slice(0, 3)) as ArrayRef)).unwrap();
    assert_eq!(numbers.iter().filter(|number| number.is_nan()).count(), 3);
    assert_eq!(vector_numbers(&(Arc::new(array.slice(2, 1)) as ArrayRef)).unwrap(), [2.0, 3.0]);
}
