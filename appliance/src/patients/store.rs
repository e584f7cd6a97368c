//! All SQL of patients.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::types::Json;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::details::{Demographics, NewAllergy};
use super::identity::Sex;
use super::rules::{AllergyState, SameAs};
use super::search::{self, Wanted};
use crate::error::{Error, Result};
use crate::ids::{PatientId, PracticeId, UserId};

/// A patient's row; the identity number stays sealed.
#[derive(Clone, Debug)]
pub(super) struct PatientRow {
    pub id: PatientId,
    pub file_number: String,
    pub title: String,
    pub family_name: String,
    pub given_name: String,
    pub preferred_name: String,
    pub birth_date: Date,
    pub sex: String,
    pub identity_kind: String,
    pub identity: Option<Vec<u8>>,
    pub phone: String,
    pub email: String,
    pub address: String,
    pub scheme_name: String,
    pub scheme_plan: String,
    pub member_number: String,
    pub dependant_code: String,
    pub emergency_name: String,
    pub emergency_phone: String,
    pub allergy_state: String,
    pub version: i32,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl PatientRow {
    pub(super) fn sex(&self) -> Sex {
        Sex::from_text(&self.sex).unwrap_or(Sex::Unknown)
    }
}

/// A present allergy.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct AllergyRow {
    pub id: Uuid,
    pub substance: String,
    pub reaction: String,
    /// Seconds since 1970, UTC.
    pub recorded_at: i64,
    pub recorded_by: String,
}

/// A present alert.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct AlertRow {
    pub id: Uuid,
    pub text: String,
    /// `YYYY-MM-DD`.
    pub until: Option<String>,
    pub recorded_at: i64,
    pub recorded_by: String,
}

/// A patient with what every screen shows about them.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub patient: PatientRow,
    pub allergies: Vec<AllergyRow>,
    pub alerts: Vec<AlertRow>,
}

pub(super) fn iso_date(text: &str) -> Option<Date> {
    search::parse_date(text).ok()
}

impl Record {
    pub(super) fn allergy_state(&self) -> AllergyState {
        AllergyState::of(&self.patient.allergy_state, self.allergies.len())
    }

    pub(super) fn alerts_on(&self, day: Date) -> impl Iterator<Item = &AlertRow> {
        self.alerts.iter().filter(move |a| {
            a.until
                .as_deref()
                .and_then(iso_date)
                .is_none_or(|until| until >= day)
        })
    }
}

/// One patient in one round trip.
pub(super) async fn record(conn: &mut PgConnection, id: PatientId) -> Result<Option<Record>> {
    let row = sqlx::query!(
        r#"SELECT p.id AS "id: PatientId", p.file_number, p.title, p.family_name, p.given_name, p.preferred_name, p.birth_date, p.sex,
                  p.identity_kind, p.identity, p.phone, p.email, p.address, p.scheme_name, p.scheme_plan, p.member_number,
                  p.dependant_code, p.emergency_name, p.emergency_phone, p.allergy_state, p.version, p.created_at, p.updated_at, p.erased_at,
                  (SELECT json_agg(json_build_object('id', a.id, 'substance', a.substance, 'reaction', a.reaction,
                              'recorded_at', extract(epoch FROM a.recorded_at)::bigint, 'recorded_by', u.display_name) ORDER BY a.recorded_at)
                   FROM allergies a JOIN users u ON u.practice_id = a.practice_id AND u.id = a.recorded_by
                   WHERE a.practice_id = p.practice_id AND a.patient_id = p.id AND a.ended_at IS NULL) AS "allergies: Json<Vec<AllergyRow>>",
                  (SELECT json_agg(json_build_object('id', a.id, 'text', a.text, 'until', a.until,
                              'recorded_at', extract(epoch FROM a.recorded_at)::bigint, 'recorded_by', u.display_name) ORDER BY a.recorded_at)
                   FROM alerts a JOIN users u ON u.practice_id = a.practice_id AND u.id = a.recorded_by
                   WHERE a.practice_id = p.practice_id AND a.patient_id = p.id AND a.ended_at IS NULL) AS "alerts: Json<Vec<AlertRow>>"
           FROM patients p WHERE p.id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    if row.as_ref().is_some_and(|r| r.erased_at.is_some()) {
        return Err(Error::Erased);
    }
    Ok(row.map(|r| Record {
        patient: PatientRow {
            id: r.id,
            file_number: r.file_number,
            title: r.title,
            family_name: r.family_name,
            given_name: r.given_name,
            preferred_name: r.preferred_name,
            birth_date: r.birth_date,
            sex: r.sex,
            identity_kind: r.identity_kind,
            identity: r.identity,
            phone: r.phone,
            email: r.email,
            address: r.address,
            scheme_name: r.scheme_name,
            scheme_plan: r.scheme_plan,
            member_number: r.member_number,
            dependant_code: r.dependant_code,
            emergency_name: r.emergency_name,
            emergency_phone: r.emergency_phone,
            allergy_state: r.allergy_state,
            version: r.version,
            created_at: r.created_at,
            updated_at: r.updated_at,
        },
        allergies: r.allergies.map(|j| j.0).unwrap_or_default(),
        alerts: r.alerts.map(|j| j.0).unwrap_or_default(),
    }))
}

/// A line of a list of patients.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub id: PatientId,
    pub file_number: String,
    pub family_name: String,
    pub given_name: String,
    pub preferred_name: String,
    pub birth_date: Date,
    pub sex: String,
    pub identity_kind: String,
    pub phone: String,
    pub scheme_name: String,
}

/// What fits, best first, leaving out the first `skip`.
pub(super) async fn search(
    conn: &mut PgConnection,
    wanted: &Wanted,
    identities: &[Vec<u8>],
    skip: i32,
    limit: i32,
) -> Result<Vec<Summary>> {
    Ok(sqlx::query_as!(
        Summary,
        r#"SELECT p.id AS "id: PatientId", p.file_number, p.family_name, p.given_name, p.preferred_name, p.birth_date, p.sex,
                  p.identity_kind, p.phone, p.scheme_name
           FROM search_patients($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY AS s(patient_id, place)
           JOIN patients p ON p.id = s.patient_id
           WHERE s.place > $8 AND p.erased_at IS NULL
           ORDER BY s.place"#,
        wanted.prefix,
        &wanted.words,
        identities,
        &wanted.births,
        wanted.file,
        wanted.phone,
        skip + limit,
        i64::from(skip)
    )
    .fetch_all(conn)
    .await?)
}

/// All patients by name, after one of them.
pub(super) async fn list(
    conn: &mut PgConnection,
    after: Option<PatientId>,
    limit: i32,
) -> Result<Vec<Summary>> {
    Ok(sqlx::query_as!(
        Summary,
        r#"SELECT p.id AS "id: PatientId", p.file_number, p.family_name, p.given_name, p.preferred_name, p.birth_date, p.sex,
                  p.identity_kind, p.phone, p.scheme_name
           FROM list_patients($1, $2) WITH ORDINALITY AS s(patient_id, place)
           JOIN patients p ON p.id = s.patient_id
           ORDER BY s.place"#,
        after.map(|a| a.0),
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// A patient who may be the one being registered.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who.
    pub id: PatientId,
    /// Their file.
    pub file_number: String,
    /// Surname.
    pub family_name: String,
    /// First names.
    pub given_name: String,
    /// Date of birth.
    pub birth_date: Date,
    /// Why it may be them.
    pub why: SameAs,
}

/// At most five patients who may be this person. Names count as similar from a share of common trigrams; a family at one phone
/// shares its surname, so a phone asks for more than a birth date.
pub(super) async fn candidates(
    conn: &mut PgConnection,
    person: &Demographics,
    identity: Option<&[u8]>,
) -> Result<Vec<Candidate>> {
    let rows = sqlx::query!(
        r#"SELECT p.id AS "id: PatientId", p.file_number, p.family_name, p.given_name, p.birth_date, m.why AS "why!"
           FROM (
               SELECT DISTINCT ON (id) id, why FROM (
                   SELECT id, 1 AS why FROM patients WHERE identity_index = $1
                   UNION ALL
                   SELECT id, 2 FROM patients WHERE birth_date = $2 AND similarity(search_given, $3) > 0.3
                   UNION ALL
                   SELECT id, 3 FROM patients WHERE phone <> '' AND phone = $4 AND similarity(search_given, $3) > 0.5
               ) found ORDER BY id, why
           ) m JOIN patients p ON p.id = m.id
           ORDER BY m.why, p.search_text LIMIT 5"#,
        identity,
        person.birth_date,
        search::search_given(&person.family_name, &person.given_name),
        person.phone.as_str()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Candidate {
            id: r.id,
            file_number: r.file_number,
            family_name: r.family_name,
            given_name: r.given_name,
            birth_date: r.birth_date,
            why: match r.why {
                1 => SameAs::Identity,
                2 => SameAs::BirthDate,
                _ => SameAs::Phone,
            },
        })
        .collect())
}

/// The next file number of the practice. Two registrations at once wait for each other, so none is given twice.
pub(super) async fn next_file_number(conn: &mut PgConnection, practice: PracticeId) -> Result<i32> {
    Ok(sqlx::query_scalar!(
        r#"INSERT INTO patient_counters AS c (practice_id, next_file) VALUES ($1, 2)
           ON CONFLICT (practice_id) DO UPDATE SET next_file = c.next_file + 1
           RETURNING next_file - 1 AS "number!""#,
        practice.0
    )
    .fetch_one(conn)
    .await?)
}

/// The identity number as stored: sealed, and its blind index.
pub(super) type SealedIdentity = Option<(Vec<u8>, Vec<u8>)>;

/// Who writes, for which practice, when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    pub practice: PracticeId,
    pub user: UserId,
    pub now: OffsetDateTime,
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    w: Writing,
    id: PatientId,
    file: &str,
    p: &Demographics,
    identity: &SealedIdentity,
) -> Result<(), sqlx::Error> {
    let (sealed, index) = identity
        .as_ref()
        .map(|(s, i)| (s.as_slice(), i.as_slice()))
        .unzip();
    sqlx::query!(
        "INSERT INTO patients (practice_id, id, file_number, title, family_name, given_name, preferred_name, birth_date, sex,
             identity_kind, identity, identity_index, phone, email, address, scheme_name, scheme_plan, member_number, dependant_code,
             emergency_name, emergency_phone, search_text, search_given, created_at, created_by, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $24)",
        w.practice.0,
        id.0,
        file,
        p.title,
        p.family_name,
        p.given_name,
        p.preferred_name,
        p.birth_date,
        p.sex.text(),
        p.identity.kind(),
        sealed,
        index,
        p.phone.as_str(),
        p.email,
        p.address,
        p.scheme_name,
        p.scheme_plan,
        p.member_number,
        p.dependant_code,
        p.emergency_name,
        p.emergency_phone.as_str(),
        search::search_text(&p.family_name, &p.given_name, &p.preferred_name, file, p.phone.as_str()),
        search::search_given(&p.family_name, &p.given_name),
        w.now,
        w.user.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes every field over the version that was read; false when there is a newer one.
pub(super) async fn update(
    conn: &mut PgConnection,
    w: Writing,
    old: &PatientRow,
    p: &Demographics,
    identity: &SealedIdentity,
    version: i32,
) -> Result<bool, sqlx::Error> {
    let (sealed, index) = identity
        .as_ref()
        .map(|(s, i)| (s.as_slice(), i.as_slice()))
        .unzip();
    let done = sqlx::query!(
        "UPDATE patients SET title = $3, family_name = $4, given_name = $5, preferred_name = $6, birth_date = $7, sex = $8,
             identity_kind = $9, identity = $10, identity_index = $11, phone = $12, email = $13, address = $14, scheme_name = $15,
             scheme_plan = $16, member_number = $17, dependant_code = $18, emergency_name = $19, emergency_phone = $20,
             search_text = $21, search_given = $22, updated_at = $23, version = version + 1
         WHERE id = $1 AND version = $2",
        old.id.0,
        version,
        p.title,
        p.family_name,
        p.given_name,
        p.preferred_name,
        p.birth_date,
        p.sex.text(),
        p.identity.kind(),
        sealed,
        index,
        p.phone.as_str(),
        p.email,
        p.address,
        p.scheme_name,
        p.scheme_plan,
        p.member_number,
        p.dependant_code,
        p.emergency_name,
        p.emergency_phone.as_str(),
        search::search_text(&p.family_name, &p.given_name, &p.preferred_name, &old.file_number, p.phone.as_str()),
        search::search_given(&p.family_name, &p.given_name),
        w.now,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Sets the stored allergy state, and locks the row, so that a state and its list can't cross.
pub(super) async fn set_allergy_state(
    conn: &mut PgConnection,
    id: PatientId,
    state: &str,
) -> Result<()> {
    sqlx::query!(
        "UPDATE patients SET allergy_state = $2 WHERE id = $1 AND allergy_state <> $2",
        id.0,
        state
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks a patient's row and gives the stored allergy state.
pub(super) async fn lock(conn: &mut PgConnection, id: PatientId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!(
        "SELECT allergy_state FROM patients WHERE id = $1 FOR UPDATE",
        id.0
    )
    .fetch_optional(conn)
    .await?)
}

pub(super) async fn insert_allergy(
    conn: &mut PgConnection,
    w: Writing,
    id: Uuid,
    patient: PatientId,
    allergy: &NewAllergy,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO allergies (practice_id, id, patient_id, substance, reaction, recorded_by, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        w.practice.0,
        id,
        patient.0,
        allergy.substance,
        allergy.reaction,
        w.user.0,
        w.now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many allergies a patient has now.
pub(super) async fn count_allergies(conn: &mut PgConnection, patient: PatientId) -> Result<i64> {
    Ok(sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM allergies WHERE patient_id = $1 AND ended_at IS NULL"#,
        patient.0
    )
    .fetch_one(conn)
    .await?)
}

/// Ends an allergy; gives what it was, or none when it had ended already. `Err` of not found when it never was.
pub(super) async fn end_allergy(
    conn: &mut PgConnection,
    patient: PatientId,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<NewAllergy>> {
    let row = sqlx::query!(
        "UPDATE allergies SET ended_at = $3 WHERE id = $1 AND patient_id = $2 AND ended_at IS NULL RETURNING substance, reaction",
        id,
        patient.0,
        now
    )
    .fetch_optional(&mut *conn)
    .await?;
    match row {
        Some(row) => Ok(Some(NewAllergy {
            substance: row.substance,
            reaction: row.reaction,
        })),
        None => {
            sqlx::query!(
                "SELECT id FROM allergies WHERE id = $1 AND patient_id = $2",
                id,
                patient.0
            )
            .fetch_one(conn)
            .await?;
            Ok(None)
        }
    }
}

pub(super) async fn insert_alert(
    conn: &mut PgConnection,
    w: Writing,
    id: Uuid,
    patient: PatientId,
    text: &str,
    until: Option<Date>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO alerts (practice_id, id, patient_id, text, until, recorded_by, recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        w.practice.0,
        id,
        patient.0,
        text,
        until,
        w.user.0,
        w.now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends an alert; gives its text, or none when it had ended already. `Err` of not found when it never was.
pub(super) async fn end_alert(
    conn: &mut PgConnection,
    patient: PatientId,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<String>> {
    let row = sqlx::query_scalar!(
        "UPDATE alerts SET ended_at = $3 WHERE id = $1 AND patient_id = $2 AND ended_at IS NULL RETURNING text",
        id,
        patient.0,
        now
    )
    .fetch_optional(&mut *conn)
    .await?;
    if row.is_none() {
        sqlx::query!(
            "SELECT id FROM alerts WHERE id = $1 AND patient_id = $2",
            id,
            patient.0
        )
        .fetch_one(conn)
        .await?;
    }
    Ok(row)
}

/// A patient's name, for other rooms' lists.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PatientName {
    /// Surname.
    pub family: String,
    /// First names.
    pub given: String,
    /// `H-00482`.
    pub file_number: String,
    /// Date of birth, as a screen shows it.
    pub born: String,
}

/// Names of patients, in one query. Ids of other practices are missing from the answer.
///
/// # Errors
/// When the database does not answer.
pub async fn names(
    conn: &mut PgConnection,
    ids: &[PatientId],
) -> Result<HashMap<PatientId, PatientName>> {
    let ids: Vec<Uuid> = ids.iter().map(|p| p.0).collect();
    let rows = sqlx::query!(
        r#"SELECT id AS "id: PatientId", family_name, given_name, file_number, birth_date FROM patients WHERE id = ANY ($1)"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let name = PatientName {
                family: r.family_name,
                given: r.given_name,
                file_number: r.file_number,
                born: crate::clock::date_text(r.birth_date),
            };
            (r.id, name)
        })
        .collect())
}

/// Whether this practice has such a patient.
///
/// # Errors
/// When the database does not answer.
pub async fn exists(conn: &mut PgConnection, id: PatientId) -> Result<bool> {
    Ok(sqlx::query_scalar!(
        "SELECT id FROM patients WHERE id = $1 AND erased_at IS NULL",
        id.0
    )
    .fetch_optional(conn)
    .await?
    .is_some())
}
