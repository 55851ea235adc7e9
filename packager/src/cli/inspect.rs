//! `edgepack inspect`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edgepack_engine::format::{Package, SectionKind, plan};
use edgepack_engine::kernels::isa::IsaSet;
use edgepack_engine::{Model, kernel_name, step_macs};
use edgepack_packager::emit::{Extra, Provenance, provenance};
use edgepack_packager::header;
use edgepack_packager::memory::arena_spans;
use edgepack_packager::node_map::{self, Fate, NodeRecord, Truth, constant_bytes};
use serde::Serialize;

use super::nodes::{self, ProcessorArgs, RequireArgs};
use super::options::{Format, human_bytes, short, table};
use super::signal::FrontEndLine;
use super::{Context, Outcome};

/// Show what is in a package: steps, schemes, kernels, arena, sizes, hashes, provenance.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Example:\n  edgepack inspect mobilenet.epk\n  edgepack inspect mobilenet.epk --nodes --target rpi4 --require-int8 95\n  edgepack inspect keywords.epk --header"
)]
pub(super) struct Args {
    /// The package
    package: PathBuf,
    /// Show what became of every node of the model: its step, precision, kernel, multiply-adds and error
    #[arg(long)]
    nodes: bool,
    /// Write NAME.rs and NAME.h beside the package NAME.epk, as `edgepack pack --header` does
    #[arg(long)]
    header: bool,
    #[command(flatten)]
    processor: ProcessorArgs,
    #[command(flatten)]
    require: RequireArgs,
}

#[derive(Serialize)]
struct Report {
    file_bytes: usize,
    hash: String,
    arena_bytes: u32,
    macs: u64,
    int8_macs_percent: f64,
    inputs: Vec<InputLine>,
    outputs: Vec<OutputLine>,
    /// The front-end for samples of a sensor.
    signal: Option<FrontEndLine>,
    sections: Vec<SectionLine>,
    steps: Vec<StepLine>,
    provenance: Option<Provenance>,
}

#[derive(Serialize)]
struct InputLine {
    name: String,
    shape: Vec<u32>,
    scale: f32,
    zero_point: i8,
    /// Of integers: the least and the greatest.
    limits: Option<[i32; 2]>,
    takes: Vec<&'static str>,
}

#[derive(Serialize)]
struct OutputLine {
    name: String,
    shape: Vec<u32>,
    dtype: &'static str,
    /// Of int8.
    scale: Option<f32>,
    zero_point: Option<i8>,
    exact: bool,
}

#[derive(Serialize)]
struct SectionLine {
    kind: &'static str,
    key: String,
    offset: u64,
    bytes: usize,
    blake3: String,
}

#[derive(Serialize)]
struct StepLine {
    name: String,
    op: &'static str,
    scheme: String,
    macs: u64,
    weight_bytes: u32,
    /// Offset and size of what it reads and writes in the arena, and of its scratch memory.
    reads: Vec<[u32; 2]>,
    writes: Vec<[u32; 2]>,
    scratch: [u32; 2],
    /// Instruction set to kernel.
    kernels: std::collections::BTreeMap<&'static str, &'static str>,
    nodes: Vec<String>,
}

/// The instruction sets that a reader wants to know about.
const ISAS: [(&str, IsaSet); 10] = [
    ("avx512vbmi", IsaSet::AVX512_VBMI),
    ("avx512vnni", IsaSet::AVX512_VNNI),
    ("avxvnni", IsaSet::AVX_VNNI),
    ("avx2", IsaSet::AVX2),
    ("i8mm", IsaSet::I8MM),
    ("dotprod", IsaSet::DOTPROD),
    ("neon", IsaSet::NEON),
    ("neon32", IsaSet::NEON32),
    ("dsp", IsaSet::DSP),
    ("scalar", IsaSet::SCALAR),
];

pub(super) fn run(args: &Args, context: Context) -> anyhow::Result<Outcome> {
    let model = Model::open(&args.package)?;
    let report = report(&model.package());
    if args.header {
        write_header(&args.package, context)?;
    }
    if args.nodes {
        return print_nodes(args, &model.package(), &report, context);
    }
    match context.format {
        Format::Json => println!("{}", serde_json::to_string(&report)?),
        _ => print(&args.package.display().to_string(), &report),
    }
    Ok(args.require.outcome(report.int8_macs_percent))
}

/// Writes what firmware includes beside a package, and says so.
pub(super) fn write_header(path: &Path, context: Context) -> anyhow::Result<()> {
    let model = Model::open(path)?;
    let written = header::write(path, &model.package());
    let [module, c] = written.with_context(|| format!("--header, beside {}", path.display()))?;
    if context.format == Format::Text {
        println!("for firmware: {} and {}", module.display(), c.display());
    }
    Ok(())
}

#[derive(Serialize)]
struct NodesReport<'a> {
    kernels_of: &'a str,
    isa: String,
    /// Samples that the SQNR was measured on; 0 where it was not.
    error_samples: usize,
    calibration_random: bool,
    #[serde(flatten)]
    truth: &'a Truth,
}

fn print_nodes(
    args: &Args,
    package: &Package<'_>,
    report: &Report,
    context: Context,
) -> anyhow::Result<Outcome> {
    let path = args.package.display();
    let provenance = report.provenance.as_ref().filter(|provenance| !provenance.nodes.is_empty());
    let Some(provenance) = provenance else {
        let is_left_out = |provenance: &Provenance| provenance.left_out.contains(&Extra::Nodes);
        let remedy = match report.provenance.as_ref().is_some_and(is_left_out) {
            true => "that was left out for the flash: pack it without --target and --max-flash to see it",
            false => "pack it again with this version",
        };
        anyhow::bail!("{path} does not say what became of the model's nodes: {remedy}");
    };
    let (processor, isa) = args.processor.get(provenance.target.as_deref())?;
    let steps: Vec<_> = package
        .steps()
        .map(|step| node_map::StepFacts { name: step.name, scratch_bytes: step.scratch.bytes, op: step.op })
        .collect();
    let truth = node_map::truth(&provenance.nodes, &steps, isa);
    match context.format {
        Format::Json => {
            let nodes = NodesReport {
                kernels_of: &processor,
                isa: isa.to_string(),
                error_samples: provenance.error_samples,
                calibration_random: provenance.calibration_random,
                truth: &truth,
            };
            println!("{}", serde_json::to_string(&nodes)?);
        }
        _ => {
            println!(
                "{path}: {} of {:.2} M multiply-adds are int8, {} nodes in {} steps\n",
                nodes::percent(truth.int8_macs_percent),
                truth.macs as f64 / 1e6,
                truth.nodes.len(),
                steps.len(),
            );
            nodes::print(&truth, &processor);
            match provenance.error_samples {
                0 if provenance.calibration_random => {
                    println!("no errors: calibrated with random numbers, which tell nothing of them");
                }
                0 => println!("no errors: they were not measured"),
                samples => println!(
                    "SQNR on {samples} samples of the calibration, FP32 against INT8: at the node's output, and \
                     what its step alone costs"
                ),
            }
        }
    }
    Ok(args.require.outcome(truth.int8_macs_percent))
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(package: &Package<'_>) -> Report {
    let provenance = provenance(package);
    let records = provenance.as_ref().map_or(&[][..], |provenance| &provenance.nodes);
    let names: Vec<&str> = package.steps().map(|step| step.name).collect();
    let steps: Vec<StepLine> =
        package.steps().map(|step| step_line(&step, nodes_of(step.name, &names, records))).collect();
    let head = package.head();
    let int8_macs: u64 = package.steps().map(|step| node_map::int8_macs(&step.op)).sum();
    Report {
        file_bytes: package.bytes().len(),
        hash: hex(&package.hash()),
        arena_bytes: head.arena_bytes,
        macs: head.macs,
        int8_macs_percent: 100.0 * int8_macs as f64 / head.macs.max(1) as f64,
        inputs: package.inputs().map(|input| input_line(&input)).collect(),
        outputs: package.outputs().map(|output| output_line(&output)).collect(),
        signal: package.signal().and_then(FrontEndLine::of),
        sections: (package.sections())
            .map(|section| SectionLine {
                kind: SectionKind::name(section.kind),
                key: section.key.into(),
                offset: section.offset,
                bytes: section.bytes.len(),
                blake3: hex(&section.hash),
            })
            .collect(),
        steps,
        provenance,
    }
}

/// The nodes of the model that a step computes, the one that it is named after first.
fn nodes_of(name: &str, names: &[&str], records: &[NodeRecord]) -> Vec<String> {
    let is_in = |record: &&NodeRecord| match &record.fate {
        Fate::Steps(first) => first.iter().any(|&step| names.get(step) == Some(&name)),
        _ => false,
    };
    let mut nodes: Vec<&NodeRecord> = records.iter().filter(is_in).collect();
    nodes.sort_by_key(|record| record.name != name);
    nodes.iter().map(|record| record.name.clone()).collect()
}

fn input_line(input: &plan::Input<'_>) -> InputLine {
    let mut takes = match input.dtype {
        plan::ElemType::I8 => vec!["f32", "int8"],
        plan::ElemType::F32 => vec!["f32"],
        integers => vec![integers.name()],
    };
    if input.pixels.is_some() {
        takes.push("u8 pixels");
    }
    InputLine {
        name: input.name.into(),
        shape: input.dims.as_slice().to_vec(),
        scale: input.quant.scale,
        zero_point: input.quant.zero_point,
        limits: input.limits,
        takes,
    }
}

fn output_line(output: &plan::Output<'_>) -> OutputLine {
    let dtype = output.dtype.name();
    OutputLine {
        name: output.name.into(),
        shape: output.dims.as_slice().to_vec(),
        dtype,
        scale: output.quant.map(|quant| quant.scale),
        zero_point: output.quant.map(|quant| quant.zero_point),
        exact: output.exact,
    }
}

fn format_scheme(format: plan::WeightFormat) -> &'static str {
    match format {
        plan::WeightFormat::F32 => "f32 · f32 → f32",
        plan::WeightFormat::F16 => "f32 · f16 → f32",
        plan::WeightFormat::I8 { .. } => "f32 · int8 per channel → f32",
    }
}

/// What a product with constants is called.
fn product_name(shape: &edgepack_kernels::conv::ConvShape) -> &'static str {
    match (shape.is_depthwise(), shape.taps(), shape.in_h) {
        (true, ..) => "depthwise",
        (_, 1, 1) if shape.groups == 1 => "fully connected",
        _ => "conv",
    }
}

fn step_line(step: &plan::Step<'_>, nodes: Vec<String>) -> StepLine {
    let (op, scheme, weight_bytes) = match &step.op {
        plan::Op::Conv(conv) => {
            let shape = edgepack_engine::conv_shape(&conv.window, conv.groups);
            let is_row = (shape.taps(), shape.in_h, shape.groups) == (1, 1, 1);
            let op = match (shape.is_depthwise(), is_row, conv.residual.is_some()) {
                (true, ..) => "depthwise",
                (_, true, false) => "fully connected",
                (_, true, true) => "fully connected, add",
                (_, false, false) => "conv",
                (_, false, true) => "conv, add",
            };
            let scheme = match (conv.range.is_some(), conv.residual.is_some()) {
                (true, false) => "int8 · int8 per channel → int8",
                (true, true) => "int8 · int8 per channel + int8 → int8",
                (false, _) => "int8 · int8 per channel → f32",
            };
            (op, scheme, conv.weights.bytes + conv.bias.bytes + conv.multiplier.bytes)
        }
        plan::Op::Binary(binary) => match binary.op {
            plan::BinaryOp::Add { .. } => ("add", "int8 + int8 → int8", 0),
            plan::BinaryOp::Mul { .. } => ("mul", "int8 · int8 → int8", 0),
        },
        plan::Op::Lookup(lookup) if lookup.to_f32 => ("table", "int8 → f32", lookup.table.bytes),
        plan::Op::Lookup(lookup) => ("table", "int8 → int8", lookup.table.bytes),
        plan::Op::Pool(pool) => match pool.op {
            plan::PoolOp::Max => ("max pool", "int8 → int8", 0),
            plan::PoolOp::Average { .. } => ("average pool", "int8 → int8", 0),
        },
        plan::Op::Softmax(softmax) => {
            let scheme = match (&softmax.input, &softmax.output) {
                (plan::SoftmaxInput::I8 { .. }, plan::SoftmaxOutput::I8 { .. }) => "int8 → int8",
                (plan::SoftmaxInput::I8 { .. }, plan::SoftmaxOutput::F32(_)) => "int8 → f32",
                (plan::SoftmaxInput::F32(_), plan::SoftmaxOutput::I8 { .. }) => "f32 → int8",
                (plan::SoftmaxInput::F32(_), plan::SoftmaxOutput::F32(_)) => "f32 → f32",
            };
            ("softmax", scheme, 0)
        }
        plan::Op::Fill(_) => ("fill", "int8", 0),
        plan::Op::Copy(_) => ("copy", edgepack_engine::step_type(&step.op), 0),
        plan::Op::MatMul(product) if product.range.is_some() => ("matmul", "int8 · int8 → int8", 0),
        plan::Op::MatMul(_) => ("matmul", "int8 · int8 → f32", 0),
        plan::Op::LayerNorm(norm) => ("layer norm", "int8 → int8", norm.gamma.bytes + norm.beta.bytes),
        plan::Op::Recurrent(op) => {
            let name = if op.cell == plan::Cell::Lstm { "lstm" } else { "gru" };
            let constants = [op.weights, op.bias, op.multiplier, op.initial_hidden, op.initial_state];
            let bytes = constants.iter().map(|span| span.bytes).sum();
            (name, "int8 · int8 per channel, gates f32 → int8", bytes)
        }
        plan::Op::Elementwise(op) => {
            let loads_alone = op.program.bytes as usize == plan::Instruction::BYTES;
            let name = if loads_alone { "cast" } else { "elementwise" };
            (name, edgepack_engine::step_type(&step.op), 0)
        }
        plan::Op::ConvF32(conv) => {
            let op = product_name(&edgepack_engine::conv_shape(&conv.window, conv.groups));
            (op, format_scheme(conv.format), constant_bytes(&step.op) as u32)
        }
        plan::Op::QuantizeRows(_) => ("quantize", "f32 → int8 by rows", 0),
        plan::Op::RescaleRows(rows) => ("rescale", "f32 → f32", rows.bias.bytes),
        plan::Op::RecurrentF32(op) => {
            let name = if op.cell == plan::Cell::Lstm { "lstm" } else { "gru" };
            let scheme = match op.product {
                plan::RecurrentProduct::F32(format) => format_scheme(format),
                plan::RecurrentProduct::Dynamic { .. } => "f32 → int8 by rows · int8 per channel → f32",
            };
            (name, scheme, constant_bytes(&step.op) as u32)
        }
        plan::Op::ConvI16(conv) => {
            let op = product_name(&edgepack_engine::conv_shape(&conv.window, conv.groups));
            let scheme = match (conv.weight_bytes, &conv.stored) {
                (1, plan::Stored::I16 { .. }) => "int16 · int8 per channel → int16",
                (1, plan::Stored::I8 { .. }) => "int16 · int8 per channel → int8",
                (1, plan::Stored::F32) => "int16 · int8 per channel → f32",
                (_, plan::Stored::I16 { .. }) => "int16 · int16 per channel → int16",
                (_, plan::Stored::I8 { .. }) => "int16 · int16 per channel → int8",
                (_, plan::Stored::F32) => "int16 · int16 per channel → f32",
            };
            (op, scheme, conv.weights.bytes + conv.multiplier.bytes + conv.bias.bytes)
        }
        plan::Op::PoolI16(op) => match op.pool.op {
            plan::PoolF32Op::Max => ("max pool", "int16 → int16", 0),
            plan::PoolF32Op::Min => ("min pool", "int16 → int16", 0),
            plan::PoolF32Op::Sum => ("sum", "int16 → int16", 0),
            plan::PoolF32Op::Average { .. } => ("average pool", "int16 → int16", 0),
        },
        plan::Op::PoolF32(pool) => match pool.op {
            plan::PoolF32Op::Max => ("max pool", "f32 → f32", 0),
            plan::PoolF32Op::Min => ("min pool", "f32 → f32", 0),
            plan::PoolF32Op::Sum => ("sum", "f32 → f32", 0),
            plan::PoolF32Op::Average { .. } => ("average pool", "f32 → f32", 0),
        },
        plan::Op::MatMulF32(_) => ("matmul", "f32 · f32 → f32", 0),
        plan::Op::LayerNormF32(norm) => ("layer norm", "f32 → f32", norm.gamma.bytes + norm.beta.bytes),
        op @ plan::Op::Convert(_) => ("convert", edgepack_engine::step_type(op), 0),
        plan::Op::Gather(gather) => match gather.data {
            plan::Operand::Constant(table) => ("embedding", "integers → rows", table.bytes),
            plan::Operand::Arena(_) => ("gather", "integers → rows", 0),
        },
        plan::Op::Scatter(_) => ("scatter", "integers → rows", 0),
        op @ plan::Op::TopK(_) => ("top k", edgepack_engine::step_type(op), 0),
        op @ plan::Op::NonMaxSuppression(_) => ("suppression", edgepack_engine::step_type(op), 0),
        plan::Op::Island(_) => ("island", "by tract", 0),
    };
    let spans = arena_spans(&step.op);
    let of = |read: bool| {
        let wanted = move |access| (access == edgepack_packager::memory::Access::Read) == read;
        spans.iter().filter(move |(access, _)| wanted(*access)).map(|(_, s)| [s.offset, s.bytes]).collect()
    };
    StepLine {
        name: step.name.into(),
        op,
        scheme: scheme.into(),
        macs: step_macs(&step.op),
        weight_bytes,
        reads: of(true),
        writes: of(false),
        scratch: [step.scratch.offset, step.scratch.bytes],
        kernels: ISAS
            .iter()
            .map(|&(name, isa)| (name, kernel_name(&step.op, step.scratch.bytes, isa)))
            .collect(),
        nodes,
    }
}

fn print(path: &str, report: &Report) {
    println!(
        "{path}: {}, arena {}, {:.2} M multiply-adds, {} of them int8\nblake3 {}\n",
        human_bytes(report.file_bytes as u64),
        human_bytes(report.arena_bytes.into()),
        report.macs as f64 / 1e6,
        nodes::percent(report.int8_macs_percent),
        report.hash,
    );
    for input in &report.inputs {
        let range = match input.limits {
            Some([least, greatest]) => format!("from {least} to {greatest}"),
            None => format!("scale {}, zero point {}", input.scale, input.zero_point),
        };
        println!("input  {} {:?}: {} ({range})", input.name, input.shape, input.takes.join(", "));
    }
    if let Some(signal) = &report.signal {
        println!("signal {signal}");
    }
    for output in &report.outputs {
        let exact = if output.exact { "the same bits on every processor" } else { "not exact" };
        let quant = match (output.scale, output.zero_point) {
            (Some(scale), Some(zero_point)) => format!(" (scale {scale}, zero point {zero_point})"),
            _ => String::new(),
        };
        println!("output {} {:?}: {}{quant}, {exact}", output.name, output.shape, output.dtype);
    }
    println!("\n{}\n", step_table(&report.steps));
    print_kernels(report);
    let mut sections = table(&["section", "layout", "offset", "bytes", "blake3"]);
    for section in &report.sections {
        let (offset, bytes) = (section.offset.to_string(), section.bytes.to_string());
        sections.add_row([section.kind, &section.key, &offset, &bytes, &section.blake3[..16]]);
    }
    println!("{sections}\n");
    match &report.provenance {
        Some(provenance) => print_provenance(provenance),
        None => println!("no provenance"),
    }
}

/// The steps. Those of a layer that runs in strips are one line, with the places of the first and their number.
fn step_table(all: &[StepLine]) -> comfy_table::Table {
    let spans = |spans: &[[u32; 2]]| {
        spans.iter().map(|[offset, bytes]| format!("{offset}+{bytes}")).collect::<Vec<_>>().join(" ")
    };
    let alike = |step: &StepLine| -> Vec<&StepLine> {
        all.iter().filter(|other| (&other.name, other.op) == (&step.name, step.op)).collect()
    };
    // A concatenation is several copies, too, but these are no strips.
    let runs_in_strips = |name: &str| all.iter().any(|s| s.name == name && s.macs > 0 && alike(s).len() > 1);
    let with_strips = all.iter().any(|step| runs_in_strips(&step.name));
    let mut columns =
        vec!["#", "step", "op", "scheme", "M MACs", "weights", "arena: reads", "writes", "scratch"];
    columns.extend(with_strips.then_some("strips"));
    let mut steps = table(&columns);
    for (i, step) in all.iter().enumerate() {
        let strips = if runs_in_strips(&step.name) { alike(step) } else { vec![step] };
        if !std::ptr::eq(strips[0], step) {
            continue;
        }
        let macs: u64 = strips.iter().map(|strip| strip.macs).sum();
        let mut row = vec![
            i.to_string(),
            short(&step.name, 32),
            step.op.into(),
            step.scheme.clone(),
            if macs > 0 { format!("{:.3}", macs as f64 / 1e6) } else { String::new() },
            if step.weight_bytes > 0 { step.weight_bytes.to_string() } else { String::new() },
            spans(&step.reads),
            spans(&step.writes),
            if step.scratch[1] > 0 { spans(&[step.scratch]) } else { String::new() },
        ];
        row.extend(
            with_strips.then(|| if strips.len() > 1 { strips.len().to_string() } else { String::new() }),
        );
        steps.add_row(row);
    }
    steps
}

/// Which kernels run the steps, and how many of them, on each instruction set; last, those that are
/// the same on all.
fn print_kernels(report: &Report) {
    let everywhere =
        |step: &StepLine| ISAS.iter().all(|(isa, _)| step.kernels[isa] == step.kernels["scalar"]);
    let list = |steps: &mut dyn Iterator<Item = &StepLine>, isa: &str| {
        let mut counts = std::collections::BTreeMap::<&str, usize>::new();
        for step in steps {
            *counts.entry(step.kernels[isa]).or_default() += 1;
        }
        let list: Vec<String> = counts.iter().map(|(kernel, steps)| format!("{steps} × {kernel}")).collect();
        list.join(", ")
    };
    let mut kernels = table(&["instruction set", "steps and their kernels"]);
    for (isa, _) in ISAS {
        let steps = &mut report.steps.iter().filter(|step| !everywhere(step));
        kernels.add_row([isa, &list(steps, isa)]);
    }
    kernels.add_row(["every one", &list(&mut report.steps.iter().filter(|step| everywhere(step)), "scalar")]);
    println!("{kernels}\n");
}

fn print_provenance(p: &Provenance) {
    println!("made by      {}", p.tool);
    println!(
        "model        {}, {}, opset {}, {} nodes, by {}",
        p.model,
        human_bytes(p.model_bytes),
        p.opset,
        p.onnx_nodes,
        if p.model_producer.is_empty() { "?" } else { &p.model_producer }
    );
    println!("model blake3 {}", p.model_blake3);
    println!("calibration  {} samples of {}, observer {}", p.calibration_samples, p.calibration, p.observer);
    if p.calibration_random {
        println!("             RANDOM NUMBERS: for latency only, outputs mean nothing");
    }
    println!("pixels       {}", serde_json::to_string(&p.preprocessing).unwrap_or_default());
    if let Some(target) = &p.target {
        println!("target       {target}");
    }
    for note in &p.notes {
        println!("note         {note}");
    }
    if !p.left_out.is_empty() {
        println!("left out     {}", Extra::list(&p.left_out));
    }
}
