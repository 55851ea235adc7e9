//! Winograd's method by AArch64 NEON without the dot product: `smlal` by lane multiplies a lane of int16 with
//! four others into int32, modulo 2^32 (Arm ARM, section C7.2, SMLAL).
//!
//! The products of a point take 8 tiles × 8 channels in 16 accumulators: 8 registers of inputs, eight channels
//! of one tile each, 8 of weights, those of one input channel each. 134 instructions make 512 products, of
//! which 36 have the worth of 144.

use core::arch::aarch64::*;
use core::arch::asm;
use core::array;
use core::ops::Range;

use super::ConvArgs;
use super::aarch64_requantize::{Epilogue, add_residual_16, scale};
use super::winograd::{self, *};
use crate::requantize::OutputRange;

/// `$op` of six pairs of registers, or of a register and a number: `six!("add", ".8h", ".8h", ".8h": 0 1 2, …)`.
#[rustfmt::skip]
macro_rules! six {
    ($op:literal, $to:literal, $a:literal: $($r:literal $x:literal),*) => {
        concat!($($op, " v", $r, $to, ", v", $x, $a, "\n",)*)
    };
    ($op:literal, $to:literal, $a:literal, $number:literal: $($r:literal $x:literal),*) => {
        concat!($($op, " v", $r, $to, ", v", $x, $a, ", ", $number, "\n",)*)
    };
    ($op:literal, $to:literal, $a:literal, $b:literal: $($r:literal $x:literal $y:literal),*) => {
        concat!($($op, " v", $r, $to, ", v", $x, $a, ", v", $y, $b, "\n",)*)
    };
}

/// The six points of a line of `G w`, three values of each of two input channels, which are stored together.
/// Register 31 is four; `$t` and `$u` are free.
#[rustfmt::skip]
macro_rules! points {
    ($a0:literal $a1:literal, $b0:literal $b1:literal, $c0:literal $c1:literal,
     $t0:literal $t1:literal, $u0:literal $u1:literal) => {
        concat!(
            points!(put $a0 $a1),
            points!("add" $t0 $a0 $c0), points!("add" $t1 $a1 $c1),
            points!("add" $u0 $t0 $b0), points!("add" $u1 $t1 $b1), points!(put $u0 $u1),
            points!("sub" $t0 $t0 $b0), points!("sub" $t1 $t1 $b1), points!(put $t0 $t1),
            points!("mla" $a0 $c0 31), points!("mla" $a1 $c1 31),
            points!("add" $b0 $b0 $b0), points!("add" $b1 $b1 $b1),
            points!("add" $u0 $a0 $b0), points!("add" $u1 $a1 $b1), points!(put $u0 $u1),
            points!("sub" $a0 $a0 $b0), points!("sub" $a1 $a1 $b1), points!(put $a0 $a1),
            points!(put $c0 $c1),
        )
    };
    (put $r0:literal $r1:literal) => {
        concat!("st1 {{v", $r0, ".8h, v", $r1, ".8h}}, [{line}], {stride}\n")
    };
    ($op:literal $r:literal $x:literal $y:literal) => {
        concat!($op, " v", $r, ".8h, v", $x, ".8h, v", $y, ".8h\n")
    };
}

/// # Safety
/// As the table's `RunFn`.
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    // SAFETY: the caller's promise; every AArch64 processor has NEON.
    unsafe { winograd::run::<Neon>(args) }
}

struct Neon;

impl Kernel for Neon {
    type Range = OutputRange;

    const TILES: usize = 8;

    #[inline(never)]
    unsafe fn weights(panel: &Panel<'_>, first: usize, to: &mut [i16], stride: usize) {
        let tap = panel.channels * LANES;
        let at = first * LANES;
        assert!(panel.weights.len() >= 8 * tap + at + 8 * LANES);
        assert!(to.len() >= (POINTS - 1) * stride + 8 * LANES);
        // SAFETY: each of nine taps has eight output channels of eight input channels, two by two; the points
        // are inside `to`.
        unsafe {
            asm!(
                "movi v31.8h, #4",
                "20:",
                "mov {tap}, {from}",
                "ld2 {{v0.8b, v1.8b}}, [{tap}], {step}", "ld2 {{v2.8b, v3.8b}}, [{tap}], {step}",
                "ld2 {{v4.8b, v5.8b}}, [{tap}], {step}", "ld2 {{v6.8b, v7.8b}}, [{tap}], {step}",
                "ld2 {{v8.8b, v9.8b}}, [{tap}], {step}", "ld2 {{v10.8b, v11.8b}}, [{tap}], {step}",
                "ld2 {{v12.8b, v13.8b}}, [{tap}], {step}", "ld2 {{v14.8b, v15.8b}}, [{tap}], {step}",
                "ld2 {{v16.8b, v17.8b}}, [{tap}]",
                "add {from}, {from}, #16",
                // Lines 0 and 5 of G w.
                "mov {line}, {to}",
                six!("sxtl", ".8h", ".8b": 18 0, 19 1, 20 2, 21 3, 22 4, 23 5),
                points!(18 19, 20 21, 22 23, 24 25, 26 27),
                "add {tap}, {line}, {stride}, lsl #4",
                "add {tap}, {tap}, {stride}, lsl #3",
                six!("sxtl", ".8h", ".8b": 18 12, 19 13, 20 14, 21 15, 22 16, 23 17),
                "mov {next}, {line}",
                "mov {line}, {tap}",
                points!(18 19, 20 21, 22 23, 24 25, 26 27),
                "mov {line}, {next}",
                // Lines 1 and 2.
                six!("saddl", ".8h", ".8b", ".8b": 18 0 12, 19 1 13, 20 2 14, 21 3 15, 22 4 16, 23 5 17),
                six!("sshll", ".8h", ".8b", "#2": 24 12, 25 13, 26 14, 27 15, 28 16, 29 17),
                six!("saddw", ".8h", ".8h", ".8b": 24 24 0, 25 25 1, 26 26 2, 27 27 3, 28 28 4, 29 29 5),
                six!("saddw", ".8h", ".8h", ".8b": 0 18 6, 1 19 7, 2 20 8, 3 21 9, 4 22 10, 5 23 11),
                points!(0 1, 2 3, 4 5, 12 13, 14 15),
                six!("ssubw", ".8h", ".8h", ".8b": 0 18 6, 1 19 7, 2 20 8, 3 21 9, 4 22 10, 5 23 11),
                points!(0 1, 2 3, 4 5, 12 13, 14 15),
                // Lines 3 and 4.
                six!("sshll", ".8h", ".8b", "#1": 18 6, 19 7, 20 8, 21 9, 22 10, 23 11),
                six!("add", ".8h", ".8h", ".8h": 0 24 18, 1 25 19, 2 26 20, 3 27 21, 4 28 22, 5 29 23),
                points!(0 1, 2 3, 4 5, 12 13, 14 15),
                six!("sub", ".8h", ".8h", ".8h": 0 24 18, 1 25 19, 2 26 20, 3 27 21, 4 28 22, 5 29 23),
                points!(0 1, 2 3, 4 5, 12 13, 14 15),
                "add {to}, {to}, #32",
                "subs {n}, {n}, #1",
                "b.ne 20b",
                from = inout(reg) panel.weights.as_ptr().add(at) => _,
                step = in(reg) tap,
                to = inout(reg) to.as_mut_ptr() => _,
                stride = in(reg) stride * 2,
                n = inout(reg) 4usize => _,
                tap = out(reg) _, line = out(reg) _, next = out(reg) _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                out("v28") _, out("v29") _, out("v31") _,
                options(nostack),
            );
        }
    }

    #[inline(never)]
    unsafe fn columns(lines: [(*const i8, usize); PATCH], columns: Range<usize>, to: &mut Columns) {
        let (count, line) = (columns.len(), size_of_val(&to[0]));
        if columns.is_empty() {
            return;
        }
        let to = to[0][columns].as_mut_ptr();
        // SAFETY: every line has eight channels of these columns, and `to` has them, a line behind the other.
        unsafe {
            asm!(
                "20:",
                "ld1 {{v0.8b}}, [{p0}], {s0}", "ld1 {{v1.8b}}, [{p1}], {s1}",
                "ld1 {{v2.8b}}, [{p2}], {s2}", "ld1 {{v3.8b}}, [{p3}], {s3}",
                "ld1 {{v4.8b}}, [{p4}], {s4}", "ld1 {{v5.8b}}, [{p5}], {s5}",
                "mov {line}, {to}",
                "sshll v16.8h, v2.8b, #2", "ssubl v18.8h, v4.8b, v2.8b",
                "sshll v17.8h, v1.8b, #2", "ssubl v19.8h, v3.8b, v1.8b",
                "ssubl v20.8h, v2.8b, v0.8b", "ssubl v21.8h, v5.8b, v3.8b",
                "ssubw v16.8h, v16.8h, v4.8b", "ssubw v17.8h, v17.8h, v3.8b",
                "shl v20.8h, v20.8h, #2", "shl v22.8h, v19.8h, #2", "shl v19.8h, v19.8h, #1",
                "sub v20.8h, v18.8h, v20.8h", "sub v21.8h, v21.8h, v22.8h",
                "add v22.8h, v16.8h, v17.8h", "sub v16.8h, v16.8h, v17.8h",
                "add v17.8h, v18.8h, v19.8h", "sub v18.8h, v18.8h, v19.8h",
                "subs {n}, {n}, #1",
                "st1 {{v20.8h}}, [{line}], {stride}", "st1 {{v22.8h}}, [{line}], {stride}",
                "st1 {{v16.8h}}, [{line}], {stride}", "st1 {{v17.8h}}, [{line}], {stride}",
                "st1 {{v18.8h}}, [{line}], {stride}", "str q21, [{line}]",
                "add {to}, {to}, #16",
                "b.ne 20b",
                p0 = inout(reg) lines[0].0 => _, s0 = in(reg) lines[0].1,
                p1 = inout(reg) lines[1].0 => _, s1 = in(reg) lines[1].1,
                p2 = inout(reg) lines[2].0 => _, s2 = in(reg) lines[2].1,
                p3 = inout(reg) lines[3].0 => _, s3 = in(reg) lines[3].1,
                p4 = inout(reg) lines[4].0 => _, s4 = in(reg) lines[4].1,
                p5 = inout(reg) lines[5].0 => _, s5 = in(reg) lines[5].1,
                to = inout(reg) to => _, line = out(reg) _, stride = in(reg) line, n = inout(reg) count => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn patch(from: &Columns, column: usize, to: &mut [i16], stride: usize) {
        assert!(to.len() >= (POINTS - 1) * stride + LANES && column + PATCH <= from[0].len());
        let line = size_of_val(&from[0]) - size_of_val(&from[0][..4]);
        // SAFETY: six columns of every line, which lie one behind the other; the points are inside `to`.
        unsafe {
            asm!(
                "20:",
                "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{from}], #64",
                "ld1 {{v4.8h, v5.8h}}, [{from}], {line}",
                "shl v16.8h, v2.8h, #2", "shl v17.8h, v1.8h, #2",
                "sub v18.8h, v4.8h, v2.8h", "sub v19.8h, v3.8h, v1.8h",
                "sub v20.8h, v2.8h, v0.8h", "sub v21.8h, v5.8h, v3.8h",
                "sub v16.8h, v16.8h, v4.8h", "sub v17.8h, v17.8h, v3.8h",
                "shl v20.8h, v20.8h, #2", "shl v22.8h, v19.8h, #2", "shl v19.8h, v19.8h, #1",
                "sub v20.8h, v18.8h, v20.8h", "sub v21.8h, v21.8h, v22.8h",
                "add v22.8h, v16.8h, v17.8h", "sub v16.8h, v16.8h, v17.8h",
                "add v17.8h, v18.8h, v19.8h", "sub v18.8h, v18.8h, v19.8h",
                "subs {n}, {n}, #1",
                "st1 {{v20.8h}}, [{to}], {stride}", "st1 {{v22.8h}}, [{to}], {stride}",
                "st1 {{v16.8h}}, [{to}], {stride}", "st1 {{v17.8h}}, [{to}], {stride}",
                "st1 {{v18.8h}}, [{to}], {stride}", "st1 {{v21.8h}}, [{to}], {stride}",
                "b.ne 20b",
                from = inout(reg) from[0].as_ptr().add(column) => _,
                line = in(reg) line,
                to = inout(reg) to.as_mut_ptr() => _,
                stride = in(reg) stride * 2,
                n = inout(reg) PATCH => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    unsafe fn multiply(weights: &[i16], inputs: &[i16], k: usize, tiles: usize, to: &mut Products) {
        assert!(weights.len() >= POINTS * k * LANES && inputs.len() >= POINTS * k * tiles);
        assert!(k > 0 && k.is_multiple_of(8));
        // SAFETY: of every point and eight input channels there are 64 weights, and 8 inputs of each tile.
        unsafe {
            match tiles {
                8 => eight_tiles(weights, inputs, k, to),
                4 => four_tiles(weights, inputs, k, to),
                2 => two_tiles(weights, inputs, k, to),
                _ => one_tile(weights, inputs, k, to),
            }
        }
    }

    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn add(products: &Products, tile: usize, sums: &mut Sums) {
        for half in 0..2 {
            // SAFETY: half of the channels of the tile.
            unsafe {
                let sums: *mut i32 = sums.as_mut_ptr().cast::<i32>().add(half * 4);
                let columns = Columns4::new(products, tile, half);
                for i in 0..TILE {
                    for (j, output) in columns.line(i).into_iter().enumerate() {
                        let sum = sums.add((i * TILE + j) * LANES);
                        vst1q_s32(sum, vaddq_s32(vld1q_s32(sum), output));
                    }
                }
            }
        }
    }

    unsafe fn bytes(products: &Products, tile: usize, constants: &Constants, to: &Bytes<'_, Neon>) {
        // SAFETY: the caller's promise.
        unsafe {
            match to.residual {
                None => bytes::<false>(products, tile, constants, to),
                Some(_) => bytes::<true>(products, tile, constants, to),
            }
        }
    }

    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn bytes_after(
        products: &Products,
        tile: usize,
        sums: &mut Sums,
        constants: &Constants,
        to: &Bytes<'_, Neon>,
    ) {
        let epilogue = Epilogue::new(*to.range);
        // SAFETY: the tile has its place.
        unsafe {
            Self::add(products, tile, sums);
            let multipliers = [0, 4].map(|n| vld1q_f32(constants.multiplier.as_ptr().add(n)));
            for (pair, sums) in sums.as_chunks::<2>().0.iter().enumerate() {
                let sums = sums.as_ptr().cast::<i32>();
                let mut scaled = array::from_fn(|n| scale(vld1q_s32(sums.add(n * 4)), multipliers[n % 2]));
                let out = to.out.add(pair / 2 * to.line + pair % 2 * 2 * to.pixel);
                if let Some(residual) = to.residual {
                    let from = residual.of(out);
                    let bytes = vcombine_s8(vld1_s8(from), vld1_s8(from.add(to.pixel)));
                    scaled = add_residual_16(scaled, bytes, residual.multiplier);
                }
                let bytes = epilogue.bytes(scaled);
                vst1_s8(out, vget_low_s8(bytes));
                vst1_s8(out.add(to.pixel), vget_high_s8(bytes));
            }
        }
    }
}

/// [`Kernel::bytes`]; `ADDS` says whether there is a residual.
///
/// # Safety
/// As there.
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn bytes<const ADDS: bool>(
    products: &Products,
    tile: usize,
    constants: &Constants,
    to: &Bytes<'_, Neon>,
) {
    let epilogue = Epilogue::new(*to.range);
    for half in 0..2 {
        // SAFETY: half of the channels of the tile, which has its place there.
        unsafe {
            let bias = vld1q_s32(constants.bias.as_ptr().add(half * 4));
            let multiplier = vld1q_f32(constants.multiplier.as_ptr().add(half * 4));
            let out = to.out.add(half * 4);
            let columns = Columns4::new(products, tile, half);
            macro_rules! line {
                ($i:literal) => {
                    let sums = columns.line($i).map(|output| vaddq_s32(output, bias));
                    let out = out.add($i * to.line);
                    let mut scaled = sums.map(|sum| scale(sum, multiplier));
                    if let Some(residual) = to.residual.filter(|_| ADDS) {
                        let from = residual.of(out).cast::<i32>();
                        let mut four = vdupq_n_s32(0);
                        four = vld1q_lane_s32::<0>(from, four);
                        four = vld1q_lane_s32::<1>(from.byte_add(to.pixel), four);
                        four = vld1q_lane_s32::<2>(from.byte_add(2 * to.pixel), four);
                        four = vld1q_lane_s32::<3>(from.byte_add(3 * to.pixel), four);
                        scaled = add_residual_16(scaled, vreinterpretq_s8_s32(four), residual.multiplier);
                    }
                    let bytes = vreinterpretq_s32_s8(epilogue.bytes(scaled));
                    let store = |j: usize, four: i32| {
                        out.add(j * to.pixel).cast::<i32>().write_unaligned(four);
                    };
                    store(0, vgetq_lane_s32::<0>(bytes));
                    store(1, vgetq_lane_s32::<1>(bytes));
                    store(2, vgetq_lane_s32::<2>(bytes));
                    store(3, vgetq_lane_s32::<3>(bytes));
                };
            }
            line!(0);
            line!(1);
            line!(2);
            line!(3);
        }
    }
}

/// The outputs of four channels of a tile, but for the transform along lines.
struct Columns4([[int32x4_t; TILE]; PATCH]);

impl Columns4 {
    /// # Safety
    /// None needed but NEON; `tile` and `half` are below their bounds.
    #[inline(always)]
    unsafe fn new(products: &Products, tile: usize, half: usize) -> Self {
        // SAFETY: the tile has eight channels in every point; every AArch64 processor has NEON.
        unsafe {
            let constants = opaque([6, 0, 4, 0, 2, 0, 0, 0]);
            let points = products.as_ptr().cast::<i32>().add(tile * LANES + half * 4);
            Self(array::from_fn(|j| {
                let point = |i: usize| vld1q_s32(points.add((i * PATCH + j) * MAX_TILES * LANES));
                interpolate(array::from_fn(point), constants)
            }))
        }
    }

    /// Line `i` of the outputs. Lines are asked for one by one where they are used: a loop over them that is not
    /// unrolled has all columns in memory.
    #[inline(always)]
    fn line(&self, i: usize) -> [int32x4_t; TILE] {
        // SAFETY: every AArch64 processor has NEON.
        unsafe {
            let constants = opaque([6, 0, 4, 0, 2, 0, 0, 0]);
            let inverse = vdupq_n_s32(INVERSE_OF_9);
            let sums = interpolate(array::from_fn(|j| self.0[j][i]), constants);
            array::from_fn(|j| {
                let shift = vdupq_n_s32(-(SHIFTS[i] + SHIFTS[j]));
                vshlq_s32(vmulq_s32(sums[j], inverse), shift)
            })
        }
    }
}

/// Numbers that the compiler does not know, so that it does not make shifts and additions of the
/// multiplications by them, which add as well.
#[target_feature(enable = "neon")]
#[inline]
fn opaque(values: [i16; 8]) -> int16x8_t {
    // SAFETY: eight values; the assembly has no instruction.
    unsafe {
        let mut register = vld1q_s16(values.as_ptr());
        asm!("/* {0:v} */", inout(vreg) register, options(pure, nomem, nostack, preserves_flags));
        register
    }
}

/// `A` times six sums; `constants` are 6, 4 and 2.
#[target_feature(enable = "neon")]
#[inline]
fn interpolate(m: [int32x4_t; PATCH], constants: int16x8_t) -> [int32x4_t; TILE] {
    let constants = vreinterpretq_s32_s16(constants);
    let (even, odd) = (vaddq_s32(m[1], m[2]), vsubq_s32(m[1], m[2]));
    let (even_of_2, odd_of_2) = (vaddq_s32(m[3], m[4]), vsubq_s32(m[3], m[4]));
    let last = vaddq_s32(vmulq_laneq_s32::<0>(m[5], constants), odd);
    [
        vmlaq_laneq_s32::<0>(vmlaq_laneq_s32::<1>(even_of_2, even, constants), m[0], constants),
        vmlaq_laneq_s32::<2>(odd_of_2, odd, constants),
        vaddq_s32(even, even_of_2),
        vmlaq_laneq_s32::<2>(last, odd_of_2, constants),
    ]
}

/// Products of one input channel, whose weights are in register `$w`, with each tile's lane of it.
#[rustfmt::skip]
macro_rules! channel {
    ($w:literal $k:literal: $($x:literal $low:literal $high:literal)*) => {
        concat!($(
            "smlal v", $low, ".4s, v", $w, ".4h, v", $x, ".h[", $k, "]\n",
            "smlal2 v", $high, ".4s, v", $w, ".8h, v", $x, ".h[", $k, "]\n",
        )*)
    };
}

/// The products of some tiles, all points: `$load` reads eight input channels of these, which are in registers
/// from 0 on and have their sums in those from 16 on.
macro_rules! multiply {
    ($name:ident, $load:literal, $($x:literal $low:literal $high:literal $at:literal),*) => {
        /// # Safety
        /// Of every point there are `k` input channels, a multiple of 8 and not 0, of weights and inputs.
        #[target_feature(enable = "neon")]
        #[inline(never)]
        unsafe fn $name(weights: &[i16], inputs: &[i16], k: usize, to: &mut Products) {
            // SAFETY: the caller's promise; of each point the tiles' sums are written.
            unsafe {
                asm!(
                    "20:",
                    $(concat!("movi v", $low, ".4s, #0"), concat!("movi v", $high, ".4s, #0"),)*
                    "mov {n}, {k}",
                    "21:",
                    "ld1 {{v8.8h, v9.8h, v10.8h, v11.8h}}, [{weights}], #64",
                    $load,
                    channel!(8 0: $($x $low $high)*),
                    "ld1 {{v12.8h, v13.8h, v14.8h, v15.8h}}, [{weights}], #64",
                    channel!(9 1: $($x $low $high)*), channel!(10 2: $($x $low $high)*),
                    channel!(11 3: $($x $low $high)*), channel!(12 4: $($x $low $high)*),
                    channel!(13 5: $($x $low $high)*), channel!(14 6: $($x $low $high)*),
                    "subs {n}, {n}, #8",
                    channel!(15 7: $($x $low $high)*),
                    "b.ne 21b",
                    $(concat!("stp q", $low, ", q", $high, ", [{to}, #", $at, "]"),)*
                    "add {to}, {to}, #256",
                    "subs {points}, {points}, #1",
                    "b.ne 20b",
                    weights = inout(reg) weights.as_ptr() => _,
                    inputs = inout(reg) inputs.as_ptr() => _,
                    to = inout(reg) to.as_mut_ptr() => _,
                    k = in(reg) k,
                    points = inout(reg) POINTS => _,
                    n = out(reg) _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack),
                );
            }
        }
    };
}

multiply!(
    eight_tiles,
    "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{inputs}], #64\nld1 {{v4.8h, v5.8h, v6.8h, v7.8h}}, [{inputs}], #64",
    0 16 17 0, 1 18 19 32, 2 20 21 64, 3 22 23 96, 4 24 25 128, 5 26 27 160, 6 28 29 192, 7 30 31 224
);
multiply!(
    four_tiles,
    "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{inputs}], #64",
    0 16 17 0, 1 18 19 32, 2 20 21 64, 3 22 23 96
);
multiply!(two_tiles, "ld1 {{v0.8h, v1.8h}}, [{inputs}], #32", 0 16 17 0, 1 18 19 32);
multiply!(one_tile, "ld1 {{v0.8h}}, [{inputs}], #16", 0 16 17 0);
