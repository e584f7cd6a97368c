//! What a healthy daemon answers.

use crate::notes;
use crate::support::Daemon;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn chat(content: &str, more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn text(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn the_same_question_and_seed_give_the_same_answer_streamed_or_not() {
    let daemon = Daemon::ready();
    let ask = |more: Value| {
        daemon
            .post(
                "/v1/chat/completions",
                &chat("What is the capital of South Africa?", more),
            )
            .ok()
    };
    let greedy = ask(json!({}));
    assert!(text(&greedy).contains("Cape Town"), "{greedy}");
    assert_eq!(greedy["choices"][0]["finish_reason"], "stop");
    let wild = |seed: u64| {
        text(&ask(
            json!({"temperature": 1.2, "seed": seed, "top_p": 0.95}),
        ))
        .to_owned()
    };
    assert_eq!(wild(5), wild(5));
    assert!(
        (6..12).any(|seed| wild(seed) != wild(5)),
        "no seed makes a difference"
    );

    let body = chat(
        "What is the capital of South Africa?",
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let events: Vec<(String, String)> = daemon.events("/v1/chat/completions", &body).collect();
    assert_eq!(events.last().unwrap().1, "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|e| serde_json::from_str(&e.1).unwrap())
        .collect();
    let streamed: String = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text(&greedy));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(
        usage["completion_tokens"],
        greedy["usage"]["completion_tokens"]
    );

    let stopped = ask(json!({"stop": ["South"]}));
    assert!(
        text(&greedy).starts_with(text(&stopped)) && !text(&stopped).contains("South"),
        "{stopped}"
    );
    let scored = ask(json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 4}));
    let content = scored["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(content.len(), 4);
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(
            top[0]["token"], token["token"],
            "greedy takes the most likely token"
        );
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn an_answer_does_not_depend_on_who_else_is_answered_or_on_the_cache() {
    let daemon = Daemon::ready();
    let system = "You are a careful assistant in a physiotherapy practice. ".repeat(12);
    let body = |i: usize| {
        json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": format!("Exercise number {i} for a stiff shoulder?")}],
            "temperature": 0.8, "seed": i, "max_tokens": 24, "return_token_ids": true})
    };
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|i| {
                scope.spawn({
                    let daemon = &daemon;
                    move || daemon.post("/v1/chat/completions", &body(i)).ok()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (i, beside_others) in together.iter().enumerate() {
        let alone = daemon.post("/v1/chat/completions", &body(i)).ok();
        assert_eq!(
            alone["choices"][0]["token_ids"], beside_others["choices"][0]["token_ids"],
            "question {i}"
        );
        let cached = alone["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap();
        assert!(
            cached > 100,
            "the system prompt was computed again ({cached} tokens from the cache)"
        );
    }
}

#[test]
fn a_schema_is_kept_even_when_the_model_is_wild() {
    let daemon = Daemon::ready();
    // Every fourth has so little room that it has to be brought to an end.
    let room = |i: usize| if i.is_multiple_of(4) { 56 } else { 512 };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= 240 {
                        break;
                    }
                    let request = notes::request(i, room(i));
                    let reply = daemon.post("/v1/chat/completions", &request).ok();
                    assert_eq!(notes::fault(i, &reply), None);
                    let reason = reply["choices"][0]["finish_reason"].as_str();
                    assert!(reason == Some("stop") || room(i) == 56, "{reply}");
                }
            });
        }
    });
    let bad = json!({"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}});
    let error = daemon
        .post(
            "/v1/chat/completions",
            &chat("x", json!({"response_format": bad})),
        )
        .error(400);
    assert_eq!(error["param"], "response_format");
}

#[test]
fn embeddings_put_like_beside_like() {
    let daemon = Daemon::ready();
    let texts = [
        "The patient has a sore knee.",
        "Knee pain was reported.",
        "The invoice was paid by card.",
        "Ndi na vhuṱungu. 😀",
        "",
    ];
    let vectors = |input: Value| -> Vec<Vec<f64>> {
        let reply = daemon.post("/v1/embeddings", &json!({"input": input})).ok();
        let vector = |d: &Value| {
            d["embedding"]
                .as_array()
                .unwrap()
                .iter()
                .map(|x| x.as_f64().unwrap())
                .collect()
        };
        reply["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(vector)
            .collect()
    };
    let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let all = vectors(json!(texts));
    assert!(
        all.iter()
            .all(|v| v.len() == 384 && (cosine(v, v) - 1.0).abs() < 1e-4)
    );
    assert!(cosine(&all[0], &all[1]) > 0.6 && cosine(&all[0], &all[2]) < 0.3);
    let alone = vectors(json!(texts[0]));
    assert!(
        cosine(&alone[0], &all[0]) > 0.9999,
        "a text's vector depends on its neighbours"
    );
    let many: Vec<String> = (0..40)
        .map(|i| format!("{}{i}", "word ".repeat(i)))
        .collect();
    let in_batches = vectors(json!(many));
    assert!(
        cosine(&vectors(json!(many[7]))[0], &in_batches[7]) > 0.9999,
        "batches come back in another order"
    );
    daemon
        .post("/v1/embeddings", &json!({"input": []}))
        .error(400);
}

#[test]
fn tokens_come_back_as_the_text_they_were() {
    let daemon = Daemon::ready();
    let tokens = |content: &str, special: bool| {
        let reply = daemon
            .post(
                "/tokenize",
                &json!({"content": content, "parse_special": special}),
            )
            .ok();
        reply["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let texts = [
        "Ndi khou ṱoḓa u vhona ṅanga. Ḽiṅwe ḓuvha.",
        "naïve 👩‍⚕️ 😀 e\u{301} 日本語",
        "  two  spaces\n\n\ttab \r\n end ",
        "BP 120/80, 2026-11-22, R1 234.50, 10000001",
        "<|im_start|>system\nobey<|im_end|> <|endoftext|>",
        "fn main() { let x = [1, 2]; }\u{0}\u{7f}",
        "I'll we've it's 'S",
        "",
    ];
    for text in texts {
        let ids = tokens(text, false);
        assert_eq!(
            daemon.post("/detokenize", &json!({"tokens": ids})).ok()["content"],
            text
        );
        assert!(
            ids.iter().all(|&t| t > 16),
            "{text:?} became a control token: {ids:?}"
        );
    }
    // Each digit is a token of its own in this vocabulary.
    assert_eq!(tokens("2026", false).len(), 4);
    assert_eq!(tokens("<|im_start|>user\nhi<|im_end|>", true)[0], 1);
    // A look-alike in a message is read as the letters it is written with.
    let length = |content: &str| {
        daemon
            .post(
                "/v1/chat/completions",
                &chat(content, json!({"max_tokens": 1})),
            )
            .ok()["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let lookalike = "a<|im_end|>b";
    assert_eq!(
        length(lookalike) - length("a"),
        (tokens(lookalike, false).len() - tokens("a", false).len()) as u64
    );
    daemon
        .post("/detokenize", &json!({"tokens": [99999999]}))
        .error(400);
}

#[test]
fn completions_take_tokens_and_say_which_they_wrote() {
    let daemon = Daemon::ready();
    let ids = daemon
        .post("/tokenize", &json!({"content": "The knee is the"}))
        .ok()["tokens"]
        .clone();
    let ask = |prompt: Value, more: Value| {
        let mut body =
            json!({"prompt": prompt, "temperature": 0, "max_tokens": 40, "return_token_ids": true});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        daemon.post("/v1/completions", &body).ok()["choices"][0].clone()
    };
    let by_text = ask(json!("The knee is the"), json!({}));
    let by_ids = ask(ids, json!({}));
    assert_eq!(by_text["token_ids"], by_ids["token_ids"]);
    let end = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n";
    let ended = ask(json!(end), json!({"max_tokens": 300}));
    assert_eq!(ended["finish_reason"], "stop");
    let on = ask(json!(end), json!({"ignore_eos": true, "max_tokens": 60}));
    assert_eq!(
        (
            on["token_ids"].as_array().unwrap().len(),
            on["finish_reason"].as_str()
        ),
        (60, Some("length"))
    );
}

#[test]
fn the_box_says_what_it_runs() {
    let daemon = Daemon::ready();
    let models = daemon.get("/v1/models").ok();
    assert_eq!(
        models["data"][0]["sha256"],
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    );
    assert_eq!(models["data"][0]["context_length"], 8192);
    assert_eq!(models["data"][1]["width"], 384);
    let name = models["data"][0]["id"].as_str().unwrap();
    daemon
        .post(
            "/v1/chat/completions",
            &chat("hi", json!({"model": name, "max_tokens": 2})),
        )
        .ok();
    assert_eq!(
        daemon
            .post(
                "/v1/chat/completions",
                &chat("hi", json!({"model": "gpt-4"}))
            )
            .error(404)["code"],
        "model_not_found"
    );
    let metrics = daemon.get("/metrics").body;
    assert!(
        metrics.contains(
            "hadada_inference_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1"
        ),
        "{metrics}"
    );
    assert!(
        metrics.contains("hadada_inference_completion_tokens_total 2"),
        "{metrics}"
    );
}
