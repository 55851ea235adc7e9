//! Steps and constants become a package: encoded, read again, tested, and renamed into place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use edgepack_engine::format::writer::{
    GoldenSample, PackageWriter, encode_golden, encode_plan, write_atomically,
};
use edgepack_engine::format::{GoldenInput, Hash, Package, SectionKind, plan};
use edgepack_engine::kernels::conv::{Layout, Weights};
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{InputData, Model, SessionOptions};
use edgepack_harness::Preprocessing;
use serde::{Deserialize, Serialize};

use crate::error::{PackError, Result};
use crate::import::Note;
use crate::lower::Lowered;
use crate::memory::{MemoryPlan, relocate};
use crate::names;
use crate::node_map::{self, NodeRecord};
use crate::pack::ArrivedReport;
use crate::prune::{PruneReport, SparsityReport};

/// Where a package comes from; it travels in the package as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// What made it.
    pub tool: String,
    /// File name of the model.
    pub model: String,
    /// BLAKE3 of the model's file.
    pub model_blake3: String,
    /// Size of the model.
    pub model_bytes: u64,
    /// What wrote the model.
    pub model_producer: String,
    /// Operator set of the model.
    pub opset: i64,
    /// Nodes of the model.
    pub onnx_nodes: usize,
    /// Shapes of its inputs.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// Name of the calibration data.
    pub calibration: String,
    /// Whether that was random numbers: then outputs mean nothing.
    pub calibration_random: bool,
    /// Number of samples.
    pub calibration_samples: usize,
    /// How ranges were chosen.
    pub observer: String,
    /// The methods that chose weights, biases and scales of channels, beyond ranges and rounding to nearest.
    #[serde(default)]
    pub methods: Vec<String>,
    /// From pixels to values.
    pub preprocessing: Preprocessing,
    /// Board that it was made for.
    pub target: Option<String>,
    /// How the model was quantized when it arrived.
    #[serde(default)]
    pub arrived: Option<ArrivedReport>,
    /// What to know of nodes of the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<PruneReport>,
    /// Which weights became zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparsityReport>,
    /// What became of every node of the model.
    #[serde(default)]
    pub nodes: Vec<NodeRecord>,
    /// On how many samples the errors of the nodes were measured; 0 where they were not.
    #[serde(default)]
    pub error_samples: usize,
    /// What it does without, for want of flash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Extra>,
}

/// What a package can do without: it computes the same bits. In the order in which it is given up where there is too
/// little flash, what is missed least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extra {
    /// The strips for a cache: steps over whole tensors are fewer, and slower where there is a cache.
    Strips,
    /// What became of each node of the model, and notes on some: for people.
    Nodes,
    /// Of long names of steps all but the end.
    LongNames,
    /// The golden sample of real values: that of pseudo-random ones stays.
    Sample,
    /// Prepacked weights: those that need them pack their own when they load.
    Layouts,
    /// The names of steps, by which errors and profiles call them.
    Names,
}

impl Extra {
    /// What packages for microcontrollers never have.
    const FOR_OTHERS: [Self; 3] = [Self::Nodes, Self::LongNames, Self::Sample];

    /// What can be given up when the steps are known.
    const IN_ORDER: [Self; 5] = [Self::Nodes, Self::LongNames, Self::Sample, Self::Layouts, Self::Names];

    /// What several are, for people.
    pub fn list(extras: &[Self]) -> String {
        let words: Vec<&str> = extras.iter().map(|extra| extra.words()).collect();
        words.join(", ")
    }

    fn words(self) -> &'static str {
        match self {
            Self::Strips => "strips for a cache",
            Self::Nodes => "what became of each node (inspect --nodes)",
            Self::LongNames => "all but the ends of long names",
            Self::Sample => "1 of 2 golden samples",
            Self::Layouts => "prepacked weights",
            Self::Names => "names of steps",
        }
    }
}

/// Everything that goes into a package.
#[derive(Debug)]
pub struct Emission<'a> {
    /// Steps and constants.
    pub lowered: &'a Lowered,
    /// Their places.
    pub plan: &'a MemoryPlan,
    /// The same without strips, where there are some: it must give the same outputs.
    pub whole: Option<(&'a Lowered, &'a MemoryPlan)>,
    /// Where they come from.
    pub provenance: Provenance,
    /// The section of the front-end, where samples of a sensor are the input.
    pub signal: Option<&'a [u8]>,
    /// Keys of the layouts to prepack.
    pub prepack: &'a [String],
    /// The first sample of the calibration, by input: it becomes a golden sample.
    pub first: Vec<Vec<f32>>,
    /// Whether nothing goes into it that only people and other processors use, for there is little room: no real sample,
    /// nothing of single nodes, and of long names the ends.
    pub is_lean: bool,
    /// More is left out until it has at most so many bytes.
    pub most_bytes: Option<u32>,
}

/// The seed of the second golden sample: bytes over the whole of int8, which no real sample holds.
const GOLDEN_SEED: u64 = 1;

/// The bytes of the package, and what was left out of it. Where it does not fit without all that can be, it is too large.
///
/// # Errors
/// The package does not survive its own test.
pub fn package(emission: &Emission<'_>) -> Result<(Vec<u8>, Vec<Extra>)> {
    let sections = sections(emission.lowered, emission.plan);
    // The golden outputs are those of the scalar kernels: they are the definition.
    let golden = golden(&sections.finish(), &emission.first, Some(IsaSet::SCALAR))?;
    if let Some((lowered, plan)) = emission.whole {
        let whole = self::golden(&self::sections(lowered, plan).finish(), &emission.first, None)?;
        if whole != golden {
            let reason =
                "strips give other outputs than whole tensors: pack with --l2-kib 0, and report it".into();
            return Err(PackError::SelfTest { reason });
        }
    }
    let mut left_out = emission.provenance.left_out.clone();
    let mut package = without(emission, &golden, &left_out)?;
    for extra in Extra::IN_ORDER {
        let fits = emission.most_bytes.is_none_or(|most| package.len() <= most as usize);
        if fits && !(emission.is_lean && Extra::FOR_OTHERS.contains(&extra)) {
            continue;
        }
        let more = [&left_out[..], &[extra]].concat();
        let smaller = without(emission, &golden, &more)?;
        if smaller.len() < package.len() {
            (package, left_out) = (smaller, more);
        }
    }
    Ok((package, left_out))
}

/// The package without some of what it can do without.
fn without(emission: &Emission<'_>, golden: &[(GoldenSample, Hash)], left_out: &[Extra]) -> Result<Vec<u8>> {
    let is_in = |extra: Extra| !left_out.contains(&extra);
    let mut lowered = Cow::Borrowed(emission.lowered);
    if !is_in(Extra::LongNames) {
        shorten_names(lowered.to_mut());
    }
    if !is_in(Extra::Names) {
        lowered.to_mut().steps.iter_mut().for_each(|step| step.name.clear());
    }
    let mut sections = sections(&lowered, emission.plan);
    for key in emission.prepack.iter().filter(|_| is_in(Extra::Layouts)) {
        let layout = Layout::by_key(key)
            .ok_or_else(|| PackError::SelfTest { reason: format!("no layout is called `{key}`") })?;
        sections = sections.section(SectionKind::Prepacked, key, prepack(emission.lowered, layout));
    }
    let mut golden = golden.to_vec();
    // One stays, whichever it is.
    if !is_in(Extra::Sample) && golden.len() > 1 {
        golden.retain(|(sample, _)| matches!(sample, GoldenSample::Seeded(_)));
    }
    let mut provenance = Provenance { left_out: left_out.to_vec(), ..emission.provenance.clone() };
    if !is_in(Extra::Nodes) {
        provenance.nodes.clear();
        provenance.notes.clear();
    }
    let names: Vec<&str> = lowered.steps.iter().map(|step| step.name.as_str()).collect();
    node_map::compact(&mut provenance.nodes, &names);
    let json = serde_json::to_vec(&provenance).map_err(|error| failed(&error))?;
    if let Some(signal) = emission.signal {
        sections = sections.section(SectionKind::Signal, "", signal.to_vec());
    }
    let sections = sections.section(SectionKind::Golden, "", encode_golden(&golden));
    Ok(sections.section(SectionKind::Provenance, "", json).finish())
}

/// Writes a package; gives its size.
///
/// # Errors
/// The file cannot be written, or what was written does not survive its own test.
pub fn write(path: &Path, bytes: &[u8]) -> Result<u64> {
    write_atomically(path, bytes, |written| {
        let model = Model::open(written)?;
        model.session(&SessionOptions::default())?.selftest()?;
        Ok(())
    })
    .map_err(|source| PackError::Io { path: path.into(), source })?;
    Ok(bytes.len() as u64)
}

fn failed(error: &dyn std::error::Error) -> PackError {
    PackError::SelfTest { reason: error.to_string() }
}

/// Leaves the ends of the steps' names.
fn shorten_names(lowered: &mut Lowered) {
    let long: Vec<String> = lowered.steps.iter().map(|step| step.name.clone()).collect();
    let short = names::short(long.iter().map(String::as_str));
    for step in &mut lowered.steps {
        if let Some(&name) = short.get(step.name.as_str()) {
            step.name = name.into();
        }
    }
}

/// The bytes of a package that can be run, and no more.
pub fn executable(lowered: &Lowered, plan: &MemoryPlan) -> Vec<u8> {
    sections(lowered, plan).finish()
}

/// Plan and weights.
fn sections(lowered: &Lowered, plan: &MemoryPlan) -> PackageWriter {
    let writer = PackageWriter::new().section(SectionKind::Plan, "", encode(lowered, plan));
    let writer = writer.section(SectionKind::Weights, "", lowered.constants.clone());
    let islands = lowered.islands.iter();
    islands.fold(writer, |writer, island| writer.section(SectionKind::Island, "", island.clone()))
}

/// The plan with every buffer at its place.
fn encode(lowered: &Lowered, memory: &MemoryPlan) -> Vec<u8> {
    let places = &memory.offsets;
    let place = |span: plan::Span| places[span.offset as usize];
    let placed = |span: plan::Span| plan::Span { offset: place(span), bytes: span.bytes };
    let inputs: Vec<plan::Input<'_>> = (lowered.inputs.iter())
        .map(|input| plan::Input {
            name: &input.name,
            buffer: placed(input.input.buffer),
            pixels: input.input.pixels.map(|pixels| plan::Pixels {
                from_image: input.from_image.as_deref().unwrap_or_default(),
                ..pixels
            }),
            ..input.input
        })
        .collect();
    let outputs: Vec<plan::Output<'_>> = (lowered.outputs.iter())
        .map(|output| plan::Output {
            name: &output.name,
            buffer: placed(output.output.buffer),
            ..output.output
        })
        .collect();
    let steps: Vec<plan::Step<'_>> = (lowered.steps.iter())
        .map(|step| {
            let mut op = step.op;
            relocate(&mut op, place);
            let none = plan::Span { offset: 0, bytes: 0 };
            let scratch = if step.scratch.bytes > 0 { placed(step.scratch) } else { none };
            plan::Step { name: &step.name, scratch, op }
        })
        .collect();
    let head =
        plan::Head { arena_bytes: memory.arena_bytes, inputs: 0, outputs: 0, steps: 0, macs: lowered.macs };
    encode_plan(head, &inputs, &outputs, &steps)
}

/// The blobs of every product that is packed, in the order of the steps.
fn prepack(lowered: &Lowered, layout: &Layout) -> Vec<u8> {
    let constant = |span: plan::Span| &lowered.constants[span.offset as usize..][..span.bytes as usize];
    let mut section = Vec::new();
    for step in &lowered.steps {
        let [weights, bias, multiplier] = match &step.op {
            plan::Op::Conv(conv) if conv.same_weights_as.is_some() => continue,
            plan::Op::Conv(conv) => [conv.weights, conv.bias, conv.multiplier],
            plan::Op::Recurrent(op) => [op.weights, op.bias, op.multiplier],
            plan::Op::RecurrentF32(op) => match op.product {
                plan::RecurrentProduct::Dynamic { sums, multiplier } => [op.weights, sums, multiplier],
                plan::RecurrentProduct::F32(_) => continue,
            },
            _ => continue,
        };
        let shape = edgepack_engine::product_shape(&step.op).filter(|shape| !shape.is_depthwise());
        let Some(shape) = shape else { continue };
        let weights: Vec<i8> = constant(weights).iter().map(|&w| w as i8).collect();
        let (bias, _) = constant(bias).as_chunks();
        let bias: Vec<i32> = bias.iter().map(|&b| i32::from_le_bytes(b)).collect();
        let (multiplier, _) = constant(multiplier).as_chunks();
        let multiplier: Vec<f32> = multiplier.iter().map(|&m| f32::from_le_bytes(m)).collect();
        let mut blob = vec![0; layout.packed_bytes(&shape)];
        layout.pack(&shape, &Weights { weights: &weights, bias: &bias, multiplier: &multiplier }, &mut blob);
        section.extend(blob);
    }
    section
}

/// A real sample and a pseudo-random one, with what the kernels of `isa`, or the best there are, make of
/// them.
fn golden(package: &[u8], first: &[Vec<f32>], isa: Option<IsaSet>) -> Result<Vec<(GoldenSample, Hash)>> {
    let model = Model::from_bytes(package).map_err(|error| failed(&error))?;
    let options = SessionOptions { isa, ..Default::default() };
    let mut session = model.session(&options).map_err(|error| failed(&error))?;
    let mut stored = Vec::new();
    for (index, values) in first.iter().enumerate() {
        session.set_input(index, InputData::F32(values)).map_err(|error| failed(&error))?;
        stored.extend_from_slice(session.input_bytes(index));
    }
    let mut samples = vec![GoldenSample::Stored(stored)];
    // An island may not take random values: an index has to be one.
    if !model.package().steps().any(|step| matches!(step.op, plan::Op::Island(_))) {
        samples.push(GoldenSample::Seeded(GOLDEN_SEED));
    }
    let hashed = samples.into_iter().map(|sample| {
        let input = match &sample {
            GoldenSample::Stored(bytes) => GoldenInput::Stored(bytes),
            GoldenSample::Seeded(seed) => GoldenInput::Seeded(*seed),
        };
        let hash = session.run_golden(input).map_err(|error| failed(&error))?;
        Ok((sample, hash))
    });
    hashed.collect()
}

/// What a package says of where it comes from; `None` where it was not written by this packager.
pub fn provenance(package: &Package<'_>) -> Option<Provenance> {
    let mut provenance: Provenance = serde_json::from_str(package.provenance()).ok()?;
    let names: Vec<&str> = package.steps().map(|step| step.name).collect();
    node_map::expand(&mut provenance.nodes, &names);
    Some(provenance)
}
