"""Targets for backups that the box reaches over its network or that run out of room: driven, and what is said when they fail."""

import json
import re
import subprocess
import time

import layers
from checks_install import expect, fill, run_all_units_up
from machine import LAN, Failed
from machine import run as host

# An SSH server that serves files below a folder to one key, and nothing else.
SERVER = r"""
import asyncio, asyncssh, sys
root, port, keys, host_key = sys.argv[1:]
class Files(asyncssh.SFTPServer):
    def exit(self):
        # As OpenSSH's does: restic takes a session that ends without a status for a broken one.
        self.channel.exit(0)
async def main():
    await asyncssh.listen("", int(port), server_host_keys=[host_key], authorized_client_keys=keys, allow_scp=False,
                          sftp_factory=lambda chan: Files(chan, chroot=root.encode()))
    print("serving", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
PORT = 2222


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("target"):
        return
    machine = layers.machine(suite, "targets", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    fill(machine)
    machine.sh("cp /etc/hadada/hadada.toml /root/hadada.toml")
    suite.check("target over SFTP: set up, backed up to, drilled from; a strange host key is refused", lambda: over_sftp(suite, machine))
    suite.check("target full: said with what to do, what was there stays, goes on with room", lambda: full(machine))
    suite.check("target not mounted: refused with what to do, nothing on the box's own disk", lambda: not_mounted(machine))
    machine.close()


def configure(machine, text):
    """Says where backups go."""
    machine.sh("cp /root/hadada.toml /etc/hadada/hadada.toml && cat >> /etc/hadada/hadada.toml", data=text.encode())
    # What of one target is known does not matter to the next.
    machine.sh("systemctl reload-or-restart hadada-firewall.service")


def fact(machine, kind):
    """What the box says of its backups."""
    return json.loads(machine.sh(f"cat /var/lib/hadada/facts/{kind}.json"))


def over_sftp(suite, machine):
    """An SFTP server on the clinic's network."""
    scratch = suite.cache / "asyncssh"
    if not (scratch / "bin/asyncssh-ready").exists():
        host("python3", "-m", "venv", scratch)
        host(scratch / "bin/pip", "-q", "install", "asyncssh==2.21.1")
        (scratch / "bin/asyncssh-ready").touch()
    folder = suite.work / "nas"
    (folder / "files/backup").mkdir(parents=True)
    for name in ("host", "strange"):
        host("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    (folder / "server.py").write_text(SERVER)
    public = {name: " ".join((folder / f"{name}.pub").read_text().split()[:2]) for name in ("host", "strange")}

    def config(key):
        return f'\n[[box.backup.target]]\nname = "nas"\nsftp = {{ host = "{LAN}", port = {PORT}, user = "hadada", path = "/backup", host_key = "{public[key]}" }}\n'

    configure(machine, config("strange"))
    refused = machine.sh("hadadactl backup setup", check=False)
    expect("hadadactl backup access nas" in refused, f"without a key of its own: {refused}")
    said = machine.sh("hadadactl backup access nas")
    own = re.search(r"ssh-ed25519 \S+", said).group(0)
    expect(own in machine.sh("hadadactl backup access nas"), "asked again, it has another key")
    (folder / "keys").write_text(own + "\n")
    server = subprocess.Popen(["ip", "netns", "exec", machine.lan, scratch / "bin/python", folder / "server.py", folder / "files", str(PORT), folder / "keys", folder / "host"],
                              stdout=subprocess.PIPE, stderr=open(folder / "log", "wb"), stdin=subprocess.DEVNULL)
    try:
        expect(server.stdout.readline() == b"serving\n", (folder / "log").read_text()[-800:])
        refused = machine.sh("hadadactl backup setup", check=False, timeout=120)
        expect("host_key" in refused and not list((folder / "files/backup").iterdir()), f"a server with another key: {refused}")
        configure(machine, config("host"))
        machine.sh("hadadactl backup setup", timeout=200)
        began = time.monotonic()
        machine.sh("hadadactl backup run", timeout=600)
        suite.figure("backup of the demo practice over SFTP", f"{time.monotonic() - began:.0f} s")
        # The units themselves, in their sandboxes and behind the firewall.
        machine.sh("systemctl start hadada-backup.service", timeout=600)
        machine.sh("systemctl start hadada-drill.service", timeout=900, check=False)
        drill = fact(machine, "drill")
        expect(drill["state"] == "good", f"{drill}")
        # Another key, at a target over the network.
        machine.sh("hadadactl backup new-key", timeout=300)
        machine.sh("systemctl start hadada-backup.service", timeout=600)
        expect(fact(machine, "backup")["state"] in ("good", "warning"), f"{fact(machine, 'backup')}")
    finally:
        server.terminate()
        server.wait()
    gone = machine.sh("hadadactl backup run", check=False, timeout=300)
    bad = fact(machine, "backup")
    expect(bad["state"] == "bad" and bad["do"], f"the server is gone, and it says: {bad} {gone}")
    return f"{drill['said']} Gone: {bad['do']}"


def full(machine):
    """A small disk."""
    machine.sh("truncate -s 40M /srv/small.img && mkfs.ext4 -q -m 0 /srv/small.img && mkdir -p /srv/small")
    # Loop devices are the host's: it mounts for the machine.
    image = machine.root / "srv/small.img"
    loop = host("losetup", "--find", "--show", image).strip()
    try:
        number = loop.removeprefix("/dev/loop")
        machine.sh(f"test -e {loop} || mknod {loop} b 7 {number}; mount {loop} /srv/small")
        configure(machine, '\n[[box.backup.target]]\nname = "stick"\nfolder = "/srv/small"\n')
        machine.sh("hadadactl backup setup && hadadactl backup run", timeout=600)
        before = machine.sh("hadadactl backup list").count("  nightly ")
        # Nothing else gives room back, or takes it, while the backup finds none.
        log = "hadada-wal.path hadada-wal.timer"
        machine.sh(f"systemctl stop {log}")
        machine.wait("test \"$(systemctl show hadada-wal.service -p ActiveState --value)\" = inactive", 120, "the push is over")
        machine.sh("head -c 60M /dev/urandom | dd of=/srv/small/others bs=1M status=none || true")
        said = machine.sh("hadadactl backup run", check=False, timeout=600)
        bad = fact(machine, "backup")
        expect(bad["state"] == "bad" and "is full" in bad["do"], f"{bad} {said[-800:]}")
        expect(machine.sh("hadadactl backup list").count("  nightly ") == before, "the backup that did not fit is listed")
        machine.sh(f"rm /srv/small/others; systemctl start {log}")
        machine.sh("hadadactl backup run", timeout=600)
        machine.sh("hadadactl backup check --read 1/1", timeout=300)
        expect(fact(machine, "backup")["state"] in ("good", "warning"), f"{fact(machine, 'backup')}")
        machine.wait("umount /srv/small", 60)
        return bad["do"]
    finally:
        host("losetup", "--detach", loop, check=False)


def not_mounted(machine):
    """What a share of NFS or SMB is when IT's mount is not there: an empty folder."""
    machine.sh("mkdir -p /mnt/share")
    configure(machine, '\n[[box.backup.target]]\nname = "share"\nfolder = "/mnt/share"\n')
    said = machine.sh("hadadactl backup setup", check=False)
    expect("nothing is mounted at /mnt/share" in said and "mount it" in said, said)
    run_ = machine.sh("hadadactl backup run", check=False)
    expect(not machine.sh("ls -A /mnt/share").strip(), f"it wrote to the box's own disk: {run_}")
    if machine.ok("hadadactl backup run"):
        raise Failed("a backup to nowhere went well")
    return said.strip().splitlines()[-1]
