//! Convolution by the DSP extension of Cortex-M: two pixels × two channels at a time, two products to an instruction.
//!
//! Four values of k take 15 instructions for 16 products: one `ldm` for both pixels' lanes (see [`columns`]), and for each
//! channel `ldr`, two `sxtb16` and four `smlad`. All 14 registers are in use: 4 sums, 4 words of pixels, 2 of weights, the
//! places of both, the distance of the channels and the count. A pixel that has no other beside it (a fully connected
//! layer) is read as bytes, with four channels: 23 instructions for 16 products.
//!
//! Words may lie anywhere: `ldr` takes any address on ARMv7-M and later.

use core::arch::naked_asm;
use core::mem::MaybeUninit;
use core::num::NonZero;
use core::ops::Range;
use core::slice;

use super::columns::{Columns, PIXELS, QUAD};
use super::results::{TileOutput, TileResidual};
use super::scalar::Pixel;
use super::{ConvArgs, ConvShape, WeightSource, Weights, dsp_store, reference};

/// Channels whose sums are on the stack at a time.
const CHUNK: usize = 32;

/// What the assembly reads, and counts up as it goes.
#[repr(C)]
struct Sweep {
    /// Columns of a pair of pixels, or the bytes of a single one.
    pixels: *const i8,
    /// The first channel's weights.
    weights: *const i8,
    /// Bytes from a channel's weights to the next one's; 0 where one channel is computed alone.
    pitch: usize,
    /// Turns of the loop, of four quads of k for a pair and two for a single pixel, and quads that are left.
    turns: usize,
    quads: usize,
    /// Bits of a word that are no values: 8, 16 or 24 where K leaves 3, 2 or 1; 0 where it leaves none.
    beyond: usize,
    bias: *const i32,
    /// `[pixel][CHUNK]`: where the next tile's sums go, and the end of the last one's.
    sums: *mut i32,
    end: *const i32,
}

/// What computes the sums of a chunk's channels, some at a time.
struct Tile {
    run: unsafe extern "C" fn(*mut Sweep),
    channels: NonZero<usize>,
    /// Quads of k in a turn of the loop.
    quads: NonZero<usize>,
    pixels: usize,
}

/// Channels of the tile that has most.
const MOST_CHANNELS: usize = 4;

const PAIR: Tile = Tile { run: edgepack_dsp_pair, channels: times(2), quads: times(4), pixels: PIXELS };
const SINGLE: Tile =
    Tile { run: edgepack_dsp_single, channels: times(MOST_CHANNELS), quads: times(2), pixels: 1 };

/// What divides without a panic.
const fn times(count: usize) -> NonZero<usize> {
    NonZero::new(count).unwrap()
}

/// Sums of both pixels, all channels of a chunk.
type Sums = [[MaybeUninit<i32>; CHUNK]; PIXELS];

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    let WeightSource::Canonical(weights) = args.weights else { return };
    let shape = args.shape;
    let columns = Columns::new(&shape);
    if columns.values < QUAD {
        return reference::conv(args, &weights);
    }
    let (out, residual) = TileOutput::of(&mut args.output, args.residual);
    let [column_bytes, _] = columns.scratch;
    let pixels = shape.output_pixels();
    let layer = Layer {
        shape: &shape,
        weights: &weights,
        columns,
        input: args.input.as_ptr(),
        zero_point: args.input_zero_point,
        inside: inside(&shape),
        words: args.scratch.as_mut_ptr().cast(),
        // Behind the columns, or where they would be.
        bytes: args.scratch.as_mut_ptr().wrapping_add(if columns.whole { 0 } else { column_bytes }).cast(),
        out,
        residual,
    };
    let mut position = [0, 0, 0];
    for first in (0..pixels).step_by(PIXELS) {
        let positions = [position, layer.after(position)];
        position = layer.after(positions[1]);
        for group in 0..shape.groups {
            // SAFETY: the pixels and the group exist; `args` are as documented.
            unsafe {
                if pixels - first < PIXELS {
                    layer.single(group, first, positions[0]);
                } else {
                    layer.pair(group, first, positions);
                }
            }
        }
    }
}

/// Lines and columns of the output that read nothing but the image, each line of the kernel in one stretch: none where
/// that is in pieces.
fn inside(shape: &ConvShape) -> [Range<usize>; 2] {
    let along = |pad: usize, stride: usize, kernel: usize, dilation: usize, size: usize| {
        let stride = stride.max(1);
        // Beyond the last position from which the whole kernel is in the image.
        let end = (size + pad).saturating_sub((kernel - 1) * dilation);
        pad.div_ceil(stride)..end.div_ceil(stride)
    };
    if shape.dilation_w != 1 || shape.groups != 1 {
        return [0..0, 0..0];
    }
    [
        along(shape.pad_top, shape.stride_h, shape.kernel_h, shape.dilation_h, shape.in_h),
        along(shape.pad_left, shape.stride_w, shape.kernel_w, shape.dilation_w, shape.in_w),
    ]
}

/// A convolution.
struct Layer<'a> {
    shape: &'a ConvShape,
    weights: &'a Weights<'a>,
    columns: Columns,
    input: *const i8,
    zero_point: i8,
    inside: [Range<usize>; 2],
    /// Room for the columns.
    words: *mut u32,
    /// Room for a row of bytes.
    bytes: *mut i8,
    out: TileOutput,
    residual: Option<TileResidual>,
}

impl Layer<'_> {
    /// Image, line and column of the pixel after one.
    fn after(&self, [image, y, x]: [usize; 3]) -> [usize; 3] {
        match (x + 1 < self.shape.out_w, y + 1 < self.shape.out_h) {
            (true, _) => [image, y, x + 1],
            (false, true) => [image, y + 1, 0],
            (false, false) => [image + 1, 0, 0],
        }
    }

    /// # Safety
    /// The group and the pixels exist; the scratch memory is as [`Columns`] says.
    unsafe fn pair(&self, group: usize, first: usize, positions: [[usize; 3]; PIXELS]) {
        for (pixel, position) in positions.into_iter().enumerate() {
            // SAFETY: the columns have room for both pixels; a row of bytes is there where taps are no words.
            unsafe {
                let to = self.words.add(pixel * 2);
                if self.columns.whole && self.columns.pointwise {
                    edgepack_dsp_unpack(self.point(group, position), self.columns.values / QUAD, to);
                } else if self.columns.whole {
                    self.gather(group, position, &mut Sink::Lanes(to));
                } else {
                    self.gather(group, position, &mut Sink::Bytes(self.bytes));
                    edgepack_dsp_unpack(self.bytes, self.columns.values.div_ceil(QUAD), to);
                }
            }
        }
        // SAFETY: the columns are those of both pixels.
        unsafe { self.channels(&PAIR, group, first, self.words.cast()) };
    }

    /// # Safety
    /// As `pair`.
    unsafe fn single(&self, group: usize, first: usize, position: [usize; 3]) {
        // SAFETY: the pixel exists, and there is a row of bytes where it reads more than one stretch.
        unsafe {
            let from = if self.columns.pointwise {
                self.point(group, position)
            } else {
                self.gather(group, position, &mut Sink::Bytes(self.bytes));
                self.bytes
            };
            self.channels(&SINGLE, group, first, from);
        }
    }

    /// Where the one tap is of a pixel of a pointwise convolution.
    fn point(&self, group: usize, [image, oy, ox]: [usize; 3]) -> *const i8 {
        let shape = self.shape;
        self.at(image, oy * shape.stride_h, ox * shape.stride_w)
            .wrapping_add(group * shape.group_in_channels())
    }

    /// Where a pixel of the input is.
    fn at(&self, image: usize, y: usize, x: usize) -> *const i8 {
        let shape = self.shape;
        self.input.wrapping_add(((image * shape.in_h + y) * shape.in_w + x) * shape.in_channels)
    }

    /// Takes all that a pixel reads.
    ///
    /// # Safety
    /// The pixel and the group exist; `sink` has room for K values.
    #[inline(never)]
    unsafe fn gather(&self, group: usize, position: [usize; 3], sink: &mut Sink) {
        let shape = self.shape;
        let channels = shape.group_in_channels();
        let [image, oy, ox] = position;
        if self.inside[0].contains(&oy) && self.inside[1].contains(&ox) {
            let (y, x) = (oy * shape.stride_h - shape.pad_top, ox * shape.stride_w - shape.pad_left);
            let mut line = self.at(image, y, x);
            for _ in 0..shape.kernel_h {
                // SAFETY: the kernel's lines are inside the image, by `inside`, and the sink has room for them.
                unsafe { sink.copy(line, shape.kernel_w * channels) };
                line = line.wrapping_add(shape.dilation_h.wrapping_mul(shape.in_w * shape.in_channels));
            }
            return;
        }
        let Pixel { rows, columns, from } = Pixel::new(shape, oy, ox, image, group);
        // Taps beside each other are one stretch.
        let in_line = shape.dilation_w == 1 && shape.groups == 1;
        let (stretches, elems) =
            if in_line { (1, columns.count * channels) } else { (columns.count, channels) };
        let left = columns.first * channels;
        let right = (shape.kernel_w - columns.first - columns.count) * channels;
        let mut line = self.input.wrapping_add(from);
        for ky in 0..shape.kernel_h {
            // SAFETY: the taps of `rows` and `columns` are inside the image, by `Inside`; the sink has room for every
            // tap of the kernel, which this is.
            unsafe {
                if ky.wrapping_sub(rows.first) >= rows.count {
                    sink.pad(self.zero_point, shape.kernel_w * channels);
                    continue;
                }
                sink.pad(self.zero_point, left);
                let mut from = line;
                for _ in 0..stretches {
                    sink.copy(from, elems);
                    from = from.wrapping_add(shape.dilation_w.wrapping_mul(shape.in_channels));
                }
                sink.pad(self.zero_point, right);
            }
            line = line.wrapping_add(shape.dilation_h.wrapping_mul(shape.in_w * shape.in_channels));
        }
    }

    /// Computes all channels of the group for a tile's pixels from the first.
    ///
    /// # Safety
    /// `pixels` is what the tile reads.
    unsafe fn channels(&self, tile: &Tile, group: usize, first: usize, pixels: *const i8) {
        let k = self.columns.values;
        let quads = k / QUAD;
        let count = self.shape.group_out_channels();
        let mut sums: Sums = [[MaybeUninit::uninit(); CHUNK]; PIXELS];
        for start in (0..count).step_by(CHUNK) {
            let channel = group * count + start;
            let chunk = CHUNK.min(count - start);
            let mut at = 0;
            while at < chunk {
                // The last tile begins early enough to be whole; where there are too few channels, each is one of
                // its own, whose weights are all of the tile's.
                let tiles = (chunk - at) / tile.channels;
                let (from, tiles, pitch) = match tiles {
                    0 if chunk >= tile.channels.get() => (chunk - tile.channels.get(), 1, k),
                    0 => (at, 1, 0),
                    _ => (at, tiles, k),
                };
                let mut bias = [0; MOST_CHANNELS];
                // SAFETY: the tiles' channels from `from` on, or with a pitch of 0 the one there, exist and have weights,
                // bias and multiplier; their sums have room: a single one's tile is not beyond the chunk's array,
                // since that has room for more than a tile and `from` is less than one.
                unsafe {
                    let biases = self.weights.bias.as_ptr().add(channel + from);
                    if pitch == 0 {
                        bias = [*biases; MOST_CHANNELS];
                    }
                    let sums = sums.as_mut_ptr().cast::<i32>().add(from);
                    (tile.run)(&mut Sweep {
                        pixels,
                        weights: self.weights.weights.as_ptr().add((channel + from) * k),
                        pitch,
                        turns: quads / tile.quads,
                        quads: quads % tile.quads,
                        beyond: (k.wrapping_neg() % QUAD) * 8,
                        bias: if pitch == 0 { bias.as_ptr() } else { biases },
                        sums,
                        end: sums.add(tiles * tile.channels.get()),
                    });
                }
                at = from + if pitch == 0 { 1 } else { tiles * tile.channels.get() };
            }
            for (pixel, sums) in sums.iter().enumerate().take(tile.pixels) {
                // SAFETY: the pixel and the channels exist, and have multipliers.
                unsafe {
                    let out = self.out.add((first + pixel) * self.shape.out_channels + channel);
                    let multipliers =
                        slice::from_raw_parts(self.weights.multiplier.as_ptr().add(channel), chunk);
                    dsp_store::channels(sums.as_ptr().cast(), multipliers, out, self.residual.as_ref());
                }
            }
        }
    }
}

/// What takes the values that a pixel reads, in their order: the next place.
enum Sink {
    /// Words of 16-bit lanes, of which every other two belong to the pixel. Taps are whole words.
    Lanes(*mut u32),
    /// Bytes, one after the other.
    Bytes(*mut i8),
}

impl Sink {
    /// # Safety
    /// `from` has `count` values, and the sink has room for them, which is not where they are.
    #[inline(never)]
    unsafe fn copy(&mut self, from: *const i8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Lanes(to) => {
                    edgepack_dsp_unpack(from, count / QUAD, *to);
                    *to = to.add(count);
                }
                Self::Bytes(to) => {
                    copy_bytes(from, *to, count);
                    *to = to.add(count);
                }
            }
        }
    }

    /// # Safety
    /// The sink has room for `count` values.
    #[inline(never)]
    unsafe fn pad(&mut self, value: i8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Lanes(to) => {
                    let lanes = u32::from(value as u16) * 0x0001_0001;
                    for _ in 0..count / QUAD {
                        to.cast::<[u32; 2]>().write([lanes; 2]);
                        *to = to.add(QUAD);
                    }
                }
                Self::Bytes(to) => {
                    for _ in 0..count {
                        **to = value;
                        *to = to.add(1);
                    }
                }
            }
        }
    }
}

/// A call of memcpy costs more than the few bytes that come here.
///
/// # Safety
/// `from` and `to` have `count` bytes, which are not the same.
#[inline(always)]
unsafe fn copy_bytes(from: *const i8, to: *mut i8, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = |at| to.add(at).cast::<u32>().write_unaligned(from.add(at).cast::<u32>().read_unaligned());
        let mut at = 0;
        while at + QUAD <= count {
            word(at);
            at += QUAD;
        }
        if at < count && count > QUAD {
            // The last word ends with the stretch: some bytes are copied twice.
            word(count - QUAD);
        } else {
            while at < count {
                *to.add(at) = *from.add(at);
                at += 1;
            }
        }
    }
}

/// Sign-extends `quads` words of bytes, each to two words of lanes: 16 bytes from one's to the next one's.
///
/// # Safety
/// The words can be read, and their lanes be written, which lie at a multiple of 8.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_unpack(from: *const i8, quads: usize, to: *mut u32) {
    naked_asm!(
        processor!(),
        "mov r12, r2",
        "subs r1, r1, #2",
        "blt 2f",
        "1:",
        "ldr r3, [r0], #4",
        "sxtb16 r2, r3",
        "sxtb16 r3, r3, ror #8",
        "strd r2, r3, [r12], #16",
        "ldr r3, [r0], #4",
        "sxtb16 r2, r3",
        "sxtb16 r3, r3, ror #8",
        "strd r2, r3, [r12], #16",
        "subs r1, r1, #2",
        "bge 1b",
        "2:",
        "tst r1, #1",
        "beq 3f",
        "ldr r3, [r0]",
        "sxtb16 r2, r3",
        "sxtb16 r3, r3, ror #8",
        "strd r2, r3, [r12]",
        "3:",
        "bx lr",
    )
}

/// Two pixels × two channels of four values: r4, r5 are the sums of the first pixel, r6, r7 of the second; r8 to r11 the
/// lanes of both; r0 and r1 the places of columns and weights, r12 the distance of the channels.
macro_rules! pair_step {
    () => {
        "ldm r0!, {{r8-r11}}
        ldr r3, [r1, r12]
        sxtb16 r2, r3
        sxtb16 r3, r3, ror #8
        smlad r5, r2, r8, r5
        smlad r7, r2, r10, r7
        smlad r5, r3, r9, r5
        smlad r7, r3, r11, r7
        ldr r3, [r1], #4
        sxtb16 r2, r3
        sxtb16 r3, r3, ror #8
        smlad r4, r2, r8, r4
        smlad r6, r2, r10, r6
        smlad r4, r3, r9, r4
        smlad r6, r3, r11, r6"
    };
}

/// Sums of two pixels, two channels to a tile.
///
/// # Safety
/// As [`Sweep`] documents.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_pair(sweep: *mut Sweep) {
    naked_asm!(
        processor!(),
        "ldrd r2, r3, [r0, #16]",
        "push {{r0, r2-r11, lr}}",
        "mov r2, r0",
        "1:",
        "ldr r3, [r2, #24]",
        "ldm r3!, {{r4, r5}}",
        "str r3, [r2, #24]",
        "mov r6, r4",
        "mov r7, r5",
        "ldm r2, {{r0, r1, r12, lr}}",
        "cmp lr, #0",
        "beq 3f",
        "2:",
        pair_step!(),
        pair_step!(),
        pair_step!(),
        pair_step!(),
        "subs lr, lr, #1",
        "bne 2b",
        "3:",
        "ldr lr, [sp, #4]",
        "cmp lr, #0",
        "beq 5f",
        "4:",
        pair_step!(),
        "subs lr, lr, #1",
        "bne 4b",
        "5:",
        "ldr lr, [sp, #8]",
        "cmp lr, #0",
        "beq 6f",
        // The last word that ends with the channel's weights, without those that were there before.
        "sub r1, r1, lr, lsr #3",
        "ldm r0!, {{r8-r11}}",
        "ldr r3, [r1, r12]",
        "lsr r3, r3, lr",
        "sxtb16 r2, r3",
        "sxtb16 r3, r3, ror #8",
        "smlad r5, r2, r8, r5",
        "smlad r7, r2, r10, r7",
        "smlad r5, r3, r9, r5",
        "smlad r7, r3, r11, r7",
        "ldr r3, [r1], #4",
        "lsr r3, r3, lr",
        "sxtb16 r2, r3",
        "sxtb16 r3, r3, ror #8",
        "smlad r4, r2, r8, r4",
        "smlad r6, r2, r10, r6",
        "smlad r4, r3, r9, r4",
        "smlad r6, r3, r11, r6",
        "6:",
        "ldr r2, [sp]",
        "add r1, r1, r12",
        "str r1, [r2, #4]",
        "ldr r3, [r2, #28]",
        "strd r6, r7, [r3, #{second}]",
        "strd r4, r5, [r3], #8",
        "str r3, [r2, #28]",
        "ldr r12, [r2, #32]",
        "cmp r3, r12",
        "bne 1b",
        "add sp, sp, #12",
        "pop {{r4-r11, pc}}",
        second = const CHUNK * 4,
    )
}

/// A channel of a single pixel's four values, whose lanes are in r8 and r9.
macro_rules! single_channel {
    ($sum:literal, $load:literal, $shift:literal) => {
        concat!(
            $load,
            "\n",
            $shift,
            "\n",
            "sxtb16 r3, r2
            smlad ",
            $sum,
            ", r3, r8, ",
            $sum,
            "
            sxtb16 r2, r2, ror #8
            smlad ",
            $sum,
            ", r2, r9, ",
            $sum
        )
    };
}

/// One pixel × four channels of four values: r4 to r7 are the sums, r12 the distance of the channels, r10 three times
/// that.
macro_rules! single_step {
    ($shift_pixel:literal, $shift:literal) => {
        concat!(
            "ldr r9, [r0], #4\n",
            $shift_pixel,
            "
            sxtb16 r8, r9
            sxtb16 r9, r9, ror #8\n",
            single_channel!("r5", "ldr r2, [r1, r12]", $shift),
            "\n",
            single_channel!("r6", "ldr r2, [r1, r12, lsl #1]", $shift),
            "\n",
            single_channel!("r7", "ldr r2, [r1, r10]", $shift),
            "\n",
            single_channel!("r4", "ldr r2, [r1], #4", $shift),
        )
    };
}

/// Sums of one pixel, four channels to a tile.
///
/// # Safety
/// As [`Sweep`] documents.
#[unsafe(naked)]
unsafe extern "C" fn edgepack_dsp_single(sweep: *mut Sweep) {
    naked_asm!(
        processor!(),
        "ldrd r2, r3, [r0, #16]",
        "push {{r0, r2-r11, lr}}",
        "mov r2, r0",
        "1:",
        "ldr r3, [r2, #24]",
        "ldm r3!, {{r4-r7}}",
        "str r3, [r2, #24]",
        "ldm r2, {{r0, r1, r12, lr}}",
        "add r10, r12, r12, lsl #1",
        "cmp lr, #0",
        "beq 3f",
        "2:",
        single_step!("", ""),
        single_step!("", ""),
        "subs lr, lr, #1",
        "bne 2b",
        "3:",
        "ldr lr, [sp, #4]",
        "cmp lr, #0",
        "beq 4f",
        single_step!("", ""),
        "4:",
        "ldr lr, [sp, #8]",
        "cmp lr, #0",
        "beq 5f",
        "sub r0, r0, lr, lsr #3",
        "sub r1, r1, lr, lsr #3",
        single_step!("lsr r9, r9, lr", "lsr r2, r2, lr"),
        "5:",
        "ldr r2, [sp]",
        "add r1, r1, r10",
        "str r1, [r2, #4]",
        "ldr r3, [r2, #28]",
        "stm r3!, {{r4-r7}}",
        "str r3, [r2, #28]",
        "ldr r12, [r2, #32]",
        "cmp r3, r12",
        "bne 1b",
        "add sp, sp, #12",
        "pop {{r4-r11, pc}}",
    )
}
