//! What stands behind the question mark of an address.

use super::{Faults, ODD, forbidden, serde_urlencoded};
use crate::support::Furnished;

#[tokio::test]
async fn no_question_in_an_address_breaks() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let (patient, booking) = (all.open.patient, all.open.booking);
    let questions: Vec<(&str, String, &[&str])> = vec![
        ("admin", "/day".into(), &["date", "view", "patient_id"]),
        ("admin", "/day/panels".into(), &["date"]),
        ("admin", "/patients".into(), &["q", "cursor"]),
        ("admin", "/patients/find".into(), &["q"]),
        (
            "admin",
            "/appointments/new".into(),
            &["date", "start", "practitioner_id", "patient_id"],
        ),
        (
            "admin",
            "/appointments/blocks/new".into(),
            &["date", "start", "practitioner_id"],
        ),
        (
            "admin",
            "/appointments/slots".into(),
            &["date", "practitioner_id", "duration_minutes"],
        ),
        ("admin", format!("/appointments/{booking}/card"), &["date"]),
        (
            "admin",
            format!("/appointments/{booking}/cancel"),
            &["date"],
        ),
        (
            "admin",
            format!("/appointments/{booking}/participants"),
            &["date"],
        ),
        ("admin", "/invoices".into(), &["q", "status", "before"]),
        ("admin", "/settings".into(), &["done"]),
        ("admin", "/settings/therapists/new".into(), &["user_id"]),
        (
            "admin",
            "/settings/accounts/new".into(),
            &["practitioner_id"],
        ),
        (
            "admin",
            "/admin/audit".into(),
            &["user", "patient", "date", "before"],
        ),
        ("admin", format!("/patients/{patient}/audit"), &["before"]),
        (
            "admin",
            "/api/v1/patients".into(),
            &["q", "cursor", "limit"],
        ),
        (
            "admin",
            "/api/v1/appointments".into(),
            &["date", "practitioner_id", "cursor", "limit"],
        ),
        (
            "naledi",
            "/api/v1/encounters".into(),
            &[
                "patient_id",
                "practitioner_id",
                "appointment_id",
                "status",
                "date",
                "limit",
                "cursor",
            ],
        ),
        (
            "admin",
            "/api/v1/invoices".into(),
            &["q", "status", "patient_id", "cursor", "limit"],
        ),
    ];
    let cursors = [
        "s-1",
        "s2147483647",
        "s",
        "9223372036854775807.x",
        "-62135596800000000.00000000-0000-0000-0000-000000000000",
        "-9223372036854775808.00000000-0000-0000-0000-000000000000",
        "2147483647",
        "-2147483648",
    ];
    let mut faults = Faults { list: Vec::new() };
    for (user, path, fields) in questions {
        let client = clinic.login(user).await;
        for field in fields {
            let refused = forbidden();
            let values = refused
                .iter()
                // An address is never a megabyte long.
                .filter(|(what, _)| *what != "1 MB of text")
                .map(|(_, v)| v.as_str())
                .chain(ODD)
                .chain(cursors);
            for value in values {
                let query = serde_urlencoded(&[(*field, value.to_owned())]);
                let mut address = format!("{path}?{query}");
                if path == "/appointments/slots" {
                    // The other parts of the question are right.
                    for (name, right) in [
                        ("date", "2026-11-25"),
                        ("practitioner_id", &*clinic.practice.physio.to_string()),
                        ("duration_minutes", "45"),
                    ] {
                        if name != *field {
                            address.push_str(&format!("&{name}={right}"));
                        }
                    }
                }
                let reply = client.get(&address).await;
                faults.check(&path, field, value, &reply, false);
            }
        }
    }
    let reply = clinic
        .stranger()
        .get("/login?next=%09%2F%2Fevil.example")
        .await
        .expect(200);
    assert!(!reply.text().contains("evil.example"));
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}
