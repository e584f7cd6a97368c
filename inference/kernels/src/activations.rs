use crate::half;
use crate::matrix::Matrix;
use crate::simd::Simd;

/// Elements that share one scale in the simple weight types and their activations.
pub(crate) const BLOCK: usize = 32;

/// Elements that share one scale in the K types and their activations.
pub(crate) const SUPER: usize = 256;

/// The forms of activations that some matrices want; several at once where matrices of different types read the same.
///
/// They are rounded as llama.cpp rounds them for the same weight types, scales to half precision included: the engine's
/// greedy output is held to that of llama.cpp token for token, and coarser or finer rounding would show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms(u8);

impl Forms {
    /// Bytes with one scale for each 32 elements.
    pub(crate) const BLOCKS: Forms = Forms(1);
    /// Bytes with one scale for each 256.
    pub(crate) const SUPERS: Forms = Forms(2);
    /// Half precision.
    pub(crate) const HALVES: Forms = Forms(4);
    /// bfloat16.
    pub(crate) const BRAINS: Forms = Forms(8);
    /// As they are.
    pub(crate) const SINGLES: Forms = Forms(16);

    /// Both.
    pub fn and(self, other: Forms) -> Forms {
        Forms(self.0 | other.0)
    }

    pub(crate) fn has(self, other: Forms) -> bool {
        self.0 & other.0 != 0
    }
}

/// Rows of activations, rounded in the forms that the matrices want.
#[derive(Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) forms: Forms,
    pub(crate) blocks: Blocks,
    pub(crate) supers: Supers,
    /// Rounded to half precision.
    pub(crate) halves: Vec<f32>,
    /// Rounded to bfloat16.
    pub(crate) brains: Vec<f32>,
    pub(crate) singles: Vec<f32>,
}

/// One scale for each 32 elements.
#[derive(Default)]
pub(crate) struct Blocks {
    pub bytes: Vec<i8>,
    /// The value of one step.
    pub scales: Vec<f32>,
    /// Sum of a block's bytes times its scale, for weights with a minimum.
    pub weighted: Vec<f32>,
    /// Sum of a block's bytes, for weights stored with an offset.
    pub sums: Vec<i32>,
}

/// One scale for each 256 elements.
#[derive(Default)]
pub(crate) struct Supers {
    pub bytes: Vec<i8>,
    /// The value of one step.
    pub scales: Vec<f32>,
    /// Sums of sixteen bytes each.
    pub sums: Vec<i32>,
}

/// Where one thread writes one row; the rows of different threads are disjoint.
#[derive(Clone, Copy)]
pub(crate) struct RowsOut {
    columns: usize,
    forms: Forms,
    block_bytes: *mut i8,
    block_scales: *mut f32,
    weighted: *mut f32,
    block_sums: *mut i32,
    super_bytes: *mut i8,
    super_scales: *mut f32,
    super_sums: *mut i32,
    halves: *mut f32,
    brains: *mut f32,
    singles: *mut f32,
}

// SAFETY: used only for disjoint rows, while the `Activations` is mutably borrowed.
unsafe impl Send for RowsOut {}
// SAFETY: as above.
unsafe impl Sync for RowsOut {}

/// Makes a buffer at least this long, and gives where it begins.
fn room<T: Copy + Default>(buffer: &mut Vec<T>, wanted: bool, length: usize) -> *mut T {
    if wanted && buffer.len() < length {
        buffer.resize(length, T::default());
    }
    buffer.as_mut_ptr()
}

impl Activations {
    /// Makes room for rows of `columns` elements in these forms. Keeps its memory.
    pub(crate) fn reshape(&mut self, rows: usize, columns: usize, forms: Forms) -> RowsOut {
        let unit = if forms.has(Forms::SUPERS) {
            SUPER
        } else {
            BLOCK
        };
        assert!(
            columns.is_multiple_of(unit),
            "{columns} columns are not a multiple of {unit}"
        );
        (self.rows, self.columns, self.forms) = (rows, columns, forms);
        let all = rows * columns;
        let blocks = forms.has(Forms::BLOCKS);
        let supers = forms.has(Forms::SUPERS);
        RowsOut {
            columns,
            forms,
            block_bytes: room(&mut self.blocks.bytes, blocks, all),
            block_scales: room(&mut self.blocks.scales, blocks, all / BLOCK),
            weighted: room(&mut self.blocks.weighted, blocks, all / BLOCK),
            block_sums: room(&mut self.blocks.sums, blocks, all / BLOCK),
            super_bytes: room(&mut self.supers.bytes, supers, all),
            super_scales: room(&mut self.supers.scales, supers, all / SUPER),
            super_sums: room(&mut self.supers.sums, supers, all / 16),
            halves: room(&mut self.halves, forms.has(Forms::HALVES), all),
            brains: room(&mut self.brains, forms.has(Forms::BRAINS), all),
            singles: room(&mut self.singles, forms.has(Forms::SINGLES), all),
        }
    }
}

impl Activations {
    /// Panics unless a matrix can be multiplied with them.
    pub(crate) fn check(&self, matrix: &Matrix) {
        assert_eq!(
            matrix.columns(),
            self.columns,
            "activations of another length"
        );
        assert!(
            self.forms.has(matrix.forms()),
            "activations of another form"
        );
    }
}

/// Rounds one row.
///
/// Safety: the instruction set is present; `x` has `out.columns` elements; `row` was made room for and is ours alone.
#[inline(always)]
pub(crate) unsafe fn round_row<S: Simd>(x: *const f32, out: RowsOut, row: usize) {
    // SAFETY: passed on; each form that is written was made room for.
    unsafe {
        if out.forms.has(Forms::BLOCKS) {
            round_blocks::<S>(x, out, row);
        }
        if out.forms.has(Forms::SUPERS) {
            round_supers::<S>(x, out, row);
        }
        let start = row * out.columns;
        if out.forms.has(Forms::HALVES) {
            for i in (0..out.columns).step_by(16) {
                S::store(S::halve(S::load(x.add(i))), out.halves.add(start + i));
            }
        }
        if out.forms.has(Forms::BRAINS) {
            for i in 0..out.columns {
                let rounded = half::brain_to_f32(half::brain_from_f32(*x.add(i)));
                *out.brains.add(start + i) = rounded;
            }
        }
        if out.forms.has(Forms::SINGLES) {
            x.copy_to_nonoverlapping(out.singles.add(start), out.columns);
        }
    }
}

#[inline(always)]
unsafe fn round_blocks<S: Simd>(x: *const f32, out: RowsOut, row: usize) {
    let blocks = out.columns / BLOCK;
    for b in 0..blocks {
        // SAFETY: within the row, by the caller's promise.
        unsafe {
            let low = S::load(x.add(b * BLOCK));
            let high = S::load(x.add(b * BLOCK + 16));
            let largest = S::largest(S::max(S::abs(low), S::abs(high)));
            let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let scale = largest / 127.0;
            let bytes = out.block_bytes.add(row * out.columns + b * BLOCK);
            let sum = S::store_bytes(S::mul(low, inverse), bytes)
                + S::store_bytes(S::mul(high, inverse), bytes.add(16));
            let i = row * blocks + b;
            *out.block_scales.add(i) = S::half_of(scale);
            *out.weighted.add(i) = S::half_of(scale * sum as f32);
            *out.block_sums.add(i) = sum;
        }
    }
}

#[inline(always)]
unsafe fn round_supers<S: Simd>(x: *const f32, out: RowsOut, row: usize) {
    let supers = out.columns / SUPER;
    for b in 0..supers {
        // SAFETY: within the row, by the caller's promise.
        unsafe {
            let x = x.add(b * SUPER);
            let mut largest = S::splat(0.0);
            for i in (0..SUPER).step_by(16) {
                largest = S::max(largest, S::abs(S::load(x.add(i))));
            }
            let largest = S::largest(largest);
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let start = row * out.columns + b * SUPER;
            for i in (0..SUPER).step_by(16) {
                let scaled = S::mul(S::load(x.add(i)), S::splat(inverse));
                let sum = S::store_bytes(scaled, out.super_bytes.add(start + i));
                *out.super_sums.add((start + i) / 16) = sum;
            }
            let scale = if largest > 0.0 { 1.0 / inverse } else { 0.0 };
            *out.super_scales.add(row * supers + b) = scale;
        }
    }
}

/// Root-mean-square normalisation of one row, times `weight`, into `out`.
///
/// Safety: the instruction set is present; the three have `n` elements, a multiple of 16.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(
    x: *const f32,
    weight: *const f32,
    n: usize,
    epsilon: f32,
    out: *mut f32,
) {
    // SAFETY: within the rows, by the caller's promise.
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..n).step_by(16) {
            let v = S::load(x.add(i));
            squares = S::fma(v, v, squares);
        }
        let factor = S::splat(1.0 / (S::sum(squares) / n as f32 + epsilon).sqrt());
        for i in (0..n).step_by(16) {
            let v = S::mul(S::load(x.add(i)), factor);
            S::store(S::mul(v, S::load(weight.add(i))), out.add(i));
        }
    }
}
