//! What the AArch64 tiles by four pixels share. With the dot product and the matrix multiplication, these are
//! 4 pixels × up to 3 panels of 8 channels, 24 accumulators of the 32 registers: few pixels by many
//! channels, since weights lie together and one instruction loads four registers of them, where each
//! pixel's values are a load of their own.
//!
//! All of it is assembly, from the first panel to the last byte: left to the compiler, a quarter of the
//! instructions of a layer of few channels were addresses and moves between registers and memory.

use core::array;
use core::mem::{MaybeUninit, offset_of, size_of};

use super::gemm::{self, Micro, SWEEP_BYTES, Tile, TileOutput, TileResidual};
use super::patches::{self, Patches};
use super::{ConvArgs, WeightSource};
use crate::aarch64_rounding::{Bounds, MOST, fits_within};

/// The most channels of a panel.
const MAX_NR: usize = 8;

/// What the assembly takes: all of some quads of pixels × groups of 1, 2 or 3 panels, to int8.
pub(super) struct Sweep {
    /// Of each pixel, to the input of each tap.
    pub rows: *const *const i8,
    pub taps: usize,
    pub tap_elems: usize,
    pub quads: usize,
    /// The first panel: biases, multipliers, weights.
    pub panel: *const u8,
    pub panel_bytes: usize,
    pub groups: usize,
    /// Where pixel 0, channel 0 goes.
    pub out: *mut i8,
    pub out_stride: usize,
    /// The bounds, and what is behind them where something is added: [`Adding`].
    pub bounds: *const Bounds,
}

/// What the assembly reads where there is a residual.
#[repr(C, align(16))]
struct Adding {
    bounds: Bounds,
    multiplier: [f32; 4],
    places: [[u8; 16]; 4],
    /// See [`TileResidual::distance`].
    distance: isize,
}

const _: () = assert!(offset_of!(Adding, multiplier) == 112 && size_of::<Bounds>() == 112);
const _: () = assert!(offset_of!(Adding, places) == 128 && offset_of!(Adding, distance) == 192);

/// For each four of sixteen bytes, what moves each to the top of a lane of 32 bits, and zeros below it: a fixed-point
/// number of 24 binary places.
const PLACES: [[u8; 16]; 4] = {
    let mut places = [[u8::MAX; 16]; 4];
    let mut byte = 0;
    while byte < 16 {
        places[byte / 4][byte % 4 * 4 + 3] = byte as u8;
        byte += 1;
    }
    places
};

impl Adding {
    fn new(bounds: Bounds, residual: TileResidual) -> Self {
        Self {
            bounds: bounds.adding(),
            multiplier: [residual.multiplier; 4],
            places: PLACES,
            distance: residual.distance,
        }
    }
}

/// Pixels of a pointwise convolution that are taken at once, at most.
const MOST_PIXELS: usize = 128;

/// And so many bytes of their inputs, which stay in the first-level cache while all panels come by.
const INPUT_BYTES: usize = 8 * 1024;

/// Runs a convolution by `fitting`, where all scaled sums fit int16, or else by `any`.
///
/// # Safety
/// As the table's `RunFn`, for the layout of both; the processor has their ISA.
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, fitting: &Micro, any: &Micro) {
    let micro = if all_fit(args, fitting) { fitting } else { any };
    let shape = &args.shape;
    let is_pointwise = (shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w) == (1, 1, 1, 1)
        && (shape.out_h, shape.out_w) == (shape.in_h, shape.in_w)
        && (shape.pad_top, shape.pad_left, shape.groups) == (0, 0, 1)
        && shape.in_channels.is_multiple_of(micro.layout.k_multiple);
    // SAFETY: the caller's promise.
    unsafe {
        if is_pointwise {
            return pointwise(args, micro);
        }
        match Patches::new(micro.layout, shape) {
            Some(patches) => patches::run(args, micro, &patches),
            None => gemm::run(args, micro),
        }
    }
}

/// A convolution whose output pixels read the input pixels at their own places: more of them at once than a tile
/// of [`gemm::run`] has, where they have few channels.
///
/// # Safety
/// As [`run`]; the shape is such a one.
unsafe fn pointwise(args: &mut ConvArgs<'_>, micro: &Micro) {
    let (shape, layout) = (args.shape, micro.layout);
    let WeightSource::Packed(packed) = args.weights else { return };
    let (out, residual) = TileOutput::of(&mut args.output, args.residual);
    let (pixels, channels) = (shape.output_pixels(), shape.in_channels);
    let (panels, panel_bytes) = (layout.panels(&shape), layout.panel_bytes(&shape));
    // Sweeps take up to three panels at a time.
    let sweep = (SWEEP_BYTES / panel_bytes).next_multiple_of(3).clamp(1, panels);
    let tile_pixels = (INPUT_BYTES / channels).next_multiple_of(4).clamp(16, MOST_PIXELS);
    let mut rows = [core::ptr::null(); MOST_PIXELS];
    for first_panel in (0..panels).step_by(sweep) {
        let first_channel = first_panel * layout.nr;
        for pixel in (0..pixels).step_by(tile_pixels) {
            let live_pixels = tile_pixels.min(pixels - pixel);
            let last = args.input.as_ptr().wrapping_add((pixels - 1) * channels);
            let mut row = args.input.as_ptr().wrapping_add(pixel * channels);
            for quad in rows[..live_pixels.next_multiple_of(4)].as_chunks_mut::<4>().0 {
                // Beyond the last pixel it is repeated.
                *quad = array::from_fn(|i| row.wrapping_add(i * channels).min(last));
                row = row.wrapping_add(4 * channels);
            }
            // SAFETY: every row is an input pixel; the panels are inside `packed`, whose length was checked
            // against the layout; the output position is inside `[pixels, out_channels]`.
            unsafe {
                (micro.tile)(&Tile {
                    rows: rows.as_ptr(),
                    taps: 1,
                    tap_elems: channels,
                    panel: packed.as_ptr().add(first_panel * panel_bytes),
                    panel_bytes,
                    live_pixels,
                    live_channels: (sweep * layout.nr).min(shape.out_channels - first_channel),
                    out: out.add(pixel * shape.out_channels + first_channel),
                    out_stride: shape.out_channels,
                    residual,
                });
            }
        }
    }
}

/// Whether all sums of all channels fit. Not asked for a pixel or two, which are computed in another way.
fn all_fit(args: &ConvArgs<'_>, micro: &Micro) -> bool {
    let (shape, layout) = (&args.shape, micro.layout);
    let WeightSource::Packed(packed) = args.weights else { return false };
    if shape.output_pixels() <= 2 {
        return false;
    }
    let values = shape.taps() * shape.group_in_channels();
    let most = MOST - args.residual.map_or(0.0, |residual| 128.0 * residual.multiplier);
    packed.chunks_exact(layout.panel_bytes(shape)).all(|panel| {
        let (words, _) = panel.as_chunks::<4>();
        let (biases, multipliers) = words.split_at(layout.nr);
        // All of them, so that it is done several at a time.
        biases.iter().zip(multipliers).fold(true, |all, (&bias, &multiplier)| {
            all & fits_within(most, values, i32::from_ne_bytes(bias), f32::from_ne_bytes(multiplier))
        })
    })
}

/// The kernel of one ISA.
pub(super) struct Isa {
    /// NR: channels of a panel.
    pub nr: usize,
    /// Sweeps by groups of 1, 2, … panels.
    ///
    /// # Safety
    /// Every group has all its panels, every quad its rows and its place in the output, and the processor
    /// the ISA.
    pub sweeps: &'static [unsafe fn(&Sweep)],
    /// A tile of one pixel or two, also to f32.
    ///
    /// # Safety
    /// As [`Tile`] documents, on a processor with the ISA.
    pub few: unsafe fn(&Tile),
    /// Sweeps over interleaved quads, where the ISA has these.
    pub interleaved: Option<Interleaved>,
}

/// A kernel over quads whose values were interleaved beforehand, as its registers want them: several groups of panels
/// then share what it takes.
#[derive(Clone, Copy)]
pub(super) struct Interleaved {
    /// As [`Isa::sweeps`], of one tap, with `rows` the interleaved quads after one another.
    pub sweeps: &'static [unsafe fn(&Sweep)],
    /// Interleaves the quads of a sweep of one tap.
    ///
    /// # Safety
    /// Every quad has its rows, and there is room for all values.
    pub interleave: unsafe fn(&Sweep, *mut i8),
}

/// Room for interleaved quads: 16 pixels of 1280 values.
#[repr(align(64))]
struct Quads([MaybeUninit<i8>; QUADS_BYTES]);

const QUADS_BYTES: usize = 16 * 1280;

/// Computes a tile, of which with `FITS` no scaled sum is beyond int16.
/// One function for all ISAs, since a copy in each is 12 KB.
///
/// # Safety
/// As [`Tile`] documents, on a processor with the ISA.
#[inline(never)]
pub(super) unsafe fn tile<const FITS: bool>(tile: &Tile, isa: &Isa) {
    // SAFETY: every part of the tile is a tile, and its rows and panels exist.
    unsafe {
        let quads = match tile.out {
            TileOutput::I8(out, range) if tile.live_pixels > 2 => {
                let (plain, adding);
                let bounds = match tile.residual {
                    None => {
                        plain = Bounds::new::<FITS>(range);
                        &raw const plain
                    }
                    Some(residual) => {
                        adding = Adding::new(Bounds::new::<FITS>(range), residual);
                        (&raw const adding).cast()
                    }
                };
                bytes(tile, isa, out, bounds)
            }
            _ => 0,
        };
        for first in (4 * quads..tile.live_pixels).step_by(2) {
            (isa.few)(&Tile {
                rows: tile.rows.add(first * tile.taps),
                live_pixels: (tile.live_pixels - first).min(2),
                out: tile.out.add(first * tile.out_stride),
                ..*tile
            });
        }
    }
}

/// Computes the quads of a tile, and a last one of which three pixels are live. Returns how many.
///
/// # Safety
/// As `tile`; `out` is its output; `bounds` as in [`Sweep`].
#[inline(always)]
unsafe fn bytes(tile: &Tile, isa: &Isa, out: *mut i8, bounds: *const Bounds) -> usize {
    let (whole, quads) = (tile.live_pixels / 4, (tile.live_pixels + 1) / 4);
    let sweep = Sweep {
        rows: tile.rows,
        taps: tile.taps,
        tap_elems: tile.tap_elems,
        quads: whole,
        panel: tile.panel,
        panel_bytes: tile.panel_bytes,
        groups: 1,
        out,
        out_stride: tile.out_stride,
        bounds,
    };
    let nr = isa.nr;
    let panels = tile.live_channels / nr;
    // SAFETY: the panels of live channels exist, rows for all quads too, and whole quads of whole panels
    // have their place in the output; of others, what is live is copied there.
    unsafe {
        if whole > 0 {
            let values = 4 * whole * tile.tap_elems;
            match &isa.interleaved {
                Some(interleaved) if tile.taps == 1 && panels > isa.sweeps.len() && values <= QUADS_BYTES => {
                    interleaved_quads(interleaved, &sweep, panels, nr);
                }
                _ => whole_panels(isa.sweeps, &sweep, panels, nr),
            }
        }
        if !tile.live_channels.is_multiple_of(nr) {
            partly_live(tile, isa, &sweep, 0..quads, panels);
        }
        if whole < quads {
            for panel in 0..panels {
                partly_live(tile, isa, &sweep, whole..quads, panel);
            }
        }
    }
    quads
}

/// All quads of a sweep × so many panels, by groups of as many as there are sweeps.
///
/// # Safety
/// As [`Isa::sweeps`].
#[inline(always)]
unsafe fn whole_panels(sweeps: &[unsafe fn(&Sweep)], sweep: &Sweep, panels: usize, nr: usize) {
    let most = sweeps.len();
    let (groups, rest) = (panels / most, panels % most);
    // SAFETY: the caller's promise.
    unsafe {
        if groups > 0 {
            sweeps[most - 1](&Sweep { groups, ..*sweep });
        }
        if rest > 0 {
            let first = groups * most;
            let panel = sweep.panel.add(first * sweep.panel_bytes);
            sweeps[rest - 1](&Sweep { panel, out: sweep.out.add(first * nr), ..*sweep });
        }
    }
}

/// The same of quads that are interleaved first, at most [`QUADS_BYTES`].
///
/// # Safety
/// As [`Isa::sweeps`]; there is one tap.
#[inline(never)]
unsafe fn interleaved_quads(interleaved: &Interleaved, sweep: &Sweep, panels: usize, nr: usize) {
    let mut quads = MaybeUninit::<Quads>::uninit();
    // SAFETY: the caller's promise; the sweeps read what was written.
    unsafe {
        let rows = (*quads.as_mut_ptr()).0.as_mut_ptr().cast::<i8>();
        (interleaved.interleave)(sweep, rows);
        whole_panels(interleaved.sweeps, &Sweep { rows: rows.cast_const().cast(), ..*sweep }, panels, nr);
    }
}

/// Quads of one panel, of which not everything is live, by way of the stack.
///
/// # Safety
/// The panel exists, rows for the quads too; `sweep.out` is the tile's.
#[inline(never)]
unsafe fn partly_live(tile: &Tile, isa: &Isa, sweep: &Sweep, quads: core::ops::Range<usize>, panel: usize) {
    let nr = isa.nr;
    let channels = (tile.live_channels - panel * nr).min(nr);
    let [mut results, mut added] = [[0; 4 * MAX_NR]; 2];
    let residual = tile.residual.map(|residual| {
        let here = TileResidual::between(added.as_ptr(), results.as_ptr(), residual.multiplier);
        // SAFETY: where there is a residual, it lies behind the bounds.
        let adding = unsafe { sweep.bounds.cast::<Adding>().read() };
        (residual, Adding { distance: here.distance, ..adding })
    });
    let bounds = residual.as_ref().map_or(sweep.bounds, |(_, adding)| (&raw const *adding).cast());
    for first in quads.map(|quad| quad * 4) {
        let live = tile.live_pixels - first;
        // SAFETY: the caller's promise; the results are those of four pixels and one panel, and those that
        // are live are copied to their places, and from theirs what is added to them.
        unsafe {
            let out = |pixel: usize| sweep.out.add((first + pixel) * sweep.out_stride + panel * nr);
            if let Some((residual, _)) = &residual {
                for (pixel, added) in added.chunks_exact_mut(nr).enumerate().take(live) {
                    added.as_mut_ptr().copy_from_nonoverlapping(residual.of(out(pixel)), channels);
                }
            }
            isa.sweeps[0](&Sweep {
                rows: sweep.rows.add(first * sweep.taps),
                quads: 1,
                panel: sweep.panel.add(panel * sweep.panel_bytes),
                out: results.as_mut_ptr(),
                out_stride: nr,
                bounds,
                ..*sweep
            });
            for (pixel, results) in results.chunks_exact(nr).enumerate().take(live) {
                out(pixel).copy_from_nonoverlapping(results.as_ptr(), channels);
            }
        }
    }
}

/// Assembly of a sweep by groups of `$panels` panels, given the pointers of each, in order, and what differs
/// between ISAs:
///
/// - `start`: the sums from the biases, whose panel is at `{w0}` …, which go on to the weights;
/// - `wholes`: the products of 16 values of each row after another, by `by_16` or `by_32`;
/// - `rest`: those of the rest of a tap, less than 16;
/// - `store`: from the sums to bytes, at `{out_q}`, `{r1}`, `{r2}`, `{r3}`, the panels being at `{panel}` …;
///   may overwrite `{r0}` to `{r3}`;
/// - `aside`: what the store jumps to.
///
/// All registers of the vector unit are theirs.
macro_rules! sweep {
    (
        $sweep:expr, $channels:literal, [$($step:literal)*], [$($w:ident)*],
        start: $start:expr, wholes: $wholes:expr, rest: $rest:expr, store: $store:expr, aside: $aside:expr
    ) => {
        core::arch::asm!(
            // A group of panels.
            "20:",
            "mov {p0}, {rows}",
            "mov {out_q}, {out}",
            "mov {q}, {quads}",
            // Four pixels.
            "21:",
            "add {p1}, {p0}, {pitch}",
            "add {p2}, {p1}, {pitch}",
            "add {p3}, {p2}, {pitch}",
            "mov {end}, {p1}",
            "mov {w0}, {panel}",
            $($step,)*
            $start,
            // A tap.
            "22:",
            "ldr {r0}, [{p0}], #8",
            "ldr {r1}, [{p1}], #8",
            "ldr {r2}, [{p2}], #8",
            "ldr {r3}, [{p3}], #8",
            $wholes,
            "cbnz {rest}, 26f",
            "25:",
            "cmp {p0}, {end}",
            "b.ne 22b",
            "add {r1}, {out_q}, {stride}",
            "add {r2}, {r1}, {stride}",
            "add {r3}, {r2}, {stride}",
            $store,
            // The rows of the next four pixels follow.
            "mov {p0}, {p3}",
            "add {out_q}, {out_q}, {stride}, lsl #2",
            "subs {q}, {q}, #1",
            "b.ne 21b",
            concat!("add {out}, {out}, #", $channels),
            $(concat!("add {panel}, {panel}, {panel_bytes} // {", stringify!($w), "}"),)*
            "subs {groups}, {groups}, #1",
            "b.ne 20b",
            "b 29f",
            $aside,
            "26:",
            $rest,
            "b 25b",
            "29:",
            rows = in(reg) $sweep.rows,
            pitch = in(reg) $sweep.taps * 8,
            elems = in(reg) $sweep.tap_elems,
            rest = in(reg) $sweep.tap_elems % 16,
            quads = in(reg) $sweep.quads,
            panel = inout(reg) $sweep.panel => _,
            panel_bytes = in(reg) $sweep.panel_bytes,
            groups = inout(reg) $sweep.groups => _,
            out = inout(reg) $sweep.out => _,
            stride = in(reg) $sweep.out_stride,
            bounds = in(reg) $sweep.bounds,
            flags = in(reg) (*$sweep.bounds).flags(),
            p0 = out(reg) _, p1 = out(reg) _, p2 = out(reg) _, p3 = out(reg) _,
            r0 = out(reg) _, r1 = out(reg) _, r2 = out(reg) _, r3 = out(reg) _,
            $($w = out(reg) _,)*
            end = out(reg) _, n = out(reg) _, q = out(reg) _, out_q = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}

/// The same over interleaved quads: those of a group follow one another from `{p0}` on, and there is one tap. The rest
/// sees for itself what there is, at `{elems}`, and may go on at label 25.
macro_rules! sweep_interleaved {
    (
        $sweep:expr, $channels:literal, [$($step:literal)*], [$($w:ident)*],
        start: $start:expr, wholes: $wholes:expr, rest: $rest:expr, store: $store:expr, aside: $aside:expr
    ) => {
        core::arch::asm!(
            "20:",
            "mov {p0}, {rows}",
            "mov {out_q}, {out}",
            "mov {q}, {quads}",
            "21:",
            "mov {w0}, {panel}",
            $($step,)*
            $start,
            $wholes,
            $rest,
            "25:",
            "add {r1}, {out_q}, {stride} // {r0}",
            "add {r2}, {r1}, {stride}",
            "add {r3}, {r2}, {stride}",
            $store,
            "add {out_q}, {out_q}, {stride}, lsl #2",
            "subs {q}, {q}, #1",
            "b.ne 21b",
            concat!("add {out}, {out}, #", $channels),
            $(concat!("add {panel}, {panel}, {panel_bytes} // {", stringify!($w), "}"),)*
            "subs {groups}, {groups}, #1",
            "b.ne 20b",
            "b 29f",
            $aside,
            "29:",
            rows = in(reg) $sweep.rows,
            elems = in(reg) $sweep.tap_elems,
            quads = in(reg) $sweep.quads,
            panel = inout(reg) $sweep.panel => _,
            panel_bytes = in(reg) $sweep.panel_bytes,
            groups = inout(reg) $sweep.groups => _,
            out = inout(reg) $sweep.out => _,
            stride = in(reg) $sweep.out_stride,
            bounds = in(reg) $sweep.bounds,
            flags = in(reg) (*$sweep.bounds).flags(),
            p0 = out(reg) _, r0 = out(reg) _, r1 = out(reg) _, r2 = out(reg) _, r3 = out(reg) _,
            $($w = out(reg) _,)*
            n = out(reg) _, q = out(reg) _, out_q = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}
