//! NEON, which every 64-bit ARM processor has: four registers hold the sixteen lanes. `DOT` is for those with the byte
//! products of ARMv8.2 (all since 2018, and optional before).

use super::Simd;
use std::arch::aarch64::*;
use std::arch::asm;

#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>;

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];
type B = [uint8x16_t; 4];

/// Sixteen bytes as four times four numbers.
#[inline(always)]
unsafe fn widen(bytes: int16x8_t, more: int16x8_t) -> F {
    // SAFETY: arithmetic only; the caller has NEON.
    unsafe {
        [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(bytes))),
            vcvtq_f32_s32(vmovl_high_s16(bytes)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(more))),
            vcvtq_f32_s32(vmovl_high_s16(more)),
        ]
    }
}

/// Adds to each lane the dot product of its four signed bytes. The intrinsic is not stable yet.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: arithmetic only; the caller has the dot product instructions.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {a:v}.16b",
            sum = inout(vreg) sum,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

// SAFETY of every block below: the trait's caller has NEON, with the dot products where `DOT` says so, and valid pointers.
impl<const DOT: bool> Simd for Neon<DOT> {
    type F = F;
    type I = I;
    type B = B;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        unsafe {
            [
                vld1q_f32(p),
                vld1q_f32(p.add(4)),
                vld1q_f32(p.add(8)),
                vld1q_f32(p.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_half(p: *const u16) -> F {
        unsafe {
            let low = vreinterpretq_f16_u16(vld1q_u16(p));
            let high = vreinterpretq_f16_u16(vld1q_u16(p.add(8)));
            [
                vcvt_f32_f16(vget_low_f16(low)),
                vcvt_high_f32_f16(low),
                vcvt_f32_f16(vget_low_f16(high)),
                vcvt_high_f32_f16(high),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_brain(p: *const u16) -> F {
        unsafe {
            let (low, high) = (vld1q_u16(p), vld1q_u16(p.add(8)));
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(low))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(low)),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(high))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> F {
        unsafe {
            let bytes = vld1q_u8(p);
            widen(
                vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
                vreinterpretq_s16_u16(vmovl_high_u8(bytes)),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_signed(p: *const i8) -> F {
        unsafe {
            let bytes = vld1q_s8(p);
            widen(vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes))
        }
    }
    #[inline(always)]
    unsafe fn halve(v: F) -> F {
        unsafe {
            [
                vcvt_f32_f16(vcvt_f16_f32(v[0])),
                vcvt_f32_f16(vcvt_f16_f32(v[1])),
                vcvt_f32_f16(vcvt_f16_f32(v[2])),
                vcvt_f32_f16(vcvt_f16_f32(v[3])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(v: F, p: *mut f32) {
        unsafe {
            vst1q_f32(p, v[0]);
            vst1q_f32(p.add(4), v[1]);
            vst1q_f32(p.add(8), v[2]);
            vst1q_f32(p.add(12), v[3]);
        }
    }
    #[inline(always)]
    unsafe fn store_half(v: F, p: *mut u16) {
        unsafe {
            let low = vcvt_high_f16_f32(vcvt_f16_f32(v[0]), v[1]);
            let high = vcvt_high_f16_f32(vcvt_f16_f32(v[2]), v[3]);
            vst1q_u16(p, vreinterpretq_u16_f16(low));
            vst1q_u16(p.add(8), vreinterpretq_u16_f16(high));
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        unsafe {
            [
                vaddq_f32(a[0], b[0]),
                vaddq_f32(a[1], b[1]),
                vaddq_f32(a[2], b[2]),
                vaddq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        unsafe {
            [
                vsubq_f32(a[0], b[0]),
                vsubq_f32(a[1], b[1]),
                vsubq_f32(a[2], b[2]),
                vsubq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        unsafe {
            [
                vmulq_f32(a[0], b[0]),
                vmulq_f32(a[1], b[1]),
                vmulq_f32(a[2], b[2]),
                vmulq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        unsafe {
            [
                vdivq_f32(a[0], b[0]),
                vdivq_f32(a[1], b[1]),
                vdivq_f32(a[2], b[2]),
                vdivq_f32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        // Not the instruction of that name: the second operand must win when they don't compare.
        unsafe {
            [
                vbslq_f32(vcgtq_f32(a[0], b[0]), a[0], b[0]),
                vbslq_f32(vcgtq_f32(a[1], b[1]), a[1], b[1]),
                vbslq_f32(vcgtq_f32(a[2], b[2]), a[2], b[2]),
                vbslq_f32(vcgtq_f32(a[3], b[3]), a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        unsafe {
            [
                vbslq_f32(vcltq_f32(a[0], b[0]), a[0], b[0]),
                vbslq_f32(vcltq_f32(a[1], b[1]), a[1], b[1]),
                vbslq_f32(vcltq_f32(a[2], b[2]), a[2], b[2]),
                vbslq_f32(vcltq_f32(a[3], b[3]), a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        unsafe {
            [
                vabsq_f32(a[0]),
                vabsq_f32(a[1]),
                vabsq_f32(a[2]),
                vabsq_f32(a[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> F {
        unsafe {
            [
                vrndnq_f32(a[0]),
                vrndnq_f32(a[1]),
                vrndnq_f32(a[2]),
                vrndnq_f32(a[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn pow2(a: F) -> F {
        unsafe {
            let bias = vdupq_n_s32(127);
            [
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a[0]), bias))),
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a[1]), bias))),
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a[2]), bias))),
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(a[3]), bias))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn sum(a: F) -> f32 {
        unsafe {
            let four = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }
    #[inline(always)]
    unsafe fn largest(a: F) -> f32 {
        unsafe {
            let four = vmaxnmq_f32(vmaxnmq_f32(a[0], a[2]), vmaxnmq_f32(a[1], a[3]));
            vmaxnmvq_f32(four)
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(v: F, p: *mut i8) -> i32 {
        unsafe {
            let low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v[0])), vcvtnq_s32_f32(v[1]));
            let high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v[2])), vcvtnq_s32_f32(v[3]));
            let bytes = vqmovn_high_s16(vqmovn_s16(low), high);
            vst1q_s8(p, bytes);
            i32::from(vaddlvq_s8(bytes))
        }
    }
    #[inline(always)]
    unsafe fn int_splat(x: i32) -> I {
        unsafe { [vdupq_n_s32(x); 4] }
    }
    #[inline(always)]
    unsafe fn int_add(a: I, b: I) -> I {
        unsafe {
            [
                vaddq_s32(a[0], b[0]),
                vaddq_s32(a[1], b[1]),
                vaddq_s32(a[2], b[2]),
                vaddq_s32(a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn int_to_float(a: I) -> F {
        unsafe {
            [
                vcvtq_f32_s32(a[0]),
                vcvtq_f32_s32(a[1]),
                vcvtq_f32_s32(a[2]),
                vcvtq_f32_s32(a[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn bytes_load(p: *const u8) -> B {
        unsafe {
            [
                vld1q_u8(p),
                vld1q_u8(p.add(16)),
                vld1q_u8(p.add(32)),
                vld1q_u8(p.add(48)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(b: B) -> B {
        unsafe {
            let mask = vdupq_n_u8(15);
            [
                vandq_u8(b[0], mask),
                vandq_u8(b[1], mask),
                vandq_u8(b[2], mask),
                vandq_u8(b[3], mask),
            ]
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(b: B) -> B {
        unsafe {
            [
                vshrq_n_u8::<4>(b[0]),
                vshrq_n_u8::<4>(b[1]),
                vshrq_n_u8::<4>(b[2]),
                vshrq_n_u8::<4>(b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn merge(w: B, more: B, shift: i32, mask: u8) -> B {
        unsafe {
            let (shift, mask) = (vdupq_n_s8(shift as i8), vdupq_n_u8(mask));
            [
                vorrq_u8(w[0], vandq_u8(vshlq_u8(more[0], shift), mask)),
                vorrq_u8(w[1], vandq_u8(vshlq_u8(more[1], shift), mask)),
                vorrq_u8(w[2], vandq_u8(vshlq_u8(more[2], shift), mask)),
                vorrq_u8(w[3], vandq_u8(vshlq_u8(more[3], shift), mask)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_small(sum: I, w: B, activations: i32) -> I {
        unsafe {
            let a = vreinterpretq_s8_s32(vdupq_n_s32(activations));
            [
                Self::signed_dot(sum[0], vreinterpretq_s8_u8(w[0]), a),
                Self::signed_dot(sum[1], vreinterpretq_s8_u8(w[1]), a),
                Self::signed_dot(sum[2], vreinterpretq_s8_u8(w[2]), a),
                Self::signed_dot(sum[3], vreinterpretq_s8_u8(w[3]), a),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_wide(sum: I, w: B, activations: i32) -> I {
        // Weights less 128 fit a signed byte; what that takes away is 128 times the activations' sum.
        unsafe {
            let a = vreinterpretq_s8_s32(vdupq_n_s32(activations));
            let less = vdupq_n_u8(128);
            let all = Self::signed_dot(vdupq_n_s32(0), vdupq_n_s8(1), a);
            let back = vshlq_n_s32::<7>(all);
            let signed = |w| vreinterpretq_s8_u8(veorq_u8(w, less));
            [
                Self::signed_dot(vaddq_s32(sum[0], back), signed(w[0]), a),
                Self::signed_dot(vaddq_s32(sum[1], back), signed(w[1]), a),
                Self::signed_dot(vaddq_s32(sum[2], back), signed(w[2]), a),
                Self::signed_dot(vaddq_s32(sum[3], back), signed(w[3]), a),
            ]
        }
    }
}

impl<const DOT: bool> Neon<DOT> {
    /// Adds to each lane the dot product of its four signed bytes.
    ///
    /// Safety: as for the trait.
    #[inline(always)]
    unsafe fn signed_dot(sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
        unsafe {
            if DOT {
                return sdot(sum, w, a);
            }
            // Products of bytes fit sixteen bits, sums of two don't always.
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)));
            let high = vpaddlq_s16(vmull_high_s8(w, a));
            vaddq_s32(sum, vpaddq_s32(low, high))
        }
    }
}

super::compiled!(Neon<true>, "neon,dotprod");
super::compiled!(Neon<false>, "neon");
