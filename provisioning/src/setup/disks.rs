//! The disks that could keep backups.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::code::{folder, for_web};
use crate::place::Place;
use crate::process::run;

/// One disk, as the first-run pages offer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Its file system's UUID.
    pub id: String,
    /// As people know it.
    pub label: String,
    /// Where it is mounted.
    pub mount: Option<String>,
    /// Its file system's kind.
    pub file_system: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// What is free of it, where it is mounted.
    pub free: Option<u64>,
    /// Whether it can be pulled out.
    pub removable: bool,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    blockdevices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    uuid: Option<String>,
    label: Option<String>,
    model: Option<String>,
    fstype: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    size: Option<u64>,
    fsavail: Option<serde_json::Value>,
    #[serde(default)]
    hotplug: bool,
    #[serde(default)]
    children: Vec<Device>,
}

/// File systems that keep permissions and large files well enough for a backup.
const USABLE: [&str; 5] = ["ext4", "xfs", "btrfs", "ntfs", "exfat"];

/// Looks at the disks and writes them where the pages find them.
///
/// # Errors
/// When the list can't be written. Disks that can't be listed are none.
pub fn write(place: &Place) -> Result<()> {
    let disks = list().unwrap_or_default();
    for_web(
        place,
        &folder(place).join("disks.json"),
        &serde_json::to_vec_pretty(&disks)?,
    )
}

fn list() -> Result<Vec<Disk>> {
    let text = run(
        "lsblk",
        [
            "--json",
            "--bytes",
            "-o",
            "UUID,LABEL,MODEL,FSTYPE,MOUNTPOINTS,SIZE,FSAVAIL,HOTPLUG",
        ],
    )?;
    let listed: Listed =
        serde_json::from_str(&text).context("lsblk did not answer in the JSON it should")?;
    let mut disks = Vec::new();
    for device in &listed.blockdevices {
        // A disk of which any part holds the system is no place for a backup.
        if !holds_system(device) {
            gather(device, device.model.as_deref(), device.hotplug, &mut disks);
        }
    }
    Ok(disks)
}

fn holds_system(device: &Device) -> bool {
    device.mountpoints.iter().flatten().any(|mount| {
        mount == "/" || mount == "/var" || mount == "[SWAP]" || mount.starts_with("/boot")
    }) || device.children.iter().any(holds_system)
}

fn gather(device: &Device, model: Option<&str>, removable: bool, disks: &mut Vec<Disk>) {
    if let (Some(uuid), Some(kind)) = (&device.uuid, &device.fstype)
        && USABLE.contains(&kind.as_str())
        && uuid.len() <= 64
        && uuid
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c))
    {
        let free = device
            .fsavail
            .as_ref()
            .and_then(|free| free.as_u64().or_else(|| free.as_str()?.parse().ok()));
        let name = device.label.as_deref().or(model).unwrap_or("disk").trim();
        disks.push(Disk {
            id: uuid.clone(),
            label: if removable {
                format!("USB disk {name}")
            } else {
                format!("Disk {name}")
            },
            mount: device.mountpoints.iter().flatten().next().cloned(),
            file_system: Some(kind.clone()),
            bytes: device.size.unwrap_or(0),
            free,
            removable,
        });
    }
    for child in &device.children {
        gather(
            child,
            child.model.as_deref().or(model),
            removable || child.hotplug,
            disks,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_disk_is_never_offered() {
        let listed: Listed = serde_json::from_str(
            r#"{"blockdevices":[
              {"uuid":null,"label":null,"model":"Samsung","fstype":null,"mountpoints":[null],"size":500,"fsavail":null,"hotplug":false,"children":[
                {"uuid":"aaaa","label":null,"model":null,"fstype":"ext4","mountpoints":["/"],"size":400,"fsavail":"100","hotplug":false},
                {"uuid":"bbbb","label":"data","model":null,"fstype":"ext4","mountpoints":["/srv"],"size":100,"fsavail":"50","hotplug":false}]},
              {"uuid":null,"label":null,"model":"Elements","fstype":null,"mountpoints":[null],"size":900,"fsavail":null,"hotplug":true,"children":[
                {"uuid":"1234-ABCD","label":null,"model":null,"fstype":"exfat","mountpoints":["/media/usb"],"size":900,"fsavail":800,"hotplug":true}]}]}"#,
        )
        .unwrap();
        let mut disks = Vec::new();
        for device in &listed.blockdevices {
            if !holds_system(device) {
                gather(device, device.model.as_deref(), device.hotplug, &mut disks);
            }
        }
        assert_eq!(disks.len(), 1);
        assert_eq!(
            (disks[0].id.as_str(), disks[0].free, disks[0].removable),
            ("1234-ABCD", Some(800), true)
        );
        assert_eq!(disks[0].label, "USB disk Elements");
    }
}
