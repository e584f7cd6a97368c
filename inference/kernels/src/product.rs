//! Products of one tile of weights with rows of activations.

#![expect(
    clippy::needless_range_loop,
    reason = "iterator adapters are closures, in which the instruction set is not on"
)]

use crate::activations::{Activations, BLOCK, SUPER};
use crate::matrix::{Matrix, TILE, Unit};
use crate::simd::Simd;
use crate::weights::WeightType;

/// The products of one tile with activation rows `first..first + out.len()`.
///
/// Safety: the instruction set is present; the activations have the matrix's columns, those rows and its form.
#[inline(always)]
pub(crate) unsafe fn tile_product<S: Simd>(
    m: &Matrix,
    tile: usize,
    a: &Activations,
    first: usize,
    out: &mut [[f32; TILE]],
) {
    let mut done = 0;
    while done < out.len() {
        let out = &mut out[done..];
        let first = first + done;
        // SAFETY: passed on.
        done += unsafe {
            match out.len() {
                8.. if S::ROWS >= 8 => rows::<S, 8>(m, tile, a, first, out),
                4.. if S::ROWS >= 4 => rows::<S, 4>(m, tile, a, first, out),
                2.. if S::ROWS >= 2 => rows::<S, 2>(m, tile, a, first, out),
                _ => rows::<S, 1>(m, tile, a, first, out),
            }
        };
    }
}

/// `M` rows; gives `M`.
#[inline(always)]
unsafe fn rows<S: Simd, const M: usize>(
    m: &Matrix,
    tile: usize,
    a: &Activations,
    first: usize,
    out: &mut [[f32; TILE]],
) -> usize {
    let data = m.tile(tile);
    // SAFETY: passed on; `sums` has as many rows as `out`.
    unsafe {
        let sums = match m.kind() {
            WeightType::F32 => floats::<S, M, 32>(data, &a.singles, first),
            WeightType::F16 => floats::<S, M, 16>(data, &a.halves, first),
            WeightType::Bf16 => floats::<S, M, 0>(data, &a.brains, first),
            WeightType::Q4_0 => blocks::<S, M, { WeightType::Q4_0 as u8 }, 4, 8>(data, a, first),
            WeightType::Q4_1 => blocks::<S, M, { WeightType::Q4_1 as u8 }, 4, 0>(data, a, first),
            WeightType::Q5_0 => blocks::<S, M, { WeightType::Q5_0 as u8 }, 5, 16>(data, a, first),
            WeightType::Q5_1 => blocks::<S, M, { WeightType::Q5_1 as u8 }, 5, 0>(data, a, first),
            WeightType::Q8_0 => blocks::<S, M, { WeightType::Q8_0 as u8 }, 8, 128>(data, a, first),
            WeightType::Q4K => supers::<S, M, 4>(data, a, first),
            WeightType::Q5K => supers::<S, M, 5>(data, a, first),
            WeightType::Q6K => supers::<S, M, 6>(data, a, first),
        };
        for r in 0..M {
            S::store(sums[r], out[r].as_mut_ptr());
        }
    }
    M
}

/// Four activation bytes as one number.
#[inline(always)]
unsafe fn quad(p: *const i8) -> i32 {
    // SAFETY: the caller's four bytes are there.
    unsafe { p.cast::<i32>().read_unaligned() }
}

/// The 32 columns of a block in groups of four. Written out, like the loops below: in a closure the instruction set would
/// not be on, and each operation would become a call.
#[inline(always)]
unsafe fn groups<S: Simd, const BITS: u32>(low: *const u8, high: *const u8) -> [S::B; 8] {
    // SAFETY: the caller's bytes are there: 256 or 512, and 64 or 128 of high bits where the type has them.
    unsafe {
        if BITS == 8 {
            return [
                S::bytes_load(low),
                S::bytes_load(low.add(64)),
                S::bytes_load(low.add(128)),
                S::bytes_load(low.add(192)),
                S::bytes_load(low.add(256)),
                S::bytes_load(low.add(320)),
                S::bytes_load(low.add(384)),
                S::bytes_load(low.add(448)),
            ];
        }
        let packed = [
            S::bytes_load(low),
            S::bytes_load(low.add(64)),
            S::bytes_load(low.add(128)),
            S::bytes_load(low.add(192)),
        ];
        let mut w = [
            S::low_nibbles(packed[0]),
            S::low_nibbles(packed[1]),
            S::low_nibbles(packed[2]),
            S::low_nibbles(packed[3]),
            S::high_nibbles(packed[0]),
            S::high_nibbles(packed[1]),
            S::high_nibbles(packed[2]),
            S::high_nibbles(packed[3]),
        ];
        if BITS == 5 {
            let more = S::bytes_load(high);
            for g in 0..8 {
                w[g] = S::merge(w[g], more, 4 - g as i32, 0x10);
            }
        }
        if BITS == 6 {
            let more = [S::bytes_load(high), S::bytes_load(high.add(64))];
            for g in 0..8 {
                w[g] = S::merge(w[g], more[g / 4], 4 - 2 * (g as i32 % 4), 0x30);
            }
        }
        w
    }
}

/// How far ahead of what is read now memory is asked for, in bytes: into the nearest cache, and before that into the next.
/// The processor's own guesses end at each page, and a tile is many.
const NEAR: usize = 2 << 10;
const FAR: usize = 16 << 10;

/// Asks for bytes that come soon, `start` being where they would be read now; memory speed is what bounds a single row.
#[inline(always)]
fn prefetch(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: prefetching never faults, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(NEAR + line).cast());
            _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(FAR + line).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// Weights in blocks of 32. `KIND` is the type, `OFFSET` what its whole numbers are centred on; those without an offset
/// have a minimum.
#[inline(always)]
unsafe fn blocks<S: Simd, const M: usize, const KIND: u8, const BITS: u32, const OFFSET: i32>(
    data: &[u8],
    a: &Activations,
    first: usize,
) -> [S::F; M] {
    let unit = const { Unit::of(WeightType::from_number(KIND)) };
    let units = data.len() / unit.bytes;
    let a = &a.blocks;
    // SAFETY: rows `first..first + M` are within the activations, by the caller's promise; units are within the tile.
    unsafe {
        let mut out = [S::splat(0.0); M];
        for b in 0..units {
            let tile = data.as_ptr().add(b * unit.bytes);
            prefetch(tile, unit.bytes);
            let w = groups::<S, BITS>(tile, tile.add(unit.high));
            let scales = S::load_half(tile.add(unit.scales).cast());
            let minimums = if OFFSET == 0 {
                S::load_half(tile.add(unit.minimums).cast())
            } else {
                S::splat(0.0)
            };
            for r in 0..M {
                let i = (first + r) * units + b;
                let bytes = a.bytes.as_ptr().add(i * BLOCK);
                let mut even = S::int_splat(if OFFSET == 0 {
                    0
                } else {
                    -OFFSET * *a.sums.get_unchecked(i)
                });
                let mut odd = S::int_splat(0);
                for g in 0..4 {
                    if BITS == 8 {
                        even = S::dot_wide(even, w[g], quad(bytes.add(g * 4)));
                        odd = S::dot_wide(odd, w[4 + g], quad(bytes.add(16 + g * 4)));
                    } else {
                        even = S::dot_small(even, w[g], quad(bytes.add(g * 4)));
                        odd = S::dot_small(odd, w[4 + g], quad(bytes.add(16 + g * 4)));
                    }
                }
                let dots = S::int_to_float(S::int_add(even, odd));
                let scale = S::mul(scales, S::splat(*a.scales.get_unchecked(i)));
                out[r] = S::fma(dots, scale, out[r]);
                if OFFSET == 0 {
                    out[r] = S::fma(minimums, S::splat(*a.weighted.get_unchecked(i)), out[r]);
                }
            }
        }
        out
    }
}

/// Weights in blocks of 256 with scales of their own for each 32 or, at six bits, each 16.
#[inline(always)]
unsafe fn supers<S: Simd, const M: usize, const BITS: u32>(
    data: &[u8],
    a: &Activations,
    first: usize,
) -> [S::F; M] {
    let unit = const {
        Unit::of(match BITS {
            4 => WeightType::Q4K,
            5 => WeightType::Q5K,
            _ => WeightType::Q6K,
        })
    };
    let units = data.len() / unit.bytes;
    let a = &a.supers;
    let high_bytes = match BITS {
        4 => 0,
        5 => 64,
        _ => 128,
    };
    // SAFETY: as in `blocks`.
    unsafe {
        let mut out = [S::splat(0.0); M];
        for b in 0..units {
            let tile = data.as_ptr().add(b * unit.bytes);
            if BITS < 6 {
                let least = S::load_half(tile.add(unit.minimums).cast());
                let mut minimums = [least; 8];
                for j in 0..8 {
                    minimums[j] = S::load_bytes(tile.add(unit.inner_minimums + j * TILE));
                }
                for r in 0..M {
                    let i = (first + r) * units + b;
                    let sums = a.sums.as_ptr().add(i * 16);
                    let mut all = S::splat(0.0);
                    for j in 0..8 {
                        let sum = *sums.add(2 * j) + *sums.add(2 * j + 1);
                        all = S::fma(minimums[j], S::splat(sum as f32), all);
                    }
                    let scale = S::mul(least, S::splat(-*a.scales.get_unchecked(i)));
                    out[r] = S::fma(all, scale, out[r]);
                }
            }
            let mut inner = [S::splat(0.0); M];
            for j in 0..8 {
                let low = tile.add(j * 256);
                prefetch(tile.wrapping_add(j * (unit.bytes / 8)), unit.bytes / 8 + 63);
                let high = tile.add(unit.high + j * high_bytes);
                let w = groups::<S, BITS>(low, high);
                let scales = tile.add(unit.inner_scales);
                let (scale, second) = if BITS == 6 {
                    let scales = scales.cast::<i8>();
                    let scale = S::load_signed(scales.add(2 * j * TILE));
                    (scale, S::load_signed(scales.add((2 * j + 1) * TILE)))
                } else {
                    let scale = S::load_bytes(scales.add(j * TILE));
                    (scale, scale)
                };
                for r in 0..M {
                    let i = (first + r) * units + b;
                    let bytes = a.bytes.as_ptr().add(i * SUPER + j * BLOCK);
                    let sums = a.sums.as_ptr().add(i * 16 + 2 * j);
                    let offset = |sum: i32| if BITS == 6 { -32 * sum } else { 0 };
                    let mut even = S::int_splat(offset(*sums));
                    let mut odd = S::int_splat(offset(*sums.add(1)));
                    for g in 0..4 {
                        even = S::dot_small(even, w[g], quad(bytes.add(g * 4)));
                        odd = S::dot_small(odd, w[4 + g], quad(bytes.add(16 + g * 4)));
                    }
                    if BITS == 6 {
                        inner[r] = S::fma(S::int_to_float(even), scale, inner[r]);
                        inner[r] = S::fma(S::int_to_float(odd), second, inner[r]);
                    } else {
                        let dots = S::int_to_float(S::int_add(even, odd));
                        inner[r] = S::fma(dots, scale, inner[r]);
                    }
                }
            }
            let scales = S::load_half(tile.add(unit.scales).cast());
            for r in 0..M {
                let i = (first + r) * units + b;
                let scale = S::mul(scales, S::splat(*a.scales.get_unchecked(i)));
                out[r] = S::fma(inner[r], scale, out[r]);
            }
        }
        out
    }
}

/// Weights that are plain numbers: `BITS` is 32 for single and 16 for half precision, and 0 for bfloat16.
#[inline(always)]
unsafe fn floats<S: Simd, const M: usize, const BITS: u32>(
    data: &[u8],
    a: &[f32],
    first: usize,
) -> [S::F; M] {
    let bytes = if BITS == 32 { 64 } else { 32 };
    let columns = data.len() / bytes;
    // SAFETY: as in `blocks`.
    unsafe {
        // Two sums a row, so that one addition needn't wait for the last.
        let mut even = [S::splat(0.0); M];
        let mut odd = [S::splat(0.0); M];
        for c in (0..columns).step_by(2) {
            let p = data.as_ptr().add(c * bytes);
            prefetch(p, 2 * bytes);
            let (w, next) = match BITS {
                32 => (S::load(p.cast()), S::load(p.add(bytes).cast())),
                16 => (S::load_half(p.cast()), S::load_half(p.add(bytes).cast())),
                _ => (S::load_brain(p.cast()), S::load_brain(p.add(bytes).cast())),
            };
            for r in 0..M {
                let x = a.as_ptr().add((first + r) * columns + c);
                even[r] = S::fma(w, S::splat(*x), even[r]);
                odd[r] = S::fma(next, S::splat(*x.add(1)), odd[r]);
            }
        }
        for r in 0..M {
            even[r] = S::add(even[r], odd[r]);
        }
        even
    }
}
