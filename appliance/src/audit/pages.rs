//! Who did what: about one patient, and in the whole practice.

use axum::extract::{Path, State};
use axum::response::Response;
use time::{OffsetDateTime, Time};
use uuid::Uuid;

use super::store::{self, Entry, Filter};
use super::words;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Problems, Result};
use crate::ids::PatientId;
use crate::web::{App, Page, Permission, Query, Session, Shell, html};

const PAGE: i32 = 100;

/// Filters as they stand in the address. Empty ones are none, as a form sends them.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(super) struct Asked {
    /// A user's id.
    user: String,
    /// A patient's id.
    patient: String,
    /// `YYYY-MM-DD`, a day of the practice's calendar.
    date: String,
    /// `MICROS.UUID` of the last line of the page before.
    before: String,
}

/// A line.
#[derive(serde::Serialize)]
struct Row {
    at: String,
    /// RFC 3339.
    datetime: String,
    who: String,
    what: String,
    reason: String,
    /// Address and name.
    patient: Option<(String, String)>,
    sealed: Option<i64>,
}

impl Row {
    fn of(e: Entry) -> Self {
        Self {
            at: clock::stamp_text(e.at),
            datetime: clock::rfc3339(e.at),
            what: words::what(&e.action, &e.entity, e.shown, e.patient.is_some()),
            who: words::who(&e.who, e.role.as_deref()),
            reason: e.reason,
            patient: e
                .patient
                .zip(e.patient_name)
                .map(|(id, name)| (format!("/patients/{id}"), name)),
            sealed: e.seal,
        }
    }

    fn samples() -> Vec<Self> {
        let row = |sealed, patient| Self {
            at: "24-Nov-2026 10:41".into(),
            datetime: "2026-11-24T10:41:00+02:00".into(),
            who: "Naledi Mokoena".into(),
            what: "Opened the patient's record".into(),
            reason: "patient page".into(),
            patient,
            sealed,
        };
        vec![
            row(Some(12), None),
            row(
                None,
                Some(("/patients/1".into(), "Khumalo, Thandiwe".into())),
            ),
        ]
    }
}

/// `audit/patient.html`.
#[derive(serde::Serialize)]
pub(super) struct PatientAudit {
    shell: Shell,
    patient: Uuid,
    name: String,
    rows: Vec<Row>,
    next: Option<String>,
    show_patient: bool,
}

impl Page for PatientAudit {
    const TEMPLATE: &'static str = "audit/patient.html";
    fn samples() -> Vec<Self> {
        let page = |rows| Self {
            shell: Shell::sample(),
            patient: Uuid::nil(),
            name: "Khumalo, Thandiwe".into(),
            rows,
            next: None,
            show_patient: false,
        };
        vec![page(Row::samples()), page(Vec::new())]
    }
}

/// A choice in a list.
#[derive(serde::Serialize)]
struct Person {
    value: String,
    label: String,
}

/// `audit/overview.html`.
#[derive(serde::Serialize)]
pub(super) struct Overview {
    shell: Shell,
    asked: Asked,
    /// Empty: this page takes no wrong filters, but the fields' macros look.
    errors: std::collections::BTreeMap<String, String>,
    patient_name: String,
    people: Vec<Person>,
    filtered: bool,
    rows: Vec<Row>,
    next: Option<String>,
    show_patient: bool,
}

impl Page for Overview {
    const TEMPLATE: &'static str = "audit/overview.html";
    fn samples() -> Vec<Self> {
        let page = |rows, filtered| Self {
            shell: Shell::sample(),
            asked: Asked::default(),
            errors: std::collections::BTreeMap::new(),
            patient_name: String::new(),
            people: vec![Person {
                value: Uuid::nil().to_string(),
                label: "Naledi Mokoena".into(),
            }],
            filtered,
            rows,
            next: None,
            show_patient: true,
        };
        vec![page(Row::samples(), false), page(Vec::new(), true)]
    }
}

/// The last line's place, where there may be more lines.
fn place(entries: &[Entry]) -> Option<String> {
    let full = entries.len() == usize::try_from(PAGE).unwrap_or_default();
    entries
        .last()
        .filter(|_| full)
        .map(|e| format!("{}.{}", store::micros(e.at), e.id))
}

/// `GET /patients/{id}/audit`
pub(super) async fn patient(
    State(app): State<App>,
    session: Session,
    Path(id): Path<PatientId>,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    session.require(Permission::ViewAudit)?;
    let filter = Filter {
        patient: Some(id),
        before: before(&asked.before)?,
        ..Filter::default()
    };
    let mut tx = app
        .begin_with(
            &session,
            AuditEvent::new(Action::Read, "AuditEvent").patient(id),
        )
        .await?;
    let name = store::patient_name(tx.conn(), id)
        .await?
        .ok_or(Error::NotFound)?;
    let entries = store::find(tx.conn(), &filter, PAGE).await?;
    tx.commit().await?;
    let next = place(&entries).map(|at| format!("/patients/{id}/audit?before={at}"));
    let shell = Shell::plain(&app, &session, format!("Who looked at {name}"), "patients");
    html(
        &app,
        &PatientAudit {
            shell,
            patient: id.0,
            name,
            rows: entries.into_iter().map(Row::of).collect(),
            next,
            show_patient: false,
        },
    )
}

/// `GET /admin/audit?user=&patient=&date=`
pub(super) async fn overview(
    State(app): State<App>,
    session: Session,
    Query(asked): Query<Asked>,
) -> Result<Response> {
    session.require(Permission::ViewAudit)?;
    let filter = read(&asked)?;
    let mut tx = app.begin(&session).await?;
    let patient_name = match filter.patient {
        Some(patient) => store::patient_name(tx.conn(), patient)
            .await?
            .ok_or(Error::NotFound)?,
        None => String::new(),
    };
    let people = store::people(tx.conn()).await?;
    let entries = store::find(tx.conn(), &filter, PAGE).await?;
    let mut shown: Vec<Uuid> = entries
        .iter()
        .filter_map(|e| e.patient)
        .map(|p| p.0)
        .collect();
    shown.sort_unstable();
    shown.dedup();
    let mut event = AuditEvent::new(Action::Read, "AuditEvent")
        .shown(shown)
        .reason("practice");
    if let Some(patient) = filter.patient {
        event = event.patient(patient);
    }
    tx.record(event).await?;
    tx.commit().await?;
    let next = place(&entries).map(|at| {
        format!(
            "/admin/audit?user={}&patient={}&date={}&before={at}",
            asked.user, asked.patient, asked.date
        )
    });
    let page = Overview {
        shell: Shell::plain(&app, &session, "Who did what", "admin"),
        errors: std::collections::BTreeMap::new(),
        patient_name,
        people: people
            .into_iter()
            .map(|(id, name)| Person {
                value: id.to_string(),
                label: name,
            })
            .collect(),
        filtered: filter.patient.is_some() || filter.actor.is_some() || filter.from.is_some(),
        asked,
        rows: entries.into_iter().map(Row::of).collect(),
        next,
        show_patient: true,
    };
    html(&app, &page)
}

fn read(asked: &Asked) -> Result<Filter> {
    let mut problems = Problems::new();
    let given = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let mut filter = Filter {
        before: before(&asked.before)?,
        ..Filter::default()
    };
    if let Some(user) = given(&asked.user) {
        let user = user
            .parse::<Uuid>()
            .map_err(|_| "This is nobody of this practice.");
        filter.actor = problems.take("user", user).map(|u| u.to_string());
    }
    if let Some(patient) = given(&asked.patient) {
        filter.patient = problems.take(
            "patient",
            patient
                .parse()
                .map_err(|_| "Choose a patient from the list."),
        );
    }
    if let Some(date) = given(&asked.date)
        && let Some(day) = problems.take(
            "date",
            clock::parse_day(&date).ok_or("Write the date as 2026-11-24."),
        )
    {
        filter.from = Some(clock::instant(day, Time::MIDNIGHT));
        filter.until = day
            .next_day()
            .map(|next| clock::instant(next, Time::MIDNIGHT));
    }
    problems.check()?;
    Ok(filter)
}

fn before(cursor: &str) -> Result<Option<(OffsetDateTime, Uuid)>> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        Error::field(
            "before",
            "This is not a place in the list. Open the page again from its start.",
        )
    };
    let (micros, id) = cursor.split_once('.').ok_or_else(wrong)?;
    let micros: i64 = micros.parse().map_err(|_| wrong())?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .ok()
        .filter(|at| (1900..2200).contains(&at.year()))
        .ok_or_else(wrong)?;
    Ok(Some((at, id.parse().map_err(|_| wrong())?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_day_is_the_practice_s_day() {
        let filter = read(&Asked {
            date: "2026-11-24".into(),
            ..Asked::default()
        })
        .unwrap();
        assert_eq!(filter.from, Some(datetime!(2026-11-23 22:00 UTC)));
        assert_eq!(filter.until, Some(datetime!(2026-11-24 22:00 UTC)));
        assert!(
            read(&Asked {
                date: "2026-02-30".into(),
                ..Asked::default()
            })
            .is_err()
        );
        assert!(before("x.y").is_err());
    }
}
