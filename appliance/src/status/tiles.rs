//! What `/admin` says of each thing about the box.

use time::OffsetDateTime;

use super::facts::Facts;
use super::rules::{self, Standing, bytes_text, span_text};
use crate::clock;
use crate::inference::Gpu;
use crate::watch::{self, Forecast};
use crate::web::App;

/// One thing about the box.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Tile {
    pub(super) title: String,
    pub(super) icon: &'static str,
    pub(super) state: Standing,
    pub(super) value: String,
    pub(super) detail: String,
    /// Percent used, for a bar.
    pub(super) used: Option<u64>,
}

pub(super) fn disk_tile(forecast: &Forecast) -> Tile {
    let disk = &forecast.disk;
    let used = disk.total.saturating_sub(disk.free);
    let full = match forecast.days {
        Some(1) => ", full in 1 day".into(),
        Some(days) => format!(", full in {days} days at this pace"),
        None => String::new(),
    };
    Tile {
        title: format!("Disk for {}", disk.holds),
        icon: "hard-drive",
        state: rules::disk(disk.free, disk.total).max(watch::forecast(forecast.days)),
        value: format!("{} free", bytes_text(disk.free)),
        detail: format!(
            "of {}, mounted at {}{full}",
            bytes_text(disk.total),
            disk.mount
        ),
        used: (used * 100).checked_div(disk.total),
    }
}

pub(super) fn database_tiles(facts: &Facts, tiles: &mut Vec<Tile>) {
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

pub(super) fn drafting_tiles(facts: &Facts, tiles: &mut Vec<Tile>) {
    let health = &facts.inference;
    let (state, value) = rules::drafting(&health.state);
    let model = health
        .model
        .as_ref()
        .map_or_else(|| "No model loaded".to_owned(), |m| m.id.clone());
    let detail = match (&health.reason, &health.device) {
        // Its own tile says it, at length.
        (Some(reason), _)
            if health
                .gpu
                .as_ref()
                .is_some_and(|card| card.sentence == *reason) =>
        {
            format!("{model}; see the graphics card")
        }
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

pub(super) fn graphics_card_tile(card: &Gpu) -> Tile {
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

pub(super) fn audit_tile(facts: &Facts, now: OffsetDateTime) -> Tile {
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

pub(super) fn certificate_tile(facts: &Facts, now: OffsetDateTime) -> Tile {
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

/// What the box's commands reported; of what is measured here as well, only what is wrong.
pub(super) fn reported_tiles(facts: &Facts, now: OffsetDateTime, tiles: &mut Vec<Tile>) {
    for (kind, standing, said, what_to_do) in &facts.judged {
        if matches!(kind.as_str(), "certificate" | "disk") && *standing == Standing::Good {
            continue;
        }
        let report = facts.reports.of(kind);
        let age = report.map(|r| format!("{} ago", span_text((now - r.at).whole_seconds())));
        let value = match (standing, kind.as_str(), report) {
            (_, "egress", Some(r)) if r.number("denied").is_some() => {
                format!("{} refused", r.number("denied").unwrap_or_default())
            }
            (_, "update", Some(r)) => r
                .word("version")
                .map_or_else(|| "No update waits".into(), |v| format!("Version {v}")),
            (Standing::Good, _, _) => age.clone().unwrap_or_else(|| "Well".into()),
            (Standing::Warn, _, _) => "Needs a look".into(),
            (Standing::Bad, _, _) => "Needs help now".into(),
        };
        let last_good = match (standing, report.and_then(|r| r.last_good)) {
            (Standing::Good, _) | (_, None) => String::new(),
            (_, Some(at)) => format!(" Last good on {}.", clock::stamp_text(at)),
        };
        let step = report
            .filter(|_| kind == "update")
            .and_then(|r| r.word("step"))
            .map_or_else(String::new, |step| format!(" Step: {step}."));
        tiles.push(Tile {
            title: watch::title(kind),
            icon: match kind.as_str() {
                "update" => "refresh-cw",
                "egress" => "shield-check",
                "certificate" => "badge-check",
                "setup" => "settings",
                unit if unit.starts_with("unit-") => "activity",
                _ => "hard-drive",
            },
            state: *standing,
            value,
            detail: [said.as_str(), what_to_do]
                .into_iter()
                .filter(|t| !t.is_empty())
                .map(sentence)
                .collect::<Vec<_>>()
                .join(" ")
                + &last_good
                + &step,
            used: report
                .filter(|_| kind == "update")
                .and_then(|r| r.number("percent"))
                .and_then(|p| u64::try_from(p).ok())
                .map(|p| p.min(100)),
        });
    }
}

/// A text that another may follow: an error's words have no full stop.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', '!', '?']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

pub(super) fn own_tiles(app: &App, facts: &Facts, tiles: &mut Vec<Tile>) {
    if let Some((waiting, failed, sent)) = facts.outbox {
        let configured = app.config.mail().ok().flatten();
        let (state, value) = match (failed, &configured) {
            (1.., _) => (Standing::Warn, format!("{failed} not sent")),
            (_, None) => (Standing::Good, "Off".to_owned()),
            (_, Some(_)) => (Standing::Good, "On".to_owned()),
        };
        tiles.push(Tile {
            title: "Alert mail".into(),
            icon: "receipt",
            state,
            value,
            detail: match configured {
                Some(mail) => format!(
                    "To {}: {waiting} waiting, {sent} attempts in a day",
                    mail.to
                ),
                None => "No mail server is configured".into(),
            },
            used: None,
        });
    }
    let (state, value, detail) = match (&facts.remote, &app.config.client_authority) {
        (Some(open), _) => (
            Standing::Warn,
            format!(
                "Open until {}",
                clock::time_text(clock::local(open.until).1)
            ),
            format!(
                "{}. Close it with `hadadactl remote-access off`.",
                open.reason
            ),
        ),
        (None, Some(_)) => (
            Standing::Good,
            "Closed".into(),
            "Somebody at the server opens it, for eight hours at most".into(),
        ),
        (None, None) => (
            Standing::Good,
            "Off".into(),
            "Nobody outside has a certificate for this box".into(),
        ),
    };
    tiles.push(Tile {
        title: "Remote access".into(),
        icon: "lock",
        state,
        value,
        detail,
        used: None,
    });
}
