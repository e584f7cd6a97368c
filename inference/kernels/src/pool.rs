//! Threads that share one loop at a time.
//!
//! The work is handed out in small pieces from a counter, so a thread that the system takes off its core delays nobody:
//! the others take its pieces. Helpers spin for some microseconds between loops, because the loops of one forward
//! pass follow each other that closely, and then sleep: waiting burns no processor.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks for work, or for the others to finish, before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// A fixed set of threads; the caller's thread is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The loop that is open for helpers, or null.
    open: AtomicPtr<Loop>,
    /// Counts loops, so that a helper knows a new one from the one it has left.
    epoch: AtomicUsize,
    /// Helpers that may hold a reference to the open loop.
    inside: AtomicUsize,
    /// Helpers that sleep, or are about to.
    asleep: AtomicUsize,
    /// The caller sleeps until `inside` is zero.
    caller_waits: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    work: Condvar,
    done: Condvar,
}

struct Loop {
    body: *const (),
    call: unsafe fn(*const (), Range<usize>),
    units: usize,
    grain: usize,
    next: AtomicUsize,
    panicked: AtomicBool,
}

impl Loop {
    /// Takes pieces until none is left.
    fn work(&self) {
        loop {
            let start = self.next.fetch_add(self.grain, SeqCst);
            if start >= self.units {
                return;
            }
            // SAFETY: `body` lives until the caller has seen every helper leave, and `call` was made for its type.
            unsafe { (self.call)(self.body, start..self.units.min(start + self.grain)) };
        }
    }
}

impl Pool {
    /// A pool of `threads` threads (at least one), of which it starts all but the caller's.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            open: AtomicPtr::new(std::ptr::null_mut()),
            epoch: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            caller_waits: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let mut pool = Pool {
            shared,
            helpers: Vec::new(),
        };
        for i in 1..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("kernel-{i}"));
            pool.helpers.push(builder.spawn(move || shared.help())?);
        }
        Ok(pool)
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `body` with ranges that together cover `0..units` exactly once, on all threads; returns when all are done.
    /// A panic of any thread is passed on to the caller. It takes `&mut self` because one loop runs at a time.
    pub fn run<F: Fn(Range<usize>) + Sync>(&mut self, units: usize, grain: usize, body: F) {
        unsafe fn call<F: Fn(Range<usize>)>(body: *const (), range: Range<usize>) {
            // SAFETY: `body` points to the `F` this function was made for.
            unsafe { (*body.cast::<F>())(range) }
        }
        if units == 0 {
            return;
        }
        let grain = grain.max(1);
        if self.helpers.is_empty() || units <= grain {
            return body(0..units);
        }
        let task = Loop {
            body: (&raw const body).cast(),
            call: call::<F>,
            units,
            grain,
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        };
        let shared = &*self.shared;
        shared.open.store((&raw const task).cast_mut(), SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        if shared.asleep.load(SeqCst) > 0 {
            let _guard = shared.lock();
            shared.work.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| task.work()));
        if own.is_err() {
            task.next.store(units, SeqCst);
        }
        // From here no helper can enter, and those inside are waited for: `task` and `body` outlive every use.
        shared.open.store(std::ptr::null_mut(), SeqCst);
        shared.wait_until_left();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        assert!(!task.panicked.load(SeqCst), "a kernel thread panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.epoch.fetch_add(1, SeqCst);
        {
            let _guard = self.shared.lock();
            self.shared.work.notify_all();
        }
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its work; there is nothing to report here.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn help(&self) {
        let mut seen = 0;
        loop {
            self.wait_for_epoch_after(seen);
            seen = self.epoch.load(SeqCst);
            if self.stop.load(SeqCst) {
                return;
            }
            // Entering comes before looking: either this sees null, or the caller sees us inside and waits.
            self.inside.fetch_add(1, SeqCst);
            let task = self.open.load(SeqCst);
            if !task.is_null() {
                // SAFETY: the caller keeps the loop alive while `inside` is not zero.
                let task = unsafe { &*task };
                if catch_unwind(AssertUnwindSafe(|| task.work())).is_err() {
                    task.panicked.store(true, SeqCst);
                    task.next.store(task.units, SeqCst);
                }
            }
            if self.inside.fetch_sub(1, SeqCst) == 1 && self.caller_waits.load(SeqCst) {
                let _guard = self.lock();
                self.done.notify_all();
            }
        }
    }

    fn wait_for_epoch_after(&self, seen: usize) {
        if spin_until(|| self.epoch.load(SeqCst) != seen) {
            return;
        }
        let mut guard = self.lock();
        self.asleep.fetch_add(1, SeqCst);
        while self.epoch.load(SeqCst) == seen {
            guard = self
                .work
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.fetch_sub(1, SeqCst);
    }

    fn wait_until_left(&self) {
        if spin_until(|| self.inside.load(SeqCst) == 0) {
            return;
        }
        let mut guard = self.lock();
        self.caller_waits.store(true, SeqCst);
        while self.inside.load(SeqCst) != 0 {
            guard = self
                .done
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_waits.store(false, SeqCst);
    }
}

/// Whether the condition came true within [`SPIN`].
fn spin_until(condition: impl Fn() -> bool) -> bool {
    let mut started = None;
    loop {
        for _ in 0..64 {
            if condition() {
                return true;
            }
            std::hint::spin_loop();
        }
        if started.get_or_insert_with(Instant::now).elapsed() >= SPIN {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn every_unit_is_done_once_in_thousands_of_loops() {
        let mut pool = Pool::new(4).unwrap();
        let counts: Vec<AtomicU32> = (0..97).map(|_| AtomicU32::new(0)).collect();
        for round in 0..5_000u32 {
            if round % 1000 == 999 {
                // Long enough for the helpers to fall asleep, so that waking them is part of the test.
                std::thread::park_timeout(SPIN * 10);
            }
            pool.run(counts.len(), 3, |range| {
                for i in range {
                    counts[i].fetch_add(1, SeqCst);
                }
            });
            assert!(
                counts.iter().all(|c| c.load(SeqCst) == round + 1),
                "round {round}"
            );
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_works_on() {
        let mut pool = Pool::new(3).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, 1, |range| assert_ne!(range.start, 50))
        }));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(100, 7, |range| {
            sum.fetch_add(range.sum(), SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 4950);
    }

    #[test]
    fn an_idle_pool_uses_no_processor_time() {
        let mut pool = Pool::new(3).unwrap();
        pool.run(1000, 1, |_| {});
        let asleep_by = Instant::now() + Duration::from_secs(5);
        while pool.shared.asleep.load(SeqCst) < 2 {
            assert!(
                Instant::now() < asleep_by,
                "the helpers still spin after five seconds"
            );
            std::thread::yield_now();
        }
    }
}
