"""Backups of an installed box: set up, made, proved, spoiled, and brought back, on the same box and on a new one."""

import json
import re
import time

import layers
from checks_disk import Desk
from checks_install import expect, fill, run_all_units_up
from machine import Failed
from machine import run as host

CONFIG = """
[[box.backup.target]]
name = "usb"
folder = "/srv/backup"
"""


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("backup"):
        return
    machine = layers.machine(suite, "kept", layers.installed(suite))
    stick = machine.folder / "stick.img"
    host("truncate", "-s", "1500M", stick)
    host("mkfs.ext4", "-q", stick)
    shared = {}

    loop = host("losetup", "--find", "--show", stick).strip()
    number = loop.removeprefix("/dev/loop")

    def plug(other):
        other.sh(f"mkdir -p /srv/backup; test -e {loop} || mknod {loop} b 7 {number}; mount {loop} /srv/backup")

    def unplug(other):
        # A push may just have it open.
        other.wait("umount /srv/backup", 60)

    def begin():
        machine.start()
        run_all_units_up(machine)
        plug(machine)
        shared["paper"] = machine.sh("cat /run/hadada-setup/recovery").strip()
        fill(machine)
        machine.sh("cat >> /etc/hadada/hadada.toml", data=CONFIG.encode())
        machine.sh("chown hadada-backup: /srv/backup; hadadactl backup setup")
        machine.sh("hadadactl backup run", timeout=600)
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/backup.json"))
        expect(fact["state"] in ("good", "warning"), f"{fact}")
        said = machine.sh("hadadactl backup list")
        expect("verified" in said or "proved" in said or "not" in said, said)
        return ""

    def drill():
        said = machine.sh("hadadactl drill run", timeout=900)
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/drill.json"))
        expect(fact["state"] == "good", f"{fact}\n{said[-1500:]}")
        machine.sh("hadadactl drill show")
        return fact["said"]

    def objective():
        """Writes go on; how old is the newest row that the target alone would bring back?"""
        desk = Desk(machine)
        desk.sign_in()
        desk.patients()
        began = time.monotonic()
        pushed(machine)
        seconds = time.monotonic() - began
        suite.figure("a change is at the backup target after (aim 60 s)", f"{seconds:.0f} s")
        expect(seconds <= 62, f"it took {seconds:.0f} s")
        return f"{seconds:.0f} s"

    def gone():
        unplug(machine)
        expect(not machine.ok("hadadactl backup run"), "a backup to nowhere went well")
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/backup.json"))
        expect(fact["state"] != "good" and fact["do"], f"{fact}")
        expect(not machine.sh("ls -A /srv/backup").strip(), "it wrote to the box's own disk instead")
        plug(machine)
        machine.sh("hadadactl backup run", timeout=600)
        return fact["said"]

    def in_time():
        desk = Desk(machine)
        desk.sign_in()
        count = "SELECT count(*) FROM patients"
        before = ask(machine, count)
        time.sleep(2)
        moment = machine.sh("date -u +%Y-%m-%dT%H:%M:%SZ").strip()
        time.sleep(2)
        machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada -c "
                   "\"INSERT INTO rooms (practice_id, id, name) SELECT practice_id, gen_random_uuid(), 'added by mistake' FROM practices LIMIT 1\"")
        pushed(machine)
        began = time.monotonic()
        said = machine.sh(f"hadadactl restore at {moment} --yes", timeout=900)
        run_all_units_up(machine)
        suite.figure("restore to a second, demo practice", f"{time.monotonic() - began:.0f} s")
        expect(ask(machine, count) == before, "patients are missing")
        expect(ask(machine, "SELECT count(*) FROM rooms WHERE name = 'added by mistake'") == "0", "the mistake is still there")
        machine.wait("hadadactl audit verify", 60, "the audit log verifies after the restore")
        machine.sh("hadadactl restore confirm")
        return said.strip().splitlines()[-1]

    def one_patient():
        number = ask(machine, "SELECT file_number FROM patients ORDER BY file_number LIMIT 1")
        practice = ask(machine, "SELECT name FROM practices ORDER BY created_at LIMIT 1")
        # Units of the same account end all the while, and what systemd then takes away must not be what this needs.
        machine.sh("touch /run/again; (while test -e /run/again; do systemctl start hadada-wal.service; done) >/dev/null 2>&1 & "
                   f"hadadactl restore patient {number} --practice '{practice}' --out /root/one.jsonl; ended=$?; rm /run/again; wait; exit $ended", timeout=600)
        lines = [json.loads(line) for line in machine.sh("cat /root/one.jsonl").splitlines()]
        expect(len(lines) > 1, f"{lines}")
        return f"{len(lines)} lines"

    def new_box():
        machine.sh("hadadactl backup run", timeout=600)
        patients = ask(machine, "SELECT count(*) FROM patients")
        notes = ask(machine, "SELECT count(*) FROM note_versions")
        unplug(machine)
        machine.stop()
        other = layers.machine(suite, "newbox", layers.bare(suite))
        other.start()
        plug(other)
        other.sh(layers.INSTALL)
        run_all_units_up(other)
        began = time.monotonic()
        said = other.sh("hadadactl restore new-box --folder /srv/backup", data=(shared["paper"] + "\n").encode(), timeout=900)
        run_all_units_up(other)
        seconds = time.monotonic() - began
        suite.figure("restore on a new machine from the recovery key alone", f"{seconds:.0f} s")
        expect(ask(other, "SELECT count(*) FROM patients") == patients, "patients are missing")
        expect(ask(other, "SELECT count(*) FROM note_versions") == notes, "notes are missing")
        # A note opens: its patient's key was unwrapped with the paper key and wrapped again with this box's.
        other.sh("sed -i '1i demo = true' /etc/hadada/hadada.toml && systemctl restart hadada.service")
        run_all_units_up(other)
        desk = Desk(other)
        desk.sign_in_as("naledi")
        visit = ask(other, "SELECT e.id FROM encounters e JOIN note_signatures s ON s.encounter_id = e.id LIMIT 1")
        status, body = desk.ask(f"/encounters/{visit}")
        expect(status == "200" and "<" in body, f"a signed note gave {status}: {body[:300]}")
        wrong = other.sh("hadadactl restore new-box --folder /srv/backup", data=b"AAAA-BBBB\n", check=False)
        expect("recovery key" in wrong, wrong)
        unplug(other)
        other.stop()
        other.close()
        return "\n".join(said.strip().splitlines()[-2:])

    def corrupted():
        machine.start()
        run_all_units_up(machine)
        plug(machine)
        packs = machine.sh("find /srv/backup -path '*/records/data/*' -type f -size +64k").split()
        expect(packs, "there is no pack to spoil")
        for pack in packs:
            machine.sh(f"chmod u+w {pack}; printf 'spoiled' | dd of={pack} bs=1 seek=20000 conv=notrunc status=none")
        machine.sh("hadadactl drill run", check=False, timeout=900)
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/drill.json"))
        expect(fact["state"] == "bad" and fact["do"], f"the drill did not go red: {fact}")
        return fact["said"]

    suite.check("backup: set up, made and listed", begin)
    suite.check("backup: the drill restores and proves it", drill)
    suite.check("backup: a change is at the target within a minute", objective)
    suite.check("backup: target gone: an alert, nothing on the box's own disk", gone)
    suite.check("backup: back to a second", in_time)
    suite.check("backup: one patient's record", one_patient)
    suite.check("backup: a new machine from the recovery key alone", new_box)
    suite.check("backup: spoiled data at the target: the drill goes red", corrupted)
    machine.cut()
    host("losetup", "--detach", loop, check=False)
    machine.close()


def pushed(machine):
    """Waits until what is in the database's log now is at the target."""
    now = machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada -c 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())'").strip()
    end = time.monotonic() + 150
    while True:
        archived = ask(machine, f"SELECT last_archived_wal >= '{now}' FROM pg_stat_archiver")
        waiting = machine.sh("ls /var/lib/hadada/wal/spool | wc -l").strip()
        if archived == "t" and waiting == "0":
            return
        if time.monotonic() > end:
            raise Failed(f"not at the target: archived {archived}, waiting {waiting}\n{machine.journal('hadada-wal.service')}")
        time.sleep(0.5)


def ask(machine, query):
    """One value of the records' database."""
    return machine.sh(f"psql -XqAt -U postgres -h /run/postgresql hadada -c \"{query}\"").strip()
