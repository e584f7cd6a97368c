//! The place for backups: root tries it before it is used. It may be left for later, and the state page says so until it is
//! there.

use axum::extract::State;
use axum::response::Response;

use super::certificate::send;
use super::code::Visitor;
use super::pages::{self, Errors, Progressing, StepLink, by_field, go, steps, wrong};
use super::progress::{Progress, Step};
use super::request::{self, Ask, Backup, State as Stand, Target};
use super::rules;
use crate::error::{Error, Problems, Result};
use crate::watch::bytes_text;
use crate::web::{App, Form, Page, html, optional_text, required_text};

/// A disk that root found.
#[derive(Clone, Debug, serde::Deserialize)]
struct Disk {
    id: String,
    label: String,
    #[serde(default)]
    mount: Option<String>,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    free: Option<u64>,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Choice {
    value: String,
    label: String,
}

/// Where backups may go, as typed. Passwords are not sent back.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub(super) struct Typed {
    kind: String,
    disk: String,
    disk_folder: String,
    nfs_server: String,
    nfs_export: String,
    nfs_folder: String,
    smb_server: String,
    smb_share: String,
    smb_folder: String,
    smb_user: String,
    #[serde(skip_serializing)]
    smb_password: String,
    smb_domain: String,
    sftp_server: String,
    sftp_port: String,
    sftp_user: String,
    sftp_folder: String,
    rest_url: String,
    rest_user: String,
    #[serde(skip_serializing)]
    rest_password: String,
    rest_authority: String,
}

impl Typed {
    fn first() -> Self {
        Self {
            kind: "disk".into(),
            disk_folder: "hadada-backup".into(),
            nfs_folder: "hadada".into(),
            smb_folder: "hadada".into(),
            sftp_port: "22".into(),
            sftp_folder: "/srv/hadada".into(),
            ..Self::default()
        }
    }
}

/// `setup/backup.html`.
#[derive(serde::Serialize)]
pub(super) struct BackupPage {
    steps: Vec<StepLink>,
    errors: Errors,
    typed: Typed,
    disks: Vec<Choice>,
    progressing: Option<Progressing>,
    described: String,
    /// `set`, `skipped` or empty.
    outcome: &'static str,
}

impl Page for BackupPage {
    const TEMPLATE: &'static str = "setup/backup.html";
    fn samples() -> Vec<Self> {
        let page = |progressing, errors, outcome, disks| Self {
            steps: steps(&Progress::default(), Step::Backup),
            errors,
            typed: Typed::first(),
            disks,
            progressing,
            described: "nas.local, share backup".into(),
            outcome,
        };
        let disk = || {
            vec![Choice {
                value: "a".into(),
                label: "USB disk, 2 TB".into(),
            }]
        };
        let mut samples = vec![
            page(None, Errors::new(), "set", disk()),
            page(None, Errors::new(), "skipped", Vec::new()),
            page(
                None,
                Errors::from([("disk".into(), "Choose a disk.".into())]),
                "",
                Vec::new(),
            ),
        ];
        samples.extend(
            Progressing::samples()
                .into_iter()
                .map(|p| page(Some(p), Errors::new(), "", disk())),
        );
        samples
    }
}

const POLL: &str = "/setup/backup/progress";

/// What root found wrong with the place, at the field it belongs to. Root's names are the target's, this page's begin with the
/// kind of place.
fn refused(app: &App, progress: &Progress) -> Errors {
    let answer = progress
        .backup
        .request
        .and_then(|id| request::answer(&app.config.requests_dir, id))
        .filter(|answer| answer.state == Stand::Bad);
    let kind = progress.backup.typed.kind.as_str();
    let mut errors = Errors::new();
    if let Some(answer) = answer
        && let Some(field) = answer.field
    {
        let field = match (kind, field.as_str()) {
            ("disk", "disk") => "disk".to_owned(),
            (kind, field) => format!("{kind}_{field}"),
        };
        errors.insert(field, answer.said);
    }
    errors
}

async fn disks(app: &App) -> Vec<Disk> {
    let Ok(text) = tokio::fs::read(app.config.setup_dir.join("disks.json")).await else {
        return Vec::new();
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the list of disks can't be read");
        Vec::new()
    })
}

fn choices(disks: &[Disk]) -> Vec<Choice> {
    disks
        .iter()
        .map(|d| {
            let free = d
                .free
                .map_or_else(String::new, |free| format!(", {} free", bytes_text(free)));
            let at = d
                .mount
                .as_deref()
                .map_or_else(String::new, |mount| format!(", at {mount}"));
            Choice {
                value: d.id.clone(),
                label: format!("{}, {}{free}{at}", d.label, bytes_text(d.bytes)),
            }
        })
        .collect()
}

fn outcome(progress: &Progress) -> &'static str {
    match progress.backup.outcome {
        Some(Backup::Set) => "set",
        Some(Backup::Skipped) => "skipped",
        None => "",
    }
}

fn look(app: &App, visitor: &mut Visitor) -> Option<Progressing> {
    let step = &mut visitor.row.progress.backup;
    let id = step.request?;
    let answer = request::answer(&app.config.requests_dir, id);
    let waited = visitor.now.unix_timestamp() - step.asked_at;
    let shown = Progressing::of(POLL, answer.as_ref(), waited, Step::Recovery.path());
    match answer {
        Some(a) if a.state == Stand::Good => step.outcome = Some(Backup::Set),
        Some(a) if a.state == Stand::Confirm => step.confirm = a.confirm,
        _ => {}
    }
    Some(shown)
}

/// `GET /setup/backup`
pub(super) async fn show(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Backup) {
        return Ok(go(visitor.row.progress.next()));
    }
    let progressing = look(&app, &mut visitor);
    let progress = &visitor.row.progress;
    let page = BackupPage {
        steps: steps(progress, Step::Backup),
        errors: refused(&app, progress),
        typed: if progress.backup.typed.kind.is_empty() {
            Typed::first()
        } else {
            progress.backup.typed.clone()
        },
        disks: choices(&disks(&app).await),
        progressing,
        described: progress.backup.described.clone(),
        outcome: outcome(progress),
    };
    visitor.save().await?;
    html(&app, &page)
}

/// `GET /setup/backup/progress`: asked every second while it is under way.
pub(super) async fn progress(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    let progressing = look(&app, &mut visitor).ok_or(Error::NotFound)?;
    if progressing.is_over() {
        visitor.save().await?;
    }
    html(&app, &pages::ProgressFragment { progressing })
}

fn place(problems: &mut Problems, field: &'static str, text: &str) -> String {
    let found = rules::host(text).ok_or("Write a name such as nas.local, or an address.");
    problems.take(field, found).unwrap_or_default()
}

fn below(problems: &mut Problems, field: &'static str, text: &str, absolute: bool) -> String {
    let found = rules::folder(text, absolute)
        .ok_or("Use letters, digits, dots, hyphens and slashes only, such as hadada/backup.");
    problems.take(field, found).unwrap_or_default()
}

fn read(typed: &Typed, disks: &[Disk]) -> Result<(Target, String)> {
    let mut p = Problems::new();
    let target = match typed.kind.as_str() {
        "disk" => {
            if !disks.iter().any(|d| d.id == typed.disk) {
                p.add("disk", "Choose one of the disks.");
            }
            Target::Disk {
                disk: typed.disk.clone(),
                folder: below(&mut p, "disk_folder", &typed.disk_folder, false),
            }
        }
        "nfs" => {
            let export = rules::folder(&typed.nfs_export, true)
                .filter(|e| e.starts_with('/'))
                .ok_or("Write the exported path, such as /volume1/backup.");
            Target::Nfs {
                server: place(&mut p, "nfs_server", &typed.nfs_server),
                export: p.take("nfs_export", export).unwrap_or_default(),
                folder: below(&mut p, "nfs_folder", &typed.nfs_folder, false),
            }
        }
        "smb" => {
            let share = required_text(&mut p, "smb_share", &typed.smb_share, 80);
            if share.contains(['/', '\\', ',', '"']) {
                p.add(
                    "smb_share",
                    "Write the name of the share only, without slashes.",
                );
            }
            Target::Smb {
                server: place(&mut p, "smb_server", &typed.smb_server),
                share,
                folder: below(&mut p, "smb_folder", &typed.smb_folder, false),
                user: required_text(&mut p, "smb_user", &typed.smb_user, 80),
                password: required_text(&mut p, "smb_password", &typed.smb_password, 200),
                domain: optional_text(&mut p, "smb_domain", Some(&typed.smb_domain), 80),
            }
        }
        "sftp" => {
            let port = typed
                .sftp_port
                .trim()
                .parse::<u16>()
                .ok()
                .filter(|p| *p > 0)
                .ok_or("A port is a number from 1 to 65535; usually 22.");
            let user = required_text(&mut p, "sftp_user", &typed.sftp_user, 40);
            if !user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                || user.starts_with('-')
            {
                p.add("sftp_user", "Use letters, digits, dots and hyphens only.");
            }
            Target::Sftp {
                server: place(&mut p, "sftp_server", &typed.sftp_server),
                port: p.take("sftp_port", port).unwrap_or(22),
                user,
                folder: below(&mut p, "sftp_folder", &typed.sftp_folder, true),
                host_key: None,
            }
        }
        "rest" => {
            let url = required_text(&mut p, "rest_url", &typed.rest_url, 200);
            let fits = url.parse::<http::Uri>().is_ok_and(|u| {
                u.scheme_str() == Some("https")
                    && u.host().is_some_and(|h| rules::host(h).is_some())
            });
            if !url.is_empty() && (!fits || url.contains('@')) {
                p.add("rest_url", "Write an address that begins with https://, such as https://backup.local:8000/hadada/.");
            }
            let authority = typed.rest_authority.trim();
            if authority.len() > 16 * 1024
                || (!authority.is_empty() && !authority.starts_with("-----BEGIN CERTIFICATE-----"))
            {
                p.add("rest_authority", "This is not a certificate in PEM form.");
            }
            Target::Rest {
                url,
                user: required_text(&mut p, "rest_user", &typed.rest_user, 80),
                password: required_text(&mut p, "rest_password", &typed.rest_password, 200),
                authority: (!authority.is_empty()).then(|| format!("{authority}\n")),
            }
        }
        _ => return Err(Error::field("kind", "Choose where the backups go.")),
    };
    p.check()?;
    let described = describe(&target, disks);
    Ok((target, described))
}

fn describe(target: &Target, disks: &[Disk]) -> String {
    match target {
        Target::Disk { disk, folder } => {
            let label = disks
                .iter()
                .find(|d| d.id == *disk)
                .map_or(disk.as_str(), |d| d.label.as_str());
            format!("{label}, folder {folder}")
        }
        Target::Nfs { server, export, .. } => format!("{server}, NFS share {export}"),
        Target::Smb { server, share, .. } => format!("{server}, share {share}"),
        Target::Sftp {
            server,
            folder,
            user,
            ..
        } => format!("{user} at {server}, folder {folder}"),
        Target::Rest { url, .. } => url.clone(),
    }
}

/// `POST /setup/backup`
pub(super) async fn ask(
    State(app): State<App>,
    mut visitor: Visitor,
    Form(typed): Form<Typed>,
) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Backup) {
        return Ok(go(visitor.row.progress.next()));
    }
    let disks = disks(&app).await;
    let (target, described) = match read(&typed, &disks) {
        Ok(read) => read,
        Err(Error::Invalid(fields)) => {
            return wrong(
                &app,
                &BackupPage {
                    steps: steps(&visitor.row.progress, Step::Backup),
                    errors: by_field(fields),
                    typed,
                    disks: choices(&disks),
                    progressing: None,
                    described: String::new(),
                    outcome: outcome(&visitor.row.progress),
                },
            );
        }
        Err(other) => return Err(other),
    };
    let sftp = matches!(target, Target::Sftp { .. }).then(|| target.clone());
    asked(&app, &mut visitor, target).await?;
    let step = &mut visitor.row.progress.backup;
    step.described = described;
    step.sftp = sftp;
    step.typed = Typed {
        smb_password: String::new(),
        rest_password: String::new(),
        ..typed
    };
    visitor.save().await?;
    Ok(go(Step::Backup))
}

async fn asked(app: &App, visitor: &mut Visitor, target: Target) -> Result<()> {
    let id = send(app, visitor.now, Ask::BackupTarget { target }).await?;
    let step = &mut visitor.row.progress.backup;
    step.request = Some(id);
    step.asked_at = visitor.now.unix_timestamp();
    step.confirm = None;
    step.outcome = None;
    Ok(())
}

/// `POST /setup/backup/confirm`: the other machine's key was compared.
pub(super) async fn confirm(State(app): State<App>, mut visitor: Visitor) -> Result<Response> {
    let step = &visitor.row.progress.backup;
    let (
        Some(Target::Sftp {
            server,
            port,
            user,
            folder,
            ..
        }),
        Some(confirm),
    ) = (step.sftp.clone(), step.confirm.clone())
    else {
        return Ok(go(Step::Backup));
    };
    let target = Target::Sftp {
        server,
        port,
        user,
        folder,
        host_key: Some(confirm.host_key),
    };
    asked(&app, &mut visitor, target).await?;
    visitor.save().await?;
    Ok(go(Step::Backup))
}

/// `POST /setup/backup/skip`
pub(super) async fn skip(State(_): State<App>, mut visitor: Visitor) -> Result<Response> {
    if !visitor.row.progress.may_open(Step::Backup) {
        return Ok(go(visitor.row.progress.next()));
    }
    let step = &mut visitor.row.progress.backup;
    if step.outcome != Some(Backup::Set) {
        step.outcome = Some(Backup::Skipped);
        step.request = None;
    }
    let next = visitor.row.progress.next();
    visitor.save().await?;
    Ok(go(next))
}

/// `POST /setup/backup/disks`: somebody plugged one in.
pub(super) async fn look_again(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let id = send(&app, visitor.now, Ask::Disks).await?;
    drop(visitor);
    for _ in 0..120 {
        if request::answer(&app.config.requests_dir, id).is_some_and(|a| a.state != Stand::Working)
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    Ok(go(Step::Backup))
}
