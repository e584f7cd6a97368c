"""Updates of an installed box: good ones, ones that fail, ones that break off anywhere, and ones that must be refused."""

import json
import shutil
import time

import layers
from checks_backup import ask
from checks_install import expect, fill, run_all_units_up
from machine import run as host

ROW = "INSERT INTO rooms (practice_id, id, name) SELECT practice_id, gen_random_uuid(), '{}' FROM practices LIMIT 1"


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("update"):
        return
    layers.installed(suite)
    vendor = layers.vendor(suite)
    machine = layers.machine(suite, "update", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    fill(machine)
    machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada -c \"" + ROW.format("before the update") + "\"")
    # Each way of an update begins here.
    machine.stop()
    host("umount", "-l", machine.root)
    layer = f"{machine.folder}/upper:{layers.installed(suite)}"
    machine.close()

    def begin(name, stick):
        made = layers.machine(suite, name, layer)
        target = made.root / "srv/update"
        host("mkdir", "-p", target)
        host("mount", "--bind", stick, target)
        made.start()
        run_all_units_up(made)
        return made

    def end(made):
        host("umount", "-l", made.root / "srv/update", check=False)
        made.close()

    def whole(made, versions):
        """The box runs one of these versions, wholly, with its data."""
        ready = run_all_units_up(made)
        slot = made.sh("readlink /opt/hadada/current").strip().removeprefix("releases/")
        expect(ready["version"] == slot and slot in versions, f"it serves {ready['version']} and has {slot} as current")
        count = ask(made, "SELECT count(*) FROM rooms WHERE name = 'before the update'")
        expect(count == "1", f"its data: {count}")
        return slot

    vendor.publish("0.2.0", 2)
    good = vendor.copy("stick-good")

    def update():
        made = begin("good", good)
        began = time.monotonic()
        said = made.sh("hadadactl update apply /srv/update", timeout=600)
        expect(whole(made, {"0.2.0"}) == "0.2.0", said)
        suite.figure("a good update", f"{time.monotonic() - began:.0f} s")
        made.reboot()
        whole(made, {"0.2.0"})
        again = made.sh("hadadactl update apply /srv/update", check=False)
        expect(whole(made, {"0.2.0"}), again)
        made.sh("hadadactl update revert", timeout=600)
        whole(made, {"0.1.0"})
        end(made)

    def refusals():
        made = begin("refuse", good)
        spoiled = {}

        def variant(name, change, reason):
            folder = vendor.copy(f"stick-{name}")
            change(folder)
            target = made.root / "srv/variants" / name
            host("mkdir", "-p", target.parent)
            host("cp", "-r", folder, target)
            shutil.rmtree(folder)
            said = made.sh(f"hadadactl update apply /srv/variants/{name}", check=False, timeout=300)
            slot = made.sh("readlink /opt/hadada/current").strip()
            expect(slot == "releases/0.1.0", f"{name} was taken: {said}")
            expect(f"refused: {reason}" in said, f"{name} was refused for another reason: {said}")
            spoiled[name] = said.strip().splitlines()[-1][:160]
            host("rm", "-rf", target)

        def signatures(folder, keep):
            for path in folder.glob("metadata/*targets.json"):
                signed = json.loads(path.read_text())
                signed["signatures"] = signed["signatures"][:keep]
                path.write_text(json.dumps(signed))

        def flip(folder):
            path = next(folder.glob("targets/*-0.2.0.*"))
            with open(path, "r+b") as file:
                file.seek(path.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1]))

        variant("unsigned", lambda folder: signatures(folder, 0), "unsigned")
        variant("one-key", lambda folder: signatures(folder, 1), "too few signatures")
        variant("tampered", flip, "tampered")
        for name, said in spoiled.items():
            print(f"       {name}: {said}")
        whole(made, {"0.1.0"})
        end(made)
        return f"{len(spoiled)} refused (all thirteen kinds are in the suite provisioning)"

    def crashes():
        probe = begin("probe", good)
        points = probe.sh("hadadactl update crash-points").split()
        end(probe)
        # Inside each step that has an inside, and after those that change what runs. (Every point is in the suite provisioning.)
        after = ("stop.after", "migrate.after", "flip.after", "start.after", "health.after")
        chosen = [point for point in points if point.endswith(".middle") or point in after]
        expect(len(chosen) >= 12, f"{points}")
        ended = {}
        for point in chosen:
            made = begin("crash", good)
            made.sh(f"HADADA_UPDATE_CRASH={point} hadadactl update apply /srv/update", check=False, timeout=600)
            made.cut()
            made.start()
            slot = whole(made, {"0.1.0", "0.2.0"})
            ended[point] = slot
            # The way is free for the next try.
            end(made)
            shutil.rmtree(made.folder, ignore_errors=True)
        expect(set(ended.values()) == {"0.1.0", "0.2.0"}, f"no crash was on both sides of the flip: {ended}")
        suite.figure("crashes in an update, each followed by a restart", f"{len(ended)}, whole after each")
        return ", ".join(f"{point}: {slot}" for point, slot in ended.items())

    def unhealthy():
        # A release whose web program never becomes ready.
        programs = suite.work / "sick"
        shutil.copytree(suite.programs, programs)
        (programs / "hadada").write_text("#!/bin/sh\ncase \"$*\" in *migrate*) exit 0;; esac\nsleep 600\n")
        vendor.publish("0.3.0", 3, programs=programs)
        stick = vendor.copy("stick-sick")
        made = begin("sick", stick)
        made.sh("printf '[box.update]\\nhealth_seconds = 20\\n' >> /etc/hadada/hadada.toml")
        said = made.sh("hadadactl update apply /srv/update", check=False, timeout=900)
        whole(made, {"0.1.0"})
        fact = json.loads(made.sh("cat /var/lib/hadada/facts/update.json"))
        expect("was taken back" in fact["said"], f"it ended in another way: {fact}")
        expect(fact["state"] != "good" and fact["do"], f"the page does not say why: {fact}\n{said}")
        end(made)
        return fact["said"]

    def migration():
        # A release whose migration fails on a copy of the data.
        programs = suite.work / "bad-programs"
        shutil.copytree(suite.programs, programs)
        (programs / "hadada").write_text("#!/bin/sh\ncase \"$*\" in *migrate*) echo 'column x is missing' >&2; exit 1;; esac\nexec sleep 600\n")
        vendor.publish("0.4.0", 4, programs=programs)
        stick = vendor.copy("stick-migration")
        made = begin("migrate", stick)
        said = made.sh("hadadactl update apply /srv/update", check=False, timeout=600)
        expect("copy" in said or "clone" in said, said)
        whole(made, {"0.1.0"})
        end(made)
        return said.strip().splitlines()[-1][:160]

    suite.check("update: a good one, kept over a restart, and taken back by hand", update)
    suite.check("update: unsigned, tampered, signed by one key: refused", refusals)
    suite.check("update: a crash at every step", crashes)
    suite.check("update: one that does not become healthy reverts by itself", unhealthy)
    suite.check("update: one whose migration fails on the copy is not begun", migration)
