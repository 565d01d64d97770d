//! Sixteen rows at once: what the kernels ask of a vector, and the activations made of it.
//! Must not live here: instructions of a processor (`x86`), matrices (`product`).

use super::Portable;
use super::product::{Begin, Block};
use crate::kernel::float::{Float, Number};

/// Rows that go through a cell side by side.
pub const LANES: usize = 16;

/// A number of each of [`LANES`] rows. No operation mixes rows but [`Vector::sums`], so that a row has the same bits
/// whatever is beside it. Every implementation rounds the same operations in the same order, so that all processors
/// give the same bits.
pub trait Vector: Number {
    /// The number of a row.
    type Element: Float;
    /// Columns of a product that the registers hold; at most 24.
    const COLUMNS: usize;

    /// The same number in all rows.
    fn splat(value: Self::Element) -> Self;

    /// Of these rows.
    fn load(rows: &[Self::Element; LANES]) -> Self;

    /// Into these rows.
    fn store(self, rows: &mut [Self::Element; LANES]);

    /// self · by + plus, rounded once for f32.
    fn mul_add(self, by: Self, plus: Self) -> Self;

    /// `self` where `mask` is not zero, else `other`.
    fn or_where_zero(self, mask: Self, other: Self) -> Self;

    /// The smaller of both; of a NaN in `self` NaN.
    fn at_most(self, most: Self) -> Self;

    /// The larger of both; of a NaN in `self` NaN.
    fn at_least(self, least: Self) -> Self;

    /// 2^n for n in the low bits of 1.5 · 2^23 + n; f32 only.
    fn power_of_two(self) -> Self;

    /// [`super::product::tile`] of as many columns as `out` has, at most [`Vector::COLUMNS`].
    fn tile(out: &mut [Self], begin: Begin, numbers: &[Self::Element], source: [&[Self]; 2]);

    /// [`super::product::block`].
    fn block(left: &[Self], right: &[Self], block: &mut Block<Self::Element>);

    /// Whether there is a fast [`Vector::transpose`].
    const TRANSPOSES: bool = false;

    /// Sixteen rows of sixteen columns as sixteen columns of sixteen rows, and back.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        rows
    }

    /// Sums over the rows of each vector: of rows 8 apart, then of neighbours, then of neighbouring pairs, then of both
    /// halves.
    fn sums<const N: usize>(values: [Self; N]) -> [Self::Element; N];
}

/// Work that is compiled for every kind of vector; [`super::Isa::run`] chooses the one of this machine.
pub trait Work<F> {
    /// Does it. It has to be inlined, as everything below it: what isn't has none of the instructions.
    fn run<V: Vector<Element = F>>(self);
}

/// A slice of portable vectors as the machine's.
#[allow(unsafe_code)]
#[inline(always)]
pub fn cast<V: Vector>(values: &[Portable<V::Element>]) -> &[V] {
    const { assert!(size_of::<V>() == size_of::<Portable<V::Element>>()) };
    const { assert!(align_of::<V>() <= align_of::<Portable<V::Element>>()) };
    // SAFETY: both are LANES plain numbers of one type, in order, as asserted in size and alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// As [`cast`], to be changed.
#[allow(unsafe_code)]
#[inline(always)]
pub fn cast_mut<V: Vector>(values: &mut [Portable<V::Element>]) -> &mut [V] {
    const { assert!(size_of::<V>() == size_of::<Portable<V::Element>>()) };
    const { assert!(align_of::<V>() <= align_of::<Portable<V::Element>>()) };
    // SAFETY: as in `cast`; the borrow is handed on.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// Back to portable ones.
#[allow(unsafe_code)]
#[inline(always)]
pub fn uncast<V: Vector>(values: &[V]) -> &[Portable<V::Element>] {
    const { assert!(size_of::<V>() == size_of::<Portable<V::Element>>()) };
    assert!(values.as_ptr().cast::<Portable<V::Element>>().is_aligned());
    // SAFETY: as in `cast`; the alignment is that of memory of portable vectors, where all vectors are.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// As [`uncast`], to be changed.
#[allow(unsafe_code)]
#[inline(always)]
pub fn uncast_mut<V: Vector>(values: &mut [V]) -> &mut [Portable<V::Element>] {
    const { assert!(size_of::<V>() == size_of::<Portable<V::Element>>()) };
    assert!(values.as_ptr().cast::<Portable<V::Element>>().is_aligned());
    // SAFETY: as in `uncast`; the borrow is handed on.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

#[inline(always)]
fn constant<V: Vector>(value: f32) -> V {
    V::splat(V::Element::from_f64(f64::from(value)))
}

/// e^x as (1 + `.0`) · `.1` for x within ±40, beyond that e^±40; NaN stays NaN. As for one number (`float`), but with
/// fused operations, and with the terms of (e^r - 1) / r that are nearest to it by their share of it, 1.4e-8: a term
/// less than the Taylor series.
#[inline(always)]
fn exp<V: Vector>(x: V) -> (V, V) {
    const ROUNDING: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const TERMS: [f32; 5] = [0.499_999_97, 0.166_665_43, 0.041_667_2, 8.366_547_5e-3, 1.388_251_7e-3];
    let x = x.at_most(constant(40.0)).at_least(constant(-40.0));
    let shifted = x.mul_add(constant(std::f32::consts::LOG2_E), constant(ROUNDING));
    let n = shifted - constant(ROUNDING);
    let r = n.mul_add(constant(-LN_2[0]), x);
    let r = n.mul_add(constant(-LN_2[1]), r);
    let series = constant::<V>(TERMS[4]).mul_add(r, constant(TERMS[3]));
    let series = series.mul_add(r, constant(TERMS[2]));
    let series = series.mul_add(r, constant(TERMS[1]));
    let series = series.mul_add(r, constant(TERMS[0]));
    let series = series.mul_add(r, constant(1.0));
    (series * r, shifted.power_of_two())
}

/// tanh of f32, within 2e-7.
#[inline(always)]
pub fn tanh<V: Vector>(x: V) -> V {
    let (grown, scale) = exp(x + x);
    let e = grown.mul_add(scale, scale - constant(1.0));
    e / (e + constant(2.0))
}

/// The logistic function of f32, within 2e-7.
#[inline(always)]
pub fn sigmoid<V: Vector>(x: V) -> V {
    let (grown, scale) = exp(-x);
    constant::<V>(1.0) / (constant::<V>(1.0) + grown.mul_add(scale, scale))
}
