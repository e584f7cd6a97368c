//! A booking as the diary shows it: a card with its menu, or a stretch of blocked time.

use time::{Date, OffsetDateTime};

use super::appointment::{Appointment, Kind, Participant};
use super::slots::{Stretch, minute_text};
use super::status::Status;
use crate::clock;
use crate::ids::{AppointmentId, PractitionerId};
use crate::web::{Permission, Session};

/// A stretch of a day on the diary's grid: one row is five minutes, the first is row 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Minute of the day at which the grid starts; a whole hour.
    pub first: u16,
    /// Hours it shows.
    pub hours: u16,
}

impl Grid {
    /// The whole day, for a card alone: the page puts it into its own grid.
    pub(super) const DAY: Self = Self {
        first: 0,
        hours: 24,
    };

    /// Shows 07:00 to 18:00 and whatever lies outside that.
    pub(super) fn around(stretches: impl Iterator<Item = Stretch>) -> Self {
        let (mut first, mut last) = (7 * 60, 18 * 60);
        for s in stretches {
            first = first.min(s.from / 60 * 60);
            last = last.max(s.to.next_multiple_of(60));
        }
        Self {
            first,
            hours: (last - first) / 60,
        }
    }

    pub(super) fn row(self, minute: u16) -> u16 {
        minute.saturating_sub(self.first).min(self.hours * 60) / 5 + 1
    }

    pub(super) fn place(self, stretch: Stretch) -> (u16, u16) {
        let row = self.row(stretch.from);
        (
            row,
            self.row(stretch.to.next_multiple_of(5))
                .saturating_sub(row)
                .max(1),
        )
    }
}

/// A link of a menu.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Link {
    pub href: String,
    pub label: &'static str,
    pub icon: &'static str,
    /// Opens in the page's dialog.
    pub dialog: bool,
}

/// A form of a menu: one button that sends fields.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Post {
    pub action: &'static str,
    pub label: &'static str,
    pub icon: &'static str,
    pub fields: Vec<(&'static str, String)>,
}

/// A state offered by a menu.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub to: &'static str,
    pub label: &'static str,
    pub icon: &'static str,
}

/// What the macro `card` shows.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Card {
    pub id: AppointmentId,
    pub version: i32,
    pub practitioner_id: PractitionerId,
    pub start: String,
    pub end: String,
    pub minutes: i64,
    pub row: u16,
    pub span: u16,
    pub state: &'static str,
    pub status: &'static str,
    pub state_text: String,
    pub family: String,
    pub given: Option<String>,
    pub what: String,
    pub group: bool,
    pub tag: String,
    pub flag: Option<&'static str>,
    /// Shares its time with another card: `left`, `right` or none.
    pub lane: Option<&'static str>,
    pub movable: bool,
    pub links: Vec<Link>,
    pub posts: Vec<Post>,
    pub choices: Vec<Choice>,
    pub cancel_href: Option<String>,
}

/// What the macro `block` shows.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Block {
    pub id: AppointmentId,
    pub version: i32,
    pub practitioner_id: PractitionerId,
    pub start: String,
    pub end: String,
    pub row: u16,
    pub span: u16,
    pub label: String,
    pub removable: bool,
}

/// The name a state has in the style sheet.
fn style(status: Status) -> &'static str {
    match status {
        Status::InSession => "insession",
        Status::Completed => "done",
        Status::NoShow => "noshow",
        other => other.text(),
    }
}

fn choice(from: Status, to: Status) -> Choice {
    let (label, icon) = match to {
        Status::Booked => ("Not confirmed after all", "circle-dashed"),
        Status::Confirmed if from == Status::Arrived => ("Not here after all", "undo-2"),
        Status::Confirmed => ("Confirmed by the patient", "circle-check"),
        Status::Arrived if from == Status::InSession => ("Back to the waiting room", "undo-2"),
        Status::Arrived => ("Arrived", "door-open"),
        Status::InSession => ("In session", "activity"),
        Status::Completed => ("Done", "check"),
        Status::NoShow => ("Did not arrive", "user-x"),
        Status::Cancelled => ("Cancel", "circle-x"),
    };
    Choice {
        to: to.text(),
        label,
        icon,
    }
}

fn state_text(a: &Appointment, now: OffsetDateTime) -> String {
    match (a.status, a.arrived_at) {
        (Status::Arrived, Some(at)) if clock::local(at).0 == clock::local(now).0 => {
            match (now - at).whole_minutes() {
                ..=0 => "Arrived just now".into(),
                minutes => format!("Arrived {minutes} min ago"),
            }
        }
        (Status::Completed, _) if a.kind == Kind::Class => "Done".into(),
        _ => a.status.label().into(),
    }
}

fn what(a: &Appointment) -> String {
    if a.kind != Kind::Class {
        return a.what();
    }
    let places = a.session_type.as_ref().map_or(0, |t| t.capacity);
    let came = a
        .patients
        .iter()
        .filter(|p| p.attended == Some(true))
        .count();
    if came > 0 {
        format!("{came} of {} came", a.patients.len())
    } else {
        format!("{} of {places} booked", a.patients.len())
    }
}

fn visit_links(
    a: &Appointment,
    patient: &Participant,
    session: &Session,
    now: OffsetDateTime,
    links: &mut Vec<Link>,
    posts: &mut Vec<Post>,
) {
    match patient.encounter_id {
        Some(encounter) if session.may(Permission::ViewNotes) => {
            links.push(Link {
                href: format!("/encounters/{encounter}"),
                label: "Open visit",
                icon: "pen-line",
                dialog: false,
            });
        }
        None if session.may(Permission::WriteNotes)
            && clock::local(a.span.start).0 <= clock::local(now).0
            && matches!(
                a.status,
                Status::Booked | Status::Confirmed | Status::Arrived | Status::InSession
            ) =>
        {
            let fields = vec![
                ("appointment_id", a.id.to_string()),
                ("patient_id", patient.patient_id.to_string()),
            ];
            posts.push(Post {
                action: "/encounters",
                label: "Start visit",
                icon: "pen-line",
                fields,
            });
        }
        _ => {}
    }
    if session.may(Permission::ViewPatients) {
        links.push(Link {
            href: format!("/patients/{}", patient.patient_id),
            label: "Patient record",
            icon: "users",
            dialog: false,
        });
    }
    match (patient.encounter_id, patient.invoice_id) {
        (_, Some(invoice)) if session.may(Permission::ViewBilling) => {
            links.push(Link {
                href: format!("/invoices/{invoice}"),
                label: "Open invoice",
                icon: "receipt",
                dialog: false,
            });
        }
        (Some(encounter), None)
            if session.may(Permission::Bill) && a.status == Status::Completed =>
        {
            posts.push(Post {
                action: "/invoices",
                label: "Make invoice",
                icon: "receipt",
                fields: vec![("encounter_id", encounter.to_string())],
            });
        }
        _ => {}
    }
}

impl Card {
    pub(super) fn new(
        a: &Appointment,
        date: Date,
        grid: Grid,
        session: &Session,
        now: OffsetDateTime,
    ) -> Self {
        let stretch = Stretch::on(date, a.span);
        let (row, span) = grid.place(stretch);
        let may_book = session.may(Permission::Book);
        let (mut links, mut posts) = (Vec::new(), Vec::new());
        match a.patient() {
            Some(patient) => visit_links(a, patient, session, now, &mut links, &mut posts),
            None => links.push(Link {
                href: format!("/appointments/{}/participants?date={date}", a.id),
                label: "Who is in it",
                icon: "users",
                dialog: true,
            }),
        }
        let today = clock::local(now).0;
        let choices = if may_book {
            a.status
                .next()
                .iter()
                .copied()
                .filter(|to| *to != Status::Cancelled)
                .filter(|to| date <= today || matches!(to, Status::Booked | Status::Confirmed))
                .filter(|to| {
                    *to != Status::NoShow || (a.span.start <= now && a.kind == Kind::Visit)
                })
                .filter(|to| a.kind == Kind::Visit || *to != Status::Arrived)
                .map(|to| choice(a.status, to))
                .collect()
        } else {
            Vec::new()
        };
        let (family, given) = match a.patient() {
            Some(p) => (p.family_name.clone(), Some(p.given_name.clone())),
            None => (a.who(), None),
        };
        let unmarked = a.kind == Kind::Class
            && a.status == Status::Completed
            && a.patients.iter().any(|p| p.attended.is_none());
        let unsigned = a.status == Status::Completed
            && a.patients
                .iter()
                .any(|p| p.encounter_id.is_some() && !p.is_signed);
        Self {
            id: a.id,
            version: a.version,
            practitioner_id: a.practitioner_id,
            start: minute_text(stretch.from),
            end: minute_text(stretch.to),
            minutes: a.span.minutes(),
            row,
            span,
            state: style(a.status),
            status: a.status.text(),
            state_text: state_text(a, now),
            family,
            given,
            what: what(a),
            group: a.kind == Kind::Class,
            tag: a.payer_tag.clone(),
            flag: unsigned
                .then_some("Note not signed")
                .or(unmarked.then_some("Say who came")),
            lane: None,
            movable: may_book && a.status.is_movable(),
            links,
            posts,
            choices,
            cancel_href: (may_book && a.status.next().contains(&Status::Cancelled))
                .then(|| format!("/appointments/{}/cancel?date={date}", a.id)),
        }
    }

    fn stretch(&self) -> std::ops::Range<u16> {
        self.row..self.row + self.span
    }
}

/// Puts a card of somebody who did not arrive beside the one that took its time.
pub(super) fn share(cards: &mut [Card]) {
    let missed: Vec<_> = (0..cards.len())
        .filter(|&i| cards[i].state == "noshow")
        .collect();
    for i in missed {
        let taken = cards[i].stretch();
        let mut shared = false;
        for (k, other) in cards.iter_mut().enumerate() {
            let range = other.stretch();
            if k != i
                && other.state != "noshow"
                && range.start < taken.end
                && taken.start < range.end
            {
                other.lane = Some("left");
                shared = true;
            }
        }
        if shared {
            cards[i].lane = Some("right");
        }
    }
}

impl Block {
    pub(super) fn new(a: &Appointment, date: Date, grid: Grid, session: &Session) -> Self {
        let stretch = Stretch::on(date, a.span);
        let (row, span) = grid.place(stretch);
        Self {
            id: a.id,
            version: a.version,
            practitioner_id: a.practitioner_id,
            start: minute_text(stretch.from),
            end: minute_text(stretch.to),
            row,
            span,
            label: a.who(),
            removable: session.may(Permission::Book),
        }
    }
}

impl Card {
    /// An example for template tests.
    pub(super) fn sample(state: &'static str, status: &'static str) -> Self {
        Self {
            id: AppointmentId(uuid::Uuid::nil()),
            version: 1,
            practitioner_id: PractitionerId(uuid::Uuid::nil()),
            start: "10:45".into(),
            end: "11:30".into(),
            minutes: 45,
            row: 46,
            span: 9,
            state,
            status,
            state_text: "Confirmed".into(),
            family: "Pretorius".into(),
            given: Some("Gert".into()),
            what: "Lower back".into(),
            group: false,
            tag: "COIDA".into(),
            flag: Some("Note not signed"),
            lane: Some("left"),
            movable: true,
            links: vec![Link {
                href: "/patients/0".into(),
                label: "Patient record",
                icon: "users",
                dialog: false,
            }],
            posts: vec![Post {
                action: "/encounters",
                label: "Start visit",
                icon: "pen-line",
                fields: vec![("appointment_id", "0".into())],
            }],
            choices: vec![choice(Status::Booked, Status::Confirmed)],
            cancel_href: Some("/appointments/0/cancel".into()),
        }
    }
}
