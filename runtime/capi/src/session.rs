//! Sessions: what runs a package.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_char, c_void};
use std::ptr::null;
use std::slice::from_raw_parts;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgepack_engine::{InputData, Model, Session, SessionOptions};

use crate::model::{EdgepackModel, EdgepackType, TYPES};
use crate::status::{EdgepackStatus, Failure, check, guarded, shared, write};

/// Memory, kernels and threads to run a model with. It belongs to one thread at a time: it may be handed from one to
/// another, but a call while another thread is in one is refused with EDGEPACK_STATUS_BUSY. Nothing is allocated after
/// edgepack_session_new, but by islands.
pub struct EdgepackSession {
    busy: AtomicBool,
    running: UnsafeCell<Running>,
}

struct Running {
    /// Before the model that it borrows: fields are dropped in this order.
    session: Session<'static>,
    _model: Arc<Model>,
    isa: CString,
}

impl EdgepackSession {
    /// Lends the session to `work`, and to nobody else meanwhile.
    fn with<R>(&self, work: impl FnOnce(&mut Running) -> Result<R, Failure>) -> Result<R, Failure> {
        /// Gives it back, after a panic as well.
        struct Taken<'a>(&'a AtomicBool);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Release);
            }
        }
        if self.busy.swap(true, Ordering::Acquire) {
            return Err(Failure::Busy);
        }
        let _taken = Taken(&self.busy);
        // SAFETY: `busy` was false and is true until `_taken` is dropped, so this is the only reference.
        work(unsafe { &mut *self.running.get() })
    }
}

/// Makes what a model is run with. The session keeps what it needs of the model, which may be freed.
///
/// `threads` share a run, the caller's among them: at most 16; 0 and 1 are one. The outputs are the same for any
/// number. `*session` becomes the session, or NULL.
///
/// # Safety
/// `model` is NULL or a model; `session` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_new(
    model: *const EdgepackModel,
    threads: u32,
    session: *mut *mut EdgepackSession,
) -> EdgepackStatus {
    guarded(|| {
        check(session, "session")?;
        // SAFETY: the caller's promise, not null and aligned.
        unsafe { session.write(std::ptr::null_mut()) };
        // SAFETY: the caller's promise.
        let model = Arc::clone(&unsafe { shared(model, "model") }?.model);
        // SAFETY: the model lies in the shared memory of `model`, where it neither moves nor changes, and which
        // `Running` holds for longer than the session that borrows it. The session never leaves `Running`.
        let borrowed: &'static Model = unsafe { &*Arc::as_ptr(&model) };
        let made = borrowed.session(&SessionOptions { isa: None, threads: threads as usize })?;
        let isa = CString::new(made.isa().to_string()).unwrap_or_default();
        let running = UnsafeCell::new(Running { session: made, _model: model, isa });
        let made = Box::new(EdgepackSession { busy: AtomicBool::new(false), running });
        // SAFETY: as above.
        unsafe { write(session, Box::into_raw(made), "session") }
    })
}

/// Frees a session and ends its threads; NULL is nothing.
///
/// # Safety
/// `session` is NULL or of edgepack_session_new, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_free(session: *mut EdgepackSession) {
    guarded(|| {
        if !session.is_null() {
            // SAFETY: it came out of a box, and is given back once: the caller's promise.
            drop(unsafe { Box::from_raw(session) });
        }
        Ok(())
    });
}

/// Sets an input to `count` values in the model's own shape, as it was trained with. Every input is set before each
/// run: a run uses its memory for other things.
///
/// # Safety
/// `session` is NULL or a session; `values` is valid for reads of `count` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_set_input_f32(
    session: *mut EdgepackSession,
    index: usize,
    values: *const f32,
    count: usize,
) -> EdgepackStatus {
    // SAFETY: the caller's promise.
    unsafe { set_input(session, index, ("values", values), ("count", count), InputData::F32) }
}

/// Sets an input to `count` bytes of raw pixels [N, H, W, C], RGB, where the package records a preprocessing
/// (`takes_pixels`). As for edgepack_session_set_input_f32 otherwise.
///
/// # Safety
/// `session` is NULL or a session; `pixels` is valid for reads of `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_set_input_pixels(
    session: *mut EdgepackSession,
    index: usize,
    pixels: *const u8,
    count: usize,
) -> EdgepackStatus {
    // SAFETY: the caller's promise.
    unsafe { set_input(session, index, ("pixels", pixels), ("count", count), InputData::Pixels) }
}

/// Sets an input to `count` int8 elements with the input's scale and zero point, in the order in which the package
/// holds them: [N, H, W, C] for images. As for edgepack_session_set_input_f32 otherwise.
///
/// # Safety
/// `session` is NULL or a session; `elements` is valid for reads of `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_set_input_i8(
    session: *mut EdgepackSession,
    index: usize,
    elements: *const i8,
    count: usize,
) -> EdgepackStatus {
    // SAFETY: the caller's promise.
    unsafe { set_input(session, index, ("elements", elements), ("count", count), InputData::Quantized) }
}

/// Sets an input to `count` elements of an edgepack_type, in the model's own shape: integers, truth values, and what
/// islands take. As for edgepack_session_set_input_f32 otherwise.
///
/// # Safety
/// `session` is NULL or a session; `elements` is valid for reads of `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_set_input(
    session: *mut EdgepackSession,
    index: usize,
    dtype: u32,
    elements: *const c_void,
    count: usize,
) -> EdgepackStatus {
    let counted = ("count", count);
    let known = TYPES.iter().find(|(code, _)| *code as u32 == dtype);
    // SAFETY: the caller's promise, for each type of elements.
    unsafe {
        match known {
            None => guarded(|| Err(Failure::Type(dtype))),
            Some((EdgepackType::F32, _)) => {
                set_input(session, index, ("elements", elements.cast()), counted, InputData::F32)
            }
            Some((EdgepackType::I8, _)) => {
                set_input(session, index, ("elements", elements.cast()), counted, InputData::Quantized)
            }
            Some((EdgepackType::I32, _)) => {
                set_input(session, index, ("elements", elements.cast()), counted, InputData::I32)
            }
            Some((EdgepackType::I64, _)) => {
                set_input(session, index, ("elements", elements.cast()), counted, InputData::I64)
            }
            Some((EdgepackType::Bool, _)) => {
                set_input(session, index, ("elements", elements.cast()), counted, InputData::Bool)
            }
            Some((_, of)) => {
                let elem_bytes = of.bytes() as usize;
                let data = |bytes| InputData::Elements(*of, bytes);
                lend(session, index, counted, |running, count| {
                    // SAFETY: `lend` has found that the input has so many elements; that they can be read is the
                    // caller's promise. Their bytes need no alignment.
                    let bytes = slice("elements", elements.cast::<u8>(), count * elem_bytes)?;
                    Ok(running.session.set_input(index, data(bytes))?)
                })
            }
        }
    }
}

/// Sets an input, once it is known to have so many elements.
///
/// # Safety
/// `session` is NULL or a session; `data` is valid for reads of `count` elements.
unsafe fn set_input<'a, T: 'a>(
    session: *const EdgepackSession,
    index: usize,
    (what, data): (&'static str, *const T),
    counted: (&'static str, usize),
    form: impl FnOnce(&'a [T]) -> InputData<'a>,
) -> EdgepackStatus {
    // SAFETY: the caller's promise.
    unsafe {
        lend(session, index, counted, |running, count| {
            // SAFETY: the caller's promise; `count` is of an input.
            let elements = slice(what, data, count)?;
            Ok(running.session.set_input(index, form(elements))?)
        })
    }
}

/// The application's memory.
///
/// # Safety
/// `data` is NULL or valid for reads of `count` elements, which are together no larger than an arena.
unsafe fn slice<'a, T>(what: &'static str, data: *const T, count: usize) -> Result<&'a [T], Failure> {
    check(data, what)?;
    // SAFETY: not null and aligned, as was checked; the rest is the caller's promise.
    Ok(unsafe { from_raw_parts(data, count) })
}

/// Lends the session to `work` where its input `index` has `count` elements.
///
/// # Safety
/// `session` is NULL or a session.
unsafe fn lend(
    session: *const EdgepackSession,
    index: usize,
    (what, given): (&'static str, usize),
    work: impl FnOnce(&mut Running, usize) -> Result<(), Failure>,
) -> EdgepackStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| {
            let package = running.session.package();
            let count = package.head().inputs as usize;
            let input = package.inputs().nth(index).ok_or(Failure::Index { index, count })?;
            match input.dims.elems().unwrap_or(0) as usize {
                needed if needed != given => Err(Failure::Length { what, needed, given }),
                needed => work(running, needed),
            }
        })
    })
}

/// Runs the model on the inputs that were set.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_run(session: *mut EdgepackSession) -> EdgepackStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| Ok(running.session.run()?))
    })
}

/// An output of the last run where it lies, in the model's own shape: `*data` becomes its address, at a multiple of
/// its elements' size, and `*bytes` its size (`bytes` may be NULL). Both stay valid, and the elements as they are,
/// until an input is set, or a run or self-test starts, or the session is freed.
///
/// # Safety
/// `session` is NULL or a session; `data` is valid for a write, `bytes` too or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_output(
    session: *const EdgepackSession,
    index: usize,
    data: *mut *const c_void,
    bytes: *mut usize,
) -> EdgepackStatus {
    guarded(|| {
        check(data, "data")?;
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| {
            let output = running.session.output(index)?.bytes();
            if !bytes.is_null() {
                // SAFETY: the caller's promise.
                unsafe { write(bytes, output.len(), "bytes") }?;
            }
            // SAFETY: the caller's promise.
            unsafe { write(data, output.as_ptr().cast(), "data") }
        })
    })
}

/// Copies an output of the last run, in the model's own shape, to `data`, which has room for `bytes` bytes: exactly
/// those of the output.
///
/// # Safety
/// `session` is NULL or a session; `data` is valid for writes of `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_copy_output(
    session: *const EdgepackSession,
    index: usize,
    data: *mut c_void,
    bytes: usize,
) -> EdgepackStatus {
    guarded(|| {
        let data = data.cast::<u8>();
        check(data, "data")?;
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| {
            let output = running.session.output(index)?.bytes();
            if output.len() != bytes {
                return Err(Failure::Length { what: "bytes", needed: output.len(), given: bytes });
            }
            // SAFETY: `data` is not null and has room for so many bytes, the caller's promise; memory of the
            // application is not that of the arena, unless it breaks what edgepack_session_output says.
            unsafe { data.copy_from(output.as_ptr(), bytes) };
            Ok(())
        })
    })
}

/// Runs the package's own samples and compares the outputs with the workstation's, bit for bit:
/// EDGEPACK_STATUS_SELFTEST where they differ. `*samples` becomes their number (`samples` may be NULL). Inputs are to
/// be set anew after it.
///
/// # Safety
/// `session` is NULL or a session; `samples` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_selftest(
    session: *mut EdgepackSession,
    samples: *mut usize,
) -> EdgepackStatus {
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| {
            let passed = running.session.selftest()?;
            if !samples.is_null() {
                // SAFETY: the caller's promise.
                unsafe { write(samples, passed, "samples") }?;
            }
            Ok(())
        })
    })
}

/// Threads that share a run; 0 for NULL, and while another thread uses the session.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_threads(session: *const EdgepackSession) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { fact(session, 0, |running| running.session.threads() as u32) }
}

/// Bytes of the memory in which the session runs, besides packed weights; 0 for NULL, and while another thread uses
/// the session.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_arena_bytes(session: *const EdgepackSession) -> usize {
    // SAFETY: the caller's promise.
    unsafe { fact(session, 0, |running| running.session.arena_bytes()) }
}

/// The instruction sets in use, as "neon,dotprod", as long as the session lives; NULL for NULL, and while another
/// thread uses the session. The environment variable EDGEPACK_ISA lowers what new sessions use.
///
/// # Safety
/// `session` is NULL or a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_session_isa(session: *const EdgepackSession) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { fact(session, null(), |running| running.isa.as_ptr()) }
}

/// # Safety
/// `session` is NULL or a session.
unsafe fn fact<T>(session: *const EdgepackSession, none: T, read: impl FnOnce(&Running) -> T) -> T {
    let mut found = none;
    guarded(|| {
        // SAFETY: the caller's promise.
        unsafe { shared(session, "session") }?.with(|running| {
            found = read(running);
            Ok(())
        })
    });
    found
}
