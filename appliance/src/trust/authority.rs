//! The certificate of the box's own authority, in the forms that devices take.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::error::{Error, Result};

/// The authority's certificate.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// As a PEM file.
    pub pem: String,
    /// As DER bytes.
    pub der: Vec<u8>,
    /// When it ends, UTC.
    pub ends: OffsetDateTime,
}

impl Authority {
    /// Reads it; none where the file is missing, because a bought certificate is in use.
    ///
    /// # Errors
    /// When the file holds something else.
    pub async fn load(path: &Path) -> Result<Option<Self>> {
        let pem = match tokio::fs::read(path).await {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::internal(error)),
        };
        let (_, parsed) =
            x509_parser::pem::parse_x509_pem(&pem).map_err(|e| Error::internal(e.to_string()))?;
        let certificate = parsed
            .parse_x509()
            .map_err(|e| Error::internal(e.to_string()))?;
        let name = certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or("Hadada authority")
            .to_owned();
        let ends = certificate.validity().not_after.to_datetime();
        // Only the certificate goes out, whatever else the file may hold.
        let text = STANDARD.encode(&parsed.contents);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        Ok(Some(Self {
            name,
            pem: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                lines.join("\n")
            ),
            ends,
            der: parsed.contents,
        }))
    }

    /// SHA-256 of the certificate, as devices show it: `AB:CD:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Sha256::digest(&self.der)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":")
    }

    /// A configuration profile for iPhone, iPad and Mac (Apple, Configuration Profile Reference, `com.apple.security.root`).
    /// The same authority gives the same profile, so that installing it twice leaves one.
    #[must_use]
    pub fn profile(&self, host: &str) -> String {
        let digest = Sha256::digest(&self.der);
        let id = |last: u8| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest[..16]);
            bytes[15] ^= last;
            uuid::Builder::from_custom_bytes(bytes).into_uuid()
        };
        let escape = |text: &str| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
        };
        let (name, host) = (escape(&self.name), escape(host));
        let (payload, profile) = (id(1), id(2));
        let content = STANDARD.encode(&self.der);
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>PayloadType</key><string>Configuration</string>
  <key>PayloadVersion</key><integer>1</integer>
  <key>PayloadIdentifier</key><string>hadada.trust.{profile}</string>
  <key>PayloadUUID</key><string>{profile}</string>
  <key>PayloadDisplayName</key><string>Trust the clinic server {host}</string>
  <key>PayloadDescription</key><string>Lets this device trust {host}, the clinic's own server, and no other.</string>
  <key>PayloadContent</key>
  <array>
    <dict>
      <key>PayloadType</key><string>com.apple.security.root</string>
      <key>PayloadVersion</key><integer>1</integer>
      <key>PayloadIdentifier</key><string>hadada.trust.{payload}</string>
      <key>PayloadUUID</key><string>{payload}</string>
      <key>PayloadDisplayName</key><string>{name}</string>
      <key>PayloadCertificateFileName</key><string>ca.cer</string>
      <key>PayloadContent</key><data>{content}</data>
    </dict>
  </array>
</dict>
</plist>
"#
        )
    }
}
