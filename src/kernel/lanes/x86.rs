//! Vectors of x86-64: AVX-512, and AVX2 with FMA.
//!
//! Must not live here: what is computed with them. SAFETY of every block below: [`Avx512`] and [`Avx2`] are made and
//! used only by work that [`super::Isa::run`] starts, which has found the instructions on this machine.

#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use super::product::{Begin, Block, block, tile};
use super::transpose::transpose;
use super::vector::{self, LANES, Vector, Work};
use crate::kernel::float::Number;

/// One register of AVX-512.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Avx512(pub(super) __m512);

/// Two registers of AVX2.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Avx2([__m256; 2]);

/// Whether there is AVX-512.
pub(super) fn has_avx512() -> bool {
    let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
    found && is_x86_feature_detected!("avx512vl") && has_avx2()
}

/// Whether there is AVX2 with FMA.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Runs work that is compiled for AVX-512.
///
/// # Safety
/// [`has_avx512`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn on_avx512<W: Work<f32>>(work: W) {
    work.run::<Avx512>();
}

/// Runs work that is compiled for AVX2.
///
/// # Safety
/// [`has_avx2`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn on_avx2<W: Work<f32>>(work: W) {
    work.run::<Avx2>();
}

macro_rules! operators {
    ($($trait:ident $name:ident $wide:ident $half:ident)*) => {
        $(impl $trait for Avx512 {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Avx512(unsafe { $wide(self.0, other.0) })
            }
        }

        impl $trait for Avx2 {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Avx2(unsafe { [$half(self.0[0], other.0[0]), $half(self.0[1], other.0[1])] })
            }
        })*
    };
}

operators! {
    Add add _mm512_add_ps _mm256_add_ps
    Sub sub _mm512_sub_ps _mm256_sub_ps
    Mul mul _mm512_mul_ps _mm256_mul_ps
    Div div _mm512_div_ps _mm256_div_ps
}

macro_rules! number {
    ($($vector:ident($inner:ty))*) => {
        $(impl Default for $vector {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl Neg for $vector {
            type Output = Self;

            #[inline(always)]
            fn neg(self) -> Self {
                self.negated()
            }
        }

        impl AddAssign for $vector {
            #[inline(always)]
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl MulAssign for $vector {
            #[inline(always)]
            fn mul_assign(&mut self, other: Self) {
                *self = *self * other;
            }
        }

        impl Number for $vector {
            const ZERO: Self = $vector(unsafe { std::mem::transmute::<[f32; LANES], $inner>([0.0; LANES]) });
            const ONE: Self = $vector(unsafe { std::mem::transmute::<[f32; LANES], $inner>([1.0; LANES]) });

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                Self::splat(value as f32)
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                self.root()
            }

            #[inline(always)]
            fn tanh(self) -> Self {
                vector::tanh(self)
            }

            #[inline(always)]
            fn sigmoid(self) -> Self {
                vector::sigmoid(self)
            }

            #[inline(always)]
            fn relu(self) -> Self {
                self.at_least(Self::ZERO)
            }

            #[inline(always)]
            fn where_positive(self, of: Self) -> Self {
                self.kept_where_positive(of)
            }
        })*
    };
}

number! { Avx512(__m512) Avx2([__m256; 2]) }

impl Avx512 {
    #[inline(always)]
    fn negated(self) -> Self {
        Avx512(unsafe { _mm512_xor_ps(self.0, _mm512_set1_ps(-0.0)) })
    }

    #[inline(always)]
    fn root(self) -> Self {
        Avx512(unsafe { _mm512_sqrt_ps(self.0) })
    }

    #[inline(always)]
    fn kept_where_positive(self, of: Self) -> Self {
        Avx512(unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_setzero_ps()), of.0) })
    }

    #[inline(always)]
    fn halved(self) -> __m256 {
        unsafe { _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0)) }
    }
}

impl Avx2 {
    #[inline(always)]
    fn negated(self) -> Self {
        Avx2(unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_xor_ps(self.0[0], sign), _mm256_xor_ps(self.0[1], sign)]
        })
    }

    #[inline(always)]
    fn root(self) -> Self {
        Avx2(unsafe { [_mm256_sqrt_ps(self.0[0]), _mm256_sqrt_ps(self.0[1])] })
    }

    #[inline(always)]
    fn kept_where_positive(self, of: Self) -> Self {
        Avx2(unsafe {
            let zero = _mm256_setzero_ps();
            [
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0[0], zero), of.0[0]),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0[1], zero), of.0[1]),
            ]
        })
    }

    #[inline(always)]
    fn halved(self) -> __m256 {
        unsafe { _mm256_add_ps(self.0[0], self.0[1]) }
    }
}

// Loops, and no closures or `map` over arrays: a function that isn't inlined has none of the instructions.

/// Sums over the rows of each vector, four at a time: halves, neighbours, neighbouring pairs, both halves.
macro_rules! sums {
    ($values:ident, $count:ident) => {{
        let mut all = [0.0; $count];
        let mut first = 0;
        while first < $count {
            let at = |i: usize| if first + i < $count { first + i } else { $count - 1 };
            let (a, b) = ($values[first].halved(), $values[at(1)].halved());
            let (c, d) = ($values[at(2)].halved(), $values[at(3)].halved());
            let four: [f32; 4] = unsafe {
                let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
                let all = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
                std::mem::transmute::<__m128, [f32; 4]>(all)
            };
            let mut i = 0;
            while i < 4 && first + i < $count {
                all[first + i] = four[i];
                i += 1;
            }
            first += 4;
        }
        all
    }};
}

impl Vector for Avx512 {
    type Element = f32;
    const COLUMNS: usize = 24;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Avx512(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(rows: &[f32; LANES]) -> Self {
        Avx512(unsafe { _mm512_loadu_ps(rows.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, rows: &mut [f32; LANES]) {
        unsafe { _mm512_storeu_ps(rows.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        Avx512(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
    }

    #[inline(always)]
    fn or_where_zero(self, mask: Self, other: Self) -> Self {
        let zero = unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(mask.0, _mm512_setzero_ps()) };
        Avx512(unsafe { _mm512_mask_mov_ps(self.0, zero, other.0) })
    }

    #[inline(always)]
    fn at_most(self, most: Self) -> Self {
        Avx512(unsafe { _mm512_min_ps(most.0, self.0) })
    }

    #[inline(always)]
    fn at_least(self, least: Self) -> Self {
        Avx512(unsafe { _mm512_max_ps(least.0, self.0) })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        unsafe {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            Avx512(_mm512_castsi512_ps(_mm512_add_epi32(n, _mm512_set1_epi32(1.0_f32.to_bits() as i32))))
        }
    }

    #[inline(always)]
    fn tile(out: &mut [Self], begin: Begin, numbers: &[f32], source: [&[Self]; 2]) {
        unsafe { avx512_tile(out, begin, numbers, source) }
    }

    #[inline(always)]
    fn block(left: &[Self], right: &[Self], into: &mut Block<f32>) {
        unsafe { avx512_block(left, right, into) }
    }

    const TRANSPOSES: bool = true;

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        unsafe { transpose(rows) }
    }

    #[inline(always)]
    fn sums<const N: usize>(values: [Self; N]) -> [f32; N] {
        sums!(values, N)
    }
}

impl Vector for Avx2 {
    type Element = f32;
    const COLUMNS: usize = 6;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        let value = unsafe { _mm256_set1_ps(value) };
        Avx2([value, value])
    }

    #[inline(always)]
    fn load(rows: &[f32; LANES]) -> Self {
        Avx2(unsafe { [_mm256_loadu_ps(rows.as_ptr()), _mm256_loadu_ps(rows.as_ptr().add(8))] })
    }

    #[inline(always)]
    fn store(self, rows: &mut [f32; LANES]) {
        unsafe {
            _mm256_storeu_ps(rows.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(rows.as_mut_ptr().add(8), self.0[1]);
        }
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        Avx2(unsafe {
            [_mm256_fmadd_ps(self.0[0], by.0[0], plus.0[0]), _mm256_fmadd_ps(self.0[1], by.0[1], plus.0[1])]
        })
    }

    #[inline(always)]
    fn or_where_zero(self, mask: Self, other: Self) -> Self {
        Avx2(unsafe {
            let none = _mm256_setzero_ps();
            let zero = [_mm256_cmp_ps::<_CMP_EQ_OQ>(mask.0[0], none), _mm256_cmp_ps::<_CMP_EQ_OQ>(mask.0[1], none)];
            [_mm256_blendv_ps(self.0[0], other.0[0], zero[0]), _mm256_blendv_ps(self.0[1], other.0[1], zero[1])]
        })
    }

    #[inline(always)]
    fn at_most(self, most: Self) -> Self {
        Avx2(unsafe { [_mm256_min_ps(most.0[0], self.0[0]), _mm256_min_ps(most.0[1], self.0[1])] })
    }

    #[inline(always)]
    fn at_least(self, least: Self) -> Self {
        Avx2(unsafe { [_mm256_max_ps(least.0[0], self.0[0]), _mm256_max_ps(least.0[1], self.0[1])] })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        Avx2(unsafe {
            let one = _mm256_set1_epi32(1.0_f32.to_bits() as i32);
            let n = [
                _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[0])),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0[1])),
            ];
            [_mm256_castsi256_ps(_mm256_add_epi32(n[0], one)), _mm256_castsi256_ps(_mm256_add_epi32(n[1], one))]
        })
    }

    #[inline(always)]
    fn tile(out: &mut [Self], begin: Begin, numbers: &[f32], source: [&[Self]; 2]) {
        unsafe { avx2_tile(out, begin, numbers, source) }
    }

    #[inline(always)]
    fn block(left: &[Self], right: &[Self], into: &mut Block<f32>) {
        unsafe { avx2_block(left, right, into) }
    }

    #[inline(always)]
    fn sums<const N: usize>(values: [Self; N]) -> [f32; N] {
        sums!(values, N)
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn avx512_tile(out: &mut [Avx512], begin: Begin, numbers: &[f32], source: [&[Avx512]; 2]) {
    match out.len() {
        1 => tile::<Avx512, 1>(out, begin, numbers, source),
        2 => tile::<Avx512, 2>(out, begin, numbers, source),
        3 => tile::<Avx512, 3>(out, begin, numbers, source),
        4 => tile::<Avx512, 4>(out, begin, numbers, source),
        5 => tile::<Avx512, 5>(out, begin, numbers, source),
        6 => tile::<Avx512, 6>(out, begin, numbers, source),
        7 => tile::<Avx512, 7>(out, begin, numbers, source),
        8 => tile::<Avx512, 8>(out, begin, numbers, source),
        9 => tile::<Avx512, 9>(out, begin, numbers, source),
        10 => tile::<Avx512, 10>(out, begin, numbers, source),
        11 => tile::<Avx512, 11>(out, begin, numbers, source),
        12 => tile::<Avx512, 12>(out, begin, numbers, source),
        13 => tile::<Avx512, 13>(out, begin, numbers, source),
        14 => tile::<Avx512, 14>(out, begin, numbers, source),
        15 => tile::<Avx512, 15>(out, begin, numbers, source),
        16 => tile::<Avx512, 16>(out, begin, numbers, source),
        17 => tile::<Avx512, 17>(out, begin, numbers, source),
        18 => tile::<Avx512, 18>(out, begin, numbers, source),
        19 => tile::<Avx512, 19>(out, begin, numbers, source),
        20 => tile::<Avx512, 20>(out, begin, numbers, source),
        21 => tile::<Avx512, 21>(out, begin, numbers, source),
        22 => tile::<Avx512, 22>(out, begin, numbers, source),
        23 => tile::<Avx512, 23>(out, begin, numbers, source),
        _ => tile::<Avx512, 24>(out, begin, numbers, source),
    }
}

#[target_feature(enable = "avx2,fma")]
fn avx2_tile(out: &mut [Avx2], begin: Begin, numbers: &[f32], source: [&[Avx2]; 2]) {
    match out.len() {
        1 => tile::<Avx2, 1>(out, begin, numbers, source),
        2 => tile::<Avx2, 2>(out, begin, numbers, source),
        3 => tile::<Avx2, 3>(out, begin, numbers, source),
        4 => tile::<Avx2, 4>(out, begin, numbers, source),
        5 => tile::<Avx2, 5>(out, begin, numbers, source),
        _ => tile::<Avx2, 6>(out, begin, numbers, source),
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn avx512_block(left: &[Avx512], right: &[Avx512], into: &mut Block<f32>) {
    block::<Avx512, 4, 6>(left, right, into);
}

#[target_feature(enable = "avx2,fma")]
fn avx2_block(left: &[Avx2], right: &[Avx2], into: &mut Block<f32>) {
    block::<Avx2, 2, 2>(left, right, into);
}
