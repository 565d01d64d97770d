//! Vectors without instructions of one processor: other processors than x86-64, and f64.
//! Must not live here: anything that needs `unsafe`.

use std::array::from_fn;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use super::product::{Begin, Block, block, tile};
use super::vector::{LANES, Vector};
use crate::kernel::float::{Float, Number};

/// A number of each of 16 rows, and how memory for any vector is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Portable<F>(pub [F; LANES]);

impl<F: Float> Default for Portable<F> {
    fn default() -> Self {
        Portable([F::ZERO; LANES])
    }
}

macro_rules! operators {
    ($($trait:ident $name:ident)*) => {
        $(impl<F: Float> $trait for Portable<F> {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Portable(from_fn(|i| self.0[i].$name(other.0[i])))
            }
        })*
    };
}

operators! { Add add Sub sub Mul mul Div div }

impl<F: Float> Neg for Portable<F> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Portable(self.0.map(F::neg))
    }
}

impl<F: Float> AddAssign for Portable<F> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl<F: Float> MulAssign for Portable<F> {
    #[inline(always)]
    fn mul_assign(&mut self, other: Self) {
        *self = *self * other;
    }
}

impl<F: Float> Number for Portable<F> {
    const ZERO: Self = Portable([F::ZERO; LANES]);
    const ONE: Self = Portable([F::ONE; LANES]);

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        Portable([F::from_f64(value); LANES])
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Portable(self.0.map(F::sqrt))
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        F::tanh_lanes(self)
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        F::sigmoid_lanes(self)
    }

    #[inline(always)]
    fn relu(self) -> Self {
        Portable(self.0.map(F::relu))
    }

    #[inline(always)]
    fn where_positive(self, of: Self) -> Self {
        Portable(from_fn(|i| self.0[i].where_positive(of.0[i])))
    }
}

impl<F: Float> Vector for Portable<F> {
    type Element = F;
    const COLUMNS: usize = 4;

    #[inline(always)]
    fn splat(value: F) -> Self {
        Portable([value; LANES])
    }

    #[inline(always)]
    fn load(rows: &[F; LANES]) -> Self {
        Portable(*rows)
    }

    #[inline(always)]
    fn store(self, rows: &mut [F; LANES]) {
        *rows = self.0;
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        Portable(from_fn(|i| self.0[i].mul_add(by.0[i], plus.0[i])))
    }

    #[inline(always)]
    fn or_where_zero(self, mask: Self, other: Self) -> Self {
        Portable(from_fn(|i| if mask.0[i] == F::ZERO { other.0[i] } else { self.0[i] }))
    }

    #[inline(always)]
    fn at_most(self, most: Self) -> Self {
        Portable(from_fn(|i| if self.0[i] > most.0[i] { most.0[i] } else { self.0[i] }))
    }

    #[inline(always)]
    fn at_least(self, least: Self) -> Self {
        Portable(from_fn(|i| if self.0[i] < least.0[i] { least.0[i] } else { self.0[i] }))
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Portable(self.0.map(F::power_of_two))
    }

    fn tile(out: &mut [Self], begin: Begin, numbers: &[F], source: [&[Self]; 2]) {
        match out.len() {
            1 => tile::<Self, 1>(out, begin, numbers, source),
            2 => tile::<Self, 2>(out, begin, numbers, source),
            3 => tile::<Self, 3>(out, begin, numbers, source),
            _ => tile::<Self, 4>(out, begin, numbers, source),
        }
    }

    fn block(left: &[Self], right: &[Self], into: &mut Block<F>) {
        block::<Self, 2, 2>(left, right, into);
    }

    #[inline(always)]
    fn sums<const N: usize>(values: [Self; N]) -> [F; N] {
        values.map(|Portable(v)| {
            let half: [F; 8] = from_fn(|i| v[i] + v[i + 8]);
            let pairs: [F; 4] = from_fn(|i| half[2 * i] + half[2 * i + 1]);
            (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
        })
    }
}
