//! API tokens over the admin socket.

use serde_json::{Value, json};

use crate::fake::{Seen, listen};
use crate::{Home, hadadactl};

#[tokio::test]
async fn the_token_is_the_last_line() {
    let home = Home::new().await;
    let seen = Seen::default();
    let record = Seen::clone(&seen);
    listen(&home, "run/admin.sock", move |what, body| {
        record
            .lock()
            .unwrap()
            .push((what.to_owned(), String::from_utf8(body.to_vec()).unwrap()));
        (201, json!({ "token": "hdt_7f3a" }).to_string())
    });
    let out = hadadactl(&[
        "token",
        "create",
        "--user",
        "naledi",
        "--scope",
        "all",
        "--dir",
        home.dir(),
    ])
    .await
    .good();
    assert_eq!(out.lines().last(), Some("hdt_7f3a"));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].0, "POST /tokens");
    assert_eq!(
        serde_json::from_str::<Value>(&seen[0].1).unwrap(),
        json!({ "user": "naledi", "scope": "all" })
    );
}

#[tokio::test]
async fn a_refusal_is_told_and_prints_no_token() {
    let home = Home::new().await;
    listen(&home, "run/admin.sock", |_, _| {
        let problem = json!({ "title": "Invalid", "status": 422, "detail": "No token was made",
            "errors": [{ "field": "user", "message": "nobody has this log-in" }] });
        (422, problem.to_string())
    });
    let said = hadadactl(&[
        "token",
        "create",
        "--user",
        "nobody",
        "--scope",
        "all",
        "--dir",
        home.dir(),
    ])
    .await;
    assert_eq!(said.out, "");
    let error = said.error();
    assert!(
        error.contains("No token was made; user: nobody has this log-in"),
        "{error}"
    );
}

#[tokio::test]
async fn a_box_that_is_off_is_told_in_words() {
    let home = Home::new().await;
    let error = hadadactl(&[
        "token",
        "create",
        "--user",
        "naledi",
        "--scope",
        "all",
        "--dir",
        home.dir(),
    ])
    .await
    .error();
    assert!(error.contains("hadada is not running"), "{error}");
}
