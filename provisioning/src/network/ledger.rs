//! What the firewall counted, minute by minute: the proof of what left the box and what tried to.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::files;
use crate::place::Place;
use crate::process::run;

/// What was counted between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The look before; none after a restart of the machine.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// This look.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The rules were not loaded: anything may have passed.
    pub open: bool,
    /// Packets over each exception, by its name and destination.
    pub allowed: BTreeMap<String, u64>,
    /// What was turned away, by who tried what.
    pub denied: Vec<Denied>,
    /// Packets turned away that tried to come in.
    pub denied_in: u64,
    /// All packets turned away that tried to go out, those of no user's among them.
    pub denied_out: u64,
}

/// One who tried to reach a place outside the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Denied {
    /// The operating system's user.
    pub user: String,
    /// The address.
    pub to: String,
    /// Such as `tcp`.
    pub protocol: String,
    /// 0 where the protocol has none.
    pub port: u64,
    /// How often.
    pub packets: u64,
}

/// Counters as the kernel has them, since the rules were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    at: Option<i64>,
    boot: String,
    allowed: BTreeMap<String, u64>,
    denied: BTreeMap<String, u64>,
    denied_in: u64,
    denied_out: u64,
}

fn ledger(place: &Place) -> PathBuf {
    place.state().join("egress/ledger.jsonl")
}

/// Looks at the counters and adds what happened since the last look to the ledger.
///
/// # Errors
/// When nft can't be asked or the ledger can't be written.
pub fn collect(place: &Place, now: OffsetDateTime) -> Result<Entry> {
    let folder = place.state().join("egress");
    files::make_folder(&folder, 0o755)?;
    let state = folder.join("last.json");
    let last: Counters = files::read_if_there(&state)?
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_default();
    let rules = run("nft", ["-j", "list", "table", "inet", "hadada"]).ok();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut present = match &rules {
        Some(json) => counters(&serde_json::from_str(json).context("nft did not answer in JSON")?),
        None => Counters::default(),
    };
    present.at = Some(now.unix_timestamp());
    present.boot = boot.trim().to_owned();
    let base = if last.boot == present.boot {
        last.clone()
    } else {
        Counters::default()
    };
    let entry = Entry {
        since: last
            .at
            .filter(|_| last.boot == present.boot)
            .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
        at: now,
        open: rules.is_none(),
        allowed: grown(&present.allowed, &base.allowed),
        denied: grown(&present.denied, &base.denied)
            .into_iter()
            .filter_map(|(key, packets)| denied(&key, packets))
            .collect(),
        denied_in: growth(present.denied_in, base.denied_in),
        denied_out: growth(present.denied_out, base.denied_out),
    };
    let mut line = serde_json::to_vec(&entry)?;
    line.push(b'\n');
    let path = ledger(place);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(&path)
        .with_context(|| format!("can't write {}", path.display()))?;
    file.write_all(&line)?;
    file.sync_data()?;
    files::replace(&state, 0o644, &serde_json::to_vec(&present)?)?;
    Ok(entry)
}

/// The ledger's entries of a period, oldest first. A line cut short by a power cut is left out.
///
/// # Errors
/// When it can't be read.
pub fn read(place: &Place, from: OffsetDateTime, to: OffsetDateTime) -> Result<Vec<Entry>> {
    let path = ledger(place);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = fs::File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(entry) = serde_json::from_slice::<Entry>(&line?)
            && entry.at >= from
            && entry.at <= to
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn counters(json: &Value) -> Counters {
    let mut counters = Counters::default();
    let packets = |value: &Value| value.get("packets").and_then(Value::as_u64).unwrap_or(0);
    let items = json.get("nftables").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        if let Some(counter) = item.get("counter") {
            match counter.get("name").and_then(Value::as_str) {
                Some("denied-in") => counters.denied_in = packets(counter),
                Some("denied-out") => counters.denied_out = packets(counter),
                _ => {
                    let name = counter
                        .get("comment")
                        .and_then(Value::as_str)
                        .unwrap_or("?");
                    *counters.allowed.entry(name.to_owned()).or_default() += packets(counter);
                }
            }
        }
        let elements = item
            .get("set")
            .and_then(|set| set.get("elem"))
            .and_then(Value::as_array);
        for element in elements
            .into_iter()
            .flatten()
            .filter_map(|element| element.get("elem"))
        {
            let parts = element
                .get("val")
                .and_then(|val| val.get("concat"))
                .and_then(Value::as_array)
                .map(|parts| parts.iter().map(plain).collect::<Vec<_>>().join(" "));
            if let (Some(key), Some(counter)) = (parts, element.get("counter")) {
                counters.denied.insert(key, packets(counter));
            }
        }
    }
    counters
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A counter that fell was begun anew with new rules.
fn growth(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn grown(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(key, &count)| {
            (
                key.clone(),
                growth(count, before.get(key).copied().unwrap_or(0)),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn denied(key: &str, packets: u64) -> Option<Denied> {
    let mut parts = key.split(' ');
    let (user, to, protocol, port) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Denied {
        user: user_name(user),
        to: to.to_owned(),
        protocol: protocol.to_owned(),
        port: port.parse().ok()?,
        packets,
    })
}

fn user_name(id: &str) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
            (uid == id).then(|| name.to_owned())
        })
        .unwrap_or_else(|| format!("user {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(root: u64, row: u64, total: u64) -> Value {
        serde_json::json!({"nftables": [
            {"counter": {"name": "row-0", "comment": "mail 192.0.2.7", "packets": row}},
            {"counter": {"name": "denied-out", "packets": total}},
            {"set": {"name": "denied4", "elem": [
                {"elem": {"val": {"concat": [0, "9.9.9.9", "tcp", 80]}, "counter": {"packets": root, "bytes": 60}}}
            ]}},
        ]})
    }

    #[test]
    fn what_was_counted_is_named_by_who_tried_what() {
        let counters = counters(&listed(2, 5, 3));
        assert_eq!(counters.allowed["mail 192.0.2.7"], 5);
        assert_eq!(counters.denied_out, 3);
        let tried = denied("0 9.9.9.9 tcp 80", counters.denied["0 9.9.9.9 tcp 80"]).unwrap();
        assert_eq!(
            (
                tried.user.as_str(),
                tried.to.as_str(),
                tried.port,
                tried.packets
            ),
            ("root", "9.9.9.9", 80, 2)
        );
    }

    #[test]
    fn only_what_is_new_is_counted_also_after_new_rules() {
        let (before, after) = (counters(&listed(2, 5, 3)), counters(&listed(4, 5, 6)));
        assert_eq!(grown(&after.denied, &before.denied)["0 9.9.9.9 tcp 80"], 2);
        assert_eq!(grown(&after.allowed, &before.allowed), BTreeMap::new());
        // New rules begin at nought: what they count is all new.
        assert_eq!(growth(1, 3), 1);
    }
}
