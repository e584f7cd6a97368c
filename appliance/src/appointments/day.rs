//! The diary's page of a day, and the parts of it that are fetched again.

use axum::extract::State;
use axum::response::Response;
use time::Date;

use super::card::{Block, Card};
use super::day_view::{
    Column, Day, InRoom, Line, Off, Offer, OnList, Open, Panels, Stats, Todo, load,
};
use super::rules;
use super::slots::{minute, minute_text};
use crate::clock;
use crate::error::{Error, Result};
use crate::ids::{AppointmentId, PatientId, PractitionerId, WaitingId};
use crate::practices::Start;
use crate::web::{App, Page, Permission, Query, Session, Shell, html};

#[derive(Debug, serde::Deserialize)]
pub(super) struct DayQuery {
    date: Option<String>,
    #[serde(default)]
    view: String,
    /// Fills the patient into the form for a new appointment.
    patient_id: Option<PatientId>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Step {
    href: String,
    label: String,
}

/// `appointments/day.html`.
#[derive(serde::Serialize)]
pub(super) struct DayPage {
    shell: Shell,
    view: &'static str,
    date: String,
    weekday: String,
    day: String,
    is_today: bool,
    before: Option<Step>,
    after: Option<Step>,
    new_href: String,
    can_book: bool,
    first: String,
    hours: u16,
    times: Vec<Off>,
    time_texts: Vec<String>,
    now_row: Option<u16>,
    now: String,
    columns: Vec<Column>,
    hidden_columns: usize,
    panels: Panels,
    lines: Vec<Line>,
    practice: String,
    /// What a new practice has to add first.
    start: Option<Start>,
}

/// `appointments/panels.html`.
#[derive(serde::Serialize)]
pub(super) struct PanelsPage {
    columns: Vec<Column>,
    panels: Panels,
}

fn wanted_date(app: &App, text: Option<&str>) -> Result<Date> {
    match text {
        Some(text) => rules::parse_date(text).map_err(|message| Error::field("date", message)),
        None => Ok(app.clock.today()),
    }
}

fn step(date: Option<Date>, way: &str, view: &str) -> Option<Step> {
    let date = date?;
    let view = if view == "list" { "&view=list" } else { "" };
    Some(Step {
        href: format!("/day?date={date}{view}"),
        label: format!(
            "{way} day, {} {}",
            date.weekday(),
            clock::long_date_text(date)
        ),
    })
}

/// `GET /day`
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Query(query): Query<DayQuery>,
) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let date = wanted_date(&app, query.date.as_deref())?;
    let day = load(&app, &session, date, false).await?;
    html(&app, &page(&app, &session, &day, &query))
}

fn page(app: &App, session: &Session, day: &Day, query: &DayQuery) -> DayPage {
    let Day { date, now, .. } = *day;
    let view = if query.view == "list" { "list" } else { "day" };
    let grid = day.grid();
    let (columns, hidden_columns) = day.columns(session, grid, view == "day");
    let (today, time) = clock::local(now);
    let now_minute = minute(time);
    let title = format!("{} {}", date.weekday(), clock::long_date_text(date));
    let unsigned = if session.may(Permission::ViewNotes) {
        day.attention.to_sign
    } else {
        0
    };
    let patient = query
        .patient_id
        .map(|id| format!("&patient_id={id}"))
        .unwrap_or_default();
    let hours: Vec<u16> = (0..grid.hours).collect();
    DayPage {
        shell: Shell::with_unsigned(app, session, title, "day", unsigned),
        view,
        date: date.to_string(),
        weekday: date.weekday().to_string(),
        day: clock::long_date_text(date),
        is_today: date == today,
        before: step(date.previous_day(), "Previous", view),
        after: step(date.next_day(), "Next", view),
        new_href: format!("/appointments/new?date={}{patient}", date.max(today)),
        can_book: session.may(Permission::Book) && day.start.is_none(),
        first: minute_text(grid.first),
        hours: grid.hours,
        times: hours
            .iter()
            .map(|h| Off {
                row: h * 12 + 1,
                span: 12,
            })
            .collect(),
        time_texts: hours
            .iter()
            .map(|h| minute_text(grid.first + h * 60))
            .collect(),
        now_row: (date == today
            && (grid.first..grid.first + grid.hours * 60).contains(&now_minute))
        .then(|| grid.row(now_minute)),
        now: minute_text(now_minute),
        columns,
        hidden_columns,
        panels: day.panels(session),
        lines: day.lines(session, grid),
        practice: day.practice.clone(),
        start: day.start.clone(),
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct PanelsQuery {
    date: Option<String>,
}

/// `GET /day/panels`: figures, waiting room, waiting list, what needs attention and open time, as they are now.
pub(super) async fn panels(
    State(app): State<App>,
    session: Session,
    Query(query): Query<PanelsQuery>,
) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let date = wanted_date(&app, query.date.as_deref())?;
    let day = load(&app, &session, date, true).await?;
    let (columns, _) = day.columns(&session, day.grid(), false);
    html(
        &app,
        &PanelsPage {
            columns,
            panels: day.panels(&session),
        },
    )
}

fn sample_panels() -> Panels {
    Panels {
        can_book: true,
        date: "2026-11-24".into(),
        stats: Stats {
            booked: 31,
            done: 10,
            waiting: 2,
            missed: 1,
            open: 2,
            is_past: false,
            is_today: true,
        },
        in_room: vec![InRoom {
            family: "Kruger".into(),
            given: "Willem".into(),
            note: "11:00 Ayesha Patel".into(),
            minutes: 19,
            is_late: true,
        }],
        waiting: vec![OnList {
            id: WaitingId(uuid::Uuid::nil()),
            family: "Dube".into(),
            given: "Nomsa".into(),
            what: "Acute lower back · 30 min".into(),
            wish: "Before 12:00".into(),
            offer: Some(Offer {
                label: "Offer 10:45 Naledi".into(),
                practitioner_id: PractitionerId(uuid::Uuid::nil()),
                practitioner: "Naledi Mokoena".into(),
                start: "10:45".into(),
            }),
        }],
        todo: vec![Todo {
            text: "3 notes from yesterday are not signed".into(),
            href: Some("/notes".into()),
        }],
    }
}

fn sample_column() -> Column {
    Column {
        n: 1,
        id: PractitionerId(uuid::Uuid::nil()),
        name: "Naledi Mokoena".into(),
        role: "Physiotherapist",
        room: "Room 1".into(),
        initials: "NM".into(),
        off: vec![Off { row: 1, span: 6 }],
        open: vec![Open {
            row: 46,
            span: 6,
            start: "10:45".into(),
            title: "Open 10:45".into(),
            note: "30 min".into(),
            href: Some("/appointments/new".into()),
        }],
        blocks: vec![Block {
            id: AppointmentId(uuid::Uuid::from_u128(1)),
            version: 1,
            practitioner_id: PractitionerId(uuid::Uuid::nil()),
            start: "12:00".into(),
            end: "13:00".into(),
            row: 61,
            span: 12,
            label: "Lunch".into(),
            removable: true,
        }],
        cards: vec![Card::sample("confirmed", "confirmed")],
    }
}

impl Page for DayPage {
    const TEMPLATE: &'static str = "appointments/day.html";
    fn samples() -> Vec<Self> {
        let page = |view| Self {
            shell: Shell::sample(),
            view,
            date: "2026-11-24".into(),
            weekday: "Tuesday".into(),
            day: "24 November 2026".into(),
            is_today: true,
            before: step(
                Date::from_calendar_date(2026, time::Month::November, 23).ok(),
                "Previous",
                view,
            ),
            after: None,
            new_href: "/appointments/new".into(),
            can_book: true,
            first: "07:00".into(),
            hours: 11,
            times: vec![Off { row: 1, span: 12 }],
            time_texts: vec!["07:00".into()],
            now_row: Some(45),
            now: "10:41".into(),
            columns: vec![sample_column()],
            hidden_columns: 1,
            panels: sample_panels(),
            lines: vec![Line {
                card: Card {
                    id: AppointmentId(uuid::Uuid::max()),
                    ..Card::sample("done", "completed")
                },
                practitioner: "Naledi Mokoena".into(),
                room: "Room 1".into(),
                patient_href: None,
            }],
            practice: "Rosebank Rehab".into(),
            start: None,
        };
        let quiet = Self {
            can_book: false,
            now_row: None,
            columns: Vec::new(),
            lines: Vec::new(),
            panels: Panels {
                in_room: Vec::new(),
                waiting: Vec::new(),
                todo: Vec::new(),
                ..sample_panels()
            },
            ..page("list")
        };
        let new = || Self {
            can_book: false,
            columns: Vec::new(),
            lines: Vec::new(),
            start: Some(Start::sample()),
            ..page("day")
        };
        let without_types = Self {
            columns: vec![sample_column()],
            ..new()
        };
        vec![page("day"), page("list"), quiet, new(), without_types]
    }
}

impl Page for PanelsPage {
    const TEMPLATE: &'static str = "appointments/panels.html";
    fn samples() -> Vec<Self> {
        vec![Self {
            columns: vec![sample_column()],
            panels: sample_panels(),
        }]
    }
}
