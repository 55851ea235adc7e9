//! The threads of a session: made with it, parked between runs, joined with its end.
//!
//! A run has a job every few microseconds, so that waking a thread by the system for each would take
//! longer than the job. Waiting threads therefore look for work for [`SPIN`] before they sleep. Parts
//! are taken by whoever comes first: where a thread is late, since it slept or its processor has other
//! work, the others have done its part meanwhile. Nothing is allocated after [`Pool::new`].

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use edgepack_core::Parallel;

/// How long a thread looks for work before it sleeps: several times what a step between two shared ones
/// takes, and too short to heat anything after a run.
const SPIN: Duration = Duration::from_micros(50);

/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

/// Threads that wait for work.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the parts of a job are done by.
#[derive(Clone, Copy)]
struct Job {
    /// Does part `index` of what `data` points to.
    ///
    /// # Safety
    /// `data` is the job's, its parts are still waited for, and no one else does part `index`.
    run: unsafe fn(data: *const (), index: usize),
    data: *const (),
}

struct Shared {
    /// Written by the owner while no part is unfinished, read by who has taken a part.
    job: UnsafeCell<Job>,
    /// Parts that no one has taken yet: whoever lowers it from `n` to `n - 1` has part `n - 1`.
    untaken: AtomicUsize,
    /// Parts that have not ended.
    unfinished: AtomicUsize,
    /// What the first panic of a part was.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    ends: AtomicBool,
    /// Whether a thread sleeps, or is about to, that no one has rung for since.
    asleep: AtomicBool,
    bed: Mutex<()>,
    bell: Condvar,
}

// SAFETY: everything but `job` is `Sync` itself. `job` is written by the owner of the pool alone, and only
// while `unfinished` is 0; it is read only by who has taken a part, which is unfinished until after the
// last use. The owner's `untaken.store(Release)` is seen by the `Acquire` of whoever takes a part, so that
// the write is before the reads; the `Release` of each part's end is seen by the owner's `Acquire` load of
// `unfinished == 0`, so that the reads are before the next write. The pointer in it is used as
// `Pool::for_each` proves.
unsafe impl Sync for Shared {}

// SAFETY: the one part that is not `Send` is the pointer in `job`, for which the above holds on whichever
// thread the owner is.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Parts that panic hold no lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new() -> Self {
        unsafe fn nothing(_data: *const (), _index: usize) {}
        Self {
            job: UnsafeCell::new(Job { run: nothing, data: std::ptr::null() }),
            untaken: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::new(None),
            ends: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        }
    }

    /// Waits until `ready`, at first awake.
    fn wait(&self, ready: impl Fn() -> bool) {
        let mut started = None;
        loop {
            for _ in 0..LOOKS {
                if ready() {
                    return;
                }
                std::hint::spin_loop();
            }
            if started.get_or_insert_with(Instant::now).elapsed() > SPIN {
                break;
            }
        }
        let mut bed = lock(&self.bed);
        loop {
            self.asleep.store(true, Ordering::SeqCst);
            if ready() {
                return;
            }
            // Since that look no one can have rung: ringing needs the lock, which sleeping gives back.
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes whoever sleeps, after a change that they may wait for, which was `SeqCst`: then either that
    /// change is seen by the last look before a sleep, or the sleeper here. Rings once for all who sleep:
    /// the system takes longer for it than for many a step, and who is late need not be called again.
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            drop(lock(&self.bed));
            self.bell.notify_all();
        }
    }

    /// Does parts of the job as long as there are any.
    fn work(&self) {
        let take = |untaken: usize| untaken.checked_sub(1);
        while let Ok(untaken) = self.untaken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            // SAFETY: this thread has taken a part that is unfinished until below: no one writes the job.
            let job = unsafe { *self.job.get() };
            // SAFETY: the part is unfinished, so that the owner waits, and the job's data is there; this
            // thread alone has lowered `untaken` to the part's index since the job was set.
            let part = AssertUnwindSafe(|| unsafe { (job.run)(job.data, untaken - 1) });
            if let Err(panic) = catch_unwind(part) {
                lock(&self.panic).get_or_insert(panic);
            }
            if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.wake();
            }
        }
    }
}

impl Pool {
    /// `threads` threads, of which the caller's is one.
    ///
    /// # Errors
    /// What the system says where it has no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let mut pool = Self { shared: Arc::new(Shared::new()), workers: Vec::new() };
        let ready = Arc::new(AtomicUsize::new(0));
        for index in 1..threads {
            let (shared, ready) = (pool.shared.clone(), ready.clone());
            let worker = Builder::new().name(format!("edgepack-{index}")).spawn(move || {
                ready.fetch_add(1, Ordering::SeqCst);
                shared.wake();
                drop(ready);
                loop {
                    let ends = || shared.ends.load(Ordering::SeqCst);
                    shared.wait(|| shared.untaken.load(Ordering::SeqCst) > 0 || ends());
                    if ends() {
                        return;
                    }
                    shared.work();
                }
            });
            // Where one fails, dropping the pool ends those that there are.
            pool.workers.push(worker?);
        }
        // What a thread allocates at its start is over then.
        pool.shared.wait(|| ready.load(Ordering::SeqCst) + 1 >= threads);
        Ok(pool)
    }
}

impl Parallel for Pool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn for_each<T: Send>(&mut self, items: &mut [T], task: impl Fn(&mut T) + Sync) {
        struct Data<T, F> {
            items: *mut T,
            task: F,
        }
        /// # Safety
        /// As [`Job::run`]; `data` points to a `Data<T, F>` whose items have the index.
        unsafe fn run<T: Send, F: Fn(&mut T) + Sync>(data: *const (), index: usize) {
            // SAFETY: the caller's promise: `for_each` keeps the data until all parts have ended, no one
            // writes it, and no one else has the item of this index. `T` may be used by another thread
            // than its owner (`Send`), and `F` by several (`Sync`).
            unsafe {
                let data = &*data.cast::<Data<T, F>>();
                (data.task)(&mut *data.items.add(index));
            }
        }
        fn of<T: Send, F: Fn(&mut T) + Sync>(data: &Data<T, F>) -> Job {
            Job { run: run::<T, F>, data: std::ptr::from_ref(data).cast() }
        }

        if self.workers.is_empty() || items.len() < 2 {
            return items.iter_mut().for_each(task);
        }
        let parts = items.len();
        let data = Data { items: items.as_mut_ptr(), task };
        let shared = &*self.shared;
        // SAFETY: `self` is borrowed mutably, so that this is the one owner, and the last job has ended: no
        // part is unfinished, and no one reads. From here on nothing but `data` uses the items, and this
        // function does not end, nor unwind, before `unfinished` is 0: `work` catches what parts panic
        // with, and the rest allocates nothing and asserts nothing.
        unsafe { *shared.job.get() = of(&data) };
        shared.unfinished.store(parts, Ordering::Relaxed);
        shared.untaken.store(parts, Ordering::SeqCst);
        shared.wake();
        shared.work();
        shared.wait(|| shared.unfinished.load(Ordering::SeqCst) == 0);
        let panic = lock(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        self.shared.wake();
        for worker in self.workers.drain(..) {
            // A worker catches what its parts panic with, and has nothing else to fail with.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        for threads in 1..6 {
            let mut pool = Pool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for round in 0..2000 {
                let mut items = vec![0_u32; round % 17];
                let added = round as u32 + 1;
                pool.for_each(&mut items, |item| *item += added);
                assert!(items.iter().all(|&item| item == added), "{threads} threads, round {round}");
            }
        }
    }

    /// Threads that sleep are woken: jobs come later than they spin.
    #[test]
    fn pauses_between_jobs_lose_nothing() {
        let mut pool = Pool::new(3).unwrap();
        for pause_us in [0, 20, 45, 50, 55, 70, 500, 3000].repeat(20) {
            std::thread::sleep(Duration::from_micros(pause_us));
            let mut items = [0; 3];
            pool.for_each(&mut items, |item| *item = 1);
            assert_eq!(items, [1; 3]);
        }
    }

    #[test]
    fn other_threads_take_part() {
        let mut pool = Pool::new(2).unwrap();
        let mut items = [None; 2];
        // Each part waits for the other: one thread alone would stay here.
        let met = AtomicUsize::new(0);
        pool.for_each(&mut items, |item| {
            met.fetch_add(1, Ordering::SeqCst);
            while met.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            *item = Some(std::thread::current().id());
        });
        assert!(items[0].is_some() && items[1].is_some() && items[0] != items[1]);
    }

    #[test]
    fn a_panic_of_any_part_reaches_the_caller_after_all_parts_and_the_pool_still_works() {
        let mut pool = Pool::new(3).unwrap();
        for bad in 0..6 {
            let mut items = [0, 1, 2, 3, 4, 5];
            let done = AtomicUsize::new(0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each(&mut items, |item| {
                    done.fetch_add(1, Ordering::SeqCst);
                    if *item == bad {
                        // Without the message that a `panic!` would print.
                        resume_unwind(Box::new("a part"));
                    }
                    *item = -1;
                });
            }));
            assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"a part"));
            assert_eq!(done.load(Ordering::SeqCst), 6);
            let expected: Vec<i32> = (0..6).map(|item| if item == bad { bad } else { -1 }).collect();
            assert_eq!(items.as_slice(), expected);
        }
        let mut items = [0; 9];
        pool.for_each(&mut items, |item| *item = 1);
        assert_eq!(items, [1; 9]);
    }

    #[test]
    fn a_pool_ends_whether_its_threads_sleep_or_look() {
        for pause_us in [0, 10, 200] {
            for _ in 0..20 {
                let pool = Pool::new(3).unwrap();
                std::thread::sleep(Duration::from_micros(pause_us));
                let shared = Arc::downgrade(&pool.shared);
                drop(pool);
                assert_eq!(shared.strong_count(), 0, "a thread is left");
            }
        }
    }

    /// A session may be moved to another thread between runs.
    #[test]
    fn pools_may_be_moved() {
        fn movable<T: Send>(_: &T) {}
        let mut pool = Pool::new(2).unwrap();
        movable(&pool);
        let mut items = [0; 4];
        std::thread::scope(|scope| scope.spawn(|| pool.for_each(&mut items, |item| *item += 1)).join())
            .unwrap();
        pool.for_each(&mut items, |item| *item += 1);
        assert_eq!(items, [2; 4]);
    }
}
