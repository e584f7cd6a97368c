"""What may leave the box, and how it is reached: the firewall, the namespaces, TLS."""

import json
import re
import time

import layers
from checks_install import expect, fill, run_all_units_up
from machine import BOX, OUTSIDE, Failed

USERS = ["hadada", "hadada-inference", "hadada-typeset", "hadada-sender", "hadada-backup", "hadada-migrate", "hadada-update", "postgres", "nobody", "root"]

# Tries to reach a place outside: TCP, UDP with an answer, a DNS question, an ICMP echo. Prints what got through.
TRY = r"""
import socket, struct, sys
host, got = sys.argv[1], []
def attempt(name, deed):
    try:
        if deed(): got.append(name)
    except OSError:
        pass
def tcp():
    with socket.create_connection((host, 8080), 2) as s: return s.recv(2) == b"hi"
def udp(port, question):
    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2); s.connect((host, port)); s.send(question); return bool(s.recv(100))
    return ask
def icmp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as s:
        s.settimeout(2); s.connect((host, 0)); s.send(b"\x08\x00\xf7\xff\x00\x00\x00\x00"); return bool(s.recv(100))
attempt("tcp", tcp)
attempt("udp", udp(9999, b"hi"))
attempt("dns", udp(53, bytes.fromhex("abcd01000001000000000000026869000001000 1".replace(" ", ""))))
attempt("icmp", icmp)
print(",".join(got))
"""

# Answers all of them.
ANSWER = r"""
import socket, threading
host = "%s"
def tcp():
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((host, 8080)); s.listen()
    while True:
        c, _ = s.accept(); c.send(b"hi"); c.close()
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((host, port))
    while True:
        data, who = s.recvfrom(1000); s.sendto(data, who)
for deed in (tcp, lambda: udp(9999), lambda: udp(53)): threading.Thread(target=deed).start()
"""


def run(suite):
    if not any(suite.wants(name) for name in ("egress", "tls", "network")):
        return
    import subprocess

    machine = layers.machine(suite, "net", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    # So that every user can ask for an ICMP socket, and the firewall alone stands in the way.
    machine_net(machine, "sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 2147483647")
    answering = subprocess.Popen(["ip", "netns", "exec", machine.lan, "python3", "-c", ANSWER % OUTSIDE])
    helper = suite.work / "try.py"
    helper.write_text(TRY)

    def attempt(user):
        return tries(machine, user, helper)

    def denied():
        through = {user: attempt(user) for user in USERS}
        expect(not any(through.values()), f"this got through: {through}")

    def counted():
        machine.sh("systemctl start hadada-watch.service")
        said = machine.sh("hadadactl egress report", check=False)
        for user in USERS:
            for protocol, port in (("tcp", 8080), ("udp", 9999), ("udp", 53)):
                expect(re.search(rf"  {user} to {OUTSIDE} {protocol} {port}: \d+", said), f"{user}'s {protocol} {port} was not counted:\n{said}")
            expect(re.search(rf"  {user} to {OUTSIDE} icmp 0: \d+", said), f"{user}'s icmp was not counted:\n{said}")
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/egress.json"))
        expect(fact["state"] == "warning" and fact["facts"]["denied"] >= 4 * len(USERS), f"no alert: {fact}")
        return f"{fact['facts']['denied']} attempts"

    def control():
        machine.sh("nft delete table inet hadada")
        through = {user: attempt(user) for user in ("hadada", "nobody")}
        expect(all(set(got.split(",")) == {"tcp", "udp", "dns", "icmp"} for got in through.values()), f"with the rules off these got through: {through}")
        machine.sh("systemctl start hadada-watch.service")
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/egress.json"))
        expect(fact["state"] == "bad", f"an open firewall raised no alarm: {fact}")
        said = machine.sh("hadadactl egress report", check=False)
        expect("the rules were not loaded" in said, said)
        machine.sh("systemctl reload hadada-firewall.service || { journalctl -q -o cat -n 12 -u hadada-firewall.service --no-pager; false; }")
        expect(not attempt("nobody"), "the rules are not back")

    def exception():
        machine.sh(f"sed -i '/^ssh = /a ntp = [\"{OUTSIDE}\"]' /etc/hadada/hadada.toml && systemctl reload hadada-firewall.service")
        rules = machine.sh("nft list table inet hadada")
        expect(f"ip daddr {OUTSIDE} udp dport 123" in rules, rules)
        expect(not attempt("systemd-timesync"), "an exception for the time let other things pass")
        asked = machine.sh("systemd-analyze cat-config systemd/timesyncd.conf")
        expect(f"NTP={OUTSIDE}" in asked, f"the clock's service was not told: {asked}")
        machine.sh("sed -i 's/^ntp = .*/ntp = [\"no such host\"]/' /etc/hadada/hadada.toml")
        expect(not machine.ok("systemctl reload hadada-firewall.service"), "a wrong table was taken")
        expect("inet hadada" in machine.sh("nft list tables"), "a wrong table opened the firewall")
        machine.sh("sed -i '/^ntp = /d' /etc/hadada/hadada.toml && systemctl reload hadada-firewall.service")

    def namespaces():
        for unit in ("hadada-inference.service", "hadada.service"):
            process = machine.sh(f"systemctl show {unit} -p MainPID --value").strip()
            devices = machine.sh(f"nsenter -t {process} -n ip -o link | awk -F': ' '{{print $2}}'").split()
            expect(devices == ["lo"], f"{unit} has {devices}")
            own = machine.sh(f"readlink /proc/{process}/ns/net") != machine.sh("readlink /proc/1/ns/net")
            expect(own, f"{unit} shares the machine's network")
            sockets = machine.sh(f"nsenter -t {process} -n ss -H -tun").strip()
            expect(unit == "hadada.service" or not sockets, f"{unit} has sockets: {sockets}")

    def from_elsewhere():
        # A machine that is in none of the LAN's networks.
        machine.on_lan("ip", "addr", "add", "198.51.100.9/32", "dev", "lo")
        said = machine.on_lan("curl", "-sS", "--max-time", "2", "--interface", "198.51.100.9", "-k", f"https://{BOX}/readyz", check=False)
        expect("ready" not in said, f"a machine outside the LAN was served: {said}")

    suite.check("egress: TCP, UDP, DNS and ICMP of every user are turned away", denied)
    suite.check("egress: each attempt is counted, by user, and alerted", counted)
    suite.check("egress: control: with the rules off they pass, and that is noticed", control)
    suite.check("egress: an exception is only itself; a wrong table leaves the last good one", exception)
    suite.check("network: inference and web have no interface but loopback", namespaces)
    suite.check("network: a machine outside the LAN is not served", from_elsewhere)
    suite.check("tls: Mozilla's modern profile, by sslyze", lambda: modern(suite, machine))
    suite.check("tls: renewed under 200 open connections, none dropped", lambda: renewed(suite, machine))
    answering.kill()
    answering.wait()
    machine.close()


def tries(machine, user, helper):
    """What a user of the machine's reaches outside. The program is the host's Python in the machine's network namespace, under
    the machine's user ids."""
    passwd = {line.split(":")[0]: line.split(":")[2] for line in (machine.root / "etc/passwd").read_text().splitlines()}
    return machine_net(machine, "setpriv", f"--reuid={passwd[user]}", f"--regid={passwd[user]}", "--clear-groups", "python3", "-c", helper.read_text(), OUTSIDE).strip()


def machine_net(machine, *command):
    """A program of the host's in the machine's network."""
    from machine import run as host
    return host("ip", "netns", "exec", machine.net, *command, timeout=60)


def modern(suite, machine):
    """Asks sslyze, from a scratch environment of its own."""
    from machine import run as host
    scratch = suite.cache / "sslyze"
    if not (scratch / "bin/sslyze").exists():
        host("python3", "-m", "venv", scratch)
        host(scratch / "bin/pip", "-q", "install", "sslyze==6.3.1")
    said = machine.on_lan(scratch / "bin/python", "-m", "sslyze", "--mozilla_config=modern",
                           f"--certinfo_ca_file={machine.root}/var/lib/hadada/tls/ca.pem", f"clinic.local:443{{{BOX}}}", timeout=120, check=False)
    verdict = said[said.rfind("COMPLIANCE AGAINST"):]
    expect("OK - Compliant" in verdict and "FAILED" not in verdict, verdict[-1500:])
    return "compliant"


CONNECTIONS = r"""
import asyncio, ssl, sys
host, pem = sys.argv[1], sys.argv[2]
def serial(writer): return writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
async def ask(reader, writer):
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: clinic.local\r\n\r\n"); await writer.drain()
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = next(int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length"))
    await asyncio.wait_for(reader.readexactly(length), 20)
    return b" 200 " in head.split(b"\r\n")[0]
async def main():
    context = ssl.create_default_context(cafile=pem)
    open_ = [await asyncio.open_connection(host, 443, ssl=context, server_hostname=host) for _ in range(200)]
    assert all([await ask(*c) for c in open_]); first = serial(open_[0][1])
    print("open", flush=True); sys.stdin.readline()
    for _ in range(60):
        fresh = await asyncio.open_connection(host, 443, ssl=context, server_hostname=host)
        if serial(fresh[1]) != first: break
        fresh[1].close(); await asyncio.sleep(0.5)
        # One that says nothing for long is closed for that, certificate or not.
        assert all([await ask(*c) for c in open_])
    else: print("no new certificate"); return
    print(sum([await ask(*c) for c in open_]), "of 200 still answer")
asyncio.run(main())
"""


def renewed(suite, machine):
    """Two hundred connections stay open while the certificate is renewed."""
    import subprocess
    process = subprocess.Popen(
        ["ip", "netns", "exec", machine.lan, "python3", "-c", CONNECTIONS, BOX, str(machine.root / "var/lib/hadada/tls/ca.pem")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = process.stdout.readline().strip()
        if line != "open":
            raise Failed(line + process.communicate()[0])
        machine.sh("hadadactl certificate renew")
        said, _ = process.communicate("go\n", timeout=90)
    finally:
        process.kill()
    expect("200 of 200 still answer" in said, said)
    restarts = machine.sh("systemctl show hadada.service -p NRestarts --value").strip()
    expect(restarts == "0", f"the program was restarted {restarts} times")
    return "200 of 200"
