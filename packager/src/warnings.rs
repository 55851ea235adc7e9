//! What to know of a package that was made all the same.

use crate::mixed::{Budget, MixedReport};

/// Fewer samples than this are few. Of the models of the test suite, fitted to 32 samples instead of 100, the
/// outputs lose 3 to 5 dB, and another 4 to 8 with 8 of them.
const FEW: usize = 50;

/// Of the calibration, where its samples are the application's own.
pub fn of_calibration(samples: usize) -> Option<String> {
    (1..FEW).contains(&samples).then(|| {
        format!(
            "{samples} samples are few to calibrate on: ranges and weights follow what little they show. Give \
             about 100 that differ as the application's do"
        )
    })
}

/// Of a budget that held.
pub fn of_budget(budget: &Budget, report: &MixedReport, has_validation: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_validation {
        warnings.push(
            "the budget holds on the samples of the calibration, which weights were fitted to: on others the \
             outputs are worse. Give other samples with --validation DATA"
                .to_string(),
        );
    }
    let grain = 100.0 / report.samples.max(1) as f64;
    if let Some(most) = budget.max_drop.filter(|&most| grain > most) {
        warnings.push(format!(
            "--max-drop {most} was judged on {} samples, each of which is {grain:.1} points: give at least {:.0}",
            report.samples,
            (100.0 / most.max(0.01)).ceil()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixed::Quality;

    #[test]
    fn few_samples_and_coarse_budgets_are_told() {
        assert!(of_calibration(8).is_some_and(|warning| warning.starts_with("8 samples")));
        assert_eq!((of_calibration(0), of_calibration(100)), (None, None));
        let quality = Quality { sqnr_db: None, drop_points: 0.0, us: 1.0 };
        let report =
            |samples| MixedReport { samples, int8: quality, mixed: quality, moved: vec![], candidates: 0 };
        let budget = Budget { min_sqnr: None, max_drop: Some(0.5) };
        assert_eq!(of_budget(&budget, &report(200), true), Vec::<String>::new());
        assert!(of_budget(&budget, &report(100), true)[0].contains("give at least 200"));
        assert!(of_budget(&budget, &report(200), false)[0].contains("--validation"));
    }
}
