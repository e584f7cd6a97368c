//! AVX2 with FMA and F16C: two registers hold the sixteen lanes.

use super::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2;

type F = (__m256, __m256);
type I = (__m256i, __m256i);

// SAFETY of every block below: the trait's caller has AVX2, FMA and F16C, and valid pointers.
impl Simd for Avx2 {
    type F = F;
    type I = I;
    type B = I;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe { (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> F {
        unsafe {
            let low = _mm256_cvtph_ps(_mm_loadu_si128(p.cast()));
            (low, _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())))
        }
    }
    #[inline(always)]
    unsafe fn load_brain(p: *const u16) -> F {
        unsafe {
            let one = |p: *const u16| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            (one(p), one(p.add(8)))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> F {
        unsafe {
            let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
            let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8).cast()));
            (_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const i8) -> F {
        unsafe {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()));
            let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast()));
            (_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn halve(v: F) -> F {
        unsafe {
            (
                _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.0)),
                _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store(v: F, p: *mut f32) {
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }
    #[inline(always)]
    unsafe fn store_half(v: F, p: *mut u16) {
        unsafe {
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.0));
            _mm_storeu_si128(
                p.add(8).cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.1),
            );
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { (_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe {
            (
                _mm256_fmadd_ps(a.0, b.0, c.0),
                _mm256_fmadd_ps(a.1, b.1, c.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        unsafe { (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        unsafe { (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            (_mm256_andnot_ps(sign, a.0), _mm256_andnot_ps(sign, a.1))
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe {
            (
                _mm256_round_ps::<NEAREST>(a.0),
                _mm256_round_ps::<NEAREST>(a.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn pow2(a: F) -> F {
        unsafe {
            let one = |x| {
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n))
            };
            (one(a.0), one(a.1))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(a.0, a.1);
            let four = _mm_add_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(a.0, a.1);
            let four = _mm_max_ps(
                _mm256_castps256_ps128(eight),
                _mm256_extractf128_ps::<1>(eight),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(v: F, p: *mut i8) -> i32 {
        unsafe {
            let (low, high) = (_mm256_cvtps_epi32(v.0), _mm256_cvtps_epi32(v.1));
            // Packing works within 128-bit halves, so the middle quarters come out swapped.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(p.cast(), bytes);
            let eight = _mm256_add_epi32(low, high);
            let four = _mm_add_epi32(
                _mm256_castsi256_si128(eight),
                _mm256_extracti128_si256::<1>(eight),
            );
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        }
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> I {
        unsafe { (_mm256_set1_epi32(x), _mm256_set1_epi32(x)) }
    }
    #[inline(always)]
    unsafe fn int_add(a: I, b: I) -> I {
        unsafe { (_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn int_to_float(a: I) -> F {
        unsafe { (_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1)) }
    }
    #[inline(always)]
    unsafe fn bytes_load(p: *const u8) -> I {
        unsafe {
            (
                _mm256_loadu_si256(p.cast()),
                _mm256_loadu_si256(p.add(32).cast()),
            )
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(b: I) -> I {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            (_mm256_and_si256(b.0, mask), _mm256_and_si256(b.1, mask))
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(b: I) -> I {
        unsafe { Self::low_nibbles((_mm256_srli_epi16::<4>(b.0), _mm256_srli_epi16::<4>(b.1))) }
    }
    #[inline(always)]
    unsafe fn merge(w: I, more: I, shift: i32, mask: u8) -> I {
        unsafe {
            let mask = _mm256_set1_epi8(mask as i8);
            let count = _mm_cvtsi32_si128(shift.abs());
            let one = |w, more| {
                let moved = if shift >= 0 {
                    _mm256_sll_epi16(more, count)
                } else {
                    _mm256_srl_epi16(more, count)
                };
                _mm256_or_si256(w, _mm256_and_si256(moved, mask))
            };
            (one(w.0, more.0), one(w.1, more.1))
        }
    }
    #[inline(always)]
    unsafe fn dot_small(sum: I, w: I, activations: i32) -> I {
        unsafe {
            let a = _mm256_set1_epi32(activations);
            let ones = _mm256_set1_epi16(1);
            // 2 × 127 × 128 fits sixteen bits, so the saturating product is exact here.
            let one =
                |s, w| _mm256_add_epi32(s, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), ones));
            (one(sum.0, w.0), one(sum.1, w.1))
        }
    }
    #[inline(always)]
    unsafe fn dot_wide(sum: I, w: I, activations: i32) -> I {
        unsafe {
            let a = _mm256_set1_epi32(activations);
            let (even, odd) = (
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(a)),
                _mm256_srai_epi16::<8>(a),
            );
            let byte = _mm256_set1_epi16(0xff);
            let one = |s, w| {
                let products = _mm256_add_epi32(
                    _mm256_madd_epi16(_mm256_and_si256(w, byte), even),
                    _mm256_madd_epi16(_mm256_srli_epi16::<8>(w), odd),
                );
                _mm256_add_epi32(s, products)
            };
            (one(sum.0, w.0), one(sum.1, w.1))
        }
    }
}

super::compiled!(Avx2, "avx2,fma,f16c");
