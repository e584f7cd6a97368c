//! Watching the box: what its commands report and what is measured here becomes conditions, those become alerts, and alerts
//! go to the admin's pages and, where a mail server is configured, into the outbox.

mod alerts;
mod measure;
mod reports;
mod rules;
mod store;

pub use alerts::Alert;
pub use measure::{Disk, certificate_end, disks};
pub use reports::{Report, Reports, Told};
pub use rules::{
    Condition, EXPECTED, Standing, bytes_text, certificate, days_until_full, disk, forecast, judge,
    sealing, span_text, title,
};

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::audit::Sealer;
use crate::clock;
use crate::db::{Action, AuditEvent};
use crate::error::{Error, Result};
use crate::web::{App, Notice, Session};
use crate::{outbox, remote};

/// How often the box is looked at.
const EVERY: Duration = Duration::from_secs(30);

/// A disk and when it will be full.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The disk.
    pub disk: Disk,
    /// Days until it is full, where it fills up.
    pub days: Option<i64>,
}

/// Looks at the box until told to stop.
pub async fn run(app: App, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "the box could not be looked at");
            app.notices.store(Arc::new(vec![Notice {
                state: "bad",
                text: "The database is not answering.".into(),
            }]));
        }
    }
}

/// Looks once: brings alerts, outbox and the admin's notices up to what is wrong now.
///
/// # Errors
/// When the database does not answer.
pub async fn look(app: &App) -> Result<()> {
    let wrong = conditions(app).await?;
    let now = app.clock.now();
    let mut tx = app.db.records.begin().await?;
    store::lock(&mut tx).await?;
    let open = store::open_alerts(&mut tx).await?;
    let changes = alerts::plan(&open, &wrong);
    for change in &changes {
        store::apply(&mut tx, change, now).await?;
        if let alerts::Change::Open(c) | alerts::Change::Worsen(_, c) = change {
            tracing::warn!(kind = c.kind, said = c.said, standing = ?c.standing, "alert");
            outbox::queue_alert(&mut tx, app, &mail(c)).await?;
        }
    }
    let open = store::open_alerts(&mut tx).await?;
    tx.commit().await?;
    app.notices.store(Arc::new(notices(app, &open).await?));
    Ok(())
}

fn mail(condition: &Condition) -> outbox::AlertMail {
    let how = match condition.standing {
        Standing::Bad => "needs help now",
        _ => "needs a look",
    };
    outbox::AlertMail {
        subject: format!("{} {how}", title(&condition.kind)),
        text: if condition.what_to_do.is_empty() {
            condition.said.clone()
        } else {
            format!("{}\n\n{}", condition.said, condition.what_to_do)
        },
    }
}

async fn notices(app: &App, open: &[Alert]) -> Result<Vec<Notice>> {
    let mut notices = Vec::new();
    if let Some(access) = remote::current(app).await? {
        let (_, time) = clock::local(access.until);
        notices.push(Notice {
            state: "warn",
            text: format!(
                "Remote access is open until {}: {}",
                clock::time_text(time),
                access.reason
            ),
        });
    }
    let unknown: Vec<&Alert> = open
        .iter()
        .filter(|a| a.acknowledged_at.is_none())
        .collect();
    if let Some(first) = unknown.iter().max_by_key(|a| a.standing()) {
        let more = match unknown.len() - 1 {
            0 => String::new(),
            1 => " One more thing needs a look.".into(),
            n => format!(" {n} more things need a look."),
        };
        notices.push(Notice {
            state: if first.standing() == Standing::Bad {
                "bad"
            } else {
                "warn"
            },
            text: format!("{}: {}{more}", title(&first.kind), first.said),
        });
    }
    Ok(notices)
}

/// What is open now, the worst first.
///
/// # Errors
/// When the database does not answer.
pub async fn open_alerts(app: &App) -> Result<Vec<Alert>> {
    let mut connection = app.db.records.acquire().await?;
    store::open_alerts(&mut connection).await
}

/// An admin says that they know of an alert.
///
/// # Errors
/// [`Error::NotFound`] when it is over.
pub async fn acknowledge(app: &App, session: &Session, id: Uuid) -> Result<()> {
    let event = AuditEvent::new(Action::Update, "Device")
        .id(id)
        .reason("alert acknowledged");
    let mut tx = app.begin_with(session, event).await?;
    let now = tx.now();
    if !store::acknowledge(tx.conn(), id, session.user_id, now).await? {
        return Err(Error::NotFound);
    }
    tx.commit().await?;
    let open = open_alerts(app).await?;
    app.notices.store(Arc::new(notices(app, &open).await?));
    Ok(())
}

/// The disks, and when each will be full. Notes today's measurement.
///
/// # Errors
/// When the database does not answer.
pub async fn forecasts(app: &App) -> Result<Vec<Forecast>> {
    let data = app.config.data_folder();
    let disks = tokio::task::spawn_blocking(move || disks(&data))
        .await
        .map_err(Error::internal)?;
    let today = app.clock.today();
    let mut connection = app.db.records.acquire().await?;
    let mut found = Vec::new();
    for disk in disks {
        let free = i64::try_from(disk.free).unwrap_or(i64::MAX);
        store::sample(&mut connection, today, "disk-free", &disk.mount, free).await?;
        let samples = store::samples(&mut connection, today, "disk-free", &disk.mount).await?;
        found.push(Forecast {
            days: days_until_full(&samples),
            disk,
        });
    }
    Ok(found)
}

/// When the box was set up, where it says so.
#[must_use]
pub fn set_up_at(reports: &Reports) -> Option<OffsetDateTime> {
    reports
        .of("setup")
        .and_then(|r| {
            let text = r.word("finished_at")?;
            OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
        })
        .or_else(|| reports.of("setup").map(|r| r.at))
}

/// How every report stands, those that are missing as well.
///
/// # Errors
/// When the database does not answer.
pub async fn reported(app: &App) -> Result<(Reports, Vec<(String, Standing, String, String)>)> {
    let folder = app.config.facts_dir.clone();
    let reports = tokio::task::spawn_blocking(move || Reports::load(&folder))
        .await
        .map_err(Error::internal)?;
    if !reports.installed {
        return Ok((reports, Vec::new()));
    }
    let mut connection = app.db.records.acquire().await?;
    let changed = store::last_change(&mut connection).await?;
    drop(connection);
    let (now, since) = (app.clock.now(), set_up_at(&reports));
    let mut kinds: Vec<String> = EXPECTED.iter().map(|k| (*k).to_owned()).collect();
    for report in &reports.read {
        if !kinds.contains(&report.kind) {
            kinds.push(report.kind.clone());
        }
    }
    let mut judged: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            let (standing, said, todo) = judge(&kind, reports.of(&kind), now, changed, since);
            (kind, standing, said, todo)
        })
        .collect();
    for name in &reports.unreadable {
        judged.push((
            name.trim_end_matches(".json").to_owned(),
            Standing::Warn,
            format!("The report {name} can't be read."),
            "Tell IT: the command that writes it may be of another release.".into(),
        ));
    }
    Ok((reports, judged))
}

/// All that is wrong now.
async fn conditions(app: &App) -> Result<Vec<Condition>> {
    let now = app.clock.now();
    let (_, judged) = reported(app).await?;
    let mut wrong: Vec<Condition> = judged
        .into_iter()
        .filter(|(_, standing, ..)| *standing != Standing::Good)
        .map(|(kind, standing, said, what_to_do)| Condition {
            kind,
            standing,
            said,
            what_to_do,
        })
        .collect();
    let mut add = |kind: &str, standing, said: String, what_to_do: &str| {
        let known = wrong.iter_mut().find(|c| c.kind == kind);
        match known {
            Some(known) if known.standing >= standing => {}
            Some(known) => (known.standing, known.said) = (standing, said),
            None if standing == Standing::Good => {}
            None => wrong.push(Condition {
                kind: kind.to_owned(),
                standing,
                said,
                what_to_do: what_to_do.to_owned(),
            }),
        }
    };
    for f in forecasts(app).await? {
        let standing = disk(f.disk.free, f.disk.total).max(forecast(f.days));
        let when = f
            .days
            .map_or_else(String::new, |d| format!(" It will be full in {d} days."));
        // To a tenth, or each request's log line would be news.
        let said = format!(
            "The disk for {} has {} free.{when}",
            f.disk.holds,
            bytes_text(f.disk.free / 100_000_000 * 100_000_000)
        );
        add(
            "disk",
            standing,
            said,
            "Tell IT: free space, or put in a larger disk.",
        );
    }
    if let Ok(end) = certificate_end(&app.config.tls_certificate).await {
        let days = (end - now).whole_days();
        let standing = certificate(if end < now { -1 } else { days });
        add(
            "certificate",
            standing,
            format!("The certificate is good for {days} more days."),
            "Tell IT: run `hadadactl certificate renew`.",
        );
    }
    let sealer = Sealer::load(
        app.db.clone(),
        app.clock.clone(),
        &app.config.audit_key,
        &app.config.audit_head,
    )?;
    let state = sealer.state().await?;
    if let Some(refusal) = state.refusal {
        add(
            "audit",
            Standing::Bad,
            format!("The audit log was changed or restored: {refusal}"),
            "Tell IT: run `hadadactl audit verify`.",
        );
    }
    let failing = outbox::failing(app).await?;
    if failing > 0 {
        add(
            "mail",
            Standing::Warn,
            format!("{failing} alert mails could not be sent."),
            "Tell IT: check the mail server in hadada.toml and `journalctl -u hadada-sender`.",
        );
    }
    Ok(wrong)
}
