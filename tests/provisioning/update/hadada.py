#!/usr/bin/python3
"""Stands in for `hadada` in tests of updates: it really migrates a real database and answers on a real socket, in a hundredth of
the program's size. What may be wrong with a release is written into the line FAULTS when a test builds one."""
import hashlib, json, os, pathlib, signal, socketserver, subprocess, sys, tomllib

FAULTS = {}
release = pathlib.Path(os.path.realpath(__file__)).parent.parent
config = tomllib.load(open(sys.argv[sys.argv.index("--config") + 1], "rb"))


def psql(database, sql, role):
    done = subprocess.run(
        ["/usr/lib/postgresql/15/bin/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-1", "-h", config["postgres"],
         "-U", role, "-d", database],
        input=sql, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.strip()


def migrations(kind):
    for path in sorted((release / "migrations" / kind).glob("*.sql")):
        yield int(path.name.split("_")[0]), path.read_text()


def migrate():
    for kind, database in (("records", config["records_database"]), ("keys", config["keys_database"])):
        psql(database, "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version bigint PRIMARY KEY, checksum bytea NOT NULL,"
             " success boolean NOT NULL); GRANT SELECT ON _sqlx_migrations TO hadada_app", "hadada_owner")
        done = psql(database, "SELECT version FROM _sqlx_migrations", "hadada_owner").split()
        for number, text in migrations(kind):
            if str(number) not in done:
                checksum = hashlib.sha384(text.encode()).hexdigest()
                if FAULTS.get("other_migration"):
                    text += "\n-- not what the release's file says"
                    checksum = hashlib.sha384(text.encode()).hexdigest()
                psql(database, f"{text};\nINSERT INTO _sqlx_migrations VALUES ({number}, '\\x{checksum}', true)", "hadada_owner")
    if FAULTS.get("live_migration") and not config["records_database"].endswith("_update"):
        sys.exit("the live database is not like its copy")


def status():
    version = json.load(open(release / "manifest.json"))["version"]
    known = len(list(migrations("records")))
    try:
        applied = int(psql(config["records_database"], "SELECT count(*) FROM _sqlx_migrations WHERE success", "hadada_app"))
        bad = FAULTS.get("breaks_on")
        if bad and psql(config["records_database"], f"SELECT count(*) FROM information_schema.columns WHERE column_name = '{bad}'", "hadada_owner") != "0":
            raise ValueError("this release does not know the column")
        database = "ok"
    except (SystemExit, ValueError) as error:
        print(error, file=sys.stderr)
        applied, database = 0, "down"
    return {
        "version": FAULTS.get("version", version),
        "database": database,
        "migrations": "current" if applied >= known else "behind",
        "inference": {"state": FAULTS.get("inference", "ready"), "reason": None},
    }


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while (line := self.rfile.readline()).strip():
            pass
        body = json.dumps(status()).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def serve():
    if FAULTS.get("dies"):
        sys.exit("it does not even start")
    for name in ("master_key", "audit_key"):
        assert len(open(config[name], "rb").read()) == 32, name
    path = config["admin_socket"]
    if os.path.exists(path):
        os.unlink(path)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        server.serve_forever()


{"migrate": migrate, "serve": serve}[sys.argv[-1]]()
