//! No network: nothing of it is opened, and nothing of it is needed.

use crate::support::{Daemon, program, writing_model};
use serde_json::json;
use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

/// Sockets of a process, by inode.
fn sockets(pid: u32) -> HashSet<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = entries.filter_map(|e| std::fs::read_link(e.unwrap().path()).ok());
    links
        .filter_map(|l| {
            Some(
                l.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect()
}

/// Inodes of all sockets of the process's network namespace that are not Unix sockets.
fn network_inodes(pid: u32) -> HashSet<String> {
    let mut found = HashSet::new();
    for (table, column) in [
        ("tcp", 9),
        ("tcp6", 9),
        ("udp", 9),
        ("udp6", 9),
        ("raw", 9),
        ("raw6", 9),
        ("icmp", 9),
        ("packet", 8),
        ("netlink", 9),
    ] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        found.extend(
            text.lines()
                .skip(1)
                .filter_map(|l| l.split_whitespace().nth(column).map(str::to_owned)),
        );
    }
    found
}

pub fn assert_no_network(daemon: &Daemon, front: u32) {
    for _ in 0..3 {
        daemon
            .post(
                "/v1/completions",
                &json!({"prompt": "Once", "max_tokens": 4}),
            )
            .ok();
        daemon.post("/v1/embeddings", &json!({"input": "x"})).ok();
        for pid in [front, daemon.worker()] {
            let own = sockets(pid);
            assert!(!own.is_empty(), "the process has Unix sockets at least");
            assert!(
                own.is_disjoint(&network_inodes(pid)),
                "process {pid} has a network socket"
            );
        }
    }
}

#[test]
fn no_network_socket_is_opened() {
    let daemon = Daemon::ready();
    assert_no_network(&daemon, daemon.child.id());
}

#[test]
fn it_works_where_there_is_no_network() {
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net"])
        .arg(program("hadada-inference"));
    let daemon = Daemon::start(command, &writing_model(), &[]);
    daemon.wait_until("ready", Duration::from_secs(60));
    let interfaces =
        std::fs::read_to_string(format!("/proc/{}/net/dev", daemon.child.id())).unwrap();
    assert_eq!(
        interfaces.lines().skip(2).count(),
        1,
        "only the loopback: {interfaces}"
    );
    assert_no_network(&daemon, daemon.child.id());
}
