//! The folder of models: what is enabled is served, only as it was signed, and changed without dropping a request.

use crate::support::{Daemon, alive, models, program, wait_for, writing_model};
use ed25519_dalek::SigningKey;
use hadada_model_registry::{
    Enabled, Evaluation, Figure, FileEntry, MANIFEST, Manifest, Purpose, Registry, SIGNATURE,
    digest_of, sign,
};
use serde_json::{Value, json};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SHOWN: Duration = Duration::from_secs(5);
const SERVES: Duration = Duration::from_secs(15);
const STARTS: Duration = Duration::from_secs(60);

/// A folder of models, signed by a key of the test's own.
struct Folder {
    registry: Registry,
    key: SigningKey,
}

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("hadada-models-{}-{name}", std::process::id()));
        let registry = Registry::new(path);
        let key = SigningKey::from_bytes(&[9; 32]);
        std::fs::create_dir_all(registry.keys_folder()).unwrap();
        let public = hex::encode(key.verifying_key().to_bytes());
        std::fs::write(registry.keys_folder().join("vendor.pub"), public).unwrap();
        Folder { registry, key }
    }

    /// Adds the test's writing model under a name.
    fn add(&self, id: &str) -> PathBuf {
        self.add_files(id, Purpose::Writing, &[("model.gguf", &writing_model())])
    }

    fn add_sorting(&self) {
        let source = models().join("minilm-l6-v2");
        let names = ["model.safetensors", "tokenizer.json", "config.json"];
        let paths = names.map(|name| source.join(name));
        let files: Vec<(&str, &Path)> = names
            .into_iter()
            .zip(paths.iter().map(PathBuf::as_path))
            .collect();
        self.add_files("minilm", Purpose::Sorting, &files);
    }

    fn add_files(&self, id: &str, purpose: Purpose, files: &[(&str, &Path)]) -> PathBuf {
        let folder = self.registry.model_folder(id);
        std::fs::create_dir_all(&folder).unwrap();
        let mut entries = Vec::new();
        for (name, source) in files {
            std::fs::copy(source, folder.join(name)).unwrap();
            entries.push(FileEntry {
                name: (*name).to_owned(),
                sha256: digest_of(source).unwrap(),
                bytes: std::fs::metadata(source).unwrap().len(),
            });
        }
        let manifest = Manifest {
            id: id.into(),
            purpose,
            licence: "Apache-2.0".into(),
            architecture: "llama".into(),
            context: None,
            template: None,
            source: None,
            added_by_it: false,
            cache_tokens: Some(8192),
            files: entries,
            known_answers: vec![],
        };
        let text = manifest.write().unwrap();
        std::fs::write(folder.join(MANIFEST), &text).unwrap();
        std::fs::write(folder.join(SIGNATURE), sign(text.as_bytes(), &self.key)).unwrap();
        folder.join(files[0].0)
    }

    fn evaluated(&self, id: &str, value: f64) {
        let model = self.registry.model(id).unwrap();
        let figure = Figure {
            name: "answers that are the JSON asked for".into(),
            value,
            at_least: Some(1.0),
            at_most: None,
            cases: 5,
        };
        let evaluation = Evaluation {
            model: model.digest.clone(),
            at: "2026-11-22T10:00:00Z".into(),
            device: "cpu".into(),
            prompt_version: "3".into(),
            passed: figure.passes(),
            figures: vec![figure],
        };
        self.registry.store(&model, &evaluation).unwrap();
    }

    fn enable(&self, writing: &str) {
        let enabled = Enabled {
            writing: Some(writing.into()),
            sorting: self
                .registry
                .model_folder("minilm")
                .exists()
                .then(|| "minilm".into()),
        };
        self.registry.enable(&enabled).unwrap();
    }

    fn start(&self, flags: &[&str]) -> Daemon {
        let mut command = Command::new(program("hadada-inference"));
        command.arg("--models").arg(self.registry.folder());
        Daemon::start_bare(command, flags)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.registry.folder());
    }
}

fn story(max_tokens: u32, more: Value) -> Value {
    let mut body = json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": max_tokens, "ignore_eos": true});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn serves(daemon: &Daemon, id: &str, limit: Duration) -> Value {
    wait_for(&format!("the model {id}"), limit, || {
        Some(daemon.health()).filter(|h| {
            let up = h["state"] == "ready" || h["state"] == "degraded";
            up && h["model"]["id"] == id && h["writing"] == true
        })
    })
}

fn reason(health: &Value) -> &str {
    health["reason"].as_str().unwrap_or("")
}

/// Turns one bit of a file.
fn flip(path: &Path) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let place = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 4], place).unwrap();
}

#[test]
fn the_model_changes_under_load_and_nobody_notices() {
    let folder = Folder::new("change");
    for id in ["first", "second"] {
        folder.add(id);
        folder.evaluated(id, 1.0);
    }
    folder.add_sorting();
    folder.enable("first");
    let daemon = folder.start(&[]);
    let before = serves(&daemon, "first", STARTS);
    assert_eq!(before["state"], "ready", "{before}");
    assert_eq!(before["embedding_model"]["id"], "minilm");
    let old = before["worker_pid"].as_u64().unwrap() as u32;
    let expected =
        daemon.post("/v1/completions", &story(250, json!({}))).ok()["choices"][0]["text"].clone();
    let stream = daemon.events("/v1/completions", &story(250, json!({"stream": true})));
    folder.enable("second");
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut text = String::new();
            for (name, data) in stream {
                assert_eq!(name, "", "the stream was broken off: {data}");
                if data != "[DONE]" {
                    let chunk: Value = serde_json::from_str(&data).unwrap();
                    text.push_str(chunk["choices"][0]["text"].as_str().unwrap());
                }
            }
            text
        });
        let mut answered = 0;
        // People go on asking all the while.
        let after = wait_for("the second model", SERVES, || {
            daemon
                .post("/v1/completions", &story(2, json!({"model": "default"})))
                .ok();
            answered += 1;
            Some(daemon.health()).filter(|h| h["model"]["id"] == "second")
        });
        assert!(answered > 0);
        assert_eq!(
            (after["state"].as_str(), after["restarts"].as_u64()),
            (Some("ready"), Some(0)),
            "{after}"
        );
        assert_eq!(reading.join().unwrap(), expected);
    });
    daemon
        .post("/v1/completions", &story(2, json!({"model": "second"})))
        .ok();
    daemon
        .post("/v1/completions", &story(2, json!({"model": "first"})))
        .error(404);
    wait_for("the worker before to end", SHOWN, || {
        (!alive(old)).then_some(())
    });
}

#[test]
fn a_model_that_did_not_pass_may_not_write_and_sorting_goes_on() {
    let folder = Folder::new("gate");
    folder.add("one");
    folder.add_sorting();
    folder.enable("one");
    let daemon = folder.start(&[]);
    let health = daemon.wait_until("degraded", STARTS);
    assert!(reason(&health).contains("not evaluated"), "{health}");
    assert_eq!(
        (&health["writing"], &health["model"]),
        (&json!(false), &Value::Null)
    );
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    let refused = daemon.post("/v1/chat/completions", &chat).error(503);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("hadadactl model evaluate one"),
        "{refused}"
    );
    daemon
        .post("/tokenize", &json!({"content": "x"}))
        .error(503);
    let vectors = daemon
        .post("/v1/embeddings", &json!({"input": ["knee", "invoice"]}))
        .ok();
    assert_eq!(
        vectors["data"][1]["embedding"].as_array().unwrap().len(),
        384
    );
    folder.evaluated("one", 0.5);
    let failed = |h: &Value| {
        reason(h).contains("did not pass its evaluation (answers that are the JSON asked for: 0.500, needed at least 1)")
    };
    wait_for("the failed measure to show", SHOWN, || {
        Some(daemon.health()).filter(failed)
    });
    daemon.post("/v1/chat/completions", &chat).error(503);
    folder.evaluated("one", 1.0);
    serves(&daemon, "one", SERVES);
    daemon
        .post(
            "/v1/chat/completions",
            &json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}),
        )
        .ok();
    // And back: a later evaluation that fails takes the pen away, not the sorting.
    folder.evaluated("one", 0.9);
    wait_for("the model to be put away", SERVES, || {
        Some(daemon.health()).filter(|h| h["writing"] == false && h["model"] == Value::Null)
    });
    daemon.post("/v1/chat/completions", &chat).error(503);
    daemon
        .post("/v1/embeddings", &json!({"input": "knee"}))
        .ok();
}

#[test]
fn a_file_with_one_bit_turned_another_file_and_none_are_named_and_the_right_one_taken_up() {
    let folder = Folder::new("files");
    let file = folder.add("one");
    folder.evaluated("one", 1.0);
    folder.enable("one");
    flip(&file);
    let daemon = folder.start(&[]);
    let health = daemon.wait_until("down", STARTS);
    assert!(
        reason(&health).contains("is not the file its manifest was signed for"),
        "{health}"
    );
    let refused = daemon
        .post("/v1/completions", &story(2, json!({})))
        .error(503);
    assert!(
        refused["message"].as_str().unwrap().contains("SHA-256"),
        "{refused}"
    );
    flip(&file);
    serves(&daemon, "one", SERVES);
    daemon.post("/v1/completions", &story(2, json!({}))).ok();

    // Swapped while it serves: the running worker has no need of the file, the next one refuses it.
    let swapped = |content: &[u8]| {
        let next = file.with_extension("new");
        std::fs::write(&next, content).unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    let good = std::fs::read(&file).unwrap();
    swapped(b"GGUF another file altogether");
    daemon.post("/v1/completions", &story(2, json!({}))).ok();
    crate::support::signal("KILL", daemon.worker());
    let health = daemon.wait_until("down", SHOWN);
    assert!(reason(&health).len() > 20, "{health}");
    std::fs::remove_file(&file).unwrap();
    wait_for("the missing file to be named", SERVES, || {
        Some(daemon.health()).filter(|h| reason(h).contains("No such file"))
    });
    swapped(&good);
    serves(&daemon, "one", SERVES);
    daemon.post("/v1/completions", &story(2, json!({}))).ok();
}

#[test]
fn a_model_that_can_not_be_loaded_leaves_the_one_before_it_in_place() {
    let folder = Folder::new("keep");
    folder.add("good");
    let bad = folder.add("bad");
    for id in ["good", "bad"] {
        folder.evaluated(id, 1.0);
    }
    flip(&bad);
    folder.enable("good");
    let daemon = folder.start(&[]);
    let worker = serves(&daemon, "good", STARTS)["worker_pid"].clone();
    folder.enable("bad");
    let health = wait_for("the refusal to show", SHOWN, || {
        Some(daemon.health()).filter(|h| reason(h).contains("bad can't be used, and good goes on"))
    });
    assert_eq!(
        (&health["state"], &health["worker_pid"]),
        (&json!("degraded"), &worker),
        "{health}"
    );
    daemon.post("/v1/completions", &story(2, json!({}))).ok();
    flip(&bad);
    serves(&daemon, "bad", SERVES);
    daemon.wait_until("ready", SHOWN);
    // A signature of nobody's: not even the files are looked at.
    let manifest = folder.registry.model_folder("good").join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("Apache", "Apachf")).unwrap();
    folder.enable("good");
    let health = wait_for("the signature to be refused", SHOWN, || {
        Some(daemon.health()).filter(|h| reason(h).contains("not signed by any trusted key"))
    });
    assert_eq!(health["writing"], false, "{health}");
    daemon
        .post("/v1/completions", &story(2, json!({})))
        .error(503);
}

#[test]
fn two_models_that_do_not_fit_together_change_when_the_running_drafts_are_written() {
    let folder = Folder::new("room");
    for id in ["first", "second"] {
        folder.add(id);
        folder.evaluated(id, 1.0);
    }
    folder.enable("first");
    // A worker that finds another one in the memory it needs: it says so as the real one does.
    let words =
        json!({"failed": {"reason": "the model needs 9 GB and 2 GB is free", "kind": "no_room"}})
            .to_string();
    let mut frame = (words.len() as u32).to_le_bytes().to_vec();
    frame.extend(words.bytes());
    let place = folder.registry.folder().to_owned();
    std::fs::write(place.join(".words"), frame).unwrap();
    let script = place.join(".worker");
    let text = format!(
        "#!/bin/sh\nif [ -f {0}/.pid ] && kill -0 $(cat {0}/.pid) 2>/dev/null; then cat {0}/.words >&0; sleep 1; exit 1; fi\necho $$ >{0}/.pid\nexec {1} \"$@\"\n",
        place.display(),
        program("hadada-worker").display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = folder.start(&["--worker", script.to_str().unwrap()]);
    serves(&daemon, "first", STARTS);
    let mut stream = daemon.events(
        "/v1/completions",
        &story(6000, json!({"stream": true, "temperature": 1.2, "seed": 3})),
    );
    stream.next().unwrap();
    folder.enable("second");
    wait_for("the wait to show", SERVES, || {
        Some(daemon.health())
            .filter(|h| reason(h).contains("both don't fit at once: the model needs 9 GB"))
    });
    std::thread::scope(|scope| {
        let next = scope.spawn(|| daemon.post("/v1/completions", &story(2, json!({}))));
        wait_for("the next request to wait", SHOWN, || {
            (daemon.health()["queue_depth"] == 1).then_some(())
        });
        let (name, data) = stream.next().unwrap();
        assert_eq!(name, "", "the running draft was cut off: {data}");
        assert_eq!(daemon.health()["model"]["id"], "first");
        drop(stream);
        next.join().unwrap().ok();
    });
    let health = serves(&daemon, "second", SERVES);
    assert_eq!(health["restarts"], 0);
}
