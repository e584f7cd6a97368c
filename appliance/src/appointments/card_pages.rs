//! One booking's card alone: what a change answers with, and what a page fetches again.

use axum::extract::{Path, State};
use axum::response::Response;
use time::Date;

use super::appointment::{Appointment, Kind};
use super::booking;
use super::card::{Block, Card, Grid};
use super::rules;
use super::status::Status;
use crate::clock;
use crate::error::{Error, Result};
use crate::ids::AppointmentId;
use crate::web::{App, Page, Permission, Query, Session, html};

/// `appointments/card.html`: what a change of one booking answers with.
#[derive(serde::Serialize)]
pub(super) struct CardPage {
    card: Option<Card>,
    block: Option<Block>,
}

impl Page for CardPage {
    const TEMPLATE: &'static str = "appointments/card.html";
    fn samples() -> Vec<Self> {
        vec![
            Self {
                card: Some(Card::sample("arrived", "arrived")),
                block: None,
            },
            Self {
                card: Some(Card {
                    given: None,
                    group: true,
                    lane: None,
                    movable: false,
                    cancel_href: None,
                    ..Card::sample("done", "completed")
                }),
                block: None,
            },
            Self {
                card: None,
                block: None,
            },
        ]
    }
}

/// The card of a booking on a day, or nothing where it is not on it.
pub(super) fn card(app: &App, session: &Session, a: &Appointment, date: Date) -> Result<Response> {
    let here = clock::local(a.span.start).0 == date && a.status != Status::Cancelled;
    let (card, block) = match a.kind {
        _ if !here => (None, None),
        Kind::Block => (None, Some(Block::new(a, date, Grid::DAY, session))),
        Kind::Visit | Kind::Class => (
            Some(Card::new(a, date, Grid::DAY, session, app.clock.now())),
            None,
        ),
    };
    html(app, &CardPage { card, block })
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct CardQuery {
    date: Option<String>,
}

/// `GET /appointments/{id}/card`: 404 when it is no longer on that day.
pub(super) async fn show_card(
    State(app): State<App>,
    session: Session,
    Path(id): Path<AppointmentId>,
    Query(query): Query<CardQuery>,
) -> Result<Response> {
    session.require(Permission::ViewDiary)?;
    let mut tx = app.begin(&session).await?;
    let found = booking::get_audited(&mut tx, id, "card").await?;
    tx.commit().await?;
    let own = clock::local(found.span.start).0;
    let date = shown_date(query.date.as_deref(), own)?;
    if date != own || found.status == Status::Cancelled {
        return Err(Error::NotFound);
    }
    card(&app, &session, &found, date)
}

/// The day a page shows; a booking's own where it does not say.
pub(super) fn shown_date(text: Option<&str>, own: Date) -> Result<Date> {
    text.filter(|t| !t.is_empty()).map_or(Ok(own), |t| {
        rules::parse_date(t).map_err(|m| Error::field("date", m))
    })
}
