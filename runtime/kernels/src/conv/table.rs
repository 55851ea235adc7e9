//! The table of convolution rows. Selection, conformance tests, benches, `edgepack kernels` and the
//! documentation iterate it: a new ISA is one file and its rows.

#[cfg(not(target_os = "none"))]
use super::pack;
use super::pack::Layout;
use super::{ConvArgs, ConvShape, Weights, columns, winograd};
use crate::isa::IsaSet;

// The DSP rows are for every shape. A plan that has too little scratch memory for them, since it was made for another
// processor, runs by the definition, which they have for some shapes anyway: firmware has one set of fast rows.
#[cfg(edgepack_dsp)]
use super::reference as plain;
#[cfg(not(edgepack_dsp))]
use super::scalar as plain;

/// A whole convolution.
///
/// # Safety
/// The processor has the row's extensions; slices have the lengths and alignments documented in
/// [`ConvArgs`], and the weights are of the row's layout.
pub(super) type RunFn = unsafe fn(&mut ConvArgs<'_>);

/// One convolution kernel: what it is called, what it needs, and the function.
#[derive(Debug)]
pub struct Row {
    /// Operation, types, tile and ISA: `conv_s8s8s32_12x64_avx512vnni`.
    pub name: &'static str,
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// Whether the row is for depthwise convolutions (and for nothing else).
    pub depthwise: bool,
    /// Where the row is for the 3 × 3 convolutions of stride 1 that are faster by Winograd's method (and for
    /// nothing else): how that divides the work.
    pub(super) winograd: Option<&'static winograd::Method>,
    /// How weights are packed; `None` where the row reads the canonical ones.
    pub layout: Option<&'static Layout>,
    /// Bytes of scratch memory where the row reads the canonical weights and needs some.
    pub(super) scratch: Option<fn(&ConvShape) -> usize>,
    /// Output pixels of one tile (1 where there are no tiles).
    pub tile_pixels: usize,
    /// The function, where this build is for the row's architecture.
    pub(super) run: Option<RunFn>,
}

impl Row {
    /// Whether the row computes convolutions of this shape.
    pub fn accepts(&self, shape: &ConvShape) -> bool {
        self.depthwise == shape.is_depthwise() && self.winograd.is_none_or(|method| (method.pays)(shape))
    }

    /// Whether the row is of Winograd's method, which trades scratch memory for multiplications.
    pub fn is_winograd(&self) -> bool {
        self.winograd.is_some()
    }

    /// Whether the row was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.run.is_some()
    }

    /// Bytes of scratch memory for one run: the same on every architecture, so that a plan made on
    /// the host holds on the device.
    pub fn scratch_bytes(&self, shape: &ConvShape) -> usize {
        match (self.winograd, self.layout) {
            // Rows of Winograd's method have layouts, too.
            (Some(method), _) if HAS_LAYOUTS => (method.scratch_bytes)(shape),
            (None, Some(layout)) if HAS_LAYOUTS => layout.scratch_bytes(shape, self.tile_pixels),
            _ => self.scratch.map_or(0, |bytes| bytes(shape)),
        }
    }

    /// Bytes of the packed weights; 0 where the row reads the canonical ones.
    pub fn packed_bytes(&self, shape: &ConvShape) -> usize {
        self.layout.filter(|_| HAS_LAYOUTS).map_or(0, |layout| layout.packed_bytes(shape))
    }

    /// Packs canonical weights into `packed`, which has [`Row::packed_bytes`].
    pub fn pack(&self, shape: &ConvShape, weights: &Weights<'_>, packed: &mut [u8]) {
        if let Some(layout) = self.layout {
            layout.pack(shape, weights, packed);
        }
    }
}

/// Whether rows may read weights that are packed: none does without an operating system, where there is no memory to pack
/// into.
pub const HAS_LAYOUTS: bool = cfg!(not(target_os = "none"));

/// The function of a row where this build is for `$arch`, else `None`.
macro_rules! compiled {
    ($condition:meta, $function:path) => {{
        #[cfg($condition)]
        {
            Some($function as RunFn)
        }
        #[cfg(not($condition))]
        {
            None
        }
    }};
}

/// The rows of one kind of convolution.
#[derive(Debug)]
pub struct Table {
    /// Best first within one architecture. Without an operating system there are only those that may run there: nobody plans
    /// for other processors on a microcontroller.
    extended: &'static [Row],
    /// What runs everywhere: it accepts every shape of the kind, and needs no extension or memory.
    scalar: Row,
}

impl Table {
    fn rows(&'static self) -> impl Iterator<Item = &'static Row> + Clone {
        self.extended.iter().chain([&self.scalar])
    }

    /// The row for a shape of this kind on a processor with the extensions of `isa`, where a plan has so many bytes of
    /// scratch memory: the first that accepts the shape and needs no more. Pure, so that the host can tell what a device
    /// will choose.
    pub fn select_within(
        &'static self,
        shape: &ConvShape,
        isa: IsaSet,
        scratch_bytes: usize,
    ) -> &'static Row {
        let fits = |row: &&Row| {
            row.accepts(shape) && isa.contains(row.isa) && row.scratch_bytes(shape) <= scratch_bytes
        };
        self.extended.iter().find(fits).unwrap_or(&self.scalar)
    }
}

/// Convolutions that are not depthwise. Tables are two, so that a program without depthwise convolutions
/// need not have their rows.
pub static DENSE: Table = Table {
    extended: &[
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_winograd_avx512vnni",
            isa: IsaSet::AVX512_VNNI,
            depthwise: false,
            winograd: Some(&winograd::WIDE),
            layout: Some(&pack::NR16_KR4_XU8),
            scratch: None,
            tile_pixels: 12,
            run: compiled!(target_arch = "x86_64", super::x86_avx512vnni_winograd::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_12x64_avx512vnni",
            isa: IsaSet::AVX512_VNNI,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR16_KR4_XU8),
            scratch: None,
            tile_pixels: 12,
            run: compiled!(target_arch = "x86_64", super::x86_avx512vnni::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_6x16_avxvnni",
            isa: IsaSet::AVX_VNNI,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR16_KR4_XU8),
            scratch: None,
            tile_pixels: 6,
            run: compiled!(target_arch = "x86_64", super::x86_avxvnni::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_4x16_avx2",
            isa: IsaSet::AVX2,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR16_KR2),
            scratch: None,
            tile_pixels: 4,
            run: compiled!(target_arch = "x86_64", super::x86_avx2::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_4x24_i8mm",
            isa: IsaSet::I8MM,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR8_KR8),
            scratch: None,
            tile_pixels: 16,
            run: compiled!(target_arch = "aarch64", super::aarch64_i8mm::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_4x24_dotprod",
            isa: IsaSet::DOTPROD,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR8_KR4),
            scratch: None,
            tile_pixels: 16,
            run: compiled!(target_arch = "aarch64", super::aarch64_dotprod::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_winograd_neon",
            isa: IsaSet::NEON,
            depthwise: false,
            winograd: Some(&winograd::NARROW),
            layout: Some(&pack::NR8_KR2),
            scratch: None,
            tile_pixels: 16,
            run: compiled!(target_arch = "aarch64", super::aarch64_neon_winograd::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_4x16_neon",
            isa: IsaSet::NEON,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR8_KR2),
            scratch: None,
            tile_pixels: 16,
            run: compiled!(target_arch = "aarch64", super::aarch64_neon::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_winograd_neon32",
            isa: IsaSet::NEON32,
            depthwise: false,
            winograd: Some(&winograd::NARROW),
            layout: Some(&pack::NR8_KR2),
            scratch: None,
            tile_pixels: 12,
            run: compiled!(all(target_arch = "arm", target_os = "linux"), super::armv7_winograd::conv),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "conv_s8s8s32_4x8_neon32",
            isa: IsaSet::NEON32,
            depthwise: false,
            winograd: None,
            layout: Some(&pack::NR8_KR2),
            scratch: None,
            tile_pixels: 12,
            run: compiled!(all(target_arch = "arm", target_os = "linux"), super::armv7_neon::conv),
        },
        Row {
            name: "conv_s8s8s32_2x2_dsp",
            isa: IsaSet::DSP,
            depthwise: false,
            winograd: None,
            layout: None,
            scratch: Some(columns::scratch_bytes),
            tile_pixels: 2,
            run: compiled!(any(edgepack_dsp, all(test, target_arch = "arm")), super::dsp::conv),
        },
    ],
    scalar: Row {
        name: "conv_s8s8s32_scalar",
        isa: IsaSet::SCALAR,
        depthwise: false,
        winograd: None,
        layout: None,
        scratch: None,
        tile_pixels: 1,
        run: Some(plain::conv_row),
    },
};

/// Depthwise convolutions.
pub static DEPTHWISE: Table = Table {
    extended: &[
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_1x64_avx512vnni",
            isa: IsaSet::AVX512_VNNI,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(target_arch = "x86_64", super::x86_avx512vnni_depthwise::depthwise),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_1x32_avxvnni",
            isa: IsaSet::AVX_VNNI,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(target_arch = "x86_64", super::x86_avx2_depthwise::depthwise_vnni),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_1x32_avx2",
            isa: IsaSet::AVX2,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(target_arch = "x86_64", super::x86_avx2_depthwise::depthwise),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_1x16_dotprod",
            isa: IsaSet::DOTPROD,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(target_arch = "aarch64", super::aarch64_dotprod_depthwise::depthwise),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_1x16_neon",
            isa: IsaSet::NEON,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(target_arch = "aarch64", super::aarch64_depthwise::depthwise),
        },
        #[cfg(not(target_os = "none"))]
        Row {
            name: "depthwise_s8s8s32_4x8_neon32",
            isa: IsaSet::NEON32,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(all(target_arch = "arm", target_os = "linux"), super::armv7_depthwise::depthwise),
        },
        Row {
            name: "depthwise_s8s8s32_2x4_dsp",
            isa: IsaSet::DSP,
            depthwise: true,
            winograd: None,
            layout: None,
            scratch: None,
            tile_pixels: 1,
            run: compiled!(
                any(edgepack_dsp, all(test, target_arch = "arm")),
                super::dsp_depthwise::depthwise
            ),
        },
    ],
    scalar: Row {
        name: "depthwise_s8s8s32_scalar",
        isa: IsaSet::SCALAR,
        depthwise: true,
        winograd: None,
        layout: None,
        scratch: None,
        tile_pixels: 1,
        run: Some(plain::depthwise_row),
    },
};

/// Every row, of every architecture.
pub fn rows() -> impl Iterator<Item = &'static Row> + Clone {
    DENSE.rows().chain(DEPTHWISE.rows())
}

/// [`Table::select_within`] of the shape's kind, where there is scratch memory for any row.
pub fn select(shape: &ConvShape, isa: IsaSet) -> &'static Row {
    select_within(shape, isa, usize::MAX)
}

/// [`Table::select_within`] of the shape's kind.
pub fn select_within(shape: &ConvShape, isa: IsaSet, scratch_bytes: usize) -> &'static Row {
    let table = if shape.is_depthwise() { &DEPTHWISE } else { &DENSE };
    table.select_within(shape, isa, scratch_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_scratch_memory_means_the_next_row_and_none_the_scalar_one() {
        let shape = ConvShape {
            in_h: 16,
            in_w: 16,
            out_h: 16,
            out_w: 16,
            kernel_h: 3,
            kernel_w: 3,
            pad_top: 1,
            pad_left: 1,
            ..ConvShape::fully_connected(1, 64, 64)
        };
        for name in IsaSet::names() {
            let isa = IsaSet::parse(name).unwrap();
            let mut chosen = std::vec![select(&shape, isa)];
            while let Some(less) = chosen[chosen.len() - 1].scratch_bytes(&shape).checked_sub(1) {
                let next = select_within(&shape, isa, less);
                assert!(next.accepts(&shape) && isa.contains(next.isa) && next.scratch_bytes(&shape) <= less);
                chosen.push(next);
            }
            let names: std::vec::Vec<&str> = chosen.iter().map(|row| row.name).collect();
            assert_eq!(*names.last().unwrap(), "conv_s8s8s32_scalar");
            if isa == IsaSet::NEON {
                let expected =
                    ["conv_s8s8s32_winograd_neon", "conv_s8s8s32_4x16_neon", "conv_s8s8s32_scalar"];
                assert_eq!(names, expected);
            }
        }
    }

    /// Strips of a layer share its packed weights, however many lines each has.
    #[test]
    fn the_layout_of_the_weights_depends_on_no_lines_columns_or_images() {
        let sets: std::vec::Vec<IsaSet> =
            IsaSet::names().filter_map(|name| IsaSet::parse(name).ok()).collect();
        for (channels, outputs) in [(1, 16), (3, 16), (16, 16), (24, 144), (64, 64), (512, 512)] {
            for (kernel, stride, groups) in [(1, 1, 1), (3, 1, 1), (3, 2, 1), (7, 2, 1), (3, 1, channels)] {
                let outputs = if groups > 1 { channels } else { outputs };
                let whole = ConvShape {
                    in_h: 56,
                    in_w: 56,
                    out_h: 56 / stride,
                    out_w: 56 / stride,
                    kernel_h: kernel,
                    kernel_w: kernel,
                    stride_h: stride,
                    stride_w: stride,
                    pad_top: kernel / 2,
                    pad_left: kernel / 2,
                    groups,
                    ..ConvShape::fully_connected(1, channels, outputs)
                };
                for set in &sets {
                    let layout = select(&whole, *set).layout;
                    for (out_h, out_w, batch) in [(1, 28, 1), (4, 28, 1), (5, 1, 1), (1, 1, 1), (28, 28, 3)] {
                        let (in_h, in_w) = (out_h * stride, out_w * stride);
                        let part = ConvShape { in_h, in_w, out_h, out_w, batch, pad_top: 0, ..whole };
                        assert_eq!(select(&part, *set).layout, layout, "{set}: {whole:?} and {part:?}");
                    }
                }
            }
        }
    }
}
