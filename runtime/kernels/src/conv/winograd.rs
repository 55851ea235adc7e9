//! 3 × 3 convolutions by minimal filtering, F(4 × 4, 3 × 3), in integers and exact (Winograd, "Arithmetic
//! Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! 2015): 36 products for 16 outputs, where the definition has 144.
//!
//! A tile of 4 × 4 outputs reads a patch `d` of 6 × 6 inputs. With the weights `w` of a channel,
//! ```text
//!     | 1  0  0 |       | 4  0 -5  0  1  0 |
//!     | 1  1  1 |       | 0  4  4 -1 -1  0 |       | 6  4  4  1  1  0 |        | 8 |
//! G = | 1 -1  1 |   B = | 0 -4  4  1 -1  0 |   A = | 0  2 -2  1 -1  0 |   s =  | 4 |
//!     | 1  2  4 |       | 0 -2 -1  2  1  0 |       | 0  1  1  1  1  0 |        | 2 |
//!     | 1 -2  4 |       | 0  2 -1 -2  1  0 |       | 0  1 -1  2 -2  6 |        | 2 |
//!     | 0  0  1 |       | 0  4  0 -5  0  1 |
//!
//! 9 * s[i] * s[j] * y[i][j] = (A (sum over channels of (G w Gᵀ) * (B d Bᵀ)) Aᵀ)[i][j]
//! ```
//! where `*` between matrices is by elements. `G` evaluates the weights as polynomials at 0, 1, -1, 2, -2 and
//! infinity; the fractions of the usual form are on the left side here.
//!
//! **Why it is exact.** Rows of `G` have magnitudes that sum to 7 at most, those of `B` to 10: so transformed
//! weights are at most 7 · 7 · 127 = 6223, transformed inputs 10 · 10 · 128 = 12 800, and both fit int16. All
//! that follows is arithmetic modulo 2^32, where sums may wrap around and 9 has an inverse. So the tile
//! gives `s[i] * s[j] * y` modulo 2^32, and a shift gives `y` itself where `64 * y` fits int32: that is so for
//! [`K_BLOCK`] channels, since 64 · 9 · 128 · 128 · 127 < 2^31. The parts of more channels are added up.
//!
//! With the first and the last line of `G` times 6, `A` has 1 for 6, and the magnitudes still sum to 7.
//!
//! **Memory.** Transformed weights are eight times as large as the weights, so they are never all there: for
//! eight output channels at a time they are made anew, which costs about as much as two tiles do, and a strip
//! has many. Where registers are wide, they are made line of points by line (see `wide`).

#[cfg(any(
    test,
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux")
))]
mod common;
#[cfg(any(test, target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod driver;
#[cfg(test)]
mod scalar;
pub(super) mod wide;

use super::ConvShape;

#[cfg(any(
    test,
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "linux")
))]
pub(super) use common::*;
#[cfg(any(test, target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
pub(super) use driver::*;
#[cfg(test)]
pub(super) use scalar::reference;

/// A division of the work, by the width of registers, as the table of rows needs it.
#[derive(Debug)]
pub(super) struct Method {
    /// Whether a convolution can be computed so: parts of one for which it pays can.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) is_possible: fn(&ConvShape) -> bool,
    /// Whether that is faster than the definition.
    pub(super) pays: fn(&ConvShape) -> bool,
    /// Bytes of scratch memory.
    pub(super) scratch_bytes: fn(&ConvShape) -> usize,
}

/// For registers of eight int16.
pub(super) static NARROW: Method = Method { is_possible, pays, scratch_bytes };

/// For registers of 32 int16.
pub(super) static WIDE: Method =
    Method { is_possible: wide::is_possible, pays: wide::pays, scratch_bytes: wide::scratch_bytes };

/// Lines, and columns, of a tile's outputs.
pub(super) const TILE: usize = 4;

/// Products of a tile for a pair of channels.
pub(super) const POINTS: usize = (TILE + 2) * (TILE + 2);

/// Channels that are treated together.
pub(super) const LANES: usize = 8;

/// The most tiles that are multiplied at once.
pub(super) const MAX_TILES: usize = 8;

/// Input channels whose sums are transformed at once.
pub(super) const K_BLOCK: usize = 128;

/// The most tiles of a strip: so many use what has been made of the weights.
const STRIP_TILES: usize = 32;

/// The most bytes of a strip's transformed inputs, but for those of a single tile.
const STRIP_BYTES: usize = 288 * 1024;

/// Whether a convolution can be computed so.
fn is_possible(shape: &ConvShape) -> bool {
    (shape.kernel_h, shape.kernel_w) == (3, 3)
        && (shape.stride_h, shape.stride_w, shape.dilation_h, shape.dilation_w) == (1, 1, 1, 1)
        && shape.groups == 1
        && shape.in_channels.is_multiple_of(LANES)
        && shape.out_channels >= LANES
}

/// Whether that takes fewer instructions than the definition does: what both take for a pair of channels of an
/// image, in tenths, as counted on AArch64 and ARMv7. It does not for a few tiles, for which the weights are
/// transformed in vain, nor where much of these is beyond the output.
fn pays(shape: &ConvShape) -> bool {
    if !is_possible(shape) {
        return false;
    }
    let [pixels, tiles] = [[shape.out_h, shape.out_w], tiles(shape)].map(|[h, w]| h as u64 * w as u64);
    let tile = 102 + 480 / shape.out_channels + 600 / shape.in_channels;
    tiles * tile as u64 + 230 < 19 * pixels
}

/// Bytes of scratch memory.
fn scratch_bytes(shape: &ConvShape) -> usize {
    Parts::new(shape).bytes().iter().sum()
}

/// Lines and columns of tiles of an image.
pub(super) fn tiles(shape: &ConvShape) -> [usize; 2] {
    [shape.out_h.div_ceil(TILE), shape.out_w.div_ceil(TILE)]
}

/// The most lines and columns of tiles in a strip.
fn strip(shape: &ConvShape) -> [usize; 2] {
    let [lines, columns] = tiles(shape);
    let most = (STRIP_BYTES / (POINTS * 2 * shape.in_channels)).clamp(1, STRIP_TILES);
    let columns = columns.min(most);
    [lines.min(most / columns), columns]
}

/// Elements of the parts of the scratch memory, each a multiple of 64 bytes.
struct Parts {
    /// Transformed inputs of a strip, int16.
    inputs: usize,
    /// Transformed weights of eight output channels, int16.
    weights: usize,
    /// Sums of products, int32.
    products: usize,
    /// Of each tile of a strip, where there is more than one block of input channels: `Sums`, int32.
    sums: usize,
}

impl Parts {
    fn new(shape: &ConvShape) -> Self {
        let tiles: usize = strip(shape).iter().product();
        Self {
            inputs: POINTS * tiles * shape.in_channels,
            weights: POINTS * shape.in_channels.min(K_BLOCK) * LANES,
            products: POINTS * MAX_TILES * LANES,
            sums: if shape.in_channels > K_BLOCK { tiles * TILE * TILE * LANES } else { 0 },
        }
    }

    fn bytes(&self) -> [usize; 4] {
        [self.inputs * 2, self.weights * 2, self.products * 4, self.sums * 4]
    }
}
