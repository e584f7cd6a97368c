//! What a new practice has to add before its diary can be used.

use super::practice::{Practitioner, SessionType};
use super::store;
use crate::db::PracticeTx;
use crate::error::Result;
use crate::web::{Permission, Session};

/// One thing to add.
#[derive(Clone, Debug, serde::Serialize)]
struct Step {
    title: &'static str,
    text: &'static str,
    done: bool,
    href: &'static str,
    action: &'static str,
    /// Where an admin says that they treat patients themselves.
    own: Option<String>,
}

/// The list "Getting started", for the macro of `practices/start.html`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Start {
    steps: [Step; 3],
    done: usize,
    may_add: bool,
}

impl Start {
    /// The list, while the practice has no therapist or no session type. Rooms are on it but hold nothing up: a practice may
    /// treat at its patients' homes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn of(
        tx: &mut PracticeTx,
        session: &Session,
        practitioners: &[Practitioner],
        types: &[SessionType],
    ) -> Result<Option<Self>> {
        let treats = practitioners.iter().any(|p| p.active);
        if treats && !types.is_empty() {
            return Ok(None);
        }
        let rooms = store::has_rooms(tx).await?;
        Ok(Some(Self::new(session, rooms, treats, !types.is_empty())))
    }

    /// The list, by what is there.
    #[must_use]
    pub fn new(session: &Session, rooms: bool, therapists: bool, types: bool) -> Self {
        let own = session.practitioner_id.is_none();
        let steps = [
            Step {
                title: "Rooms",
                text: "Where patients are treated. No two bookings take one room at the same time.",
                done: rooms,
                href: "/settings/rooms/new",
                action: "Add a room",
                own: None,
            },
            Step {
                title: "Therapists",
                text: "Who treats patients, and when. Each has a column in the diary.",
                done: therapists,
                href: "/settings/therapists/new",
                action: "Add a therapist",
                own: own.then(|| format!("/settings/therapists/new?user_id={}", session.user_id)),
            },
            Step {
                title: "Session types",
                text: "What can be booked: how long it takes and what it costs.",
                done: types,
                href: "/settings/session-types/new",
                action: "Add a session type",
                own: None,
            },
        ];
        Self {
            done: steps.iter().filter(|s| s.done).count(),
            may_add: session.may(Permission::ChangeSettings),
            steps,
        }
    }

    /// An example for template tests.
    #[must_use]
    pub fn sample() -> Self {
        Self {
            may_add: true,
            ..Self::new(&Session::sample(), true, false, false)
        }
    }
}
