use crate::activations::{self, Activations, Forms, RowsOut};
use crate::attention::{self, AttendRow, KV_BLOCK, KvLayout, Rotation};
use crate::isa::with_isa;
use crate::matrix::{Matrix, TILE};
use crate::pool::PARTS;
use crate::simd::{Compiled, Simd};
use crate::{Isa, Pool};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Most bytes that a thread asks for before their loop: they have to stay in its own cache until then.
const AHEAD: usize = 128 << 10;

/// The processor: an instruction set and the threads that use it.
pub struct Cpu {
    isa: Isa,
    pool: Pool,
}

/// A pointer that several threads write through, at places that don't overlap.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: each use says why the places don't overlap.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Safety: the caller is the only one that uses this range, which lies within the allocation.
    unsafe fn range<'a>(self, start: usize, length: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

/// What happens to a tile's products.
#[derive(Clone, Copy)]
enum Write {
    Set,
    Add,
}

impl Cpu {
    /// The processor with `threads` threads (at least one) and an instruction set.
    ///
    /// # Errors
    /// When a thread can't be started, or this processor lacks the instruction set.
    pub fn new(isa: Isa, threads: usize) -> std::io::Result<Cpu> {
        if !isa.is_available() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                format!("this processor has no {}", isa.name()),
            ));
        }
        Ok(Cpu {
            isa,
            pool: Pool::new(threads)?,
        })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Counts what was computed, piece by piece: it moves as long as anything is, however slowly.
    pub fn progress(&self) -> Arc<AtomicU64> {
        self.pool.progress()
    }

    /// Says which products come after what is computed next: while threads wait, memory is asked for their matrices.
    pub fn announce(&mut self, products: &[&Matrix]) {
        let threads = self.pool.threads();
        let units: usize = products.iter().map(|m| m.tile_count()).sum();
        self.pool.announce(|thread| {
            let range = units * thread / threads..units * (thread + 1) / threads;
            let mut left = AHEAD;
            let mut first = 0;
            let mut parts = [(0, 0); PARTS];
            for (part, matrix) in parts.iter_mut().zip(products) {
                let tiles = range.start.max(first) - first
                    ..range.end.clamp(first, first + matrix.tile_count()) - first;
                first += matrix.tile_count();
                *part = matrix.place(tiles, left);
                left -= part.1;
            }
            parts
        });
    }

    /// The same for [`attend`](Cpu::attend), of which the first keys and values are asked for, and the product after it.
    pub fn announce_attend(
        &mut self,
        cache: &[u16],
        layout: &KvLayout,
        layer: usize,
        rows: &[AttendRow<'_>],
        after: &Matrix,
    ) {
        let threads = self.pool.threads();
        let (units, tiles) = (rows.len() * layout.heads, after.tile_count());
        let address = |place| cache.as_ptr().wrapping_add(place).addr();
        self.pool.announce(|thread| {
            let share = |all: usize| all * thread / threads..all * (thread + 1) / threads;
            let mut parts = [(0, 0); PARTS];
            let own = share(units);
            if !own.is_empty() {
                let (row, head) = (rows[own.start / layout.heads], own.start % layout.heads);
                // A block's heads lie one after the other.
                let others = own.len().min(layout.heads - head) - 1;
                let positions = others * KV_BLOCK + KV_BLOCK.min(row.position + 1);
                let block = row.blocks[0] as usize;
                for (values, part) in [false, true].into_iter().zip(&mut parts) {
                    let place = layout.head_start(block, layer, values, head);
                    *part = (
                        address(place),
                        (positions * layout.head_size * 2).min(AHEAD / 4),
                    );
                }
            }
            parts[2] = after.place(share(tiles), AHEAD - parts[0].1 - parts[1].1);
            parts
        });
    }

    /// The same for [`gated`](Cpu::gated).
    pub fn announce_gated(&mut self, gate: &Matrix, up: &Matrix) {
        let (threads, tiles) = (self.pool.threads(), gate.tile_count());
        self.pool.announce(|thread| {
            let range = tiles * thread / threads..tiles * (thread + 1) / threads;
            let mut parts = [(0, 0); PARTS];
            for (part, matrix) in parts.iter_mut().zip([gate, up]) {
                *part = matrix.place(range.clone(), AHEAD / 2);
            }
            parts
        });
    }

    /// Pieces of a loop: some for each thread, so that a slow one can be helped.
    fn grain(&self, units: usize) -> usize {
        units.div_ceil(self.pool.threads() * 8)
    }

    /// Normalises the rows of `x` by their root mean square, times `weight`, and rounds them in the forms that the
    /// matrices want. `weight.len()` is the length of a row and a multiple of 32, or of 256 where a form needs it.
    pub fn normalise(
        &mut self,
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        forms: Forms,
        out: &mut Activations,
    ) {
        let n = weight.len();
        let rows = x.len() / n;
        assert_eq!(x.len(), rows * n, "rows of another length");
        let out = out.reshape(rows, n, forms);
        let isa = self.isa;
        let grain = self.grain(rows);
        self.pool.run(rows, grain, |range| {
            // SAFETY: the instruction set was checked in `new`; the ranges of rows are disjoint.
            unsafe { with_isa!(isa, normalise_rows::<_>(x: &[f32], weight: &[f32], epsilon: f32, out: RowsOut, range: Range<usize>)) }
        });
    }

    /// Rounds the rows of `x`, each of `columns` elements: a multiple of 32, or of 256 where a form needs it.
    pub fn round(&mut self, x: &[f32], columns: usize, forms: Forms, out: &mut Activations) {
        let rows = x.len() / columns;
        assert_eq!(x.len(), rows * columns, "rows of another length");
        let out = out.reshape(rows, columns, forms);
        let isa = self.isa;
        let grain = self.grain(rows);
        self.pool.run(rows, grain, |range| {
            // SAFETY: as in `normalise`.
            unsafe { with_isa!(isa, round_rows::<_>(x: &[f32], columns: usize, out: RowsOut, range: Range<usize>)) }
        });
    }

    /// Several products of the same activations: each output gets a row of `matrix.rows()` numbers for each row.
    pub fn multiply(&mut self, a: &Activations, products: &mut [(&Matrix, &mut [f32])]) {
        self.product(a, products, Write::Set);
    }

    /// The product, added to what `out` holds.
    pub fn multiply_add(&mut self, a: &Activations, matrix: &Matrix, out: &mut [f32]) {
        self.product(a, &mut [(matrix, out)], Write::Add);
    }

    fn product(&mut self, a: &Activations, products: &mut [(&Matrix, &mut [f32])], write: Write) {
        for (matrix, out) in products.iter() {
            a.check(matrix);
            assert!(
                out.len() >= a.rows * matrix.rows(),
                "no room for the product"
            );
        }
        let parts: Vec<(&Matrix, Shared<f32>)> = products
            .iter_mut()
            .map(|(m, out)| (*m, Shared(out.as_mut_ptr())))
            .collect();
        let units = parts.iter().map(|(m, _)| m.tile_count()).sum();
        let isa = self.isa;
        let grain = self.grain(units);
        self.pool.run(units, grain, |range| {
            let mut first = 0;
            for &(matrix, out) in &parts {
                let tiles = range.start.max(first) - first..range.end.clamp(first, first + matrix.tile_count()) - first;
                first += matrix.tile_count();
                if !tiles.is_empty() {
                    // SAFETY: the instruction set was checked; the sizes were checked above; each tile writes its own
                    // columns of the output, and no tile is handed out twice.
                    unsafe {
                        with_isa!(isa, tiles_product::<_>(matrix: &Matrix, a: &Activations, tiles: Range<usize>, out: Shared<f32>, write: Write));
                    }
                }
            }
        });
    }

    /// `silu(gate · a) × (up · a)`, the gated unit of the feed-forward layer. Both matrices have the same shape.
    pub fn gated(&mut self, a: &Activations, gate: &Matrix, up: &Matrix, out: &mut [f32]) {
        a.check(gate);
        a.check(up);
        assert!(
            gate.rows() == up.rows() && out.len() >= a.rows * gate.rows(),
            "no room for the product"
        );
        let out = Shared(out.as_mut_ptr());
        let isa = self.isa;
        let grain = self.grain(gate.tile_count());
        self.pool.run(gate.tile_count(), grain, |tiles| {
            // SAFETY: as in `product`.
            unsafe {
                with_isa!(isa, tiles_gated::<_>(gate: &Matrix, up: &Matrix, a: &Activations, tiles: Range<usize>, out: Shared<f32>));
            }
        });
    }

    /// Writes a layer's new keys (rotated) and values into the cache. `keys` and `values` have a row of
    /// `layout.heads × layout.head_size` numbers for each of `rows`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    pub fn remember(
        &mut self,
        cache: &mut [u16],
        layout: &KvLayout,
        layer: usize,
        rows: &[AttendRow<'_>],
        rotation: &Rotation,
        keys: &[f32],
        values: &[f32],
    ) {
        let width = layout.heads * layout.head_size;
        assert!(
            keys.len() >= rows.len() * width && values.len() >= rows.len() * width,
            "too few keys or values"
        );
        assert!(
            layer < layout.layers && KvLayout::supports(layout.head_size),
            "a layer or head the cache doesn't have"
        );
        rows.iter().for_each(|row| row.check(layout, cache.len()));
        rotation.check(rows.len(), layout.head_size);
        let cache = Shared(cache.as_mut_ptr());
        let isa = self.isa;
        let units = layout.heads * 2;
        // One row is too little work to share.
        let grain = if rows.len() < 8 { units } else { 1 };
        self.pool.run(units, grain, |range| {
            // SAFETY: the instruction set and the rows were checked; a unit is one head's keys or values for all rows,
            // so no two threads write the same place even if two rows did.
            unsafe {
                with_isa!(isa, store_heads::<_>(cache: Shared<u16>, layout: &KvLayout, layer: usize, rows: &[AttendRow<'_>], rotation: &Rotation, keys: &[f32], values: &[f32], range: Range<usize>));
            }
        });
    }

    /// Attention over the cache for each row. `queries` and `out` have rows of the same length, a multiple of
    /// `layout.heads × layout.head_size`: neighbouring query heads share a key head.
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    pub fn attend(
        &mut self,
        cache: &[u16],
        layout: &KvLayout,
        layer: usize,
        rows: &[AttendRow<'_>],
        rotation: &Rotation,
        queries: &[f32],
        out: &mut [f32],
    ) {
        let width = queries.len() / rows.len().max(1);
        let group = width / layout.heads;
        assert!(
            queries.len() == rows.len() * width && width == group * layout.heads,
            "queries of another shape"
        );
        assert!(
            group.is_multiple_of(layout.head_size) && out.len() >= queries.len(),
            "queries of another shape"
        );
        assert!(
            layer < layout.layers && KvLayout::supports(layout.head_size),
            "a layer or head the cache doesn't have"
        );
        rows.iter().for_each(|row| row.check(layout, cache.len()));
        rotation.check(rows.len(), layout.head_size);
        let out = Shared(out.as_mut_ptr());
        let isa = self.isa;
        let units = rows.len() * layout.heads;
        let grain = (units / (self.pool.threads() * 8)).max(1);
        self.pool.run(units, grain, |range| {
            // SAFETY: the instruction set and the rows were checked; a unit writes its own heads of its own row.
            unsafe {
                with_isa!(isa, attend_units::<_>(cache: &[u16], layout: &KvLayout, layer: usize, rows: &[AttendRow<'_>], rotation: &Rotation, queries: &[f32], group: usize, out: Shared<f32>, range: Range<usize>));
            }
        });
    }
}

#[inline(always)]
unsafe fn normalise_rows<S: Simd>(
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: RowsOut,
    range: Range<usize>,
) {
    let n = weight.len();
    let mut scratch = vec![0.0; n];
    for row in range {
        // SAFETY: the caller checked the sizes and owns these rows.
        unsafe {
            activations::rms_norm::<S>(
                x.as_ptr().add(row * n),
                weight.as_ptr(),
                n,
                epsilon,
                scratch.as_mut_ptr(),
            );
            activations::round_row::<S>(scratch.as_ptr(), out, row);
        }
    }
}

#[inline(always)]
unsafe fn round_rows<S: Simd>(x: &[f32], columns: usize, out: RowsOut, range: Range<usize>) {
    for row in range {
        // SAFETY: the caller checked the sizes and owns these rows.
        unsafe { activations::round_row::<S>(x.as_ptr().add(row * columns), out, row) };
    }
}

#[inline(always)]
unsafe fn tiles_product<S: Compiled>(
    m: &Matrix,
    a: &Activations,
    tiles: Range<usize>,
    out: Shared<f32>,
    write: Write,
) {
    let mut products = [[0.0; TILE]; 8];
    for tile in tiles {
        let width = TILE.min(m.rows() - tile * TILE);
        for first in (0..a.rows).step_by(S::ROWS) {
            let count = S::ROWS.min(a.rows - first);
            // SAFETY: the caller checked the sizes and owns this tile's columns.
            unsafe {
                S::tile_product(m, tile, a, first, &mut products[..count]);
                for (r, products) in products[..count].iter().enumerate() {
                    let out = out.range((first + r) * m.rows() + tile * TILE, width);
                    match write {
                        Write::Set => out.copy_from_slice(&products[..width]),
                        Write::Add => out.iter_mut().zip(products).for_each(|(o, p)| *o += p),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn tiles_gated<S: Compiled>(
    gate: &Matrix,
    up: &Matrix,
    a: &Activations,
    tiles: Range<usize>,
    out: Shared<f32>,
) {
    let mut gates = [[0.0; TILE]; 8];
    let mut ups = [[0.0; TILE]; 8];
    // Several tiles of one matrix before those of the other: what memory was asked for ahead is in vain at each change.
    let together = (gates.len() / a.rows.max(1)).max(1);
    for begin in tiles.clone().step_by(together) {
        let run = together.min(tiles.end - begin);
        for first in (0..a.rows).step_by(S::ROWS) {
            let count = S::ROWS.min(a.rows - first);
            // SAFETY: the caller checked the sizes and owns these tiles' columns; a run has at most eight products.
            unsafe {
                for t in 0..run {
                    S::tile_product(gate, begin + t, a, first, &mut gates[t * count..][..count]);
                }
                for t in 0..run {
                    S::tile_product(up, begin + t, a, first, &mut ups[t * count..][..count]);
                }
                for i in 0..run * count {
                    let g = S::load(gates[i].as_ptr());
                    let e = S::exp(S::sub(S::splat(0.0), g));
                    let silu = S::div(g, S::add(S::splat(1.0), e));
                    S::store(
                        S::mul(silu, S::load(ups[i].as_ptr())),
                        gates[i].as_mut_ptr(),
                    );
                    let (tile, row) = (begin + i / count, first + i % count);
                    let width = TILE.min(gate.rows() - tile * TILE);
                    let out = out.range(row * gate.rows() + tile * TILE, width);
                    out.copy_from_slice(&gates[i][..width]);
                }
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
unsafe fn store_heads<S: Simd>(
    cache: Shared<u16>,
    layout: &KvLayout,
    layer: usize,
    rows: &[AttendRow<'_>],
    rotation: &Rotation,
    keys: &[f32],
    values: &[f32],
    range: Range<usize>,
) {
    let width = layout.heads * layout.head_size;
    for unit in range {
        let head = unit / 2;
        let (source, rotation) = if unit % 2 == 0 {
            (keys, Some(rotation))
        } else {
            (values, None)
        };
        for (r, &row) in rows.iter().enumerate() {
            let source = &source[r * width + head * layout.head_size..][..layout.head_size];
            // SAFETY: the caller checked the rows and owns this head.
            unsafe {
                attention::store_head::<S>(cache.0, layout, layer, row, r, head, source, rotation)
            };
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
unsafe fn attend_units<S: Simd>(
    cache: &[u16],
    layout: &KvLayout,
    layer: usize,
    rows: &[AttendRow<'_>],
    rotation: &Rotation,
    queries: &[f32],
    group: usize,
    out: Shared<f32>,
    range: Range<usize>,
) {
    let mut scores = Vec::new();
    for unit in range {
        let (r, head) = (unit / layout.heads, unit % layout.heads);
        let start = r * group * layout.heads + head * group;
        let next = (rows.get((unit + 1) / layout.heads)).map_or(cache.as_ptr(), |row| {
            let head = (unit + 1) % layout.heads;
            let place = layout.head_start(row.blocks[0] as usize, layer, false, head);
            cache.as_ptr().wrapping_add(place)
        });
        // SAFETY: the caller checked the rows; the unit's part of `out` is its own.
        unsafe {
            let out = out.range(start, group);
            attention::attend_group::<S>(
                cache.as_ptr(),
                layout,
                layer,
                rows[r],
                r,
                head,
                rotation,
                &queries[start..start + group],
                next,
                &mut scores,
                out,
            );
        }
    }
}

#[cfg(test)]
mod tests;
