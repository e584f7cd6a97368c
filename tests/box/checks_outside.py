"""What goes between the box and machines outside it: alerts by mail, a vendor's pushed update, the mirrors."""

import json
import subprocess
import time

import layers
from checks_backup import ask
from checks_disk import Desk
from checks_install import expect, fill, run_all_units_up
from checks_network import machine_net
from checks_people import words
from machine import BOX, LAN, Failed
from machine import run as host

# A mail server: STARTTLS where it has a certificate, a log-in, and every message into a folder.
SINK = '''
import base64, pathlib, socketserver, ssl, sys, time
folder, port, pem = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
class Session(socketserver.StreamRequestHandler):
    def say(self, text): self.wfile.write(text.encode() + b"\\r\\n")
    def handle(self):
        safe = inside = False
        self.say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                self.say("250-sink"); self.say("250 AUTH PLAIN" if safe else "250 STARTTLS" if pem != "none" else "250 HELP")
            elif verb == "STARTTLS" and pem != "none":
                self.say("220 go on")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(pem)
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile, safe = self.connection.makefile("rb"), self.connection.makefile("wb", 0), True
            elif verb == "AUTH":
                inside = base64.b64decode(line.split()[2]) == b"\\0box\\0a mail password"
                self.say("235 welcome" if inside else "535 no")
            elif verb == "DATA":
                self.say("354 go on"); text = b""
                while (part := self.rfile.readline()) != b".\\r\\n": text += part
                state = f"{safe} {inside}".encode()
                (folder / f"{time.time_ns()}.eml").write_bytes(state + b"\\r\\n" + text); self.say("250 taken")
            elif verb == "QUIT": self.say("221 bye"); return
            else: self.say("250 ok")
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = daemon_threads = True
Server(("0.0.0.0", port), Session).serve_forever()
'''

# A mirror: a folder over HTTPS, or HTTP without a certificate.
MIRROR = '''
import functools, http.server, ssl, sys
folder, port, pem = sys.argv[1], int(sys.argv[2]), sys.argv[3]
server = http.server.ThreadingHTTPServer(("0.0.0.0", port), functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder))
if pem != "none":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
'''

CONNECT = "import socket, sys; s = socket.socket(); s.settimeout(2); s.connect((sys.argv[1], int(sys.argv[2]))); print('through')"


class Outside:
    """What the test runs on the LAN, and the authority that vouches for it."""

    def __init__(self, suite, machine):
        self.machine = machine
        self.folder = suite.work / f"outside-{machine.name}"
        self.folder.mkdir()
        self.running = []

    def authority(self, name):
        """An authority of the clinic's own; gives its certificate."""
        key, pem = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        host("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "keyUsage=critical,keyCertSign", "-keyout", key, "-out", pem)
        return pem

    def certificate(self, authority, name, *extensions):
        """A certificate with its key, in one file."""
        key, request, pem, more = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        more.write_text("\n".join(extensions) + "\n")
        host("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        host("openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority.with_suffix(".key"), "-CAcreateserial", "-days", "2",
             "-extfile", more, "-out", pem)
        pem.write_text(key.read_text() + pem.read_text())
        return pem

    def start(self, script, port, *arguments):
        """A server; gives its process once it answers."""
        process = subprocess.Popen(["ip", "netns", "exec", self.machine.lan, "python3", "-c", script, *map(str, arguments)],
                                   stdout=subprocess.DEVNULL, stderr=open(self.folder / "servers.log", "ab"))
        self.running.append(process)
        end = time.monotonic() + 10
        while "through" not in self.machine.on_lan("python3", "-c", CONNECT, "127.0.0.1", port, check=False):
            expect(time.monotonic() < end, "a server of the test's did not start: " + (self.folder / "servers.log").read_text()[-500:])
            time.sleep(0.1)
        return process

    def stop(self, process):
        """Ends a server."""
        process.kill()
        process.wait()
        self.running.remove(process)

    def close(self):
        """Ends them all."""
        for process in list(self.running):
            self.stop(process)


def through(machine, user, port):
    """Whether a user of the machine's reaches a port on the LAN."""
    passwd = {line.split(":")[0]: line.split(":")[2] for line in (machine.root / "etc/passwd").read_text().splitlines()}
    try:
        machine_net(machine, "setpriv", f"--reuid={passwd[user]}", f"--regid={passwd[user]}", "--clear-groups", "python3", "-c", CONNECT, LAN, str(port))
    except Failed:
        return False
    return True


def settings(machine, text):
    """More settings, taken up by the firewall and the web program."""
    machine.sh("cat >> /etc/hadada/hadada.toml", data=text.encode())
    machine.sh("systemctl reload hadada-firewall.service && systemctl restart hadada.service")
    run_all_units_up(machine)


def page(machine):
    """What the box's page says to an admin."""
    desk = Desk(machine)
    desk.sign_in_as("admin")
    status, body = desk.ask("/admin")
    expect(status == "200", f"the box's page gave {status}")
    return " ".join(body.split()), words(body)


def run(suite):
    """Runs this file's checks."""
    if not any(suite.wants(name) for name in ("mail", "mirror", "debian", "remote")):
        return
    machine = layers.machine(suite, "outside", layers.installed(suite))
    machine.start()
    run_all_units_up(machine)
    fill(machine)
    outside = Outside(suite, machine)
    authority = outside.authority("clinic")
    server = outside.certificate(authority, "server", f"subjectAltName=IP:{LAN}", "extendedKeyUsage=serverAuth")
    host("install", "-D", "-m", "644", authority, machine.root / "etc/hadada/clinic.crt")
    suite.check("mail: an alert waits for the mail server, arrives once, names no patient", lambda: mail(machine, outside, server))
    if any(suite.wants(name) for name in ("mirror", "debian", "remote")):
        from checks_vendor import updates
        updates(suite, machine, outside, authority, server)
    outside.close()
    machine.close()


def mail(machine, outside, server):
    """An alert, from a unit that failed to a mailbox on the LAN."""
    box = outside.folder / "mailbox"
    box.mkdir()
    # The clinic's own authority, as IT adds it to a Debian machine.
    machine.sh("install -m 644 /etc/hadada/clinic.crt /usr/local/share/ca-certificates/ && update-ca-certificates")
    machine.sh("hadadactl mail password", data=b"a mail password\n")
    settings(machine, f'[box.mail]\nserver = "{LAN}"\nport = 2525\nuser = "box"\nfrom = "box@clinic.example"\nto = "it@clinic.example"\n')

    def try_again():
        machine.sh("psql -XqAt -U postgres -h /run/postgresql hadada -c \"UPDATE outbox SET next_at = now() WHERE state = 'queued'\"")
        machine.sh("systemctl start hadada-sender.service")
        return ask(machine, "SELECT state || ' ' || attempts || ' ' || last_error FROM outbox WHERE body LIKE '%hadada-probe%'")

    # Each try is the test's own, and none a timer's.
    machine.sh("systemctl stop hadada-sender.timer hadada-sender.service")
    machine.sh("systemd-run --quiet --unit=hadada-probe -p OnFailure=hadada-alert@hadada-probe.service.service false")
    machine.wait("test -e /var/lib/hadada/facts/unit-hadada-probe.service.json", 10, "a failed unit becomes a fact")
    machine.sh("systemctl restart hadada.service")
    machine.wait("psql -XqAt -U postgres -h /run/postgresql hadada -c \"SELECT count(*) FROM outbox WHERE body LIKE '%hadada-probe%'\" | grep -qx 1", 40, "the alert is queued")
    away = try_again()
    expect(away.startswith("queued 1 "), f"with no mail server: {away}")
    plain = outside.start(SINK, 2525, box, 2525, "none")
    refused = try_again()
    outside.stop(plain)
    expect(refused.startswith("queued 2 ") and not list(box.iterdir()), f"a server without TLS was spoken to: {refused}")
    stranger = outside.certificate(outside.authority("stranger"), "impostor", f"subjectAltName=IP:{LAN}")
    impostor = outside.start(SINK, 2525, box, 2525, stranger)
    refused = try_again()
    outside.stop(impostor)
    expect(refused.startswith("queued 3 ") and not list(box.iterdir()), f"an impostor was spoken to: {refused}")
    outside.start(SINK, 2525, box, 2525, server)
    sent = try_again()
    expect(sent.startswith("sent 4"), f"the mail was not sent: {sent}\n{machine.journal('hadada-sender.service')}")
    machine.sh("systemctl start hadada-sender.service")
    messages = [file.read_text() for file in box.iterdir() if "probe" in file.read_text()]
    expect(len(messages) == 1, f"it arrived {len(messages)} times")
    message = messages[0]
    expect(message.startswith("True True") and "To: it@clinic.example" in message and "/admin" in message, message)
    desk = Desk(machine)
    desk.sign_in()
    _, listed = desk.ask("/api/v1/patients?limit=100", "-H", "Accept: application/json")
    names = {name for item in json.loads(listed)["items"] for key, name in item.items() if key in ("family_name", "given_name")}
    everything = " ".join(file.read_text() for file in box.iterdir())
    expect(len(names) > 10 and not [name for name in names if name in everything], f"a patient is named, or the test knows none: {len(names)}")
    outside.start(MIRROR, 2526, outside.folder, 2526, "none")
    ways = {(user, port): through(machine, user, port) for user in ("hadada-sender", "hadada", "hadada-backup", "root") for port in (2525, 2526)}
    expect([way for way, open_ in ways.items() if open_] == [("hadada-sender", 2525)], f"{ways}")
    ledger = ask(machine, "SELECT string_agg(outcome, '; ' ORDER BY at) FROM egress_ledger")
    expect(ledger.endswith("sent"), f"the ledger of what left: {ledger}")
    return ledger[:300]
