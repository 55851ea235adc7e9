//! The driver that turns a convolution into tiles: rows are output pixels, columns output channels,
//! and a tile reads its rows through pointers, so that nothing like an im2col matrix is made.

use super::pack::Layout;
pub(super) use super::results::{TileOutput, TileResidual};
use super::rows::Rows;
use super::{ConvArgs, WeightSource};

/// The weights that one sweep over the pixels may use: they stay in the second-level cache of the
/// small processors (512 kB on a Cortex-A53 or A72), beside the input rows.
pub(super) const SWEEP_BYTES: usize = 128 * 1024;

/// The kernel of one ISA.
pub(super) struct Micro {
    /// MR: pixels of a tile.
    pub pixels: usize,
    /// How the weights are packed.
    pub layout: &'static Layout,
    /// Computes one tile.
    ///
    /// # Safety
    /// As [`Tile`] documents, on a processor with the ISA.
    pub tile: unsafe fn(&Tile),
}

/// One tile: `live_pixels` × `live_channels` outputs.
pub(super) struct Tile {
    /// `[MR][taps]`, each to `tap_elems` readable int8 values. Rows beyond `live_pixels` repeat one.
    pub rows: *const *const i8,
    /// Taps.
    pub taps: usize,
    /// Values of one tap: a multiple of the layout's `k_multiple`.
    pub tap_elems: usize,
    /// The first panel; aligned to 64 bytes.
    pub panel: *const u8,
    /// From one panel to the next.
    pub panel_bytes: usize,
    /// Pixels to store, 1 to MR.
    pub live_pixels: usize,
    /// Channels to store, at least 1: they span `live_channels.div_ceil(NR)` panels.
    pub live_channels: usize,
    /// Where pixel 0, channel 0 goes.
    pub out: TileOutput,
    /// Elements from one pixel to the next.
    pub out_stride: usize,
    /// What is added to int8 results.
    pub residual: Option<TileResidual>,
}

/// Runs a convolution by tiles of `micro`.
///
/// # Safety
/// `args` as [`ConvArgs`] documents, packed for `micro.layout`; the processor has the ISA of
/// `micro.tile`.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, micro: &Micro) {
    let shape = args.shape;
    let layout = micro.layout;
    let WeightSource::Packed(packed) = args.weights else { return };
    let taps = layout.taps(&shape);
    let mut rows = Rows::new(args, micro, taps);
    let (out, residual) = TileOutput::of(&mut args.output, args.residual);
    let panel_bytes = layout.panel_bytes(&shape);
    let panels = layout.panels(&shape);
    // Tiles take up to four panels of 16 channels at a time, two or three of 8: what is no multiple of that would
    // leave a part of one unused.
    let group = if layout.nr == 8 { 6 } else { 4 };
    let sweep = (SWEEP_BYTES / panel_bytes).next_multiple_of(group).clamp(1, panels);
    for group in 0..shape.groups {
        for first_panel in (0..panels).step_by(sweep) {
            let first_channel = first_panel * layout.nr;
            let live_channels = (sweep * layout.nr).min(shape.group_out_channels() - first_channel);
            for pixel in (0..shape.output_pixels()).step_by(micro.pixels) {
                let live_pixels = micro.pixels.min(shape.output_pixels() - pixel);
                // SAFETY: `Rows` points every row at `tap_elems` readable values; the panels are
                // inside `packed`, whose length was checked against the layout; the output
                // position is inside `[pixels, out_channels]`.
                unsafe {
                    let rows = rows.point_at(group, pixel, live_pixels);
                    (micro.tile)(&Tile {
                        rows,
                        taps: taps.count,
                        tap_elems: taps.elems,
                        panel: packed.as_ptr().add((group * panels + first_panel) * panel_bytes),
                        panel_bytes,
                        live_pixels,
                        live_channels,
                        out: out.add(
                            pixel * shape.out_channels + group * shape.group_out_channels() + first_channel,
                        ),
                        out_stride: shape.out_channels,
                        residual,
                    });
                }
            }
        }
    }
}
