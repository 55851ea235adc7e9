//! Weights that 8 bits hold badly.
//!
//! Each output channel has a scale of its own, so that channels of different sizes do no harm; what does is a
//! channel whose largest weight is far from the rest: the others share the few levels that are left. The
//! ratio of signal to noise of a channel does not depend on its size, so that a batch normalization behind
//! the layer changes nothing of it. In channels of few weights (depthwise convolutions) a large one is itself
//! most of the signal, and nothing is lost.

use super::{Finding, Severity};
use crate::graph::{Graph, Op};
use crate::quant::Quant;
use crate::quantize::quantize_weights;

/// A layer whose weights have less than this is told of. Normally distributed weights have about 40 dB.
const LEAST_DB: f64 = 32.0;

pub(super) fn hard_to_quantize(graph: &Graph, findings: &mut Vec<Finding>) {
    for node in &graph.nodes {
        let (weights, channels) = match &node.op {
            Op::Conv(conv) => (&conv.weights.data, conv.bias.len()),
            Op::FullyConnected(fc) => (&fc.weights.data, fc.bias.len()),
            Op::Recurrent(layer) => (&layer.weights.data, layer.bias.len()),
            _ => continue,
        };
        let Some(quality) = Quality::of(weights, channels) else { continue };
        if quality.db >= LEAST_DB {
            continue;
        }
        findings.push(Finding {
            severity: Severity::Warning,
            rule: "weights",
            kind: "node",
            names: vec![node.name.clone()],
            op: Some(node.onnx_op.clone()),
            message: format!(
                "its weights keep {:.1} dB in int8 (40 is usual): in output channel {} one weight, {}, is {:.0} \
                 times the others' root mean square",
                quality.db, quality.channel, quality.largest, quality.crest
            ),
            remedy: format!(
                "clip such weights or train on with weight decay; or keep the layer in f32: edgepack pack --keep-f32 {}",
                node.name
            ),
        });
    }
}

/// How well the weights of a layer survive int8.
struct Quality {
    /// Of the mean over the channels of noise over signal.
    db: f64,
    /// The worst channel.
    channel: usize,
    /// Its largest weight.
    largest: f32,
    /// That over the root mean square of the channel's other weights.
    crest: f64,
}

impl Quality {
    /// `None` where every weight is 0, or some are not finite.
    fn of(weights: &[f32], channels: usize) -> Option<Self> {
        if channels == 0 || weights.is_empty() || weights.iter().any(|w| !w.is_finite()) {
            return None;
        }
        let quantized = quantize_weights(weights, &vec![0.0; channels], Quant { scale: 1.0, zero_point: 0 });
        let k = weights.len() / channels;
        let mut worst = (0.0, 0);
        let (mut sum, mut counted) = (0.0, 0);
        for (channel, row) in weights.chunks_exact(k).enumerate() {
            let scale = f64::from(quantized.scales[channel]);
            let signal: f64 = row.iter().map(|&w| f64::from(w).powi(2)).sum();
            let of_row = &quantized.weights[channel * k..][..k];
            let noise: f64 =
                row.iter().zip(of_row).map(|(&w, &q)| (f64::from(w) - f64::from(q) * scale).powi(2)).sum();
            if signal > 0.0 {
                let ratio = noise / signal;
                sum += ratio;
                counted += 1;
                if ratio > worst.0 {
                    worst = (ratio, channel);
                }
            }
        }
        if counted == 0 || sum == 0.0 {
            return None;
        }
        let row = &weights[worst.1 * k..][..k];
        let largest = row.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
        let others: f64 = row.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() - f64::from(largest).powi(2);
        let rms = (others.max(0.0) / (k.max(2) - 1) as f64).sqrt();
        Some(Self {
            db: -10.0 * (sum / f64::from(counted)).log10(),
            channel: worst.1,
            largest,
            crest: f64::from(largest.abs()) / rms.max(f64::MIN_POSITIVE),
        })
    }
}
