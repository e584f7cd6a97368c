//! Plain code: the reference, and what runs on a processor without the others.

use super::Simd;
use crate::half;

#[derive(Clone, Copy)]
pub(crate) struct Scalar;

#[inline(always)]
fn map2(a: [f32; 16], b: [f32; 16], f: impl Fn(f32, f32) -> f32) -> [f32; 16] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    type F = [f32; 16];
    type I = [i32; 16];
    type B = [u8; 64];
    const ROWS: usize = 1;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 16] {
        // SAFETY: the caller promises sixteen elements.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> [f32; 16] {
        // SAFETY: as above.
        unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(half::to_f32)
    }
    #[inline(always)]
    unsafe fn load_brain(p: *const u16) -> [f32; 16] {
        // SAFETY: as above.
        unsafe { p.cast::<[u16; 16]>().read_unaligned() }.map(half::brain_to_f32)
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> [f32; 16] {
        // SAFETY: as above.
        unsafe { p.cast::<[u8; 16]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const i8) -> [f32; 16] {
        // SAFETY: as above.
        unsafe { p.cast::<[i8; 16]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn halve(v: [f32; 16]) -> [f32; 16] {
        v.map(|x| half::to_f32(half::from_f32(x)))
    }
    #[inline(always)]
    unsafe fn store(v: [f32; 16], p: *mut f32) {
        // SAFETY: as above.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_half(v: [f32; 16], p: *mut u16) {
        // SAFETY: as above.
        unsafe { p.cast::<[u16; 16]>().write_unaligned(v.map(half::from_f32)) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        // The second operand wins when they don't compare, as in the x86 instruction.
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(a: [f32; 16]) -> [f32; 16] {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 16]) -> [f32; 16] {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn pow2(a: [f32; 16]) -> [f32; 16] {
        a.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(mut a: [f32; 16]) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] += a[i + half];
            }
        }
        a[0]
    }
    #[inline(always)]
    unsafe fn largest(a: [f32; 16]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn store_bytes(v: [f32; 16], p: *mut i8) -> i32 {
        let bytes = v.map(|x| x.round_ties_even() as i8);
        // SAFETY: the caller promises sixteen bytes.
        unsafe { p.cast::<[i8; 16]>().write_unaligned(bytes) };
        bytes.iter().map(|&b| i32::from(b)).sum()
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> [i32; 16] {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn int_add(a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn int_to_float(a: [i32; 16]) -> [f32; 16] {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    unsafe fn bytes_load(p: *const u8) -> [u8; 64] {
        // SAFETY: the caller promises 64 bytes.
        unsafe { p.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn low_nibbles(b: [u8; 64]) -> [u8; 64] {
        b.map(|x| x & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(b: [u8; 64]) -> [u8; 64] {
        b.map(|x| x >> 4)
    }
    #[inline(always)]
    unsafe fn merge(w: [u8; 64], more: [u8; 64], shift: i32, mask: u8) -> [u8; 64] {
        std::array::from_fn(|i| {
            let moved = if shift >= 0 {
                more[i] << shift
            } else {
                more[i] >> -shift
            };
            w[i] | moved & mask
        })
    }
    #[inline(always)]
    unsafe fn dot_small(sum: [i32; 16], w: [u8; 64], activations: i32) -> [i32; 16] {
        let a = activations.to_le_bytes().map(|b| i32::from(b as i8));
        std::array::from_fn(|lane| {
            (0..4).fold(sum[lane], |s, j| s + i32::from(w[lane * 4 + j]) * a[j])
        })
    }
    #[inline(always)]
    unsafe fn dot_wide(sum: [i32; 16], w: [u8; 64], activations: i32) -> [i32; 16] {
        // SAFETY: no requirement of its own.
        unsafe { Self::dot_small(sum, w, activations) }
    }
}

super::compiled!(Scalar);
