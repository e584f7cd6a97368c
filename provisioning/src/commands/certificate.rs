//! `certificate renew`.

use anyhow::{Context, Result};
use time::OffsetDateTime;

use super::Outcome;
use crate::files;
use crate::place::Place;
use crate::trust::certificates::{Facts, Host, Pair, issue, list, with_own_hosts};

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
            _ => Facts::read(&read_text(place, Part::Authority)?)?.permitted,
        };
    }
    issue_into(place, &with_own_hosts(&hosts), now)?;
    Ok(Outcome::Good)
}

/// Issues a certificate for `hosts` and puts it in place. Its key stays where there is one, so that a single file
/// changes and a server that reads just then never sees a mixed pair.
///
/// # Errors
/// As [`renew`].
pub fn issue_into(place: &Place, hosts: &[Host], now: OffsetDateTime) -> Result<()> {
    let authority = Pair {
        certificate: read_text(place, Part::Authority)?,
        key: read_text(place, Part::AuthorityKey)?,
    };
    let key = files::read_if_there(&place.certificate_key())?
        .map(String::from_utf8)
        .transpose();
    let key = key.with_context(|| {
        format!(
            "{} is damaged: move it away",
            place.certificate_key().display()
        )
    })?;
    let pair = issue(&authority, hosts, key.as_deref(), now)?;
    if key.is_none() {
        files::create(&place.certificate_key(), 0o600, pair.key.as_bytes())?;
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

enum Part {
    Authority,
    AuthorityKey,
}

fn read_text(place: &Place, part: Part) -> Result<String> {
    let path = match part {
        Part::Authority => place.authority(),
        Part::AuthorityKey => place.authority_key(),
    };
    let content = files::read_if_there(&path)?.with_context(|| {
        format!(
            "there is no {}: run `hadadactl init` or put it back from a backup",
            path.display()
        )
    })?;
    String::from_utf8(content)
        .with_context(|| format!("{} is damaged: put it back from a backup", path.display()))
}
