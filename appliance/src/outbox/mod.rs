//! What leaves the building: rows that a person or a standing rule approved, sent by a unit of its own (`hadada send-mail`),
//! each attempt in the egress ledger. So far only alert mail to whoever looks after the box, without patient data.

mod rules;
mod sender;
mod store;

pub use sender::run as run_sender;

use sqlx::PgConnection;

use crate::error::Result;
use crate::web::App;

/// A mail about the box. It holds nothing about patients.
#[derive(Clone, Debug)]
pub struct AlertMail {
    /// What it is about, without the box's name.
    pub subject: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// Most alert mails in a day: a box that flaps must not fill a mailbox.
const MOST_A_DAY: i64 = 30;

/// Queues an alert mail where a mail server is configured: the standing rule "alerts". Gives whether it did.
///
/// # Errors
/// When the database does not answer.
pub async fn queue_alert(conn: &mut PgConnection, app: &App, mail: &AlertMail) -> Result<bool> {
    let Ok(Some(settings)) = app.config.mail() else {
        return Ok(false);
    };
    let now = app.clock.now();
    if store::queued_since(conn, now - time::Duration::days(1)).await? >= MOST_A_DAY {
        tracing::warn!("no alert mail: there were {MOST_A_DAY} within a day");
        return Ok(false);
    }
    let host = &app.config.host;
    let subject: String = format!("[{host}] {}", mail.subject)
        .chars()
        .take(200)
        .collect();
    let body: String = format!(
        "{}\n\nSince {}. The state of the box: https://{host}/admin\n",
        mail.text,
        crate::clock::stamp_text(now)
    )
    .chars()
    .take(4000)
    .collect();
    store::queue(
        conn,
        now,
        "standing rule: alerts",
        &settings.to,
        &subject,
        &body,
    )
    .await?;
    Ok(true)
}

/// How many messages of the last week were given up.
///
/// # Errors
/// When the database does not answer.
pub async fn failing(app: &App) -> Result<i64> {
    let mut connection = app.db.records.acquire().await?;
    store::failed_since(&mut connection, app.clock.now() - time::Duration::days(7)).await
}

/// Messages that wait, messages given up in the last week, and attempts in the egress ledger in the last day.
///
/// # Errors
/// When the database does not answer.
pub async fn counts(app: &App) -> Result<(i64, i64, i64)> {
    let mut connection = app.db.records.acquire().await?;
    store::counts(&mut connection, app.clock.now()).await
}
