//! The rows of processors that multiply one value at a time: Cortex-M0+, Cortex-M3, RISC-V without vectors.
//!
//! Four channels at a time share what is read of the input, four values of k in a turn of the loop, so that for one
//! multiply-add there are 1.25 loads, and a fifth of what a loop costs. Nothing is gathered: what lies outside the image
//! is not read, but its zero point multiplied with the sum of the weights there. Loops are unrolled in the source, since
//! firmware is mostly compiled for size.

use super::{ConvArgs, ConvShape, Output, Residual, WeightSource, Weights, reference};

/// Channels that are computed together.
const TILE: usize = 4;

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv_row(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    let count = shape.group_out_channels();
    let k = shape.taps() * shape.group_in_channels();
    let layer = Layer { shape: &shape, input: args.input.as_ptr(), zero_point: args.input_zero_point.into() };
    let mut results = Results { output: &mut args.output, residual: args.residual, weights: &weights };
    let mut at = 0;
    for_each_pixel(&shape, |image, oy, ox| {
        for group in 0..shape.groups {
            let pixel = Pixel::new(&shape, oy, ox, image, group);
            let (mut channel, end) = (group * count, (group + 1) * count);
            while channel < end {
                // The last tile begins early enough to be whole; where there are too few channels, each is all of its
                // own one.
                let (start, pitch) = if count < TILE { (channel, 0) } else { (channel.min(end - TILE), k) };
                let tile = if pitch == 0 { start..start + 1 } else { channel..start + TILE };
                // SAFETY: the channels exist; so do their weights, biases and multipliers, and their results' places.
                unsafe {
                    let sums = layer.sums(&pixel, weights.weights.as_ptr().add(start * k), pitch);
                    for (channel, &sum) in (start..).zip(&sums).skip(tile.start - start).take(tile.len()) {
                        results.store(at + channel, channel, sum);
                    }
                }
                channel = tile.end;
            }
        }
        at += shape.out_channels;
    });
}

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise_row(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    let channels = shape.in_channels;
    let zero_point = args.input_zero_point.into();
    let input = args.input.as_ptr();
    if channels < TILE {
        return reference::depthwise(args, &weights);
    }
    let mut results = Results { output: &mut args.output, residual: None, weights: &weights };
    let mut at = 0;
    for_each_pixel(&shape, |image, oy, ox| {
        let pixel = Pixel::new(&shape, oy, ox, image, 0);
        for first in (0..channels).step_by(TILE) {
            // The last tile begins early enough to be whole: some channels are computed twice.
            let first = first.min(channels - TILE);
            // SAFETY: the channels exist.
            unsafe {
                let from = weights.weights.as_ptr().add(first);
                let sums = depthwise_sums(&shape, &pixel, input.add(first), from, zero_point);
                sums.iter().enumerate().for_each(|(n, &sum)| results.store(at + first + n, first + n, sum));
            }
        }
        at += channels;
    });
}

/// Calls `visit` with image, line and column of every output pixel, in their order.
#[inline(always)]
fn for_each_pixel(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    for image in 0..shape.batch {
        for oy in 0..shape.out_h {
            for ox in 0..shape.out_w {
                visit(image, oy, ox);
            }
        }
    }
}

/// The taps of an output pixel along one axis that are inside the image: the first, and how many.
#[derive(Clone, Copy)]
pub(super) struct Inside {
    pub first: usize,
    pub count: usize,
    /// Where the first of them is.
    position: usize,
}

impl Inside {
    #[inline(always)]
    fn new(start: usize, pad: usize, size: usize, kernel: usize, dilation: usize) -> Self {
        // A division is a call of dozens of instructions where there is none for it.
        let steps = |elems: usize| if dilation <= 1 { elems } else { elems.div_ceil(dilation) };
        let first = steps(pad.saturating_sub(start));
        let end = steps(size.saturating_add(pad).saturating_sub(start)).min(kernel);
        match end.checked_sub(first) {
            None | Some(0) => Self { first: 0, count: 0, position: 0 },
            Some(count) => Self { first, count, position: start + first * dilation - pad },
        }
    }
}

/// What an output pixel reads.
pub(super) struct Pixel {
    pub rows: Inside,
    pub columns: Inside,
    /// Element of the input that the first tap inside reads, of the group's first channel.
    pub from: usize,
}

impl Pixel {
    #[inline(always)]
    pub fn new(shape: &ConvShape, oy: usize, ox: usize, image: usize, group: usize) -> Self {
        let rows =
            Inside::new(oy * shape.stride_h, shape.pad_top, shape.in_h, shape.kernel_h, shape.dilation_h);
        let columns =
            Inside::new(ox * shape.stride_w, shape.pad_left, shape.in_w, shape.kernel_w, shape.dilation_w);
        let at = (image * shape.in_h + rows.position) * shape.in_w + columns.position;
        let from = at * shape.in_channels + group * shape.group_in_channels();
        Self { rows, columns, from }
    }
}

/// A convolution that is not depthwise.
struct Layer<'a> {
    shape: &'a ConvShape,
    input: *const i8,
    zero_point: i32,
}

impl Layer<'_> {
    /// Products of a pixel with the weights of four channels, `pitch` apart.
    ///
    /// # Safety
    /// The pixel and the weights exist.
    #[inline(never)]
    unsafe fn sums(&self, pixel: &Pixel, weights: *const i8, pitch: usize) -> [i32; TILE] {
        let shape = self.shape;
        let channels = shape.group_in_channels();
        let Pixel { rows, columns, from } = pixel;
        let mut sums = [0; TILE];
        // Taps beside each other are one stretch.
        let in_line = shape.dilation_w == 1 && shape.groups == 1;
        let (stretches, elems) =
            if in_line { (1, columns.count * channels) } else { (columns.count, channels) };
        for row in 0..rows.count {
            let tap = (rows.first + row) * shape.kernel_w + columns.first;
            let start = from + row * shape.dilation_h * shape.in_w * shape.in_channels;
            for stretch in 0..stretches {
                // SAFETY: the taps are inside the image, by `Inside`.
                unsafe {
                    let x = self.input.add(start + stretch * shape.dilation_w * shape.in_channels);
                    sums = products(x, weights.add((tap + stretch) * channels), pitch, elems, sums);
                }
            }
        }
        let is_clipped = rows.count < shape.kernel_h || columns.count < shape.kernel_w;
        if is_clipped && self.zero_point != 0 {
            for ky in 0..shape.kernel_h {
                let is_row = ky.wrapping_sub(rows.first) < rows.count;
                let (left, right) = match is_row {
                    true => (columns.first, columns.first + columns.count),
                    false => (shape.kernel_w, shape.kernel_w),
                };
                for (first, end) in [(0, left), (right, shape.kernel_w)] {
                    let w = weights.wrapping_add((ky * shape.kernel_w + first) * channels);
                    // SAFETY: the taps have weights.
                    sums = unsafe { padding(self.zero_point, w, pitch, (end - first) * channels, sums) };
                }
            }
        }
        sums
    }
}

/// Adds the products of `elems` values with the weights of four channels, `pitch` apart.
///
/// # Safety
/// The values and the weights exist.
#[inline(always)]
unsafe fn products(x: *const i8, w: *const i8, pitch: usize, elems: usize, sums: [i32; TILE]) -> [i32; TILE] {
    let [mut a, mut b, mut c, mut d] = sums;
    let (mut x, mut wa) = (x, w);
    // SAFETY: the caller's promise.
    unsafe {
        let mut wb = wa.wrapping_add(pitch);
        let mut wc = wb.wrapping_add(pitch);
        let mut wd = wc.wrapping_add(pitch);
        macro_rules! step {
            ($at:literal) => {
                let value = i32::from(*x.add($at));
                a = a.wrapping_add(value * i32::from(*wa.add($at)));
                b = b.wrapping_add(value * i32::from(*wb.add($at)));
                c = c.wrapping_add(value * i32::from(*wc.add($at)));
                d = d.wrapping_add(value * i32::from(*wd.add($at)));
            };
        }
        macro_rules! advance {
            ($by:literal) => {
                x = x.wrapping_add($by);
                wa = wa.wrapping_add($by);
                wb = wb.wrapping_add($by);
                wc = wc.wrapping_add($by);
                wd = wd.wrapping_add($by);
            };
        }
        for _ in 0..elems / 4 {
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            advance!(4);
        }
        for _ in 0..elems % 4 {
            step!(0);
            advance!(1);
        }
    }
    [a, b, c, d]
}

/// Adds the products of a value with `elems` weights of four channels, `pitch` apart.
///
/// # Safety
/// The weights exist.
#[inline(never)]
unsafe fn padding(value: i32, w: *const i8, pitch: usize, elems: usize, sums: [i32; TILE]) -> [i32; TILE] {
    let [mut a, mut b, mut c, mut d] = sums;
    for at in 0..elems {
        // SAFETY: the caller's promise.
        unsafe {
            let w = w.add(at);
            a = a.wrapping_add(value * i32::from(*w));
            b = b.wrapping_add(value * i32::from(*w.add(pitch)));
            c = c.wrapping_add(value * i32::from(*w.add(2 * pitch)));
            d = d.wrapping_add(value * i32::from(*w.add(3 * pitch)));
        }
    }
    [a, b, c, d]
}

/// Products of a pixel's taps with four channels beside each other, from those that `image` and `weights` point at.
///
/// # Safety
/// The pixel and the channels exist.
#[inline(never)]
unsafe fn depthwise_sums(
    shape: &ConvShape,
    pixel: &Pixel,
    image: *const i8,
    weights: *const i8,
    zero_point: i32,
) -> [i32; TILE] {
    let channels = shape.in_channels;
    let [mut a, mut b, mut c, mut d] = [0i32; TILE];
    macro_rules! tap {
        ($x:ident, $w:ident) => {
            a = a.wrapping_add($x(0) * i32::from(*$w));
            b = b.wrapping_add($x(1) * i32::from(*$w.add(1)));
            c = c.wrapping_add($x(2) * i32::from(*$w.add(2)));
            d = d.wrapping_add($x(3) * i32::from(*$w.add(3)));
        };
    }
    // A dilation may be of any size where there is no second tap to reach.
    let row_step = shape.dilation_h.wrapping_mul(shape.in_w * channels);
    let column_step = shape.dilation_w.wrapping_mul(channels);
    let Pixel { rows, columns, from } = pixel;
    let mut line = image.wrapping_add(*from);
    let mut weights_line = weights.wrapping_add((rows.first * shape.kernel_w + columns.first) * channels);
    for _ in 0..rows.count {
        let (mut from, mut w) = (line, weights_line);
        for _ in 0..columns.count {
            // SAFETY: the tap is inside the image, and has weights.
            unsafe {
                let x = |n| i32::from(*from.add(n));
                tap!(x, w);
            }
            from = from.wrapping_add(column_step);
            w = w.wrapping_add(channels);
        }
        line = line.wrapping_add(row_step);
        weights_line = weights_line.wrapping_add(shape.kernel_w * channels);
    }
    if zero_point != 0 && (rows.count < shape.kernel_h || columns.count < shape.kernel_w) {
        let mut w = weights;
        let x = |_| zero_point;
        for ky in 0..shape.kernel_h {
            let is_row = ky.wrapping_sub(rows.first) < rows.count;
            for kx in 0..shape.kernel_w {
                if !is_row || kx.wrapping_sub(columns.first) >= columns.count {
                    // SAFETY: every tap has weights.
                    unsafe {
                        tap!(x, w);
                    }
                }
                w = w.wrapping_add(channels);
            }
        }
    }
    [a, b, c, d]
}

/// Where results go.
struct Results<'a, 'o, 'w> {
    output: &'a mut Output<'o>,
    residual: Option<Residual<'o>>,
    weights: &'a Weights<'w>,
}

impl Results<'_, '_, '_> {
    /// Stores the result at element `at`, of a channel's products without its bias.
    ///
    /// # Safety
    /// The channel exists, and so does the element of the output, and of what is added.
    #[inline(always)]
    unsafe fn store(&mut self, at: usize, channel: usize, products: i32) {
        // SAFETY: the caller's promise.
        unsafe {
            let sum = self.weights.bias.get_unchecked(channel).wrapping_add(products);
            let multiplier = *self.weights.multiplier.get_unchecked(channel);
            match self.output {
                Output::I8(out, range) => {
                    let out = out.get_unchecked_mut(at);
                    *out = match self.residual {
                        None => range.requantize(sum, multiplier),
                        Some(residual) => {
                            let added = residual.values.map_or(*out, |values| *values.get_unchecked(at));
                            range.requantize_sum(sum, multiplier, added, residual.multiplier)
                        }
                    };
                }
                Output::F32(out) => *out.get_unchecked_mut(at) = sum as f32 * multiplier,
            }
        }
    }
}
