//! The spool: where the database's log files (WAL) wait until the target has them. The database puts them there one by one
//! and goes on only when each is safely on the disk; it is never stopped because a target is gone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::files;
use crate::place::Place;

/// Blocks of nothing but zeros take no room: a file closed after a minute is mostly those.
const BLOCK: usize = 4096;

/// A log file's name taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    pub timeline: u32,
    log: u32,
    number: u32,
}

impl Segment {
    /// Reads `000000010000000A000000FF`; none for a backup label, a history file or anything else.
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() != 24
            || !name
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
        {
            return None;
        }
        let part = |from: usize| u32::from_str_radix(name.get(from..from + 8)?, 16).ok();
        Some(Self {
            timeline: part(0)?,
            log: part(8)?,
            number: part(16)?,
        })
    }

    /// The one after it on the same timeline, with files of this many bytes.
    pub fn next(self, size: u32) -> Self {
        let of_log = u32::try_from((1_u64 << 32) / u64::from(size.max(1 << 20))).unwrap_or(1);
        if self.number + 1 >= of_log {
            Self {
                log: self.log + 1,
                number: 0,
                ..self
            }
        } else {
            Self {
                number: self.number + 1,
                ..self
            }
        }
    }
}

/// Whether the database gives files such a name: nothing else is taken.
pub fn is_name(name: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
    };
    if Segment::parse(name).is_some() {
        return true;
    }
    match name.split_once('.') {
        Some((timeline, "history")) => hex(timeline, 8),
        Some((segment, "partial")) => Segment::parse(segment).is_some(),
        Some((segment, rest)) => {
            Segment::parse(segment).is_some()
                && rest
                    .strip_suffix(".backup")
                    .is_some_and(|offset| hex(offset, 8))
        }
        None => false,
    }
}

/// What a log file says of itself: which cluster's it is, and how large such files are there.
pub fn facts(path: &Path) -> Result<(String, u32)> {
    let mut header = [0; 36];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .with_context(|| format!("can't read {}", path.display()))?;
    // XLogLongPageHeaderData of PostgreSQL 15: the cluster's number after 24 bytes, then the files' size.
    let number = |from: usize, length: usize| {
        header[from..from + length]
            .iter()
            .rev()
            .fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
    };
    let size = u32::try_from(number(32, 4)).unwrap_or(0);
    if !size.is_power_of_two() || !(1 << 20..=1 << 30).contains(&size) {
        bail!("{} is no log file of the database", path.display());
    }
    Ok((number(24, 8).to_string(), size))
}

/// The limits within which files may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes that wait.
    pub spool: u64,
    /// The least bytes that stay free on the disk.
    pub reserve: u64,
}

/// The folders.
pub struct Spool {
    folder: PathBuf,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on the disk now.
    New,
    /// It was there already, with the same content.
    Already,
}

impl Spool {
    pub fn of(place: &Place) -> Self {
        Self {
            folder: place.wal(),
        }
    }

    /// Files that no target has yet.
    pub fn waiting(&self) -> PathBuf {
        self.folder.join("spool")
    }

    /// Files that the target has, and that the next snapshot takes along again.
    pub fn pushed(&self) -> PathBuf {
        self.folder.join("pushed")
    }

    fn demand_file(&self) -> PathBuf {
        self.folder.join("base-demanded")
    }

    /// Makes the folders where they are not there.
    ///
    /// # Errors
    /// When they can't be made.
    pub fn make(&self) -> Result<()> {
        for folder in [self.folder.clone(), self.waiting(), self.pushed()] {
            files::make_folder(&folder, 0o770)?;
        }
        Ok(())
    }

    /// Keeps a log file, as the database's `archive_command`: whole, on the disk, or not at all. The same content twice is
    /// fine, another content under the same name is not.
    ///
    /// # Errors
    /// When it can't be kept; the database then keeps it and tries again.
    pub fn keep(&self, from: &Path, name: &str, limits: Limits) -> Result<Kept> {
        if !is_name(name) {
            bail!("{name} is no name of a log file");
        }
        self.make()?;
        let target = self.waiting().join(name);
        for there in [self.pushed().join(name), target.clone()] {
            if there.exists() {
                if !same(from, &there)? {
                    bail!(
                        "{} holds something else than the log file of this name that the database gave now: another cluster wrote \
                         into this spool. Move the file away if it is not needed",
                        there.display()
                    );
                }
                // A run before may have been cut off before it was safe.
                File::open(&there)?.sync_all()?;
                File::open(self.waiting())?.sync_all()?;
                return Ok(Kept::Already);
            }
        }
        self.make_room(from, limits)?;
        let draft = self.waiting().join(format!(".{name}.new"));
        let copied = copy(from, &draft)
            .and_then(|()| fs::rename(&draft, &target).context("putting it in its place"))
            .and_then(|()| {
                File::open(self.waiting())?
                    .sync_all()
                    .context("making it safe")
            });
        if copied.is_err() {
            let _ = fs::remove_file(&draft);
        }
        copied.with_context(|| format!("can't keep {}", target.display()))?;
        Ok(Kept::New)
    }

    /// Drops what must go so that the disk does not fill: first what the target has, then the oldest that it has not.
    fn make_room(&self, from: &Path, limits: Limits) -> Result<()> {
        let coming = fs::metadata(from)
            .with_context(|| format!("can't read {}", from.display()))?
            .len();
        let mut dropped = Vec::new();
        loop {
            let waiting = list(&self.waiting())?;
            let pushed = list(&self.pushed())?;
            let held: u64 = waiting.iter().map(|file| file.bytes).sum();
            let free = super::free(&self.folder)?;
            let full = held + coming > limits.spool;
            let danger = free < limits.reserve.saturating_add(coming);
            if !full && !danger {
                break;
            }
            let oldest = match (danger, pushed.first(), full, waiting.first()) {
                (true, Some(file), ..) => {
                    let _ = fs::remove_file(self.pushed().join(&file.name));
                    continue;
                }
                (_, _, _, Some(file)) => file.name.clone(),
                // Nothing here to drop: what fills the disk is not the log.
                _ => break,
            };
            // Before it goes, so that a cut between the two is noticed.
            self.demand_base(&format!("{oldest} was dropped unpushed"))?;
            fs::remove_file(self.waiting().join(&oldest))
                .with_context(|| format!("can't drop {oldest}"))?;
            dropped.push(oldest);
        }
        if let (Some(first), Some(last)) = (dropped.first(), dropped.last()) {
            eprintln!(
                "hadadactl: the backup target was gone for too long: {} log files of the database ({first} to {last}) were dropped \
                 so that the disk does not fill. Their minutes can't be restored; a new base backup is needed and will be made as \
                 soon as the target is back",
                dropped.len()
            );
        }
        Ok(())
    }

    /// Says that only a new base backup makes the log whole again.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn demand_base(&self, why: &str) -> Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o660)
            .open(self.demand_file())
            .with_context(|| format!("can't write {}", self.demand_file().display()))?;
        // Of another account's file it may not be changed, and need not be.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o660));
        writeln!(file, "{why}")?;
        file.sync_all()?;
        Ok(())
    }

    /// Why a new base backup is needed, where one is.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn base_demanded(&self) -> Result<Option<String>> {
        Ok(files::read_if_there(&self.demand_file())?.map(|why| {
            String::from_utf8_lossy(&why)
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned()
        }))
    }

    /// The new base backup is there.
    ///
    /// # Errors
    /// When the demand can't be taken back.
    pub fn base_made(&self) -> Result<()> {
        match fs::remove_file(self.demand_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("taking back the demand for a base backup")
            }
            _ => Ok(()),
        }
    }
}

/// A file in the spool.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub name: String,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Since when it waits, in seconds since 1970.
    pub since: i64,
}

/// The files of a folder, oldest first.
///
/// # Errors
/// When it can't be read.
pub fn list(folder: &Path) -> Result<Vec<Waiting>> {
    let mut all = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(all),
        Err(error) => {
            return Err(error).with_context(|| format!("can't read {}", folder.display()));
        }
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_name(&name) {
            continue;
        }
        // It may just have been moved on.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        all.push(Waiting {
            name,
            bytes: metadata.blocks() * 512,
            since: metadata.mtime(),
        });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn same(one: &Path, other: &Path) -> Result<bool> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("can't read {}", path.display()));
    let (mut one, mut other) = (open(one)?, open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut first, mut second) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let length = one.read(&mut first)?;
        if length == 0 {
            return Ok(true);
        }
        other.read_exact(&mut second[..length])?;
        if first[..length] != second[..length] {
            return Ok(false);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).with_context(|| format!("can't read {}", from.display()))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(to)?;
    let mut block = [0; BLOCK];
    let mut length = 0;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match source.read(&mut block[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
        if filled == 0 {
            break;
        }
        if block[..filled].iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(filled)?))?;
        } else {
            file.write_all(&block[..filled])?;
        }
        length += filled as u64;
    }
    file.set_len(length)?;
    // Whatever the database's umask: the account that pushes is another, of the folder's group.
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOMY: Limits = Limits {
        spool: 1 << 40,
        reserve: 0,
    };
    const FIRST: &str = "000000010000000000000001";

    fn spool() -> (tempfile::TempDir, Spool) {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::of(&Place::folder(home.path().to_owned()));
        (home, spool)
    }

    fn file(home: &tempfile::TempDir, content: &[u8]) -> PathBuf {
        let path = home.path().join("segment");
        fs::write(&path, content).unwrap();
        path
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_given(runs in proptest::collection::vec((any::<u8>(), 0_usize..9000), 0..8)) {
            let content: Vec<u8> = runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(byte / 200, *count)).collect();
            let (home, spool) = spool();
            spool.keep(&file(&home, &content), FIRST, ROOMY).unwrap();
            prop_assert_eq!(fs::read(spool.waiting().join(FIRST)).unwrap(), content);
        }

        #[test]
        fn segments_follow_each_other(log in 0_u32..9, number in 0_u32..255) {
            let this = Segment { timeline: 1, log, number };
            let next = this.next(16 << 20);
            prop_assert!(next > this);
            prop_assert_eq!(u64::from(next.log) * 256 + u64::from(next.number), u64::from(log) * 256 + u64::from(number) + 1);
        }
    }

    #[test]
    fn the_same_twice_is_fine_and_something_else_is_not() {
        let (home, spool) = spool();
        assert_eq!(
            spool.keep(&file(&home, b"one"), FIRST, ROOMY).unwrap(),
            Kept::New
        );
        assert_eq!(
            spool.keep(&file(&home, b"one"), FIRST, ROOMY).unwrap(),
            Kept::Already
        );
        let error = spool.keep(&file(&home, b"two"), FIRST, ROOMY).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
        assert_eq!(fs::read(spool.waiting().join(FIRST)).unwrap(), b"one");
        // Also when it was pushed meanwhile.
        fs::rename(spool.waiting().join(FIRST), spool.pushed().join(FIRST)).unwrap();
        assert_eq!(
            spool.keep(&file(&home, b"one"), FIRST, ROOMY).unwrap(),
            Kept::Already
        );
        assert!(spool.keep(&file(&home, b"two"), FIRST, ROOMY).is_err());
    }

    #[test]
    fn a_file_cut_off_before_is_written_anew() {
        let (home, spool) = spool();
        spool.make().unwrap();
        fs::write(
            spool.waiting().join(format!(".{FIRST}.new")),
            b"half of an earlier, longer try",
        )
        .unwrap();
        spool.keep(&file(&home, b"whole"), FIRST, ROOMY).unwrap();
        assert_eq!(fs::read(spool.waiting().join(FIRST)).unwrap(), b"whole");
        assert_eq!(list(&spool.waiting()).unwrap().len(), 1);
    }

    #[test]
    fn at_the_limit_the_oldest_goes_and_a_base_is_demanded() {
        let (home, spool) = spool();
        let limits = Limits {
            spool: 3 * 8192,
            reserve: 0,
        };
        for number in 1..=5 {
            spool
                .keep(
                    &file(&home, &[7; 8192]),
                    &format!("00000001000000000000000{number}"),
                    limits,
                )
                .unwrap();
        }
        let left: Vec<_> = list(&spool.waiting())
            .unwrap()
            .into_iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(
            left,
            [
                "000000010000000000000003",
                "000000010000000000000004",
                "000000010000000000000005"
            ]
        );
        assert!(
            spool
                .base_demanded()
                .unwrap()
                .unwrap()
                .starts_with("000000010000000000000002")
        );
        spool.base_made().unwrap();
        assert_eq!(spool.base_demanded().unwrap(), None);
    }

    #[test]
    fn a_disk_in_danger_loses_first_what_the_target_has() {
        let (home, spool) = spool();
        spool.make().unwrap();
        fs::write(spool.pushed().join(FIRST), b"x").unwrap();
        let limits = Limits {
            spool: 1 << 40,
            reserve: 1 << 60,
        };
        spool
            .keep(&file(&home, b"y"), "000000010000000000000002", limits)
            .unwrap();
        assert!(!spool.pushed().join(FIRST).exists());
        assert_eq!(spool.base_demanded().unwrap(), None);
        spool
            .keep(&file(&home, b"z"), "000000010000000000000003", limits)
            .unwrap();
        assert!(spool.base_demanded().unwrap().is_some());
        assert!(!spool.waiting().join("000000010000000000000002").exists());
        assert!(spool.waiting().join("000000010000000000000003").exists());
    }

    #[test]
    fn nothing_but_log_files_is_taken() {
        for name in [
            FIRST,
            "00000002.history",
            "000000010000000000000001.00000028.backup",
            "000000010000000000000001.partial",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "../../etc/passwd",
            "00000001000000000000000g",
            "000000010000000000000001.exe",
            ".000000010000000000000001.new",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
