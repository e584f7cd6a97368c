//! GGUF model files: mapped into memory, and every length, offset and type checked before anything is believed.
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use memmap2::Mmap;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

/// More entries than any real model has; a file that claims more is broken.
const MAX_ENTRIES: u64 = 100_000;
/// Entries of all lists together; the largest vocabularies have a million of tokens, types, scores and merges.
const MAX_LISTED: u64 = 4_000_000;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It can't be read.
    #[error("the model file can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It is not what it should be.
    #[error("the model file is damaged or not a GGUF file: {0}")]
    Damaged(String),
    /// It is whole, but this program can't run it.
    #[error("this program can't run the model: {0}")]
    Unsupported(String),
}

fn damaged<T>(what: impl Into<String>) -> Result<T, GgufError> {
    Err(GgufError::Damaged(what.into()))
}

/// A metadata value. Numbers are kept wide; lists by their kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any whole number.
    Int(i128),
    /// Any floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list of whole numbers or truth values.
    Ints(Vec<i64>),
    /// A list of floating-point numbers.
    Floats(Vec<f32>),
    /// A list of texts.
    Texts(Vec<String>),
}

/// How a tensor is stored: name, elements of a block, bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    /// The name ggml gives it.
    pub name: &'static str,
    /// Its number in the file.
    pub code: u32,
    block: u64,
    bytes: u64,
}

const TYPES: &[TensorType] = &[
    TensorType {
        name: "F32",
        code: 0,
        block: 1,
        bytes: 4,
    },
    TensorType {
        name: "F16",
        code: 1,
        block: 1,
        bytes: 2,
    },
    TensorType {
        name: "Q4_0",
        code: 2,
        block: 32,
        bytes: 18,
    },
    TensorType {
        name: "Q4_1",
        code: 3,
        block: 32,
        bytes: 20,
    },
    TensorType {
        name: "Q5_0",
        code: 6,
        block: 32,
        bytes: 22,
    },
    TensorType {
        name: "Q5_1",
        code: 7,
        block: 32,
        bytes: 24,
    },
    TensorType {
        name: "Q8_0",
        code: 8,
        block: 32,
        bytes: 34,
    },
    TensorType {
        name: "Q4_K",
        code: 12,
        block: 256,
        bytes: 144,
    },
    TensorType {
        name: "Q5_K",
        code: 13,
        block: 256,
        bytes: 176,
    },
    TensorType {
        name: "Q6_K",
        code: 14,
        block: 256,
        bytes: 210,
    },
    TensorType {
        name: "BF16",
        code: 30,
        block: 1,
        bytes: 2,
    },
];

/// Where a tensor lies and what shape it has.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Length of a row: the input side of a matrix.
    pub columns: usize,
    /// Rows, all further dimensions taken together.
    pub rows: usize,
    /// How it is stored.
    pub kind: TensorType,
    start: usize,
    end: usize,
}

enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(held) => held,
        }
    }
}

/// An open model file.
pub struct Gguf {
    bytes: Bytes,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, TensorInfo>,
}

impl Gguf {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// When it can't be read, is damaged, or holds a kind of tensor nobody here knows.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return damaged("it is not a plain file");
        }
        // SAFETY: the map is read-only. If somebody shortens the file meanwhile, the process ends with SIGBUS; the
        // front reports that and starts another worker. After loading, the map is dropped.
        let map = unsafe { Mmap::map(&file)? };
        Gguf::new(Bytes::Mapped(map))
    }

    /// Checks a file that is in memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(bytes: Vec<u8>) -> Result<Gguf, GgufError> {
        Gguf::new(Bytes::Held(bytes))
    }

    fn new(bytes: Bytes) -> Result<Gguf, GgufError> {
        let (metadata, tensors) = parse(&bytes)?;
        Ok(Gguf {
            bytes,
            metadata,
            tensors,
        })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// When it is missing or not a text.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        match self.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => damaged(format!("it has no text '{key}'")),
        }
    }

    /// A size that must be there: positive and not absurd.
    ///
    /// # Errors
    /// When it is missing, zero, or more than 100 million.
    pub fn size(&self, key: &str) -> Result<usize, GgufError> {
        match self.get(key) {
            Some(Value::Int(n)) if (1..=100_000_000).contains(n) => Ok(*n as usize),
            Some(other) => damaged(format!("'{key}' is {other:?}, not a sensible size")),
            None => damaged(format!("it has no '{key}'")),
        }
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// When it is missing or not finite.
    pub fn float(&self, key: &str) -> Result<f32, GgufError> {
        match self.get(key) {
            Some(Value::Float(x)) if x.is_finite() => Ok(*x as f32),
            Some(Value::Int(n)) => Ok(*n as f32),
            _ => damaged(format!("it has no number '{key}'")),
        }
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        let info = self.tensors.get(name)?;
        Some((info, &self.bytes[info.start..info.end]))
    }
}

/// Reads forward through the file; every read is checked against its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Entries of lists so far.
    listed: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], GgufError> {
        let end = usize::try_from(n)
            .ok()
            .and_then(|n| self.at.checked_add(n))
            .filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return damaged(format!(
                "it ends in the middle of its header, at byte {}",
                self.bytes.len()
            ));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    fn string(&mut self) -> Result<String, GgufError> {
        let length = self.u64()?;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec())
            .or_else(|_| damaged(format!("the text before byte {} is not UTF-8", self.at)))
    }

    fn int(&mut self, kind: u32) -> Result<i128, GgufError> {
        Ok(match kind {
            0 | 7 => i128::from(self.array::<1>()?[0]),
            1 => i128::from(self.array().map(i8::from_le_bytes)?),
            2 => i128::from(self.array().map(u16::from_le_bytes)?),
            3 => i128::from(self.array().map(i16::from_le_bytes)?),
            4 => i128::from(self.u32()?),
            5 => i128::from(self.array().map(i32::from_le_bytes)?),
            10 => i128::from(self.u64()?),
            11 => i128::from(self.array().map(i64::from_le_bytes)?),
            _ => {
                return damaged(format!(
                    "unknown type {kind} of a value before byte {}",
                    self.at
                ));
            }
        })
    }

    fn value(&mut self) -> Result<Value, GgufError> {
        Ok(match self.u32()? {
            6 => Value::Float(f64::from(f32::from_bits(self.u32()?))),
            12 => Value::Float(f64::from_bits(self.u64()?)),
            7 => Value::Bool(self.int(7)? != 0),
            8 => Value::Text(self.string()?),
            9 => {
                let kind = self.u32()?;
                let count = self.u64()?;
                self.listed = self.listed.saturating_add(count);
                if self.listed > MAX_LISTED {
                    return damaged(format!(
                        "its lists claim {} entries; {MAX_LISTED} are the most",
                        self.listed
                    ));
                }
                match kind {
                    6 => Value::Floats(
                        (0..count)
                            .map(|_| self.u32().map(f32::from_bits))
                            .collect::<Result<_, _>>()?,
                    ),
                    12 => Value::Floats(
                        (0..count)
                            .map(|_| self.u64().map(|b| f64::from_bits(b) as f32))
                            .collect::<Result<_, _>>()?,
                    ),
                    8 => Value::Texts(
                        (0..count)
                            .map(|_| self.string())
                            .collect::<Result<_, _>>()?,
                    ),
                    9 => return damaged("a list of lists"),
                    _ => Value::Ints(
                        (0..count)
                            .map(|_| self.int(kind).map(|n| n as i64))
                            .collect::<Result<_, _>>()?,
                    ),
                }
            }
            kind => Value::Int(self.int(kind)?),
        })
    }
}

type Parsed = (HashMap<String, Value>, HashMap<String, TensorInfo>);

/// Checks a whole file.
fn parse(bytes: &[u8]) -> Result<Parsed, GgufError> {
    let mut r = Reader {
        bytes,
        at: 0,
        listed: 0,
    };
    if r.take(4).ok() != Some(b"GGUF") {
        return damaged("it doesn't begin with 'GGUF'");
    }
    let version = r.u32()?;
    if !(2..=3).contains(&version) {
        return Err(GgufError::Unsupported(format!(
            "GGUF version {version}; versions 2 and 3 are known"
        )));
    }
    let (tensor_count, value_count) = (r.u64()?, r.u64()?);
    if tensor_count > MAX_ENTRIES || value_count > MAX_ENTRIES {
        return damaged(format!(
            "it claims {tensor_count} tensors and {value_count} values"
        ));
    }
    let mut metadata = HashMap::new();
    for _ in 0..value_count {
        let key = r.string()?;
        let value = r.value()?;
        if metadata.insert(key.clone(), value).is_some() {
            return damaged(format!("'{key}' is there twice"));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Int(n)) if (8..=1 << 20).contains(n) && n.count_ones() == 1 => *n as u64,
        Some(other) => return damaged(format!("its alignment is {other:?}")),
    };
    let mut headers = Vec::new();
    for _ in 0..tensor_count {
        headers.push(tensor_header(&mut r, alignment)?);
    }
    let data = (r.at as u64).next_multiple_of(alignment);
    let mut tensors = HashMap::new();
    let mut spans = Vec::new();
    for header in headers {
        let TensorHeader {
            name,
            columns,
            rows,
            kind,
            offset,
            size,
        } = header;
        let start = data.checked_add(offset);
        let end = start
            .and_then(|start| start.checked_add(size))
            .filter(|&end| end <= bytes.len() as u64);
        let (Some(start), Some(end)) = (start, end) else {
            return damaged(format!(
                "tensor '{name}' lies beyond its end ({} bytes): is the file complete?",
                bytes.len()
            ));
        };
        spans.push((start, end));
        let info = TensorInfo {
            columns,
            rows,
            kind,
            start: start as usize,
            end: end as usize,
        };
        if tensors.insert(name.clone(), info).is_some() {
            return damaged(format!("tensor '{name}' is there twice"));
        }
    }
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return damaged("two tensors overlap");
    }
    Ok((metadata, tensors))
}

struct TensorHeader {
    name: String,
    columns: usize,
    rows: usize,
    kind: TensorType,
    offset: u64,
    size: u64,
}

fn tensor_header(r: &mut Reader<'_>, alignment: u64) -> Result<TensorHeader, GgufError> {
    let name = r.string()?;
    let dimensions = r.u32()?;
    if !(1..=4).contains(&dimensions) {
        return damaged(format!("tensor '{name}' has {dimensions} dimensions"));
    }
    let mut shape = [1u64; 4];
    for length in &mut shape[..dimensions as usize] {
        *length = r.u64()?;
    }
    let code = r.u32()?;
    let offset = r.u64()?;
    let Some(&kind) = TYPES.iter().find(|t| t.code == code) else {
        return Err(GgufError::Unsupported(format!(
            "tensor '{name}' is stored as type {code}, which is not known here"
        )));
    };
    let [columns, further @ ..] = shape;
    let rows = further.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let elements = rows
        .and_then(|rows| rows.checked_mul(columns))
        .filter(|&n| n > 0 && n <= 1 << 40);
    let (Some(rows), Some(elements)) = (rows, elements) else {
        return damaged(format!("tensor '{name}' has the shape {shape:?}"));
    };
    if !columns.is_multiple_of(kind.block) {
        return damaged(format!(
            "tensor '{name}' has rows of {columns}, not a multiple of {}",
            kind.block
        ));
    }
    if !offset.is_multiple_of(alignment) {
        return damaged(format!(
            "tensor '{name}' is not aligned to {alignment} bytes"
        ));
    }
    let size = elements / kind.block * kind.bytes;
    Ok(TensorHeader {
        name,
        columns: columns as usize,
        rows: rows as usize,
        kind,
        offset,
        size,
    })
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
