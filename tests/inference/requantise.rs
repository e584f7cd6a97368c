//! Writes a model file again with its matrices in another type. The roundings are the plainest ones: what matters is that
//! other programs read the same file, not that it is good.

use hadada_inference::worker::gguf::Gguf;
use hadada_kernels::{WeightType, half};
use std::path::Path;

/// Writes `to` with the matrices of `from` in the type `wanted`, or, where their rows don't divide into its blocks, in the
/// type that llama.cpp falls back on.
pub fn requantise(from: &Path, to: &Path, wanted: WeightType) {
    let bytes = std::fs::read(from).unwrap();
    let file = Gguf::open(from).unwrap();
    let header = Header::read(&bytes);
    let mut infos = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for tensor in &header.tensors {
        let (info, content) = file.tensor(&tensor.name).unwrap();
        let from = WeightType::named(info.kind.name).unwrap();
        let (kind, content) = if from == WeightType::F32 {
            (from, content.to_vec())
        } else {
            let kind = fallback(wanted, info.columns);
            (kind, convert(from, kind, content))
        };
        data.resize(data.len().next_multiple_of(32), 0);
        infos.extend((tensor.name.len() as u64).to_le_bytes());
        infos.extend(tensor.name.as_bytes());
        infos.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor
            .shape
            .iter()
            .for_each(|n| infos.extend(n.to_le_bytes()));
        infos.extend(code(kind).to_le_bytes());
        infos.extend((data.len() as u64).to_le_bytes());
        data.extend(content);
    }
    let mut out = bytes[..header.values_end].to_vec();
    out.extend(infos);
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    let part = to.with_extension(format!("part-{}", std::process::id()));
    std::fs::write(&part, out).unwrap();
    std::fs::rename(part, to).unwrap();
}

fn fallback(wanted: WeightType, columns: usize) -> WeightType {
    match wanted {
        _ if columns.is_multiple_of(wanted.block()) => wanted,
        WeightType::Q4K => WeightType::Q5_0,
        WeightType::Q5K => WeightType::Q5_1,
        _ => WeightType::Q8_0,
    }
}

fn code(kind: WeightType) -> u32 {
    match kind {
        WeightType::F32 => 0,
        WeightType::F16 => 1,
        WeightType::Q4_0 => 2,
        WeightType::Q4_1 => 3,
        WeightType::Q5_0 => 6,
        WeightType::Q5_1 => 7,
        WeightType::Q8_0 => 8,
        WeightType::Q4K => 12,
        WeightType::Q5K => 13,
        WeightType::Q6K => 14,
        WeightType::Bf16 => 30,
    }
}

struct Header {
    values_end: usize,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    shape: Vec<u64>,
}

impl Header {
    /// Walks over the beginning of a file that is known to be good.
    fn read(bytes: &[u8]) -> Header {
        let mut at = 8;
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (tensors, values) = (u64_at(at), u64_at(at + 8));
        at += 16;
        let size = |kind: u32| match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            other => panic!("values of type {other}"),
        };
        for _ in 0..values {
            at += 8 + u64_at(at) as usize;
            let kind = u32_at(at);
            at += 4;
            match kind {
                8 => at += 8 + u64_at(at) as usize,
                9 => {
                    let (kind, count) = (u32_at(at), u64_at(at + 4));
                    at += 12;
                    for _ in 0..count {
                        at += if kind == 8 {
                            8 + u64_at(at) as usize
                        } else {
                            size(kind)
                        };
                    }
                }
                kind => at += size(kind),
            }
        }
        let values_end = at;
        let tensors = (0..tensors)
            .map(|_| {
                let length = u64_at(at) as usize;
                let name = String::from_utf8(bytes[at + 8..at + 8 + length].to_vec()).unwrap();
                at += 8 + length;
                let dimensions = u32_at(at) as usize;
                let shape = (0..dimensions).map(|i| u64_at(at + 4 + 8 * i)).collect();
                at += 4 + 8 * dimensions + 12;
                Tensor { name, shape }
            })
            .collect();
        Header {
            values_end,
            tensors,
        }
    }
}

/// All blocks of one type as blocks of another.
fn convert(from: WeightType, to: WeightType, content: &[u8]) -> Vec<u8> {
    // Whole blocks of both types.
    let chunk = 256 / from.block() * from.block_bytes() * 64;
    let parts: Vec<&[u8]> = content.chunks(chunk).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = parts
            .chunks(parts.len().div_ceil(threads))
            .map(|parts| {
                scope.spawn(move || {
                    let mut out = Vec::new();
                    let mut plain = Vec::new();
                    for part in parts {
                        plain.resize(part.len() / from.block_bytes() * from.block(), 0.0);
                        for (block, plain) in part
                            .chunks_exact(from.block_bytes())
                            .zip(plain.chunks_exact_mut(from.block()))
                        {
                            from.expand(block, plain);
                        }
                        plain
                            .chunks_exact(to.block())
                            .for_each(|x| block(to, x, &mut out));
                    }
                    out
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    })
}

fn put(out: &mut Vec<u8>, value: f32) -> f32 {
    let bits = half::from_f32(value);
    out.extend(bits.to_le_bytes());
    half::to_f32(bits)
}

fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn steps(x: f32, scale: f32, offset: f32, most: f32) -> u8 {
    (x * inverse(scale) + offset).round().clamp(0.0, most) as u8
}

fn pairs(q: &[u8], out: &mut Vec<u8>) {
    let (low, high) = q.split_at(q.len() / 2);
    out.extend(low.iter().zip(high).map(|(l, h)| l & 15 | h << 4));
}

fn fifth(q: &[u8]) -> [u8; 4] {
    let bits = q
        .iter()
        .enumerate()
        .map(|(i, q)| u32::from(q >> 4 & 1) << i);
    bits.sum::<u32>().to_le_bytes()
}

/// One block.
fn block(kind: WeightType, x: &[f32], out: &mut Vec<u8>) {
    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let (low, high) = x
        .iter()
        .fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    match kind {
        WeightType::F32 => out.extend(x[0].to_le_bytes()),
        WeightType::F16 => {
            put(out, x[0]);
        }
        WeightType::Bf16 => out.extend(half::brain_from_f32(x[0]).to_le_bytes()),
        WeightType::Q4_0 | WeightType::Q5_0 => {
            let middle = if kind == WeightType::Q4_0 { 8.0 } else { 16.0 };
            let scale = put(out, largest / (middle - 1.0));
            let q: Vec<u8> = x
                .iter()
                .map(|v| steps(*v, scale, middle, 2.0 * middle - 1.0))
                .collect();
            if kind == WeightType::Q5_0 {
                out.extend(fifth(&q));
            }
            pairs(&q, out);
        }
        WeightType::Q4_1 | WeightType::Q5_1 => {
            let most = if kind == WeightType::Q4_1 { 15.0 } else { 31.0 };
            let scale = put(out, (high - low) / most);
            let least = put(out, low);
            let q: Vec<u8> = x
                .iter()
                .map(|v| steps(*v - least, scale, 0.0, most))
                .collect();
            if kind == WeightType::Q5_1 {
                out.extend(fifth(&q));
            }
            pairs(&q, out);
        }
        WeightType::Q8_0 => {
            let scale = put(out, largest / 127.0);
            out.extend(
                x.iter()
                    .map(|v| steps(*v, scale, 128.0, 255.0).wrapping_sub(128)),
            );
        }
        WeightType::Q4K | WeightType::Q5K => small_k(kind, x, out),
        WeightType::Q6K => six_k(x, out),
    }
}

fn small_k(kind: WeightType, x: &[f32], out: &mut Vec<u8>) {
    let most = if kind == WeightType::Q4K { 15.0 } else { 31.0 };
    let limits: Vec<(f32, f32)> = x
        .chunks(32)
        .map(|x| {
            let least = x.iter().fold(0.0f32, |m, v| m.max(-*v));
            let top = x.iter().fold(0.0f32, |m, v| m.max(*v));
            ((top + least) / most, least)
        })
        .collect();
    let scale = put(out, limits.iter().fold(0.0f32, |m, l| m.max(l.0)) / 63.0);
    let least = put(out, limits.iter().fold(0.0f32, |m, l| m.max(l.1)) / 63.0);
    let s: Vec<u8> = limits
        .iter()
        .map(|l| steps(l.0, scale, 0.0, 63.0))
        .collect();
    let m: Vec<u8> = limits
        .iter()
        .map(|l| steps(l.1, least, 0.0, 63.0))
        .collect();
    out.extend((0..4).map(|j| s[j] | s[j + 4] >> 4 << 6));
    out.extend((0..4).map(|j| m[j] | m[j + 4] >> 4 << 6));
    out.extend((4..8).map(|j| s[j] & 15 | m[j] << 4));
    let q: Vec<u8> = (0..256)
        .map(|i| {
            let j = i / 32;
            steps(
                x[i] + least * f32::from(m[j]),
                scale * f32::from(s[j]),
                0.0,
                most,
            )
        })
        .collect();
    if kind == WeightType::Q5K {
        out.extend((0..32).map(|i| (0..8).fold(0, |bits, j| bits | (q[32 * j + i] >> 4) << j)));
    }
    q.chunks(64).for_each(|q| pairs(q, out));
}

fn six_k(x: &[f32], out: &mut Vec<u8>) {
    let limits: Vec<f32> = x
        .chunks(16)
        .map(|x| x.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 31.0)
        .collect();
    let scale = half::to_f32(half::from_f32(
        limits.iter().fold(0.0f32, |m, l| m.max(*l)) / 127.0,
    ));
    let s: Vec<u8> = limits
        .iter()
        .map(|l| steps(*l, scale, 0.0, 127.0))
        .collect();
    let q: Vec<u8> = (0..256)
        .map(|i| steps(x[i], scale * f32::from(s[i / 16]), 32.0, 63.0))
        .collect();
    for q in q.chunks(128) {
        out.extend((0..64).map(|i| q[i] & 15 | q[64 + i] << 4));
    }
    for q in q.chunks(128) {
        out.extend(
            (0..32).map(|i| {
                q[i] >> 4 | q[32 + i] >> 4 << 2 | q[64 + i] >> 4 << 4 | q[96 + i] >> 4 << 6
            }),
        );
    }
    out.extend(s);
    put(out, scale);
}
