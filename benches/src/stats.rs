//! Statistics of measurements.

use edgepack_engine::{Pair, Window};
use edgepack_format::SeededBytes;
use serde::Serialize;

/// How latency changes while it is measured: the line of least squares through the medians of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// Its slope, in microseconds a minute.
    pub us_per_minute: f64,
    /// The same in percent of the mean of the medians.
    pub percent_per_minute: f64,
    /// Twice the slope's standard error, in percent a minute: a slope that is no larger may be none.
    pub margin_percent: f64,
    /// Windows.
    pub windows: usize,
}

/// Windows that a line is worth drawing through, and how long they must take: a slope over seconds tells nothing of
/// minutes.
const DRIFT_WINDOWS: usize = 5;
const DRIFT_SECONDS: f64 = 20.0;

impl Drift {
    /// `None` for fewer than five windows, or less than 20 seconds.
    pub fn of(windows: &[Window]) -> Option<Drift> {
        let seconds = windows.last().map_or(0.0, |window| window.end_s);
        if windows.len() < DRIFT_WINDOWS || seconds < DRIFT_SECONDS {
            return None;
        }
        let minutes = windows.iter().map(|window| window.end_s / 60.0);
        let points: Vec<(f64, f64)> = minutes.zip(windows.iter().map(|window| window.p50_us)).collect();
        let line = Line::through(&points)?;
        let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64;
        let percent = |us: f64| if mean > 0.0 { 100.0 * us / mean } else { 0.0 };
        Some(Drift {
            us_per_minute: line.slope,
            percent_per_minute: percent(line.slope),
            margin_percent: percent(2.0 * line.standard_error),
            windows: windows.len(),
        })
    }
}

/// A line of least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    pub slope: f64,
    pub intercept: f64,
    /// Of the slope: `sqrt(sum of squared residuals / (n - 2) / sum (x - mean)^2)`.
    pub standard_error: f64,
}

impl Line {
    /// `None` without two places.
    pub fn through(points: &[(f64, f64)]) -> Option<Line> {
        let n = points.len() as f64;
        let mean_x = points.iter().map(|point| point.0).sum::<f64>() / n;
        let mean_y = points.iter().map(|point| point.1).sum::<f64>() / n;
        let xx: f64 = points.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
        let xy: f64 = points.iter().map(|point| (point.0 - mean_x) * (point.1 - mean_y)).sum();
        let slope = xy / xx;
        if !slope.is_finite() {
            return None;
        }
        let intercept = mean_y - slope * mean_x;
        let residuals: f64 = points.iter().map(|point| (point.1 - intercept - slope * point.0).powi(2)).sum();
        let freedom = (n - 2.0).max(1.0);
        Some(Line { slope, intercept, standard_error: (residuals / freedom / xx).sqrt() })
    }
}

/// How many times as fast a package is as another, by blocks of runs in turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the pairs' ratios: the other's time over its own. Above 1, it is faster than the other.
    pub median: f64,
    /// The interval that holds this median with 95 % of confidence, by the percentile bootstrap (Efron 1979) over
    /// pairs, 2000 times.
    pub confidence: [f64; 2],
    /// Quartiles of the pairs' ratios: how much a single look may be off.
    pub quartiles: [f64; 2],
    /// Pairs.
    pub pairs: usize,
}

const RESAMPLES: usize = 2000;

impl Ratio {
    /// `None` without pairs, or where a block took no time.
    pub fn of(pairs: &[Pair]) -> Option<Ratio> {
        let mut ratios: Vec<f64> = pairs.iter().map(|pair| pair.other_us / pair.own_us).collect();
        if ratios.is_empty() || ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        ratios.sort_unstable_by(f64::total_cmp);
        // The same pairs always give the same interval.
        let mut random = SeededBytes::new(0x5eed);
        let mut index = || {
            let bits = random.by_ref().take(4).fold(0u64, |bits, byte| (bits << 8) | u64::from(byte));
            ((bits * ratios.len() as u64) >> 32) as usize
        };
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                // Sorted places are sorted ratios.
                let mut places: Vec<usize> = (0..ratios.len()).map(|_| index()).collect();
                places.sort_unstable();
                let sample: Vec<f64> = places.into_iter().map(|place| ratios[place]).collect();
                quantile(&sample, 0.5)
            })
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        Some(Ratio {
            median: quantile(&ratios, 0.5),
            confidence: [quantile(&medians, 0.025), quantile(&medians, 0.975)],
            quartiles: [quantile(&ratios, 0.25), quantile(&ratios, 0.75)],
            pairs: pairs.len(),
        })
    }
}

/// A quantile of sorted values, between two of them in proportion (Hyndman and Fan 1996, definition 7; numpy's
/// `linear`); NaN where there are none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{a} is not {b}");
    }

    /// `np.quantile([.5, 1, 2, 4, 7, 11, 16], [0, .025, .25, .5, .9, .975, 1])`, numpy 2.
    #[test]
    fn quantiles_are_those_of_numpy() {
        let values = [0.5, 1.0, 2.0, 4.0, 7.0, 11.0, 16.0];
        for (share, expected) in
            [(0.0, 0.5), (0.025, 0.575), (0.25, 1.5), (0.5, 4.0), (0.9, 13.0), (0.975, 15.25), (1.0, 16.0)]
        {
            close(quantile(&values, share), expected);
        }
        assert!(quantile(&[], 0.5).is_nan());
    }

    /// `np.polyfit(x, y, 1, cov=True)`, numpy 2: the coefficients, and the root of the first variance.
    #[test]
    fn line_of_least_squares_is_that_of_the_textbook() {
        let y = [1.0, 3.0, 4.5, 6.5, 9.5, 10.0, 12.7];
        let points: Vec<(f64, f64)> = (0..7).map(f64::from).zip(y).collect();
        let line = Line::through(&points).unwrap();
        close(line.slope, 1.93214285714286);
        close(line.intercept, 0.946428571428573);
        close(line.standard_error, 0.0944236004743021);
        assert_eq!(Line::through(&points[..1]), None);
    }

    #[test]
    fn drift_is_the_slope_over_minutes() {
        let window = |second: u32, p50_us| Window { end_s: second.into(), p50_us, ..Window::default() };
        // 100 µs, and 0.1 µs more each second: 6 µs a minute.
        let rising: Vec<Window> =
            (1..=60).map(|second| window(second, 100.0 + f64::from(second) / 10.0)).collect();
        let drift = Drift::of(&rising).unwrap();
        close(drift.us_per_minute, 6.0);
        close(drift.percent_per_minute, 100.0 * 6.0 / 103.05);
        assert!(drift.margin_percent < 1e-9 && drift.windows == 60);
        assert_eq!((Drift::of(&rising[..19]), Drift::of(&rising[56..])), (None, None));
        // What jumps about has no slope beyond its margin.
        let jumping: Vec<Window> =
            (1..=60).map(|second| window(second, 100.0 + f64::from(second * 7 % 5))).collect();
        let drift = Drift::of(&jumping).unwrap();
        assert!(drift.percent_per_minute.abs() < drift.margin_percent, "{drift:?}");
    }

    #[test]
    fn ratio_lies_between_its_bounds() {
        let pair = |own_us, other_us| Pair { own_us, other_us };
        let pairs: Vec<Pair> = (0..40).map(|i| pair(10.0, 30.0 + f64::from(i * 7 % 40) / 20.0)).collect();
        let ratio = Ratio::of(&pairs).unwrap();
        close(ratio.median, 3.0975);
        // A bootstrap of the median of uniform values: about ±2 of 2·sqrt(40) places.
        assert!(ratio.confidence[0] < ratio.median && ratio.median < ratio.confidence[1], "{ratio:?}");
        assert!(
            ratio.quartiles[0] < ratio.confidence[0] && ratio.confidence[1] < ratio.quartiles[1],
            "{ratio:?}"
        );
        assert_eq!(Ratio::of(&pairs), Some(ratio), "the same pairs, another interval");
        let one = Ratio::of(&[pair(2.0, 3.0)]).unwrap();
        assert_eq!((one.median, one.confidence, one.quartiles), (1.5, [1.5; 2], [1.5; 2]));
        assert_eq!((Ratio::of(&[]), Ratio::of(&[pair(0.0, 1.0)])), (None, None));
    }
}
