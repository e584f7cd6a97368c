//! Embeds the built browser assets (`npm run build`) in the program, so that it finds them from any folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let dist = root.join("src/web/assets/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    println!(
        "cargo::rerun-if-changed={}",
        root.join("../migrations").display()
    );
    let manifest = fs::read_to_string(dist.join("manifest.json")).unwrap_or_default();
    let Ok(serde_json::Value::Object(files)) = serde_json::from_str(&manifest) else {
        println!(
            "cargo::error=the browser assets are not built: run `npm ci && npm run build` in the repository's root first"
        );
        return;
    };
    let mut code = String::from("pub(super) static ASSETS: &[Asset] = &[\n");
    for (logical, entry) in &files {
        let (file, kind) = (
            entry["file"].as_str().unwrap_or_default(),
            entry["type"].as_str().unwrap_or_default(),
        );
        let plain = include(&dist, file);
        let (gz, br) = (
            include(&dist, &format!("{file}.gz")),
            include(&dist, &format!("{file}.br")),
        );
        let _ = writeln!(
            code,
            "    Asset {{ logical: {logical:?}, file: {file:?}, kind: {kind:?}, plain: {}, gzip: {}, brotli: {} }},",
            plain.map_or("&[]".into(), |p| format!("include_bytes!({p:?})")),
            gz.map_or("None".into(), |p| format!("Some(include_bytes!({p:?}))")),
            br.map_or("None".into(), |p| format!("Some(include_bytes!({p:?}))")),
        );
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("assets.rs");
    if let Err(e) = fs::write(&out, code) {
        println!("cargo::error=can't write {}: {e}", out.display());
    }
}

fn include(dist: &Path, file: &str) -> Option<String> {
    let path = dist.join(file);
    path.is_file().then(|| path.display().to_string())
}
