//! The registry over real folders.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

struct Box {
    _folder: tempfile::TempDir,
    registry: Registry,
    key: SigningKey,
}

fn a_box() -> Box {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(folder.path());
    let key = SigningKey::from_bytes(&[7; 32]);
    fs::create_dir(registry.keys_folder()).unwrap();
    let public = hex::encode(key.verifying_key().to_bytes());
    fs::write(registry.keys_folder().join("vendor.pub"), public + "\n").unwrap();
    Box {
        _folder: folder,
        registry,
        key,
    }
}

impl Box {
    fn add(&self, id: &str, content: &[u8]) -> PathBuf {
        let folder = self.registry.model_folder(id);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("m.gguf"), content).unwrap();
        let manifest = Manifest {
            id: id.into(),
            purpose: Purpose::Writing,
            licence: "Apache-2.0".into(),
            architecture: "llama".into(),
            context: Some(2048),
            template: Some("file".into()),
            source: None,
            added_by_it: false,
            cache_tokens: None,
            files: vec![FileEntry {
                name: "m.gguf".into(),
                sha256: hex::encode(Sha256::digest(content)),
                bytes: content.len() as u64,
            }],
            known_answers: vec![],
        };
        self.write(&folder, &manifest.write().unwrap(), &self.key);
        folder
    }

    fn write(&self, folder: &Path, manifest: &str, key: &SigningKey) {
        fs::write(folder.join(MANIFEST), manifest).unwrap();
        fs::write(folder.join(SIGNATURE), sign(manifest.as_bytes(), key)).unwrap();
    }
}

#[test]
fn a_signed_model_is_read_and_its_files_are_held_to_their_hashes() {
    let bx = a_box();
    let folder = bx.add("one", b"weights");
    let model = bx.registry.model("one").unwrap();
    assert_eq!(model.signed_by, "vendor");
    assert_eq!(model.weights(), folder.join("m.gguf"));
    model.check_files().unwrap();
    fs::write(folder.join("m.gguf"), b"weightz").unwrap();
    assert!(matches!(
        model.check_files(),
        Err(RegistryError::Content { .. })
    ));
    fs::remove_file(folder.join("m.gguf")).unwrap();
    assert!(matches!(model.check_files(), Err(RegistryError::Io { .. })));
}

#[test]
fn an_edit_a_strange_key_and_a_missing_signature_are_refused() {
    let bx = a_box();
    let folder = bx.add("one", b"weights");
    let good = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    let edited = good.replace("Apache-2.0", "Apache-3.0");
    fs::write(folder.join(MANIFEST), &edited).unwrap();
    let refused =
        |registry: &Registry| matches!(registry.model("one"), Err(RegistryError::Signature(_)));
    assert!(refused(&bx.registry));
    bx.write(&folder, &edited, &SigningKey::from_bytes(&[8; 32]));
    assert!(refused(&bx.registry));
    fs::write(folder.join(SIGNATURE), "zz").unwrap();
    assert!(refused(&bx.registry));
    fs::remove_file(folder.join(SIGNATURE)).unwrap();
    assert!(refused(&bx.registry));
    bx.write(&folder, &good, &bx.key);
    bx.registry.model("one").unwrap();
    fs::remove_file(bx.registry.keys_folder().join("vendor.pub")).unwrap();
    assert!(matches!(
        bx.registry.model("one"),
        Err(RegistryError::NoKeys(_))
    ));
}

#[test]
fn a_signed_manifest_with_an_impossible_rule_is_refused_by_name() {
    let bx = a_box();
    let folder = bx.add("one", b"weights");
    let good = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    for (from, to, word) in [
        ("m.gguf", "../m.gguf", "plain file name"),
        ("\"one\"", "\"two\"", "'two'"),
        ("\"one\"", "\"../one\"", "id:"),
        ("Apache-2.0", " ", "licence"),
        ("sha256 = \"", "sha256 = \"X", "SHA-256"),
        ("writing", "sorting", "sorting model has a"),
        ("licence", "license", "license"),
    ] {
        bx.write(&folder, &good.replace(from, to), &bx.key);
        let error = bx.registry.model("one").unwrap_err().to_string();
        assert!(error.contains(word), "{from} → {to}: {error}");
    }
    for id in ["../one", ".", "", "keys", "One", "a/b"] {
        assert!(
            matches!(bx.registry.model(id), Err(RegistryError::Unknown(_))),
            "{id}"
        );
    }
}

#[test]
fn only_a_model_that_passed_as_it_is_may_write() {
    let bx = a_box();
    let folder = bx.add("one", b"weights");
    let model = bx.registry.model("one").unwrap();
    let why = |model: &Model| model.may_write().unwrap_err().to_string();
    assert!(why(&model).contains("not evaluated"));
    let figure = |value| Figure {
        name: "answers that are valid".into(),
        value,
        at_least: Some(1.0),
        at_most: None,
        cases: 10,
    };
    let mut evaluation = Evaluation {
        model: model.digest.clone(),
        at: "2026-11-22T10:00:00Z".into(),
        device: "cpu".into(),
        prompt_version: "3".into(),
        figures: vec![figure(0.9)],
        passed: false,
    };
    bx.registry.store(&model, &evaluation).unwrap();
    assert!(why(&model).contains("answers that are valid: 0.900, needed at least 1"));
    evaluation.figures = vec![figure(1.0)];
    evaluation.passed = true;
    bx.registry.store(&model, &evaluation).unwrap();
    model.may_write().unwrap();
    let changed = fs::read_to_string(folder.join(MANIFEST))
        .unwrap()
        .replace("Apache-2.0", "MIT");
    bx.write(&folder, &changed, &bx.key);
    assert!(why(&bx.registry.model("one").unwrap()).contains("before it was changed"));
}

#[test]
fn the_stamp_moves_with_what_counts() {
    let bx = a_box();
    let folder = bx.add("one", b"weights");
    let mut stamps = vec![bx.registry.stamp()];
    let enabled = Enabled {
        writing: Some("one".into()),
        sorting: None,
    };
    bx.registry.enable(&enabled).unwrap();
    assert_eq!(bx.registry.enabled().unwrap(), enabled);
    stamps.push(bx.registry.stamp());
    replace(&folder.join(EVALUATION), b"{}").unwrap();
    stamps.push(bx.registry.stamp());
    stamps.push({
        replace(&folder.join(MANIFEST), b"x").unwrap();
        bx.registry.stamp()
    });
    for pair in stamps.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    assert_eq!(bx.registry.stamp(), bx.registry.stamp());
}

#[test]
fn a_measure_without_cases_proves_nothing() {
    let figure = Figure {
        name: "x".into(),
        value: 1.0,
        at_least: None,
        at_most: None,
        cases: 0,
    };
    assert!(!figure.passes());
    assert!(Figure { cases: 1, ..figure }.passes());
}
