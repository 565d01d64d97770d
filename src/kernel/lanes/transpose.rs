//! Sixteen rows of sixteen numbers become sixteen columns, in AVX-512 registers.
//! Must not live here: what is computed with them (`x86`).

use std::arch::x86_64::*;

use super::vector::LANES;
use super::x86::Avx512;

/// By pairs, by fours, by quarters of a register, by halves.
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
pub(super) fn transpose(rows: [Avx512; LANES]) -> [Avx512; LANES] {
    let zero = _mm512_setzero_pd();
    let mut pairs = [zero; LANES];
    for i in 0..8 {
        let (a, b) = (rows[2 * i].0, rows[2 * i + 1].0);
        pairs[2 * i] = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        pairs[2 * i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
    }
    let mut fours = [_mm512_setzero_ps(); LANES];
    for i in 0..4 {
        for half in 0..2 {
            let (a, b) = (pairs[4 * i + half], pairs[4 * i + half + 2]);
            fours[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    let mut columns = rows;
    for c in 0..4 {
        let (a, b) = (fours[c], fours[c + 4]);
        let (d, e) = (fours[c + 8], fours[c + 12]);
        let (even, even_2) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(d, e));
        let (odd, odd_2) = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(d, e));
        columns[c] = Avx512(_mm512_shuffle_f32x4::<0x88>(even, even_2));
        columns[c + 4] = Avx512(_mm512_shuffle_f32x4::<0x88>(odd, odd_2));
        columns[c + 8] = Avx512(_mm512_shuffle_f32x4::<0xdd>(even, even_2));
        columns[c + 12] = Avx512(_mm512_shuffle_f32x4::<0xdd>(odd, odd_2));
    }
    columns
}
