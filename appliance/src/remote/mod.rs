//! Remote access: for a while, IT or a vendor with a client certificate may reach the box. Off unless somebody present opens
//! it; who, why and until when is in every practice's audit log, the end as well.

mod store;

pub use store::Open;

use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::error::{Error, Problems, Result};
use crate::web::{App, required_text};

/// Nobody needs longer at a time; whoever does, opens it again.
pub const LONGEST: Duration = Duration::hours(8);
/// The part of the box that acts, in the audit log.
pub const ACTOR: &str = "remote access";

/// Opens remote access, or changes until when and why it is open.
///
/// # Errors
/// [`Error::Invalid`] when it would be open in the past or for too long, or no reason is given; [`Error::Conflict`] where no
/// client authority is configured.
pub async fn open(app: &App, until: OffsetDateTime, reason: &str) -> Result<Open> {
    let now = app.clock.now();
    if app.config.client_authority.is_none() {
        return Err(Error::conflict(
            "Nobody has a certificate for this box yet: `hadadactl remote-access issue` makes one. (Or set client_authority in hadada.toml to the authority that IT's and vendors' certificates come from.)",
        ));
    }
    let mut problems = Problems::new();
    let reason = required_text(&mut problems, "reason", reason, 200);
    if let Err(why) = may_open(now, until) {
        problems.add("until", why);
    }
    problems.check()?;
    let mut tx = app.db.records.begin().await?;
    store::close_open(&mut tx, now).await?;
    let open = store::insert(&mut tx, now, until, &reason).await?;
    tx.commit().await?;
    let said = format!(
        "remote access opened until {}: {reason}",
        crate::clock::rfc3339(until)
    );
    audit::record_box_event(app, ACTOR, &said).await?;
    app.remote_changed.notify_waiters();
    Ok(open)
}

/// Closes it, where it is open. Gives whether it was.
///
/// # Errors
/// When the database does not answer.
pub async fn close(app: &App, why: &str) -> Result<bool> {
    let mut connection = app.db.records.acquire().await?;
    let closed = store::close_open(&mut connection, app.clock.now()).await?;
    drop(connection);
    if closed {
        audit::record_box_event(app, ACTOR, &format!("remote access closed: {why}")).await?;
        app.remote_changed.notify_waiters();
    }
    Ok(closed)
}

/// The access that is open now.
///
/// # Errors
/// When the database does not answer.
pub async fn current(app: &App) -> Result<Option<Open>> {
    let mut connection = app.db.records.acquire().await?;
    Ok(store::open(&mut connection)
        .await?
        .filter(|open| open.until > app.clock.now()))
}

/// Closes what has run out, until told to stop.
pub async fn expire(app: &App, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut changed = std::pin::pin!(app.remote_changed.notified());
        let mut until = run_out_at(app).await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = &mut changed => break,
                () = stop.cancelled() => return,
            }
            match until {
                Err(_) => until = run_out_at(app).await,
                Ok(Some(at)) if at <= app.clock.now() => {
                    match close(app, "its time was over").await {
                        Ok(_) => break,
                        Err(error) => {
                            tracing::warn!(%error, "the end of remote access could not be recorded");
                        }
                    }
                }
                Ok(_) => {}
            }
        }
    }
}

async fn run_out_at(app: &App) -> Result<Option<OffsetDateTime>> {
    let mut connection = app.db.records.acquire().await?;
    Ok(store::open(&mut connection).await?.map(|open| open.until))
}

fn may_open(now: OffsetDateTime, until: OffsetDateTime) -> Result<(), &'static str> {
    if until <= now {
        Err("This is in the past.")
    } else if until - now > LONGEST {
        Err("Remote access is open for eight hours at most. Open it again when that is not enough.")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-24 08:00 UTC);

    proptest! {
        #[test]
        fn it_is_never_open_for_more_than_eight_hours(seconds in -100_000_i64..100_000) {
            let open = may_open(NOW, NOW + Duration::seconds(seconds)).is_ok();
            prop_assert_eq!(open, (1..=28_800).contains(&seconds));
        }
    }
}
