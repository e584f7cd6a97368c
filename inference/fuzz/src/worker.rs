//! The modules themselves rather than the library around them, which takes minutes to build with instruments.

#![allow(dead_code, reason = "not everything in them is fuzzed")]

#[path = "../../src/worker/gguf.rs"]
pub mod gguf;
#[path = "../../src/worker/model/mod.rs"]
pub mod model;
#[path = "../../src/worker/template.rs"]
pub mod template;
#[path = "../../src/worker/tokenizer/mod.rs"]
pub mod tokenizer;
