//! `hadadactl model`: what comes into the folder, and what is let out of it.

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

use crate::{Home, fake, hadadactl, mode};

const WEIGHTS: &[u8] = b"GGUF and so on";

impl Home {
    async fn model(&self, arguments: &[&str]) -> crate::Said {
        let mut all = vec!["model"];
        all.extend(arguments);
        all.extend(["--dir", self.dir()]);
        hadadactl(&all).await
    }

    fn own_file(&self) -> String {
        let file = self.path("Mine.gguf");
        std::fs::write(&file, WEIGHTS).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// A vendor's folder, and the vendor's key trusted by the box.
fn vendor(home: &Home) -> (PathBuf, String) {
    vendor_of(home, WEIGHTS, "")
}

/// The same with these weights, and with more in the manifest.
fn vendor_of(home: &Home, weights: &[u8], more: &str) -> (PathBuf, String) {
    let key = SigningKey::from_bytes(&[3; 32]);
    let keys = home.path("models/keys");
    std::fs::create_dir_all(&keys).unwrap();
    let public = hex::encode(key.verifying_key().to_bytes());
    std::fs::write(keys.join("vendor.pub"), public).unwrap();
    let folder = home.path("from-vendor");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("w.gguf"), weights).unwrap();
    let manifest = format!(
        "id = \"notes-1\"\npurpose = \"writing\"\nlicence = \"Apache-2.0\"\narchitecture = \"llama\"\n[[files]]\nname = \"w.gguf\"\nsha256 = \"{}\"\nbytes = {}\n{more}",
        hex::encode(Sha256::digest(weights)),
        weights.len()
    );
    let signature = hex::encode(key.sign(manifest.as_bytes()).to_bytes());
    std::fs::write(folder.join("manifest.toml"), &manifest).unwrap();
    std::fs::write(folder.join("manifest.toml.sig"), signature).unwrap();
    (folder, manifest)
}

#[tokio::test]
async fn a_vendors_model_is_taken_whole_or_not_at_all() {
    let home = Home::new().await;
    assert!(
        home.model(&["list"])
            .await
            .good()
            .contains("No model is in")
    );
    let (folder, manifest) = vendor(&home);
    let source = folder.to_str().unwrap();
    let said = home.model(&["add", source]).await.good();
    assert!(
        said.contains("signed by vendor") && said.contains("model evaluate notes-1"),
        "{said}"
    );
    assert_eq!(home.read("models/notes-1/w.gguf"), WEIGHTS);
    assert_eq!(mode(&home.path("models/notes-1/w.gguf")), 0o644);
    let list = home.model(&["list"]).await.good();
    assert!(
        list.contains("notes-1") && list.contains("vendor") && list.contains("not yet"),
        "{list}"
    );
    assert!(
        home.model(&["add", source])
            .await
            .error()
            .contains("there is a model notes-1 already")
    );
    std::fs::remove_dir_all(home.path("models/notes-1")).unwrap();
    // Another file than the one signed for, and another manifest than the one signed.
    std::fs::write(folder.join("w.gguf"), b"GGUF and so oN").unwrap();
    let error = home.model(&["add", source]).await.error();
    assert!(
        error.contains("is not the file its manifest was signed for"),
        "{error}"
    );
    std::fs::write(folder.join("w.gguf"), WEIGHTS).unwrap();
    std::fs::write(
        folder.join("manifest.toml"),
        manifest.replace("Apache", "Apachf"),
    )
    .unwrap();
    let error = home.model(&["add", source]).await.error();
    assert!(error.contains("not signed by any trusted key"), "{error}");
    assert!(
        home.model(&["add", home.dir()])
            .await
            .error()
            .contains("--by-it")
    );
    let left: Vec<_> = std::fs::read_dir(home.path("models"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["keys"], "something was left behind");
}

#[tokio::test]
async fn a_model_of_its_own_is_marked_and_a_change_of_it_shows() {
    let home = Home::new().await;
    let file = home.own_file();
    assert_eq!(home.model(&["add", &file, "--by-it"]).await.code, Some(2));
    let said = home
        .model(&["add", &file, "--by-it", "--licence", "MIT"])
        .await
        .good();
    assert!(said.contains("mine is there"), "{said}");
    assert_eq!(mode(&home.path("keys/models.key")), 0o600);
    assert!(
        home.text("models/mine/manifest.toml")
            .contains("added_by_it = true")
    );
    assert!(home.model(&["list"]).await.good().contains("added by IT"));
    assert!(home.model(&["verify"]).await.good().contains("mine: whole"));
    // The key is kept for the next one.
    let key = home.read("keys/models.key");
    let again = ["add", &file, "--by-it", "--licence", "MIT", "--id", "other"];
    home.model(&again).await.good();
    assert_eq!(home.read("keys/models.key"), key);
    std::fs::write(home.path("models/mine/Mine.gguf"), b"GGUF and so oN").unwrap();
    let fault = home.model(&["verify"]).await.fault();
    assert!(
        fault.contains("is not the file") && fault.contains("other: whole"),
        "{fault}"
    );
    assert!(
        home.model(&["verify", "nobody"])
            .await
            .fault()
            .contains("there is no model 'nobody'")
    );
}

#[tokio::test]
async fn only_a_model_that_passed_is_enabled_and_the_daemon_is_waited_for() {
    let home = Home::new().await;
    let file = home.own_file();
    home.model(&["add", &file, "--by-it", "--licence", "MIT"])
        .await
        .good();
    let error = home.model(&["enable", "mine"]).await.error();
    assert!(error.contains("hadadactl model evaluate mine"), "{error}");
    assert!(!home.path("models/enabled.toml").exists());
    let digest = hex::encode(Sha256::digest(home.read("models/mine/manifest.toml")));
    let evaluation = |value: f64, passed: bool| {
        let text = serde_json::json!({
            "model": digest, "at": "2026-11-22T10:00:00Z", "device": "cpu", "prompt_version": "3", "passed": passed,
            "figures": [{"name": "citations of lines that were given", "value": value, "at_least": 1.0, "cases": 7}],
        });
        std::fs::write(home.path("models/mine/evaluation.json"), text.to_string()).unwrap();
    };
    evaluation(0.9, false);
    let error = home.model(&["enable", "mine"]).await.error();
    assert!(
        error.contains("citations of lines that were given: 0.900, needed at least 1"),
        "{error}"
    );
    assert!(
        home.model(&["list"])
            .await
            .good()
            .contains("failed 2026-11-22")
    );
    evaluation(1.0, true);
    let said = home.model(&["enable", "mine"]).await.good();
    assert!(said.contains("is not running"), "{said}");
    assert_eq!(home.text("models/enabled.toml"), "writing = \"mine\"\n");
    let asked = std::sync::atomic::AtomicU32::new(0);
    fake::listen(&home, "run/inference.sock", move |_, _| {
        let loading = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        let body = if loading {
            serde_json::json!({"state": "starting", "reason": "the model is loading", "model": null})
        } else {
            serde_json::json!({"state": "ready", "model": {"id": "mine"}})
        };
        (if loading { 503 } else { 200 }, body.to_string())
    });
    let said = home.model(&["enable", "mine"]).await.good();
    assert!(
        said.contains("the model is loading") && said.contains("serves it"),
        "{said}"
    );
    std::fs::write(home.path("models/mine/Mine.gguf"), b"GGUF and so oN").unwrap();
    assert!(
        home.model(&["enable", "mine"])
            .await
            .error()
            .contains("is not the file")
    );
}

/// The demo's model: as small as they come, and too weak to write here.
fn small_model() -> Vec<u8> {
    let folder = std::env::var_os("HADADA_MODELS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/hadada/models"),
        PathBuf::from,
    );
    let file = folder.join("smollm2-135m-instruct-q4_1.gguf");
    std::fs::read(&file)
        .unwrap_or_else(|e| panic!("{}: {e}: run provisioning/models", file.display()))
}

#[tokio::test]
async fn a_model_is_measured_by_drafting_with_it_and_one_that_fails_may_not_write() {
    for name in ["hadada", "hadada-inference", "hadada-worker"] {
        let program = Path::new(env!("CARGO_BIN_EXE_hadadactl")).with_file_name(name);
        assert!(
            program.exists(),
            "{} is missing: build it first (cargo build --workspace --bins)",
            program.display()
        );
    }
    let home = Home::new().await;
    let known = "[[known_answers]]\nprompt = \"<|im_start|>user\\nWhat is physiotherapy?<|im_end|>\\n<|im_start|>assistant\\n\"\n\
        answer = \"Physiotherapy is a branch of sports medicine\"\n\
        [[known_answers]]\nprompt = \"Once upon a time\"\nanswer = \"no model says this\"\n";
    let (folder, _) = vendor_of(&home, &small_model(), known);
    home.model(&["add", folder.to_str().unwrap()]).await.good();
    let table = home.model(&["evaluate", "notes-1"]).await.fault();
    let line = |name: &str| {
        let found = table.lines().find(|l| l.trim_start().starts_with(name));
        found
            .unwrap_or_else(|| panic!("no '{name}' in {table}"))
            .to_owned()
    };
    assert!(line("known answers of the worker's own test").ends_with("ok"));
    let known = line("known answers of the manifest");
    assert!(
        known.contains("0.500 of    2") && known.ends_with("FAILS"),
        "{known}"
    );
    // A grammar holds every answer to lines that were given, and what the model must not do it is not asked.
    assert!(line("citations of lines that were given").ends_with("ok"));
    assert!(line("orders in notes that are set aside").ends_with("ok"));
    assert!(line("texts about no patient that are refused").ends_with("ok"));
    let echoes = line("sentences that repeat the request");
    assert!(
        echoes.ends_with("FAILS"),
        "the small model copies its request: {echoes}"
    );
    assert!(
        table.contains("notes-1 did not pass, so it may not write here"),
        "{table}"
    );

    let stored: serde_json::Value =
        serde_json::from_str(&home.text("models/notes-1/evaluation.json")).unwrap();
    let digest = hex::encode(Sha256::digest(home.read("models/notes-1/manifest.toml")));
    assert_eq!(
        (&stored["model"], &stored["passed"]),
        (&digest.into(), &false.into())
    );
    assert_eq!(stored["device"], "cpu");
    assert!(home.model(&["list"]).await.good().contains("failed"));
    let error = home.model(&["enable", "notes-1"]).await.error();
    assert!(
        error.contains("sentences that repeat the request"),
        "{error}"
    );
    let left: Vec<_> = std::fs::read_dir(home.path("run"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        Vec::<std::ffi::OsString>::new(),
        "its own service left something"
    );
}
