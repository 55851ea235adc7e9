//! How far a device's outputs are from the baseline's, and how long runs took.

use serde::Serialize;

/// Accuracy and agreement, added up sample by sample: memory does not grow with their number.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    samples: u64,
    labelled: u64,
    top1: [u64; 2],
    top5: [u64; 2],
    classes: usize,
    agreed: u64,
    signal: f64,
    noise: f64,
    cosine: f64,
    cosines: u64,
    max_abs_error: f64,
}

/// What an [`Accuracy`] came to. `None` is `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AccuracySummary {
    /// Number of samples.
    pub samples: u64,
    /// Share of the labelled samples whose label the baseline's first output ranks first; `None`
    /// without labels.
    pub top1_baseline: Option<f64>,
    /// The same of the device.
    pub top1_device: Option<f64>,
    /// Share of the labelled samples whose label is among the baseline's first five; `None` without
    /// labels, or with five classes or fewer.
    pub top5_baseline: Option<f64>,
    /// The same of the device.
    pub top5_device: Option<f64>,
    /// Share of the samples for which both rank the same class of the first output first; `None` where
    /// that output has only one value.
    pub top1_agreement: Option<f64>,
    /// `10 log10(sum baseline^2 / sum (baseline - device)^2)` over all outputs of all samples; `None`
    /// where it is infinite: every value is equal (then `max_abs_error` is 0), or the baseline is all 0.
    pub sqnr_db: Option<f64>,
    /// Mean of the cosines of the angles between the two sides' outputs of a sample, all outputs of the
    /// sample taken as one vector; `None` where one side was 0 in every sample.
    pub cosine: Option<f64>,
    /// The largest difference of two values; `None` where one is not a number.
    pub max_abs_error: Option<f64>,
}

impl Accuracy {
    /// Adds a sample: every output of both sides, in the same order and of the same lengths. Classes
    /// are ranked by the first output.
    pub fn add(&mut self, baseline: &[Vec<f32>], device: &[Vec<f32>], label: Option<u32>) {
        self.samples += 1;
        if let (Some(baseline), Some(device)) = (baseline.first(), device.first()) {
            self.classes = baseline.len();
            self.agreed += u64::from(argmax(baseline) == argmax(device));
            if let Some(label) = label {
                self.labelled += 1;
                for (side, scores) in [baseline, device].into_iter().enumerate() {
                    let rank = rank(scores, label as usize);
                    self.top1[side] += u64::from(rank == Some(0));
                    self.top5[side] += u64::from(rank.is_some_and(|rank| rank < 5));
                }
            }
        }
        let (mut dot, mut square, mut device_square) = (0.0, 0.0, 0.0);
        for (&b, &d) in baseline.iter().flatten().zip(device.iter().flatten()) {
            let (b, d) = (f64::from(b), f64::from(d));
            dot += b * d;
            square += b * b;
            device_square += d * d;
            self.noise += (b - d) * (b - d);
            let error = (b - d).abs();
            // `max` would drop a NaN, and with it the worst of errors.
            if error.is_nan() || error > self.max_abs_error {
                self.max_abs_error = error;
            }
        }
        self.signal += square;
        if square > 0.0 && device_square > 0.0 {
            self.cosine += dot / (square.sqrt() * device_square.sqrt());
            self.cosines += 1;
        }
    }

    /// The sums so far.
    pub fn summary(&self) -> AccuracySummary {
        let share = |count: u64, of: u64| (of > 0).then(|| count as f64 / of as f64);
        let top5 = |count| share(count, self.labelled).filter(|_| self.classes > 5);
        let sqnr_db = 10.0 * (self.signal / self.noise).log10();
        AccuracySummary {
            samples: self.samples,
            top1_baseline: share(self.top1[0], self.labelled),
            top1_device: share(self.top1[1], self.labelled),
            top5_baseline: top5(self.top5[0]),
            top5_device: top5(self.top5[1]),
            top1_agreement: share(self.agreed, self.samples).filter(|_| self.classes > 1),
            sqnr_db: Some(sqnr_db).filter(|db| db.is_finite()),
            cosine: (self.cosines > 0).then(|| self.cosine / self.cosines as f64),
            max_abs_error: (self.samples > 0 && self.max_abs_error.is_finite()).then_some(self.max_abs_error),
        }
    }
}

/// The index of the largest value, the first of equal ones. NaN is never the largest.
pub fn argmax(scores: &[f32]) -> Option<usize> {
    let better = |best: Option<usize>, index: usize| match best {
        Some(best) if scores[index] > scores[best] => Some(index),
        None if !scores[index].is_nan() => Some(index),
        _ => best,
    };
    (0..scores.len()).fold(None, better)
}

/// How many values rank before that of `label`, equal ones in their order.
fn rank(scores: &[f32], label: usize) -> Option<usize> {
    let own = *scores.get(label).filter(|score| !score.is_nan())?;
    let before = |(index, &score): (usize, &f32)| score > own || (score == own && index < label);
    Some(scores.iter().enumerate().filter(|&pair| before(pair)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-9)
    }

    #[test]
    fn two_samples_give_the_numbers_worked_out_by_hand() {
        let mut accuracy = Accuracy::default();
        // Signal 3^2 + 4^2 = 25, noise 1; cosine (9 + 12) / (5 * sqrt(18)).
        accuracy.add(&[vec![3.0, 4.0]], &[vec![3.0, 3.0]], Some(1));
        // Signal 1, noise 0.25; cosine 1; both rank class 0 first, which is right.
        accuracy.add(&[vec![1.0, 0.0]], &[vec![0.5, 0.0]], Some(0));
        let summary = accuracy.summary();
        assert_eq!(summary.samples, 2);
        assert_eq!((summary.top1_baseline, summary.top1_device), (Some(1.0), Some(0.5)));
        assert_eq!((summary.top5_baseline, summary.top5_device), (None, None));
        assert_eq!(summary.top1_agreement, Some(0.5));
        assert!(close(summary.sqnr_db, 10.0 * (26.0f64 / 1.25).log10()));
        assert!(close(summary.cosine, (21.0 / (5.0 * 18.0f64.sqrt()) + 1.0) / 2.0));
        assert_eq!(summary.max_abs_error, Some(1.0));
    }

    #[test]
    fn equal_outputs_have_no_finite_sqnr() {
        let mut accuracy = Accuracy::default();
        accuracy.add(&[vec![1.0, 2.0], vec![3.0]], &[vec![1.0, 2.0], vec![3.0]], None);
        let summary = accuracy.summary();
        assert_eq!((summary.sqnr_db, summary.max_abs_error), (None, Some(0.0)));
        assert!(close(summary.cosine, 1.0));
        assert_eq!((summary.top1_baseline, summary.top1_agreement), (None, Some(1.0)));
        assert!(serde_json::to_string(&summary).unwrap().contains("\"sqnr_db\":null"));
    }

    #[test]
    fn outputs_of_zero_have_no_cosine() {
        let mut accuracy = Accuracy::default();
        accuracy.add(&[vec![0.0; 3]], &[vec![0.0; 3]], None);
        let summary = accuracy.summary();
        assert_eq!((summary.sqnr_db, summary.cosine), (None, None));
        let empty = Accuracy::default().summary();
        assert_eq!((empty.samples, empty.max_abs_error, empty.top1_agreement), (0, None, None));
    }

    #[test]
    fn nan_is_not_hidden() {
        let mut accuracy = Accuracy::default();
        accuracy.add(&[vec![1.0, 0.0]], &[vec![f32::NAN, 0.0]], Some(0));
        accuracy.add(&[vec![1.0, 0.0]], &[vec![0.0, 0.0]], Some(0));
        let summary = accuracy.summary();
        assert_eq!((summary.sqnr_db, summary.max_abs_error), (None, None));
        assert_eq!(summary.top1_device, Some(0.5));
    }

    #[test]
    fn top5_counts_the_five_best_in_order() {
        let mut accuracy = Accuracy::default();
        let scores = vec![6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0];
        let ties = vec![0.0; 7];
        accuracy.add(std::slice::from_ref(&scores), std::slice::from_ref(&ties), Some(4));
        accuracy.add(&[scores], &[ties], Some(5));
        let summary = accuracy.summary();
        assert_eq!((summary.top5_baseline, summary.top5_device), (Some(0.5), Some(0.5)));
        assert_eq!(summary.top1_baseline, Some(0.0));
    }
}
