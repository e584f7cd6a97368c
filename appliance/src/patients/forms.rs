//! What the forms about patients share: labels, errors beside their fields, duplicates.

use serde_json::{Map, Value};

use super::details::Details;
use super::identity::Sex;
use super::rules::SameAs;
use super::store::{Candidate, PatientRow};
use super::{identity, phone};
use crate::clock;
use crate::error::FieldError;
use crate::web::field_errors;

/// A field's words on the form.
pub(super) fn label(field: &str) -> &str {
    match field {
        "title" => "Title",
        "family_name" => "Family name",
        "given_name" => "Given names",
        "preferred_name" => "Preferred name",
        "birth_date" => "Date of birth",
        "sex" => "Sex",
        "identity_kind" => "Identity document",
        "identity_value" => "ID or passport number",
        "phone" => "Phone",
        "email" => "Email",
        "address" => "Address",
        "scheme_name" => "Medical scheme",
        "scheme_plan" => "Plan",
        "member_number" => "Member number",
        "dependant_code" => "Dependant code",
        "emergency_name" => "Emergency contact",
        "emergency_phone" => "Emergency contact's phone",
        "allergy_state" => "Allergies",
        "substance" => "Substance",
        "reaction" => "Reaction",
        "alert" => "Alert",
        "until" => "Until",
        other => other,
    }
}

/// Field → sentence that names the field and the rule, for `error_summary` and the fields.
pub(super) fn errors(fields: &[FieldError]) -> Map<String, Value> {
    field_errors(fields, label)
}

/// A choice in a list.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub value: &'static str,
    pub label: &'static str,
}

pub(super) fn sexes() -> Vec<Choice> {
    Sex::ALL
        .into_iter()
        .map(|s| Choice {
            value: s.text(),
            label: s.label(),
        })
        .collect()
}

pub(super) const DOCUMENTS: [Choice; 3] = [
    Choice {
        value: "sa-id",
        label: "South African ID",
    },
    Choice {
        value: "passport",
        label: "Passport",
    },
    Choice {
        value: "none",
        label: "No document seen",
    },
];

pub(super) const ALLERGIES: [Choice; 3] = [
    Choice {
        value: "not-recorded",
        label: "Not asked yet",
    },
    Choice {
        value: "none-known",
        label: "Asked: no known allergies",
    },
    Choice {
        value: "known",
        label: "Asked: allergic to the substance below",
    },
];

/// Somebody who may be the same person.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Duplicate {
    pub href: String,
    pub name: String,
    pub born: String,
    pub file_no: String,
    pub why: &'static str,
}

impl Duplicate {
    pub(super) fn of(c: &Candidate) -> Self {
        Self {
            href: format!("/patients/{}", c.id),
            name: format!("{}, {}", c.family_name, c.given_name),
            born: clock::date_text(c.birth_date),
            file_no: c.file_number.clone(),
            why: c.why.words(),
        }
    }
}

/// Whether one of them is certainly the same person.
pub(super) fn certain(found: &[Candidate]) -> bool {
    found.iter().any(|c| c.why == SameAs::Identity)
}

impl Details {
    /// A stored patient as form fields. The identity number stays hidden; left empty, it stays as it is.
    pub(super) fn of(p: &PatientRow) -> Self {
        Self {
            title: p.title.clone(),
            family_name: p.family_name.clone(),
            given_name: p.given_name.clone(),
            preferred_name: p.preferred_name.clone(),
            birth_date: clock::date_text(p.birth_date),
            sex: p.sex.clone(),
            identity_kind: p.identity_kind.clone(),
            identity_value: String::new(),
            phone: shown(&p.phone),
            email: p.email.clone(),
            address: p.address.clone(),
            scheme_name: p.scheme_name.clone(),
            scheme_plan: p.scheme_plan.clone(),
            member_number: p.member_number.clone(),
            dependant_code: p.dependant_code.clone(),
            emergency_name: p.emergency_name.clone(),
            emergency_phone: shown(&p.emergency_phone),
        }
    }

    /// Every field but the identity number, by name.
    fn pairs(&self) -> [(&'static str, &str); 16] {
        [
            ("title", &self.title),
            ("family_name", &self.family_name),
            ("given_name", &self.given_name),
            ("preferred_name", &self.preferred_name),
            ("birth_date", &self.birth_date),
            ("sex", &self.sex),
            ("identity_kind", &self.identity_kind),
            ("phone", &self.phone),
            ("email", &self.email),
            ("address", &self.address),
            ("scheme_name", &self.scheme_name),
            ("scheme_plan", &self.scheme_plan),
            ("member_number", &self.member_number),
            ("dependant_code", &self.dependant_code),
            ("emergency_name", &self.emergency_name),
            ("emergency_phone", &self.emergency_phone),
        ]
    }
}

fn shown(e164: &str) -> String {
    if e164.is_empty() {
        String::new()
    } else {
        phone::shown(e164)
    }
}

/// One field of a conflict: both sides.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Sides {
    pub label: String,
    pub yours: String,
    pub theirs: String,
}

/// What differs between a typed form and the record as it is now.
pub(super) fn both_sides(yours: &Details, theirs: &Details) -> Vec<Sides> {
    yours
        .pairs()
        .into_iter()
        .zip(theirs.pairs())
        .filter(|((_, y), (_, t))| y.trim() != *t)
        .map(|((name, y), (_, t))| Sides {
            label: label(name).to_owned(),
            yours: y.to_owned(),
            theirs: t.to_owned(),
        })
        .collect()
}

/// What the identity field says beneath itself when a number is already there.
pub(super) fn identity_hint(p: &PatientRow) -> String {
    identity::masked(&p.identity_kind, p.birth_date)
        .map(|masked| format!("On file: {masked}. Leave this empty to keep it."))
        .unwrap_or_else(|| "13 digits, or a passport number".into())
}
