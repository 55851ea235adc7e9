//! Packed weights: panels of NR output channels, each a self-contained stream that a tile reads
//! from front to back.
//!
//! ```text
//! panel = bias [NR] i32 | multiplier [NR] f32 | weights [taps][tap_elems / KR][NR][KR] i8 | padding to 64
//! blob  = group 0: panel 0, panel 1, … | group 1: …
//! ```
//! A tap is a contiguous stretch of `tap_elems` input values, which the tile reads through a pointer
//! (Dukhan, "The Indirect Convolution Algorithm", 2019); see [`Taps`]. Channels and values beyond the
//! shape are zero weights.

use super::patches::Patches;
use super::unsigned_plane::Plane;
use super::{ConvShape, Weights};

/// How the weights of a panel are interleaved.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The key of the layout in a package: `nr16_kr4_xu8`.
    pub key: &'static str,
    /// Output channels of a panel: a power of two.
    pub nr: usize,
    /// Consecutive input values that lie together for one channel.
    pub kr: usize,
    /// What `tap_elems` is a multiple of: a power of two.
    pub k_multiple: usize,
    /// Whether kernels read `x + 128`, from a copy of the input with its padding (see `unsigned_plane`): the
    /// bias is then less by `128 * sum(w)`.
    pub unsigned_inputs: bool,
}

/// AVX512-VNNI and AVX-VNNI: `vpdpbusd` takes unsigned inputs, 16 channels to one register or two.
pub static NR16_KR4_XU8: Layout =
    Layout { key: "nr16_kr4_xu8", nr: 16, kr: 4, k_multiple: 4, unsigned_inputs: true };
/// AVX2: pairs for `vpmaddwd`, 8 channels to a register, two registers.
pub static NR16_KR2: Layout =
    Layout { key: "nr16_kr2", nr: 16, kr: 2, k_multiple: 8, unsigned_inputs: false };
/// AArch64 dot product: `sdot` by lane, 4 channels to a register, two registers.
pub static NR8_KR4: Layout = Layout { key: "nr8_kr4", nr: 8, kr: 4, k_multiple: 4, unsigned_inputs: false };
/// AArch64 matrix multiplication: `smmla` of 8 values of two channels.
pub static NR8_KR8: Layout = Layout { key: "nr8_kr8", nr: 8, kr: 8, k_multiple: 8, unsigned_inputs: false };
/// NEON of AArch64 and of ARMv7: `smull` of two values of four channels each.
pub static NR8_KR2: Layout = Layout { key: "nr8_kr2", nr: 8, kr: 2, k_multiple: 2, unsigned_inputs: false };

/// Every layout that a package may carry a section of.
pub static LAYOUTS: &[&Layout] = &[&NR16_KR4_XU8, &NR16_KR2, &NR8_KR4, &NR8_KR8, &NR8_KR2];

/// The largest `nr` of a layout.
const MAX_NR: usize = 16;

/// Panels start at multiples of this many bytes, and so does the blob.
pub const PANEL_ALIGN: usize = 64;

/// The most values of a line that is one tap where its pixels could be taps: 64 channels of a 3 × 3 kernel.
const LONGEST_LINE: usize = 192;

/// What a tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TapKind {
    /// The channels of one pixel, where they are a multiple of [`Layout::k_multiple`], or where what is read
    /// behind them meets zero weights.
    Pixels,
    /// The pixels of one line of the kernel, where they have few channels. What is read behind the line
    /// meets zero weights. Lines that reach beyond the left or right border are gathered.
    Lines,
    /// Everything that an output pixel reads, gathered into scratch memory.
    Gathered,
}

/// How a convolution reads its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taps {
    pub kind: TapKind,
    /// Taps of an output pixel.
    pub count: usize,
    /// Values of a tap that are read: a multiple of [`Layout::k_multiple`].
    pub elems: usize,
    /// Values of a tap that have weights; the others are zero.
    pub used: usize,
}

/// Bytes of the parts of the scratch memory, in their order. Pointers count as 8 bytes everywhere.
pub(super) struct Scratch {
    /// Of each pixel of a tile, to the input of each tap.
    pub pointers: usize,
    /// From a pixel's first tap to each tap.
    pub offsets: usize,
    /// One row of input values.
    pub row: usize,
    /// Rows: one of zero points, and where the driver may gather, one for each pixel of a tile.
    pub rows: usize,
}

impl Layout {
    /// Every layout that a package may carry a section of.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        LAYOUTS.iter().copied()
    }

    /// The layout with this key.
    pub fn by_key(key: &str) -> Option<&'static Self> {
        LAYOUTS.iter().copied().find(|layout| layout.key == key)
    }

    /// How a convolution reads its input.
    pub(super) fn taps(&self, shape: &ConvShape) -> Taps {
        let channels = shape.group_in_channels();
        let line = shape.kernel_w * channels;
        let all = round_up(shape.taps() * channels, self.k_multiple);
        let padded_line = round_up(line, self.k_multiple);
        let has_lines = shape.groups == 1 && shape.dilation_w == 1;
        // Few long taps cost less than many short ones; but each pixel of a tile needs room for its lines.
        let is_whole = channels & (self.k_multiple - 1) == 0;
        if self.unsigned_inputs {
            return if has_lines {
                Taps { kind: TapKind::Lines, count: shape.kernel_h, elems: padded_line, used: line }
            } else {
                let elems = round_up(channels, self.k_multiple);
                Taps { kind: TapKind::Pixels, count: shape.taps(), elems, used: channels }
            };
        }
        let gains = match (is_whole, self.has_patches()) {
            (true, _) => shape.kernel_w > 1 && line <= LONGEST_LINE,
            // Lines are copied, and can as well lie close together.
            (false, true) => shape.kernel_h.saturating_mul(padded_line) == all,
            (false, false) => 2 * shape.kernel_h * padded_line <= 3 * all,
        };
        if has_lines && gains {
            Taps { kind: TapKind::Lines, count: shape.kernel_h, elems: padded_line, used: line }
        } else if is_whole {
            Taps { kind: TapKind::Pixels, count: shape.taps(), elems: channels, used: channels }
        } else {
            Taps { kind: TapKind::Gathered, count: 1, elems: all, used: shape.taps() * channels }
        }
    }

    /// Whether kernels of few channels read copies of what each pixel reads.
    pub(super) fn has_patches(&self) -> bool {
        self.kr >= 4 && !self.unsigned_inputs
    }

    /// Bytes of one panel.
    pub(super) fn panel_bytes(&self, shape: &ConvShape) -> usize {
        let taps = self.taps(shape);
        (self.nr * (8 + taps.count * taps.elems)).next_multiple_of(PANEL_ALIGN)
    }

    /// Panels of one group.
    pub(super) fn panels(&self, shape: &ConvShape) -> usize {
        (shape.group_out_channels() + self.nr - 1) >> self.nr.trailing_zeros()
    }

    /// Bytes of the whole blob: a multiple of 64.
    pub fn packed_bytes(&self, shape: &ConvShape) -> usize {
        shape.groups * self.panels(shape) * self.panel_bytes(shape)
    }

    /// The parts of the scratch memory for tiles of `tile_pixels`.
    pub(super) fn scratch(&self, shape: &ConvShape, tile_pixels: usize) -> Scratch {
        let taps = self.taps(shape);
        let gathers = taps.kind != TapKind::Pixels;
        let row = if gathers { taps.count * taps.elems } else { taps.elems };
        Scratch {
            pointers: (taps.count * tile_pixels * 8).next_multiple_of(PANEL_ALIGN),
            offsets: (taps.count * 8).next_multiple_of(PANEL_ALIGN),
            row: row.next_multiple_of(PANEL_ALIGN),
            rows: if gathers { 1 + tile_pixels } else { 1 },
        }
    }

    /// Bytes of scratch for tiles of `tile_pixels`.
    pub(super) fn scratch_bytes(&self, shape: &ConvShape, tile_pixels: usize) -> usize {
        if self.unsigned_inputs {
            return Plane::new(self, shape, tile_pixels).scratch_bytes();
        }
        if let Some(patches) = Patches::new(self, shape) {
            return patches.scratch_bytes();
        }
        let scratch = self.scratch(shape, tile_pixels);
        scratch.pointers + scratch.offsets + scratch.rows * scratch.row
    }

    /// Packs canonical weights. `packed` has [`Layout::packed_bytes`]; `weights` fit `shape`, which
    /// is not depthwise.
    pub fn pack(&self, shape: &ConvShape, weights: &Weights<'_>, packed: &mut [u8]) {
        let per_channel = shape.taps() * shape.group_in_channels();
        let taps = self.taps(shape);
        let panel_bytes = self.panel_bytes(shape);
        packed.fill(0);
        for (index, panel) in packed.chunks_exact_mut(panel_bytes).enumerate() {
            let group = index / self.panels(shape);
            let first = (index % self.panels(shape)) * self.nr;
            let live = self.nr.min(shape.group_out_channels() - first);
            let mut rows = [&[][..]; MAX_NR];
            for (lane, row) in rows.iter_mut().enumerate().take(live) {
                let channel = group * shape.group_out_channels() + first + lane;
                *row = &weights.weights[channel * per_channel..][..per_channel];
                let mut bias = weights.bias[channel];
                if self.unsigned_inputs {
                    let sum = row.iter().fold(0_i32, |sum, &w| sum.wrapping_add(w as i32));
                    bias = bias.wrapping_sub(sum.wrapping_mul(128));
                }
                panel[lane * 4..][..4].copy_from_slice(&bias.to_ne_bytes());
                let multiplier = weights.multiplier[channel].to_ne_bytes();
                panel[(self.nr + lane) * 4..][..4].copy_from_slice(&multiplier);
            }
            let (rows, stream) = (&rows[..live], &mut panel[self.nr * 8..]);
            match self.kr {
                2 => interleave::<2>(rows, self.nr, &taps, stream),
                4 => interleave::<4>(rows, self.nr, &taps, stream),
                _ => interleave::<8>(rows, self.nr, &taps, stream),
            }
        }
    }
}

/// The next multiple of a power of two. Without a division: small layers are asked for their sizes at every
/// run.
fn round_up(elems: usize, multiple: usize) -> usize {
    (elems + multiple - 1) & !(multiple - 1)
}

/// Writes the weights of a panel's channels: `[taps][elems / KR][nr][KR]`. A package is packed when it
/// is loaded, so that this is most of the time that loading takes.
fn interleave<const KR: usize>(rows: &[&[i8]], nr: usize, taps: &Taps, stream: &mut [u8]) {
    let groups = taps.elems / KR;
    for (at, to) in stream.chunks_exact_mut(nr * KR).enumerate().take(taps.count * groups) {
        let (tap, k) = (at / groups, at % groups * KR);
        let from = tap * taps.used + k;
        let used = taps.used.saturating_sub(k).min(KR);
        if used == 0 {
            continue;
        }
        let (to, _) = to.as_chunks_mut::<KR>();
        for (to, row) in to.iter_mut().zip(rows) {
            if let Some(&whole) = row[from..].first_chunk::<KR>().filter(|_| used == KR) {
                *to = whole.map(|w| w as u8);
            } else {
                to.iter_mut().zip(&row[from..from + used]).for_each(|(to, &w)| *to = w as u8);
            }
        }
    }
}
