//! *Columns*: what two output pixels read, as 16-bit lanes side by side, for processors that multiply pairs of 16 bits
//! (`smlad`). CMSIS-NN's idea (Lai et al., "CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs", 2018),
//! with lanes in the order in which `sxtb16` gives them, so that nothing is shuffled, and the weights of all output
//! channels are read from where they lie in the package.
//!
//! ```text
//! columns = [K / 4][pixel][2] words:  of values k..k + 4 of a pixel (k, k + 2), (k + 1, k + 3)
//! bytes   = [K] i8, rounded up to words: what a pixel reads, where taps are no whole words
//! ```

use super::ConvShape;
use super::pack::PANEL_ALIGN;

/// Pixels that are computed together.
pub(super) const PIXELS: usize = 2;

/// Values that are sign-extended together: the bytes of a word.
pub(super) const QUAD: usize = 4;

/// How a convolution fills its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Values that an output channel reads: K.
    pub values: usize,
    /// Whether taps are whole words, which go to the columns without a detour.
    pub whole: bool,
    /// Whether a pixel reads one stretch of the input, and nothing else.
    pub pointwise: bool,
    /// Bytes of the columns, and of the row of bytes behind them.
    pub scratch: [usize; 2],
}

impl Columns {
    /// Of a convolution which is not depthwise.
    pub fn new(shape: &ConvShape) -> Self {
        let channels = shape.group_in_channels();
        let values = shape.taps().saturating_mul(channels);
        let row = values.div_ceil(QUAD).saturating_mul(QUAD);
        let whole = channels.is_multiple_of(QUAD);
        let pointwise = shape.taps() == 1 && (shape.pad_top, shape.pad_left) == (0, 0) && is_inside(shape);
        // A pixel alone is read where it lies, or from a row of bytes, which may be where its columns would be.
        let alone = shape.output_pixels() == 1;
        let columns = if alone { 0 } else { row.saturating_mul(2 * PIXELS) };
        let bytes = if if alone { pointwise } else { whole } { 0 } else { row };
        Self { values, whole, pointwise, scratch: [columns, bytes] }
    }
}

/// Whether a kernel of one tap reads no padding behind the image.
fn is_inside(shape: &ConvShape) -> bool {
    (shape.out_h - 1).saturating_mul(shape.stride_h) < shape.in_h
        && (shape.out_w - 1).saturating_mul(shape.stride_w) < shape.in_w
}

/// Bytes of scratch memory: a multiple of 64.
pub(super) fn scratch_bytes(shape: &ConvShape) -> usize {
    let [columns, bytes] = Columns::new(shape).scratch;
    columns.saturating_add(bytes).div_ceil(PANEL_ALIGN).saturating_mul(PANEL_ALIGN)
}
