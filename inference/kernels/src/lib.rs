//! The arithmetic of the model on the processor: quantised matrix products, attention, normalisation and the search for
//! the next token.
//!
//! Each operation is written once over [`simd::Simd`], sixteen lanes wide, and instantiated for every instruction set.
//! All instantiations do the same operations in the same order, so their results are equal bit for bit: the scalar one
//! is the reference the tests hold the others to. A row's result does not depend on the rows computed beside it, so
//! a batched, chunked or cached run writes the same tokens as a plain one.

mod activations;
mod attention;
mod cpu;
pub mod half;
mod isa;
mod matrix;
mod memory;
pub mod pick;
mod pool;
mod product;
mod simd;
mod weights;

pub use activations::{Activations, Forms};
pub use attention::{AttendRow, KV_BLOCK, KvLayout, Rotation};
pub use cpu::Cpu;
pub use isa::Isa;
pub use matrix::{Matrix, PackError};
pub use memory::Halves;
pub use pool::Pool;
pub use weights::WeightType;
