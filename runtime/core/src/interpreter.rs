//! Running a package without memory for its steps: each is read from the package, bound and run, one after
//! the other.
//!
//! [`crate::bind`] takes a few hundred bytes for each step, once, which is nothing to a workstation and much to a
//! microcontroller. Here there is one step at a time, on the stack. What that costs at each run is reading the
//! plan and choosing the kernels, some thousand instructions a step.

use edgepack_format::{All, GoldenInput, Hash, Operations, Package};
use edgepack_kernels::conv::{ConvShape, HAS_LAYOUTS, Layout, Weights};
use edgepack_kernels::isa::IsaToken;
use edgepack_kernels::variants::BoundVariant;

use crate::bind::{Binder, BoundWeights, Places, packs_in};
use crate::error::{BindError, RunError};
use crate::io::{InputData, OutputData};
use crate::parallel::Team;
use crate::run::{Observer, check_arena, golden, run_step};

/// A package that runs from where it lies, by a program that has the operations of `O`. Itself it is a few
/// dozen bytes.
///
/// Weights are not packed: a step whose kernel wants packed ones has them of the package's section for it,
/// or runs by a scalar kernel.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter<'p, O = All> {
    package: Package<'p, O>,
    token: IsaToken,
    section: Option<Section<'p>>,
}

/// The one prepacked section that is used.
#[derive(Clone, Copy, Debug)]
struct Section<'p> {
    layout: &'static Layout,
    bytes: &'p [u8],
}

impl<'p, O: Operations> Interpreter<'p, O> {
    /// An interpreter of a package on a processor that `token` vouches for. Every step is bound once, so that
    /// none can fail to be later.
    ///
    /// # Errors
    /// [`BindError`]: the plan is older than the kernels, or a step is an island.
    pub fn new(package: Package<'p, O>, token: IsaToken) -> Result<Self, BindError> {
        let mut layouts = HAS_LAYOUTS.then(Layout::all).into_iter().flatten();
        let section = layouts.find_map(|layout| {
            let bytes = package.prepacked(layout.key)?;
            let needed: usize = package.steps().filter_map(|step| packs_in(&step.op, layout)).sum();
            (needed == bytes.len()).then_some(Section { layout, bytes })
        });
        let interpreter = Self { package, token, section };
        let mut binder = interpreter.binder();
        for (index, step) in package.steps().enumerate() {
            binder.step(index, &step)?;
        }
        Ok(interpreter)
    }

    /// The package.
    pub fn package(&self) -> Package<'p, O> {
        self.package
    }

    /// Runs every step. Inputs must have been set since the last run: their memory is used again.
    ///
    /// # Errors
    /// [`RunError::Arena`], [`RunError::Alignment`].
    pub fn run(&self, arena: &mut [u8]) -> Result<(), RunError> {
        self.run_with(arena, &mut ())
    }

    /// Runs every step and tells `observer` of each.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run_with(&self, arena: &mut [u8], observer: &mut impl Observer) -> Result<(), RunError> {
        check_arena(&self.package, arena)?;
        let mut binder = self.binder();
        for (index, step) in self.package.steps().enumerate() {
            observer.before(index);
            let bound = binder.step(index, &step).map_err(|_| RunError::Step { step: index })?;
            run_step::<O>(&bound, &[], arena, &mut Team::new(&mut (), &mut [], 0))
                .ok_or(bound.failed(index))?;
            observer.after(index);
            observer.look(index, arena);
        }
        Ok(())
    }

    /// Runs a golden sample; gives the hash of the outputs that are exact, which must be the sample's.
    ///
    /// # Errors
    /// As [`Interpreter::run`].
    pub fn run_golden(&self, input: GoldenInput<'_>, arena: &mut [u8]) -> Result<Hash, RunError> {
        golden(&self.package, input, arena, |arena| self.run(arena))
    }

    /// Puts an input into the arena.
    ///
    /// # Errors
    /// An index, form, length or value that the package does not take, or an arena that does not fit.
    pub fn set_input(&self, index: usize, data: InputData<'_>, arena: &mut [u8]) -> Result<(), RunError> {
        crate::io::set_input(&self.package, Some(&BoundVariant::new(self.token)), index, data, arena)
    }

    /// An output in the arena, after a run.
    ///
    /// # Errors
    /// An index that the package does not have, or an arena that does not fit.
    pub fn output<'a>(&self, index: usize, arena: &'a [u8]) -> Result<OutputData<'a>, RunError> {
        crate::io::output(&self.package, index, arena)
    }

    fn binder(&self) -> Binder<'p, O, Carried<'p, O>> {
        let places = Carried { package: self.package, section: self.section, used: 0 };
        Binder { package: self.package, token: self.token, places, islands: None }
    }
}

/// Weights as they lie in the package.
struct Carried<'p, O> {
    package: Package<'p, O>,
    section: Option<Section<'p>>,
    /// Bytes of the section that belong to steps before.
    used: usize,
}

impl<'p, O: Operations> Places<'p> for Carried<'p, O> {
    fn has(&self, layout: &'static Layout) -> bool {
        HAS_LAYOUTS && self.section.is_some_and(|section| section.layout == layout)
    }

    fn next(
        &mut self,
        op: &edgepack_format::plan::Op,
        layout: Option<&'static Layout>,
        _: &ConvShape,
        canonical: Weights<'p>,
    ) -> Result<BoundWeights<'p>, BindError> {
        let Some(section) = self.section.filter(|_| HAS_LAYOUTS) else {
            return Ok(BoundWeights::Canonical(canonical));
        };
        let start = self.used;
        self.used += packs_in(op, section.layout).unwrap_or(0);
        match (layout, section.bytes.get(start..self.used)) {
            (Some(_), Some(blob)) => Ok(BoundWeights::Section(blob)),
            _ => Ok(BoundWeights::Canonical(canonical)),
        }
    }

    /// Goes through the plan up to that step again: a list of places would need memory.
    fn earlier(&self, step: usize, layout: &'static Layout, shape: &ConvShape) -> Option<BoundWeights<'p>> {
        let section = self.section.filter(|section| HAS_LAYOUTS && section.layout == layout)?;
        let mut steps = self.package.steps();
        let start = steps.by_ref().take(step).filter_map(|step| packs_in(&step.op, layout)).sum();
        let bytes =
            packs_in(&steps.next()?.op, layout).filter(|&bytes| bytes == layout.packed_bytes(shape))?;
        Some(BoundWeights::Section(section.bytes.get(start..start + bytes)?))
    }
}
