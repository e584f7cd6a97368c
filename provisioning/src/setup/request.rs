//! What the first-run pages ask of root, and what root answers: small files in a folder of the web program's. Every field is
//! checked here again; the web program is not trusted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The only form there is so far.
pub const FORMAT: u32 = 1;

/// One request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`FORMAT`].
    pub format: u32,
    /// The file's name.
    pub id: Uuid,
    /// When it was asked.
    #[serde(with = "time::serde::rfc3339")]
    #[allow(dead_code, reason = "part of the form; root goes by its own clock")]
    pub at: OffsetDateTime,
    /// What.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// A certificate.
    Certificate(Certificate),
    /// Look at the disks again.
    Disks {},
    /// Keep backups there.
    BackupTarget {
        /// Where.
        target: Target,
    },
    /// The last page is done.
    Finish {
        /// The practice that was made.
        practice_id: Uuid,
        /// Whether a place for backups was chosen.
        backup: Backup,
        /// Where alerts are mailed to.
        it_mail: Option<String>,
    },
}

/// Whose certificate.
#[derive(Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Certificate {
    /// The box's own authority signs it, for these names.
    Own {
        /// Names and addresses.
        hosts: Vec<String>,
    },
    /// The practice brought one.
    Given {
        /// PEM, the leaf first.
        chain: String,
        /// PEM.
        key: Zeroizing<String>,
    },
}

/// Whether a place for backups was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backup {
    /// Yes.
    Set,
    /// Later.
    Skipped,
}

/// Where backups go.
// No Debug: it holds passwords.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// A disk at the box.
    Disk {
        /// Of the list that root made.
        disk: String,
        /// Below its top.
        folder: String,
    },
    /// A folder another machine shares the Unix way.
    Nfs {
        /// That machine.
        server: String,
        /// Its shared folder.
        export: String,
        /// Below it.
        folder: String,
    },
    /// A folder another machine shares the Windows way.
    Smb {
        /// That machine.
        server: String,
        /// Its share.
        share: String,
        /// Below it.
        folder: String,
        /// Who may write there.
        user: String,
        /// With this.
        password: Zeroizing<String>,
        /// The user's domain; empty for none.
        #[serde(default)]
        domain: String,
    },
    /// A machine reached by SSH.
    Sftp {
        /// That machine.
        server: String,
        /// Its port.
        port: u16,
        /// Who may write there.
        user: String,
        /// Where.
        folder: String,
        /// Its key's fingerprint, once somebody compared it.
        host_key: Option<String>,
    },
    /// A rest-server of restic's.
    Rest {
        /// Its address.
        url: String,
        /// Who may write there.
        user: String,
        /// With this.
        password: Zeroizing<String>,
        /// Who signed its certificate, as PEM, where that is not a public authority.
        authority: Option<String>,
    },
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Under way.
    Working,
    /// Done.
    Good,
    /// Not done.
    Bad,
    /// Something must be compared first.
    Confirm,
}

/// The answer, written over and over as it goes on.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// [`FORMAT`].
    pub format: u32,
    /// The request's.
    pub id: Uuid,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How far.
    pub state: Progress,
    /// How far, of a hundred.
    pub percent: Option<u8>,
    /// One sentence for the person.
    pub said: String,
    /// What to do.
    #[serde(rename = "do")]
    pub to_do: Option<String>,
    /// The field an error belongs to.
    pub field: Option<&'static str>,
    /// What to compare.
    pub confirm: Option<Confirm>,
}

/// Two keys to be compared or carried over by hand.
#[derive(Debug, Clone, Serialize)]
pub struct Confirm {
    /// The other machine's.
    pub host_key: String,
    /// The box's, to be allowed on the other machine.
    pub public_key: String,
}

/// A field that can't be used.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{rule}")]
pub struct Refused {
    /// Which.
    pub field: &'static str,
    /// Why.
    pub rule: &'static str,
}

fn refuse(field: &'static str, rule: &'static str) -> Result<(), Refused> {
    Err(Refused { field, rule })
}

/// A relative folder without surprises.
fn folder(text: &str, absolute: bool) -> Result<(), Refused> {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    if text.is_empty() || text.len() > 100 || !plain {
        return refuse(
            "folder",
            "A folder's name has up to 100 letters, digits, dots, hyphens and slashes.",
        );
    }
    if text.split('/').any(|part| part == "..")
        || (text.starts_with('/') && !absolute)
        || text.starts_with('-')
    {
        return refuse("folder", "The folder must lie below the place chosen.");
    }
    Ok(())
}

fn server(text: &str) -> Result<(), Refused> {
    let name = !text.is_empty()
        && text.len() <= 253
        && !text.starts_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    if name || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    refuse(
        "server",
        "This is neither a name such as nas.local nor an address such as 192.168.1.20.",
    )
}

fn user(text: &str) -> Result<(), Refused> {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c));
    if text.is_empty() || text.len() > 64 || !plain || text.starts_with('-') {
        return refuse(
            "user",
            "A user's name has up to 64 letters, digits, dots, hyphens and underscores.",
        );
    }
    Ok(())
}

impl Target {
    /// Looks at each field.
    ///
    /// # Errors
    /// The first that can't be used.
    pub fn check(&self) -> Result<(), Refused> {
        let no_lines = |field, text: &str| {
            if text.chars().any(char::is_control) {
                return refuse(
                    field,
                    "This has a line break or another control character in it.",
                );
            }
            Ok(())
        };
        match self {
            Self::Disk { disk, folder: path } => {
                if disk.is_empty()
                    || disk.len() > 64
                    || !disk
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c))
                {
                    return refuse("disk", "Choose one of the disks listed.");
                }
                folder(path, false)
            }
            Self::Nfs {
                server: host,
                export,
                folder: path,
            } => {
                server(host)?;
                if !export.starts_with('/')
                    || export.len() > 200
                    || export.contains(char::is_whitespace)
                {
                    return refuse(
                        "export",
                        "A shared folder begins with a slash, such as /volume1/backup.",
                    );
                }
                no_lines("export", export)?;
                folder(path, false)
            }
            Self::Smb {
                server: host,
                share,
                folder: path,
                user: who,
                password,
                domain,
            } => {
                server(host)?;
                if share.is_empty() || share.len() > 80 || share.contains(['/', '\\', ',']) {
                    return refuse("share", "A share's name has no slashes and no commas.");
                }
                no_lines("share", share)?;
                user(who)?;
                no_lines("password", password)?;
                no_lines("domain", domain)?;
                folder(path, false)
            }
            Self::Sftp {
                server: host,
                port,
                user: who,
                folder: path,
                host_key,
            } => {
                server(host)?;
                if *port == 0 {
                    return refuse("port", "A port is a number from 1 to 65535; SSH's is 22.");
                }
                user(who)?;
                if host_key.as_ref().is_some_and(|key| {
                    !key.starts_with("SHA256:") || key.contains(char::is_whitespace)
                }) {
                    return refuse("host_key", "A fingerprint begins with SHA256:.");
                }
                folder(path, true)
            }
            Self::Rest {
                url,
                user: who,
                password,
                ..
            } => {
                if !url.starts_with("https://")
                    || url.len() > 300
                    || url.contains(char::is_whitespace)
                    || url.contains('@')
                {
                    return refuse(
                        "url",
                        "The address begins with https:// and holds neither user nor password.",
                    );
                }
                user(who)?;
                no_lines("password", password)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(json: &str) -> serde_json::Result<Ask> {
        serde_json::from_str(json)
    }

    #[test]
    fn the_forms_the_pages_send_are_read() {
        for json in [
            r#"{"kind":"certificate","source":"own","hosts":["clinic.local"]}"#,
            r#"{"kind":"certificate","source":"given","chain":"PEM","key":"PEM"}"#,
            r#"{"kind":"disks"}"#,
            r#"{"kind":"backup-target","target":{"type":"disk","disk":"1234-ABCD","folder":"hadada-backup"}}"#,
            r#"{"kind":"backup-target","target":{"type":"sftp","server":"nas","port":22,"user":"h","folder":"/srv/h","host_key":null}}"#,
            r#"{"kind":"finish","practice_id":"018f0000-0000-7000-8000-000000000000","backup":"skipped","it_mail":null}"#,
        ] {
            ask(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        }
    }

    #[test]
    fn anything_else_is_not() {
        for json in [
            r#"{"kind":"shell","command":"id"}"#,
            r#"{"kind":"disks","also":1}"#,
            r#"{"kind":"backup-target","target":{"type":"disk","disk":"x","folder":"y","run":"z"}}"#,
            r#"{"kind":"finish","practice_id":"1","backup":"skipped","it_mail":null}"#,
        ] {
            assert!(ask(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_target_can_not_reach_outside_its_place() {
        let disk = |folder: &str| {
            Target::Disk {
                disk: "1234-ABCD".into(),
                folder: folder.into(),
            }
            .check()
            .map_err(|e| e.field)
        };
        assert_eq!(disk("hadada/backup"), Ok(()));
        for wrong in ["", "/etc", "../etc", "a/../../etc", "-rf", "a b", "a\nb"] {
            assert_eq!(disk(wrong), Err("folder"), "{wrong:?}");
        }
        let nfs = |server: &str, export: &str| {
            Target::Nfs {
                server: server.into(),
                export: export.into(),
                folder: "h".into(),
            }
            .check()
            .map_err(|e| e.field)
        };
        assert_eq!(nfs("nas.local", "/volume1/backup"), Ok(()));
        assert_eq!(nfs("-oProxyCommand=x", "/a"), Err("server"));
        assert_eq!(nfs("nas", "relative"), Err("export"));
    }
}
