use crate::simd::Simd;

/// Elements that share one scale, in weights and activations.
pub(crate) const BLOCK: usize = 32;

/// Rows of activations, rounded to bytes with one scale for each 32 of them.
#[derive(Default)]
pub struct Activations {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bytes: Vec<i8>,
    /// The value of one step of a block.
    pub(crate) scales: Vec<f32>,
    /// Sum of a block's bytes times its scale, for weights with a minimum.
    pub(crate) weighted: Vec<f32>,
    /// Sum of a block's bytes, for weights stored with an offset.
    pub(crate) sums: Vec<i32>,
}

/// Where one thread writes one row; the rows of different threads are disjoint.
#[derive(Clone, Copy)]
pub(crate) struct RowsOut {
    columns: usize,
    bytes: *mut i8,
    scales: *mut f32,
    weighted: *mut f32,
    sums: *mut i32,
}

// SAFETY: used only for disjoint rows, while the `Activations` is mutably borrowed.
unsafe impl Send for RowsOut {}
// SAFETY: as above.
unsafe impl Sync for RowsOut {}

impl Activations {
    /// Makes room for rows of a matrix with `columns` columns, which must be a multiple of 32. Keeps its memory.
    pub(crate) fn reshape(&mut self, rows: usize, columns: usize) -> RowsOut {
        assert!(
            columns.is_multiple_of(BLOCK),
            "{columns} columns are not a multiple of {BLOCK}"
        );
        let blocks = rows * columns / BLOCK;
        (self.rows, self.columns) = (rows, columns);
        if self.bytes.len() < rows * columns {
            self.bytes.resize(rows * columns, 0);
        }
        if self.scales.len() < blocks {
            self.scales.resize(blocks, 0.0);
            self.weighted.resize(blocks, 0.0);
            self.sums.resize(blocks, 0);
        }
        RowsOut {
            columns,
            bytes: self.bytes.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            weighted: self.weighted.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
        }
    }
}

/// Rounds one row.
///
/// Safety: the instruction set is present; `x` has `out.columns` elements; `row` was made room for and is ours alone.
#[inline(always)]
pub(crate) unsafe fn quantise_row<S: Simd>(x: *const f32, out: RowsOut, row: usize) {
    let blocks = out.columns / BLOCK;
    for b in 0..blocks {
        // SAFETY: within the row, by the caller's promise.
        unsafe {
            let low = S::load(x.add(b * BLOCK));
            let high = S::load(x.add(b * BLOCK + 16));
            let largest = S::largest(S::max(S::abs(low), S::abs(high)));
            let inverse = S::splat(if largest > 0.0 { 127.0 / largest } else { 0.0 });
            let scale = largest / 127.0;
            let bytes = out.bytes.add(row * out.columns + b * BLOCK);
            let sum = S::store_bytes(S::mul(low, inverse), bytes)
                + S::store_bytes(S::mul(high, inverse), bytes.add(16));
            let i = row * blocks + b;
            *out.scales.add(i) = scale;
            *out.weighted.add(i) = scale * sum as f32;
            *out.sums.add(i) = sum;
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
