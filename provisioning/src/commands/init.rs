//! `init`: a box's folders, keys and certificates.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ed25519_dalek::SigningKey;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{Outcome, certificate};
use crate::files;
use crate::place::Place;
use crate::trust::certificates::{Facts, Host, RENEW_BEFORE, make_authority, with_own_hosts};
use crate::trust::recovery::RecoveryKey;

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
    files::make_folder(&place.keys(), 0o700)?;
    files::make_folder(&place.tls(), 0o755)?;
    files::make_folder(&place.audit(), 0o750)?;
    files::make_folder(place.run(), 0o750)?;

    make_secret(&place.master_key(), "the master key")?;
    make_secret(&place.audit_key(), "the audit key")?;
    write_audit_public_key(place)?;
    make_recovery_key(place)?;
    make_certificates(place, &hosts, now)?;
    Ok(Outcome::Good)
}

fn random() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| anyhow::anyhow!("this machine gives no random numbers: {error}"))?;
    Ok(bytes)
}

fn make_secret(path: &Path, what: &str) -> Result<()> {
    if files::read_key(path)?.is_some() {
        println!("kept   {what}: {}", path.display());
        return Ok(());
    }
    files::create(path, 0o600, &*random()?)?;
    println!("made   {what}: {}", path.display());
    Ok(())
}

fn write_audit_public_key(place: &Place) -> Result<()> {
    let secret = files::read_key(&place.audit_key())?.context("the audit key just made is gone")?;
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
        return Ok(());
    }
    let key = RecoveryKey::new(*random()?);
    // Shown before it is put to use: a box must never wrap its data to a key that nobody has seen.
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
    files::create(&path, 0o644, &key.public())
        .context("the recovery key above is void; run this again")?;
    println!("made   the recovery key's public half: {}", path.display());
    Ok(())
}

fn make_certificates(place: &Place, hosts: &[Host], now: OffsetDateTime) -> Result<()> {
    let authority = place.authority();
    if files::read_if_there(&authority)?.is_none() {
        let pair = make_authority(hosts, now)?;
        files::create(&place.authority_key(), 0o600, pair.key.as_bytes())
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
