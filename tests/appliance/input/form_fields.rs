//! Each field of each form with text that it should not take.

use super::forms::{forms, settings};
use super::{Faults, ODD, forbidden, post};
use crate::support::{Furnished, key, rows};

/// Fields that are only looked at for whether something is in them, or are dropped where they make no sense.
fn is_switch(path: &str, field: &str) -> bool {
    matches!(field, "outside_hours" | "duplicate_confirmed" | "mon")
        // A form that shows the day again where it was, and takes any day for no day.
        || (path.ends_with("/participants") && field == "date")
        // Blocked time is nobody's and of no kind.
        || (path.ends_with("/blocks") && matches!(field, "patient_id" | "session_type"))
}

#[tokio::test]
async fn no_field_of_a_form_breaks_or_takes_what_it_must_not() {
    let all = Furnished::start().await;
    let clinic = &all.open.clinic;
    let mut db = clinic.superuser().await;
    let mut faults = Faults { list: Vec::new() };
    let mut tried = 0;
    let mut before = rows(&mut db).await;
    for form in forms(&all).into_iter().chain(settings(&all)) {
        let client = clinic.login(form.user).await;
        if form.path.ends_with("/addenda") {
            let version = [("version", "1")];
            let signed = client.post_form(&all.open.path("/sign"), &version).await;
            signed.expect(303);
            before = rows(&mut db).await;
        }
        for at in 0..form.fields.len() {
            let field = form.fields[at].0;
            let refused = forbidden();
            let values = refused
                .iter()
                .map(|(_, v)| (v.as_str(), !is_switch(&form.path, field)))
                .chain(ODD.iter().map(|&v| (v, false)));
            for (value, must) in values {
                let mut fields = form.fields.clone();
                if let Some(key_field) = fields.iter_mut().find(|f| f.0 == "idempotency_key") {
                    key_field.1 = key();
                }
                fields[at].1 = value.to_owned();
                let reply = post(&client, &form.path, &fields).await;
                faults.check(&form.path, field, value, &reply, must);
                let after = rows(&mut db).await;
                let grew = std::mem::replace(&mut before, after) != before;
                if reply.status.is_client_error() && grew {
                    faults.list.push(format!(
                        "{} {field}={value:?}: refused, and written",
                        form.path
                    ));
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 2_000, "{tried}");
    assert!(faults.list.is_empty(), "{}", faults.list.join("\n"));
}
