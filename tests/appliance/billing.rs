//! Invoicing a visit, numbers without gaps, payments, the PDF, and who may see any of it.

use std::collections::BTreeSet;

use hadada::ids::{AppointmentId, EncounterId, PatientId};
use serde_json::json;
use time::Duration;

use crate::support::{Client, Clinic, Practice, Reply, connect_as};

/// A visit that is over, put in by SQL: the diary and the notes have tests of their own.
async fn visit_in(
    clinic: &Clinic,
    practice: &Practice,
    patient: PatientId,
) -> (EncounterId, AppointmentId) {
    let (encounter, booking) = (EncounterId::random(), AppointmentId::random());
    let mut tx = clinic.tx_in(practice).await;
    let start = clinic.app.clock.now() - Duration::hours(2);
    sqlx::query(
        "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, created_by, created_at, updated_by, updated_at)
         VALUES ($1, $2, 'visit', $3, $4, $5, 'completed', $6, $4, $6, $4)",
    )
    .bind(practice.id)
    .bind(booking)
    .bind(practice.session_type)
    .bind(start)
    .bind(start + Duration::minutes(45))
    .bind(practice.admin)
    .execute(tx.conn())
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO encounters (practice_id, id, appointment_id, patient_id, practitioner_id, status, started_at, finished_at)
         VALUES ($1, $2, $3, $4, $5, 'finished', $6, $7)",
    )
    .bind(practice.id)
    .bind(encounter)
    .bind(booking)
    .bind(patient)
    .bind(practice.physio)
    .bind(start)
    .bind(start + Duration::minutes(45))
    .execute(tx.conn())
    .await
    .unwrap();
    tx.commit().await.unwrap();
    (encounter, booking)
}

async fn visit(clinic: &Clinic, patient: PatientId) -> EncounterId {
    visit_in(clinic, &clinic.practice, patient).await.0
}

async fn invoice(client: &Client, encounter: EncounterId) -> String {
    let reply = client
        .post_form("/invoices", &[("encounter_id", &encounter.to_string())])
        .await
        .expect(303);
    reply.location().to_owned()
}

async fn pay(client: &Client, invoice: &str, key: uuid::Uuid, amount: &str) -> Reply {
    let key = key.to_string();
    let fields = [
        ("idempotency_key", key.as_str()),
        ("amount", amount),
        ("method", "card"),
        ("reference", "slip 4411"),
    ];
    client
        .post_form(&format!("{invoice}/payments"), &fields)
        .await
}

async fn numbers(clinic: &Clinic) -> Vec<i32> {
    let mut db = clinic.superuser().await;
    sqlx::query_scalar("SELECT number FROM invoices WHERE practice_id = $1 ORDER BY number")
        .bind(clinic.practice.id)
        .fetch_all(&mut db)
        .await
        .unwrap()
}

/// The page's words without its marks, no-break spaces as spaces.
fn words(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            '\u{a0}' => text.push(' '),
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

#[tokio::test]
async fn a_visit_becomes_an_invoice_with_its_price_vat_and_number() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let encounter = visit(&clinic, patient).await;
    let reception = clinic.login("reception").await;

    let list = reception.get("/invoices").await.expect(200).text();
    assert!(
        list.contains(&encounter.to_string()) && words(&list).contains("R 747,50"),
        "the visit waits for its invoice, with VAT"
    );
    let path = invoice(&reception, encounter).await;
    let page = words(&reception.get(&path).await.expect(200).text());
    for expected in [
        "Tax invoice INV-000001",
        "Physiotherapy session",
        "72302",
        "24-Nov-2026",
        "R 650,00",
        "VAT 15 %",
        "R 97,50",
        "R 747,50",
        "Thandiwe Khumalo",
        "4123456789",
    ] {
        assert!(page.contains(expected), "{expected} is not on {page}");
    }
    let list = reception.get("/invoices").await.expect(200).text();
    assert!(!list.contains(&encounter.to_string()), "it waits no longer");
    assert_eq!(
        clinic.audited(patient).await,
        [
            "execute Test",
            "read Invoice",
            "create Invoice",
            "read Invoice",
            "read Invoice"
        ]
        .map(str::to_owned)[1..],
        "every look and the making of it"
    );
}

#[tokio::test]
async fn a_second_press_leads_to_the_same_invoice() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let encounter = visit(&clinic, patient).await;
    let reception = clinic.login("reception").await;
    let presses = (0..8).map(|_| {
        let reception = reception.clone();
        tokio::spawn(async move { invoice(&reception, encounter).await })
    });
    let mut paths = BTreeSet::new();
    for press in presses.collect::<Vec<_>>() {
        paths.insert(press.await.unwrap());
    }
    assert_eq!(paths.len(), 1, "{paths:?}");
    invoice(&reception, visit(&clinic, patient).await).await;
    assert_eq!(
        numbers(&clinic).await,
        [1, 2],
        "the presses that made nothing used no number"
    );
}

#[tokio::test]
async fn twenty_at_once_are_numbered_without_a_gap() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let mut presses = Vec::new();
    for at in 0..20 {
        let encounter = visit(&clinic, patient).await;
        let reception = reception.clone();
        presses.push(tokio::spawn(async move {
            invoice(&reception, encounter).await;
            // Refused ones in between: they take a number and must give it back.
            if at % 2 == 0 {
                let lines = json!([{ "description": "Strapping", "unit_price": "1.00" }]);
                reception
                    .post_json(
                        "/api/v1/invoices",
                        &json!({ "encounter_id": encounter, "lines": lines }),
                    )
                    .await
                    .expect(409);
            }
        }));
    }
    for press in presses {
        press.await.unwrap();
    }
    assert_eq!(numbers(&clinic).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_invoice_the_database_refuses_leaves_no_gap() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    invoice(&reception, visit(&clinic, patient).await).await;
    let refused = visit(&clinic, patient).await;
    let mut owner = connect_as("hadada_owner", &clinic.config.records_database).await;
    sqlx::raw_sql(
        "ALTER TABLE invoice_lines ADD CONSTRAINT refuse CHECK (unit_price < 0) NOT VALID",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    reception
        .post_form("/invoices", &[("encounter_id", &refused.to_string())])
        .await
        .expect(500);
    sqlx::raw_sql("ALTER TABLE invoice_lines DROP CONSTRAINT refuse")
        .execute(&mut owner)
        .await
        .unwrap();
    invoice(&reception, refused).await;
    assert_eq!(numbers(&clinic).await, [1, 2]);
}

#[tokio::test]
async fn a_practice_that_is_no_vat_vendor_charges_none() {
    let clinic = Clinic::start().await;
    let mut db = clinic.superuser().await;
    sqlx::query("UPDATE practices SET vat_number = '' WHERE practice_id = $1")
        .bind(clinic.practice.id)
        .execute(&mut db)
        .await
        .unwrap();
    let encounter = visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await;
    let reply = clinic
        .login("billing")
        .await
        .post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
        .await
        .expect(201)
        .json();
    assert_eq!(
        (reply["vat"].as_str(), reply["total"].as_str()),
        (Some("0.00"), Some("650.00"))
    );
    let page = clinic
        .login("billing")
        .await
        .get(&format!("/invoices/{}", reply["id"].as_str().unwrap()))
        .await
        .expect(200)
        .text();
    assert!(
        !page.contains("Tax invoice"),
        "only a vendor may call it a tax invoice"
    );
}

#[tokio::test]
async fn payments_settle_an_invoice_and_never_pass_its_balance() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let path = invoice(&reception, visit(&clinic, patient).await).await;
    let page = reception.get(&path).await.expect(200).text();
    assert!(
        page.contains("value=\"747,50\""),
        "the amount is the balance"
    );

    let key = uuid::Uuid::new_v4();
    pay(&reception, &path, key, "R 700,00").await.expect(303);
    pay(&reception, &path, key, "R 700,00").await.expect(303);
    let page = words(&reception.get(&path).await.expect(200).text());
    for expected in [
        "REC-000001",
        "R 47,50",
        "Part paid",
        "slip 4411",
        "Zinhle Maseko",
    ] {
        assert!(page.contains(expected), "{expected} is not on {page}");
    }
    assert!(
        !page.contains("REC-000002"),
        "a form sent twice is one payment"
    );

    for (amount, sentence) in [
        ("47,51", "Enter at most R 47,50"),
        ("0", "must be more than"),
        ("-5", "must be more than"),
        ("abc", "Enter an amount such as"),
        ("12,345", "at most two decimals"),
        ("", "Enter an amount such as"),
    ] {
        let refused = pay(&reception, &path, uuid::Uuid::new_v4(), amount)
            .await
            .expect(422)
            .text();
        assert!(
            words(&refused).contains(sentence),
            "{amount}: {}",
            words(&refused)
        );
        assert!(
            refused.contains("value=\"slip 4411\""),
            "what was typed is kept"
        );
    }
    let wrong_way = [
        ("idempotency_key", uuid::Uuid::new_v4().to_string()),
        ("amount", "1".into()),
        ("method", "barter".into()),
    ];
    let fields: Vec<(&str, &str)> = wrong_way.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert!(
        reception
            .post_form(&format!("{path}/payments"), &fields)
            .await
            .expect(422)
            .text()
            .contains("Choose cash, card or EFT")
    );

    pay(&reception, &path, uuid::Uuid::new_v4(), "47.50")
        .await
        .expect(303);
    let page = words(&reception.get(&path).await.expect(200).text());
    assert!(
        page.contains("REC-000002")
            && page.contains("R 0,00")
            && !page.contains("Record a payment"),
        "refused ones used no receipt number: {page}"
    );
    let refused = words(
        &pay(&reception, &path, uuid::Uuid::new_v4(), "1")
            .await
            .expect(422)
            .text(),
    );
    assert!(refused.contains("R 0,00"));
    let events = clinic.audited(patient).await;
    assert_eq!(
        events.iter().filter(|e| *e == "create Payment").count(),
        2,
        "{events:?}"
    );
}

#[tokio::test]
async fn two_payments_at_once_can_not_both_fit() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let path = invoice(
        &reception,
        visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await,
    )
    .await;
    let tries = (0..10).map(|_| {
        let (reception, path) = (reception.clone(), path.clone());
        tokio::spawn(async move {
            pay(&reception, &path, uuid::Uuid::new_v4(), "400")
                .await
                .status
                .as_u16()
        })
    });
    let mut statuses = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![303], vec![422; 9]].concat());
}

#[tokio::test]
async fn the_pdf_says_what_the_invoice_says_within_a_second() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Ṱhohoyanḓou", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let encounter = visit(&clinic, patient).await;
    let reply = reception
        .post_form(
            "/invoices",
            &[("encounter_id", &encounter.to_string()), ("icd10", "m54.5")],
        )
        .await
        .expect(303);
    let path = reply.location().to_owned();
    pay(&reception, &path, uuid::Uuid::new_v4(), "100")
        .await
        .expect(303);
    let started = std::time::Instant::now();
    let pdf = reception.get(&format!("{path}/pdf")).await.expect(200);
    let took = started.elapsed();
    assert!(took.as_millis() < 1_000, "{took:?}");
    assert_eq!(pdf.headers["content-type"], "application/pdf");
    assert_eq!(
        pdf.headers["content-disposition"],
        "inline; filename=\"invoice-000001.pdf\""
    );
    let file = clinic.folder.path().join("invoice.pdf");
    std::fs::write(&file, &pdf.bytes).unwrap();
    let text = std::process::Command::new("pdftotext")
        .arg("-layout")
        .arg(&file)
        .arg("-")
        .output()
        .unwrap();
    let text = String::from_utf8(text.stdout)
        .unwrap()
        .replace('\u{a0}', " ");
    for expected in [
        "INV-000001",
        "Ṱhohoyanḓou",
        "Physiotherapy session",
        "M54.5",
        "R 747,50",
        "R 647,50",
        "24-Nov-2026",
        "4123456789",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(
        clinic
            .audited(patient)
            .await
            .contains(&"execute Invoice".to_owned())
    );
}

#[tokio::test]
async fn without_the_typesetter_the_invoice_stays_and_says_why() {
    let clinic = Clinic::start().await;
    let mut config = clinic.config.clone();
    config.typeset = Some(clinic.folder.path().join("not-there"));
    let app = hadada::lifecycle::assemble(config, clinic.app.clock.clone()).unwrap();
    let reception = clinic.login("reception").await;
    let path = invoice(
        &reception,
        visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await,
    )
    .await;
    let reply = reception
        .on(hadada::app::router(app))
        .get(&format!("{path}/pdf"))
        .await
        .expect(503);
    assert!(reply.text().contains("The PDF could not be made"));
    reception.get(&path).await.expect(200);
}

#[tokio::test]
async fn the_list_finds_by_number_and_name_filters_and_adds_up() {
    let clinic = Clinic::start().await;
    let billing = clinic.login("billing").await;
    let khumalo = clinic.patient("Khumalo", "Thandiwe").await;
    let naidoo = clinic.patient("Naidoo", "Priya").await;
    let paid = invoice(&billing, visit(&clinic, khumalo).await).await;
    invoice(&billing, visit(&clinic, naidoo).await).await;
    pay(&billing, &paid, uuid::Uuid::new_v4(), "747,50")
        .await
        .expect(303);
    let seen = async |query: &str| {
        let page = words(
            &billing
                .get(&format!("/invoices{query}"))
                .await
                .expect(200)
                .text(),
        );
        (page.contains("INV-000001"), page.contains("INV-000002"))
    };
    assert_eq!(seen("").await, (true, true));
    assert_eq!(seen("?q=INV-000002").await, (false, true));
    assert_eq!(seen("?q=khumalo").await, (true, false));
    assert_eq!(seen("?status=paid").await, (true, false));
    assert_eq!(seen("?status=unpaid").await, (false, true));
    assert_eq!(seen("?status=part").await, (false, false));
    assert_eq!(seen("?q=zzzzzz").await, (false, false));
    let all = words(&billing.get("/invoices").await.expect(200).text());
    assert!(
        all.contains("2 invoices") && all.contains("R 1 495,00"),
        "{all}"
    );
    billing.get("/invoices?q=%00").await.expect(422);
}

#[tokio::test]
async fn a_long_list_goes_on_without_repeating() {
    let clinic = Clinic::start().await;
    let api = clinic.program("billing").await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    for _ in 0..7 {
        let encounter = visit(&clinic, patient).await;
        api.post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
            .await
            .expect(201);
    }
    let (mut found, mut query) = (Vec::new(), String::new());
    loop {
        let page = api
            .get(&format!("/api/v1/invoices?limit=3{query}"))
            .await
            .expect(200)
            .json();
        found.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["number_text"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => query = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(
        found,
        (1..=7)
            .rev()
            .map(|n| format!("INV-{n:06}"))
            .collect::<Vec<_>>()
    );
    api.get("/api/v1/invoices?limit=0").await.expect(422);
}

#[tokio::test]
async fn the_api_invoices_a_booking_with_lines_of_its_own() {
    let clinic = Clinic::start().await;
    let api = clinic.program("reception").await;
    let (encounter, booking) = visit_in(
        &clinic,
        &clinic.practice,
        clinic.patient("Khumalo", "Thandiwe").await,
    )
    .await;
    let lines = json!([
        { "description": "Physiotherapy session", "unit_price": "600.00", "tariff_code": "72302", "icd10": "M54.5" },
        { "description": "Strapping", "quantity": 1.5, "unit_price": 33.33 },
    ]);
    let made = api
        .post_json(
            "/api/v1/invoices",
            &json!({ "appointment_id": booking, "lines": lines }),
        )
        .await
        .expect(201);
    let location = made.location().to_owned();
    let body = made.json();
    // 600,00 + 50,00 (49,995) and VAT 90,00 + 7,50.
    assert_eq!(
        (
            body["net"].as_str(),
            body["vat"].as_str(),
            body["total"].as_str()
        ),
        (Some("650.00"), Some("97.50"), Some("747.50"))
    );
    assert_eq!(body["encounter_id"], encounter.to_string());
    assert_eq!(
        (body["status"].as_str(), body["balance"].as_str()),
        (Some("unpaid"), Some("747.50"))
    );
    assert_eq!(api.get(&location).await.expect(200).json(), body);
    let again = api
        .post_json("/api/v1/invoices", &json!({ "encounter_id": encounter }))
        .await
        .expect(200)
        .json();
    assert_eq!(again["id"], body["id"]);
}

#[tokio::test]
async fn what_breaks_a_rule_is_named_and_nothing_is_written() {
    let clinic = Clinic::start().await;
    let api = clinic.program("reception").await;
    let encounter = visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await;
    let line = |field: &str, value: serde_json::Value| {
        let mut line = json!({ "description": "Session", "unit_price": "10.00" });
        line[field] = value;
        json!({ "encounter_id": encounter, "lines": [{ "description": "First", "unit_price": "1" }, line] })
    };
    for (field, value, sentence) in [
        ("unit_price", json!("-0.01"), "can't be negative"),
        ("unit_price", json!(-650), "can't be negative"),
        ("unit_price", json!("0.001"), "two decimals"),
        ("unit_price", json!("99999999999"), "at most"),
        ("quantity", json!("0"), "more than 0"),
        ("quantity", json!("-1"), "more than 0"),
        ("description", json!(""), "needed"),
        ("description", json!("NUL \0 byte"), "can't be stored"),
        ("description", json!("x".repeat(201)), "At most 200"),
        ("icd10", json!("back pain"), "ICD-10"),
    ] {
        let reply = api
            .post_json("/api/v1/invoices", &line(field, value.clone()))
            .await
            .expect(422);
        let message = reply.field_error(&format!("lines[1].{field}"));
        assert!(message.contains(sentence), "{field} {value}: {message}");
    }
    for body in [
        json!({}),
        json!({ "encounter_id": encounter, "appointment_id": encounter }),
        json!({ "encounter_id": "x" }),
        json!({ "encounter_id": encounter, "lines": [] }),
        json!({ "encounter_id": encounter, "price": 1 }),
    ] {
        api.post_json("/api/v1/invoices", &body).await.expect(422);
    }
    let huge = json!({ "encounter_id": encounter, "lines": vec![json!({ "description": "x", "quantity": 1000, "unit_price": "9999999" }); 3] });
    assert!(
        api.post_json("/api/v1/invoices", &huge)
            .await
            .expect(422)
            .field_error("lines")
            .contains("at most")
    );
    assert!(numbers(&clinic).await.is_empty());
}

#[tokio::test]
async fn another_practice_finds_nothing_where_the_owner_does() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let api = clinic.program("reception").await;
    let (other, other_api) = (clinic.login("other").await, clinic.program("other").await);
    let (open, open_booking) = visit_in(
        &clinic,
        &clinic.practice,
        clinic.patient("Naidoo", "Priya").await,
    )
    .await;
    let path = invoice(
        &reception,
        visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await,
    )
    .await;
    for page in [
        path.clone(),
        format!("{path}/pdf"),
        format!("/api/v1{path}"),
    ] {
        reception.get(&page).await.expect(200);
        other.get(&page).await.expect(404);
        other_api.get(&page).await.expect(404);
    }
    pay(&other, &path, uuid::Uuid::new_v4(), "10")
        .await
        .expect(404);
    other
        .post_form("/invoices", &[("encounter_id", &open.to_string())])
        .await
        .expect(404);
    other_api
        .post_json("/api/v1/invoices", &json!({ "encounter_id": open }))
        .await
        .expect(404);
    other_api
        .post_json(
            "/api/v1/invoices",
            &json!({ "appointment_id": open_booking }),
        )
        .await
        .expect(404);
    assert!(
        !other
            .get("/invoices")
            .await
            .expect(200)
            .text()
            .contains("Khumalo")
    );
    assert_eq!(
        other_api.get("/api/v1/invoices").await.expect(200).json()["items"],
        json!([])
    );
    assert_eq!(
        api.get("/api/v1/invoices").await.expect(200).json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Control: the owner may do what was refused above.
    pay(&reception, &path, uuid::Uuid::new_v4(), "10")
        .await
        .expect(303);
    api.post_json(
        "/api/v1/invoices",
        &json!({ "appointment_id": open_booking }),
    )
    .await
    .expect(201);

    // Each practice counts for itself.
    let theirs = clinic
        .patient_in(&clinic.elsewhere, "Botha", "Pieter")
        .await;
    let first = invoice(&other, visit_in(&clinic, &clinic.elsewhere, theirs).await.0).await;
    assert!(
        other
            .get(&first)
            .await
            .expect(200)
            .text()
            .contains("INV-000001")
    );
}

#[tokio::test]
async fn an_invoice_and_a_payment_can_not_be_changed_even_by_the_program() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let path = invoice(
        &reception,
        visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await,
    )
    .await;
    pay(&reception, &path, uuid::Uuid::new_v4(), "10")
        .await
        .expect(303);
    for statement in [
        "UPDATE invoices SET total = 0, net = 0, vat = 0",
        "DELETE FROM invoices",
        "UPDATE invoice_lines SET unit_price = 0",
        "DELETE FROM payments",
        "UPDATE payments SET amount = 1",
    ] {
        let mut tx = clinic.tx().await;
        let refused = sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(tx.conn())
            .await
            .unwrap_err();
        assert_eq!(
            refused
                .as_database_error()
                .and_then(|e| e.code())
                .as_deref(),
            Some("42501"),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_pdf_comes_from_a_service_at_a_socket_too() {
    let clinic = Clinic::start_with(|config| {
        config.typeset_socket = Some(config.audit_key.with_file_name("typeset.sock"));
        config.typeset = Some("/nowhere/hadada-typeset".into());
    })
    .await;
    let reception = clinic.login("reception").await;
    let path = invoice(
        &reception,
        visit(&clinic, clinic.patient("Khumalo", "Thandiwe").await).await,
    )
    .await;
    let away = reception.get(&format!("{path}/pdf")).await.expect(503);
    assert!(away.text().contains("The invoice is safe"));

    // One process a connection, as systemd starts them with Accept=yes.
    let socket = clinic.config.typeset_socket.clone().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let program = crate::support::programs().join("hadada-typeset");
    let service = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let stream = std::os::fd::OwnedFd::from(stream.unwrap());
            let mut child = std::process::Command::new(&program)
                .stdin(std::process::Stdio::from(stream.try_clone().unwrap()))
                .stdout(std::process::Stdio::from(stream))
                .spawn()
                .unwrap();
            assert!(child.wait().unwrap().success());
        }
    });
    for _ in 0..2 {
        let pdf = reception.get(&format!("{path}/pdf")).await.expect(200);
        assert_eq!(pdf.headers["content-type"], "application/pdf");
        assert!(pdf.bytes.starts_with(b"%PDF-") && pdf.bytes.len() > 5_000);
    }
    service.join().unwrap();
}
