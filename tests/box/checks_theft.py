"""The records' disk, encrypted for the machine's TPM: opened by it at each start, and by nothing else but the key on paper."""

import json
import re
import time

from checks_install import expect
from checks_qemu import made, up
from machine import Failed
from qemu import Vm

# Not the power cut's: that may still be in use.
PORT = 18444
MARK = "zq-theft-room-5d1c0b7e"
KEY = r"\b(?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}\b"
# As a recovery key is written, and nobody's.
OTHER = "-".join(["cbdefghi", "jklnrtuv"] * 4)


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("stolen disk"):
        return
    shared = {}

    def encrypt():
        disk, _, _ = made(suite)
        vm = shared["vm"] = Vm(suite, "theft", disk, PORT, tpm="board")
        second = vm.add_disk("records", "3G")
        vm.start()
        up(vm)
        ask(vm, f"INSERT INTO rooms (practice_id, id, name) SELECT practice_id, gen_random_uuid(), '{MARK}' FROM practices LIMIT 1")
        ask(vm, "CHECKPOINT")
        vm.sh("sync")
        expect(holds(vm.disk), "the search finds nothing on a disk that is not encrypted: it proves nothing")
        shared["patients"] = ask(vm, "SELECT count(*) FROM patients")
        dry = vm.sh("hadadactl disk encrypt /dev/vdb --dry-run")
        expect("empty" in dry and "TPM" in dry, dry)
        vm.sh("mkfs.ext4 -q -F /dev/vdb")
        refused = vm.sh("hadadactl disk encrypt /dev/vdb", check=False)
        expect("--yes-erase" in refused, f"it would have erased a file system: {refused}")
        began = time.monotonic()
        said = vm.sh("hadadactl disk encrypt /dev/vdb --yes-erase", timeout=1800)
        suite.figure("encrypting the records' disk, demo practice, emulated", f"{time.monotonic() - began:.0f} s")
        shared["paper"] = re.search(KEY, said).group(0)
        up(vm)
        expect("already" in vm.sh("hadadactl disk encrypt /dev/vdb --yes-erase"), "run again, it would begin again")
        status = vm.sh("hadadactl disk status")
        expect("2 keys open it" in status and "TPM" in status and "paper" in status, status)
        vm.sh("sync")
        expect(not holds(second), "the records can be read on the encrypted disk")
        return said.strip().splitlines()[-2]

    def itself():
        vm = shared["vm"]
        vm.cut()
        vm.start()
        up(vm)
        expect(ask(vm, "SELECT count(*) FROM patients") == shared["patients"], "patients are missing")
        expect(ask(vm, f"SELECT count(*) FROM rooms WHERE name = '{MARK}'") == "1", "the last row is missing")
        vm.sh("mountpoint -q /var/lib/postgresql && mountpoint -q /var/lib/hadada && test -b /dev/mapper/hadada-data")
        # The same secret, sealed for the machine alone and for its TPM too: both open here.
        vm.sh("systemd-creds decrypt --name=master.key /etc/credstore.encrypted/hadada.master.key /dev/null")
        vm.sh("cp /srv/hadada-data/secrets/hadada.master.key /root/copy && systemd-creds decrypt --name=master.key /root/copy /dev/null; sync")
        left = vm.sh("mkdir -p /run/below && mount --bind /var/lib /run/below && find /run/below/postgresql /run/below/hadada -type f; umount /run/below").strip()
        expect(not left, f"still on the old disk: {left[:500]}")
        said = vm.sh("hadadactl doctor", check=False)
        expect("ok    records' disk" in said, said)

    def stolen():
        vm = shared["vm"]
        vm.cut()
        vm.tpm = "thief"
        vm.start()
        vm.wait("systemctl is-failed hadada-records-disk.service", 420)
        for what in ("test -e /dev/mapper/hadada-data", "mountpoint -q /var/lib/hadada", "systemctl is-active hadada.service",
                     "systemctl is-active postgresql@15-hadada.service"):
            expect(not succeeds(vm, what), f"with another TPM: {what}")
        console = vm.console.read_text(errors="replace")
        expect("this machine's TPM does not open it" in console and "hadadactl disk rebind" in console, console[-1200:])
        said = vm.sh("hadadactl doctor", check=False)
        expect("FAULT records' disk: the records' disk is closed" in said and "hadadactl disk rebind" in said, said)
        expect(succeeds(vm, "systemd-creds decrypt --name=master.key /root/copy /dev/null"), "the control does not open")
        expect(not succeeds(vm, "systemd-creds decrypt --name=master.key /etc/credstore.encrypted/hadada.master.key /dev/null"),
               "the box's secrets are not sealed to the TPM: they open with another one")
        refused = vm.sh("/srv/stick/install /srv/stick/release.tar.zst --packages /srv/stick/packages", check=False, timeout=400)
        expect("Nothing was done" in refused, f"installing again beside the closed disk: {refused[-800:]}")
        return re.search("the records' disk is closed: [^\r\n]*", console).group(0)

    def paper():
        vm = shared["vm"]
        wrong = vm.sh(f"echo {OTHER} | hadadactl disk open", check=False)
        expect("not the recovery key" in wrong and not succeeds(vm, "test -e /dev/mapper/hadada-data"), wrong)
        short = vm.sh("echo cbdefghi-jklnrtuv | hadadactl disk rebind", check=False)
        expect("16 were typed" in short, short)
        # Typed as people type it. The secrets of the box's units still are sealed to the other TPM, and it says so.
        said = vm.sh(f"echo {shared['paper'].upper().replace('-', ' ')} | hadadactl disk open", check=False, timeout=240)
        expect("disk is open" in said and "hadadactl disk rebind" in said, said)
        vm.sh(f"echo {shared['paper']} | hadadactl disk rebind", timeout=240)
        up(vm)
        expect(ask(vm, "SELECT count(*) FROM patients") == shared["patients"], "patients are missing")
        vm.wait("hadadactl audit verify", 120, each=600)

    def rotate():
        vm = shared["vm"]
        said = vm.sh(f"echo {shared['paper']} | hadadactl disk recovery", timeout=120)
        new = re.search(KEY, said).group(0)
        expect(new != shared["paper"], "it is the same key")
        before, shared["paper"] = shared["paper"], new
        old = vm.sh(f"echo {before} | hadadactl disk recovery", check=False, timeout=120)
        expect("not the recovery key" in old, f"the old key still opens the disk: {old}")
        vm.sh(f"printf %s {new} | cryptsetup open --disable-external-tokens --test-passphrase --key-file - /dev/vdb")
        status = vm.sh("hadadactl disk status")
        expect("2 keys open it" in status, status)
        # The new board opens it by itself, the old one no longer does.
        vm.sh("systemctl stop 'hadada*.timer' 'hadada*.path' 'hadada*.socket' 'hadada*.service' postgresql@15-hadada.service; "
              "systemctl stop 'hadada-alert@*.service'; umount /var/lib/hadada /var/lib/postgresql /srv/hadada-data && cryptsetup close hadada-data")
        unit = "'systemd-cryptsetup@hadada\\x2ddata.service'"
        vm.sh(f"systemctl restart {unit} && test -b /dev/mapper/hadada-data || {{ journalctl -q -o cat -n 20 -u {unit} --no-pager; false; }}", timeout=120)

    def given_away():
        vm = shared["vm"]
        vm.sh(f"echo {shared['paper']} | hadadactl disk open", check=False, timeout=240)
        up(vm)
        vm.sh("hadadactl uninstall --delete-records --yes-delete-everything-on $(hostname)", timeout=300)
        slots = vm.sh("cryptsetup luksDump --dump-json-metadata /dev/vdb")
        expect(json.loads(slots)["keyslots"] == {}, f"keys still open the disk: {slots[:600]}")
        tables = vm.sh("cat /etc/fstab /etc/crypttab")
        expect("hadada" not in tables, tables)
        left = vm.sh("find /var/lib/hadada /var/lib/postgresql/15 /srv/hadada-data /etc/credstore.encrypted/hadada.* 2>/dev/null; true").strip()
        expect(not left, f"left behind: {left[:500]}")
        vm.sh("sync")
        vm.cut()
        vm.start()
        state = vm.sh("systemctl is-system-running --wait", check=False, timeout=300).strip()
        expect(state in ("running", "degraded"), f"after that the machine starts so: {state}")
        return f"and the machine starts without it: {state}"

    try:
        suite.check("stolen disk: encrypted for this machine's TPM, records moved", encrypt)
        if "paper" in shared:
            suite.check("stolen disk: after a power cut its own TPM opens it", itself)
            suite.check("stolen disk: closed with another TPM, on console and in doctor", stolen)
            suite.check("stolen disk: the paper opens it, a wrong one does not", paper)
            suite.check("stolen disk: a new paper makes the old one void", rotate)
            suite.check("stolen disk: uninstalling with the records destroys its keys", given_away)
    finally:
        if "vm" in shared:
            shared["vm"].cut()


def ask(vm, query):
    """One value of the records' database."""
    return vm.sh(f'psql -XqAt -U postgres -h /run/postgresql hadada -c "{query}"').strip()


def succeeds(vm, script):
    """Whether a script inside ends well."""
    try:
        vm.sh(script)
        return True
    except Failed:
        return False


def holds(disk):
    """Whether the mark can be read in a disk's image."""
    before = b""
    with open(disk, "rb") as image:
        while block := image.read(1 << 24):
            if MARK.encode() in before + block:
                return True
            before = block[-len(MARK):]
    return False
