//! Nothing is allocated after a session was made.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use edgepack_engine::{InputData, Model, SessionOptions, isa};
use edgepack_tests::{digits, others};

/// The system's allocator, counting what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and is none of ours.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
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
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(allocations(), before + 1);
}

#[test]
fn sessions_allocate_nothing_after_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    for case in std::iter::once(digits()).chain(others()).filter(|case| case.is_there()) {
        let model = Model::open(case.pack(folder.path()).package).unwrap();
        let package = model.package();
        let input = package.inputs().next().unwrap();
        let elems = input.buffer.bytes as usize;
        let (values, pixels, quantized) = (vec![0.5; elems], vec![7; elems], vec![3; elems]);
        for set in [Default::default(), isa::processor().set()] {
            let mut session = model.session(&SessionOptions { isa: Some(set), threads: 1 }).unwrap();
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
            }
            assert_eq!(allocations() - before, 0, "{} on {set}", case.name);
        }
    }
}
