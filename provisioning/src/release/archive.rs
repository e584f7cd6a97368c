//! Bundles: a tar of plain files, the manifest first, compressed with zstd. The same files make the same bytes, and nothing
//! that the manifest does not list comes out of one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::manifest::{self, Manifest};
use crate::files;

/// Fixed, so that one release has one hash. Higher levels take many times as long for a few percent.
const LEVEL: i32 = 9;
/// 1 January 2000, for every file.
const TIME: u64 = 946_684_800;
/// A decompressor that needs more memory than this (2^27 bytes) is being attacked.
const WINDOW_LOG: u32 = 27;

/// Writes a bundle. `sources` says where the content of each of the manifest's files is.
///
/// # Errors
/// When a file can't be read, or changed since the manifest was made.
pub fn write(
    target: &Path,
    manifest: &Manifest,
    sources: &BTreeMap<String, PathBuf>,
) -> Result<()> {
    let mut draft = files::Draft::new(target, 0o644)?;
    {
        let mut encoder = zstd::Encoder::new(BufWriter::new(&mut draft), LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.include_contentsize(false)?;
        let mut tar = tar::Builder::new(encoder);
        let bytes = manifest.to_bytes()?;
        tar.append(
            &header(manifest::NAME, bytes.len() as u64, 0o644)?,
            bytes.as_slice(),
        )?;
        for file in &manifest.files {
            let path = sources
                .get(&file.path)
                .with_context(|| format!("there is no content for {}", file.path))?;
            let mut hashed = Hashed::new(
                BufReader::new(File::open(path).with_context(|| path.display().to_string())?)
                    .take(file.size + 1),
            );
            tar.append(
                &header(&file.path, file.size, file.mode())?,
                (&mut hashed).take(file.size),
            )
            .with_context(|| path.display().to_string())?;
            ensure!(
                hashed.read(&mut [0])? == 0 && hashed.hex() == file.sha256,
                "{} changed while it was packed",
                path.display()
            );
        }
        tar.into_inner()?.finish()?.flush()?;
    }
    draft.replace()
}

/// A tar of named files without compression, for a transport that takes one file.
///
/// # Errors
/// When a file can't be read.
pub fn write_plain(target: &Path, sources: &BTreeMap<String, PathBuf>) -> Result<()> {
    let mut draft = files::Draft::new(target, 0o644)?;
    {
        let mut tar = tar::Builder::new(BufWriter::new(&mut draft));
        for (name, path) in sources {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let size = file.metadata()?.len();
            tar.append(&header(name, size, 0o644)?, file.take(size))
                .with_context(|| path.display().to_string())?;
        }
        tar.into_inner()?.flush()?;
    }
    draft.replace()
}

fn header(path: &str, size: u64, mode: u32) -> Result<Header> {
    let mut header = Header::new_ustar();
    header
        .set_path(path)
        .with_context(|| format!("{path} does not fit into a bundle"))?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(TIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// The plain files of an untrusted tar, one after another, under limits.
pub struct Untar<'a, R: Read> {
    /// What is being read, in sentences.
    pub what: &'a str,
    /// The most files there may be.
    pub most_files: usize,
    /// The most bytes of content there may be.
    pub most_bytes: u64,
    /// The tar.
    pub reader: R,
}

impl<R: Read> Untar<'_, R> {
    /// Hands each file's path, size and content to `take`, until that says to break off.
    ///
    /// # Errors
    /// When there is anything but plain files with plain paths, or more than the limits say; or what `take` says.
    pub fn each(
        self,
        mut take: impl FnMut(&str, u64, &mut dyn Read) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut tar = tar::Archive::new(self.reader);
        let (mut count, mut bytes) = (0_usize, 0_u64);
        for entry in tar.entries()? {
            let mut entry = entry.with_context(|| format!("{} is damaged", self.what))?;
            let name = entry.path_bytes().into_owned();
            let shown = String::from_utf8_lossy(&name)
                .chars()
                .take(120)
                .collect::<String>();
            match entry.header().entry_type() {
                EntryType::Regular => {}
                EntryType::Symlink | EntryType::Link => bail!(
                    "symlink: {shown:?} in {} is a link, and a release has plain files only",
                    self.what
                ),
                kind => bail!("{shown:?} in {} is no plain file but {kind:?}", self.what),
            }
            let path = String::from_utf8(name)
                .ok()
                .filter(|path| manifest::check_path(path).is_ok());
            let Some(path) = path else {
                bail!(
                    "path traversal: {shown:?} in {} is not a path within its folder",
                    self.what
                );
            };
            count += 1;
            let size = entry.header().entry_size()?;
            bytes = bytes.saturating_add(size);
            ensure!(
                count <= self.most_files && bytes <= self.most_bytes,
                "too big: {} has more than {} files or {} bytes",
                self.what,
                self.most_files,
                self.most_bytes
            );
            if take(&path, size, &mut entry)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads only the manifest of a bundle.
///
/// # Errors
/// When the bundle does not begin with one, or it breaks a rule.
pub fn read_manifest(bundle: &Path) -> Result<Manifest> {
    let mut tar = tar::Archive::new(open(bundle)?);
    let Some(entry) = tar.entries()?.next() else {
        bail!("the bundle is empty");
    };
    let entry = entry.context("the bundle is damaged")?;
    ensure!(
        *entry.path_bytes() == *manifest::NAME.as_bytes()
            && entry.header().entry_type() == EntryType::Regular,
        "the bundle does not begin with its manifest"
    );
    let mut bytes = Vec::new();
    entry.take(manifest::LONGEST + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= manifest::LONGEST,
        "too big: the manifest has more than {} bytes",
        manifest::LONGEST
    );
    Manifest::parse(&bytes)
}

fn open(bundle: &Path) -> Result<impl Read> {
    decoder(BufReader::new(
        File::open(bundle).with_context(|| bundle.display().to_string())?,
    ))
}

fn decoder<R: BufRead>(packed: R) -> Result<impl Read> {
    let mut decoder = zstd::Decoder::with_buffer(packed)?;
    decoder.window_log_max(WINDOW_LOG)?;
    Ok(decoder)
}

/// Unpacks a bundle into a folder that is not there yet: exactly the manifest's files, each with its hash checked, all of it
/// on the disk before the folder has its name. `midway` is called after half of the files.
///
/// # Errors
/// When the bundle has anything else, or less; nothing is left behind then.
pub fn unpack(
    bundle: &Path,
    sha256: &str,
    manifest: &Manifest,
    target: &Path,
    midway: impl Fn(),
) -> Result<()> {
    let draft = target.with_extension("unpacking");
    files::remove_folder(&draft)?;
    files::make_folder(&draft, 0o755)?;
    let outcome = unpack_into(bundle, sha256, manifest, &draft, midway).and_then(|()| {
        std::fs::rename(&draft, target)
            .with_context(|| format!("can't make {}", target.display()))?;
        files::sync_folder_of(target)
    });
    if outcome.is_err() {
        files::remove_folder(&draft)?;
    }
    outcome
}

fn unpack_into(
    bundle: &Path,
    sha256: &str,
    manifest: &Manifest,
    folder: &Path,
    midway: impl Fn(),
) -> Result<()> {
    // What is unpacked is hashed as it is read: the file may not be the one that was checked before.
    let mut packed = Hashed::new(File::open(bundle).with_context(|| bundle.display().to_string())?);
    let expected: BTreeMap<&str, &manifest::File> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let own = manifest.to_bytes()?;
    let mut missing = expected.clone();
    let mut first = true;
    Untar {
        what: "the bundle",
        // One more than there may be, so that its own fault is named and not its number.
        most_files: manifest.files.len() + 2,
        most_bytes: manifest.bytes()? + manifest::LONGEST,
        reader: decoder(BufReader::new(&mut packed))?,
    }
    .each(|path, size, content| {
        if std::mem::take(&mut first) {
            ensure!(
                path == manifest::NAME && size <= manifest::LONGEST,
                "the bundle does not begin with its manifest"
            );
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            ensure!(
                Manifest::parse(&bytes)? == *manifest,
                "swapped: the bundle is not the one whose signatures were checked"
            );
            files::create(&folder.join(manifest::NAME), 0o644, &own)?;
            return Ok(ControlFlow::Continue(()));
        }
        let Some(file) = missing.remove(path) else {
            bail!(
                "tampered: the bundle has {path}, which its manifest does not list (or lists once)"
            );
        };
        ensure!(
            size == file.size,
            "tampered: {path} has {size} bytes and its manifest says {}",
            file.size
        );
        let place = folder.join(path);
        if let Some(parent) = place.parent() {
            files::make_folder(parent, 0o755)?;
        }
        let mut draft = files::Draft::new(&place, file.mode())?;
        let mut hashed = Hashed::new(content);
        io::copy(&mut hashed, &mut draft)
            .with_context(|| format!("can't write {}", place.display()))?;
        ensure!(
            hashed.hex() == file.sha256,
            "tampered: {path} is not what its manifest says"
        );
        draft.keep_first()?;
        if missing.len() == expected.len() / 2 {
            midway();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(path) = missing.keys().next() {
        bail!("tampered: the bundle lacks {path}, which its manifest lists");
    }
    io::copy(&mut packed, &mut io::sink())?;
    ensure!(
        packed.hex() == sha256,
        "swapped: the bundle is not the one whose signatures were checked"
    );
    Ok(())
}

/// A reader that hashes what goes through it.
pub struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    /// Hashes all that is read from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }

    /// The hash of all that was read, in hex.
    pub fn hex(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The SHA-256 of a file, in hex, and its length.
///
/// # Errors
/// When it can't be read.
pub fn hash_file(path: &Path) -> Result<(String, u64)> {
    let mut hashed =
        Hashed::new(File::open(path).with_context(|| format!("can't read {}", path.display()))?);
    let mut buffer = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        match hashed
            .read(&mut buffer)
            .with_context(|| format!("can't read {}", path.display()))?
        {
            0 => return Ok((hashed.hex(), length)),
            count => length += count as u64,
        }
    }
}
