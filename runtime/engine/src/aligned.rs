//! Memory at multiples of 64 bytes.

use std::ops::Range;

use memmap2::MmapMut;

/// Where memory of ours starts: at a cache line.
const ALIGN: usize = 64;

/// A large page, of x86-64, and of AArch64 and ARMv7 with small pages of 4 KiB.
const PAGE_BYTES: usize = 2 << 20;

/// From here on memory is pages of its own, large ones where the system has them.
const LARGE_BYTES: usize = PAGE_BYTES / 2;

/// Zeroed bytes that start at a multiple of 64.
#[derive(Debug)]
pub struct AlignedBytes(Memory);

enum Memory {
    /// Somewhat longer, so that such a start is in it.
    Small(Vec<u8>, Range<usize>),
    /// Whole pages, a part of which is used.
    Large(MmapMut, usize),
}

impl AlignedBytes {
    /// `len` zeros. Large ones cost nothing before they are used.
    pub fn zeroed(len: usize) -> Self {
        let large = (len >= LARGE_BYTES).then(|| pages(len)).flatten();
        Self(large.map_or_else(|| small(len), |pages| Memory::Large(pages, len)))
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Memory::Small(memory, bytes) => &memory[bytes.clone()],
            Memory::Large(pages, len) => &pages[..*len],
        }
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Small(memory, bytes) => &mut memory[bytes.clone()],
            Memory::Large(pages, len) => &mut pages[..*len],
        }
    }
}

fn small(len: usize) -> Memory {
    let memory = vec![0; len + ALIGN - 1];
    let start = memory.as_ptr().addr().wrapping_neg() % ALIGN;
    Memory::Small(memory, start..start + len)
}

/// Pages of the system's, which are zeros and start far above a multiple of 64. A page of 2 MiB comes with
/// one fault instead of 512, which take longer than packing the weights into them does.
fn pages(len: usize) -> Option<MmapMut> {
    // The system gives a large page only where all of it is asked for.
    let whole = len.next_multiple_of(PAGE_BYTES);
    let pages = MmapMut::map_anon(if whole - len <= PAGE_BYTES / 2 { whole } else { len }).ok()?;
    #[cfg(target_os = "linux")]
    {
        // A wish: systems without large pages have small ones.
        let _ = pages.advise(memmap2::Advice::HugePage);
    }
    pages.as_ptr().addr().is_multiple_of(ALIGN).then_some(pages)
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Small(_, bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Large(_, len) => write!(f, "{len} bytes of pages"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_and_aligned() {
        for len in [0, 1, 63, 64, 65, 1000, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let copy = AlignedBytes::copy_of(&bytes);
            assert_eq!(copy.as_slice(), bytes);
            for memory in [copy, AlignedBytes::zeroed(len)] {
                assert!(memory.as_slice().as_ptr().addr().is_multiple_of(64));
            }
            let zeroed = AlignedBytes::zeroed(len);
            assert!(zeroed.as_slice().len() == len && zeroed.as_slice().iter().all(|&byte| byte == 0));
        }
    }
}
