//! A patient's bookings and visits, oldest last. It reads tables of rooms that come later; it never writes them.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock;
use crate::error::Result;
use crate::ids::PatientId;

/// One line.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Moment {
    pub icon: &'static str,
    pub state: &'static str,
    pub what: String,
    pub detail: String,
    pub when: String,
    /// RFC 3339.
    pub datetime: String,
    pub href: String,
}

/// What is to come, soonest first, and what was, newest first.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Timeline {
    pub coming: Vec<Moment>,
    pub past: Vec<Moment>,
}

struct Row {
    starts_at: OffsetDateTime,
    status: String,
    reason: String,
    session: String,
    practitioner: String,
    encounter: Option<Uuid>,
    signed: bool,
}

const MOST: i64 = 60;

/// A patient's timeline. Links lead to the visit's note for whoever may read notes, else to the diary.
pub(super) async fn timeline(
    conn: &mut PgConnection,
    patient: PatientId,
    now: OffsetDateTime,
    notes: bool,
) -> Result<Timeline> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT a.starts_at, a.status, a.reason, coalesce(s.name, '') AS "session!",
                  coalesce(trim(r.title || ' ' || r.given_name || ' ' || r.family_name), '') AS "practitioner!",
                  e.id AS "encounter?", (g.encounter_id IS NOT NULL) AS "signed!"
           FROM appointment_participants me
           JOIN appointments a ON a.practice_id = me.practice_id AND a.id = me.appointment_id
           LEFT JOIN session_types s ON s.practice_id = a.practice_id AND s.id = a.session_type_id
           LEFT JOIN appointment_participants them ON them.practice_id = a.practice_id AND them.appointment_id = a.id AND them.practitioner_id IS NOT NULL
           LEFT JOIN practitioners r ON r.practice_id = them.practice_id AND r.id = them.practitioner_id
           LEFT JOIN encounters e ON e.practice_id = a.practice_id AND e.appointment_id = a.id AND e.patient_id = $1
           LEFT JOIN note_signatures g ON g.practice_id = e.practice_id AND g.encounter_id = e.id
           WHERE me.patient_id = $1
           ORDER BY a.starts_at DESC LIMIT $2"#,
        patient.0,
        MOST
    )
    .fetch_all(conn)
    .await?;
    let mut timeline = Timeline::default();
    for row in rows {
        let open = matches!(
            row.status.as_str(),
            "booked" | "confirmed" | "arrived" | "in-session"
        );
        let coming =
            open && (row.starts_at > now || row.status != "booked" && row.status != "confirmed");
        let moment = moment(&row, notes);
        if coming {
            timeline.coming.insert(0, moment)
        } else {
            timeline.past.push(moment)
        }
    }
    Ok(timeline)
}

fn moment(row: &Row, notes: bool) -> Moment {
    let (icon, status) = match row.status.as_str() {
        "booked" => ("circle-dashed", "Booked"),
        "confirmed" => ("circle-check", "Confirmed"),
        "arrived" => ("door-open", "Arrived"),
        "in-session" => ("activity", "In session"),
        "completed" => ("check", "Completed"),
        "cancelled" => ("circle-x", "Cancelled"),
        _ => ("user-x", "Did not arrive"),
    };
    let note = match (row.encounter, row.signed) {
        (Some(_), true) => "note signed",
        (Some(_), false) => "note not signed yet",
        (None, _) => "",
    };
    let (date, _) = clock::local(row.starts_at);
    let detail = [status, note, row.practitioner.as_str(), row.reason.as_str()]
        .iter()
        .filter(|s| !s.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    Moment {
        icon,
        state: if matches!(row.status.as_str(), "arrived" | "in-session") {
            "current"
        } else {
            "past"
        },
        what: if row.session.is_empty() {
            "Appointment".into()
        } else {
            row.session.clone()
        },
        detail,
        when: clock::stamp_text(row.starts_at),
        datetime: clock::rfc3339(row.starts_at),
        href: row.encounter.filter(|_| notes).map_or_else(
            || format!("/day?date={date}"),
            |id| format!("/encounters/{id}"),
        ),
    }
}
