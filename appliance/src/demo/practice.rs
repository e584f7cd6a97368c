//! Filling the first practice, day by day.

use time::{Duration, OffsetDateTime};

use super::people::{PATIENTS, Person};
use crate::accounts::{NewUser, create_user};
use crate::billing;
use crate::clock::{self};
use crate::db::{Action, AuditEvent, PracticeTx};
use crate::encounters::{self, NoteChange, Visit, Writer};
use crate::error::{Error, Result};
use crate::ids::{
    AppointmentId, EncounterId, PatientId, PracticeId, PractitionerId, RoomId, SessionTypeId,
    UserId,
};
use crate::patients::{self, AllergyAnswer, Details, NewAllergy};
use crate::web::{App, Role, Session};

use super::{BEFORE, Steering, calendar, new_practice, notes, people, session};

/// The practice being filled, and who acts in it.
pub(super) struct Practice {
    pub(super) id: PracticeId,
    pub(super) reception: Session,
    pub(super) billing: Session,
    pub(super) therapists: Vec<(PractitionerId, RoomId, UserId)>,
    pub(super) session_types: Vec<(SessionTypeId, &'static str)>,
}

impl Practice {
    /// The practice itself: rooms, practitioners, hours, session types and log-ins.
    pub(super) async fn furnish(
        app: &App,
        now: OffsetDateTime,
        password_hash: &str,
    ) -> Result<Self> {
        let contact = [
            "0123456",
            "4123456789",
            "12 Jacaranda Avenue, Rosebank, Johannesburg 2196",
            "011 555 0100",
            "First Example Bank, account 62000000001, branch 250655",
        ];
        let (id, mut tx) = new_practice(app, "Rosebank Rehab", contact).await?;
        let today = i16::from(clock::local(now).0.weekday().number_from_monday());
        let mut therapists = Vec::new();
        for (position, t) in calendar::THERAPISTS.iter().enumerate() {
            let (practitioner, room) = (PractitionerId::random(), RoomId::random());
            sqlx::query!(
                "INSERT INTO rooms (practice_id, id, name) VALUES ($1, $2, $3)",
                id.0,
                room.0,
                t.room
            )
            .execute(tx.conn())
            .await?;
            sqlx::query!(
                "INSERT INTO practitioners (practice_id, id, given_name, family_name, discipline, hpcsa_number, bhf_number, room_id, position)
                 VALUES ($1, $2, $3, $4, $5, $6, '0123456', $7, $8)",
                id.0,
                practitioner.0,
                t.given,
                t.family,
                t.discipline,
                t.hpcsa,
                room.0,
                i32::try_from(position).unwrap_or_default()
            )
            .execute(tx.conn())
            .await?;
            let ((from_hour, from_minute), (to_hour, to_minute)) = t.hours;
            let time =
                |hour, minute| time::Time::from_hms(hour, minute, 0).map_err(Error::internal);
            sqlx::query!(
                "INSERT INTO working_hours (practice_id, practitioner_id, weekday, starts, ends)
                 SELECT $1, $2, d, $3, $4 FROM (SELECT generate_series(1, 5)::smallint UNION SELECT $5::smallint) AS t(d)",
                id.0,
                practitioner.0,
                time(from_hour, from_minute)?,
                time(to_hour, to_minute)?,
                today
            )
            .execute(tx.conn())
            .await?;
            let (given, family) = (t.given, t.family);
            let username = given.to_lowercase();
            let display_name = format!("{given} {family}");
            let new = NewUser {
                username: &username,
                display_name: &display_name,
                role: Role::Practitioner,
                practitioner: Some(practitioner),
                password_hash,
            };
            therapists.push((practitioner, room, create_user(tx.conn(), id, &new).await?));
        }
        let mut session_types = Vec::new();
        for (position, (code, name, discipline, minutes, price, places, tariff)) in
            calendar::SESSION_TYPES.into_iter().enumerate()
        {
            let type_id = SessionTypeId::random();
            let price: rust_decimal::Decimal = price.parse().map_err(Error::internal)?;
            sqlx::query!(
                "INSERT INTO session_types (practice_id, id, code, name, discipline, duration_minutes, price, tariff_code, capacity, position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                id.0,
                type_id.0,
                code,
                name,
                discipline,
                minutes,
                price,
                tariff,
                places,
                i32::try_from(position).unwrap_or_default()
            )
            .execute(tx.conn())
            .await?;
            session_types.push((type_id, code));
        }
        let mut desk = Vec::new();
        for (username, display_name, role) in [
            ("reception", "Zinhle Maseko", Role::Receptionist),
            ("billing", "Bongi Khumalo", Role::Billing),
            ("admin", "Anneke Vermeulen", Role::Admin),
        ] {
            let new = NewUser {
                username,
                display_name,
                role,
                practitioner: None,
                password_hash,
            };
            let user = create_user(tx.conn(), id, &new).await?;
            desk.push(session(id, user, username, display_name, role, None));
        }
        tx.commit().await?;
        let mut desk = desk.into_iter();
        let (Some(reception), Some(billing)) = (desk.next(), desk.next()) else {
            return Err(Error::internal("the demo has no desk"));
        };
        Ok(Self {
            id,
            reception,
            billing,
            therapists,
            session_types,
        })
    }

    pub(super) async fn add_patients(&self, app: &App) -> Result<Vec<PatientId>> {
        let today = app.clock.today();
        let mut ids = Vec::new();
        for (n, person) in PATIENTS.iter().enumerate() {
            let mut tx = app.begin(&self.reception).await?;
            let id = PatientId::random();
            let details = details(person, n)
                .check(today, None)
                .map_err(|p| Error::Invalid(p.into_fields()))?;
            patients::add(
                &mut tx,
                app,
                self.reception.user_id,
                id,
                &details,
                &allergies(person),
            )
            .await?;
            if !person.alert.is_empty() {
                sqlx::query!(
                    "INSERT INTO alerts (practice_id, id, patient_id, text, recorded_by, recorded_at) VALUES ($1, $2, $3, $4, $5, $6)",
                    self.id.0,
                    uuid::Uuid::now_v7(),
                    id.0,
                    person.alert,
                    self.reception.user_id.0,
                    tx.now()
                )
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await?;
            ids.push(id);
        }
        Ok(ids)
    }

    pub(super) async fn fill_day(
        &self,
        app: &App,
        steering: &Steering,
        date: time::Date,
        day: usize,
        now: OffsetDateTime,
        patients: &[PatientId],
    ) -> Result<()> {
        let made = clock::instant(date, time::Time::MIDNIGHT).min(now) - Duration::days(3);
        steering.set(made.max(now - Duration::days(BEFORE + 1)));
        let mut tx = app.begin(&self.reception).await?;
        for (t, &(practitioner, _, _)) in calendar::THERAPISTS.iter().zip(&self.therapists) {
            let (starts, ends) = calendar::lunch(t, date);
            let id = self
                .book(&mut tx, "block", None, starts, ends, "booked", "Lunch")
                .await?;
            self.take_part(&mut tx, id, Some(practitioner), None, None)
                .await?;
        }
        let slots = calendar::bookings(date, day, now);
        let mut booked = Vec::new();
        for slot in &slots {
            let class = slot.code.ends_with("-class");
            let visited = !class && matches!(slot.status, "completed" | "in-session");
            let status = if visited { "arrived" } else { slot.status };
            let reason = if class {
                ""
            } else {
                slot.patients
                    .first()
                    .and_then(|&n| PATIENTS.get(n))
                    .map_or("", |p| p.reason)
            };
            let session_type = self
                .session_types
                .iter()
                .find(|s| s.1 == slot.code)
                .map(|s| s.0);
            let id = self
                .book(
                    &mut tx,
                    if class { "class" } else { "visit" },
                    session_type,
                    slot.starts,
                    slot.ends,
                    status,
                    reason,
                )
                .await?;
            let (practitioner, room, _) = self.therapists[slot.therapist];
            self.take_part(&mut tx, id, Some(practitioner), None, None)
                .await?;
            self.take_part(&mut tx, id, None, Some(room), None).await?;
            for &n in &slot.patients {
                self.take_part(&mut tx, id, None, None, patients.get(n).copied())
                    .await?;
            }
            booked.push((id, visited));
        }
        let shown: Vec<_> = patients.iter().map(|p| p.0).collect();
        tx.record(
            AuditEvent::new(Action::Create, "Appointment")
                .reason("demo diary")
                .shown(shown),
        )
        .await?;
        tx.commit().await?;

        let yesterday = clock::local(now).0.previous_day();
        for (slot, (appointment, visited)) in slots
            .iter()
            .zip(booked)
            .filter(|(_, (_, visited))| *visited)
        {
            debug_assert!(visited);
            let finished = slot.status == "completed";
            steering.set(if finished { slot.ends } else { slot.starts });
            // Three notes of the first therapist's yesterday wait for their signature, and so does one of today.
            let unsigned = slot.therapist == 0
                && (Some(date) == yesterday || date == clock::local(now).0)
                && slot.starts.minute() == 15;
            let encounter = self
                .visit(app, slot, appointment, day, finished, !unsigned)
                .await?;
            if finished && !unsigned && !(day + slot.therapist).is_multiple_of(3) {
                let issued = billing::issue(
                    app,
                    &self.billing,
                    billing::Visit::Encounter(encounter),
                    "",
                    None,
                )
                .await?;
                if (day + usize::from(slot.starts.hour())).is_multiple_of(2) {
                    let total = billing::balance(app, &self.billing, issued.id).await?;
                    let paying = billing::Paying {
                        amount: total.amount().to_string(),
                        method: ["card", "eft", "cash"][day % 3].into(),
                        reference: String::new(),
                        idempotency_key: uuid::Uuid::now_v7(),
                    };
                    billing::pay(app, &self.billing, issued.id, &paying).await?;
                }
            }
        }
        Ok(())
    }

    /// Opens a visit as its therapist and, when it is over, writes and signs its note.
    pub(super) async fn visit(
        &self,
        app: &App,
        slot: &calendar::Slot,
        appointment: AppointmentId,
        day: usize,
        finished: bool,
        signed: bool,
    ) -> Result<EncounterId> {
        let (practitioner, _, user) = self.therapists[slot.therapist];
        let writer = Writer {
            user,
            practitioner: Some(practitioner),
        };
        let therapist = session(
            self.id,
            user,
            "demo",
            "demo",
            Role::Practitioner,
            Some(practitioner),
        );
        let mut tx = app.begin(&therapist).await?;
        let (id, _) = encounters::open(&mut tx, writer, appointment, None).await?;
        let visit = Visit::find(&mut tx, id).await?;
        tx.record(visit.event(Action::Create, "Encounter", "demo visit"))
            .await?;
        if finished {
            let key = app.keys.patient(self.id, visit.patient).await?;
            let [subjective, objective, assessment, plan] = notes::NOTES[(day / 2
                + slot.patients.first().copied().unwrap_or_default())
                % notes::NOTES.len()]
            .map(str::to_owned);
            let change = NoteChange {
                version: 0,
                subjective: Some(subjective),
                objective: Some(objective),
                assessment: Some(assessment),
                plan: Some(plan),
                ..NoteChange::default()
            };
            let saved = visit.save(&mut tx, &key, writer, change, false).await?;
            if signed {
                visit
                    .sign(&mut tx, &key, writer, saved.version, false)
                    .await?;
            } else {
                sqlx::query!("UPDATE appointments SET status = 'completed', version = version + 1 WHERE id = $1", appointment.0).execute(tx.conn()).await?;
            }
        }
        tx.commit().await?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "one row")]
    pub(super) async fn book(
        &self,
        tx: &mut PracticeTx,
        kind: &str,
        session_type: Option<SessionTypeId>,
        starts: OffsetDateTime,
        ends: OffsetDateTime,
        status: &str,
        reason: &str,
    ) -> Result<AppointmentId> {
        let id = AppointmentId::random();
        let arrived = (status == "arrived").then(|| starts - Duration::minutes(8));
        sqlx::query!(
            "INSERT INTO appointments (practice_id, id, kind, session_type_id, starts_at, ends_at, status, reason, arrived_at, cancel_reason,
                                       created_by, created_at, updated_by, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $11, $12)",
            self.id.0,
            id.0,
            kind,
            session_type.map(|s| s.0),
            starts,
            ends,
            status,
            reason,
            arrived,
            if status == "cancelled" { "Patient phoned" } else { "" },
            self.reception.user_id.0,
            tx.now()
        )
        .execute(tx.conn())
        .await?;
        Ok(id)
    }

    pub(super) async fn take_part(
        &self,
        tx: &mut PracticeTx,
        appointment: AppointmentId,
        practitioner: Option<PractitionerId>,
        room: Option<RoomId>,
        patient: Option<PatientId>,
    ) -> Result<()> {
        // The trigger fills in the booking's own time.
        sqlx::query!(
            "INSERT INTO appointment_participants (practice_id, id, appointment_id, practitioner_id, room_id, patient_id, during)
             VALUES ($1, $2, $3, $4, $5, $6, 'empty')",
            self.id.0,
            uuid::Uuid::now_v7(),
            appointment.0,
            practitioner.map(|p| p.0),
            room.map(|r| r.0),
            patient.map(|p| p.0)
        )
        .execute(tx.conn())
        .await?;
        Ok(())
    }

    pub(super) async fn add_scores(
        &self,
        app: &App,
        today: time::Date,
        patients: &[PatientId],
    ) -> Result<()> {
        let (_, _, user) = self.therapists[0];
        for (person, measure, scores) in notes::SCORES {
            let Some(&patient) = patients.get(person) else {
                continue;
            };
            let event = AuditEvent::new(Action::Create, "Observation")
                .patient(patient)
                .reason("demo outcome scores");
            let mut tx = app.begin_with(&self.reception, event).await?;
            for (weeks, &score) in scores.iter().rev().enumerate() {
                sqlx::query!(
                    "INSERT INTO outcome_scores (practice_id, id, patient_id, measure, score, taken_on, recorded_by, recorded_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    self.id.0,
                    uuid::Uuid::now_v7(),
                    patient.0,
                    measure,
                    rust_decimal::Decimal::from(score),
                    today - Duration::days(7 * i64::try_from(weeks).unwrap_or_default() + 2),
                    user.0,
                    tx.now()
                )
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn add_waiting_list(&self, app: &App, patients: &[PatientId]) -> Result<()> {
        let noon = time::Time::from_hms(12, 0, 0).map_err(Error::internal)?;
        let two = time::Time::from_hms(14, 0, 0).map_err(Error::internal)?;
        let waiting = [
            (
                29,
                "Acute lower back, new",
                30,
                None,
                "physiotherapy",
                None,
                Some(noon),
                vec![],
                1,
            ),
            (
                30,
                "Shoulder",
                30,
                None,
                "physiotherapy",
                None,
                Some(noon),
                vec![],
                2,
            ),
            (
                31,
                "Knee",
                45,
                Some(self.therapists[1].0),
                "",
                Some(two),
                None,
                vec![],
                2,
            ),
            (
                32,
                "Hand therapy",
                60,
                None,
                "occupational-therapy",
                Some(noon),
                None,
                vec![4_i16, 5],
                3,
            ),
        ];
        let mut tx = app.begin(&self.reception).await?;
        let mut shown = Vec::new();
        for (
            person,
            reason,
            minutes,
            practitioner,
            discipline,
            not_before,
            not_after,
            weekdays,
            priority,
        ) in waiting
        {
            let Some(&patient) = patients.get(person) else {
                continue;
            };
            shown.push(patient.0);
            sqlx::query!(
                "INSERT INTO waiting_list (practice_id, id, patient_id, reason, duration_minutes, practitioner_id, discipline, not_before, not_after,
                                           weekdays, priority, created_by, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                self.id.0,
                uuid::Uuid::now_v7(),
                patient.0,
                reason,
                minutes,
                practitioner.map(|p| p.0),
                discipline,
                not_before,
                not_after,
                &weekdays,
                priority,
                self.reception.user_id.0,
                tx.now()
            )
            .execute(tx.conn())
            .await?;
        }
        tx.record(
            AuditEvent::new(Action::Create, "Appointment")
                .reason("demo waiting list")
                .shown(shown),
        )
        .await?;
        tx.commit().await
    }
}

fn details(person: &Person, n: usize) -> Details {
    let born = person.birth_date();
    let member = !person.scheme.is_empty();
    Details {
        title: person.title.into(),
        family_name: person.family.into(),
        given_name: person.given.into(),
        preferred_name: person.preferred.into(),
        birth_date: clock::date_text(born),
        sex: if person.female { "female" } else { "male" }.into(),
        identity_kind: "sa-id".into(),
        identity_value: people::identity_number(born, person.female, n),
        phone: format!("082 555 {:04}", 1000 + n * 37),
        email: String::new(),
        address: format!("{} Protea Street, Johannesburg", 3 + n * 2),
        scheme_name: person.scheme.into(),
        scheme_plan: person.plan.into(),
        member_number: if member {
            format!("{}", 100_200_300 + n * 7919)
        } else {
            String::new()
        },
        dependant_code: if member {
            format!("{:02}", n % 3)
        } else {
            String::new()
        },
        emergency_name: String::new(),
        emergency_phone: String::new(),
    }
}

fn allergies(person: &Person) -> AllergyAnswer {
    match person.allergies {
        None => AllergyAnswer::NoneKnown,
        Some([]) => AllergyAnswer::NotRecorded,
        Some(known) => AllergyAnswer::Known(
            known
                .iter()
                .map(|(substance, reaction)| NewAllergy {
                    substance: (*substance).into(),
                    reaction: (*reaction).into(),
                })
                .collect(),
        ),
    }
}
