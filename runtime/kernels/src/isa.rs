//! Instruction sets: plain data ([`IsaSet`]) for selection, and a token ([`IsaToken`]) that proves
//! that the running processor has them.

use core::fmt;

/// A set of instruction-set extensions that kernels are written for. Plain data: it describes a
/// processor, which need not be this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct IsaSet(u32);

/// One extension: its set (with everything that it implies) and its name.
struct Extension {
    name: &'static str,
    bit: u32,
    implies: u32,
}

const EXTENSIONS: &[Extension] = &[
    Extension { name: "avx2", bit: 1 << 0, implies: 0 },
    Extension { name: "avx512vnni", bit: 1 << 1, implies: 1 << 0 },
    Extension { name: "neon", bit: 1 << 2, implies: 0 },
    Extension { name: "dotprod", bit: 1 << 3, implies: 1 << 2 },
    Extension { name: "i8mm", bit: 1 << 4, implies: (1 << 2) | (1 << 3) },
    Extension { name: "neon32", bit: 1 << 5, implies: 0 },
    Extension { name: "avx512vbmi", bit: 1 << 6, implies: (1 << 1) | (1 << 0) },
    Extension { name: "avxvnni", bit: 1 << 7, implies: 1 << 0 },
    Extension { name: "dsp", bit: 1 << 8, implies: 0 },
];

impl IsaSet {
    /// No extension: the scalar rows, which every processor runs.
    pub const SCALAR: Self = Self(0);
    /// x86-64 AVX2.
    pub const AVX2: Self = Self(1 << 0);
    /// x86-64 AVX-VNNI: `vpdpbusd` without AVX-512.
    pub const AVX_VNNI: Self = Self((1 << 7) | (1 << 0));
    /// x86-64 AVX-512 F, BW, VL and VNNI.
    pub const AVX512_VNNI: Self = Self((1 << 1) | (1 << 0));
    /// x86-64 AVX-512 VBMI beside them (Ice Lake, Zen 4 and later).
    pub const AVX512_VBMI: Self = Self((1 << 6) | (1 << 1) | (1 << 0));
    /// AArch64 Advanced SIMD (always there on AArch64).
    pub const NEON: Self = Self(1 << 2);
    /// AArch64 `sdot`/`udot` (FEAT_DotProd).
    pub const DOTPROD: Self = Self((1 << 3) | (1 << 2));
    /// AArch64 `smmla`/`usdot` (FEAT_I8MM).
    pub const I8MM: Self = Self((1 << 4) | (1 << 3) | (1 << 2));
    /// ARMv7 NEON (Advanced SIMD on AArch32).
    pub const NEON32: Self = Self(1 << 5);
    /// The DSP extension of Cortex-M (ARMv7E-M, ARMv8-M): `smlad`, `sxtb16`. Processors with NEON on AArch32 have these
    /// instructions too, but no use for them.
    pub const DSP: Self = Self(1 << 8);

    /// Whether every extension of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The extensions of both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The extensions that are in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Parses what `EDGEPACK_ISA` and the target files hold: names separated by commas, each of
    /// which brings what it implies (`dotprod` brings `neon`); `scalar` is the empty set.
    ///
    /// # Errors
    /// The part of `text` that names no extension.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let mut set = Self::SCALAR;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "scalar" {
                continue;
            }
            let found = EXTENSIONS.iter().find(|extension| extension.name == name).ok_or(name)?;
            set = set.union(Self(found.bit | found.implies));
        }
        Ok(set)
    }

    /// The names that [`IsaSet::parse`] knows, `scalar` first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        core::iter::once("scalar").chain(EXTENSIONS.iter().map(|extension| extension.name))
    }
}

impl fmt::Display for IsaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::SCALAR {
            return f.write_str("scalar");
        }
        let present = EXTENSIONS.iter().filter(|extension| self.0 & extension.bit != 0);
        for (i, extension) in present.enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(extension.name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for IsaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IsaSet({self})")
    }
}

/// Proof that the running processor has the extensions of [`IsaToken::set`]. Only detection makes
/// one; a kernel row is bound to a function that may be called by showing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaToken(IsaSet);

impl IsaToken {
    /// The token that every processor deserves: scalar rows only.
    pub const fn scalar() -> Self {
        Self(IsaSet::SCALAR)
    }

    /// The token that every processor deserves which runs this build: what its target promises. It needs no
    /// detection, which bare metal mostly has no way for: `thumbv7em` has the DSP extension, and so has `thumbv8m.main`
    /// where it is compiled with `-C target-cpu=cortex-m33` or `-C target-feature=+dsp`.
    pub const fn of_build() -> Self {
        Self(if cfg!(edgepack_dsp) { IsaSet::DSP } else { IsaSet::SCALAR })
    }

    /// A token for extensions that the caller has detected.
    ///
    /// # Safety
    /// The running processor, and the operating system's saving of its registers, must support
    /// every extension of `set`.
    pub const unsafe fn assume(set: IsaSet) -> Self {
        Self(set)
    }

    /// The extensions that this token vouches for.
    pub const fn set(self) -> IsaSet {
        self.0
    }

    /// The same token without the extensions that are not in `mask`. Never adds any.
    pub const fn lowered_to(self, mask: IsaSet) -> Self {
        Self(self.0.intersection(mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn parse_of_display_gives_the_set_back() {
        for set in [IsaSet::SCALAR, IsaSet::AVX512_VNNI, IsaSet::AVX512_VBMI, IsaSet::I8MM, IsaSet::DSP] {
            assert_eq!(IsaSet::parse(&set.to_string()), Ok(set));
        }
        assert_eq!(IsaSet::parse("dotprod"), Ok(IsaSet::DOTPROD));
        assert_eq!(IsaSet::parse("neon, sse9"), Err("sse9"));
    }

    #[test]
    fn every_extension_has_a_bit_of_its_own() {
        let bits = EXTENSIONS.iter().fold(0, |bits, extension| bits ^ extension.bit);
        assert_eq!(bits.count_ones() as usize, EXTENSIONS.len());
        assert!(EXTENSIONS.iter().all(|extension| extension.bit.is_power_of_two()));
    }

    #[test]
    fn lowering_never_raises() {
        let token = IsaToken::scalar().lowered_to(IsaSet::AVX512_VNNI);
        assert_eq!(token.set(), IsaSet::SCALAR);
    }
}
