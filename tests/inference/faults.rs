//! What a daemon does when something is wrong.

use crate::support::{Daemon, alive, program, signal, wait_for, writing_model};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

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

/// Sockets of a process, by inode.
fn sockets(pid: u32) -> HashSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = entries.filter_map(|e| std::fs::read_link(e.unwrap().path()).ok());
    links
        .filter_map(|l| {
            Some(
                l.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect()
}

/// Inodes of all sockets of the process's network namespace that are not Unix sockets.
fn network_inodes(pid: u32) -> HashSet<String> {
    let mut found = HashSet::new();
    for (table, column) in [
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("icmp", 9),
        ("packet", 8),
        ("netlink", 9),
    ] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        found.extend(
            text.lines()
                .skip(1)
                .filter_map(|l| l.split_whitespace().nth(column).map(str::to_owned)),
        );
    }
    found
}

fn assert_no_network(daemon: &Daemon, front: u32) {
    for _ in 0..3 {
        daemon.post("/v1/completions", &story(4, false)).ok();
        daemon.post("/v1/embeddings", &json!({"input": "x"})).ok();
        for pid in [front, daemon.worker()] {
            let own = sockets(pid);
            assert!(!own.is_empty(), "the process has Unix sockets at least");
            assert!(
                own.is_disjoint(&network_inodes(pid)),
                "process {pid} has a network socket"
            );
        }
    }
}

#[test]
fn no_network_socket_is_opened() {
    let daemon = Daemon::ready();
    assert_no_network(&daemon, daemon.child.id());
}

#[test]
fn it_works_where_there_is_no_network() {
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net"])
        .arg(program("hadada-inference"));
    let daemon = Daemon::start(command, &writing_model(), &[]);
    daemon.wait_until("ready", Duration::from_secs(60));
    let interfaces =
        std::fs::read_to_string(format!("/proc/{}/net/dev", daemon.child.id())).unwrap();
    assert_eq!(
        interfaces.lines().skip(2).count(),
        1,
        "only the loopback: {interfaces}"
    );
    assert_no_network(&daemon, daemon.child.id());
}
