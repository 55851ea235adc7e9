//! Sets of operations: what a program can do without, it need not have.
//!
//! A program that reads whatever package it is given has [`All`]. Firmware has one model: its set is a type with
//! the operations of that model, and reading, validation, binding and kernels of all others are not linked, since
//! each stands behind a condition on a constant. The packager writes the type ([`operations!`](crate::operations)).
//!
//! **Architecture invariant:** a package of which a step is outside the set is refused when it is validated, by an
//! error that names the operation; so that what runs later need not be able to fail for that.

use core::fmt;

use crate::plan::Op;

macro_rules! known {
    ($($name:ident,)*) => {
        /// What a step may do: [`Op`] without its arguments, of which one is two operations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Operation {
            $(
                #[doc = concat!("[`Op::", stringify!($name), "`].")]
                $name,
            )*
            /// [`Op::Conv`] that is depthwise, which [`Operation::Conv`] is not: it has kernels of its own. No number of
            /// a package.
            Depthwise,
        }

        impl Operation {
            /// Every operation, in the order of their numbers in a package.
            pub const ALL: &'static [Self] = &[$(Self::$name,)* Self::Depthwise];

            /// The operation of a step.
            pub const fn of(op: &Op) -> Self {
                match op {
                    Op::Conv(conv) if conv.is_depthwise() => Self::Depthwise,
                    $(Op::$name(_) => Self::$name,)*
                }
            }

            /// Its name, as [`operations!`](crate::operations) takes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Depthwise => "Depthwise",
                }
            }
        }

        /// Calls a macro with the name of every operation, in the order of their numbers in a package.
        macro_rules! with_operations {
            ($macro:ident) => { $macro! { $($name,)* } };
        }
        pub(crate) use with_operations;
    };
}

// The order is the format's, and that of `Op`.
known! {
    Conv, Binary, Lookup, Pool, Softmax, Fill, Copy, MatMul, LayerNorm, Recurrent, Elementwise, ConvF32, PoolF32,
    MatMulF32, LayerNormF32, Convert, Gather, Scatter, TopK, QuantizeRows, RecurrentF32, Island, ConvI16, PoolI16,
    RescaleRows, NonMaxSuppression,
}

impl Operation {
    /// The operation of a number in a package: [`Operation::Conv`] for both of its kinds.
    pub fn new(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied().filter(|&operation| operation != Self::Depthwise)
    }

    /// What a step of this number may turn out to be.
    pub(crate) const fn kinds(self) -> OperationSet {
        match self {
            Self::Conv => OperationSet::CONVOLUTIONS,
            _ => OperationSet::of(&[self]),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationSet(u64);

const _: () = assert!(Operation::ALL.len() <= u64::BITS as usize);

impl OperationSet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self::of(Operation::ALL);
    /// What an [`Op::Conv`] may be.
    pub const CONVOLUTIONS: Self = Self::of(&[Operation::Conv, Operation::Depthwise]);

    /// These.
    pub const fn of(operations: &[Operation]) -> Self {
        let (mut set, mut index) = (0, 0);
        while index < operations.len() {
            set |= 1 << operations[index] as u8;
            index += 1;
        }
        Self(set)
    }

    /// Whether an operation is among them.
    #[inline(always)]
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u8) != 0
    }

    /// Whether one of some operations is among them.
    #[inline(always)]
    pub const fn intersects(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// The same and one more.
    #[must_use]
    pub const fn with(self, operation: Operation) -> Self {
        Self(self.0 | (1 << operation as u8))
    }

    /// The operations, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.iter().copied().filter(move |&operation| self.contains(operation))
    }
}

/// A set as a type, for code that is compiled for it.
pub trait Operations: Copy + fmt::Debug {
    /// The set.
    const SET: OperationSet;
}

/// Every operation: for programs that run any package.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Operations for All {
    const SET: OperationSet = OperationSet::ALL;
}

/// Declares a type that is an [`Operations`]: `operations!(pub MyModel: Conv, Pool, Softmax)`. `edgepack pack`
/// writes the one of a package beside it.
#[macro_export]
macro_rules! operations {
    ($(#[$attribute:meta])* $visibility:vis $name:ident: $($operation:ident),* $(,)?) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl $crate::Operations for $name {
            const SET: $crate::OperationSet = $crate::OperationSet::of(&[$($crate::Operation::$operation,)*]);
        }
    };
}
