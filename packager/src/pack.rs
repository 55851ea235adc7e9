//! The whole road from an ONNX file to a package.

use std::path::{Path, PathBuf};

use edgepack_harness::{DataSet, Preprocessing, Progress, SignalFrontEnd};
use edgepack_kernels::isa::IsaSet;
use serde::{Deserialize, Serialize};

use crate::calibrate::{Observer, Statistics, calibrate};
use crate::emit::{self, Emission, Extra, Provenance};
use crate::error::{PackError, Result};
use crate::graph::{Graph, Io, ValueId};
use crate::import::{Arrived, Model, import_with_islands};
use crate::islands::Islands;
use crate::limits::{Limits, check_flash, check_islands, check_ram};
use crate::lower::{Lowered, PixelSource, lower};
use crate::memory::MemoryPlan;
use crate::mixed::{self, Fitted, MixedReport};
use crate::node_map::{self, NodeError};
use crate::precision::{self, PrecisionOptions};
use crate::prune::{self, Judges, PruneOptions, PruneReport, SparsityOptions, SparsityReport};
use crate::quantize::{
    Honoured, Method, Methods, Samples, Scheme, choose_ranges, choose_scheme, equalize, insert_casts,
    reconstruct, samples_of_ranges,
};
use crate::samples::{judges, labelled, load, open_data, pixel_source, sample_count, validation};
use crate::scratch::fit_scratch;
use crate::strips::{in_budget, in_strips};
use crate::{in_place, integers, memory, passes, warnings};

/// Where the samples for calibration come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CalibrationSource {
    /// A folder of images or recordings, a .csv, .npy or .npz.
    Data(PathBuf),
    /// Seeded random numbers: for work on latency only. The package says so.
    Random {
        /// The seed.
        seed: u64,
    },
    /// Nowhere: for models that arrived quantized, with a range of every tensor.
    None,
}

/// What `edgepack pack` was asked for.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The ONNX file.
    pub model: PathBuf,
    /// The package.
    pub output: PathBuf,
    /// Shapes of inputs that the model leaves open.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Inputs that are bound to one value, and are constants then.
    pub fixed: Vec<(String, f64)>,
    /// Samples.
    pub calibration: CalibrationSource,
    /// At most so many samples, from the whole of the source.
    pub calibration_limit: usize,
    /// From pixels to the model's input.
    pub preprocessing: Preprocessing,
    /// How ranges are chosen.
    pub observer: Observer,
    /// How weights and biases are chosen.
    pub methods: Methods,
    /// What nodes compute with.
    pub precision: PrecisionOptions,
    /// Which channels go.
    pub pruning: PruneOptions,
    /// Which weights become zero.
    pub sparsity: SparsityOptions,
    /// What becomes of nodes that edgepack has no steps for.
    pub islands: Islands,
    /// Board that the package is for.
    pub target: Option<Target>,
    /// What it may take of the board.
    pub limits: Limits,
    /// Keys of the layouts that prepacked sections are added for.
    pub prepack: Vec<String>,
    /// Second-level cache of a core in KiB: tensors beyond half of it are computed in strips where that can
    /// be. 0 for none.
    pub l2_kib: u32,
}

impl PackOptions {
    /// Those of `edgepack pack` where nothing else is asked for.
    pub fn new(model: PathBuf, output: PathBuf, calibration: CalibrationSource) -> Self {
        Self {
            model,
            output,
            shapes: Vec::new(),
            fixed: Vec::new(),
            calibration,
            calibration_limit: 200,
            preprocessing: Preprocessing::default(),
            observer: Observer::default(),
            methods: Methods::default(),
            precision: PrecisionOptions::default(),
            pruning: PruneOptions::default(),
            sparsity: SparsityOptions::default(),
            islands: Islands::default(),
            target: None,
            limits: Limits::default(),
            prepack: Vec::new(),
            l2_kib: L2_KIB,
        }
    }
}

/// A board, as far as a plan depends on it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What its processor has.
    pub isa: IsaSet,
    /// Whether it has flash and RAM, and no more than these: then a package has nothing in it that only other
    /// processors or people use.
    pub is_microcontroller: bool,
}

/// More than packages have beside steps, constants and what can be left out.
const REST_BYTES: u64 = 4096;

/// Second-level cache of a core where nobody says, in KiB: that of most 64-bit boards.
pub const L2_KIB: u32 = 512;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct PackReport {
    /// The package.
    pub package: PathBuf,
    /// Its size.
    pub package_bytes: u64,
    /// Size of the ONNX file.
    pub model_bytes: u64,
    /// The arena on the device.
    pub arena_bytes: u32,
    /// RAM beside it for the front-end, where samples of a sensor are the input.
    pub front_end_bytes: u32,
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// The share of them that int8 operands go into.
    pub int8_macs_percent: f64,
    /// ONNX nodes.
    pub nodes: usize,
    /// Steps, each over whole tensors.
    pub steps: usize,
    /// Steps of the plan, where some compute a strip of a tensor.
    pub steps_with_strips: usize,
    /// Samples of the calibration.
    pub calibration_samples: usize,
    /// Whether these were random numbers.
    pub calibration_random: bool,
    /// The observer.
    pub observer: String,
    /// The methods that chose the numbers beyond ranges and rounding to nearest.
    pub methods: Vec<String>,
    /// The least SQNR of an output, FP32 against INT8, in dB; `None` where it was not measured.
    pub output_sqnr_db: Option<f32>,
    /// Samples of the calibration that it was measured on.
    pub error_samples: usize,
    /// How the model was quantized when it arrived, and what is left of that.
    pub arrived: Option<ArrivedReport>,
    /// The nodes that tract runs, and why.
    pub islands: Vec<IslandReport>,
    /// What a budget has cost, where there was one.
    pub mixed: Option<MixedReport>,
    /// What to know of it, in sentences.
    pub warnings: Vec<String>,
    /// What it does without, for want of flash.
    pub left_out: Vec<Extra>,
    /// What pruning has cost, and saved, where there was some.
    pub pruned: Option<PruneReport>,
    /// What zeros have cost, and saved, where weights became that.
    pub sparse: Option<SparsityReport>,
}

/// A node of an island.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IslandReport {
    /// Its name.
    pub node: String,
    /// Why edgepack's own steps are not enough.
    pub why: String,
}

/// What became of a model that arrived quantized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrivedReport {
    /// The forms in which it was written: QDQ, QOperator, dynamic.
    pub forms: Vec<String>,
    /// Tensors whose scale and zero point are the model's own.
    pub tensors: usize,
    /// Products whose int8 weights are the model's own.
    pub products: usize,
    /// Tensors whose ranges the model leaves open.
    pub calibrated: Vec<String>,
    /// What is not as the model has it.
    pub notes: Vec<String>,
}

/// The model, with its integers proved. Where native steps cannot hold these, islands do, if they may.
///
/// # Errors
/// As [`pack`], of what is wrong with the model.
pub fn imported(options: &PackOptions) -> Result<Model> {
    let mut model = import_with_islands(&options.model, &options.shapes, &options.fixed, options.islands)?;
    let proved = integers::prove(&mut model.graph, model.opset);
    if proved.is_ok() || options.islands == Islands::Never {
        return proved.map(|()| model);
    }
    let mut model = import_with_islands(&options.model, &options.shapes, &options.fixed, Islands::Integers)?;
    integers::prove(&mut model.graph, model.opset)?;
    Ok(model)
}

/// Packages a model.
///
/// # Errors
/// [`PackError`]; nothing is written then.
pub fn pack(options: &PackOptions, progress: &mut dyn Progress) -> Result<PackReport> {
    progress.start("reading the model", 1);
    let mut model = imported(options)?;
    passes::run(&mut model.graph);
    precision::assign(&mut model.graph, &options.precision, model.opset)?;
    if let Some(target) = options.target.as_ref().filter(|target| target.is_microcontroller) {
        check_islands(&target.name, &model.islands)?;
    }
    progress.advance(1);
    let data = open_data(&model, options)?;
    let pixels: Vec<Option<PixelSource>> = data.iter().map(|data| pixel_source(data, options)).collect();
    let ranges: Vec<_> = pixels.iter().map(|source| source.as_ref().map(PixelSource::range)).collect();
    let is_fitted = has_samples(&model, options);
    // A budget is that of the user's model, whatever is pruned.
    let teacher = options.precision.budget.is_some().then(|| model.graph.clone());
    let Pruned { channels: pruned, weights: mut sparse, dense } =
        pruned(&mut model, &data, options, progress)?;
    if is_fitted && options.methods.has(Method::Equalization) {
        let samples = Samples { count: sample_count(&data), load: &|i| load(&data, i) };
        progress.start("equalizing channels", samples.count as u64);
        equalize(&mut model.graph, samples, || progress.advance(1))?;
    }
    let ranges_needed = !needs_no_ranges(&model.graph);
    let mut statistics = match !ranges_needed || all_given(&model, options, &ranges)? {
        true => Statistics::none(&model.graph),
        false => statistics(&model.graph, &data, progress)?,
    };
    if is_fitted && ranges_needed && options.observer == Observer::Auto {
        let graph = insert_casts(&model.graph);
        let samples = Samples { count: sample_count(&data), load: &|i| load(&data, i) };
        let scheme = choose_scheme(&graph, &statistics, options.observer, &ranges);
        progress.start("choosing ranges", samples_of_ranges(&graph, samples.count) as u64);
        choose_ranges(&graph, &scheme, &mut statistics, samples, || progress.advance(1))?;
    }
    let scheme = |graph: &Graph| choose_scheme(graph, &statistics, options.observer, &ranges);
    let fit = |graph: &Graph, progress: &mut dyn Progress| match is_fitted {
        true => fitted(graph, scheme(graph), &data, options, progress),
        false => Ok(scheme(graph)),
    };
    let package = |graph: &Graph, scheme: &Scheme| {
        let lowered = lower(graph, scheme, &pixels)?;
        Ok(emit::executable(&lowered, &placed(&model, &lowered)?))
    };
    let dense = dense.map(|dense| insert_casts(&dense)).map(|dense| package(&dense, &scheme(&dense)));
    let dense = dense.transpose()?;
    let budget = &options.precision.budget;
    let (graph, scheme, mixed) = if let Some(teacher) = teacher {
        let samples = mixed::judge(&teacher, judges(&model, &data, options)?);
        let plain = insert_casts(&model.graph);
        let lent = Fitted::of(&plain, &fit(&plain, progress)?);
        let candidate = |graph: &Graph| {
            let graph = insert_casts(graph);
            package(&graph, &lent.lend(&graph, scheme(&graph)))
        };
        let mut graph = model.graph.clone();
        let mut report = mixed::search(&mut graph, &samples, budget, &candidate, progress)?;
        // The same nodes, fitted for what they now read; unless what was judged was better.
        let graph = insert_casts(&graph);
        let mut chosen = fit(&graph, progress)?;
        let quality = mixed::quality(&package(&graph, &chosen)?, &samples)?;
        match budget.holds(&quality) {
            true => report.mixed = quality,
            false => chosen = lent.lend(&graph, scheme(&graph)),
        }
        (graph, chosen, Some(report))
    } else {
        let graph = insert_casts(&model.graph);
        let scheme = fit(&graph, progress)?;
        (graph, scheme, None)
    };
    if let (Some(dense), Some(sparse)) = (dense, &mut sparse) {
        sparse.compressed_bytes = [dense, package(&graph, &scheme)?].map(|it| prune::compressed_bytes(&it));
    }
    progress.start("planning", 1);
    let arrived = model.arrived.as_ref().map(|arrived| arrived_report(arrived, &scheme.honoured));
    let mut whole = lower(&graph, &scheme, &pixels)?;
    let target = options.target.as_ref();
    let is_microcontroller = target.is_some_and(|target| target.is_microcontroller);
    // The workstation measures errors with all that its kernels want.
    fit_scratch(&mut whole, target.filter(|_| !is_microcontroller));
    let (whole_plan, whole_steps) = (placed(&model, &whole)?, whole.steps.len());
    let mut lowered = match options.l2_kib {
        0 => whole.clone(),
        // The other half is for what neighbours and the system keep there.
        kib => in_strips(&whole, whole_plan.arena_bytes, kib.saturating_mul(1024 / 2), target),
    };
    fit_scratch(&mut lowered, target);
    let mut fitted = whole.clone();
    fit_scratch(&mut fitted, target);
    let signal = options.preprocessing.signal.as_ref();
    let front_end_bytes = signal.map_or(0, |signal| signal.get().ram_bytes() as u32);
    let mut left_out = Vec::new();
    if lowered.steps.len() > whole_steps
        && let Some(limit) = &options.limits.flash
        && emit::executable(&lowered, &placed(&model, &lowered)?).len() as u64 + REST_BYTES
            > limit.bytes.into()
    {
        lowered = fitted.clone();
        left_out.push(Extra::Strips);
    }
    let (mut is_cut_to_fit, mut strip_bytes) = (false, 0);
    if let Some(arena_bytes) = options.limits.arena_bytes(front_end_bytes)
        && placed(&model, &lowered)?.arena_bytes > arena_bytes
    {
        let fitted = memory::order::ordered(&fitted).unwrap_or(fitted);
        lowered = in_budget(&fitted, arena_bytes, target);
        is_cut_to_fit = true;
        let bytes_of = |lowered: &Lowered| -> Result<u64> {
            Ok(emit::executable(lowered, &placed(&model, lowered)?).len() as u64)
        };
        strip_bytes = bytes_of(&lowered)?.saturating_sub(bytes_of(&fitted)?);
    }
    let joined = in_place::concatenate(&mut lowered);
    let plan = placed(&model, &lowered)?;
    check_ram(&options.limits, front_end_bytes, &lowered, &plan)?;
    let first = (data.iter().map(|data| data.get(0).map(|sample| sample.values)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| PackError::Calibration { reason: error.to_string() })?;
    progress.advance(1);
    let mut provenance = provenance(&model, options, &statistics);
    provenance.left_out = left_out;
    let errors = errors(&graph, (&whole, &whole_plan), &data, options, progress)?;
    let names: Vec<&str> = lowered.steps.iter().map(|step| step.name.as_str()).collect();
    provenance.nodes = node_map::node_map(&model.nodes, &graph, &names, &errors.by_node);
    provenance.error_samples = errors.samples;
    progress.start("writing and testing the package", 1);
    provenance.arrived = arrived.clone();
    (provenance.pruned, provenance.sparse) = (pruned.clone(), sparse.clone());
    let is_cut = is_cut_to_fit || joined > 0 || lowered.steps.len() != whole_steps;
    let emission = Emission {
        lowered: &lowered,
        plan: &plan,
        whole: is_cut.then_some((&whole, &whole_plan)),
        provenance,
        signal: signal.map(SignalFrontEnd::section),
        prepack: &options.prepack,
        first,
        is_lean: is_microcontroller,
        most_bytes: options.limits.flash.as_ref().map(|limit| limit.bytes),
    };
    let (package, left_out) = emit::package(&emission)?;
    check_flash(&options.limits, &lowered, package.len() as u64, &left_out, strip_bytes)?;
    let package_bytes = emit::write(&options.output, &package)?;
    progress.advance(1);
    let mut warnings: Vec<String> = model.notes.iter().map(ToString::to_string).collect();
    if matches!(options.calibration, CalibrationSource::Data(_)) {
        warnings.extend(warnings::of_calibration(statistics.samples));
    }
    if let Some(mixed) = &mixed {
        warnings.extend(warnings::of_budget(budget, mixed, options.precision.validation.is_some()));
    }
    Ok(PackReport {
        package: options.output.clone(),
        package_bytes,
        model_bytes: model.file_bytes,
        arena_bytes: plan.arena_bytes,
        front_end_bytes,
        macs: lowered.macs,
        int8_macs_percent: int8_macs_percent(&lowered),
        nodes: model.nodes.len(),
        steps: whole_steps - joined,
        steps_with_strips: lowered.steps.len(),
        calibration_samples: statistics.samples,
        calibration_random: matches!(options.calibration, CalibrationSource::Random { .. }),
        observer: options.observer.to_string(),
        methods: methods(&model, options),
        output_sqnr_db: output_sqnr(&graph, &errors.by_node),
        error_samples: errors.samples,
        arrived,
        islands: (model.islands.iter().cloned()).map(|(node, why)| IslandReport { node, why }).collect(),
        mixed,
        warnings,
        left_out,
        pruned,
        sparse,
    })
}

/// What became of channels and weights that the user does not want.
#[derive(Default)]
struct Pruned {
    channels: Option<PruneReport>,
    weights: Option<SparsityReport>,
    /// The graph before weights became zero.
    dense: Option<Graph>,
}

/// Removes channels of the model, and makes weights zero.
fn pruned(
    model: &mut Model,
    data: &[DataSet],
    options: &PackOptions,
    progress: &mut dyn Progress,
) -> Result<Pruned> {
    let failed = |reason: &str| Err(PackError::Calibration { reason: reason.into() });
    let (channels, weights) = (options.pruning.is_some(), options.sparsity.share.is_some());
    if !channels && !weights {
        return Ok(Pruned::default());
    }
    if model.arrived.is_some() {
        return failed(
            "a model that arrived quantized is not pruned: prune the FP32 model that it was made of",
        );
    }
    if options.calibration == CalibrationSource::None {
        return failed("pruning needs samples: give them with --calibration DATA");
    }
    let validation = validation(model, options)?;
    let judged = validation.as_ref().map_or(data, |data| data);
    let judges = Judges { count: sample_count(judged), load: &|i| labelled(judged, i) };
    let samples = Samples { count: sample_count(data), load: &|i| load(data, i) };
    let mut pruned = Pruned::default();
    if channels {
        let report = prune::prune(&mut model.graph, &options.pruning, samples, judges, progress)?;
        pruned.channels = Some(report);
    }
    if weights {
        pruned.dense = Some(model.graph.clone());
        let report = prune::sparsify(&mut model.graph, options.sparsity, samples, judges, progress)?;
        pruned.weights = Some(report);
    }
    Ok(pruned)
}

/// Whether the numbers are to be fitted to samples: random ones tell nothing, and a model that arrived
/// quantized says itself what they are.
fn has_samples(model: &Model, options: &PackOptions) -> bool {
    matches!(options.calibration, CalibrationSource::Data(_)) && model.arrived.is_none()
}

/// The names of the methods that are used.
fn methods(model: &Model, options: &PackOptions) -> Vec<String> {
    if has_samples(model, options) { options.methods.names() } else { Vec::new() }
}

/// The scheme with weights and biases that give on the samples what the FP32 model gives.
fn fitted(
    graph: &Graph,
    scheme: Scheme,
    data: &[DataSet],
    options: &PackOptions,
    progress: &mut dyn Progress,
) -> Result<Scheme> {
    let fits = [Method::Rounding, Method::BiasCorrection, Method::Compensation];
    if !fits.iter().any(|&method| options.methods.has(method)) {
        return Ok(scheme);
    }
    let samples = Samples { count: sample_count(data), load: &|i| load(data, i) };
    progress.start("fitting layers to the FP32 model", graph.nodes.len() as u64);
    reconstruct(graph, scheme, samples, &options.methods, || progress.advance(1))
}

/// The least SQNR of an output. Changes of shape have that of what they read.
fn output_sqnr(graph: &Graph, errors: &[Option<NodeError>]) -> Option<f32> {
    let sqnr = |mut id: ValueId| loop {
        let node = graph.producer(id)?;
        match errors.get(node)? {
            Some(error) => return Some(error.sqnr_db),
            None => id = *graph.nodes[node].inputs.first()?,
        }
    };
    graph.outputs.iter().filter_map(|&output| sqnr(output)).min_by(f32::total_cmp)
}

fn int8_macs_percent(lowered: &Lowered) -> f64 {
    let int8: u64 = lowered.steps.iter().map(|step| node_map::int8_macs(&step.op)).sum();
    if lowered.macs == 0 { 100.0 } else { 100.0 * int8 as f64 / lowered.macs as f64 }
}

/// Whether no tensor is int8.
fn needs_no_ranges(graph: &Graph) -> bool {
    graph.io == Io::F32 && graph.nodes.iter().all(|node| node.precision.has_f32_values())
}

/// Whether the model itself says how every tensor is represented, so that nothing is calibrated.
fn all_given(model: &Model, options: &PackOptions, ranges: &[Option<[f32; 2]>]) -> Result<bool> {
    let none = options.calibration == CalibrationSource::None;
    if model.arrived.is_none() {
        let reason = "the model does not say how to quantize it: give samples with --calibration DATA, or leave \
                      the tensors in f32 with --precision dynamic, weights-int8, weights-fp16 or fp32";
        return if none { Err(PackError::Calibration { reason: reason.into() }) } else { Ok(false) };
    }
    let unseen = Statistics::none(&model.graph);
    let open = choose_scheme(&model.graph, &unseen, options.observer, ranges).honoured.calibrated;
    if !none || open.is_empty() {
        return Ok(open.is_empty());
    }
    let shown: Vec<String> = open.iter().take(5).map(|name| format!("`{name}`")).collect();
    Err(PackError::Calibration {
        reason: format!(
            "the model arrived quantized, but leaves the ranges of {} tensors open ({}{}): give samples with \
             --calibration DATA",
            open.len(),
            shown.join(", "),
            if open.len() > shown.len() { ", …" } else { "" }
        ),
    })
}

fn arrived_report(arrived: &Arrived, honoured: &Honoured) -> ArrivedReport {
    ArrivedReport {
        forms: arrived.forms.iter().map(|form| form.to_string()).collect(),
        tensors: honoured.tensors,
        products: honoured.products,
        calibrated: honoured.calibrated.clone(),
        notes: arrived.notes.iter().chain(&honoured.notes).cloned().collect(),
    }
}

/// Places for the buffers of a lowered graph, proved.
fn placed(model: &Model, lowered: &Lowered) -> Result<MemoryPlan> {
    let plan = memory::plan(lowered).ok_or_else(|| PackError::Quantize {
        node: model.path.display().to_string(),
        reason: "the arena would exceed 4 GiB: pack with smaller shapes".into(),
    })?;
    memory::check::check(lowered, &plan).map_err(|reason| PackError::SelfTest { reason })?;
    Ok(plan)
}

fn statistics(graph: &Graph, data: &[DataSet], progress: &mut dyn Progress) -> Result<Statistics> {
    let samples = data.iter().map(DataSet::len).min().unwrap_or(0);
    progress.start("calibrating", samples as u64);
    let sample = |i: usize| -> std::result::Result<Vec<Vec<f32>>, edgepack_harness::Error> {
        data.iter().map(|data| data.get(i).map(|sample| sample.values)).collect()
    };
    let mut done = 0;
    calibrate(graph, (0..samples).map(sample), |samples| {
        progress.advance((samples - done) as u64);
        done = samples;
    })
}

fn provenance(model: &Model, options: &PackOptions, statistics: &Statistics) -> Provenance {
    let file_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Provenance {
        tool: format!("edgepack {}", env!("CARGO_PKG_VERSION")),
        model: file_name(&model.path),
        model_blake3: model.hash.clone(),
        model_bytes: model.file_bytes,
        model_producer: model.producer.clone(),
        opset: model.opset,
        onnx_nodes: model.nodes.len(),
        shapes: model.shapes.iter().cloned().collect(),
        calibration: match &options.calibration {
            CalibrationSource::Data(path) => file_name(path),
            CalibrationSource::Random { seed } => format!("random (seed {seed})"),
            CalibrationSource::None if model.arrived.is_some() => {
                "none: every range is the model's own".into()
            }
            CalibrationSource::None => "none: no tensor is int8 but while it is multiplied".into(),
        },
        calibration_random: matches!(options.calibration, CalibrationSource::Random { .. }),
        calibration_samples: statistics.samples,
        observer: options.observer.to_string(),
        methods: methods(model, options),
        preprocessing: options.preprocessing.clone(),
        target: options.target.as_ref().map(|target| target.name.clone()),
        arrived: None,
        notes: model.notes.clone(),
        pruned: None,
        sparse: None,
        nodes: Vec::new(),
        error_samples: 0,
        left_out: Vec::new(),
    }
}

/// Errors of the nodes are measured on at most so many samples…
const ERROR_SAMPLES: usize = 8;

/// …and on fewer, at least one, where these are more multiply-adds.
const ERROR_MACS: u64 = 4_000_000_000;

#[derive(Default)]
struct Errors {
    by_node: Vec<Option<NodeError>>,
    samples: usize,
}

/// What int8 costs at every node, on samples from the whole of the calibration set. Nothing where these are
/// random numbers: they tell nothing of it.
fn errors(
    graph: &Graph,
    (lowered, plan): (&Lowered, &MemoryPlan),
    data: &[DataSet],
    options: &PackOptions,
    progress: &mut dyn Progress,
) -> Result<Errors> {
    if !matches!(options.calibration, CalibrationSource::Data(_)) {
        return Ok(Errors::default());
    }
    let available = data.iter().map(DataSet::len).min().unwrap_or(0);
    let affordable = (ERROR_MACS / lowered.macs.max(1)).max(1);
    let samples = available.min(ERROR_SAMPLES).min(affordable as usize);
    progress.start("measuring the error of every node", samples as u64);
    let sample = |k: usize| -> Result<Vec<Vec<f32>>> {
        (data.iter().map(|data| data.get(k * available / samples).map(|sample| sample.values)))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| PackError::Calibration { reason: error.to_string() })
    };
    let by_node = node_map::measure(graph, lowered, plan, (0..samples).map(sample), || progress.advance(1))?;
    Ok(Errors { by_node, samples })
}
