//! Pooling by ARMv7 NEON, in assembly (`armv7/pool.s`), 16 channels at a time.

use super::{PoolArgs, PoolOp, average_multiplier};
use crate::armv7::Range;
use crate::requantize::OutputRange;

unsafe extern "C" {
    fn edgepack_neon32_max_pool(part: *const Part);
    fn edgepack_neon32_average_pool(part: *const Part);
}

/// Channels of a block.
const BLOCK: usize = 16;

/// Pixels of a line whose sum int16 holds.
const MAX_PIXELS: usize = 255;

/// What the assembly reads: the part of a window that is inside the input, which has a pixel at least.
#[repr(C)]
struct Part {
    /// At least [`BLOCK`].
    channels: usize,
    input: *const i8,
    next_pixel: usize,
    pixels: usize,
    next_line: usize,
    lines: usize,
    out: *mut i8,
    constants: *const Constants,
}

#[repr(C, align(16))]
struct Constants {
    multiplier: [f32; 4],
    sum: [i32; 4],
    range: Range,
}

/// [`super::pool`].
///
/// # Safety
/// The processor has NEON.
pub(crate) unsafe fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
    if args.channels < BLOCK || args.kernel_w > MAX_PIXELS {
        return super::pool(args, input, output);
    }
    let range = match args.op {
        PoolOp::Max => OutputRange::full(0),
        PoolOp::Average { output, .. } => output,
    };
    let mut constants = Constants { multiplier: [0.0; 4], sum: [0; 4], range: Range::new(range) };
    super::for_each_window(args, input, output, |image, rows, columns, pixel| {
        let ((y, lines), (x, pixels)) = (rows.range(), columns.range());
        if lines == 0 || pixels == 0 {
            return super::pool_pixel(args, image, rows, columns, pixel);
        }
        let run: unsafe extern "C" fn(*const Part) = match args.op {
            PoolOp::Max => edgepack_neon32_max_pool,
            PoolOp::Average { zero_point, multiplier, count_include_pad, .. } => {
                let multiplier = average_multiplier(multiplier, rows, columns, count_include_pad);
                constants.multiplier = [multiplier; 4];
                constants.sum = [-zero_point * (lines * pixels) as i32; 4];
                edgepack_neon32_average_pool
            }
        };
        // SAFETY: the window's positions inside the image are `lines` by `pixels`, from (`y`, `x`) on, each
        // with all channels; `pixel` has as many.
        unsafe {
            run(&Part {
                channels: args.channels,
                input: image.as_ptr().add((y * args.in_w + x) * args.channels),
                next_pixel: args.dilation_w * args.channels,
                pixels,
                next_line: args.dilation_h * args.in_w * args.channels,
                lines,
                out: pixel.as_mut_ptr(),
                constants: &constants,
            });
        }
    });
}
