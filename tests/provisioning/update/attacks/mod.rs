//! What somebody may try with an update, each refused by its rule before anything that runs is touched.

mod contents;
mod signatures;
mod stale;

use std::fs;
use std::path::Path;

use serde_json::Value;

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}
