//! What the walk over planes of AVX512-VNNI (`x86_avx512vnni_columns`) works on: strips of the output (all
//! lines, as many pixels of each as there is room for) by blocks of 64, 32 or 16 channels, the constants of a
//! block, and the plane of its input.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86_avx512vnni_columns::lines;
use super::{ConvArgs, ConvShape, Output, Weights};
use crate::requantize::OutputRange;
use crate::x86_avx512::interleave;

/// Bytes of a register.
pub(super) const WIDTH: usize = 64;

/// Half of a first-level cache of 48 KiB.
const PLANE_BYTES: usize = 24 * 1024;

#[repr(C, align(64))]
struct Plane([MaybeUninit<u8>; PLANE_BYTES]);

/// Whether this is a convolution for these kernels.
pub(super) fn accepts(args: &ConvArgs<'_>, weights: &Weights<'_>) -> bool {
    let shape = &args.shape;
    shape.kernel_h == shape.kernel_w
        && matches!(shape.kernel_h, 3 | 5)
        && shape.stride_h == shape.stride_w
        && matches!(shape.stride_h, 1 | 2)
        && (shape.dilation_h, shape.dilation_w) == (1, 1)
        && matches!(args.output, Output::I8(..))
        // Scaled sums below 2^30, so that their conversion cannot overflow. Those of 25 taps are below 2^19.
        && weights.bias.iter().zip(weights.multiplier).all(|(&bias, &multiplier)| {
            (bias as f32).abs() + 524_288.0 < 1_073_741_824.0 / 2.0 / multiplier
        })
}

/// # Safety
/// As the table's `RunFn`; `accepts` these arguments.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn run(args: &mut ConvArgs<'_>, weights: Weights<'_>) {
    let shape = args.shape;
    let Output::I8(out, range) = &mut args.output else { return };
    let mut constants = Constants {
        weights: [[_mm512_setzero_si512(); 4]; 7],
        bias: [_mm512_setzero_si512(); 4],
        multiplier: [_mm512_setzero_ps(); 4],
    };
    let mut plane = Plane([MaybeUninit::uninit(); PLANE_BYTES]);
    let strip_pixels = strip_pixels(&shape);
    let channels = shape.in_channels;
    for image in 0..shape.batch {
        for ox in (0..shape.out_w).step_by(strip_pixels) {
            let mut done = 0;
            while done < channels {
                let width = block_width(channels - done, channels);
                // The last block starts early enough to be whole: some channels are computed twice.
                let first = done.min(channels.saturating_sub(width));
                let pixel = image * shape.out_h * shape.out_w + ox;
                // SAFETY: image, pixel and channels exist.
                unsafe {
                    let strip = Strip {
                        shape: &shape,
                        input: args.input.as_ptr().add(image * shape.in_h * shape.in_w * channels + first),
                        zero_point: args.input_zero_point,
                        out: out.as_mut_ptr().add(pixel * channels + first),
                        range: *range,
                        channels: width.min(channels),
                        ox,
                        pixels: strip_pixels.min(shape.out_w - ox),
                    };
                    strip.run(width, first, &weights, &mut constants, plane.0.as_mut_ptr().cast());
                }
                done += width;
            }
        }
    }
}

/// Channels of a block where so many of all are left.
fn block_width(left: usize, channels: usize) -> usize {
    match (left, channels) {
        (49.., 64..) => 64,
        (17.., 32..) => 32,
        _ => 16,
    }
}

/// Pixels of a strip's lines: as many as the plane has room for, in equal parts. Not fewer lines than there are:
/// blocks that share cache lines find them in the second-level cache, which costs less than to begin anew.
fn strip_pixels(shape: &ConvShape) -> usize {
    let (kernel, stride) = (shape.kernel_w, shape.stride_w);
    // Lines of the plane, or halves of them, are aligned to registers.
    let room = PLANE_BYTES / kernel - 2 * WIDTH;
    let columns = room / block_width(shape.in_channels, shape.in_channels);
    let most = ((columns - kernel) / stride + 1) / 4 * 4;
    shape.out_w.div_ceil(shape.out_w.div_ceil(most)).next_multiple_of(4)
}

/// The constants of a block, in the order of its accumulators: lane 4 L + l of accumulator i is for byte
/// 16 L + 4 i + l of a group.
#[repr(C, align(64))]
pub(super) struct Constants {
    /// Of a column's first four rows each; then of the fifth row, by four and one.
    pub weights: [[__m512i; 4]; 7],
    pub bias: [__m512i; 4],
    pub multiplier: [__m512; 4],
}

/// A strip of the output, one block of channels.
pub(super) struct Strip<'a> {
    pub shape: &'a ConvShape,
    /// The image's first pixel, at the block's first channel.
    pub input: *const i8,
    pub zero_point: i8,
    /// Where the first pixel goes, at the block's first channel.
    pub out: *mut i8,
    pub range: OutputRange,
    /// Of the block: as wide as it is, but where there are fewer than 16.
    pub channels: usize,
    /// The first pixel of each line, of so many.
    pub ox: usize,
    pub pixels: usize,
}

impl Strip<'_> {
    /// # Safety
    /// The strip is as documented, and `width` the block's; `accepts` the arguments. The processor has
    /// AVX-512 F, BW, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    #[inline]
    unsafe fn run(
        &self,
        width: usize,
        first: usize,
        weights: &Weights<'_>,
        constants: &mut Constants,
        plane: *mut u8,
    ) {
        macro_rules! run {
            ($k:literal, $s:literal, $p:literal, $w:literal) => {
                // SAFETY: the caller's promise.
                unsafe {
                    self.prepare::<$k, $p>(first, weights, constants);
                    lines::<$k, $s, $p, $w>(self, constants, plane);
                }
            };
        }
        match (self.shape.kernel_w, self.shape.stride_w, width) {
            (3, 1, 64) => run!(3, 1, 1, 3),
            (3, 1, 32) => run!(3, 1, 2, 2),
            (3, 1, _) => run!(3, 1, 4, 1),
            (3, _, 64) => run!(3, 2, 1, 2),
            (3, _, 32) => run!(3, 2, 2, 1),
            (3, _, _) => run!(3, 2, 4, 1),
            (_, 1, 64) => run!(5, 1, 1, 5),
            (_, 1, 32) => run!(5, 1, 2, 3),
            (_, 1, _) => run!(5, 1, 4, 2),
            (_, _, 64) => run!(5, 2, 1, 3),
            (_, _, 32) => run!(5, 2, 2, 2),
            (_, _, _) => run!(5, 2, 4, 1),
        }
    }

    /// Selects the channels of a block of 16.
    #[inline(always)]
    pub fn mask(&self) -> __mmask16 {
        u16::MAX >> (16 - self.channels)
    }

    /// Sets the constants of the block from channel `first` on.
    ///
    /// # Safety
    /// As `run`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn prepare<const K: usize, const P: usize>(
        &self,
        first: usize,
        weights: &Weights<'_>,
        constants: &mut Constants,
    ) {
        let tap = |ky: usize, kx: usize| {
            let tap = weights.weights.as_ptr().wrapping_add((ky * K + kx) * self.shape.in_channels + first);
            // SAFETY: the tap exists, with the block's channels.
            unsafe {
                match P {
                    1 => _mm512_loadu_si512(tap.cast()),
                    2 => _mm512_broadcast_i64x4(_mm256_loadu_si256(tap.cast())),
                    _ => _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(self.mask(), tap)),
                }
            }
        };
        let mut correction = [_mm512_setzero_si512(); 4];
        let mut add = |quad: usize, taps: [__m512i; 4]| {
            let taps = interleave(taps);
            for i in 0..4 {
                correction[i] = _mm512_dpbusd_epi32(correction[i], _mm512_set1_epi8(-128), taps[i]);
            }
            constants.weights[quad] = taps;
        };
        let nothing = _mm512_setzero_si512();
        for kx in 0..K {
            let fourth = if K == 5 { tap(3, kx) } else { nothing };
            add(kx, [tap(0, kx), tap(1, kx), tap(2, kx), fourth]);
        }
        if K == 5 {
            add(5, [tap(4, 0), tap(4, 1), tap(4, 2), tap(4, 3)]);
            add(6, [tap(4, 4), nothing, nothing, nothing]);
        }
        let mut bias = [nothing; 4];
        let mut multiplier = [nothing; 4];
        for lane in 0..4 {
            let at = first + lane % (4 / P) * 16;
            // SAFETY: the block's channels exist, and other blocks than those of 16 are whole.
            unsafe {
                let mask = if P == 4 { self.mask() } else { u16::MAX };
                bias[lane] = _mm512_maskz_loadu_epi32(mask, weights.bias.as_ptr().add(at));
                let from = weights.multiplier.as_ptr().add(at).cast();
                multiplier[lane] = _mm512_maskz_loadu_epi32(mask, from);
            }
        }
        let (bias, multiplier) = (transpose(bias), transpose(multiplier));
        for i in 0..4 {
            constants.bias[i] = _mm512_sub_epi32(bias[i], correction[i]);
            constants.multiplier[i] = _mm512_castsi512_ps(multiplier[i]);
        }
    }

    /// Whether lines of the plane have first all even columns, then all odd ones: so that the pixels of a
    /// group, two columns apart, lie side by side.
    #[inline(always)]
    pub fn is_split<const S: usize, const P: usize>(&self) -> bool {
        S == 2 && P > 1
    }

    /// Columns that whole groups read.
    #[inline(always)]
    fn columns<const K: usize, const S: usize, const P: usize>(&self) -> usize {
        (self.pixels.next_multiple_of(P) - 1) * S + K
    }

    /// Where the odd columns of a split line begin, in bytes.
    #[inline(always)]
    pub fn odd<const K: usize, const S: usize, const P: usize>(&self) -> usize {
        (self.columns::<K, S, P>().div_ceil(2) * (WIDTH / P)).next_multiple_of(WIDTH)
    }

    /// Bytes from one line of the plane to the next.
    #[inline(always)]
    pub fn pitch<const K: usize, const S: usize, const P: usize>(&self) -> usize {
        if self.is_split::<S, P>() {
            2 * self.odd::<K, S, P>()
        } else {
            (self.columns::<K, S, P>() * (WIDTH / P)).next_multiple_of(WIDTH)
        }
    }

    /// Fills a line of the plane from line `row` of the padded input.
    ///
    /// # Safety
    /// The strip is as documented, and `to` has room for a line. The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub unsafe fn fill<const K: usize, const S: usize, const P: usize>(&self, row: usize, to: *mut u8) {
        let shape = self.shape;
        let columns = self.columns::<K, S, P>();
        let odd = self.odd::<K, S, P>();
        let flip = _mm512_set1_epi8(-128);
        let zero = _mm512_xor_si512(_mm512_set1_epi8(self.zero_point), flip);
        let width = WIDTH / P;
        let place = |column: usize| {
            let at =
                if self.is_split::<S, P>() { column % 2 * odd + column / 2 * width } else { column * width };
            to.wrapping_add(at)
        };
        let put = |to: *mut u8, x: __m512i| {
            // SAFETY: the place of one of the line's columns.
            unsafe {
                match P {
                    1 => _mm512_store_si512(to.cast(), x),
                    2 => _mm256_store_si256(to.cast(), _mm512_castsi512_si256(x)),
                    _ => _mm_store_si128(to.cast(), _mm512_castsi512_si128(x)),
                }
            }
        };
        let first = self.ox * S;
        let y = row.checked_sub(shape.pad_top).filter(|&y| y < shape.in_h);
        let (before, inside) = match y {
            Some(_) => {
                let before = shape.pad_left.saturating_sub(first).min(columns);
                let rest = shape.in_w.saturating_sub(first.saturating_sub(shape.pad_left));
                (before, rest.min(columns - before))
            }
            None => (columns, 0),
        };
        for column in 0..before {
            put(place(column), zero);
        }
        let x = first.saturating_sub(shape.pad_left);
        let mut from = self.input.wrapping_add((y.unwrap_or(0) * shape.in_w + x) * shape.in_channels);
        // Of the column at hand, and of the next one.
        let (mut here, mut next) = (place(before), place(before + 1));
        for _ in 0..inside {
            // SAFETY: the pixel is inside of the image, and has the block's channels.
            let x = unsafe {
                match P {
                    1 => _mm512_loadu_si512(from.cast()),
                    2 => _mm512_castsi256_si512(_mm256_loadu_si256(from.cast())),
                    _ if self.channels == 16 => _mm512_castsi128_si512(_mm_loadu_si128(from.cast())),
                    _ => _mm512_castsi128_si512(_mm_maskz_loadu_epi8(self.mask(), from)),
                }
            };
            put(here, _mm512_xor_si512(x, flip));
            (here, next) = if self.is_split::<S, P>() {
                (next, here.wrapping_add(width))
            } else {
                (next, next.wrapping_add(width))
            };
            from = from.wrapping_add(shape.in_channels);
        }
        for column in before + inside..columns {
            put(place(column), zero);
        }
    }
}

/// Of four registers of four 128-bit lanes, the first lane of each side by side, then the second ones.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}
