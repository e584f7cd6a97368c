//! Somebody who is here already: refused where it is certain, asked about where it is likely.

use serde_json::json;

use super::{HIM, count, form, plain, register};
use crate::support::{Clinic, key};

#[tokio::test]
async fn the_same_identity_number_is_always_refused() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let first = register(&reception, &HIM).await;
    let key = key();
    let mut again = form(&key, &HIM);
    again.retain(|(n, _)| *n != "family_name" && *n != "given_name" && *n != "phone");
    again.extend([
        ("family_name", "Entirely"),
        ("given_name", "Different"),
        ("duplicate_confirmed", "true"),
    ]);
    let page = reception
        .post_form("/patients", &again)
        .await
        .expect(409)
        .text();
    let page = plain(&page);
    assert!(
        page.contains(&format!("/patients/{first}"))
            && page.contains("Has the same ID or passport number")
    );
    assert!(!page.contains("add anyway"), "it can't be confirmed away");
    assert!(
        page.contains("Entirely") && page.contains("Different"),
        "what was typed is kept"
    );
    assert_eq!(count(&clinic).await, 1);
    assert!(
        clinic
            .audited(first)
            .await
            .contains(&"read Patient".to_owned()),
        "being told of somebody is a look at them"
    );

    // Sent at the same moment, the database decides.
    let her = json!({ "family_name": "Race", "given_name": "A", "birth_date": "1990-05-05", "sex": "female", "identity": { "kind": "passport", "value": "AB1234567" } });
    let program = clinic.program("reception").await;
    let replies =
        futures_util::future::join_all((0..8).map(|_| program.post_json("/api/v1/patients", &her)))
            .await;
    let made = replies.iter().filter(|r| r.status == 201).count();
    let refused = replies.iter().filter(|r| r.status == 409).count();
    assert_eq!((made, refused), (1, 7));
    // Another practice may have the same person.
    let other = clinic.program("other").await;
    other.post_json("/api/v1/patients", &her).await.expect(201);
}

#[tokio::test]
async fn a_possible_duplicate_is_shown_and_a_person_decides() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let first = register(&reception, &[]).await;
    for (extra, why) in [
        (
            vec![("family_name", "Kumalo"), ("phone", "")],
            "Was born on the same day and has a similar name",
        ),
        (
            vec![("given_name", "Tandiwe"), ("birth_date", "1992-03-15")],
            "Has the same phone number and a similar name",
        ),
    ] {
        let key = key();
        let page = reception
            .post_form("/patients", &form(&key, &extra))
            .await
            .expect(409)
            .text();
        let page = plain(&page);
        assert!(
            page.contains(why)
                && page.contains(&format!("/patients/{first}"))
                && page.contains("add anyway"),
            "{why}"
        );
        let mut confirmed = form(&key, &extra);
        confirmed.push(("duplicate_confirmed", "true"));
        reception
            .post_form("/patients", &confirmed)
            .await
            .expect(303);
    }
    // A daughter at the same phone, and a stranger born on the same day, are nobody's duplicates.
    register(
        &reception,
        &[("given_name", "Nosipho"), ("birth_date", "2015-05-05")],
    )
    .await;
    register(
        &reception,
        &[
            ("family_name", "Botha"),
            ("given_name", "Pieter"),
            ("sex", "male"),
            ("phone", ""),
        ],
    )
    .await;
    assert_eq!(count(&clinic).await, 5);
}
