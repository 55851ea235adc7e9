//! The walk over strips of tiles, and what an ISA brings to it.

use core::array;
use core::ops::Range;

use super::*;
use crate::conv::gemm::{TileOutput, TileResidual};
use crate::conv::pack::NR8_KR2;
use crate::conv::{ConvArgs, Output, WeightSource};
use crate::requantize::OutputRange;

/// Tiles whose columns are transformed together.
const SEGMENT: usize = 8;

/// Columns that these read.
const COLUMNS: usize = SEGMENT * TILE + 2;

/// `B d` of columns, eight channels each.
pub(crate) type Columns = [[[i16; LANES]; COLUMNS]; PATCH];

/// Sums of products of some tiles, eight output channels each.
pub(crate) type Products = [[[i32; LANES]; MAX_TILES]; POINTS];

/// The outputs of a tile before they are requantized.
pub(crate) type Sums = [[i32; LANES]; TILE * TILE];

/// What eight output channels have beside their weights.
#[repr(C, align(16))]
pub(crate) struct Constants {
    pub bias: [i32; LANES],
    pub multiplier: [f32; LANES],
}

/// The weights of eight output channels.
pub(crate) struct Panel<'a> {
    /// `[9][channels / 2][8][2]`.
    pub weights: &'a [u8],
    /// Input channels.
    pub channels: usize,
}

/// Where a tile's int8 outputs go: eight channels of 4 × 4 pixels.
pub(crate) struct Bytes<'a, K: Kernel> {
    pub out: *mut i8,
    /// Elements from one line to the next.
    pub line: usize,
    /// Elements from one pixel to the next.
    pub pixel: usize,
    pub range: &'a K::Range,
    /// What is added to them.
    pub residual: Option<TileResidual>,
}

/// The transforms and products of one ISA. Transformed weights are `[POINTS][k / 8][8][LANES]` for some input
/// channels and eight output channels; transformed inputs `[POINTS][k / 8][tiles][8]`.
///
/// # Safety
/// Of all functions: the processor has the ISA. Slices are at least as long as is said.
pub(crate) trait Kernel: Sized {
    /// An [`OutputRange`], as `bytes` wants it.
    type Range: From<OutputRange>;

    /// The most tiles that `multiply` takes: a power of two, at most [`MAX_TILES`].
    const TILES: usize;

    /// `G w Gᵀ` of eight input channels, those from `first` on. Point `p` goes to `to[p * stride..][..64]`.
    unsafe fn weights(panel: &Panel<'_>, first: usize, to: &mut [i16], stride: usize);

    /// `B d` of some columns of pixels. Each of the six lines has a pointer to eight channels of the first
    /// column's pixel, and the distance to the next one's.
    unsafe fn columns(lines: [(*const i8, usize); PATCH], columns: Range<usize>, to: &mut Columns);

    /// `(B d) Bᵀ` of the patch that begins at a column. Point `p` goes to `to[p * stride..][..8]`.
    unsafe fn patch(from: &Columns, column: usize, to: &mut [i16], stride: usize);

    /// The sums over `k` input channels, a multiple of 8, of so many tiles: 1, 2, 4, … [`Self::TILES`].
    unsafe fn multiply(weights: &[i16], inputs: &[i16], k: usize, tiles: usize, to: &mut Products);

    /// Adds the outputs of a tile to `sums`.
    unsafe fn add(products: &Products, tile: usize, sums: &mut Sums);

    /// Requantizes the outputs of a tile.
    unsafe fn bytes(products: &Products, tile: usize, constants: &Constants, to: &Bytes<'_, Self>);

    /// The same, added to sums of other input channels, which the bias is in; these may be overwritten.
    unsafe fn bytes_after(
        products: &Products,
        tile: usize,
        sums: &mut Sums,
        constants: &Constants,
        to: &Bytes<'_, Self>,
    );
}

/// Runs a convolution.
///
/// # Safety
/// `args` as [`ConvArgs`] documents, of a shape that the row accepts or a part of such, and packed in
/// [`NR8_KR2`]; the processor has the kernel's ISA.
pub(crate) unsafe fn run<K: Kernel>(args: &mut ConvArgs<'_>) {
    let WeightSource::Packed(packed) = args.weights else { return };
    let shape = args.shape;
    let zero = [args.input_zero_point; LANES];
    let (_, residual) = TileOutput::of(&mut args.output, args.residual);
    let mut memory = Memory::new(&shape, args.scratch);
    let range = K::Range::from(match &args.output {
        Output::I8(_, range) => *range,
        Output::F32(_) => OutputRange::full(0),
    });
    let [tile_lines, tile_columns] = tiles(&shape);
    let [lines, columns] = strip(&shape);
    for image in 0..shape.batch {
        let input = &args.input[image * (shape.in_h * shape.in_w * shape.in_channels)..];
        for rows in stretches(tile_lines, lines) {
            for columns in stretches(tile_columns, columns) {
                let strip =
                    Strip::<K> { shape: &shape, range: &range, residual, rows: rows.clone(), columns };
                // SAFETY: the caller's promise.
                unsafe {
                    strip.transform(input, &zero, memory.inputs);
                    for first in (0..shape.out_channels).step_by(LANES) {
                        strip.channels(packed, first, &mut memory, (image, &mut args.output));
                    }
                }
            }
        }
    }
}

/// The parts of the scratch memory.
struct Memory<'a> {
    inputs: &'a mut [i16],
    weights: &'a mut [i16],
    products: &'a mut Products,
    /// Of all tiles of a strip; none where one is done before the next.
    sums: &'a mut [Sums],
}

impl<'a> Memory<'a> {
    fn new(shape: &ConvShape, scratch: &'a mut [u8]) -> Self {
        let [inputs, weights, products, sums] = Parts::new(shape).bytes();
        let (inputs, rest) = scratch.split_at_mut(inputs);
        let (weights, rest) = rest.split_at_mut(weights);
        let (products, rest) = rest.split_at_mut(products);
        // SAFETY: whatever the bytes are, they are integers. The memory, and the length of every part, are
        // multiples of 64 bytes, so that nothing is left out.
        unsafe {
            Self {
                inputs: inputs.align_to_mut().1,
                weights: weights.align_to_mut().1,
                products: &mut products.align_to_mut().1[0],
                sums: rest[..sums].align_to_mut().1,
            }
        }
    }
}

/// Some lines and columns of tiles of an image.
struct Strip<'a, K: Kernel> {
    shape: &'a ConvShape,
    range: &'a K::Range,
    residual: Option<TileResidual>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<K: Kernel> Strip<'_, K> {
    fn tiles(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Transforms the inputs of all tiles, to
    /// `[group of tiles][block of channels][POINTS][channels / 8][tiles][8]`.
    ///
    /// # Safety
    /// `input` is the image; the processor has the kernel's ISA.
    unsafe fn transform(&self, input: &[i8], zero: &[i8; LANES], to: &mut [i16]) {
        let (shape, channels) = (self.shape, self.shape.in_channels);
        let mut columns = [[[0; LANES]; COLUMNS]; PATCH];
        for row in self.rows.clone() {
            // Lines of the image, or none.
            let lines: [Option<usize>; PATCH] = array::from_fn(|line| {
                (row * TILE + line).checked_sub(shape.pad_top).filter(|&y| y < shape.in_h)
            });
            for first in self.columns.clone().step_by(SEGMENT) {
                let tiles = SEGMENT.min(self.columns.end - first);
                // Those columns that are inside the image.
                let (start, end) = (first * TILE, (first + tiles) * TILE + 2);
                let left = shape.pad_left.clamp(start, end);
                let right = (shape.in_w + shape.pad_left).clamp(left, end);
                let inside = left - start..right - start;
                for channel in (0..channels).step_by(LANES) {
                    let outside = [(zero.as_ptr(), 0); PATCH];
                    let pixels = lines.map(|line| match line {
                        Some(y) if !inside.is_empty() => {
                            let x = left - shape.pad_left;
                            (input[(y * shape.in_w + x) * channels + channel..].as_ptr(), channels)
                        }
                        _ => (zero.as_ptr(), 0),
                    });
                    // SAFETY: of every column that is inside, there is a pixel in each line, and eight
                    // channels of it. The zero points are eight too.
                    unsafe {
                        K::columns(outside, 0..inside.start, &mut columns);
                        K::columns(pixels, inside.clone(), &mut columns);
                        K::columns(outside, inside.end..end - start, &mut columns);
                        for tile in 0..tiles {
                            let index = (row - self.rows.start) * self.columns.len() + first
                                - self.columns.start
                                + tile;
                            let group = Group::of::<K>(index, self.tiles());
                            let block = Block::of(channel, channels);
                            let at = group.inputs(channels, &block)
                                + ((channel - block.first) * group.tiles + (index - group.first) * LANES);
                            K::patch(&columns, tile * TILE, &mut to[at..], block.len * group.tiles);
                        }
                    }
                }
            }
        }
    }

    /// Computes eight output channels, or those that there are.
    ///
    /// # Safety
    /// As of [`run`]; the inputs have been transformed.
    #[inline(always)]
    unsafe fn channels(
        &self,
        packed: &[u8],
        first: usize,
        memory: &mut Memory<'_>,
        (image, output): (usize, &mut Output<'_>),
    ) {
        let channels = self.shape.in_channels;
        let (panel, constants) = panel(self.shape, packed, first);
        let mut block = Block::of(0, channels);
        loop {
            let (is_first, is_last) = (block.first == 0, block.first + block.len == channels);
            // SAFETY: the weights have `channels` values in a tap, and of the transformed weights and inputs
            // there is what the block and the group need.
            unsafe {
                for k in (0..block.len).step_by(LANES) {
                    let to = &mut memory.weights[k * LANES..];
                    K::weights(&panel, block.first + k, to, block.len * LANES);
                }
                let mut group = Group::of::<K>(0, self.tiles());
                loop {
                    let inputs = &memory.inputs[group.inputs(channels, &block)..];
                    K::multiply(memory.weights, inputs, block.len, group.tiles, memory.products);
                    for tile in 0..group.tiles {
                        let outputs = Outputs::<K> {
                            range: self.range,
                            residual: self.residual,
                            products: memory.products,
                            tile,
                            is_first,
                            constants: &constants,
                        };
                        let sums = memory.sums.get_mut(group.first + tile);
                        if is_last {
                            let place = Place::new(self, group.first + tile, image, first);
                            outputs.store(sums, &place, output);
                        } else if let Some(sums) = sums {
                            outputs.add(sums);
                        }
                    }
                    if group.first + group.tiles == self.tiles() {
                        break;
                    }
                    group = Group::of::<K>(group.first + group.tiles, self.tiles());
                }
            }
            if is_last {
                return;
            }
            block = Block::of(block.first + block.len, channels);
        }
    }
}

/// The outputs of a tile, as sums of products.
struct Outputs<'a, K: Kernel> {
    range: &'a K::Range,
    residual: Option<TileResidual>,
    products: &'a Products,
    tile: usize,
    /// Whether no input channels came before.
    is_first: bool,
    constants: &'a Constants,
}

impl<K: Kernel> Outputs<'_, K> {
    /// Adds them to those of the input channels before.
    ///
    /// # Safety
    /// The processor has the kernel's ISA.
    unsafe fn add(&self, sums: &mut Sums) {
        if self.is_first {
            sums.fill(self.constants.bias);
        }
        // SAFETY: the caller's promise.
        unsafe { K::add(self.products, self.tile, sums) }
    }

    /// Stores those that are inside the output, with those of the input channels before, if any.
    ///
    /// # Safety
    /// The processor has the kernel's ISA.
    #[inline(always)]
    unsafe fn store(&self, sums: Option<&mut Sums>, place: &Place, output: &mut Output<'_>) {
        match output {
            Output::I8(out, _) if place.is_whole() => {
                let out = out[place.first..=place.last()].as_mut_ptr();
                let &Place { line, pixel, .. } = place;
                let to = Bytes { out, line, pixel, range: self.range, residual: self.residual };
                // SAFETY: the caller's promise; the whole tile has its place there, and where the residual lies.
                unsafe { self.bytes(sums, &to) };
            }
            // SAFETY: the caller's promise.
            _ => unsafe { self.store_pixels(sums, place, output) },
        }
    }

    /// The same, pixel by pixel.
    ///
    /// # Safety
    /// As of `store`.
    #[inline(never)]
    unsafe fn store_pixels(&self, sums: Option<&mut Sums>, place: &Place, output: &mut Output<'_>) {
        match output {
            Output::I8(out, _) => {
                let mut tile = [[0; LANES]; TILE * TILE];
                let to = tile.as_mut_ptr().cast();
                let mut added = [[0; LANES]; TILE * TILE];
                let residual = self.residual.map(|residual| {
                    for (to, at) in place.pixels() {
                        let from = residual.of(out[at..].as_ptr());
                        // SAFETY: so many channels are added to those that are inside.
                        unsafe { added[to].as_mut_ptr().copy_from_nonoverlapping(from, place.channels) };
                    }
                    TileResidual::between(added.as_ptr().cast(), to, residual.multiplier)
                });
                let [line, pixel] = [TILE * LANES, LANES];
                // SAFETY: the caller's promise; the whole tile has its place there, and a whole one is added.
                unsafe { self.bytes(sums, &Bytes { out: to, line, pixel, range: self.range, residual }) };
                for (from, at) in place.pixels() {
                    match out[at..].first_chunk_mut() {
                        Some(to) if place.channels == LANES => *to = tile[from],
                        _ => out[at..][..place.channels].copy_from_slice(&tile[from][..place.channels]),
                    }
                }
            }
            Output::F32(out) => {
                let mut here = [[0; LANES]; TILE * TILE];
                let sums = sums.unwrap_or(&mut here);
                // SAFETY: the caller's promise.
                unsafe { self.add(sums) };
                for (from, at) in place.pixels() {
                    for n in 0..place.channels {
                        out[at + n] = sums[from][n] as f32 * self.constants.multiplier[n];
                    }
                }
            }
        }
    }

    /// Requantizes them, with those of the input channels before, if any.
    ///
    /// # Safety
    /// The processor has the kernel's ISA; `to` has a place for the whole tile.
    #[inline(always)]
    unsafe fn bytes(&self, sums: Option<&mut Sums>, to: &Bytes<'_, K>) {
        // SAFETY: the caller's promise.
        unsafe {
            match sums {
                Some(sums) if !self.is_first => {
                    K::bytes_after(self.products, self.tile, sums, self.constants, to);
                }
                _ => K::bytes(self.products, self.tile, self.constants, to),
            }
        }
    }
}

/// Where a tile's outputs lie.
struct Place {
    /// The element of the first pixel and channel.
    first: usize,
    /// Elements from one line to the next.
    line: usize,
    /// Elements from one pixel to the next.
    pixel: usize,
    /// Lines, pixels and channels that are inside the output.
    lines: usize,
    pixels: usize,
    channels: usize,
}

impl Place {
    fn new<K: Kernel>(strip: &Strip<'_, K>, tile: usize, image: usize, channel: usize) -> Self {
        let shape = strip.shape;
        let y = (strip.rows.start + tile / strip.columns.len()) * TILE;
        let x = (strip.columns.start + tile % strip.columns.len()) * TILE;
        let (line, pixel) = (shape.out_w * shape.out_channels, shape.out_channels);
        Self {
            first: (image * shape.out_h + y) * line + x * pixel + channel,
            line,
            pixel,
            lines: TILE.min(shape.out_h - y),
            pixels: TILE.min(shape.out_w - x),
            channels: LANES.min(shape.out_channels - channel),
        }
    }

    fn is_whole(&self) -> bool {
        (self.lines, self.pixels, self.channels) == (TILE, TILE, LANES)
    }

    /// The element of the last pixel and channel.
    fn last(&self) -> usize {
        self.first + (self.lines - 1) * self.line + (self.pixels - 1) * self.pixel + self.channels - 1
    }

    /// Each pixel's index in the tile, and its first element.
    fn pixels(&self) -> impl Iterator<Item = (usize, usize)> {
        let pixel = |i, j| (i * TILE + j, self.first + i * self.line + j * self.pixel);
        (0..self.lines).flat_map(move |i| (0..self.pixels).map(move |j| pixel(i, j)))
    }
}

/// The weights of eight output channels from `first` on, and what these have beside.
fn panel<'a>(shape: &ConvShape, packed: &'a [u8], first: usize) -> (Panel<'a>, Constants) {
    let bytes = NR8_KR2.panel_bytes(shape);
    let (head, weights) = packed[first / LANES * bytes..][..bytes].split_at(LANES * 8);
    let (bias, multiplier) = head.split_at(LANES * 4);
    let mut constants = Constants { bias: [0; LANES], multiplier: [0.0; LANES] };
    for (to, from) in constants.bias.iter_mut().zip(bias.as_chunks().0) {
        *to = i32::from_ne_bytes(*from);
    }
    for (to, from) in constants.multiplier.iter_mut().zip(multiplier.as_chunks().0) {
        *to = f32::from_ne_bytes(*from);
    }
    (Panel { weights, channels: shape.in_channels }, constants)
}

/// Tiles that are multiplied at once.
struct Group {
    first: usize,
    tiles: usize,
}

impl Group {
    /// The group of a tile: whole ones first, then of as many tiles as there are bits in what is left.
    fn of<K: Kernel>(tile: usize, tiles: usize) -> Self {
        let whole = tiles / K::TILES * K::TILES;
        if tile < whole {
            return Self { first: tile / K::TILES * K::TILES, tiles: K::TILES };
        }
        let mut group = Self { first: whole, tiles: 0 };
        loop {
            group.tiles = 1 << (tiles - group.first).ilog2();
            if tile < group.first + group.tiles {
                return group;
            }
            group.first += group.tiles;
        }
    }

    /// Where the transformed inputs of a block of channels are.
    fn inputs(&self, channels: usize, block: &Block) -> usize {
        POINTS * (self.first * channels + self.tiles * block.first)
    }
}

/// Input channels whose sums are transformed at once.
struct Block {
    first: usize,
    len: usize,
}

impl Block {
    /// The block of a channel.
    fn of(channel: usize, channels: usize) -> Self {
        let first = channel / K_BLOCK * K_BLOCK;
        Self { first, len: K_BLOCK.min(channels - first) }
    }
}
