//! The firewall's rules, closed both ways but for the table.

use std::fmt::Write as _;

use super::rows::{Block, Network, Row};

/// What nft loads, replacing what was there in one step.
pub fn ruleset(network: &Network, rows: &[Row]) -> String {
    let mut text = String::from(
        "# Written by hadadactl egress apply; change [box.network] in hadada.toml instead.\n\
         table inet hadada\n\
         delete table inet hadada\n\
         table inet hadada {\n",
    );
    for (index, row) in rows.iter().enumerate() {
        line(
            &mut text,
            1,
            &format!(
                "counter row-{index} {{ comment \"{} {}\" }}",
                row.name, row.to
            ),
        );
    }
    text.push_str(
        "    counter denied-in {}
    counter denied-out {}
    # Who tried what; the kernel keeps the count of each.
    set denied4 { type uid . ipv4_addr . inet_proto . inet_service; size 65535; flags dynamic; }
    set denied6 { type uid . ipv6_addr . inet_proto . inet_service; size 65535; flags dynamic; }
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        icmp type { echo-request, destination-unreachable, time-exceeded } limit rate 20/second accept
        icmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } limit rate 100/second accept
        udp sport 67 udp dport 68 accept
        udp sport 547 udp dport 546 accept
",
    );
    admit(&mut text, &network.lan, "443");
    admit(&mut text, &network.remote, "8444");
    admit(&mut text, &network.ssh, "22");
    text.push_str(
        "        counter name denied-in
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
    }
    chain output {
        type filter hook output priority filter; policy drop;
        oif lo accept
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
        meta skuid { root, systemd-network } udp sport 68 udp dport 67 accept
        meta skuid { root, systemd-network } udp sport 546 udp dport 547 accept
",
    );
    for (index, row) in rows.iter().enumerate() {
        let family = if row.to.is_ipv4() { "ip" } else { "ip6" };
        let user = row
            .user
            .map(|user| format!("meta skuid {user} "))
            .unwrap_or_default();
        line(
            &mut text,
            2,
            &format!(
                "{user}{family} daddr {} {} dport {} counter name row-{index} accept",
                row.to, row.protocol, row.port
            ),
        );
    }
    text.push_str(
        "        counter name denied-out
        meta l4proto { tcp, udp } add @denied4 { meta skuid . ip daddr . meta l4proto . th dport counter }
        meta l4proto { tcp, udp } add @denied6 { meta skuid . ip6 daddr . meta l4proto . th dport counter }
        meta l4proto icmp add @denied4 { meta skuid . ip daddr . meta l4proto . 0 counter }
        meta l4proto ipv6-icmp add @denied6 { meta skuid . ip6 daddr . meta l4proto . 0 counter }
        limit rate 10/minute burst 20 packets log prefix \"hadada-denied \" flags skuid
        reject with icmpx type admin-prohibited
    }
}
",
    );
    text
}

fn admit(text: &mut String, from: &[Block], port: &str) {
    for (family, four) in [("ip", true), ("ip6", false)] {
        let blocks: Vec<String> = from
            .iter()
            .filter(|b| b.is_v4() == four)
            .map(Block::to_string)
            .collect();
        if !blocks.is_empty() {
            line(
                text,
                2,
                &format!(
                    "{family} saddr {{ {} }} tcp dport {port} accept",
                    blocks.join(", ")
                ),
            );
        }
    }
}

fn line(text: &mut String, depth: usize, content: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{:width$}{content}", "", width = depth * 4);
}
