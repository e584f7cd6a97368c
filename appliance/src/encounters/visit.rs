//! A visit and what may be done with its note. Each function works inside the caller's transaction and records what it did.

use std::borrow::Cow;

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::measures;
use super::note::{Note, NoteChange, SECTION_LIMIT, check_text};
use super::store::{self, Inserted};
use super::trend::Score;
use crate::appointments::{self, Kind, Status};
use crate::clock;
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::error::{Error, Problems, Result};
use crate::ids::{AppointmentId, EncounterId, PatientId, PractitionerId, UserId};
use crate::keys::{PatientKey, Place};

/// Who signed which version, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The version that was signed.
    pub version: i32,
    /// When.
    pub at: OffsetDateTime,
    /// Who.
    pub by: UserId,
    /// Their name on screen.
    pub name: String,
    /// SHA-256 of the signed version as it is stored, in hexadecimal.
    pub body_sha256: String,
}

/// A visit.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Its id.
    pub id: EncounterId,
    /// The booking it came from.
    pub appointment: AppointmentId,
    /// Whose visit.
    pub patient: PatientId,
    /// Who treats, and writes the note.
    pub practitioner: PractitionerId,
    /// Their name.
    pub practitioner_name: String,
    /// Their discipline, as stored.
    pub discipline: String,
    /// `in-progress` or `finished`.
    pub status: String,
    /// Why the patient came, from the booking.
    pub reason: String,
    /// The kind of session.
    pub session_type: String,
    /// Which of the patient's visits it is, from 1.
    pub number: i64,
    /// When it was booked for.
    pub booked_for: OffsetDateTime,
    /// When it was opened.
    pub started_at: OffsetDateTime,
    /// When it was signed.
    pub finished_at: Option<OffsetDateTime>,
    /// Its note's signature.
    pub signature: Option<Signature>,
}

/// Who writes: a signed-in person and the practitioner they are.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The person.
    pub user: UserId,
    /// The practitioner they are, if they treat.
    pub practitioner: Option<PractitionerId>,
}

/// A saved version, open.
#[derive(Clone, Debug)]
pub struct Version {
    /// 0 before the first save.
    pub version: i32,
    /// Who saved it.
    pub author_name: String,
    /// When.
    pub saved_at: Option<OffsetDateTime>,
    /// Its words.
    pub note: Note,
}

/// A note as pages and programs get it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NoteView {
    /// The newest version; 0 before the first save.
    pub version: i32,
    /// The clinician's own lines or a transcript.
    pub source_text: String,
    /// What the patient says.
    pub subjective: String,
    /// What was found, measured and done.
    pub objective: String,
    /// What it means.
    pub assessment: String,
    /// What happens next.
    pub plan: String,
    /// Who saved this version.
    pub saved_by: String,
    /// When: RFC 3339 in the API, the wall clock (`10:41`) for the page.
    pub saved_at: String,
    /// `draft` until it is signed, then `signed`.
    pub state: &'static str,
}

impl Visit {
    /// # Errors
    /// [`Error::NotFound`] when it is not in this practice.
    pub async fn find(tx: &mut PracticeTx, id: EncounterId) -> Result<Self> {
        store::visit(tx.conn(), id).await?.ok_or(Error::NotFound)
    }

    /// The place of a version's words.
    fn place(&self, version: i32) -> Place {
        Place::new("note_versions.body", self.id.0).version(version)
    }

    /// An audit event about this visit.
    #[must_use]
    pub fn event(
        &self,
        action: Action,
        entity: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> AuditEvent {
        AuditEvent::new(action, entity)
            .id(self.id.0)
            .patient(self.patient)
            .reason(reason)
    }

    /// A note is its practitioner's: only they write, draft and sign it.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for anybody else, naming whose note it is.
    pub fn written_by(&self, writer: Writer) -> Result<()> {
        if writer.practitioner == Some(self.practitioner) {
            return Ok(());
        }
        let name = &self.practitioner_name;
        Err(Error::Forbidden(format!("This is {name}'s visit, so only {name} can write, draft and sign its note. You can read it, and add an addendum once it is signed.").into()))
    }

    /// The newest version; version 0, empty, before the first save.
    ///
    /// # Errors
    /// When it does not open under the patient's key.
    pub async fn newest(&self, tx: &mut PracticeTx, key: &PatientKey) -> Result<Version> {
        match store::newest(tx.conn(), self.id).await? {
            None => Ok(Version {
                version: 0,
                author_name: String::new(),
                saved_at: None,
                note: Note::default(),
            }),
            Some(sealed) => Ok(Version {
                version: sealed.version,
                author_name: sealed.author_name,
                saved_at: Some(sealed.saved_at),
                note: key.open_json(self.place(sealed.version), &sealed.body)?,
            }),
        }
    }

    /// The note as one side of a conflict, or as an answer, sees it.
    #[must_use]
    pub fn view(&self, version: &Version, wall_clock: bool) -> NoteView {
        let note = version.note.clone();
        NoteView {
            version: version.version,
            source_text: note.source_text,
            subjective: note.subjective,
            objective: note.objective,
            assessment: note.assessment,
            plan: note.plan,
            saved_by: version.author_name.clone(),
            saved_at: version.saved_at.map_or_else(String::new, |at| {
                if wall_clock {
                    clock::time_text(clock::local(at).1)
                } else {
                    clock::rfc3339(at)
                }
            }),
            state: if self.signature.is_some() {
                "signed"
            } else {
                "draft"
            },
        }
    }

    fn conflict(&self, theirs: &Version, wall_clock: bool) -> Error {
        let detail = match &self.signature {
            Some(s) => format!(
                "{} signed this note at {}. A signed note can't change; add an addendum.",
                s.name,
                clock::stamp_text(s.at)
            ),
            None => {
                let at = theirs.saved_at.map_or_else(String::new, clock::stamp_text);
                format!(
                    "{} saved version {} of this note at {at}. Nothing of either side is lost: choose which text stands, then save again.",
                    theirs.author_name, theirs.version
                )
            }
        };
        Error::Conflict {
            detail: detail.into(),
            theirs: serde_json::to_value(self.view(theirs, wall_clock)).ok(),
        }
    }

    /// Saves a new version. The same words again make none, so a save whose answer was lost can be repeated.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another practitioner, [`Error::Conflict`] with the other side when it was saved or signed
    /// meanwhile, [`Error::Invalid`] for words that can't be kept.
    pub async fn save(
        &self,
        tx: &mut PracticeTx,
        key: &PatientKey,
        writer: Writer,
        change: NoteChange,
        wall_clock: bool,
    ) -> Result<Version> {
        self.written_by(writer)?;
        store::lock(tx.conn(), self.id).await?;
        // Read again under the lock: it may have been signed since.
        let visit = Self::find(tx, self.id).await?;
        let before = visit.newest(tx, key).await?;
        let based_on = change.version;
        let note = change.apply(&before.note)?;
        if note == before.note && before.version > 0 {
            tx.record(self.event(Action::Read, "Note", "saved without a change"))
                .await?;
            return Ok(before);
        }
        if visit.signature.is_some() || based_on != before.version {
            return Err(visit.conflict(&before, wall_clock));
        }
        let version = before.version + 1;
        let body = key.seal_json(self.place(version), &note)?;
        let (practice, now) = (tx.practice(), tx.now());
        match store::insert_version(
            tx.conn(),
            practice,
            self.id,
            version,
            writer.user,
            now,
            &body,
        )
        .await?
        {
            Inserted::Done => {}
            // The lock above rules both out, whatever else changes; the database has the last word all the same.
            Inserted::Taken | Inserted::Signed => return Err(visit.conflict(&before, wall_clock)),
        }
        let changed = key.seal_json(
            Place::new("audit_events.change", self.id.0),
            &serde_json::json!({ "old_version": before.version, "new_version": version }),
        )?;
        tx.record(
            self.event(Action::Update, "Note", format!("version {version}"))
                .change(changed),
        )
        .await?;
        tx.announce("encounter", self.id.0).await?;
        Ok(Version {
            version,
            author_name: String::new(),
            saved_at: Some(now),
            note,
        })
    }

    /// Signs the newest version, which must be the one the signer saw. Signing the same version again does nothing.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for another practitioner, [`Error::Conflict`] when it is not the newest version or another one
    /// was signed, [`Error::Invalid`] for a note without a word.
    pub async fn sign(
        &self,
        tx: &mut PracticeTx,
        key: &PatientKey,
        writer: Writer,
        version: i32,
        wall_clock: bool,
    ) -> Result<Signature> {
        self.written_by(writer)?;
        store::lock(tx.conn(), self.id).await?;
        let visit = Self::find(tx, self.id).await?;
        let newest = visit.newest(tx, key).await?;
        if let Some(signature) = &visit.signature {
            if signature.version == version && signature.by == writer.user {
                tx.record(self.event(Action::Read, "Note", "already signed"))
                    .await?;
                return Ok(signature.clone());
            }
            return Err(visit.conflict(&newest, wall_clock));
        }
        if newest.note.is_blank() {
            return Err(Error::field(
                "note",
                "The note is empty, so it can't be signed. Write at least one of Subjective, Objective, Assessment and Plan; your own lines are kept but are not the note.",
            ));
        }
        if newest.version != version {
            return Err(visit.conflict(&newest, wall_clock));
        }
        let sealed = store::newest(tx.conn(), self.id)
            .await?
            .ok_or(Error::NotFound)?;
        let hash: [u8; 32] = Sha256::digest(&sealed.body).into();
        let (practice, now) = (tx.practice(), tx.now());
        store::insert_signature(
            tx.conn(),
            practice,
            self.id,
            version,
            writer.user,
            now,
            &hash,
        )
        .await?;
        store::finish(tx.conn(), self.id, now).await?;
        // A class is over when the last open note of it is signed.
        if !store::others_open(tx.conn(), self.appointment, self.id).await? {
            move_on(tx, self.appointment, Status::Completed).await?;
        }
        tx.record(self.event(Action::Execute, "Note", format!("signed version {version}")))
            .await?;
        tx.announce("encounter", self.id.0).await?;
        Self::find(tx, self.id)
            .await?
            .signature
            .ok_or_else(|| Error::internal("a signature just written can't be read"))
    }

    /// Adds to a signed note. Any practitioner of the practice may; the addendum carries their name.
    ///
    /// # Errors
    /// [`Error::Conflict`] before the note is signed, [`Error::Invalid`] for words that can't be kept.
    pub async fn add_addendum(
        &self,
        tx: &mut PracticeTx,
        key: &PatientKey,
        author: UserId,
        id: Uuid,
        text: &str,
    ) -> Result<()> {
        if self.signature.is_none() {
            return Err(Error::conflict(
                "This note is not signed yet: write in the note itself. Addenda are for signed notes.",
            ));
        }
        let mut problems = Problems::new();
        check_text(&mut problems, "text", "The addendum", text, SECTION_LIMIT);
        if text.trim().is_empty() {
            problems.add("text", "The addendum is empty. Write what you want to add.");
        }
        problems.check()?;
        let body = key.seal_text(Place::new("note_addenda.body", id), text)?;
        let (practice, now) = (tx.practice(), tx.now());
        store::insert_addendum(tx.conn(), practice, id, self.id, author, now, &body).await?;
        tx.record(self.event(Action::Create, "Note", "addendum"))
            .await?;
        tx.announce("encounter", self.id.0).await
    }

    /// Records a score of an outcome measure, taken by the practice's today at the latest.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming each field and rule.
    pub async fn add_score(
        &self,
        tx: &mut PracticeTx,
        by: UserId,
        id: Uuid,
        measure: &str,
        score: &str,
        taken_on: &str,
    ) -> Result<()> {
        let mut problems = Problems::new();
        let found = measures::by_code(measure.trim());
        if found.is_none() {
            problems.add("measure", "Choose one of the measures.");
        }
        let score = found.and_then(|m| problems.take("score", m.score(score)));
        let today = clock::local(tx.now()).0;
        let day = problems.take("taken_on", read_day(taken_on, today));
        problems.check()?;
        let (Some(measure), Some(score), Some(taken_on)) = (found, score, day) else {
            return Err(Error::NotFound);
        };
        let (practice, now) = (tx.practice(), tx.now());
        let score = Score {
            measure: measure.code.into(),
            score,
            taken_on,
        };
        store::insert_score(
            tx.conn(),
            practice,
            id,
            self.patient,
            Some(self.id),
            &score,
            by,
            now,
        )
        .await?;
        tx.record(
            AuditEvent::new(Action::Create, "Observation")
                .id(id)
                .patient(self.patient)
                .reason(measure.name),
        )
        .await?;
        Ok(())
    }
}

/// A day as the browser's date field sends it, not after today.
fn read_day(text: &str, today: Date) -> Result<Date, &'static str> {
    let day =
        clock::parse_day(text).ok_or("Give the day of the test as a date, such as 2026-11-24.")?;
    if day > today {
        return Err("The day of the test is in the future.");
    }
    if day.year() < 1990 {
        return Err("The day of the test is before 1990.");
    }
    Ok(day)
}

/// Opens the visit of a booking, or gives the one there is; true when it is new. A class needs the patient's id.
///
/// # Errors
/// [`Error::NotFound`] for a booking of another practice, [`Error::Forbidden`] for another practitioner's,
/// [`Error::Conflict`] for one that was cancelled or not kept, [`Error::Invalid`] where the patient is not in it.
pub async fn open(
    tx: &mut PracticeTx,
    writer: Writer,
    appointment: AppointmentId,
    patient: Option<PatientId>,
) -> Result<(EncounterId, bool)> {
    let booking = appointments::get(tx, appointment).await?;
    if booking.kind == Kind::Block {
        return Err(Error::field(
            "appointment_id",
            "This is blocked time, not a visit.",
        ));
    }
    let patient = match (patient, booking.patients.as_slice()) {
        (Some(wanted), patients) if patients.iter().any(|p| p.patient_id == wanted) => wanted,
        (None, [only]) => only.patient_id,
        (Some(_), _) => {
            return Err(Error::field(
                "patient_id",
                "This patient is not in the booking.",
            ));
        }
        (None, []) => return Err(Error::field("appointment_id", "Nobody is booked here yet.")),
        (None, _) => {
            return Err(Error::field(
                "patient_id",
                "This is a class: say whose visit to open.",
            ));
        }
    };
    if let Some(id) = store::opened(tx.conn(), appointment, patient).await? {
        tx.record(
            AuditEvent::new(Action::Read, "Encounter")
                .id(id.0)
                .patient(patient)
                .reason("already open"),
        )
        .await?;
        return Ok((id, false));
    }
    if matches!(booking.status, Status::Cancelled | Status::NoShow) {
        let what = if booking.status == Status::Cancelled {
            "was cancelled"
        } else {
            "is marked as did not arrive"
        };
        return Err(Error::conflict(format!(
            "This booking {what}. Change it in the diary first, then open the visit."
        )));
    }
    if writer.practitioner != Some(booking.practitioner_id) {
        return Err(Error::Forbidden(
            "This booking is with another practitioner; only they can open its visit.".into(),
        ));
    }
    let (practice, now) = (tx.practice(), tx.now());
    let (id, new) = store::open(
        tx.conn(),
        practice,
        appointment,
        patient,
        booking.practitioner_id,
        &booking.reason,
        now,
    )
    .await?;
    if new {
        tx.record(
            AuditEvent::new(Action::Create, "Encounter")
                .id(id.0)
                .patient(patient),
        )
        .await?;
        tx.announce("encounter", id.0).await?;
        move_on(tx, appointment, Status::InSession).await?;
    } else {
        tx.record(
            AuditEvent::new(Action::Read, "Encounter")
                .id(id.0)
                .patient(patient)
                .reason("already open"),
        )
        .await?;
    }
    Ok((id, new))
}

/// Moves a booking on with its visit. One that is for a later day stays as it is: its visit was opened early.
async fn move_on(tx: &mut PracticeTx, id: AppointmentId, to: Status) -> Result<()> {
    let now = tx.now();
    let booking = appointments::get(tx, id).await?;
    let day_came = clock::local(now).0 >= clock::local(booking.span.start).0;
    let open = matches!(
        booking.status,
        Status::Booked | Status::Confirmed | Status::Arrived
    );
    if !day_came || !(open || booking.status == Status::InSession) {
        return Ok(());
    }
    if open {
        appointments::set_status(tx, id, Status::InSession, now).await?;
    }
    appointments::set_status(tx, id, to, now).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn a_test_lies_between_1990_and_today() {
        let today = date!(2026 - 11 - 24);
        assert_eq!(read_day("2026-11-24", today), Ok(today));
        for bad in [
            "2026-11-25",
            "1989-12-31",
            "2026-02-30",
            "24-11-2026",
            "",
            "2026-11-24T00:00",
        ] {
            assert!(read_day(bad, today).is_err(), "{bad}");
        }
    }
}
