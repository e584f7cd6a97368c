"""The vendor: keys held by three people, releases, a signed repository."""

import shutil

from machine import run

HOLDERS = ["ann", "ben", "cas"]


class Vendor:
    """Signs releases as a vendor would, with the program that vendors use."""

    def __init__(self, suite):
        self.suite = suite
        self.tool = suite.programs / "hadadactl"
        self.folder = suite.work / "vendor"
        self.keys = self.folder / "keys"
        self.repository = self.folder / "repository"
        self.folder.mkdir()
        for role in ("root", "targets"):
            for holder in HOLDERS:
                self._new(role, holder)
        self._new("snapshot", "robot")
        self._new("timestamp", "robot")
        self._root("root")
        self.sign("root-ann", "root-ben")

    def _new(self, role, holder):
        run(self.tool, "release", "keys", "new", "--role", role, "--holder", holder, "--out", self.keys, data=b"a long passphrase\na long passphrase\n")

    def _root(self, verb, holders=HOLDERS):
        arguments = []
        for role in ("root", "targets"):
            for holder in holders:
                arguments += [f"--{role}-key", self.keys / f"{role}-{holder}.pub"]
        run(self.tool, "release", "keys", verb, "--repository", self.repository, *arguments,
            "--snapshot-key", self.keys / "snapshot-robot.pub", "--timestamp-key", self.keys / "timestamp-robot.pub")

    def sign(self, *keys, bundle=None, expires=None):
        """Signs with these keys."""
        arguments = []
        for key in keys:
            arguments += ["--key", self.keys / f"{key}.key"]
        if bundle:
            arguments += ["--bundle", bundle]
        if expires:
            arguments += ["--expires", expires]
        return run(self.tool, "release", "sign", "--repository", self.repository, *arguments, data=b"a long passphrase\n" * len(keys))

    def build(self, version, counter, programs=None, source=None, out=None):
        """A bundle; gives its file."""
        out = out or self.folder / f"out-{version}"
        root = sorted(self.repository.rglob("*root.json"))[-1]
        run(self.tool, "release", "build", "--out", out, "--version", version, "--counter", str(counter),
            "--bin", programs or self.suite.programs, "--source", source or self.suite.repository, "--root", root, timeout=900)
        return next(out.glob("*.tar.zst"))

    def publish(self, version, counter, **more):
        """A signed release in the repository; gives the repository's folder."""
        bundle = self.build(version, counter, **more)
        self.sign("targets-ann", "targets-cas", bundle=bundle)
        self.sign("snapshot-robot")
        self.sign("timestamp-robot")
        return self.repository

    def copy(self, name):
        """The repository as it is now, on a stick."""
        target = self.folder / name
        shutil.copytree(self.repository, target)
        return target
