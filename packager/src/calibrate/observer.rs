//! From what was seen of a tensor to the range that its int8 values stand for.

use super::Histogram;

/// How a range is chosen. Values outside it saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Observer {
    /// Of the ranges of all others and some near them, the one that costs the layers that read the tensor least
    /// ([`crate::quantize::choose_ranges`]); where there are no samples to try them on, [`Observer::Mse`]'s.
    #[default]
    Auto,
    /// Everything that was seen.
    MinMax,
    /// All but the most extreme share of the values, half of it at each end; in percent.
    Percentile(f64),
    /// The range with the least mean squared error of the quantized values, found by shrinking each
    /// end in turn (Sung et al., "Resiliency of Deep Neural Networks under Quantization", 2015).
    Mse,
    /// The range whose int8 values tell most of the distribution: the least Kullback-Leibler divergence of
    /// what was seen, clamped, from the same in 256 levels (Migacz, "8-bit Inference with TensorRT", 2017).
    Entropy,
}

impl std::str::FromStr for Observer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("auto", "") => Ok(Self::Auto),
            ("min-max", "") => Ok(Self::MinMax),
            ("mse", "") => Ok(Self::Mse),
            ("entropy", "") => Ok(Self::Entropy),
            ("percentile", "") => Ok(Self::Percentile(99.99)),
            ("percentile", percent) => match percent.parse() {
                Ok(percent) if (50.0..=100.0).contains(&percent) => Ok(Self::Percentile(percent)),
                _ => Err(format!("`{percent}` is no percentile between 50 and 100")),
            },
            _ => Err(format!("`{text}` is none of auto, min-max, mse, entropy, percentile, percentile=99.9")),
        }
    }
}

impl std::fmt::Display for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(percent) => write!(f, "percentile={percent}"),
            Self::Mse => f.write_str("mse"),
            Self::Entropy => f.write_str("entropy"),
        }
    }
}

impl Observer {
    /// The range `[min, max]`; it holds 0, so that 0 is exact.
    pub fn range(&self, histogram: &Histogram) -> [f32; 2] {
        if histogram.is_empty() {
            return [0.0, 0.0];
        }
        let full = [histogram.min.min(0.0), histogram.max.max(0.0)];
        match *self {
            Self::MinMax => full,
            Self::Percentile(percent) => percentile(histogram, full, percent),
            Self::Auto | Self::Mse => least(histogram, full, squared_error),
            Self::Entropy => least(histogram, full, divergence),
        }
    }
}

fn percentile(histogram: &Histogram, full: [f32; 2], percent: f64) -> [f32; 2] {
    let spare = histogram.total() as f64 * (100.0 - percent) / 200.0;
    let bins: Vec<_> = histogram.bins().collect();
    let half = histogram.bin_width() / 2.0;
    let low = cut(bins.iter(), spare) - half;
    let high = cut(bins.iter().rev(), spare) + half;
    [low.clamp(full[0], 0.0), high.clamp(0.0, full[1])]
}

/// The bin at which more than `spare` values have been passed.
fn cut<'a>(bins: impl Iterator<Item = &'a (f32, u64)>, spare: f64) -> f32 {
    let mut passed = 0.0;
    for (middle, count) in bins {
        passed += *count as f64;
        if passed > spare {
            return *middle;
        }
    }
    0.0
}

/// Steps in which an end is tried between its extreme and zero.
const STEPS: usize = 64;

/// What a range costs, of bins: the middle and the count of each.
type Cost = fn(&[(f32, u64)], [f32; 2]) -> f64;

/// The range that costs least, found by shrinking each end in turn.
fn least(histogram: &Histogram, full: [f32; 2], cost: Cost) -> [f32; 2] {
    let bins: Vec<_> = histogram.bins().collect();
    let mut best = full;
    let mut least = cost(&bins, full);
    // Two rounds: the best end on one side depends a little on the other.
    for _ in 0..2 {
        for end in [1, 0] {
            for step in 1..STEPS {
                let mut range = best;
                range[end] = full[end] * step as f32 / STEPS as f32;
                let error = cost(&bins, range);
                if error < least {
                    (least, best) = (error, range);
                }
            }
        }
    }
    best
}

/// The largest share of the values that may be clamped for the sake of the distribution of the others: of
/// a single value, any distribution is alike.
const MOST_CLAMPED: f64 = 0.01;

/// Of the clamped bins from their levels: each level's count is spread evenly over the bins in it that hold
/// anything.
fn divergence(bins: &[(f32, u64)], [min, max]: [f32; 2]) -> f64 {
    let scale = (max - min) / 255.0;
    if scale <= 0.0 {
        return f64::INFINITY;
    }
    let inside = |x: f32| (min..=max).contains(&x);
    // The bins inside, with what lies outside on the outermost of them; and what their levels hold of them.
    let mut clamped: Vec<(usize, f64)> = Vec::new();
    let (mut below, mut above) = (0.0, 0.0);
    let mut levels = [(0.0, 0.0); 256];
    for &(x, count) in bins {
        let count = count as f64;
        if inside(x) {
            let level = (((x - min) / scale).round() as usize).min(255);
            clamped.push((level, count));
            levels[level].0 += count;
            levels[level].1 += 1.0;
        } else if x < min {
            below += count;
        } else {
            above += count;
        }
    }
    let kept: f64 = levels.iter().map(|level| level.0).sum();
    let total = kept + below + above;
    let is_most = below + above <= MOST_CLAMPED * total;
    let (Some(first), true) = (clamped.first_mut(), is_most) else { return f64::INFINITY };
    first.1 += below;
    if let Some(last) = clamped.last_mut() {
        last.1 += above;
    }
    let terms = clamped.iter().map(|&(level, count)| {
        let (p, q) = (count / total, levels[level].0 / levels[level].1 / kept);
        p * (p / q).ln()
    });
    terms.sum()
}

/// Sum of squared errors when the values are clamped to the range and rounded to 256 levels.
fn squared_error(bins: &[(f32, u64)], [min, max]: [f32; 2]) -> f64 {
    let scale = (max - min) / 255.0;
    if scale <= 0.0 {
        return f64::INFINITY;
    }
    let zero_point = (-min / scale).round();
    let error = |&(x, count): &(f32, u64)| {
        let q = ((x / scale).round() + zero_point).clamp(0.0, 255.0);
        let difference = ((q - zero_point) * scale - x) as f64;
        // Values spread over a bin: where the levels are finer than it, rounding errs by scale²/12.
        (difference * difference).max((scale as f64).powi(2) / 12.0) * count as f64
    };
    bins.iter().map(error).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two million values in [-1, 1], and one of 40.
    fn with_outlier() -> Histogram {
        let mut histogram = Histogram::default();
        let values: Vec<f32> = (0..20_000).map(|i| ((i * 7919) % 20_000) as f32 / 10_000.0 - 1.0).collect();
        (0..100).for_each(|_| histogram.observe(&values));
        histogram.observe(&[40.0]);
        histogram
    }

    #[test]
    fn observers_that_clip_drop_an_outlier_and_min_max_keeps_it() {
        let histogram = with_outlier();
        assert_eq!(Observer::MinMax.range(&histogram), [-1.0, 40.0]);
        for observer in [Observer::Mse, Observer::Entropy, Observer::Percentile(99.9)] {
            let [min, max] = observer.range(&histogram);
            assert!((-1.01..=-0.8).contains(&min), "{observer}: {min}");
            assert!(max < 20.0, "{observer}: {max}");
        }
        let [_, max] = Observer::Percentile(99.9).range(&histogram);
        assert!(max < 1.1, "{max}");
    }

    #[test]
    fn ranges_hold_zero() {
        let mut histogram = Histogram::default();
        histogram.observe(&[3.0, 4.0, 5.0]);
        for observer in [Observer::MinMax, Observer::Mse, Observer::Entropy, Observer::Percentile(99.0)] {
            let [min, max] = observer.range(&histogram);
            assert_eq!(min, 0.0);
            assert!(max > 4.0);
        }
    }

    #[test]
    fn names_parse() {
        assert_eq!("percentile=99.9".parse(), Ok(Observer::Percentile(99.9)));
        assert_eq!("mse".parse(), Ok(Observer::Mse));
        assert_eq!(Observer::default().to_string().parse(), Ok(Observer::Auto));
        assert_eq!("entropy".parse(), Ok(Observer::Entropy));
        assert!("percentile=3".parse::<Observer>().is_err());
        assert!("max".parse::<Observer>().is_err());
    }
}
