//! Running a package.

use std::time::Instant;

use edgepack_core::format::{GoldenInput, Hash, Package};
use edgepack_core::kernels::isa::{IsaSet, IsaToken};
use edgepack_core::{
    BoundStep, InputData, Islands, MAX_THREADS, Observer, OutputData, Parallel, Program, RunError, Team,
    bind_with_islands, requirements,
};

use crate::pool::Pool;
use crate::{AlignedBytes, Error, isa};

/// How a session runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// Uses no more than these instruction sets; `None` is what [`isa::detect`] finds.
    pub isa: Option<IsaSet>,
    /// Threads that share a run, the caller's included: at most 16; 0 and 1 are one. More than there are
    /// processors make a run slower: see [`check_threads`]. The outputs are the same for any number.
    pub threads: usize,
}

/// Whether this device has processors for so many threads.
///
/// # Errors
/// [`Error::Threads`] where it has fewer.
pub fn check_threads(threads: usize) -> Result<(), Error> {
    let most = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    if threads > most { Err(Error::Threads { threads, most }) } else { Ok(()) }
}

/// Everything that running a package needs: memory, and threads where there are several. Nothing is
/// allocated after [`crate::Model::session`], but by islands.
#[derive(Debug)]
pub struct Session<'m> {
    package: Package<'m>,
    token: IsaToken,
    steps: Vec<Option<BoundStep<'m>>>,
    packed: AlignedBytes,
    arena: AlignedBytes,
    pool: Pool,
    /// Of all threads but the caller's.
    scratch: AlignedBytes,
    thread_scratch_bytes: usize,
}

impl<'m> Session<'m> {
    pub(crate) fn new(
        package: Package<'m>,
        options: &SessionOptions,
        islands: Option<&'m dyn Islands>,
    ) -> Result<Self, Error> {
        let threads = options.threads.max(1);
        if threads > MAX_THREADS {
            return Err(Error::Threads { threads, most: MAX_THREADS });
        }
        let token = match options.isa {
            Some(set) => isa::processor().lowered_to(set),
            None => isa::detect()?,
        };
        let needed = requirements(&package, token);
        let mut packed = AlignedBytes::zeroed(needed.packed_bytes);
        let mut steps = vec![None; needed.steps];
        bind_with_islands(&package, token, &mut steps, packed.as_mut_slice(), islands)?;
        Ok(Self {
            package,
            token,
            steps,
            packed,
            arena: AlignedBytes::zeroed(needed.arena_bytes),
            pool: Pool::new(threads).map_err(Error::Spawn)?,
            scratch: AlignedBytes::zeroed((threads - 1) * needed.thread_scratch_bytes),
            thread_scratch_bytes: needed.thread_scratch_bytes,
        })
    }

    /// Threads that share a run.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The instruction sets in use.
    pub fn isa(&self) -> IsaSet {
        self.token.set()
    }

    /// The package.
    pub fn package(&self) -> Package<'m> {
        self.package
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.as_slice().len()
    }

    /// Bytes of weights that were packed when the session was made.
    pub fn packed_bytes(&self) -> usize {
        self.packed.as_slice().len()
    }

    /// What came of a run, with what tract said of an island that failed.
    fn ran<T>(&self, done: Result<T, RunError>) -> Result<T, Error> {
        #[cfg(feature = "tract")]
        if let Err(RunError::Island { step }) = done {
            let step = self.package.steps().nth(step).map_or(String::new(), |step| step.name.into());
            return Err(Error::IslandRun { step, reason: crate::islands::last_error() });
        }
        Ok(done?)
    }

    fn parts(&mut self) -> (Program<'m, '_>, &mut [u8], Team<'_, Pool>) {
        let program = Program { package: self.package, steps: &self.steps, packed: self.packed.as_slice() };
        let team = Team::new(&mut self.pool, self.scratch.as_mut_slice(), self.thread_scratch_bytes);
        (program, self.arena.as_mut_slice(), team)
    }

    /// Sets an input. Every input is set before each run: a run uses its memory for other things.
    ///
    /// # Errors
    /// An index, form or length that the package does not have.
    pub fn set_input(&mut self, index: usize, data: InputData<'_>) -> Result<(), Error> {
        let (program, arena, _) = self.parts();
        Ok(program.set_input(index, data, arena)?)
    }

    /// Runs the package.
    ///
    /// # Errors
    /// None on a validated package; [`Error::IslandRun`] where an island does not take these values.
    pub fn run(&mut self) -> Result<(), Error> {
        let (program, arena, mut team) = self.parts();
        let done = program.run_with(arena, &mut (), &mut team);
        self.ran(done)
    }

    /// Runs the package and writes each step's time to `nanoseconds`, which has one place a step.
    ///
    /// # Errors
    /// None on a validated package; [`Error::IslandRun`] where an island does not take these values.
    pub fn run_profiled(&mut self, nanoseconds: &mut [u64]) -> Result<(), Error> {
        struct Clock<'a> {
            nanoseconds: &'a mut [u64],
            start: Instant,
        }
        impl Observer for Clock<'_> {
            fn before(&mut self, _step: usize) {
                self.start = Instant::now();
            }
            fn after(&mut self, step: usize) {
                if let Some(time) = self.nanoseconds.get_mut(step) {
                    *time = self.start.elapsed().as_nanos() as u64;
                }
            }
        }
        let (program, arena, mut team) = self.parts();
        let done = program.run_with(arena, &mut Clock { nanoseconds, start: Instant::now() }, &mut team);
        self.ran(done)
    }

    /// Runs the package and shows `look` the arena after every step, with the step's number: what each has
    /// computed, for those who hold it against a reference.
    ///
    /// # Errors
    /// None on a validated package; [`Error::IslandRun`] where an island does not take these values.
    pub fn run_observed(&mut self, look: impl FnMut(usize, &[u8])) -> Result<(), Error> {
        struct Look<F>(F);
        impl<F: FnMut(usize, &[u8])> Observer for Look<F> {
            fn before(&mut self, _step: usize) {}
            fn after(&mut self, _step: usize) {}
            fn look(&mut self, step: usize, arena: &[u8]) {
                (self.0)(step, arena);
            }
        }
        let (program, arena, mut team) = self.parts();
        let done = program.run_with(arena, &mut Look(look), &mut team);
        self.ran(done)
    }

    /// An output of the last run.
    ///
    /// # Errors
    /// An index that the package does not have.
    pub fn output(&self, index: usize) -> Result<OutputData<'_>, Error> {
        let program = Program { package: self.package, steps: &self.steps, packed: self.packed.as_slice() };
        Ok(program.output(index, self.arena.as_slice())?)
    }

    /// The int8 form of an input, as [`Session::set_input`] has put it into the arena; valid until the
    /// next run.
    pub fn input_bytes(&self, index: usize) -> &[u8] {
        let buffer = self.package.inputs().nth(index).map(|input| input.buffer);
        let bounds = buffer.map_or(0..0, |b| b.offset as usize..b.offset as usize + b.bytes as usize);
        self.arena.as_slice().get(bounds).unwrap_or(&[])
    }

    /// Runs a sample in its int8 form; gives the BLAKE3 hash of all outputs that are exact.
    ///
    /// # Errors
    /// A stored sample of another length.
    pub fn run_golden(&mut self, input: GoldenInput<'_>) -> Result<Hash, Error> {
        let (program, arena, mut team) = self.parts();
        let done = program.run_golden_with(input, arena, &mut team);
        self.ran(done)
    }

    /// Runs the golden samples and compares the hashes of their outputs; gives the number of samples.
    ///
    /// # Errors
    /// [`Error::Golden`] where they differ.
    pub fn selftest(&mut self) -> Result<usize, Error> {
        let (package, isa) = (self.package, self.token.set());
        let mut samples = 0;
        for (index, golden) in package.golden().enumerate() {
            if self.run_golden(golden.input)? != golden.output_hash {
                return Err(Error::Golden { index, isa: isa.to_string() });
            }
            samples += 1;
        }
        Ok(samples)
    }
}
