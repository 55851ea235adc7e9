//! What can go wrong between an ONNX file and a package, each with the place and the remedy.

use std::path::PathBuf;

/// Why a model could not be packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model's file is no ONNX model.
    #[error("{} is not a (whole) ONNX model: {reason}", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights that the model keeps in another file are not there.
    #[error(
        "initializer `{tensor}` keeps its data in {}, which cannot be read: {reason}. \
         Put the file beside the model, or save the model again as one file",
        path.display()
    )]
    ExternalData {
        /// The initializer.
        tensor: String,
        /// The file that it names.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Dimensions that are not bound.
    #[error("input `{input}` has free dimensions {dims}: bind them with {flag}")]
    FreeDimension {
        /// The input.
        input: String,
        /// Its shape as the model has it.
        dims: String,
        /// The flag to pass.
        flag: String,
    },
    /// A `--shape` that does not fit the model.
    #[error("--shape {name}: {reason}")]
    Shape {
        /// The input that it names.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A `--fix` that does not fit the model.
    #[error("--fix {name}: {reason}")]
    Fix {
        /// The input that it names.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An operation that edgepack has no steps for.
    #[error("node `{node}`: {op} (opset {opset}) {reason}. {remedy}")]
    Unsupported {
        /// The node.
        node: String,
        /// The operation.
        op: String,
        /// The opset of the model.
        opset: i64,
        /// What is not supported about it.
        reason: String,
        /// What the user can do.
        remedy: String,
    },
    /// The model contradicts itself.
    #[error("node `{node}` ({op}): {reason}")]
    Invalid {
        /// The node.
        node: String,
        /// The operation.
        op: String,
        /// What is wrong.
        reason: String,
    },
    /// Shape inference failed.
    #[error("the shapes of the model do not fit together: {reason}")]
    Analysis {
        /// What tract said.
        reason: String,
    },
    /// The data for calibration cannot be used.
    #[error("calibration: {reason}")]
    Calibration {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The model cannot be quantized.
    #[error("node `{node}`: {reason}")]
    Quantize {
        /// The node.
        node: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No mixture of precisions is good enough.
    #[error("the budget cannot be met: {reason}")]
    Budget {
        /// What the best of them came to, and what to do.
        reason: String,
    },
    /// The package does not fit the device.
    #[error("the package does not fit: {reason}")]
    Limits {
        /// What it needs and what there is, which nodes need most, and what would help.
        reason: String,
    },
    /// The finished package does not hold: a defect of edgepack.
    #[error("the package failed its own check: {reason}. Nothing was written; please report this")]
    SelfTest {
        /// What failed.
        reason: String,
    },
}

/// The result of everything in the packager.
pub type Result<T> = std::result::Result<T, PackError>;
