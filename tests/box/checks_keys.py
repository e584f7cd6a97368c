"""What keys are for: the records' backup alone opens nobody's text, and who was erased stays erased through a restore."""

import hashlib
import hmac
import html
import json
import re
import threading
import time

import layers
from checks_backup import ask, pushed
from checks_disk import Desk
from checks_install import expect, fill, run_all_units_up

CONFIG = """
[[box.backup.target]]
name = "shelf"
folder = "/srv/backup"
plain_folder = true
"""
# Words of the demo's finished notes.
WORDS = ["Moves guardedly", "Slept through twice this week", "Back to light garden work", "Stairs still sore", "Mechanical pain with protective stiffness"]
# What a patient still has to come.
BOOKED = ("SELECT a.id || '|' || a.version FROM appointment_participants q JOIN appointments a ON a.id = q.appointment_id "
          "WHERE q.patient_id = {} AND a.ends_at > now() AND a.status NOT IN ('cancelled', 'no-show', 'completed')")


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("keys"):
        return
    machine = layers.machine(suite, "keys", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    fill(machine)
    machine.sh("cat >> /etc/hadada/hadada.toml", data=CONFIG.encode())
    machine.sh("install -d -o hadada-backup /srv/backup && hadadactl backup setup && hadadactl backup run", timeout=600)
    suite.check("keys: the record backup alone opens no patient's text", lambda: alone(machine))
    suite.check("keys: another master key while pages are in use", lambda: another_master(machine))
    suite.check("keys: who was erased stays erased through a restore", lambda: erased(machine))
    machine.close()


def words_of(machine, desk, visit):
    """Which of the demo's words a visit's page shows, and how it answered."""
    status, body = desk.ask(f"/encounters/{visit}")
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))
    return status, [word for word in WORDS if word in text]


def password(secret, repository):
    """A repository's password, as provisioning/src/backup/keys.rs derives it: HKDF with SHA-256."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, f"hadada restic {repository} v1".encode() + b"\x01", hashlib.sha256).hexdigest()


def bytes_of(machine, secret, repository, folder):
    """Every byte of every snapshot in a repository, for somebody who has its password and nothing else."""
    machine.sh("install -m 600 /dev/stdin /root/password", data=password(secret, repository).encode())
    restic = f"restic --no-cache --no-lock -q -r /srv/backup/{repository} -p /root/password"
    for snapshot in json.loads(machine.sh(f"{restic} snapshots --json")):
        machine.sh(f"{restic} restore {snapshot['id']} --target {folder}/{snapshot['id'][:8]}")
    found = b""
    for path in sorted((machine.root / folder.lstrip("/")).rglob("*")):
        if path.is_file() and not path.is_symlink():
            found += path.read_bytes()
    return found


def alone(machine):
    """Restores the records' repository and reads through it."""
    desk = Desk(machine)
    desk.sign_in_as("naledi")
    shown = set()
    for visit in ask(machine, "SELECT e.id FROM encounters e JOIN note_signatures s ON s.encounter_id = e.id "
                              "JOIN users u ON u.id = s.signed_by WHERE u.username = 'naledi' LIMIT 40").split():
        shown |= set(words_of(machine, desk, visit)[1])
    expect(len(shown) >= 3, f"the box itself shows only {shown}: nothing is proved by not finding more")
    secret = bytes.fromhex(machine.sh("systemd-creds decrypt --name=backup.key /etc/credstore.encrypted/hadada.backup.key - | od -An -v -tx1 | tr -d ' \\n'").strip())
    records = bytes_of(machine, secret, "records", "/srv/records-read")
    keys = bytes_of(machine, secret, "keys", "/srv/keys-read")
    # The control: this is the practice's backup, and this is how a text that is not sealed is found.
    names = ask(machine, "SELECT DISTINCT family_name FROM patients").split("\n")
    seen = [name for name in names if name.encode() in records]
    expect(len(seen) == len(names), f"only {len(seen)} of {len(names)} names, which are not sealed, are in it")
    found = [word for word in WORDS if word.encode() in records]
    expect(not found, f"in the records' backup: {found}")
    wrapped = machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada_keys -c "
                         "\"SELECT encode(wrapped, 'hex') FROM patient_keys UNION ALL SELECT encode(wrapped, 'hex') FROM practice_keys\"").split()
    expect(len(wrapped) > 20, "there are hardly any keys")

    def any_key(content):
        return any(key.encode() in content or bytes.fromhex(key) in content for key in wrapped)

    expect(any_key(keys), "the search finds no key where keys are: it proves nothing")
    expect(not any_key(records), "a patient's key, even if wrapped, is in the records' backup")
    # Its password leads to the keys' repository neither.
    machine.sh("install -m 600 /dev/stdin /root/password", data=password(secret, "records").encode())
    said = machine.sh("restic --no-cache --no-lock -r /srv/backup/keys -p /root/password snapshots", check=False)
    expect("wrong password" in said, said)
    machine.sh("rm -r /srv/records-read /srv/keys-read /root/password")
    return f"{len(records) / 1e6:.0f} MB read, {len(names)} names in the clear, none of {len(WORDS)} words of notes, none of {len(wrapped)} keys"


def another_master(machine):
    """Changes the key under a page that is asked for all the time, and reads notes before, during and after."""
    desk = Desk(machine)
    desk.sign_in_as("naledi")
    visits = ask(machine, "SELECT e.id FROM encounters e JOIN note_signatures s ON s.encounter_id = e.id "
                          "JOIN users u ON u.id = s.signed_by WHERE u.username = 'naledi' LIMIT 40").split()
    visit = next(visit for visit in visits if words_of(machine, desk, visit)[1])
    before = words_of(machine, desk, visit)
    sealed = machine.sh("sha256sum /etc/credstore.encrypted/hadada.master.key")
    answers, done = [], threading.Event()

    def read_on():
        reader = Desk(machine)
        while not done.is_set():
            answers.append(words_of(machine, reader, visit))

    reading = threading.Thread(target=read_on)
    reading.start()
    try:
        said = machine.sh("hadadactl keys new-master", timeout=300)
    finally:
        done.set()
        reading.join()
    expect(machine.sh("sha256sum /etc/credstore.encrypted/hadada.master.key") != sealed, f"the key is the one before: {said}")
    expect(not machine.ok("ls /etc/credstore.encrypted/*-master.key"), "one of the two keys of the change is left")
    expect(answers and all(answer == before for answer in answers), f"while the key was changed a note answered {[a for a in answers if a != before][:3]}")
    expect(words_of(machine, desk, visit) == before, "the note can't be read with the new key")
    number = ask(machine, "SELECT count(*) FROM audit_events WHERE reason LIKE 'keys: The box%master key was changed.'")
    expect(number.strip() != "0", "the change is not in the audit log")
    # As long as they are at it they are `activating`.
    machine.wait("! systemctl show hadada-backup.service hadada-base-backup.service -p ActiveState --value | grep -q activating", 600, "the backups are over")
    expect("0 faults" in machine.sh("hadadactl doctor", check=False), "doctor finds a fault after the change")
    return f"{len(answers)} pages read meanwhile"


def erased(machine):
    """Erases by the page, goes back by the command to when the record was there."""
    desk = Desk(machine)
    desk.sign_in_as("naledi")
    # Patients of hers with a finished note; of what is still booked for them, nothing has begun.
    rows = ask(machine, "SELECT DISTINCT ON (e.patient_id) e.patient_id || ' ' || e.id || ' ' || p.file_number FROM encounters e "
                        "JOIN note_signatures s ON s.encounter_id = e.id JOIN users u ON u.id = s.signed_by JOIN patients p ON p.id = e.patient_id "
                        f"WHERE u.username = 'naledi' AND NOT EXISTS ({BOOKED.format('e.patient_id')} AND a.status NOT IN ('booked', 'confirmed')) "
                        "ORDER BY e.patient_id, e.started_at").split("\n")
    readable = [row.split() for row in rows if words_of(machine, desk, row.split()[1])[1]]
    expect(len(readable) >= 2, f"too few notes can be read to begin with: {rows}")
    (patient, visit, number), (_, other, _) = readable[:2]
    for row in ask(machine, BOOKED.format(f"'{patient}'")).split():
        booking, version = row.split("|")
        status, body = desk.ask(f"/appointments/{booking}/status", "--data", f"to=cancelled&version={version}&reason=moved+away")
        expect(status in ("200", "303"), f"cancelling a booking gave {status}: {body[-300:]}")
    time.sleep(2)
    moment = machine.sh("date -u +%Y-%m-%dT%H:%M:%SZ").strip()
    time.sleep(2)
    admin = Desk(machine)
    admin.jar = machine.folder / "cookies-admin"
    admin.sign_in_as("admin")
    status, body = admin.ask(f"/patients/{patient}/erase", "--data", f"reason=court-order&reference=Case+12-2026&checked=true&file_number={number}")
    expect(status == "303", f"erasing gave {status}: {body[-600:]}")
    expect(not words_of(machine, desk, visit)[1], "the note can still be read after the erasure")
    pushed(machine)
    machine.sh(f"hadadactl restore at {moment} --yes", timeout=900)
    run_all_units_up(machine)
    # It is the state before: the record is in it as it was, sealed.
    machine.wait("test $(psql -XqAt -U postgres -h /run/postgresql hadada_keys -c 'SELECT count(*) FROM patient_keys') -gt 20", 30)
    left = machine.sh(f"psql -XqAt -U postgres -h /run/postgresql hadada_keys -c \"SELECT count(*) FROM patient_keys WHERE patient_id = '{patient}'\"").strip()
    expect(left == "0", "the patient's key came back with the backup")
    sealed = ask(machine, f"SELECT count(*) FROM note_versions WHERE encounter_id = '{visit}'")
    desk.sign_in_as("naledi")
    status, words = words_of(machine, desk, visit)
    expect(not words, f"the erased patient's note can be read again ({status}): {words}")
    expect(words_of(machine, desk, other)[1], "the control, another patient's note, can't be read after the restore")
    expect(patient in machine.sh("cat /var/lib/hadada/audit/erasures.jsonl"), "the register lost the patient")
    out = machine.sh(f"hadadactl restore patient {number} --practice \"$(psql -XqAt -U postgres -h /run/postgresql hadada -c 'SELECT name FROM practices ORDER BY created_at LIMIT 1')\" "
                     f"--at {moment} --out /root/one.jsonl", check=False, timeout=600)
    expect("was erased" in out and not machine.ok("test -e /root/one.jsonl"), out)
    machine.sh("hadadactl restore confirm")
    return f"the page answers {status}; {sealed} sealed versions of the note are left"
