//! Rewrites of the graph, one file each; every one leaves the model's f32 function as it was.

mod fold_affine;
mod fold_batch_norm;
mod fuse_activation;
mod fuse_addition;
mod fuse_functions;
mod fuse_layer_norm;
mod fuse_moments;
mod fuse_one_hot;
mod fuse_pad;
mod fuse_qdq;

use crate::graph::Graph;

/// A pass: its name and the function.
pub type Pass = (&'static str, fn(&mut Graph));

/// The passes in the order in which they run.
pub static PASSES: &[Pass] = &[
    // First, so that the others see which values a quantized model rounds.
    ("fuse_qdq", fuse_qdq::fuse_qdq),
    ("fuse_pad", fuse_pad::fuse_pad),
    // Before products have bounds and other summands.
    ("fuse_one_hot", fuse_one_hot::fuse_one_hot),
    ("fuse_layer_norm", fuse_layer_norm::fuse_layer_norm),
    ("fuse_moments", fuse_moments::fuse_moments),
    ("fold_batch_norm", fold_batch_norm::fold_batch_norm),
    ("fold_affine", fold_affine::fold_affine),
    // Before the functions: bounds cost nothing, and what they leave needs fewer levels.
    ("fuse_activation", fuse_activation::fuse_activation),
    ("fuse_functions", fuse_functions::fuse_functions),
    // Behind them, which leave one function where exporters have many.
    ("fold_table", fuse_one_hot::fold_table),
    // Last, since the other passes know products of one input; sums have their bounds by then.
    ("fuse_addition", fuse_addition::fuse_addition),
];

/// Runs every pass, and removes what no output needs any more.
pub fn run(graph: &mut Graph) {
    for (_, pass) in PASSES {
        pass(graph);
        graph.remove_dead();
    }
}

#[cfg(test)]
mod tests;
