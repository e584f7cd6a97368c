//! Live updates: Postgres notifies with ids only; the server filters by practice before it writes to an open page.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::{Stream, StreamExt};
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;

use super::{App, Session};
use crate::ids::PracticeId;

/// How often an open page hears that the link stands.
const PING: Duration = Duration::from_secs(10);

/// A thing that changed.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Change {
    /// Whose it is.
    pub practice: PracticeId,
    /// What kind of thing: `appointment`, `waiting`, `encounter`, `invoice`, `patient`.
    pub kind: String,
    /// Which one.
    pub id: uuid::Uuid,
}

/// The hub between the database's notifications and open pages.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Change>,
    /// Ends every open stream, so that the server can stop.
    closing: CancellationToken,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(1024).0,
            closing: CancellationToken::new(),
        }
    }
}

impl Events {
    /// Ends every open stream.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

/// Listens to Postgres until the program stops, reconnecting when Postgres went away.
pub async fn listen(app: App) {
    let mut pause = Duration::from_millis(200);
    while !app.events.closing.is_cancelled() {
        let listening = async {
            let mut listener = PgListener::connect_with(&app.db.records).await?;
            listener.listen("hadada").await?;
            pause = Duration::from_millis(200);
            loop {
                let note = listener.recv().await?;
                if let Ok(change) = serde_json::from_str::<Change>(note.payload()) {
                    // No open page is no error.
                    let _open_pages = app.events.sender.send(change);
                }
            }
            #[expect(unreachable_code, reason = "gives the block its type")]
            Ok::<(), sqlx::Error>(())
        };
        tokio::select! {
            () = app.events.closing.cancelled() => return,
            ended = listening => if let Err(error) = ended {
                tracing::warn!(%error, "live updates wait for the database");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// `GET /events`: this practice's changes, as server-sent events.
pub async fn stream(
    State(app): State<App>,
    session: Session,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let practice = session.practice_id;
    let changes = BroadcastStream::new(app.events.sender.subscribe()).filter_map(move |change| {
        let event = match change {
            Ok(change) if change.practice == practice => Some(
                Event::default()
                    .event(change.kind.clone())
                    .data(serde_json::json!({ "id": change.id, "kind": change.kind }).to_string()),
            ),
            // The page fell behind: it should fetch itself again.
            Err(_) => Some(Event::default().event("resync").data("{}")),
            Ok(_) => None,
        };
        std::future::ready(event.map(Ok))
    });
    let hello = futures_util::stream::once(std::future::ready(Ok(Event::default()
        .event("hello")
        .data("{}"))));
    let pings = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(PING))
        .map(|_| Ok(Event::default().event("ping").data("{}")));
    let closing = app.events.closing.clone();
    Sse::new(
        hello
            .chain(futures_util::stream::select(changes, pings))
            .take_until(closing.cancelled_owned()),
    )
}
