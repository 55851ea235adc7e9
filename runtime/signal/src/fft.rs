//! The spectrum of a frame: a real Fourier transform in one order of operations.
//!
//! N real numbers are N/2 complex ones, transformed by passes of radix 4 (before them one of radix 2 where the
//! logarithm of N/2 is odd), and split into the lower half of the spectrum (Press et al., "Numerical Recipes", section
//! 12.3). Every product of complex numbers is `(a.re b.re - a.im b.im, a.re b.im + a.im b.re)`, each operation rounded.

/// A complex number: real and imaginary part.
pub(crate) type Complex = [f32; 2];

/// Transforms are of so many real numbers at least, and at most.
pub(crate) const SIZES: core::ops::RangeInclusive<usize> = 16..=8192;

/// Of the first pass with factors: each butterfly of it reads at distances of so many. Passes before need none.
pub(crate) fn first_quarter(half: usize) -> usize {
    if half.ilog2().is_multiple_of(2) { 4 } else { 2 }
}

/// Number of f32 in the table for `size` real numbers: for every pass of radix 4 with factors, in their order, and every
/// `j` below its quarter q, `w^j, w^2j, w^3j` with `w = exp(-2πi / 4q)`; then `exp(-2πi k / size)` for `1 <= k < size/4`.
pub(crate) fn table_elems(size: usize) -> usize {
    let half = size / 2;
    let mut quarter = first_quarter(half);
    let mut elems = 2 * (half / 2 - 1);
    while 4 * quarter <= half {
        elems += 6 * quarter;
        quarter *= 4;
    }
    elems
}

fn mul(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

fn add(a: Complex, b: Complex) -> Complex {
    [a[0] + b[0], a[1] + b[1]]
}

fn sub(a: Complex, b: Complex) -> Complex {
    [a[0] - b[0], a[1] - b[1]]
}

/// The transform of `z`, which is in bit-reversed order, and of a power of two of at least 8.
fn complex(z: &mut [Complex], mut table: &[f32]) {
    let half = z.len();
    if first_quarter(half) == 2 {
        for pair in z.as_chunks_mut::<2>().0 {
            *pair = [add(pair[0], pair[1]), sub(pair[0], pair[1])];
        }
    } else {
        // Factors of 1 are left out. In bit-reversed order the second of the four comes third.
        for [a, c, b, d] in z.as_chunks_mut::<4>().0 {
            let (t0, t1) = (add(*a, *c), sub(*a, *c));
            let (t2, t3) = (add(*b, *d), sub(*b, *d));
            (*a, *b) = (add(t0, t2), sub(t0, t2));
            (*c, *d) = ([t1[0] + t3[1], t1[1] - t3[0]], [t1[0] - t3[1], t1[1] + t3[0]]);
        }
    }
    let mut quarter = first_quarter(half);
    while 4 * quarter <= half {
        let (factors, rest) = table.split_at((6 * quarter).min(table.len()));
        table = rest;
        for block in z.chunks_exact_mut(4 * quarter) {
            let (low, high) = block.split_at_mut(2 * quarter);
            let ((a, c), (b, d)) = (low.split_at_mut(quarter), high.split_at_mut(quarter));
            let lanes = a.iter_mut().zip(c).zip(b.iter_mut().zip(d)).zip(factors.as_chunks::<6>().0);
            for (((a, c), (b, d)), w) in lanes {
                // `c` lies before `b`: the order of the input is that of bits reversed, not of digits of 4.
                let (wc, wb, wd) = (mul([w[2], w[3]], *c), mul([w[0], w[1]], *b), mul([w[4], w[5]], *d));
                let (t0, t1) = (add(*a, wc), sub(*a, wc));
                let (t2, t3) = (add(wb, wd), sub(wb, wd));
                (*a, *b) = (add(t0, t2), sub(t0, t2));
                (*c, *d) = ([t1[0] + t3[1], t1[1] - t3[0]], [t1[0] - t3[1], t1[1] + t3[0]]);
            }
        }
        quarter *= 4;
    }
}

/// Where in bit-reversed order the complex number `index` of `half` is.
pub(crate) fn place(index: usize, half: usize) -> usize {
    ((index as u32).reverse_bits() >> (32 - half.ilog2())) as usize
}

/// `|X[k]|²` for the frequencies `k < size / 2`, each in the real part of `z[k]`. `z` has the real numbers in pairs, the
/// pair `i` at [`place`]`(i)`; `table` is that of [`table_elems`].
///
/// The frequency at half the sample rate is left out: no triangle of a filter bank reaches it.
pub(crate) fn power(z: &mut [Complex], table: &[f32]) {
    let half = z.len();
    let (passes, split) = table.split_at(table.len().saturating_sub(half.saturating_sub(2)));
    complex(z, passes);
    let (low, high) = z.split_at_mut(half / 2);
    let [first, low @ ..] = low else { return };
    let [middle, high @ ..] = high else { return };
    let sum = first[0] + first[1];
    first[0] = sum * sum;
    middle[0] = middle[0] * middle[0] + middle[1] * middle[1];
    for ((low, high), w) in low.iter_mut().zip(high.iter_mut().rev()).zip(split.as_chunks::<2>().0) {
        // X[k] = E + w^k O and X[half - k] = conj(E - w^k O), E the even numbers' transform and O the odd ones'.
        let even = [0.5 * (low[0] + high[0]), 0.5 * (low[1] - high[1])];
        let odd = [0.5 * (low[1] + high[1]), 0.5 * (high[0] - low[0])];
        let turned = mul(*w, odd);
        let (x, y) = (add(even, turned), sub(even, turned));
        low[0] = x[0] * x[0] + x[1] * x[1];
        high[0] = y[0] * y[0] + y[1] * y[1];
    }
}

#[cfg(all(test, feature = "writer"))]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::writer::twiddles;

    /// The definition, in f64.
    fn definition(x: &[f32], k: usize) -> f64 {
        let turn = -2.0 * core::f64::consts::PI / x.len() as f64;
        let angle = |n: usize| turn * (n * k % x.len()) as f64;
        let re: f64 = x.iter().enumerate().map(|(n, &x)| f64::from(x) * angle(n).cos()).sum();
        let im: f64 = x.iter().enumerate().map(|(n, &x)| f64::from(x) * angle(n).sin()).sum();
        re * re + im * im
    }

    #[test]
    fn transforms_of_every_size_are_those_of_the_definition() {
        let mut size = *SIZES.start();
        while size <= 2048 {
            let mut state = size as u32;
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            let x: Vec<f32> = (0..size).map(|_| random()).collect();
            let table: Vec<f32> = twiddles(size).into_iter().map(|value| value as f32).collect();
            assert_eq!(table.len(), table_elems(size));
            let mut z = std::vec![[0.0; 2]; size / 2];
            x.as_chunks::<2>().0.iter().enumerate().for_each(|(i, pair)| z[place(i, size / 2)] = *pair);
            power(&mut z, &table);
            // Each amplitude is wrong by at most log2(size) times 4 roundings of the norm (Higham, "Accuracy and
            // Stability of Numerical Algorithms", theorem 24.2).
            let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let bound = 4.0 * f64::from(size.ilog2()) * 2_f64.powi(-24) * norm * (size as f64).sqrt();
            for (k, z) in z.iter().enumerate() {
                let (ours, real) = (f64::from(z[0]).sqrt(), definition(&x, k).sqrt());
                assert!((ours - real).abs() <= bound, "{size}: {ours} for {real} at {k}, bound {bound}");
            }
            size *= 2;
        }
    }
}
