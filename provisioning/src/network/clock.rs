//! Where the box's clock is set from. Debian's own choice of servers would be attempts to leave the box, so there is none
//! but those of `[box.network] ntp`.

use anyhow::Result;

use super::rows::Network;
use crate::files;
use crate::place::Place;
use crate::process;

/// Over Debian's default, under what IT staff may add in a later file.
pub const CONFIGURATION: &str = "etc/systemd/timesyncd.conf.d/50-hadada.conf";

fn configuration(network: &Network) -> String {
    // An empty list first takes back what an earlier file gave.
    format!(
        "# Written by hadadactl egress apply; change [box.network] ntp in hadada.toml instead.\n[Time]\nNTP=\nNTP={}\nFallbackNTP=\n",
        network.ntp.join(" ")
    )
}

/// Tells the time service; does nothing where it knows.
///
/// # Errors
/// When its configuration can't be written.
pub fn set(place: &Place, network: &Network) -> Result<()> {
    let path = place.root().join(CONFIGURATION);
    let wanted = configuration(network);
    if files::read_if_there(&path)?.as_deref() == Some(wanted.as_bytes()) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        files::make_folder(folder, 0o755)?;
    }
    files::replace(&path, 0o644, wanted.as_bytes())?;
    // At boot it has not started yet, and then it reads the file by itself.
    let _running = process::succeeds(
        "systemctl",
        ["try-restart", "--no-block", "systemd-timesyncd.service"],
    );
    Ok(())
}
