//! Products by the tiles of the convolutions: a matrix of rhs is packed, then tiles run over the rows
//! of lhs.

use super::{MatMulArgs, MatMulShape, panel_bytes, scratch};
use crate::conv::Output;
use crate::conv::gemm::{Micro, SWEEP_BYTES, Tile, TileOutput};
use crate::conv::pack::Layout;

/// Runs a product by tiles of `micro`. On x86 each row has a copy of its own, so that packing uses its registers; where
/// all rows have the same ones, one copy does (of 10 KB).
///
/// # Safety
/// `args` as [`MatMulArgs`] documents; the processor has the ISA of `micro.tile`.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) unsafe fn run(args: &mut MatMulArgs<'_>, micro: &Micro) {
    let shape = args.shape;
    let layout = micro.layout;
    let parts = scratch(layout, micro.pixels, &shape);
    let (panels, rest) = args.scratch.split_at_mut(parts.panels);
    let (pointers, rows) = rest.split_at_mut(parts.pointers);
    let pointers = pointers.as_mut_ptr().cast::<*const i8>();
    let out = match &mut args.output {
        Output::I8(out, range) => TileOutput::I8(out.as_mut_ptr(), *range),
        Output::F32(out) => TileOutput::F32(out.as_mut_ptr()),
    };
    let panel_bytes = panel_bytes(layout, &shape);
    let padded_k = shape.k.next_multiple_of(layout.k_multiple);
    let sweep = (SWEEP_BYTES / panel_bytes).next_multiple_of(4).clamp(1, shape.n.div_ceil(layout.nr));
    let flip = if layout.unsigned_inputs { 0x80 } else { 0 };
    let mut packed = None;
    for [lhs, rhs, output] in shape.matrices() {
        // A matrix that is broadcast is packed once.
        if packed != Some(rhs) {
            let source = Source { values: &args.rhs[rhs..], shape: &shape };
            pack(layout, &source, args.lhs_zero_point, args.multiplier, panels);
            packed = Some(rhs);
        }
        for first in (0..shape.n).step_by(sweep * layout.nr) {
            let live_channels = (sweep * layout.nr).min(shape.n - first);
            for m in (0..shape.m).step_by(micro.pixels) {
                let live = micro.pixels.min(shape.m - m);
                for row in 0..micro.pixels {
                    let start = lhs + (m + row.min(live - 1)) * shape.lhs_strides[2];
                    let values = &args.lhs[start..start + shape.k];
                    let pointer = if padded_k == shape.k && !layout.unsigned_inputs {
                        values.as_ptr()
                    } else {
                        let to = &mut rows[row * padded_k..][..shape.k];
                        to.iter_mut().zip(values).for_each(|(to, &x)| *to = x as u8 ^ flip);
                        to.as_ptr().cast()
                    };
                    // SAFETY: `pointers` has 8 bytes for each row of a tile, and starts at a multiple
                    // of 64, as all parts of the scratch memory do.
                    unsafe { *pointers.add(row) = pointer };
                }
                // SAFETY: each row points at `padded_k` readable values, of lhs or of the gathered rows;
                // the panels from `first` on, a multiple of the panel's channels, are in `panels`; the
                // output's first element and strides are those of the shape, which the output has.
                unsafe {
                    (micro.tile)(&Tile {
                        rows: pointers,
                        taps: 1,
                        tap_elems: padded_k,
                        panel: panels.as_ptr().add(first / layout.nr * panel_bytes),
                        panel_bytes,
                        live_pixels: live,
                        live_channels,
                        out: out.add(output + m * shape.output_strides[2] + first),
                        out_stride: shape.output_strides[2],
                        residual: None,
                    });
                }
            }
        }
    }
}

/// One matrix of rhs.
struct Source<'a> {
    values: &'a [i8],
    shape: &'a MatMulShape,
}

/// Packs a matrix: the same panels as those of convolutions, with the lhs's zero point in the bias.
#[inline(always)]
fn pack(layout: &Layout, source: &Source<'_>, zero_point: i8, multiplier: f32, panels: &mut [u8]) {
    let bytes = panel_bytes(layout, source.shape);
    for (index, panel) in panels.chunks_exact_mut(bytes).enumerate() {
        let first = index * layout.nr;
        // Unsigned inputs are 128 more than they were, and so is their zero point.
        let zero_point = zero_point as i32 + if layout.unsigned_inputs { 128 } else { 0 };
        let panel = Panel { first, zero_point, multiplier, bytes: panel };
        match (layout.nr, layout.kr) {
            // Layouts of 16 channels are those of x86.
            #[cfg(target_arch = "x86_64")]
            (16, 4) => panel.fill::<16, 4>(source),
            #[cfg(target_arch = "x86_64")]
            (16, _) => panel.fill::<16, 2>(source),
            (8, 4) => panel.fill::<8, 4>(source),
            (_, 2) => panel.fill::<8, 2>(source),
            _ => panel.fill::<8, 8>(source),
        }
    }
}

/// A panel to be filled: see [`Layout`].
struct Panel<'a> {
    /// Its first column.
    first: usize,
    /// Of lhs as the kernel reads it.
    zero_point: i32,
    multiplier: f32,
    bytes: &'a mut [u8],
}

/// What weights are, and no rhs need be: more than -128.
#[inline(always)]
fn weight(x: i8) -> i8 {
    x.max(-127)
}

impl Panel<'_> {
    #[inline(always)]
    fn fill<const NR: usize, const KR: usize>(self, source: &Source<'_>) {
        let shape = source.shape;
        let [.., row, column] = shape.rhs_strides;
        let live = NR.min(shape.n - self.first);
        let values = &source.values[self.first * column..];
        let (head, stream) = self.bytes.split_at_mut(NR * 8);
        // Groups of KR rows that are all there, and then the rest.
        let whole = shape.k / KR * KR;
        let (groups, rest) = stream.split_at_mut(whole * NR);
        let mut sums = [0; NR];
        if live == NR && column == 1 {
            lines::<NR, KR>(values, row, groups, &mut sums);
        } else if row == 1 {
            columns::<NR, KR>(values, column, live, groups, &mut sums);
        } else {
            elements::<NR, KR>(values, [row, column], [0..whole, 0..live], groups, &mut sums);
        }
        elements::<NR, KR>(values, [row, column], [whole..shape.k, 0..live], rest, &mut sums);
        for byte in stream.iter_mut() {
            *byte = weight(*byte as i8) as u8;
        }
        let (biases, multipliers) = head.split_at_mut(NR * 4);
        for (to, sum) in biases.chunks_exact_mut(4).zip(sums) {
            let bias = self.zero_point.wrapping_mul(sum).wrapping_neg();
            to.copy_from_slice(&bias.to_ne_bytes());
        }
        for to in multipliers.chunks_exact_mut(4) {
            to.copy_from_slice(&self.multiplier.to_ne_bytes());
        }
    }
}

/// Copies rows and columns by any strides to `[rows / KR][NR][KR]`, with zeros beyond them, and adds
/// the weights to the sums of their columns.
#[inline(always)]
fn elements<const NR: usize, const KR: usize>(
    values: &[i8],
    [row, column]: [usize; 2],
    [rows, columns]: [core::ops::Range<usize>; 2],
    groups: &mut [u8],
    sums: &mut [i32; NR],
) {
    groups.fill(0);
    for (to, k) in groups.chunks_exact_mut(NR * KR).zip(rows.clone().step_by(KR)) {
        for n in columns.clone() {
            for k in k..rows.end.min(k + KR) {
                let x = values[k * row + n * column];
                to[n * KR + k % KR] = x as u8;
                sums[n] += weight(x) as i32;
            }
        }
    }
}

/// The same of columns whose elements are neighbours.
#[inline(always)]
fn columns<const NR: usize, const KR: usize>(
    values: &[i8],
    column: usize,
    live: usize,
    groups: &mut [u8],
    sums: &mut [i32; NR],
) {
    let rows = groups.len() / NR;
    if live < NR {
        groups.fill(0);
    }
    for (n, sum) in sums.iter_mut().enumerate().take(live) {
        let from = &values[n * column..][..rows];
        *sum += from.iter().map(|&x| weight(x) as i32).sum::<i32>();
        for (to, from) in groups.chunks_exact_mut(NR * KR).zip(from.as_chunks::<KR>().0) {
            to[n * KR..][..KR].copy_from_slice(&from.map(|x| x as u8));
        }
    }
}

/// The same of rows whose elements, all NR, are neighbours.
#[inline(always)]
fn lines<const NR: usize, const KR: usize>(
    values: &[i8],
    row: usize,
    groups: &mut [u8],
    sums: &mut [i32; NR],
) {
    // A copy can stay in registers.
    let mut local = *sums;
    for (group, to) in groups.chunks_exact_mut(NR * KR).enumerate() {
        let lines: [&[i8; NR]; KR] = core::array::from_fn(|j| {
            let start = (group * KR + j) * row;
            values[start..start + NR].first_chunk().unwrap_or(&[0; NR])
        });
        for line in lines {
            for (sum, &x) in local.iter_mut().zip(line) {
                *sum += weight(x) as i32;
            }
        }
        interleave::<NR, KR>(&lines, to);
    }
    *sums = local;
}

/// Writes `[NR][KR]`: the columns of KR lines after each other.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn interleave<const NR: usize, const KR: usize>(lines: &[&[i8; NR]; KR], to: &mut [u8]) {
    use core::arch::x86_64::*;
    // All layouts of this architecture have panels of 16 columns, and so lines of one register.
    let line = |j: usize| lines[j].first_chunk().unwrap_or(&[0; 16]);
    // SAFETY: every x86-64 processor has SSE2; loads are of 16 values, and stores of 16 bytes.
    unsafe {
        let load = |j: usize| _mm_loadu_si128(core::ptr::from_ref(line(j)).cast());
        let zip = |a, b| [_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)];
        let mut store = |at: usize, x| {
            if let Some(to) = to[at * 16..].first_chunk_mut::<16>() {
                _mm_storeu_si128(core::ptr::from_mut(to).cast(), x);
            }
        };
        if KR == 2 {
            let [low, high] = zip(load(0), load(1));
            store(0, low);
            store(1, high);
        } else {
            let (front, back) = (zip(load(0), load(1)), zip(load(2), load(3)));
            for half in 0..2 {
                store(2 * half, _mm_unpacklo_epi16(front[half], back[half]));
                store(2 * half + 1, _mm_unpackhi_epi16(front[half], back[half]));
            }
        }
    }
}

/// Writes `[NR][KR]`: the columns of KR lines after each other.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn interleave<const NR: usize, const KR: usize>(lines: &[&[i8; NR]; KR], to: &mut [u8]) {
    // The layouts of these architectures have panels of 8 columns.
    if KR == 2 {
        for ((to, &a), &b) in to.as_chunks_mut::<2>().0.iter_mut().zip(lines[0]).zip(lines[1]) {
            *to = [a as u8, b as u8];
        }
    } else if KR == 4 {
        // Eight columns at a time: number i comes out with columns i and i + 4.
        for at in (0..NR).step_by(8) {
            let lines = core::array::from_fn(|j| number(&lines[j][at..]) | number(&lines[j][at + 4..]) << 32);
            for (i, pair) in transpose(lines).into_iter().enumerate() {
                let bytes = pair.to_le_bytes();
                to[(at + i) * 4..][..4].copy_from_slice(&bytes[..4]);
                to[(at + i + 4) * 4..][..4].copy_from_slice(&bytes[4..]);
            }
        }
    } else {
        // Four columns at a time, the later rows in the upper half: number i is column i.
        for at in (0..NR).step_by(4) {
            let lines = core::array::from_fn(|j| number(&lines[j][at..]) | number(&lines[j + 4][at..]) << 32);
            for (i, column) in transpose(lines).into_iter().enumerate() {
                to[(at + i) * 8..][..8].copy_from_slice(&column.to_le_bytes());
            }
        }
    }
}

/// The number that the first four values are.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn number(values: &[i8]) -> u64 {
    values.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(bytes.map(|x| x as u8)) as u64)
}

/// Transposes 4 × 4 bytes, in the lower and in the upper half of four numbers, by exchanging bytes and then
/// pairs of bytes (Warren, "Hacker's Delight", section 7-3).
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn transpose([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    #[inline(always)]
    fn exchange(x: &mut u64, y: &mut u64, shift: u32, mask: u64) {
        let swapped = (*x >> shift ^ *y) & mask;
        *y ^= swapped;
        *x ^= swapped << shift;
    }
    exchange(&mut a, &mut b, 8, 0x00ff_00ff_00ff_00ff);
    exchange(&mut c, &mut d, 8, 0x00ff_00ff_00ff_00ff);
    exchange(&mut a, &mut c, 16, 0x0000_ffff_0000_ffff);
    exchange(&mut b, &mut d, 16, 0x0000_ffff_0000_ffff);
    [a, b, c, d]
}
