//! Threads that share one loop at a time.
//!
//! Each thread has a stretch of the work, which it takes in small pieces from the front: so it reads memory in one go, and
//! what it asks for ahead is its own. Who is through with their stretch helps others, from the back; a thread that the system
//! takes off its core delays nobody. Helpers spin for some microseconds between loops, because the loops of one forward
//! pass follow each other that closely, and then sleep: waiting burns no processor.

use crate::memory;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks for work, or for the others to finish, before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// Stretches of memory that a thread can be told of at once.
pub(crate) const PARTS: usize = 3;
/// Lines that are asked for between two looks at what is waited for.
const LINES: usize = 8;

/// A fixed set of threads; the caller's thread is one of them.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    asking: Asking,
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
    /// What is left for each thread; the caller's is the first.
    stretches: Box<[Stretch]>,
    /// What each thread will read in the loop to come.
    coming: Box<[Coming]>,
    /// Counts what was announced.
    announced: AtomicUsize,
    /// Pieces of work done, of all loops; apart from what is waited on.
    pieces: Arc<AtomicU64>,
    lock: Mutex<()>,
    work: Condvar,
    done: Condvar,
}

struct Loop {
    body: *const (),
    call: unsafe fn(*const (), Range<usize>),
    grain: usize,
    panicked: AtomicBool,
}

/// What is left of a thread's stretch: its first unit in the upper half, the one after its last in the lower.
#[repr(align(128))]
#[derive(Default)]
struct Stretch(AtomicU64);

impl Stretch {
    fn set(&self, units: Range<usize>) {
        self.0
            .store((units.start as u64) << 32 | units.end as u64, SeqCst);
    }

    fn left(&self) -> usize {
        let (start, end) = Self::open(self.0.load(SeqCst));
        (end - start) as usize
    }

    fn open(packed: u64) -> (u64, u64) {
        (packed >> 32, packed & u64::from(u32::MAX))
    }

    /// Takes a piece from the front, for the thread whose stretch it is.
    fn take(&self, grain: usize) -> Option<Range<usize>> {
        self.piece(|start, end| {
            let after = (start + grain as u64).min(end);
            (start..after, after, end)
        })
    }

    /// Takes a piece from the back, for another thread: smaller towards the end, so that nobody waits long for the last one.
    fn help(&self, grain: usize) -> Option<Range<usize>> {
        self.piece(|start, end| {
            let before = end - ((end - start) / 2).clamp(1, grain as u64);
            (before..end, start, before)
        })
    }

    fn piece(&self, split: impl Fn(u64, u64) -> (Range<u64>, u64, u64)) -> Option<Range<usize>> {
        let mut packed = self.0.load(SeqCst);
        loop {
            let (start, end) = Self::open(packed);
            if start == end {
                return None;
            }
            let (piece, start, end) = split(start, end);
            match self
                .0
                .compare_exchange_weak(packed, start << 32 | end, SeqCst, SeqCst)
            {
                Ok(_) => return Some(piece.start as usize..piece.end as usize),
                Err(now) => packed = now,
            }
        }
    }
}

/// Stretches of memory that a thread will read, each an address and a length.
#[derive(Default)]
struct Coming([(AtomicUsize, AtomicUsize); PARTS]);

/// How far a thread is with asking for what comes.
#[derive(Default)]
struct Asking {
    announced: usize,
    part: usize,
    offset: usize,
}

impl Asking {
    /// Asks for a little more of it.
    fn go_on(&mut self, shared: &Shared, thread: usize) {
        let announced = shared.announced.load(Relaxed);
        if announced != self.announced {
            *self = Asking {
                announced,
                ..Asking::default()
            };
        }
        let Some((start, length)) = shared.coming[thread].0.get(self.part) else {
            return;
        };
        let (start, length) = (start.load(Relaxed), length.load(Relaxed));
        if self.offset >= length {
            (self.part, self.offset) = (self.part + 1, 0);
            return;
        }
        for line in 0..LINES {
            memory::fetch(start + self.offset + line * 64);
        }
        self.offset += LINES * 64;
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
            stretches: (0..threads.max(1)).map(|_| Stretch::default()).collect(),
            coming: (0..threads.max(1)).map(|_| Coming::default()).collect(),
            announced: AtomicUsize::new(0),
            pieces: Arc::default(),
            lock: Mutex::new(()),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let mut pool = Pool {
            shared,
            helpers: Vec::new(),
            asking: Asking::default(),
        };
        for i in 1..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("kernel-{i}"));
            pool.helpers.push(builder.spawn(move || shared.help(i))?);
        }
        Ok(pool)
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Counts the pieces of work that were done: it moves as long as anything is computed, however slowly.
    pub fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.pieces)
    }

    /// Tells each thread what memory it will read in the loop to come: while they wait for one another, and for what one of them
    /// does alone, they ask for it.
    pub(crate) fn announce(&mut self, parts: impl Fn(usize) -> [(usize, usize); PARTS]) {
        for (thread, coming) in self.shared.coming.iter().enumerate() {
            for (slot, (start, length)) in coming.0.iter().zip(parts(thread)) {
                slot.0.store(start, Relaxed);
                slot.1.store(length, Relaxed);
            }
        }
        self.shared.announced.fetch_add(1, Relaxed);
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
            body(0..units);
            self.shared.pieces.fetch_add(1, Relaxed);
            return;
        }
        let task = Loop {
            body: (&raw const body).cast(),
            call: call::<F>,
            grain,
            panicked: AtomicBool::new(false),
        };
        let shared = &*self.shared;
        let threads = self.threads();
        assert!(u32::try_from(units).is_ok(), "a loop of {units} units");
        for (i, stretch) in shared.stretches.iter().enumerate() {
            stretch.set(units * i / threads..units * (i + 1) / threads);
        }
        shared.open.store((&raw const task).cast_mut(), SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        if shared.asleep.load(SeqCst) > 0 {
            let _guard = shared.lock();
            shared.work.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.work(&task, 0)));
        if own.is_err() {
            shared.drop_work();
        }
        // From here no helper can enter, and those inside are waited for: `task` and `body` outlive every use.
        shared.open.store(std::ptr::null_mut(), SeqCst);
        shared.wait_until_left(&mut self.asking);
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

    /// Takes pieces until none is left: the thread's own, then others'.
    fn work(&self, task: &Loop, thread: usize) {
        let own = &self.stretches[thread];
        // A thread that has not come yet may never do: its stretch is left only when it is empty.
        let others = || {
            loop {
                let busiest = self.stretches.iter().max_by_key(|s| s.left())?;
                match busiest.help(task.grain) {
                    None if self.stretches.iter().any(|s| s.left() > 0) => {}
                    piece => return piece,
                }
            }
        };
        while let Some(piece) = own.take(task.grain).or_else(others) {
            // SAFETY: `body` lives until the caller has seen every helper leave, and `call` was made for its type.
            unsafe { (task.call)(task.body, piece) };
            self.pieces.fetch_add(1, Relaxed);
        }
    }

    /// Leaves the rest of the loop undone.
    fn drop_work(&self) {
        self.stretches.iter().for_each(|stretch| stretch.set(0..0));
    }

    fn help(&self, thread: usize) {
        let mut seen = 0;
        let mut asking = Asking::default();
        loop {
            self.wait_for_epoch_after(seen, &mut asking, thread);
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
                if catch_unwind(AssertUnwindSafe(|| self.work(task, thread))).is_err() {
                    task.panicked.store(true, SeqCst);
                    self.drop_work();
                }
            }
            if self.inside.fetch_sub(1, SeqCst) == 1 && self.caller_waits.load(SeqCst) {
                let _guard = self.lock();
                self.done.notify_all();
            }
        }
    }

    fn wait_for_epoch_after(&self, seen: usize, asking: &mut Asking, thread: usize) {
        let mut meanwhile = || asking.go_on(self, thread);
        if spin_until(|| self.epoch.load(SeqCst) != seen, &mut meanwhile) {
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

    fn wait_until_left(&self, asking: &mut Asking) {
        let mut meanwhile = || asking.go_on(self, 0);
        if spin_until(|| self.inside.load(SeqCst) == 0, &mut meanwhile) {
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
fn spin_until(condition: impl Fn() -> bool, meanwhile: &mut impl FnMut()) -> bool {
    let mut started = None;
    loop {
        for _ in 0..64 {
            if condition() {
                return true;
            }
            meanwhile();
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
        let progress = pool.progress();
        let mut before = 0;
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
            let now = progress.load(Relaxed);
            assert!(now > before, "round {round} did not show");
            before = now;
        }
    }

    #[test]
    fn a_thread_that_is_held_up_has_its_stretch_done_by_the_others() {
        let mut pool = Pool::new(2).unwrap();
        // The first unit of the caller's stretch, then of the helper's.
        for held in [0, 50] {
            let done = AtomicU32::new(0);
            let patience = Instant::now() + Duration::from_secs(20);
            pool.run(100, 1, |range| {
                for i in range {
                    while i == held && done.load(SeqCst) < 99 {
                        assert!(Instant::now() < patience, "nobody helps");
                        std::thread::yield_now();
                    }
                    done.fetch_add(1, SeqCst);
                }
            });
            assert_eq!(done.load(SeqCst), 100);
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
