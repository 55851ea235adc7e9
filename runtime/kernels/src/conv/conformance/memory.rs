//! Buffers that notice when a kernel leaves them.

use core::ffi::{c_int, c_void};
use core::marker::PhantomData;
use std::alloc;

/// How a buffer lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This many elements after a multiple of 64 bytes, known bytes on both sides.
    Offset(usize),
    /// The last byte is the last one of a page; the next page may not be touched.
    BeforeFence,
    /// The first byte is the first one of a page; the page before it may not be touched.
    AfterFence,
}

/// At least as large as the pages of any system that the suite runs on.
const PAGE: usize = 1 << 16;
const GUARD: u8 = 0xa5;

unsafe extern "C" {
    fn mprotect(address: *mut c_void, bytes: usize, protection: c_int) -> c_int;
}
const PROTECT_NONE: c_int = 0;
const PROTECT_READ_WRITE: c_int = 3;

/// `len` elements of plain data (any bit pattern is a value), at a [`Place`].
pub struct Buffer<T> {
    base: *mut u8,
    layout: alloc::Layout,
    start: usize,
    len: usize,
    fenced: bool,
    elements: PhantomData<T>,
}

/// Types that are valid whatever their bytes are.
pub trait Plain: Copy {}
impl Plain for i8 {}
impl Plain for u8 {}
impl Plain for i32 {}
impl Plain for f32 {}

impl<T: Plain> Buffer<T> {
    /// A buffer full of guard bytes.
    pub fn new(len: usize, place: Place) -> Self {
        let bytes = len * size_of::<T>();
        let pages = bytes.next_multiple_of(PAGE);
        let (total, start) = match place {
            Place::Offset(elems) => (bytes + elems * size_of::<T>() + 128, 64 + elems * size_of::<T>()),
            Place::BeforeFence => (2 * PAGE + pages, PAGE + pages - bytes),
            Place::AfterFence => (2 * PAGE + pages, PAGE),
        };
        let fenced = !matches!(place, Place::Offset(_));
        let layout = alloc::Layout::from_size_align(total, if fenced { PAGE } else { 64 }).unwrap();
        // SAFETY: the size is not zero.
        let base = unsafe { alloc::alloc(layout) };
        assert!(!base.is_null());
        // SAFETY: the allocation has `total` bytes.
        unsafe { base.write_bytes(GUARD, total) };
        let buffer = Self { base, layout, start, len, fenced, elements: PhantomData };
        buffer.fence(PROTECT_NONE);
        buffer
    }

    /// A buffer that holds `values`.
    pub fn of(values: &[T], place: Place) -> Self {
        let mut buffer = Self::new(values.len(), place);
        buffer.slice_mut().copy_from_slice(values);
        buffer
    }

    pub fn slice(&self) -> &[T] {
        // SAFETY: `len` initialised elements from `start` on, aligned since 64 and the page are
        // multiples of every `T`'s alignment and lengths are whole elements.
        unsafe { core::slice::from_raw_parts(self.base.add(self.start).cast(), self.len) }
    }

    pub fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`; `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.base.add(self.start).cast(), self.len) }
    }

    /// Whether the bytes around the elements are as they were. (A fence needs no looking at.)
    pub fn is_intact(&self) -> bool {
        if self.fenced {
            return true;
        }
        // SAFETY: the whole allocation, initialised in `new`.
        let all = unsafe { core::slice::from_raw_parts(self.base, self.layout.size()) };
        let end = self.start + self.len * size_of::<T>();
        all[..self.start].iter().chain(&all[end..]).all(|&byte| byte == GUARD)
    }

    fn fence(&self, protection: c_int) {
        if !self.fenced {
            return;
        }
        for at in [0, self.layout.size() - PAGE] {
            // SAFETY: whole pages of this allocation, in which no element lies.
            let status = unsafe { mprotect(self.base.add(at).cast(), PAGE, protection) };
            assert_eq!(status, 0, "mprotect refused");
        }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.fenced {
            for at in [0, self.layout.size() - PAGE] {
                // SAFETY: as in `fence`; the allocator must be able to reuse the pages.
                unsafe { mprotect(self.base.add(at).cast(), PAGE, PROTECT_READ_WRITE) };
            }
        }
        // SAFETY: allocated in `new` with this layout.
        unsafe { alloc::dealloc(self.base, self.layout) };
    }
}
