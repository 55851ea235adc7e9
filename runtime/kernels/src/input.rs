//! What an application has (f32 samples, u8 pixels) to the int8 tensor that the first step reads.

use crate::requantize::OutputRange;

/// Where the elements of an input lie, by the axes of the int8 tensor (outermost first, unused
/// ones 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputArgs {
    /// Dimensions of the int8 tensor, contiguous in this order.
    pub dims: [usize; 4],
    /// Elements from one index to the next in the application's tensor.
    pub strides: [usize; 4],
}

impl InputArgs {
    /// Elements of the tensor.
    pub fn elems(&self) -> usize {
        self.dims.iter().product()
    }

    fn for_each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [d0, d1, d2, d3] = self.dims;
        let s = &self.strides;
        let mut to = 0;
        for i0 in 0..d0 {
            for i1 in 0..d1 {
                for i2 in 0..d2 {
                    let from = i0 * s[0] + i1 * s[1] + i2 * s[2];
                    for i3 in 0..d3 {
                        visit(to, from + i3 * s[3], i3);
                        to += 1;
                    }
                }
            }
        }
    }
}

/// `q = quantize(x * inverse_scale)`. Not-a-number gives the range's minimum. `input` and `output`
/// have [`InputArgs::elems`].
pub fn quantize_f32(
    args: &InputArgs,
    input: &[f32],
    inverse_scale: f32,
    range: OutputRange,
    output: &mut [i8],
) {
    args.for_each(|to, from, _| output[to] = range.quantize(input[from] * inverse_scale));
}

/// `q = table[channel][pixel]`: the preprocessing (channel order, mean, deviation) and the
/// quantization of a u8 pixel are one table a channel, made by the packager. The last axis is the
/// channel. With `reverse_channels` a model of BGR reads RGB pixels. `tables` is `[channels][256]`;
/// `input` and `output` have [`InputArgs::elems`].
pub fn quantize_u8(args: &InputArgs, input: &[u8], tables: &[i8], reverse_channels: bool, output: &mut [i8]) {
    let channels = args.dims[3];
    let stride = args.strides[3];
    args.for_each(|to, from, channel| {
        let from =
            if reverse_channels { from - channel * stride + (channels - 1 - channel) * stride } else { from };
        output[to] = tables[channel * 256 + input[from] as usize];
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nchw_samples_become_nhwc() {
        // [1, 2, 1, 2] in NCHW: channel 0 is 0.1, 0.2; channel 1 is 0.3, nan.
        let args = InputArgs { dims: [1, 1, 2, 2], strides: [4, 2, 1, 2] };
        let mut output = [0; 4];
        quantize_f32(&args, &[0.1, 0.2, 0.3, f32::NAN], 10.0, OutputRange::full(-1), &mut output);
        assert_eq!(output, [0, 2, 1, -128]);
    }

    #[test]
    fn pixels_go_through_the_table_of_their_channel_in_either_order() {
        let args = InputArgs { dims: [1, 1, 1, 3], strides: [3, 3, 3, 1] };
        let mut tables = [0i8; 3 * 256];
        (tables[7], tables[256 + 8], tables[512 + 9]) = (1, 2, 3);
        let mut output = [0; 3];
        quantize_u8(&args, &[7, 8, 9], &tables, false, &mut output);
        assert_eq!(output, [1, 2, 3]);
        quantize_u8(&args, &[9, 8, 7], &tables, true, &mut output);
        assert_eq!(output, [1, 2, 3]);
    }
}
