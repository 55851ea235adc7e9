//! The packager: an ONNX model becomes a quantized, planned, self-tested package.
//!
//! ```text
//! import     ONNX -> graph: shapes bound, constants folded (tract), the user's names kept
//! integers   the proof that f32 holds every integer of the graph, given limits of its inputs
//! passes     graph -> graph, each equivalent in f32
//! evaluate   the graph in f32: the oracle of the passes, and what calibration observes
//! calibrate  statistics of every tensor over the calibration set, streamed
//! quantize   a scale and zero point for every tensor, int8 weights, fitted to the f32 graph
//! lower      graph -> steps over virtual buffers, in the device's order of dimensions
//! memory     virtual buffers -> offsets in one arena, and the independent check
//! emit       steps and constants -> bytes, re-read, self-tested, renamed into place
//! ```
//! `check` tells what is the matter with a model before any of that, and `node_map` what became of its nodes
//! after it.
//!
//! **Architecture invariant:** each stage reads the result of the one before and changes nothing of
//! it; the runtime knows nothing of this crate.
#![deny(unsafe_code)]

pub mod calibrate;
pub mod check;
pub mod cost;
pub mod decoding;
pub mod emit;
pub mod error;
pub mod evaluate;
pub mod firmware;
pub mod graph;
mod guard;
pub mod header;
pub mod import;
pub mod in_place;
pub mod integers;
pub mod islands;
pub mod limits;
pub mod lower;
pub mod memory;
pub mod mixed;
mod names;
pub mod node_map;
pub mod pack;
pub mod passes;
pub mod precision;
pub mod prune;
pub mod quant;
pub mod quantize;
mod samples;
pub mod scratch;
pub mod strips;
#[cfg(test)]
mod testing;
pub mod unary;
pub mod warnings;
