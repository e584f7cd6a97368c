"""Roots that machines are made from: bare, and with a box installed. Each is made once in a run."""

import shutil

from machine import BOX, Machine, run
from vendor import Vendor

VERSION = "0.1.0"
PROGRAMS = ["hadada", "hadadactl", "hadada-typeset", "hadada-inference", "hadada-worker"]


def vendor(suite):
    """The vendor, with the first release signed."""
    if not hasattr(suite, "vendor"):
        # Without the words for a debugger they are a quarter of the size.
        small = suite.work / "programs"
        small.mkdir()
        for program in PROGRAMS:
            run("strip", "-o", small / program, suite.programs / program)
            (small / program).chmod(0o755)
        suite.programs = small
        suite.vendor = Vendor(suite)
        suite.vendor.publish(VERSION, 1)
    return suite.vendor


def bare(suite):
    """A bare Debian 12, and the stick that IT brings: the release, Debian's packages, the installer."""
    if "bare" not in suite.layers:
        folder = suite.work / "bare"
        folder.mkdir()
        run("tar", "-C", folder, "-xf", suite.cache / "base.tar")
        (folder / "etc/hostname").write_text("clinic\n")
        (folder / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 clinic\n")
        # What a test does not begin itself does not happen, whatever hour it is; each unit is started by hand.
        for timer in ("backup", "base-backup", "drill", "update"):
            calm = folder / f"etc/systemd/system/hadada-{timer}.timer.d/calm.conf"
            calm.parent.mkdir(parents=True)
            calm.write_text("[Timer]\nOnCalendar=\nOnCalendar=2099-01-01\n")
        stick = folder / "srv/stick"
        stick.mkdir(parents=True)
        vendor(suite)
        shutil.copy(next(suite.vendor.folder.glob(f"out-{VERSION}/*.tar.zst")), stick / "release.tar.zst")
        shutil.copytree(suite.cache / "packages", stick / "packages")
        shutil.copy(suite.repository / "provisioning/install", stick / "install")
        suite.layers["bare"] = str(folder)
    return suite.layers["bare"]


def machine(suite, name, layer):
    """A machine on a layer; it is not started."""
    made = Machine(suite.work, name, layer)
    suite.machines.append(made)
    return made


INSTALL = f"/srv/stick/install /srv/stick/release.tar.zst --packages /srv/stick/packages --host clinic.local --host {BOX}"


def installed(suite):
    """A machine with a box on it, shut down in order."""
    if "installed" not in suite.layers:
        made = machine(suite, "maker", bare(suite))
        made.start()
        made.sh(INSTALL)
        made.stop()
        keep(suite, made)
    return suite.layers["installed"]


def keep(suite, made):
    """Makes the layer `installed` of a machine that was shut down."""
    run("umount", "-l", made.root)
    suite.layers["installed"] = f"{made.folder}/upper:{bare(suite)}"
