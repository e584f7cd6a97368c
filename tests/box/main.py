#!/usr/bin/env python3
"""The box's tests: a bare Debian machine is made a box of, and then everything is done to it that disasters do.

    tests/box/main.py --cache DIR --programs DIR [--models DIR] [--work DIR] [NAME…]

Needs root. Prints a line for each check and a table at the end; NAME chooses checks by the beginning of their names.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import checks_install
import checks_network
import checks_disk
import checks_backup
import checks_keys
import checks_targets
import checks_update
import checks_outside
import checks_people
import checks_qemu
import checks_theft
import layers
from machine import Failed, run

REPOSITORY = Path(__file__).resolve().parents[2]
# After the first there is an installed machine; then two rows go beside each other, of about the same length.
FIRST = checks_install
ROWS = [
    [checks_network, checks_disk, checks_backup, checks_keys, checks_update, checks_outside, checks_people],
    [checks_qemu, checks_theft, checks_targets],
]


class Suite:
    """What the checks share: where things are, the layers of machines made so far, and what was found."""

    def __init__(self, arguments):
        self.cache = arguments.cache.resolve()
        self.programs = arguments.programs.resolve()
        self.models = arguments.models.resolve() if arguments.models else None
        self.repository = REPOSITORY
        self.wanted = arguments.names
        self.power_cuts = arguments.power_cuts
        self.work = Path(tempfile.mkdtemp(prefix="hb", dir=arguments.work))
        self.work.chmod(0o755)
        self.results = []
        self.figures = []
        self.layers = {}
        self.machines = []

    def wants(self, name):
        """Whether this check was asked for."""
        # A file's name is the beginning of its checks' names.
        return not self.wanted or any(name.startswith(wanted) or wanted.startswith(name) for wanted in self.wanted)

    def check(self, name, function):
        """Runs one check and keeps how it ended."""
        if not self.wants(name):
            return
        began = time.monotonic()
        try:
            said = function() or ""
            state = "ok"
        except Failed as failure:
            said, state = str(failure), "FAIL"
        except Exception:  # noqa: BLE001: whatever happened, the other checks still run
            said, state = traceback.format_exc(), "FAIL"
        seconds = time.monotonic() - began
        self.results.append((name, state, seconds, said))
        # What a machine said at length stands in the middle; how it began and how it ended is what tells.
        if len(said) > 1600:
            said = f"{said[:600]}\n  […]\n{said[-900:]}"
        print(f"  {state:4} {name} ({seconds:.1f} s){': ' + said if said else ''}", flush=True)

    def figure(self, name, value):
        """Keeps a measured figure for the table."""
        self.figures.append((name, value))

    def close(self):
        """Ends every machine and takes the work folder away."""
        for machine in self.machines:
            machine.close()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(f"{self.work}/")]):
            run("umount", "-l", mount, check=False)
        # Whatever could not be taken off would be deleted from under its owner.
        if any(line.split()[1].startswith(f"{self.work}/") for line in Path("/proc/mounts").read_text().splitlines()):
            print(f"left behind, because something is still mounted there: {self.work}")
            return
        shutil.rmtree(self.work, ignore_errors=True)

    def table(self):
        """Prints everything once more, briefly; gives whether all went well."""
        print("\n  check" + " " * 59 + "result  seconds")
        for name, state, seconds, _ in self.results:
            print(f"  {name:64} {state:6} {seconds:8.1f}")
        if self.figures:
            print("\n  figures")
            for name, value in self.figures:
                print(f"  {name:64} {value}")
        failed = [result for result in self.results if result[1] == "FAIL"]
        for name, _, _, said in failed:
            print(f"\n  {name}: {' '.join(said.split())[-300:]}")
        print(f"\nbox: {len(self.results) - len(failed)} passed, {len(failed)} failed, 0 skipped")
        return not failed and bool(self.results)


def run_all(suite):
    """Every module's checks."""
    FIRST.run(suite)
    layers.installed(suite)
    with ThreadPoolExecutor(max_workers=len(ROWS)) as beside:
        for row in ROWS:
            beside.submit(lambda row=row: [begin(suite, module) for module in row])


def begin(suite, module):
    """One module's checks. What fails before its first one fails by the module's name, and the other modules still run."""
    try:
        module.run(suite)
    except Exception:  # noqa: BLE001
        name = module.__name__.removeprefix("checks_")
        suite.results.append((name, "FAIL", 0.0, traceback.format_exc()))
        print(f"  FAIL {name}: {traceback.format_exc()[-1600:]}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--power-cuts", type=int, default=3)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, help="writes the results as JSON")
    arguments = parser.parse_args()
    suite = Suite(arguments)
    try:
        run_all(suite)
        good = suite.table()
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps({
                "checks": [{"name": name, "result": state, "seconds": round(seconds, 1)} for name, state, seconds, _ in suite.results],
                "figures": dict(suite.figures)}, indent=1) + "\n")
    finally:
        if os.environ.get("HADADA_BOX_KEEP"):
            print(f"kept: {suite.work}")
        else:
            suite.close()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
