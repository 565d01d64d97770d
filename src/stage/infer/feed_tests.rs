//! What an input of each type takes.

use super::feed::{FLOAT16, Fed, INT64, Kept, Missing, last_id};
use super::rows::{Made, View};
use crate::network::{Axis, Element, Feed, Input, InputTensor, TensorSpec};
use crate::stage::testing::Table;

/// Whether a row with this number in its only column is one that the input takes, and what it then holds.
fn read(element: Element, feed: fn(&str) -> Feed, value: f64) -> Option<f64> {
    let tensor = TensorSpec { name: "x".into(), element, shape: vec![Axis::Batch, Axis::Fixed(1)] };
    let layout = Table::new(&["v"]).layout();
    let (mut kept, mut missing, mut wrong) = (Kept::default(), Missing::default(), Vec::new());
    let input = InputTensor { tensor, feed: feed("v") };
    let fed = Fed::plan(&input, &layout, &mut kept, &mut missing, &mut wrong).unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    let (values, mut made) = ([value], fed.room(1));
    let mut past = vec![f64::NAN; kept.vectors.iter().map(|(_, width)| width).sum()];
    let mut beyond = false;
    let there = fed.read(&[View::Numbers(&values)], 0, &kept, (0, &mut past), &|| None, (&mut made, &mut beyond));
    assert!(!(there && beyond));
    there.then(|| match made {
        Made::F32(x) => x[0].into(),
        Made::F64(x) => x[0],
        Made::I64(x) => x[0] as f64,
    })
}

fn columns(name: &str) -> Feed {
    Feed::Columns(vec![Input::now(name)])
}

fn per_key(name: &str) -> Feed {
    Feed::PerKey(name.into())
}

fn ids(name: &str) -> Feed {
    Feed::Ids { column: name.into(), below: i64::MAX.unsigned_abs() }
}

#[test]
fn a_number_that_the_type_of_the_input_does_not_hold_is_not_fed() {
    let two = |exponent: i32| 2_f64.powi(exponent);
    for feed in [columns, per_key] {
        for (element, value, fits) in [
            (Element::Int64, two(63), false),
            (Element::Int64, two(63).next_down(), true),
            (Element::Int64, -two(63), true),
            (Element::Int64, (-two(63)).next_down(), false),
            (Element::Int64, 0.5, false),
            (Element::Int32, two(31), false),
            (Element::Int32, two(31) - 1.0, true),
            (Element::Int32, -two(31), true),
            (Element::Int32, -two(31) - 1.0, false),
            (Element::Bool, 1.0, true),
            (Element::Bool, 2.0, false),
            (Element::Float16, 65_504.0, true),
            (Element::Float16, 65_519.0, true),
            (Element::Float16, -65_520.0, false),
            (Element::Float32, 3e38, true),
            (Element::Float32, 4e38, false),
            (Element::Float64, 4e38, true),
            (Element::Float64, f64::INFINITY, false),
        ] {
            assert_eq!(read(element, feed, value).is_some(), fits, "{element:?} {value}");
        }
    }
    assert_eq!(half::f16::from_f32(FLOAT16.next_down()).to_f32(), 65_504.0);
    assert!(half::f16::from_f32(FLOAT16).is_infinite());
    // Of ids below 2^63 - 1 the greatest is two less, which a float doesn't hold.
    assert_eq!(read(Element::Int64, ids, two(63)), None);
    assert_eq!(read(Element::Int64, ids, INT64.1), Some(INT64.1));
    assert_eq!((last_id(10), last_id(1), last_id((1 << 53) + 4)), (9.0, 0.0, two(53) + 2.0));
}
