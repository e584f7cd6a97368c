//! Patients: registering, finding, showing and changing them, over the real router and database.

use hadada::ids::PatientId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Client, Clinic};

/// Fields of a form, by name.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// A valid number of a man born on 1 January 1980.
const HIS_ID: &str = "8001015009087";

/// What a receptionist types for a new patient; `extra` replaces and adds.
fn form<'a>(key: &'a str, extra: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("idempotency_key", key),
        ("family_name", "Khumalo"),
        ("given_name", "Thandiwe"),
        ("birth_date", "14-Mar-1992"),
        ("sex", "female"),
        ("identity_kind", "none"),
        ("phone", "082 123 4567"),
    ];
    fields.retain(|(name, _)| !extra.iter().any(|(other, _)| other == name));
    fields.extend_from_slice(extra);
    fields
}

fn key() -> String {
    Uuid::now_v7().to_string()
}

fn id_of(location: &str) -> PatientId {
    location.rsplit('/').next().unwrap().parse().unwrap()
}

async fn register(client: &Client, extra: &[(&str, &str)]) -> PatientId {
    let key = key();
    let reply = client
        .post_form("/patients", &form(&key, extra))
        .await
        .expect(303);
    id_of(reply.location())
}

/// A page's text as a person reads it.
fn plain(page: &str) -> String {
    page.replace("&#x2f;", "/").replace("&#x27;", "'")
}

async fn count(clinic: &Clinic) -> i64 {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT count(*) FROM patients")
        .fetch_one(&mut db)
        .await
        .unwrap()
}

async fn found(client: &Client, q: &str) -> Vec<String> {
    let reply = client
        .get(&format!(
            "/api/v1/patients?q={}",
            q.bytes().map(|b| format!("%{b:02X}")).collect::<String>()
        ))
        .await
        .expect(200);
    reply.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["given_name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_registered_patient_has_a_page_with_the_banner() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(
        &reception,
        &[
            ("identity_kind", "sa-id"),
            ("identity_value", HIS_ID),
            ("birth_date", "1980-01-01"),
            ("sex", "male"),
            ("title", "Mr"),
        ],
    )
    .await;
    let page = reception
        .get(&format!("/patients/{patient}"))
        .await
        .expect(200)
        .text();
    for shown in [
        "Khumalo",
        "Thandiwe",
        "(Mr)",
        "01-Jan-1980",
        "Male",
        "H-00001",
        "800101 •••• •••",
        "082 123 4567",
        "Allergies not recorded",
    ] {
        assert!(page.contains(shown), "{shown} is missing");
    }
    assert!(
        !page.contains(HIS_ID) && !page.contains("5009"),
        "the identity number must stay hidden"
    );
    assert_eq!(
        clinic.audited(patient).await,
        ["create Patient", "read Patient"]
    );
}

#[tokio::test]
async fn file_numbers_have_no_gaps_even_when_registrations_race_or_fail() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let one = |n: usize| {
        let client = reception.clone();
        async move {
            let given = format!("Number{n}");
            let family = ["Botha", "Naidoo", "Mokoena", "van Wyk", "Dlamini", "Adams"][n];
            register(
                &client,
                &[
                    ("given_name", &given),
                    ("family_name", family),
                    ("phone", ""),
                ],
            )
            .await
        }
    };
    futures_util::future::join_all((0..6).map(one)).await;
    let key = key();
    reception
        .post_form("/patients", &form(&key, &[("birth_date", "31-Feb-1992")]))
        .await
        .expect(422);
    register(&reception, &[]).await;
    let mut db = clinic.superuser().await;
    let files: Vec<String> =
        sqlx::query_scalar("SELECT file_number FROM patients ORDER BY file_number")
            .fetch_all(&mut db)
            .await
            .unwrap();
    assert_eq!(
        files,
        [
            "H-00001", "H-00002", "H-00003", "H-00004", "H-00005", "H-00006", "H-00007"
        ]
    );
}

#[tokio::test]
async fn a_form_sent_twice_makes_one_patient() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let key = key();
    let fields = form(&key, &[]);
    let (first, second) = tokio::join!(
        reception.post_form("/patients", &fields),
        reception.post_form("/patients", &fields)
    );
    let third = reception.post_form("/patients", &fields).await.expect(303);
    assert_eq!(first.expect(303).location(), third.location());
    assert_eq!(second.expect(303).location(), third.location());
    assert_eq!(count(&clinic).await, 1);
    // The same key can't be spent on something else.
    let patient = id_of(third.location());
    let allergy = [("idempotency_key", key.as_str()), ("substance", "Latex")];
    reception
        .post_form(&format!("/patients/{patient}/allergies"), &allergy)
        .await
        .expect(409);
}

#[tokio::test]
async fn bad_input_is_named_kept_and_not_written() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let long = "x".repeat(81);
    let cases: [(&str, Fields, &str); 14] = [
        (
            "impossible date",
            &[("birth_date", "31-Feb-1992")],
            "Date of birth: There is no such day as 31-Feb-1992.",
        ),
        (
            "no date",
            &[("birth_date", "last spring")],
            "Date of birth: Write the date as",
        ),
        (
            "future",
            &[("birth_date", "25-Nov-2026")],
            "Date of birth: 25-Nov-2026 is in the future.",
        ),
        (
            "check digit",
            &[
                ("identity_kind", "sa-id"),
                ("identity_value", "8001015009088"),
                ("birth_date", "1980-01-01"),
                ("sex", "male"),
            ],
            "The check digit is wrong",
        ),
        (
            "birth date in the ID",
            &[
                ("identity_kind", "sa-id"),
                ("identity_value", HIS_ID),
                ("birth_date", "1980-01-02"),
                ("sex", "male"),
            ],
            "The birth date in the ID number (800101) is not the birth date given (02-Jan-1980)",
        ),
        (
            "sex in the ID",
            &[
                ("identity_kind", "sa-id"),
                ("identity_value", HIS_ID),
                ("birth_date", "1980-01-01"),
            ],
            "The ID number is of a male person, the sex given is female",
        ),
        (
            "ID too short",
            &[("identity_kind", "sa-id"), ("identity_value", "800101")],
            "An SA ID number has 13 digits; this has 6.",
        ),
        (
            "passport",
            &[("identity_kind", "passport"), ("identity_value", "A!")],
            "A passport number has 5 to 20 letters and digits.",
        ),
        (
            "NUL",
            &[("given_name", "Thandi\0we")],
            "Given names: This holds characters that can't be stored",
        ),
        (
            "too long",
            &[("family_name", &long)],
            "Family name: At most 80 characters.",
        ),
        (
            "no name",
            &[("family_name", "  ")],
            "Family name is needed.",
        ),
        (
            "phone",
            &[("phone", "082 123")],
            "Phone: This is not a phone number.",
        ),
        (
            "email",
            &[("email", "thandi@")],
            "Email: This is not an email address",
        ),
        (
            "allergy",
            &[("allergy_state", "known")],
            "Substance is needed.",
        ),
    ];
    for (what, extra, sentence) in cases {
        let key = key();
        let page = reception
            .post_form("/patients", &form(&key, extra))
            .await
            .expect(422)
            .text();
        let page = plain(&page);
        assert!(page.contains(sentence), "{what}: no {sentence:?}");
        let kept = extra
            .iter()
            .filter(|(_, value)| !value.contains('\0') && !value.trim().is_empty())
            .all(|(_, value)| page.contains(value));
        assert!(kept, "{what}: what was typed is lost");
        assert!(
            page.contains("082 123"),
            "{what}: the other fields are lost"
        );
    }
    assert_eq!(count(&clinic).await, 0);
    let mut db = clinic.superuser().await;
    let taken: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(next_file - 1), 0) FROM patient_counters")
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert_eq!(
        taken, 0,
        "no file number is spent on a patient that was not made"
    );
}

#[tokio::test]
async fn every_alphabet_comes_back_as_it_was_typed() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(
        &reception,
        &[
            ("family_name", "Ṅwaṋḓo-Ḽiṱhole"),
            ("given_name", "Šárka 🦵"),
            ("preferred_name", "<b>Ṱhi</b>"),
        ],
    )
    .await;
    let page = reception
        .get(&format!("/patients/{patient}"))
        .await
        .expect(200)
        .text();
    assert!(page.contains("Ṅwaṋḓo-Ḽiṱhole") && page.contains("Šárka 🦵"));
    assert!(
        plain(&page).contains("&lt;b&gt;Ṱhi&lt;/b&gt;"),
        "markup in a name must be text"
    );
    for q in ["nwando", "Ṅwaṋḓo", "lithole", "sarka", "ṋḓo-ḽi"] {
        assert_eq!(found(&reception, q).await, ["Šárka 🦵"], "{q}");
    }
}

#[tokio::test]
async fn a_patient_is_found_by_what_people_know() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    register(
        &reception,
        &[
            ("identity_kind", "sa-id"),
            ("identity_value", HIS_ID),
            ("birth_date", "1980-01-01"),
            ("sex", "male"),
            ("given_name", "Sipho"),
            ("phone", "083 555 0199"),
        ],
    )
    .await;
    register(
        &reception,
        &[("given_name", "Thandiwe"), ("phone", "082 123 4567")],
    )
    .await;
    register(
        &reception,
        &[
            ("family_name", "van der Merwe"),
            ("given_name", "Annelise"),
            ("birth_date", "1975-06-30"),
            ("phone", ""),
            ("identity_kind", "passport"),
            ("identity_value", "m 1234567"),
        ],
    )
    .await;
    for (q, names) in [
        ("khu", vec!["Sipho", "Thandiwe"]),
        ("KHUMALO T", vec!["Thandiwe"]),
        ("thandiwe khumalo", vec!["Thandiwe"]),
        ("Khumalo, Thandiwe", vec!["Thandiwe"]),
        ("umalo", vec!["Sipho", "Thandiwe"]),
        ("an", vec!["Annelise"]),
        ("kumalo tandiwe", vec!["Thandiwe"]),
        ("vandermerwe", vec!["Annelise"]),
        ("082 123", vec!["Thandiwe"]),
        ("0821234567", vec!["Thandiwe"]),
        ("+27 82 123 4567", vec!["Thandiwe"]),
        ("0199", vec!["Sipho"]),
        (HIS_ID, vec!["Sipho"]),
        ("800101 5009 087", vec!["Sipho"]),
        ("M1234567", vec!["Annelise"]),
        ("H-00002", vec!["Thandiwe"]),
        ("h2", vec!["Thandiwe"]),
        ("14-Mar-1992", vec!["Thandiwe"]),
        ("1992-03-14", vec!["Thandiwe"]),
        ("14/03/1992", vec!["Thandiwe"]),
        ("14 March 1992", vec!["Thandiwe"]),
        ("khumalo 01-Jan-1980", vec!["Sipho"]),
        ("800101", vec!["Sipho"]),
        ("zzz", vec![]),
        ("🦵", vec![]),
        ("%", vec![]),
        ("8001015009088", vec![]),
    ] {
        assert_eq!(found(&reception, q).await, names, "{q}");
    }
    let options = reception
        .get("/patients/find?q=thandi")
        .await
        .expect(200)
        .text();
    assert!(
        options.starts_with("<li role=\"option\" data-id=\"")
            && options.contains("data-label=\"Khumalo, Thandiwe\"")
            && options.contains("<small>H-00002, 14-Mar-1992</small>"),
        "{options}"
    );
    assert_eq!(
        reception.get("/patients/find?q=").await.expect(200).text(),
        ""
    );
    reception
        .get(&format!("/patients/find?q={}", "x".repeat(101)))
        .await
        .expect(422);
    assert!(
        plain(&reception.get("/patients?q=%00").await.expect(422).text())
            .contains("can't be stored")
    );
}

#[tokio::test]
async fn lists_page_through_everybody_once_and_log_whom_they_showed() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    for n in 0..7 {
        let given = format!("Person{n}");
        program.post_json("/api/v1/patients", &json!({ "family_name": format!("Family{n}"), "given_name": given, "birth_date": format!("198{n}-01-01"), "sex": "female" })).await.expect(201);
    }
    for q in ["", "&q=family"] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = program
                .get(&format!("/api/v1/patients?limit=3{q}{cursor}"))
                .await
                .expect(200)
                .json();
            seen.extend(
                page["items"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| p["given_name"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(
            seen,
            (0..7).map(|n| format!("Person{n}")).collect::<Vec<_>>(),
            "{q}"
        );
    }
    let mut db = clinic.superuser().await;
    let (events, shown): (i64, i64) = sqlx::query_as("SELECT count(*), sum(cardinality(shown)) FROM audit_events WHERE action = 'read' AND shown <> '{}'").fetch_one(&mut db).await.unwrap();
    assert_eq!(
        (events, shown),
        (6, 14),
        "one event a page, with exactly the patients it showed"
    );
    program
        .get("/api/v1/patients?cursor=nonsense")
        .await
        .expect(422)
        .field_error("cursor");
    program
        .get("/api/v1/patients?limit=0")
        .await
        .expect(422)
        .field_error("limit");
    program
        .get("/api/v1/patients?limit=x")
        .await
        .expect(422)
        .field_error("limit");
}

#[tokio::test]
async fn the_same_identity_number_is_always_refused() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let his = [
        ("identity_kind", "sa-id"),
        ("identity_value", HIS_ID),
        ("birth_date", "1980-01-01"),
        ("sex", "male"),
    ];
    let first = register(&reception, &his).await;
    let key = key();
    let mut again = form(&key, &his);
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

#[tokio::test]
async fn the_api_registers_reads_and_refuses_in_its_own_words() {
    let clinic = Clinic::start().await;
    let program = clinic.program("reception").await;
    let body = json!({
        "family_name": "Khumalo", "given_name": "Thandiwe", "birth_date": "1980-01-01", "sex": "male", "phone": "082 123 4567",
        "identity": { "kind": "sa-id", "value": HIS_ID }, "scheme_name": "Discovery Health", "member_number": "123456",
        "allergies": [{ "substance": "Penicillin", "reaction": "rash" }],
    });
    let made = program
        .post_json("/api/v1/patients", &body)
        .await
        .expect(201);
    let patient: PatientId = serde_json::from_value(made.json()["id"].clone()).unwrap();
    assert_eq!(made.location(), format!("/api/v1/patients/{patient}"));
    let read = program
        .get(&format!("/api/v1/patients/{patient}"))
        .await
        .expect(200)
        .json();
    assert_eq!(read, made.json());
    assert_eq!(
        read["identity"],
        json!({ "kind": "sa-id", "value": HIS_ID })
    );
    assert_eq!(
        (&read["phone"], &read["birth_date"], &read["file_number"]),
        (
            &json!("+27821234567"),
            &json!("1980-01-01"),
            &json!("H-00001")
        )
    );
    assert_eq!(
        (&read["allergy_state"], &read["allergies"][0]["substance"]),
        (&json!("known"), &json!("Penicillin"))
    );
    let list = program.get("/api/v1/patients?q=khumalo").await.expect(200);
    assert_eq!(
        list.json()["items"][0]["identity"]["value"],
        "800101 •••• •••"
    );
    assert!(!list.text().contains(HIS_ID));

    let refused = program
        .post_json("/api/v1/patients", &body)
        .await
        .expect(409)
        .json();
    assert_eq!(refused["theirs"][0]["id"], json!(patient));
    assert_eq!(refused["theirs"][0]["why"], "identity");
    let similar = json!({ "family_name": "Kumalo", "given_name": "Thandiwe", "birth_date": "1980-01-01", "sex": "male" });
    assert_eq!(
        program
            .post_json("/api/v1/patients", &similar)
            .await
            .expect(409)
            .json()["theirs"][0]["why"],
        "birth-date-and-name"
    );
    let mut confirmed = similar;
    confirmed["duplicate_confirmed"] = Value::Bool(true);
    program
        .post_json("/api/v1/patients", &confirmed)
        .await
        .expect(201);

    let wrong = json!({ "family_name": "Nul\u{0}", "given_name": "x", "birth_date": "1992-02-30", "sex": "female", "identity": { "kind": "sa-id", "value": "8001015009088" } });
    let problem = program
        .post_json("/api/v1/patients", &wrong)
        .await
        .expect(422);
    for (field, words) in [
        ("family_name", "NUL"),
        ("birth_date", "no such day"),
        ("identity.value", "check digit"),
    ] {
        assert!(problem.field_error(field).contains(words), "{field}");
    }
    program
        .post_json("/api/v1/patients", &json!({ "family_name": "x" }))
        .await
        .expect(422)
        .field_error("given_name");
    program.post_json("/api/v1/patients", &json!({ "family_name": "x", "given_name": "y", "birth_date": "1980-01-01", "sex": "male", "shoe_size": 43 })).await.expect(422);
}

#[tokio::test]
async fn another_practice_finds_nothing_by_id() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(
        &reception,
        &[
            ("identity_kind", "sa-id"),
            ("identity_value", HIS_ID),
            ("birth_date", "1980-01-01"),
            ("sex", "male"),
        ],
    )
    .await;
    let allergies = format!("/patients/{patient}/allergies");
    reception
        .post_form(
            &allergies,
            &[("idempotency_key", &key()), ("substance", "Latex")],
        )
        .await
        .expect(303);
    reception
        .post_form(
            &format!("/patients/{patient}/alerts"),
            &[("idempotency_key", &key()), ("alert", "Falls risk")],
        )
        .await
        .expect(303);
    let mut db = clinic.superuser().await;
    let allergy: Uuid = sqlx::query_scalar("SELECT id FROM allergies")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let alert: Uuid = sqlx::query_scalar("SELECT id FROM alerts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    let admin = clinic.login("admin").await;
    let (other, program) = (clinic.login("other").await, clinic.program("other").await);
    for path in ["", "/edit", "/identity", "/audit"] {
        let path = format!("/patients/{patient}{path}");
        admin.get(&path).await.expect(200);
        other.get(&path).await.expect(404);
    }
    program
        .get(&format!("/api/v1/patients/{patient}"))
        .await
        .expect(404);
    let before = clinic.audited(patient).await;
    for (path, fields) in [
        ("/edit".to_owned(), form("", &[("version", "1")])),
        (
            "/allergies".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000001"),
                ("substance", "x"),
            ],
        ),
        (
            "/allergies".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000002"),
                ("substance", ""),
            ],
        ),
        ("/allergies/none".to_owned(), vec![]),
        (format!("/allergies/{allergy}/end"), vec![]),
        (
            "/alerts".to_owned(),
            vec![
                ("idempotency_key", "0193e4b0-0000-7000-8000-000000000003"),
                ("alert", "x"),
            ],
        ),
        (format!("/alerts/{alert}/end"), vec![]),
    ] {
        other
            .post_form(&format!("/patients/{patient}{path}"), &fields)
            .await
            .expect(404);
    }
    assert_eq!(clinic.audited(patient).await, before);
    assert!(found(&other, "khumalo").await.is_empty() && found(&other, HIS_ID).await.is_empty());
    assert_eq!(
        program.get("/api/v1/patients").await.expect(200).json()["items"],
        json!([])
    );
    let unchanged: (i64, i64) = sqlx::query_as("SELECT (SELECT count(*) FROM allergies WHERE ended_at IS NULL), (SELECT count(*) FROM alerts WHERE ended_at IS NULL)").fetch_one(&mut db).await.unwrap();
    assert_eq!(unchanged, (1, 1));
    // Nobody at all.
    clinic
        .stranger()
        .get(&format!("/patients/{patient}"))
        .await
        .expect(303);
    clinic
        .stranger()
        .get(&format!("/api/v1/patients/{patient}"))
        .await
        .expect(401);
}

#[tokio::test]
async fn the_identity_number_is_sealed_and_showing_it_is_logged() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(
        &reception,
        &[
            ("identity_kind", "sa-id"),
            ("identity_value", HIS_ID),
            ("birth_date", "1980-01-01"),
            ("sex", "male"),
        ],
    )
    .await;
    assert_eq!(
        reception
            .get(&format!("/patients/{patient}/identity"))
            .await
            .expect(200)
            .text(),
        "800101 5009 087"
    );
    let mut db = clinic.superuser().await;
    let reason: String = sqlx::query_scalar(
        "SELECT reason FROM audit_events WHERE patient_id = $1 ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(patient)
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(reason, "identity number shown");
    let everything: String = sqlx::query_scalar("SELECT string_agg(p::text, '') || (SELECT string_agg(e::text, '') FROM audit_events e) FROM patients p").fetch_one(&mut db).await.unwrap();
    let hex: String = HIS_ID.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(
        !everything.contains(HIS_ID) && !everything.contains(&hex),
        "the number lies open in the database"
    );
    let none = register(&reception, &[("given_name", "Lerato"), ("phone", "")]).await;
    reception
        .get(&format!("/patients/{none}/identity"))
        .await
        .expect(404);
    let page = reception
        .get(&format!("/patients/{none}"))
        .await
        .expect(200)
        .text();
    assert!(!page.contains("pb-reveal"), "no number, nothing to show");
}

#[tokio::test]
async fn two_people_changing_one_patient_see_both_sides() {
    let clinic = Clinic::start().await;
    let (reception, billing) = (clinic.login("reception").await, clinic.login("admin").await);
    let patient = register(
        &reception,
        &[
            ("identity_kind", "sa-id"),
            ("identity_value", HIS_ID),
            ("birth_date", "1980-01-01"),
            ("sex", "male"),
        ],
    )
    .await;
    let path = format!("/patients/{patient}/edit");
    let edit = |version: &'static str, phone: &'static str| {
        form(
            "x",
            &[
                ("version", version),
                ("identity_kind", "sa-id"),
                ("birth_date", "01-Jan-1980"),
                ("sex", "male"),
                ("phone", phone),
            ],
        )
    };
    assert!(
        reception
            .get(&path)
            .await
            .expect(200)
            .text()
            .contains("On file: 800101 •••• •••. Leave this empty to keep it.")
    );
    billing
        .post_form(&path, &edit("1", "083 555 0199"))
        .await
        .expect(303);
    let page = reception
        .post_form(&path, &edit("1", "084 555 0100"))
        .await
        .expect(409)
        .text();
    assert!(
        page.contains("084 555 0100")
            && page.contains("083 555 0199")
            && page.contains("name=\"version\" value=\"2\"")
    );
    reception
        .post_form(&path, &edit("2", "084 555 0100"))
        .await
        .expect(303);
    let page = reception
        .get(&format!("/patients/{patient}"))
        .await
        .expect(200)
        .text();
    assert!(page.contains("084 555 0100"));
    assert_eq!(
        reception
            .get(&format!("/patients/{patient}/identity"))
            .await
            .expect(200)
            .text(),
        "800101 5009 087",
        "an empty number keeps the one on file"
    );
    // The kept number is held against a changed birth date.
    let wrong = form(
        "x",
        &[
            ("version", "3"),
            ("identity_kind", "sa-id"),
            ("birth_date", "02-Jan-1980"),
            ("sex", "male"),
        ],
    );
    assert!(
        reception
            .post_form(&path, &wrong)
            .await
            .expect(422)
            .text()
            .contains("The birth date in the ID number")
    );
    assert_eq!(
        found(&reception, "0845550100").await,
        ["Thandiwe"],
        "search follows a change"
    );

    let mut db = clinic.superuser().await;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT change FROM audit_events WHERE patient_id = $1 AND action = 'update' ORDER BY at, id LIMIT 1").bind(patient).fetch_one(&mut db).await.unwrap();
    let key = clinic
        .app
        .keys
        .patient(clinic.practice.id, patient)
        .await
        .unwrap();
    let change: Value = key
        .open_json(
            hadada::keys::Place::new("audit_events.change", patient.0),
            &sealed,
        )
        .unwrap();
    assert_eq!(
        change,
        json!({ "old": { "phone": "+27821234567" }, "new": { "phone": "+27835550199" } })
    );
}

#[tokio::test]
async fn allergies_are_always_in_exactly_one_of_four_states() {
    let clinic = Clinic::start().await;
    let naledi = clinic.login("naledi").await;
    let patient = register(&naledi, &[]).await;
    let page = |client: Client| async move {
        let text = client
            .get(&format!("/patients/{patient}"))
            .await
            .expect(200)
            .text();
        let states: Vec<&str> = ["known", "none", "unrecorded", "unavailable"]
            .into_iter()
            .filter(|s| text.contains(&format!("class=\"pb-al\" data-state=\"{s}\"")))
            .collect();
        assert_eq!(states.len(), 1, "{states:?}");
        (states[0].to_owned(), text)
    };
    let path = format!("/patients/{patient}/allergies");
    assert_eq!(page(naledi.clone()).await.0, "unrecorded");
    naledi
        .post_form(&format!("{path}/none"), &[])
        .await
        .expect(303);
    assert_eq!(page(naledi.clone()).await.0, "none");
    let key = key();
    for _ in 0..2 {
        naledi
            .post_form(
                &path,
                &[
                    ("idempotency_key", &key),
                    ("substance", "Penicillin"),
                    ("reaction", "rash"),
                ],
            )
            .await
            .expect(303);
    }
    let (state, text) = page(naledi.clone()).await;
    assert!(state == "known" && text.contains("Penicillin") && text.contains("rash"));
    naledi
        .post_form(&format!("{path}/none"), &[])
        .await
        .expect(409);
    naledi
        .post_form(
            &path,
            &[
                ("idempotency_key", &self::key()),
                ("substance", "  "),
                ("reaction", "kept words"),
            ],
        )
        .await
        .expect(422)
        .text()
        .contains("kept words")
        .then_some(())
        .unwrap();
    let mut db = clinic.superuser().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM allergies WHERE ended_at IS NULL")
        .fetch_all(&mut db)
        .await
        .unwrap();
    assert_eq!(ids.len(), 1, "sent twice, recorded once");
    for _ in 0..2 {
        naledi
            .post_form(&format!("{path}/{}/end", ids[0]), &[])
            .await
            .expect(303);
    }
    assert_eq!(
        page(naledi.clone()).await.0,
        "unrecorded",
        "after the last one ends, nobody has said there are none"
    );
    naledi
        .post_form(&format!("{path}/{}/end", Uuid::now_v7()), &[])
        .await
        .expect(404);
    sqlx::query("UPDATE patients SET allergy_state = 'known'")
        .execute(&mut db)
        .await
        .unwrap();
    assert_eq!(
        page(naledi.clone()).await.0,
        "unavailable",
        "a list that can't be read is never shown as none"
    );
    let written = clinic
        .audited(patient)
        .await
        .into_iter()
        .filter(|e| !e.starts_with("read"))
        .collect::<Vec<_>>();
    assert_eq!(
        written,
        [
            "create Patient",
            "update Patient",
            "create AllergyIntolerance",
            "delete AllergyIntolerance"
        ]
    );
}

#[tokio::test]
async fn alerts_show_until_their_last_day() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(&reception, &[]).await;
    let path = format!("/patients/{patient}/alerts");
    reception
        .post_form(
            &path,
            &[
                ("idempotency_key", &key()),
                ("alert", "Falls risk"),
                ("until", "24-Nov-2026"),
            ],
        )
        .await
        .expect(303);
    let late = reception
        .post_form(
            &path,
            &[
                ("idempotency_key", &key()),
                ("alert", "x"),
                ("until", "23-Nov-2026"),
            ],
        )
        .await
        .expect(422)
        .text();
    assert!(late.contains("Until: This day has passed."));
    let banner = |text: String| text.contains("class=\"pb-al\" data-state=\"alert\"");
    assert!(banner(
        reception.get(&format!("/patients/{patient}")).await.text()
    ));
    clinic.advance(time::Duration::hours(15) + time::Duration::minutes(1));
    let reception = clinic.login("reception").await;
    assert!(
        !banner(reception.get(&format!("/patients/{patient}")).await.text()),
        "it is the next day"
    );
    let mut db = clinic.superuser().await;
    let alert: Uuid = sqlx::query_scalar("SELECT id FROM alerts")
        .fetch_one(&mut db)
        .await
        .unwrap();
    reception
        .post_form(&format!("{path}/{alert}/end"), &[])
        .await
        .expect(303);
    assert!(
        !reception
            .get(&format!("/patients/{patient}"))
            .await
            .text()
            .contains("Falls risk")
    );
}

#[tokio::test]
async fn billing_may_look_but_not_change() {
    let clinic = Clinic::start().await;
    let patient = register(&clinic.login("reception").await, &[]).await;
    let billing = clinic.login("billing").await;
    let page = billing
        .get(&format!("/patients/{patient}"))
        .await
        .expect(200)
        .text();
    assert!(!page.contains("/edit") && !page.contains("Add an allergy"));
    billing.get("/patients/new").await.expect(403);
    billing
        .get(&format!("/patients/{patient}/edit"))
        .await
        .expect(403);
    billing
        .get(&format!("/patients/{patient}/audit"))
        .await
        .expect(403);
    let key = key();
    billing
        .post_form("/patients", &form(&key, &[]))
        .await
        .expect(403);
    billing
        .post_form(&format!("/patients/{patient}/allergies/none"), &[])
        .await
        .expect(403);
}

#[tokio::test]
async fn searching_ten_thousand_patients_takes_a_moment() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    // Ten thousand others of this practice and as many of another.
    sqlx::query(
        "INSERT INTO patients (practice_id, id, file_number, family_name, given_name, birth_date, sex, identity_kind, phone,
                               search_text, search_given, created_at, created_by, updated_at)
         SELECT p.practice_id, gen_random_uuid(), 'H-' || lpad(n::text, 5, '0'), f, g, date '1940-01-01' + n * 3, 'female', 'none',
                '+2782' || lpad((n * 7919 % 10000000)::text, 7, '0'),
                lower(f || ' ' || g || ' h ' || lpad(n::text, 5, '0') || ' 082' || lpad((n * 7919 % 10000000)::text, 7, '0')), lower(g || ' ' || f),
                now(), u.id, now()
         FROM generate_series(1, 10000) n,
              LATERAL (SELECT (ARRAY['Khumalo','Naidoo','Botha','Dlamini','Mokoena','Adams','Pillay','Nkosi'])[1 + n % 8] || chr(97 + n % 26) || chr(97 + n / 26 % 26) AS f,
                              (ARRAY['Thandiwe','Sipho','Anna','Pieter','Lerato','Zanele'])[1 + n % 6] || chr(97 + n / 7 % 26) AS g) names,
              practices p JOIN LATERAL (SELECT id FROM users u WHERE u.practice_id = p.practice_id LIMIT 1) u ON true",
    )
    .execute(&mut db)
    .await
    .unwrap();
    sqlx::query("ANALYZE patients")
        .execute(&mut db)
        .await
        .unwrap();
    let reception = clinic.login("reception").await;
    for q in [
        "khumalo",
        "thandiwe",
        "khumalobc thandiweh",
        "0824000000",
        "082 41",
        "H-07777",
        "14-Mar-1992",
        "kumallo tandiwe",
        "9999999999999",
    ] {
        let address = format!("/api/v1/patients?limit=20&q={}", q.replace(' ', "%20"));
        let mut fastest = std::time::Duration::MAX;
        for _ in 0..5 {
            let start = std::time::Instant::now();
            reception.get(&address).await.expect(200);
            fastest = fastest.min(start.elapsed());
        }
        println!("{q}: {fastest:?}");
        assert!(
            fastest < std::time::Duration::from_millis(150),
            "{q} took {fastest:?}"
        );
    }
}
