//! Gives up everything a typesetter does not need, before it reads a byte of input.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use thiserror::Error;

const CPU_SECONDS: u64 = 20;
const MEMORY_BYTES: u64 = 2 << 30;
const OPEN_FILES: u64 = 8;

/// Why the process could not be shut in.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The kernel refused a limit.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] rustix::io::Errno),
    /// The kernel knows Landlock and refused its rules.
    #[error(transparent)]
    Rules(#[from] landlock::RulesetError),
    /// The work can't be kept on this thread.
    #[error(transparent)]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// After this the process can gain no privilege, start no file or connection of its own, and use only so much time
/// and memory. Rules that an old kernel lacks are left out; the others hold.
///
/// # Errors
/// When the kernel refuses what it supports.
pub fn enter() -> Result<(), SandboxError> {
    rustix::thread::set_no_new_privs(true)?;
    for (resource, most) in [
        (Resource::Cpu, CPU_SECONDS),
        (Resource::As, MEMORY_BYTES),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
    ] {
        setrlimit(
            resource,
            Rlimit {
                current: Some(most),
                maximum: Some(most),
            },
        )?;
    }
    let newest = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    // One page needs no second thread, and a process that may start none must not try.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()?;
    Ok(())
}
