//! Functions of one number as programs of single f32 operations.

use edgepack_format::plan::{F32_REGISTERS, Function, Instruction};

use crate::graph::{BinaryKind, Clamp};
use crate::unary::{Comparison, Unary};

/// A program under construction. Registers are taken like a stack's: whoever needs one for itself takes the
/// first that is free, and passes on those after it.
#[derive(Clone, Debug, Default)]
pub struct Program {
    instructions: Vec<Instruction>,
}

/// The most instructions that a package takes.
const MAX_INSTRUCTIONS: usize = 256;

/// Where a function finds its argument and leaves its value: the argument survives where these differ.
#[derive(Clone, Copy)]
struct Registers {
    from: u8,
    to: u8,
    /// From here on they are free.
    free: u8,
}

impl Program {
    /// Loads a source.
    pub fn load(&mut self, to: u8, source: u8) -> &mut Self {
        self.push(Function::Load, to, source, 0, 0.0)
    }

    /// A function of two registers, or of one.
    pub fn apply(&mut self, function: Function, to: u8, a: u8, b: u8) -> &mut Self {
        self.push(function, to, a, b, 0.0)
    }

    /// A function of a register and a number.
    pub fn with(&mut self, function: Function, to: u8, a: u8, value: f32) -> &mut Self {
        self.push(function, to, a, Instruction::VALUE, value)
    }

    /// A number.
    pub fn constant(&mut self, to: u8, value: f32) -> &mut Self {
        self.push(Function::Constant, to, 0, 0, value)
    }

    /// A function of two registers, as nodes of two are.
    pub fn binary(&mut self, kind: BinaryKind, to: u8, a: u8, b: u8) -> &mut Self {
        let function = match kind {
            BinaryKind::Add => Function::Add,
            BinaryKind::Sub => Function::Sub,
            BinaryKind::Mul => Function::Mul,
            BinaryKind::Div => Function::Div,
            BinaryKind::Compare(comparison) => return self.compare(comparison, to, a, b),
        };
        self.apply(function, to, a, b)
    }

    /// Bounds of a register.
    pub fn clamp(&mut self, register: u8, clamp: Clamp) -> &mut Self {
        if clamp.min > f32::NEG_INFINITY {
            self.with(Function::Max, register, register, clamp.min);
        }
        if clamp.max < f32::INFINITY {
            self.with(Function::Min, register, register, clamp.max);
        }
        self
    }

    /// A function of register 0, in register 0; `None` where a program cannot hold it.
    pub fn unary(&mut self, function: &Unary) -> Option<&mut Self> {
        self.function(function, Registers { from: 0, to: 0, free: 1 });
        let fits = |i: &Instruction| i.to < F32_REGISTERS && self.instructions.len() <= MAX_INSTRUCTIONS;
        if self.instructions.iter().all(fits) { Some(self) } else { None }
    }

    /// The program's bytes, as a package has them.
    pub fn bytes(&self) -> Vec<u8> {
        self.instructions.iter().flat_map(|instruction| instruction.encode()).collect()
    }

    fn push(&mut self, function: Function, to: u8, a: u8, b: u8, value: f32) -> &mut Self {
        self.instructions.push(Instruction { function, to, a, b, value });
        self
    }

    /// The reciprocal of a register.
    fn reciprocal(&mut self, Registers { from, to, free }: Registers) {
        self.constant(free, 1.0).apply(Function::Div, to, free, from);
    }

    /// `alpha * (e^(x / divisor) - 1)` below 0, 0 above, in `to`.
    fn below_zero(&mut self, from: u8, to: u8, divisor: f32, alpha: f32) {
        self.with(Function::Min, to, from, 0.0);
        if divisor != 1.0 {
            self.with(Function::Div, to, to, divisor);
        }
        self.apply(Function::Exp, to, to, 0).with(Function::Sub, to, to, 1.0).with(
            Function::Mul,
            to,
            to,
            alpha,
        );
    }

    /// `ln(1 + e^x)` as `max(x, 0) + ln(1 + e^-|x|)`; `to` is not `from`.
    fn softplus(&mut self, from: u8, to: u8, free: u8) {
        self.apply(Function::Abs, to, from, 0).apply(Function::Neg, to, to, 0).apply(
            Function::Exp,
            to,
            to,
            0,
        );
        self.with(Function::Add, to, to, 1.0).apply(Function::Log, to, to, 0);
        self.with(Function::Max, free, from, 0.0).apply(Function::Add, to, to, free);
    }

    fn function(&mut self, function: &Unary, registers: Registers) {
        use Function::{Abs, Add, Div, Exp, Greater, Max, Min, Mul, Neg, Sub};
        let Registers { from, to, free } = registers;
        match *function {
            Unary::Affine { scale, shift } => {
                if scale != 1.0 || from != to && shift == 0.0 {
                    self.with(Mul, to, from, scale);
                    if shift != 0.0 {
                        self.with(Add, to, to, shift);
                    }
                } else if shift != 0.0 {
                    self.with(Add, to, from, shift);
                }
            }
            Unary::Clip { min, max } => {
                self.with(Max, to, from, min).with(Min, to, to, max);
            }
            Unary::LeakyRelu { alpha } => {
                self.with(Min, free, from, 0.0).with(Mul, free, free, alpha);
                self.with(Max, to, from, 0.0).apply(Add, to, to, free);
            }
            Unary::HardSigmoid { alpha, beta } => {
                self.with(Mul, to, from, alpha).with(Add, to, to, beta);
                self.with(Max, to, to, 0.0).with(Min, to, to, 1.0);
            }
            Unary::HardSwish => {
                self.with(Div, free, from, 6.0).with(Add, free, free, 0.5);
                self.with(Max, free, free, 0.0).with(Min, free, free, 1.0).apply(Mul, to, from, free);
            }
            Unary::Sigmoid => {
                self.apply(Neg, to, from, 0).apply(Exp, to, to, 0).with(Add, to, to, 1.0);
                self.reciprocal(Registers { from: to, ..registers });
            }
            Unary::Tanh => {
                self.apply(Function::Tanh, to, from, 0);
            }
            Unary::Elu { alpha } => {
                self.below_zero(from, free, 1.0, alpha);
                self.with(Max, to, from, 0.0).apply(Add, to, to, free);
            }
            Unary::Selu { alpha, gamma } => {
                self.function(&Unary::Elu { alpha }, registers);
                self.with(Mul, to, to, gamma);
            }
            Unary::Celu { alpha } => {
                self.below_zero(from, free, alpha, alpha);
                self.with(Max, to, from, 0.0).apply(Add, to, to, free);
            }
            Unary::ThresholdedRelu { alpha } => {
                self.with(Greater, free, from, alpha).apply(Mul, to, from, free);
            }
            Unary::Softplus => {
                self.softplus(from, free, free + 1);
                self.with(Mul, to, free, 1.0);
            }
            Unary::Softsign => {
                self.apply(Abs, free, from, 0).with(Add, free, free, 1.0).apply(Div, to, from, free);
            }
            Unary::Mish => {
                self.softplus(from, free, free + 1);
                self.apply(Function::Tanh, free, free, 0).apply(Mul, to, from, free);
            }
            Unary::Gelu { tanh: false } => {
                self.with(Div, free, from, std::f32::consts::SQRT_2).apply(Function::Erf, free, free, 0);
                self.with(Add, free, free, 1.0).with(Mul, free, free, 0.5).apply(Mul, to, from, free);
            }
            Unary::Gelu { tanh: true } => {
                let factor = (2.0 / std::f64::consts::PI).sqrt() as f32;
                self.apply(Mul, free, from, from).with(Mul, free, free, 0.044_715).with(Add, free, free, 1.0);
                self.apply(Mul, free, free, from).with(Mul, free, free, factor);
                self.apply(Function::Tanh, free, free, 0).with(Add, free, free, 1.0);
                self.with(Mul, free, free, 0.5).apply(Mul, to, from, free);
            }
            Unary::Erf => self.single(Function::Erf, registers),
            Unary::Exp => self.single(Exp, registers),
            Unary::Log => self.single(Function::Log, registers),
            Unary::Sqrt => self.single(Function::Sqrt, registers),
            Unary::Abs => self.single(Abs, registers),
            Unary::Neg => self.single(Neg, registers),
            Unary::Floor => self.single(Function::Floor, registers),
            Unary::Ceil => self.single(Function::Ceil, registers),
            Unary::Round => self.single(Function::Round, registers),
            Unary::Sin => self.single(Function::Sin, registers),
            Unary::Cos => self.single(Function::Cos, registers),
            Unary::Reciprocal => self.reciprocal(registers),
            Unary::Sign => {
                self.with(Greater, free, from, 0.0).apply(Neg, to, from, 0);
                self.with(Greater, to, to, 0.0).apply(Sub, to, free, to);
            }
            Unary::Pow { exponent } => self.power(exponent, registers),
            Unary::Tan => {
                self.apply(Function::Cos, free, from, 0).apply(Function::Sin, to, from, 0);
                self.apply(Div, to, to, free);
            }
            Unary::Sinh | Unary::Cosh => {
                self.apply(Neg, free, from, 0).apply(Exp, free, free, 0).apply(Exp, to, from, 0);
                self.apply(if *function == Unary::Sinh { Sub } else { Add }, to, to, free);
                self.with(Mul, to, to, 0.5);
            }
            Unary::Asinh => {
                // Of the magnitude, for there is nothing to cancel; then the sign.
                let (sign, magnitude) = (free, free + 1);
                self.function(&Unary::Sign, Registers { from, to: sign, free: free + 1 });
                self.apply(Abs, magnitude, from, 0).apply(Mul, to, magnitude, magnitude);
                self.with(Add, to, to, 1.0).apply(Function::Sqrt, to, to, 0).apply(Add, to, to, magnitude);
                self.apply(Function::Log, to, to, 0).apply(Mul, to, to, sign);
            }
            Unary::Acosh => {
                self.apply(Mul, free, from, from).with(Sub, free, free, 1.0).apply(
                    Function::Sqrt,
                    free,
                    free,
                    0,
                );
                self.apply(Add, to, from, free).apply(Function::Log, to, to, 0);
            }
            Unary::Atanh => {
                self.apply(Neg, free, from, 0).with(Add, free, free, 1.0).with(Add, to, from, 1.0);
                self.apply(Div, to, to, free).apply(Function::Log, to, to, 0).with(Mul, to, to, 0.5);
            }
            Unary::Trunc => {
                self.with(Min, free, from, 0.0).apply(Function::Ceil, free, free, 0);
                self.with(Max, to, from, 0.0).apply(Function::Floor, to, to, 0).apply(Add, to, to, free);
            }
            Unary::Shrink { lambd, bias } => {
                let (below, value) = (free, free + 1);
                self.constant(below, -lambd).apply(Greater, below, below, from);
                self.with(Add, value, from, bias).apply(Mul, below, below, value);
                self.with(Sub, value, from, bias).with(Greater, to, from, lambd);
                self.apply(Mul, to, to, value).apply(Add, to, to, below);
            }
            Unary::Compare { comparison, than } => {
                self.constant(free, than).compare(comparison, to, from, free);
            }
            Unary::Atan => self.arctangent(registers),
            Unary::Asin | Unary::Acos => {
                // The arctangent of x / sqrt((1 - x) (1 + x)).
                self.apply(Neg, free, from, 0).with(Add, free, free, 1.0).with(Add, free + 1, from, 1.0);
                self.apply(Mul, free, free, free + 1).apply(Function::Sqrt, free, free, 0);
                self.apply(Div, to, from, free);
                self.arctangent(Registers { from: to, ..registers });
                if *function == Unary::Acos {
                    self.apply(Neg, to, to, 0).with(Add, to, to, std::f32::consts::FRAC_PI_2);
                }
            }
            Unary::Both(kind, ref functions) => {
                // The argument is read where it is; the second value may replace what is not needed.
                let [left, right] = functions.each_ref();
                let (mut a, mut b, mut free) = (from, from, free);
                if *left != Unary::IDENTITY {
                    (a, free) = (free, free + 1);
                    self.function(left, Registers { from, to: a, free });
                }
                if *right != Unary::IDENTITY {
                    (b, free) = if to == from { (free, free + 1) } else { (to, free) };
                    self.function(right, Registers { from, to: b, free });
                }
                self.binary(kind, to, a, b);
            }
            Unary::Select(ref functions) => {
                let [condition, yes, no] = functions.each_ref();
                // What is taken is there before the condition, which may replace the argument.
                for (function, to) in [(yes, free), (no, free + 1)] {
                    self.function(function, Registers { from, to, free: free + 2 });
                }
                self.function(condition, Registers { from, to, free: free + 2 });
                self.apply(Function::Select, to, free, free + 1);
            }
            Unary::Number(number) => {
                self.constant(to, number);
            }
            Unary::Chain(ref functions) => {
                self.function(functions.first().unwrap_or(&Unary::IDENTITY), registers);
                for function in functions.iter().skip(1) {
                    self.function(function, Registers { from: to, ..registers });
                }
            }
        }
    }

    fn single(&mut self, function: Function, Registers { from, to, .. }: Registers) {
        self.apply(function, to, from, 0);
    }

    /// The polynomial of Abramowitz and Stegun, 4.4.49, within 2e-8 over [-1, 1]; beyond, of the reciprocal, taken
    /// from a right angle.
    fn arctangent(&mut self, Registers { from, to, free }: Registers) {
        use Function::{Abs, Add, Div, Greater, Max, Min, Mul, Sub};
        const COEFFICIENTS: [f32; 9] = [
            0.002_866_225_7,
            -0.016_165_737,
            0.042_909_615,
            -0.075_289_64,
            0.106_562_64,
            -0.142_089,
            0.199_935_51,
            -0.333_331_45,
            1.0,
        ];
        let (within, magnitude, beyond, sum) = (free, free + 1, free + 2, free + 3);
        self.with(Max, within, from, -1.0).with(Min, within, within, 1.0).apply(Abs, magnitude, from, 0);
        self.with(Greater, beyond, magnitude, 1.0).with(Max, magnitude, magnitude, 1.0);
        self.apply(Div, to, within, magnitude);
        let square = magnitude;
        self.apply(Mul, square, to, to).constant(sum, COEFFICIENTS[0]);
        for coefficient in &COEFFICIENTS[1..] {
            self.apply(Mul, sum, sum, square).with(Add, sum, sum, *coefficient);
        }
        self.apply(Mul, to, to, sum).with(Mul, sum, to, 2.0).with(
            Mul,
            within,
            within,
            std::f32::consts::FRAC_PI_2,
        );
        self.apply(Sub, within, within, sum).apply(Mul, within, within, beyond).apply(Add, to, to, within);
    }

    /// No comparison is the contrary of another: of what is not a number all are false but that it is not equal.
    fn compare(&mut self, comparison: Comparison, to: u8, a: u8, b: u8) -> &mut Self {
        match comparison {
            Comparison::Less => self.apply(Function::Greater, to, b, a),
            Comparison::LessOrEqual => self.apply(Function::GreaterOrEqual, to, b, a),
            Comparison::Greater => self.apply(Function::Greater, to, a, b),
            Comparison::GreaterOrEqual => self.apply(Function::GreaterOrEqual, to, a, b),
            Comparison::Equal => self.apply(Function::Equal, to, a, b),
            Comparison::NotEqual => {
                self.apply(Function::Equal, to, a, b).with(Function::Sub, to, to, 1.0);
                self.apply(Function::Abs, to, to, 0)
            }
        }
    }

    /// Powers that are a few exact operations, as these.
    fn power(&mut self, exponent: f32, registers: Registers) {
        let Registers { from, to, free } = registers;
        if exponent == 1.0 {
            self.with(Function::Mul, to, from, 1.0);
        } else if exponent == 2.0 {
            self.apply(Function::Mul, to, from, from);
        } else if exponent == 3.0 {
            self.apply(Function::Mul, free, from, from).apply(Function::Mul, to, free, from);
        } else if exponent == 0.5 {
            self.apply(Function::Sqrt, to, from, 0);
        } else if exponent == -1.0 {
            self.reciprocal(registers);
        } else if exponent == -0.5 {
            self.apply(Function::Sqrt, to, from, 0);
            self.reciprocal(Registers { from: to, ..registers });
        } else {
            self.with(Function::Pow, to, from, exponent);
        }
    }
}

#[cfg(test)]
mod tests {
    use edgepack_kernels::float::elementwise::{ElementwiseArgs, Sink, Source, elementwise};

    use super::*;

    fn run(program: &Program, x: &[f32]) -> Vec<f32> {
        let bytes = program.bytes();
        let (words, _) = bytes.as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|&word| u32::from_le_bytes(word)).collect();
        let program: Vec<[u32; 2]> = words.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        let sources = [Some((Source::F32(x), [0, 0, 0, 1])), None, None];
        let args = ElementwiseArgs { dims: [1, 1, 1, x.len()], sources, program: &program };
        let mut output = vec![0.0; x.len()];
        elementwise(&args, 0..x.len(), Sink::F32(&mut output));
        output
    }

    #[test]
    fn the_kernels_know_the_same_functions() {
        let names = |functions: Vec<String>| functions;
        let ours = names(Function::ALL.iter().map(|f| format!("{f:?}")).collect());
        let kernels = edgepack_kernels::float::elementwise::Function::ALL;
        assert_eq!(ours, names(kernels.iter().map(|f| format!("{f:?}")).collect()));
    }

    #[test]
    fn programs_are_their_functions() {
        let x: Vec<f32> = (-400..400).map(|i| i as f32 / 50.0 + 0.003).collect();
        let silu = Unary::Both(BinaryKind::Mul, Box::new([Unary::IDENTITY, Unary::Sigmoid]));
        let nested = Unary::Both(
            BinaryKind::Sub,
            Box::new([silu.clone(), Unary::Both(BinaryKind::Add, Box::new([Unary::Mish, Unary::Abs]))]),
        );
        let functions = [
            Unary::IDENTITY,
            Unary::Affine { scale: 0.3, shift: 0.0 },
            Unary::Affine { scale: 0.3, shift: -2.0 },
            Unary::Affine { scale: 1.0, shift: -2.0 },
            Unary::Clip { min: -1.0, max: 2.0 },
            Unary::LeakyRelu { alpha: 0.1 },
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::HardSwish,
            Unary::Sigmoid,
            Unary::Tanh,
            Unary::Elu { alpha: 1.5 },
            Unary::Selu { alpha: 1.67, gamma: 1.05 },
            Unary::Celu { alpha: 0.7 },
            Unary::ThresholdedRelu { alpha: 1.0 },
            Unary::Softplus,
            Unary::Softsign,
            Unary::Mish,
            Unary::Gelu { tanh: false },
            Unary::Gelu { tanh: true },
            Unary::Erf,
            Unary::Exp,
            Unary::Log,
            Unary::Sqrt,
            Unary::Reciprocal,
            Unary::Abs,
            Unary::Neg,
            Unary::Floor,
            Unary::Ceil,
            Unary::Round,
            Unary::Sign,
            Unary::Sin,
            Unary::Cos,
            Unary::Pow { exponent: 2.0 },
            Unary::Pow { exponent: 3.0 },
            Unary::Pow { exponent: 0.5 },
            Unary::Pow { exponent: -0.5 },
            Unary::Pow { exponent: -1.0 },
            Unary::Pow { exponent: 1.0 },
            Unary::Pow { exponent: 2.5 },
            Unary::Tan,
            Unary::Sinh,
            Unary::Cosh,
            Unary::Asinh,
            Unary::Acosh,
            Unary::Atanh,
            Unary::Trunc,
            Unary::Shrink { lambd: 1.5, bias: 0.5 },
            Unary::Compare { comparison: Comparison::Less, than: 0.5 },
            Unary::Compare { comparison: Comparison::LessOrEqual, than: x[500] },
            Unary::Compare { comparison: Comparison::Greater, than: 0.5 },
            Unary::Compare { comparison: Comparison::GreaterOrEqual, than: x[500] },
            Unary::Compare { comparison: Comparison::Equal, than: x[500] },
            Unary::Compare { comparison: Comparison::NotEqual, than: x[500] },
            Unary::Asin,
            Unary::Acos,
            Unary::Atan,
            Unary::Chain(vec![Unary::Affine { scale: -3.0, shift: 1.0 }, Unary::Atan]),
            Unary::Chain(vec![Unary::Exp, silu.clone(), Unary::Sqrt]),
            written_gelu(),
            silu,
            nested,
        ];
        for function in functions {
            let mut program = Program::default();
            program.load(0, 0);
            program.unary(&function).unwrap();
            for (x, y) in x.iter().zip(run(&program, &x)) {
                let real = function.apply(*x);
                // A few roundings of magnitudes up to x and 1, and the tangent's 5e-7.
                let within = 2e-6 * (1.0 + x.abs().max(real.abs()));
                let same = real.is_nan() && y.is_nan() || (y - real).abs() <= within;
                assert!(same, "{function:?} of {x}: {y} is not {real}");
            }
        }
    }

    #[test]
    fn comparisons_are_those_of_ieee_754() {
        let x = [f32::NEG_INFINITY, f32::MIN, -1e-45, -0.0, 0.0, 1.5, f32::MAX, f32::INFINITY, f32::NAN];
        let same = |kind| Unary::Both(kind, Box::new([Unary::IDENTITY, Unary::IDENTITY]));
        for comparison in Comparison::ALL {
            let of_itself = same(BinaryKind::Compare(comparison));
            let with_numbers = x.map(|than| Unary::Compare { comparison, than });
            for function in with_numbers.into_iter().chain([of_itself]) {
                let mut program = Program::default();
                program.load(0, 0);
                program.unary(&function).unwrap();
                let wanted = x.map(|x| function.apply(x).to_bits());
                let got: Vec<u32> = run(&program, &x).into_iter().map(f32::to_bits).collect();
                assert_eq!(got, wanted, "{function:?}");
            }
        }
    }

    /// Gelu by the hyperbolic tangent, as JAX's exporter writes it: `x * (0.5 * (1 + tanh(c * (x + d * x * x * x))))`.
    fn written_gelu() -> Unary {
        let both = |kind, left, right| Unary::Both(kind, Box::new([left, right]));
        let cube =
            both(BinaryKind::Mul, both(BinaryKind::Mul, Unary::IDENTITY, Unary::IDENTITY), Unary::IDENTITY);
        let inner =
            both(BinaryKind::Add, Unary::IDENTITY, cube.then(Unary::Affine { scale: 0.044_715, shift: 0.0 }));
        let outer = inner
            .then(Unary::Affine { scale: 0.797_884_6, shift: 0.0 })
            .then(Unary::Tanh)
            .then(Unary::Affine { scale: 0.5, shift: 0.5 });
        both(BinaryKind::Mul, Unary::IDENTITY, outer)
    }

    #[test]
    fn what_needs_more_registers_than_there_are_is_refused() {
        let mut function = Unary::Tanh;
        for _ in 0..16 {
            function = Unary::Both(BinaryKind::Add, Box::new([Unary::Exp, function]));
        }
        assert!(Program::default().unary(&function).is_none());
    }
}
