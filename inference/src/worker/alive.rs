//! Signs of life. A thread of its own tells the front twice a second how many steps the engine has made, so that a worker
//! that was stopped shows at once, and one that hangs shows as soon as a step takes absurdly long, however long a whole
//! pass may take on a slow machine. A step is a piece of a product on the processor (some hundredths of a layer), a layer on
//! a card, a batch of embeddings, a request that is read, or a turn of the engine.

use hadada_inference_protocol::{FromWorker, write};
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Time between two signs.
const EVERY: Duration = Duration::from_millis(500);

static STEPS: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicBool = AtomicBool::new(false);
/// Steps that are counted elsewhere.
static COUNTED: OnceLock<Arc<AtomicU64>> = OnceLock::new();

/// Counts these steps too. There is one such count in a process; a second is not taken.
pub fn count(steps: Arc<AtomicU64>) {
    let _ = COUNTED.set(steps);
}

/// All steps so far.
fn steps() -> u64 {
    let counted = COUNTED.get().map_or(0, |steps| steps.load(Relaxed));
    STEPS.load(Relaxed).wrapping_add(counted)
}

/// The engine got one step further.
pub fn step() {
    STEPS.fetch_add(1, Relaxed);
}

/// The engine has work, or waits for some.
pub fn busy(now: bool) {
    step();
    BUSY.store(now, Relaxed);
}

/// The way to the front, for two threads: a message goes out whole or not at all.
#[derive(Debug)]
pub struct Shared<W>(Arc<Mutex<W>>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<W: Write> Shared<W> {
    /// Shares it.
    pub fn new(out: W) -> Shared<W> {
        Shared(Arc::new(Mutex::new(out)))
    }

    fn lock(&self) -> MutexGuard<'_, W> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// Tells the front until it is gone.
///
/// # Errors
/// When the system gives no thread.
pub fn tell(mut out: Shared<impl Write + Send + 'static>) -> io::Result<()> {
    let beats = move || {
        loop {
            let sign = FromWorker::Alive {
                steps: steps(),
                busy: BUSY.load(Relaxed),
            };
            if write(&mut out, &sign).and_then(|()| out.flush()).is_err() {
                return;
            }
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new()
        .name("alive".into())
        .spawn(beats)
        .map(|_| ())
}
