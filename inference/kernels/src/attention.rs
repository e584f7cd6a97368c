#![expect(
    clippy::needless_range_loop,
    reason = "iterator adapters are closures, in which the instruction set is not on"
)]

use crate::memory::fetch;
use crate::simd::Simd;

/// Positions in one block of the key and value cache.
pub const KV_BLOCK: usize = 32;

/// The largest head the kernels take.
const MAX_HEAD: usize = 128;

/// The shape of a key and value cache: blocks of [`KV_BLOCK`] positions, each with every layer's keys and values as
/// half-precision numbers, a head's positions one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Layers of the model.
    pub layers: usize,
    /// Key and value heads of a layer.
    pub heads: usize,
    /// Elements of a head: 32, 64, 96 or 128.
    pub head_size: usize,
}

impl KvLayout {
    /// Whether the kernels have code for this head size.
    pub fn supports(head_size: usize) -> bool {
        matches!(head_size, 32 | 64 | 96 | 128)
    }

    /// Elements of one block over all layers.
    pub fn block_elements(&self) -> usize {
        self.layers * 2 * self.heads * KV_BLOCK * self.head_size
    }

    /// Where a head's keys (`values` false) or values (true) begin.
    pub(crate) fn head_start(
        &self,
        block: usize,
        layer: usize,
        values: bool,
        head: usize,
    ) -> usize {
        (((block * self.layers + layer) * 2 + usize::from(values)) * self.heads + head)
            * KV_BLOCK
            * self.head_size
    }
}

/// One row of a pass as attention sees it.
#[derive(Clone, Copy, Debug)]
pub struct AttendRow<'a> {
    /// The cache blocks of the row's sequence, in order.
    pub blocks: &'a [u32],
    /// The row's place in its sequence; it sees the positions up to and including its own.
    pub position: usize,
}

impl AttendRow<'_> {
    /// Panics unless the row's blocks reach its position and lie within a cache of `elements`.
    pub(crate) fn check(&self, layout: &KvLayout, elements: usize) {
        let needed = self.position / KV_BLOCK + 1;
        assert!(
            self.blocks.len() >= needed,
            "position {} lies outside its blocks",
            self.position
        );
        let blocks = elements / layout.block_elements();
        assert!(
            self.blocks[..needed].iter().all(|&b| (b as usize) < blocks),
            "a block lies outside the cache"
        );
    }
}

/// The rotary position angles of the rows of a pass, for heads whose neighbouring elements are pairs (as GGUF files of
/// the llama architecture have them).
#[derive(Default)]
pub struct Rotation {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    pairs: usize,
}

impl Rotation {
    /// Takes the angles, `pairs` of them a row.
    pub fn prepare(&mut self, pairs: usize, angles: impl Iterator<Item = f32>) {
        self.pairs = pairs;
        self.cosines.clear();
        self.sines.clear();
        for angle in angles {
            let (sine, cosine) = angle.sin_cos();
            self.cosines.push(cosine);
            self.sines.push(sine);
        }
    }

    pub(crate) fn check(&self, rows: usize, head_size: usize) {
        assert!(
            self.pairs * 2 <= head_size && self.cosines.len() >= rows * self.pairs,
            "rotation of another shape"
        );
    }

    /// Rotates one head of one row.
    fn turn(&self, row: usize, head: &[f32], out: &mut [f32]) {
        let cosines = &self.cosines[row * self.pairs..][..self.pairs];
        let sines = &self.sines[row * self.pairs..][..self.pairs];
        out.copy_from_slice(head);
        for ((pair, cosine), sine) in out.chunks_exact_mut(2).zip(cosines).zip(sines) {
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * cosine - b * sine;
            pair[1] = a * sine + b * cosine;
        }
    }
}

/// Writes one head of one row into the cache, keys rotated.
///
/// Safety: the instruction set is present; the row was checked against the cache; nobody else touches this head.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; a struct would only rename them"
)]
pub(crate) unsafe fn store_head<S: Simd>(
    cache: *mut u16,
    layout: &KvLayout,
    layer: usize,
    at: AttendRow<'_>,
    row: usize,
    head: usize,
    source: &[f32],
    rotation: Option<&Rotation>,
) {
    let size = layout.head_size;
    let mut turned = [0.0; MAX_HEAD];
    let source = match rotation {
        Some(rotation) => {
            rotation.turn(row, source, &mut turned[..size]);
            &turned[..size]
        }
        None => source,
    };
    let block = at.blocks[at.position / KV_BLOCK] as usize;
    let start =
        layout.head_start(block, layer, rotation.is_none(), head) + at.position % KV_BLOCK * size;
    for i in (0..size).step_by(16) {
        // SAFETY: `start` lies within the cache as the row was checked, and the source has `size` elements.
        unsafe { S::store_half(S::load(source.as_ptr().add(i)), cache.add(start + i)) };
    }
}

/// Attention of the query heads that share one key head, for one row. `queries` and `out` hold `group` heads; at `next` lie the
/// keys that are likely to be wanted after these.
///
/// Safety: the instruction set is present; the row was checked against the cache, which nobody writes meanwhile.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; a struct would only rename them"
)]
pub(crate) unsafe fn attend_group<S: Simd>(
    cache: *const u16,
    layout: &KvLayout,
    layer: usize,
    at: AttendRow<'_>,
    row: usize,
    head: usize,
    rotation: &Rotation,
    queries: &[f32],
    next: *const u16,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let size = layout.head_size;
    // More heads at once would not fit the registers.
    let together = if size <= 64 { 4 } else { 2 };
    for (queries, out) in queries
        .chunks(together * size)
        .zip(out.chunks_mut(together * size))
    {
        let mut turned = [0.0f32; 4 * MAX_HEAD];
        for (source, target) in queries
            .chunks_exact(size)
            .zip(turned.chunks_exact_mut(size))
        {
            rotation.turn(row, source, target);
        }
        macro_rules! heads {
            ($c:literal, $g:literal) => {
                heads::<S, $c, $g>(cache, layout, layer, at, head, &turned, next, scores, out)
            };
        }
        // SAFETY: passed on; the array sizes follow from the match.
        unsafe {
            match (size, queries.len() / size) {
                (32, 1) => heads!(2, 1),
                (32, 2) => heads!(2, 2),
                (32, 3) => heads!(2, 3),
                (32, _) => heads!(2, 4),
                (64, 1) => heads!(4, 1),
                (64, 2) => heads!(4, 2),
                (64, 3) => heads!(4, 3),
                (64, _) => heads!(4, 4),
                (96, 1) => heads!(6, 1),
                (96, _) => heads!(6, 2),
                (_, 1) => heads!(8, 1),
                (_, _) => heads!(8, 2),
            }
        }
    }
}

/// `G` heads of `C` × 16 elements. All scores come first, then their weights, then the weighted values. Queries and weights
/// are rounded to half precision, as llama.cpp rounds them to meet a half-precision cache.
#[inline(always)]
#[expect(
    clippy::too_many_arguments,
    reason = "one call site; a struct would only rename them"
)]
unsafe fn heads<S: Simd, const C: usize, const G: usize>(
    cache: *const u16,
    layout: &KvLayout,
    layer: usize,
    at: AttendRow<'_>,
    head: usize,
    queries: &[f32],
    next: *const u16,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let size = C * 16;
    let seen = at.position + 1;
    let stride = seen.next_multiple_of(16);
    if scores.len() < stride * G {
        scores.resize(stride * G, 0.0);
    }
    let scores = scores.as_mut_ptr();
    let blocks = seen.div_ceil(KV_BLOCK);
    // SAFETY: every read lies in a block of the row, which was checked; `queries` and `out` hold G heads, `scores` a
    // stride for each.
    unsafe {
        let factor = 1.0 / (size as f32).sqrt();
        let mut query = [[S::splat(0.0); C]; G];
        for g in 0..G {
            for c in 0..C {
                query[g][c] = S::halve(S::load(queries.as_ptr().add(g * size + c * 16)));
            }
        }
        for index in 0..blocks {
            let block = *at.blocks.get_unchecked(index) as usize;
            let keys = cache.add(layout.head_start(block, layer, false, head));
            let values = cache.add(layout.head_start(block, layer, true, head));
            let coming = if index + 1 < blocks {
                let block = *at.blocks.get_unchecked(index + 1) as usize;
                cache.add(layout.head_start(block, layer, false, head))
            } else {
                next
            };
            let first = index * KV_BLOCK;
            // Sixteen at once, for their sums; those past the end are read, for the block is whole, and overwritten below.
            for first in (first..seen.min(first + KV_BLOCK)).step_by(16) {
                let keys = keys.add(first % KV_BLOCK * size);
                let mut dots = [[S::splat(0.0); 16]; G];
                for p in 0..16 {
                    let mut key = [S::splat(0.0); C];
                    // The cache was last read a whole pass ago: the keys to come, and the values, are asked for while these are used.
                    for c in (0..C).step_by(2) {
                        let place = (first % KV_BLOCK + p) * size + c * 16;
                        fetch(coming.wrapping_add(place).addr());
                        fetch(values.add(place).addr());
                    }
                    for c in 0..C {
                        key[c] = S::load_half(keys.add(p * size + c * 16));
                    }
                    for g in 0..G {
                        let mut dot = S::mul(key[0], query[g][0]);
                        for c in 1..C {
                            dot = S::fma(key[c], query[g][c], dot);
                        }
                        dots[g][p] = dot;
                    }
                }
                for g in 0..G {
                    let sums = S::mul(S::sums(&dots[g]), S::splat(factor));
                    S::store(sums, scores.add(g * stride + first));
                }
            }
        }
        for g in 0..G {
            weigh::<S>(scores.add(g * stride), seen, stride);
        }
        let mut weighted = [[S::splat(0.0); C]; G];
        for index in 0..blocks {
            let block = *at.blocks.get_unchecked(index) as usize;
            let values = cache.add(layout.head_start(block, layer, true, head));
            let first = index * KV_BLOCK;
            for p in 0..KV_BLOCK.min(seen - first) {
                let mut value = [S::splat(0.0); C];
                for c in 0..C {
                    value[c] = S::load_half(values.add(p * size + c * 16));
                }
                for g in 0..G {
                    let weight = S::splat(*scores.add(g * stride + first + p));
                    for c in 0..C {
                        weighted[g][c] = S::fma(value[c], weight, weighted[g][c]);
                    }
                }
            }
        }
        for g in 0..G {
            for c in 0..C {
                S::store(weighted[g][c], out.as_mut_ptr().add(g * size + c * 16));
            }
        }
    }
}

/// Turns scores into weights that add up to one. The places from `seen` to `stride` are ours too.
///
/// Safety: the instruction set is present; `stride` places are there.
#[inline(always)]
unsafe fn weigh<S: Simd>(scores: *mut f32, seen: usize, stride: usize) {
    // SAFETY: within the stride.
    unsafe {
        for p in seen..stride {
            *scores.add(p) = f32::NEG_INFINITY;
        }
        let mut largest = S::load(scores);
        for p in (16..stride).step_by(16) {
            largest = S::max(largest, S::load(scores.add(p)));
        }
        let largest = S::splat(S::largest(largest));
        let mut total = S::splat(0.0);
        for p in (0..stride).step_by(16) {
            // Places past the end weigh about 1e-38: nothing, beside the 1 of the largest score.
            let weight = S::exp(S::sub(S::load(scores.add(p)), largest));
            total = S::add(total, weight);
            S::store(weight, scores.add(p));
        }
        let inverse = S::splat(1.0 / S::sum(total));
        for p in (0..stride).step_by(16) {
            let weight = S::mul(S::load(scores.add(p)), inverse);
            S::store(S::halve(weight), scores.add(p));
        }
    }
}
