//! The graphics card, seen through a stand-in for NVIDIA's library, and a worker program for it that does what the test
//! says: it is a script that runs the real worker, or fails in a chosen way.

use crate::support::{Daemon, alive, program, signal, wait_for, writing_model};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is wrong must show in this time …
const SHOWN: Duration = Duration::from_secs(5);
/// … and the box must serve this soon after it has gone away.
const SERVES: Duration = Duration::from_secs(15);

/// The shim, built once.
fn shim() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT
        .get_or_init(|| {
            let source =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/inference/shims/nvml.c");
            let library =
                std::env::temp_dir().join(format!("hadada-nvml-{}.so", std::process::id()));
            let built = Command::new("cc")
                .args([
                    "-std=c11",
                    "-D_GNU_SOURCE",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-O1",
                    "-shared",
                    "-fPIC",
                    "-o",
                ])
                .args([&library, &source])
                .status()
                .unwrap();
            assert!(built.success(), "the shim does not compile");
            library
        })
        .clone()
}

/// A daemon with a card.
struct Card {
    folder: PathBuf,
    readings: BTreeMap<&'static str, u64>,
    daemon: Option<Daemon>,
}

impl Card {
    /// A card that is well, with a worker program for it.
    fn new(name: &str) -> Card {
        let folder =
            std::env::temp_dir().join(format!("hadada-card-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("programs")).unwrap();
        let readings = BTreeMap::from([
            ("capability", 86),
            ("temperature", 55),
            ("slowdown_at", 90),
            ("shutdown_at", 95),
            ("memory_total", 24_000_000_000),
            ("memory_free", 20_000_000_000),
            ("power", 70_500),
            ("power_limit", 300_000),
            ("utilization", 3),
            ("fan", 30),
            ("throttle", 0),
            ("ecc_corrected", 0),
            ("ecc_uncorrected", 0),
            ("remap_pending", 0),
            ("remap_failed", 0),
        ]);
        let mut card = Card {
            folder,
            readings,
            daemon: None,
        };
        card.set(&[]);
        card.program("run");
        let script = format!(
            "#!/bin/sh\ncase $(cat {0}/mode) in\nrun) exec {1} \"$@\" ;;\nsay) cat {0}/words >&0; sleep 1; exit 1 ;;\nsilent) exec sleep 600 ;;\n*) exit 7 ;;\nesac\n",
            card.folder.display(),
            program("hadada-worker").display()
        );
        let file = card.folder.join("programs/hadada-worker-cuda-80");
        std::fs::write(&file, script).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        card
    }

    /// Writes readings.
    fn set(&mut self, changes: &[(&'static str, u64)]) {
        self.readings.extend(changes.iter().copied());
        let text: String = self
            .readings
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        let next = self.folder.join("state.new");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.folder.join("state")).unwrap();
    }

    fn xid(&self, number: u32) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("events"))
            .unwrap();
        writeln!(file, "{number}").unwrap();
    }

    /// What the worker program does from its next start on.
    fn program(&self, mode: &str) {
        std::fs::write(self.folder.join("mode"), mode).unwrap();
    }

    /// The worker program gives up with these words, as the real one does.
    fn program_says(&self, reason: &str, kind: &str) {
        let body = json!({"failed": {"reason": reason, "kind": kind}}).to_string();
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body.bytes());
        std::fs::write(self.folder.join("words"), frame).unwrap();
        self.program("say");
    }

    fn start(mut self) -> Card {
        let mut command = Command::new(program("hadada-inference"));
        command
            .env("HADADA_NVML_PATH", shim())
            .env("NVML_SHIM_STATE", self.folder.join("state"))
            .env("NVML_SHIM_EVENTS", self.folder.join("events"))
            .arg("--gpu-workers")
            .arg(self.folder.join("programs"));
        self.daemon = Some(Daemon::start(command, &writing_model(), &[]));
        self
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    fn wait(&self, what: &str, limit: Duration, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, limit, || Some(self.daemon().health()).filter(&is))
    }

    fn wait_serving(&self, on_card: bool, limit: Duration) -> Value {
        self.wait(
            if on_card {
                "the card to serve"
            } else {
                "the processor to serve"
            },
            limit,
            |health| {
                health["gpu"]["serving"] == on_card
                    && (health["state"] == "ready" || health["state"] == "degraded")
            },
        )
    }

    fn serves(&self) {
        let body = json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": 3});
        self.daemon().post("/v1/completions", &body).ok();
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.daemon = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

#[test]
fn a_card_that_is_well_serves_and_a_hot_one_has_less_to_do() {
    let mut card = Card::new("hot").start();
    let health = card.wait_serving(true, Duration::from_secs(60));
    assert_eq!(
        (text(&health, "/state"), text(&health, "/gpu/state")),
        ("ready", "healthy")
    );
    assert_eq!(health["gpu"]["memory_free"], 20_000_000_000_u64);
    let environment =
        std::fs::read_to_string(format!("/proc/{}/environ", card.daemon().worker())).unwrap();
    assert!(environment.contains("CUDA_VISIBLE_DEVICES=GPU-test-0001\0"));
    let metrics = card.daemon().get("/metrics").body;
    for line in [
        "hadada_inference_gpu_state{state=\"healthy\"} 1",
        "hadada_inference_gpu_temperature_celsius 55",
        "hadada_inference_gpu_power_watts 70.5",
        "hadada_inference_gpu_serving 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    // NVIDIA's library is loaded in the front by now, in a thread of its own.
    crate::network::assert_no_network(card.daemon(), card.daemon().child.id());
    card.set(&[("temperature", 88)]);
    let health = card.wait("the heat to show", SHOWN, |h| h["gpu"]["state"] == "hot");
    assert!(
        text(&health, "/reason").contains("88 °C; it slows down at 90 °C"),
        "{health}"
    );
    let story = |priority: &str| json!({"prompt": "Once upon a time", "max_tokens": 1500, "ignore_eos": true, "stream": true, "priority": priority});
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut events = card
            .daemon()
            .events("/v1/completions", &story("interactive"));
        events.next().unwrap();
        streams.push(events);
    }
    let body = json!({"prompt": "Once", "max_tokens": 2});
    let background = json!({"prompt": "Once", "max_tokens": 2, "priority": "background"});
    std::thread::scope(|scope| {
        let ninth = scope.spawn(|| card.daemon().post("/v1/completions", &body));
        let health = card.wait("the ninth to wait", SHOWN, |h| h["queue_depth"] == 1);
        assert_eq!(
            health["running"], 8,
            "a hot card works on more than half of its places"
        );
        streams.clear();
        ninth.join().unwrap().ok();
        let waiting = scope.spawn(|| {
            let reply = card.daemon().post("/v1/completions", &background);
            (reply.status, Instant::now())
        });
        card.wait("background work to wait", SHOWN, |h| {
            h["queue_depth"] == 1 && h["running"] == 0
        });
        std::fs::write(
            card.folder.join("state"),
            "capability=86\ntemperature=60\nslowdown_at=90\n",
        )
        .unwrap();
        let cool = Instant::now();
        let (status, answered) = waiting.join().unwrap();
        assert_eq!(status, 200);
        assert!(answered > cool, "background work ran on a hot card");
    });
    card.wait("the card to be well", SHOWN, |h| h["state"] == "ready");
}

#[test]
fn a_card_that_drops_out_is_left_for_the_processor_and_taken_up_again() {
    let mut card = Card::new("lost").start();
    card.wait_serving(true, Duration::from_secs(60));
    let worker = card.daemon().worker();
    card.set(&[("lost", 1)]);
    let health = card.wait("the loss to show", SHOWN, |h| h["gpu"]["state"] == "lost");
    assert!(
        text(&health, "/gpu/sentence").contains("dropped out"),
        "{health}"
    );
    wait_for("the worker on the card to end", SHOWN, || {
        (!alive(worker)).then_some(())
    });
    let health = card.wait_serving(false, SERVES);
    assert!(
        text(&health, "/reason").contains("the processor writes"),
        "{health}"
    );
    card.serves();
    card.set(&[("lost", 0)]);
    let health = card.wait_serving(true, SERVES);
    assert_eq!(health["state"], "ready", "{health}");
    card.serves();
}

#[test]
fn events_of_the_card_have_their_consequences() {
    let mut card = Card::new("events").start();
    card.wait_serving(true, Duration::from_secs(60));
    let first = card.daemon().worker();
    // 43 says nothing about the card; 13 asks for a new worker.
    card.xid(43);
    card.xid(13);
    card.wait("a new worker on the card", SERVES, |h| {
        h["gpu"]["serving"] == true && h["state"] == "ready" && h["worker_pid"] != first
    });
    assert_eq!(
        card.daemon().health()["restarts"],
        1,
        "an event to be ignored had a consequence"
    );
    let second = card.daemon().worker();
    card.set(&[("ecc_uncorrected", 1)]);
    let health = card.wait("the memory error to show", SHOWN, |h| {
        text(h, "/gpu/sentence").contains("memory error")
    });
    assert_eq!(health["gpu"]["state"], "degraded", "{health}");
    card.wait("a new worker on the card", SERVES, |h| {
        h["gpu"]["serving"] == true && h["worker_pid"] != second
    });
    card.serves();
    card.set(&[("ecc_uncorrected", 0)]);
    card.xid(79);
    let health = card.wait("the drop-out to show", SHOWN, |h| {
        h["gpu"]["state"] == "lost"
    });
    assert!(
        text(&health, "/gpu/sentence").contains("IT: restart this computer"),
        "{health}"
    );
    card.wait_serving(false, SERVES);
    card.serves();
}

#[test]
fn a_wrong_known_answer_on_the_card_leaves_it_to_the_processor() {
    let card = Card::new("wrong");
    card.program_says(
        "the known-answer test failed: the card computes wrongly",
        "leave_gpu",
    );
    let card = card.start();
    let health = card.wait_serving(false, Duration::from_secs(60));
    assert_eq!(health["state"], "degraded");
    assert!(
        text(&health, "/reason").contains("the card computes wrongly"),
        "{health}"
    );
    assert!(
        health["gpu"]["again_in"].as_u64().unwrap() <= 10,
        "{health}"
    );
    card.serves();
    card.program("run");
    // The processor has served all the while; the card is tried again after ten seconds, or twenty where the test was slow.
    let health = card.wait_serving(true, SERVES * 3);
    assert_eq!(
        (text(&health, "/state"), text(&health, "/reason")),
        ("ready", "")
    );
    assert_eq!(
        health["restarts"], 0,
        "the change back to the card counts as a failure"
    );
    card.serves();
}

#[test]
fn a_worker_on_the_card_that_keeps_dying_is_replaced_by_the_processors() {
    let card = Card::new("dying").start();
    for _ in 0..3 {
        let health = card.wait_serving(true, Duration::from_secs(60));
        signal("KILL", health["worker_pid"].as_u64().unwrap() as u32);
        let dead = health["worker_pid"].clone();
        card.wait("another worker", SERVES, |h| h["worker_pid"] != dead);
    }
    let health = card.wait_serving(false, SERVES);
    assert!(
        text(&health, "/gpu/why_not").contains("the worker ended"),
        "{health}"
    );
    card.serves();
    // A program that says nothing at all is no reason to wait either: the processor goes on.
    card.program("silent");
    let stays = card.daemon().worker();
    wait_for(
        "the card to be tried and given up",
        Duration::from_secs(40),
        || {
            let health = card.daemon().health();
            text(&health, "/gpu/why_not")
                .contains("no sign of life")
                .then_some(())
        },
    );
    assert_eq!(card.daemon().worker(), stays);
    card.serves();
}

#[test]
fn a_driver_that_hangs_stops_nobody_and_shows() {
    let mut card = Card::new("hang").start();
    card.wait_serving(true, Duration::from_secs(60));
    card.set(&[("hang", 1)]);
    let health = card.wait("the silence to show", SHOWN, |h| {
        h["gpu"]["state"] == "degraded"
    });
    assert!(
        text(&health, "/gpu/sentence").contains("has not answered"),
        "{health}"
    );
    card.serves();
    assert_eq!(card.daemon().health()["gpu"]["serving"], true);
    card.set(&[("hang", 0)]);
    card.wait("the driver to answer", SERVES, |h| h["state"] == "ready");
}

#[test]
fn a_card_without_a_program_or_a_driver_is_named_and_the_processor_serves() {
    let mut card = Card::new("strange");
    card.set(&[("capability", 75)]);
    let card = card.start();
    let health = card.wait_serving(false, Duration::from_secs(60));
    assert!(
        text(&health, "/reason").contains("compute capability 7.5"),
        "{health}"
    );
    card.serves();
    drop(card);
    let mut card = Card::new("none");
    card.set(&[("absent", 1)]);
    let card = card.start();
    let health = card
        .daemon()
        .wait_until("degraded", Duration::from_secs(60));
    assert!(
        text(&health, "/reason").contains("no graphics card was found"),
        "{health}"
    );
    assert_eq!(health["gpu"], Value::Null);
    card.serves();
}

#[test]
fn a_model_too_large_for_the_card_is_refused_with_the_numbers() {
    let mut card = Card::new("small");
    card.set(&[
        ("memory_total", 2_000_000_000),
        ("memory_free", 500_000_000),
    ]);
    let card = card.start();
    let health = card.wait_serving(false, Duration::from_secs(60));
    let reason = text(&health, "/gpu/why_not");
    assert!(
        reason.contains("the model needs 1.18 GB (0.10 GB of weights, 0.38 GB for 16384 tokens of keys and values, 0.70 GB besides) and 0.50 GB of the card's memory is free"),
        "{health}"
    );
    card.serves();
}
