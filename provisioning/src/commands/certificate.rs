//! `certificate renew`.

use anyhow::{Context, Result};
use time::OffsetDateTime;

use super::Outcome;
use crate::facts::{self, Fact, State};
use crate::files;
use crate::place::Place;
use crate::secrets::{self, AUTHORITY_KEY, CERTIFICATE_KEY};
use crate::trust::certificates::{
    Facts, Host, Pair, RENEW_BEFORE, issue, list, make_authority, with_own_hosts,
};

/// Makes a new certificate, for `asked` or, where that is empty, for the names of the present one.
///
/// # Errors
/// When there is no authority, or it may not sign for a name.
pub fn renew(place: &Place, asked: &[String], now: OffsetDateTime) -> Result<Outcome> {
    let mut hosts = asked
        .iter()
        .map(|host| host.parse())
        .collect::<Result<Vec<Host>, _>>()?;
    if hosts.is_empty() {
        let present = files::read_if_there(&place.certificate())?;
        hosts = match present.map(|pem| Facts::read(&String::from_utf8_lossy(&pem))) {
            Some(Ok(facts)) => facts.hosts,
            // Lost or damaged: the authority knows which names there are.
            _ => Facts::read(&authority(place)?)?.permitted,
        };
    }
    issue_into(place, &with_own_hosts(&hosts), now)?;
    Ok(Outcome::Good)
}

/// Makes a certificate for the very names that the authority may sign for, as after another machine's authority was brought over.
///
/// # Errors
/// When there is no authority or it can't be read.
pub fn renew_for_authority(place: &Place, now: OffsetDateTime) -> Result<()> {
    issue_into(place, &Facts::read(&authority(place)?)?.permitted, now)
}

/// Issues a certificate for `hosts` and puts it in place. Its key stays where there is one, so that a single file
/// changes and a server that reads just then never sees a mixed pair.
///
/// # Errors
/// As [`renew`].
pub fn issue_into(place: &Place, hosts: &[Host], now: OffsetDateTime) -> Result<()> {
    let authority = Pair {
        certificate: authority(place)?,
        key: text(
            place,
            AUTHORITY_KEY,
            &secrets::demand(place, AUTHORITY_KEY)?,
        )?,
    };
    let key = secrets::read(place, CERTIFICATE_KEY)?
        .map(|key| text(place, CERTIFICATE_KEY, &key))
        .transpose()?;
    let pair = issue(&authority, hosts, key.as_deref(), now)?;
    if key.is_none() {
        secrets::create(place, CERTIFICATE_KEY, pair.key.as_bytes())?;
    }
    files::replace(&place.certificate(), 0o644, pair.certificate.as_bytes())?;
    let days = Facts::read(&pair.certificate)?.days_left(now);
    println!(
        "made   the certificate for {}, good for {days} days: {}",
        list(hosts),
        place.certificate().display()
    );
    Ok(())
}

/// Makes a new authority, over the one that was there: only before any device trusts that one.
///
/// # Errors
/// When it can't be made or written.
pub fn new_authority(place: &Place, hosts: &[Host], now: OffsetDateTime) -> Result<()> {
    let pair = make_authority(hosts, now)?;
    secrets::replace(place, AUTHORITY_KEY, pair.key.as_bytes())?;
    files::replace(&place.authority(), 0o644, pair.certificate.as_bytes())?;
    println!("made   a certificate authority for {}", list(hosts));
    Ok(())
}

/// Renews the certificate where it is due, and notes how it stands.
///
/// # Errors
/// When a due certificate can't be renewed; that is noted too.
pub fn keep(place: &Place, now: OffsetDateTime) -> Result<Outcome> {
    let read = || -> Option<Facts> {
        let pem = files::read_if_there(&place.certificate()).ok()??;
        Facts::read(&String::from_utf8_lossy(&pem)).ok()
    };
    let given = place.tls().join(crate::setup::GIVEN).exists();
    let due = |facts: &Facts| facts.not_after - now < RENEW_BEFORE;
    let renewed = match read() {
        Some(facts) if !due(&facts) || given => Ok(()),
        _ => renew(place, &[], now).map(drop),
    };
    let fact = match (read(), given) {
        (Some(facts), _) if now > facts.not_after => Fact::fault(
            "certificate",
            now,
            State::Bad,
            "The box's certificate has ended, so browsers warn.",
            if given {
                "Bring a new certificate"
            } else {
                "Run `hadadactl certificate renew` on the box"
            },
        ),
        (Some(facts), true) if due(&facts) => Fact::fault(
            "certificate",
            now,
            State::Warning,
            format!(
                "The practice's certificate ends in {} days.",
                facts.days_left(now)
            ),
            "Bring a new one: the box can't renew what it did not sign",
        ),
        (Some(facts), false) if due(&facts) => Fact::fault(
            "certificate",
            now,
            State::Warning,
            format!(
                "The certificate ends in {} days and could not be renewed.",
                facts.days_left(now)
            ),
            "Run `hadadactl certificate renew` on the box: it says why",
        ),
        (Some(facts), _) => Fact::good(
            "certificate",
            now,
            format!("The certificate is good for {} days.", facts.days_left(now)),
        )
        .with("days_left", facts.days_left(now)),
        (None, _) => Fact::fault(
            "certificate",
            now,
            State::Bad,
            "The box has no certificate that can be read.",
            "Run `hadadactl certificate renew` on the box: it says why",
        ),
    };
    facts::write(place, fact)?;
    renewed.map(|()| Outcome::Good)
}

fn authority(place: &Place) -> Result<String> {
    let path = place.authority();
    let content = files::read_if_there(&path)?.with_context(|| {
        format!(
            "there is no {}: run `hadadactl init` or put it back from a backup",
            path.display()
        )
    })?;
    String::from_utf8(content)
        .with_context(|| format!("{} is damaged: put it back from a backup", path.display()))
}

fn text(place: &Place, name: &str, secret: &[u8]) -> Result<String> {
    String::from_utf8(secret.to_vec()).with_context(|| {
        format!(
            "{} is damaged: put it back from a backup of this machine, or move it away",
            secrets::path(place, name).display()
        )
    })
}
