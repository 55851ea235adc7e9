//! Element-wise steps: a short program over registers, run on a block of elements at a time.
//!
//! One step so does what an exporter wrote as many nodes, and reads and writes int8 and int16 as well as f32: it
//! is also what casts between them. Each instruction is one operation, rounded once, or one function of
//! [`super::math`].

use core::ops::Range;

use super::math;
use crate::recurrent::activation::tanh;
use crate::requantize::OutputRange;

/// Registers that a program has.
pub const REGISTERS: usize = 8;

/// Operands that a step may have.
pub const OPERANDS: usize = 3;

/// The right operand that stands for an instruction's own constant.
pub const CONSTANT: u8 = 255;

/// Elements that an instruction works on.
const BLOCK: usize = 64;
type Block = [f32; BLOCK];

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What an instruction does with registers `a` and `b`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Function {
            $($(#[$doc])* $name,)*
        }

        impl Function {
            /// Every function, by its code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

functions! {
    /// Operand `a` of the step; int8 as `(x - zero_point) * scale`, int16 as `x * scale`.
    Load,
    /// The instruction's constant.
    Constant,
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `b` where `a < b`, else `a`
    Max,
    /// `b` where `a > b`, else `a`
    Min,
    /// `a^b`
    Pow,
    /// 1 where `a > b`, else 0
    Greater,
    /// `|a|`
    Abs,
    /// `-a`
    Neg,
    /// Largest integer that is not above
    Floor,
    /// Smallest integer that is not below
    Ceil,
    /// Nearest integer, ties to even
    Round,
    /// Square root
    Sqrt,
    /// `e^a`
    Exp,
    /// Natural logarithm
    Log,
    /// Hyperbolic tangent
    Tanh,
    /// Error function
    Erf,
    /// Sine
    Sin,
    /// Cosine
    Cos,
    /// `a` where the target register is not 0 (what is not a number is not), else `b`
    Select,
    /// 1 where `a >= b`, else 0
    GreaterOrEqual,
    /// 1 where `a == b`, else 0
    Equal,
}

/// One operand of a step.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// f32.
    F32(&'a [f32]),
    /// int8.
    I8 {
        /// The values.
        values: &'a [i8],
        /// The value that stands for 0.
        zero_point: i32,
        /// Finite and positive.
        scale: f32,
    },
    /// int16, which stands for `x * scale`.
    I16 {
        /// The values.
        values: &'a [i16],
        /// Finite and positive.
        scale: f32,
    },
}

/// Everything about a run but the output.
#[derive(Clone, Copy, Debug)]
pub struct ElementwiseArgs<'a> {
    /// Dimensions of the output, contiguous in this order; unused ones 1.
    pub dims: [usize; 4],
    /// The operands, with distances in elements by axis of `dims`.
    pub sources: [Option<(Source<'a>, [usize; 4])>; OPERANDS],
    /// The instructions, in words: function, target register, `a` and `b` in the first from its lowest
    /// byte on, the constant's bits in the second.
    pub program: &'a [[u32; 2]],
}

/// What a step writes.
#[derive(Debug)]
pub enum Sink<'a> {
    /// f32.
    F32(&'a mut [f32]),
    /// int8: `quantize(x * multiplier)`.
    I8(&'a mut [i8], f32, OutputRange),
    /// int16: the same.
    I16(&'a mut [i16], f32, OutputRange),
}

impl ElementwiseArgs<'_> {
    /// Elements of the output.
    pub fn elems(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Computes the elements of `range`, which are all of `sink`.
#[inline(always)]
pub fn elementwise(args: &ElementwiseArgs<'_>, range: Range<usize>, mut sink: Sink<'_>) {
    let mut registers = [[0.0; BLOCK]; REGISTERS];
    let [_, d1, d2, d3] = args.dims;
    let mut at = range.start;
    while at < range.end {
        let (line, column) = (at / d3, at % d3);
        let index = [line / (d1 * d2), line / d2 % d1, line % d2, column];
        let count = (d3 - column).min(range.end - at).min(BLOCK);
        let result = block(args, index, count, &mut registers);
        let result = &registers[result][..count];
        let start = at - range.start;
        match &mut sink {
            Sink::F32(output) => {
                for (y, x) in output[start..start + count].iter_mut().zip(result) {
                    *y = math::canonical(*x);
                }
            }
            Sink::I8(output, multiplier, range) => {
                for (y, x) in output[start..start + count].iter_mut().zip(result) {
                    *y = range.quantize(*x * *multiplier);
                }
            }
            Sink::I16(output, multiplier, range) => {
                for (y, x) in output[start..start + count].iter_mut().zip(result) {
                    *y = range.quantize16(*x * *multiplier);
                }
            }
        }
        at += count;
    }
}

/// Runs the program on `count` elements from `index` on; gives the register that it wrote last.
#[inline(always)]
fn block(
    args: &ElementwiseArgs<'_>,
    index: [usize; 4],
    count: usize,
    registers: &mut [Block; REGISTERS],
) -> usize {
    let mut last = 0;
    for &[word, bits] in args.program {
        let [code, to, a, b] = word.to_le_bytes();
        let value = f32::from_bits(bits);
        let Some(&function) = Function::ALL.get(code as usize) else { continue };
        last = to as usize % REGISTERS;
        if function == Function::Load {
            if let Some(Some((source, strides))) = args.sources.get(a as usize) {
                load(source, strides, index, count, &mut registers[last]);
            }
            continue;
        }
        let x = registers[a as usize % REGISTERS];
        let y = if b == CONSTANT { [value; BLOCK] } else { registers[b as usize % REGISTERS] };
        let out = &mut registers[last];
        match function {
            Function::Load => {}
            Function::Constant => *out = [value; BLOCK],
            Function::Add => both(out, &x, &y, |x, y| x + y),
            Function::Sub => both(out, &x, &y, |x, y| x - y),
            Function::Mul => both(out, &x, &y, |x, y| x * y),
            Function::Div => both(out, &x, &y, |x, y| x / y),
            Function::Max => both(out, &x, &y, |x, y| if x < y { y } else { x }),
            Function::Min => both(out, &x, &y, |x, y| if x > y { y } else { x }),
            Function::Pow => both(out, &x, &y, math::pow),
            // Comparisons are IEEE 754's: false of what is not a number, and both zeros are equal.
            Function::Greater => both(out, &x, &y, |x, y| if x > y { 1.0 } else { 0.0 }),
            Function::GreaterOrEqual => both(out, &x, &y, |x, y| if x >= y { 1.0 } else { 0.0 }),
            Function::Equal => both(out, &x, &y, |x, y| if x == y { 1.0 } else { 0.0 }),
            Function::Abs => each(out, &x, |x| f32::from_bits(x.to_bits() & 0x7fff_ffff)),
            Function::Neg => each(out, &x, |x| -x),
            Function::Floor => each(out, &x, math::floor),
            Function::Ceil => each(out, &x, math::ceil),
            Function::Round => each(out, &x, math::round),
            Function::Sqrt => each(out, &x, math::sqrt),
            Function::Exp => each(out, &x, math::exp),
            Function::Log => each(out, &x, math::ln),
            Function::Tanh => each(out, &x, tanh),
            Function::Erf => each(out, &x, math::erf),
            Function::Sin => each(out, &x, math::sin),
            Function::Cos => each(out, &x, math::cos),
            Function::Select => {
                let condition = *out;
                for ((out, condition), (&x, &y)) in out.iter_mut().zip(condition).zip(x.iter().zip(&y)) {
                    *out = if condition != 0.0 { x } else { y };
                }
            }
        }
    }
    last
}

#[inline(always)]
fn each(out: &mut Block, x: &Block, function: impl Fn(f32) -> f32) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = function(x);
    }
}

#[inline(always)]
fn both(out: &mut Block, x: &Block, y: &Block, function: impl Fn(f32, f32) -> f32) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = function(x, y);
    }
}

#[inline(always)]
fn load(source: &Source<'_>, strides: &[usize; 4], index: [usize; 4], count: usize, out: &mut Block) {
    let start: usize = index.iter().zip(strides).map(|(index, stride)| index * stride).sum();
    match *source {
        Source::F32(values) => gather(values, start, strides[3], &mut out[..count], |x| x),
        Source::I8 { values, zero_point, scale } => {
            let real = |x: i8| (x as i32 - zero_point) as f32 * scale;
            gather(values, start, strides[3], &mut out[..count], real);
        }
        Source::I16 { values, scale } => {
            gather(values, start, strides[3], &mut out[..count], |x: i16| f32::from(x) * scale);
        }
    }
}

#[inline(always)]
fn gather<T: Copy>(values: &[T], start: usize, stride: usize, out: &mut [f32], real: impl Fn(T) -> f32) {
    if stride == 1 {
        for (out, &x) in out.iter_mut().zip(&values[start..]) {
            *out = real(x);
        }
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = real(values[start + i * stride]);
        }
    }
}
