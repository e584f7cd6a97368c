//! `/api/v1/patients`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use super::actions::{self, Registered};
use super::details::{AllergyAnswer, Demographics, Details, NewAllergy};
use super::forms::certain;
use super::store::{self, Candidate, Record, Summary};
use super::{identity, record};
use crate::api::List;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::PatientId;
use crate::web::{App, FormId, JsonBody, Permission, Query, Session, optional_text};

/// An identity document.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityJson {
    /// `sa-id`, `passport` or `none`.
    #[schema(example = "sa-id")]
    kind: String,
    /// The number. Masked in lists; null when there is none, or when the token may not see it.
    #[serde(default)]
    #[schema(example = "9203140800085")]
    value: Option<String>,
}

/// An allergy to record.
#[derive(Clone, Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllergyInput {
    /// What the patient reacts to.
    substance: String,
    /// How.
    #[serde(default)]
    reaction: String,
}

/// A patient to register.
#[derive(Clone, Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatientInput {
    /// Surname, at most 80 characters.
    #[schema(example = "Khumalo")]
    family_name: String,
    /// First names, at most 80 characters.
    #[schema(example = "Thandiwe")]
    given_name: String,
    /// `YYYY-MM-DD`, from 1900 to today.
    #[schema(example = "1992-03-14")]
    birth_date: String,
    /// `female`, `male`, `other` or `unknown`.
    #[schema(example = "female")]
    sex: String,
    /// Mrs, Dr, …
    #[serde(default)]
    title: String,
    /// What the patient likes to be called.
    #[serde(default)]
    preferred_name: String,
    /// ID number or passport; none when left out. An SA ID number is checked against itself, the birth date and the sex.
    #[serde(default)]
    identity: Option<IdentityJson>,
    /// Any form; South African without a country code.
    #[serde(default)]
    phone: String,
    /// Email address.
    #[serde(default)]
    email: String,
    /// One line.
    #[serde(default)]
    address: String,
    /// Medical scheme.
    #[serde(default)]
    scheme_name: String,
    /// The scheme's plan.
    #[serde(default)]
    scheme_plan: String,
    /// Membership number.
    #[serde(default)]
    member_number: String,
    /// Two digits, `00` for the main member.
    #[serde(default)]
    dependant_code: String,
    /// Whom to call.
    #[serde(default)]
    emergency_name: String,
    /// Their phone.
    #[serde(default)]
    emergency_phone: String,
    /// `known`, `none-known` or `not-recorded`. `known` when allergies are given, else `not-recorded`.
    #[serde(default)]
    allergy_state: Option<String>,
    /// Known allergies.
    #[serde(default)]
    allergies: Vec<AllergyInput>,
    /// Says that the patient is none of those that a 409 named. The same identity number is refused all the same.
    #[serde(default)]
    duplicate_confirmed: bool,
}

/// A known allergy.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct AllergyJson {
    id: uuid::Uuid,
    substance: String,
    reaction: String,
}

/// Something to mind.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct AlertJson {
    id: uuid::Uuid,
    text: String,
    /// Last day it holds, `YYYY-MM-DD`.
    until: Option<String>,
}

/// A patient.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct PatientJson {
    id: PatientId,
    /// The practice's own number.
    #[schema(example = "H-00482")]
    file_number: String,
    title: String,
    family_name: String,
    given_name: String,
    preferred_name: String,
    /// `YYYY-MM-DD`.
    birth_date: String,
    sex: String,
    identity: IdentityJson,
    /// E.164.
    phone: String,
    email: String,
    address: String,
    scheme_name: String,
    scheme_plan: String,
    member_number: String,
    dependant_code: String,
    emergency_name: String,
    emergency_phone: String,
    /// `known`, `none-known`, `not-recorded` or `unavailable` (there may be some that can't be read now).
    allergy_state: String,
    allergies: Vec<AllergyJson>,
    alerts: Vec<AlertJson>,
    version: i32,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

/// A line of a list.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct PatientSummary {
    id: PatientId,
    file_number: String,
    family_name: String,
    given_name: String,
    preferred_name: String,
    /// `YYYY-MM-DD`.
    birth_date: String,
    sex: String,
    /// The number is masked.
    identity: IdentityJson,
    /// E.164.
    phone: String,
    scheme_name: String,
}

impl PatientSummary {
    fn of(s: Summary) -> Self {
        Self {
            identity: IdentityJson {
                value: identity::masked(&s.identity_kind, s.birth_date),
                kind: s.identity_kind,
            },
            id: s.id,
            file_number: s.file_number,
            family_name: s.family_name,
            given_name: s.given_name,
            preferred_name: s.preferred_name,
            birth_date: s.birth_date.to_string(),
            sex: s.sex,
            phone: s.phone,
            scheme_name: s.scheme_name,
        }
    }
}

impl PatientJson {
    fn of(record: Record, identity: IdentityJson) -> Self {
        let allergy_state = record.allergy_state().api().to_owned();
        let p = record.patient;
        Self {
            identity,
            allergy_state,
            allergies: record
                .allergies
                .into_iter()
                .map(|a| AllergyJson {
                    id: a.id,
                    substance: a.substance,
                    reaction: a.reaction,
                })
                .collect(),
            alerts: record
                .alerts
                .into_iter()
                .map(|a| AlertJson {
                    id: a.id,
                    text: a.text,
                    until: a.until,
                })
                .collect(),
            id: p.id,
            file_number: p.file_number,
            title: p.title,
            family_name: p.family_name,
            given_name: p.given_name,
            preferred_name: p.preferred_name,
            birth_date: p.birth_date.to_string(),
            sex: p.sex,
            phone: p.phone,
            email: p.email,
            address: p.address,
            scheme_name: p.scheme_name,
            scheme_plan: p.scheme_plan,
            member_number: p.member_number,
            dependant_code: p.dependant_code,
            emergency_name: p.emergency_name,
            emergency_phone: p.emergency_phone,
            version: p.version,
            created_at: clock::rfc3339(p.created_at),
            updated_at: clock::rfc3339(p.updated_at),
        }
    }
}

impl PatientInput {
    /// Checks everything; errors name the fields of this body.
    fn check(self, today: time::Date) -> Result<(Demographics, AllergyAnswer)> {
        let mut problems = Problems::new();
        let allergies: Vec<NewAllergy> = self
            .allergies
            .iter()
            .enumerate()
            .map(|(at, a)| {
                let mut own = Problems::new();
                let allergy = NewAllergy::check(&mut own, &a.substance, &a.reaction);
                for problem in own.into_fields() {
                    problems.add(
                        format!("allergies[{at}].{}", problem.field),
                        problem.message,
                    );
                }
                allergy
            })
            .collect();
        let answer = match (self.allergy_state.as_deref(), allergies.is_empty()) {
            (None | Some("known"), false) => AllergyAnswer::Known(allergies),
            (None | Some("not-recorded"), true) => AllergyAnswer::NotRecorded,
            (Some("none-known"), true) => AllergyAnswer::NoneKnown,
            (Some("known"), true) => {
                problems.add(
                    "allergies",
                    "At least one is needed when allergy_state is known.",
                );
                AllergyAnswer::NotRecorded
            }
            (Some("none-known" | "not-recorded"), false) => {
                problems.add(
                    "allergy_state",
                    "This must be known when allergies are given.",
                );
                AllergyAnswer::NotRecorded
            }
            _ => {
                problems.add(
                    "allergy_state",
                    "Choose one of known, none-known or not-recorded.",
                );
                AllergyAnswer::NotRecorded
            }
        };
        let identity = self.identity.unwrap_or_else(|| IdentityJson {
            kind: "none".into(),
            value: None,
        });
        let details = Details {
            title: self.title,
            family_name: self.family_name,
            given_name: self.given_name,
            preferred_name: self.preferred_name,
            birth_date: self.birth_date,
            sex: self.sex,
            identity_kind: identity.kind,
            identity_value: identity.value.unwrap_or_default(),
            phone: self.phone,
            email: self.email,
            address: self.address,
            scheme_name: self.scheme_name,
            scheme_plan: self.scheme_plan,
            member_number: self.member_number,
            dependant_code: self.dependant_code,
            emergency_name: self.emergency_name,
            emergency_phone: self.emergency_phone,
        };
        let person = match details.check(today, None) {
            Ok(person) if problems.is_empty() => return Ok((person, answer)),
            other => other,
        };
        let mut fields = person.err().map(Problems::into_fields).unwrap_or_default();
        for field in &mut fields {
            match &*field.field {
                "identity_kind" => field.field = "identity.kind".into(),
                "identity_value" => field.field = "identity.value".into(),
                _ => {}
            }
        }
        fields.extend(problems.into_fields());
        Err(Error::Invalid(fields))
    }
}

fn duplicates(found: &[Candidate]) -> Error {
    let detail = if certain(found) {
        "A patient with this identity number is already registered."
    } else {
        "This may be a patient who is already registered. Look at them, or send duplicate_confirmed: true when it is someone else."
    };
    let theirs = found
        .iter()
        .map(|c| {
            json!({
                "id": c.id, "file_number": c.file_number, "family_name": c.family_name, "given_name": c.given_name,
                "birth_date": c.birth_date.to_string(), "why": c.why.api(),
            })
        })
        .collect();
    Error::Conflict {
        detail: detail.into(),
        theirs: Some(theirs),
    }
}

/// Register a patient.
#[utoipa::path(
    post, path = "/api/v1/patients", tag = "patients", request_body = PatientInput,
    params(("Idempotency-Key" = Option<uuid::Uuid>, Header, description = "Sent twice with the same key, it makes one patient.")),
    responses(
        (status = 201, description = "Registered.", body = PatientJson),
        (status = 409, description = "Perhaps or certainly registered already; `theirs` names whom it may be."),
        (status = 422, description = "Fields break rules; `errors` names each."),
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    session: Session,
    headers: HeaderMap,
    JsonBody(input): JsonBody<PatientInput>,
) -> Result<Response> {
    session.require(Permission::EditPatients)?;
    let form = headers
        .get("idempotency-key")
        .map(|v| {
            v.to_str()
                .ok()
                .and_then(|t| t.parse::<FormId>().ok())
                .ok_or_else(|| Error::field("Idempotency-Key", "This header must be a UUID."))
        })
        .transpose()?;
    let confirmed = input.duplicate_confirmed;
    let (person, allergies) = input.check(app.clock.today())?;
    match actions::register(&app, &session, form, &person, &allergies, confirmed).await? {
        Registered::Patient(id) => {
            let patient = one(&app, &session, id).await?;
            Ok((
                StatusCode::CREATED,
                [(header::LOCATION, format!("/api/v1/patients/{id}"))],
                Json(patient),
            )
                .into_response())
        }
        Registered::Duplicates(found) => Err(duplicates(&found)),
    }
}

async fn one(app: &App, session: &Session, id: PatientId) -> Result<PatientJson> {
    let reveal = session.may(Permission::RevealIdentity);
    let reason = if reveal {
        "API, identity number shown"
    } else {
        "API"
    };
    let mut tx = app
        .begin_with(
            session,
            AuditEvent::new(Action::Read, "Patient")
                .id(id.0)
                .patient(id)
                .reason(reason),
        )
        .await?;
    let record = store::record(tx.conn(), id).await?.ok_or(Error::NotFound)?;
    let value = if reveal {
        record::stored_identity(app, &tx, &record)
            .await?
            .value()
            .map(str::to_owned)
    } else {
        None
    };
    tx.commit().await?;
    let identity = IdentityJson {
        kind: record.patient.identity_kind.clone(),
        value,
    };
    Ok(PatientJson::of(record, identity))
}

/// Read a patient.
#[utoipa::path(
    get, path = "/api/v1/patients/{id}", tag = "patients", params(("id" = PatientId, Path, description = "The patient.")),
    responses((status = 200, body = PatientJson), (status = 404, description = "No such patient in this practice."))
)]
pub(super) async fn read(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
) -> Result<Json<PatientJson>> {
    session.require(Permission::ViewPatients)?;
    Ok(Json(one(&app, &session, id).await?))
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// A name, phone number, identity number, file number or birth date; typing errors are tolerated. All patients by name
    /// when left out.
    #[serde(default)]
    q: String,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most this many, 1 to 200; 50 when left out.
    limit: Option<i32>,
}

/// Find patients.
#[utoipa::path(
    get, path = "/api/v1/patients", tag = "patients", params(ListParams),
    responses((status = 200, description = "Those that fit, best first.", body = List<PatientSummary>))
)]
pub(super) async fn list(
    State(app): State<App>,
    session: Session,
    Query(query): Query<ListParams>,
) -> Result<Json<List<PatientSummary>>> {
    session.require(Permission::ViewPatients)?;
    let mut problems = Problems::new();
    let q = optional_text(&mut problems, "q", Some(&query.q), super::search::LONGEST);
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        problems.add("limit", "This must be from 1 to 200.");
    }
    problems.check()?;
    let found = actions::find(
        &app,
        &session,
        &q,
        query.cursor.as_deref(),
        limit,
        "API list",
    )
    .await?;
    Ok(Json(List {
        items: found.patients.into_iter().map(PatientSummary::of).collect(),
        next: found.next,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn errors_name_the_body_s_own_fields() {
        let input: PatientInput = serde_json::from_value(json!({
            "family_name": "Khumalo", "given_name": "", "birth_date": "1992-02-31", "sex": "f",
            "identity": { "kind": "sa-id", "value": "12" }, "allergy_state": "known",
        }))
        .unwrap();
        let Err(Error::Invalid(fields)) = input.check(date!(2026 - 11 - 22)) else {
            panic!("it must be refused")
        };
        let names: Vec<_> = fields.iter().map(|f| f.field.as_ref()).collect();
        assert_eq!(
            names,
            [
                "given_name",
                "birth_date",
                "sex",
                "identity.value",
                "allergies"
            ]
        );
    }

    #[test]
    fn every_sex_of_the_api_is_known() {
        for sex in super::super::Sex::ALL {
            assert_eq!(serde_json::to_value(sex).unwrap(), sex.text());
        }
    }
}
