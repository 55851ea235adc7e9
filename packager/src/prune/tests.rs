//! What goes together, and that a graph without channels is the one with zeros in their place.

use super::remove::{masked, removed};
use super::units::Stays;
use super::*;
use crate::graph::*;
use crate::testing::{Build, RELU};
use crate::unary::Unary;

/// The products that make a group of units, and how many these are.
type Makers = (Vec<usize>, usize);

trait Layers {
    fn conv(&mut self, inputs: &[ValueId], channels: usize, groups: usize) -> ValueId;
    fn fc(&mut self, input: ValueId, outputs: usize) -> ValueId;
    fn check(self, output: ValueId, remove: usize) -> (Vec<Makers>, Vec<Vec<usize>>);
}

impl Layers for Build {
    /// 3 × 3 with padding, or 1 × 1 where the image is one pixel.
    fn conv(&mut self, inputs: &[ValueId], channels: usize, groups: usize) -> ValueId {
        let mut dims = self.graph.dims(inputs[0]).to_vec();
        let side = if dims[2] > 1 { 3 } else { 1 };
        let weights = self.tensor(&[channels, dims[1] / groups, side, side]);
        let bias = self.random(channels);
        let pads = [side / 2; 4];
        let window = Window { kernel: [side; 2], stride: [1, 1], dilation: [1, 1], pads };
        dims[1] = channels;
        self.clamped(Op::Conv(Conv { weights, bias, window, groups }), inputs, &dims, RELU)
    }

    fn fc(&mut self, input: ValueId, outputs: usize) -> ValueId {
        let mut dims = self.graph.dims(input).to_vec();
        let k = dims.pop().unwrap();
        dims.push(outputs);
        let (weights, bias) = (self.tensor(&[outputs, k]), self.random(outputs));
        self.clamped(Op::FullyConnected(FullyConnected { weights, bias }), &[input], &dims, RELU)
    }

    /// Removes the first units of every group, and holds the result against zeros in their place. Gives the
    /// groups' makers and numbers of units, and the shapes of what nodes make then.
    fn check(mut self, output: ValueId, remove: usize) -> (Vec<Makers>, Vec<Vec<usize>>) {
        self.graph.outputs.push(output);
        let graph = &self.graph;
        let units = Units::of(graph);
        let (groups, _) = units.groups(graph);
        let mut gone = vec![false; units.count()];
        let mut left = Left::new(graph, &units);
        for group in &groups {
            for &unit in group.units.iter().take(remove).filter(|&&unit| left.remove(unit)) {
                gone[unit] = true;
            }
        }
        let (masked, removed) = (masked(graph, &units, &gone), removed(graph, &units, &gone));
        let input = self.random(self.graph.dims(self.graph.inputs[0]).iter().product());
        let [zeros, less] = [&masked, &removed].map(|graph| evaluate(graph, &[&input], |_, _| {}));
        assert_eq!(zeros[0].len(), less[0].len());
        assert!(zeros[0].iter().any(|&x| x != 0.0), "nothing is left");
        for (a, b) in zeros[0].iter().zip(&less[0]) {
            // Sums of other lengths are rounded in another order.
            assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} became {b}");
        }
        let shapes = removed.nodes.iter().map(|node| removed.dims(node.output).to_vec());
        (groups.into_iter().map(|group| (group.makers, group.units.len())).collect(), shapes.collect())
    }
}

#[test]
fn a_chain_loses_rows_and_columns_and_its_output_stays() {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let x = build.conv(&[input], 8, 1);
    let x = build.conv(&[x], 12, 1);
    let x = build.conv(&[x], 5, 1);
    let (groups, shapes) = build.check(x, 2);
    assert_eq!(groups, [(vec![0], 8), (vec![1], 12)]);
    assert_eq!(shapes, [[1, 6, 6, 6], [1, 10, 6, 6], [1, 5, 6, 6]]);
}

#[test]
fn what_a_residual_stream_adds_goes_together() {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let x = build.conv(&[input], 8, 1);
    let inner = build.conv(&[x], 6, 1);
    // Once as an addition that a product makes, once as a node of its own.
    let x = build.conv(&[inner, x], 8, 1);
    let other = build.conv(&[x], 8, 1);
    let x = build.clamped(Op::Binary(BinaryKind::Add), &[x, other], &[1, 8, 6, 6], RELU);
    let x = build.conv(&[x], 4, 1);
    let (groups, shapes) = build.check(x, 3);
    assert_eq!(groups, [(vec![0, 2, 3], 8), (vec![1], 6)]);
    assert_eq!(shapes[4], [1, 5, 6, 6]);
}

#[test]
fn depthwise_channels_go_with_what_they_read_and_multiply() {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let x = build.conv(&[input], 8, 1);
    let x = build.conv(&[x], 16, 8);
    let x = build.conv(&[x], 4, 1);
    let (groups, shapes) = build.check(x, 3);
    assert_eq!(groups, [(vec![0, 1], 8)]);
    assert_eq!(shapes, [[1, 5, 6, 6], [1, 10, 6, 6], [1, 4, 6, 6]]);
}

#[test]
fn groups_of_a_convolution_stay_alike() {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let x = build.conv(&[input], 8, 1);
    let x = build.conv(&[x], 12, 2);
    let x = build.conv(&[x], 4, 1);
    let (groups, shapes) = build.check(x, 1);
    assert_eq!(groups, [(vec![0], 4), (vec![1], 6)]);
    assert_eq!(shapes, [[1, 6, 6, 6], [1, 10, 6, 6], [1, 4, 6, 6]]);
}

#[test]
fn a_concatenation_is_its_parts_and_may_be_cut_again() {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let (a, b) = (build.conv(&[input], 6, 1), build.conv(&[input], 4, 1));
    let x = build.clamped(Op::Concat { axis: 1 }, &[a, input, b], &[1, 13, 6, 6], RELU);
    // Channels 1, 3, … 11: some of each part.
    let slice = Op::Slice { starts: vec![0, 1, 0, 0], steps: vec![1, 2, 1, 1] };
    let odd = build.node(slice, &[x], &[1, 6, 6, 6]);
    let some = Op::Take { indices: vec![None, Some([12, 0, 7, 4].into()), None, None] };
    let some = build.node(some, &[x], &[1, 4, 6, 6]);
    let x = build.clamped(Op::Concat { axis: 1 }, &[x, odd, some], &[1, 23, 6, 6], RELU);
    let x = build.conv(&[x], 4, 1);
    let (groups, shapes) = build.check(x, 2);
    assert_eq!(groups, [(vec![0], 6), (vec![1], 4)]);
    assert_eq!((&shapes[2], &shapes[6]), (&vec![1, 9, 6, 6], &vec![1, 4, 6, 6]));
    assert_eq!((shapes[3][1], shapes[4][1], shapes[5][1]), (4, 3, 16));
}

#[test]
fn a_flattened_image_is_blocks_of_columns() {
    let (mut build, input) = Build::new(&[1, 3, 4, 4]);
    let x = build.conv(&[input], 8, 1);
    let x = build.clamped(Op::Reshape, &[x], &[1, 128], RELU);
    let x = build.fc(x, 10);
    let x = build.fc(x, 3);
    let (groups, shapes) = build.check(x, 2);
    assert_eq!(groups, [(vec![0], 8), (vec![2], 10)]);
    assert_eq!(shapes, [vec![1, 6, 4, 4], vec![1, 96], vec![1, 8], vec![1, 3]]);
}

#[test]
fn a_flattened_image_of_the_other_order_is_strided_columns() {
    let (mut build, input) = Build::new(&[1, 3, 4, 4]);
    let x = build.conv(&[input], 8, 1);
    let x = build.clamped(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x], &[1, 4, 4, 8], RELU);
    let x = build.clamped(Op::Reshape, &[x], &[1, 128], RELU);
    let x = build.fc(x, 3);
    let (groups, shapes) = build.check(x, 2);
    assert_eq!(groups, [(vec![0], 8)]);
    assert_eq!(shapes, [vec![1, 6, 4, 4], vec![1, 4, 4, 6], vec![1, 96], vec![1, 3]]);
}

#[test]
fn a_squeeze_and_its_product_go_with_the_image() {
    let (mut build, input) = Build::new(&[1, 3, 4, 4]);
    let x = build.conv(&[input], 8, 1);
    let squeezed = build.clamped(Op::ReduceMean { first: 2, count: 2 }, &[x], &[1, 8, 1, 1], RELU);
    let gate = build.conv(&[squeezed], 4, 1);
    let gate = build.conv(&[gate], 8, 1);
    let gate = build.clamped(Op::Unary(Unary::Sigmoid), &[gate], &[1, 8, 1, 1], RELU);
    let x = build.clamped(Op::Binary(BinaryKind::Mul), &[x, gate], &[1, 8, 4, 4], RELU);
    let x = build.conv(&[x], 3, 1);
    let (groups, shapes) = build.check(x, 2);
    assert_eq!(groups, [(vec![0, 3], 8), (vec![2], 4)]);
    assert_eq!(
        (&shapes[1], &shapes[2], &shapes[5]),
        (&vec![1, 6, 1, 1], &vec![1, 2, 1, 1], &vec![1, 6, 4, 4])
    );
}

#[test]
fn constants_padding_and_pooling_follow_the_channels() {
    let (mut build, input) = Build::new(&[1, 3, 4, 4]);
    let x = build.conv(&[input], 8, 1);
    let bias = build.graph.add_value("constant", vec![8, 1, 1]);
    build.graph.values[bias.0].constant = Some(build.tensor(&[8, 1, 1]));
    let x = build.clamped(Op::Binary(BinaryKind::Add), &[x, bias], &[1, 8, 4, 4], RELU);
    let pads = vec![[0, 0], [1, 2], [1, 0], [0, 1]];
    let x = build.clamped(Op::Pad { pads, value: 0.5 }, &[x], &[1, 11, 5, 5], RELU);
    let window = Window { kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pads: [0; 4] };
    let x = build.clamped(Op::Pool(PoolKind::Max, window), &[x], &[1, 11, 4, 4], RELU);
    let (scale, shift) = (build.random(11), build.random(11));
    let x = build.clamped(Op::ChannelAffine { scale, shift }, &[x], &[1, 11, 4, 4], RELU);
    let x = build.conv(&[x], 3, 1);
    let (groups, shapes) = build.check(x, 3);
    assert_eq!(groups, [(vec![0], 8)]);
    assert_eq!((shapes[1][1], shapes[2][1], shapes[4][1]), (5, 8, 8));
}

#[test]
fn heads_of_an_attention_go_as_a_whole() {
    let (mut build, input) = Build::new(&[1, 5, 6]);
    // Four heads of three.
    let mut heads = || {
        let x = build.fc(input, 12);
        let x = build.clamped(Op::Reshape, &[x], &[1, 5, 4, 3], RELU);
        build.clamped(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x], &[1, 4, 5, 3], RELU)
    };
    let (q, k, v) = (heads(), heads(), heads());
    let k = build.clamped(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[k], &[1, 4, 3, 5], RELU);
    let x = build.clamped(Op::MatMul, &[q, k], &[1, 4, 5, 5], RELU);
    let x = build.clamped(Op::Softmax { axis: 3 }, &[x], &[1, 4, 5, 5], RELU);
    let x = build.clamped(Op::MatMul, &[x, v], &[1, 4, 5, 3], RELU);
    let x = build.clamped(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x], &[1, 5, 4, 3], RELU);
    let x = build.clamped(Op::Reshape, &[x], &[1, 5, 12], RELU);
    let x = build.fc(x, 6);
    let (groups, shapes) = build.check(x, 1);
    assert_eq!(groups, [(vec![0, 3, 6], 4)]);
    assert_eq!((&shapes[0], &shapes[10], &shapes[14]), (&vec![1, 5, 9], &vec![1, 3, 5, 5], &vec![1, 5, 9]));
}

#[test]
fn what_is_normalized_together_stays_and_says_why() {
    let (mut build, input) = Build::new(&[1, 5, 6]);
    let x = build.fc(input, 8);
    let norm = LayerNorm { axis: 2, gamma: vec![1.0; 8], beta: vec![0.0; 8], epsilon: 1e-5 };
    let x = build.clamped(Op::LayerNorm(norm), &[x], &[1, 5, 8], RELU);
    let x = build.fc(x, 4);
    build.graph.outputs.push(x);
    let (groups, stay) = Units::of(&build.graph).groups(&build.graph);
    assert!(groups.is_empty());
    assert_eq!(stay, [(0, Stays::Node(1)), (2, Stays::OfTheModel)]);
}

#[test]
fn a_part_that_would_be_empty_keeps_one_channel() {
    let (mut build, input) = Build::new(&[1, 3, 4, 4]);
    let x = build.conv(&[input], 8, 1);
    let slice = Op::Slice { starts: vec![0, 6, 0, 0], steps: vec![1; 4] };
    let part = build.node(slice, &[x], &[1, 2, 4, 4]);
    let x = build.clamped(Op::Concat { axis: 1 }, &[part, x], &[1, 10, 4, 4], RELU);
    let x = build.conv(&[x], 3, 1);
    let (_, shapes) = build.check(x, 8);
    assert_eq!((shapes[0][1], shapes[1][1]), (1, 1));
}

/// Two convolutions and a product, the samples that they see, and a load of these.
fn small() -> (Graph, Vec<Vec<f32>>) {
    let (mut build, input) = Build::new(&[1, 3, 6, 6]);
    let x = build.conv(&[input], 16, 1);
    let x = build.conv(&[x], 16, 1);
    let x = build.clamped(Op::ReduceMean { first: 2, count: 2 }, &[x], &[1, 16], RELU);
    let x = build.fc(x, 4);
    build.graph.nodes[3].clamp = Clamp::NONE;
    build.graph.outputs.push(x);
    let samples = (0..24).map(|_| build.random(3 * 36)).collect();
    (build.graph, samples)
}

fn prune_small(graph: &mut Graph, samples: &[Vec<f32>], options: &PruneOptions) -> Result<PruneReport> {
    let load = |i: usize| Ok(vec![samples[i].clone()]);
    let labelled = |i: usize| Ok((vec![samples[i].clone()], None));
    let judges = Judges { count: samples.len(), load: &labelled };
    prune(graph, options, Samples { count: samples.len(), load: &load }, judges, &mut ())
}

#[test]
fn dead_channels_go_first_and_cost_nothing() {
    let (mut graph, samples) = small();
    // Every third channel of the first convolution is always zero, and copies of others are in the second.
    let Op::Conv(conv) = &mut graph.nodes[0].op else { panic!("a convolution") };
    let mut weights = conv.weights.data.to_vec();
    for channel in (0..16).step_by(4) {
        weights[channel * 27..][..27].fill(0.0);
        conv.bias[channel] = -1.0;
    }
    conv.weights = Tensor::new(conv.weights.dims.clone(), weights);
    for criterion in [Criterion::Elimination, Criterion::Contribution] {
        let mut pruned = graph.clone();
        let options = PruneOptions {
            nodes: vec![("node0".into(), 0.25)],
            criterion,
            refit: Refit::None,
            ..Default::default()
        };
        let report = prune_small(&mut pruned, &samples, &options).unwrap();
        assert_eq!(report.layers[0].channels, [16, 12]);
        assert_eq!(report.layers[1].channels, [16, 16]);
        assert!(report.masked.sqnr_db.is_none_or(|db| db > 100.0), "{criterion}: {:?}", report.masked);
    }
}

#[test]
fn what_is_fitted_is_nearer_to_the_whole_model() {
    let (graph, samples) = small();
    for allocation in [Allocation::Uniform, Allocation::Sensitivity] {
        let mut pruned = graph.clone();
        let options =
            PruneOptions { channels: Some(0.25), allocation, refit: Refit::Layers, ..Default::default() };
        let report = prune_small(&mut pruned, &samples, &options).unwrap();
        let [masked, fitted] = [report.masked, report.fitted].map(|quality| quality.sqnr_db.unwrap());
        assert!(fitted > masked + 3.0, "{allocation}: {masked} dB, then {fitted} dB");
        assert_eq!(report.channels, [36, 28]);
        assert!(report.macs[1] < report.macs[0] && report.parameters[1] < report.parameters[0]);
    }
}

#[test]
fn what_has_learned_is_nearer_still() {
    let (mut graph, samples) = small();
    let allocation = Allocation::Uniform;
    let options = PruneOptions { channels: Some(0.25), allocation, ..Default::default() };
    let report = prune_small(&mut graph, &samples, &options).unwrap();
    let [fitted, learned] = [report.fitted, report.learned.unwrap()].map(|quality| quality.sqnr_db.unwrap());
    assert!(learned > fitted + 1.0, "{fitted} dB, then {learned} dB");
}

#[test]
fn nodes_that_cannot_be_pruned_are_named() {
    let (graph, samples) = small();
    let error = |name: &str| {
        let options = PruneOptions { nodes: vec![(name.into(), 0.5)], ..Default::default() };
        prune_small(&mut graph.clone(), &samples, &options).unwrap_err().to_string()
    };
    assert!(error("nothing").contains("is no node of the model"), "{}", error("nothing"));
    assert!(error("node2").contains("channels are those that"), "{}", error("node2"));
    assert!(error("node3").contains("an output of the model"), "{}", error("node3"));
}

/// A quarter of the weights of the small model, or half of them, becomes zero.
fn sparse_small(share: f64, saliency: Saliency) -> (Graph, SparsityReport) {
    let (mut graph, samples) = small();
    let load = |i: usize| Ok(vec![samples[i].clone()]);
    let labelled = |i: usize| Ok((vec![samples[i].clone()], None));
    let judges = Judges { count: samples.len(), load: &labelled };
    let options = SparsityOptions { share: Some(share), saliency };
    let samples = Samples { count: samples.len(), load: &load };
    let report = sparsify(&mut graph, options, samples, judges, &mut ()).unwrap();
    (graph, report)
}

#[test]
fn so_many_weights_are_zero_as_were_asked_for() {
    for saliency in [Saliency::Magnitude, Saliency::Reconstruction] {
        for share in [0.25, 0.5] {
            let (_, report) = sparse_small(share, saliency);
            assert_eq!(report.weights, 16 * 27 + 16 * 144 + 4 * 16);
            // Rounded once a block of columns.
            let wanted = share * report.weights as f64;
            assert!((report.zeros[1] as f64 - wanted).abs() < 4.0, "{saliency} {share}: {:?}", report.zeros);
            assert_eq!(report.layers.iter().map(|layer| layer.zeros).sum::<usize>(), report.zeros[1]);
        }
    }
}

#[test]
fn zeros_that_others_make_up_for_cost_less_than_the_smallest() {
    let [smallest, made_up] = [Saliency::Magnitude, Saliency::Reconstruction]
        .map(|saliency| sparse_small(0.5, saliency).1.quality.sqnr_db.unwrap());
    assert!(made_up > smallest + 6.0, "{smallest} dB, made up for {made_up} dB");
}
