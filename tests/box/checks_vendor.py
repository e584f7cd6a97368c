"""What a vendor and Debian bring over the network: a mirror, an update pushed with a client certificate, signed packages."""

import json
import re
import shutil
import time

import layers
from checks_backup import ask
from checks_install import expect, run_all_units_up
from checks_outside import MIRROR, page, settings, through
from machine import BOX, LAN
from machine import run as host

CONTROL = "Package: hadada-probe\nVersion: {}\nArchitecture: all\nMaintainer: A test <test@example.org>\nDescription: harmless\n"


def updates(suite, machine, outside, authority, server):
    """The checks of this file, on a box with the demo's practice."""
    vendor = layers.vendor(suite)
    suite.check("mirror: the nightly run takes a signed release, and nobody else goes there", lambda: mirror(machine, outside, vendor, server))
    suite.check("remote: certificates, a pushed update, revoked, time over", lambda: remote(suite, machine, outside, vendor, authority))
    suite.check("debian: updates from a signed mirror and from the release, no others", lambda: debian(suite, machine, outside, vendor))


def running(machine, version, timeout=120):
    """Waits until the box runs a version and serves it."""
    machine.wait(f"test $(readlink /opt/hadada/current) = releases/{version} && ! test -e /var/lib/hadada/update/journal.json", timeout, f"release {version} runs")
    ready = run_all_units_up(machine)
    expect(ready["version"] == version, f"it serves {ready['version']}")


def mirror(machine, outside, vendor, server):
    """The nightly run, from a mirror on the LAN."""
    vendor.publish("0.6.0", 6)
    outside.start(MIRROR, 8443, vendor.repository, 8443, server)
    settings(machine, f'[box.update]\nmirror = "https://{LAN}:8443/"\nmirror_authority = "/etc/hadada/clinic.crt"\nautomatic = true\n')
    said = machine.sh("hadadactl update check")
    expect("Release 0.6.0 can be installed" in said, said)
    ways = {user: through(machine, user, 8443) for user in ("hadada-update", "hadada", "root")}
    expect(ways == {"hadada-update": True, "hadada": False, "root": False}, f"{ways}")
    machine.sh("systemctl start hadada-update.service", check=False, timeout=600)
    fact = machine.sh("cat /var/lib/hadada/facts/update.json; journalctl -q -o cat -n 15 -u hadada-update.service")
    expect(machine.sh("readlink /opt/hadada/current").strip() == "releases/0.6.0", fact)
    running(machine, "0.6.0")
    body, text = page(machine)
    expect("0.6.0" in body, text)
    return ""


def remote(suite, machine, outside, vendor, authority):
    """A vendor with a certificate, and others without."""
    pem = machine.root / "var/lib/hadada/tls/ca.pem"

    def call(path, *more, certificate=None):
        shown = ["--cert", certificate] if certificate else []
        return machine.on_lan("curl", "-sS", "--connect-timeout", "2", "--max-time", "120", "--cacert", pem, *shown, "-w", "\n%{http_code}", *more, f"https://{BOX}:8444{path}", check=False, timeout=150)

    def status(certificate=None):
        return call("/box/status", certificate=certificate).strip().endswith("\n200")

    def issued(holder):
        name = holder.lower()
        said = machine.sh(f"hadadactl remote-access issue --holder '{holder}' --out /root/{name}.pem")
        run_all_units_up(machine)
        shutil.copy(machine.root / f"root/{name}.pem", outside.folder / f"{name}.pem")
        return re.search(r"certificate ([0-9a-f]{12}) ", said).group(1), outside.folder / f"{name}.pem"

    expect("(28)" in call("/box/status"), "the firewall lets somebody to the port for IT")
    refused = machine.sh("hadadactl remote-access on --reason 'too early'", check=False)
    expect("remote-access issue" in refused, refused)
    number, vendors = issued("Vendor")
    machine.sh("sed -i '/^ssh = /a remote = [\"192.168.77.0/24\"]' /etc/hadada/hadada.toml && hadadactl egress apply")
    expect(not status(vendors) and "Closed" in page(machine)[0], "the port answers before anybody opened it")
    machine.sh("hadadactl remote-access on --hours 1 --reason 'release 0.7.0'")
    foreign = outside.certificate(authority, "foreign", "extendedKeyUsage=clientAuth")
    end = time.monotonic() + 10
    while not status(vendors):
        expect(time.monotonic() < end, f"it does not answer to the vendor: {call('/box/status', certificate=vendors)}")
    expect(not status() and not status(foreign), "somebody without a certificate of the box's is let in")
    expect("Open until" in page(machine)[0] and "release 0.7.0" in page(machine)[0], "the page does not say that remote access is open")

    # A damaged update is taken in, refused, and the page says why.
    vendor.publish("0.7.0", 7)
    bundle = suite.work / "pushed.update"
    host(vendor.tool, "release", "pack", "--repository", vendor.repository, "--out", bundle)
    spoiled = suite.work / "spoiled.update"
    shutil.copy(bundle, spoiled)
    with open(spoiled, "r+b") as file:
        file.seek(bundle.stat().st_size // 2)
        file.write(b"spoiled on the way")
    push = ("-X", "POST", "-H", "Content-Type: application/octet-stream", "-T")
    said = call("/box/update/push", *push, bundle, certificate=foreign)
    expect("202" not in said, f"a stranger pushed: {said}")
    before = machine.sh("readlink /opt/hadada/current")
    said = call("/box/update/push", *push, spoiled, certificate=vendors)
    expect(said.endswith("202"), said)
    machine.wait("! ls /var/lib/hadada/update/incoming | grep -q . && ! systemctl -q is-active hadada-update.service", 180, "the damaged update is done with")
    fact = json.loads(machine.sh("cat /var/lib/hadada/facts/update.json"))
    expect(fact["state"] != "good" and machine.sh("readlink /opt/hadada/current") == before, f"{fact}")
    expect(fact["said"] in page(machine)[0].replace("&#x27;", "'"), f"the page does not say why: {fact}")
    said = call("/box/update/push", *push, bundle, certificate=vendors)
    expect(said.endswith("202"), said)
    running(machine, "0.7.0")
    body, text = page(machine)
    expect("0.7.0" in body and json.loads(machine.sh("cat /var/lib/hadada/facts/update.json"))["state"] == "good", text)

    # Revoked: at once, and for that certificate only.
    _, others = issued("Itpartner")
    # The door notices within a second that there is a new list of what was revoked, and begins anew with it.
    end = time.monotonic() + 10
    while not (status(vendors) and status(others)):
        expect(time.monotonic() < end, "two certificates do not work side by side")
    machine.sh(f"hadadactl remote-access revoke {number}")
    end = time.monotonic() + 10
    while status(vendors):
        expect(time.monotonic() < end, "a revoked certificate is still taken")
    expect(status(others) and "revoked" in machine.sh("hadadactl remote-access clients"), "the other one is not taken any more")
    # The time is over.
    machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada -c 'UPDATE remote_access SET until = now() WHERE closed_at IS NULL' && systemctl restart hadada.service")
    run_all_units_up(machine)
    expect(not status(others) and "closed" in machine.sh("hadadactl remote-access status"), "it is open after its time")
    machine.sh("hadadactl remote-access on --reason again && hadadactl remote-access off")
    expect(not status(others), "it is open after it was closed")
    log = ask(machine, "SELECT string_agg(reason, ' | ' ORDER BY id) FROM audit_events WHERE entity IN ('Device', 'Endpoint')")
    steps = ["issued to Vendor", "opened until", "state of the box read by \"Vendor\"", f"{spoiled.stat().st_size} bytes", f"{bundle.stat().st_size} bytes",
             "turned away: it showed no certificate", "turned away: it showed a certificate that is not from this box's authority",
             "turned away: it showed a certificate that was taken away (\"Vendor\"", "issued to Itpartner", f"{number} of Vendor revoked", "its time was over", "closed by somebody present"]
    missing = [step for step in steps if step not in log]
    expect(not missing, f"not in the audit log: {missing}: {log}")
    machine.wait("hadadactl audit verify", 60, "the audit log verifies")
    return f"{len(steps)} steps in the audit log"


def debian(suite, machine, outside, vendor):
    """A small repository of Debian packages, signed by a key of the test's, and by another."""
    folder = suite.work / "apt"
    home = suite.work / "gpg"
    for name in ("good", "other"):
        (home / name).mkdir(parents=True, mode=0o700)
        host("gpg", "--homedir", home / name, "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "1d")
        host("gpg", "--homedir", home / name, "--batch", "--quiet", "--export", "--output", home / f"{name}.gpg")
    packages = {}
    for version in ("1.0", "1.1", "1.2"):
        root = suite.work / f"deb-{version}"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "DEBIAN/control").write_text(CONTROL.format(version))
        packages[version] = suite.work / f"hadada-probe_{version}_all.deb"
        host("dpkg-deb", "--root-owner-group", "--build", root, packages[version])

    def repository(version, key, flat=None):
        """Makes the repository anew with one package."""
        where = flat or folder
        shutil.rmtree(where, ignore_errors=True)
        index = where if flat else where / "dists/stable/main/binary-amd64"
        index.mkdir(parents=True)
        shutil.copy(packages[version], where)
        (index / "Packages").write_text(host("sh", "-c", f"cd {where} && dpkg-scanpackages --multiversion . 2>/dev/null"))
        signed = where if flat else where / "dists/stable"
        (suite.work / "Release").write_text(host("sh", "-c", f"cd {signed} && apt-ftparchive -o APT::FTPArchive::Release::Suite=stable "
                                                             "-o APT::FTPArchive::Release::Codename=stable release . 2>/dev/null"))
        host("gpg", "--homedir", home / key, "--batch", "--quiet", "--yes", "--clear-sign", "--output", signed / "InRelease", suite.work / "Release")

    def version():
        return machine.sh("dpkg-query -W -f '${Version}' hadada-probe").strip()

    host("install", "-m", "644", packages["1.0"], machine.root / "root/probe.deb")
    host("install", "-m", "644", home / "good.gpg", machine.root / "etc/hadada/debian.gpg")
    machine.sh("dpkg -i /root/probe.deb")
    folder.mkdir()
    outside.start(MIRROR, 8000, folder, 8000, "none")
    settings(machine, f'[box.update.debian]\nmirror = "http://{LAN}:8000"\nsuite = "stable"\nkeyring = "/etc/hadada/debian.gpg"\n')
    repository("1.1", "other")
    refused = machine.sh("hadadactl update debian", check=False)
    expect("unsigned" in refused and version() == "1.0", f"another's signature was taken: {refused}")
    repository("1.1", "good")
    with open(folder / packages["1.1"].name, "ab") as file:
        file.write(b"more")
    refused = machine.sh("hadadactl update debian", check=False)
    expect(version() == "1.0" and "updated" not in refused, f"a changed package was taken: {refused}")
    repository("1.1", "good")
    expect("would update hadada-probe" in machine.sh("hadadactl update debian --dry-run") and version() == "1.0", "a dry run did more")
    said = machine.sh("hadadactl update debian")
    expect("updated hadada-probe" in said and version() == "1.1", said)
    expect("up to date" in machine.sh("hadadactl update debian"), "it does not know that it is done")
    # The same with the release, on a stick: the vendor's signatures, and the packages' own.
    flat = suite.work / "flat"
    repository("1.2", "good", flat)
    shutil.copy(home / "good.gpg", flat / "keyring.gpg")
    tar = suite.work / "debian.tar"
    host("tar", "-C", flat, "-cf", tar, *sorted(file.name for file in flat.iterdir()))
    bundle = vendor.build("0.8.0", 8, out=suite.work / "with-debian")
    for holder in ("ann", "cas"):
        extra = ("--bundle", bundle, "--debian", tar) if holder == "ann" else ()
        host(vendor.tool, "release", "sign", "--repository", vendor.repository, "--key", vendor.keys / f"targets-{holder}.key", *extra, data=b"a long passphrase\n")
    vendor.sign("snapshot-robot")
    vendor.sign("timestamp-robot")
    packed = machine.root / "root/stick.update"
    host(vendor.tool, "release", "pack", "--repository", vendor.repository, "--out", packed)
    said = machine.sh("hadadactl update check /root/stick.update && hadadactl update debian --bundle /root/stick.update")
    expect("brings updates of Debian's packages" in said and version() == "1.2", said)
    return refused.strip().splitlines()[-1][:120]
