//! The whole log as NDJSON, for `hadadactl audit export` over the admin socket.

use std::collections::HashSet;

use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use futures_util::Stream;
use hadada_audit_log::ExportWriter;
use sqlx::{Postgres, Transaction};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::store;
use crate::clock::Clock;
use crate::db::Db;
use crate::error::Result;

/// Streams the export; a fault of the database ends the stream with an error, which the verifier sees as a cut.
pub fn export(
    db: Db,
    clock: Clock,
    key: VerifyingKey,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        if let Err(error) = write(&db, &clock, &key, &sender).await {
            tracing::error!(error = ?error, "audit export failed");
            // Whoever asked may have gone; then nobody needs the error.
            let _gone = sender
                .send(Err(std::io::Error::other(error.to_string())))
                .await;
        }
    });
    ReceiverStream::new(receiver)
}

type Sender = mpsc::Sender<Result<Bytes, std::io::Error>>;

async fn send(sender: &Sender, line: String) -> Result<()> {
    sender
        .send(Ok(Bytes::from(line)))
        .await
        .map_err(crate::error::Error::internal)
}

async fn write(db: &Db, clock: &Clock, key: &VerifyingKey, sender: &Sender) -> Result<()> {
    // One snapshot, so that an event sealed meanwhile is neither missing nor twice there.
    let mut tx: Transaction<'static, Postgres> = db
        .records
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let (mut writer, header) = ExportWriter::start(key, store::micros(clock.now()));
    send(sender, header).await?;
    // From below the first, so that a seal slipped in under it shows.
    let mut after = i64::MIN;
    loop {
        let seals = store::seals_after(&mut tx, Some(after), 100).await?;
        if seals.is_empty() {
            break;
        }
        for seal in seals {
            after = seal.seq;
            send(sender, writer.seal(&seal)).await?;
            for row in store::sealed(&mut tx, seal.seq).await? {
                send(
                    sender,
                    writer.event(row.position, &row.leaf, row.event.as_ref()),
                )
                .await?;
            }
        }
    }
    let waiting = store::unsealed(&mut tx, i32::MAX).await?;
    let known: HashSet<Uuid> = waiting.iter().map(|event| event.id).collect();
    for event in waiting {
        send(sender, writer.unsealed(&event)).await?;
    }
    // An event put in by hand, or taken off the list of those that wait, would otherwise show on pages and not here.
    for practice in store::practices(&mut tx).await? {
        for event in store::without_seal(&mut tx, practice).await? {
            if !known.contains(&event.id) {
                send(sender, writer.unsealed(&event)).await?;
            }
        }
    }
    send(sender, writer.finish()).await?;
    tx.rollback().await?;
    Ok(())
}
