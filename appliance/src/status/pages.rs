//! `/admin`: the box's state as IT wants it.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::facts::Facts;
use super::rules::{Standing, bytes_text, span_text};
use super::tiles::{
    Tile, audit_tile, certificate_tile, database_tiles, disk_tile, drafting_tiles,
    graphics_card_tile, own_tiles, reported_tiles,
};
use crate::clock;
use crate::error::{Error, Result};
use crate::inference::Gpu;
use crate::watch;
use crate::web::{App, Page, Permission, Session, Shell, html};

/// For IT: name and value.
#[derive(Clone, Debug, serde::Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// Something wrong, with whether somebody knows.
#[derive(Clone, Debug, serde::Serialize)]
struct AlertLine {
    id: String,
    state: Standing,
    title: String,
    said: String,
    what_to_do: String,
    since: String,
    known: bool,
}

/// A statement that took long.
#[derive(Clone, Debug, serde::Serialize)]
struct Slow {
    at: String,
    took: String,
    statement: String,
}

/// What refreshes itself.
#[derive(Clone, Debug, serde::Serialize)]
struct BoxState {
    alerts: Vec<AlertLine>,
    slow: Vec<Slow>,
    summary: &'static str,
    standing: Standing,
    at: String,
    tiles: Vec<Tile>,
    facts: Vec<Fact>,
}

/// `status/box.html`.
#[derive(serde::Serialize)]
pub(super) struct BoxPage {
    shell: Shell,
    now: BoxState,
}

/// `status/facts.html`.
#[derive(serde::Serialize)]
pub(super) struct FactsFragment {
    now: BoxState,
}

impl Page for BoxPage {
    const TEMPLATE: &'static str = "status/box.html";
    fn samples() -> Vec<Self> {
        FactsFragment::samples()
            .into_iter()
            .map(|f| Self {
                shell: Shell::sample(),
                now: f.now,
            })
            .collect()
    }
}

impl Page for FactsFragment {
    const TEMPLATE: &'static str = "status/facts.html";
    fn samples() -> Vec<Self> {
        let tile = |state, used| Tile {
            title: "Disk".into(),
            icon: "hard-drive",
            state,
            value: "120 GB free".into(),
            detail: "of 200 GB".into(),
            used,
        };
        let now = |standing, tiles| BoxState {
            summary: "Everything works.",
            standing,
            alerts: match standing {
                Standing::Good => Vec::new(),
                _ => [false, true]
                    .map(|known| AlertLine {
                        id: "1".into(),
                        state: standing,
                        title: "Backup".into(),
                        said: "The last backup is two days old.".into(),
                        what_to_do: "Plug the disk in.".into(),
                        since: "24-Nov-2026 06:00".into(),
                        known,
                    })
                    .into(),
            },
            slow: vec![Slow {
                at: "24-Nov-2026 06:00".into(),
                took: "0,8 s".into(),
                statement: "SELECT id FROM …".into(),
            }],
            at: "10:41:05".into(),
            tiles,
            facts: vec![Fact {
                name: "Version",
                value: "0.1.0".into(),
            }],
        };
        vec![
            Self {
                now: now(
                    Standing::Good,
                    vec![
                        tile(Standing::Good, Some(40)),
                        tile(Standing::Warn, None),
                        graphics_card_tile(&Gpu {
                            state: "hot".into(),
                            sentence: "The graphics card is hot (88 °C; it slows down at 90 °C), so fewer drafts are written at once."
                                .into(),
                            name: "NVIDIA RTX A4000".into(),
                            serving: true,
                            temperature: Some(88),
                            memory_free: Some(9_000_000_000),
                            ..Gpu::default()
                        }),
                    ],
                ),
            },
            Self {
                now: now(Standing::Bad, vec![tile(Standing::Bad, None)]),
            },
        ]
    }
}

fn state(app: &App, facts: &Facts) -> BoxState {
    let now = app.clock.now();
    let mut tiles = Vec::new();
    database_tiles(facts, &mut tiles);
    reported_tiles(facts, now, &mut tiles);
    drafting_tiles(facts, &mut tiles);
    tiles.push(audit_tile(facts, now));
    tiles.extend(facts.disks.iter().map(disk_tile));
    tiles.push(Tile {
        title: "This program".into(),
        icon: "activity",
        state: Standing::Good,
        value: format!(
            "Running for {}",
            span_text(i64::try_from(facts.process.running).unwrap_or(0))
        ),
        detail: format!("{} of memory", bytes_text(facts.process.memory)),
        used: None,
    });
    tiles.push(certificate_tile(facts, now));
    own_tiles(app, facts, &mut tiles);
    let standing = tiles
        .iter()
        .map(|t| t.state)
        .max()
        .unwrap_or(Standing::Good);
    let summary = match standing {
        Standing::Good => "Everything works.",
        Standing::Warn => "The clinic can work. Something below needs a look.",
        Standing::Bad => "Something below needs help now.",
    };
    let [records, keys] = facts.pools;
    let pool = |(_, size, idle): (&str, u32, usize)| format!("{size} open, {idle} idle");
    let list = [
        ("Version", crate::version::version().to_owned()),
        (
            "Address",
            format!("https://{}:{}", app.config.host, app.config.listen.port()),
        ),
        ("Connections to records", pool(records)),
        ("Connections to keys", pool(keys)),
        (
            "Model file, SHA-256",
            facts
                .inference
                .model
                .as_ref()
                .map(|m| m.sha256.clone())
                .unwrap_or_default(),
        ),
        ("Time on this server", clock::rfc3339(now)),
    ];
    let (_, time) = clock::local(now);
    BoxState {
        alerts: facts
            .alerts
            .iter()
            .map(|a| AlertLine {
                id: a.id.to_string(),
                state: a.standing(),
                title: watch::title(&a.kind),
                said: a.said.clone(),
                what_to_do: a.what_to_do.clone(),
                since: clock::stamp_text(a.began_at),
                known: a.acknowledged_at.is_some(),
            })
            .collect(),
        slow: facts
            .slow
            .iter()
            .take(5)
            .map(|s| Slow {
                at: clock::stamp_text(s.at),
                took: format!("{},{} s", s.took.as_secs(), s.took.subsec_millis() / 100),
                statement: s.statement.clone(),
            })
            .collect(),
        summary,
        standing,
        at: format!("{}:{:02}", clock::time_text(time), time.second()),
        tiles,
        facts: list
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .map(|(name, value)| Fact { name, value })
            .collect(),
    }
}

/// `GET /admin`
pub(super) async fn show(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::ViewBox)?;
    let now = state(&app, &Facts::gather(&app).await);
    html(
        &app,
        &BoxPage {
            shell: Shell::plain(&app, &session, "This box", "admin"),
            now,
        },
    )
}

/// `GET /admin/facts`: what the page fetches every few seconds.
pub(super) async fn facts(State(app): State<App>, session: Session) -> Result<Response> {
    session.require(Permission::ViewBox)?;
    let now = state(&app, &Facts::gather(&app).await);
    html(&app, &FactsFragment { now })
}

/// `POST /admin/alerts/{id}/acknowledge`: an admin knows of it.
pub(super) async fn acknowledge(
    State(app): State<App>,
    session: Session,
    Path(id): Path<Uuid>,
) -> Result<Response> {
    session.require(Permission::ViewBox)?;
    watch::acknowledge(&app, &session, id).await?;
    Ok(Redirect::to("/admin").into_response())
}

/// The state of the box for a program: the page's words as JSON.
///
/// # Errors
/// When it can't be put into words.
pub async fn summary(app: &App) -> Result<serde_json::Value> {
    let now = state(app, &Facts::gather(app).await);
    serde_json::to_value(now).map_err(Error::internal)
}
