//! A border of zeros before a convolution is the convolution's own padding.

use crate::graph::{Graph, Op};

pub(super) fn fuse_pad(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let Op::Pad { pads, value } = &graph.nodes[index].op else { continue };
        let (pads, value) = (pads.clone(), *value);
        let spatial = pads.len().min(4).saturating_sub(2);
        let only_spatial = pads.iter().take(2).all(|pad| *pad == [0, 0]) && (3..=4).contains(&pads.len());
        let Some(next) = graph.only_consumer(index).filter(|_| value == 0.0 && only_spatial) else {
            continue;
        };
        let input = graph.nodes[index].inputs[0];
        let Op::Conv(conv) = &mut graph.nodes[next].op else { continue };
        let mut merged = conv.window.pads;
        for i in 0..spatial {
            let axis = 2 - spatial + i;
            merged[axis] += pads[2 + i][0];
            merged[2 + axis] += pads[2 + i][1];
        }
        let extent = |axis: usize| (conv.window.kernel[axis] - 1) * conv.window.dilation[axis] + 1;
        // Windows that would see nothing but padding stay as they are.
        if (0..2).any(|axis| merged[axis] >= extent(axis) || merged[2 + axis] >= extent(axis)) {
            continue;
        }
        conv.window.pads = merged;
        let name = graph.nodes[index].name.clone();
        graph.nodes[next].inputs[0] = input;
        graph.nodes[next].merged.push(name);
    }
}
