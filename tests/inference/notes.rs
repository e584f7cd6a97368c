//! Notes under a grammar: the request for one, and what can be wrong with an answer. Used by the tests for some hundred
//! of them and by the bench `grammar` for ten thousand.

use serde_json::{Value, json};

/// Characters a sentence may have.
const MOST_CHARS: usize = 30;

const STATEMENTS: &[&str] = &[
    "Left knee sore for 3 weeks",
    "worse on stairs, 6/10",
    "no locking",
    "flexion 0-120°, mild effusion",
    "Ndi na vhuṱungu ha ṱhoho",
    "BP 120/80, pulse 72",
    "patellofemoral pain",
    "quads 3 x 10 daily",
    "ice \"as needed\"",
    "review in 2 weeks",
    "slaap sleg",
];

/// The statements that request number `i` is about.
fn statements(i: usize) -> impl Iterator<Item = (usize, &'static str)> {
    let count = 1 + i % 5;
    let first = i * 7 % STATEMENTS.len();
    (0..count).map(move |n| (n + 1, STATEMENTS[(first + n) % STATEMENTS.len()]))
}

/// Request number `i`, as wild as the model can be.
pub fn request(i: usize, max_tokens: usize) -> Value {
    let lines: String = statements(i)
        .map(|(n, text)| format!("[{n}] {text}\n"))
        .collect();
    let numbers: Vec<usize> = statements(i).map(|(n, _)| n).collect();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["sentences"],
        "properties": {"sentences": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
            "type": "object", "additionalProperties": false, "required": ["section", "text", "sources"],
            "properties": {
                "section": {"enum": ["S", "O", "A", "P"]},
                "text": {"type": "string", "minLength": 1, "maxLength": MOST_CHARS},
                "sources": {"type": "array", "minItems": 1, "maxItems": numbers.len().min(3), "items": {"enum": numbers}},
            }}}}
    });
    json!({
        "messages": [
            {"role": "system", "content": "You rewrite the numbered lines as sentences of a clinical note."},
            {"role": "user", "content": lines},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "note", "schema": schema}},
        "temperature": 1.5, "seed": i, "max_tokens": max_tokens,
    })
}

/// What is wrong with the answer to request number `i`; nothing, if it is a whole note with text that cites what exists.
pub fn fault(i: usize, reply: &Value) -> Option<String> {
    let content = reply["choices"][0]["message"]["content"].as_str()?;
    let wrong = |what: &str| Some(format!("request {i}: {what}: {content}"));
    let Ok(note) = serde_json::from_str::<Value>(content) else {
        return wrong("it is not JSON");
    };
    let Some(sentences) = note["sentences"]
        .as_array()
        .filter(|s| (1..=2).contains(&s.len()))
    else {
        return wrong("it has not one or two sentences");
    };
    let known = statements(i).count() as u64;
    for sentence in sentences {
        let section = sentence["section"].as_str().unwrap_or_default();
        let text = sentence["text"].as_str().unwrap_or_default();
        if !["S", "O", "A", "P"].contains(&section) {
            return wrong("a section is none");
        }
        if !(1..=MOST_CHARS).contains(&text.chars().count()) {
            return wrong("a text is empty or too long");
        }
        let sources = sentence["sources"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let exists = |s: &Value| s.as_u64().is_some_and(|s| (1..=known).contains(&s));
        if sources.is_empty() || !sources.iter().all(exists) {
            return wrong("a source is none");
        }
    }
    None
}
