#![expect(
    clippy::needless_range_loop,
    reason = "iterator adapters are closures, in which the instruction set is not on"
)]

use crate::activations::{Activations, BLOCK};
use crate::half;
use crate::simd::Simd;

/// Rows of weights that are computed together, one a lane.
pub(crate) const TILE: usize = 16;

/// How a GGUF file stores a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 32 weights of 4 bits, centred on 8, with one scale.
    Q4_0,
    /// 32 weights of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 weights of 8 bits with one scale.
    Q8_0,
}

impl WeightType {
    /// The type that GGUF files call by this name.
    pub fn named(name: &str) -> Option<WeightType> {
        Some(match name {
            "Q4_0" => WeightType::Q4_0,
            "Q4_1" => WeightType::Q4_1,
            "Q8_0" => WeightType::Q8_0,
            _ => return None,
        })
    }

    /// Bytes of a block of 32 weights.
    pub fn block_bytes(self) -> usize {
        match self {
            WeightType::Q4_0 => 18,
            WeightType::Q4_1 => 20,
            WeightType::Q8_0 => 34,
        }
    }

    /// The weights of one block as plain numbers. `block` must have [`Self::block_bytes`] bytes.
    pub fn expand(self, block: &[u8], out: &mut [f32; BLOCK]) {
        let scale = half::to_f32(u16::from_le_bytes([block[0], block[1]]));
        let nibble = |bytes: &[u8], i: usize| {
            if i < 16 {
                bytes[i] & 15
            } else {
                bytes[i - 16] >> 4
            }
        };
        match self {
            WeightType::Q4_0 => {
                for (i, w) in out.iter_mut().enumerate() {
                    *w = scale * (f32::from(nibble(&block[2..], i)) - 8.0);
                }
            }
            WeightType::Q4_1 => {
                let minimum = half::to_f32(u16::from_le_bytes([block[2], block[3]]));
                for (i, w) in out.iter_mut().enumerate() {
                    *w = scale * f32::from(nibble(&block[4..], i)) + minimum;
                }
            }
            WeightType::Q8_0 => {
                for (w, &b) in out.iter_mut().zip(&block[2..]) {
                    *w = scale * f32::from(b as i8);
                }
            }
        }
    }
}

/// Why a matrix can't be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackError {
    /// The columns are not a multiple of the block of 32.
    Columns(usize),
    /// The bytes don't match the shape.
    Bytes {
        /// What the shape needs.
        expected: usize,
        /// What there is.
        found: usize,
    },
}

impl std::fmt::Display for PackError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PackError::Columns(n) => write!(f, "{n} columns are not a multiple of {BLOCK}"),
            PackError::Bytes { expected, found } => {
                write!(f, "the shape needs {expected} bytes, there are {found}")
            }
        }
    }
}

impl std::error::Error for PackError {}

/// Four-bit weights of 16 rows × 32 columns. Byte `g * 64 + row * 4 + j` holds columns `g * 4 + j` (low half) and
/// `16 + g * 4 + j`, so that one load gives four columns of each row.
#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct Nibbles {
    weights: [u8; 256],
    scales: [u16; TILE],
    /// Zero for Q4_0.
    minimums: [u16; TILE],
}

/// Eight-bit weights of 16 rows × 32 columns, plus 128; byte `g * 64 + row * 4 + j` holds column `g * 4 + j`.
#[repr(C, align(32))]
#[derive(Clone)]
pub(crate) struct Bytes {
    weights: [u8; 512],
    scales: [u16; TILE],
}

enum Tiles {
    /// The flag says that weights are centred on 8 and have no minimum.
    Four(Vec<Nibbles>, bool),
    Eight(Vec<Bytes>),
}

/// A weight matrix, repacked in tiles of sixteen rows.
pub struct Matrix {
    kind: WeightType,
    tiles: Tiles,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Repacks a matrix of a GGUF file: `rows` outputs by `columns` inputs, row after row.
    ///
    /// # Errors
    /// When the columns are not a multiple of 32 or the bytes don't match the shape.
    pub fn pack(
        kind: WeightType,
        bytes: &[u8],
        rows: usize,
        columns: usize,
    ) -> Result<Matrix, PackError> {
        if columns == 0 || !columns.is_multiple_of(BLOCK) {
            return Err(PackError::Columns(columns));
        }
        let blocks = columns / BLOCK;
        let size = kind.block_bytes();
        let expected = rows.saturating_mul(blocks).saturating_mul(size);
        if bytes.len() != expected {
            return Err(PackError::Bytes {
                expected,
                found: bytes.len(),
            });
        }
        let count = rows.div_ceil(TILE) * blocks;
        let u16_at = |b: &[u8], i: usize| u16::from_le_bytes([b[i], b[i + 1]]);
        let places =
            (0..rows).flat_map(|r| (0..blocks).map(move |b| ((r / TILE) * blocks + b, r % TILE)));
        let sources = bytes.chunks_exact(size).zip(places);
        let tiles = match kind {
            WeightType::Q4_0 | WeightType::Q4_1 => {
                let centred = kind == WeightType::Q4_0;
                let empty = Nibbles {
                    weights: [0; 256],
                    scales: [0; TILE],
                    minimums: [0; TILE],
                };
                let mut tiles = vec![empty; count];
                for (block, (tile, lane)) in sources {
                    let tile = &mut tiles[tile];
                    tile.scales[lane] = u16_at(block, 0);
                    let weights = if centred {
                        &block[2..]
                    } else {
                        tile.minimums[lane] = u16_at(block, 2);
                        &block[4..]
                    };
                    // The file pairs columns i and i + 16 in a byte just as the tile does.
                    for (i, &w) in weights.iter().enumerate() {
                        tile.weights[(i / 4) * 64 + lane * 4 + i % 4] = w;
                    }
                }
                Tiles::Four(tiles, centred)
            }
            WeightType::Q8_0 => {
                let mut tiles = vec![
                    Bytes {
                        weights: [128; 512],
                        scales: [0; TILE]
                    };
                    count
                ];
                for (block, (tile, lane)) in sources {
                    let tile = &mut tiles[tile];
                    tile.scales[lane] = u16_at(block, 0);
                    for (i, &w) in block[2..].iter().enumerate() {
                        tile.weights[(i / 4) * 64 + lane * 4 + i % 4] = w.wrapping_add(128);
                    }
                }
                Tiles::Eight(tiles)
            }
        };
        Ok(Matrix {
            kind,
            tiles,
            rows,
            columns,
        })
    }

    /// How it is stored.
    pub fn kind(&self) -> WeightType {
        self.kind
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Memory of the packed weights, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.tiles {
            Tiles::Four(tiles, _) => size_of_val(tiles.as_slice()),
            Tiles::Eight(tiles) => size_of_val(tiles.as_slice()),
        }
    }

    /// One row as plain numbers: an embedding table is a matrix that is read row by row.
    ///
    /// # Panics
    /// When there is no such row, or `out` has not one place for each column.
    pub fn expand_row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.rows && out.len() == self.columns,
            "row {row} of another matrix"
        );
        let (tile, lane) = (row / TILE, row % TILE);
        let blocks = self.columns / BLOCK;
        let place = |i: usize| (i / 4) * 64 + lane * 4 + i % 4;
        for (b, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            match &self.tiles {
                Tiles::Four(tiles, centred) => {
                    let t = &tiles[tile * blocks + b];
                    let (scale, minimum) =
                        (half::to_f32(t.scales[lane]), half::to_f32(t.minimums[lane]));
                    let (low, high) = out.split_at_mut(BLOCK / 2);
                    for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                        let byte = t.weights[place(i)];
                        let value = |nibble: u8| {
                            if *centred {
                                scale * (f32::from(nibble) - 8.0)
                            } else {
                                scale * f32::from(nibble) + minimum
                            }
                        };
                        (*low, *high) = (value(byte & 15), value(byte >> 4));
                    }
                }
                Tiles::Eight(tiles) => {
                    let t = &tiles[tile * blocks + b];
                    let scale = half::to_f32(t.scales[lane]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = scale * f32::from(t.weights[place(i)].wrapping_sub(128) as i8);
                    }
                }
            }
        }
    }

    pub(crate) fn tile_count(&self) -> usize {
        self.rows.div_ceil(TILE)
    }
}

/// The products of one tile with activation rows `first..first + out.len()`, `out.len()` at most `S::ROWS`.
///
/// Safety: the instruction set is present; the activations have the matrix's columns and those rows.
#[inline(always)]
pub(crate) unsafe fn tile_product<S: Simd>(
    m: &Matrix,
    tile: usize,
    a: &Activations,
    first: usize,
    out: &mut [[f32; TILE]],
) {
    // SAFETY: passed on.
    unsafe {
        match out.len() {
            1 => fixed::<S, 1>(m, tile, a, first, out),
            2 => fixed::<S, 2>(m, tile, a, first, out),
            3 => fixed::<S, 3>(m, tile, a, first, out),
            4 => fixed::<S, 4>(m, tile, a, first, out),
            5 => fixed::<S, 5>(m, tile, a, first, out),
            6 => fixed::<S, 6>(m, tile, a, first, out),
            7 => fixed::<S, 7>(m, tile, a, first, out),
            _ => fixed::<S, 8>(m, tile, a, first, out),
        }
    }
}

#[inline(always)]
unsafe fn fixed<S: Simd, const M: usize>(
    m: &Matrix,
    tile: usize,
    a: &Activations,
    first: usize,
    out: &mut [[f32; TILE]],
) {
    let blocks = m.columns / BLOCK;
    // SAFETY: passed on; `sums` has as many rows as `out`.
    unsafe {
        let sums = match &m.tiles {
            Tiles::Four(tiles, false) => {
                four_bits::<S, M, false>(&tiles[tile * blocks..][..blocks], a, first)
            }
            Tiles::Four(tiles, true) => {
                four_bits::<S, M, true>(&tiles[tile * blocks..][..blocks], a, first)
            }
            Tiles::Eight(tiles) => eight_bits::<S, M>(&tiles[tile * blocks..][..blocks], a, first),
        };
        for r in 0..M {
            S::store(sums[r], out[r].as_mut_ptr());
        }
    }
}

/// Four activation bytes as one number.
#[inline(always)]
unsafe fn quad(p: *const i8) -> i32 {
    // SAFETY: the caller's four bytes are there.
    unsafe { p.cast::<i32>().read_unaligned() }
}

/// Four times 64 bytes. Written out, like the loops below: in a closure the instruction set would not be on, and each
/// operation would become a call.
#[inline(always)]
unsafe fn load4<S: Simd>(p: *const u8) -> [S::B; 4] {
    // SAFETY: the caller's 256 bytes are there.
    unsafe {
        [
            S::bytes_load(p),
            S::bytes_load(p.add(64)),
            S::bytes_load(p.add(128)),
            S::bytes_load(p.add(192)),
        ]
    }
}

/// Asks for the tile some blocks ahead; memory speed is what bounds a single row.
#[inline(always)]
fn prefetch<T>(tile: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        const AHEAD: usize = 6;
        let start = tile.wrapping_add(AHEAD).cast::<i8>();
        for line in (0..size_of::<T>()).step_by(64) {
            // SAFETY: prefetching never faults, whatever the address.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                    start.wrapping_add(line),
                )
            };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = tile;
}

#[inline(always)]
unsafe fn four_bits<S: Simd, const M: usize, const CENTRED: bool>(
    tiles: &[Nibbles],
    a: &Activations,
    first: usize,
) -> [S::F; M] {
    // SAFETY: rows `first..first + M` are within the activations, by the caller's promise.
    unsafe {
        let mut out = [S::splat(0.0); M];
        for b in 0..tiles.len() {
            let tile = tiles.get_unchecked(b);
            prefetch(tile);
            let packed = load4::<S>(tile.weights.as_ptr());
            let low = [
                S::low_nibbles(packed[0]),
                S::low_nibbles(packed[1]),
                S::low_nibbles(packed[2]),
                S::low_nibbles(packed[3]),
            ];
            let high = [
                S::high_nibbles(packed[0]),
                S::high_nibbles(packed[1]),
                S::high_nibbles(packed[2]),
                S::high_nibbles(packed[3]),
            ];
            let scales = S::load_half(tile.scales.as_ptr());
            let minimums = S::load_half(tile.minimums.as_ptr());
            for r in 0..M {
                let i = (first + r) * tiles.len() + b;
                let bytes = a.bytes.as_ptr().add(i * BLOCK);
                let mut even = S::int_splat(if CENTRED {
                    -8 * *a.sums.get_unchecked(i)
                } else {
                    0
                });
                let mut odd = S::int_splat(0);
                for g in 0..4 {
                    even = S::dot_small(even, low[g], quad(bytes.add(g * 4)));
                    odd = S::dot_small(odd, high[g], quad(bytes.add(16 + g * 4)));
                }
                let dots = S::int_to_float(S::int_add(even, odd));
                out[r] = S::fma(
                    dots,
                    S::mul(scales, S::splat(*a.scales.get_unchecked(i))),
                    out[r],
                );
                if !CENTRED {
                    out[r] = S::fma(minimums, S::splat(*a.weighted.get_unchecked(i)), out[r]);
                }
            }
        }
        out
    }
}

#[inline(always)]
unsafe fn eight_bits<S: Simd, const M: usize>(
    tiles: &[Bytes],
    a: &Activations,
    first: usize,
) -> [S::F; M] {
    // SAFETY: rows `first..first + M` are within the activations, by the caller's promise.
    unsafe {
        let mut out = [S::splat(0.0); M];
        for b in 0..tiles.len() {
            let tile = tiles.get_unchecked(b);
            prefetch(tile);
            let lower = load4::<S>(tile.weights.as_ptr());
            let upper = load4::<S>(tile.weights.as_ptr().add(256));
            let weights = [
                lower[0], lower[1], lower[2], lower[3], upper[0], upper[1], upper[2], upper[3],
            ];
            let scales = S::load_half(tile.scales.as_ptr());
            for r in 0..M {
                let i = (first + r) * tiles.len() + b;
                let bytes = a.bytes.as_ptr().add(i * BLOCK);
                // The weights are stored with 128 added, which this takes back.
                let mut even = S::int_splat(-128 * *a.sums.get_unchecked(i));
                let mut odd = S::int_splat(0);
                for g in 0..4 {
                    even = S::dot_wide(even, weights[2 * g], quad(bytes.add(g * 8)));
                    odd = S::dot_wide(odd, weights[2 * g + 1], quad(bytes.add(g * 8 + 4)));
                }
                let dots = S::int_to_float(S::int_add(even, odd));
                out[r] = S::fma(
                    dots,
                    S::mul(scales, S::splat(*a.scales.get_unchecked(i))),
                    out[r],
                );
            }
        }
        out
    }
}
