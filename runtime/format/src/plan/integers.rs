//! Operations on integers. Inside a plan an integer is an f32 number: every integer of a magnitude up to 2²⁴
//! is one, and the packager proves that no plan needs others ([`super::Input::limits`]).

use serde::{Deserialize, Serialize};

use super::{ElemType, Span};

/// Element by element, one type to another: exactly one of the two is f32, the other int32, int64 or bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convert {
    /// In the arena.
    pub input: Span,
    /// The type of what is read. An integer becomes the nearest f32 number, a truth value 0 or 1.
    pub from: ElemType,
    /// In the arena; overlaps no input.
    pub output: Span,
    /// The type of what is written. A number is cut towards 0 and to the range of an integer; as a truth value
    /// it is 1 but for 0. NaN is 0 as an integer, and 1 as a truth value.
    pub to: ElemType,
}
