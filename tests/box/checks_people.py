"""What people do with a new box before anybody can sign in: the first-run pages, from the code on the console to the first patient,
with root on the other side, wrong input, and the power going away between the steps."""

import html
import json
import re
import time
import urllib.parse

import layers
from checks_backup import ask
from checks_disk import Desk
from checks_install import expect, fingerprint_on_console, run_all_units_up
from machine import BOX, Failed
from machine import run as host

PASSWORD = "kettle-orbit-violin-moss"


class Visitor(Desk):
    """Somebody at a browser with the first-run pages."""

    def post(self, path, **fields):
        """A form, sent."""
        return self.ask(path, "--data", urllib.parse.urlencode(fields))

    def step(self, path, then, **fields):
        """A form that must lead on to another page."""
        status, body = self.ask(path, "-D", "-", "--data", urllib.parse.urlencode(fields))
        expect(status == "303" and re.search(rf"(?im)^location: {re.escape(then)}\s*$", body), f"{path} gave {status} and not the way to {then}: {words(body)}")

    def refused(self, path, field, why, **fields):
        """A form that must come back with a word at a field."""
        status, body = self.post(path, **fields)
        expect(status == "422", f"{path} gave {status}: {words(body)}")
        expect(at_field(body, field, why), f"{path} does not say {why!r} at {field}: {words(body)}")

    def settled(self, path, timeout=240):
        """What the page says once root is done with what was asked."""
        end = time.monotonic() + timeout
        while True:
            status, body = self.ask(f"{path}/progress")
            # While its certificate is changed a browser has to connect anew.
            if status == "200" and "hx-get" not in body:
                return words(body)
            if time.monotonic() > end:
                raise Failed(f"{path}: {status} {words(body)}\n{self.machine.journal('hadada-setup.service')}")
            time.sleep(0.3)


def words(page):
    """A page's text."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.partition("<main")[2] or page)).split())[:700]


def at_field(page, field, why):
    """Whether a page's list of what to correct leads to this field and says why."""
    return any(why in html.unescape(said) for said in re.findall(rf'<a href="#f-{field}">([^<]*)</a>', page))


class Disks:
    """Disks for backups that can be plugged in: one that works, one whose switch forbids writing."""

    def __init__(self, machine):
        self.machine = machine
        self.loops = {}
        for name, more in (("good", []), ("locked", ["--read-only"])):
            image = machine.folder / f"{name}.img"
            host("truncate", "-s", "300M", image)
            host("mkfs.ext4", "-q", "-L", name, image)
            loop = host("losetup", "--find", "--show", *more, image).strip()
            self.loops[name] = (loop, host("blkid", "-s", "UUID", "-o", "value", image).strip())

    def plug(self):
        """Makes them known to the machine, as its device manager would: a container has none."""
        for name, (loop, uuid) in self.loops.items():
            number = loop.removeprefix("/dev/loop")
            self.machine.sh(
                f"mkdir -p /dev/disk/by-uuid /run/udev/data; test -e {loop} || mknod {loop} b 7 {number}; ln -sf {loop} /dev/disk/by-uuid/{uuid}; "
                f"printf 'I:1\\nE:ID_FS_UUID={uuid}\\nE:ID_FS_UUID_ENC={uuid}\\nE:ID_FS_TYPE=ext4\\nE:ID_FS_LABEL={name}\\nE:ID_FS_LABEL_ENC={name}\\n' "
                f"> /run/udev/data/b7:{number}")

    def uuid(self, name):
        """By which name a disk is asked for."""
        return self.loops[name][1]

    def unplug(self, name):
        """Takes one away."""
        self.machine.sh(f"rm /dev/disk/by-uuid/{self.uuid(name)}")

    def close(self):
        """Gives the loop devices back."""
        for loop, _ in self.loops.values():
            host("losetup", "--detach", loop, check=False)


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("wizard"):
        return
    machine = layers.machine(suite, "people", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    disks = Disks(machine)
    disks.plug()
    visitor = Visitor(machine)
    seen = {}

    def enter():
        """Types the code that the console shows."""
        code, _ = fingerprint_on_console(machine)
        status, body = visitor.post("/setup", code=code.replace("-", " ").lower())
        expect(status == "303", f"the console's code was not taken: {status} {words(body)}")
        seen["code"] = code

    def power_cut():
        machine.cut()
        machine.start()
        run_all_units_up(machine)
        disks.plug()
        status, body = visitor.ask("/setup", "-D", "-")
        expect(status == "200" and "One-time code" in body, f"after the restart: {status} {words(body)}")
        expect(ask(machine, "SELECT (SELECT count(*) FROM practices) + (SELECT count(*) FROM logins)") == "0", "half a practice was made")
        enter()

    def code():
        status, body = visitor.ask("/", "-D", "-")
        expect(status == "303" and "/setup" in body, f"a new box does not lead to its first-run pages: {status}")
        visitor.step("/setup/practice", "/setup", name="Intruder's practice")
        console, _ = fingerprint_on_console(machine)
        for wrong in range(4):
            visitor.refused("/setup", "code", "This is not the code", code=f"WRNG-{wrong:04}-XXXX")
        visitor.refused("/setup", "code", "Too many wrong codes. Try again in a minute.", code="")
        status, body = visitor.post("/setup", code=console)
        expect(status == "429" and "Too many wrong codes" in body, f"the right code, in the time of waiting, gave {status}: {words(body)}")
        said = machine.sh("hadadactl setup code --console; hadadactl setup code --console")
        fresh, _ = fingerprint_on_console(machine)
        expect(fresh and fresh != console, f"there is no new code: {said}")
        visitor.refused("/setup", "code", "This is not the code", code=console)
        enter()

    def people():
        visitor.refused("/setup/practice", "vat_number", "begins with 4", name="Rosebank Rehab", vat_number="123")
        visitor.step("/setup/practice", "/setup/admin", name="Rosebank Rehab", bhf_number="0123456", address="1 Main Road\nRosebank")
        visitor.refused("/setup/admin", "password", "12 characters", display_name="Anneke", username="anneke", password="short", password_again="short")
        visitor.step("/setup/admin", "/setup/certificate", display_name="Anneke Vermeulen", username="anneke", password=PASSWORD,
                     password_again=PASSWORD, it_mail="it@example.org")

    def certificate():
        visitor.refused("/setup/certificate", "hosts", "neither a name", source="own", hosts="rosebank..local")
        before = machine.sh("sha256sum < /var/lib/hadada/tls/ca.pem")
        # The power goes while root is at it.
        visitor.step("/setup/certificate", "/setup/certificate", source="own", hosts=f"rosebank.local {BOX}")
        power_cut()
        status, body = visitor.ask("/setup", "-D", "-")
        expect(re.search(r"(?im)^location: /setup/(certificate|backup)\s*$", body), f"it does not go on where it was: {status} {words(body)}")
        said = visitor.settled("/setup/certificate")
        expect("answers to rosebank.local" in said, said)
        visitor.ask("/setup/certificate")
        expect(machine.sh("sha256sum < /var/lib/hadada/tls/ca.pem") != before, "the authority may not sign for the new name")
        machine.on_lan("curl", "-sSf", "--cacert", visitor.pem, "--resolve", f"rosebank.local:443:{BOX}", "https://rosebank.local/readyz")
        return said

    def place():
        form = {"kind": "disk", "disk_folder": "hadada-backup"}
        status, body = visitor.ask("/setup/backup")
        expect(disks.uuid("good") not in body, "a disk is offered that was not there when root looked")
        visitor.step("/setup/backup/disks", "/setup/backup")
        status, body = visitor.ask("/setup/backup")
        expect(all(uuid in body for _, uuid in disks.loops.values()), f"the disks are not offered: {words(body)}")
        visitor.refused("/setup/backup", "disk", "Choose one of the disks", disk="ABCD-1234", **form)
        shown = {}
        for name, why in (("locked", "can be read but not written"), ("good", "is not at the server any more")):
            if name == "good":
                disks.unplug("good")
            visitor.step("/setup/backup", "/setup/backup", disk=disks.uuid(name), **form)
            shown[name] = visitor.settled("/setup/backup")
            expect(why in shown[name], f"{shown[name]}\n{machine.journal('hadada-setup.service')}")
            status, body = visitor.ask("/setup/backup")
            expect(at_field(body, "disk", why) and f'{disks.uuid(name)}" selected' in body, f"the word is not at the field, or the choice is gone: {words(body)}")
            expect("[[box.backup.target]]" not in machine.sh("cat /etc/hadada/hadada.toml"), "a place that can't be used stands in the configuration")
            expect(not machine.ok("mountpoint -q /srv/hadada-backup"), "the disk that was refused is still mounted")
        disks.plug()
        visitor.step("/setup/backup", "/setup/backup", disk=disks.uuid("good"), **form)
        said = visitor.settled("/setup/backup")
        expect("Backups go there" in said, f"{said}\n{machine.journal('hadada-setup.service')}")
        visitor.ask("/setup/backup")
        return shown["locked"]

    def recovery():
        status, body = visitor.ask("/setup/recovery")
        groups = re.findall(r'<li class="code">([0-9A-Z]{4})</li>', body)
        expect(len(groups) == 14 and "rosebank.local" in body, f"{status} {words(body)}")
        visitor.step("/setup/recovery/written", "/setup/recovery")
        status, body = visitor.ask("/setup/recovery")
        expect(not any(group in words(body) for group in groups), "the key stands beside the question for it")
        first, second = (int(number) - 1 for number in re.findall(r"Group (\d+)", words(body))[:2])
        visitor.refused("/setup/recovery", "second", "This is not group", first=groups[first], second="ZZZZ")
        visitor.step("/setup/recovery", "/setup/finish", first=groups[first].lower(), second=groups[second])
        seen["groups"] = groups

    def finish():
        status, body = visitor.ask("/setup/finish")
        expect(status == "200" and "Rosebank Rehab" in body and "Anneke Vermeulen" in body, f"{status} {words(body)}")
        visitor.step("/setup/finish", "/login?ready=true")
        # The power goes before root can have heard of it, or just after.
        machine.cut()
        machine.start()
        run_all_units_up(machine)
        disks.plug()
        machine.wait("test -e /var/lib/hadada/setup-finished && ! test -e /run/hadada-setup/code.sha256", 30, "root learns that the box is set up")
        expect(visitor.ask("/setup")[0] == "404" and visitor.post("/setup", code=seen["code"])[0] == "404", "the first-run pages are still there")
        expect("set up already" in machine.sh("hadadactl setup code") and not machine.ok("hadadactl setup recovery"), "root makes another code")
        left = machine.sh("ls -A /run/hadada-setup; ls /etc/credstore.encrypted | grep paper; ls /var/lib/hadada/requests | grep -v answer; true").strip()
        expect(not left, f"left behind: {left}")
        key = "-".join(seen["groups"])
        found = machine.sh(f"grep -rlE '{key}|{key.replace('-', '')}' /etc /run /var/lib/hadada /var/log /tmp 2>/dev/null; journalctl -q | grep -c '{key}'; true").strip()
        expect(found == "0", f"the recovery key lies in {found}")
        code, digits = fingerprint_on_console(machine)
        expect(code is None and digits, "the console still shows a code, or no fingerprint")

    def works():
        status, body = visitor.post("/login", username="anneke", password=PASSWORD, next="/day")
        expect(status == "303", f"the first admin can't sign in: {status} {words(body)}")
        status, body = visitor.register("Nkosi")
        expect(status == "303", f"no patient can be registered: {status} {words(body)}")
        expect(ask(machine, "SELECT count(*) FROM patients") == "1", "the patient is not in the records")
        timers = "hadada-backup.timer hadada-base-backup.timer hadada-wal.timer hadada-drill.timer"
        expect(machine.sh(f"systemctl is-enabled {timers}").split() == ["enabled"] * 4 and machine.ok(f"systemctl is-active {timers}"), "a timer is off")
        wants = machine.sh("ls -d /etc/systemd/system/*.wants/srv-hadada*").split()
        expect(len(wants) == 2 and any(disks.uuid("good").replace("-", "\\x2d") in want for want in wants), f"the disk is not mounted when it comes back: {wants}")
        # A container has no device manager that would do it.
        machine.sh("systemctl start 'srv-hadada\\x2dbackup.mount'")
        # As the timer does it, in the unit's own sandbox.
        machine.sh("systemctl start hadada-backup.service", timeout=600)
        fact = json.loads(machine.sh("cat /var/lib/hadada/facts/setup.json"))
        expect(fact["state"] == "good", f"{fact}")
        machine.wait("hadadactl audit verify", 60, "the audit log verifies")
        # Whom to write to was noted before there is a mail server; the box starts all the same.
        expect('to = "it@example.org"' in machine.sh("cat /etc/hadada/hadada.toml"), "the mail address was lost")
        forged = '{"format":1,"id":"00000000-0000-4000-8000-000000000001","at":"2026-11-24T10:41:00Z","ask":{"kind":"certificate","source":"own","hosts":["evil.local"]}}'
        machine.sh("cat > /var/lib/hadada/requests/00000000-0000-4000-8000-000000000001.json", data=forged.encode())
        machine.wait("grep -q '\"bad\"' /var/lib/hadada/requests/00000000-0000-4000-8000-000000000001.answer.json", 20, "root refuses what comes after the last page")

    suite.check("wizard: the code: wrong ones are counted, then wait; a new one", code)
    suite.check("wizard: practice and first admin", people)
    suite.check("wizard: the box's own certificate, over a power cut", certificate)
    suite.check("wizard: a disk for backups: locked, gone, good", place)
    suite.check("wizard: the recovery key, on paper and asked for", recovery)
    suite.check("wizard: the end, over a power cut; nothing is left of it", finish)
    suite.check("wizard: then people work, backups run, the audit log verifies", works)
    machine.cut()
    disks.close()
    machine.close()
