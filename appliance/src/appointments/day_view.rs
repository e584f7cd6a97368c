//! What the diary of a day holds, worked out from what was read: columns, open time, waiting room, waiting list and what
//! needs attention.

use std::collections::BTreeMap;

use time::{Date, OffsetDateTime};

use super::api;
use super::appointment::{Appointment, Kind};
use super::attention::{self, Attention};
use super::card::{Block, Card, Grid, share};
use super::slots::{self, Stretch, minute, minute_text};
use super::status::Status;
use super::store;
use super::waiting::Waiting;
use super::waiting_store;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::Result;
use crate::ids::{PractitionerId, WaitingId};
use crate::practices::{self, Practitioner, SessionType, Start, WorkingHours};
use crate::web::{App, Permission, Session};

/// Most columns the diary shows side by side.
const COLUMNS: usize = 8;
/// Shorter open stretches are not offered.
const SHORTEST_OPEN: u16 = 15;
/// Minutes in the waiting room after which a wait is marked as long.
const LONG_WAIT: i64 = 15;
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Off {
    pub(super) row: u16,
    pub(super) span: u16,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Open {
    pub(super) row: u16,
    pub(super) span: u16,
    pub(super) start: String,
    pub(super) title: String,
    pub(super) note: String,
    pub(super) href: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Column {
    pub(super) n: usize,
    pub(super) id: PractitionerId,
    pub(super) name: String,
    pub(super) role: &'static str,
    pub(super) room: String,
    pub(super) initials: String,
    pub(super) off: Vec<Off>,
    pub(super) open: Vec<Open>,
    pub(super) blocks: Vec<Block>,
    pub(super) cards: Vec<Card>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Stats {
    pub(super) booked: usize,
    pub(super) done: usize,
    pub(super) waiting: usize,
    pub(super) missed: usize,
    pub(super) open: usize,
    pub(super) is_past: bool,
    pub(super) is_today: bool,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct InRoom {
    pub(super) family: String,
    pub(super) given: String,
    pub(super) note: String,
    pub(super) minutes: i64,
    pub(super) is_late: bool,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Offer {
    pub(super) label: String,
    pub(super) practitioner_id: PractitionerId,
    pub(super) practitioner: String,
    pub(super) start: String,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct OnList {
    pub(super) id: WaitingId,
    pub(super) family: String,
    pub(super) given: String,
    pub(super) what: String,
    pub(super) wish: String,
    pub(super) offer: Option<Offer>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Todo {
    pub(super) text: String,
    pub(super) href: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Line {
    pub(super) card: Card,
    pub(super) practitioner: String,
    pub(super) room: String,
    pub(super) patient_href: Option<String>,
}

/// What changes while the page is open; the page fetches it again as one fragment.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Panels {
    pub(super) can_book: bool,
    pub(super) date: String,
    pub(super) stats: Stats,
    pub(super) in_room: Vec<InRoom>,
    pub(super) waiting: Vec<OnList>,
    pub(super) todo: Vec<Todo>,
}

/// All that is read for a day.
pub(super) struct Day {
    pub(super) date: Date,
    pub(super) now: OffsetDateTime,
    pub(super) practice: String,
    pub(super) practitioners: Vec<Practitioner>,
    pub(super) hours: Vec<WorkingHours>,
    pub(super) types: Vec<SessionType>,
    pub(super) bookings: Vec<Appointment>,
    /// Today's, where the day shown is another.
    pub(super) today: Option<Vec<Appointment>>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) attention: Attention,
    /// What a new practice has to add first.
    pub(super) start: Option<Start>,
}

/// Reads a day. The panels alone show only who is here and who waits, so only they are recorded as seen.
pub(super) async fn load(
    app: &App,
    session: &Session,
    date: Date,
    only_panels: bool,
) -> Result<Day> {
    let mut tx = app.begin(session).await?;
    let now = tx.now();
    let today = clock::local(now).0;
    let practice = practices::practice(&mut tx).await?.details.name;
    let mut practitioners = practices::practitioners_ever(&mut tx).await?;
    let hours = practices::working_hours(&mut tx, date.weekday()).await?;
    let types = practices::session_types(&mut tx).await?;
    let start = Start::of(&mut tx, session, &practitioners, &types).await?;
    let bookings = store::list(tx.conn(), api::day(date)).await?;
    // Who has left keeps the column of the days on which they treated.
    practitioners.retain(|p| {
        p.active
            || bookings
                .iter()
                .any(|a| a.practitioner_id == p.id && a.status != Status::Cancelled)
    });
    let today_bookings = if date == today {
        None
    } else {
        Some(store::list(tx.conn(), api::day(today)).await?)
    };
    let waiting = waiting_store::list(tx.conn()).await?;
    let attention =
        attention::count(tx.conn(), api::day(today).start, session.practitioner_id).await?;
    let mut seen: Vec<_> = bookings
        .iter()
        .filter(|_| !only_panels)
        .flat_map(|a| &a.patients)
        .map(|p| p.patient_id.0)
        .collect();
    let in_room = today_bookings
        .as_ref()
        .unwrap_or(&bookings)
        .iter()
        .filter(|a| a.status == Status::Arrived);
    seen.extend(in_room.flat_map(|a| &a.patients).map(|p| p.patient_id.0));
    seen.extend(waiting.iter().map(|w| w.patient_id.0));
    seen.sort_unstable();
    seen.dedup();
    tx.record(
        AuditEvent::new(Action::Read, "Appointment")
            .reason(if only_panels { "waiting room" } else { "diary" })
            .shown(seen),
    )
    .await?;
    tx.commit().await?;
    Ok(Day {
        date,
        now,
        practice,
        practitioners,
        hours,
        types,
        bookings,
        today: today_bookings,
        waiting,
        attention,
        start,
    })
}

impl Day {
    pub(super) fn today(&self) -> Date {
        clock::local(self.now).0
    }

    /// Those with work or bookings on this day first get a column, at most [`COLUMNS`]; the rest is counted.
    fn shown(&self) -> (Vec<&Practitioner>, usize) {
        let works = |p: &Practitioner| {
            self.hours.iter().any(|h| h.practitioner == p.id)
                || self
                    .bookings
                    .iter()
                    .any(|a| a.practitioner_id == p.id && a.status.takes_time())
        };
        if self.practitioners.len() <= COLUMNS {
            return (self.practitioners.iter().collect(), 0);
        }
        let busy: Vec<_> = self.practitioners.iter().filter(|p| works(p)).collect();
        let hidden = busy.len().saturating_sub(COLUMNS);
        (busy.into_iter().take(COLUMNS).collect(), hidden)
    }

    fn work(&self, practitioner: PractitionerId) -> Vec<Stretch> {
        self.hours
            .iter()
            .filter(|h| h.practitioner == practitioner)
            .map(|h| Stretch::new(h.starts, h.ends))
            .collect()
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

    pub(super) fn grid(&self) -> Grid {
        let hours = self.hours.iter().map(|h| Stretch::new(h.starts, h.ends));
        Grid::around(hours.chain(self.bookings.iter().map(|a| Stretch::on(self.date, a.span))))
    }

    pub(super) fn columns(
        &self,
        session: &Session,
        grid: Grid,
        with_cards: bool,
    ) -> (Vec<Column>, usize) {
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
                    open: open
                        .iter()
                        .map(|s| self.open_slot(p, *s, grid, session))
                        .collect(),
                    blocks: Vec::new(),
                    cards: Vec::new(),
                };
                if with_cards {
                    let whole = Stretch {
                        from: grid.first,
                        to: grid.first + grid.hours * 60,
                    };
                    column.off = slots::open(&[whole], &self.work(p.id), 0)
                        .into_iter()
                        .map(|s| {
                            let (row, span) = grid.place(s);
                            Off { row, span }
                        })
                        .collect();
                    let own = self
                        .bookings
                        .iter()
                        .filter(|a| a.practitioner_id == p.id && a.status != Status::Cancelled);
                    for a in own {
                        if a.kind == Kind::Block {
                            column.blocks.push(Block::new(a, self.date, grid, session));
                        } else {
                            column
                                .cards
                                .push(Card::new(a, self.date, grid, session, self.now));
                        }
                    }
                    share(&mut column.cards);
                }
                column
            })
            .collect();
        (columns, hidden)
    }

    fn open_slot(
        &self,
        practitioner: &Practitioner,
        stretch: Stretch,
        grid: Grid,
        session: &Session,
    ) -> Open {
        let (row, span) = grid.place(stretch);
        let fit = self
            .waiting
            .iter()
            .filter(|w| {
                w.fits(practitioner, &self.types, self.date.weekday(), stretch)
                    .is_some()
            })
            .count();
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
            href: session.may(Permission::Book).then(|| {
                format!(
                    "/appointments/new?date={}&start={start}&practitioner_id={}",
                    self.date, practitioner.id
                )
            }),
            start,
        }
    }

    pub(super) fn panels(&self, session: &Session) -> Panels {
        let count = |of: &[Status]| {
            self.bookings
                .iter()
                .filter(|a| a.kind != Kind::Block && of.contains(&a.status))
                .count()
        };
        let booked = self
            .bookings
            .iter()
            .filter(|a| a.kind != Kind::Block && a.status != Status::Cancelled)
            .count();
        Panels {
            can_book: session.may(Permission::Book),
            date: self.date.to_string(),
            stats: Stats {
                booked,
                done: count(&[Status::Completed]),
                waiting: count(&[Status::Arrived]),
                missed: count(&[Status::NoShow]),
                open: self
                    .practitioners
                    .iter()
                    .map(|p| self.open(p.id).len())
                    .sum(),
                is_past: self.date < self.today(),
                is_today: self.date == self.today(),
            },
            in_room: self.in_room(),
            waiting: self.waiting_list(),
            todo: self.todo(session),
        }
    }

    fn in_room(&self) -> Vec<InRoom> {
        let mut arrived: Vec<_> = self
            .today
            .as_ref()
            .unwrap_or(&self.bookings)
            .iter()
            .filter(|a| a.status == Status::Arrived)
            .collect();
        arrived.sort_by_key(|a| a.arrived_at);
        let waits = arrived
            .into_iter()
            .filter_map(|a| a.patient().zip(a.arrived_at).map(|(p, at)| (a, p, at)));
        waits
            .map(|(a, patient, at)| {
                let minutes = (self.now - at).whole_minutes().max(0);
                let with = self
                    .practitioners
                    .iter()
                    .find(|p| p.id == a.practitioner_id)
                    .map(Practitioner::name)
                    .unwrap_or_default();
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
        let open: BTreeMap<_, _> = self
            .practitioners
            .iter()
            .map(|p| (p.id, self.open(p.id)))
            .collect();
        let offer = |w: &Waiting| {
            let fits = self.practitioners.iter().flat_map(|p| {
                let starts = open
                    .get(&p.id)
                    .into_iter()
                    .flatten()
                    .filter_map(|s| w.fits(p, &self.types, self.date.weekday(), *s));
                starts.map(move |start| (start, p))
            });
            fits.min_by_key(|(start, _)| *start)
                .map(|(start, p)| Offer {
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
                what: [w.reason.as_str(), &format!("{} min", w.minutes)]
                    .into_iter()
                    .filter(|s| !s.is_empty())
                    .collect::<Vec<_>>()
                    .join(" · "),
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
                Some(last) if first == Some(last) => {
                    format!("from {}", day_words(last, self.today()))
                }
                _ => "from earlier days".into(),
            };
            let text = if a.unsigned == 1 {
                format!("1 note {when} is not signed")
            } else {
                format!("{} notes {when} are not signed", a.unsigned)
            };
            todo.push(Todo {
                text,
                href: session.may(Permission::ViewNotes).then(|| "/notes".into()),
            });
        }
        if a.open > 0 {
            let text = if a.open == 1 {
                "1 earlier booking has no outcome".to_owned()
            } else {
                format!("{} earlier bookings have no outcome", a.open)
            };
            todo.push(Todo {
                text,
                href: day(a.open_last).map(|d| format!("/day?date={d}&view=list")),
            });
        }
        if a.not_invoiced > 0 {
            let text = if a.not_invoiced == 1 {
                "1 completed visit has no invoice".to_owned()
            } else {
                format!("{} completed visits have no invoice", a.not_invoiced)
            };
            todo.push(Todo {
                text,
                href: session
                    .may(Permission::ViewBilling)
                    .then(|| "/invoices".into()),
            });
        }
        todo
    }

    pub(super) fn lines(&self, session: &Session, grid: Grid) -> Vec<Line> {
        let bookings = self.bookings.iter().filter(|a| a.kind != Kind::Block);
        bookings
            .map(|a| {
                let practitioner = self
                    .practitioners
                    .iter()
                    .find(|p| p.id == a.practitioner_id);
                Line {
                    card: Card::new(a, self.date, grid, session, self.now),
                    practitioner: practitioner.map(Practitioner::name).unwrap_or_default(),
                    room: practitioner
                        .and_then(|p| p.room.as_ref())
                        .map(|r| r.name.clone())
                        .unwrap_or_default(),
                    patient_href: a
                        .patient()
                        .filter(|_| session.may(Permission::ViewPatients))
                        .map(|p| format!("/patients/{}", p.patient_id)),
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

/// Open starts of a practitioner for a length on a day, soonest first. Nothing before now.
pub(super) fn open_starts(
    now: OffsetDateTime,
    date: Date,
    hours: &[WorkingHours],
    bookings: &[Appointment],
    minutes: u16,
) -> Vec<u16> {
    let work: Vec<_> = hours
        .iter()
        .map(|h| Stretch::new(h.starts, h.ends))
        .collect();
    let busy: Vec<_> = bookings
        .iter()
        .filter(|a| a.status.takes_time())
        .map(|a| Stretch::on(date, a.span))
        .collect();
    let (today, time) = clock::local(now);
    let not_before = if date == today { minute(time) } else { 0 };
    slots::starts(&slots::open(&work, &busy, not_before), minutes, 15).collect()
}
