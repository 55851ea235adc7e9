//! What a firmware's compiler wants to know of a package: a Rust module and a C header beside it.
//!
//! Both have the sizes that statics need, inputs, outputs, and the package's hash. The Rust module also declares the
//! set of operations, so that a program links the kernels of this model and no others, and builds the package in:
//! if that is packed again without its module, the program does not compile.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use edgepack_format::plan::{Dims, ElemType, Quant};
use edgepack_format::{Operation, OperationSet, Package};
use edgepack_signal::FrontEnd;

/// Writes `NAME.rs` and `NAME.h` beside `NAME.epk`; gives their paths.
///
/// # Errors
/// What the file system says.
pub fn write(path: &Path, package: &Package<'_>) -> io::Result<[PathBuf; 2]> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let [module, header] = [path.with_extension("rs"), path.with_extension("h")];
    std::fs::write(&module, rust(&file, package))?;
    std::fs::write(&header, c(&file, package))?;
    Ok([module, header])
}

/// Elements of the last dimension of the first output: the classes of a classifier.
fn classes(package: &Package<'_>) -> u32 {
    package.outputs().next().and_then(|output| output.dims.as_slice().last().copied()).unwrap_or(0)
}

/// The package's front-end, if it has one that is in order.
pub(crate) fn front_end<'p>(package: &Package<'p>) -> Option<FrontEnd<'p>> {
    FrontEnd::parse(package.signal()?).ok()
}

/// A tensor of the model.
struct Tensor<'a> {
    name: &'a str,
    dims: Dims,
    dtype: ElemType,
    quant: Option<Quant>,
}

fn inputs<'a>(package: &Package<'a>) -> Vec<Tensor<'a>> {
    let quantized = |dtype: ElemType, quant| (!dtype.is_integer() && !dtype.is_raw()).then_some(quant);
    let tensor = |input: edgepack_format::plan::Input<'a>| Tensor {
        name: input.name,
        dims: input.dims,
        dtype: input.dtype,
        quant: quantized(input.dtype, input.quant),
    };
    package.inputs().map(tensor).collect()
}

fn outputs<'a>(package: &Package<'a>) -> Vec<Tensor<'a>> {
    let tensor = |output: edgepack_format::plan::Output<'a>| Tensor {
        name: output.name,
        dims: output.dims,
        dtype: output.dtype,
        quant: output.quant,
    };
    package.outputs().map(tensor).collect()
}

/// The Rust module of a package in a file of this name.
pub fn rust(file: &str, package: &Package<'_>) -> String {
    let head = package.head();
    let set = package.steps().fold(OperationSet::EMPTY, |set, step| set.with(Operation::of(&step.op)));
    let operations: Vec<&str> = set.iter().map(Operation::name).collect();
    let hash: Vec<String> = package.hash().iter().map(|byte| format!("0x{byte:02x}")).collect();
    let tensors = |tensors: &[Tensor<'_>]| -> String {
        let tensor = |tensor: &Tensor<'_>| {
            let quant = match tensor.quant {
                Some(Quant { scale, zero_point }) => {
                    format!("Some(Quant {{ scale: {scale:?}, zero_point: {zero_point} }})")
                }
                None => "None".into(),
            };
            format!(
                "    Tensor {{ name: {:?}, shape: &{:?}, dtype: ElemType::{:?}, quant: {quant} }},\n",
                tensor.name,
                tensor.dims.as_slice(),
                tensor.dtype
            )
        };
        tensors.iter().map(tensor).collect()
    };
    format!(
        "// Written by edgepack {version} with {file}, which lies beside it: pack again instead of editing.
#![allow(dead_code)]

use edgepack_firmware::{{Aligned, ElemType, Quant, Tensor}};

edgepack_firmware::operations!(
    /// What the steps of the package do: the program has no other operations.
    pub Operations: {operations}
);

/// The package as a model of these operations.
pub type Model = edgepack_firmware::Model<'static, Operations>;

/// Memory for one inference.
pub type Arena = Aligned<ARENA_BYTES>;

/// The package, in flash. If the file is another than this module was written with, it does not compile.
pub static PACKAGE: Aligned<PACKAGE_BYTES> = Aligned::package(*include_bytes!({file:?}), &HASH);

/// BLAKE3 of the package, as [`Model::expect`] wants it.
pub const HASH: [u8; 32] = [
    {hash}
];

pub const PACKAGE_BYTES: usize = {bytes};
pub const ARENA_BYTES: usize = {arena};
pub const STEPS: usize = {steps};
/// Multiply-adds of one inference.
pub const MACS: u64 = {macs};
/// Elements of the last dimension of the first output.
pub const CLASSES: usize = {classes};
/// f32 that a stream by the package's front-end needs of memory; 0 where it has none.
pub const SIGNAL_MEMORY_ELEMS: usize = {signal};

pub const INPUTS: &[Tensor] = &[
{inputs}];

pub const OUTPUTS: &[Tensor] = &[
{outputs}];
",
        version = env!("CARGO_PKG_VERSION"),
        operations = operations.join(", "),
        hash = hash.chunks(16).map(|line| line.join(", ")).collect::<Vec<_>>().join(",\n    "),
        bytes = package.bytes().len(),
        arena = head.arena_bytes,
        steps = head.steps,
        macs = head.macs,
        classes = classes(package),
        signal = front_end(package).map_or(0, |front_end| front_end.memory_elems()),
        inputs = tensors(&inputs(package)),
        outputs = tensors(&outputs(package)),
    )
}

/// The C header of a package in a file of this name. Its macros begin with the name in capitals.
pub fn c(file: &str, package: &Package<'_>) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let in_names = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut prefix: String = stem.chars().map(in_names).collect();
    if !prefix.starts_with(|c: char| c.is_ascii_alphabetic()) {
        prefix.insert_str(0, "MODEL_");
    }
    let head = package.head();
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "/* Written by edgepack {version} with {file}, which lies beside it: pack again instead of editing. */
#ifndef {prefix}_H
#define {prefix}_H

/* BLAKE3 of the package: the bytes from 32 to 63 of the file. */
#define {prefix}_HASH {{ {hash} }}
#define {prefix}_PACKAGE_BYTES {bytes}
#define {prefix}_ARENA_BYTES {arena}
/* Of the package and of the arena. */
#define {prefix}_ALIGNMENT 64
#define {prefix}_STEPS {steps}
/* Elements of the last dimension of the first output. */
#define {prefix}_CLASSES {classes}
",
        hash = package.hash().map(|byte| format!("0x{byte:02x}")).join(", "),
        bytes = package.bytes().len(),
        arena = head.arena_bytes,
        steps = head.steps,
        classes = classes(package),
    );
    for (kind, tensors) in [("INPUT", inputs(package)), ("OUTPUT", outputs(package))] {
        let _ = writeln!(text, "\n#define {prefix}_{kind}S {}", tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            let name = format!("{prefix}_{kind}{index}");
            let sizes: Vec<String> = tensor.dims.as_slice().iter().map(u32::to_string).collect();
            let dtype = tensor.dtype.name();
            let _ = writeln!(text, "/* {:?}, {dtype} */", tensor.name.replace("*/", "* /"));
            let _ = writeln!(text, "#define {name}_SHAPE {{ {} }}", sizes.join(", "));
            let _ = writeln!(text, "#define {name}_ELEMS {}", tensor.dims.elems().unwrap_or(0));
            if let Some(Quant { scale, zero_point }) = tensor.quant {
                let _ = writeln!(text, "#define {name}_SCALE {scale:e}f");
                let _ = writeln!(text, "#define {name}_ZERO_POINT ({zero_point})");
            }
        }
    }
    text.push_str("\n#endif\n");
    text
}
