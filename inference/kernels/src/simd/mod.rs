//! Sixteen lanes of one instruction set.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;

use crate::activations::Activations;
use crate::matrix::{Matrix, TILE};

/// What the kernels need of an instruction set. Every implementation gives the same bits.
///
/// Safety: all functions need the instruction set to be present, and pointers to sixteen readable or writable elements.
pub(crate) trait Simd: Copy + 'static {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixteen groups of four bytes.
    type B: Copy;
    /// Rows of activations one pass over a weight tile serves at most: 1, 4 or 8; more would not fit the registers.
    const ROWS: usize;

    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn load_half(p: *const u16) -> Self::F;
    /// Sixteen numbers in the bfloat16 format.
    unsafe fn load_brain(p: *const u16) -> Self::F;
    /// Sixteen unsigned bytes as numbers.
    unsafe fn load_bytes(p: *const u8) -> Self::F;
    /// Sixteen signed bytes as numbers.
    unsafe fn load_signed(p: *const i8) -> Self::F;
    unsafe fn store(v: Self::F, p: *mut f32);
    unsafe fn store_half(v: Self::F, p: *mut u16);
    /// Each lane rounded to half precision and back.
    unsafe fn halve(v: Self::F) -> Self::F;
    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn abs(a: Self::F) -> Self::F;
    /// Nearest whole number, ties to even.
    unsafe fn round(a: Self::F) -> Self::F;
    /// Two to the power of a whole number between -126 and 127.
    unsafe fn pow2(a: Self::F) -> Self::F;
    /// Sum of the lanes: halves are added until one is left.
    unsafe fn sum(a: Self::F) -> f32;
    /// The sums of sixteen vectors, each as [`Simd::sum`] gives it.
    #[inline(always)]
    unsafe fn sums(v: &[Self::F; 16]) -> Self::F {
        // SAFETY: the array has sixteen elements; the caller has the instruction set.
        unsafe {
            let mut out = [0.0; 16];
            for i in 0..16 {
                out[i] = Self::sum(v[i]);
            }
            Self::load(out.as_ptr())
        }
    }
    /// The largest lane.
    unsafe fn largest(a: Self::F) -> f32;
    /// Rounds to bytes, stores them, and gives their sum.
    unsafe fn store_bytes(v: Self::F, p: *mut i8) -> i32;

    unsafe fn int_splat(x: i32) -> Self::I;
    unsafe fn int_add(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn int_to_float(a: Self::I) -> Self::F;

    unsafe fn bytes_load(p: *const u8) -> Self::B;
    unsafe fn low_nibbles(b: Self::B) -> Self::B;
    unsafe fn high_nibbles(b: Self::B) -> Self::B;
    /// `w` with some bits of `more` set in it: those that `mask` has after a shift to the left (right where it is negative).
    /// The mask must not reach the bits that the shift brings from a neighbouring byte.
    unsafe fn merge(w: Self::B, more: Self::B, shift: i32, mask: u8) -> Self::B;
    /// Adds to each lane the dot product of its four unsigned weights, at most 127 each, with four signed activations.
    unsafe fn dot_small(sum: Self::I, w: Self::B, activations: i32) -> Self::I;
    /// The same with weights up to 255.
    unsafe fn dot_wide(sum: Self::I, w: Self::B, activations: i32) -> Self::I;

    /// A number rounded to half precision and back.
    #[inline(always)]
    unsafe fn half_of(x: f32) -> f32 {
        // SAFETY: the array has sixteen elements; the caller has the instruction set.
        unsafe {
            let mut out = [0.0; 16];
            Self::store(Self::halve(Self::splat(x)), out.as_mut_ptr());
            out[0]
        }
    }

    /// e to the power of each lane, to about 2 units in the last place; beyond ±87 it stays at the end of the range.
    #[inline(always)]
    unsafe fn exp(x: Self::F) -> Self::F {
        // Range reduction by ln 2 in two parts, then the polynomial of the Cephes library.
        // SAFETY: arithmetic only; the caller has the instruction set.
        unsafe {
            let x = Self::min(Self::max(x, Self::splat(-87.0)), Self::splat(87.0));
            let n = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            let r = Self::fma(n, Self::splat(-0.693_359_4), x);
            let r = Self::fma(n, Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for c in [
                1.398_2e-3,
                8.333_452e-3,
                4.166_579_6e-2,
                1.666_666_5e-1,
                0.5,
            ] {
                p = Self::fma(p, r, Self::splat(c));
            }
            let y = Self::fma(p, Self::mul(r, r), Self::add(r, Self::splat(1.0)));
            Self::mul(y, Self::pow2(n))
        }
    }
}

/// An instruction set with [`crate::product::tile_product`] compiled once for it: that is large, and called from several
/// places.
pub(crate) trait Compiled: Simd {
    /// As there.
    unsafe fn tile_product(
        m: &Matrix,
        tile: usize,
        a: &Activations,
        first: usize,
        out: &mut [[f32; TILE]],
    );
}

/// Compiles it with these features on.
macro_rules! compiled {
    ($simd:ty $(, $features:literal)?) => {
        impl crate::simd::Compiled for $simd {
            unsafe fn tile_product(
                m: &crate::matrix::Matrix,
                tile: usize,
                a: &crate::activations::Activations,
                first: usize,
                out: &mut [[f32; crate::matrix::TILE]],
            ) {
                $(#[target_feature(enable = $features)])?
                unsafe fn run(
                    m: &crate::matrix::Matrix,
                    tile: usize,
                    a: &crate::activations::Activations,
                    first: usize,
                    out: &mut [[f32; crate::matrix::TILE]],
                ) {
                    // SAFETY: passed on, with the instruction set on.
                    unsafe { crate::product::tile_product::<$simd>(m, tile, a, first, out) }
                }
                // SAFETY: the trait's caller has the instruction set.
                unsafe { run(m, tile, a, first, out) }
            }
        }
    };
}
use compiled;
