use super::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Expected {
    plain: Vec<Vec<Token>>,
    /// Only where names of special tokens make a difference.
    special: HashMap<usize, Vec<Token>>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/inference/fixtures/tokens")
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    let bytes = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn number(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

/// One of the small vocabularies, as a model file says it: with another value of one of its keys.
fn edited(file: &str, key: &str, value: &Value) -> Result<Tokenizer, GgufError> {
    let bytes = std::fs::read(folder().join(file)).unwrap();
    let key_start = bytes
        .windows(key.len())
        .position(|w| w == key.as_bytes())
        .unwrap();
    let at = key_start + key.len() + 4;
    let mut out = bytes[..at].to_vec();
    let after = match value {
        Value::Text(text) => {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            out.extend(number(text.len() as u64));
            out.extend(text.as_bytes());
            at + 8 + length as usize
        }
        Value::Bool(flag) => {
            out.push(u8::from(*flag));
            at + 1
        }
        Value::Int(n) => {
            out.extend((*n as u32).to_le_bytes());
            at + 4
        }
        other => panic!("{other:?}"),
    };
    out.extend(&bytes[after..]);
    Gguf::read(out).and_then(|file| Tokenizer::from_gguf(&file))
}

fn with_pre(name: &str) -> Result<Tokenizer, GgufError> {
    edited("bpe.gguf", "tokenizer.ggml.pre", &Value::Text(name.into()))
}

fn with_space(space: bool) -> Tokenizer {
    edited(
        "spm.gguf",
        "tokenizer.ggml.add_space_prefix",
        &Value::Bool(space),
    )
    .unwrap()
}

/// Compares with what llama.cpp found; special tokens never come out of plain text, whatever it found.
fn compare(tokenizer: &Tokenizer, name: &str) {
    let strings: Vec<String> = json("strings");
    let expected: Expected = json(name);
    assert!(strings.len() >= 200 && expected.plain.len() == strings.len());
    for (i, (text, plain)) in strings.iter().zip(&expected.plain).enumerate() {
        let found = tokenizer.encode(text).unwrap();
        assert_eq!(found, *plain, "{name}: {text:?}");
        assert!(found.iter().all(|&t| !tokenizer.is_special(t)));
        let special = expected.special.get(&i).unwrap_or(plain);
        let found = tokenizer.encode_with_special(text).unwrap();
        assert_eq!(found, *special, "{name}: {text:?} with special tokens");
        // SentencePiece can't tell its sign for a space from a space, and puts a space after a token written by name.
        let written = match tokenizer.coder {
            Coder::Bpe(_) => text.clone(),
            Coder::Spm(_) => text.replace(SPACE, " "),
        };
        if !tokenizer.space_before || !text.contains("<whole>") {
            assert_eq!(tokenizer.decode(plain), written);
        }
    }
}

#[test]
fn byte_pairs_are_joined_as_llama_cpp_joins_them() {
    for pre in ["smollm", "gpt-2", "llama-bpe", "qwen2", "default"] {
        compare(&with_pre(pre).unwrap(), &format!("bpe-{pre}"));
    }
}

#[test]
fn sentence_pieces_are_joined_as_llama_cpp_joins_them() {
    compare(&with_space(true), "spm");
    compare(&with_space(false), "spm-no-space");
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let refusal = |result: Result<Tokenizer, GgufError>| match result {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it should be refused"),
    };
    let unknown = refusal(with_pre("deepseek-v9"));
    assert!(
        unknown.contains("'deepseek-v9'") && unknown.contains("qwen2"),
        "{unknown}"
    );
    let kind = Value::Text("rwkv".into());
    assert!(refusal(edited("bpe.gguf", "tokenizer.ggml.model", &kind)).contains("'rwkv'"));
    let bpe_as_spm = Value::Text("llama".into());
    let unscored = refusal(edited("bpe.gguf", "tokenizer.ggml.model", &bpe_as_spm));
    assert!(unscored.contains("scores"), "{unscored}");
}

#[test]
fn files_say_whether_a_token_opens_a_text() {
    assert_eq!(with_space(true).opening(), Some(1));
    assert_eq!(with_pre("qwen2").unwrap().opening(), None);
    let llama3 = with_pre("llama-bpe").unwrap();
    assert_eq!(
        llama3.name(llama3.opening().unwrap()),
        Some("<|begin_of_text|>")
    );
    assert_eq!(llama3.closing(), None);
}

#[test]
fn ends_are_known_by_name_and_by_number() {
    let tokenizer = with_pre("qwen2").unwrap();
    let mut names: Vec<_> = tokenizer.ends().filter_map(|t| tokenizer.name(t)).collect();
    names.sort_unstable();
    assert_eq!(names, ["<|endoftext|>", "<|im_end|>"]);
    assert!(tokenizer.ends().all(|t| tokenizer.is_special(t)));
}

#[test]
fn a_text_inside_another_gets_no_space() {
    let tokenizer = with_space(true);
    let inside = tokenizer.encode_inside("The patient").unwrap();
    let bytes: Vec<u8> = inside
        .iter()
        .flat_map(|&t| tokenizer.bytes(t))
        .copied()
        .collect();
    assert_eq!(bytes, b"The patient");
    assert_ne!(inside, tokenizer.encode("The patient").unwrap());
}

#[test]
fn a_marked_name_is_text() {
    for tokenizer in [with_pre("smollm").unwrap(), with_space(true)] {
        let name = tokenizer.name(tokenizer.eos()).unwrap().to_owned();
        let (head, tail) = name.split_at(1);
        let marked = tokenizer
            .encode_marked(&format!("a{head}\u{fdd0}{tail}b{name}"), '\u{fdd0}')
            .unwrap();
        let mut expected = tokenizer.encode(&format!("a{name}b")).unwrap();
        expected.push(tokenizer.eos());
        assert_eq!(marked, expected);
    }
}

#[test]
fn what_fuzzing_found_is_refused() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/model_file");
    let refusal = |name: &str| {
        let file = Gguf::read(std::fs::read(folder.join(name)).unwrap()).unwrap();
        Tokenizer::from_gguf(&file).err().map(|e| e.to_string())
    };
    let merge = refusal("merge_of_no_token").unwrap();
    assert!(merge.contains("the merge '2 2'"), "{merge}");
    assert_eq!(refusal("pairs"), None);
    assert_eq!(refusal("pieces"), None);
}
