//! Arithmetic of integers that is not that of numbers: division and remainder.

use super::{Context, Importer};
use crate::error::Result;
use crate::graph::{BinaryKind, ValueId};
use crate::integers::EXACT;
use crate::unary::Unary;

/// A quotient, cut towards 0.
pub(super) fn div(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    let operands = [importer.input(context, 0)?, importer.input(context, 1)?];
    let quotient = importer.quotient(context, operands, Unary::Trunc)?;
    importer.result(context, 0, quotient)
}

/// A remainder: of the sign of the divisor, or with `fmod` of the dividend.
pub(super) fn modulo(importer: &mut Importer, context: &Context<'_>) -> Result<()> {
    if !importer.facts.is_integer(context.input_name(0)?) {
        return Err(context.unsupported(
            "is the remainder of floating-point numbers",
            "edgepack has that of integers: compute it from Div, Floor, Mul and Sub",
        ));
    }
    let operands @ [dividend, divisor] = [importer.input(context, 0)?, importer.input(context, 1)?];
    let cut = if context.attributes().int("fmod", 0) != 0 { Unary::Trunc } else { Unary::Floor };
    let quotient = importer.quotient(context, operands, cut)?;
    let whole = importer.binary_part(context, "multiple", BinaryKind::Mul, [quotient, divisor])?;
    let rest = importer.binary_part(context, "rest", BinaryKind::Sub, [dividend, whole])?;
    importer.result(context, 0, rest)
}

/// Numbers cut to integers that f32 holds.
pub(super) fn cut() -> Unary {
    Unary::Trunc.then(Unary::Clip { min: -EXACT as f32, max: EXACT as f32 })
}

impl Importer {
    /// A quotient of two f32 numbers is rounded once, and of integers up to 2²⁴ never across another integer.
    fn quotient(&mut self, context: &Context<'_>, operands: [ValueId; 2], cut: Unary) -> Result<ValueId> {
        let quotient = self.binary_part(context, "quotient", BinaryKind::Div, operands)?;
        let bounded = cut.then(Unary::Clip { min: -EXACT as f32, max: EXACT as f32 });
        Ok(self.unary_part(context, "whole", bounded, quotient))
    }
}
