//! What an application has (f32 samples, u8 pixels) to the int8 tensor that the first step reads.

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_avx512vbmi;

use crate::requantize::OutputRange;

/// Where the elements of an input lie, by the axes of the int8 tensor (outermost first, unused
/// ones 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputArgs {
    /// Dimensions of the int8 tensor, contiguous in this order.
    pub dims: [usize; 4],
    /// Elements from one index to the next in the application's tensor.
    pub strides: [usize; 4],
}

impl InputArgs {
    /// Elements of the tensor.
    pub fn elems(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the application's tensor lies as the int8 one does.
    fn is_contiguous(&self) -> bool {
        let [_, d1, d2, d3] = self.dims;
        let wanted = [d1 * d2 * d3, d2 * d3, d3, 1];
        self.dims.iter().zip(self.strides).zip(wanted).all(|((&dim, stride), own)| dim == 1 || stride == own)
    }

    /// Each line (along axis 2) of each channel (axis 3): a loop long enough to be worth its start.
    fn for_each_line(&self, mut visit: impl FnMut(Line)) {
        let [d0, d1, d2, d3] = self.dims;
        let s = &self.strides;
        for i0 in 0..d0 {
            for i1 in 0..d1 {
                for channel in 0..d3 {
                    let to = (i0 * d1 + i1) * d2 * d3 + channel;
                    let from = i0 * s[0] + i1 * s[1] + channel * s[3];
                    visit(Line { channel, to, to_step: d3, from, from_step: s[2], count: d2 });
                }
            }
        }
    }
}

/// Lines of pixels of which every channel is contiguous.
#[cfg(target_arch = "x86_64")]
struct Planes {
    channels: usize,
    /// Of each line.
    pixels: usize,
    lines: usize,
    /// Of each image.
    image_lines: usize,
    /// Elements from one to the next in the application's tensor.
    image: usize,
    line: usize,
    plane: usize,
}

#[cfg(target_arch = "x86_64")]
impl Planes {
    /// `None` where the channels are not contiguous, there are none or more than four, or slices of so many
    /// elements do not hold the tensors.
    fn new(args: &InputArgs, input: usize, output: usize) -> Option<Self> {
        let [d0, d1, d2, channels] = args.dims;
        let [s0, s1, s2, plane] = args.strides;
        let elems = args.elems();
        let last: usize = (0..4).map(|axis| args.dims[axis].saturating_sub(1) * args.strides[axis]).sum();
        if elems == 0 || elems > output || last >= input {
            return None;
        }
        if args.is_contiguous() {
            let (image, line, plane) = (0, 0, 0);
            return Some(Self { channels: 1, pixels: elems, lines: 1, image_lines: 1, image, line, plane });
        }
        // Lines that follow one another are one line.
        let (image_lines, pixels) = if s1 == d2 { (1, d1 * d2) } else { (d1, d2) };
        let lines = d0 * image_lines;
        (s2 == 1 && matches!(channels, 2..=4)).then_some(Self {
            channels,
            pixels,
            lines,
            image_lines,
            image: s0,
            line: s1,
            plane,
        })
    }

    /// Where each line begins, in the application's tensor and in the int8 one.
    fn starts(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.lines).map(|index| {
            let from = index / self.image_lines * self.image + index % self.image_lines * self.line;
            (from, index * self.pixels * self.channels)
        })
    }
}

/// Elements of one channel.
struct Line {
    channel: usize,
    /// In the int8 tensor: the first, and from one to the next.
    to: usize,
    to_step: usize,
    /// In the application's tensor.
    from: usize,
    from_step: usize,
    count: usize,
}

/// `q = quantize(x * inverse_scale)`. Not-a-number gives the range's minimum. `input` and `output`
/// have [`InputArgs::elems`].
#[inline(always)]
pub fn quantize_f32(
    args: &InputArgs,
    input: &[f32],
    inverse_scale: f32,
    range: OutputRange,
    output: &mut [i8],
) {
    let quantize = |x: f32| range.quantize(x * inverse_scale);
    if args.is_contiguous() {
        for (y, &x) in output.iter_mut().zip(input) {
            *y = quantize(x);
        }
        return;
    }
    // Firmware does without what is for pictures.
    let plane_step = if cfg!(target_os = "none") { 0 } else { args.strides[2] };
    match (args.dims[3], plane_step) {
        (2, 1) => interleave::<2>(args, input, output, quantize),
        (3, 1) => interleave::<3>(args, input, output, quantize),
        (4, 1) => interleave::<4>(args, input, output, quantize),
        _ => args.for_each_line(|line| {
            for i in 0..line.count {
                let from = input.get(line.from + i * line.from_step);
                if let (Some(&x), Some(y)) = (from, output.get_mut(line.to + i * line.to_step)) {
                    *y = quantize(x);
                }
            }
        }),
    }
}

/// Pixels that are quantized channel by channel before their channels are put together.
const PIXELS: usize = 64;

/// The image of most models: `C` planes, of which the lines are contiguous.
#[inline(always)]
fn interleave<const C: usize>(
    args: &InputArgs,
    input: &[f32],
    output: &mut [i8],
    quantize: impl Fn(f32) -> i8,
) {
    let [_, d1, width, _] = args.dims;
    let [s0, s1, _, s3] = args.strides;
    for (index, line) in output.chunks_exact_mut(width * C).enumerate() {
        let from = index / d1 * s0 + index % d1 * s1;
        for (block, pixels) in line.chunks_mut(PIXELS * C).enumerate() {
            let count = pixels.len() / C;
            let mut planes = [[0; PIXELS]; C];
            for (channel, plane) in planes.iter_mut().enumerate() {
                let values = &input[from + channel * s3 + block * PIXELS..][..count];
                for (y, &x) in plane.iter_mut().zip(values) {
                    *y = quantize(x);
                }
            }
            for (i, pixel) in pixels.as_chunks_mut::<C>().0.iter_mut().enumerate() {
                *pixel = core::array::from_fn(|channel| planes[channel][i]);
            }
        }
    }
}

/// `q = table[channel][pixel]`: the preprocessing (channel order, mean, deviation) and the
/// quantization of a u8 pixel are one table a channel, made by the packager. The last axis is the
/// channel. With `reverse_channels` a model of BGR reads RGB pixels. `tables` is `[channels][256]`;
/// `input` and `output` have [`InputArgs::elems`].
pub fn quantize_u8(args: &InputArgs, input: &[u8], tables: &[i8], reverse_channels: bool, output: &mut [i8]) {
    let (tables, _) = tables.as_chunks::<256>();
    let channels = args.dims[3];
    if args.is_contiguous() && (!reverse_channels || channels == 1) && tables.iter().all(only_shifts) {
        for (y, &x) in output.iter_mut().zip(input) {
            *y = (x ^ 0x80) as i8;
        }
        return;
    }
    if args.is_contiguous() {
        match channels {
            1 => return pixels::<1>(input, tables, false, output),
            3 => return pixels::<3>(input, tables, reverse_channels, output),
            4 => return pixels::<4>(input, tables, reverse_channels, output),
            _ => {}
        }
    }
    args.for_each_line(|line| {
        let Some(table) = tables.get(line.channel) else { return };
        let mirrored = channels - 1 - line.channel;
        let from = if reverse_channels {
            line.from - line.channel * args.strides[3] + mirrored * args.strides[3]
        } else {
            line.from
        };
        for i in 0..line.count {
            let from = input.get(from + i * line.from_step);
            if let (Some(&x), Some(y)) = (from, output.get_mut(line.to + i * line.to_step)) {
                *y = table[x as usize];
            }
        }
    });
}

/// Contiguous pixels of `C` channels.
fn pixels<const C: usize>(input: &[u8], tables: &[[i8; 256]], reverse_channels: bool, output: &mut [i8]) {
    let Some(tables) = tables.first_chunk::<C>() else { return };
    for (y, x) in output.as_chunks_mut::<C>().0.iter_mut().zip(input.as_chunks::<C>().0) {
        for channel in 0..C {
            let from = if reverse_channels { C - 1 - channel } else { channel };
            y[channel] = tables[channel][x[from] as usize];
        }
    }
}

/// Whether a table is `pixel - 128`, as it is where the model takes all of 0 to 255 evenly scaled.
fn only_shifts(table: &[i8; 256]) -> bool {
    table.iter().zip(0..=255u8).all(|(&q, pixel)| q == (pixel ^ 0x80) as i8)
}

/// An f32 sample to an f32 tensor: in another order, if that.
pub fn copy_f32(args: &InputArgs, input: &[f32], output: &mut [f32]) {
    args.for_each_line(|line| {
        for i in 0..line.count {
            let from = input.get(line.from + i * line.from_step);
            if let (Some(&x), Some(y)) = (from, output.get_mut(line.to + i * line.to_step)) {
                *y = x;
            }
        }
    });
}

/// u8 pixels to an f32 tensor, by a table of 256 entries a channel; `reverse_channels` as in
/// [`quantize_u8`].
pub fn lookup_u8_f32(
    args: &InputArgs,
    input: &[u8],
    tables: &[f32],
    reverse_channels: bool,
    output: &mut [f32],
) {
    let (tables, _) = tables.as_chunks::<256>();
    let last = args.dims[3] - 1;
    args.for_each_line(|line| {
        let Some(table) = tables.get(line.channel) else { return };
        // The channel's place among the pixel's.
        let moved = if reverse_channels { last - line.channel } else { line.channel };
        let from = line.from - line.channel * args.strides[3] + moved * args.strides[3];
        for i in 0..line.count {
            let from = input.get(from + i * line.from_step);
            if let (Some(&x), Some(y)) = (from, output.get_mut(line.to + i * line.to_step)) {
                *y = table[x as usize];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn nchw_samples_become_nhwc() {
        // [1, 2, 1, 2] in NCHW: channel 0 is 0.1, 0.2; channel 1 is 0.3, nan.
        let args = InputArgs { dims: [1, 1, 2, 2], strides: [4, 2, 1, 2] };
        let mut output = [0; 4];
        quantize_f32(&args, &[0.1, 0.2, 0.3, f32::NAN], 10.0, OutputRange::full(-1), &mut output);
        assert_eq!(output, [0, 2, 1, -128]);
    }

    #[test]
    fn pixels_go_through_the_table_of_their_channel_in_either_order() {
        let args = InputArgs { dims: [1, 1, 1, 3], strides: [3, 3, 3, 1] };
        let mut tables = [0i8; 3 * 256];
        (tables[7], tables[256 + 8], tables[512 + 9]) = (1, 2, 3);
        let mut output = [0; 3];
        quantize_u8(&args, &[7, 8, 9], &tables, false, &mut output);
        assert_eq!(output, [1, 2, 3]);
        quantize_u8(&args, &[9, 8, 7], &tables, true, &mut output);
        assert_eq!(output, [1, 2, 3]);
    }

    /// Whatever the way through, the result is that of the definition.
    #[test]
    fn every_order_of_axes_gives_the_definition() {
        let dims = [2, 3, 5, 4];
        let orders = [[60, 20, 4, 1], [60, 5, 1, 15], [1, 2, 6, 30], [60, 1, 3, 15]];
        let pixels: Vec<u8> = (0..120).map(|i| (i * 37 % 256) as u8).collect();
        let values: Vec<f32> = pixels.iter().map(|&p| p as f32 / 9.0 - 14.0).collect();
        let shift: Vec<i8> = (0..4).flat_map(|_| (0..=255u8).map(|p| (p ^ 0x80) as i8)).collect();
        let other: Vec<i8> = (0..1024).map(|i| (i * 7 % 251) as u8 as i8).collect();
        for strides in orders {
            let args = InputArgs { dims, strides };
            for reverse in [false, true] {
                for tables in [&shift, &other] {
                    let (mut by_pixels, mut by_values) = ([0; 120], [0; 120]);
                    quantize_u8(&args, &pixels, tables, reverse, &mut by_pixels);
                    quantize_f32(&args, &values, 8.0, OutputRange::full(3), &mut by_values);
                    for at in 0..120 {
                        let index = [at / 60, at / 20 % 3, at / 4 % 5, at % 4];
                        let from = |channel: usize| {
                            let axes = [index[0], index[1], index[2], channel];
                            axes.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>()
                        };
                        let channel = if reverse { 3 - index[3] } else { index[3] };
                        let pixel = pixels[from(channel)] as usize;
                        assert_eq!(by_pixels[at], tables[index[3] * 256 + pixel]);
                        let value = values[from(index[3])];
                        assert_eq!(by_values[at], OutputRange::full(3).quantize(value * 8.0));
                    }
                }
            }
        }
    }
}
