//! Depthwise 3 × 3 and 5 × 5 by AArch64 NEON, 16 channels at a time, from a [`plane`] with 16 bytes a pixel.
//!
//! Two pixels side by side share their loads: one `ld1` has four columns of a row. The products of two taps are
//! added in int16, which holds them exactly (2 · 128 · 127 = 32 512), and `saddw` adds these to int32, 8
//! instructions for 32 products; so taps are paired across rows where a row has an odd number. Instructions for
//! 16 channels of a pixel, requantized and stored: 61 (3 × 3, stride 1), 62 (stride 2), 133 (5 × 5);
//! and about 2 for each pixel that is copied to the plane.

use core::arch::asm;
use core::mem::{MaybeUninit, offset_of};

use super::plane::{self, Strip, Strips};
use super::{ConvArgs, ConvShape, Output, WeightSource, Weights};
use crate::aarch64_rounding::{Bounds, fits};
use crate::requantize::OutputRange;

/// Channels of a block.
const CHANNELS: usize = 16;

/// Pixels of the plane: half of the smallest first-level cache.
const PLANE_PIXELS: usize = 1024;

/// Pixels behind the plane that are loaded, and not used, where one pixel is left of a line.
const SLACK: usize = 2;

static PLANE: plane::Plane = plane::Plane { pixels: PLANE_PIXELS, tile: 1, strip_bytes: 128 * 1024 };

const MAX_TAPS: usize = 25;

/// In what order the taps of 5 × 5 are used: of two rows four columns each, and then the fifth ones.
static FIVE: [usize; 25] =
    [0, 1, 2, 3, 5, 6, 7, 8, 4, 9, 10, 11, 12, 13, 15, 16, 17, 18, 14, 19, 20, 21, 22, 23, 24];

/// A block's channels of one pixel.
type Cell = MaybeUninit<[i8; CHANNELS]>;

#[repr(C, align(64))]
struct Plane([Cell; PLANE_PIXELS + SLACK]);

/// What is the same for all pixels of a block.
#[repr(C, align(64))]
struct Constants {
    bias: [i32; CHANNELS],
    multiplier: [f32; CHANNELS],
    bounds: Bounds,
    /// In the order of their use.
    weights: [[i8; CHANNELS]; MAX_TAPS],
}

/// The assembly's offsets.
const _: () = {
    assert!(offset_of!(Constants, multiplier) == 64);
    assert!(offset_of!(Constants, bounds) == 128);
    assert!(offset_of!(Constants, weights) == 240);
};

/// Lines of one block's output.
struct Lines<'a> {
    /// The first pixel that the first line reads, in the plane.
    plane: *const Cell,
    /// Bytes of the plane from a line to the next.
    next_line: usize,
    /// Bytes of the plane from one of the kernel's rows to the next.
    next_row: usize,
    constants: &'a Constants,
    out: *mut i8,
    /// From one pixel to the next.
    out_pixel: usize,
    /// From one line to the next.
    out_line: usize,
    /// At least 1.
    pixels: usize,
    /// At least 1.
    lines: usize,
}

/// Computes lines.
///
/// # Safety
/// The plane has what they read, and [`SLACK`] pixels behind it; the output has the block's channels.
type Run = unsafe fn(&Lines);

/// Runs a convolution, or returns `false`, having done nothing, where it is not one for planes.
///
/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn depthwise(args: &mut ConvArgs<'_>) -> bool {
    let (WeightSource::Canonical(weights), Output::I8(out, range)) = (args.weights, &mut args.output) else {
        return false;
    };
    let shape = args.shape;
    let run: Run = match (shape.kernel_h, shape.kernel_w, shape.stride_w, shape.dilation_w) {
        (3, 3, 1, 1) => three_1,
        (3, 3, 2, 1) => three_2,
        (5, 5, 1, 1) => five_1,
        (5, 5, 2, 1) => five_2,
        _ => return false,
    };
    let Some(strips) = Strips::new(&shape, &PLANE).filter(|_| shape.in_channels >= CHANNELS) else {
        return false;
    };
    let mut channels = weights.bias.iter().zip(weights.multiplier);
    if !channels.all(|(&bias, &multiplier)| fits(shape.taps(), bias, multiplier)) {
        return false;
    }
    let mut constants = Constants::new(*range);
    let mut plane = Plane([const { MaybeUninit::uninit() }; PLANE_PIXELS + SLACK]);
    for image in 0..shape.batch {
        for oy in (0..shape.out_h).step_by(strips.lines) {
            for ox in (0..shape.out_w).step_by(strips.pixels) {
                let strip = Strip::new(&shape, &strips, image, [oy, ox]);
                if !strip.is_inside {
                    let used = strip.rows * strips.width;
                    plane.0[..used].fill(MaybeUninit::new([args.input_zero_point; CHANNELS]));
                }
                for first in (0..shape.in_channels).step_by(CHANNELS) {
                    // The last block starts early enough to be whole: some channels are computed twice.
                    let first = first.min(shape.in_channels - CHANNELS);
                    constants.prepare(&weights, first, &shape);
                    let line = strips.width * size_of::<Cell>();
                    // SAFETY: the block's channels exist, in every pixel of the input and of the output; what the
                    // strip reads is in the plane, which has at least `rows * width` pixels and the slack.
                    unsafe {
                        fill(&strip, &strips, &shape, args.input.as_ptr().add(first), &mut plane);
                        run(&Lines {
                            plane: plane.0.as_ptr(),
                            // Of one line it is not used, and may be anything.
                            next_line: line.wrapping_mul(shape.stride_h),
                            next_row: line.wrapping_mul(shape.dilation_h),
                            constants: &constants,
                            out: out.as_mut_ptr().add(strip.out + first),
                            out_pixel: shape.out_channels,
                            out_line: shape.out_w * shape.out_channels,
                            pixels: strip.pixels,
                            lines: strip.lines,
                        });
                    }
                }
            }
        }
    }
    true
}

impl Constants {
    fn new(range: OutputRange) -> Self {
        Self {
            bias: [0; CHANNELS],
            multiplier: [0.0; CHANNELS],
            bounds: Bounds::new::<true>(range),
            weights: [[0; CHANNELS]; MAX_TAPS],
        }
    }

    /// Turns to the block that begins at channel `first`.
    #[inline(always)]
    fn prepare(&mut self, weights: &Weights<'_>, first: usize, shape: &ConvShape) {
        let block = first..first + CHANNELS;
        self.bias.copy_from_slice(&weights.bias[block.clone()]);
        self.multiplier.copy_from_slice(&weights.multiplier[block.clone()]);
        let taps = weights.weights.chunks_exact(shape.in_channels);
        if taps.len() == FIVE.len() {
            for (to, tap) in self.weights.iter_mut().zip(FIVE) {
                to.copy_from_slice(&weights.weights[tap * shape.in_channels..][block.clone()]);
            }
        } else {
            for (to, tap) in self.weights.iter_mut().zip(taps) {
                to.copy_from_slice(&tap[block.clone()]);
            }
        }
    }
}

/// Copies what of a strip is inside the image to the plane.
///
/// # Safety
/// `input` is the tensor's first pixel, at the block's first channel.
#[inline(always)]
unsafe fn fill(strip: &Strip, strips: &Strips, shape: &ConvShape, input: *const i8, plane: &mut Plane) {
    let (vertical, horizontal) = (&strip.vertical, &strip.horizontal);
    if vertical.inside == 0 || horizontal.inside == 0 {
        return;
    }
    let to = vertical.before * strips.width + horizontal.before;
    // SAFETY: the lines and pixels are inside the image, by `Axis`; the plane has `rows * width` pixels
    // at least, as `Strips` has seen to.
    unsafe {
        asm!(
            "20:",
            "mov {f}, {from}",
            "mov {t}, {to}",
            "subs {n}, {pixels}, #4",
            "b.lt 22f",
            "21:",
            "ld1 {{v0.16b}}, [{f}], {step}",
            "ld1 {{v1.16b}}, [{f}], {step}",
            "ld1 {{v2.16b}}, [{f}], {step}",
            "ld1 {{v3.16b}}, [{f}], {step}",
            "subs {n}, {n}, #4",
            "st1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{t}], #64",
            "b.ge 21b",
            // What is left is `n` modulo 4.
            "22:",
            "tbz {n}, #1, 23f",
            "ld1 {{v0.16b}}, [{f}], {step}",
            "ld1 {{v1.16b}}, [{f}], {step}",
            "stp q0, q1, [{t}], #32",
            "23:",
            "tbz {n}, #0, 24f",
            "ldr q0, [{f}]",
            "str q0, [{t}]",
            "24:",
            "add {from}, {from}, {from_line}",
            "add {to}, {to}, {to_line}",
            "subs {lines}, {lines}, #1",
            "b.ne 20b",
            from = inout(reg) input.add(strip.input) => _,
            to = inout(reg) plane.0.as_mut_ptr().add(to) => _,
            pixels = in(reg) horizontal.inside,
            step = in(reg) shape.in_channels,
            from_line = in(reg) shape.in_w * shape.in_channels,
            to_line = in(reg) strips.width * size_of::<Cell>(),
            lines = inout(reg) vertical.inside => _,
            f = out(reg) _, t = out(reg) _, n = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack),
        );
    }
}

/// The products of two taps, whose weights are in registers `$v` and `$w`, added to the sums of each pixel:
/// `x y` are its values, `p q` registers for products.
#[rustfmt::skip]
macro_rules! two {
    ($v:literal $w:literal: $($x:literal $y:literal [$p:literal $q:literal] $sums:tt),*) => {
        concat!(
            $(
                "smull v", $p, ".8h, v", $x, ".8b, v", $v, ".8b\n",
                "smull2 v", $q, ".8h, v", $x, ".16b, v", $v, ".16b\n",
            )*
            $(
                "smlal v", $p, ".8h, v", $y, ".8b, v", $w, ".8b\n",
                "smlal2 v", $q, ".8h, v", $y, ".16b, v", $w, ".16b\n",
            )*
            $(widen!($p $q $sums),)*
        )
    };
}

/// The same of one tap.
#[rustfmt::skip]
macro_rules! one {
    ($w:literal: $($x:literal [$p:literal $q:literal] $sums:tt),*) => {
        concat!(
            $(
                "smull v", $p, ".8h, v", $x, ".8b, v", $w, ".8b\n",
                "smull2 v", $q, ".8h, v", $x, ".16b, v", $w, ".16b\n",
            )*
            $(widen!($p $q $sums),)*
        )
    };
}

/// Adds products to sums.
#[rustfmt::skip]
macro_rules! widen {
    ($p:literal $q:literal [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "saddw v", $a, ".4s, v", $a, ".4s, v", $p, ".4h\n",
            "saddw2 v", $b, ".4s, v", $b, ".4s, v", $p, ".8h\n",
            "saddw v", $c, ".4s, v", $c, ".4s, v", $q, ".4h\n",
            "saddw2 v", $d, ".4s, v", $d, ".4s, v", $q, ".8h\n",
        )
    };
}

/// The sums of pixels from their biases.
#[rustfmt::skip]
macro_rules! biases {
    ($([$a:literal $b:literal $c:literal $d:literal])*) => {
        concat!($(
            "ld1 {{v", $a, ".4s, v", $b, ".4s, v", $c, ".4s, v", $d, ".4s}}, [{constants}]\n",
        )*)
    };
}

/// Requantizes and stores the sums of pixels, as [`Bounds`] says. What rounds is in register 13.
#[rustfmt::skip]
macro_rules! store {
    ($([$a:literal $b:literal $c:literal $d:literal])*) => {
        concat!(
            "ldp q24, q25, [{constants}, #64]\n", "ldp q26, q27, [{constants}, #96]\n",
            $(unary!("scvtf", ".4s": $a $b $c $d),)*
            $(
                binary!("fmul", ".4s", 24: $a), binary!("fmul", ".4s", 25: $b),
                binary!("fmul", ".4s", 26: $c), binary!("fmul", ".4s", 27: $d),
            )*
            $(binary!("fadd", ".4s", 13: $a $b $c $d),)*
            $("uzp1 v", $a, ".8h, v", $a, ".8h, v", $b, ".8h\n", "uzp1 v", $c, ".8h, v", $c, ".8h, v", $d, ".8h\n",)*
            "tbz {flags}, #1, 27f\n",
            "ldr q24, [{constants}, #176]\n",
            $(binary!("add", ".8h", 24: $a $c),)*
            "27:\n",
            $("sqxtn v", $a, ".8b, v", $a, ".8h\n",)*
            $("sqxtn2 v", $a, ".16b, v", $c, ".8h\n",)*
            "tbz {flags}, #1, 28f\n",
            "ldp q24, q25, [{constants}, #192]\n",
            $(binary!("smax", ".16b", 24: $a), binary!("smin", ".16b", 25: $a),)*
            "28:\n",
            $("st1 {{v", $a, ".16b}}, [{to}], {out_pixel}\n",)*
        )
    };
}

/// Pixels of 3 × 3, given the loads of the rows and, of each pixel, its columns of the first row, of the second and
/// of the third, registers for products and sums. The weights are in registers 0 to 8.
#[rustfmt::skip]
macro_rules! three {
    ([$first:expr, $second:expr, $third:expr]; $(
        $a:literal $b:literal $c:literal, $d:literal $e:literal $f:literal, $g:literal $h:literal $i:literal:
        $products:tt $sums:tt
    )*) => {
        concat!(
            $first, $second, biases!($($sums)*),
            two!(0 1: $($a $b $products $sums),*),
            two!(2 5: $($c $f $products $sums),*),
            $third,
            two!(3 4: $($d $e $products $sums),*),
            two!(6 7: $($g $h $products $sums),*),
            one!(8: $($i $products $sums),*),
            store!($($sums)*),
        )
    };
}

/// Pixels of 5 × 5, given the loads of the rows and, of each pixel, its first four columns of an even row and of
/// an odd one, its fifth ones, registers for products and sums. Weights go to registers 0 to 5.
#[rustfmt::skip]
macro_rules! five {
    ([$first:expr, $second:expr, $third:expr, $fourth:expr, $fifth:expr]; $(
        $even:tt $odd:tt $a:literal $b:literal: $products:tt $sums:tt
    )*) => {
        concat!(
            "add {weights}, {constants}, #240\n", biases!($($sums)*),
            $first, four!($($even $products $sums)*), $second, four!($($odd $products $sums)*),
            "ldp q4, q5, [{weights}], #32\n", two!(4 5: $($a $b $products $sums),*),
            $third, four!($($even $products $sums)*), $fourth, four!($($odd $products $sums)*),
            "ldp q4, q5, [{weights}], #32\n", two!(4 5: $($a $b $products $sums),*),
            $fifth, four!($($even $products $sums)*),
            "ldr q4, [{weights}]\n", one!(4: $($a $products $sums),*),
            store!($($sums)*),
        )
    };
}

/// Four taps of a row.
#[rustfmt::skip]
macro_rules! four {
    ($([$i:literal $j:literal $k:literal $l:literal] $products:tt $sums:tt)*) => {
        concat!(
            "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{weights}], #64\n",
            two!(0 1: $($i $j $products $sums),*), two!(2 3: $($k $l $products $sums),*),
        )
    };
}

/// Loads four columns of row `$r` to registers from `$a` on, and moves on to the next two pixels.
#[rustfmt::skip]
macro_rules! columns {
    ($r:literal: $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "ld1 {{v", $a, ".16b, v", $b, ".16b, v", $c, ".16b, v", $d, ".16b}}, [{r", $r, "}], {step}\n"
        )
    };
}

/// Loads the columns that follow, of which the registers are `$a`, `$b` …, at stride 1 and at stride 2.
#[rustfmt::skip]
macro_rules! more {
    ($r:literal: $a:literal $b:literal) => {
        concat!("ldp q", $a, ", q", $b, ", [{r", $r, "}, #32]\n")
    };
    ($r:literal: $a:literal $b:literal $c:literal) => {
        concat!("ld1 {{v", $a, ".16b, v", $b, ".16b, v", $c, ".16b}}, [{r", $r, "}]\n")
    };
}

/// Assembly of lines, given the pixels that the loads move on by, twice the stride, the number of rows, and the
/// code for two pixels and for one.
macro_rules! lines {
    ($lines:expr, $step:literal, [$($row:literal)*], $start:expr, $two:expr, $one:expr) => {
        asm!(
            "ldr q13, [{constants}, #128]",
            "add {weights}, {constants}, #240",
            $start,
            // A line.
            "20:",
            "mov {r0}, {plane}",
            $($row,)*
            "mov {to}, {out}",
            "subs {n}, {pixels}, #2",
            "b.lt 22f",
            "21:",
            $two,
            "subs {n}, {n}, #2",
            "b.ge 21b",
            // -1 or -2
            "22:",
            "tbz {n}, #0, 23f",
            $one,
            "23:",
            "add {plane}, {plane}, {next_line}",
            "add {out}, {out}, {out_line}",
            "subs {lines}, {lines}, #1",
            "b.ne 20b",
            // As many as 5 × 5 has rows.
            "/* {r3} {r4} */",
            plane = inout(reg) $lines.plane => _,
            next_line = in(reg) $lines.next_line,
            next_row = in(reg) $lines.next_row,
            constants = in(reg) $lines.constants,
            flags = in(reg) $lines.constants.bounds.flags(),
            step = in(reg) $step * size_of::<Cell>(),
            out = inout(reg) $lines.out => _,
            out_pixel = in(reg) $lines.out_pixel,
            out_line = in(reg) $lines.out_line,
            pixels = in(reg) $lines.pixels,
            lines = inout(reg) $lines.lines => _,
            weights = out(reg) _, to = out(reg) _, n = out(reg) _,
            r0 = out(reg) _, r1 = out(reg) _, r2 = out(reg) _, r3 = out(reg) _, r4 = out(reg) _,
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

/// Lines of 3 × 3, given the pixels that loads move on by, the loads, and the columns of the second pixel.
macro_rules! three_lines {
    ($lines:expr, $step:literal, $rows:tt, [$($second:tt)*]) => {
        lines!(
            $lines, $step, ["add {r1}, {r0}, {next_row}" "add {r2}, {r1}, {next_row}"],
            concat!(
                "ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [{weights}], #64\n",
                "ld1 {{v4.16b, v5.16b, v6.16b, v7.16b}}, [{weights}], #64\n",
                "ldr q8, [{weights}]\n",
            ),
            three!(
                $rows; 24 25 26, 28 29 30, 24 25 26: [9 10] [16 17 18 19]
                $($second)*: [11 12] [20 21 22 23]
            ),
            three!($rows; 24 25 26, 28 29 30, 24 25 26: [9 10] [16 17 18 19])
        )
    };
}

/// Lines of 5 × 5, given the same.
macro_rules! five_lines {
    ($lines:expr, $step:literal, $rows:tt, [$($second:tt)*]) => {
        lines!(
            $lines, $step,
            [
                "add {r1}, {r0}, {next_row}" "add {r2}, {r1}, {next_row}"
                "add {r3}, {r2}, {next_row}" "add {r4}, {r3}, {next_row}"
            ],
            "",
            five!(
                $rows; [24 25 26 27] [24 25 26 27] 28 6: [9 10] [16 17 18 19]
                $($second)*: [11 12] [20 21 22 23]
            ),
            five!($rows; [24 25 26 27] [24 25 26 27] 28 6: [9 10] [16 17 18 19])
        )
    };
}

/// # Safety
/// As [`Run`].
#[target_feature(enable = "neon")]
unsafe fn three_1(lines: &Lines) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        three_lines!(
            lines, 2,
            [columns!(0: 24 25 26 27), columns!(1: 28 29 30 31), columns!(2: 24 25 26 27)],
            [25 26 27, 29 30 31, 25 26 27]
        );
    }
}

/// # Safety
/// As [`Run`].
#[target_feature(enable = "neon")]
unsafe fn three_2(lines: &Lines) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        three_lines!(
            lines, 4,
            [
                concat!(columns!(0: 24 25 26 27), "ldr q14, [{r0}]\n"),
                concat!(columns!(1: 28 29 30 31), "ldr q15, [{r1}]\n"),
                concat!(columns!(2: 24 25 26 27), "ldr q14, [{r2}]\n")
            ],
            [26 27 14, 30 31 15, 26 27 14]
        );
    }
}

/// # Safety
/// As [`Run`].
#[target_feature(enable = "neon")]
unsafe fn five_1(lines: &Lines) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        five_lines!(
            lines, 2,
            [
                concat!(columns!(0: 24 25 26 27), more!(0: 28 29)),
                concat!(columns!(1: 24 25 26 27), more!(1: 6 7)),
                concat!(columns!(2: 24 25 26 27), more!(2: 28 29)),
                concat!(columns!(3: 24 25 26 27), more!(3: 6 7)),
                concat!(columns!(4: 24 25 26 27), more!(4: 28 29))
            ],
            [[25 26 27 28] [25 26 27 6] 29 7]
        );
    }
}

/// # Safety
/// As [`Run`].
#[target_feature(enable = "neon")]
unsafe fn five_2(lines: &Lines) {
    // SAFETY: reads and writes what the caller promises.
    unsafe {
        five_lines!(
            lines, 4,
            [
                concat!(columns!(0: 24 25 26 27), more!(0: 28 29 30)),
                concat!(columns!(1: 24 25 26 27), more!(1: 6 7 8)),
                concat!(columns!(2: 24 25 26 27), more!(2: 28 29 30)),
                concat!(columns!(3: 24 25 26 27), more!(3: 6 7 8)),
                concat!(columns!(4: 24 25 26 27), more!(4: 28 29 30))
            ],
            [[26 27 28 29] [26 27 6 7] 30 8]
        );
    }
}
