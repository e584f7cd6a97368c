//! `hadada send-mail`: the unit that sends. It sees the outbox and the egress ledger and no other table, holds no key, and the
//! firewall lets it reach the mail server only.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use zeroize::Zeroizing;

use super::rules;
use super::store::{self, Attempt, Due};
use crate::clock::Clock;
use crate::config::{Config, Mail, MailSecurity};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Longest wait for the mail server.
const DEADLINE: Duration = Duration::from_secs(30);

/// Sends what is due, then waits for more until SIGTERM; `once` stops when nothing is due.
///
/// # Errors
/// When no mail server is configured, or the database can't be reached.
pub async fn run(config: &Config, role: &str, once: bool) -> anyhow::Result<()> {
    let mail = match config.mail()? {
        Some(mail) => mail,
        // A timer asks again and again; a box without a mail server is no fault.
        None if once => return Ok(()),
        None => anyhow::bail!(
            "there is no [box.mail] in the configuration, so there is nothing to send with"
        ),
    };
    let options = PgConnectOptions::new()
        .socket(&config.postgres)
        .username(role)
        .database(&config.records_database)
        .application_name("hadada-sender");
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options);
    let transport = transport(&mail)?;
    let clock = Clock::system();
    if once {
        while send_next(&pool, &mail, &transport, &clock).await? {}
        return Ok(());
    }
    sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let work = attend(&pool, &mail, &transport, &clock);
        tokio::select! {
            done = work => {
                if let Err(error) = done {
                    tracing::warn!(error = %format!("{error:#}"), "the outbox can't be read; trying again");
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn attend(
    pool: &PgPool,
    mail: &Mail,
    transport: &Transport,
    clock: &Clock,
) -> anyhow::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("hadada_outbox").await?;
    loop {
        while send_next(pool, mail, transport, clock).await? {}
        // Also what is tried again becomes due.
        match tokio::time::timeout(Duration::from_secs(30), listener.recv()).await {
            Ok(notified) => drop(notified?),
            Err(_elapsed) => {}
        }
    }
}

fn transport(mail: &Mail) -> anyhow::Result<Transport> {
    let tls = |mail: &Mail| TlsParameters::new(mail.server.clone());
    let security = match mail.security {
        MailSecurity::Starttls => Tls::Required(tls(mail)?),
        MailSecurity::Tls => Tls::Wrapper(tls(mail)?),
        MailSecurity::None => {
            anyhow::ensure!(
                matches!(mail.server.as_str(), "localhost" | "127.0.0.1" | "::1"),
                "[box.mail] security = \"none\" is for a mail server on this machine only"
            );
            Tls::None
        }
    };
    let mut builder = Transport::builder_dangerous(&mail.server)
        .port(mail.port)
        .tls(security)
        .timeout(Some(DEADLINE));
    if !mail.user.is_empty() {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").context(
            "[box.mail] has a user, but there is no CREDENTIALS_DIRECTORY with mail.password",
        )?;
        let path = Path::new(&folder).join("mail.password");
        let password = Zeroizing::new(
            std::fs::read_to_string(&path)
                .with_context(|| format!("can't read the credential {}", path.display()))?,
        );
        builder = builder.credentials(Credentials::new(
            mail.user.clone(),
            password.trim_end_matches(['\n', '\r']).to_owned(),
        ));
    }
    Ok(builder.build())
}

/// Sends one message that is due; false when none is.
async fn send_next(
    pool: &PgPool,
    mail: &Mail,
    transport: &Transport,
    clock: &Clock,
) -> anyhow::Result<bool> {
    let mut tx = pool.begin().await?;
    let Some(due) = store::due(&mut tx, clock.now()).await? else {
        return Ok(false);
    };
    let (bytes, outcome) = match message(mail, &due) {
        Ok(message) => {
            let bytes = i64::try_from(message.formatted().len()).unwrap_or(i64::MAX);
            let sent = tokio::time::timeout(DEADLINE * 2, transport.send(message)).await;
            let error = match sent {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(words(&error)),
                Err(_elapsed) => Some("the mail server did not answer in time".to_owned()),
            };
            (bytes, error)
        }
        Err(error) => (0, Some(format!("{error:#}"))),
    };
    let now = clock.now();
    let next = outcome
        .as_ref()
        .and_then(|_| rules::next_attempt(due.attempts + 1, now));
    match &outcome {
        None => tracing::info!(id = %due.id, "mail sent"),
        Some(error) => tracing::warn!(id = %due.id, error, again = next.is_some(), "mail not sent"),
    }
    let attempt = Attempt {
        due: &due,
        at: now,
        destination: &mail.server,
        port: mail.port,
        bytes,
        error: outcome.as_deref(),
        next,
    };
    store::settle(&mut tx, &attempt).await?;
    tx.commit().await?;
    Ok(true)
}

/// An error and its causes on one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn message(mail: &Mail, due: &Due) -> anyhow::Result<Message> {
    Ok(Message::builder()
        .from(mail.from.parse().context("[box.mail] from is no address")?)
        .to(due
            .recipient
            .parse()
            .context("the recipient is no address")?)
        .subject(&due.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(due.body.clone())?)
}
