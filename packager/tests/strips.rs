//! Layers in strips compute what they compute over whole tensors, in less memory.

mod common;
#[path = "common/operation.rs"]
mod operation;

use std::path::Path;

use common::{tensor, write_model};
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_kernels::isa::IsaSet;
use edgepack_packager::emit::Extra;
use edgepack_packager::error::PackError;
use edgepack_packager::limits::{Limit, Limits};
use edgepack_packager::pack::{CalibrationSource, PackOptions, PackReport, Target, pack};
use operation::{Node, model, op};

/// A linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

/// A chain of layers under construction, with the tensor that comes out so far.
struct Chain {
    nodes: Vec<Node>,
    constants: Vec<tract_onnx::pb::TensorProto>,
    /// Name, channels, height, width.
    last: (String, [i64; 3]),
    /// Earlier tensors that an addition may take.
    earlier: Vec<(String, [i64; 3])>,
}

impl Chain {
    fn push(&mut self, node: impl FnOnce(&str, &str) -> Node, dims: [i64; 3]) {
        let name = format!("t{}", self.nodes.len());
        self.nodes.push(node(&self.last.0, &name));
        self.earlier.push(std::mem::replace(&mut self.last, (name, dims)));
    }

    fn constant(&mut self, dims: &[i64]) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(tensor(&name, dims));
        name
    }

    /// A random layer; nothing where it would leave no lines.
    fn grow(&mut self, random: &mut Random) {
        let [channels, height, width] = self.last.1;
        match random.below(8) {
            0 => self.push(|x, y| op("Sigmoid", &[x], y), self.last.1),
            1 => {
                let per_channel = self.constant(&[1, channels, 1, 1]);
                self.push(|x, y| op("Mul", &[x, &per_channel], y), self.last.1);
            }
            2 => {
                let same: Vec<String> =
                    self.earlier.iter().filter(|e| e.1 == self.last.1).map(|e| e.0.clone()).collect();
                if !same.is_empty() {
                    let other = random.pick(&(0..same.len()).collect::<Vec<_>>());
                    let turned = random.below(2) == 0;
                    let operands = |x: &str| {
                        if turned { [same[other].clone(), x.into()] } else { [x.into(), same[other].clone()] }
                    };
                    self.push(|x, y| op("Add", &operands(x).each_ref().map(String::as_str), y), self.last.1);
                }
            }
            kind => self.window(random, kind, [channels, height, width]),
        }
    }

    fn window(&mut self, random: &mut Random, kind: u64, [channels, height, width]: [i64; 3]) {
        let kernel = random.pick(&[1, 2, 3, 3, 5]);
        let (stride, dilation) = (random.pick(&[1, 1, 1, 1, 2, 3]), random.pick(&[1, 1, 1, 2]));
        let reach = (kernel - 1) * dilation + 1;
        let mut pad = || random.below(kernel as u64) as i64;
        let pads = [pad(), pad(), pad(), pad()];
        let out =
            [height + pads[0] + pads[2], width + pads[1] + pads[3]].map(|size| (size - reach) / stride + 1);
        if height + pads[0] + pads[2] < reach || width + pads[1] + pads[3] < reach || out[0] < 24 {
            return;
        }
        let window = |node: Node| {
            node.ints("kernel_shape", &[kernel, kernel])
                .ints("strides", &[stride, stride])
                .ints("pads", &pads)
        };
        let groups = if random.below(2) == 0 { channels } else { 1 };
        let outputs = if groups == 1 { random.pick(&[3, 16, 20]) } else { channels };
        match kind {
            3 if dilation == 1 => {
                self.push(|x, y| window(op("MaxPool", &[x], y)), [channels, out[0], out[1]])
            }
            4 if dilation == 1 => {
                let counts = random.below(2) as i64;
                let node =
                    |x: &str, y: &str| window(op("AveragePool", &[x], y)).int("count_include_pad", counts);
                self.push(node, [channels, out[0], out[1]]);
            }
            _ => {
                let weights = self.constant(&[outputs, channels / groups, kernel, kernel]);
                let node = |x: &str, y: &str| {
                    window(op("Conv", &[x, &weights], y))
                        .ints("dilations", &[dilation; 2])
                        .int("group", groups)
                };
                self.push(node, [outputs, out[0], out[1]]);
            }
        }
    }
}

fn packed(folder: &Path, l2_kib: u32) -> PackReport {
    pack(&options(folder, l2_kib), &mut ()).unwrap()
}

/// For a microcontroller with so much RAM.
fn packed_in(folder: &Path, ram_bytes: u32) -> Result<PackReport, PackError> {
    let target = Target { name: "board".into(), isa: IsaSet::SCALAR, is_microcontroller: true };
    let ram = Some(Limit { bytes: ram_bytes, from: "--max-ram".into() });
    let limits = Limits { ram, flash: None };
    pack(&PackOptions { target: Some(target), limits, prepack: vec![], ..options(folder, 0) }, &mut ())
}

fn options(folder: &Path, l2_kib: u32) -> PackOptions {
    PackOptions {
        calibration_limit: 2,
        prepack: vec!["nr16_kr4_xu8".into()],
        l2_kib,
        ..PackOptions::new(
            folder.join("model.onnx"),
            folder.join(format!("{l2_kib}.epk")),
            CalibrationSource::Random { seed: 3 },
        )
    }
}

/// What a package makes of some values.
fn run(package: &Path, values: &[i8]) -> String {
    let model = Model::open(package).unwrap();
    let mut session = model.session(&SessionOptions::default()).unwrap();
    session.set_input(0, InputData::Quantized(values)).unwrap();
    session.run().unwrap();
    format!("{:?}", session.output(0).unwrap())
}

/// A folder with a random model, and the dimensions of its input.
fn random_model(random: &mut Random) -> Option<(tempfile::TempDir, [i64; 3])> {
    let input = [random.pick(&[1, 3, 8]), 90 + random.below(60) as i64, 20 + random.below(9) as i64];
    let mut chain = Chain { nodes: vec![], constants: vec![], last: ("x".into(), input), earlier: vec![] };
    for _ in 0..9 {
        chain.grow(random);
    }
    let batched = |[c, h, w]: [i64; 3]| [1, c, h, w];
    chain.nodes.last_mut()?.0.output = vec!["y".into()];
    let model = model(13, &batched(input), chain.nodes, chain.constants);
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("model.onnx"), &model);
    Some((folder, input))
}

#[test]
fn random_chains_fit_a_budget_of_ram_with_the_same_bytes_or_say_what_is_in_the_way() {
    let (mut fitted, mut refused) = (0, 0);
    for seed in 100..140 {
        let random = &mut Random(seed);
        let Some((folder, input)) = random_model(random) else { continue };
        let whole = packed_in(folder.path(), u32::MAX).unwrap();
        assert_eq!(whole.steps, whole.steps_with_strips);
        let values: Vec<i8> = (0..input.iter().product::<i64>()).map(|_| random.below(256) as i8).collect();
        let expected = run(&whole.package, &values);
        // The input alone needs this.
        let input_bytes = input.iter().product::<i64>() as u32;
        for ram_bytes in [whole.arena_bytes / 8 * 7, whole.arena_bytes / 8 * 5, input_bytes - 1] {
            match packed_in(folder.path(), ram_bytes) {
                Ok(package) => {
                    assert!(package.arena_bytes <= ram_bytes && package.macs <= whole.macs, "seed {seed}");
                    assert_eq!(run(&package.package, &values), expected, "seed {seed}, {ram_bytes} bytes");
                    assert!(ram_bytes >= input_bytes, "seed {seed}");
                    fitted += 1;
                }
                Err(PackError::Limits { reason }) => {
                    assert!(reason.contains("--max-ram gives it") && reason.contains('`'), "{reason}");
                    refused += 1;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    }
    println!("{fitted} fit, {refused} do not");
    assert!(fitted > 25 && refused >= 30, "{fitted} {refused}");
}

#[test]
fn strips_for_a_cache_are_left_out_where_there_is_no_flash_for_them() {
    let random = &mut Random(2);
    let (folder, input) = random_model(random).unwrap();
    let cut = packed(folder.path(), 8);
    assert!(cut.steps_with_strips > cut.steps && cut.left_out.is_empty());
    let values: Vec<i8> = (0..input.iter().product::<i64>()).map(|_| random.below(256) as i8).collect();
    let expected = run(&cut.package, &values);
    let within = |bytes: u64| {
        let flash = Some(Limit { bytes: bytes as u32, from: "--max-flash".into() });
        let limits = Limits { ram: None, flash };
        pack(&PackOptions { limits, ..options(folder.path(), 8) }, &mut ()).unwrap()
    };
    assert_eq!(within(2 * cut.package_bytes).steps_with_strips, cut.steps_with_strips);
    // Each time there is a byte too little for the package before.
    let mut bytes = cut.package_bytes;
    let fitted = loop {
        let fitted = within(bytes - 1);
        assert!(fitted.package_bytes < bytes && run(&fitted.package, &values) == expected);
        bytes = fitted.package_bytes;
        if fitted.left_out.contains(&Extra::Strips) {
            break fitted;
        }
        assert_eq!(fitted.steps_with_strips, cut.steps_with_strips);
    };
    assert_eq!(fitted.steps_with_strips, cut.steps);
}

#[test]
fn random_chains_give_the_same_bytes_in_strips_of_any_height() {
    let (mut cut, mut smaller, mut tried) = (0, 0, 0);
    for seed in 0..60 {
        let random = &mut Random(seed);
        let Some((folder, input)) = random_model(random) else { continue };
        let whole = packed(folder.path(), 0);
        assert_eq!(whole.steps, whole.steps_with_strips);
        let values: Vec<i8> = (0..input.iter().product::<i64>()).map(|_| random.below(256) as i8).collect();
        let expected = run(&whole.package, &values);
        for l2_kib in [8, 24, 64] {
            let strips = packed(folder.path(), l2_kib);
            assert_eq!(run(&strips.package, &values), expected, "seed {seed}, {l2_kib} KiB");
            assert!(strips.arena_bytes <= whole.arena_bytes, "seed {seed}, {l2_kib} KiB");
            tried += 1;
            cut += (strips.steps_with_strips > strips.steps) as u32;
            smaller += (strips.arena_bytes < whole.arena_bytes) as u32;
        }
    }
    println!("{tried} packages, {cut} with strips, {smaller} of a smaller arena");
    assert!(tried > 150 && cut > tried / 4 && smaller > cut / 4, "{tried} {cut} {smaller}");
}
