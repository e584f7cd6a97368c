//! What is measured of the box here, and not by its commands.

use std::path::{Path, PathBuf};

use sysinfo::{DiskRefreshKind, Disks};
use time::OffsetDateTime;

use crate::error::{Error, Result};

/// A disk that holds something of ours.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What, in words.
    pub holds: String,
    /// Where it is mounted.
    pub mount: String,
    /// Free bytes.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

/// When the certificate in a PEM file ends.
///
/// # Errors
/// When there is none.
pub async fn certificate_end(path: &Path) -> Result<OffsetDateTime> {
    let pem = tokio::fs::read(path).await.map_err(Error::internal)?;
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(&pem).map_err(|e| Error::internal(e.to_string()))?;
    let certificate = pem
        .parse_x509()
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(certificate.validity().not_after.to_datetime())
}

/// The disks under the clinic's data and under this program, each once.
#[must_use]
pub fn disks(data: &Path) -> Vec<Disk> {
    let Ok(all) =
        Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage())
    else {
        return Vec::new();
    };
    let program = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf))
        .unwrap_or_else(|| PathBuf::from("/"));
    let mut found: Vec<Disk> = Vec::new();
    for (holds, path) in [("clinic data", data), ("programs", &program)] {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let Some(disk) = all
            .iter()
            .filter(|d| path.starts_with(d.mount_point()))
            .max_by_key(|d| d.mount_point().as_os_str().len())
        else {
            continue;
        };
        let mount = disk.mount_point().display().to_string();
        match found.iter_mut().find(|d| d.mount == mount) {
            Some(same) => same.holds = format!("{} and {holds}", same.holds),
            None => found.push(Disk {
                holds: holds.into(),
                mount,
                free: disk.available_space(),
                total: disk.total_space(),
            }),
        }
    }
    found
}
