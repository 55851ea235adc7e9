//! Nothing is allocated after a session was made, neither by the caller's thread nor by the session's.
//!
//! The program has a `main` of its own: the threads of the usual one allocate when they like.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use edgepack_engine::{InputData, Model, SessionOptions, isa};
use edgepack_tests::{digits, others};

/// The system's allocator, counting what all threads ask for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::SeqCst)
}

fn main() {
    the_counter_counts();
    sessions_allocate_nothing_after_they_were_made();
    println!("test result: ok");
}

fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(allocations(), before + 1);
    std::thread::spawn(|| drop(std::hint::black_box(vec![0u8; 100]))).join().unwrap();
    assert!(allocations() > before + 2, "what another thread allocates is not counted");
}

fn sessions_allocate_nothing_after_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let cases = std::iter::once(digits()).chain(others()).filter(|case| case.is_there());
    // All are packed before anything is counted: the packager has threads too.
    let packed: Vec<_> = cases.map(|case| (case.name, case.pack(folder.path()).package)).collect();
    for (name, package) in packed {
        let model = Model::open(package).unwrap();
        let package = model.package();
        let input = package.inputs().next().unwrap();
        let elems = input.buffer.bytes as usize;
        let (values, pixels, quantized) = (vec![0.5; elems], vec![7; elems], vec![3; elems]);
        for (set, threads) in
            [(Default::default(), 1), (isa::processor().set(), 1), (isa::processor().set(), 3)]
        {
            let mut session = model.session(&SessionOptions { isa: Some(set), threads }).unwrap();
            let before = allocations();
            for _ in 0..2 {
                session.set_input(0, InputData::F32(&values)).unwrap();
                session.run().unwrap();
                session.set_input(0, InputData::Quantized(&quantized)).unwrap();
                session.run().unwrap();
                if input.pixels.is_some() {
                    session.set_input(0, InputData::Pixels(&pixels)).unwrap();
                    session.run().unwrap();
                }
                std::hint::black_box(session.output(0).unwrap());
                session.selftest().unwrap();
                // Threads fall asleep and are woken.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            assert_eq!(allocations() - before, 0, "{name} on {set}, {threads} threads");
        }
    }
}
