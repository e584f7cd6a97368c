//! The practice-scoped transaction: the only way to a patient's rows.

use std::borrow::Cow;

use sqlx::{PgConnection, Postgres, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Db;
use crate::error::{Error, Result};
use crate::ids::{PatientId, PracticeId, UserId};

/// Who acts, and in which practice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The practice whose rows the transaction sees.
    pub practice: PracticeId,
    /// A user's id, or the name of a part of the box.
    pub name: Cow<'static, str>,
}

impl Actor {
    /// A person.
    #[must_use]
    pub fn user(practice: PracticeId, user: UserId) -> Self {
        Self {
            practice,
            name: user.to_string().into(),
        }
    }

    /// A part of the box that acts by itself.
    #[must_use]
    pub fn system(practice: PracticeId, part: &'static str) -> Self {
        Self {
            practice,
            name: part.into(),
        }
    }
}

/// What was done, in FHIR AuditEvent's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something was made.
    Create,
    /// Something was looked at.
    Read,
    /// Something was changed.
    Update,
    /// Something was ended.
    Delete,
    /// Something was done that is neither: signed, printed, drafted, signed in.
    Execute,
    /// A request was refused.
    Refuse,
}

impl Action {
    fn text(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Execute => "execute",
            Self::Refuse => "refuse",
        }
    }
}

/// One entry of the audit log.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    action: Action,
    entity: &'static str,
    entity_id: Option<Uuid>,
    patient: Option<PatientId>,
    reason: Cow<'static, str>,
    shown: Vec<Uuid>,
    change: Option<Vec<u8>>,
}

impl AuditEvent {
    /// An event about a kind of thing, named as FHIR names it (`Patient`, `Appointment`, …).
    #[must_use]
    pub fn new(action: Action, entity: &'static str) -> Self {
        Self {
            action,
            entity,
            entity_id: None,
            patient: None,
            reason: "".into(),
            shown: Vec::new(),
            change: None,
        }
    }

    /// The thing it was about.
    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.entity_id = Some(id);
        self
    }

    /// The patient it was about.
    #[must_use]
    pub fn patient(mut self, patient: PatientId) -> Self {
        self.patient = Some(patient);
        self
    }

    /// Why or how, in a few words without patient data.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The patients or things a list showed.
    #[must_use]
    pub fn shown(mut self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        self.shown = ids.into_iter().collect();
        self
    }

    /// Old and new values, already encrypted under the patient's key.
    #[must_use]
    pub fn change(mut self, ciphertext: Vec<u8>) -> Self {
        self.change = Some(ciphertext);
        self
    }
}

/// A transaction that sees one practice's rows and can't be committed without an audit event.
#[derive(Debug)]
pub struct PracticeTx {
    tx: Transaction<'static, Postgres>,
    actor: Actor,
    now: OffsetDateTime,
    recorded: bool,
}

impl PracticeTx {
    /// Opens the scope. Where the event is known beforehand, [`PracticeTx::open_with`] saves a round trip.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(db: &Db, actor: &Actor, now: OffsetDateTime) -> Result<Self> {
        let mut tx = db.records.begin().await?;
        sqlx::query!("SELECT open_scope($1, $2)", actor.practice.0, &*actor.name)
            .execute(&mut *tx)
            .await?;
        Ok(Self {
            tx,
            actor: actor.clone(),
            now,
            recorded: false,
        })
    }

    /// Opens the scope and records the event, in one round trip.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open_with(
        db: &Db,
        actor: &Actor,
        now: OffsetDateTime,
        event: AuditEvent,
    ) -> Result<Self> {
        let mut tx = db.records.begin().await?;
        sqlx::query!(
            "SELECT open_scope_with_event($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            actor.practice.0,
            &*actor.name,
            Uuid::now_v7(),
            now,
            event.action.text(),
            event.entity,
            event.entity_id,
            event.patient.map(|p| p.0),
            &*event.reason,
            &event.shown,
            event.change,
        )
        .execute(&mut *tx)
        .await?;
        Ok(Self {
            tx,
            actor: actor.clone(),
            now,
            recorded: true,
        })
    }

    /// Adds an event to the audit log, in this transaction.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record(&mut self, event: AuditEvent) -> Result<()> {
        sqlx::query!(
            "SELECT audit_append($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            Uuid::now_v7(),
            self.now,
            event.action.text(),
            event.entity,
            event.entity_id,
            event.patient.map(|p| p.0),
            &*event.reason,
            &event.shown,
            event.change,
        )
        .execute(&mut *self.tx)
        .await?;
        self.recorded = true;
        Ok(())
    }

    /// Tells every open page of this practice, once this commits, that a thing changed. Ids only.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn announce(&mut self, kind: &'static str, id: Uuid) -> Result<()> {
        let payload =
            serde_json::json!({ "practice": self.actor.practice, "kind": kind, "id": id })
                .to_string();
        sqlx::query!("SELECT pg_notify('hadada', $1)", payload)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// The connection, for a room's SQL.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The practice whose rows this transaction sees.
    #[must_use]
    pub fn practice(&self) -> PracticeId {
        self.actor.practice
    }

    /// The time at which the request is handled.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Makes it durable. An event must have been recorded.
    ///
    /// # Errors
    /// When the database does not answer, or nothing was recorded: then nothing is written either.
    pub async fn commit(self) -> Result<()> {
        if !self.recorded {
            return Err(Error::internal(
                "a transaction over a practice's rows was to be committed without an audit event",
            ));
        }
        self.tx.commit().await?;
        Ok(())
    }

    /// Ends a transaction that read no patient data, only the practice's own settings.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn close_without_patient_data(self) -> Result<()> {
        self.tx.rollback().await?;
        Ok(())
    }
}

impl Db {
    /// Records that a request was refused, in a transaction of its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn record_refusal(
        &self,
        actor: &Actor,
        now: OffsetDateTime,
        event: AuditEvent,
    ) -> Result<()> {
        PracticeTx::open_with(self, actor, now, event)
            .await?
            .commit()
            .await
    }
}
