//! Strided copies: transposes, concatenation, padding and slicing are all one of these.

/// The number of dimensions that a copy may have.
pub const COPY_RANK: usize = 6;

/// A copy of a block of `dims` (outermost first, unused ones 1), from one strided place to another.
/// Strides and starts are in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyArgs {
    /// The block.
    pub dims: [usize; COPY_RANK],
    /// Where the block starts in the input.
    pub input_start: usize,
    /// Distances in the input.
    pub input_strides: [usize; COPY_RANK],
    /// Where the block starts in the output.
    pub output_start: usize,
    /// Distances in the output.
    pub output_strides: [usize; COPY_RANK],
}

impl CopyArgs {
    /// Elements that the input must have.
    pub fn input_elems(&self) -> usize {
        extent(self.input_start, &self.dims, &self.input_strides)
    }

    /// Elements that the output must have.
    pub fn output_elems(&self) -> usize {
        extent(self.output_start, &self.dims, &self.output_strides)
    }
}

fn extent(start: usize, dims: &[usize; COPY_RANK], strides: &[usize; COPY_RANK]) -> usize {
    start + 1 + dims.iter().zip(strides).map(|(&dim, &stride)| (dim - 1) * stride).sum::<usize>()
}

/// Copies the block through `map` (the identity, or a table where input and output have different
/// scales). `input` and `output` have at least [`CopyArgs::input_elems`] and
/// [`CopyArgs::output_elems`].
pub fn copy<T: Copy>(args: &CopyArgs, input: &[T], output: &mut [T], map: impl Fn(T) -> T) {
    let [d0, d1, d2, d3, d4, d5] = args.dims;
    let (from, to) = (&args.input_strides, &args.output_strides);
    for i0 in 0..d0 {
        for i1 in 0..d1 {
            for i2 in 0..d2 {
                for i3 in 0..d3 {
                    let lead = [i0, i1, i2, i3];
                    let start = |start: usize, strides: &[usize; COPY_RANK]| {
                        start + lead.iter().zip(strides).map(|(&i, &stride)| i * stride).sum::<usize>()
                    };
                    let (mut x, mut y) = (start(args.input_start, from), start(args.output_start, to));
                    for _ in 0..d4 {
                        // Concatenations copy whole lines.
                        if (from[5], to[5]) == (1, 1) {
                            for (to, &from) in output[y..y + d5].iter_mut().zip(&input[x..x + d5]) {
                                *to = map(from);
                            }
                        } else {
                            for i5 in 0..d5 {
                                output[y + i5 * to[5]] = map(input[x + i5 * from[5]]);
                            }
                        }
                        // Behind the last line these are not used, and may be anywhere.
                        (x, y) = (x.wrapping_add(from[4]), y.wrapping_add(to[4]));
                    }
                }
            }
        }
    }
}

/// The same of elements of `elem_bytes`, through a table if there is one ([`crate::lookup`]; of one byte): one function
/// for all of them, where programs have to be small.
pub fn copy_bytes(
    args: &CopyArgs,
    elem_bytes: usize,
    table: Option<&[i8; 256]>,
    input: &[u8],
    output: &mut [u8],
) {
    let [d0, d1, d2, d3, d4, d5] = args.dims;
    // Neighbours that stay neighbours are one piece.
    let (pieces, piece_bytes) = match (args.input_strides[5], args.output_strides[5]) {
        (1, 1) => (1, d5 * elem_bytes),
        _ => (d5, elem_bytes),
    };
    for lead in 0..d0 * d1 * d2 * d3 * d4 {
        let (mut left, mut from, mut to) = (lead, args.input_start, args.output_start);
        for (axis, dim) in [d0, d1, d2, d3, d4].into_iter().enumerate().rev() {
            // No dimension is 0 here; said so that there need be no panic for it.
            let dim = dim.max(1);
            from += left % dim * args.input_strides[axis];
            to += left % dim * args.output_strides[axis];
            left /= dim;
        }
        for i in 0..pieces {
            let from = (from + i * args.input_strides[5]) * elem_bytes;
            let to = (to + i * args.output_strides[5]) * elem_bytes;
            let (from, to) = (input.get(from..from + piece_bytes), output.get_mut(to..to + piece_bytes));
            let (Some(from), Some(to)) = (from, to) else { return };
            let both = to.iter_mut().zip(from);
            match table {
                None => both.for_each(|(to, &from)| *to = from),
                Some(table) => both.for_each(|(to, &from)| *to = table[(from ^ 0x80) as usize] as u8),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_bytes_are_copies_of_elements() {
        let args = CopyArgs {
            dims: [1, 2, 1, 3, 2, 2],
            input_start: 1,
            input_strides: [0, 12, 0, 4, 1, 2],
            output_start: 2,
            output_strides: [0, 1, 0, 2, 6, 12],
        };
        same_in_bytes(&args);
        // The last dimension in one piece.
        same_in_bytes(&CopyArgs {
            input_strides: [0, 12, 0, 4, 2, 1],
            output_strides: [0, 2, 0, 4, 12, 1],
            ..args
        });
    }

    fn same_in_bytes(args: &CopyArgs) {
        let input: [u32; 25] = core::array::from_fn(|i| 0x0101_0203 * i as u32);
        let mut expected = [7u32; 27];
        copy(args, &input, &mut expected, |x| x);
        let bytes =
            |words: &[u32]| -> std::vec::Vec<u8> { words.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let mut written = bytes(&[7; 27]);
        copy_bytes(args, 4, None, &bytes(&input), &mut written);
        assert_eq!(written, bytes(&expected));

        let table: [i8; 256] = core::array::from_fn(|i| (i * 7 + 3) as i8);
        let input: [u8; 25] = core::array::from_fn(|i| (i * 11) as u8);
        let (mut expected, mut output) = ([7u8; 27], [7u8; 27]);
        copy(args, &input, &mut expected, |x| table[(x ^ 0x80) as usize] as u8);
        copy_bytes(args, 1, Some(&table), &input, &mut output);
        assert_eq!(output, expected);
    }

    #[test]
    fn a_transpose_and_a_padded_copy() {
        let input: [i8; 6] = [1, 2, 3, 4, 5, 6];
        let mut output = [0; 6];
        let transpose = CopyArgs {
            dims: [1, 1, 1, 1, 3, 2],
            input_start: 0,
            input_strides: [0, 0, 0, 0, 1, 3],
            output_start: 0,
            output_strides: [0, 0, 0, 0, 2, 1],
        };
        assert_eq!((transpose.input_elems(), transpose.output_elems()), (6, 6));
        copy(&transpose, &input, &mut output, |x| x);
        assert_eq!(output, [1, 4, 2, 5, 3, 6]);

        let mut padded = [9; 4 * 5];
        let pad = CopyArgs {
            dims: [1, 1, 1, 1, 2, 3],
            input_start: 0,
            input_strides: [0, 0, 0, 0, 3, 1],
            output_start: 6,
            output_strides: [0, 0, 0, 0, 5, 1],
        };
        copy(&pad, &input, &mut padded, |x| x * 2);
        assert_eq!(padded, [9, 9, 9, 9, 9, 9, 2, 4, 6, 9, 9, 8, 10, 12, 9, 9, 9, 9, 9, 9]);
    }
}
