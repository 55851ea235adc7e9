//! Times of runs: kept in bounded memory, and their statistics.

use serde::{Deserialize, Serialize};

/// Latency of runs. Percentiles are of the nearest rank (Hyndman and Fan 1996, definition 1; numpy's
/// `inverted_cdf`): each is the time of a run that there was. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the runs took at most this long.
    pub p50_us: Option<f64>,
    /// 90 of 100 runs took at most this long.
    pub p90_us: Option<f64>,
    /// 99 of 100 runs took at most this long.
    pub p99_us: Option<f64>,
    /// The shortest run.
    pub min_us: Option<f64>,
    /// The longest run.
    #[serde(default)]
    pub max_us: Option<f64>,
    /// The mean.
    pub mean_us: Option<f64>,
    /// Median of the absolute deviations from the median (MAD): jitter that single outliers do not move.
    #[serde(default)]
    pub mad_us: Option<f64>,
    /// 99th percentile less the median: jitter as an application with a deadline meets it.
    #[serde(default)]
    pub jitter_us: Option<f64>,
    /// Runs in a second, one after the other.
    pub throughput_per_s: Option<f64>,
    /// Number of runs, whether or not their times count.
    pub runs: u64,
}

/// The value of nearest rank among sorted ones; 0 where there are none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0)
}

pub(super) fn us(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// The median, by nearest rank; sorts.
pub(super) fn median(nanoseconds: &mut [u64]) -> u64 {
    nanoseconds.sort_unstable();
    percentile(nanoseconds, 50)
}

/// Times of runs in memory of a fixed size: when it is full, every second time goes, and from then on only so
/// many are kept. What is kept is evenly spread over all runs; extremes and mean are of all of them.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    kept: Vec<u64>,
    capacity: usize,
    stride: u64,
    runs: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Recorder {
    /// With room for `capacity` times, 2 or more.
    pub fn new(capacity: usize) -> Recorder {
        Recorder {
            kept: Vec::with_capacity(capacity),
            capacity,
            stride: 1,
            runs: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }

    pub fn add(&mut self, nanoseconds: u64) {
        if self.runs.is_multiple_of(self.stride) {
            if self.kept.len() == self.capacity {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if self.runs.is_multiple_of(self.stride) {
                self.kept.push(nanoseconds);
            }
        }
        self.runs += 1;
        self.sum += u128::from(nanoseconds);
        self.min = self.min.min(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    pub fn clear(&mut self) {
        self.kept.clear();
        (self.stride, self.runs, self.sum, self.min, self.max) = (1, 0, 0, u64::MAX, 0);
    }

    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The times that were kept, in their order: those of every `stride`-th run.
    pub fn kept(&self) -> &[u64] {
        &self.kept
    }

    pub fn stride(&self) -> u64 {
        self.stride
    }

    pub fn latency(&self) -> Latency {
        if self.runs == 0 {
            return Latency::default();
        }
        let mut sorted = self.kept.clone();
        let p50 = median(&mut sorted);
        let p99 = percentile(&sorted, 99);
        let mut deviations: Vec<u64> = sorted.iter().map(|&ns| ns.abs_diff(p50)).collect();
        let mean_us = self.sum as f64 / self.runs as f64 / 1e3;
        Latency {
            p50_us: Some(us(p50)),
            p90_us: Some(us(percentile(&sorted, 90))),
            p99_us: Some(us(p99)),
            min_us: Some(us(self.min)),
            max_us: Some(us(self.max)),
            mean_us: Some(mean_us),
            mad_us: Some(us(median(&mut deviations))),
            jitter_us: Some(us(p99 - p50)),
            // A run shorter than the clock's step would divide by zero, which JSON cannot say.
            throughput_per_s: Some(1e6 / mean_us.max(1e-3)),
            runs: self.runs,
        }
    }
}

impl Latency {
    /// The statistics of runs that took `nanoseconds` each; no times without runs.
    pub fn of(nanoseconds: &[u64]) -> Latency {
        let mut recorder = Recorder::new(nanoseconds.len().max(2));
        nanoseconds.iter().for_each(|&ns| recorder.add(ns));
        recorder.latency()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let nanoseconds: Vec<u64> = (1..=200).rev().map(|us| us * 1000).collect();
        let latency = Latency::of(&nanoseconds);
        assert_eq!((latency.p50_us, latency.p90_us, latency.p99_us), (Some(100.0), Some(180.0), Some(198.0)));
        assert_eq!((latency.min_us, latency.mean_us, latency.runs), (Some(1.0), Some(100.5), 200));
        assert!((latency.throughput_per_s.unwrap() - 1e6 / 100.5).abs() < 1e-6);
        assert_eq!(Latency::of(&[5000]).p99_us, Some(5.0));
        assert_eq!(Latency::of(&[]), Latency::default());
    }

    /// `x = [(i * i * 7919) % 10007 for i in range(1, n + 1)]`, numpy 2: `np.quantile(x, [.5, .9, .99],
    /// method="inverted_cdf")`, and `np.quantile(abs(x - p50), .5, method="inverted_cdf")`.
    #[test]
    fn percentiles_and_deviation_are_those_of_numpy() {
        for (n, p50, p90, p99, mad) in NUMPY {
            let times: Vec<u64> = (1..=n).map(|i| i * i * 7919 % 10007).collect();
            let latency = Latency::of(&times);
            let expected = [p50, p90, p99, mad, p99 - p50].map(|ns| Some(us(ns)));
            assert_eq!(
                [latency.p50_us, latency.p90_us, latency.p99_us, latency.mad_us, latency.jitter_us],
                expected,
                "{n}"
            );
        }
    }

    const NUMPY: [(u64, u64, u64, u64, u64); 5] = [
        (1, 7919, 7919, 7919, 0),
        (2, 1655, 7919, 7919, 0),
        (7, 6620, 7919, 7919, 1299),
        (100, 5224, 8917, 9834, 2609),
        (1001, 4755, 8814, 9843, 2426),
    ];

    #[test]
    fn recorder_keeps_an_even_share_in_bounded_memory() {
        let mut recorder = Recorder::new(8);
        for ns in 0..1000 {
            recorder.add(ns);
        }
        let (kept, stride) = (recorder.kept(), recorder.stride());
        assert!(kept.len() <= 8 && kept.len() > 4, "{kept:?}");
        assert!(kept.iter().enumerate().all(|(index, &ns)| ns == index as u64 * stride), "{kept:?}");
        let latency = recorder.latency();
        assert_eq!((latency.min_us, latency.max_us, latency.runs), (Some(0.0), Some(0.999), 1000));
        assert_eq!(latency.mean_us, Some(0.4995));
        recorder.clear();
        assert_eq!((recorder.latency(), recorder.stride()), (Latency::default(), 1));
    }
}
