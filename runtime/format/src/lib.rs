//! The `.epk` package.
#![no_std]
pub mod plan;
