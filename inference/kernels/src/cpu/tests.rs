//! Every instruction set against the scalar reference, and the reference against plain arithmetic.

use super::*;
use crate::{KV_BLOCK, WeightType, half};
use proptest::prelude::*;

fn numbers(seed: u64, n: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
        })
        .collect()
}

/// Random blocks with sane scales.
fn weights(kind: WeightType, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for b in 0..rows * columns / kind.block() {
        let noise = numbers(seed + 31 * b as u64, kind.block_bytes() + 2, 1.0);
        let start = bytes.len();
        bytes.extend(noise.iter().skip(2).map(|n| (n * 128.0) as i32 as u8));
        let mut set = |at: usize, value: f32| {
            let half = half::from_f32(value).to_le_bytes();
            bytes[start + at..start + at + 2].copy_from_slice(&half);
        };
        match kind {
            WeightType::F32 => bytes[start..].copy_from_slice(&noise[0].to_le_bytes()),
            WeightType::F16 => set(0, noise[0]),
            WeightType::Bf16 => {
                let brain = half::brain_from_f32(noise[0]).to_le_bytes();
                bytes[start..].copy_from_slice(&brain);
            }
            WeightType::Q4_0 | WeightType::Q5_0 | WeightType::Q8_0 => set(0, noise[0] * 0.02),
            WeightType::Q6K => set(208, noise[0] * 0.001),
            WeightType::Q4_1 | WeightType::Q5_1 | WeightType::Q4K | WeightType::Q5K => {
                let inner = if kind.block() == 256 { 0.02 } else { 1.0 };
                set(0, noise[0] * 0.02 * inner);
                set(2, noise[1] * 0.1 * inner);
            }
        }
    }
    bytes
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

const KINDS: [WeightType; 11] = WeightType::ALL;

/// A number of columns that every type can have.
fn columns(kind: WeightType, blocks: usize) -> usize {
    blocks * kind.block().max(32)
}

struct Outcome {
    product: Vec<f32>,
    sum: Vec<f32>,
    gated: Vec<f32>,
}

fn products(
    isa: Isa,
    threads: usize,
    kind: WeightType,
    rows: usize,
    outputs: usize,
    columns: usize,
    seed: u64,
) -> Outcome {
    let mut cpu = Cpu::new(isa, threads).unwrap();
    let x = numbers(seed, rows * columns, 3.0);
    let norm = numbers(seed + 1, columns, 1.0);
    let first = Matrix::pack(
        kind,
        &weights(kind, outputs, columns, seed + 2),
        outputs,
        columns,
    )
    .unwrap();
    let second = Matrix::pack(
        kind,
        &weights(kind, outputs, columns, seed + 3),
        outputs,
        columns,
    )
    .unwrap();
    let mut a = Activations::default();
    cpu.normalise(&x, &norm, 1e-5, first.forms(), &mut a);
    let mut product = vec![0.0; rows * outputs];
    let mut other = vec![0.0; rows * outputs];
    cpu.multiply(&a, &mut [(&first, &mut product), (&second, &mut other)]);
    let mut gated = vec![0.0; rows * outputs];
    cpu.gated(&a, &first, &second, &mut gated);
    let mut sum = numbers(seed + 4, rows * outputs, 1.0);
    cpu.round(&x, columns, first.forms(), &mut a);
    cpu.multiply_add(&a, &first, &mut sum);
    Outcome {
        product,
        sum,
        gated,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_instruction_set_gives_the_reference_bit_for_bit(
        kind in prop::sample::select(KINDS.to_vec()), rows in 1usize..20, outputs in 1usize..70, blocks in 1usize..9, seed in 0u64..1000,
    ) {
        let reference = products(Isa::Scalar, 1, kind, rows, outputs, columns(kind, blocks), seed);
        for isa in Isa::available() {
            let found = products(isa, 3, kind, rows, outputs, columns(kind, blocks), seed);
            prop_assert_eq!(bits(&found.product), bits(&reference.product), "{:?} product", isa);
            prop_assert_eq!(bits(&found.sum), bits(&reference.sum), "{:?} sum", isa);
            prop_assert_eq!(bits(&found.gated), bits(&reference.gated), "{:?} gated", isa);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(kind in prop::sample::select(KINDS.to_vec()), rows in 2usize..20, seed in 0u64..1000) {
        let isa = Isa::detect();
        let mut cpu = Cpu::new(isa, 2).unwrap();
        let width = columns(kind, 2);
        let matrix = Matrix::pack(kind, &weights(kind, 48, width, seed), 48, width).unwrap();
        let x = numbers(seed + 9, rows * width, 2.0);
        let mut a = Activations::default();
        let mut together = vec![0.0; rows * 48];
        cpu.round(&x, width, matrix.forms(), &mut a);
        cpu.multiply(&a, &mut [(&matrix, &mut together)]);
        for r in 0..rows {
            let mut alone = vec![0.0; 48];
            cpu.round(&x[r * width..][..width], width, matrix.forms(), &mut a);
            cpu.multiply(&a, &mut [(&matrix, &mut alone)]);
            prop_assert_eq!(bits(&alone), bits(&together[r * 48..][..48]));
        }
    }

    #[test]
    fn the_product_is_near_that_of_the_unrounded_weights(kind in prop::sample::select(KINDS.to_vec()), outputs in 1usize..40, blocks in 1usize..6, seed in 0u64..1000) {
        let columns = columns(kind, blocks);
        let data = weights(kind, outputs, columns, seed);
        let matrix = Matrix::pack(kind, &data, outputs, columns).unwrap();
        let x = numbers(seed + 5, columns, 1.0);
        let mut cpu = Cpu::new(Isa::Scalar, 1).unwrap();
        let mut a = Activations::default();
        cpu.round(&x, columns, matrix.forms(), &mut a);
        let mut out = vec![0.0; outputs];
        cpu.multiply(&a, &mut [(&matrix, &mut out)]);
        let unit = kind.block().max(32);
        for (row, found) in data.chunks_exact(data.len() / outputs).zip(out) {
            let mut exact = 0.0;
            let mut room = 1e-4;
            for (part, x) in row.chunks_exact(row.len() / (columns / unit)).zip(x.chunks_exact(unit)) {
                let mut plain = vec![0.0; unit];
                for (block, plain) in part.chunks_exact(kind.block_bytes()).zip(plain.chunks_exact_mut(kind.block())) {
                    kind.expand(block, plain);
                }
                let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (w, x) in plain.iter().zip(x) {
                    exact += w * x;
                    // Half a step of the activations, for every weight, and their scale's own rounding.
                    let step = match kind {
                        WeightType::F32 => 0.0,
                        WeightType::F16 => x.abs() / 2048.0,
                        WeightType::Bf16 => x.abs() / 256.0,
                        _ => largest / 254.0 + x.abs() / 1024.0,
                    };
                    room += w.abs() * step * 1.01;
                }
                // A minimum is weighted with a sum that is rounded once.
                room += plain.iter().fold(0.0f32, |m, w| m.max(w.abs())) * largest * unit as f32 / 2048.0;
            }
            prop_assert!((found - exact).abs() <= room, "{found} instead of {exact} ± {room}");
        }
    }

    #[test]
    fn attention_is_equal_on_all_and_right(
        head_size in prop::sample::select(vec![32usize, 64, 96, 128]), heads in 1usize..4, group in 1usize..6, length in 1usize..100, seed in 0u64..1000,
    ) {
        let layout = KvLayout { layers: 2, heads, head_size };
        let blocks: Vec<u32> = (0..length.div_ceil(KV_BLOCK) as u32).rev().collect();
        let rows: Vec<AttendRow> = (0..length).map(|position| AttendRow { blocks: &blocks, position }).collect();
        let width = heads * head_size;
        let keys = numbers(seed, length * width, 2.0);
        let values = numbers(seed + 1, length * width, 2.0);
        let queries = numbers(seed + 2, length * width * group, 2.0);
        let frequencies: Vec<f32> = (0..head_size / 2).map(|i| 0.5f32.powi(i as i32)).collect();
        let mut rotation = Rotation::default();
        rotation.prepare(frequencies.len(), (0..length).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f)));
        let run = |isa| {
            let mut cpu = Cpu::new(isa, 2).unwrap();
            let mut cache = vec![0; layout.block_elements() * blocks.len()];
            let mut out = vec![0.0; queries.len()];
            cpu.remember(&mut cache, &layout, 1, &rows, &rotation, &keys, &values);
            cpu.attend(&cache, &layout, 1, &rows, &rotation, &queries, &mut out);
            out
        };
        let reference = run(Isa::Scalar);
        for isa in Isa::available() {
            prop_assert_eq!(bits(&run(isa)), bits(&reference), "{:?}", isa);
        }
        // The last row of the last head, by the book.
        let turn = |v: &[f32], position: usize| -> Vec<f64> {
            v.chunks(2).zip(&frequencies).flat_map(|(p, f)| {
                let (s, c) = (position as f64 * f64::from(*f)).sin_cos();
                let (a, b) = (f64::from(p[0]), f64::from(p[1]));
                [a * c - b * s, a * s + b * c]
            }).collect()
        };
        let query = turn(&queries[queries.len() - head_size..], length - 1);
        let of_head = |data: &[f32], p: usize| data[p * width + width - head_size..][..head_size].to_vec();
        let scores: Vec<f64> = (0..length).map(|p| {
            let key = turn(&of_head(&keys, p), p);
            key.iter().zip(&query).map(|(a, b)| a * b).sum::<f64>() / (head_size as f64).sqrt()
        }).collect();
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        for e in 0..head_size {
            let exact: f64 = (0..length).map(|p| (scores[p] - top).exp() / total * f64::from(of_head(&values, p)[e])).sum();
            let found = f64::from(reference[reference.len() - head_size + e]);
            prop_assert!((found - exact).abs() < 0.05, "element {e}: {found} instead of {exact}");
        }
    }
}

#[test]
fn the_exponential_is_close() {
    unsafe fn exp<S: Simd>(x: f32) -> f32 {
        let mut out = [0.0; 16];
        // SAFETY: scalar code only.
        unsafe { S::store(S::exp(S::splat(x)), out.as_mut_ptr()) };
        out[0]
    }
    for i in -8600..8600 {
        let x = i as f32 / 100.0;
        // SAFETY: scalar code only.
        let found = f64::from(unsafe { exp::<crate::simd::scalar::Scalar>(x) });
        let exact = f64::from(x).exp();
        assert!((found / exact - 1.0).abs() < 3e-7, "exp({x}) = {found}");
    }
}

#[test]
fn a_packed_row_expands_to_what_the_file_says() {
    for kind in KINDS {
        let columns = columns(kind, 3);
        let data = weights(kind, 21, columns, 5);
        let matrix = Matrix::pack(kind, &data, 21, columns).unwrap();
        for (r, row) in data.chunks_exact(data.len() / 21).enumerate() {
            let mut found = vec![0.0; columns];
            matrix.expand_row(r, &mut found);
            let mut exact = vec![0.0; columns];
            for (block, out) in row
                .chunks_exact(kind.block_bytes())
                .zip(exact.chunks_exact_mut(kind.block()))
            {
                kind.expand(block, out);
            }
            assert_eq!(found, exact, "{kind:?} row {r}");
        }
    }
}

#[test]
fn a_matrix_of_the_wrong_size_is_refused() {
    assert!(Matrix::pack(WeightType::Q4_1, &[0; 40], 2, 33).is_err());
    assert!(Matrix::pack(WeightType::Q4_1, &[0; 39], 2, 32).is_err());
    assert!(Matrix::pack(WeightType::Q4_1, &[0; 40], 2, 32).is_ok());
}
