//! The table user × destination × port: every place the box may reach, and why.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::backup;
use crate::place::Place;
use crate::settings;
use crate::update;

/// `[box.network]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Networks whose browsers may reach the box.
    #[serde(default)]
    pub lan: Vec<Block>,
    /// Networks that may reach its SSH; none where empty.
    #[serde(default)]
    pub ssh: Vec<Block>,
    /// Networks that IT staff and vendors connect from, to port 8444, while somebody in the practice has opened it.
    #[serde(default)]
    pub remote: Vec<Block>,
    /// Time servers.
    #[serde(default)]
    pub ntp: Vec<String>,
    /// Name servers: only needed where a row below names a host and not an address.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Where Debian's security updates come from, as `host:port`.
    #[serde(default)]
    pub debian: Vec<String>,
    /// Machines whose shared folders are mounted here, as `host:port` (2049 for NFS, 445 for SMB): the kernel itself goes there.
    #[serde(default)]
    pub mounts: Vec<String>,
}

/// A network, such as `192.168.1.0/24`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Block {
    address: IpAddr,
    prefix: u8,
}

impl Block {
    /// Whether it is of the older kind of addresses.
    pub fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Block {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address
            .parse()
            .with_context(|| format!("{text:?} is not a network such as 192.168.1.0/24"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .with_context(|| format!("{text:?}: after the / stands a number up to {most}"))?,
        };
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Block {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// A protocol over the internet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name, in the ledger: letters and hyphens.
    pub name: String,
    /// What for, for people.
    pub purpose: String,
    /// The operating system's user; none for the kernel itself (a network disk).
    pub user: Option<&'static str>,
    /// Where to.
    pub to: IpAddr,
    /// At which port.
    pub port: u16,
    /// By which protocol.
    pub protocol: Protocol,
}

/// What a feature wants to reach, before names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// See [`Row::name`].
    pub name: String,
    /// See [`Row::purpose`].
    pub purpose: String,
    /// See [`Row::user`].
    pub user: Option<&'static str>,
    /// A name or an address.
    pub host: String,
    /// See [`Row::port`].
    pub port: u16,
    /// See [`Row::protocol`].
    pub protocol: Protocol,
}

/// `[box.mail]`, as far as the firewall cares.
#[derive(Debug, Default, Deserialize)]
struct Mail {
    server: Option<String>,
    port: Option<u16>,
}

/// Every exception that the configuration asks for, names looked up.
///
/// # Errors
/// When the configuration is wrong or a name can't be looked up.
pub fn rows(place: &Place) -> Result<(Network, Vec<Row>)> {
    let network: Network = settings::section(place, "network")?;
    let mut rows = Vec::new();
    let wanted = wanted(place, &network)?;
    let mut asking = vec![
        ("root", "root"),
        ("systemd-timesync", "time"),
        ("_apt", "debian"),
        ("hadada-update", "update"),
    ];
    // Those that look names up themselves, and only where there is a name to look up.
    for (user, who) in [("hadada-sender", "mail"), ("hadada-backup", "backup")] {
        let named = |one: &Wanted| one.user == Some(user) && one.host.parse::<IpAddr>().is_err();
        if wanted.iter().any(named) {
            asking.push((user, who));
        }
    }
    for server in &network.dns {
        for (user, who) in &asking {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                rows.push(Row {
                    name: format!("dns-{who}"),
                    purpose: "looking up names".into(),
                    user: Some(*user),
                    to: *server,
                    port: 53,
                    protocol,
                });
            }
        }
    }
    for wanted in wanted {
        resolve(wanted, &mut rows)?;
    }
    Ok((network, rows))
}

fn wanted(place: &Place, network: &Network) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for host in &network.ntp {
        wanted.push(Wanted {
            name: "time".into(),
            purpose: "the time server".into(),
            user: Some("systemd-timesync"),
            host: host.clone(),
            port: 123,
            protocol: Protocol::Udp,
        });
    }
    for (name, list, user, purpose) in [
        (
            "debian",
            &network.debian,
            Some("_apt"),
            "Debian's security updates",
        ),
        (
            "mount",
            &network.mounts,
            None,
            "a shared folder mounted here",
        ),
    ] {
        for text in list {
            let (host, port) = text
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .with_context(|| format!("[box.network] {name}: {text:?} is not host:port"))?;
            wanted.push(tcp(
                name,
                purpose,
                user,
                host.trim_matches(['[', ']']),
                port,
            ));
        }
    }
    for target in &backup::settings::Settings::load(place)?.target {
        let purpose = format!("the backup target {}", target.name);
        if let Some(sftp) = &target.sftp {
            wanted.push(tcp(
                "backup",
                &purpose,
                Some("hadada-backup"),
                &sftp.host,
                sftp.port,
            ));
        }
        if let Some(rest) = &target.rest {
            let (host, port) =
                authority(&rest.url).context("[box.backup] rest.url names no host")?;
            wanted.push(tcp("backup", &purpose, Some("hadada-backup"), &host, port));
        }
    }
    let update = update::settings::Settings::read(place)?;
    let debian = update.debian.as_ref().map(|debian| &debian.mirror);
    if let Some(url) = debian {
        let (host, port) =
            authority(url).with_context(|| format!("[box.update]: {url:?} names no host"))?;
        wanted.push(tcp(
            "debian",
            "Debian's security updates",
            Some("_apt"),
            &host,
            port,
        ));
    }
    let update: toml::Table = settings::section(place, "update")?;
    if let Some(mirror) = update.get("mirror").and_then(toml::Value::as_str) {
        let address: url::Url = mirror
            .parse()
            .with_context(|| format!("[box.update] mirror: {mirror:?} is not an address"))?;
        wanted.push(Wanted {
            name: "update".into(),
            purpose: "the mirror of updates".into(),
            user: Some("hadada-update"),
            host: address
                .host_str()
                .with_context(|| format!("[box.update] mirror: {mirror:?} names no host"))?
                .trim_matches(['[', ']'])
                .into(),
            port: address.port_or_known_default().unwrap_or(443),
            protocol: Protocol::Tcp,
        });
    }
    let mail: toml::Table = settings::section(place, "mail")?;
    let mail = Mail {
        server: mail
            .get("server")
            .and_then(|v| v.as_str())
            .map(str::to_owned),
        port: mail
            .get("port")
            .and_then(toml::Value::as_integer)
            .and_then(|p| p.try_into().ok()),
    };
    if let Some(host) = mail.server {
        wanted.push(Wanted {
            name: "mail".into(),
            purpose: "the mail server".into(),
            user: Some("hadada-sender"),
            host,
            port: mail.port.unwrap_or(587),
            protocol: Protocol::Tcp,
        });
    }
    Ok(wanted)
}

fn tcp(name: &str, purpose: &str, user: Option<&'static str>, host: &str, port: u16) -> Wanted {
    Wanted {
        name: name.into(),
        purpose: purpose.into(),
        user,
        host: host.into(),
        port,
        protocol: Protocol::Tcp,
    }
}

/// Host and port of an address such as `https://nas.lan:8000/hadada/`.
fn authority(url: &str) -> Option<(String, u16)> {
    let url: hyper::Uri = url.parse().ok()?;
    let port = url
        .port_u16()
        .unwrap_or(if url.scheme_str() == Some("http") {
            80
        } else {
            443
        });
    Some((url.host()?.trim_matches(['[', ']']).to_owned(), port))
}

fn resolve(wanted: Wanted, rows: &mut Vec<Row>) -> Result<()> {
    let addresses: Vec<IpAddr> = match wanted.host.parse() {
        Ok(address) => vec![address],
        Err(_) => (wanted.host.as_str(), wanted.port)
            .to_socket_addrs()
            .map(|found| found.map(|address| address.ip()).collect())
            .unwrap_or_default(),
    };
    if addresses.is_empty() {
        bail!(
            "{}: the name {} can't be looked up; give its address, or a name server in [box.network] dns",
            wanted.purpose,
            wanted.host
        );
    }
    for to in addresses {
        let row = Row {
            name: wanted.name.clone(),
            purpose: wanted.purpose.clone(),
            user: wanted.user,
            to,
            port: wanted.port,
            protocol: wanted.protocol,
        };
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_and_nonsense_refused() {
        let read = |text: &str| text.parse::<Block>().map(|block| block.to_string()).ok();
        assert_eq!(read("192.168.1.0/24").as_deref(), Some("192.168.1.0/24"));
        assert_eq!(read("10.0.0.7").as_deref(), Some("10.0.0.7/32"));
        assert_eq!(read("fd00::/8").as_deref(), Some("fd00::/8"));
        for wrong in [
            "",
            "clinic.local",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/8; drop",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_table_is_what_the_configuration_says_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::folder(dir.path().into());
        std::fs::write(place.config(), "").unwrap();
        assert_eq!(rows(&place).unwrap().1, []);
        std::fs::write(
            place.config(),
            "[box.network]\nntp = [\"192.168.1.1\"]\nmounts = [\"192.168.1.4:2049\"]\n\
             [box.mail]\nserver = \"192.168.1.2\"\nport = 25\nto = \"it@clinic.example\"\n\
             [[box.backup.target]]\nname = \"nas\"\nrest = { url = \"https://192.168.1.3:8000/hadada/\", user = \"hadada\" }\n",
        )
        .unwrap();
        let (_, rows) = rows(&place).unwrap();
        let table: Vec<_> = rows
            .iter()
            .map(|r| (r.user, r.to.to_string(), r.port, r.protocol))
            .collect();
        assert_eq!(
            table,
            [
                (
                    Some("systemd-timesync"),
                    "192.168.1.1".to_owned(),
                    123,
                    Protocol::Udp
                ),
                (None, "192.168.1.4".to_owned(), 2049, Protocol::Tcp),
                (
                    Some("hadada-backup"),
                    "192.168.1.3".to_owned(),
                    8000,
                    Protocol::Tcp
                ),
                (
                    Some("hadada-sender"),
                    "192.168.1.2".to_owned(),
                    25,
                    Protocol::Tcp
                ),
            ]
        );
        // Whoever may look names up has a name to look up.
        let lookups = |host: &str| {
            let text = format!(
                "[box.network]\ndns = [\"192.168.1.1\"]\n[box.mail]\nserver = \"{host}\"\n"
            );
            std::fs::write(place.config(), text).unwrap();
            let (_, rows) = super::rows(&place).unwrap();
            let asks = |r: &Row| r.user == Some("hadada-sender") && r.port == 53;
            rows.iter().filter(|row| asks(row)).count()
        };
        assert_eq!((lookups("192.168.1.2"), lookups("localhost")), (0, 2));
        std::fs::write(place.config(), "[box.network]\neverything = true\n").unwrap();
        assert!(format!("{:#}", super::rows(&place).unwrap_err()).contains("everything"));
    }
}
