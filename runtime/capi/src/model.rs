//! Packages.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::null;
use std::sync::Arc;

use edgepack_engine::Model;
use edgepack_engine::format::plan::{Dims, ElemType, MAX_RANK};

use crate::status::{EdgepackStatus, Failure, check, guarded, shared, write};

/// Sizes that an edgepack_tensor has room for.
pub const EDGEPACK_MAX_RANK: usize = 8;

const _: () = assert!(MAX_RANK <= EDGEPACK_MAX_RANK);

/// The type of elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgepackType {
    /// int8_t, with scale and zero point.
    I8 = 0,
    /// float.
    F32 = 1,
    /// int32_t.
    I32 = 2,
    /// int64_t.
    I64 = 3,
    /// uint8_t: 0 or 1.
    Bool = 4,
    /// uint8_t.
    U8 = 5,
    /// int16_t.
    I16 = 6,
    /// uint16_t.
    U16 = 7,
    /// uint32_t.
    U32 = 8,
    /// uint64_t.
    U64 = 9,
    /// IEEE 754 binary16.
    F16 = 10,
    /// double.
    F64 = 11,
}

/// Both names of each type.
pub(crate) const TYPES: [(EdgepackType, ElemType); 12] = [
    (EdgepackType::I8, ElemType::I8),
    (EdgepackType::F32, ElemType::F32),
    (EdgepackType::I32, ElemType::I32),
    (EdgepackType::I64, ElemType::I64),
    (EdgepackType::Bool, ElemType::Bool),
    (EdgepackType::U8, ElemType::U8),
    (EdgepackType::I16, ElemType::I16),
    (EdgepackType::U16, ElemType::U16),
    (EdgepackType::U32, ElemType::U32),
    (EdgepackType::U64, ElemType::U64),
    (EdgepackType::F16, ElemType::F16),
    (EdgepackType::F64, ElemType::F64),
];

/// An input or output. The library makes these and may add fields at the end.
#[repr(C)]
pub struct EdgepackTensor {
    /// The model's name of it, in UTF-8.
    pub name: *const c_char,
    /// The type of its elements in the package. An input of int8 is given as float, too, or as pixels.
    pub dtype: EdgepackType,
    /// How many of `sizes` count.
    pub rank: u32,
    /// The model's shape, outermost size first; unused ones are 1.
    pub sizes: [u32; EDGEPACK_MAX_RANK],
    /// Number of elements.
    pub elements: usize,
    /// Bytes of all elements of `dtype`.
    pub bytes: usize,
    /// Of int8: a value is `(element - zero_point) * scale`. Else 0.
    pub scale: f32,
    /// See `scale`.
    pub zero_point: i32,
    /// Of an input: whether it takes raw pixels [N, H, W, C], RGB.
    pub takes_pixels: bool,
    /// Of an output: whether its bytes are the same on every processor.
    pub exact: bool,
}

/// A package that was checked. It may be used by any number of threads at once.
pub struct EdgepackModel {
    pub(crate) model: Arc<Model>,
    inputs: Vec<EdgepackTensor>,
    outputs: Vec<EdgepackTensor>,
    /// What the tensors' names point to.
    _names: Vec<CString>,
}

/// The promise of the documentation: what all threads share of a model may be shared.
const _: () = {
    const fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<Model>()
};

impl EdgepackModel {
    fn new(model: Model) -> Self {
        let mut names = Vec::new();
        let mut tensor = |name: &str, dims: Dims, dtype: ElemType| {
            let name = CString::new(name.replace('\0', "?")).unwrap_or_default();
            let pointer = name.as_ptr();
            names.push(name);
            let mut sizes = [1; EDGEPACK_MAX_RANK];
            sizes[..dims.as_slice().len()].copy_from_slice(dims.as_slice());
            let elements = dims.elems().unwrap_or(0) as usize;
            EdgepackTensor {
                name: pointer,
                dtype: TYPES.iter().find(|(_, of)| *of == dtype).map_or(EdgepackType::I8, |(code, _)| *code),
                rank: dims.as_slice().len() as u32,
                sizes,
                elements,
                bytes: elements * dtype.bytes() as usize,
                scale: 0.0,
                zero_point: 0,
                takes_pixels: false,
                exact: true,
            }
        };
        let package = model.package();
        let inputs = package.inputs().map(|input| EdgepackTensor {
            scale: if input.dtype == ElemType::I8 { input.quant.scale } else { 0.0 },
            zero_point: if input.dtype == ElemType::I8 { input.quant.zero_point.into() } else { 0 },
            takes_pixels: input.pixels.is_some(),
            ..tensor(input.name, input.dims, input.dtype)
        });
        let inputs = inputs.collect();
        let outputs = package.outputs().map(|output| EdgepackTensor {
            scale: output.quant.map_or(0.0, |quant| quant.scale),
            zero_point: output.quant.map_or(0, |quant| quant.zero_point.into()),
            exact: output.exact,
            ..tensor(output.name, output.dims, output.dtype)
        });
        let outputs = outputs.collect();
        Self { model: Arc::new(model), inputs, outputs, _names: names }
    }
}

/// Maps a package into memory and checks all of it. The file must not be changed while a model of it lives: replace
/// it by renaming another one into its place.
///
/// `path` is of the file; `*model` becomes the model, or NULL.
///
/// # Safety
/// `path` is a string that ends with 0; `model` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_open(
    path: *const c_char,
    model: *mut *mut EdgepackModel,
) -> EdgepackStatus {
    guarded(|| {
        check(model, "model")?;
        // SAFETY: the caller's promise, not null and aligned.
        unsafe { model.write(std::ptr::null_mut()) };
        check(path, "path")?;
        // SAFETY: not null; that the string ends is the caller's promise.
        let path = unsafe { CStr::from_ptr(path) };
        let opened = EdgepackModel::new(Model::open(path_of(path)?)?);
        // SAFETY: as above.
        unsafe { write(model, Box::into_raw(Box::new(opened)), "model") }
    })
}

#[cfg(unix)]
fn path_of(path: &CStr) -> Result<&std::path::Path, Failure> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
fn path_of(path: &CStr) -> Result<&std::path::Path, Failure> {
    path.to_str().map(std::path::Path::new).map_err(|_| Failure::NotUtf8("path"))
}

/// Copies a package and checks all of it.
///
/// `bytes` are `size` bytes of a package, at any address; `*model` becomes the model, or NULL.
///
/// # Safety
/// `bytes` is valid for reads of `size` bytes; `model` is valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_from_memory(
    bytes: *const c_void,
    size: usize,
    model: *mut *mut EdgepackModel,
) -> EdgepackStatus {
    guarded(|| {
        check(model, "model")?;
        // SAFETY: the caller's promise, not null and aligned.
        unsafe { model.write(std::ptr::null_mut()) };
        let bytes = bytes.cast::<u8>();
        check(bytes, "bytes")?;
        if size > isize::MAX as usize {
            return Err(Failure::Length { what: "size", needed: isize::MAX as usize, given: size });
        }
        // SAFETY: not null and not longer than memory can be; that it can be read is the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, size) };
        let opened = EdgepackModel::new(Model::from_bytes(bytes)?);
        // SAFETY: as above.
        unsafe { write(model, Box::into_raw(Box::new(opened)), "model") }
    })
}

/// Frees a model; NULL is nothing. Its sessions stay as they are, what edgepack_model_input gave does not.
///
/// # Safety
/// `model` is NULL or of edgepack_model_open or edgepack_model_from_memory, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_free(model: *mut EdgepackModel) {
    guarded(|| {
        if !model.is_null() {
            // SAFETY: it came out of a box, and is given back once: the caller's promise.
            drop(unsafe { Box::from_raw(model) });
        }
        Ok(())
    });
}

/// Number of inputs; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_input_count(model: *const EdgepackModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |model| model.inputs.len())
}

/// Number of outputs; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_output_count(model: *const EdgepackModel) -> usize {
    // SAFETY: the caller's promise.
    unsafe { model.as_ref() }.map_or(0, |model| model.outputs.len())
}

/// An input, as long as the model lives; NULL (see edgepack_last_error) where there is none with this index.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_input(
    model: *const EdgepackModel,
    index: usize,
) -> *const EdgepackTensor {
    // SAFETY: the caller's promise.
    tensor(unsafe { shared(model, "model") }.map(|model| &model.inputs[..]), index)
}

/// An output, as long as the model lives; NULL (see edgepack_last_error) where there is none with this index.
///
/// # Safety
/// `model` is NULL or a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgepack_model_output(
    model: *const EdgepackModel,
    index: usize,
) -> *const EdgepackTensor {
    // SAFETY: the caller's promise.
    tensor(unsafe { shared(model, "model") }.map(|model| &model.outputs[..]), index)
}

fn tensor(tensors: Result<&[EdgepackTensor], Failure>, index: usize) -> *const EdgepackTensor {
    let mut found = null();
    guarded(|| {
        let tensors = tensors?;
        found = tensors.get(index).ok_or(Failure::Index { index, count: tensors.len() })?;
        Ok(())
    });
    found
}
