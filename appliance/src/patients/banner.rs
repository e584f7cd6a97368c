//! The patient banner: who this is and what to mind, on every page and printed sheet about them.

use time::Date;

use super::store::{self, Record};
use super::{identity, rules};
use crate::clock;
use crate::db::PracticeTx;
use crate::error::{Error, Result};
use crate::ids::PatientId;
use crate::web::App;

/// What `components/banner.html` shows as `p`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Banner {
    /// Who it is.
    pub id: PatientId,
    /// The patient's page.
    pub href: String,
    /// Surname.
    pub family: String,
    /// First names.
    pub given: String,
    /// Mrs, Dr, …; may be empty.
    pub title: String,
    /// Name they go by, where another.
    pub preferred: Option<String>,
    /// `14-Mar-1992`.
    pub born: String,
    /// Age in words: `34`, or `7 months` for the very young.
    pub age: String,
    /// In words.
    pub sex: &'static str,
    /// The identity number with dots for digits; none when no document was seen.
    pub id_masked: Option<String>,
    /// Where the whole number is shown, and the showing logged.
    pub id_href: String,
    /// `H-00482`.
    pub file_no: String,
    /// Scheme and plan, or none for private patients.
    pub scheme: Option<String>,
    /// Exactly one of four states.
    pub allergies: BannerAllergies,
    /// What to mind.
    pub alerts: Vec<BannerAlert>,
}

/// Allergies on the banner.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BannerAllergies {
    /// One of four.
    pub state: rules::AllergyState,
    /// The known ones.
    pub items: Vec<BannerAllergy>,
}

/// One known allergy.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BannerAllergy {
    /// What they react to.
    pub substance: String,
    /// How; may be empty.
    pub reaction: String,
}

/// One alert.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BannerAlert {
    /// What to mind.
    pub text: String,
    /// Until when, where it ends; may be empty.
    pub detail: String,
}

impl Banner {
    pub(super) fn of(record: &Record, today: Date) -> Self {
        let p = &record.patient;
        let scheme = [p.scheme_name.as_str(), p.scheme_plan.as_str()]
            .iter()
            .filter(|s| !s.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        Self {
            id: p.id,
            href: format!("/patients/{}", p.id),
            family: p.family_name.clone(),
            given: p.given_name.clone(),
            title: p.title.clone(),
            preferred: Some(p.preferred_name.clone())
                .filter(|n| !n.is_empty() && *n != p.given_name),
            born: clock::date_text(p.birth_date),
            age: rules::age_text(p.birth_date, today),
            sex: p.sex().label(),
            id_masked: identity::masked(&p.identity_kind, p.birth_date),
            id_href: format!("/patients/{}/identity", p.id),
            file_no: p.file_number.clone(),
            scheme: Some(scheme).filter(|s| !s.is_empty()),
            allergies: BannerAllergies {
                state: record.allergy_state(),
                items: record
                    .allergies
                    .iter()
                    .map(|a| BannerAllergy {
                        substance: a.substance.clone(),
                        reaction: a.reaction.clone(),
                    })
                    .collect(),
            },
            alerts: record
                .alerts_on(today)
                .map(|a| BannerAlert {
                    text: a.text.clone(),
                    detail: a
                        .until
                        .as_deref()
                        .and_then(store::iso_date)
                        .map(|d| format!("until {}", clock::date_text(d)))
                        .unwrap_or_default(),
                })
                .collect(),
        }
    }

    /// An example for template tests.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            id: PatientId(uuid::Uuid::nil()),
            href: "/patients/00000000-0000-0000-0000-000000000000".into(),
            family: "Khumalo".into(),
            given: "Thandiwe".into(),
            title: "Mrs".into(),
            preferred: Some("Thandi".into()),
            born: "14-Mar-1992".into(),
            age: "34".into(),
            sex: "Female",
            id_masked: Some("920314 •••• •••".into()),
            id_href: "/patients/00000000-0000-0000-0000-000000000000/identity".into(),
            file_no: "H-00482".into(),
            scheme: Some("Discovery Health Classic Saver".into()),
            allergies: BannerAllergies {
                state: rules::AllergyState::Known,
                items: vec![BannerAllergy {
                    substance: "Penicillin".into(),
                    reaction: "rash".into(),
                }],
            },
            alerts: vec![BannerAlert {
                text: "Falls risk".into(),
                detail: String::new(),
            }],
        }
    }
}

/// The banner of a patient, in the caller's transaction; the caller records the event.
///
/// # Errors
/// [`Error::NotFound`] when there is no such patient in this practice.
pub async fn banner(tx: &mut PracticeTx, app: &App, id: PatientId) -> Result<Banner> {
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    Ok(Banner::of(&record, app.clock.today()))
}
