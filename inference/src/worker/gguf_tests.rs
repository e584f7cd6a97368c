use super::*;
use proptest::prelude::*;

/// A small file of our own making: one text, one list, one tensor of 2 × 32 numbers.
fn file(edit: impl Fn(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts {
        magic: *b"GGUF",
        version: 3,
        dimensions: vec![32, 2],
        kind: 0,
        offset: 0,
        alignment: 32,
        cut: 0,
    };
    edit(&mut parts);
    let mut out = parts.magic.to_vec();
    out.extend(parts.version.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(3u64.to_le_bytes());
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "llama");
    text(&mut out, "general.alignment");
    out.extend(4u32.to_le_bytes());
    out.extend(parts.alignment.to_le_bytes());
    text(&mut out, "list");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    text(&mut out, "a");
    text(&mut out, "ṱ");
    text(&mut out, "weight");
    out.extend((parts.dimensions.len() as u32).to_le_bytes());
    parts
        .dimensions
        .iter()
        .for_each(|d| out.extend(d.to_le_bytes()));
    out.extend(parts.kind.to_le_bytes());
    out.extend(parts.offset.to_le_bytes());
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend((0..64).flat_map(|i| (i as f32).to_le_bytes()));
    out.truncate(out.len() - parts.cut);
    out
}

struct Parts {
    magic: [u8; 4],
    version: u32,
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
    alignment: u32,
    cut: usize,
}

fn refusal(edit: impl Fn(&mut Parts)) -> String {
    parse(&file(edit))
        .expect_err("it should be refused")
        .to_string()
}

#[test]
fn a_good_file_is_read() {
    let (metadata, tensors) = parse(&file(|_| {})).unwrap();
    assert_eq!(
        metadata["general.architecture"],
        Value::Text("llama".into())
    );
    assert_eq!(metadata["list"], Value::Texts(vec!["a".into(), "ṱ".into()]));
    let tensor = &tensors["weight"];
    assert_eq!(
        (tensor.columns, tensor.rows, tensor.end - tensor.start),
        (32, 2, 256)
    );
}

#[test]
fn what_is_wrong_is_named() {
    assert!(refusal(|p| p.magic = *b"GGML").contains("begin with 'GGUF'"));
    assert!(refusal(|p| p.version = 9).contains("version 9"));
    assert!(refusal(|p| p.kind = 99).contains("type 99"));
    assert!(refusal(|p| p.cut = 1).contains("beyond its end"));
    assert!(refusal(|p| p.cut = 300).contains("ends in the middle"));
    assert!(refusal(|p| p.offset = 8).contains("not aligned"));
    assert!(refusal(|p| p.offset = u64::MAX - 31).contains("beyond its end"));
    assert!(refusal(|p| p.alignment = 24).contains("alignment"));
    assert!(refusal(|p| p.dimensions = vec![]).contains("dimensions"));
    assert!(refusal(|p| p.dimensions = vec![u64::MAX, 3]).contains("shape"));
    assert!(refusal(|p| p.dimensions = vec![32, 0]).contains("shape"));
    assert!(
        refusal(|p| (p.kind, p.dimensions) = (3, vec![31, 2])).contains("not a multiple of 32")
    );
}

#[test]
fn a_list_that_is_not_there_takes_no_memory() {
    // The list claims more entries than the file has bytes: the end is found, entry by entry.
    let long = |entries: u64, kind: u32| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.push(b'x');
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.resize(bytes.len() + 64, 0);
        Gguf::read(bytes)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    assert!(long(3_999_999, 8).contains("ends in the middle"));
    assert!(long(3_999_999, 0).contains("ends in the middle"));
    assert!(long(4_000_001, 0).contains("claim 4000001 entries"));
    assert!(long(u64::MAX, 8).contains("entries"));
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(position in 0usize..400, byte: u8, cut in 0usize..600) {
        let mut bytes = file(|_| {});
        let position = position % bytes.len();
        bytes[position] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let _ = parse(&bytes);
    }
}
