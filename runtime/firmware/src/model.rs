//! Running a package from where it lies.

use edgepack_core::format::plan::{ElemType, Quant};
use edgepack_core::format::{All, Hash, Operations, Package};
use edgepack_core::kernels::isa::IsaToken;
use edgepack_core::{InputData, Interpreter, Observer, OutputData};

use crate::error::{Code, ModelError};

/// What runs a sample through a package of one input: [`Session`], or an engine's where there is an operating system.
pub trait Inference {
    /// What goes wrong.
    type Error;

    /// The package's first output for this sample.
    ///
    /// # Errors
    /// A sample of another length or form than the package's input.
    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, Self::Error>;
}

impl<M: Inference + ?Sized> Inference for &mut M {
    type Error = M::Error;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, M::Error> {
        (**self).infer(sample)
    }
}

/// Bytes at a multiple of 64, for statics: the package in flash, the arena.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Aligned<const N: usize>(pub [u8; N]);

impl<const N: usize> Aligned<N> {
    /// Zeros.
    pub const ZEROED: Self = Self([0; N]);

    /// A package that is built into the program, whose hash is this: of another the program does not compile.
    pub const fn package(bytes: [u8; N], hash: &Hash) -> Self {
        assert!(has_hash(&bytes, hash), "the package is not the one that this header was written with");
        Self(bytes)
    }
}

/// Where a package's hash lies in it, which covers all that it holds.
const HASH_AT: usize = 32;

/// Whether a package says that its hash is this. Whether it is, [`Model::from_flash`] finds out.
const fn has_hash(package: &[u8], hash: &Hash) -> bool {
    let mut index = 0;
    while index < hash.len() {
        if HASH_AT + index >= package.len() || package[HASH_AT + index] != hash[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// An input or output of a model, as `edgepack pack --header` writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    /// The model's name of it.
    pub name: &'static str,
    /// The model's shape of it, outermost dimension first.
    pub shape: &'static [u32],
    /// The type of its elements in the arena.
    pub dtype: ElemType,
    /// Scale and zero point, where it is or may be given as int8.
    pub quant: Option<Quant>,
}

impl Tensor {
    /// Elements of the shape: the length of a buffer for it, which may be a static.
    pub const fn elems(&self) -> usize {
        let (mut elems, mut axis) = (1, 0);
        while axis < self.shape.len() {
            elems *= self.shape[axis] as usize;
            axis += 1;
        }
        elems
    }
}

/// A package that was found to be in order, for a program with the operations of `O`. It is not copied, and itself
/// is a few dozen bytes.
#[derive(Clone, Copy, Debug)]
pub struct Model<'p, O = All>(Interpreter<'p, O>);

impl<'p, O: Operations> Model<'p, O> {
    /// Validates a package, which starts at a multiple of 64: structure, hashes, and every step. This happens once;
    /// it reads the package twice, and hashes it.
    ///
    /// # Errors
    /// [`ModelError`] of a [`Code`] below 300.
    pub fn from_flash(package: &'p [u8]) -> Result<Self, ModelError> {
        Self::with_token(package, IsaToken::of_build())
    }

    /// As [`Model::from_flash`], for a processor that `token` vouches for.
    ///
    /// # Errors
    /// As there.
    pub fn with_token(package: &'p [u8], token: IsaToken) -> Result<Self, ModelError> {
        // Of a package that is built in, the compiler would test nothing that it knows: flash may be damaged.
        let package = core::hint::black_box(package);
        Ok(Self(Interpreter::new(Package::parse_for(package)?, token)?))
    }

    /// The same model, if its package is the one with this hash: for a package that is written to flash by
    /// itself, which may be another than the program was built for.
    ///
    /// # Errors
    /// [`Code::OtherPackage`].
    pub fn expect(self, hash: &Hash) -> Result<Self, ModelError> {
        match self.package().hash() == *hash {
            true => Ok(self),
            false => Err(ModelError::new(Code::OtherPackage, 0)),
        }
    }

    /// The package.
    pub fn package(&self) -> Package<'p, O> {
        self.0.package()
    }

    /// The model with an arena to run in, which starts at a multiple of 64 and has at least the
    /// `arena_bytes` of the package's head.
    ///
    /// # Errors
    /// [`Code::ArenaBytes`], [`Code::ArenaAlignment`].
    pub fn session<'a>(&self, arena: &'a mut [u8]) -> Result<Session<'p, 'a, O>, ModelError> {
        let needed = self.package().head().arena_bytes;
        if arena.len() < needed as usize {
            return Err(ModelError::new(Code::ArenaBytes, needed));
        }
        if !arena.as_ptr().addr().is_multiple_of(64) {
            return Err(ModelError::new(Code::ArenaAlignment, 0));
        }
        Ok(Session { model: self.0, arena })
    }
}

/// A model and its arena.
#[derive(Debug)]
pub struct Session<'p, 'a, O = All> {
    model: Interpreter<'p, O>,
    arena: &'a mut [u8],
}

impl<'p, O: Operations> Session<'p, '_, O> {
    /// The package.
    pub fn package(&self) -> Package<'p, O> {
        self.model.package()
    }

    /// Sets an input. Every input is set before each run: a run uses its memory for other things.
    ///
    /// # Errors
    /// [`Code::Index`], or what is wrong with the sample: [`Code::InputLength`], [`Code::NoPixels`],
    /// [`Code::InputType`], [`Code::NoIntegers`], [`Code::Value`].
    pub fn set_input(&mut self, index: usize, sample: InputData<'_>) -> Result<(), ModelError> {
        Ok(self.model.set_input(index, sample, self.arena)?)
    }

    /// Runs every step.
    ///
    /// # Errors
    /// None on a package that was validated, which every model's was.
    pub fn run(&mut self) -> Result<(), ModelError> {
        Ok(self.model.run(self.arena)?)
    }

    /// Runs every step and tells `observer` of each.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_with(&mut self, observer: &mut impl Observer) -> Result<(), ModelError> {
        Ok(self.model.run_with(self.arena, observer)?)
    }

    /// An output, after a run.
    ///
    /// # Errors
    /// [`Code::Index`].
    pub fn output(&self, index: usize) -> Result<OutputData<'_>, ModelError> {
        Ok(self.model.output(index, self.arena)?)
    }

    /// Runs the golden samples of the package: whether kernels and package are right on this processor, bit for bit.
    /// Gives their number.
    ///
    /// # Errors
    /// [`Code::Golden`] where an output is another.
    pub fn selftest(&mut self) -> Result<u32, ModelError> {
        let mut samples = 0;
        for golden in self.package().golden() {
            if self.model.run_golden(golden.input, self.arena)? != golden.output_hash {
                return Err(ModelError::new(Code::Golden, samples));
            }
            samples += 1;
        }
        Ok(samples)
    }
}

impl<O: Operations> Inference for Session<'_, '_, O> {
    type Error = ModelError;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, ModelError> {
        self.set_input(0, sample)?;
        self.run()?;
        self.output(0)
    }
}
