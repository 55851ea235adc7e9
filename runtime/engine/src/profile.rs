//! Where the time of a run goes, step by step.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, InputData, Session, kernel_name, step_macs, step_type};

/// The time of each layer, in their order: of its step, or of its strips together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Runs that were measured.
    pub runs: u64,
    /// The layers.
    pub steps: Vec<StepProfile>,
    /// The same by kernel, the one that takes longest first.
    pub kernels: Vec<KernelProfile>,
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepProfile {
    /// The node of the user's model.
    pub name: String,
    /// How many steps compute it by the same kernel: more than one where it runs in strips.
    pub parts: u64,
    /// Median over the runs, in microseconds.
    pub median_us: f64,
    /// The shortest, in microseconds.
    pub min_us: f64,
    /// Part of the sum of all medians, in percent.
    pub share_percent: f64,
    /// Multiply-adds.
    pub macs: u64,
    /// Billions of operations in a second by the median: a multiply-add is two.
    pub gop_per_s: f64,
    /// What it computes with: `int8`, `int8 → f32`, `f32`, …
    #[serde(rename = "type")]
    pub types: String,
    /// The kernel that runs it.
    pub kernel: String,
}

/// All steps of one kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelProfile {
    /// The kernel.
    pub kernel: String,
    /// How many steps it runs.
    pub steps: u64,
    /// Sum of the steps' medians, in microseconds.
    pub median_us: f64,
    /// Part of the sum of all medians, in percent.
    pub share_percent: f64,
    /// Multiply-adds.
    pub macs: u64,
    /// Billions of operations in a second.
    pub gop_per_s: f64,
}

/// Measures each step over `runs` runs on `input`. Reading the clock takes time too: the sum is a little
/// above the latency of a run that is not watched.
///
/// # Errors
/// The package takes another input.
pub fn profile(session: &mut Session<'_>, input: InputData<'_>, runs: u64) -> Result<Profile, Error> {
    let package = session.package();
    let runs = runs.max(1);
    let isa = session.isa();
    // By layer, and by step the layer that it is of.
    let mut layers: Vec<StepProfile> = Vec::new();
    let mut layer_of = Vec::new();
    let mut known = BTreeMap::new();
    for step in package.steps() {
        let kernel = kernel_name(&step.op, step.scratch.bytes, isa);
        let layer = *known.entry((step.name, kernel)).or_insert(layers.len());
        if layer == layers.len() {
            let (name, types, kernel) = (step.name.into(), step_type(&step.op).into(), kernel.into());
            layers.push(StepProfile { name, types, kernel, ..StepProfile::default() });
        }
        layers[layer].parts += 1;
        layers[layer].macs += step_macs(&step.op);
        layer_of.push(layer);
    }
    let mut samples = vec![Vec::new(); layers.len()];
    let mut nanoseconds = vec![0; layer_of.len()];
    for _ in 0..runs {
        session.set_input(0, input)?;
        session.run_profiled(&mut nanoseconds)?;
        let mut times = vec![0; layers.len()];
        layer_of.iter().zip(&nanoseconds).for_each(|(&layer, &time)| times[layer] += time);
        samples.iter_mut().zip(times).for_each(|(all, one)| all.push(one));
    }
    for (layer, samples) in layers.iter_mut().zip(&mut samples) {
        samples.sort_unstable();
        layer.median_us = samples[samples.len() / 2] as f64 / 1e3;
        layer.min_us = samples[0] as f64 / 1e3;
        layer.gop_per_s = gop_per_s(layer.macs, layer.median_us);
    }
    Ok(Profile::new(runs, layers))
}

/// Two operations a multiply-add; 0 where there is nothing to multiply, or no time was seen.
fn gop_per_s(macs: u64, us: f64) -> f64 {
    if us > 0.0 { 2.0 * macs as f64 / (us * 1e3) } else { 0.0 }
}

impl Profile {
    /// Adds shares and totals.
    fn new(runs: u64, mut steps: Vec<StepProfile>) -> Self {
        let total: f64 = steps.iter().map(|step| step.median_us).sum();
        let percent = |us: f64| if total > 0.0 { 100.0 * us / total } else { 0.0 };
        let mut kernels = BTreeMap::<&str, (u64, f64, u64)>::new();
        for step in &mut steps {
            step.share_percent = percent(step.median_us);
        }
        for step in &steps {
            let (count, us, macs) = kernels.entry(&step.kernel).or_default();
            (*count, *us, *macs) = (*count + step.parts, *us + step.median_us, *macs + step.macs);
        }
        let kernel = |(name, (steps, us, macs)): (&str, (u64, f64, u64))| KernelProfile {
            kernel: name.into(),
            steps,
            median_us: us,
            share_percent: percent(us),
            macs,
            gop_per_s: gop_per_s(macs, us),
        };
        let mut kernels: Vec<KernelProfile> = kernels.into_iter().map(kernel).collect();
        kernels.sort_by(|a, b| b.median_us.total_cmp(&a.median_us));
        Self { runs, steps, kernels }
    }
}

/// A number where there is one, else nothing.
struct Some0(f64, usize);

impl fmt::Display for Some0 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0.0 { write!(f, "{:.*}", self.1, self.0) } else { Ok(()) }
    }
}

/// As a table for people; a step's name is cut at its front, where names of one model are alike.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAME: usize = 36;
        let mega = |macs: u64| Some0(macs as f64 / 1e6, 3).to_string();
        let gop = |gop: f64| Some0(gop, 1).to_string();
        writeln!(f, "median of {} runs, each step timed:", self.runs)?;
        writeln!(
            f,
            "{:>4}  {:NAME$} {:>6} {:>9} {:>9} {:>6} {:>8} {:>7}  {:10}  kernel",
            "#", "step", "steps", "µs", "min µs", "%", "M MACs", "GOP/s", "type"
        )?;
        for (index, step) in self.steps.iter().enumerate() {
            let skipped = step.name.chars().count().saturating_sub(NAME);
            let name: String = step.name.chars().skip(skipped).collect();
            writeln!(
                f,
                "{index:>4}  {name:NAME$} {:>6} {:>9.2} {:>9.2} {:>6.1} {:>8} {:>7}  {:10}  {}",
                Some0(if step.parts > 1 { step.parts as f64 } else { 0.0 }, 0).to_string(),
                step.median_us,
                step.min_us,
                step.share_percent,
                mega(step.macs),
                gop(step.gop_per_s),
                step.types,
                step.kernel
            )?;
        }
        writeln!(
            f,
            "\n{:36} {:>5} {:>9} {:>6} {:>8} {:>7}",
            "kernel", "steps", "µs", "%", "M MACs", "GOP/s"
        )?;
        for kernel in &self.kernels {
            writeln!(
                f,
                "{:36} {:>5} {:>9.2} {:>6.1} {:>8} {:>7}",
                kernel.kernel,
                kernel.steps,
                kernel.median_us,
                kernel.share_percent,
                mega(kernel.macs),
                gop(kernel.gop_per_s)
            )?;
        }
        let total: f64 = self.kernels.iter().map(|kernel| kernel.median_us).sum();
        let macs = self.kernels.iter().map(|kernel| kernel.macs).sum();
        let steps: u64 = self.kernels.iter().map(|kernel| kernel.steps).sum();
        let gop = gop(gop_per_s(macs, total));
        write!(f, "{:36} {steps:>5} {total:>9.2} {:>6.1} {:>8} {gop:>7}", "all", 100.0, mega(macs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kernel: &str, us: f64, macs: u64) -> StepProfile {
        StepProfile {
            name: "x".repeat(50) + "/end",
            parts: 1,
            median_us: us,
            min_us: us,
            share_percent: 0.0,
            macs,
            gop_per_s: gop_per_s(macs, us),
            types: "int8".into(),
            kernel: kernel.into(),
        }
    }

    #[test]
    fn shares_add_up_and_kernels_are_sorted_by_their_time() {
        let steps = vec![step("a", 1.0, 0), step("b", 6.0, 3_000_000), step("a", 3.0, 1000)];
        let profile = Profile::new(7, steps);
        let shares: Vec<f64> = profile.steps.iter().map(|step| step.share_percent).collect();
        assert_eq!(shares, [10.0, 60.0, 30.0]);
        let kernels: Vec<_> = profile.kernels.iter().map(|k| (k.kernel.as_str(), k.steps, k.macs)).collect();
        assert_eq!(kernels, [("b", 1, 3_000_000), ("a", 2, 1000)]);
        // 6 million operations in 6 µs.
        assert_eq!(profile.kernels[0].gop_per_s, 1000.0);
        let text = profile.to_string();
        assert!(text.contains("/end") && text.contains("1000.0") && text.contains("60.0"), "{text}");
        let widths: Vec<usize> =
            text.lines().skip(1).take(4).map(|line| line.find("int8").unwrap_or(0)).collect();
        assert_eq!(widths[1..], [widths[1]; 3], "{text}");
    }

    #[test]
    fn no_time_is_no_speed() {
        assert_eq!(gop_per_s(1000, 0.0), 0.0);
        assert_eq!(Profile::new(1, vec![step("a", 0.0, 5)]).steps[0].share_percent, 0.0);
    }
}
