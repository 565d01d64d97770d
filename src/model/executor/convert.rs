//! Rows of numbers into a tensor and out of it, converted. Must not live here: which rows (`onnx_runtime`).

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::place::Place;
use super::{Buffer, Output, Rows, RowsMut, Steps};
use crate::network::Element;

/// A number of a tensor.
trait Number: Pod {
    fn of_f32(value: f32) -> Self;
    fn of_f64(value: f64) -> Self;
    fn of_i64(value: i64) -> Self;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
}

/// A truth value of ONNX.
#[repr(transparent)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Truth(u8);

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn of_f32(value: f32) -> Self { value as $type }
            fn of_f64(value: f64) -> Self { value as $type }
            fn of_i64(value: i64) -> Self { value as $type }
            fn to_f32(self) -> f32 { self as f32 }
            fn to_f64(self) -> f64 { self as f64 }
        }
    )*};
}

plain!(f32, f64, i64, i32);

impl Number for f16 {
    fn of_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn of_f64(value: f64) -> Self {
        f16::from_f64(value)
    }
    fn of_i64(value: i64) -> Self {
        f16::from_f64(value as f64)
    }
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    fn to_f64(self) -> f64 {
        f16::to_f64(self)
    }
}

impl Number for Truth {
    fn of_f32(value: f32) -> Self {
        Truth((value != 0.0).into())
    }
    fn of_f64(value: f64) -> Self {
        Truth((value != 0.0).into())
    }
    fn of_i64(value: i64) -> Self {
        Truth((value != 0).into())
    }
    fn to_f32(self) -> f32 {
        self.0.into()
    }
    fn to_f64(self) -> f64 {
        self.0.into()
    }
}

/// The rows that a run takes or gives: so many steps of so many sequences, some of a list of [steps, `sequences`].
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Rows of the list, from the part's first step on.
    pub(super) rows: &'a [u32],
    /// Sequences of the list.
    pub(super) sequences: usize,
    /// First sequence and number of sequences of the part.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Part<'_> {
    /// Step and sequence in the run, and the row of each.
    #[inline]
    fn for_each(self, mut visit: impl FnMut(usize, usize, usize)) {
        for (step, rows) in self.rows.chunks_exact(self.sequences).enumerate() {
            for (sequence, row) in rows[self.first..self.first + self.count].iter().enumerate() {
                visit(step, sequence, *row as usize);
            }
        }
    }
}

/// Puts rows of `width` numbers into a tensor.
pub(super) fn gather(values: Rows<'_>, width: usize, part: Part<'_>, element: Element, place: &Place, to: &mut Buffer) {
    match element {
        Element::Float32 => match values {
            Rows::F32(values) => copied(values, width, part, place, to.values_mut()),
            values => numbers::<f32>(values, width, part, place, to),
        },
        Element::Float16 => numbers::<f16>(values, width, part, place, to),
        Element::Float64 => numbers::<f64>(values, width, part, place, to),
        Element::Int64 => numbers::<i64>(values, width, part, place, to),
        Element::Int32 => numbers::<i32>(values, width, part, place, to),
        Element::Bool => numbers::<Truth>(values, width, part, place, to),
    }
}

fn numbers<E: Number>(values: Rows<'_>, width: usize, part: Part<'_>, place: &Place, to: &mut Buffer) {
    let to = to.values_mut::<E>();
    match values {
        Rows::F32(values) => converted(values, width, part, place, to, E::of_f32),
        Rows::F64(values) => converted(values, width, part, place, to, E::of_f64),
        Rows::I64(values) => converted(values, width, part, place, to, E::of_i64),
    }
}

fn copied(values: &[f32], width: usize, part: Part<'_>, place: &Place, to: &mut [f32]) {
    if let [0] = place.pieces[..] {
        part.for_each(|step, sequence, row| {
            let at = step * place.time + sequence * place.batch;
            to[at..at + width].copy_from_slice(&values[row * width..(row + 1) * width]);
        });
    } else {
        converted(values, width, part, place, to, |value| value);
    }
}

fn converted<S: Copy, E>(
    values: &[S],
    width: usize,
    part: Part<'_>,
    place: &Place,
    to: &mut [E],
    convert: impl Fn(S) -> E,
) {
    part.for_each(|step, sequence, row| {
        let from = values[row * width..(row + 1) * width].chunks_exact(place.piece);
        for (from, piece) in from.zip(&place.pieces) {
            let at = step * place.time + sequence * place.batch + piece;
            to[at..at + place.piece].iter_mut().zip(from).for_each(|(to, from)| *to = convert(*from));
        }
    });
}

/// Takes the rows of an output out of its tensor. Returns how many there were.
pub(super) fn scatter(
    tensor: &Buffer,
    element: Element,
    place: &Place,
    part: Part<'_>,
    output: &mut Output<'_>,
) -> usize {
    match element {
        Element::Float32 => given::<f32>(tensor, place, part, output),
        Element::Float16 => given::<f16>(tensor, place, part, output),
        Element::Float64 => given::<f64>(tensor, place, part, output),
        Element::Int64 => given::<i64>(tensor, place, part, output),
        Element::Int32 => given::<i32>(tensor, place, part, output),
        Element::Bool => given::<Truth>(tensor, place, part, output),
    }
}

fn given<E: Number>(tensor: &Buffer, place: &Place, part: Part<'_>, output: &mut Output<'_>) -> usize {
    let (tensor, width) = (tensor.values::<E>(), output.width);
    match &mut output.values {
        RowsMut::F32(values) => taken(tensor, place, part, values, width, E::to_f32),
        RowsMut::F64(values) => taken(tensor, place, part, values, width, E::to_f64),
    }
}

fn taken<E: Copy, T>(
    tensor: &[E],
    place: &Place,
    part: Part<'_>,
    values: &mut [T],
    width: usize,
    convert: impl Fn(E) -> T,
) -> usize {
    let mut count = 0;
    part.for_each(|step, sequence, row| {
        if row == Steps::NONE as usize {
            return;
        }
        let to = values[row * width..(row + 1) * width].chunks_exact_mut(place.piece);
        for (to, piece) in to.zip(&place.pieces) {
            let at = step * place.time + sequence * place.batch + piece;
            to.iter_mut().zip(&tensor[at..at + place.piece]).for_each(|(to, from)| *to = convert(*from));
        }
        count += 1;
    });
    count
}

/// A number as the bytes of a tensor's type.
pub(crate) fn bytes_of(value: f64, element: Element) -> Vec<u8> {
    fn of<E: Number>(value: f64) -> Vec<u8> {
        bytemuck::bytes_of(&E::of_f64(value)).to_vec()
    }
    match element {
        Element::Float32 => of::<f32>(value),
        Element::Float16 => of::<f16>(value),
        Element::Float64 => of::<f64>(value),
        Element::Int64 => of::<i64>(value),
        Element::Int32 => of::<i32>(value),
        Element::Bool => of::<Truth>(value),
    }
}
