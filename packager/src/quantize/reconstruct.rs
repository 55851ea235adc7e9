//! Layer after layer, the int8 network is fitted to the FP32 one on the calibration set.

use super::abreast::{Abreast, Samples};
use super::moments::{Moments, moments};
use super::rounding::{Fit, Group, fit};
use super::simulate::residual_zero;
use super::{Method, Methods, QuantizedWeights, Scheme, product_constants};
use crate::error::Result;
use crate::graph::{Graph, Op};

/// Chooses the weights and biases of every product that the scheme has quantized, but recurrent ones.
/// `progress` is told of every node.
///
/// # Errors
/// A sample that cannot be read.
pub fn reconstruct(
    graph: &Graph,
    scheme: Scheme,
    samples: Samples<'_>,
    methods: &Methods,
    mut progress: impl FnMut(),
) -> Result<Scheme> {
    let mut abreast = Abreast::new(graph, &scheme, samples);
    for (index, node) in graph.nodes.iter().enumerate() {
        let is_product = matches!(node.op, Op::Conv(_) | Op::FullyConnected(_));
        abreast.gather(index)?;
        // What the model itself says is not changed.
        let is_given = product_constants(node).is_some_and(|(weights, _)| weights.given.is_some());
        if let (true, Some(_), Some(input), Some((weights, bias))) = (
            is_product && !is_given,
            &scheme.weights[node.output.0],
            scheme.multiplicand(node),
            product_constants(node),
        ) {
            let moments = moments(graph, index, &abreast);
            let residual_zero = residual_zero(&scheme, node);
            let (channels, k) = (bias.len() / moments.len(), weights.data.len() / bias.len());
            let groups = weights.data.chunks_exact(channels * k).zip(bias.chunks_exact(channels));
            let mut all = QuantizedWeights { weights: Vec::new(), bias: Vec::new(), scales: Vec::new() };
            for ((weights, bias), moments) in groups.zip(&moments) {
                let how = how(methods, moments, abreast.samples());
                let group = fit(Group { weights, bias, input, residual_zero }, moments, how);
                all.weights.extend(group.weights);
                all.bias.extend(group.bias);
                all.scales.extend(group.scales);
            }
            abreast.set_weights(index, all);
        }
        abreast.advance(index);
        progress();
    }
    Ok(abreast.into_scheme())
}

/// How closely a layer follows the samples. Many weights and few independent rows fit anything, and lose on
/// other samples what they gain on these; the positions of an image resemble each other, and count as their
/// square root. The factors were chosen on the models of the test suite: from a third to three times of them
/// costs no small model more than 1 dB.
fn how(methods: &Methods, moments: &Moments, samples: usize) -> Fit {
    let positions = moments.rows as f64 / samples as f64;
    let independent = samples as f64 * positions.sqrt();
    Fit {
        leave: methods.has(Method::Compensation).then(|| 10.0 * moments.width as f64 / independent),
        round: methods.has(Method::Rounding).then_some(0.1),
        bias: methods.has(Method::BiasCorrection),
    }
}
