//! Registering, changing and revealing: what pages, the API and the demo's data share.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::details::{AllergyAnswer, Demographics};
use super::identity::{Identity, Passport, SaId};
use super::search::Wanted;
use super::store::{self, Candidate, PatientRow, Record, SealedIdentity, Summary, Writing};
use super::{file_number, rules::SameAs};
use crate::db::{Action, AuditEvent, PracticeTx, constraint_is};
use crate::error::{Error, Result};
use crate::ids::{PatientId, PracticeId, UserId};
use crate::keys::{PatientKey, Place};
use crate::web::{App, FormId, Session, claim, made};

/// Names the index that refuses an identity number twice.
const IDENTITY_INDEX: &str = "patients_identity";

/// What became of a registration.
#[derive(Debug)]
pub(super) enum Registered {
    /// The patient is there, made now or by an earlier sending of the same form.
    Patient(PatientId),
    /// Nothing was written: these may be the same person. With the same identity number it is certain.
    Duplicates(Vec<Candidate>),
}

async fn blind(app: &App, tx: &PracticeTx, identity: &Identity) -> Result<Option<Vec<u8>>> {
    match identity.value() {
        Some(value) => Ok(Some(
            app.keys
                .blind_index(
                    tx.practice(),
                    "patients.identity",
                    &format!("{}:{value}", identity.kind()),
                )
                .await?,
        )),
        None => Ok(None),
    }
}

fn seal_identity(
    key: &PatientKey,
    id: PatientId,
    identity: &Identity,
    index: Option<Vec<u8>>,
) -> Result<SealedIdentity> {
    match (identity.value(), index) {
        (Some(value), Some(index)) => Ok(Some((
            key.seal_text(Place::new("patients.identity", id.0), value)?,
            index,
        ))),
        _ => Ok(None),
    }
}

/// Opens a stored identity number.
pub(super) fn open_identity(key: &PatientKey, patient: &PatientRow) -> Result<Identity> {
    let Some(sealed) = &patient.identity else {
        return Ok(Identity::None);
    };
    let value = key.open_text(Place::new("patients.identity", patient.id.0), sealed)?;
    match patient.identity_kind.as_str() {
        "sa-id" => SaId::parse(&value)
            .map(Identity::SaId)
            .map_err(Error::internal),
        _ => Passport::parse(&value)
            .map(Identity::Passport)
            .map_err(Error::internal),
    }
}

/// A patient's fields as the audit log keeps them, sealed.
fn fields(p: &Demographics) -> Map<String, Value> {
    let value = json!({
        "title": p.title, "family_name": p.family_name, "given_name": p.given_name, "preferred_name": p.preferred_name,
        "birth_date": p.birth_date.to_string(), "sex": p.sex.text(), "identity_kind": p.identity.kind(),
        "identity_value": p.identity.value().unwrap_or_default(), "phone": p.phone.as_str(), "email": p.email, "address": p.address,
        "scheme_name": p.scheme_name, "scheme_plan": p.scheme_plan, "member_number": p.member_number,
        "dependant_code": p.dependant_code, "emergency_name": p.emergency_name, "emergency_phone": p.emergency_phone.as_str(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The same for a stored patient.
fn stored_fields(p: &PatientRow, identity: &Identity) -> Map<String, Value> {
    let value = json!({
        "title": p.title, "family_name": p.family_name, "given_name": p.given_name, "preferred_name": p.preferred_name,
        "birth_date": p.birth_date.to_string(), "sex": p.sex, "identity_kind": identity.kind(),
        "identity_value": identity.value().unwrap_or_default(), "phone": p.phone, "email": p.email, "address": p.address,
        "scheme_name": p.scheme_name, "scheme_plan": p.scheme_plan, "member_number": p.member_number,
        "dependant_code": p.dependant_code, "emergency_name": p.emergency_name, "emergency_phone": p.emergency_phone,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What differs, as `{old, new}`.
fn difference(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> (Map<String, Value>, Map<String, Value>) {
    let differs = |(name, value): &(&String, &Value)| old.get(*name) != Some(*value);
    let changed: Map<String, Value> = new
        .iter()
        .filter(differs)
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let before = old
        .iter()
        .filter(|(n, _)| changed.contains_key(*n))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    (before, changed)
}

/// Seals old and new values for an audit event about something of this patient.
pub(super) fn sealed_change(
    key: &PatientKey,
    entity: Uuid,
    old: &Value,
    new: &Value,
) -> Result<Vec<u8>> {
    Ok(key.seal_json(
        Place::new("audit_events.change", entity),
        &json!({ "old": old, "new": new }),
    )?)
}

/// Adds a patient in the caller's transaction, with their key, file number and audit event. Asks nothing about duplicates; the
/// database still refuses an identity number twice.
///
/// # Errors
/// [`Error::Conflict`] when the identity number is taken, or when a database does not answer.
pub async fn add(
    tx: &mut PracticeTx,
    app: &App,
    user: UserId,
    id: PatientId,
    person: &Demographics,
    allergies: &AllergyAnswer,
) -> Result<()> {
    let writing = Writing {
        practice: tx.practice(),
        user,
        now: tx.now(),
    };
    let index = blind(app, tx, &person.identity).await?;
    let key = app.keys.create_patient(writing.practice, id).await?;
    let identity = seal_identity(&key, id, &person.identity, index)?;
    let file = file_number(store::next_file_number(tx.conn(), writing.practice).await?);
    store::insert(tx.conn(), writing, id, &file, person, &identity)
        .await
        .map_err(taken)?;
    let mut new = fields(person);
    match allergies {
        AllergyAnswer::NotRecorded => {}
        AllergyAnswer::NoneKnown => store::set_allergy_state(tx.conn(), id, "none-known").await?,
        AllergyAnswer::Known(known) => {
            store::set_allergy_state(tx.conn(), id, "known").await?;
            for allergy in known {
                store::insert_allergy(tx.conn(), writing, Uuid::now_v7(), id, allergy).await?;
            }
            new.insert("allergies".into(), json!(known));
        }
    }
    let change = sealed_change(&key, id.0, &Value::Null, &Value::Object(new))?;
    tx.record(
        AuditEvent::new(Action::Create, "Patient")
            .id(id.0)
            .patient(id)
            .change(change),
    )
    .await?;
    tx.announce("patient", id.0).await
}

fn taken(error: sqlx::Error) -> Error {
    if constraint_is(&error, IDENTITY_INDEX) {
        Error::conflict("A patient with this ID or passport number is already registered.")
    } else {
        error.into()
    }
}

/// Registers a patient, unless it may be somebody already there. `confirmed`: a person has said it is someone else; the same
/// identity number is refused all the same.
pub(super) async fn register(
    app: &App,
    session: &Session,
    form: Option<FormId>,
    person: &Demographics,
    allergies: &AllergyAnswer,
    confirmed: bool,
) -> Result<Registered> {
    let mut tx = app.begin(session).await?;
    let index = blind(app, &tx, &person.identity).await?;
    let found = store::candidates(tx.conn(), person, index.as_deref()).await?;
    let same_number = found.iter().any(|c| c.why == SameAs::Identity);
    if !found.is_empty() && (same_number || !confirmed) {
        // The one found may be whom this same form made a moment ago. Else its key stays free for the next try.
        if let Some(form) = form
            && let Some(earlier) = made(&mut tx, session, form, "patient").await?
        {
            return Ok(Registered::Patient(PatientId(earlier)));
        }
        return show_duplicates(tx, found).await;
    }
    let id = PatientId::random();
    if let Some(form) = form
        && let Some(earlier) = claim(&mut tx, session, form, "patient", id.0).await?
    {
        return Ok(Registered::Patient(PatientId(earlier)));
    }
    match add(&mut tx, app, session.user_id, id, person, allergies).await {
        Ok(()) => {
            tx.commit().await?;
            Ok(Registered::Patient(id))
        }
        // Somebody registered the same number since we looked.
        Err(Error::Conflict { .. }) => {
            drop(tx);
            let mut tx = app.begin(session).await?;
            let found = store::candidates(tx.conn(), person, index.as_deref()).await?;
            show_duplicates(tx, found).await
        }
        Err(other) => Err(other),
    }
}

/// Being told of somebody is a look at them, and is logged with it.
async fn show_duplicates(mut tx: PracticeTx, found: Vec<Candidate>) -> Result<Registered> {
    let event = AuditEvent::new(Action::Read, "Patient")
        .shown(found.iter().map(|c| c.id.0))
        .reason("possible duplicates");
    tx.record(event).await?;
    tx.commit().await?;
    Ok(Registered::Duplicates(found))
}

/// What became of a change.
#[derive(Debug)]
pub(super) enum Changed {
    /// It is saved.
    Saved,
    /// Somebody saved a newer version meanwhile; nothing was written.
    Newer,
    /// The identity number is another patient's.
    Taken(Vec<Candidate>),
}

/// Saves a changed form over the version it was opened with.
pub(super) async fn change(
    app: &App,
    session: &Session,
    tx: PracticeTx,
    old: &Record,
    identity: &Identity,
    person: &Demographics,
    version: i32,
) -> Result<Changed> {
    let mut tx = tx;
    let id = old.patient.id;
    let key = app.keys.patient(tx.practice(), id).await?;
    let index = blind(app, &tx, &person.identity).await?;
    let sealed = if person.identity == *identity {
        old.patient.identity.clone().zip(index.clone())
    } else {
        seal_identity(&key, id, &person.identity, index.clone())?
    };
    let (before, after) = difference(&stored_fields(&old.patient, identity), &fields(person));
    if after.is_empty() && old.patient.version == version {
        tx.record(
            AuditEvent::new(Action::Read, "Patient")
                .id(id.0)
                .patient(id)
                .reason("saved without a change"),
        )
        .await?;
        tx.commit().await?;
        return Ok(Changed::Saved);
    }
    let writing = Writing {
        practice: tx.practice(),
        user: session.user_id,
        now: tx.now(),
    };
    match store::update(tx.conn(), writing, &old.patient, person, &sealed, version).await {
        Ok(true) => {
            let change = sealed_change(&key, id.0, &Value::Object(before), &Value::Object(after))?;
            tx.record(
                AuditEvent::new(Action::Update, "Patient")
                    .id(id.0)
                    .patient(id)
                    .change(change),
            )
            .await?;
            tx.announce("patient", id.0).await?;
            tx.commit().await?;
            Ok(Changed::Saved)
        }
        Ok(false) => {
            tx.record(
                AuditEvent::new(Action::Read, "Patient")
                    .id(id.0)
                    .patient(id)
                    .reason("changed meanwhile by somebody else"),
            )
            .await?;
            tx.commit().await?;
            Ok(Changed::Newer)
        }
        Err(error) if constraint_is(&error, IDENTITY_INDEX) => {
            drop(tx);
            let mut tx = app.begin(session).await?;
            let mut found = store::candidates(tx.conn(), person, index.as_deref()).await?;
            found.retain(|c| c.why == SameAs::Identity);
            show_duplicates(tx, found.clone()).await?;
            Ok(Changed::Taken(found))
        }
        Err(error) => Err(error.into()),
    }
}

/// A page of patients: those that fit what was typed, or all by name.
pub(super) struct Found {
    pub patients: Vec<Summary>,
    /// Where the next page begins.
    pub next: Option<String>,
}

async fn identity_indexes(
    app: &App,
    practice: PracticeId,
    wanted: &Wanted,
) -> Result<Vec<Vec<u8>>> {
    let mut indexes = Vec::with_capacity(wanted.identities.len());
    for (kind, value) in &wanted.identities {
        indexes.push(
            app.keys
                .blind_index(practice, "patients.identity", &format!("{kind}:{value}"))
                .await?,
        );
    }
    Ok(indexes)
}

/// Patients that fit what was typed, best first, for another room's search; the caller records whom it shows.
///
/// # Errors
/// When the database does not answer.
pub async fn matching(
    app: &App,
    tx: &mut PracticeTx,
    typed: &str,
    limit: i32,
) -> Result<Vec<PatientId>> {
    let Some(wanted) = Wanted::parse(typed) else {
        return Ok(Vec::new());
    };
    let indexes = identity_indexes(app, tx.practice(), &wanted).await?;
    Ok(store::search(tx.conn(), &wanted, &indexes, 0, limit)
        .await?
        .into_iter()
        .map(|p| p.id)
        .collect())
}

/// Most places into a search's results that paging goes.
const DEEPEST: i32 = 400;

/// Finds patients and records whom the list showed. A cursor is the id of the last patient shown, or `sN`: N places into the
/// results of a search.
pub(super) async fn find(
    app: &App,
    session: &Session,
    typed: &str,
    cursor: Option<&str>,
    limit: i32,
    reason: &'static str,
) -> Result<Found> {
    let wanted = Wanted::parse(typed);
    let bad_cursor = || {
        Error::field(
            "cursor",
            "This is not a place in this list. Start again without it.",
        )
    };
    let mut tx = app.begin(session).await?;
    let more = limit + 1;
    let (mut patients, skip) = if let Some(wanted) = &wanted {
        let skip = match cursor {
            None => 0,
            Some(text) => text
                .strip_prefix('s')
                .and_then(|n| n.parse::<i32>().ok())
                .filter(|n| (0..=DEEPEST).contains(n))
                .ok_or_else(bad_cursor)?,
        };
        let indexes = identity_indexes(app, tx.practice(), wanted).await?;
        (
            store::search(tx.conn(), wanted, &indexes, skip, more).await?,
            skip,
        )
    } else if typed.trim().is_empty() {
        let after = cursor
            .map(|c| c.parse::<PatientId>().map_err(|_| bad_cursor()))
            .transpose()?;
        (store::list(tx.conn(), after, more).await?, 0)
    } else {
        // Nothing but signs: fits nobody.
        (Vec::new(), 0)
    };
    let full = i32::try_from(patients.len()).unwrap_or(i32::MAX) > limit;
    patients.truncate(usize::try_from(limit).unwrap_or_default());
    let next = match (full, &wanted) {
        (false, _) => None,
        (true, Some(_)) => Some(skip + limit)
            .filter(|n| *n <= DEEPEST)
            .map(|n| format!("s{n}")),
        (true, None) => patients.last().map(|p| p.id.to_string()),
    };
    tx.record(
        AuditEvent::new(Action::Read, "Patient")
            .shown(patients.iter().map(|p| p.id.0))
            .reason(reason),
    )
    .await?;
    tx.commit().await?;
    Ok(Found { patients, next })
}
