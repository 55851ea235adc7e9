//! Convolution by ARMv7 NEON, in assembly (`armv7/conv.s`): `vmull.s8` and `vmlal.s8` add two int8 products
//! in int16, `vpadal.s16` adds pairs of them into int32.
//!
//! The assembly requantizes to int8; f32 outputs are scaled here, by the VFP, since NEON of ARMv7
//! flushes subnormals to zero.

use core::ptr;

use super::ConvArgs;
use super::gemm::{self, Micro, TileOutput, TileResidual};
use super::pack::NR8_KR2;
use crate::armv7::Range;
use crate::requantize::OutputRange;

unsafe extern "C" {
    fn edgepack_neon32_conv_4x8(sweep: *const Sweep);
    fn edgepack_neon32_conv_2x8(sweep: *const Sweep);
    fn edgepack_neon32_conv_1x8(sweep: *const Sweep);
}

/// Pixels of a call from the driver: three tiles, so that it prepares a third of the calls.
const MR: usize = 12;
/// Pixels of the assembly's largest tile.
const TILE: usize = 4;
const NR: usize = 8;

/// What the assembly reads: some pixels by all channels of some panels.
#[repr(C)]
struct Sweep {
    /// `[pixels][taps]`.
    rows: *const *const i8,
    taps: usize,
    tap_elems: usize,
    /// Aligned to 64 bytes.
    panel: *const u8,
    panels: usize,
    out: *mut i8,
    /// From one pixel to the next.
    out_stride: usize,
    /// Whether any of what follows `range` is asked for.
    is_special: usize,
    range: *const Range,
    /// Where the sums of the first panel go, `[pixels][8]`, and nothing else then; null: to `out`.
    sums: *mut i32,
    /// From a result to what is added to it.
    distance: isize,
    /// What that is multiplied by.
    multiplier: f32,
}

pub(super) static MICRO: Micro = Micro { pixels: MR, layout: &NR8_KR2, tile };

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { gemm::run(args, &MICRO) }
}

/// # Safety
/// As [`gemm::Tile`] documents; the processor has NEON.
unsafe fn tile(tile: &gemm::Tile) {
    let range = match tile.out {
        TileOutput::I8(_, range) => Range::new(range),
        TileOutput::F32(_) => Range::new(OutputRange::full(0)),
    };
    let mut first = 0;
    while first < tile.live_pixels {
        let (pixels, run): (usize, unsafe extern "C" fn(*const Sweep)) = match tile.live_pixels - first {
            1 => (1, edgepack_neon32_conv_1x8),
            2 | 3 => (2, edgepack_neon32_conv_2x8),
            _ => (4, edgepack_neon32_conv_4x8),
        };
        // SAFETY: the rows and outputs of `pixels` pixels from `first` on are there. Every row has
        // `tap_elems` values, a multiple of 2, and every channel a panel: 8 biases, 8 multipliers and
        // `taps * tap_elems * 8` weights.
        unsafe {
            let sweep = Sweep {
                rows: tile.rows.add(first * tile.taps),
                taps: tile.taps,
                tap_elems: tile.tap_elems,
                panel: tile.panel,
                panels: 0,
                out: ptr::null_mut(),
                out_stride: tile.out_stride,
                is_special: tile.residual.is_some().into(),
                range: &range,
                sums: ptr::null_mut(),
                distance: tile.residual.map_or(0, |residual| residual.distance),
                multiplier: tile.residual.map_or(0.0, |residual| residual.multiplier),
            };
            match tile.out.add(first * tile.out_stride) {
                TileOutput::I8(out, _) => bytes(tile, run, pixels, Sweep { out, ..sweep }),
                TileOutput::F32(out) => floats(tile, run, pixels, sweep, out),
            }
        }
        first += pixels;
    }
}

/// # Safety
/// `sweep` is as documented but for `panels`; `run` is the function for `pixels`.
#[inline(always)]
unsafe fn bytes(tile: &gemm::Tile, run: unsafe extern "C" fn(*const Sweep), pixels: usize, sweep: Sweep) {
    let (panels, rest) = (tile.live_channels / NR, tile.live_channels % NR);
    // SAFETY: the output has room for whole panels of live channels; what the last panel has beside these
    // goes to the stack, and what is added to it comes from there.
    unsafe {
        if panels > 0 {
            run(&Sweep { panels, ..sweep });
        }
        if rest > 0 {
            let [mut results, mut added] = [[0; TILE * NR]; 2];
            let mut distance = 0;
            if let Some(residual) = &tile.residual {
                for pixel in 0..pixels {
                    let from = residual.of(sweep.out.add(pixel * sweep.out_stride + panels * NR));
                    added.as_mut_ptr().add(pixel * NR).copy_from_nonoverlapping(from, rest);
                }
                distance = TileResidual::between(added.as_ptr(), results.as_ptr(), 0.0).distance;
            }
            run(&Sweep {
                panel: sweep.panel.add(panels * tile.panel_bytes),
                panels: 1,
                out: results.as_mut_ptr(),
                out_stride: NR,
                distance,
                ..sweep
            });
            for pixel in 0..pixels {
                let to = sweep.out.add(pixel * sweep.out_stride + panels * NR);
                to.copy_from_nonoverlapping(results.as_ptr().add(pixel * NR), rest);
            }
        }
    }
}

/// # Safety
/// As `bytes`; `out` has room for the live channels of the pixels.
unsafe fn floats(
    tile: &gemm::Tile,
    run: unsafe extern "C" fn(*const Sweep),
    pixels: usize,
    sweep: Sweep,
    out: *mut f32,
) {
    for first in (0..tile.live_channels).step_by(NR) {
        let mut sums = [[0; NR]; TILE];
        let live = (tile.live_channels - first).min(NR);
        // SAFETY: the channel `first` is live, and a panel begins there.
        unsafe {
            let panel = sweep.panel.add(first / NR * tile.panel_bytes);
            run(&Sweep { panel, panels: 1, is_special: 1, sums: sums.as_mut_ptr().cast(), ..sweep });
            let multiplier: *const f32 = panel.add(NR * 4).cast();
            for (pixel, sums) in sums[..pixels].iter().enumerate() {
                let out = out.add(pixel * sweep.out_stride + first);
                for (n, &sum) in sums[..live].iter().enumerate() {
                    *out.add(n) = sum as f32 * *multiplier.add(n);
                }
            }
        }
    }
}
