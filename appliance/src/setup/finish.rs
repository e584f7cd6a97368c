//! The last step: the practice comes into being, in one transaction, and root is told to forget the wizard's secrets.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderValue, header};
use tokio_util::sync::CancellationToken;

use super::certificate::send;
use super::code::Visitor;
use super::pages::{StepLink, go, steps};
use super::progress::{Progress, Step};
use super::request::{Ask, Backup};
use super::store;
use crate::accounts::{NewUser, create_user};
use crate::db::{Action, Actor, AuditEvent, PracticeTx};
use crate::error::{Error, Result};
use crate::ids::PracticeId;
use crate::web::{App, Page, Role, html};

/// `setup/finish.html`.
#[derive(serde::Serialize)]
pub(super) struct FinishPage {
    steps: Vec<StepLink>,
    practice: String,
    admin: String,
    username: String,
    certificate: &'static str,
    backup: String,
    backup_skipped: bool,
}

impl Page for FinishPage {
    const TEMPLATE: &'static str = "setup/finish.html";
    fn samples() -> Vec<Self> {
        [false, true]
            .map(|backup_skipped| Self {
                steps: steps(&Progress::default(), Step::Finish),
                practice: "Rosebank Rehab".into(),
                admin: "Anneke Vermeulen".into(),
                username: "anneke".into(),
                certificate: "The box's own authority",
                backup: "nas.local, share backup".into(),
                backup_skipped,
            })
            .into()
    }
}

/// `GET /setup/finish`
pub(super) async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let progress = &visitor.row.progress;
    if progress.next() != Step::Finish {
        return Ok(go(progress.next()));
    }
    let (practice, admin) = (
        progress.practice.clone().unwrap_or_default(),
        progress.admin.clone().unwrap_or_default(),
    );
    html(
        &app,
        &FinishPage {
            steps: steps(progress, Step::Finish),
            practice: practice.name,
            admin: admin.display_name,
            username: admin.username,
            certificate: if progress.certificate.source == "given" {
                "A certificate that was brought"
            } else {
                "The box's own authority"
            },
            backup: progress.backup.described.clone(),
            backup_skipped: progress.backup.outcome == Some(Backup::Skipped),
        },
    )
}

/// `POST /setup/finish`
pub(super) async fn open(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let now = visitor.now;
    let session = visitor.row.session_hash.clone();
    if visitor.row.progress.next() != Step::Finish {
        return Ok(go(visitor.row.progress.next()));
    }
    // The row is locked again inside the transaction that makes the practice.
    drop(visitor);
    let id = PracticeId::random();
    app.keys.create_practice(id).await?;
    let event = AuditEvent::new(Action::Create, "Organization")
        .id(id.0)
        .reason("first-run set-up");
    let mut tx = PracticeTx::open_with(&app.db, &Actor::system(id, "setup"), now, event).await?;
    let mut row = store::row(tx.conn()).await?;
    let (Some(practice), Some(admin), true) = (
        row.progress.practice.clone(),
        row.progress.admin.clone(),
        row.session_hash == session
            && row.finished_at.is_none()
            && row.progress.next() == Step::Finish
            && !store::practice_exists(tx.conn()).await?,
    ) else {
        return Ok(Redirect::to("/setup").into_response());
    };
    store::insert_practice(tx.conn(), id, &practice).await?;
    let user = create_user(
        tx.conn(),
        id,
        &NewUser {
            username: &admin.username,
            display_name: &admin.display_name,
            role: Role::Admin,
            practitioner: None,
            password_hash: &admin.password_hash,
        },
    )
    .await?;
    tx.record(
        AuditEvent::new(Action::Create, "User")
            .id(user.0)
            .reason("first admin"),
    )
    .await?;
    // What is left is what root has yet to be told.
    row.finished_at = Some(now);
    row.session_hash = None;
    row.progress = Progress {
        practice_id: Some(id),
        admin: Some(super::progress::Admin {
            it_mail: admin.it_mail,
            ..super::progress::Admin::default()
        }),
        backup: super::progress::BackupStep {
            outcome: row.progress.backup.outcome,
            ..super::progress::BackupStep::default()
        },
        ..Progress::default()
    };
    store::save(tx.conn(), &row, now).await?;
    tx.commit().await?;
    app.has_practice.store(true, Ordering::Relaxed);
    tracing::info!(practice = %id, "the practice was opened");
    if let Err(error) = tell_root(&app, &row.progress).await {
        tracing::error!(%error, "root was not told; the next start tells it");
    }
    let gone = HeaderValue::from_static(
        "__Host-hadada-setup=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0",
    );
    Ok((
        [(header::SET_COOKIE, gone)],
        Redirect::to("/login?ready=true"),
    )
        .into_response())
}

async fn tell_root(app: &App, progress: &Progress) -> Result<()> {
    let practice_id = progress
        .practice_id
        .ok_or_else(|| Error::internal("there is no practice to tell of"))?;
    let it_mail = progress
        .admin
        .as_ref()
        .map(|a| a.it_mail.clone())
        .filter(|m| !m.is_empty());
    let ask = Ask::Finish {
        practice_id,
        backup: progress.backup.outcome.unwrap_or(Backup::Skipped),
        it_mail,
    };
    send(app, app.clock.now(), ask).await?;
    Ok(())
}

/// After a start: where the practice was opened and root still keeps the code, root was not told.
pub async fn settle(app: App, stop: CancellationToken) {
    loop {
        let told = async {
            if !app.config.setup_dir.join("code.sha256").exists() {
                return Ok(());
            }
            let mut connection = app.db.records.acquire().await?;
            let row = store::row(&mut connection).await?;
            drop(connection);
            if row.finished_at.is_some() {
                tell_root(&app, &row.progress).await?;
            }
            Ok::<_, Error>(())
        };
        match told.await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "the wizard's end waits"),
        }
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_secs(10)) => {}
            () = stop.cancelled() => return,
        }
    }
}
