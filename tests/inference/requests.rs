//! Deadlines, turns and figures.

use crate::support::{Daemon, wait_for};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn story(max_tokens: u32, more: Value) -> Value {
    let mut body = json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": max_tokens, "ignore_eos": true});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn idle(daemon: &Daemon) {
    wait_for(
        "the worker to have nothing to do",
        Duration::from_secs(5),
        || (daemon.health()["running"] == 0).then_some(()),
    );
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs() {
    let daemon = Daemon::ready();
    let asked = Instant::now();
    let late = daemon.post("/v1/completions", &story(1900, json!({"timeout": 0.4})));
    assert_eq!(late.error(504)["code"], "deadline_exceeded");
    assert!(late.body.contains("while it was written"), "{}", late.body);
    assert!(
        asked.elapsed() >= Duration::from_millis(400) && asked.elapsed() < Duration::from_secs(4)
    );
    idle(&daemon);
    let body = story(1900, json!({"timeout": 0.4, "stream": true}));
    let (name, data) = daemon.events("/v1/completions", &body).last().unwrap();
    assert_eq!(name, "error");
    assert!(data.contains("deadline_exceeded"), "{data}");
    idle(&daemon);

    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut events = daemon.events("/v1/completions", &story(900, json!({"stream": true})));
        events.next().unwrap();
        streams.push(events);
    }
    let late = daemon.post("/v1/embeddings", &json!({"input": "x", "timeout": 0.3}));
    assert!(
        late.error(504)["message"]
            .as_str()
            .unwrap()
            .contains("waited for its turn")
    );
    drop(streams);
    for timeout in [json!(0), json!(-1), json!(1e9)] {
        let wrong = daemon.post("/v1/completions", &story(1, json!({"timeout": timeout})));
        assert_eq!(wrong.error(400)["param"], "timeout");
    }
    let by_header = |value: &str| {
        daemon.send_with(
            "POST",
            "/v1/completions",
            &[("x-hadada-deadline-ms", value)],
            story(2, json!({})).to_string().as_bytes(),
        )
    };
    by_header("60000").ok();
    assert_eq!(by_header("soon").error(400)["param"], "timeout");
    let metrics = daemon.get("/metrics").body;
    assert!(
        metrics.contains("hadada_inference_late_requests_total 3\n"),
        "{metrics}"
    );
}

#[test]
fn a_client_that_asks_for_much_does_not_keep_others_waiting() {
    let daemon = Daemon::ready_with(&["--queue", "100"]);
    let done = AtomicUsize::new(0);
    let ask = |user: &str| {
        daemon
            .post("/v1/completions", &story(40, json!({"user": user})))
            .ok();
        done.fetch_add(1, Ordering::SeqCst)
    };
    std::thread::scope(|scope| {
        let greedy: Vec<_> = (0..64).map(|_| scope.spawn(|| ask("greedy"))).collect();
        wait_for("the greedy client's queue", Duration::from_secs(20), || {
            (daemon.health()["queue_depth"].as_u64().unwrap() >= 44).then_some(())
        });
        let before = done.load(Ordering::SeqCst);
        let modest = scope.spawn(|| ask("modest"));
        let place = modest.join().unwrap() - before;
        // Those that run already end first, and one more of each place's may have begun.
        assert!(
            place <= 33,
            "{place} requests of the other client came first"
        );
        greedy.into_iter().for_each(|g| {
            g.join().unwrap();
        });
    });
}

#[test]
fn the_health_page_has_the_figures_of_the_last_requests() {
    let daemon = Daemon::ready();
    let system = "You are a careful assistant in a physiotherapy practice. ".repeat(12);
    for i in 0..3 {
        let body = json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": format!("Exercise {i}?")}], "max_tokens": 12});
        daemon.post("/v1/chat/completions", &body).ok();
    }
    let health = daemon.health();
    let recent = |name: &str| health["recent"][name].as_f64().unwrap();
    assert_eq!(health["recent"]["requests"], 3, "{health}");
    assert!(
        recent("tokens_per_second") > 1.0 && recent("first_token_ms") > 0.0,
        "{health}"
    );
    assert!(
        recent("cache_hits") > 0.4 && recent("cache_hits") < 1.0,
        "{health}"
    );
    assert!(recent("queue_ms") < 1000.0, "{health}");
    assert_eq!(health["writing"], true);
    let metrics = daemon.get("/metrics").body;
    for name in [
        "queue_seconds_count 3",
        "first_token_seconds_count 3",
        "tokens_per_second_count 3",
    ] {
        assert!(
            metrics.contains(&format!("hadada_inference_{name}\n")),
            "{name}: {metrics}"
        );
    }
}
