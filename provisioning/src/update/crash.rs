//! Places where a test ends this program as a power cut would, or makes it wait. Only test builds look for them.

/// Places within steps; every step also has `NAME.before` and `NAME.after`.
pub const WITHIN: [&str; 9] = [
    "copy.middle",
    "verify.middle",
    "unpack.middle",
    "snapshot.middle",
    "clone.middle",
    "migrate.middle",
    "flip.middle",
    "units.middle",
    "confirm.middle",
];

/// Ends the program here if a test asked for it by `HADADA_UPDATE_CRASH`; waits here while the file named by
/// `HADADA_UPDATE_HOLD` (`POINT=FILE`) is there.
#[cfg(any(debug_assertions, feature = "crash-points"))]
pub fn point(name: &str) {
    if let Ok(hold) = std::env::var("HADADA_UPDATE_HOLD")
        && let Some((point, file)) = hold.split_once('=')
        && point == name
    {
        let _ = std::fs::write(format!("{file}.reached"), name);
        while std::path::Path::new(file).exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    if std::env::var("HADADA_UPDATE_CRASH").is_ok_and(|wanted| wanted == name) {
        eprintln!("crash point {name}");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing, in a release.
#[cfg(not(any(debug_assertions, feature = "crash-points")))]
pub fn point(_: &str) {}
