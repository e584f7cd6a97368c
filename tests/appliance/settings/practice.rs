//! What the practice says of itself: changed on one page, shown on the invoices.

use super::send;
use crate::billing::any_invoice;
use crate::support::{Clinic, rows};

const DETAILS: [(&str, &str); 8] = [
    ("version", "1"),
    ("name", "Rosebank Rehab"),
    ("bhf_number", "012 3456"),
    ("vat_number", "4123456789"),
    ("address", "12 Bath Avenue\nRosebank"),
    ("phone", "011 555 0143"),
    ("email", "desk@rosebank.example"),
    (
        "bank_details",
        "First Bank\nAccount 62 000 000 000\nBranch 250655",
    ),
];

#[tokio::test]
async fn what_is_changed_stands_on_the_invoices_and_in_the_log_and_only_there() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let invoice = any_invoice(&clinic, &admin).await;
    let bank = "First Bank, Account 62 000 000 000, Branch 250655";
    assert!(!admin.page(&invoice).await.contains(bank));
    assert!(
        admin
            .page("/settings")
            .await
            .contains("Without bank details")
    );

    let saved = send(&admin, "/settings/practice", &DETAILS, &[]).await;
    let list = admin.page(saved.expect(303).location()).await;
    for shown in [
        "Saved: the practice",
        bank,
        "12 Bath Avenue, Rosebank",
        "desk@rosebank.example",
    ] {
        assert!(list.contains(shown), "{shown}: {list}");
    }
    assert!(admin.page(&invoice).await.contains(bank));
    let other = clinic.login("other").await;
    assert!(!other.page("/settings").await.contains("Bath Avenue"));
    let mut db = clinic.superuser().await;
    let reasons: Vec<String> = sqlx::query_scalar(
        "SELECT reason FROM audit_events WHERE practice_id = $1 AND entity = 'Organization' AND action = 'update'",
    )
    .bind(clinic.practice.id)
    .fetch_all(&mut db)
    .await
    .unwrap();
    assert_eq!(reasons.len(), 1);
    assert!(
        reasons[0].contains(&format!("Bank details: empty → {bank}")),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_beside_its_field_and_two_admins_see_both_sides() {
    let clinic = Clinic::start().await;
    let admin = clinic.login("admin").await;
    let mut db = clinic.superuser().await;
    let before = rows(&mut db).await;
    let long = "x".repeat(121);
    for (field, value) in [
        ("name", " "),
        ("bhf_number", "12"),
        ("vat_number", "5123456789"),
        ("address", "1\n2\n3\n4\n5\n6\n7\n8\n9"),
        ("email", "desk@"),
        ("bank_details", &long),
    ] {
        let reply = send(&admin, "/settings/practice", &DETAILS, &[(field, value)]).await;
        let text = reply.expect(422).text();
        assert!(text.contains(&format!("href=\"#f-{field}\"")), "{field}");
        assert!(text.contains("12 Bath Avenue") || field == "address");
    }
    assert_eq!(rows(&mut db).await, before);

    send(&admin, "/settings/practice", &DETAILS, &[])
        .await
        .expect(303);
    let mine = send(
        &admin,
        "/settings/practice",
        &DETAILS,
        &[("phone", "011 555 0199")],
    )
    .await;
    let text = mine.expect(409).text();
    assert!(
        text.contains("Somebody changed this meanwhile")
            && text.contains("011 555 0143")
            && text.contains("011 555 0199"),
        "{text}"
    );
    let over = [("phone", "011 555 0199"), ("version", "2")];
    send(&admin, "/settings/practice", &DETAILS, &over)
        .await
        .expect(303);
}
