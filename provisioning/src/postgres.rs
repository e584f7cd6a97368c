//! Postgres's own programs, and clusters of this command's own to try restored copies in. The only file that starts them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::files;
use crate::place::Place;
use crate::programs::{Account, LONG, Program, Running, SHORT};
use crate::settings;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// What a new cluster needs before its databases.
const ROLES: &str = include_str!("../../migrations/roles.sql");

/// One of Postgres's programs.
pub fn program(name: &str) -> Program {
    Program::new(Path::new(PROGRAMS).join(name))
}

/// A running server, and who we are to it.
#[derive(Debug, Clone)]
pub struct Server {
    /// The folder of its socket.
    pub sockets: PathBuf,
    pub role: String,
    account: Option<Account>,
}

/// What the databases are called.
#[derive(Debug, Clone)]
pub struct Databases {
    pub records: String,
    pub keys: String,
}

impl Databases {
    /// As the configuration says.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(place: &Place) -> Result<Self> {
        let name = |setting, default: &str| -> Result<String> {
            Ok(settings::web(place, setting)?
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_else(|| default.to_owned()))
        };
        Ok(Self {
            records: name("records_database", "hadada")?,
            keys: name("keys_database", "hadada_keys")?,
        })
    }
}

impl Server {
    /// The box's own, as the role that may read everything and change nothing.
    ///
    /// # Errors
    /// When the configuration can't be read.
    pub fn of_box(place: &Place) -> Result<Self> {
        let sockets = settings::web(place, "postgres")?
            .and_then(|value| value.as_str().map(PathBuf::from))
            .unwrap_or_else(|| {
                if place.is_installed() {
                    place.root().join("run/postgresql")
                } else {
                    place.run().to_owned()
                }
            });
        Ok(Self {
            sockets,
            role: "hadada_backup".into(),
            account: None,
        })
    }

    /// A program of Postgres's that is told how to connect.
    pub fn client(&self, name: &str) -> Program {
        program(name)
            .arg("-h")
            .arg(&self.sockets)
            .args(["-p", "5432", "-U", &self.role, "-w"])
            .run_as(self.account)
    }

    fn psql(&self, database: &str) -> Program {
        self.client("psql").args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-F",
            "\t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
        ])
    }

    /// Runs SQL and returns the lines it answers with.
    ///
    /// # Errors
    /// When the server can't be reached or refuses.
    pub fn ask(&self, database: &str, sql: &str) -> Result<Vec<String>> {
        let answer = self.psql(database).ask(sql.as_bytes(), LONG)?;
        Ok(String::from_utf8_lossy(&answer)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Runs SQL that answers with one value; none for null or no row.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub fn value(&self, database: &str, sql: &str) -> Result<Option<String>> {
        Ok(self
            .ask(database, sql)?
            .into_iter()
            .next()
            .filter(|line| !line.is_empty()))
    }

    /// A connection that stays.
    ///
    /// # Errors
    /// When the server can't be reached.
    pub fn session(&self, database: &str) -> Result<Session> {
        let mut running = self
            .psql(database)
            .set(|command| {
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
            })
            .spawn()?;
        let (Some(input), Some(output)) = (running.child.stdin.take(), running.child.stdout.take())
        else {
            bail!("a pipe is missing");
        };
        Ok(Session {
            running: Some(running),
            input,
            output: BufReader::new(output),
        })
    }
}

/// A connection to a server, for several questions within one transaction.
pub struct Session {
    running: Option<Running>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Runs SQL and returns the lines it answers with.
    ///
    /// # Errors
    /// When the server refuses or the connection breaks.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<String>> {
        const END: &str = "-- hadada: the answer ends --";
        // Where psql has ended, reading shows it and its words say why.
        let _ = writeln!(self.input, "{sql}\n\\echo '{END}'");
        let _ = self.input.flush();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                let Some(running) = self.running.take() else {
                    bail!("the connection to the database ended");
                };
                running.finish()?;
                bail!("the connection to the database ended");
            }
            let line = line.trim_end_matches('\n');
            if line == END {
                return Ok(lines);
            }
            lines.push(line.to_owned());
        }
    }
}

/// SQL that writes each table's name, its rows and a sum over their content, in this order.
pub const FINGERPRINTS: &str = "SET datestyle = 'ISO'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET intervalstyle = 'postgres'; \
    SET timezone = 'UTC'; SET search_path = public; \
    SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY %I.%I AS t', c.relname, n.nspname, c.relname) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname \\gexec";

/// Questions about the content whose answers a person can judge too. A question about a table that is not there is left out.
pub const GOLDEN: &str = "SELECT sql FROM (VALUES \
    (1, 'practices', $q$SELECT 'practices', count(*) FROM practices$q$), \
    (2, 'patients', $q$SELECT 'patients of ' || practice_id, count(*) FROM patients GROUP BY practice_id ORDER BY practice_id$q$), \
    (3, 'note_signatures', $q$SELECT 'signed notes', count(*) FROM note_signatures$q$), \
    (4, 'appointments', $q$SELECT 'bookings', count(*) FROM appointments$q$), \
    (5, 'invoice_lines', $q$SELECT 'invoiced, rand', coalesce(sum(net + vat), 0) FROM invoice_lines$q$), \
    (6, 'audit_events', $q$SELECT 'audit events', count(*) FROM audit_events$q$), \
    (7, 'audit_seals', $q$SELECT 'newest seal', coalesce(max(seq), 0) FROM audit_seals$q$) \
    ) AS q (place, tab, sql) WHERE to_regclass('public.' || tab) IS NOT NULL ORDER BY place \\gexec";

/// When the newest event of the audit log happened.
pub const NEWEST: &str = "SELECT to_char(max(at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM audit_events";

/// Whether a server turned somebody away because it starts or replays, which passes.
fn is_replaying(said: &str) -> bool {
    said.contains("the database system is") || said.contains("Is the server running locally")
}

/// A time as [`NEWEST`] writes it.
pub fn instant(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// A cluster of this command's own: its own socket, no TCP, nobody else's. It ends with this value.
pub struct Cluster {
    pub data: PathBuf,
    /// Holds its settings and its socket.
    folder: PathBuf,
    account: Option<Account>,
    running: Option<Running>,
}

impl Cluster {
    /// Over a data folder that is there or will be; settings and socket go into `folder`.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn over(data: PathBuf, folder: PathBuf, account: Option<Account>) -> Result<Self> {
        files::make_folder(&folder, 0o700)?;
        // No other account can enter the folder, so whoever reaches the socket is us.
        for (name, content) in [
            ("postgresql.conf", ""),
            (
                "pg_hba.conf",
                "local all all trust\nlocal replication all trust\n",
            ),
            ("pg_ident.conf", ""),
        ] {
            let path = folder.join(name);
            files::replace(&path, 0o600, content.as_bytes())?;
            if let Some(account) = account {
                account.own(&path)?;
            }
        }
        if let Some(account) = account {
            account.own(&folder)?;
        }
        let socket = folder.join(".s.PGSQL.5432");
        if socket.as_os_str().len() > 107 {
            bail!(
                "{} is too long a name for a socket: set a shorter `scratch` in [box.backup]",
                folder.display()
            );
        }
        Ok(Self {
            data,
            folder,
            account,
            running: None,
        })
    }

    /// Makes the data folder, with nothing in it.
    ///
    /// # Errors
    /// When there is something.
    pub fn make_data_folder(&self) -> Result<()> {
        files::make_folder(&self.data, 0o700)?;
        if fs::read_dir(&self.data)?.next().is_some() {
            bail!("{} is not empty", self.data.display());
        }
        if let Some(account) = self.account {
            account.own(&self.data)?;
        }
        Ok(())
    }

    /// A new cluster, as the box's own is made.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn init(&self) -> Result<()> {
        program("initdb")
            .args([
                "-U",
                "postgres",
                "--auth=peer",
                "--locale=C.UTF-8",
                "--encoding=UTF8",
                "--data-checksums",
                "-D",
            ])
            .arg(&self.data)
            .run_as(self.account)
            .output(SHORT)
            .map(drop)
    }

    /// A program that unpacks a base backup into the data folder.
    pub fn unpacker(&self) -> Program {
        Program::new("tar")
            .args([
                "--extract",
                "--no-same-owner",
                "--preserve-permissions",
                "--file",
                "-",
                "--directory",
            ])
            .arg(&self.data)
            .run_as(self.account)
    }

    /// Proves that the data folder is what the server sent when the base backup was made.
    ///
    /// # Errors
    /// When a file is missing, is too many or was changed.
    pub fn verify(&self) -> Result<()> {
        program("pg_verifybackup")
            .args(["--exit-on-error", "--quiet"])
            .arg(&self.data)
            .run_as(self.account)
            .output(LONG)
            .map(drop)
    }

    /// Proves each page of the stopped cluster by its checksum.
    ///
    /// # Errors
    /// When a page is damaged.
    pub fn checksums(&self) -> Result<()> {
        program("pg_checksums")
            .args(["--check", "-D"])
            .arg(&self.data)
            .run_as(self.account)
            .output(LONG)
            .map(drop)
    }

    /// Proves tables and indexes, each row against each index.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn amcheck(&self) -> Result<()> {
        self.server()
            .client("pg_amcheck")
            .args(["--all", "--install-missing", "--heapallindexed", "-j", "2"])
            .output(LONG)
            .map(drop)
    }

    /// Lets the next start replay the log. It takes the files from a feeder that listens at `feeder`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn recover(&self) -> Result<()> {
        let signal = self.data.join("recovery.signal");
        files::replace(&signal, 0o600, b"")?;
        if let Some(account) = self.account {
            account.own(&signal)?;
        }
        Ok(())
    }

    /// Starts it and waits until it takes changes, however long it replays.
    ///
    /// # Errors
    /// When it ends instead; the error is what it said.
    pub fn start(&mut self, extra: &[(&str, String)], durable: bool) -> Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut all: Vec<(&str, String)> = vec![
            ("config_file", file("postgresql.conf")),
            ("hba_file", file("pg_hba.conf")),
            ("ident_file", file("pg_ident.conf")),
            ("unix_socket_directories", self.folder.display().to_string()),
            ("unix_socket_permissions", "0700".into()),
            ("listen_addresses", String::new()),
            ("port", "5432".into()),
            ("cluster_name", "hadada-restore".into()),
            ("archive_mode", "off".into()),
            ("archive_command", String::new()),
            ("shared_preload_libraries", String::new()),
            ("session_preload_libraries", String::new()),
            ("local_preload_libraries", String::new()),
            ("ssl", "off".into()),
            ("logging_collector", "off".into()),
            ("log_destination", "stderr".into()),
            ("log_statement", "none".into()),
            ("synchronous_standby_names", String::new()),
            ("primary_conninfo", String::new()),
            ("external_pid_file", String::new()),
            // In its own folder: what lies in /dev/shm is taken away whenever a unit of the same account ends (RemoveIPC), and
            // then nobody is let in any more.
            ("dynamic_shared_memory_type", "mmap".into()),
            ("autovacuum", "off".into()),
            // It would want memory that is writable and executable.
            ("jit", "off".into()),
            ("timezone", "UTC".into()),
            ("log_timezone", "UTC".into()),
            ("wal_level", "replica".into()),
        ];
        if !durable {
            all.push(("fsync", "off".into()));
            all.push(("full_page_writes", "off".into()));
            all.push(("max_wal_size", "4GB".into()));
        }
        for (name, value) in self.demanded()? {
            all.push((name, value));
        }
        all.extend(extra.iter().map(|(name, value)| (*name, value.clone())));
        let mut server = program("postgres")
            .arg("-D")
            .arg(&self.data)
            .run_as(self.account);
        for (name, value) in all {
            server = server.args(["-c", &format!("{name}={value}")]);
        }
        let mut running = server
            .set(|command| {
                command.stdout(Stdio::null());
            })
            .spawn()?;
        let until = Instant::now() + LONG;
        let mut heard = Instant::now();
        loop {
            if running.child.try_wait()?.is_some() {
                running
                    .finish()
                    .context("the restored database does not start")?;
                bail!("the restored database ended by itself");
            }
            let refused = match self
                .server()
                .value("postgres", "SELECT pg_is_in_recovery()")
            {
                Ok(Some(answer)) if answer == "f" => {
                    self.running = Some(running);
                    return Ok(());
                }
                Ok(_) => None,
                Err(error) => Some(format!("{error:#}")).filter(|said| !is_replaying(said)),
            };
            if refused.is_none() {
                heard = Instant::now();
            }
            if let Some(said) = refused
                && heard.elapsed() > SHORT
            {
                self.running = Some(running);
                self.kill();
                bail!("the restored database lets nobody in: {said}");
            }
            if Instant::now() > until {
                self.running = Some(running);
                self.kill();
                bail!("the restored database did not get ready in six hours");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Replaying needs at least the limits that the cluster had when the log was written.
    fn demanded(&self) -> Result<Vec<(&'static str, String)>> {
        let facts = program("pg_controldata")
            .arg("-D")
            .arg(&self.data)
            .run_as(self.account)
            .output(SHORT)?;
        let facts = String::from_utf8_lossy(&facts);
        let find = |name: &str| {
            facts.lines().find_map(|line| {
                line.strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix(" setting:"))
                    .map(|value| value.trim().to_owned())
            })
        };
        Ok([
            "max_connections",
            "max_worker_processes",
            "max_wal_senders",
            "max_prepared_xacts",
            "max_locks_per_xact",
        ]
        .into_iter()
        .filter_map(|name| {
            let setting = match name {
                "max_prepared_xacts" => "max_prepared_transactions",
                "max_locks_per_xact" => "max_locks_per_transaction",
                same => same,
            };
            Some((setting, find(name)?))
        })
        .collect())
    }

    /// How to connect to it, as its superuser.
    pub fn server(&self) -> Server {
        Server {
            sockets: self.folder.clone(),
            role: "postgres".into(),
            account: self.account,
        }
    }

    /// Makes roles and empty databases in a new cluster.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn make_databases(&self, databases: &Databases) -> Result<()> {
        let server = self.server();
        server.ask("postgres", ROLES)?;
        for database in [&databases.records, &databases.keys] {
            server.ask(
                "postgres",
                &format!("CREATE DATABASE \"{database}\" OWNER hadada_owner"),
            )?;
        }
        Ok(())
    }

    /// A program that takes a dump and fills a database with it. One row that does not fit stops it.
    pub fn loader(&self, database: &str) -> Program {
        self.server().client("pg_restore").args([
            "--exit-on-error",
            "--single-transaction",
            "-d",
            database,
        ])
    }

    /// Stops it as a machine being shut down would.
    ///
    /// # Errors
    /// When it does not end in time or ends badly.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        if let Some(pid) = i32::try_from(running.child.id())
            .ok()
            .and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::INT).context("stopping the restored database")?;
        }
        let until = Instant::now() + SHORT;
        while running.child.try_wait()?.is_none() {
            if Instant::now() > until {
                self.running = Some(running);
                self.kill();
                bail!("the restored database did not stop");
            }
            thread::sleep(Duration::from_millis(50));
        }
        running.finish()
    }

    fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(pid) = i32::try_from(running.child.id())
                .ok()
                .and_then(Pid::from_raw)
            {
                // At once, but so that its children go too.
                let _ = kill_process(pid, Signal::QUIT);
            }
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until && matches!(running.child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(20));
            }
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}
