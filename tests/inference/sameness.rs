//! The same tokens, however they are computed: alone or beside others, from the cache or not, guessed ahead or not.

use crate::support::Daemon;
use serde_json::{Value, json};

const NOTE: &str = "S: Patient reports left knee pain for 3 weeks, worse on stairs, 6/10. Sleeps well. No locking, no giving way.\n\
O: Left knee: flexion 0-120 degrees, mild effusion, tender over the medial joint line. McMurray negative. Quadriceps strength 4/5.\n\
A: Patellofemoral pain, left. Progressing as expected.\n\
P: Quadriceps strengthening 3 x 10 daily, ice after exercise, review in 2 weeks.";

fn rewriting(more: Value) -> Value {
    let mut body = json!({
        "messages": [
            {"role": "system", "content": "You copy texts exactly, word for word."},
            {"role": "user", "content": format!("Repeat this note exactly, word for word:\n\n{NOTE}")},
        ],
        "temperature": 0, "max_tokens": 160, "return_token_ids": true,
    });
    extend(&mut body, more);
    body
}

fn extend(body: &mut Value, more: Value) {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
}

fn schema() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "note", "schema": {
        "type": "object", "additionalProperties": false, "required": ["sentences"],
        "properties": {"sentences": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
            "type": "object", "additionalProperties": false, "required": ["text", "sources"],
            "properties": {
                "text": {"type": "string", "minLength": 3, "maxLength": 80},
                "sources": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"enum": [1, 2, 3]}}}}}}
    }}})
}

/// Greedy and sampled, with and without a schema, with penalties and log-probabilities.
fn requests() -> Vec<Value> {
    let format = schema();
    vec![
        rewriting(json!({})),
        rewriting(json!({"temperature": 0.9, "seed": 4})),
        rewriting(json!({"temperature": 1.3, "top_p": 0.9, "seed": 5, "frequency_penalty": 0.3})),
        rewriting(json!({"response_format": format, "max_tokens": 200})),
        rewriting(
            json!({"response_format": format, "max_tokens": 200, "temperature": 1.0, "seed": 6}),
        ),
        rewriting(json!({"repetition_penalty": 1.1, "max_tokens": 60})),
        rewriting(json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 80})),
        rewriting(json!({"stop": ["degrees"], "ignore_eos": true})),
    ]
}

fn answer(reply: &Value) -> (Value, Value, Value) {
    let mut choice = reply["choices"][0].clone();
    let reason = choice["finish_reason"].take();
    let content = choice["message"]["content"].take();
    (choice, reason, content)
}

fn accepted(reply: &Value) -> u64 {
    reply["usage"]["completion_tokens_details"]["accepted_tokens"]
        .as_u64()
        .unwrap()
}

#[test]
fn guesses_save_passes_and_change_nothing() {
    let plain = Daemon::ready_with(&["--no-speculation"]);
    let guessing = Daemon::ready();
    let ask = |daemon: &Daemon, body: &Value| daemon.post("/v1/chat/completions", body).ok();
    let alone: Vec<Value> = requests().iter().map(|body| ask(&plain, body)).collect();
    assert!(alone.iter().all(|reply| accepted(reply) == 0));
    // One after the other, then all at once with half of the prompt in the cache.
    let guessed: Vec<Value> = requests().iter().map(|body| ask(&guessing, body)).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = requests()
            .into_iter()
            .map(|body| {
                scope.spawn({
                    let guessing = &guessing;
                    move || ask(guessing, &body)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (i, alone) in alone.iter().enumerate() {
        assert_eq!(
            answer(alone),
            answer(&guessed[i]),
            "request {i} with guesses"
        );
        assert_eq!(
            answer(alone),
            answer(&together[i]),
            "request {i} beside others"
        );
    }
    let copied = accepted(&guessed[0]);
    let written = guessed[0]["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(
        copied * 3 > written,
        "{copied} of {written} tokens were guessed"
    );
    let metrics = guessing.get("/metrics").body;
    let counted = metrics
        .lines()
        .find_map(|l| l.strip_prefix("hadada_inference_accepted_tokens_total "))
        .unwrap();
    assert!(counted.parse::<u64>().unwrap() >= copied, "{metrics}");
}

#[test]
fn a_prompt_in_pieces_gives_what_a_prompt_at_once_gives() {
    let daemon = Daemon::ready();
    // Longer than a pass has rows; the second time its beginning is in the cache, the third time it is read beside others.
    let long = format!("{}\nIn one sentence:", NOTE.repeat(4));
    let body =
        json!({"prompt": long, "temperature": 0, "max_tokens": 24, "return_token_ids": true});
    let ask = || daemon.post("/v1/completions", &body).ok();
    let first = ask();
    let details = |reply: &Value| reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert_eq!(details(&first), Some(0));
    let cached = ask();
    assert!(details(&cached).unwrap() > 128);
    let other = json!({"prompt": format!("Something else. {long}"), "temperature": 1, "seed": 1, "max_tokens": 24});
    let beside = std::thread::scope(|scope| {
        let other = scope.spawn(|| daemon.post("/v1/completions", &other).ok());
        let beside = ask();
        other.join().unwrap();
        beside
    });
    for reply in [&cached, &beside] {
        assert_eq!(
            reply["choices"][0]["token_ids"],
            first["choices"][0]["token_ids"]
        );
    }
}

#[test]
fn penalties_make_repetition_rarer_and_are_checked() {
    let daemon = Daemon::ready();
    let ask = |more: Value| {
        let mut body = json!({"prompt": "la la la la la la", "temperature": 0, "max_tokens": 40, "ignore_eos": true, "return_token_ids": true});
        extend(&mut body, more);
        daemon.post("/v1/completions", &body)
    };
    let different = |more: Value| {
        let reply = ask(more).ok();
        let ids = reply["choices"][0]["token_ids"].as_array().unwrap().clone();
        ids.iter()
            .map(Value::to_string)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    let plain = different(json!({}));
    for penalty in [
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    ] {
        let found = different(json!({penalty: 2.0}));
        assert!(
            found > plain,
            "{penalty}: {found} different tokens, {plain} without"
        );
        let error = ask(json!({penalty: 2.1})).error(400);
        assert_eq!(error["param"], penalty);
    }
    ask(json!({"repetition_penalty": 0})).error(400);
}

#[test]
fn token_ids_are_those_of_llama_cpp() {
    let daemon = Daemon::ready();
    let read = |name: &str| -> Value {
        let path = format!(
            "{}/../tests/inference/fixtures/tokens/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let (strings, expected) = (read("strings"), read("smollm2"));
    let strings = strings.as_array().unwrap();
    assert!(strings.len() >= 200);
    for (i, text) in strings.iter().enumerate() {
        let ask = |special: bool| {
            let body = json!({"content": text, "parse_special": special});
            daemon.post("/tokenize", &body).ok()["tokens"].clone()
        };
        let plain = &expected["plain"][i];
        assert_eq!(ask(false), *plain, "{text}");
        let special = expected["special"].get(i.to_string()).unwrap_or(plain);
        assert_eq!(ask(true), *special, "{text} with special tokens");
    }
}
