use crate::activations::{BLOCK, Forms, SUPER};
use crate::half;
use crate::memory::Lines;
use crate::weights::{Parts, WeightType};

/// Rows of weights that are computed together, one a lane.
pub(crate) const TILE: usize = 16;

/// Why a matrix can't be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackError {
    /// The columns are not a multiple of the block.
    Columns(usize, usize),
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
            PackError::Columns(n, block) => write!(f, "{n} columns are not a multiple of {block}"),
            PackError::Bytes { expected, found } => {
                write!(f, "the shape needs {expected} bytes, there are {found}")
            }
        }
    }
}

impl std::error::Error for PackError {}

/// Where things lie in the unit that is repeated along the columns of a tile: 16 rows by 1, 32 or 256 columns.
///
/// Whole numbers lie in groups of four columns: byte `row * 4 + j` of a group's 64 holds column `4 * group + j`, so that
/// one load gives four columns of each row. Of the eight groups of 32 columns the first four are the low halves of
/// 4 × 64 bytes, the others the high halves. A fifth bit is bit `group` of 64 further bytes; a fifth and sixth are two
/// bits of 2 × 64. Scales and minimums are one number a row.
pub(crate) struct Unit {
    /// Columns.
    pub columns: usize,
    /// Bytes of the whole.
    pub bytes: usize,
    /// Where the fifth and sixth bits begin.
    pub high: usize,
    /// Where the scales and minimums within a K block begin.
    pub inner_scales: usize,
    pub inner_minimums: usize,
    /// Where the block's own scales and minimums begin.
    pub scales: usize,
    pub minimums: usize,
}

impl Unit {
    pub(crate) const fn of(kind: WeightType) -> Unit {
        match kind {
            WeightType::F32 => Unit::simple(1, 64, 0, 0, 0),
            WeightType::F16 | WeightType::Bf16 => Unit::simple(1, 32, 0, 0, 0),
            WeightType::Q4_0 => Unit::simple(BLOCK, 288, 0, 256, 0),
            WeightType::Q4_1 => Unit::simple(BLOCK, 320, 0, 256, 288),
            WeightType::Q5_0 => Unit::simple(BLOCK, 352, 256, 320, 0),
            WeightType::Q5_1 => Unit::simple(BLOCK, 384, 256, 320, 352),
            WeightType::Q8_0 => Unit::simple(BLOCK, 544, 0, 512, 0),
            WeightType::Q4K => Unit {
                columns: SUPER,
                bytes: 2368,
                high: 0,
                inner_scales: 2048,
                inner_minimums: 2176,
                scales: 2304,
                minimums: 2336,
            },
            WeightType::Q5K => Unit {
                columns: SUPER,
                bytes: 2880,
                high: 2048,
                inner_scales: 2560,
                inner_minimums: 2688,
                scales: 2816,
                minimums: 2848,
            },
            WeightType::Q6K => Unit {
                columns: SUPER,
                bytes: 3360,
                high: 2048,
                inner_scales: 3072,
                inner_minimums: 0,
                scales: 3328,
                minimums: 0,
            },
        }
    }

    const fn simple(
        columns: usize,
        bytes: usize,
        high: usize,
        scales: usize,
        minimums: usize,
    ) -> Unit {
        Unit {
            columns,
            bytes,
            high,
            inner_scales: 0,
            inner_minimums: 0,
            scales,
            minimums,
        }
    }
}

/// A weight matrix, repacked in tiles of sixteen rows.
pub struct Matrix {
    kind: WeightType,
    data: Lines,
    rows: usize,
    columns: usize,
}

/// Weights above which packing is shared among threads.
const SHARED_PACKING: usize = 1 << 22;

impl Matrix {
    /// Repacks a matrix of a GGUF file: `rows` outputs by `columns` inputs, row after row.
    ///
    /// # Errors
    /// When the columns are not a multiple of the type's block (of 32 for types without one) or the bytes don't match
    /// the shape.
    pub fn pack(
        kind: WeightType,
        bytes: &[u8],
        rows: usize,
        columns: usize,
    ) -> Result<Matrix, PackError> {
        let block = kind.block().max(BLOCK);
        if columns == 0 || !columns.is_multiple_of(block) {
            return Err(PackError::Columns(columns, block));
        }
        let row_bytes = columns / kind.block() * kind.block_bytes();
        let expected = rows.saturating_mul(row_bytes);
        if bytes.len() != expected {
            return Err(PackError::Bytes {
                expected,
                found: bytes.len(),
            });
        }
        let unit = Unit::of(kind);
        let tile_bytes = columns / unit.columns * unit.bytes;
        let mut data = Lines::zeroed(rows.div_ceil(TILE) * tile_bytes);
        let tiles = data
            .bytes_mut()
            .chunks_exact_mut(tile_bytes)
            .zip(bytes.chunks(TILE * row_bytes));
        let fill = |(tile, rows): (&mut [u8], &[u8])| pack_tile(kind, tile, rows, row_bytes);
        if rows * columns < SHARED_PACKING {
            tiles.for_each(fill);
        } else {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let tiles: Vec<_> = tiles.collect();
            let share = tiles.len().div_ceil(threads);
            let mut tiles = tiles.into_iter();
            std::thread::scope(|scope| {
                loop {
                    let part: Vec<_> = tiles.by_ref().take(share).collect();
                    if part.is_empty() {
                        break;
                    }
                    scope.spawn(move || part.into_iter().for_each(fill));
                }
            });
        }
        Ok(Matrix {
            kind,
            data,
            rows,
            columns,
        })
    }

    /// How it is stored.
    pub fn kind(&self) -> WeightType {
        self.kind
    }

    /// The form in which it wants its activations.
    pub fn forms(&self) -> Forms {
        self.kind.forms()
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
        self.data.len()
    }

    pub(crate) fn tile_count(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// A tile's bytes: its units one after the other.
    pub(crate) fn tile(&self, tile: usize) -> &[u8] {
        let unit = Unit::of(self.kind);
        let length = self.columns / unit.columns * unit.bytes;
        &self.data.bytes()[tile * length..][..length]
    }

    /// Where some tiles lie: the address, and as many of their bytes as are at most `most`.
    pub(crate) fn place(&self, tiles: std::ops::Range<usize>, most: usize) -> (usize, usize) {
        if tiles.is_empty() {
            return (0, 0);
        }
        let length = self.tile(tiles.start).len() * tiles.len();
        (self.tile(tiles.start).as_ptr().addr(), length.min(most))
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
        let lane = row % TILE;
        let unit = Unit::of(self.kind);
        let units = self.tile(row / TILE).chunks_exact(unit.bytes);
        for (tile, out) in units.zip(out.chunks_exact_mut(unit.columns)) {
            let half_at =
                |at: usize| u16::from_le_bytes([tile[at + 2 * lane], tile[at + 2 * lane + 1]]);
            match self.kind {
                WeightType::F32 => {
                    let at = 4 * lane;
                    out[0] =
                        f32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]]);
                }
                WeightType::F16 => out[0] = half::to_f32(half_at(0)),
                WeightType::Bf16 => out[0] = half::brain_to_f32(half_at(0)),
                kind => {
                    let scale = half::to_f32(half_at(unit.scales));
                    let minimum = match unit.minimums {
                        0 => 0.0,
                        at => half::to_f32(half_at(at)),
                    };
                    let size = if kind == WeightType::Q6K { 16 } else { BLOCK };
                    for (i, w) in out.iter_mut().enumerate() {
                        let inner = match unit.inner_scales {
                            0 => 0,
                            at => tile[at + i / size * TILE + lane],
                        };
                        let least = match unit.inner_minimums {
                            0 => 0,
                            at => tile[at + i / BLOCK * TILE + lane],
                        };
                        *w = kind.value(
                            whole(kind, &unit, tile, i, lane),
                            scale,
                            minimum,
                            inner,
                            least,
                        );
                    }
                }
            }
        }
    }
}

/// Where a weight's low bits lie: the byte, and whether in its high half.
fn place(kind: WeightType, column: usize, lane: usize) -> (usize, bool) {
    let (block, column) = (column / BLOCK, column % BLOCK);
    let byte = |group: usize| group * 64 + lane * 4 + column % 4;
    match kind {
        WeightType::Q8_0 => (block * 512 + byte(column / 4), false),
        _ => (block * 256 + byte(column / 4 % 4), column >= 16),
    }
}

/// Where a weight's high bits lie: the byte from the beginning of those of its unit, and the first bit.
fn high_place(kind: WeightType, column: usize, lane: usize) -> Option<(usize, usize)> {
    let (block, group, byte) = (column / BLOCK, column % BLOCK / 4, lane * 4 + column % 4);
    match kind {
        WeightType::Q5_0 | WeightType::Q5_1 | WeightType::Q5K => Some((block * 64 + byte, group)),
        WeightType::Q6K => Some((block * 128 + group / 4 * 64 + byte, group % 4 * 2)),
        _ => None,
    }
}

/// A weight as a whole number, put together again.
fn whole(kind: WeightType, unit: &Unit, tile: &[u8], column: usize, lane: usize) -> u8 {
    let (at, upper) = place(kind, column, lane);
    let low = match kind {
        WeightType::Q8_0 => return tile[at],
        _ if upper => tile[at] >> 4,
        _ => tile[at] & 15,
    };
    let mask = if kind == WeightType::Q6K { 3 } else { 1 };
    match high_place(kind, column, lane) {
        Some((at, bit)) => low | (tile[unit.high + at] >> bit & mask) << 4,
        None => low,
    }
}

/// Fills one tile from up to sixteen rows of the file.
fn pack_tile(kind: WeightType, tile: &mut [u8], rows: &[u8], row_bytes: usize) {
    let unit = Unit::of(kind);
    if kind == WeightType::Q8_0 {
        // The rows that are missing at the end must be nought, which is stored as 128.
        for unit_bytes in tile.chunks_exact_mut(unit.bytes) {
            unit_bytes[..512].fill(128);
        }
    }
    for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
        let blocks = row.chunks_exact(kind.block_bytes());
        for (tile, block) in tile.chunks_exact_mut(unit.bytes).zip(blocks) {
            match kind.block() {
                1 => tile[lane * block.len()..][..block.len()].copy_from_slice(block),
                _ => pack_block(kind, &unit, tile, &kind.parts(block), lane),
            }
        }
    }
}

fn pack_block(kind: WeightType, unit: &Unit, tile: &mut [u8], parts: &Parts, lane: usize) {
    for (column, &w) in parts.weights[..unit.columns].iter().enumerate() {
        let (at, upper) = place(kind, column, lane);
        match kind {
            WeightType::Q8_0 => tile[at] = w,
            _ if upper => tile[at] |= w << 4,
            _ => tile[at] |= w & 15,
        }
        if let Some((at, bit)) = high_place(kind, column, lane) {
            tile[unit.high + at] |= w >> 4 << bit;
        }
    }
    tile[unit.scales + 2 * lane..][..2].copy_from_slice(&parts.scale.to_le_bytes());
    if unit.minimums > 0 {
        tile[unit.minimums + 2 * lane..][..2].copy_from_slice(&parts.minimum.to_le_bytes());
    }
    if unit.inner_scales > 0 {
        let count = if kind == WeightType::Q6K { 16 } else { 8 };
        for (i, &scale) in parts.scales[..count].iter().enumerate() {
            tile[unit.inner_scales + i * TILE + lane] = scale;
        }
    }
    if unit.inner_minimums > 0 {
        for (i, &minimum) in parts.minimums.iter().enumerate() {
            tile[unit.inner_minimums + i * TILE + lane] = minimum;
        }
    }
}
