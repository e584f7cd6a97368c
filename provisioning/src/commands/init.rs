//! `init`: a box's folders, keys and certificates.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{Outcome, certificate};
use crate::files;
use crate::place::Place;
use crate::secrets::{
    self, AUDIT_KEY, AUTHORITY_KEY, BACKUP_KEY, MASTER_KEY, RECOVERY_BACKUP_KEY, RECOVERY_PAPER,
};
use crate::trust::certificates::{Facts, Host, RENEW_BEFORE, make_authority, with_own_hosts};
use crate::trust::recovery::{RecoveryKey, seal_to};

/// Makes what is missing, renews a certificate that is about to end, and leaves every key that exists.
///
/// # Errors
/// When a host is none, a file can't be written, or an existing file is damaged.
pub fn run(place: &Place, hosts: &[String], now: OffsetDateTime) -> Result<Outcome> {
    let hosts = hosts
        .iter()
        .map(|host| host.parse())
        .collect::<Result<Vec<Host>, _>>()?;
    let hosts = with_own_hosts(&hosts);
    files::make_folder(place.state(), 0o755)?;
    files::make_folder(
        &place.keys(),
        if place.is_installed() { 0o755 } else { 0o700 },
    )?;
    files::make_folder(&place.tls(), 0o755)?;
    files::make_folder(&place.audit(), 0o750)?;
    files::make_folder(place.run(), 0o750)?;

    make_secret(place, MASTER_KEY, "the master key")?;
    make_secret(place, AUDIT_KEY, "the audit key")?;
    write_audit_public_key(place)?;
    make_secret(place, BACKUP_KEY, "the backups' key")?;
    make_recovery_key(place)?;
    make_certificates(place, &hosts, now)?;
    escrow(place)?;
    Ok(Outcome::Good)
}

fn random() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn make_secret(place: &Place, name: &str, what: &str) -> Result<()> {
    let path = secrets::path(place, name);
    if secrets::read(place, name)?.is_some() {
        // That it has its length is worth knowing now rather than when it is needed.
        secrets::key(place, name)?;
        println!("kept   {what}: {}", path.display());
        return Ok(());
    }
    secrets::create(place, name, &*random()?)?;
    println!("made   {what}: {}", path.display());
    Ok(())
}

fn write_audit_public_key(place: &Place) -> Result<()> {
    let secret = secrets::key(place, AUDIT_KEY)?;
    let public = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
    if files::read_public_key(&place.audit_public_key())
        .ok()
        .flatten()
        == Some(public)
    {
        return Ok(());
    }
    files::replace(
        &place.audit_public_key(),
        0o644,
        format!("{}\n", hex::encode(public)).as_bytes(),
    )
}

fn make_recovery_key(place: &Place) -> Result<()> {
    let path = place.recovery_public_key();
    if files::read_key(&path)?.is_some() {
        println!("kept   the recovery key's public half: {}", path.display());
        if secrets::read(place, RECOVERY_BACKUP_KEY)?.is_none() {
            println!(
                "MISSING the recovery key's secret for backups, which boxes of earlier releases have not: type the recovery \
                 key once into `hadadactl recovery allow-backups`. Until then no backup is made."
            );
        }
        return Ok(());
    }
    let key = RecoveryKey::new(*random()?);
    if place.is_installed() {
        // The first-run pages show it, and then it is removed.
        secrets::create(place, RECOVERY_PAPER, key.to_paper().as_bytes())?;
    } else {
        show(&key)?;
    }
    // Before its public half: a run that breaks off between the two begins again with another key.
    secrets::replace(place, RECOVERY_BACKUP_KEY, &*key.backup_secret())?;
    files::create(&path, 0o644, &key.public())
        .context("the recovery key above is void; run this again")?;
    println!("made   the recovery key's public half: {}", path.display());
    Ok(())
}

/// Shown before it is put to use: a box must never wrap its data to a key that nobody has seen.
fn show(key: &RecoveryKey) -> Result<()> {
    let paper = key.to_paper();
    let (first, second) = paper.split_at(34);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\nThe recovery key of this box. Write it down or print it now and lock it away: it is stored nowhere, is never\n\
         shown again, and is the only way to the data when this machine breaks.\n\n    {first}\n    {}\n\n\
         Check it later with `hadadactl recovery check`.\n",
        second.trim_start_matches('-')
    )?;
    out.flush()?;
    Ok(())
}

/// Seals to the recovery key what a new machine needs to go on as this box: the audit log's key, so that its chain goes on,
/// and the authority's, so that staff's devices go on trusting it. Backups carry these files; only the paper opens them.
fn escrow(place: &Place) -> Result<()> {
    let public = files::read_key(&place.recovery_public_key())?
        .context("the recovery key just made is gone")?;
    let folder = place.escrow();
    files::make_folder(&place.backup(), 0o755)?;
    files::make_folder(&folder, 0o755)?;
    for name in [AUDIT_KEY, AUTHORITY_KEY] {
        let secret = secrets::demand(place, name)?;
        // Named by what it holds and to whom it is sealed, so that a new key is sealed anew.
        let mark = Sha256::new()
            .chain_update(b"hadada escrow v1")
            .chain_update(public)
            .chain_update(&*secret)
            .finalize();
        let mark = hex::encode(mark);
        let path = folder.join(name);
        let before = files::read_if_there(&path)?.unwrap_or_default();
        if before.starts_with(mark.as_bytes()) {
            continue;
        }
        let sealed = seal_to(&public, *random()?, name, &secret)
            .context("the secret could not be sealed to the recovery key")?;
        files::replace(
            &path,
            0o644,
            format!("{mark} {}\n", hex::encode(sealed)).as_bytes(),
        )?;
    }
    Ok(())
}

fn make_certificates(place: &Place, hosts: &[Host], now: OffsetDateTime) -> Result<()> {
    let authority = place.authority();
    if files::read_if_there(&authority)?.is_none() {
        let pair = make_authority(hosts, now)?;
        secrets::create(place, AUTHORITY_KEY, pair.key.as_bytes())
            .context("there is an authority's key without its certificate: put ca.pem back, or move ca.key away")?;
        files::create(&authority, 0o644, pair.certificate.as_bytes())?;
        println!("made   the certificate authority: {}", authority.display());
    } else {
        println!("kept   the certificate authority: {}", authority.display());
    }

    let path = place.certificate();
    let present = files::read_if_there(&path)?
        .and_then(|pem| Facts::read(&String::from_utf8_lossy(&pem)).ok());
    let good = present.is_some_and(|facts| {
        facts.not_after - now >= RENEW_BEFORE && hosts.iter().all(|host| facts.hosts.contains(host))
    });
    if good {
        println!("kept   the certificate: {}", path.display());
    } else {
        certificate::issue_into(place, hosts, now)?;
    }
    Ok(())
}
