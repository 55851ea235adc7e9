//! The functions that detection has chosen; on a target without an operating system there is nothing to detect.

/// Functions of one variant, for a processor that has its extensions.
///
/// Without an operating system the extensions are those that the program was compiled for, and there is one variant.
/// It is called directly then: a table of pointers would link every function of it, needed or not, and each step
/// would keep a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<F>(
    #[cfg(not(target_os = "none"))] F,
    #[cfg(target_os = "none")] core::marker::PhantomData<F>,
);

impl<F> Choice<F> {
    /// The functions that were chosen. `choose` is not called where there is one variant.
    #[inline(always)]
    pub fn new(choose: impl FnOnce() -> F) -> Self {
        #[cfg(not(target_os = "none"))]
        return Self(choose());
        #[cfg(target_os = "none")]
        {
            let _ = choose;
            Self(core::marker::PhantomData)
        }
    }

    /// The functions; `only` are those of the one variant.
    #[inline(always)]
    pub fn get<'a>(&'a self, only: &'a F) -> &'a F {
        #[cfg(not(target_os = "none"))]
        {
            let _ = only;
            &self.0
        }
        #[cfg(target_os = "none")]
        only
    }
}
