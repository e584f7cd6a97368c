//! The web and API server of a Hadada box, and the commands that prepare its databases.

mod cli;

use clap::Parser;

/// Gives memory back. The C library's allocator keeps what argon2 borrowed (19 MiB) in each thread's arena, for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    hadada::telemetry::start()?;
    let arguments = cli::Arguments::parse();
    // The allocator asks for huge pages, two megabytes at a time: quick for a cache, wasteful for a small server.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(4 * 1024 * 1024)
        .build()?
        .block_on(cli::run(arguments))
}
