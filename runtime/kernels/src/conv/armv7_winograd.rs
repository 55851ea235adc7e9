//! Winograd's method by ARMv7 NEON, in assembly (`armv7/winograd.s`): `vmlal.s16` by lane multiplies a lane of
//! int16 with four others into int32, modulo 2^32. The products of a point take 4 tiles × 8 channels.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;

use super::ConvArgs;
use super::winograd::{self, *};
use crate::armv7;

unsafe extern "C" {
    fn edgepack_neon32_winograd_unpair(from: *const u8, step: usize, to: *mut [[i8; 8 * LANES]; 9]);
    fn edgepack_neon32_winograd_weights(taps: *const [[i8; 8 * LANES]; 9], to: *mut i16, stride: usize);
    fn edgepack_neon32_winograd_columns(lines: *const Lines, to: *mut i16, columns: usize);
    fn edgepack_neon32_winograd_patch(from: *const i16, to: *mut i16, stride: usize);
    fn edgepack_neon32_winograd_multiply_4(
        weights: *const i16,
        inputs: *const i16,
        k: usize,
        to: *mut Products,
    );
    fn edgepack_neon32_winograd_multiply_2(
        weights: *const i16,
        inputs: *const i16,
        k: usize,
        to: *mut Products,
    );
    fn edgepack_neon32_winograd_multiply_1(
        weights: *const i16,
        inputs: *const i16,
        k: usize,
        to: *mut Products,
    );
    fn edgepack_neon32_winograd_bytes(outputs: *const Outputs);
    fn edgepack_neon32_winograd_residual(outputs: *const Outputs);
    fn edgepack_neon32_winograd_sums(outputs: *const Outputs);
}

/// Eight channels of pixels of the lines that are transformed, and from one pixel to the next.
#[repr(C)]
struct Lines {
    from: [*const i8; PATCH],
    step: [usize; PATCH],
}

/// A tile's sums of products, and where its outputs go.
#[repr(C)]
struct Outputs {
    products: *const i32,
    /// What is added to the outputs.
    before: *const i32,
    /// Bytes from one pixel of these to the next.
    before_step: usize,
    /// Of bytes, and of nothing else, this and what follows.
    multiplier: *const f32,
    range: *const armv7::Range,
    out: *mut u8,
    /// Bytes from one line to the next; of sums, from one pixel to the next.
    line: usize,
    pixel: usize,
    constants: [i32; 4],
    /// Of bytes with a residual: its multiplier, and from an output to what is added to it.
    factor: f32,
    distance: isize,
}

/// What the assembly multiplies by.
const CONSTANTS: [i32; 4] = [6, 4, 2, INVERSE_OF_9];

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise.
    unsafe { winograd::run::<Neon>(args) }
}

struct Neon;

impl Kernel for Neon {
    type Range = armv7::Range;

    const TILES: usize = 4;

    #[inline(always)]
    unsafe fn weights(panel: &Panel<'_>, first: usize, to: &mut [i16], stride: usize) {
        assert!(to.len() >= (POINTS - 1) * stride + 8 * LANES);
        let (tap, at) = (panel.channels * LANES, first * LANES);
        assert!(panel.weights.len() >= 8 * tap + at + 8 * LANES);
        let mut bytes = MaybeUninit::uninit();
        // SAFETY: each of nine taps has eight output channels of eight input channels, two by two; the points are
        // inside `to`. The processor has NEON.
        unsafe {
            edgepack_neon32_winograd_unpair(panel.weights.as_ptr().add(at), tap, bytes.as_mut_ptr());
            edgepack_neon32_winograd_weights(bytes.as_ptr(), to.as_mut_ptr(), stride * 2);
        }
    }

    #[inline(always)]
    unsafe fn columns(lines: [(*const i8, usize); PATCH], columns: Range<usize>, to: &mut Columns) {
        let to = &mut to.as_flattened_mut().as_flattened_mut()[columns.start * PATCH * LANES..];
        assert!(to.len() >= columns.len() * PATCH * LANES);
        if !columns.is_empty() {
            let lines = Lines { from: lines.map(|(from, _)| from), step: lines.map(|(_, step)| step) };
            // SAFETY: the caller's promise; the columns are inside `to`.
            unsafe { edgepack_neon32_winograd_columns(&lines, to.as_mut_ptr(), columns.len()) };
        }
    }

    #[inline(always)]
    unsafe fn patch(from: &Columns, column: usize, to: &mut [i16], stride: usize) {
        assert!(to.len() >= (POINTS - 1) * stride + LANES);
        let from = &from.as_flattened().as_flattened()[column * PATCH * LANES..][..PATCH * PATCH * LANES];
        // SAFETY: there are six columns; the points are inside `to`. The processor has NEON.
        unsafe { edgepack_neon32_winograd_patch(from.as_ptr(), to.as_mut_ptr(), stride * 2) };
    }

    #[inline(always)]
    unsafe fn multiply(weights: &[i16], inputs: &[i16], k: usize, tiles: usize, to: &mut Products) {
        assert!(weights.len() >= POINTS * k * LANES && inputs.len() >= POINTS * k * tiles);
        assert!(k > 0 && k.is_multiple_of(8));
        let multiply = match tiles {
            4 => edgepack_neon32_winograd_multiply_4,
            2 => edgepack_neon32_winograd_multiply_2,
            _ => edgepack_neon32_winograd_multiply_1,
        };
        // SAFETY: of every point and eight input channels there are 64 weights, and 8 inputs of each tile, all
        // aligned as the scratch memory is. The processor has NEON.
        unsafe { multiply(weights.as_ptr(), inputs.as_ptr(), k, to) }
    }

    #[inline(always)]
    unsafe fn add(products: &Products, tile: usize, sums: &mut Sums) {
        let step = size_of_val(&sums[0]);
        let sums = sums.as_mut_ptr();
        // SAFETY: the sums of all pixels. The processor has NEON.
        unsafe {
            edgepack_neon32_winograd_sums(&Outputs {
                products: products[0][tile].as_ptr(),
                before: sums.cast(),
                before_step: step,
                multiplier: ptr::null(),
                range: ptr::null(),
                out: sums.cast(),
                line: step,
                pixel: 0,
                constants: CONSTANTS,
                factor: 0.0,
                distance: 0,
            });
        }
    }

    #[inline(always)]
    unsafe fn bytes(products: &Products, tile: usize, constants: &Constants, to: &Bytes<'_, Neon>) {
        // SAFETY: the caller's promise; all pixels have the bias.
        unsafe { bytes(products, tile, (constants.bias.as_ptr(), 0), constants, to) }
    }

    #[inline(always)]
    unsafe fn bytes_after(
        products: &Products,
        tile: usize,
        sums: &mut Sums,
        constants: &Constants,
        to: &Bytes<'_, Neon>,
    ) {
        // SAFETY: the caller's promise; every pixel has its own sums.
        unsafe { bytes(products, tile, (sums.as_ptr().cast(), size_of_val(&sums[0])), constants, to) }
    }
}

/// The outputs of a tile and what was before, of which pixels are so many bytes apart, requantized.
///
/// # Safety
/// As [`Kernel::bytes`]; before all pixels there was something.
unsafe fn bytes(
    products: &Products,
    tile: usize,
    (before, before_step): (*const i32, usize),
    constants: &Constants,
    to: &Bytes<'_, Neon>,
) {
    let run = match to.residual {
        Some(_) => edgepack_neon32_winograd_residual,
        None => edgepack_neon32_winograd_bytes,
    };
    // SAFETY: the caller's promise.
    unsafe {
        run(&Outputs {
            products: products[0][tile].as_ptr(),
            before,
            before_step,
            multiplier: constants.multiplier.as_ptr(),
            range: to.range,
            out: to.out.cast(),
            line: to.line,
            pixel: to.pixel,
            constants: CONSTANTS,
            factor: to.residual.map_or(0.0, |residual| residual.multiplier),
            distance: to.residual.map_or(0, |residual| residual.distance),
        });
    }
}
