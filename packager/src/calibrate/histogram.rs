//! A histogram that grows with what it sees: its width is a power of two, so that widening it and
//! merging two of them move whole bins, and the result does not depend on the order of samples.

/// Bins on each side of zero.
const HALF: usize = 2048;
/// Numbers that are looked at together.
const LANES: usize = 16;
/// The narrowest histogram covers ±2^MIN_EXPONENT.
const MIN_EXPONENT: i32 = -20;

/// Counts of values in `2 * HALF` equal bins over `±2^exponent`, and the exact extremes.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    exponent: i32,
    /// Smallest finite value seen; +∞ before the first.
    pub min: f32,
    /// Largest finite value seen; -∞ before the first.
    pub max: f32,
    /// Values seen that were infinite or no numbers.
    pub not_finite: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            exponent: MIN_EXPONENT,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            not_finite: 0,
        }
    }
}

impl Histogram {
    /// Adds values.
    pub fn observe(&mut self, values: &[f32]) {
        // In lanes, so that the compiler makes vectors of it; numbers that are not finite are rare, and are
        // left out by a second look.
        let mut lanes = [[f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]];
        let mut not_finite = 0;
        let (chunks, rest) = values.as_chunks::<LANES>();
        let padded = rest.first().map(|&first| {
            let mut last = [first; LANES];
            last[..rest.len()].copy_from_slice(rest);
            last
        });
        for chunk in chunks.iter().chain(&padded) {
            for (lane, &x) in chunk.iter().enumerate() {
                lanes[0][lane] = lanes[0][lane].min(x);
                lanes[1][lane] = lanes[1][lane].max(x);
                not_finite += u32::from(!x.is_finite());
            }
        }
        if not_finite > 0 {
            let finite: Vec<f32> = values.iter().copied().filter(|x| x.is_finite()).collect();
            self.not_finite += (values.len() - finite.len()) as u64;
            return self.observe(&finite);
        }
        self.min = lanes[0].iter().copied().fold(self.min, f32::min);
        self.max = lanes[1].iter().copied().fold(self.max, f32::max);
        let largest = lanes.iter().flatten().filter(|x| x.is_finite()).fold(0.0_f32, |l, x| l.max(x.abs()));
        self.widen(exponent_of(largest));
        let bins_per_unit = HALF as f32 / exp2(self.exponent);
        for &x in values {
            let bin = (x * bins_per_unit).floor() as i32 + HALF as i32;
            self.counts[bin.clamp(0, 2 * HALF as i32 - 1) as usize] += 1;
        }
    }

    /// Adds what another histogram has seen.
    pub fn merge(&mut self, other: &Self) {
        self.not_finite += other.not_finite;
        if other.counts.is_empty() {
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.widen(other.exponent);
        let mut other = other.clone();
        other.widen(self.exponent);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.min > self.max
    }

    /// The bins that hold anything: the middle of each and its count.
    pub fn bins(&self) -> impl Iterator<Item = (f32, u64)> + '_ {
        let width = self.bin_width();
        (self.counts.iter().enumerate())
            .filter(|&(_, &count)| count > 0)
            .map(move |(bin, &count)| ((bin as f32 - HALF as f32 + 0.5) * width, count))
    }

    /// Width of a bin.
    pub fn bin_width(&self) -> f32 {
        exp2(self.exponent) / HALF as f32
    }

    /// Number of finite values seen.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn widen(&mut self, exponent: i32) {
        if self.counts.is_empty() {
            self.counts = vec![0; 2 * HALF];
            self.exponent = exponent.max(self.exponent);
            return;
        }
        while self.exponent < exponent {
            let mut merged = vec![0; 2 * HALF];
            for (bin, &count) in self.counts.iter().enumerate() {
                merged[HALF / 2 + bin / 2] += count;
            }
            self.counts = merged;
            self.exponent += 1;
        }
    }
}

/// The smallest exponent whose power of two is above `largest`.
fn exponent_of(largest: f32) -> i32 {
    (largest.max(f32::MIN_POSITIVE).log2().floor() as i32 + 1).clamp(MIN_EXPONENT, 127)
}

fn exp2(exponent: i32) -> f32 {
    (exponent as f32).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_in_any_order_gives_the_same_counts() {
        let samples: [&[f32]; 3] = [&[0.1, -0.2, 0.0], &[5.0, -100.0], &[3.0e-6, f32::NAN]];
        let histogram = |order: [usize; 3]| {
            let mut total = Histogram::default();
            for i in order {
                let mut one = Histogram::default();
                one.observe(samples[i]);
                total.merge(&one);
            }
            total
        };
        let (a, b) = (histogram([0, 1, 2]), histogram([2, 1, 0]));
        assert_eq!((a.counts.clone(), a.exponent), (b.counts, b.exponent));
        assert_eq!((a.min, a.max, a.not_finite, a.total()), (-100.0, 5.0, 1, 6));
    }

    #[test]
    fn bins_lie_where_the_values_are() {
        let mut histogram = Histogram::default();
        histogram.observe(&[-1.0, 0.25, 0.25]);
        let bins: Vec<_> = histogram.bins().collect();
        assert_eq!(bins.iter().map(|bin| bin.1).collect::<Vec<_>>(), [1, 2]);
        assert!((bins[0].0 + 1.0).abs() <= histogram.bin_width());
        assert!((bins[1].0 - 0.25).abs() <= histogram.bin_width());
    }
}
