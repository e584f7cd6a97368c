//! The disk's LUKS2 header: which keys open it. The only file that starts cryptsetup and systemd-cryptenroll.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use zeroize::Zeroizing;

use super::NAME;
use crate::files;
use crate::process::{run, succeeds};

/// Secure Boot's state: who may start a system on this machine.
const PCRS: &str = "7";
/// Else cryptsetup asks the TPM first, and whatever key is given opens the volume.
const BY_KEY: &str = "--disable-external-tokens";
/// A recovery key's letters (64 of 16 kinds: 256 bits), in groups of eight.
const LETTERS: usize = 64;

/// A key in a file that is in memory only, and gone when dropped.
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// Keeps `key` until dropped.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn new(key: &[u8]) -> Result<Self> {
        files::make_folder(Path::new("/run/hadada-disk"), 0o700)?;
        let path = PathBuf::from("/run/hadada-disk/key");
        files::replace(&path, 0o600, key)?;
        Ok(Self(path))
    }

    fn path(&self) -> &OsStr {
        self.0.as_os_str()
    }

    fn unlock(&self) -> OsString {
        let mut option = OsString::from("--unlock-key-file=");
        option.push(self.path());
        option
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What a person typed, as the recovery key is written: small letters, in groups of eight.
///
/// # Errors
/// When it has not as many letters as a recovery key.
pub fn recovery_key(typed: &str) -> Result<Zeroizing<String>> {
    let letters: Zeroizing<String> = Zeroizing::new(
        typed
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .flat_map(char::to_lowercase)
            .collect(),
    );
    let count = letters.chars().count();
    if count != LETTERS {
        bail!(
            "the disk's recovery key has {LETTERS} letters, in eight groups of eight; {count} were typed"
        );
    }
    if let Some(other) = letters.chars().find(|c| !"cbdefghijklnrtuv".contains(*c)) {
        bail!(
            "the disk's recovery key has no {other:?}: its letters are b c d e f g h i j k l n r t u v"
        );
    }
    let mut key = Zeroizing::new(String::with_capacity(LETTERS + 7));
    for (place, letter) in letters.chars().enumerate() {
        if place > 0 && place % 8 == 0 {
            key.push('-');
        }
        key.push(letter);
    }
    Ok(key)
}

/// Makes a new, empty LUKS2 volume that `key` opens.
///
/// # Errors
/// When cryptsetup can't.
pub fn format(device: &Path, key: &KeyFile) -> Result<()> {
    // The key is 64 random bytes: making it slow to guess would only make it slow to use.
    let mut arguments: Vec<&OsStr> = [
        "luksFormat",
        "--batch-mode",
        "--type",
        "luks2",
        "--label",
        NAME,
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
    ]
    .map(OsStr::new)
    .to_vec();
    arguments.extend([key.path(), device.as_os_str()]);
    run("cryptsetup", arguments).map(drop)
}

/// Opens the volume.
///
/// # Errors
/// When the key does not open it.
pub fn open(device: &Path, key: &KeyFile) -> Result<()> {
    run(
        "cryptsetup",
        [
            "open".as_ref(),
            BY_KEY.as_ref(),
            "--allow-discards".as_ref(),
            "--key-file".as_ref(),
            key.path(),
            device.as_os_str(),
            NAME.as_ref(),
        ],
    )
    .map(drop)
}

/// Closes it again.
///
/// # Errors
/// When it is in use.
pub fn close() -> Result<()> {
    run("cryptsetup", ["close", NAME]).map(drop)
}

/// Destroys every key that opens it: what is on it stays closed for ever.
///
/// # Errors
/// When it is in use, or can't be written.
pub fn erase(device: &Path) -> Result<()> {
    run(
        "cryptsetup",
        [
            "erase".as_ref(),
            "--batch-mode".as_ref(),
            device.as_os_str(),
        ],
    )
    .map(drop)
}

/// Whether the key opens the volume.
pub fn opens(device: &Path, key: &KeyFile) -> bool {
    succeeds(
        "cryptsetup",
        [
            "open".as_ref(),
            BY_KEY.as_ref(),
            "--test-passphrase".as_ref(),
            "--key-file".as_ref(),
            key.path(),
            device.as_os_str(),
        ],
    )
}

/// Makes another recovery key, and gives it; those before it still open the volume.
///
/// # Errors
/// When systemd-cryptenroll can't.
pub fn add_recovery(device: &Path, key: &KeyFile) -> Result<Zeroizing<String>> {
    let said = Zeroizing::new(run(
        "systemd-cryptenroll",
        [
            OsStr::new("--recovery-key"),
            &key.unlock(),
            device.as_os_str(),
        ],
    )?);
    recovery_key(said.trim())
}

/// Lets this machine's TPM open the volume, as long as Secure Boot's state stays; TPMs before it no longer do.
///
/// # Errors
/// When systemd-cryptenroll can't.
pub fn bind_tpm(device: &Path, key: &KeyFile) -> Result<()> {
    // First, and by itself: where another TPM's Secure Boot state is the same, which on a board of the same make it is,
    // systemd-cryptenroll takes its slot for this one's and does nothing. Until it is bound anew, the paper opens the disk.
    run(
        "systemd-cryptenroll",
        [OsStr::new("--wipe-slot=tpm2"), device.as_os_str()],
    )?;
    run(
        "systemd-cryptenroll",
        [
            OsStr::new("--tpm2-device=auto"),
            OsStr::new(&format!("--tpm2-pcrs={PCRS}")),
            &key.unlock(),
            device.as_os_str(),
        ],
    )
    .map(drop)
}

/// Makes this key void.
///
/// # Errors
/// When cryptsetup can't.
pub fn remove(device: &Path, key: &KeyFile) -> Result<()> {
    run(
        "cryptsetup",
        [
            "luksRemoveKey".as_ref(),
            "--batch-mode".as_ref(),
            device.as_os_str(),
            key.path(),
        ],
    )
    .map(drop)
}

/// Makes a slot's key void, whatever it is.
///
/// # Errors
/// When systemd-cryptenroll can't.
pub fn wipe(device: &Path, slot: u64) -> Result<()> {
    run(
        "systemd-cryptenroll",
        [
            OsStr::new(&format!("--wipe-slot={slot}")),
            device.as_os_str(),
        ],
    )
    .map(drop)
}

/// What opens a volume.
pub struct Header {
    /// How many keys.
    pub slots: usize,
    /// The kinds of those that systemd made, such as `systemd-tpm2`, each with its slot.
    pub tokens: Vec<(String, u64)>,
}

impl Header {
    /// Reads a volume's header.
    ///
    /// # Errors
    /// When it has none.
    pub fn read(device: &Path) -> Result<Self> {
        let dump = run(
            "cryptsetup",
            [
                "luksDump".as_ref(),
                "--dump-json-metadata".as_ref(),
                device.as_os_str(),
            ],
        )?;
        Self::parse(&dump).context("the disk's header is not as LUKS2 has it")
    }

    fn parse(dump: &str) -> Result<Self> {
        let header: Value = serde_json::from_str(dump)?;
        let tokens = header["tokens"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, token)| {
                Some((
                    token["type"].as_str()?.to_owned(),
                    token["keyslots"].get(0)?.as_str()?.parse().ok()?,
                ))
            })
            .collect();
        Ok(Self {
            slots: header["keyslots"]
                .as_object()
                .map_or(0, serde_json::Map::len),
            tokens,
        })
    }

    /// The slots of recovery keys.
    pub fn recovery_slots(&self) -> Vec<u64> {
        self.tokens
            .iter()
            .filter(|(kind, _)| kind == "systemd-recovery")
            .map(|(_, slot)| *slot)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_is_read_as_people_type_it() {
        let written = "cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv";
        assert_eq!(recovery_key(written).unwrap().as_str(), written);
        let shouted = written.to_uppercase().replace('-', " ");
        assert_eq!(
            recovery_key(&format!(" {shouted}\n")).unwrap().as_str(),
            written
        );
    }

    #[test]
    fn another_key_is_refused_with_the_reason() {
        let said = recovery_key("cbdefghi-jklnrtuv").unwrap_err().to_string();
        assert!(
            said.contains("64 letters") && said.contains("16 were typed"),
            "{said}"
        );
        let said = recovery_key(&"a".repeat(64)).unwrap_err().to_string();
        assert!(said.contains("no 'a'"), "{said}");
    }

    #[test]
    fn the_header_says_what_opens_the_volume() {
        let header = Header::parse(
            r#"{"keyslots":{"1":{},"2":{}},"tokens":{"0":{"type":"systemd-recovery","keyslots":["1"]},"1":{"type":"systemd-tpm2","keyslots":["2"]}}}"#,
        )
        .unwrap();
        assert_eq!(header.slots, 2);
        assert_eq!(header.recovery_slots(), [1]);
        assert!(Header::parse("no header").is_err());
    }
}
