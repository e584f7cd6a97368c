"""A Debian machine booted from a root folder with systemd-nspawn, on a network of the test's own.

The machine's only neighbour is a network namespace that plays the clinic's network and all that lies outside: 192.168.77.1
is the next machine on the LAN, 203.0.113.7 one on the internet, which the LAN routes to.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

BOX = "192.168.77.10"
LAN = "192.168.77.1"
OUTSIDE = "203.0.113.7"


class Failed(Exception):
    """What a check found wrong, as a sentence."""


def run(*command, check=True, timeout=600, data=None, env=None):
    """Runs a program of the host's; gives what it printed, of both kinds."""
    done = subprocess.run(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, input=data, env=env
    )
    text = done.stdout.decode(errors="replace")
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))[:200]} failed ({done.returncode}):\n{text[-3000:]}")
    return text


def control_group_roots():
    """Where the hierarchies stand by which systemd keeps its processes apart.

    Each machine begins in a group of its own there: two in the same one would tidy away each other's services, which have
    the same names.
    """
    roots = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            roots.append(Path(folder))
    return roots


class Machine:
    """One machine: a root of its own over a shared one, so that each begins as the shared one was left."""

    def __init__(self, work: Path, name: str, lower: Path):
        self.name = f"hb{os.getpid() % 10000}{name}"[:12]
        self.folder = work / name
        self.root = self.folder / "root"
        self.log = self.folder / "console.log"
        self.lan = f"{self.name}l"
        self.net = f"{self.name}b"
        self.process = None
        self.leader = None
        self.groups = [root / self.name for root in control_group_roots()]
        for sub in ("upper", "work", "root"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={lower},upperdir={self.folder}/upper,workdir={self.folder}/work", self.root)
        self._network()

    def _network(self):
        run("ip", "netns", "add", self.lan)
        run("ip", "netns", "add", self.net)
        run("ip", "-n", self.net, "link", "add", "lan0", "type", "veth", "peer", "name", "box0", "netns", self.lan)
        for namespace, device, address in ((self.net, "lan0", BOX), (self.lan, "box0", LAN)):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.net, "route", "add", "default", "via", LAN)
        run("ip", "-n", self.lan, "addr", "add", f"{OUTSIDE}/32", "dev", "lo")

    def start(self, timeout=120):
        """Boots and waits until systemd has nothing left to do."""
        log = open(self.log, "ab")
        for group in self.groups:
            # Of an earlier start, where only what is below it may hold processes.
            self._remove(group)
            group.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            ["sh", "-c", 'for group in $0; do echo $$ >"$group/cgroup.procs" || exit 1; done; exec "$@"', " ".join(map(str, self.groups)),
             "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--network-namespace-path=/run/netns/{self.net}",
             "--capability=CAP_NET_ADMIN", f"--machine={self.name}", "-b", "-D", str(self.root), "--console=pipe",
             "--resolv-conf=off", "--timezone=off", "--link-journal=no"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "yes"})
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"the machine did not start:\n{self.tail()}")
            self.leader = self._leader()
            if self.leader:
                state = self.sh("systemctl is-system-running", check=False).strip()
                if state in ("running", "degraded"):
                    return state
            time.sleep(0.1)
        raise Failed(f"the machine was not up within {timeout} s:\n{self.tail()}")

    def _leader(self):
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        for child in children:
            try:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
            except OSError:
                pass
        return None

    def sh(self, script, check=True, timeout=600, user=None, data=None):
        """Runs a script inside the machine, as root or another user; gives what it printed, of both kinds."""
        inside = ["bash", "-c", script]
        if user:
            inside = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *inside]
        return run("nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C",
                   "env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
                   *inside, check=check, timeout=timeout, data=data)

    def ok(self, script, **more):
        """Whether a script inside the machine ends well."""
        try:
            self.sh(script, **more)
            return True
        except Failed:
            return False

    def on_lan(self, *command, check=True, timeout=60, data=None):
        """Runs a program of the host's where the clinic's other machines are."""
        return run("ip", "netns", "exec", self.lan, *command, check=check, timeout=timeout, data=data)

    def wait(self, script, timeout=60, what=None):
        """Waits until a script inside the machine ends well."""
        end = time.monotonic() + timeout
        while not self.ok(script):
            if time.monotonic() > end:
                raise Failed(f"{what or script} did not come true within {timeout} s:\n{self.sh(script, check=False)[-2000:]}")
            time.sleep(0.2)

    def stop(self, timeout=60):
        """Shuts down in order."""
        if self.process and self.process.poll() is None:
            os.kill(self.leader, signal.SIGRTMIN + 4)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.cut()
        self.process = None

    def cut(self):
        """Ends every process of the machine at once: what a crash of the whole system does to programs (not to the disk)."""
        if self.process and self.process.poll() is None:
            os.kill(self.leader, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.process = None

    def reboot(self):
        """Shuts down and starts again."""
        self.stop()
        return self.start()

    def tail(self, lines=40):
        """The console's last lines."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def journal(self, unit, lines=30):
        """A unit's last words."""
        return self.sh(f"journalctl -q -o cat -n {lines} -u {unit} --no-pager", check=False)

    def close(self):
        """Ends it and takes its network and root away."""
        if self.process:
            self.cut()
        for namespace in (self.lan, self.net):
            run("ip", "netns", "del", namespace, check=False)
        run("umount", "-l", self.root, check=False)
        for group in self.groups:
            self._remove(group)

    @staticmethod
    def _remove(group):
        """Takes a control group away with all below it, as soon as the last that dies in it is gone."""
        end = time.monotonic() + 10
        while group.exists():
            try:
                for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                    below.rmdir()
                group.rmdir()
            except OSError:
                if time.monotonic() > end:
                    print(f"left behind, because something still lives in it: {group}")
                    return
                time.sleep(0.05)


def readyz(machine):
    """What the web program says of itself, asked from the LAN with the box's authority as the only one trusted."""
    pem = machine.root / "var/lib/hadada/tls/ca.pem"
    text = machine.on_lan("curl", "-sS", "--max-time", "5", "--cacert", pem, f"https://{BOX}/readyz", check=False)
    try:
        return json.loads(text)
    except ValueError:
        return {"error": text.strip()}
