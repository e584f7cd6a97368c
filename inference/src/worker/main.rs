//! `hadada-worker`: owns the models and the one thread that runs them. The front starts it with a socket as standard
//! input, speaks the protocol over it, and starts another when it dies.

use clap::Parser;
use hadada_inference::worker;

fn main() -> std::process::ExitCode {
    let mut options = worker::Options::parse();
    options.built_for = option_env!("HADADA_CUDA_CAPABILITY").and_then(|c| c.parse().ok());
    match worker::run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hadada-worker: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
