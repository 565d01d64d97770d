//! The number types of the kernels and their activation functions, which the compiler vectorises.
//! Must not live here: matrices (`gemm`), what a cell does with a gate (`lstm` and others).

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use super::lanes::{Isa, LANES, Portable, Vector, Work, sigmoid_of, tanh_of};

/// What a cell computes with: a number, or one of each of many rows ([`super::lanes::Vector`]).
pub trait Number:
    Copy
    + Debug
    + Default
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Logistic function 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
    /// max(0, x); NaN stays NaN.
    fn relu(self) -> Self;
    /// `of` where this number is above 0, else 0.
    fn where_positive(self, of: Self) -> Self;
}

/// `f32` to compute with, `f64` to check gradients with.
pub trait Float: Number + PartialOrd {
    /// The same number.
    fn to_f64(self) -> f64;
    /// e^x for x up to 0; in f32 e^-40 below -40.
    fn exp(self) -> Self;
    /// The same of each row, with the same bits.
    fn exp_lanes<V: Vector<Element = Self>>(x: V) -> V;
    /// self · by + plus; rounded once for `f32`.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// 2^n for n in the low bits of 1.5 · 2^23 + n; `f32` only.
    fn power_of_two(self) -> Self;
    /// Hyperbolic tangent of each row.
    fn tanh_lanes(x: Portable<Self>) -> Portable<Self>;
    /// Logistic function of each row.
    fn sigmoid_lanes(x: Portable<Self>) -> Portable<Self>;
    /// Columns of a product that fit the registers of a processor: [`super::lanes::Vector::COLUMNS`].
    fn columns(isa: Isa) -> usize;
    /// Runs work on the vectors of a processor.
    fn run_on(isa: Isa, work: impl Work<Self>);
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn from_f64(value: f64) -> Self {
        value
    }

    fn sqrt(self) -> Self {
        self.sqrt()
    }

    fn tanh(self) -> Self {
        self.tanh()
    }

    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }

    fn relu(self) -> Self {
        if self < 0.0 { 0.0 } else { self }
    }

    fn where_positive(self, of: Self) -> Self {
        if self > 0.0 { of } else { 0.0 }
    }
}

impl Float for f64 {
    fn to_f64(self) -> f64 {
        self
    }

    fn exp(self) -> Self {
        self.exp()
    }

    fn exp_lanes<V: Vector<Element = Self>>(x: V) -> V {
        let mut rows = [0.0; LANES];
        x.store(&mut rows);
        V::load(&rows.map(f64::exp))
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self * by + plus
    }

    fn power_of_two(self) -> Self {
        f64::from((self as f32).power_of_two())
    }

    fn tanh_lanes(x: Portable<Self>) -> Portable<Self> {
        Portable(x.0.map(f64::tanh))
    }

    fn sigmoid_lanes(x: Portable<Self>) -> Portable<Self> {
        Portable(x.0.map(Number::sigmoid))
    }

    fn columns(_: Isa) -> usize {
        Portable::<Self>::COLUMNS
    }

    fn run_on(_: Isa, work: impl Work<Self>) {
        work.run::<Portable<Self>>();
    }
}

/// Both functions are within 2e-7 of the true value. They have no branches, so that the compiler does several at once,
/// and are made of operations that IEEE 754 defines, so that every machine gives the same bits; the C library's are
/// not.
impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        let (grown, scale) = exp(2.0 * self);
        // e^2x - 1, to all digits near zero too: there the scale is 1.
        let e = grown * scale + (scale - 1.0);
        e / (e + 2.0)
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        let (grown, scale) = exp(-self);
        1.0 / (1.0 + (grown * scale + scale))
    }

    #[inline(always)]
    fn relu(self) -> Self {
        if self < 0.0 { 0.0 } else { self }
    }

    #[inline(always)]
    fn where_positive(self, of: Self) -> Self {
        if self > 0.0 { of } else { 0.0 }
    }
}

impl Float for f32 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        let (grown, scale) = exp(self);
        grown * scale + scale
    }

    /// [`exp`] with the operations of a vector, none of them fused.
    #[inline(always)]
    fn exp_lanes<V: Vector<Element = Self>>(x: V) -> V {
        let x = x.at_most(V::splat(40.0)).at_least(V::splat(-40.0));
        let shifted = x * V::splat(std::f32::consts::LOG2_E) + V::splat(ROUNDING);
        let n = shifted - V::splat(ROUNDING);
        let r = (x - n * V::splat(LN_2[0])) - n * V::splat(LN_2[1]);
        let series = V::splat(TAYLOR[0]);
        let series = series * r + V::splat(TAYLOR[1]);
        let series = series * r + V::splat(TAYLOR[2]);
        let series = series * r + V::splat(TAYLOR[3]);
        let series = series * r + V::splat(TAYLOR[4]);
        let series = series * r + V::splat(TAYLOR[5]);
        let series = series * r + V::splat(1.0);
        let scale = shifted.power_of_two();
        series * r * scale + scale
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        self.mul_add(by, plus)
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        f32::from_bits((self.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
    }

    #[inline(always)]
    fn tanh_lanes(x: Portable<Self>) -> Portable<Self> {
        tanh_of(x)
    }

    #[inline(always)]
    fn sigmoid_lanes(x: Portable<Self>) -> Portable<Self> {
        sigmoid_of(x)
    }

    fn columns(isa: Isa) -> usize {
        isa.columns()
    }

    fn run_on(isa: Isa, work: impl Work<Self>) {
        isa.run(work);
    }
}

/// 1.5 * 2^23: a number of up to 2^22 added to it is rounded to an integer, which is then in the low bits.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts; n times the first is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Of (e^r - 1) / r, from the seventh term down to the second.
const TAYLOR: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// e^x as (1 + `.0`) · `.1` for x within ±40, beyond that e^±40; NaN stays NaN.
///
/// e^x = 2^n e^r with |r| <= ln 2 / 2, and e^r - 1 by its Taylor series, whose first term left out is below 6e-9.
#[inline(always)]
fn exp(x: f32) -> (f32, f32) {
    let x = x.clamp(-40.0, 40.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let series = TAYLOR[0];
    let series = series * r + TAYLOR[1];
    let series = series * r + TAYLOR[2];
    let series = series * r + TAYLOR[3];
    let series = series * r + TAYLOR[4];
    let series = series * r + TAYLOR[5];
    let series = series * r + 1.0;
    (series * r, shifted.power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_and_sigmoid_are_within_2e_7() {
        let steps = (-2_000_000..=2_000_000).map(|i| i as f32 * 1e-5);
        for x in steps.chain([1e-30, -1e-30, 50.0, -50.0, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY]) {
            let exact = f64::from(x);
            assert!((f64::from(Number::tanh(x)) - exact.tanh()).abs() <= 2e-7, "tanh {x}: {}", Number::tanh(x));
            let digits = (f64::from(Number::tanh(x)) - exact.tanh()).abs() / exact.tanh().abs();
            assert!(x == 0.0 || digits <= 4e-7, "tanh {x}: {digits:e} of itself");
            assert!((f64::from(x.sigmoid()) - exact.sigmoid()).abs() <= 2e-7, "sigmoid {x}: {}", x.sigmoid());
        }
        assert_eq!((Number::tanh(0.0_f32), 0.0_f32.sigmoid()), (0.0, 0.5));
        assert!(Number::tanh(f32::NAN).is_nan() && f32::NAN.sigmoid().is_nan());
    }
}
