//! The web bench: what a page, a look-up and a write cost the box, in time, processor and memory.
//!
//! It drives a demo over TLS, as its users and programs do, and prints each figure beside `pgbench -S` on the same cluster
//! and a static file of the same server, from the same run: machines differ, ratios less.

mod load;
mod people;
mod process;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use load::{Caller, Phase};
use people::People;
use process::{Server, megabytes};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Patients of the practice while it is under load.
const PATIENTS: usize = 10_000;
const CONNECTIONS: usize = 50;
const PHASE: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;
const PAGE_VISITS: usize = 200;

/// Aims: a page's median, and what the server may keep in memory.
const PAGE_P50_MS: f64 = 10.0;
const REST_MB: f64 = 60.0;
const LOAD_MB: f64 = 90.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("bench web: {error}");
            std::process::exit(2);
        }
    }
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set; run bench/run web").into())
}

async fn run() -> Result<bool, Error> {
    let demo = PathBuf::from(variable("DEMO_DIR")?);
    let base = variable("BASE_URL")?;
    let out = PathBuf::from(variable("BENCH_OUT")?);
    let authority = std::fs::read(demo.join("tls/ca.pem"))?;
    let server = Server::of(&demo)?;
    let started = server.resident_mb()?;

    let mut admin = Caller::new(&base, &authority)?;
    admin.sign_in("admin").await?;
    let mut reception = Caller::new(&base, &authority)?;
    reception.sign_in("reception").await?;
    let mut therapist = Caller::new(&base, &authority)?;
    therapist.sign_in("naledi").await?;

    let pages = pages(&admin, &reception, &therapist).await?;
    let rest = server.resident_mb_settled().await?;
    println!(
        "memory: {} at the start, {} at rest after every page was opened\n",
        megabytes(started),
        megabytes(rest)
    );

    let tokens = tokens(&demo).await?;
    let callers = tokens
        .iter()
        .map(|token| Caller::with_token(&base, &authority, token))
        .collect::<Result<Vec<_>, _>>()?;
    let mut people = People::default();
    let filling = Instant::now();
    let (mut peak, filled) = load::fill(&callers, &server, &mut people, PATIENTS).await?;
    println!(
        "filled with {filled} patients in {:.0} s\n",
        filling.elapsed().as_secs_f64()
    );
    process::psql(&demo, "hadada", "VACUUM ANALYZE")?;
    let database = process::Pgbench::prepare(&demo)?;

    let mut phases: Vec<Phase> = Phase::all();
    let mut pgbench = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS} …");
        for phase in &mut phases {
            let seen = phase.run(&callers, &server, &mut people, PHASE).await?;
            peak = peak.max(seen);
        }
        pgbench.push(database.run(&server, PHASE)?);
    }
    let selects = pgbench.iter().map(|run| run.per_second).sum::<f64>() / ROUNDS as f64;
    let select_cpu = pgbench.iter().map(|run| run.cpu_ms).sum::<f64>() / ROUNDS as f64;
    let file_cpu = phases
        .iter()
        .find(|p| p.name == "static file")
        .map_or(f64::NAN, Phase::cpu_ms);

    println!(
        "{:<14} {:>9} {:>9} {:>9} {:>11} {:>11} {:>11} {:>10} {:>9}",
        "request",
        "a second",
        "p50 ms",
        "p95 ms",
        "CPU ms web",
        "CPU ms db",
        "CPU ms",
        "÷ pgbench",
        "÷ static"
    );
    for phase in &phases {
        println!(
            "{:<14} {:>9.0} {:>9.1} {:>9.1} {:>11.3} {:>11.3} {:>11.3} {:>10.1} {:>9.1}",
            phase.name,
            phase.per_second(),
            phase.percentile(0.5),
            phase.percentile(0.95),
            phase.web_ms(),
            phase.database_ms(),
            phase.cpu_ms(),
            phase.cpu_ms() / select_cpu,
            phase.cpu_ms() / file_cpu,
        );
    }
    println!(
        "{:<14} {selects:>9.0} {:>9} {:>9} {:>11} {select_cpu:>11.3} {select_cpu:>11.3} {:>10.1}",
        "pgbench -S", "", "", "", 1.0
    );
    let refused: usize = phases.iter().map(|p| p.refused).sum();
    println!("\nmemory: at most {} under this load", megabytes(peak));
    let median_page = pages.iter().map(|p| p.p50).fold(0.0, f64::max);
    let verdicts = [
        (
            format!("slowest page's median {median_page:.1} ms, aim under {PAGE_P50_MS} ms"),
            median_page < PAGE_P50_MS,
        ),
        (
            format!("{} at rest, aim at most {REST_MB} MB", megabytes(rest)),
            rest <= REST_MB,
        ),
        (
            format!("{} under load, aim at most {LOAD_MB} MB", megabytes(peak)),
            peak <= LOAD_MB,
        ),
        (format!("{refused} requests failed"), refused == 0),
    ];
    for (what, met) in &verdicts {
        println!("{}  {what}", if *met { "met   " } else { "MISSED" });
    }

    write(
        &out,
        &json!({
            "patients": filled,
            "connections": CONNECTIONS,
            "memory_mb": { "start": started, "rest": rest, "load": peak },
            "pages_p50_ms": pages.iter().map(|p| (p.path.clone(), json!(p.p50))).collect::<serde_json::Map<_, _>>(),
            "requests": phases.iter().map(|p| (p.name.to_owned(), p.figures())).collect::<serde_json::Map<_, _>>(),
            "pgbench_select": { "per_second": selects, "cpu_ms": select_cpu },
        }),
    )?;
    Ok(verdicts.iter().all(|(_, met)| *met))
}

fn write(out: &Path, figures: &Value) -> Result<(), Error> {
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(out, serde_json::to_vec_pretty(figures)?)?;
    println!("\nwritten to {}", out.display());
    Ok(())
}

struct Page {
    path: String,
    p50: f64,
}

/// Opens every kind of page many times, one after the other, as the person who uses it.
async fn pages(admin: &Caller, reception: &Caller, therapist: &Caller) -> Result<Vec<Page>, Error> {
    let first = |list: Value| -> Result<String, Error> {
        Ok(list["items"][0]["id"]
            .as_str()
            .ok_or("the demo practice is empty")?
            .to_owned())
    };
    let patient = first(reception.json("/api/v1/patients?limit=1").await?)?;
    let visit = first(therapist.json("/api/v1/encounters?limit=1").await?)?;
    let invoice = first(reception.json("/api/v1/invoices?limit=1").await?)?;
    let visits = [
        (reception, "/day".to_owned()),
        (reception, "/patients".to_owned()),
        (reception, "/patients?q=mok".to_owned()),
        (reception, format!("/patients/{patient}")),
        (therapist, format!("/encounters/{visit}")),
        (reception, "/invoices".to_owned()),
        (reception, format!("/invoices/{invoice}")),
        (admin, format!("/patients/{patient}/audit")),
        (admin, "/admin".to_owned()),
        (admin, "/admin/audit".to_owned()),
    ];
    let mut took = vec![Vec::with_capacity(PAGE_VISITS); visits.len()];
    for _ in 0..PAGE_VISITS {
        for ((who, path), times) in visits.iter().zip(&mut took) {
            let began = Instant::now();
            who.page(path).await?;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    println!("{:<44} {:>8} {:>8}", "page", "p50 ms", "p95 ms");
    let mut pages = Vec::new();
    for ((_, path), times) in visits.into_iter().zip(&mut took) {
        let (p50, p95) = (load::percentile(times, 0.5), load::percentile(times, 0.95));
        let shown = path
            .replace(&patient, "…")
            .replace(&visit, "…")
            .replace(&invoice, "…");
        println!("{shown:<44} {p50:>8.2} {p95:>8.2}");
        pages.push(Page { path: shown, p50 });
    }
    println!();
    Ok(pages)
}

/// One API token for each connection: each has a rate limit of its own, as two programs would.
async fn tokens(demo: &Path) -> Result<Vec<String>, Error> {
    let mut tokens = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let made = tokio::process::Command::new(demo.join("bin/hadadactl"))
            .args([
                "token",
                "create",
                "--user",
                "reception",
                "--scope",
                "all",
                "--dir",
            ])
            .arg(demo)
            .output()
            .await?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
        }
        let said = String::from_utf8(made.stdout)?;
        tokens.push(
            said.lines()
                .last()
                .ok_or("no token was printed")?
                .to_owned(),
        );
    }
    Ok(tokens)
}
