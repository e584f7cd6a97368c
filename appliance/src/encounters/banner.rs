//! The patient banner of the visit's pages.

use serde::Serialize;

use crate::clock;
use crate::db::PracticeTx;
use crate::error::{Error, Result};
use crate::ids::PatientId;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Banner {
    href: String,
    family: String,
    given: String,
    title: String,
    preferred: String,
    born: String,
    age: String,
    sex: &'static str,
    id_masked: Option<String>,
    id_href: String,
    file_no: String,
    scheme: String,
    allergies: Allergies,
    alerts: Vec<Alert>,
}

#[derive(Clone, Debug, Serialize)]
struct Allergies {
    state: &'static str,
    items: Vec<Allergy>,
}

#[derive(Clone, Debug, Serialize)]
struct Allergy {
    substance: String,
    reaction: String,
}

#[derive(Clone, Debug, Serialize)]
struct Alert {
    text: String,
    detail: String,
}

impl Banner {
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.family.to_uppercase(), self.given)
    }

    pub(super) fn sample() -> Self {
        Self {
            href: "/patients/1".into(),
            family: "Khumalo".into(),
            given: "Thandiwe".into(),
            title: "Ms".into(),
            preferred: "Thandi".into(),
            born: "14-Mar-1992".into(),
            age: "34y".into(),
            sex: "Female",
            id_masked: None,
            id_href: "/patients/1/identity".into(),
            file_no: "H-00482".into(),
            scheme: "GEMS".into(),
            allergies: Allergies { state: "known", items: vec![Allergy { substance: "Penicillin".into(), reaction: "anaphylaxis".into() }] },
            alerts: vec![Alert { text: "Previous DVT".into(), detail: "left calf, 2019".into() }],
        }
    }
}

pub(super) async fn banner(tx: &mut PracticeTx, patient: PatientId) -> Result<Banner> {
    let today = clock::local(tx.now()).0;
    let p = sqlx::query!(
        "SELECT family_name, given_name, title, preferred_name, birth_date, sex, file_number, scheme_name, allergy_state FROM patients WHERE id = $1",
        patient.0
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(Error::NotFound)?;
    let allergies = sqlx::query_as!(Allergy, "SELECT substance, reaction FROM allergies WHERE patient_id = $1 AND ended_at IS NULL ORDER BY substance", patient.0)
        .fetch_all(tx.conn())
        .await?;
    let alerts = sqlx::query!("SELECT text, until FROM alerts WHERE patient_id = $1 AND ended_at IS NULL AND (until IS NULL OR until >= $2)", patient.0, today)
        .fetch_all(tx.conn())
        .await?;
    Ok(Banner {
        href: format!("/patients/{patient}"),
        family: p.family_name,
        given: p.given_name,
        title: p.title,
        preferred: p.preferred_name,
        born: clock::date_text(p.birth_date),
        age: format!("{}y", clock::age_on(p.birth_date, today)),
        sex: match p.sex.as_str() {
            "female" => "Female",
            "male" => "Male",
            "other" => "Other",
            _ => "Unknown",
        },
        id_masked: None,
        id_href: format!("/patients/{patient}/identity"),
        file_no: p.file_number,
        scheme: p.scheme_name,
        allergies: Allergies {
            state: match p.allergy_state.as_str() {
                "known" => "known",
                "none-known" => "none",
                _ => "unrecorded",
            },
            items: allergies,
        },
        alerts: alerts.into_iter().map(|a| Alert { text: a.text, detail: a.until.map_or_else(String::new, |d| format!("until {}", clock::date_text(d))) }).collect(),
    })
}
