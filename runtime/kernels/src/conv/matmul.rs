//! Product of two tensors that are both computed while the model runs: attention's.
//!
//! ```text
//! acc[m, n] = sum over k of (lhs[m, k] - lhs_zero_point) * w[k, n]        w = max(rhs, -127)
//! y[m, n]   = requantize(acc, multiplier)          or, for an f32 output,  acc as f32 * multiplier
//! ```
//! for each of two batch dimensions. The right operand, whose zero point is 0, plays the part of
//! weights: where a kernel wants them packed, each matrix is packed into scratch memory just before
//! the tiles of the convolutions run over it. (Weights are never -128, and some kernels rely on it.)
//! All operands are read and written by strides, so that splitting into heads and transposing are
//! only other strides. `acc` is int32 and wraps.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_os = "linux")))]
mod tiles;

#[cfg(test)]
mod tests;

use super::pack::{self, Layout, PANEL_ALIGN};
use super::{ArgsError, Output};
use crate::isa::{IsaSet, IsaToken};
use crate::parts::{at, cut_front, share, stretch};

/// Sizes, and distances in elements from one index to the next. All sizes are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulShape {
    /// Matrices: two dimensions of them.
    pub batch: [usize; 2],
    /// Rows of lhs and output.
    pub m: usize,
    /// Columns of lhs, rows of rhs.
    pub k: usize,
    /// Columns of rhs and output.
    pub n: usize,
    /// Of lhs: both batch dimensions (0 where it is broadcast) and rows. Columns are contiguous.
    pub lhs_strides: [usize; 3],
    /// Of rhs: both batch dimensions (0 where it is broadcast), rows and columns.
    pub rhs_strides: [usize; 4],
    /// Of the output: both batch dimensions and rows. Columns are contiguous; no two elements share
    /// a place.
    pub output_strides: [usize; 3],
}

impl MatMulShape {
    fn reach(dims: &[usize], strides: &[usize]) -> usize {
        1 + dims.iter().zip(strides).map(|(&dim, &stride)| (dim - 1) * stride).sum::<usize>()
    }

    /// Elements from the first of lhs to its last, inclusive.
    pub fn lhs_elems(&self) -> usize {
        let [b0, b1] = self.batch;
        Self::reach(&[b0, b1, self.m], &self.lhs_strides) + self.k - 1
    }

    /// Elements from the first of rhs to its last, inclusive.
    pub fn rhs_elems(&self) -> usize {
        let [b0, b1] = self.batch;
        Self::reach(&[b0, b1, self.k, self.n], &self.rhs_strides)
    }

    /// Elements from the first of the output to its last, inclusive.
    pub fn output_elems(&self) -> usize {
        let [b0, b1] = self.batch;
        Self::reach(&[b0, b1, self.m], &self.output_strides) + self.n - 1
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        [self.batch[0], self.batch[1], self.m, self.k, self.n].iter().map(|&size| size as u64).product()
    }

    /// The matrices: where each starts in lhs, rhs and output.
    fn matrices(&self) -> impl Iterator<Item = [usize; 3]> {
        let (a, b, c) = (self.lhs_strides, self.rhs_strides, self.output_strides);
        let start = |i: usize, j: usize, strides: &[usize]| i * strides[0] + j * strides[1];
        let [outer, inner] = self.batch;
        (0..outer)
            .flat_map(move |i| (0..inner).map(move |j| [start(i, j, &a), start(i, j, &b), start(i, j, &c)]))
    }
}

/// One run.
#[derive(Debug)]
pub struct MatMulArgs<'a> {
    /// Sizes and strides.
    pub shape: MatMulShape,
    /// At least [`MatMulShape::lhs_elems`].
    pub lhs: &'a [i8],
    /// The int8 value of lhs that stands for 0.
    pub lhs_zero_point: i8,
    /// At least [`MatMulShape::rhs_elems`].
    pub rhs: &'a [i8],
    /// Left scale · right scale / output scale (the last only for int8 outputs).
    pub multiplier: f32,
    /// At least [`MatMulShape::output_elems`].
    pub output: Output<'a>,
    /// At least [`MatMulRow::scratch_bytes`], aligned to 64 bytes. Contents do not matter.
    pub scratch: &'a mut [u8],
}

impl<'a> MatMulArgs<'a> {
    /// Cuts the product into at most as many as there are `parts`, each with a stretch of the output of
    /// its own, and gives their number. The first has the scratch memory, the others none.
    pub fn split(self, parts: &mut [Option<MatMulArgs<'a>>]) -> usize {
        let Self { shape, lhs, rhs, lhs_zero_point, multiplier, mut output, scratch } = self;
        let dims = [shape.batch[0], shape.batch[1], shape.m];
        // The outermost dimension of the output as it lies: a range of its indices is one stretch.
        let stride = |axis: &usize| if dims[*axis] > 1 { shape.output_strides[*axis] } else { 0 };
        let axis = (0..3).max_by_key(stride).unwrap_or(2);
        let count = parts.len().min(dims[axis]);
        let mut scratch = Some(scratch);
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            let units = share(dims[axis], count, index);
            let mut own = shape;
            match axis {
                0 | 1 => own.batch[axis] = units.len(),
                _ => own.m = units.len(),
            }
            let elems = if index + 1 == count { usize::MAX } else { units.len() * stride(&axis) };
            let output = match &mut output {
                Output::I8(rest, range) => Output::I8(cut_front(rest, elems), *range),
                Output::F32(rest) => Output::F32(cut_front(rest, elems)),
            };
            let rhs_start = if axis < 2 { units.start * shape.rhs_strides[axis] } else { 0 };
            *part = Some(MatMulArgs {
                shape: own,
                lhs: &lhs[units.start * shape.lhs_strides[axis]..],
                lhs_zero_point,
                rhs: &rhs[rhs_start..],
                multiplier,
                output,
                scratch: scratch.take().unwrap_or(&mut []),
            });
        }
        count
    }
}

/// A whole product.
///
/// # Safety
/// The processor has the row's extensions; slices have the lengths and alignments documented in
/// [`MatMulArgs`].
type RunFn = unsafe fn(&mut MatMulArgs<'_>);

/// One kernel.
#[derive(Debug)]
pub struct MatMulRow {
    /// Operation, types, tile and ISA.
    pub name: &'static str,
    /// The extensions that the processor must have.
    pub isa: IsaSet,
    /// How a matrix of rhs is packed; `None` where the row reads it as it lies.
    layout: Option<&'static Layout>,
    /// Rows of lhs in one tile.
    tile_rows: usize,
    run: Option<RunFn>,
}

/// Bytes of the parts of the scratch memory, in their order. Pointers count as 8 bytes everywhere.
struct Scratch {
    /// One packed matrix of rhs.
    panels: usize,
    /// To the rows of a tile.
    pointers: usize,
    /// The rows of a tile, where k is no multiple of what the layout wants or inputs are unsigned.
    rows: usize,
}

impl MatMulRow {
    /// Whether the row was compiled for the architecture that this program runs on.
    pub fn is_compiled(&self) -> bool {
        self.run.is_some()
    }

    /// Bytes of scratch memory for one run: the same on every architecture.
    pub fn scratch_bytes(&self, shape: &MatMulShape) -> usize {
        self.layout.filter(|_| super::HAS_LAYOUTS).map_or(0, |layout| {
            let scratch = scratch(layout, self.tile_rows, shape);
            scratch.panels + scratch.pointers + scratch.rows
        })
    }
}

fn scratch(layout: &Layout, tile_rows: usize, shape: &MatMulShape) -> Scratch {
    let padded_k = shape.k.next_multiple_of(layout.k_multiple);
    let in_place = padded_k == shape.k && !layout.unsigned_inputs;
    let gathered = if in_place { 0 } else { tile_rows * padded_k };
    Scratch {
        panels: shape.n.div_ceil(layout.nr) * panel_bytes(layout, shape),
        pointers: (tile_rows * 8).next_multiple_of(PANEL_ALIGN),
        rows: gathered.next_multiple_of(PANEL_ALIGN),
    }
}

/// As [`Layout`] packs a channel of `k` weights.
fn panel_bytes(layout: &Layout, shape: &MatMulShape) -> usize {
    let padded_k = shape.k.next_multiple_of(layout.k_multiple);
    (layout.nr * (8 + padded_k)).next_multiple_of(PANEL_ALIGN)
}

/// A row by the tiles of a convolution's, compiled for its features so that packing uses them too.
macro_rules! row {
    ($name:literal, $isa:expr, $layout:expr, $tile_rows:literal, $condition:meta, $file:ident $(, $features:literal)?) => {
        MatMulRow {
            name: $name,
            isa: $isa,
            layout: Some(&$layout),
            tile_rows: $tile_rows,
            run: {
                #[cfg($condition)]
                {
                    /// # Safety
                    /// As [`RunFn`].
                    $(#[target_feature(enable = $features)])?
                    unsafe fn run(args: &mut MatMulArgs<'_>) {
                        // SAFETY: the caller's promise; the tile is of the row's instruction set.
                        unsafe { tiles::run(args, &super::$file::MICRO) }
                    }
                    Some(run as RunFn)
                }
                #[cfg(not($condition))]
                {
                    None
                }
            },
        }
    };
}

/// Best first within one architecture; the scalar one, which runs everywhere, last.
static ROWS: &[MatMulRow] = &[
    row!(
        "matmul_s8s8s32_12x64_avx512vnni",
        IsaSet::AVX512_VNNI,
        pack::NR16_KR4_XU8,
        12,
        target_arch = "x86_64",
        x86_avx512vnni,
        "avx512f,avx512bw,avx512vl,avx512vnni"
    ),
    row!(
        "matmul_s8s8s32_6x16_avxvnni",
        IsaSet::AVX_VNNI,
        pack::NR16_KR4_XU8,
        6,
        target_arch = "x86_64",
        x86_avxvnni,
        "avx2"
    ),
    row!(
        "matmul_s8s8s32_4x16_avx2",
        IsaSet::AVX2,
        pack::NR16_KR2,
        4,
        target_arch = "x86_64",
        x86_avx2,
        "avx2"
    ),
    row!("matmul_s8s8s32_4x24_i8mm", IsaSet::I8MM, pack::NR8_KR8, 16, target_arch = "aarch64", aarch64_i8mm),
    row!(
        "matmul_s8s8s32_4x24_dotprod",
        IsaSet::DOTPROD,
        pack::NR8_KR4,
        16,
        target_arch = "aarch64",
        aarch64_dotprod
    ),
    row!("matmul_s8s8s32_4x16_neon", IsaSet::NEON, pack::NR8_KR2, 16, target_arch = "aarch64", aarch64_neon),
    row!(
        "matmul_s8s8s32_4x8_neon32",
        IsaSet::NEON32,
        pack::NR8_KR2,
        12,
        all(target_arch = "arm", target_os = "linux"),
        armv7_neon
    ),
    MatMulRow {
        name: "matmul_s8s8s32_scalar",
        isa: IsaSet::SCALAR,
        layout: None,
        tile_rows: 1,
        run: Some(matmul_scalar),
    },
];

/// Every row, of every architecture.
pub fn rows() -> &'static [MatMulRow] {
    ROWS
}

/// The row of a processor with the extensions of `isa`. Pure, so that the host can tell what a device
/// will choose.
pub fn select(isa: IsaSet) -> &'static MatMulRow {
    ROWS.iter().find(|row| isa.contains(row.isa)).unwrap_or(&ROWS[ROWS.len() - 1])
}

/// The most scratch memory that any row asks for: one plan serves every processor.
pub fn scratch_bytes(shape: &MatMulShape) -> usize {
    ROWS.iter().map(|row| row.scratch_bytes(shape)).max().unwrap_or(0)
}

/// A row that may be run, since a token has shown that the processor has what it needs.
#[derive(Clone, Copy, Debug)]
pub struct BoundMatMul {
    row: &'static MatMulRow,
    run: RunFn,
}

impl BoundMatMul {
    /// Binds `row` if `token` vouches for its extensions and it was compiled for this processor.
    pub fn new(row: &'static MatMulRow, token: IsaToken) -> Option<Self> {
        let run = row.run?;
        token.set().contains(row.isa).then_some(Self { row, run })
    }

    /// The row.
    pub fn row(&self) -> &'static MatMulRow {
        self.row
    }

    /// Runs the row.
    ///
    /// # Errors
    /// [`ArgsError`] where a slice does not fit `args.shape`; nothing is written then.
    pub fn run(&self, args: &mut MatMulArgs<'_>) -> Result<(), ArgsError> {
        let shape = &args.shape;
        let output_elems = match &args.output {
            Output::I8(out, _) => out.len(),
            Output::F32(out) => out.len(),
        };
        let scratch_bytes = self.row.scratch_bytes(shape);
        if args.lhs.len() < shape.lhs_elems()
            || args.rhs.len() < shape.rhs_elems()
            || output_elems < shape.output_elems()
            || args.scratch.len() < scratch_bytes
        {
            return Err(ArgsError::Length);
        }
        if scratch_bytes > 0 && !args.scratch.as_ptr().addr().is_multiple_of(64) {
            return Err(ArgsError::Alignment);
        }
        // SAFETY: `new` saw a token for the row's extensions, and every length and alignment has just
        // been checked.
        unsafe { (self.run)(args) };
        Ok(())
    }
}

/// The definition: plain loops.
pub fn reference(args: &mut MatMulArgs<'_>) {
    let shape = args.shape;
    let (lhs_row, [.., rhs_row, rhs_column]) = (shape.lhs_strides[2], shape.rhs_strides);
    for [lhs, rhs, output] in shape.matrices() {
        for m in 0..shape.m {
            let left = stretch(args.lhs, lhs + m * lhs_row, shape.k);
            for n in 0..shape.n {
                let right = args.rhs.get(rhs + n * rhs_column..).unwrap_or(&[]);
                let (mut acc, mut place) = (0_i32, 0_usize);
                for &x in left {
                    let x = x as i32 - args.lhs_zero_point as i32;
                    acc = acc.wrapping_add(x * at(right, place).max(-127) as i32);
                    // Behind the last row it is not used.
                    place = place.wrapping_add(rhs_row);
                }
                let place = output + m * shape.output_strides[2] + n;
                match &mut args.output {
                    Output::I8(out, range) => {
                        if let Some(out) = out.get_mut(place) {
                            *out = range.requantize(acc, args.multiplier);
                        }
                    }
                    Output::F32(out) => {
                        if let Some(out) = out.get_mut(place) {
                            *out = acc as f32 * args.multiplier;
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// None needed; the signature is the table's.
unsafe fn matmul_scalar(args: &mut MatMulArgs<'_>) {
    reference(args);
}
