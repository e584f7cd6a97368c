//! `/admin`: the box's state in words a receptionist understands and IT wants.

use axum::extract::State;
use axum::response::Response;
use time::OffsetDateTime;

use super::facts::{Disk, Facts};
use super::rules::{self, Standing, bytes_text, span_text};
use crate::clock;
use crate::error::Result;
use crate::inference::Gpu;
use crate::web::{App, Page, Permission, Session, Shell, html};

/// One thing about the box.
#[derive(Clone, Debug, serde::Serialize)]
struct Tile {
    title: String,
    icon: &'static str,
    state: Standing,
    value: String,
    detail: String,
    /// Percent used, for a bar.
    used: Option<u64>,
}

/// For IT: name and value.
#[derive(Clone, Debug, serde::Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// What refreshes itself.
#[derive(Clone, Debug, serde::Serialize)]
struct BoxState {
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

fn disk_tile(disk: &Disk) -> Tile {
    let used = disk.total.saturating_sub(disk.free);
    Tile {
        title: format!("Disk for {}", disk.holds),
        icon: "hard-drive",
        state: rules::disk(disk.free, disk.total),
        value: format!("{} free", bytes_text(disk.free)),
        detail: format!("of {}, mounted at {}", bytes_text(disk.total), disk.mount),
        used: (used * 100).checked_div(disk.total),
    }
}

fn database_tiles(facts: &Facts, tiles: &mut Vec<Tile>) {
    let tile = |title: &str, icon, state, value: &str, detail: String| Tile {
        title: title.into(),
        icon,
        state,
        value: value.into(),
        detail,
        used: None,
    };
    match &facts.database {
        Some(db) => {
            tiles.push(tile(
                "Database",
                "database",
                Standing::Good,
                "Working",
                format!(
                    "PostgreSQL {}, {}, {} of {} connections in use",
                    db.version,
                    bytes_text(db.bytes.unsigned_abs()),
                    db.connections,
                    db.most_connections
                ),
            ));
            let (state, value, detail) = if db.current {
                (
                    Standing::Good,
                    "Up to date",
                    format!("{} migrations applied", db.migrations),
                )
            } else {
                (
                    Standing::Bad,
                    "Behind this program",
                    format!("{} migrations applied; run `hadada migrate`", db.migrations),
                )
            };
            tiles.push(tile("Database layout", "table-2", state, value, detail));
        }
        None => tiles.push(tile(
            "Database",
            "database",
            Standing::Bad,
            "Not answering",
            "Nothing can be saved until it does. Call IT.".into(),
        )),
    }
}

fn drafting_tiles(facts: &Facts, tiles: &mut Vec<Tile>) {
    let health = &facts.inference;
    let (state, value) = rules::drafting(&health.state);
    let model = health
        .model
        .as_ref()
        .map_or_else(|| "No model loaded".to_owned(), |m| m.id.clone());
    let detail = match (&health.reason, &health.device) {
        (Some(reason), _) => reason.clone(),
        (None, Some(device)) => format!("{model} on the {}", rules::device(device)),
        (None, None) => model,
    };
    tiles.push(Tile {
        title: "Drafting".into(),
        icon: "sparkles",
        state,
        value: value.into(),
        detail,
        used: None,
    });
    if let Some(card) = &health.gpu {
        tiles.push(graphics_card_tile(card));
    }
    let waiting = match health.queue_depth {
        0 => "Nobody waits".into(),
        1 => "1 draft waits".into(),
        n => format!("{n} drafts wait"),
    };
    let restarts = match health.restarts {
        0 => "The model has not had to restart".into(),
        1 => "The model has restarted once".into(),
        n => format!("The model has restarted {n} times"),
    };
    let state = if health.restarts > 3 {
        Standing::Warn
    } else {
        Standing::Good
    };
    tiles.push(Tile {
        title: "Queue for drafts".into(),
        icon: "list-ordered",
        state,
        value: waiting,
        detail: restarts,
        used: None,
    });
}

fn graphics_card_tile(card: &Gpu) -> Tile {
    let (state, value) = rules::graphics_card(&card.state);
    let detail = match &card.why_not {
        // A card that is well and not in use has its reason in the worker, not in the readings.
        Some(why) if state == Standing::Good => why.clone(),
        _ => card.sentence.clone(),
    };
    let temperature = card
        .temperature
        .map_or_else(String::new, |degrees| format!(", {degrees} °C"));
    let free = card
        .memory_free
        .map_or_else(String::new, |bytes| format!(", {} free", bytes_text(bytes)));
    Tile {
        title: "Graphics card".into(),
        icon: "activity",
        state: if card.why_not.is_some() {
            state.max(Standing::Warn)
        } else {
            state
        },
        value: value.into(),
        detail: format!("{detail} {}{temperature}{free}.", card.name),
        used: None,
    }
}

fn audit_tile(facts: &Facts, now: OffsetDateTime) -> Tile {
    let tile = |state, value: &str, detail| Tile {
        title: "Audit log".into(),
        icon: "lock",
        state,
        value: value.into(),
        detail,
        used: None,
    };
    let Some(audit) = &facts.audit else {
        return tile(
            Standing::Bad,
            "Not readable",
            "The database did not say how far sealing has come.".into(),
        );
    };
    if let Some(refusal) = &audit.refusal {
        let detail = format!(
            "Somebody changed the log in the database: {refusal}. Work goes on and {} new events wait. IT: run `hadadactl audit \
             verify`, keep what it says, and tell the practice's information officer. Sealing goes on by itself once the \
             removed seals are back from a backup.",
            audit.unsealed
        );
        return tile(Standing::Bad, "Tampered with", detail);
    }
    let oldest = audit.oldest_unsealed.map(|at| (now - at).whole_seconds());
    let state = rules::sealing(oldest);
    let newest = audit.sealed_at.map_or_else(
        || "none yet".into(),
        |at| format!("{} ago", span_text((now - at).whole_seconds())),
    );
    let value = if state == Standing::Good {
        "Sealed"
    } else {
        "Waiting to be sealed"
    };
    tile(
        state,
        value,
        format!(
            "{} events under {} seals, newest seal {newest}, {} waiting",
            audit.sealed, audit.seq, audit.unsealed
        ),
    )
}

fn certificate_tile(facts: &Facts, now: OffsetDateTime) -> Tile {
    let tile = |state, value: String, detail: String| Tile {
        title: "Certificate".into(),
        icon: "badge-check",
        state,
        value,
        detail,
        used: None,
    };
    match facts.certificate {
        Some(end) => {
            let days = (end - now).whole_days();
            let value = if end < now {
                "Ended".into()
            } else {
                format!("{days} day{} left", if days == 1 { "" } else { "s" })
            };
            tile(
                rules::certificate(if end < now { -1 } else { days }),
                value,
                format!(
                    "Browsers trust this server until {}",
                    clock::date_text(clock::local(end).0)
                ),
            )
        }
        None => tile(
            Standing::Warn,
            "Not readable".into(),
            "The file of the certificate can't be read.".into(),
        ),
    }
}

fn state(app: &App, facts: &Facts) -> BoxState {
    let now = app.clock.now();
    let mut tiles = Vec::new();
    database_tiles(facts, &mut tiles);
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
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
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
