//! Errors that a program without a console can report: a number for the cause, and one for the place.

use core::fmt;

use edgepack_core::format::{self, Place};
use edgepack_core::{BindError, RunError};

/// Why a package does not run here. Formatting it is possible, and links nothing where nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelError {
    /// The cause.
    pub code: Code,
    /// Where, or how many: what the row of [`Code`] says, else 0.
    pub at: u32,
}

macro_rules! codes {
    ($($number:literal $name:ident $text:literal, $at:literal;)*) => {
        /// Causes. A number never changes what it means.
        ///
        /// | code | cause | `at` |
        /// |--:|---|---|
        $(#[doc = concat!("| ", $number, " | ", $text, " | ", $at, " |")])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Code {
            $(
                #[doc = concat!($text, ".")]
                $name = $number,
            )*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it means, in words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    101 NotAPackage "the bytes are no package", "";
    102 Version "the package has a format that this program does not read", "its format";
    103 Length "the package is shorter or longer than it says", "bytes that are there";
    104 PackageAlignment "the package does not lie at a multiple of 64", "";
    105 DamagedHeader "the header or the table of sections is damaged", "";
    106 DamagedSection "a section is damaged", "section";
    107 MalformedHeader "the header contradicts itself", "";
    108 MalformedSection "an entry of the table of sections contradicts itself", "section";
    109 MalformedHead "the head of the plan contradicts itself", "";
    110 MalformedInput "an input of the plan is not possible", "input";
    111 MalformedOutput "an output of the plan is not possible", "output";
    112 MalformedStep "a step of the plan is not possible", "step";
    113 MalformedGolden "a golden sample is not possible", "sample";
    114 MissingSection "the plan or the weights are missing", "";
    115 Operation "a step does what this program was built without", "step";
    116 OtherPackage "the package is not the one that this program was built for", "";
    201 Scratch "a step has too little scratch memory for its kernel: the package is older than this program", "step";
    202 Island "a step is an island, which needs tract", "step";
    203 SameWeights "a step has the packed weights of an earlier step that has none", "step";
    299 Bind "a step cannot be bound", "";
    301 ArenaBytes "the arena is too small", "bytes that are needed";
    302 ArenaAlignment "the arena does not lie at a multiple of 64", "";
    303 Index "the package has no such input or output", "the index";
    304 InputLength "the input has another number of elements", "elements that are needed";
    305 NoPixels "the package takes no pixels", "";
    306 InputType "the input has elements of another type", "";
    307 NoIntegers "the input takes numbers, no integers", "";
    308 Value "an element of the input is not one that the package takes", "element";
    309 IslandRun "an island has failed", "step";
    310 Step "a step does not fit the arena", "step";
    399 Run "the package cannot be run", "";
    401 Golden "a golden sample gave another output than on the workstation", "sample";
}

impl ModelError {
    pub(crate) const fn new(code: Code, at: u32) -> Self {
        Self { code, at }
    }

    /// The number of the cause: [`Code`] as it is.
    pub const fn code(self) -> u16 {
        self.code as u16
    }
}

impl From<format::Error> for ModelError {
    fn from(error: format::Error) -> Self {
        use format::Error;
        let (code, at) = match error {
            Error::NotAPackage => (Code::NotAPackage, 0),
            Error::Version { found } => (Code::Version, found),
            Error::Length { found, .. } => (Code::Length, found as u32),
            Error::Alignment => (Code::PackageAlignment, 0),
            Error::Damaged(Place::Section(index)) => (Code::DamagedSection, index),
            Error::Damaged(_) => (Code::DamagedHeader, 0),
            Error::Malformed { place, .. } => match place {
                Place::Header => (Code::MalformedHeader, 0),
                Place::Section(index) => (Code::MalformedSection, index),
                Place::Head => (Code::MalformedHead, 0),
                Place::Input(index) => (Code::MalformedInput, index),
                Place::Output(index) => (Code::MalformedOutput, index),
                Place::Step(index) => (Code::MalformedStep, index),
                Place::Golden(index) => (Code::MalformedGolden, index),
            },
            Error::Missing { .. } => (Code::MissingSection, 0),
            Error::Operation { step, .. } => (Code::Operation, step),
            _ => (Code::NotAPackage, 0),
        };
        Self { code, at }
    }
}

impl From<BindError> for ModelError {
    fn from(error: BindError) -> Self {
        let (code, at) = match error {
            BindError::Scratch { step } => (Code::Scratch, step),
            BindError::Island { step } => (Code::Island, step),
            BindError::SameWeights { step } => (Code::SameWeights, step),
            _ => (Code::Bind, 0),
        };
        Self { code, at: at as u32 }
    }
}

impl From<RunError> for ModelError {
    fn from(error: RunError) -> Self {
        let (code, at) = match error {
            RunError::Arena { needed, .. } => (Code::ArenaBytes, needed),
            RunError::Alignment => (Code::ArenaAlignment, 0),
            RunError::Index { index, .. } => (Code::Index, index),
            RunError::Length { needed, .. } => (Code::InputLength, needed),
            RunError::NoPixels => (Code::NoPixels, 0),
            RunError::Type { .. } => (Code::InputType, 0),
            RunError::NoIntegers => (Code::NoIntegers, 0),
            RunError::Value { index, .. } => (Code::Value, index),
            RunError::Island { step } => (Code::IslandRun, step),
            RunError::Step { step } => (Code::Step, step),
            _ => (Code::Run, 0),
        };
        Self { code, at: at as u32 }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {} ({})", self.code(), self.code.text(), self.at)
    }
}

impl core::error::Error for ModelError {}
