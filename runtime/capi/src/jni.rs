//! What `android/dev/edgepack/Session.java` calls: the C interface, with Java's arrays and exceptions.
//!
//! A handle is the address of an `edgepack_session`, and 0 is NULL, which the C interface refuses: a session that was
//! closed throws. Java's class lets one thread at a time into a session.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};

use jni::JNIEnv;
use jni::objects::{JByteArray, JClass, JFloatArray, JString};
use jni::sys::{jbyteArray, jint, jlong, jstring};

use crate::model::{EdgepackModel, edgepack_model_free, edgepack_model_from_memory, edgepack_model_open};
use crate::session::*;
use crate::status::{EdgepackStatus, edgepack_last_error};

const EXCEPTION: &str = "dev/edgepack/EdgepackException";

/// An exception is on its way to Java.
struct Thrown;

/// Whatever Java's side refuses has thrown already.
impl From<jni::errors::Error> for Thrown {
    fn from(_: jni::errors::Error) -> Self {
        Self
    }
}

/// What a call came to; a status that is none of success throws its text.
fn checked(env: &mut JNIEnv<'_>, status: EdgepackStatus) -> Result<(), Thrown> {
    if status == EdgepackStatus::Ok {
        return Ok(());
    }
    // SAFETY: never null, ended by a 0, and no other call is made before it is copied.
    let text = unsafe { CStr::from_ptr(edgepack_last_error()) }.to_string_lossy().into_owned();
    env.throw_new(EXCEPTION, text)?;
    Err(Thrown)
}

fn session(handle: jlong) -> *mut EdgepackSession {
    handle as usize as *mut EdgepackSession
}

/// A session of a model, which then belongs to the session.
fn session_of(env: &mut JNIEnv<'_>, model: *mut EdgepackModel, threads: jint) -> Result<jlong, Thrown> {
    let mut made = null_mut();
    // A negative number is far more than there may be.
    // SAFETY: `model` is of the C interface and not used again; `made` is ours.
    let status = unsafe {
        let status = edgepack_session_new(model, threads as u32, &mut made);
        edgepack_model_free(model);
        status
    };
    checked(env, status)?;
    Ok(made as usize as jlong)
}

/// `Session.nativeOpen`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeOpen<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    path: JString<'l>,
    threads: jint,
) -> jlong {
    let open = |env: &mut JNIEnv<'l>| {
        let path: String = env.get_string(&path)?.into();
        // No file has a 0 in its name: what is before it is no file either, or says so.
        let path = CString::new(path.replace('\0', "?")).unwrap_or_default();
        let mut model = null_mut();
        // SAFETY: a string that ends, and a place of ours.
        let status = unsafe { edgepack_model_open(path.as_ptr(), &mut model) };
        checked(env, status)?;
        session_of(env, model, threads)
    };
    open(&mut env).unwrap_or(0)
}

/// `Session.nativeOf`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeOf<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    bytes: JByteArray<'l>,
    threads: jint,
) -> jlong {
    let of = |env: &mut JNIEnv<'l>| {
        let bytes = env.convert_byte_array(&bytes)?;
        let mut model = null_mut();
        // SAFETY: the bytes of a vector, and a place of ours.
        let status = unsafe { edgepack_model_from_memory(bytes.as_ptr().cast(), bytes.len(), &mut model) };
        checked(env, status)?;
        session_of(env, model, threads)
    };
    of(&mut env).unwrap_or(0)
}

/// `Session.nativeSetPixels`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeSetPixels<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
    input: jint,
    pixels: JByteArray<'l>,
) {
    let set = |env: &mut JNIEnv<'l>| {
        let pixels = env.convert_byte_array(&pixels)?;
        // SAFETY: a handle of ours or 0, and the bytes of a vector.
        let status = unsafe {
            edgepack_session_set_input_pixels(session(handle), index(input), pixels.as_ptr(), pixels.len())
        };
        checked(env, status)
    };
    let _ = set(&mut env);
}

/// `Session.nativeSetFloats`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeSetFloats<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
    input: jint,
    values: JFloatArray<'l>,
) {
    let set = |env: &mut JNIEnv<'l>| {
        let mut copy = vec![0.0; env.get_array_length(&values)? as usize];
        env.get_float_array_region(&values, 0, &mut copy)?;
        // SAFETY: a handle of ours or 0, and the elements of a vector.
        let status = unsafe {
            edgepack_session_set_input_f32(session(handle), index(input), copy.as_ptr(), copy.len())
        };
        checked(env, status)
    };
    let _ = set(&mut env);
}

/// `Session.nativeRun`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeRun<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
) {
    // SAFETY: a handle of ours or 0.
    let status = unsafe { edgepack_session_run(session(handle)) };
    let _ = checked(&mut env, status);
}

/// `Session.nativeOutput`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeOutput<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
    output: jint,
) -> jbyteArray {
    let get = |env: &mut JNIEnv<'l>| {
        let (mut data, mut bytes): (*const c_void, usize) = (null(), 0);
        // SAFETY: a handle of ours or 0, and places of ours.
        let status =
            unsafe { edgepack_session_output(session(handle), index(output), &mut data, &mut bytes) };
        checked(env, status)?;
        // SAFETY: an output where it lies, until the session is used again, by this thread or none.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes) };
        Ok::<_, Thrown>(env.byte_array_from_slice(bytes)?.into_raw())
    };
    get(&mut env).unwrap_or(null_mut())
}

/// `Session.nativeSelftest`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeSelftest<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
) -> jint {
    let mut samples = 0;
    // SAFETY: a handle of ours or 0, and a place of ours.
    let status = unsafe { edgepack_session_selftest(session(handle), &mut samples) };
    checked(&mut env, status).map_or(0, |()| samples as jint)
}

/// `Session.nativeIsa`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeIsa<'l>(
    mut env: JNIEnv<'l>,
    _: JClass<'l>,
    handle: jlong,
) -> jstring {
    let get = |env: &mut JNIEnv<'l>| {
        // SAFETY: a handle of ours or 0.
        let isa = unsafe { edgepack_session_isa(session(handle)) };
        if isa.is_null() {
            checked(env, EdgepackStatus::Argument)?;
        }
        // SAFETY: not null, ended by a 0, and the session lives.
        let isa = unsafe { CStr::from_ptr(isa) }.to_string_lossy();
        Ok::<_, Thrown>(env.new_string(isa)?.into_raw())
    };
    get(&mut env).unwrap_or(null_mut())
}

/// `Session.nativeFree`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_edgepack_Session_nativeFree<'l>(_: JNIEnv<'l>, _: JClass<'l>, handle: jlong) {
    // SAFETY: a handle of ours, which the class forgets with this call, or 0.
    unsafe { edgepack_session_free(session(handle)) };
}

/// A negative index is far beyond any.
fn index(index: jint) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
