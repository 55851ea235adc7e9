//! Winograd's method by AVX512-VNNI: `vpdpwssd` multiplies two int16 by two others into each of 16 lanes of
//! int32, modulo 2^32 (Intel SDM vol. 2: the non-saturating form).
//!
//! The products of a point take up to 12 tiles × 32 output channels in 24 accumulators: 2 registers of weights,
//! and pairs of a tile's inputs, broadcast. That is half of the instructions of the definition by `vpdpbusd`,
//! since 36 products have the worth of 144, but a register holds half as many.
//!
//! Pairs are values 0 and 2, and 1 and 3, of four channels: so int8 becomes int16 by shifts alone, inputs as
//! well as the weights of the panels.

mod outputs;

use core::arch::x86_64::*;
use core::array;
use core::ops::Range;
use core::ptr::null_mut;

use super::gemm::{TileOutput, TileResidual};
use super::pack::NR16_KR4_XU8;
use super::winograd::wide::{
    CHANNELS, LANES, MAX_TILES, MIN_TILES, PANELS, Parts, all_tiles, strip, weights_stride,
};
use super::winograd::{K_BLOCK, PATCH, POINTS, TILE, stretches, tiles};
use super::{ConvArgs, ConvShape, Output, WeightSource};
use outputs::{Finish, Lines, Sums, add, finish, transform_line};

/// # Safety
/// As the table's `RunFn`, for a shape that the row accepts or a part of such.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn conv(args: &mut ConvArgs<'_>) {
    let WeightSource::Packed(packed) = args.weights else { return };
    let shape = args.shape;
    let zero = _mm512_set1_epi8(args.input_zero_point);
    let (_, residual) = TileOutput::of(&mut args.output, args.residual);
    let mut memory = Memory::new(&shape, args.scratch);
    for image in 0..shape.batch {
        let input = &args.input[image * (shape.in_h * shape.in_w * shape.in_channels)..];
        for tiles in stretches(all_tiles(&shape), strip(&shape)) {
            let strip = Strip { shape: &shape, image, tiles, residual };
            // SAFETY: the caller's promise.
            unsafe {
                strip.transform(input, zero, memory.inputs);
                for first in (0..shape.out_channels).step_by(LANES * PANELS) {
                    strip.channels(packed, first, &mut memory, &mut args.output);
                }
            }
        }
    }
}

/// The parts of the scratch memory.
struct Memory<'a> {
    inputs: &'a mut [i16],
    weights: &'a mut [i16],
    products: &'a mut [i32],
    /// Of all tiles of a strip: lines of products, each transformed.
    lines: &'a mut [[Lines; PANELS]],
    /// Of all tiles of a strip; none where there is one block of input channels.
    sums: &'a mut [[Sums; PANELS]],
}

impl<'a> Memory<'a> {
    fn new(shape: &ConvShape, scratch: &'a mut [u8]) -> Self {
        let [inputs, weights, products, lines, sums] = Parts::new(shape).bytes();
        let (inputs, rest) = scratch.split_at_mut(inputs);
        let (weights, rest) = rest.split_at_mut(weights);
        let (products, rest) = rest.split_at_mut(products);
        let (lines, rest) = rest.split_at_mut(lines);
        // SAFETY: whatever the bytes are, they are integers. The memory, and the length of every part, are
        // multiples of 64 bytes, so that nothing is left out.
        unsafe {
            Self {
                inputs: inputs.align_to_mut().1,
                weights: weights.align_to_mut().1,
                products: products.align_to_mut().1,
                lines: lines.align_to_mut().1,
                sums: rest[..sums].align_to_mut().1,
            }
        }
    }
}

/// Input channels whose sums are transformed at once.
struct Block {
    first: usize,
    len: usize,
}

impl Block {
    /// All blocks, in their order.
    fn all(channels: usize) -> impl Iterator<Item = Self> {
        (0..channels).step_by(K_BLOCK).map(move |first| Self { first, len: K_BLOCK.min(channels - first) })
    }
}

/// Tiles that are multiplied at once.
struct Group {
    first: usize,
    /// Those that there are.
    live: usize,
    /// As many places as there are for them: at least [`MIN_TILES`].
    tiles: usize,
}

impl Group {
    /// All groups, in their order: of nearly the same size.
    fn all(tiles: usize) -> impl Iterator<Item = Self> {
        let count = tiles.div_ceil(MAX_TILES);
        (0..count).map(move |group| {
            let first = group * tiles / count;
            let live = (group + 1) * tiles / count - first;
            Self { first, live, tiles: live.max(MIN_TILES) }
        })
    }

    /// Where the transformed inputs of a block of channels are.
    fn inputs(&self, channels: usize, block: &Block) -> usize {
        POINTS * (self.first * channels + self.tiles * block.first)
    }
}

/// Some tiles of an image, one after the other, line by line.
struct Strip<'a> {
    shape: &'a ConvShape,
    image: usize,
    tiles: Range<usize>,
    residual: Option<TileResidual>,
}

impl Strip<'_> {
    /// The line and the column of a tile's first output.
    fn place(&self, tile: usize) -> [usize; 2] {
        let [_, columns] = tiles(self.shape);
        let tile = self.tiles.start + tile;
        [tile / columns, tile % columns].map(|at| at * TILE)
    }

    /// Transforms the inputs of all tiles, to `[group][block of channels][POINTS][channels / 32][tiles][32]`.
    ///
    /// # Safety
    /// `input` is the image; the processor has AVX-512 F and BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn transform(&self, input: &[i8], zero: __m512i, to: &mut [i16]) {
        let (shape, channels) = (self.shape, self.shape.in_channels);
        for group in Group::all(self.tiles.len()) {
            for tile in 0..group.live {
                let [y, x] = self.place(group.first + tile);
                // Those columns that are inside the image, and where they begin in each line that is.
                let left = shape.pad_left.clamp(x, x + PATCH);
                let columns = left - x..(shape.in_w + shape.pad_left).clamp(left, x + PATCH) - x;
                let lines = array::from_fn(|i| {
                    let y = (y + i).checked_sub(shape.pad_top).filter(|&y| y < shape.in_h)?;
                    let at = (y * shape.in_w + left.checked_sub(shape.pad_left)?) * channels;
                    Some(input.get(at..at + columns.len() * channels)?.as_ptr())
                });
                let patch = Patch { lines, columns, channels, zero };
                for block in Block::all(channels) {
                    let stride = block.len * group.tiles;
                    for channel in (0..block.len).step_by(CHANNELS) {
                        let at = group.inputs(channels, &block) + channel * group.tiles + tile * 32;
                        let to = &mut to[at..][..(POINTS - 1) * stride + (group.tiles + 1) * 32];
                        // SAFETY: every column that is inside has `channels` values in each line; the points
                        // are inside `to`.
                        unsafe {
                            patch.transform(block.first + channel, to.as_mut_ptr(), stride, group.tiles * 32);
                        }
                    }
                }
            }
        }
    }

    /// Computes 32 output channels, or those that there are.
    ///
    /// # Safety
    /// As of [`conv`]; the inputs have been transformed.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn channels(&self, packed: &[u8], first: usize, memory: &mut Memory<'_>, output: &mut Output<'_>) {
        let (shape, channels) = (self.shape, self.shape.in_channels);
        let bytes = NR16_KR4_XU8.panel_bytes(shape);
        let panels = (shape.out_channels - first).div_ceil(LANES).min(PANELS);
        // Where there is no second panel, the first one stands for it.
        let all: [&[u8]; PANELS] =
            array::from_fn(|p| &packed[(first / LANES + p.min(panels - 1)) * bytes..][..bytes]);
        // SAFETY: panels begin with 16 biases and 16 multipliers, and have 9 taps of `channels` values. The
        // scratch memory has the weights of a line of points, the products of 12 tiles for it, and lines and
        // sums of every tile of a strip ([`Parts`]): sums where there is more than one block, and so wherever a
        // block is not the first or not the last. `transform` has written all inputs that a group has; what lies
        // where a small group has no tile is memory of the same part, and its products are not used. Tiles and
        // channels that are finished begin inside the output.
        unsafe {
            let mut bias = [_mm512_setzero_si512(); PANELS];
            let mut multiplier = [_mm512_setzero_ps(); PANELS];
            for p in 0..PANELS {
                bias[p] = _mm512_loadu_si512(all[p].as_ptr().cast());
                multiplier[p] = _mm512_loadu_ps(all[p].as_ptr().add(LANES * 4).cast());
            }
            for block in Block::all(channels) {
                let (is_first, is_last) = (block.first == 0, block.first + block.len == channels);
                assert!(memory.weights.len() >= PATCH * weights_stride(block.len));
                for line in 0..PATCH {
                    for p in 0..PANELS {
                        let from = all[p].as_ptr().add(LANES * 8);
                        let to = memory.weights.as_mut_ptr().add(p * 2 * LANES);
                        match line {
                            0 => _ = weights::<0>(from, channels, &block, to),
                            1 => {
                                // The layout's bias is for inputs that are greater by 128.
                                let sum = weights::<1>(from, channels, &block, to);
                                bias[p] = _mm512_add_epi32(bias[p], _mm512_slli_epi32::<7>(sum));
                            }
                            2 => _ = weights::<2>(from, channels, &block, to),
                            3 => _ = weights::<3>(from, channels, &block, to),
                            4 => _ = weights::<4>(from, channels, &block, to),
                            _ => _ = weights::<5>(from, channels, &block, to),
                        }
                    }
                    for group in Group::all(self.tiles.len()) {
                        let at = group.inputs(channels, &block) + line * PATCH * block.len * group.tiles;
                        let inputs = &memory.inputs[at..][..PATCH * block.len * group.tiles];
                        let (weights, inputs) = (memory.weights.as_ptr(), inputs.as_ptr());
                        let products = memory.products.as_mut_ptr();
                        match group.tiles {
                            12 => multiply::<12>(weights, inputs, block.len, products),
                            11 => multiply::<11>(weights, inputs, block.len, products),
                            10 => multiply::<10>(weights, inputs, block.len, products),
                            9 => multiply::<9>(weights, inputs, block.len, products),
                            8 => multiply::<8>(weights, inputs, block.len, products),
                            7 => multiply::<7>(weights, inputs, block.len, products),
                            _ => multiply::<6>(weights, inputs, block.len, products),
                        }
                        let lines = &mut memory.lines[group.first..][..group.live];
                        transform_line(products, group.tiles, line, lines);
                    }
                }
                for (tile, lines) in memory.lines[..self.tiles.len()].iter().enumerate() {
                    let [y, x] = self.place(tile);
                    let mut sums = memory.sums.get_mut(tile);
                    for (p, lines) in lines.iter().enumerate().take(panels) {
                        let channel = first + p * LANES;
                        let pixel = (self.image * shape.out_h + y) * shape.out_w + x;
                        let to = Finish {
                            sums: sums.as_mut().map_or(null_mut(), |sums| sums[p].as_mut_ptr().cast()),
                            is_first,
                            bias: bias[p],
                            multiplier: multiplier[p],
                            residual: self.residual,
                            at: pixel * shape.out_channels + channel,
                            lines: TILE.min(shape.out_h - y),
                            pixels: TILE.min(shape.out_w - x),
                            live: LANES.min(shape.out_channels - channel),
                            pixel: shape.out_channels,
                            line: shape.out_channels * shape.out_w,
                        };
                        if is_last {
                            finish(lines, &to, output);
                        } else {
                            add(lines, &to);
                        }
                    }
                }
            }
        }
    }
}

/// `B` times a vector: 32 channels in int16.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn b(d: [__m512i; PATCH]) -> [__m512i; PATCH] {
    let (u, v) = (_mm512_sub_epi16(d[4], d[2]), _mm512_sub_epi16(d[3], d[1]));
    let even = _mm512_sub_epi16(_mm512_slli_epi16::<2>(d[2]), d[4]);
    let odd = _mm512_sub_epi16(_mm512_slli_epi16::<2>(d[1]), d[3]);
    let v2 = _mm512_add_epi16(v, v);
    [
        _mm512_add_epi16(_mm512_slli_epi16::<2>(_mm512_sub_epi16(d[0], d[2])), u),
        _mm512_add_epi16(even, odd),
        _mm512_sub_epi16(even, odd),
        _mm512_add_epi16(u, v2),
        _mm512_sub_epi16(u, v2),
        _mm512_sub_epi16(_mm512_sub_epi16(d[5], d[3]), _mm512_add_epi16(v2, v2)),
    ]
}

/// `G` times a vector, with its first and last line times 6: for these, `A` has 1 instead of 6.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn g([x, y, z]: [__m512i; 3]) -> [__m512i; PATCH] {
    let six = _mm512_set1_epi16(6);
    let (near, far) = (_mm512_add_epi16(x, z), _mm512_add_epi16(x, _mm512_slli_epi16::<2>(z)));
    let y2 = _mm512_add_epi16(y, y);
    [
        _mm512_mullo_epi16(x, six),
        _mm512_add_epi16(near, y),
        _mm512_sub_epi16(near, y),
        _mm512_add_epi16(far, y2),
        _mm512_sub_epi16(far, y2),
        _mm512_mullo_epi16(z, six),
    ]
}

/// Values 0 and 2, or 1 and 3, of each four bytes as int16.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn pairs<const ODD: usize>(bytes: __m512i) -> __m512i {
    let bytes = if ODD == 0 { _mm512_slli_epi16::<8>(bytes) } else { bytes };
    _mm512_srai_epi16::<8>(bytes)
}

/// The inputs of a tile.
struct Patch {
    /// The first of `columns` of each line, where that is inside the image.
    lines: [Option<*const i8>; PATCH],
    /// Those that are inside.
    columns: Range<usize>,
    /// Values from a column to the next.
    channels: usize,
    /// What is outside.
    zero: __m512i,
}

impl Patch {
    /// `B d Bᵀ` of 64 channels. Point `p` of the pairs of even values goes to `to[p * stride..][..32]`, and of odd
    /// values `odd` elements behind.
    ///
    /// # Safety
    /// There are `channels` values in each column of a line; `to` has the points.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline(never)]
    unsafe fn transform(&self, channel: usize, to: *mut i16, stride: usize, odd: usize) {
        let zero = _mm512_setzero_si512();
        let mut columns = [[[zero; PATCH]; PATCH]; 2];
        for j in 0..PATCH {
            let mut halves = [[zero; PATCH]; 2];
            for (i, line) in self.lines.iter().enumerate() {
                let bytes = match line {
                    Some(line) if self.columns.contains(&j) => {
                        let at = (j - self.columns.start) * self.channels + channel;
                        // SAFETY: the caller's promise.
                        unsafe { _mm512_loadu_si512(line.add(at).cast()) }
                    }
                    _ => self.zero,
                };
                halves[0][i] = pairs::<0>(bytes);
                halves[1][i] = pairs::<1>(bytes);
            }
            for (columns, d) in columns.iter_mut().zip(halves) {
                for (line, value) in columns.iter_mut().zip(b(d)) {
                    line[j] = value;
                }
            }
        }
        for (half, lines) in columns.iter().enumerate() {
            for (i, line) in lines.iter().enumerate() {
                for (j, value) in b(*line).into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe {
                        _mm512_storeu_si512(to.add((i * PATCH + j) * stride + half * odd).cast(), value)
                    };
                }
            }
        }
    }
}

/// Line `I` of `G` times a vector, scaled as of [`g`].
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn g_line<const I: usize>(vector: [__m512i; 3]) -> __m512i {
    g(vector)[I]
}

/// Line `I` of `G w Gᵀ` of a block's input channels of a panel, to `[PATCH][pairs][PANELS][16][2]`, of which
/// this is one panel's. Gives the sums of the second value: for line 1, those of all weights.
///
/// # Safety
/// `from` has nine taps of `channels` values, a block's among them; `to` has [`weights_stride`] elements for
/// each point.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline(never)]
unsafe fn weights<const I: usize>(from: *const u8, channels: usize, block: &Block, to: *mut i16) -> __m512i {
    let zero = _mm512_setzero_si512();
    let stride = weights_stride(block.len);
    let mut sum = zero;
    for quad in 0..block.len / 4 {
        let pair = quad / 16 * 32 + quad % 16;
        let mut even = [[zero; 3]; 3];
        let mut odd = [[zero; 3]; 3];
        for tap in 0..9 {
            let at = (tap * channels + block.first + quad * 4) * LANES;
            // SAFETY: the caller's promise.
            let bytes = unsafe { _mm512_loadu_si512(from.add(at).cast()) };
            even[tap % 3][tap / 3] = pairs::<0>(bytes);
            odd[tap % 3][tap / 3] = pairs::<1>(bytes);
        }
        // Written out: in a loop, the taps would live in memory.
        macro_rules! half {
            ($half:literal, $w:ident) => {
                let points = g([g_line::<I>($w[0]), g_line::<I>($w[1]), g_line::<I>($w[2])]);
                sum = _mm512_dpwssd_epi32(sum, points[1], _mm512_set1_epi16(1));
                for (j, value) in points.into_iter().enumerate() {
                    let at = j * stride + (pair + $half * 16) * PANELS * 2 * LANES;
                    // SAFETY: the caller's promise.
                    unsafe { _mm512_storeu_si512(to.add(at).cast(), value) };
                }
            };
        }
        half!(0, even);
        half!(1, odd);
    }
    sum
}

/// The sums over `k` input channels of a line of points, of `T` tiles × 32 output channels: to `[PATCH][T][32]`.
///
/// # Safety
/// `weights` as [`weights`] makes them of `k` channels, a multiple of 32; `x` has `[PATCH][k / 32][T][32]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline(never)]
unsafe fn multiply<const T: usize>(weights: *const i16, mut x: *const i16, k: usize, mut to: *mut i32) {
    for point in 0..PATCH {
        let mut acc = [[_mm512_setzero_si512(); PANELS]; T];
        // SAFETY: the caller's promise.
        unsafe {
            let mut w = weights.add(point * weights_stride(k));
            for _ in 0..k / 32 {
                for pair in 0..16 {
                    let (w0, w1) =
                        (_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(2 * LANES).cast()));
                    for (tile, acc) in acc.iter_mut().enumerate() {
                        let x = x.add(tile * 32 + pair * 2).cast::<i32>().read_unaligned();
                        let x = _mm512_set1_epi32(x);
                        acc[0] = _mm512_dpwssd_epi32(acc[0], x, w0);
                        acc[1] = _mm512_dpwssd_epi32(acc[1], x, w1);
                    }
                    w = w.add(PANELS * 2 * LANES);
                }
                x = x.add(T * 32);
            }
            for acc in &acc {
                for &acc in acc {
                    _mm512_storeu_si512(to.cast(), acc);
                    to = to.add(LANES);
                }
            }
        }
    }
}
