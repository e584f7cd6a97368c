//! What the server and its database use, as the kernel counts it, and the database's own bench.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Error;

/// Kernel ticks a second; Linux tells user programs 100 on every architecture.
const TICKS: f64 = 100.0;

pub fn megabytes(mb: f64) -> String {
    format!("{mb:.1} MB")
}

/// The demo's web server and Postgres.
#[derive(Clone, Debug)]
pub struct Server {
    web: u32,
    postmaster: u32,
}

/// Processor time used so far, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    pub web: f64,
    pub database: f64,
}

impl Server {
    /// Finds the processes of the demo in `folder`.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let program = folder.join("bin/hadada");
        let wanted = program.to_string_lossy().into_owned();
        let web = std::fs::read_dir("/proc")?
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                    let mut words = line.split('\0');
                    words.next() == Some(&wanted) && words.any(|word| word == "serve")
                })
            })
            .ok_or("the demo's web server is not running")?;
        let lock = std::fs::read_to_string(folder.join("postgres/postmaster.pid"))?;
        let postmaster = lock.lines().next().unwrap_or_default().trim().parse()?;
        Ok(Self { web, postmaster })
    }

    /// Resident memory of the web server, in megabytes (10⁶ bytes would flatter: 2²⁰).
    pub fn resident_mb(&self) -> Result<f64, Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.web))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Resident memory once it has stopped falling.
    pub async fn resident_mb_settled(&self) -> Result<f64, Error> {
        let mut last = self.resident_mb()?;
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.resident_mb()?;
            if (last - now).abs() < 0.1 {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    /// Processor time so far. Postgres is the postmaster, its children, and its children that have ended.
    pub fn cpu(&self) -> Result<Cpu, Error> {
        let mut database = 0.0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            // A process may end while it is looked at.
            let Some(stat) = Stat::read(pid) else {
                continue;
            };
            if pid == self.postmaster {
                database += stat.own + stat.of_ended_children;
            } else if stat.parent == self.postmaster {
                database += stat.own;
            }
        }
        let web = Stat::read(self.web).ok_or("the web server has ended")?.own;
        Ok(Cpu { web, database })
    }
}

struct Stat {
    parent: u32,
    /// Milliseconds.
    own: f64,
    of_ended_children: f64,
}

impl Stat {
    /// `proc(5)`, `/proc/PID/stat`: fields after the name in brackets, from the third on.
    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: (ticks(11)? + ticks(12)?) * 1000.0 / TICKS,
            of_ended_children: (ticks(13)? + ticks(14)?) * 1000.0 / TICKS,
        })
    }
}

fn program(name: &str) -> Result<PathBuf, Error> {
    Ok(Path::new(&crate::variable("POSTGRES_BIN")?).join(name))
}

fn done(command: &mut Command) -> Result<String, Error> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs one statement as the database's superuser.
pub fn psql(demo: &Path, database: &str, statement: &str) -> Result<(), Error> {
    done(
        Command::new(program("psql")?)
            .args([
                "-Xq", "-U", "postgres", "-d", database, "-c", statement, "-h",
            ])
            .arg(demo.join("run")),
    )?;
    Ok(())
}

/// `pgbench -S` on the same cluster, in a database of its own.
#[derive(Debug)]
pub struct Pgbench {
    sockets: PathBuf,
}

/// One run's figures; the processor time is Postgres's alone.
#[derive(Debug)]
pub struct Selects {
    pub per_second: f64,
    pub cpu_ms: f64,
}

impl Pgbench {
    pub fn prepare(demo: &Path) -> Result<Self, Error> {
        psql(demo, "postgres", "DROP DATABASE IF EXISTS bench")?;
        psql(demo, "postgres", "CREATE DATABASE bench")?;
        let made = Self {
            sockets: demo.join("run"),
        };
        done(made.command()?.args(["-i", "-q", "-s", "10", "bench"]))?;
        Ok(made)
    }

    fn command(&self) -> Result<Command, Error> {
        let mut command = Command::new(program("pgbench")?);
        command.args(["-U", "postgres", "-h"]).arg(&self.sockets);
        Ok(command)
    }

    pub fn run(&self, server: &Server, time: Duration) -> Result<Selects, Error> {
        let before = server.cpu()?.database;
        let said = done(
            self.command()?
                .args(["-S", "-n", "-M", "prepared", "-c", "16", "-j", "1", "-T"])
                .arg(time.as_secs().to_string())
                .arg("bench"),
        )?;
        let after = server.cpu()?.database;
        let number = |beginning: &str| {
            said.lines()
                .find_map(|l| l.strip_prefix(beginning))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
                .ok_or_else(|| format!("pgbench printed no “{beginning}”"))
        };
        Ok(Selects {
            per_second: number("tps = ")?,
            cpu_ms: (after - before) / number("number of transactions actually processed: ")?,
        })
    }
}
