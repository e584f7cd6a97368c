//! The certificates of IT staff and vendors: issued, listed, revoked. Each is in the audit log before it is of any use.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use time::OffsetDateTime;

use super::super::Outcome;
use crate::files;
use crate::place::Place;
use crate::process;
use crate::secrets::{self, CLIENT_AUTHORITY_KEY};
use crate::settings;
use crate::trust::certificates::Pair;
use crate::trust::clients::{self, Client};

/// Makes a certificate for a holder.
///
/// # Errors
/// When the box takes another authority's certificates, the audit log can't be written, or a file can't.
pub async fn issue(
    place: &Place,
    holder: &str,
    days: u16,
    out: &Path,
    now: OffsetDateTime,
) -> Result<Outcome> {
    let holder = holder.trim();
    ensure!(
        (2..=60).contains(&holder.chars().count()) && !holder.chars().any(char::is_control),
        "--holder: a name of 2 to 60 letters is needed"
    );
    ensure!(!out.exists(), "{} is there already", out.display());
    let own = place.client_authority();
    let configured = settings::web(place, "client_authority")?;
    let configured = configured.as_ref().and_then(toml::Value::as_str);
    if let Some(other) = configured
        && Path::new(other) != own
    {
        bail!(
            "this box takes the certificates of the authority in {other} (client_authority in {}), not its own",
            place.config().display()
        );
    }
    let authority = authority(place, now)?;
    let mut all = known(place)?;
    let (client, pair) = clients::issue(&authority, holder, days, now)?;
    let ends = client.ends_at.date();
    tell(
        place,
        &format!(
            "certificate {} issued to {holder}, good until {ends}",
            short(&client)
        ),
    )
    .await?;
    all.push(client.clone());
    keep(place, &authority, &all, now)?;
    files::create(
        out,
        0o600,
        format!("{}{}", pair.key, pair.certificate).as_bytes(),
    )?;
    println!(
        "made   {}: certificate {} for {holder}, good until {ends}, with its key",
        out.display(),
        short(&client)
    );
    if configured.is_none() {
        settings::change(place, |document| {
            document["client_authority"] = toml_edit::value(own.display().to_string());
        })?;
        if place.is_installed() {
            process::run("systemctl", ["try-restart", "hadada.service"])?;
        }
    }
    println!(
        "Carry it to {holder} by hand and delete it here. It opens nothing until `hadadactl remote-access on`."
    );
    Ok(Outcome::Good)
}

/// Makes one good for nothing.
///
/// # Errors
/// When there is none or more than one of that number, or something can't be written.
pub async fn revoke(place: &Place, number: &str, now: OffsetDateTime) -> Result<Outcome> {
    let mut all = known(place)?;
    let wanted = number.trim().to_ascii_lowercase();
    let mut found = all
        .iter_mut()
        .filter(|client| wanted.len() >= 4 && client.number.starts_with(&wanted));
    let (Some(client), None) = (found.next(), found.next()) else {
        bail!(
            "no single certificate has a number that begins with {number}: `hadadactl remote-access clients` lists them"
        );
    };
    if client.revoked_at.is_some() {
        println!("It is revoked already.");
        return Ok(Outcome::Good);
    }
    client.revoked_at = Some(now);
    let said = format!("certificate {} of {} revoked", short(client), client.holder);
    keep(place, &authority(place, now)?, &all, now)?;
    println!("{said}. Whoever is connected with it is cut off within seconds.");
    // The door is shut first: that the log can't be written is no reason to leave it open.
    tell(place, &said).await?;
    Ok(Outcome::Good)
}

/// Lists them.
///
/// # Errors
/// When the list can't be read.
pub fn list(place: &Place, now: OffsetDateTime) -> Result<Outcome> {
    let all = known(place)?;
    if all.is_empty() {
        println!("There are none: `hadadactl remote-access issue` makes one.");
    }
    for client in &all {
        let state = match client.revoked_at {
            Some(at) => format!("revoked {}", at.date()),
            None if client.ends_at <= now => format!("ended {}", client.ends_at.date()),
            None => format!("until {}", client.ends_at.date()),
        };
        println!(
            "{}  {state:19}  {}  (issued {})",
            short(client),
            client.holder,
            client.issued_at.date()
        );
    }
    Ok(Outcome::Good)
}

fn short(client: &Client) -> &str {
    client.number.get(..12).unwrap_or(&client.number)
}

fn known(place: &Place) -> Result<Vec<Client>> {
    let path = place.client_authority().with_extension("json");
    let Some(content) = files::read_if_there(&path)? else {
        return Ok(Vec::new());
    };
    serde_json::from_slice(&content)
        .with_context(|| format!("{} is damaged: put it back from a backup", path.display()))
}

/// The list for people, and the signed one for the web program.
fn keep(place: &Place, authority: &Pair, all: &[Client], now: OffsetDateTime) -> Result<()> {
    let path = place.client_authority();
    let list = clients::revoked(authority, all, now)?;
    files::replace(&path.with_extension("crl"), 0o644, list.as_bytes())?;
    files::replace(
        &path.with_extension("json"),
        0o644,
        &serde_json::to_vec_pretty(all)?,
    )
}

fn authority(place: &Place, now: OffsetDateTime) -> Result<Pair> {
    let path = place.client_authority();
    let key = secrets::read(place, CLIENT_AUTHORITY_KEY)?;
    if let (Some(key), Some(certificate)) = (key, files::read_if_there(&path)?) {
        return Ok(Pair {
            certificate: String::from_utf8(certificate)
                .with_context(|| format!("{} is damaged", path.display()))?,
            key: String::from_utf8(key.to_vec())
                .with_context(|| format!("the secret {CLIENT_AUTHORITY_KEY} is damaged"))?,
        });
    }
    let host = settings::web(place, "host")?
        .and_then(|host| host.as_str().map(str::to_owned))
        .unwrap_or_else(|| "localhost".into());
    let pair = clients::make_authority(&host, now)?;
    secrets::replace(place, CLIENT_AUTHORITY_KEY, pair.key.as_bytes())?;
    files::replace(&path, 0o644, pair.certificate.as_bytes())?;
    println!("made   the authority for IT and vendors");
    Ok(pair)
}

async fn tell(place: &Place, text: &str) -> Result<()> {
    let body = json!({ "kind": "remote-access", "text": text });
    super::socket(place)
        .post("/audit/event", &body)
        .await
        .context("the audit log could not be written")
        .map(drop)
}
