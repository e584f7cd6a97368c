"""What needs a real kernel and a real disk: the power cut under a write load."""

import json
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid

import layers
from checks_install import expect, fill, run_all_units_up
from machine import Failed
from qemu import Vm, image

PORT = 18443


class Ledger:
    """Writers that keep outside what the box acknowledged."""

    def __init__(self, pem, token):
        self.context = ssl.create_default_context(cadata=pem)
        # The page is reached through the emulator's port, by the loopback name the certificate also has.
        self.token = token
        self.acknowledged = []
        self.stop = threading.Event()
        self.threads = []
        self.refused = None

    def request(self, method, path, body=None, timeout=60):
        """Status and JSON."""
        asked = urllib.request.Request(
            f"https://localhost:{PORT}{path}", method=method, data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "Accept": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=timeout, context=self.context) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def write(self, number):
        """Adds patients until told to stop."""
        while not self.stop.is_set():
            key = uuid.uuid4()
            try:
                status, body = self.request("POST", "/api/v1/patients", {
                    "given_name": "Power", "family_name": f"Cut{key.hex[:12]}", "birth_date": "1980-02-03", "sex": "female",
                    "duplicate_confirmed": True},
                    timeout=20)
            except OSError:
                # Slow, or cut off: the next one tells, or there is none.
                self.stop.wait(0.2)
                continue
            if status == 201:
                self.acknowledged.append((body["id"], f"Cut{key.hex[:12]}"))
            elif status == 429:
                time.sleep(1)
            elif status < 500:
                self.refused = f"a write was refused: {status} {body}"
                return

    def begin(self, writers=4):
        """Starts the writers."""
        self.stop.clear()
        self.threads = [threading.Thread(target=self.write, args=(n,), daemon=True) for n in range(writers)]
        for thread in self.threads:
            thread.start()

    def end(self):
        """Stops them."""
        self.stop.set()
        for thread in self.threads:
            thread.join(30)

    def missing(self):
        """Acknowledged patients that the box no longer has."""
        lost = []
        for patient, name in self.acknowledged:
            # Who is once past being awake has no second morning.
            status, body = self.look(f"/api/v1/patients/{patient}", 0 if lost else 180)
            if status != 200 or body["family_name"] != name:
                lost.append((patient, status))
        return lost

    def look(self, path, patience):
        """What is there, once the box is awake enough to say so."""
        end = time.monotonic() + patience
        while True:
            try:
                status, body = self.request("GET", path)
                if status < 500 or time.monotonic() > end:
                    return status, body
            except OSError as error:
                if time.monotonic() > end:
                    raise Failed(f"it does not answer: {error}") from error
            time.sleep(1)


def made(suite):
    """An image of an installed box with the demo's practice, and a token for its API."""
    if "image" not in suite.layers:
        machine = layers.machine(suite, "image", layers.installed(suite))
        machine.start()
        run_all_units_up(machine)
        fill(machine)
        token = machine.sh("hadadactl token create --user admin --scope all").strip().splitlines()[-1]
        pem = (machine.root / "var/lib/hadada/tls/ca.pem").read_text()
        machine.stop()
        suite.layers["image"] = (image(suite, machine.root, "box"), token, pem)
        machine.close()
    return suite.layers["image"]


def run(suite):
    """Runs this file's checks."""
    if not suite.wants("power"):
        return
    cuts = suite.power_cuts
    suite.check(f"power cut: {cuts} times under load, nothing acknowledged is lost", lambda: power(suite, cuts))
    suite.check("power cut: control: without fsync the same test loses data", lambda: control(suite))


def up(vm):
    """Waits until the page is served and the database answers."""
    # The service counts as active only once it said that it is ready.
    vm.wait("systemctl is-active hadada.service && systemctl is-active postgresql@15-hadada.service", 420)


def load(vm, ledger, seconds):
    """Writes until enough is acknowledged, then the power goes in the middle of it."""
    before = len(ledger.acknowledged)
    ledger.begin()
    end = time.monotonic() + 600
    try:
        while len(ledger.acknowledged) - before < 30:
            if ledger.refused:
                raise Failed(ledger.refused)
            if time.monotonic() > end:
                raise Failed(f"only {len(ledger.acknowledged) - before} writes were acknowledged in ten minutes")
            time.sleep(0.2)
        time.sleep(seconds)
    finally:
        vm.cut()
        ledger.end()
    return len(ledger.acknowledged) - before


def power(suite, cuts):
    """Cuts the power again and again on one disk."""
    disk, token, pem = made(suite)
    vm = Vm(suite, "cut", disk, PORT)
    ledger = Ledger(pem, token)
    try:
        boots = []
        for turn in range(cuts + 1):
            began = time.monotonic()
            vm.start()
            up(vm)
            boots.append(time.monotonic() - began)
            lost = ledger.missing()
            expect(not lost, f"lost after cut {turn}: {lost[:5]} of {len(ledger.acknowledged)}")
            # Each look at what was acknowledged is in the log too: it grows with the square of the cuts.
            said = vm.wait("hadadactl audit verify", 120, each=600)
            expect("whole" in said, said)
            if cuts > 3:
                print(f"       after cut {turn}: {len(ledger.acknowledged)} writes, 0 lost", flush=True)
            if turn < cuts:
                load(vm, ledger, 0.3 * (turn + 1))
        suite.figure(f"writes acknowledged before {cuts} power cuts, all there afterwards", len(ledger.acknowledged))
        suite.figure("boot of the emulated machine to a served page", f"{max(boots):.0f} s at most")
        return f"{len(ledger.acknowledged)} writes, 0 lost"
    finally:
        vm.cut()


def control(suite):
    """With fsync off, what was acknowledged goes with the power: the test above can fail."""
    disk, token, pem = made(suite)
    vm = Vm(suite, "unsafe", disk, PORT, cache="unsafe")
    ledger = Ledger(pem, token)
    try:
        vm.start()
        up(vm)
        vm.sh("echo 'fsync = off' > /etc/postgresql/15/hadada/conf.d/zz-unsafe.conf; sync; systemctl restart postgresql@15-hadada.service hadada.service", timeout=200)
        up(vm)
        load(vm, ledger, 1)
        vm.start()
        try:
            up(vm)
        except Failed:
            return "the database did not come back at all"
        lost = len(ledger.missing())
        expect(lost > 0, f"nothing of {len(ledger.acknowledged)} writes was lost: the test proves nothing")
        return f"{lost} of {len(ledger.acknowledged)} lost"
    finally:
        vm.cut()
