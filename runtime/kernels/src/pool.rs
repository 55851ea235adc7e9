//! Maximum and average pooling over `[N, H, W, C]`, and with them means over any run of axes.

use crate::parts::stretch;
use crate::parts::{cut_front, share};
use crate::requantize::OutputRange;

#[cfg(target_arch = "aarch64")]
pub(crate) mod aarch64_neon;
#[cfg(all(target_arch = "arm", target_os = "linux"))]
pub(crate) mod armv7_neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx512;

/// What a window becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolOp {
    /// The largest value; padding does not count. The output has the input's scale and zero point.
    Max,
    /// `quantize((sum of (x - zero_point)) as f32 * (multiplier / count as f32))`.
    Average {
        /// The input's zero point.
        zero_point: i32,
        /// Input scale / output scale.
        multiplier: f32,
        /// Whether the positions of the padding (not those beyond it) count as zeros.
        count_include_pad: bool,
        /// The output's range.
        output: OutputRange,
    },
}

/// A pooling: of int8, or with another operation of f32. Every window has at least one position inside the input,
/// except that one of f32 and an average which counts padding may lie in the padding alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolArgs<O = PoolOp> {
    /// The operation.
    pub op: O,
    /// N: images.
    pub batch: usize,
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Window height.
    pub kernel_h: usize,
    /// Window width.
    pub kernel_w: usize,
    /// Vertical stride.
    pub stride_h: usize,
    /// Horizontal stride.
    pub stride_w: usize,
    /// Vertical distance of a window's positions.
    pub dilation_h: usize,
    /// Horizontal distance of a window's positions.
    pub dilation_w: usize,
    /// Rows of padding: above, below.
    pub pad_h: [usize; 2],
    /// Columns of padding: left, right.
    pub pad_w: [usize; 2],
}

impl<O> PoolArgs<O> {
    /// Elements of the input.
    pub fn input_elems(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.channels
    }

    /// Elements of the output.
    pub fn output_elems(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.channels
    }
}

impl PoolArgs {
    /// Cuts a pooling into at most `parts.len()` of about the same work, which may go on at the same
    /// time: images, or lines of the one image, each with what they read and write. Gives how many there
    /// are, at least one.
    pub fn split<'a>(
        &self,
        input: &'a [i8],
        mut output: &'a mut [i8],
        parts: &mut [Option<Part<'a>>],
    ) -> usize {
        let line = self.in_w * self.channels;
        // Below this line windows lie in the padding alone, and no input would be left.
        let last_line = ((self.out_h - 1).saturating_mul(self.stride_h)).saturating_sub(self.pad_h[0]);
        let units = match self.batch {
            1 if last_line < self.in_h => self.out_h,
            1 => 1,
            images => images,
        };
        let count = parts.len().min(units);
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            let units = share(units, count, index);
            let (mut args, start) = (*self, units.start);
            let skipped = if self.batch > 1 {
                args.batch = units.len();
                start * self.in_h
            } else if count > 1 {
                let top = start * self.stride_h;
                args.out_h = units.len();
                args.pad_h[0] = self.pad_h[0].saturating_sub(top);
                let skipped = top.saturating_sub(self.pad_h[0]);
                args.in_h -= skipped;
                skipped
            } else {
                0
            };
            let output = cut_front(&mut output, args.output_elems());
            let input = input.get(skipped * line..).unwrap_or(&[]);
            let input = input.get(..args.input_elems()).unwrap_or(input);
            *part = Some((args, input, output));
        }
        count
    }
}

/// A pooling with its input and output.
pub type Part<'a> = (PoolArgs, &'a [i8], &'a mut [i8]);

/// Positions of a window along one axis: those inside the input, and how many count.
struct Window {
    start: usize,
    dilation: usize,
    pad: usize,
    size: usize,
    kernel: usize,
    padded: usize,
}

impl Window {
    #[inline(always)]
    fn inside(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.kernel)
            .filter_map(|k| (self.start + k * self.dilation).checked_sub(self.pad))
            .filter(|&position| position < self.size)
    }

    /// The first position inside the input, and how many there are.
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        all(target_arch = "arm", target_os = "linux")
    ))]
    #[inline(always)]
    fn range(&self) -> (usize, usize) {
        let first = self.pad.saturating_sub(self.start).div_ceil(self.dilation);
        let end = (self.size + self.pad).saturating_sub(self.start).div_ceil(self.dilation).min(self.kernel);
        match end.checked_sub(first) {
            None | Some(0) => (0, 0),
            Some(count) => (self.start + first * self.dilation - self.pad, count),
        }
    }

    fn counted_with_padding(&self) -> usize {
        (0..self.kernel).filter(|k| self.start + k * self.dilation < self.padded).count()
    }
}

/// Channels are pooled in blocks of this many, so that the sums stay in registers.
const BLOCK: usize = 64;

/// Runs a pooling over slices of [`PoolArgs::input_elems`] and [`PoolArgs::output_elems`].
#[inline(always)]
pub fn pool(args: &PoolArgs, input: &[i8], output: &mut [i8]) {
    for_each_window(args, input, output, |image, rows, columns, pixel| {
        pool_pixel(args, image, rows, columns, pixel);
    });
}

/// Visits the image, rows, columns and output pixel of every window.
#[inline(always)]
fn for_each_window(
    args: &PoolArgs,
    input: &[i8],
    output: &mut [i8],
    mut visit: impl FnMut(&[i8], &Window, &Window, &mut [i8]),
) {
    let line = args.in_w * args.channels;
    let mut pixels = output.chunks_exact_mut(args.channels.max(1));
    for image in input.chunks_exact((args.in_h * line).max(1)) {
        for oy in 0..args.out_h {
            let rows = Window {
                start: oy * args.stride_h,
                dilation: args.dilation_h,
                pad: args.pad_h[0],
                size: args.in_h,
                kernel: args.kernel_h,
                padded: args.pad_h[0] + args.in_h + args.pad_h[1],
            };
            for ox in 0..args.out_w {
                let columns = Window {
                    start: ox * args.stride_w,
                    dilation: args.dilation_w,
                    pad: args.pad_w[0],
                    size: args.in_w,
                    kernel: args.kernel_w,
                    padded: args.pad_w[0] + args.in_w + args.pad_w[1],
                };
                let Some(pixel) = pixels.next() else { return };
                visit(image, &rows, &columns, pixel);
            }
        }
    }
}

/// The positions of a window that are inside the image.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Positions {
    /// Channel 0 of the first.
    first: *const i8,
    rows: usize,
    columns: usize,
    /// Elements from one row, and one column, to the next.
    row_step: usize,
    column_step: usize,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Positions {
    fn new(args: &PoolArgs, image: &[i8], rows: &Window, columns: &Window) -> Self {
        let ((y, rows), (x, columns)) = (rows.range(), columns.range());
        Self {
            first: image.as_ptr().wrapping_add((y * args.in_w + x) * args.channels),
            rows,
            columns,
            row_step: args.dilation_h * args.in_w * args.channels,
            column_step: args.dilation_w * args.channels,
        }
    }
}

/// The multiplier of a window's sum.
#[inline(always)]
fn average_multiplier(multiplier: f32, rows: &Window, columns: &Window, count_include_pad: bool) -> f32 {
    let counted = if count_include_pad {
        rows.counted_with_padding() * columns.counted_with_padding()
    } else {
        rows.inside().count() * columns.inside().count()
    };
    multiplier / counted.max(1) as f32
}

#[inline(always)]
fn pool_pixel(args: &PoolArgs, image: &[i8], rows: &Window, columns: &Window, pixel: &mut [i8]) {
    let channels = args.channels;
    let at = |y: usize, x: usize| (y * args.in_w + x) * channels;
    match args.op {
        PoolOp::Max => {
            pixel.fill(i8::MIN);
            for y in rows.inside() {
                for x in columns.inside() {
                    for (largest, &value) in pixel.iter_mut().zip(stretch(image, at(y, x), channels)) {
                        *largest = (*largest).max(value);
                    }
                }
            }
        }
        PoolOp::Average { zero_point, multiplier, count_include_pad, output } => {
            let inside = rows.inside().count() * columns.inside().count();
            let multiplier = average_multiplier(multiplier, rows, columns, count_include_pad);
            for (block, results) in pixel.chunks_mut(BLOCK).enumerate() {
                let mut sums = [-zero_point * inside as i32; BLOCK];
                for y in rows.inside() {
                    for x in columns.inside() {
                        let values = stretch(image, at(y, x) + block * BLOCK, results.len());
                        for (sum, &value) in sums.iter_mut().zip(values) {
                            *sum += value as i32;
                        }
                    }
                }
                for (result, &sum) in results.iter_mut().zip(&sums) {
                    *result = output.requantize(sum, multiplier);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(op: PoolOp) -> PoolArgs {
        PoolArgs {
            op,
            batch: 1,
            in_h: 3,
            in_w: 3,
            channels: 1,
            out_h: 2,
            out_w: 2,
            kernel_h: 2,
            kernel_w: 2,
            stride_h: 2,
            stride_w: 2,
            dilation_h: 1,
            dilation_w: 1,
            pad_h: [0, 0],
            pad_w: [0, 0],
        }
    }

    const INPUT: [i8; 9] = [10, 20, 30, 40, 50, 60, 70, 80, 90];

    #[test]
    fn windows_beyond_the_edge_take_what_is_inside() {
        let mut output = [0; 4];
        pool(&args(PoolOp::Max), &INPUT, &mut output);
        assert_eq!(output, [50, 60, 80, 90]);
        let average = PoolOp::Average {
            zero_point: 0,
            multiplier: 1.0,
            count_include_pad: false,
            output: OutputRange::full(0),
        };
        pool(&args(average), &INPUT, &mut output);
        assert_eq!(output, [30, 45, 75, 90]);
    }

    #[test]
    fn padding_counts_only_where_asked_for() {
        for (count_include_pad, expected) in [(true, [2, 12, 28, 70]), (false, [10, 25, 55, 70])] {
            let op = PoolOp::Average {
                zero_point: 0,
                multiplier: 1.0,
                count_include_pad,
                output: OutputRange::full(0),
            };
            let args = PoolArgs { pad_h: [1, 0], pad_w: [1, 0], ..args(op) };
            let mut output = [0; 4];
            pool(&args, &INPUT, &mut output);
            // 10 / 4 and 110 / 4 are exact halves: to even.
            assert_eq!(output, expected);
        }
    }
}
