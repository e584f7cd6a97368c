//! The PDF of an invoice, written by the typeset program: a process of its own, so that a fault in it stays there.

use std::process::Stdio;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::pages::{Paper, read};
use crate::db::Action;
use crate::error::{Error, Result};
use crate::ids::InvoiceId;
use crate::web::{App, Session};

/// Longest wait for a PDF, start of the program included; an invoice takes about 20 ms.
const DEADLINE: Duration = Duration::from_secs(10);
/// Typesetters at work at one time; further ones wait their turn.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// What the typeset program reads on standard input.
#[derive(serde::Serialize)]
struct Job<'a> {
    template: &'static str,
    data: &'a Paper,
}

/// `GET /invoices/{id}/pdf`.
pub(super) async fn show(State(app): State<App>, session: Session, Path(id): Path<InvoiceId>) -> Result<Response> {
    let invoice = read(&app, &session, id, Action::Execute, "PDF").await?;
    let bytes = typeset(&app, &Job { template: "invoice", data: &Paper::from(&invoice) }).await?;
    let name = format!("inline; filename=\"invoice-{:06}.pdf\"", invoice.number.0);
    Ok(([(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, name)], bytes).into_response())
}

/// Says what failed without what was in it: the program's own words could hold a patient's name.
fn away(what: &str) -> Error {
    tracing::error!("the typeset program {what}");
    Error::Unavailable("The PDF could not be made. The invoice is safe: print it from its page, and tell the practice's admin.".into())
}

async fn typeset(app: &App, job: &Job<'_>) -> Result<Vec<u8>> {
    let input = serde_json::to_vec(job).map_err(Error::internal)?;
    let work = async {
        let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
        let mut child = Command::new(&app.typeset)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| away(&format!("could not be started: {e}")))?;
        let mut stdin = child.stdin.take().ok_or_else(|| away("has no input"))?;
        // It reads all of its input before it writes, so the two can't wait for each other.
        stdin.write_all(&input).await.map_err(|e| away(&format!("took no input: {e}")))?;
        drop(stdin);
        let done = child.wait_with_output().await.map_err(|e| away(&format!("broke off: {e}")))?;
        if !done.status.success() {
            return Err(away(&format!("failed: {}", done.status)));
        }
        if !done.stdout.starts_with(b"%PDF-") {
            return Err(away("gave no PDF"));
        }
        Ok(done.stdout)
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(away("took too long")))
}
