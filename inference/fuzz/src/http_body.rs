//! Any bytes as the body and headers of any route: they are read, or refused with an error that names the field; nothing
//! panics. What is read is read the same way again.

#![no_main]

// The modules themselves rather than the library around them, which takes minutes to build with instruments.
#[allow(dead_code, reason = "the part that is fuzzed")]
#[path = "../../src/http"]
mod http {
    pub mod error;
    pub mod requests;
}

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use http::requests::try_body;
use libfuzzer_sys::fuzz_target;

const ROUTES: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
];
const HEADERS: [&str; 3] = [
    "x-hadada-priority",
    "x-hadada-client",
    "x-hadada-deadline-ms",
];

// The first byte says which header there is (none from 3 on), the next up to a line feed are its value, the rest is the body.
fuzz_target!(|data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else {
        return;
    };
    let (value, body) = match rest.iter().position(|&b| b == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&[][..], rest),
    };
    let mut headers = HeaderMap::new();
    if let (Some(name), Ok(value)) = (HEADERS.get(usize::from(which)), HeaderValue::from_bytes(value)) {
        headers.insert(HeaderName::from_static(name), value);
    }
    for route in ROUTES {
        let first = try_body(route, &headers, body);
        if let Err(error) = &first {
            let message = error.json()["error"]["message"].as_str().map(str::len);
            assert!(message.is_some_and(|length| length > 10), "an error without words");
        }
        assert_eq!(first.is_ok(), try_body(route, &headers, body).is_ok());
    }
});
