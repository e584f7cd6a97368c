//! What systemd is told: that the daemon moves, and nothing once it does not.

use crate::support::{Daemon, program, signal};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether systemd's watchdog is fed within a time.
fn fed(told: &UnixDatagram, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    let mut buffer = [0; 4096];
    while let Some(left) = deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        told.set_read_timeout(Some(left)).unwrap();
        if let Ok(n) = told.recv(&mut buffer)
            && String::from_utf8_lossy(&buffer[..n])
                .lines()
                .any(|line| line == "WATCHDOG=1")
        {
            return true;
        }
    }
    false
}

#[test]
fn the_watchdog_is_fed_while_the_front_moves_whatever_its_worker_does() {
    let folder = std::env::temp_dir().join(format!("hadada-watchdog-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("notify.sock");
    let told = UnixDatagram::bind(&path).unwrap();
    let mut command = Command::new(program("hadada-inference"));
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1500000");
    // A model that is not there: the worker never serves, and the front is well all the same.
    let missing = folder.join("no-such.gguf");
    let daemon = Daemon::start(command, &missing, &[]);
    assert!(fed(&told, Duration::from_secs(20)));
    assert!(fed(&told, Duration::from_secs(20)));
    signal("STOP", daemon.child.id());
    // What it said before it stood still.
    while fed(&told, Duration::from_millis(100)) {}
    assert!(!fed(&told, Duration::from_secs(3)));
    signal("CONT", daemon.child.id());
    assert!(fed(&told, Duration::from_secs(20)));
    drop(daemon);
    std::fs::remove_dir_all(&folder).unwrap();
}
