//! Imports run one way: a room uses only what stands above it in `lib.rs`, and another room only through its `mod.rs`.

use std::path::{Path, PathBuf};

use crate::support::sources;

/// The `crate::…` paths that a file names, in `use` lines and in its code.
fn crate_paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .unwrap_or(rest.len());
        let first: Vec<String> = rest[..end]
            .split("::")
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
        if first.is_empty() {
            // `use crate::{a, b::c};`
            let inside = rest
                .trim_start_matches('{')
                .split('}')
                .next()
                .unwrap_or_default();
            paths.extend(
                inside
                    .split(',')
                    .map(|p| p.trim().split("::").map(str::to_owned).collect::<Vec<_>>()),
            );
        } else {
            paths.push(first);
        }
    }
    paths
}

#[test]
fn imports_run_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let order: Vec<&str> = map
        .lines()
        .filter_map(|l| l.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert!(order.len() > 10);
    let rank = |name: &str| order.iter().position(|o| *o == name);
    let mut wrong = Vec::new();
    for file in sources(&src) {
        let relative = file
            .strip_prefix(&src)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let room = relative.split(['/', '.']).next().unwrap();
        let Some(own) = rank(room) else { continue };
        for path in crate_paths(&std::fs::read_to_string(&file).unwrap()) {
            let Some(other) = rank(&path[0]) else {
                continue;
            };
            if other > own {
                wrong.push(format!(
                    "{relative} uses {}, which stands below it in lib.rs",
                    path.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&src).iter().filter(|f| !f.ends_with("clock.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        for word in [
            "now_utc(",
            "SystemTime::now(",
            "Timestamp::now(",
            "Zoned::now(",
        ] {
            assert!(
                !text.contains(word),
                "{} asks the system for the time: {word}",
                file.display()
            );
        }
    }
}

/// The files below a folder that its `main.rs` or `mod.rs` does not name: whatever they test is never run.
fn forgotten(folder: &Path, root: &str, found: &mut Vec<PathBuf>) {
    // A folder of modules without a root is forgotten with all that is in it.
    let named = std::fs::read_to_string(folder.join(root)).unwrap_or_default();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if sources(&path).is_empty() {
                continue;
            }
            forgotten(&path, "mod.rs", found);
        } else if path.ends_with(root) || path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !named
            .lines()
            .any(|line| line.trim_start_matches("pub ") == format!("mod {module};"))
        {
            found.push(path);
        }
    }
}

#[test]
fn every_file_of_tests_is_compiled() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    let mut found = Vec::new();
    for suite in ["appliance", "provisioning"] {
        forgotten(&tests.join(suite), "main.rs", &mut found);
    }
    assert!(found.is_empty(), "in no build: {found:#?}");
}
