//! Registering somebody, once, whatever they are called and whatever is typed wrongly.

use super::{Fields, HIM, HIS_ID, count, form, found, id_of, plain, register};
use crate::support::{Clinic, key};

#[tokio::test]
async fn a_registered_patient_has_a_page_with_the_banner() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let patient = register(&reception, &[&HIM[..], &[("title", "Mr")]].concat()).await;
    let page = reception.page(&format!("/patients/{patient}")).await;
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
    let page = reception.page(&format!("/patients/{patient}")).await;
    assert!(page.contains("Ṅwaṋḓo-Ḽiṱhole") && page.contains("Šárka 🦵"));
    assert!(
        plain(&page).contains("&lt;b&gt;Ṱhi&lt;/b&gt;"),
        "markup in a name must be text"
    );
    for q in ["nwando", "Ṅwaṋḓo", "lithole", "sarka", "ṋḓo-ḽi"] {
        assert_eq!(found(&reception, q).await, ["Šárka 🦵"], "{q}");
    }
}
