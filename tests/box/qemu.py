"""A whole machine with a kernel and a disk of its own, emulated. kill -9 of the emulator is the power cut."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from machine import Failed, run

ADDRESS = "192.168.76.15"

NETWORK = f"[Match]\nName=en* eth*\n[Network]\nAddress={ADDRESS}/24\nGateway=192.168.76.2\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"

# Only in the tests' image: commands come in and their words go out through a port of the emulator's.
SHELL_UNIT = """[Unit]
DefaultDependencies=no
After=local-fs.target
# Until the port is there.
StartLimitIntervalSec=0
[Service]
RestartSec=1
ExecStart=/bin/bash -c 'exec <>/dev/virtio-ports/test; while read -r line; do eval "$line" </dev/null >/run/said 2>&1; code=$?; cat /run/said; echo "<<$code>>"; done <&0 >&0'
Restart=always
[Install]
WantedBy=sysinit.target
"""


def image(suite, root, name, size="6G"):
    """A disk image of a stopped machine's root."""
    target = shared(suite) / f"{name}.img"
    etc = root / "etc"
    (etc / "systemd/network").mkdir(parents=True, exist_ok=True)
    (etc / "systemd/network/lan.network").write_text(NETWORK)
    (etc / "fstab").write_text("/dev/vda / ext4 rw 0 1\n")
    (etc / "systemd/system/test-shell.service").write_text(SHELL_UNIT)
    # The units' own patience is for hardware, not for an emulator on a busy machine. (Watchdogs are tried without one.)
    for unit in ("hadada", "hadada-inference", "hadada-reserve"):
        folder = etc / f"systemd/system/{unit}.service.d"
        folder.mkdir(exist_ok=True)
        (folder / "slow.conf").write_text("[Service]\nTimeoutStartSec=600\nWatchdogSec=0\n")
    wants = etc / "systemd/system"
    for folder, unit, source in (("sysinit.target.wants", "test-shell.service", "/etc/systemd/system/test-shell.service"),
                                 ("multi-user.target.wants", "systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service")):
        (wants / folder).mkdir(parents=True, exist_ok=True)
        link = wants / folder / unit
        if not link.is_symlink():
            link.symlink_to(source)
    run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", root, target, size, timeout=900)
    boot = root / "boot"
    kernel = sorted(boot.glob("vmlinuz-*"))[-1]
    initrd = sorted(boot.glob("initrd.img-*"))[-1]
    run("cp", kernel, shared(suite) / f"{name}.vmlinuz")
    run("cp", initrd, shared(suite) / f"{name}.initrd")
    return target


def shared(suite):
    """The folder that the emulator's root sees as /w."""
    folder = suite.work / "vm"
    folder.mkdir(exist_ok=True)
    return folder


def emulator(suite):
    """The root that qemu lives in."""
    root = suite.work / "qemu-root"
    if not root.exists():
        root.mkdir()
        run("tar", "-C", root, "-xf", suite.cache / "qemu.tar")
        (root / "w").mkdir()
        run("mount", "--bind", shared(suite), root / "w")
        for device in ("null", "zero", "urandom", "random"):
            (root / "dev" / device).touch()
            run("mount", "--bind", f"/dev/{device}", root / "dev" / device)
    return root


class Vm:
    """One emulated machine over an image it does not change."""

    def __init__(self, suite, name, base, port, cache="writeback", tpm=None, extra=()):
        self.suite, self.name, self.base, self.port, self.cache, self.tpm, self.extra = suite, name, base, port, cache, tpm, extra
        self.root = emulator(suite)
        self.disk = shared(suite) / f"{name}.qcow2"
        self.console = shared(suite) / f"{name}.console"
        self.shell_path = shared(suite) / f"{name}.sock"
        self.process = None
        self.chip = None
        self.pipe = None
        self.asked = 0
        run("chroot", self.root, "qemu-img", "create", "-q", "-f", "qcow2", "-b", f"/w/{base.name}", "-F", "raw", f"/w/{self.disk.name}")

    def add_disk(self, name, size):
        """A second, empty disk."""
        run("chroot", self.root, "qemu-img", "create", "-q", "-f", "qcow2", f"/w/{name}.qcow2", size)
        self.extra = (*self.extra, "-drive", f"file=/w/{name}.qcow2,if=virtio,format=qcow2")
        return shared(self.suite) / f"{name}.qcow2"

    def _put_chip(self):
        """The board's TPM, which keeps its secrets in a folder of its own; gives the emulator's arguments."""
        if not self.tpm:
            return []
        (shared(self.suite) / f"tpm-{self.tpm}").mkdir(exist_ok=True)
        control = shared(self.suite) / f"tpm-{self.tpm}.ctrl"
        control.unlink(missing_ok=True)
        self.chip = subprocess.Popen(
            ["chroot", str(self.root), "swtpm", "socket", "--tpm2", "--tpmstate", f"dir=/w/tpm-{self.tpm}", "--ctrl", f"type=unixio,path=/w/{control.name}", "--terminate"],
            stdin=subprocess.DEVNULL, stdout=open(f"{control}.err", "ab"), stderr=subprocess.STDOUT)
        end = time.monotonic() + 20
        while not control.exists():
            if self.chip.poll() is not None or time.monotonic() > end:
                raise Failed(f"the TPM did not start: {Path(f'{control}.err').read_text()[-500:]}")
            time.sleep(0.05)
        return ["-chardev", f"socket,id=tpm,path=/w/{control.name}", "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]

    def start(self, timeout=420):
        """Boots until the test's shell answers."""
        stem = self.base.name.removesuffix(".img")
        command = ["chroot", self.root, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-smp", "2", "-m", "1536",
                   "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand",
                   "-display", "none", "-serial", f"file:/w/{self.console.name}", "-no-reboot",
                   "-kernel", f"/w/{stem}.vmlinuz", "-initrd", f"/w/{stem}.initrd", "-append", "root=/dev/vda rw console=ttyS0",
                   "-drive", f"file=/w/{self.disk.name},if=virtio,format=qcow2,cache={self.cache}",
                   "-netdev", f"user,id=n0,net=192.168.76.0/24,host=192.168.76.2,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-{ADDRESS}:443",
                   "-device", "virtio-net-pci,netdev=n0", "-device", "virtio-serial-pci",
                   "-chardev", f"socket,id=s0,path=/w/{self.shell_path.name},server=on,wait=off", "-device", "virtserialport,chardev=s0,name=test",
                   "-device", "virtio-rng-pci", *self.extra, *self._put_chip()]
        for last in (False, False, True):
            self.shell_path.unlink(missing_ok=True)
            self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=open(f"{self.console}.err", "ab"), stderr=subprocess.STDOUT)
            if self._answers(timeout, last):
                return
            # Before the kernel reached a disk there is nothing that a cut could take.
            print("       the emulated kernel hung while starting: started again", flush=True)
            self.cut()
            self._put_chip()

    def _answers(self, timeout, last):
        """Waits until the shell answers. False where the kernel stands still before its first program."""
        end = time.monotonic() + timeout
        seen, moved = 0, time.monotonic()
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"the emulator ended: {Path(f'{self.console}.err').read_text()[-800:]}")
            try:
                if "up" in self.sh("echo up", timeout=10):
                    return True
            except (OSError, Failed):
                time.sleep(1)
            said = self.console.read_text(errors="replace") if self.console.exists() else ""
            if len(said) != seen:
                seen, moved = len(said), time.monotonic()
            if not last and "Run /init as init process" not in said and time.monotonic() - moved > 60:
                return False
        raise Failed(f"not up within {timeout} s: {self.console.read_text(errors='replace')[-1500:]}")

    def sh(self, script, timeout=300, check=True):
        """Runs a script inside, as root; gives what it said."""
        try:
            if not self.pipe:
                self._connect(timeout)
            self.pipe.settimeout(timeout)
            said = self._ask(script.replace("\n", "; "))
        except (OSError, Failed):
            self._hang_up()
            raise
        text, _, code = said.decode(errors="replace").rstrip().rpartition("<<")
        if check and code != "0>>":
            raise Failed(f"{script[:200]} failed: {text[-1500:]}")
        return text

    def _connect(self, timeout):
        """A line sent while the shell of the connection before is still ending is lost: only one that answers counts."""
        end = time.monotonic() + timeout
        while True:
            self.pipe = socket.socket(socket.AF_UNIX)
            try:
                self.pipe.settimeout(10)
                self.pipe.connect(str(self.shell_path))
                self._ask("true")
                return
            except (TimeoutError, Failed):
                if time.monotonic() > end:
                    raise
            self._hang_up()

    def _ask(self, line):
        # What an earlier connection asked may still be answered here: the answer to this begins with its own number.
        self.asked += 1
        mark = f"[[{self.asked}]]"
        self.pipe.sendall(f"echo '{mark}'; {line}\n".encode())
        said = b""
        while not (mark.encode() in said and said.rstrip().endswith(b">>")):
            got = self.pipe.recv(65536)
            if not got:
                raise Failed("the machine's shell ended")
            said += got
        return said.split(mark.encode() + b"\n", 1)[1]

    def _hang_up(self):
        if self.pipe:
            self.pipe.close()
            self.pipe = None

    def wait(self, script, timeout=300, each=60):
        """Waits until a script inside ends well; one run of it may take so many seconds."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.sh(script, timeout=each)
            except (OSError, Failed) as failure:
                if time.monotonic() > end:
                    raise Failed(f"{script} did not come true within {timeout} s: {failure}\n{self.sh('journalctl -q -b -o cat -n 25 --no-pager', check=False)}")
                time.sleep(1)

    def cut(self):
        """The power goes."""
        self._hang_up()
        if self.process and self.process.poll() is None:
            # The emulator is the chroot's own process: exec replaced it.
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None
        if self.chip:
            # It ends with its machine.
            self.chip.terminate()
            self.chip.wait()
            self.chip = None
