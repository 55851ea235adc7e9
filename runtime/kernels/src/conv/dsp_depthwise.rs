//! Depthwise convolution by the DSP extension of Cortex-M: the taps of a line in pairs, two products to an instruction.
//!
//! The lines that a line of the output reads, four channels of some of their pixels, are sign-extended to *planes*: each
//! channel by itself, so that two neighbours are one word, with the padding around them. Lines are in a ring: an output
//! line below needs only what the one above has not read.
//!
//! ```text
//! planes  = [4 channels][lines of the ring × width] i16
//! weights = [4 channels][words]:  for 3 × 3 of each line (w0, w1) and (w1, w2), else the taps in pairs
//! ```
//! Of a 3 × 3 kernel two pixels beside each other take five instructions for six products a line: `ldrd` loads x0 to x3,
//! of which the first pixel needs `smlad` (x0, x1) and `smlabt` x2, the second `smlatb` x1 and `smlad` (x2, x3).

use core::arch::{asm, naked_asm};

use super::results::TileOutput;
use super::{ConvArgs, ConvShape, WeightSource, Weights, dsp_store, reference};

/// Channels of a block: the bytes of a word.
const CHANNELS: usize = 4;

/// Pixels of a channel's plane.
const PLANE: usize = 192;

/// Output pixels of a line at a time.
const PIXELS: usize = 32;

/// Words of a channel's weights.
const WORDS: usize = 32;

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    let (across, along) = axes(&shape);
    let Some(strip) = Strip::new(&across, &along).filter(|_| shape.in_channels >= CHANNELS) else {
        return reference::depthwise(args, &weights);
    };
    let (out, _) = TileOutput::of(&mut args.output, None);
    let mut block = Block {
        zero_point: args.input_zero_point.into(),
        strip,
        planes: [[0; PLANE]; CHANNELS],
        weights: [[0; WORDS]; CHANNELS],
        bias: [0; CHANNELS],
        sums: [[0; PIXELS]; CHANNELS],
    };
    for image in 0..shape.batch {
        for first in (0..shape.in_channels).step_by(CHANNELS) {
            // The last block starts early enough to be whole: some channels are computed twice.
            let first = first.min(shape.in_channels - CHANNELS);
            block.prepare(&across, &along, &weights, first);
            // SAFETY: the image and the block's channels exist, and have multipliers.
            unsafe {
                let image_pixels = [shape.in_h * shape.in_w, shape.out_h * shape.out_w];
                let input = args.input.as_ptr().add(image * image_pixels[0] * shape.in_channels + first);
                let out = out.add(image * image_pixels[1] * shape.in_channels + first);
                let multiplier = &*weights.multiplier.as_ptr().add(first).cast::<[f32; CHANNELS]>();
                for start in (0..along.out).step_by(block.strip.pixels.max(1)) {
                    block.lines(&across, &along, start, input, out, multiplier);
                }
            }
        }
    }
}

/// One of an image's two directions.
struct Axis {
    /// Pixels of the input and of the output.
    size: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
    /// Elements from one pixel to the next: of the input, the output and the weights.
    step: usize,
    out_step: usize,
    weight_step: usize,
}

/// Across lines and along them. Where lines are short and many, columns are taken for lines.
fn axes(shape: &ConvShape) -> (Axis, Axis) {
    let channels = shape.in_channels;
    let vertical = Axis {
        size: shape.in_h,
        out: shape.out_h,
        kernel: shape.kernel_h,
        stride: shape.stride_h,
        dilation: shape.dilation_h,
        pad: shape.pad_top,
        step: shape.in_w * channels,
        out_step: shape.out_w * channels,
        weight_step: shape.kernel_w * channels,
    };
    let horizontal = Axis {
        size: shape.in_w,
        out: shape.out_w,
        kernel: shape.kernel_w,
        stride: shape.stride_w,
        dilation: shape.dilation_w,
        pad: shape.pad_left,
        step: channels,
        out_step: channels,
        weight_step: channels,
    };
    if shape.out_w < PIXELS / 2 && shape.out_h > shape.out_w {
        (horizontal, vertical)
    } else {
        (vertical, horizontal)
    }
}

/// What is computed at a time: a stretch of each line of the output.
#[derive(Clone, Copy)]
struct Strip {
    /// Output pixels of a line: even.
    pixels: usize,
    /// Pixels of a line of the plane, and lines of the ring.
    width: usize,
    ring: usize,
    /// The assembly for this kernel; `None`: any.
    run: Option<unsafe extern "C" fn(*mut Lines)>,
    /// Words of a line's weights where it is any.
    line_words: usize,
}

impl Strip {
    /// `None` where the kernel is too large.
    fn new(across: &Axis, along: &Axis) -> Option<Self> {
        let reach = |axis: &Axis| (axis.kernel - 1).checked_mul(axis.dilation);
        let ring = reach(across)?.checked_add(1)?;
        // Words are read whole: one pixel more.
        let beyond = reach(along)?.checked_add(2)?;
        let steps = (PLANE.checked_div(ring)? & !1).checked_sub(beyond)?.checked_div(along.stride)?;
        let pixels = (steps.min(PIXELS - 1) + 1).min(along.out.next_multiple_of(2)) & !1;
        let width = ((pixels.checked_sub(1)?) * along.stride + beyond).next_multiple_of(2);
        let line_words = along.kernel.div_ceil(2);
        let run: Option<unsafe extern "C" fn(*mut Lines)> =
            match (across.kernel, along.kernel, along.dilation, along.stride) {
                (3, 3, 1, 1) => Some(edgepack_dsp_depthwise_1),
                (3, 3, 1, 2) => Some(edgepack_dsp_depthwise_2),
                _ => None,
            };
        (line_words * across.kernel <= WORDS).then_some(Self { pixels, width, ring, run, line_words })
    }

    /// Where a line is in the planes, counted from the first line of padding.
    fn slot(&self, line: usize) -> usize {
        line.checked_rem(self.ring).unwrap_or(0) * self.width
    }
}

/// What the assembly reads: the lines of four channels, of which it goes from one to the next.
#[repr(C)]
struct Lines {
    /// Of the first channel's plane.
    rows: [*const i16; 3],
    weights: *const u32,
    bias: *const i32,
    sums: *mut i32,
    /// Bytes of a line's sums: of an even number.
    bytes: usize,
    channels: usize,
}

/// What is the same for all strips of a block of channels, and the memory for one.
#[repr(C, align(8))]
struct Block {
    planes: [[i16; PLANE]; CHANNELS],
    sums: [[i32; PIXELS]; CHANNELS],
    weights: [[u32; WORDS]; CHANNELS],
    bias: [i32; CHANNELS],
    zero_point: i16,
    strip: Strip,
}

impl Block {
    /// Turns to the block that begins at channel `first`.
    fn prepare(&mut self, across: &Axis, along: &Axis, weights: &Weights<'_>, first: usize) {
        for (channel, bias) in self.bias.iter_mut().enumerate() {
            // SAFETY: the block's channels exist.
            *bias = unsafe { *weights.bias.as_ptr().add(first + channel) };
        }
        let mut line = weights.weights.as_ptr().wrapping_add(first);
        let mut at = 0;
        for _ in 0..across.kernel {
            // A tap's weights of all four channels, and nothing behind the last.
            let tap = |kx: usize| match kx < along.kernel {
                // SAFETY: a tap of the kernel, and the block's channels.
                true => unsafe { line.add(kx * along.weight_step).cast::<u32>().read_unaligned() },
                false => 0,
            };
            if self.strip.run.is_some() {
                let [a, b, c] = [tap(0), tap(1), tap(2)];
                self.pair(at, a, b);
                self.pair(at + 1, b, c);
                at += 2;
            } else {
                for pair in 0..self.strip.line_words {
                    self.pair(at, tap(2 * pair), tap(2 * pair + 1));
                    at += 1;
                }
            }
            line = line.wrapping_add(across.weight_step);
        }
    }

    /// Puts two taps' weights beside each other, each channel's in a word of its own.
    #[inline(always)]
    fn pair(&mut self, at: usize, first: u32, second: u32) {
        let even = |word| sxtb16(word);
        let odd = |word: u32| sxtb16(word.rotate_right(8));
        let low = |first: u32, second: u32| (first & 0xffff) | (second << 16);
        let high = |first: u32, second: u32| (first >> 16) | (second & 0xffff_0000);
        let words = [
            low(even(first), even(second)),
            low(odd(first), odd(second)),
            high(even(first), even(second)),
            high(odd(first), odd(second)),
        ];
        for (channel, word) in self.weights.iter_mut().zip(words) {
            if let Some(to) = channel.get_mut(at) {
                *to = word;
            }
        }
    }

    /// Computes the strip from pixel `start` of each line on.
    ///
    /// # Safety
    /// `input` and `out` are an image's, at the block's first channel.
    unsafe fn lines(
        &mut self,
        across: &Axis,
        along: &Axis,
        start: usize,
        input: *const i8,
        out: TileOutput,
        multiplier: &[f32; CHANNELS],
    ) {
        let pixels = self.strip.pixels.min(along.out - start);
        let mut filled = 0;
        for line in 0..across.out {
            let top = line * across.stride;
            for at in filled.max(top)..top + self.strip.ring {
                // SAFETY: the caller's promise.
                unsafe { self.fill(across, along, at, start * along.stride, input) };
            }
            filled = top + self.strip.ring;
            // SAFETY: the ring has all lines that this one reads; the output has the pixels.
            unsafe {
                self.sum(across, along, top, pixels);
                self.store(
                    out.add(line * across.out_step + start * along.out_step),
                    pixels,
                    along,
                    multiplier,
                );
            }
        }
    }

    /// Brings a line to its place in the ring, from a pixel on; both are counted from the padding's first.
    ///
    /// # Safety
    /// `input` is an image's.
    unsafe fn fill(&mut self, across: &Axis, along: &Axis, line: usize, start: usize, input: *const i8) {
        let (slot, width) = (self.strip.slot(line), self.strip.width);
        let y = line.wrapping_sub(across.pad);
        let before = along.pad.saturating_sub(start).min(width);
        let first = (start + before).saturating_sub(along.pad);
        let inside = if y < across.size { along.size.saturating_sub(first).min(width - before) } else { 0 };
        let planes = self.planes.as_mut_ptr().cast::<i16>();
        for (start, count) in [(0, before), (before + inside, width - before - inside)] {
            let mut at = planes.wrapping_add(slot + start);
            for _ in 0..count {
                // SAFETY: the line is inside the planes, since `ring * width` is at most a plane's size.
                unsafe {
                    at.write(self.zero_point);
                    at.add(PLANE).write(self.zero_point);
                    at.add(2 * PLANE).write(self.zero_point);
                    at.add(3 * PLANE).write(self.zero_point);
                    at = at.add(1);
                }
            }
        }
        if inside > 0 {
            // SAFETY: the pixels are inside the image, and their places inside the planes.
            unsafe {
                let from = input.add(y * across.step + first * along.step);
                edgepack_dsp_planes(from, along.step, inside, planes.add(slot + before));
            }
        }
    }

    /// Computes the sums of a line, all four channels.
    ///
    /// # Safety
    /// The ring has the lines from `top` on; `pixels` are at most the strip's.
    #[inline(always)]
    unsafe fn sum(&mut self, across: &Axis, along: &Axis, top: usize, pixels: usize) {
        let (planes, strip) = (self.planes.as_ptr().cast::<i16>(), self.strip);
        let row = |ky: usize| planes.wrapping_add(strip.slot(top + ky * across.dilation));
        if let Some(run) = self.strip.run {
            let mut lines = Lines {
                rows: [row(0), row(1), row(2)],
                weights: self.weights.as_ptr().cast(),
                bias: self.bias.as_ptr(),
                sums: self.sums.as_mut_ptr().cast(),
                bytes: pixels.next_multiple_of(2) * size_of::<i32>(),
                channels: CHANNELS,
            };
            // SAFETY: all pixels that an even number of results reads are in the planes, by `Strip::new`.
            unsafe { run(&mut lines) };
            return;
        }
        for channel in 0..CHANNELS {
            let mut weights = self.weights[channel].as_ptr();
            self.sums[channel] = [self.bias[channel]; PIXELS];
            for ky in 0..across.kernel {
                let from = row(ky).wrapping_add(channel * PLANE);
                for (pixel, sum) in self.sums[channel].iter_mut().enumerate().take(pixels) {
                    // SAFETY: the taps of the strip's pixels are in the plane, and one pixel behind them.
                    unsafe {
                        let at = from.add(pixel * along.stride);
                        *sum = if along.dilation == 1 {
                            line_of_pairs(at, weights, self.strip.line_words, *sum)
                        } else {
                            line_of_taps(at, along, weights.cast(), *sum)
                        };
                    }
                }
                weights = weights.wrapping_add(self.strip.line_words);
            }
        }
    }

    /// Stores a line's results.
    ///
    /// # Safety
    /// `out` has room for `pixels`, which have sums.
    #[inline(always)]
    unsafe fn store(&self, out: TileOutput, pixels: usize, along: &Axis, multiplier: &[f32; CHANNELS]) {
        for (channel, (sums, &multiplier)) in self.sums.iter().zip(multiplier).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { dsp_store::pixels(sums.as_ptr(), multiplier, out.add(channel), along.out_step, pixels) };
        }
    }
}

/// The even bytes of a word as 16 bits each, with their signs.
#[inline(always)]
fn sxtb16(word: u32) -> u32 {
    let lanes;
    // SAFETY: the instruction is one of the extension, for whose rows this is.
    unsafe {
        asm!("sxtb16 {lanes}, {word}", lanes = lateout(reg) lanes, word = in(reg) word,
            options(pure, nomem, nostack, preserves_flags));
    }
    lanes
}

/// Adds the products of a line's taps, which lie beside each other.
///
/// # Safety
/// There are `words` words of weights and of pixels.
#[inline(always)]
unsafe fn line_of_pairs(pixels: *const i16, weights: *const u32, words: usize, sum: i32) -> i32 {
    let mut sum = sum;
    for at in 0..words {
        // SAFETY: the caller's promise. The instruction is one of the extension.
        unsafe {
            let pixels = pixels.cast::<u32>().add(at).read_unaligned();
            let weights = *weights.add(at);
            asm!("smlad {sum}, {pixels}, {weights}, {sum}", sum = inout(reg) sum, pixels = in(reg) pixels,
                weights = in(reg) weights, options(pure, nomem, nostack, preserves_flags));
        }
    }
    sum
}

/// The same of taps that lie apart.
///
/// # Safety
/// The taps have weights, and are in the plane.
#[inline(always)]
unsafe fn line_of_taps(pixels: *const i16, along: &Axis, weights: *const i16, sum: i32) -> i32 {
    let mut sum = sum;
    for kx in 0..along.kernel {
        // SAFETY: the caller's promise.
        let (x, w) = unsafe { (*pixels.add(kx * along.dilation), *weights.add(kx)) };
        sum = sum.wrapping_add(i32::from(x) * i32::from(w));
    }
    sum
}

/// Sign-extends `count` pixels of four channels, at least one, `step` bytes apart, to the four planes.
///
/// # Safety
/// The pixels can be read, and there is room in each plane.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_planes(from: *const i8, step: usize, count: usize, to: *mut i16) {
    naked_asm!(
        processor!(),
        "push {{r4-r8, lr}}",
        "subs r2, r2, #2",
        "blt 2f",
        "1:",
        "ldr r4, [r0]",
        "ldr r5, [r0, r1]",
        "add r0, r0, r1, lsl #1",
        "sxtb16 r6, r4",
        "sxtb16 r7, r5",
        "sxtb16 r4, r4, ror #8",
        "sxtb16 r5, r5, ror #8",
        "pkhtb r8, r7, r6, asr #16",
        "pkhbt r6, r6, r7, lsl #16",
        "pkhtb r7, r5, r4, asr #16",
        "pkhbt r4, r4, r5, lsl #16",
        "str r8, [r3, #{plane} * 2]",
        "str r4, [r3, #{plane}]",
        "str r7, [r3, #{plane} * 3]",
        "str r6, [r3], #4",
        "subs r2, r2, #2",
        "bge 1b",
        "2:",
        "tst r2, #1",
        "beq 3f",
        "ldr r4, [r0]",
        "sxtb16 r6, r4",
        "sxtb16 r4, r4, ror #8",
        "lsr r7, r6, #16",
        "lsr r5, r4, #16",
        "add r2, r3, #{plane}",
        "strh r6, [r3]",
        "strh r4, [r2]",
        "add r2, r2, #{plane}",
        "strh r7, [r2]",
        "add r2, r2, #{plane}",
        "strh r5, [r2]",
        "3:",
        "pop {{r4-r8, pc}}",
        plane = const PLANE * 2,
    )
}

/// Three lines of a kernel, for each channel from its weights and bias to its sums: what differs by stride is `$line`,
/// of the line at its register, by its words of weights. r0 to r2 are the lines' places, r3 to r7 and r12 the weights,
/// r8 and r9 two pixels' sums, lr their place, r10 and r11 what they read.
macro_rules! depthwise {
    ($line:ident) => {
        naked_asm!(
            processor!(),
            "push {{r0, r4-r11, lr}}",
            "sub sp, sp, #8",
            "1:",
            // The next channel's planes, weights, bias and sums.
            "ldr r12, [sp, #8]",
            "ldm r12, {{r0-r5}}",
            "add r6, r0, #{plane}",
            "add r7, r1, #{plane}",
            "add r8, r2, #{plane}",
            "add r9, r3, #{words}",
            "add r10, r4, #4",
            "add r11, r5, #{sums}",
            "stm r12, {{r6-r11}}",
            "ldr r6, [r12, #24]",
            "mov lr, r5",
            "add r6, r6, r5",
            "ldr r4, [r4]",
            "str r4, [sp]",
            "str r6, [sp, #4]",
            "ldr r12, [r3, #20]",
            "ldm r3, {{r3-r7}}",
            "2:",
            "ldr r8, [sp]",
            "mov r9, r8",
            $line!("r0", "r3", "r4"),
            $line!("r1", "r5", "r6"),
            $line!("r2", "r7", "r12"),
            "strd r8, r9, [lr], #8",
            "ldr r8, [sp, #4]",
            "cmp lr, r8",
            "bne 2b",
            "ldr r12, [sp, #8]",
            "ldr r0, [r12, #28]",
            "subs r0, r0, #1",
            "str r0, [r12, #28]",
            "bne 1b",
            "add sp, sp, #8",
            "pop {{r0, r4-r11, pc}}",
            plane = const PLANE * 2,
            words = const WORDS * 4,
            sums = const PIXELS * 4,
        )
    };
}

/// Two pixels beside each other, of x0 to x3.
macro_rules! line_1 {
    ($from:literal, $first:literal, $second:literal) => {
        concat!(
            "ldrd r10, r11, [",
            $from,
            "], #4
            smlad r8, r10, ",
            $first,
            ", r8
            smlabt r8, r11, ",
            $second,
            ", r8
            smlatb r9, r10, ",
            $first,
            ", r9
            smlad r9, r11, ",
            $second,
            ", r9"
        )
    };
}

/// Two pixels of stride 2, of x0 to x4.
macro_rules! line_2 {
    ($from:literal, $first:literal, $second:literal) => {
        concat!(
            "ldrd r10, r11, [",
            $from,
            "], #8
            smlad r8, r10, ",
            $first,
            ", r8
            smlabt r8, r11, ",
            $second,
            ", r8
            ldr r10, [",
            $from,
            "]
            smlad r9, r11, ",
            $first,
            ", r9
            smlabt r9, r10, ",
            $second,
            ", r9"
        )
    };
}

/// Sums of a 3 × 3 kernel, stride 1 along the line.
///
/// # Safety
/// As [`Lines`] documents.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_depthwise_1(lines: *mut Lines) {
    depthwise!(line_1)
}

/// Sums of a 3 × 3 kernel, stride 2 along the line.
///
/// # Safety
/// As [`Lines`] documents.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_depthwise_2(lines: *mut Lines) {
    depthwise!(line_2)
}
