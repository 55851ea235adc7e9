//! What can go wrong on a device.

use core::fmt;

use edgepack_format::plan::ElemType;

/// Why a package cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// The memory for steps holds fewer than the plan has.
    Steps {
        /// Steps of the plan.
        needed: usize,
        /// Room for steps.
        given: usize,
    },
    /// The memory for packed weights is too small.
    Packed {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        given: usize,
    },
    /// The memory for packed weights does not start at a multiple of 64.
    Alignment,
    /// The plan gives a step less scratch memory than its kernel needs: it was made by an older
    /// edgepack.
    Scratch {
        /// The step.
        step: usize,
    },
    /// A step is an island, and there is nobody to run those.
    Island {
        /// The step.
        step: usize,
    },
    /// A step is to have the packed weights of another one, which has none that fit.
    SameWeights {
        /// The step.
        step: usize,
    },
}

/// Why a run, an input or an output is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The arena is too small.
    Arena {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        given: usize,
    },
    /// The arena does not start at a multiple of 64.
    Alignment,
    /// The package has no such input or output.
    Index {
        /// The index given.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// An input has another number of elements.
    Length {
        /// Elements of the model's input.
        needed: usize,
        /// Elements given.
        given: usize,
    },
    /// Pixels for an input whose package records no preprocessing.
    NoPixels,
    /// Elements of another type than the input's, or of one that is not given by its bytes.
    Type {
        /// The input's.
        needed: ElemType,
        /// The type given.
        given: ElemType,
    },
    /// Integers for an input that takes numbers: give f32.
    NoIntegers,
    /// An element of an input of integers is none, or not one that the package takes.
    Value {
        /// Where it is.
        index: usize,
        /// The least that is taken.
        least: i64,
        /// The greatest that is taken.
        greatest: i64,
    },
    /// An island failed.
    Island {
        /// The step.
        step: usize,
    },
    /// A step does not fit its arena: the package was not validated.
    Step {
        /// The step.
        step: usize,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps { needed, given } => write!(f, "room for {given} steps, the plan has {needed}"),
            Self::Packed { needed, given } => {
                write!(f, "{given} bytes for packed weights, {needed} are needed")
            }
            Self::Alignment => f.write_str("memory for packed weights must start at a multiple of 64"),
            Self::Scratch { step } => write!(
                f,
                "step {step} has too little scratch memory for this build's kernel: pack the model again"
            ),
            Self::Island { step } => write!(
                f,
                "step {step} is an island, which this build does not run: build with `--features tract`, or \
                 pack with --islands never"
            ),
            Self::SameWeights { step } => write!(
                f,
                "step {step} has the weights of an earlier step that does not have such: pack the model again"
            ),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arena { needed, given } => write!(f, "an arena of {given} bytes, {needed} are needed"),
            Self::Alignment => f.write_str("the arena must start at a multiple of 64"),
            Self::Index { index, count } => write!(f, "index {index}, but the package has {count}"),
            Self::Length { needed, given } => {
                write!(f, "{given} elements, but the model's input has {needed}")
            }
            Self::NoPixels => f.write_str(
                "the package takes no pixels: it was calibrated with values; give f32 (or pack with u8 samples)",
            ),
            Self::Type { needed, given } => {
                write!(f, "elements of {}, but the model's input is {}", given.name(), needed.name())
            }
            Self::NoIntegers => f.write_str("the package takes numbers here, no integers: give f32"),
            Self::Value { index, least, greatest } => {
                write!(f, "element {index} is no integer from {least} to {greatest}, which the package takes")
            }
            Self::Island { step } => write!(f, "step {step}, an island, does not take these values"),
            Self::Step { step } => write!(f, "step {step} does not fit the arena"),
        }
    }
}

impl core::error::Error for BindError {}
impl core::error::Error for RunError {}
