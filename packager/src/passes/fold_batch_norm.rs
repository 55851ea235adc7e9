//! A batch normalization is a factor and a summand for each channel: they go into the weights of
//! the convolution or matrix before it (Jacob et al., "Quantization and Training of Neural Networks
//! for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2), or become a depthwise 1×1
//! convolution where there is none.

use crate::graph::{Conv, Graph, Op, Tensor, Window};

pub(super) fn fold_batch_norm(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::ChannelAffine { scale, shift } = graph.nodes[index].op.clone() else { continue };
        let Some(input) = graph.nodes[index].inputs.first().copied() else { continue };
        let before = graph.producer(input).filter(|&before| graph.only_consumer(before) == Some(index));
        // After a matrix product the channels are the last axis, which is axis 1 only in two dimensions.
        let two_axes = graph.dims(input).len() == 2;
        let folded = before.is_some_and(|before| {
            let matrix = matches!(graph.nodes[before].op, Op::FullyConnected(_));
            (!matrix || two_axes) && scale_channels(graph, before, &scale, &shift)
        });
        match before {
            Some(before) if folded => graph.absorb(before, index),
            _ => graph.nodes[index].op = depthwise(scale, shift),
        }
    }
}

/// Multiplies the output channels of a convolution or matrix product and adds to them. False where
/// the node is neither, or already clamps its result.
pub(super) fn scale_channels(graph: &mut Graph, index: usize, scale: &[f32], shift: &[f32]) -> bool {
    let node = &mut graph.nodes[index];
    if node.clamp != crate::graph::Clamp::NONE {
        return false;
    }
    let (weights, bias) = match &mut node.op {
        Op::Conv(conv) => (&mut conv.weights, &mut conv.bias),
        Op::FullyConnected(fc) => (&mut fc.weights, &mut fc.bias),
        _ => return false,
    };
    if bias.len() != scale.len() {
        return false;
    }
    *weights = weights.scaled(|channel| scale[channel]);
    for (c, bias) in bias.iter_mut().enumerate() {
        *bias = *bias * scale[c] + shift[c];
    }
    true
}

/// The depthwise 1×1 convolution with these factors and summands.
pub(super) fn depthwise(scale: Vec<f32>, shift: Vec<f32>) -> Op {
    let groups = scale.len();
    Op::Conv(Conv {
        weights: Tensor::new(vec![groups, 1, 1, 1], scale),
        bias: shift,
        window: Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4] },
        groups,
    })
}
