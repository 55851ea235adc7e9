//! Seeded random numbers.

/// `count` numbers of mean 0 and variance 1, the same on every computer.
///
/// The sum of twelve uniform numbers less six (Irwin–Hall), not Box–Muller: it needs only additions,
/// which have one possible result, where the logarithms and cosines of two systems may differ.
pub(crate) fn normal(seed: u64, stream: u64, count: usize) -> Vec<f32> {
    let mut state = mix(seed ^ mix(stream));
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(state) >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// `count` integers of `least..=greatest`, any as likely as another, the same on every computer.
pub(crate) fn integers(seed: u64, stream: u64, count: usize, [least, greatest]: [i32; 2]) -> Vec<f32> {
    let mut state = mix(seed ^ mix(stream));
    let range = (i64::from(greatest) - i64::from(least) + 1) as u64;
    let mut integer = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (i64::from(least) + (((mix(state) >> 32) * range) >> 32) as i64) as f32
    };
    (0..count).map(|_| integer()).collect()
}

/// The output function of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_have_mean_0_and_variance_1_and_repeat() {
        let values = normal(7, 0, 100_000);
        let mean = values.iter().sum::<f32>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_eq!(values[..100], normal(7, 0, 100));
        assert_ne!(values[..100], normal(7, 1, 100));
        assert_ne!(values[..100], normal(8, 0, 100));
    }

    #[test]
    fn random_integers_are_all_of_a_range_and_repeat() {
        let values = integers(7, 0, 4000, [-2, 256]);
        let mut seen: Vec<i32> = values.iter().map(|&x| x as i32).collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 250 && *seen.first().unwrap() >= -2 && *seen.last().unwrap() <= 256);
        assert_eq!(values[..100], integers(7, 0, 100, [-2, 256]));
        assert_eq!(integers(3, 1, 3, [5, 5]), [5.0; 3]);
    }
}
