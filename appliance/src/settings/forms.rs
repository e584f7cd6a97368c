//! What the forms of the settings share: labels, errors beside their fields, both sides of a conflict, and the transaction in
//! which a setting changes.

use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, FieldError, Result};
use crate::web::{App, Permission, Session, field_errors};

/// A field's words on the form.
pub(super) fn label(field: &str) -> &str {
    match field {
        "name" => "Name",
        "title" => "Title",
        "given_name" => "Given names",
        "family_name" => "Family name",
        "discipline" => "Profession",
        "hpcsa_number" => "HPCSA number",
        "bhf_number" => "Practice number",
        "room_id" => "Room",
        "monday" => "Monday",
        "tuesday" => "Tuesday",
        "wednesday" => "Wednesday",
        "thursday" => "Thursday",
        "friday" => "Friday",
        "saturday" => "Saturday",
        "sunday" => "Sunday",
        "username" => "User name",
        "display_name" => "Name",
        "role" => "Role",
        "duration_minutes" => "Length",
        "price" => "Price",
        "tariff_code" => "Tariff code",
        "capacity" => "Places",
        "vat_number" => "VAT number",
        "address" => "Address",
        "phone" => "Phone",
        "email" => "Email",
        "bank_details" => "Bank details",
        "given_by" => "Given by",
        "user_id" => "Log-in",
        "practitioner_id" => "Therapist",
        other => other,
    }
}

/// Field → sentence that names the field and the rule, for `error_summary` and the fields.
pub(super) fn errors(fields: &[FieldError]) -> Map<String, Value> {
    field_errors(fields, label)
}

/// An error for a template's sample.
#[must_use]
pub(super) fn sample_errors(field: &'static str) -> Map<String, Value> {
    errors(&[FieldError {
        field: field.into(),
        message: "This is needed.".into(),
    }])
}

/// A choice in a list.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub value: String,
    pub label: String,
}

impl Choice {
    pub(super) fn new(value: impl ToString, label: impl Into<String>) -> Self {
        Self {
            value: value.to_string(),
            label: label.into(),
        }
    }
}

/// A form's fields by name, in the words that a reader of a conflict or of the audit log understands.
pub(super) type Pairs = Vec<(&'static str, String)>;

/// One field of a conflict: both sides.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Side {
    label: String,
    yours: String,
    theirs: String,
}

impl Side {
    pub(super) fn sample() -> Self {
        Self {
            label: "Name".into(),
            yours: "Room 1".into(),
            theirs: "Gym".into(),
        }
    }
}

/// What differs between a typed form and the record as it is now.
pub(super) fn both_sides(yours: &Pairs, theirs: &Pairs) -> Vec<Side> {
    differing(theirs, yours)
        .map(|(name, theirs, yours)| Side {
            label: label(name).to_owned(),
            yours: yours.to_owned(),
            theirs: theirs.to_owned(),
        })
        .collect()
}

fn differing<'a>(
    old: &'a Pairs,
    new: &'a Pairs,
) -> impl Iterator<Item = (&'static str, &'a str, &'a str)> {
    old.iter()
        .zip(new)
        .filter(|((_, o), (_, n))| o != n)
        .map(|((name, o), (_, n))| (*name, o.as_str(), n.as_str()))
}

/// What a change changed, for the audit log: `Name: Room 1 → Gym`.
pub(super) fn changes(old: &Pairs, new: &Pairs) -> String {
    let empty = |text: &str| {
        if text.is_empty() {
            "empty".to_owned()
        } else {
            text.to_owned()
        }
    };
    differing(old, new)
        .map(|(name, o, n)| format!("{}: {} → {}", label(name), empty(o), empty(n)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// What a form was filled with, for the audit log.
pub(super) fn filled(new: &Pairs) -> String {
    new.iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{}: {value}", label(name)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// The version a change is made over.
pub(super) fn version(text: &str) -> Result<i32> {
    text.parse()
        .map_err(|_| Error::field("version", "The form has no version. Open it again."))
}

/// A transaction for a change. Changes of one practice's settings wait for each other, so that what one of them checked still
/// holds when it is written: the last admin, a name that is there once, the next place in a list.
pub(super) async fn begin(app: &App, session: &Session) -> Result<PracticeTx> {
    session.require(Permission::ChangeSettings)?;
    let mut tx = app.begin(session).await?;
    // Weaker than FOR UPDATE, which would hold up every insert that refers to the practice.
    sqlx::query!(r#"SELECT 1 AS "one!" FROM practices FOR NO KEY UPDATE"#)
        .fetch_one(tx.conn())
        .await?;
    Ok(tx)
}

/// Records what was done and commits; back to the list, which says so.
pub(super) async fn finish(
    mut tx: PracticeTx,
    action: Action,
    entity: &'static str,
    id: Uuid,
    reason: String,
) -> Result<Response> {
    tx.record(AuditEvent::new(action, entity).id(id).reason(reason))
        .await?;
    tx.commit().await?;
    Ok(done(id))
}

/// Back to the list, which says what was done.
pub(super) fn done(id: Uuid) -> Response {
    Redirect::to(&format!("/settings?done={id}")).into_response()
}

/// Seven digits, however they are grouped, as the Board of Healthcare Funders gives them; there is no published check digit.
pub(super) fn practice_number(text: &str) -> Result<String, &'static str> {
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if plain.is_empty() || plain.len() == 7 && plain.bytes().all(|b| b.is_ascii_digit()) {
        Ok(plain)
    } else {
        Err("Use 7 digits, such as 0123456.")
    }
}

/// A registration number of the Health Professions Council: the register's letters and up to seven digits. There is no published
/// check digit.
pub(super) fn hpcsa_number(text: &str) -> Result<String, &'static str> {
    let plain: String = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if plain.is_empty() {
        return Ok(plain);
    }
    let letters = plain.bytes().take_while(|b| b.is_ascii_uppercase()).count();
    let digits = plain.get(letters..).unwrap_or_default();
    if (1..=4).contains(&letters)
        && (5..=7).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
    {
        Ok(format!(
            "{} {digits}",
            plain.get(..letters).unwrap_or_default()
        ))
    } else {
        Err("Use the register's letters and 5 to 7 digits, such as PT 0012345.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_however_they_are_grouped_and_only_with_their_digits() {
        assert_eq!(practice_number(" 012 3456 "), Ok("0123456".into()));
        assert_eq!(practice_number(""), Ok(String::new()));
        for bad in ["123456", "12345678", "012345a", "०१२३४५६"] {
            assert!(practice_number(bad).is_err(), "{bad}");
        }
        for (typed, stored) in [
            ("pt0012345", "PT 0012345"),
            ("MP 0123456", "MP 0123456"),
            (" ", ""),
        ] {
            assert_eq!(hpcsa_number(typed), Ok(stored.into()));
        }
        for bad in [
            "0012345",
            "PT",
            "PT 123",
            "PT 12345678",
            "PT 00x2345",
            "ÄÖ 0012345",
        ] {
            assert!(hpcsa_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_tells_old_and_new_and_nothing_else() {
        let old = vec![("name", "Room 1".to_owned()), ("price", "R 650,00".into())];
        let new = vec![("name", "Room 1".to_owned()), ("price", String::new())];
        assert_eq!(changes(&old, &new), "Price: R 650,00 → empty");
        assert_eq!(changes(&old, &old), "");
        assert_eq!(both_sides(&new, &old).len(), 1);
    }
}
