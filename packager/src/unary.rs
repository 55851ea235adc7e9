//! Functions of one number. On the device each is a table of 256 entries, so that nothing here
//! needs to be fast, and none needs a kernel of its own.

use crate::graph::BinaryKind;

/// A function of one number, with ONNX's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub enum Unary {
    /// `x * scale + shift`: an addition or multiplication with a scalar.
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
    /// `min(max(x, min), max)`
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x` or `alpha * x` below 0
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `min(max(alpha * x + beta, 0), 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`
    HardSwish,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent
    Tanh,
    /// `x` or `alpha * (e^x - 1)` below 0
    Elu {
        /// Factor below 0.
        alpha: f32,
    },
    /// `gamma * x` or `gamma * alpha * (e^x - 1)` below 0
    Selu {
        /// Factor below 0.
        alpha: f32,
        /// Factor.
        gamma: f32,
    },
    /// `x` or `alpha * (e^(x / alpha) - 1)` below 0
    Celu {
        /// Factor below 0.
        alpha: f32,
    },
    /// `x` above `alpha`, else 0
    ThresholdedRelu {
        /// Threshold.
        alpha: f32,
    },
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x * tanh(softplus(x))`
    Mish,
    /// `x * (1 + erf(x / sqrt 2)) / 2`, or its approximation with tanh
    Gelu {
        /// Whether it is the approximation.
        tanh: bool,
    },
    /// The error function
    Erf,
    /// `e^x`
    Exp,
    /// Natural logarithm
    Log,
    /// Square root
    Sqrt,
    /// `1 / x`
    Reciprocal,
    /// `|x|`
    Abs,
    /// `-x`
    Neg,
    /// Largest integer below
    Floor,
    /// Smallest integer above
    Ceil,
    /// Nearest integer, ties to even
    Round,
    /// -1, 0 or 1
    Sign,
    /// Sine
    Sin,
    /// Cosine
    Cos,
    /// Tangent
    Tan,
    /// Inverse sine
    Asin,
    /// Inverse cosine
    Acos,
    /// Inverse tangent
    Atan,
    /// Hyperbolic sine
    Sinh,
    /// Hyperbolic cosine
    Cosh,
    /// Inverse hyperbolic sine
    Asinh,
    /// Inverse hyperbolic cosine
    Acosh,
    /// Inverse hyperbolic tangent
    Atanh,
    /// Nearest integer towards 0: a cast to integers
    Trunc,
    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0
    Shrink {
        /// Threshold.
        lambd: f32,
        /// What is taken off.
        bias: f32,
    },
    /// 1 where `x` compares so with `than`, else 0
    Compare {
        /// How.
        comparison: Comparison,
        /// With what.
        than: f32,
    },
    /// `x^exponent`
    Pow {
        /// Exponent.
        exponent: f32,
    },
    /// Sum, difference, product or comparison of two functions of the same number: SiLU, HardSwish and Gelu
    /// as exporters write them, and `x == x`.
    Both(BinaryKind, Box<[Unary; 2]>),
    /// The second function's value where the first's is not 0, else the third's.
    Select(Box<[Unary; 3]>),
    /// This number, whatever the argument is.
    Number(f32),
    /// One after the other, first to last.
    Chain(Vec<Unary>),
}

/// How two numbers compare, by IEEE 754: what is not a number equals nothing, and is neither below nor above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Less, Self::LessOrEqual, Self::Greater, Self::GreaterOrEqual, Self::Equal, Self::NotEqual];

    /// Whether `a` and `b` compare so.
    pub fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Less => a < b,
            Self::LessOrEqual => a <= b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::Equal => a == b,
            Self::NotEqual => a != b,
        }
    }

    /// The comparison of `b` with `a`.
    pub fn swapped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

impl Unary {
    /// The function's value, computed in f64 and rounded once.
    pub fn apply(&self, x: f32) -> f32 {
        self.apply_f64(x as f64) as f32
    }

    fn apply_f64(&self, x: f64) -> f64 {
        let below = |alpha: f32, x: f64| if x < 0.0 { alpha as f64 * x.exp_m1() } else { x };
        match *self {
            Self::Affine { scale, shift } => x * scale as f64 + shift as f64,
            Self::Clip { min, max } => x.max(min as f64).min(max as f64),
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha as f64 * x
                } else {
                    x
                }
            }
            Self::HardSigmoid { alpha, beta } => (alpha as f64 * x + beta as f64).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Elu { alpha } => below(alpha, x),
            Self::Selu { alpha, gamma } => gamma as f64 * below(alpha, x),
            Self::Celu { alpha } => {
                let alpha = alpha as f64;
                x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0)
            }
            Self::ThresholdedRelu { alpha } => {
                if x > alpha as f64 {
                    x
                } else {
                    0.0
                }
            }
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Mish => x * softplus(x).tanh(),
            Self::Gelu { tanh: false } => x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0,
            Self::Gelu { tanh: true } => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x * (1.0 + inner.tanh()) / 2.0
            }
            Self::Erf => erf(x),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Abs => x.abs(),
            Self::Neg => -x,
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Sign => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Self::Sin => x.sin(),
            Self::Cos => x.cos(),
            Self::Tan => x.tan(),
            Self::Asin => x.asin(),
            Self::Acos => x.acos(),
            Self::Atan => x.atan(),
            Self::Sinh => x.sinh(),
            Self::Cosh => x.cosh(),
            Self::Asinh => x.asinh(),
            Self::Acosh => x.acosh(),
            Self::Atanh => x.atanh(),
            Self::Trunc => x.trunc(),
            Self::Shrink { lambd, bias } => {
                let (lambd, bias) = (lambd as f64, bias as f64);
                if x < -lambd {
                    x + bias
                } else if x > lambd {
                    x - bias
                } else {
                    0.0
                }
            }
            Self::Compare { comparison, than } => comparison.holds(x, than as f64).into(),
            Self::Pow { exponent } => x.powf(exponent as f64),
            Self::Both(kind, ref functions) => {
                let [left, right] = functions.each_ref().map(|function| function.apply_f64(x));
                kind.apply(left, right)
            }
            Self::Select(ref functions) => {
                let [condition, yes, no] = functions.each_ref();
                if condition.apply_f64(x) != 0.0 { yes.apply_f64(x) } else { no.apply_f64(x) }
            }
            Self::Number(number) => number.into(),
            Self::Chain(ref functions) => functions.iter().fold(x, |x, function| function.apply_f64(x)),
        }
    }

    /// The number itself.
    pub const IDENTITY: Self = Self::Affine { scale: 1.0, shift: 0.0 };

    /// The factor, if the function is a product with a positive one: int8 values stay as they are then,
    /// and only their scale changes.
    pub fn as_factor(&self) -> Option<f32> {
        match *self {
            Self::Affine { scale, shift: 0.0 } if scale.is_normal() && scale > 0.0 => Some(scale),
            _ => None,
        }
    }

    /// The bounds, if the function only clamps.
    pub fn as_clamp(&self) -> Option<(f32, f32)> {
        match *self {
            Self::Clip { min, max } => Some((min, max)),
            _ => None,
        }
    }

    /// This function, and then `next`.
    pub fn then(self, next: Self) -> Self {
        let mut functions = match self {
            Self::Chain(functions) => functions,
            other => vec![other],
        };
        match next {
            Self::Chain(more) => functions.extend(more),
            other => functions.push(other),
        }
        Self::Chain(functions)
    }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The error function, within 1e-15 of the truth: its Maclaurin series for small arguments, the
/// continued fraction of erfc (Abramowitz and Stegun, 7.1.5 and 7.1.14) for large ones.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 2.5 {
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-17 * sum.abs() {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else if z < 6.0 {
        let fraction = (1..=80).rev().fold(z, |fraction, k| z + k as f64 / 2.0 / fraction);
        1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    } else {
        1.0
    };
    value.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        close(Unary::Erf.apply(0.5), 0.520_499_9);
        close(Unary::Erf.apply(-3.0), -0.999_977_9);
        close(Unary::Gelu { tanh: false }.apply(1.0), 0.841_344_7);
        close(Unary::HardSwish.apply(-1.0), -1.0 / 3.0);
        close(Unary::Softplus.apply(-20.0), 2.061_153_6e-9);
        close(Unary::Mish.apply(1.0), 0.865_098_4);
        close(Unary::Selu { alpha: 1.673_263_2, gamma: 1.050_701 }.apply(-1.0), -1.111_330_7);
        close(Unary::Round.apply(2.5), 2.0);
    }

    #[test]
    fn what_is_no_number_equals_nothing_and_is_neither_below_nor_above() {
        let holds = |a: f64, b: f64| Comparison::ALL.map(|comparison| comparison.holds(a, b));
        let unordered = [false, false, false, false, false, true];
        assert_eq!([holds(f64::NAN, 1.0), holds(1.0, f64::NAN), holds(f64::NAN, f64::NAN)], [unordered; 3]);
        let equal = [false, true, false, true, true, false];
        assert_eq!([holds(-0.0, 0.0), holds(f64::INFINITY, f64::INFINITY)], [equal; 2]);
        assert_eq!(holds(f64::NEG_INFINITY, f64::MIN), [true, true, false, false, false, true]);
    }

    #[test]
    fn a_gated_chain_is_hard_swish() {
        let chain = Unary::Affine { scale: 1.0, shift: 3.0 }
            .then(Unary::Clip { min: 0.0, max: 6.0 })
            .then(Unary::Affine { scale: 1.0 / 6.0, shift: 0.0 });
        let gated = Unary::Both(BinaryKind::Mul, Box::new([Unary::IDENTITY, chain]));
        for i in -50..50 {
            let x = i as f32 / 10.0;
            assert!((gated.apply(x) - Unary::HardSwish.apply(x)).abs() < 1e-6);
        }
    }
}
