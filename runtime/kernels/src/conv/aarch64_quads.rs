//! What the AArch64 tiles by four pixels share. With the dot product and the matrix multiplication, these are
//! 4 pixels × up to 3 panels of 8 channels, 24 accumulators of the 32 registers: few pixels by many
//! channels, since weights lie together and one instruction loads four registers of them, where each
//! pixel's values are a load of their own.
//!
//! All of it is assembly, from the first panel to the last byte: left to the compiler, a quarter of the
//! instructions of a layer of few channels were addresses and moves between registers and memory.

use super::gemm::{Tile, TileOutput};
use crate::requantize::OutputRange;

/// The most channels of a panel.
const MAX_NR: usize = 8;

/// What the assembly takes: all of some quads of pixels × groups of 1, 2 or 3 panels, to int8.
pub(super) struct Sweep<'a> {
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
    pub bounds: &'a Bounds,
}

/// An [`OutputRange`] in registers.
#[repr(C, align(16))]
pub(super) struct Bounds {
    zero_point: [i16; 8],
    low: [i8; 16],
    high: [i8; 16],
}

impl Bounds {
    pub fn new(range: OutputRange) -> Self {
        Self {
            zero_point: [range.zero_point as i16; 8],
            low: [range.min as i8; 16],
            high: [range.max as i8; 16],
        }
    }

    /// Whether they are those of int8.
    pub fn is_full(&self) -> bool {
        (self.low[0], self.high[0]) == (i8::MIN, i8::MAX)
    }
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
}

/// Computes a tile.
///
/// # Safety
/// As [`Tile`] documents, on a processor with the ISA.
#[inline(always)]
pub(super) unsafe fn tile(tile: &Tile, isa: &Isa) {
    // SAFETY: every part of the tile is a tile, and its rows and panels exist.
    unsafe {
        let quads = match tile.out {
            TileOutput::I8(out, range) if tile.live_pixels > 2 => bytes(tile, isa, out, range),
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
/// As `tile`; `out` is its output.
#[inline(always)]
unsafe fn bytes(tile: &Tile, isa: &Isa, out: *mut i8, range: OutputRange) -> usize {
    let bounds = Bounds::new(range);
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
        bounds: &bounds,
    };
    let (nr, most) = (isa.nr, isa.sweeps.len());
    let panels = tile.live_channels / nr;
    // SAFETY: the panels of live channels exist, rows for all quads too, and whole quads of whole panels
    // have their place in the output; of others, what is live is copied there.
    unsafe {
        if whole > 0 {
            let (groups, rest) = (panels / most, panels % most);
            if groups > 0 {
                isa.sweeps[most - 1](&Sweep { groups, ..sweep });
            }
            if rest > 0 {
                let first = groups * most;
                let panel = tile.panel.add(first * tile.panel_bytes);
                isa.sweeps[rest - 1](&Sweep { panel, out: out.add(first * nr), ..sweep });
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

/// Quads of one panel, of which not everything is live, by way of the stack.
///
/// # Safety
/// The panel exists, rows for the quads too; `sweep.out` is the tile's.
#[inline(never)]
unsafe fn partly_live(tile: &Tile, isa: &Isa, sweep: &Sweep, quads: core::ops::Range<usize>, panel: usize) {
    let nr = isa.nr;
    let channels = (tile.live_channels - panel * nr).min(nr);
    for first in quads.map(|quad| quad * 4) {
        let mut results = [0; 4 * MAX_NR];
        // SAFETY: the caller's promise; the results are those of four pixels and one panel, and those that
        // are live are copied to their places.
        unsafe {
            isa.sweeps[0](&Sweep {
                rows: sweep.rows.add(first * sweep.taps),
                quads: 1,
                panel: sweep.panel.add(panel * sweep.panel_bytes),
                out: results.as_mut_ptr(),
                out_stride: nr,
                ..*sweep
            });
            for (pixel, results) in results.chunks_exact(nr).enumerate().take(tile.live_pixels - first) {
                let to = sweep.out.add((first + pixel) * sweep.out_stride + panel * nr);
                to.copy_from_nonoverlapping(results.as_ptr(), channels);
            }
        }
    }
}

/// Assembly of a sweep by groups of `$panels` panels, given the pointers of each, in order, and what differs
/// between ISAs:
///
/// - `start`: the sums from the biases, whose panel is at `{w0}` …, which go on to the weights;
/// - `sixteen`, `rest`: the products of 16 values of each row, and of the rest of a tap, less than 16;
/// - `store`: from the sums to bytes, at `{out_q}`, `{r1}`, `{r2}`, `{r3}`, the panels being at `{panel}` …;
///   may overwrite `{r0}` to `{r3}`.
///
/// All registers of the vector unit are theirs.
macro_rules! sweep {
    (
        $sweep:expr, $channels:literal, [$($step:literal)*], [$($w:ident)*],
        start: $start:expr, sixteen: $sixteen:expr, rest: $rest:expr, store: $store:expr
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
            "subs {n}, {elems}, #16",
            "b.lt 24f",
            "23:",
            $sixteen,
            "subs {n}, {n}, #16",
            "b.ge 23b",
            "24:",
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
            full = in(reg) usize::from($sweep.bounds.is_full()),
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

/// `$op` of each register to itself: `unary!("scvtf", ".4s": 0 1)`.
#[rustfmt::skip]
macro_rules! unary {
    ($op:literal, $shape:literal: $($r:literal)*) => {
        concat!($($op, " v", $r, $shape, ", v", $r, $shape, "\n",)*)
    };
}

/// `$op` of each register and `$with`, to itself.
#[rustfmt::skip]
macro_rules! binary {
    ($op:literal, $shape:literal, $with:literal: $($r:literal)*) => {
        concat!($($op, " v", $r, $shape, ", v", $r, $shape, ", v", $with, $shape, "\n",)*)
    };
}

/// Copies of a register.
#[rustfmt::skip]
macro_rules! copies {
    ($from:literal: $($to:literal)*) => {
        concat!($("mov v", $to, ".16b, v", $from, ".16b\n",)*)
    };
}

/// Each quadruple of registers of scaled and rounded sums, to 16 bytes in its first register, as
/// [`Epilogue`](super::aarch64_requantize::Epilogue) does. The bounds are in registers 28 to 30; those of int8
/// need no clamping.
#[rustfmt::skip]
macro_rules! narrow {
    ($([$a:literal $b:literal $c:literal $d:literal])*) => {
        concat!(
            $("sqxtn v", $a, ".4h, v", $a, ".4s\n", "sqxtn v", $c, ".4h, v", $c, ".4s\n",)*
            $("sqxtn2 v", $a, ".8h, v", $b, ".4s\n", "sqxtn2 v", $c, ".8h, v", $d, ".4s\n",)*
            $("sqadd v", $a, ".8h, v", $a, ".8h, v28.8h\n", "sqadd v", $c, ".8h, v", $c, ".8h, v28.8h\n",)*
            $("sqxtn v", $a, ".8b, v", $a, ".8h\n",)*
            $("sqxtn2 v", $a, ".16b, v", $c, ".8h\n",)*
            "cbnz {full}, 28f\n",
            $("smax v", $a, ".16b, v", $a, ".16b, v29.16b\n",)*
            $("smin v", $a, ".16b, v", $a, ".16b, v30.16b\n",)*
            "28:\n",
        )
    };
}
