//! Carries out what the first-run pages ask.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use time::OffsetDateTime;
use uuid::Uuid;

use super::request::{
    Answer, Ask, Backup, Certificate, Confirm, FORMAT, Progress, Refused, Request, Target,
};
use super::{code, disks, target};
use crate::commands;
use crate::facts::{self, Fact, State};
use crate::files;
use crate::place::Place;
use crate::process;
use crate::secrets::{self, CERTIFICATE_KEY, RECOVERY_PAPER};
use crate::settings;
use crate::trust::certificates::{Facts, Host, with_own_hosts};

/// No request is longer; a given certificate has at most 64 kB.
const LONGEST: u64 = 256 << 10;

/// How something asked for ended, where it did not fail.
pub enum Done {
    /// Done; one sentence.
    Good(String),
    /// Something must be compared first.
    Confirm(String, Confirm),
}

/// Says how far it is.
pub struct Reporter<'a> {
    place: &'a Place,
    id: Uuid,
}

impl Reporter<'_> {
    /// Tells the page.
    ///
    /// # Errors
    /// When the answer can't be written.
    pub fn working(&self, percent: u8, said: &str) -> Result<()> {
        println!("{percent:3} %  {said}");
        self.write(Progress::Working, Some(percent), said, None, None, None)
    }

    fn write(
        &self,
        state: Progress,
        percent: Option<u8>,
        said: &str,
        to_do: Option<String>,
        field: Option<&'static str>,
        confirm: Option<Confirm>,
    ) -> Result<()> {
        let answer = Answer {
            format: FORMAT,
            id: self.id,
            at: OffsetDateTime::now_utc(),
            state,
            percent,
            said: said.into(),
            to_do,
            field,
            confirm,
        };
        let path = self
            .place
            .requests()
            .join(format!("{}.answer.json", self.id));
        code::for_web(self.place, &path, &serde_json::to_vec(&answer)?)
    }
}

/// Carries out every request that waits, and drops answers a day old.
///
/// # Errors
/// When the folder can't be read or an answer can't be written. A request that fails is answered, not an error.
pub fn apply(place: &Place, now: OffsetDateTime) -> Result<()> {
    let folder = place.requests();
    if !folder.exists() {
        return Ok(());
    }
    for entry in
        fs::read_dir(&folder).with_context(|| format!("can't read {}", folder.display()))?
    {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".answer.json") {
            let age = fs::metadata(&path)
                .and_then(|file| file.modified())
                .map(OffsetDateTime::from);
            if age.is_ok_and(|at| now - at > time::Duration::DAY) {
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        let Some(id) = name
            .strip_suffix(".json")
            .and_then(|id| id.parse::<Uuid>().ok())
        else {
            continue;
        };
        one(place, &path, id, now)?;
    }
    Ok(())
}

fn one(place: &Place, path: &Path, id: Uuid, now: OffsetDateTime) -> Result<()> {
    let reporter = Reporter { place, id };
    let request = read(path, id);
    let done = request.and_then(|request| carry_out(place, request.ask, &reporter, now));
    // It can hold a password. It goes before the answer that ends the page's waiting, and also where it could not be read.
    fs::remove_file(path).with_context(|| format!("can't remove {}", path.display()))?;
    match done {
        Ok(Done::Good(said)) => {
            println!("done   {said}");
            reporter.write(Progress::Good, Some(100), &said, None, None, None)
        }
        Ok(Done::Confirm(said, confirm)) => {
            reporter.write(Progress::Confirm, None, &said, None, None, Some(confirm))
        }
        Err(error) => {
            eprintln!("hadadactl: {error:#}");
            // A rule that a field breaks is said in words for staff; what programs said about it is for IT.
            let (said, field) = match error.downcast_ref::<Refused>() {
                Some(refused) => (refused.rule.to_owned(), Some(refused.field)),
                None => (format!("{error:#}"), None),
            };
            let to_do = "Correct it and send it again; nothing was changed. On the server, `journalctl -u hadada-setup` says more.".to_owned();
            reporter.write(Progress::Bad, None, &said, Some(to_do), field, None)
        }
    }
}

fn read(path: &Path, id: Uuid) -> Result<Request> {
    // A link could point anywhere root can read.
    if !fs::symlink_metadata(path)?.is_file() {
        bail!("the request is not a file");
    }
    if fs::metadata(path)?.len() > LONGEST {
        bail!("the request is longer than {LONGEST} bytes");
    }
    let content = zeroize::Zeroizing::new(fs::read(path)?);
    let request: Request = serde_json::from_slice(&content)
        .map_err(|error| anyhow::anyhow!("the request can't be read: {error}"))?;
    if request.format != FORMAT || request.id != id {
        bail!("the request is of another form than this release knows");
    }
    Ok(request)
}

fn carry_out(
    place: &Place,
    ask: Ask,
    reporter: &Reporter<'_>,
    now: OffsetDateTime,
) -> Result<Done> {
    // After the last page nobody may change the box from a browser.
    if code::finished(place).exists() {
        // After a crash the end is told twice.
        code::forget(place)?;
        bail!(
            "this box is set up already: what its first-run pages did is now changed with hadadactl on the box"
        );
    }
    match ask {
        Ask::Certificate(Certificate::Own { hosts }) => own_certificate(place, &hosts, now),
        Ask::Certificate(Certificate::Given { chain, key }) => {
            given_certificate(place, &chain, &key, now)
        }
        Ask::Disks {} => {
            disks::write(place)?;
            Ok(Done::Good("The list of disks is fresh.".into()))
        }
        Ask::BackupTarget { target } => {
            target.check()?;
            backup_target(place, &target, reporter)
        }
        Ask::Finish {
            practice_id,
            backup,
            it_mail,
        } => finish(place, practice_id, backup, it_mail.as_deref(), now),
    }
}

fn own_certificate(place: &Place, hosts: &[String], now: OffsetDateTime) -> Result<Done> {
    if hosts.is_empty() || hosts.len() > 8 {
        return Err(Refused {
            field: "hosts",
            rule: "Give one to eight names or addresses.",
        }
        .into());
    }
    let hosts = hosts
        .iter()
        .map(|host| host.parse::<Host>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Refused {
            field: "hosts",
            rule: "A name looks like clinic.local, an address like 192.168.1.10.",
        })?;
    let own = with_own_hosts(&hosts);
    let authority = files::read_if_there(&place.authority())?
        .and_then(|pem| Facts::read(&String::from_utf8_lossy(&pem)).ok());
    let permitted =
        authority.is_some_and(|facts| own.iter().all(|host| facts.permitted.contains(host)));
    if !permitted {
        // No device trusts the first authority yet: the pages that say how are shown once a certificate is chosen.
        commands::certificate::new_authority(place, &own, now)?;
    }
    commands::certificate::issue_into(place, &own, now)?;
    // One that was brought before is not in use any more, so this one is renewed.
    files::remove_file(&place.tls().join(GIVEN))?;
    let known = settings::web(place, "host")?;
    if let Some(first) = hosts.first().map(ToString::to_string)
        && known.as_ref().and_then(toml::Value::as_str) != Some(&first)
    {
        settings::change(place, |document| {
            document["host"] = toml_edit::value(first);
        })?;
        if place.is_installed() {
            // Links, mails and the sheet with the recovery key name the box by it.
            process::run("systemctl", ["try-restart", "hadada.service"])?;
        }
    }
    Ok(Done::Good(format!(
        "The box answers to {} now.",
        hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    )))
}

/// Marks that the certificate is the practice's own: the box renews only what its authority signed.
pub const GIVEN: &str = "given";

fn given_certificate(place: &Place, chain: &str, key: &str, now: OffsetDateTime) -> Result<Done> {
    let facts = Facts::read(chain).map_err(|_| Refused {
        field: "chain",
        rule: "This is not a certificate in PEM form.",
    })?;
    if !facts.has_key(key) {
        return Err(Refused {
            field: "key",
            rule: "This key does not belong to the certificate.",
        }
        .into());
    }
    if now > facts.not_after || now < facts.not_before {
        return Err(Refused {
            field: "chain",
            rule: "The certificate is not valid today.",
        }
        .into());
    }
    secrets::replace(place, CERTIFICATE_KEY, key.as_bytes())?;
    files::replace(&place.certificate(), 0o644, chain.as_bytes())?;
    files::replace(&place.tls().join(GIVEN), 0o644, b"")?;
    if place.is_installed() {
        // Its key is a credential, which systemd hands over when the program starts.
        process::run("systemctl", ["try-restart", "hadada.service"])?;
    }
    Ok(Done::Good(format!(
        "Your certificate is in use, good for {} days.",
        facts.days_left(now)
    )))
}

fn backup_target(place: &Place, wanted: &Target, reporter: &Reporter<'_>) -> Result<Done> {
    target::set(place, wanted, reporter)
}

fn finish(
    place: &Place,
    practice: Uuid,
    backup: Backup,
    it_mail: Option<&str>,
    now: OffsetDateTime,
) -> Result<Done> {
    if let Some(mail) = it_mail {
        let plain = mail.len() <= 254
            && mail
                .split_once('@')
                .is_some_and(|(who, host)| !who.is_empty() && host.contains('.'))
            && !mail
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || "<>\",;".contains(c));
        if !plain {
            return Err(Refused {
                field: "it_mail",
                rule: "This is not a mail address.",
            }
            .into());
        }
        settings::change(place, |document| {
            settings::table(document, &["box", "mail"])["to"] = toml_edit::value(mail);
        })?;
    }
    let said = "The box is set up.";
    let fact = match backup {
        Backup::Set => Fact::good("setup", now, said),
        Backup::Skipped => Fact::fault(
            "setup",
            now,
            State::Warning,
            "No place for backups is set.",
            "Set one: add it to hadada.toml and run `hadadactl backup setup` on the box",
        ),
    };
    facts::write(
        place,
        fact.with("practice", practice.to_string()).with(
            "finished_at",
            now.format(&time::format_description::well_known::Rfc3339)?,
        ),
    )?;
    // From here on the browser can't change the box any more, and the recovery key is on paper only.
    files::replace(&code::finished(place), 0o644, format!("{now}\n").as_bytes())?;
    secrets::remove(place, RECOVERY_PAPER)?;
    code::forget(place)?;
    commands::setup::clear_console(place)?;
    Ok(Done::Good(said.into()))
}
