//! Finding patients: by what people know of them, page after page, and fast.

use serde_json::json;

use super::{HIM, HIS_ID, found, plain, register};
use crate::support::Clinic;

#[tokio::test]
async fn a_patient_is_found_by_what_people_know() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    register(
        &reception,
        &[
            &HIM[..],
            &[("given_name", "Sipho"), ("phone", "083 555 0199")],
        ]
        .concat(),
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
    let options = reception.page("/patients/find?q=thandi").await;
    assert!(
        options.starts_with("<li role=\"option\" data-id=\"")
            && options.contains("data-label=\"Khumalo, Thandiwe\"")
            && options.contains("<small>H-00002, 14-Mar-1992</small>"),
        "{options}"
    );
    assert_eq!(reception.page("/patients/find?q=").await, "");
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
        let people = program.all(&format!("/api/v1/patients?limit=3{q}")).await;
        let seen: Vec<&str> = people
            .iter()
            .map(|p| p["given_name"].as_str().unwrap())
            .collect();
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
