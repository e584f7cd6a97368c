//! The authority for the certificates of IT staff and vendors. It is apart from the one that browsers trust: neither can stand
//! in for the other.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevocationReason, RevokedCertParams, SerialNumber,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::certificates::{AUTHORITY_LIFE, CLOCK_SLACK, CertificateError, Pair, new_serial};

/// A certificate that somebody outside the practice holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its number, in hex digits.
    pub number: String,
    /// Who has it.
    pub holder: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Until when it is good.
    #[serde(with = "time::serde::rfc3339")]
    pub ends_at: OffsetDateTime,
    /// From when on it is good for nothing.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// Makes the authority.
///
/// # Errors
/// When the library refuses.
pub fn make_authority(of: &str, now: OffsetDateTime) -> Result<Pair, CertificateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Hadada authority for IT and vendors of {of}"),
    );
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + AUTHORITY_LIFE;
    params.serial_number = Some(new_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair {
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// Issues a certificate and its key to a holder.
///
/// # Errors
/// When the authority is not what it should be.
pub fn issue(
    authority: &Pair,
    holder: &str,
    days: u16,
    now: OffsetDateTime,
) -> Result<(Client, Pair), CertificateError> {
    let serial = new_serial();
    let client = Client {
        number: hex::encode(serial.as_ref()),
        holder: holder.to_owned(),
        issued_at: now,
        ends_at: now + Duration::days(days.into()),
        revoked_at: None,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, holder.to_owned());
    params.not_before = now - CLOCK_SLACK;
    params.not_after = client.ends_at;
    params.serial_number = Some(serial);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer(authority)?)?;
    let pair = Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    };
    Ok((client, pair))
}

/// The signed list of those that are good for nothing any more, in PEM form.
///
/// # Errors
/// When the authority or a number is not what it should be.
pub fn revoked(
    authority: &Pair,
    clients: &[Client],
    now: OffsetDateTime,
) -> Result<String, CertificateError> {
    let mut revoked_certs = Vec::new();
    for client in clients {
        if let Some(at) = client.revoked_at {
            let number = hex::decode(&client.number)
                .map_err(|error| CertificateError::Unreadable(error.to_string()))?;
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&number),
                revocation_time: at,
                reason_code: Some(RevocationReason::Unspecified),
                invalidity_date: None,
            });
        }
    }
    let list = CertificateRevocationListParams {
        this_update: now,
        // Only this box reads it, from its own disk: there is no newer one to ask anybody for.
        next_update: now + AUTHORITY_LIFE,
        crl_number: SerialNumber::from(now.unix_timestamp().unsigned_abs()),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(&issuer(authority)?)?.pem()?)
}

fn issuer(authority: &Pair) -> Result<Issuer<'static, KeyPair>, CertificateError> {
    Ok(Issuer::from_ca_cert_pem(
        &authority.certificate,
        KeyPair::from_pem(&authority.key)?,
    )?)
}
