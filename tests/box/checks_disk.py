"""Disks that are full: writing stops with words, reading goes on, nothing is corrupt, and it recovers by itself."""

import json
import time
import urllib.parse
import uuid

import layers
from checks_install import expect, fill, run_all_units_up
from machine import BOX, Failed
from machine import run as host


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("disk full"):
        return
    for name, folder in (("database", "var/lib/postgresql"), ("state", "var/lib/hadada")):
        suite.check(f"disk full: {name}", lambda name=name, folder=folder: full(suite, name, folder))
    suite.check("disk full: system", lambda: full(suite, "system", ""))


class Desk:
    """A receptionist at the demo's practice, from the LAN."""

    def __init__(self, machine):
        self.machine = machine
        self.pem = machine.root / "var/lib/hadada/tls/ca.pem"
        self.jar = machine.folder / "cookies"

    def ask(self, path, *more):
        """Status and body."""
        said = self.machine.on_lan(
            "curl", "-sS", "--max-time", "20", "--cacert", self.pem, "-b", self.jar, "-c", self.jar, "-w", "\n%{http_code}",
            "-H", "Sec-Fetch-Site: same-origin", *more, f"https://{BOX}{path}", check=False, timeout=40)
        body, _, status = said.rpartition("\n")
        return status.strip(), body

    def sign_in(self):
        """As the demo's receptionist."""
        self.sign_in_as("reception")

    def sign_in_as(self, name):
        """As one of the demo's people."""
        status, body = self.ask("/login", "--data", f"username={name}&password=hadada-demo&next=/day")
        expect(status == "303", f"signing in gave {status}: {body[:300]}")

    def patients(self):
        """The API's list, which writes an audit event with what it showed."""
        return self.ask("/api/v1/patients?limit=5", "-H", "Accept: application/json")

    def register(self, name):
        """A new patient, by the form, who resembles no other."""
        key = uuid.uuid4()
        fields = {"idempotency_key": str(key), "given_name": f"Thandi{key.hex[:6]}", "family_name": name,
                  "birth_date": f"{1940 + key.int % 60}-03-14", "sex": "female", "identity_kind": "none", "phone": f"082{key.int % 10**7:07}"}
        return self.ask("/patients", "--data", urllib.parse.urlencode(fields))


def full(suite, name, folder):
    """Fills one disk of a box that works, looks, makes room, and looks again."""
    machine = layers.machine(suite, f"full-{name}", layers.installed(suite))
    target = machine.root / folder
    image = machine.folder / "disk.img"
    if folder:
        # A disk of its own, with what the folder held.
        host("truncate", "-s", "900M", image)
        host("mkfs.ext4", "-q", "-m", "0", image)
        host("mount", "-o", "loop", image, "/mnt")
        try:
            host("cp", "-a", f"{target}/.", "/mnt/")
        finally:
            host("umount", "/mnt")
        host("mount", "-o", "loop", image, target)
    else:
        # The system's logs and temporary files are what fills it.
        host("mkdir", "-p", machine.root / "var/log")
        host("mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", machine.root / "var/log")
        target = machine.root / "var/log"
    try:
        machine.start()
        run_all_units_up(machine)
        fill(machine)
        return look(suite, machine, target, bool(folder))
    finally:
        machine.cut()
        host("umount", target, check=False)
        machine.close()


def look(suite, machine, target, records):
    """What a receptionist meets before, while and after."""
    desk = Desk(machine)
    desk.sign_in()
    status, before = desk.patients()
    expect(status == "200", f"reading before gave {status}")

    def fill_up():
        if records:
            # In one go, so that what the box lets go of then is the box's and not taken by whoever still fills the disk.
            host("bash", "-c", f"free=$(( $(stat -f -c '%a*%S' {target}) - 4194304 )); had=$(stat -c %s {target}/filler 2>/dev/null || echo 0); "
                               f"[ $free -le 0 ] || fallocate -l $((had + free)) {target}/filler; sync -f {target}; true")
            return
        host("bash", "-c", f"cat /dev/zero >> {target}/filler 2>/dev/null; sync -f {target}; true")

    fill_up()
    if records:
        machine.wait("test -e /run/hadada-reserve/full", 20, "the mark of a full disk")
        time.sleep(2)
    refused = None
    for attempt in range(20):
        status, body = desk.register(f"Full{attempt}")
        if status == "507":
            refused = body
        if refused or not records:
            break
        # A backup that was under way may have given room back when it met the end of the disk.
        if not machine.ok("test -e /run/hadada-reserve/full"):
            fill_up()
        time.sleep(0.5)
    if records:
        expect(refused and "disk is full" in refused, f"a write while the disk was full gave {status}: {body[:400]}")
    if not records:
        expect(status == "303", f"logs that found no room stopped a write: {status}: {body[:400]}")
    reads = [desk.patients()[0] for _ in range(20)]
    expect(reads.count("200") == 20, f"reading while it was full: {reads}")
    if records:
        fact = json.loads((machine.root / "var/lib/hadada/facts/disk.json").read_text())
        expect(fact["state"] == "bad" or target.name == "hadada", f"the status page does not say it: {fact}")
    host("rm", "-f", target / "filler")
    end = time.monotonic() + 90
    # While it is full one can sign in, so only a write tells that it is over; the pages notice it within a second of the mark.
    while (status := desk.register("Later")[0]) != "303":
        if time.monotonic() > end:
            raise Failed(f"it did not recover by itself: a write gives {status}")
        time.sleep(0.5)
    expect(not machine.ok("test -e /run/hadada-reserve/full"), "writes are taken while the disk is marked as full")
    machine.wait("hadadactl audit verify", 30, "the audit log verifies")
    sums = machine.sh("setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/15/bin/pg_amcheck -h /run/postgresql -d hadada --heapallindexed --no-strict-names 2>&1 | tail -5", check=False)
    expect("ERROR" not in sums or "amcheck" in sums, sums)
    said = machine.sh("hadadactl audit verify", check=False)
    expect("whole" in said, said)
    return f"{'507' if records else '303'} for writes while full, 20 of 20 reads, whole after"
