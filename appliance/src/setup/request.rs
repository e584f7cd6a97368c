//! What the wizard asks root for. This program has no privileges: it puts a file into the requests folder, `hadadactl setup
//! apply` checks it again, acts and answers in a file beside it, as often as it makes progress.
//!
//! ```text
//! REQUESTS/ID.json         {"format":1, "id":ID, "at":RFC 3339, "ask":{"kind":…}}                        0600, ours
//! REQUESTS/ID.answer.json  {"format":1, "id":ID, "at":RFC 3339, "state":"working"|"good"|"bad"|"confirm",
//!                           "percent":0…100|null, "said":…, "do":…|null, "field":…|null, "confirm":…|null}   root's
//! ```

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::ids::PracticeId;

/// The form of these files.
const FORMAT: u8 = 1;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// 1.
    pub format: u8,
    /// Also the file's name.
    pub id: Uuid,
    /// When, UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// For what.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ask {
    /// Put a certificate in place.
    Certificate {
        /// Which.
        #[serde(flatten)]
        source: Source,
    },
    /// Look again which disks there are.
    Disks,
    /// Try a place for backups and use it.
    BackupTarget {
        /// Where.
        target: Target,
    },
    /// The practice exists and its recovery key is on paper: forget the wizard's secrets.
    Finish {
        /// Which practice.
        practice_id: PracticeId,
        /// `set` or `skipped`.
        backup: Backup,
        /// Where alerts go.
        it_mail: Option<String>,
    },
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum Source {
    /// The box's own authority issues it.
    Own {
        /// Names and addresses that browsers use.
        hosts: Vec<String>,
    },
    /// It was bought, or another authority of the practice issued it.
    Given {
        /// PEM, the server's own first.
        chain: String,
        /// PEM.
        key: String,
    },
}

/// Whether there is a place for backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    /// Tried and in use.
    Set,
    /// Left for later; the state page says so.
    Skipped,
}

/// A place for backups.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// A disk in or at the box.
    Disk {
        /// Its id in `disks.json`.
        disk: String,
        /// Folder on it.
        folder: String,
    },
    /// An NFS share.
    Nfs {
        /// Name or address.
        server: String,
        /// Exported path.
        export: String,
        /// Folder in it.
        folder: String,
    },
    /// An SMB share, as Windows and most NAS have.
    Smb {
        /// Name or address.
        server: String,
        /// Share.
        share: String,
        /// Folder in it.
        folder: String,
        /// Log-in name.
        user: String,
        /// Password.
        password: String,
        /// Windows domain; empty where none.
        domain: String,
    },
    /// Another machine over SSH.
    Sftp {
        /// Name or address.
        server: String,
        /// Port.
        port: u16,
        /// Log-in name.
        user: String,
        /// Folder there.
        folder: String,
        /// The machine's key, `SHA256:…`, once somebody compared it.
        host_key: Option<String>,
    },
    /// A restic REST server.
    Rest {
        /// `https://…`.
        url: String,
        /// Log-in name.
        user: String,
        /// Password.
        password: String,
        /// PEM of its authority, where it has one of its own.
        authority: Option<String>,
    },
}

/// How far root has come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Answer {
    /// The request's id.
    pub id: Uuid,
    /// How it stands.
    pub state: State,
    /// For the bar.
    #[serde(default)]
    pub percent: Option<u8>,
    /// One sentence for staff.
    pub said: String,
    /// What to do.
    #[serde(default, rename = "do")]
    pub what_to_do: Option<String>,
    /// The field of the form that is wrong.
    #[serde(default)]
    pub field: Option<String>,
    /// What somebody has to compare.
    #[serde(default)]
    pub confirm: Option<Confirm>,
}

/// How a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Under way.
    Working,
    /// Done.
    Good,
    /// Refused or failed; nothing was changed.
    Bad,
    /// Somebody has to compare keys first.
    Confirm,
}

/// What somebody has to compare, and to put on the other machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Confirm {
    /// The machine's key.
    pub host_key: String,
    /// The box's public key, for `authorized_keys`.
    pub public_key: String,
}

/// Puts a request into the folder, whole or not at all. Gives its id.
///
/// # Errors
/// When the folder can't be written.
pub fn send(folder: &Path, at: OffsetDateTime, ask: Ask) -> std::io::Result<Uuid> {
    let id = Uuid::now_v7();
    let request = Request {
        format: FORMAT,
        id,
        at,
        ask,
    };
    let fresh = folder.join(format!(".{id}.tmp"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(&serde_json::to_vec(&request)?)?;
    file.sync_all()?;
    std::fs::rename(&fresh, folder.join(format!("{id}.json")))?;
    Ok(id)
}

/// Root's answer so far; none where there is none yet.
#[must_use]
pub fn answer(folder: &Path, id: Uuid) -> Option<Answer> {
    let text = std::fs::read(folder.join(format!("{id}.answer.json"))).ok()?;
    if text.len() > 64 * 1024 {
        return None;
    }
    serde_json::from_slice::<Answer>(&text)
        .ok()
        .filter(|answer| answer.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn requests_have_the_form_that_root_expects() {
        let folder = tempfile::tempdir().unwrap();
        let sent = |ask| {
            let id = send(folder.path(), datetime!(2026-11-24 08:00 UTC), ask).unwrap();
            let text = std::fs::read(folder.path().join(format!("{id}.json"))).unwrap();
            let read: Request = serde_json::from_slice(&text).unwrap();
            assert_eq!(read.id, id);
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["ask"].clone()
        };
        let own = Ask::Certificate {
            source: Source::Own {
                hosts: vec!["clinic.local".into()],
            },
        };
        assert_eq!(
            sent(own),
            json!({"kind": "certificate", "source": "own", "hosts": ["clinic.local"]})
        );
        let target = Target::Nfs {
            server: "nas".into(),
            export: "/backup".into(),
            folder: "hadada".into(),
        };
        assert_eq!(
            sent(Ask::BackupTarget { target }),
            json!({"kind": "backup-target", "target": {"type": "nfs", "server": "nas", "export": "/backup", "folder": "hadada"}})
        );
        assert_eq!(sent(Ask::Disks), json!({"kind": "disks"}));
    }

    #[test]
    fn only_the_answer_to_the_request_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(answer(folder.path(), id), None);
        let put = |text: String| {
            std::fs::write(folder.path().join(format!("{id}.answer.json")), text).unwrap();
        };
        put(format!(
            r#"{{"id":"{other}","state":"good","said":"done"}}"#
        ));
        assert_eq!(answer(folder.path(), id), None);
        put(format!(
            r#"{{"format":1,"id":"{id}","at":"x","state":"bad","said":"no","do":"this","field":"server"}}"#
        ));
        let read = answer(folder.path(), id).unwrap();
        assert_eq!(
            (read.state, read.field.as_deref()),
            (State::Bad, Some("server"))
        );
    }
}
