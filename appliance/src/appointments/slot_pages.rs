//! Open times to choose from in the form for a booking.

use axum::extract::State;
use axum::response::Response;

use super::slots::minute_text;
use super::{api, day_view, rules, store};
use crate::clock;
use crate::db::PracticeTx;
use crate::error::Result;
use crate::ids::PractitionerId;
use crate::practices;
use crate::web::{App, Page, Permission, Query, Session, html};

/// Open times to choose from.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Slots {
    pub(super) day: String,
    pub(super) starts: Vec<String>,
    /// Said where there are none.
    pub(super) none: String,
}

/// `appointments/slots.html`.
#[derive(serde::Serialize)]
pub(super) struct SlotsPage {
    slots: Slots,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct SlotsQuery {
    #[serde(default)]
    pub(super) date: String,
    #[serde(default)]
    pub(super) practitioner_id: String,
    #[serde(default)]
    pub(super) duration_minutes: String,
}

/// Looks for them; nothing where a part of the question is missing.
pub(super) async fn find_slots(tx: &mut PracticeTx, query: &SlotsQuery) -> Result<Slots> {
    let (Ok(date), Ok(practitioner), Ok(minutes)) = (
        rules::parse_date(&query.date),
        query.practitioner_id.parse::<PractitionerId>(),
        query.duration_minutes.parse::<u16>(),
    ) else {
        return Ok(Slots::default());
    };
    let now = tx.now();
    let weekday = format!("{} {}", date.weekday(), clock::short_date_text(date));
    if date < clock::local(now).0 {
        return Ok(Slots {
            day: weekday,
            starts: Vec::new(),
            none: "This day is over.".into(),
        });
    }
    let hours: Vec<_> = practices::working_hours(tx, date.weekday())
        .await?
        .into_iter()
        .filter(|h| h.practitioner == practitioner)
        .collect();
    let mut bookings = store::list(tx.conn(), api::day(date)).await?;
    bookings.retain(|a| a.practitioner_id == practitioner);
    let starts: Vec<_> = day_view::open_starts(now, date, &hours, &bookings, minutes)
        .into_iter()
        .map(minute_text)
        .collect();
    let none = match (hours.is_empty(), starts.is_empty()) {
        (true, _) => "Not working on this day.",
        (false, true) => "No open time of this length on this day.",
        _ => "",
    };
    Ok(Slots {
        day: weekday,
        starts,
        none: none.into(),
    })
}

/// `GET /appointments/slots`: open times of a practitioner on a day.
pub(super) async fn slots(
    State(app): State<App>,
    session: Session,
    Query(query): Query<SlotsQuery>,
) -> Result<Response> {
    session.require(Permission::Book)?;
    let mut tx = app.begin(&session).await?;
    let slots = find_slots(&mut tx, &query).await?;
    // Times only: who has booked them is not shown.
    tx.close_without_patient_data().await?;
    html(&app, &SlotsPage { slots })
}

impl Page for SlotsPage {
    const TEMPLATE: &'static str = "appointments/slots.html";
    fn samples() -> Vec<Self> {
        vec![
            Self {
                slots: Slots {
                    day: "Tuesday 24-Nov".into(),
                    starts: vec!["10:45".into()],
                    none: String::new(),
                },
            },
            Self {
                slots: Slots {
                    day: "Tuesday 24-Nov".into(),
                    starts: Vec::new(),
                    none: "This day is over.".into(),
                },
            },
            Self {
                slots: Slots::default(),
            },
        ]
    }
}
