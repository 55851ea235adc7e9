//! Running a package.

use core::fmt;

use edgepack_core::format::{self, Package};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{BindError, BoundStep, InputData, OutputData, Program, Requirements, RunError, bind};

/// What runs a sample through a package of one input: [`Runner`], or an engine's session where there is an operating
/// system.
pub trait Inference {
    /// What goes wrong.
    type Error;

    /// The package's first output for this sample.
    ///
    /// # Errors
    /// A sample of another length or form than the package's input.
    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, Self::Error>;
}

/// Bytes at a multiple of 64, for statics: the package in flash (`Aligned(*include_bytes!("model.epk"))`), the arena.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Aligned<const N: usize>(pub [u8; N]);

impl<const N: usize> Aligned<N> {
    /// Zeros.
    pub const ZEROED: Self = Self([0; N]);
}

/// What a package runs in. [`Runner::requirements`] has the sizes.
#[derive(Debug)]
pub struct Memory<'m, 'a> {
    /// A place for each step.
    pub steps: &'a mut [Option<BoundStep<'m>>],
    /// For packed weights, at a multiple of 64. Empty for scalar kernels.
    pub packed: &'a mut [u8],
    /// The arena, at a multiple of 64.
    pub arena: &'a mut [u8],
}

/// A package that runs in memory of its owner, without an operating system.
#[derive(Debug)]
pub struct Runner<'m, 'a> {
    package: Package<'m>,
    steps: &'a [Option<BoundStep<'m>>],
    packed: &'a [u8],
    arena: &'a mut [u8],
}

impl<'m, 'a> Runner<'m, 'a> {
    /// What a package needs of memory.
    ///
    /// # Errors
    /// [`LoadError::Format`]: these bytes are no package.
    pub fn requirements(package: &[u8], token: IsaToken) -> Result<Requirements, LoadError> {
        let package = Package::parse(package).map_err(LoadError::Format)?;
        Ok(edgepack_core::requirements(&package, token))
    }

    /// Validates a package, which starts at a multiple of 64, and binds it to kernels. It is not copied.
    ///
    /// # Errors
    /// [`LoadError`]: what is wrong with the package, or too small of the memory.
    pub fn load(package: &'m [u8], token: IsaToken, memory: Memory<'m, 'a>) -> Result<Self, LoadError> {
        let package = Package::parse(package).map_err(LoadError::Format)?;
        let Memory { steps, packed, arena } = memory;
        bind(&package, token, steps, packed).map_err(LoadError::Bind)?;
        let needed = package.head().arena_bytes as usize;
        if arena.len() < needed {
            return Err(LoadError::Run(RunError::Arena { needed, given: arena.len() }));
        }
        if !arena.as_ptr().addr().is_multiple_of(64) {
            return Err(LoadError::Run(RunError::Alignment));
        }
        Ok(Self { package, steps, packed, arena })
    }

    /// The package.
    pub fn package(&self) -> Package<'m> {
        self.package
    }

    /// Runs the golden samples of the package: whether kernels and package are right on this processor, bit for bit.
    /// Gives their number.
    ///
    /// # Errors
    /// [`LoadError::Golden`] where an output is another.
    pub fn selftest(&mut self) -> Result<usize, LoadError> {
        let mut samples = 0;
        for (index, golden) in self.package.golden().enumerate() {
            let hash = self.program().run_golden(golden.input, self.arena).map_err(LoadError::Run)?;
            if hash != golden.output_hash {
                return Err(LoadError::Golden { index });
            }
            samples += 1;
        }
        Ok(samples)
    }

    fn program(&self) -> Program<'m, 'a> {
        Program { package: self.package, steps: self.steps, packed: self.packed }
    }
}

impl Inference for Runner<'_, '_> {
    type Error = RunError;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, RunError> {
        let program = self.program();
        program.set_input(0, sample, self.arena)?;
        program.run(self.arena)?;
        program.output(0, self.arena)
    }
}

/// Why a package does not run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// It is no package.
    Format(format::Error),
    /// It does not fit the memory given, or is older than the kernels.
    Bind(BindError),
    /// The arena is too small or not at a multiple of 64.
    Run(RunError),
    /// A golden sample gave another output than on the workstation.
    Golden {
        /// Which.
        index: usize,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
            Self::Golden { index } => {
                write!(f, "golden sample {index} has other outputs than on the workstation")
            }
        }
    }
}

impl core::error::Error for LoadError {}
