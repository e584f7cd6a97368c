//! `/status`: is everything all right, what should I do, and whom do I call. For everybody who is signed in.

use axum::extract::State;
use axum::response::Response;

use super::facts::Facts;
use super::rules::{self, Standing};
use crate::error::Result;
use crate::watch;
use crate::web::{App, Page, Session, Shell, html};

/// A part of what people rely on.
#[derive(Clone, Debug, serde::Serialize)]
struct Area {
    title: &'static str,
    icon: &'static str,
    state: Standing,
    said: String,
}

/// `status/everyone.html`.
#[derive(serde::Serialize)]
pub(super) struct StatusPage {
    shell: Shell,
    state: Standing,
    headline: &'static str,
    what_to_do: &'static str,
    areas: Vec<Area>,
    /// Names of the practice's admins.
    admins: Vec<String>,
    it_mail: Option<String>,
    at: String,
}

impl Page for StatusPage {
    const TEMPLATE: &'static str = "status/everyone.html";
    fn samples() -> Vec<Self> {
        [Standing::Good, Standing::Warn, Standing::Bad]
            .map(|state| {
                let (headline, what_to_do) = words(state);
                Self {
                    shell: Shell::sample(),
                    state,
                    headline,
                    what_to_do,
                    areas: vec![Area {
                        title: "Backups",
                        icon: "hard-drive",
                        state,
                        said: "Last night's backup is well.".into(),
                    }],
                    admins: vec!["Anneke Vermeulen".into()],
                    it_mail: (state == Standing::Bad).then(|| "it@example.org".into()),
                    at: "24-Nov-2026 10:41".into(),
                }
            })
            .into()
    }
}

fn words(state: Standing) -> (&'static str, &'static str) {
    match state {
        Standing::Good => ("Everything is all right", "There is nothing for you to do."),
        Standing::Warn => (
            "You can go on working",
            "Something needs a look soon. Tell the practice's admin today.",
        ),
        Standing::Bad => (
            "Something needs help now",
            "Tell the practice's admin now. What you saved is safe; do not switch the server off.",
        ),
    }
}

/// The worst of these kinds, with its words; what is fine has words of its own.
fn worst(facts: &Facts, kinds: &[&str], fine: &str) -> (Standing, String) {
    facts
        .judged
        .iter()
        .filter(|(kind, standing, ..)| {
            *standing != Standing::Good
                && kinds
                    .iter()
                    .any(|k| kind == k || (k.ends_with('-') && kind.starts_with(k)))
        })
        .max_by_key(|(_, standing, ..)| *standing)
        .map_or(
            (Standing::Good, fine.to_owned()),
            |(kind, standing, said, _)| (*standing, format!("{}: {said}", watch::title(kind))),
        )
}

fn areas(app: &App, facts: &Facts) -> Vec<Area> {
    let now = app.clock.now();
    let mut areas = Vec::new();
    let mut add = |title, icon, (state, said)| {
        areas.push(Area {
            title,
            icon,
            state,
            said,
        });
    };
    let records = match &facts.database {
        Some(db) if db.current => (Standing::Good, "You can look up and save.".to_owned()),
        Some(_) => (
            Standing::Bad,
            "The database is older than the program.".to_owned(),
        ),
        None => (
            Standing::Bad,
            "The database does not answer: nothing can be saved.".to_owned(),
        ),
    };
    add("Records", "database", records);
    let (state, said) = rules::drafting(&facts.inference.state);
    let said = match (state, &facts.inference.reason) {
        (Standing::Good, _) => "The AI drafts notes.".to_owned(),
        (_, Some(reason)) => format!("{said}. {reason}"),
        _ => format!("{said}. Everything else works."),
    };
    add("Drafting", "sparkles", (state, said));
    let backups = if facts.reports.installed {
        worst(
            facts,
            &["backup", "base-backup", "wal", "drill", "setup"],
            "Copies of everything are made and tried out.",
        )
    } else {
        (
            Standing::Good,
            "This is not an installed box: no backups are made.".to_owned(),
        )
    };
    add("Backups", "hard-drive", backups);
    let mut server = worst(
        facts,
        &["disk", "certificate", "egress", "unit-"],
        "The server is well.",
    );
    for f in &facts.disks {
        let state = rules::disk(f.disk.free, f.disk.total).max(watch::forecast(f.days));
        if state > server.0 {
            server = (
                state,
                format!("The disk for {} is nearly full.", f.disk.holds),
            );
        }
    }
    if let Some(end) = facts.certificate {
        let days = (end - now).whole_days();
        let state = rules::certificate(if end < now { -1 } else { days });
        if state > server.0 {
            server = (
                state,
                format!("The certificate ends in {days} days; browsers will warn then."),
            );
        }
    }
    if facts.audit.as_ref().is_some_and(|a| a.refusal.is_some()) {
        server = (
            Standing::Bad,
            "The log of who did what was changed from outside.".to_owned(),
        );
    }
    add("Server", "server", server);
    if facts.reports.of("update").is_some() {
        add(
            "Updates",
            "refresh-cw",
            worst(facts, &["update"], "The program is up to date."),
        );
    }
    areas
}

/// `GET /status`
pub(super) async fn show(State(app): State<App>, session: Session) -> Result<Response> {
    let facts = Facts::gather(&app).await;
    let areas = areas(&app, &facts);
    let state = areas
        .iter()
        .map(|a| a.state)
        .max()
        .unwrap_or(Standing::Good);
    let (headline, what_to_do) = words(state);
    let mut tx = app.begin(&session).await?;
    let admins = sqlx::query_scalar!(
        "SELECT display_name FROM users WHERE role = 'admin' AND active ORDER BY display_name"
    )
    .fetch_all(tx.conn())
    .await?;
    tx.close_without_patient_data().await?;
    html(
        &app,
        &StatusPage {
            shell: Shell::open(&app, &session, "Is everything all right?", "status").await?,
            state,
            headline,
            what_to_do,
            areas,
            admins,
            it_mail: app.config.mail().ok().flatten().map(|m| m.to),
            at: crate::clock::stamp_text(app.clock.now()),
        },
    )
}
