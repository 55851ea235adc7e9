//! Islands: steps that somebody else runs, where there is somebody.

use edgepack_format::plan::Island;

/// Runs the islands of a package. Whoever does may allocate, and gives other bits on other processors.
pub trait Islands: core::fmt::Debug + Sync {
    /// Runs the island of a section, counted among those of islands: `input` and `output` are laid out as
    /// [`edgepack_format::Island`] says. `false` where it failed.
    fn run(&self, section: u32, input: &[u8], output: &mut [u8]) -> bool;
}

/// A step that is an island, and who runs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundIsland<'p> {
    pub islands: &'p dyn Islands,
    pub island: Island,
}

impl BoundIsland<'_> {
    /// `None` where it failed, or its spans do not fit the arena.
    #[inline(never)]
    pub fn run(&self, arena: &mut [u8]) -> Option<()> {
        let Island { section, input, output, .. } = self.island;
        let (input, output) = crate::arena::pair(arena, input, output)?;
        self.islands.run(section, input, output).then_some(())
    }
}
