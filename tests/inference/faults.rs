//! What a daemon does when something is wrong.

use crate::support::{Daemon, alive, program, signal, wait_for, writing_model};
use hadada_inference_protocol::{FromWorker, ModelInfo, WorkerInfo, write};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is wrong must show in this time …
const SHOWN: Duration = Duration::from_secs(5);
/// … and the box must serve this soon after it has gone away.
const SERVES: Duration = Duration::from_secs(15);

fn story(max_tokens: u32, stream: bool) -> Value {
    json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": max_tokens, "ignore_eos": true, "stream": stream})
}

#[test]
fn a_killed_worker_is_reported_at_once_and_replaced() {
    let daemon = Daemon::ready();
    let mut events = daemon.events("/v1/completions", &story(4000, true));
    events.next().unwrap();
    let first = daemon.worker();
    let killed = Instant::now();
    signal("KILL", first);
    let (name, data) = events
        .find(|(name, _)| !name.is_empty())
        .expect("an error event");
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "the client heard after {:?}",
        killed.elapsed()
    );
    assert_eq!(name, "error");
    let error: Value = serde_json::from_str(&data).unwrap();
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("worker"),
        "{error}"
    );
    assert!(
        events.next().is_none(),
        "the stream goes on after its error"
    );
    // The next request waits for the new worker.
    daemon.post("/v1/completions", &story(4, false)).ok();
    let health = daemon.wait_until("ready", Duration::from_secs(15));
    assert_eq!(health["restarts"], 1);
    assert_ne!(health["worker_pid"], first);
}

#[test]
fn an_answer_of_which_nothing_was_sent_is_begun_again() {
    let daemon = Daemon::ready();
    let expected = daemon.post("/v1/completions", &story(150, false)).ok();
    let again = std::thread::scope(|scope| {
        let request = scope.spawn(|| daemon.post("/v1/completions", &story(150, false)));
        wait_for("the request to run", Duration::from_secs(10), || {
            (daemon.health()["running"] == 1).then_some(())
        });
        signal("KILL", daemon.worker());
        request.join().unwrap().ok()
    });
    assert_eq!(again["choices"][0]["text"], expected["choices"][0]["text"]);
    assert_eq!(daemon.health()["restarts"], 1);
}

#[test]
fn a_stopped_worker_shows_on_the_health_page() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    signal("STOP", worker);
    let health = daemon.wait_until("degraded", Duration::from_secs(8));
    assert!(
        health["reason"].as_str().unwrap().contains("not answering"),
        "{health}"
    );
    signal("CONT", worker);
    daemon.wait_until("ready", Duration::from_secs(8));
    daemon.post("/v1/completions", &story(2, false)).ok();
}

#[test]
fn nonsense_is_refused_by_name_and_harms_nobody() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    let chat = "/v1/chat/completions";
    let good = json!([{"role": "user", "content": "hi"}]);
    daemon.send("POST", chat, b"{nonsense").error(400);
    daemon.send("POST", chat, b"\xff\xfe\x00").error(400);
    daemon.post(chat, &json!({"messages": "hi"})).error(400);
    daemon.post(chat, &json!({"messages": []})).error(400);
    daemon
        .post("/v1/completions", &json!({"prompt": ""}))
        .error(400);
    daemon
        .post("/v1/completions", &json!({"prompt": [99999999]}))
        .error(400);
    let fields = [
        ("temperature", json!(9)),
        ("top_p", json!(-1)),
        ("top_k", json!(-7)),
        ("n", json!(3)),
        ("max_tokens", json!(0)),
        ("stop", json!([""])),
        ("priority", json!("urgent")),
        ("response_format", json!({"type": "yaml"})),
        ("top_logprobs", json!(99)),
    ];
    for (field, value) in fields {
        let mut body = json!({"messages": good});
        body[field] = value;
        let error = daemon.post(chat, &body).error(400);
        assert_eq!(error["param"], field, "{error}");
    }
    daemon
        .post(
            chat,
            &json!({"messages": [{"role": "wizard", "content": "hi"}]}),
        )
        .error(400);
    daemon.get("/nowhere").error(404);
    daemon.get(chat).error(405);
    daemon.send("POST", chat, &vec![b'x'; 5 << 20]).error(413);
    let long = daemon
        .post(
            chat,
            &json!({"messages": [{"role": "user", "content": "knee ".repeat(9000)}]}),
        )
        .error(400);
    assert_eq!(long["code"], "context_length_exceeded");
    for raw in [
        &b"\0\0\0\0\xff\xff\xff\xff"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{",
    ] {
        let mut stream = daemon.connect();
        stream.write_all(raw).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(daemon.worker(), worker, "nonsense ended the worker");
    daemon
        .post(chat, &json!({"messages": good, "max_tokens": 2}))
        .ok();
}

#[test]
fn a_full_queue_turns_away_and_a_client_that_leaves_makes_room() {
    let daemon = Daemon::ready_with(&["--queue", "2"]);
    // Sixteen run, two wait; the nineteenth is one too many.
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut events = daemon.events("/v1/completions", &story(400, true));
        events.next().unwrap();
        streams.push(events);
    }
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| daemon.post("/v1/completions", &story(2, false))))
            .collect();
        wait_for("two to wait", Duration::from_secs(10), || {
            (daemon.health()["queue_depth"] == 2).then_some(())
        });
        let refused = daemon.post("/v1/completions", &story(2, false));
        assert_eq!(refused.error(429)["code"], "queue_full");
        assert!(
            refused
                .headers
                .iter()
                .any(|h| h.starts_with("retry-after: ")),
            "{:?}",
            refused.headers
        );
        streams.clear();
        for request in waiting {
            request.join().unwrap().ok();
        }
    });
    wait_for(
        "the cancelled requests to end",
        Duration::from_secs(5),
        || (daemon.health()["running"] == 0).then_some(()),
    );
}

#[test]
fn a_broken_model_file_is_named_and_a_whole_one_is_taken_up() {
    let folder = std::env::temp_dir().join(format!("hadada-broken-model-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let model = folder.join("model.gguf");
    let whole = std::fs::read(writing_model()).unwrap();
    std::fs::write(&model, &whole[..whole.len() / 2]).unwrap();
    let daemon = Daemon::start(Command::new(program("hadada-inference")), &model, &[]);
    let health = daemon.wait_until("down", Duration::from_secs(10));
    assert!(
        health["reason"]
            .as_str()
            .unwrap()
            .contains("is the file complete?"),
        "{health}"
    );
    let refused = daemon.post("/v1/completions", &story(2, false)).error(503);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("is the file complete?"),
        "{refused}"
    );
    let next = folder.join("next.gguf");
    std::fs::write(&next, &whole).unwrap();
    std::fs::rename(&next, &model).unwrap();
    daemon.wait_until("ready", Duration::from_secs(20));
    daemon.post("/v1/completions", &story(2, false)).ok();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_worker_ends_with_the_front_however_that_ends() {
    for name in ["TERM", "KILL"] {
        let mut daemon = Daemon::ready();
        let worker = daemon.worker();
        signal(name, daemon.child.id());
        let status = daemon.child.wait().unwrap();
        assert_eq!(status.success(), name == "TERM", "{status}");
        wait_for("the worker to end", Duration::from_secs(5), || {
            (!alive(worker)).then_some(())
        });
        assert_eq!(daemon.socket().exists(), name == "KILL");
    }
}

/// Sixteen streams, each read to its end: the last event's name and data, and when it came.
fn sixteen(daemon: &Daemon, fault: impl FnOnce()) -> Vec<(String, String, Instant)> {
    std::thread::scope(|scope| {
        let (begun, all_begun) = std::sync::mpsc::channel();
        let streams: Vec<_> = (0..16)
            .map(|_| {
                let begun = begun.clone();
                scope.spawn(move || {
                    let mut events = daemon.events("/v1/completions", &story(900, true));
                    events.next().unwrap();
                    begun.send(()).unwrap();
                    let (name, data) = events.last().unwrap();
                    (name, data, Instant::now())
                })
            })
            .collect();
        (0..16).for_each(|_| all_begun.recv().unwrap());
        fault();
        streams.into_iter().map(|s| s.join().unwrap()).collect()
    })
}

#[test]
fn sixteen_streams_hear_at_once_of_a_killed_worker() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    let mut killed = Instant::now();
    let ends = sixteen(&daemon, || {
        signal("KILL", worker);
        killed = Instant::now();
    });
    for (name, data, at) in ends {
        assert_eq!(name, "error", "{data}");
        assert!(data.contains("another one is being started"), "{data}");
        assert!(
            at - killed < SHOWN,
            "a stream heard after {:?}",
            at - killed
        );
    }
    daemon.wait_until("ready", SERVES);
    assert!(killed.elapsed() < SERVES);
    daemon.post("/v1/completions", &story(4, false)).ok();
}

#[test]
fn a_worker_that_is_stopped_for_good_is_replaced_under_sixteen_streams() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    let mut stopped = Instant::now();
    let ends = sixteen(&daemon, || {
        signal("STOP", worker);
        stopped = Instant::now();
        let health = daemon.wait_until("degraded", SHOWN);
        assert!(
            health["reason"].as_str().unwrap().contains("not answering"),
            "{health}"
        );
    });
    for (name, data, _) in ends {
        assert_eq!(name, "error", "{data}");
        assert!(data.contains("no sign of life"), "{data}");
    }
    let health = daemon.wait_until("ready", SERVES);
    assert!(
        stopped.elapsed() < SERVES,
        "served again after {:?}",
        stopped.elapsed()
    );
    assert_ne!(health["worker_pid"], worker);
    assert!(!alive(worker));
    daemon.post("/v1/completions", &story(4, false)).ok();
}

/// A worker that says it is ready, takes requests, and gets no further with them; the next one is real.
fn hangs_once(folder: &Path) -> PathBuf {
    let info = WorkerInfo {
        pid: 1,
        model: Some(ModelInfo {
            id: "hangs".into(),
            sha256: String::new(),
            bytes: 1,
            description: String::new(),
            context_length: 1000,
            width: 1,
        }),
        embedding: None,
        embedding_error: None,
        device: "cpu".into(),
        kernels: "none".into(),
        threads: 1,
        max_sequences: 16,
        cache_tokens: 1000,
    };
    let alive = |busy| FromWorker::Alive { steps: 7, busy };
    for (name, message) in [
        ("ready", FromWorker::Ready(Box::new(info))),
        ("idle", alive(false)),
        ("busy", alive(true)),
    ] {
        let mut frame = Vec::new();
        write(&mut frame, &message).unwrap();
        std::fs::write(folder.join(name), frame).unwrap();
    }
    let script = folder.join("worker");
    let text = format!(
        "#!/bin/sh\ncd {}\nif [ -e hung ]; then exec {} \"$@\"; fi\ncat idle ready >&0\nhead -c 1 >/dev/null\n: >hung\nwhile :; do cat busy >&0; sleep 0.5; done\n",
        folder.display(),
        program("hadada-worker").display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn a_worker_that_lives_and_gets_no_further_is_replaced() {
    let folder = std::env::temp_dir().join(format!("hadada-hung-worker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = hangs_once(&folder);
    let daemon = Daemon::ready_with(&["--worker", script.to_str().unwrap()]);
    std::thread::scope(|scope| {
        let request = scope.spawn(|| daemon.post("/v1/completions", &story(4, false)));
        wait_for("the worker to hang", SHOWN, || {
            folder.join("hung").exists().then_some(())
        });
        let hung = Instant::now();
        let health = daemon.wait_until("degraded", SHOWN);
        assert!(
            health["reason"]
                .as_str()
                .unwrap()
                .contains("not getting on"),
            "{health}"
        );
        let ended = wait_for("the worker to be ended", SERVES, || {
            (daemon.health()["restarts"] == 1).then(Instant::now)
        });
        assert!(
            ended - hung < SERVES,
            "it was ended after {:?}",
            ended - hung
        );
        // Nothing of the answer was sent, so the next worker gives it.
        request.join().unwrap().ok();
        assert!(
            ended.elapsed() < SERVES,
            "served again after {:?}",
            ended.elapsed()
        );
    });
    let health = daemon.wait_until("ready", SERVES);
    assert_eq!(health["restarts"], 1, "{health}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Sets how much address space a process may have, in bytes.
fn limit_memory(pid: u32, bytes: Option<u64>) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    let limit = rustix::process::Rlimit {
        current: bytes,
        maximum: None,
    };
    rustix::process::prlimit(pid, rustix::process::Resource::As, limit).unwrap();
}

fn status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[test]
fn a_worker_that_runs_out_of_memory_is_replaced() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    limit_memory(worker, Some(status(worker, "VmSize:") + (1 << 20)));
    let texts: Vec<String> = (0..16)
        .map(|i| format!("{i} {}", "knee ".repeat(200)))
        .collect();
    // The first try ends the worker, the second runs in the next one.
    daemon.post("/v1/embeddings", &json!({"input": texts})).ok();
    let health = daemon.wait_until("ready", SERVES);
    assert_ne!(health["worker_pid"], worker, "the limit did no harm");
    daemon.post("/v1/completions", &story(4, false)).ok();
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_numbers_and_taken_up_when_it_does() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -S -v 600000; exec \"$0\" \"$@\""])
        .arg(program("hadada-inference"));
    let daemon = Daemon::start(command, &writing_model(), &[]);
    let health = daemon.wait_until("down", SERVES);
    let reason = health["reason"].as_str().unwrap();
    assert!(
        reason.contains("the model needs 0.68 GB (0.10 GB of weights, 0.38 GB for 16384 tokens of keys and values, 0.20 GB besides)")
            && reason.ends_with("of memory is free"),
        "{health}"
    );
    let refused = daemon.post("/v1/completions", &story(2, false)).error(503);
    assert_eq!(refused["message"], health["reason"]);
    limit_memory(daemon.child.id(), None);
    daemon.wait_until("ready", SERVES);
    daemon.post("/v1/completions", &story(2, false)).ok();
}

#[test]
fn a_full_disk_is_no_matter_because_nothing_is_written() {
    // Not a byte may be written to any file: a disk that is full could not be worse.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f 0; exec \"$0\" \"$@\" 2>/dev/null"])
        .arg(program("hadada-inference"));
    let daemon = Daemon::start(command, &writing_model(), &[]);
    daemon.wait_until("ready", Duration::from_secs(60));
    daemon.post("/v1/completions", &story(4, false)).ok();
    daemon.post("/v1/embeddings", &json!({"input": "x"})).ok();
    let worker = daemon.worker();
    for pid in [daemon.child.id(), worker] {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
            let name = entry.unwrap().file_name();
            let number = name.to_str().unwrap();
            let Ok(path) = std::fs::read_link(format!("/proc/{pid}/fd/{number}")) else {
                continue;
            };
            let info =
                std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
            let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.unwrap_or("0").trim(), 8).unwrap();
            let writable = flags & 3 != 0;
            assert!(
                !(writable && path.is_file()),
                "{} is open for writing",
                path.display()
            );
        }
    }
    signal("KILL", worker);
    wait_for("another worker", SERVES, || {
        let health = daemon.health();
        (health["state"] == "ready" && health["worker_pid"] != worker).then_some(())
    });
    daemon.post("/v1/completions", &story(4, false)).ok();
}

#[test]
fn who_finds_no_place_is_told_and_health_is_answered_all_the_same() {
    let daemon = Daemon::ready();
    let refused = wait_for("a refusal", SERVES, || {
        // Half requests keep their places for three seconds; more of them come than there are places of both kinds.
        let _half: Vec<_> = (0..600)
            .filter_map(|_| {
                let mut stream = UnixStream::connect(daemon.socket()).ok()?;
                stream.write_all(b"GET /health HTTP/1.1\r\n").ok()?;
                Some(stream)
            })
            .collect();
        let refused = daemon.post("/v1/completions", &story(2, false));
        let asked = Instant::now();
        assert_eq!(daemon.health()["state"], "ready");
        assert!(daemon.get("/metrics").body.contains("hadada_inference_"));
        assert!(asked.elapsed() < SHOWN, "it took {:?}", asked.elapsed());
        (refused.status == 503).then_some(refused)
    });
    let error = refused.error(503);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("too many connections"),
        "{error}"
    );
    assert!(
        refused
            .headers
            .iter()
            .any(|h| h.starts_with("retry-after: ")),
        "{:?}",
        refused.headers
    );
    wait_for("the places to be free again", SERVES, || {
        (daemon.get("/v1/models").status == 200).then_some(())
    });
}

#[test]
fn a_flooded_socket_answers_and_is_itself_again_afterwards() {
    let daemon = Daemon::ready();
    let worker = daemon.worker();
    let request =
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let begun = |more: &[u8]| {
        let mut stream = daemon.connect();
        stream.write_all(more).unwrap();
        stream
    };
    // More half requests than there are places for connections, and garbage between them.
    let mut half: Vec<_> = Vec::new();
    for i in 0..600 {
        // The system's own queue of connections may be full for a moment.
        let mut stream = wait_for("a place in the system's queue", SERVES, || {
            UnixStream::connect(daemon.socket()).ok()
        });
        let _ = match i % 3 {
            0 => stream.write_all(request),
            1 => stream.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"prompt\": \""),
            _ => stream.write_all(&[0xde, 0xad, 0xbe, 0xef].repeat(64)),
        };
        half.push(stream);
    }
    // There is no place left, but how things stand is told all the same, and everybody else is told why not.
    let asked = Instant::now();
    assert_eq!(daemon.health()["state"], "ready");
    assert!(daemon.get("/metrics").body.contains("hadada_inference_"));
    assert!(asked.elapsed() < SHOWN, "it took {:?}", asked.elapsed());
    drop(half);
    wait_for("the places to be free again", SERVES, || {
        (daemon.get("/v1/models").status == 200).then_some(())
    });
    // Bodies of 100 MB, announced and not: neither is read to its end.
    let announced = begun(&[request, &b"content-length: 104857600\r\n\r\n"[..]].concat());
    let head = first_line(announced);
    assert!(head.contains(" 413 "), "{head}");
    let mut chunked = begun(&[request, &b"transfer-encoding: chunked\r\n\r\n"[..]].concat());
    let chunk = [&b"100000\r\n"[..], &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let sent = (0..100)
        .take_while(|_| chunked.write_all(&chunk).is_ok())
        .count();
    assert!(sent < 100, "100 MB were taken in");
    assert!(
        status(daemon.child.id(), "VmHWM:") < 100 << 20,
        "the front took much memory"
    );
    let again = Instant::now();
    daemon.post("/v1/completions", &story(4, false)).ok();
    assert!(again.elapsed() < SERVES);
    assert_eq!(daemon.worker(), worker);
}

fn first_line(mut stream: UnixStream) -> String {
    let mut bytes = [0; 64];
    let n = stream.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}
