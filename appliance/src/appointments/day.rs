//! The diary of a day: columns, open time, waiting room, waiting list and what needs attention.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use time::{Date, OffsetDateTime};

use super::api;
use super::appointment::{Appointment, Kind};
use super::card::{Block, Card, Grid, share};
use super::rules;
use super::slots::{self, Stretch, minute, minute_text};
use super::status::Status;
use super::store::{self, Attention};
use super::waiting::Waiting;
use super::waiting_store;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Result};
use crate::ids::{PatientId, PractitionerId, WaitingId};
use crate::practices::{self, Practitioner, WorkingHours};
use crate::web::{App, Page, Permission, Query, Session, Shell, html};

/// Most columns the diary shows side by side.
const COLUMNS: usize = 8;
/// Shorter open stretches are not offered.
const SHORTEST_OPEN: u16 = 15;
/// Minutes in the waiting room after which a wait is marked as long.
const LONG_WAIT: i64 = 15;

#[derive(Debug, serde::Deserialize)]
pub(super) struct DayQuery {
    date: Option<String>,
    #[serde(default)]
    view: String,
    /// Fills the patient into the form for a new appointment.
    patient_id: Option<PatientId>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Off {
    row: u16,
    span: u16,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Open {
    row: u16,
    span: u16,
    start: String,
    title: String,
    note: String,
    href: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Column {
    n: usize,
    id: PractitionerId,
    name: String,
    role: &'static str,
    room: String,
    initials: String,
    off: Vec<Off>,
    open: Vec<Open>,
    blocks: Vec<Block>,
    cards: Vec<Card>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Stats {
    booked: usize,
    done: usize,
    waiting: usize,
    missed: usize,
    open: usize,
    is_past: bool,
}

#[derive(Clone, Debug, serde::Serialize)]
struct InRoom {
    family: String,
    given: String,
    note: String,
    minutes: i64,
    is_late: bool,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Offer {
    label: String,
    practitioner_id: PractitionerId,
    practitioner: String,
    start: String,
}

#[derive(Clone, Debug, serde::Serialize)]
struct OnList {
    id: WaitingId,
    family: String,
    given: String,
    what: String,
    wish: String,
    offer: Option<Offer>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Todo {
    text: String,
    href: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Line {
    card: Card,
    practitioner: String,
    room: String,
    patient_href: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Step {
    href: String,
    label: String,
}

/// What changes while the page is open; the page fetches it again as one fragment.
#[derive(Clone, Debug, serde::Serialize)]
struct Panels {
    can_book: bool,
    date: String,
    stats: Stats,
    in_room: Vec<InRoom>,
    waiting: Vec<OnList>,
    todo: Vec<Todo>,
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
}

/// `appointments/panels.html`.
#[derive(serde::Serialize)]
pub(super) struct PanelsPage {
    columns: Vec<Column>,
    panels: Panels,
}

/// All that is read for a day.
struct Day {
    date: Date,
    now: OffsetDateTime,
    practice: String,
    practitioners: Vec<Practitioner>,
    hours: Vec<WorkingHours>,
    bookings: Vec<Appointment>,
    /// Today's, where the day shown is another.
    today: Option<Vec<Appointment>>,
    waiting: Vec<Waiting>,
    attention: Attention,
}

/// Reads a day. The panels alone show only who is here and who waits, so only they are recorded as seen.
async fn load(app: &App, session: &Session, date: Date, only_panels: bool) -> Result<Day> {
    let mut tx = app.begin(session).await?;
    let now = tx.now();
    let today = clock::local(now).0;
    let practice = practices::practice(&mut tx).await?.name;
    let practitioners = practices::practitioners(&mut tx).await?;
    let hours = practices::working_hours(&mut tx, date.weekday()).await?;
    let bookings = store::list(tx.conn(), api::day(date)).await?;
    let today_bookings = if date == today { None } else { Some(store::list(tx.conn(), api::day(today)).await?) };
    let waiting = waiting_store::list(tx.conn()).await?;
    let attention = store::attention(tx.conn(), api::day(today).start, session.practitioner_id).await?;
    let mut seen: Vec<_> = bookings.iter().filter(|_| !only_panels).flat_map(|a| &a.patients).map(|p| p.patient_id.0).collect();
    let in_room = today_bookings.as_ref().unwrap_or(&bookings).iter().filter(|a| a.status == Status::Arrived);
    seen.extend(in_room.flat_map(|a| &a.patients).map(|p| p.patient_id.0));
    seen.extend(waiting.iter().map(|w| w.patient_id.0));
    seen.sort_unstable();
    seen.dedup();
    tx.record(AuditEvent::new(Action::Read, "Appointment").reason(if only_panels { "waiting room" } else { "diary" }).shown(seen)).await?;
    tx.commit().await?;
    Ok(Day { date, now, practice, practitioners, hours, bookings, today: today_bookings, waiting, attention })
}

impl Day {
    fn today(&self) -> Date {
        clock::local(self.now).0
    }

    /// Those with work or bookings on this day first get a column, at most [`COLUMNS`]; the rest is counted.
    fn shown(&self) -> (Vec<&Practitioner>, usize) {
        let works = |p: &Practitioner| self.hours.iter().any(|h| h.practitioner == p.id) || self.bookings.iter().any(|a| a.practitioner_id == p.id && a.status.takes_time());
        if self.practitioners.len() <= COLUMNS {
            return (self.practitioners.iter().collect(), 0);
        }
        let busy: Vec<_> = self.practitioners.iter().filter(|p| works(p)).collect();
        let hidden = busy.len().saturating_sub(COLUMNS);
        (busy.into_iter().take(COLUMNS).collect(), hidden)
    }

    fn work(&self, practitioner: PractitionerId) -> Vec<Stretch> {
        self.hours.iter().filter(|h| h.practitioner == practitioner).map(|h| Stretch::new(h.starts, h.ends)).collect()
    }

    fn open(&self, practitioner: PractitionerId) -> Vec<Stretch> {
        let busy: Vec<_> = self
            .bookings
            .iter()
            .filter(|a| a.practitioner_id == practitioner && a.status.takes_time())
            .map(|a| Stretch::on(self.date, a.span))
            .collect();
        let not_before = match self.date.cmp(&self.today()) {
            std::cmp::Ordering::Less => slots::DAY,
            std::cmp::Ordering::Equal => minute(clock::local(self.now).1).next_multiple_of(5),
            std::cmp::Ordering::Greater => 0,
        };
        let mut open = slots::open(&self.work(practitioner), &busy, not_before);
        open.retain(|s| s.minutes() >= SHORTEST_OPEN);
        open
    }

    fn grid(&self) -> Grid {
        let hours = self.hours.iter().map(|h| Stretch::new(h.starts, h.ends));
        Grid::around(hours.chain(self.bookings.iter().map(|a| Stretch::on(self.date, a.span))))
    }

    fn columns(&self, session: &Session, grid: Grid, with_cards: bool) -> (Vec<Column>, usize) {
        let (shown, hidden) = self.shown();
        let columns = shown
            .into_iter()
            .enumerate()
            .map(|(i, p)| {
                let open = self.open(p.id);
                let mut column = Column {
                    n: i + 1,
                    id: p.id,
                    name: p.name(),
                    role: p.discipline.person(),
                    room: p.room.as_ref().map(|r| r.name.clone()).unwrap_or_default(),
                    initials: p.initials(),
                    off: Vec::new(),
                    open: open.iter().map(|s| self.open_slot(p, *s, grid, session)).collect(),
                    blocks: Vec::new(),
                    cards: Vec::new(),
                };
                if with_cards {
                    let whole = Stretch { from: grid.first, to: grid.first + grid.hours * 60 };
                    column.off = slots::open(&[whole], &self.work(p.id), 0)
                        .into_iter()
                        .map(|s| {
                            let (row, span) = grid.place(s);
                            Off { row, span }
                        })
                        .collect();
                    let own = self.bookings.iter().filter(|a| a.practitioner_id == p.id && a.status != Status::Cancelled);
                    for a in own {
                        if a.kind == Kind::Block {
                            column.blocks.push(Block::new(a, self.date, grid, session));
                        } else {
                            column.cards.push(Card::new(a, self.date, grid, session, self.now));
                        }
                    }
                    share(&mut column.cards);
                }
                column
            })
            .collect();
        (columns, hidden)
    }

    fn open_slot(&self, practitioner: &Practitioner, stretch: Stretch, grid: Grid, session: &Session) -> Open {
        let (row, span) = grid.place(stretch);
        let fit = self.waiting.iter().filter(|w| w.fits(practitioner, self.date.weekday(), stretch).is_some()).count();
        let minutes = stretch.minutes();
        let long = match (minutes / 60, minutes % 60) {
            (0, m) => format!("{m} min"),
            (h, 0) => format!("{h} h"),
            (h, m) => format!("{h} h {m} min"),
        };
        let start = minute_text(stretch.from);
        Open {
            row,
            span,
            title: format!("Open {start}"),
            note: match fit {
                0 => long,
                1 => format!("{long}, 1 on the waiting list fits"),
                n => format!("{long}, {n} on the waiting list fit"),
            },
            href: session
                .may(Permission::Book)
                .then(|| format!("/appointments/new?date={}&start={start}&practitioner_id={}", self.date, practitioner.id)),
            start,
        }
    }

    fn panels(&self, session: &Session) -> Panels {
        let count = |of: &[Status]| self.bookings.iter().filter(|a| a.kind != Kind::Block && of.contains(&a.status)).count();
        let booked = self.bookings.iter().filter(|a| a.kind != Kind::Block && a.status != Status::Cancelled).count();
        Panels {
            can_book: session.may(Permission::Book),
            date: self.date.to_string(),
            stats: Stats {
                booked,
                done: count(&[Status::Completed]),
                waiting: count(&[Status::Arrived]),
                missed: count(&[Status::NoShow]),
                open: self.practitioners.iter().map(|p| self.open(p.id).len()).sum(),
                is_past: self.date < self.today(),
            },
            in_room: self.in_room(),
            waiting: self.waiting_list(),
            todo: self.todo(session),
        }
    }

    fn in_room(&self) -> Vec<InRoom> {
        let mut arrived: Vec<_> = self.today.as_ref().unwrap_or(&self.bookings).iter().filter(|a| a.status == Status::Arrived).collect();
        arrived.sort_by_key(|a| a.arrived_at);
        let waits = arrived.into_iter().filter_map(|a| a.patient().zip(a.arrived_at).map(|(p, at)| (a, p, at)));
        waits
            .map(|(a, patient, at)| {
                let minutes = (self.now - at).whole_minutes().max(0);
                let with = self.practitioners.iter().find(|p| p.id == a.practitioner_id).map(Practitioner::name).unwrap_or_default();
                InRoom {
                    family: patient.family_name.clone(),
                    given: patient.given_name.clone(),
                    note: format!("{} {with}", clock::time_text(clock::local(a.span.start).1)),
                    minutes,
                    is_late: minutes >= LONG_WAIT,
                }
            })
            .collect()
    }

    fn waiting_list(&self) -> Vec<OnList> {
        let open: BTreeMap<_, _> = self.practitioners.iter().map(|p| (p.id, self.open(p.id))).collect();
        let offer = |w: &Waiting| {
            let fits = self.practitioners.iter().flat_map(|p| {
                let starts = open.get(&p.id).into_iter().flatten().filter_map(|s| w.fits(p, self.date.weekday(), *s));
                starts.map(move |start| (start, p))
            });
            fits.min_by_key(|(start, _)| *start).map(|(start, p)| Offer {
                label: format!("Offer {} {}", minute_text(start), p.given_name),
                practitioner_id: p.id,
                practitioner: p.name(),
                start: minute_text(start),
            })
        };
        self.waiting
            .iter()
            .map(|w| OnList {
                id: w.id,
                family: w.family_name.clone(),
                given: w.given_name.clone(),
                what: [w.reason.as_str(), &format!("{} min", w.minutes)].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" · "),
                wish: w.wish(&self.practitioners),
                offer: offer(w),
            })
            .collect()
    }

    fn todo(&self, session: &Session) -> Vec<Todo> {
        let a = &self.attention;
        let day = |at: Option<OffsetDateTime>| at.map(|at| clock::local(at).0);
        let mut todo = Vec::new();
        if a.unsigned > 0 {
            let (first, last) = (day(a.unsigned_first), day(a.unsigned_last));
            let when = match last {
                Some(last) if first == Some(last) => format!("from {}", day_words(last, self.today())),
                _ => "from earlier days".into(),
            };
            let text = if a.unsigned == 1 { format!("1 note {when} is not signed") } else { format!("{} notes {when} are not signed", a.unsigned) };
            todo.push(Todo { text, href: session.may(Permission::ViewNotes).then(|| "/notes".into()) });
        }
        if a.open > 0 {
            let text = if a.open == 1 { "1 earlier booking has no outcome".to_owned() } else { format!("{} earlier bookings have no outcome", a.open) };
            todo.push(Todo { text, href: day(a.open_last).map(|d| format!("/day?date={d}&view=list")) });
        }
        if a.not_invoiced > 0 {
            let text = if a.not_invoiced == 1 { "1 completed visit has no invoice".to_owned() } else { format!("{} completed visits have no invoice", a.not_invoiced) };
            todo.push(Todo { text, href: session.may(Permission::ViewBilling).then(|| "/invoices".into()) });
        }
        todo
    }

    fn lines(&self, session: &Session, grid: Grid) -> Vec<Line> {
        let bookings = self.bookings.iter().filter(|a| a.kind != Kind::Block);
        bookings
            .map(|a| {
                let practitioner = self.practitioners.iter().find(|p| p.id == a.practitioner_id);
                Line {
                    card: Card::new(a, self.date, grid, session, self.now),
                    practitioner: practitioner.map(Practitioner::name).unwrap_or_default(),
                    room: practitioner.and_then(|p| p.room.as_ref()).map(|r| r.name.clone()).unwrap_or_default(),
                    patient_href: a.patient().filter(|_| session.may(Permission::ViewPatients)).map(|p| format!("/patients/{}", p.patient_id)),
                }
            })
            .collect()
    }
}

/// `Monday` for a day of the last week, else its date.
fn day_words(day: Date, today: Date) -> String {
    match (today - day).whole_days() {
        1 => "yesterday".into(),
        2..=6 => day.weekday().to_string(),
        _ => clock::date_text(day),
    }
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
    Some(Step { href: format!("/day?date={date}{view}"), label: format!("{way} day, {} {}", date.weekday(), clock::long_date_text(date)) })
}

/// `GET /day`
pub(super) async fn show(State(app): State<App>, session: Session, Query(query): Query<DayQuery>) -> Result<Response> {
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
    let unsigned = if session.may(Permission::ViewNotes) { day.attention.unsigned } else { 0 };
    let patient = query.patient_id.map(|id| format!("&patient_id={id}")).unwrap_or_default();
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
        can_book: session.may(Permission::Book),
        first: minute_text(grid.first),
        hours: grid.hours,
        times: hours.iter().map(|h| Off { row: h * 12 + 1, span: 12 }).collect(),
        time_texts: hours.iter().map(|h| minute_text(grid.first + h * 60)).collect(),
        now_row: (date == today && (grid.first..grid.first + grid.hours * 60).contains(&now_minute)).then(|| grid.row(now_minute)),
        now: minute_text(now_minute),
        columns,
        hidden_columns,
        panels: day.panels(session),
        lines: day.lines(session, grid),
        practice: day.practice.clone(),
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct PanelsQuery {
    date: Option<String>,
}

/// `GET /day/panels`: figures, waiting room, waiting list, what needs attention and open time, as they are now.
pub(super) async fn panels(State(app): State<App>, session: Session, Query(query): Query<PanelsQuery>) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let date = wanted_date(&app, query.date.as_deref())?;
    let day = load(&app, &session, date, true).await?;
    let (columns, _) = day.columns(&session, day.grid(), false);
    html(&app, &PanelsPage { columns, panels: day.panels(&session) })
}

/// Open starts of a practitioner for a length on a day, soonest first. Nothing before now.
pub(super) fn open_starts(now: OffsetDateTime, date: Date, hours: &[WorkingHours], bookings: &[Appointment], minutes: u16) -> Vec<u16> {
    let work: Vec<_> = hours.iter().map(|h| Stretch::new(h.starts, h.ends)).collect();
    let busy: Vec<_> = bookings.iter().filter(|a| a.status.takes_time()).map(|a| Stretch::on(date, a.span)).collect();
    let (today, time) = clock::local(now);
    let not_before = if date == today { minute(time) } else { 0 };
    slots::starts(&slots::open(&work, &busy, not_before), minutes, 15).collect()
}

fn sample_panels() -> Panels {
    Panels {
        can_book: true,
        date: "2026-11-24".into(),
        stats: Stats { booked: 31, done: 10, waiting: 2, missed: 1, open: 2, is_past: false },
        in_room: vec![InRoom { family: "Kruger".into(), given: "Willem".into(), note: "11:00 Ayesha Patel".into(), minutes: 19, is_late: true }],
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
        todo: vec![Todo { text: "3 notes from yesterday are not signed".into(), href: Some("/notes".into()) }],
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
        open: vec![Open { row: 46, span: 6, start: "10:45".into(), title: "Open 10:45".into(), note: "30 min".into(), href: Some("/appointments/new".into()) }],
        blocks: vec![Block {
            id: crate::ids::AppointmentId(uuid::Uuid::nil()),
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
            before: step(Date::from_calendar_date(2026, time::Month::November, 23).ok(), "Previous", view),
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
            lines: vec![Line { card: Card::sample("done", "completed"), practitioner: "Naledi Mokoena".into(), room: "Room 1".into(), patient_href: None }],
            practice: "Rosebank Rehab".into(),
        };
        let quiet = Self {
            can_book: false,
            now_row: None,
            columns: Vec::new(),
            lines: Vec::new(),
            panels: Panels { in_room: Vec::new(), waiting: Vec::new(), todo: Vec::new(), ..sample_panels() },
            ..page("list")
        };
        vec![page("day"), page("list"), quiet]
    }
}

impl Page for PanelsPage {
    const TEMPLATE: &'static str = "appointments/panels.html";
    fn samples() -> Vec<Self> {
        vec![Self { columns: vec![sample_column()], panels: sample_panels() }]
    }
}
