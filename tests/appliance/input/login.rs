//! What is typed at the door, and where the door leads.

use http::header;

use super::{Faults, ODD, forbidden, post};
use crate::support::Furnished;

#[tokio::test]
async fn signing_in_breaks_over_nothing_and_leads_nowhere_else() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut faults = Faults { list: Vec::new() };
    let refused = forbidden();
    let values: Vec<&str> = refused.iter().map(|(_, v)| v.as_str()).chain(ODD).collect();
    for (n, value) in values.iter().enumerate() {
        // Sign-ins are limited by address, so each comes from another.
        let client = clinic.stranger().at([10, 0, 1, u8::try_from(n).unwrap()]);
        for field in ["username", "password"] {
            let mut fields = vec![
                ("username", "nobody".to_owned()),
                ("password", "x".to_owned()),
            ];
            fields.iter_mut().find(|f| f.0 == field).unwrap().1 = (*value).to_owned();
            let reply = post(&client, "/login", &fields).await;
            assert!(reply.headers.get(header::SET_COOKIE).is_none());
            faults.check("/login", field, value, &reply, false);
        }
        let next = vec![
            ("username", "reception".to_owned()),
            ("password", crate::support::PASSWORD.to_owned()),
            ("next", (*value).to_owned()),
        ];
        let reply = post(&client, "/login", &next).await;
        faults.check("/login", "next", value, &reply, false);
        assert!(
            !reply.status.is_redirection() || reply.location() == "/day",
            "{value:?} leads to {}",
            reply.location()
        );
    }
    for (next, goes) in [
        ("/patients/1?tab=notes", "/patients/1?tab=notes"),
        ("//evil.example", "/day"),
        ("/\\evil.example", "/day"),
        ("/\t/evil.example", "/day"),
        ("/\u{0}", "/day"),
        ("https://evil.example", "/day"),
        ("javascript:alert(1)", "/day"),
        ("/patients?q=%E1%B9%B1hoho", "/patients?q=%E1%B9%B1hoho"),
        ("/patients?q=ṱhoho", "/day"),
    ] {
        let fields = vec![
            ("username", "reception".to_owned()),
            ("password", crate::support::PASSWORD.to_owned()),
            ("next", next.to_owned()),
        ];
        let client = clinic.stranger().at([10, 0, 2, 1]);
        let reply = post(&client, "/login", &fields).await.expect(303);
        assert_eq!(reply.location(), goes, "{next:?}");
    }
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}
