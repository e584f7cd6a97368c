//! Payments fit the balance, and nothing of money is changed afterwards.

use super::{any_invoice, invoice, pay, visit, words};
use crate::support::{Clinic, sql_state};

#[tokio::test]
async fn payments_settle_an_invoice_and_never_pass_its_balance() {
    let clinic = Clinic::start().await;
    let patient = clinic.patient("Khumalo", "Thandiwe").await;
    let reception = clinic.login("reception").await;
    let path = invoice(&reception, visit(&clinic, patient).await).await;
    let page = reception.page(&path).await;
    assert!(
        page.contains("value=\"747,50\""),
        "the amount is the balance"
    );

    let key = uuid::Uuid::new_v4();
    pay(&reception, &path, key, "R 700,00").await.expect(303);
    pay(&reception, &path, key, "R 700,00").await.expect(303);
    let page = words(&reception.page(&path).await);
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
    let page = words(&reception.page(&path).await);
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
    let path = any_invoice(&clinic, &reception).await;
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
async fn an_invoice_and_a_payment_can_not_be_changed_even_by_the_program() {
    let clinic = Clinic::start().await;
    let reception = clinic.login("reception").await;
    let path = any_invoice(&clinic, &reception).await;
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
        assert_eq!(sql_state(&refused), "42501", "{statement}");
    }
}
