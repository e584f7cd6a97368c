//! The box's own certificate authority, which can sign for the box's names only, and the short-lived certificate it
//! issues. A clinic installs `ca.pem` on its devices; stolen, the authority's key can impersonate nothing but the box.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SerialNumber,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

/// How long the authority lasts; devices have to be visited when it ends.
pub const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// How long a certificate lasts: what browsers will allow public ones from 2029 on (CA/Browser Forum ballot SC-081v3).
const CERTIFICATE_LIFE: Duration = Duration::days(47);
/// When fewer days than these are left, it is time for the next one.
pub const RENEW_BEFORE: Duration = Duration::days(14);
/// Devices whose clocks are slow must accept a certificate made just now.
pub const CLOCK_SLACK: Duration = Duration::hours(1);

/// A name or address that browsers reach the box by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name, in small letters.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// What is wrong with a certificate or a request for one.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The name can't be in a certificate.
    #[error(
        "host \"{0}\" is neither a name such as clinic.local nor an address such as 192.168.1.10"
    )]
    Host(String),
    /// The authority may not sign for it.
    #[error(
        "the box's authority may sign for {allowed} only, not for {host}. To add it, move ca.pem and ca.key away, run \
         `hadadactl init` with all names, and install the new ca.pem on every device"
    )]
    NotAllowed {
        /// The name asked for.
        host: Host,
        /// All the authority allows.
        allowed: String,
    },
    /// The authority ends too soon for another certificate.
    #[error(
        "the box's authority ends in {0} days, sooner than a new certificate would. Move ca.pem and ca.key away, run \
         `hadadactl init` again, and install the new ca.pem on every device"
    )]
    AuthorityEnds(i64),
    /// A file doesn't hold what it should.
    #[error("not a certificate in PEM form: {0}")]
    Unreadable(String),
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl FromStr for Host {
    type Err = CertificateError;

    fn from_str(text: &str) -> Result<Self, CertificateError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || number || !name.split('.').all(label) {
            return Err(CertificateError::Host(text.to_owned()));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// The hosts asked for and those every box answers to, each once, the first asked for in front.
pub fn with_own_hosts(asked: &[Host]) -> Vec<Host> {
    let own = [
        Host::Name("localhost".to_owned()),
        Host::Address(Ipv4Addr::LOCALHOST.into()),
        Host::Address(Ipv6Addr::LOCALHOST.into()),
    ];
    let mut hosts: Vec<Host> = Vec::new();
    for host in asked.iter().chain(&own) {
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    hosts
}

/// A certificate and its secret key, both in PEM form.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Makes an authority that may sign for `hosts` and nothing else.
///
/// # Errors
/// When the library refuses a name.
pub fn make_authority(hosts: &[Host], now: OffsetDateTime) -> Result<Pair, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let title = hosts
        .first()
        .map_or_else(String::new, |host| format!(" of {host}"));
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Hadada authority{title}"));
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + AUTHORITY_LIFE;
    params.serial_number = Some(new_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let permitted = hosts.iter().map(|host| match host {
        Host::Name(name) => GeneralSubtree::DnsName(name.clone()),
        Host::Address(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
        }
    });
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.collect(),
        excluded_subtrees: Vec::new(),
    });
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// A certificate's number, random (RFC 5280, section 4.1.2.2): the library's is made of the key, which a renewal keeps, and
/// browsers refuse a second certificate of the same authority and number.
pub fn new_serial() -> SerialNumber {
    let mut bytes = *uuid::Uuid::new_v4().as_bytes();
    // A positive number, and never a shorter one.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Issues a certificate for `hosts`, over the key in PEM form given, or a new one. Keeping the key lets a renewal
/// replace a single file.
///
/// # Errors
/// When the authority may not sign for a host or ends too soon, or a file is not what it should be.
pub fn issue(
    authority: &Pair,
    hosts: &[Host],
    key: Option<&str>,
    now: OffsetDateTime,
) -> Result<Pair, CertificateError> {
    let facts = Facts::read(&authority.certificate)?;
    if let Some(host) = hosts.iter().find(|host| !facts.permitted.contains(host)) {
        return Err(CertificateError::NotAllowed {
            host: (*host).clone(),
            allowed: list(&facts.permitted),
        });
    }
    if facts.not_after < now + CERTIFICATE_LIFE {
        return Err(CertificateError::AuthorityEnds(
            (facts.not_after - now).whole_days(),
        ));
    }
    let names: Vec<String> = hosts.iter().map(Host::to_string).collect();
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        names.first().map_or("Hadada", String::as_str),
    );
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + CERTIFICATE_LIFE;
    params.serial_number = Some(new_serial());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = key.map_or_else(KeyPair::generate, KeyPair::from_pem)?;
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// From when it is valid.
    pub not_before: OffsetDateTime,
    /// Until when.
    pub not_after: OffsetDateTime,
    /// The names it is for.
    pub hosts: Vec<Host>,
    /// For an authority: the names it may sign for.
    pub permitted: Vec<Host>,
    /// Its encoded form, as a server sends it.
    pub der: Vec<u8>,
    public_key: Vec<u8>,
}

impl Facts {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(pem: &str) -> Result<Self, CertificateError> {
        let unreadable = |error: String| CertificateError::Unreadable(error);
        let (_, pem) =
            parse_x509_pem(pem.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
        let certificate = pem
            .parse_x509()
            .map_err(|error| unreadable(error.to_string()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| unreadable(error.to_string()))?;
        let constraints = certificate
            .name_constraints()
            .map_err(|error| unreadable(error.to_string()))?;
        let permitted =
            constraints.and_then(|extension| extension.value.permitted_subtrees.as_ref());
        Ok(Self {
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            hosts: names
                .iter()
                .flat_map(|names| &names.value.general_names)
                .filter_map(host_of)
                .collect(),
            permitted: permitted
                .into_iter()
                .flatten()
                .filter_map(|subtree| host_of(&subtree.base))
                .collect(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            der: pem.contents.clone(),
        })
    }

    /// Whether `key`, a secret key in PEM form, belongs to this certificate.
    pub fn has_key(&self, key: &str) -> bool {
        KeyPair::from_pem(key).is_ok_and(|key| key.public_key_raw() == self.public_key)
    }

    /// Whether `authority` signed this certificate.
    pub fn is_signed_by(&self, authority: &Self) -> bool {
        let parse = |der| {
            x509_parser::parse_x509_certificate(der)
                .map(|(_, certificate): (_, X509Certificate<'_>)| certificate)
        };
        match (parse(&self.der), parse(&authority.der)) {
            (Ok(this), Ok(authority)) => {
                this.verify_signature(Some(authority.public_key())).is_ok()
            }
            _ => false,
        }
    }

    /// Whole days until it ends; below 0 when it has ended.
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        // Certificates end on a whole second, which would otherwise cost a fresh one its first day.
        (self.not_after - now + Duration::SECOND).whole_days()
    }
}

/// Hosts as a list in a sentence.
pub fn list(hosts: &[Host]) -> String {
    hosts
        .iter()
        .map(Host::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn host_of(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(name) => Some(Host::Name((*name).to_owned())),
        // A subtree is the address followed by a mask of the same length; ours cover one address each.
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 | 8 => bytes
                .first_chunk::<4>()
                .map(|bytes| Host::Address(IpAddr::from(*bytes))),
            16 | 32 => bytes
                .first_chunk::<16>()
                .map(|bytes| Host::Address(IpAddr::from(*bytes))),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{CertificateError as TlsError, RootCertStore};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-24 08:00 UTC);

    fn hosts(names: &[&str]) -> Vec<Host> {
        with_own_hosts(
            &names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_renewed_certificate_has_another_number() {
        let names = hosts(&["clinic.local"]);
        let authority = make_authority(&names, NOW).unwrap();
        let first = issue(&authority, &names, None, NOW).unwrap();
        let second = issue(&authority, &names, Some(&first.key), NOW).unwrap();
        let serial = |pair: &Pair| {
            let (_, pem) = parse_x509_pem(pair.certificate.as_bytes()).unwrap();
            pem.parse_x509().unwrap().raw_serial().to_vec()
        };
        assert_ne!(serial(&first), serial(&second));
        assert_eq!(first.key, second.key);
    }

    /// What a client with the authority installed makes of the certificate.
    fn client_opinion(
        authority: &Pair,
        leaf: &Pair,
        name: &str,
        at: OffsetDateTime,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(
                Facts::read(&authority.certificate).unwrap().der,
            ))
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let certificate = CertificateDer::from(Facts::read(&leaf.certificate).unwrap().der);
        let at =
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp() as u64));
        verifier
            .verify_server_cert(
                &certificate,
                &[],
                &ServerName::try_from(name).unwrap(),
                &[],
                at,
            )
            .map(|_| ())
    }

    #[test]
    fn a_client_accepts_the_boxs_names_and_no_other() {
        let hosts = hosts(&["clinic.local", "192.168.1.10"]);
        let authority = make_authority(&hosts, NOW).unwrap();
        let leaf = issue(&authority, &hosts, None, NOW).unwrap();
        for name in [
            "clinic.local",
            "localhost",
            "127.0.0.1",
            "::1",
            "192.168.1.10",
        ] {
            assert_eq!(
                client_opinion(&authority, &leaf, name, NOW),
                Ok(()),
                "{name}"
            );
        }
        for name in ["bank.example", "192.168.1.11"] {
            assert!(
                client_opinion(&authority, &leaf, name, NOW).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_certificate_lasts_47_days() {
        let hosts = hosts(&["clinic.local"]);
        let authority = make_authority(&hosts, NOW).unwrap();
        let leaf = issue(&authority, &hosts, None, NOW).unwrap();
        assert_eq!(Facts::read(&leaf.certificate).unwrap().days_left(NOW), 47);
        assert_eq!(
            client_opinion(&authority, &leaf, "localhost", NOW + Duration::days(46)),
            Ok(())
        );
        let late =
            client_opinion(&authority, &leaf, "localhost", NOW + Duration::days(48)).unwrap_err();
        assert!(matches!(
            late,
            rustls::Error::InvalidCertificate(TlsError::ExpiredContext { .. } | TlsError::Expired)
        ));
    }

    #[test]
    fn a_stolen_authority_can_not_sign_for_a_bank() {
        let authority = make_authority(&hosts(&["clinic.local"]), NOW).unwrap();
        let bank = [Host::Name("bank.example".to_owned())];
        assert!(matches!(
            issue(&authority, &bank, None, NOW),
            Err(CertificateError::NotAllowed { .. })
        ));

        // With the key and another program: clients refuse because of the constraint inside the authority.
        let issuer = Issuer::from_ca_cert_pem(
            &authority.certificate,
            KeyPair::from_pem(&authority.key).unwrap(),
        )
        .unwrap();
        let mut params = CertificateParams::new(["bank.example".to_owned()]).unwrap();
        params.not_before = NOW - CLOCK_SLACK;
        params.not_after = NOW + CERTIFICATE_LIFE;
        let key = KeyPair::generate().unwrap();
        let leaf = Pair {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        };
        assert!(client_opinion(&authority, &leaf, "bank.example", NOW).is_err());
    }

    #[test]
    fn a_renewal_keeps_key_and_names() {
        let hosts = hosts(&["clinic.local"]);
        let authority = make_authority(&hosts, NOW).unwrap();
        let first = issue(&authority, &hosts, None, NOW).unwrap();
        let later = NOW + Duration::days(40);
        let second = issue(&authority, &hosts, Some(&first.key), later).unwrap();
        let (authority, first, renewed) = (
            Facts::read(&authority.certificate).unwrap(),
            first,
            Facts::read(&second.certificate).unwrap(),
        );
        assert_eq!(renewed.hosts, hosts);
        assert_eq!(renewed.days_left(later), 47);
        assert!(renewed.has_key(&first.key) && renewed.is_signed_by(&authority));
        assert!(!renewed.is_signed_by(&renewed));
    }

    #[test]
    fn an_authority_about_to_end_issues_nothing() {
        let hosts = hosts(&["clinic.local"]);
        let authority = make_authority(&hosts, NOW).unwrap();
        let late = NOW + AUTHORITY_LIFE - Duration::days(20);
        assert!(matches!(
            issue(&authority, &hosts, None, late),
            Err(CertificateError::AuthorityEnds(20))
        ));
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for text in [
            "",
            "*",
            "https://clinic",
            "clinic local",
            "clinic.",
            "-clinic",
            "192.168.1",
            "192.168.1.256",
            "kliniek_1",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
        assert_eq!(
            "Clinic.Local".parse::<Host>().unwrap(),
            Host::Name("clinic.local".to_owned())
        );
    }
}
