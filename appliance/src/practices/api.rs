//! `/api/v1/practitioners`.

use axum::Json;
use axum::extract::State;

use super::practice::Discipline;
use super::store;
use crate::api::List;
use crate::error::Result;
use crate::ids::{PractitionerId, RoomId};
use crate::web::{App, Permission, Session};

/// Somebody who treats patients.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct PractitionerBody {
    id: PractitionerId,
    name: String,
    title: String,
    given_name: String,
    family_name: String,
    discipline: Discipline,
    /// Registration number with the Health Professions Council of South Africa.
    hpcsa_number: String,
    room_id: Option<RoomId>,
    room: Option<String>,
    session_types: Vec<SessionTypeBody>,
}

/// A kind of session that can be booked with them.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct SessionTypeBody {
    code: String,
    name: String,
    duration_minutes: i32,
    /// How many patients it takes.
    capacity: i32,
}

/// Everybody who treats patients, in the order of the diary, with the session types they give.
#[utoipa::path(
    get, path = "/api/v1/practitioners", tag = "practitioners",
    responses((status = 200, description = "All of them; the list has one page", body = List<PractitionerBody>))
)]
pub(super) async fn list_practitioners(
    State(app): State<App>,
    session: Session,
) -> Result<Json<List<PractitionerBody>>> {
    session.require(Permission::ViewDiary)?;
    let mut tx = app.begin(&session).await?;
    let practitioners = store::practitioners(&mut tx).await?;
    let types = store::session_types(&mut tx).await?;
    tx.close_without_patient_data().await?;
    let items = practitioners
        .into_iter()
        .map(|p| PractitionerBody {
            id: p.id,
            name: p.name(),
            session_types: types
                .iter()
                .filter(|t| t.discipline.is_none_or(|d| d == p.discipline))
                .map(|t| SessionTypeBody {
                    code: t.code.clone(),
                    name: t.name.clone(),
                    duration_minutes: t.duration_minutes,
                    capacity: t.capacity,
                })
                .collect(),
            title: p.title,
            given_name: p.given_name,
            family_name: p.family_name,
            discipline: p.discipline,
            hpcsa_number: p.hpcsa_number,
            room_id: p.room.as_ref().map(|r| r.id),
            room: p.room.map(|r| r.name),
        })
        .collect();
    Ok(Json(List { items, next: None }))
}
