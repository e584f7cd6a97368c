//! How GGUF files store weights, one block at a time. The formats are ggml's:
//! <https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h>.

use crate::activations::{BLOCK, Forms, SUPER};
use crate::half;

/// How a GGUF file stores a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 weights of 4 bits, centred on 8, with one scale.
    Q4_0,
    /// 32 weights of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 weights of 5 bits, centred on 16, with one scale.
    Q5_0,
    /// 32 weights of 5 bits with a scale and a minimum.
    Q5_1,
    /// 32 weights of 8 bits with one scale.
    Q8_0,
    /// 256 weights of 4 bits; each 32 have a scale and a minimum of 6 bits.
    Q4K,
    /// 256 weights of 5 bits; each 32 have a scale and a minimum of 6 bits.
    Q5K,
    /// 256 weights of 6 bits, centred on 32; each 16 have a scale of 8 bits.
    Q6K,
}

use WeightType::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

/// One block, taken apart. Which parts have meaning depends on the type.
pub(crate) struct Parts {
    /// The weights as whole numbers, before offset, scale and minimum; 32 or 256 of them.
    pub weights: [u8; SUPER],
    /// The block's scale and minimum as stored.
    pub scale: u16,
    pub minimum: u16,
    /// Scales within a K block: 8 unsigned ones, or 16 signed ones as bytes.
    pub scales: [u8; 16],
    /// Minimums within a K block.
    pub minimums: [u8; 8],
}

impl WeightType {
    /// Every type there is.
    pub const ALL: [WeightType; 11] = [F32, F16, Bf16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K];

    /// The type whose discriminant this is; used at compile time, where generic parameters can be numbers only.
    pub(crate) const fn from_number(number: u8) -> WeightType {
        Self::ALL[number as usize]
    }

    /// The name that GGUF files have for it.
    pub fn name(self) -> &'static str {
        match self {
            F32 => "F32",
            F16 => "F16",
            Bf16 => "BF16",
            Q4_0 => "Q4_0",
            Q4_1 => "Q4_1",
            Q5_0 => "Q5_0",
            Q5_1 => "Q5_1",
            Q8_0 => "Q8_0",
            Q4K => "Q4_K",
            Q5K => "Q5_K",
            Q6K => "Q6_K",
        }
    }

    /// The type that GGUF files call by this name.
    pub fn named(name: &str) -> Option<WeightType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Weights of a block.
    pub fn block(self) -> usize {
        match self {
            F32 | F16 | Bf16 => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => BLOCK,
            Q4K | Q5K | Q6K => SUPER,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            F32 => 4,
            F16 | Bf16 => 2,
            Q4_0 => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q4K => 144,
            Q5K => 176,
            Q6K => 210,
        }
    }

    /// The form in which a product wants its activations.
    pub(crate) fn forms(self) -> Forms {
        match self {
            F32 => Forms::SINGLES,
            F16 => Forms::HALVES,
            Bf16 => Forms::BRAINS,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 => Forms::BLOCKS,
            Q4K | Q5K | Q6K => Forms::SUPERS,
        }
    }

    /// What the whole numbers are centred on.
    pub(crate) fn offset(self) -> i32 {
        match self {
            Q4_0 => 8,
            Q5_0 => 16,
            Q8_0 => 128,
            Q6K => 32,
            F32 | F16 | Bf16 | Q4_1 | Q5_1 | Q4K | Q5K => 0,
        }
    }

    /// Takes a block apart. `block` must have [`Self::block_bytes`] bytes; types without blocks have no parts.
    pub(crate) fn parts(self, block: &[u8]) -> Parts {
        let mut parts = Parts {
            weights: [0; SUPER],
            scale: 0,
            minimum: 0,
            scales: [0; 16],
            minimums: [0; 8],
        };
        let half_at = |i: usize| u16::from_le_bytes([block[i], block[i + 1]]);
        match self {
            F32 | F16 | Bf16 => {}
            Q4_0 => {
                parts.scale = half_at(0);
                nibbles(&block[2..], &mut parts.weights);
            }
            Q4_1 => {
                (parts.scale, parts.minimum) = (half_at(0), half_at(2));
                nibbles(&block[4..], &mut parts.weights);
            }
            Q5_0 => {
                parts.scale = half_at(0);
                nibbles(&block[6..], &mut parts.weights);
                fifth_bits(&block[2..6], &mut parts.weights);
            }
            Q5_1 => {
                (parts.scale, parts.minimum) = (half_at(0), half_at(2));
                nibbles(&block[8..], &mut parts.weights);
                fifth_bits(&block[4..8], &mut parts.weights);
            }
            Q8_0 => {
                parts.scale = half_at(0);
                for (w, &b) in parts.weights.iter_mut().zip(&block[2..]) {
                    // Stored with 128 added, so that it is not negative.
                    *w = b.wrapping_add(128);
                }
            }
            Q4K | Q5K => {
                (parts.scale, parts.minimum) = (half_at(0), half_at(2));
                small_scales(&block[4..16], &mut parts);
                let (high, low) = block[16..].split_at(if self == Q5K { 32 } else { 0 });
                for (pair, bytes) in low.chunks_exact(32).enumerate() {
                    for (i, &byte) in bytes.iter().enumerate() {
                        let bit = |n: usize| high.get(i).map_or(0, |h| (h >> n & 1) << 4);
                        parts.weights[pair * 64 + i] = byte & 15 | bit(2 * pair);
                        parts.weights[pair * 64 + 32 + i] = byte >> 4 | bit(2 * pair + 1);
                    }
                }
            }
            Q6K => {
                let (low, rest) = block.split_at(128);
                let (high, rest) = rest.split_at(64);
                for n in 0..2 {
                    for i in 0..32 {
                        let (a, b) = (low[n * 64 + i], low[n * 64 + 32 + i]);
                        let h = high[n * 32 + i];
                        let w = &mut parts.weights[n * 128..];
                        w[i] = a & 15 | (h & 3) << 4;
                        w[32 + i] = b & 15 | (h >> 2 & 3) << 4;
                        w[64 + i] = a >> 4 | (h >> 4 & 3) << 4;
                        w[96 + i] = b >> 4 | (h >> 6) << 4;
                    }
                }
                parts.scales.copy_from_slice(&rest[..16]);
                parts.scale = half_at(208);
            }
        }
        parts
    }

    /// The weights of one block as plain numbers. `block` must have [`Self::block_bytes`] bytes, and `out`
    /// [`Self::block`] places.
    pub fn expand(self, block: &[u8], out: &mut [f32]) {
        match self {
            F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            F16 => out[0] = half::to_f32(u16::from_le_bytes([block[0], block[1]])),
            Bf16 => out[0] = half::brain_to_f32(u16::from_le_bytes([block[0], block[1]])),
            _ => {
                let parts = self.parts(block);
                for (i, w) in out.iter_mut().enumerate() {
                    *w = self.value(
                        parts.weights[i],
                        half::to_f32(parts.scale),
                        half::to_f32(parts.minimum),
                        parts.scales[if self == Q6K { i / 16 } else { i / 32 }],
                        parts.minimums[i / 32],
                    );
                }
            }
        }
    }

    /// One weight from its parts; the last two are those within a K block.
    pub(crate) fn value(self, w: u8, scale: f32, minimum: f32, inner: u8, least: u8) -> f32 {
        let whole = (i32::from(w) - self.offset()) as f32;
        match self {
            Q4_1 | Q5_1 => scale * whole + minimum,
            Q4K | Q5K => scale * f32::from(inner) * whole - minimum * f32::from(least),
            Q6K => scale * f32::from(inner as i8) * whole,
            _ => scale * whole,
        }
    }
}

/// Sixteen bytes are 32 weights: the low halves first, then the high ones.
fn nibbles(bytes: &[u8], out: &mut [u8; SUPER]) {
    for (i, &byte) in bytes.iter().take(16).enumerate() {
        (out[i], out[16 + i]) = (byte & 15, byte >> 4);
    }
}

fn fifth_bits(bytes: &[u8], out: &mut [u8; SUPER]) {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    for (i, w) in out.iter_mut().take(32).enumerate() {
        *w |= ((bits >> i & 1) as u8) << 4;
    }
}

/// Eight scales and eight minimums of six bits in twelve bytes.
fn small_scales(q: &[u8], parts: &mut Parts) {
    for j in 0..8 {
        (parts.scales[j], parts.minimums[j]) = if j < 4 {
            (q[j] & 63, q[j + 4] & 63)
        } else {
            (
                q[j + 4] & 15 | q[j - 4] >> 6 << 4,
                q[j + 4] >> 4 | q[j] >> 6 << 4,
            )
        };
    }
}
