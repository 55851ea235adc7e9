//! Which processors a measurement runs on.

use crate::Error;

/// The calling thread is bound to some processors, and so is every thread that it starts; when this goes, it is
/// bound as before.
#[derive(Debug)]
pub(super) struct Pinned {
    before: Vec<usize>,
}

impl Pinned {
    /// Binds to these processors, by the numbers that the system gives them.
    ///
    /// # Errors
    /// [`Error::Pin`] where there is no such processor, or this process may not use it.
    pub fn to(cores: &[usize]) -> Result<Pinned, Error> {
        let before = allowed();
        let refused = || Error::Pin { cores: cores.to_vec(), allowed: before.clone() };
        // The kernel takes what is there of a set, and says nothing of the rest.
        if cores.is_empty() || !cores.iter().all(|core| before.contains(core)) || !bind(cores) {
            return Err(refused());
        }
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before, so that it is again.
        bind(&self.before);
    }
}

/// The processors that the calling thread may run on; none where the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn allowed() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` is an array of integers, for which zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is of the size that is given with it; 0 is the calling thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0;
    // SAFETY: `CPU_ISSET` reads one bit of the set, and the range is that of its bits.
    let is_in = |&core: &usize| !failed && unsafe { libc::CPU_ISSET(core, &set) };
    (0..MOST).filter(is_in).collect()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind(cores: &[usize]) -> bool {
    // SAFETY: a `cpu_set_t` is an array of integers, for which zeros are a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores.iter().filter(|&&core| core < MOST) {
        // SAFETY: `CPU_SET` sets one bit of the set, which has it: the filter says so.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set is of the size that is given with it; 0 is the calling thread.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0 }
}

/// Bits of a set.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MOST: usize = 8 * size_of::<libc::cpu_set_t>();

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind(_cores: &[usize]) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pinning_holds_for_new_threads_and_ends() {
        let before = allowed();
        let last = *before.last().unwrap();
        let pinned = Pinned::to(&[last]).unwrap();
        assert_eq!(allowed(), [last]);
        assert_eq!(std::thread::spawn(allowed).join().unwrap(), [last]);
        drop(pinned);
        assert_eq!(allowed(), before);
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        for cores in [&[100_000][..], &[]] {
            let error = Pinned::to(cores).unwrap_err().to_string();
            assert!(error.contains("--pin") && error.contains("may run on"), "{error}");
        }
    }
}
