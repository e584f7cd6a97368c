//! The settings on one page: staff, rooms and session types.

use axum::extract::State;
use axum::response::Response;
use uuid::Uuid;

use super::{hours, store, therapist_forms, types_store};
use crate::accounts::{self, Account};
use crate::clock;
use crate::error::Result;
use crate::practices::{self, Details, Discipline, Practice, Start};
use crate::web::{App, Page, Permission, Query, Role, Session, Shell, html};

/// What was just done, and the way back from it.
#[derive(Clone, Debug, serde::Serialize)]
struct Done {
    text: String,
    /// Where a form undoes it, where something was ended.
    undo: Option<String>,
}

/// The log-in of a line of the staff list.
#[derive(Clone, Debug, serde::Serialize)]
struct Login {
    username: String,
    role: &'static str,
    href: String,
    /// Until when the one-time password works, while it was not used.
    waits: Option<String>,
    is_over: bool,
    active: bool,
}

/// A line of the staff list.
#[derive(Clone, Debug, serde::Serialize)]
struct Person {
    id: Uuid,
    name: String,
    href: String,
    what: String,
    room: String,
    hours: String,
    treats: bool,
    login: Option<Login>,
    /// Where a therapist gets a log-in.
    invite: Option<String>,
    /// Where somebody who signs in says that they treat patients.
    mark: Option<String>,
    active: bool,
    back: String,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Line {
    id: Uuid,
    name: String,
    href: String,
    active: bool,
    back: String,
    /// Who works in a room.
    who: String,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Kind {
    id: Uuid,
    name: String,
    href: String,
    active: bool,
    back: String,
    given_by: &'static str,
    minutes: i32,
    price: String,
    tariff_code: String,
    places: i32,
}

/// `settings/overview.html`.
#[derive(serde::Serialize)]
pub(super) struct OverviewPage {
    shell: Shell,
    practice: Details,
    may_change: bool,
    start: Option<Start>,
    done: Option<Done>,
    people: Vec<Person>,
    rooms: Vec<Line>,
    types: Vec<Kind>,
}

#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct OverviewQuery {
    #[serde(default)]
    done: String,
}

fn login(account: &Account, now: time::OffsetDateTime) -> Login {
    Login {
        username: account.username.clone(),
        role: account.role.label(),
        href: format!("/settings/accounts/{}", account.id),
        waits: account.one_time_until.map(clock::stamp_text),
        is_over: account.one_time_until.is_some_and(|until| until <= now),
        active: account.active,
    }
}

/// `GET /settings`
pub(super) async fn show(
    State(app): State<App>,
    session: Session,
    Query(query): Query<OverviewQuery>,
) -> Result<Response> {
    session.require(Permission::ViewSettings)?;
    let mut tx = app.begin(&session).await?;
    let now = tx.now();
    let Practice {
        id: practice_id,
        details: practice,
        ..
    } = practices::practice(&mut tx).await?;
    let therapists = store::therapists(tx.conn()).await?;
    let mut weeks = store::weeks(tx.conn()).await?;
    let accounts = accounts::accounts(&mut tx).await?;
    let rooms = store::rooms(tx.conn()).await?;
    let types = types_store::types(tx.conn()).await?;
    let shell = Shell::load(&app, &session, &mut tx, "Settings", "settings").await?;
    tx.close_without_patient_data().await?;

    let start = [
        rooms.iter().any(|r| r.active),
        therapists.iter().any(|t| t.active),
        types.iter().any(|t| t.active),
    ];
    let mut people: Vec<Person> = therapists
        .iter()
        .map(|t| {
            let account = accounts.iter().find(|a| a.practitioner_id == Some(t.id));
            let week = weeks
                .remove(&t.id)
                .unwrap_or_else(therapist_forms::no_hours);
            let room = rooms.iter().find(|r| Some(r.id) == t.room_id);
            Person {
                id: t.id.0,
                name: [t.title.as_str(), &t.name()].join(" ").trim().to_owned(),
                href: format!("/settings/therapists/{}", t.id),
                what: Discipline::from_text(&t.discipline)
                    .map(|d| d.person().to_owned())
                    .unwrap_or_default(),
                room: room.map(|r| r.name.clone()).unwrap_or_default(),
                hours: hours::week_text(&week),
                treats: true,
                login: account.map(|a| login(a, now)),
                invite: account
                    .is_none()
                    .then(|| format!("/settings/accounts/new?practitioner_id={}", t.id)),
                mark: None,
                active: t.active,
                back: format!("/settings/therapists/{}/back", t.id),
            }
        })
        .collect();
    let others = accounts.iter().filter(|a| {
        a.practitioner_id
            .is_none_or(|p| therapists.iter().all(|t| t.id != p))
    });
    people.extend(others.map(|a| {
        Person {
            id: a.id.0,
            name: a.display_name.clone(),
            href: format!("/settings/accounts/{}", a.id),
            what: String::new(),
            room: String::new(),
            hours: String::new(),
            treats: false,
            login: Some(login(a, now)),
            invite: None,
            mark: (a.active && a.role == Role::Admin)
                .then(|| format!("/settings/therapists/new?user_id={}", a.id)),
            active: a.active,
            back: format!("/settings/accounts/{}/back", a.id),
        }
    }));
    let rooms: Vec<Line> = rooms
        .into_iter()
        .map(|r| Line {
            who: therapists
                .iter()
                .filter(|t| t.active && t.room_id == Some(r.id))
                .map(store::TherapistRow::name)
                .collect::<Vec<_>>()
                .join(", "),
            id: r.id.0,
            href: format!("/settings/rooms/{}", r.id),
            back: format!("/settings/rooms/{}/back", r.id),
            name: r.name,
            active: r.active,
        })
        .collect();
    let types: Vec<Kind> = types
        .into_iter()
        .map(|t| Kind {
            id: t.id.0,
            href: format!("/settings/session-types/{}", t.id),
            back: format!("/settings/session-types/{}/back", t.id),
            given_by: Discipline::from_text(&t.discipline).map_or("Any therapist", |d| d.person()),
            minutes: t.duration_minutes,
            price: t.price.to_string(),
            name: t.name,
            tariff_code: t.tariff_code,
            places: t.capacity,
            active: t.active,
        })
        .collect();
    let there = people
        .iter()
        .map(|p| (p.id, &p.name, p.active, &p.back))
        .chain(rooms.iter().map(|r| (r.id, &r.name, r.active, &r.back)))
        .chain(types.iter().map(|t| (t.id, &t.name, t.active, &t.back)));
    let found = there
        .filter(|(id, ..)| id.to_string() == query.done)
        .map(|(_, name, active, back)| Done {
            text: if active {
                format!("Saved: {name}.")
            } else {
                format!("{name} is no longer in use. What was recorded stays.")
            },
            undo: (!active).then(|| back.clone()),
        })
        .next();
    let by_login = accounts
        .iter()
        .find(|a| a.id.0.to_string() == query.done)
        .map(|a| Done {
            text: if a.active {
                format!("Saved: the log-in of {}.", a.display_name)
            } else {
                format!("{} can't sign in any more.", a.display_name)
            },
            undo: (!a.active).then(|| format!("/settings/accounts/{}/back", a.id)),
        });
    let by_practice = (practice_id.0.to_string() == query.done).then(|| Done {
        text: "Saved: the practice's details.".into(),
        undo: None,
    });
    html(
        &app,
        &OverviewPage {
            shell,
            practice,
            may_change: session.may(Permission::ChangeSettings),
            start: start
                .contains(&false)
                .then(|| Start::new(&session, start[0], start[1], start[2])),
            done: by_login.or(by_practice).or(found),
            people,
            rooms,
            types,
        },
    )
}

impl Page for OverviewPage {
    const TEMPLATE: &'static str = "settings/overview.html";
    fn samples() -> Vec<Self> {
        let id = |n| Uuid::from_u128(n);
        let person = |n, treats, active: bool| Person {
            id: id(n),
            name: "Naledi Mokoena".into(),
            href: "/settings/therapists/1".into(),
            what: if treats { "Physiotherapist" } else { "" }.into(),
            room: if treats { "Room 1" } else { "" }.into(),
            hours: if treats { "Mon-Fri 08:00-16:30" } else { "" }.into(),
            treats,
            login: (!treats).then(|| Login {
                username: "naledi".into(),
                role: "Therapist",
                href: "/settings/accounts/1".into(),
                waits: Some("29-Nov-2026 09:00".into()),
                is_over: !active,
                active,
            }),
            invite: treats.then(|| "/settings/accounts/new".into()),
            mark: (!treats).then(|| "/settings/therapists/new".into()),
            active,
            back: "/settings/therapists/1/back".into(),
        };
        let line = |n, active| Line {
            id: id(n),
            name: "Room 1".into(),
            href: "/settings/rooms/1".into(),
            active,
            back: "/settings/rooms/1/back".into(),
            who: "Naledi Mokoena".into(),
        };
        let kind = |n, active| Kind {
            id: id(n),
            name: "Back care class".into(),
            href: "/settings/session-types/1".into(),
            active,
            back: "/settings/session-types/1/back".into(),
            given_by: "Physiotherapist",
            minutes: 60,
            price: "R 120,00".into(),
            tariff_code: "72302".into(),
            places: 8,
        };
        let full = |may_change| Self {
            shell: Shell::sample(),
            practice: Details {
                name: "Rosebank Rehab".into(),
                bank_details: "FNB, 62 000 000 000".into(),
                ..Details::default()
            },
            may_change,
            start: None,
            done: None,
            people: vec![
                person(1, true, true),
                person(2, false, true),
                person(3, false, false),
            ],
            rooms: vec![line(4, true), line(5, false)],
            types: vec![kind(6, true), kind(7, false)],
        };
        let empty = |may_change| Self {
            start: Some(Start::sample()),
            people: Vec::new(),
            rooms: Vec::new(),
            types: Vec::new(),
            ..full(may_change)
        };
        let ended = Self {
            done: Some(Done {
                text: "Room 1 is no longer in use.".into(),
                undo: Some("/settings/rooms/1/back".into()),
            }),
            ..full(true)
        };
        vec![full(true), full(false), empty(true), empty(false), ended]
    }
}
