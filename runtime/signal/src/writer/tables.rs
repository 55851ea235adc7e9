//! Tables, in f64 until they are rounded.

use core::f64::consts::PI;
use std::format;
use std::vec::Vec;

use super::spec::{Area, Dct, DctNorm, Mel, SpecError, SpectralSpec, Triangles, Window};
use crate::fft;

/// The window function.
pub(super) fn window(spec: &SpectralSpec) -> Vec<f64> {
    let count = spec.frame_elems;
    let cosine = |n: usize, symmetric: bool| {
        let period = if symmetric { (count - 1).max(1) } else { count };
        libm::cos(2.0 * PI * n as f64 / period as f64)
    };
    let value = |n: usize| match spec.window {
        Window::Hann => 0.5 - 0.5 * cosine(n, false),
        Window::HannSymmetric => 0.5 - 0.5 * cosine(n, true),
        Window::Hamming => 0.54 - 0.46 * cosine(n, false),
        Window::HammingSymmetric => 0.54 - 0.46 * cosine(n, true),
        Window::Povey => libm::pow(0.5 - 0.5 * cosine(n, true), 0.85),
        Window::Rectangular => 1.0,
    };
    (0..count).map(value).collect()
}

/// `exp(-2πi k / size)`.
fn root(k: usize, size: usize) -> [f64; 2] {
    let angle = -2.0 * PI * k as f64 / size as f64;
    [libm::cos(angle), libm::sin(angle)]
}

/// The factors of the transform, in the order of `fft`.
pub(crate) fn twiddles(size: usize) -> Vec<f64> {
    let half = size / 2;
    let mut table = Vec::with_capacity(fft::table_elems(size));
    let mut quarter = fft::first_quarter(half);
    while 4 * quarter <= half {
        (0..quarter).for_each(|j| (1..=3).for_each(|power| table.extend(root(power * j, 4 * quarter))));
        quarter *= 4;
    }
    (1..half / 2).for_each(|k| table.extend(root(k, size)));
    table
}

fn to_mel(scale: Mel, hz: f64) -> f64 {
    match scale {
        Mel::Htk => 1127.0 * libm::log(1.0 + hz / 700.0),
        Mel::Slaney if hz < 1000.0 => hz * 3.0 / 200.0,
        Mel::Slaney => 15.0 + libm::log(hz / 1000.0) * 27.0 / libm::log(6.4),
    }
}

fn to_hz(scale: Mel, mel: f64) -> f64 {
    match scale {
        Mel::Htk => 700.0 * (libm::exp(mel / 1127.0) - 1.0),
        Mel::Slaney if mel < 15.0 => mel * 200.0 / 3.0,
        Mel::Slaney => 1000.0 * libm::exp((mel - 15.0) * libm::log(6.4) / 27.0),
    }
}

/// Each band as its first bin and the number of its bins, and the weights of all.
pub(super) fn bands(spec: &SpectralSpec) -> Result<(Vec<u32>, Vec<f64>), SpecError> {
    let given = &spec.bands;
    let (rate, bins) = (f64::from(spec.sample_rate), spec.fft_elems / 2);
    if !(given.low_hz >= 0.0 && given.low_hz < given.high_hz && given.high_hz <= rate / 2.0) {
        let reason =
            format!("{} to {} Hz: give 0 <= low_hz < high_hz <= {}", given.low_hz, given.high_hz, rate / 2.0);
        return Err(SpecError::field("bands", &reason));
    }
    if !(1..=1024).contains(&given.count) {
        return Err(SpecError::field("bands.count", "give 1 to 1024"));
    }
    let (low, high) = (to_mel(given.mel, given.low_hz), to_mel(given.mel, given.high_hz));
    let edge = |index: usize| low + (high - low) * index as f64 / (given.count + 1) as f64;
    // A bin, and an edge in Hz, in what triangles are straight in.
    let bin = |k: usize| match given.triangles {
        Triangles::Mel => to_mel(given.mel, k as f64 * rate / spec.fft_elems as f64),
        Triangles::Hz => k as f64 * rate / spec.fft_elems as f64,
        Triangles::Bins => k as f64,
    };
    let place = |index: usize| match given.triangles {
        Triangles::Mel => edge(index),
        Triangles::Hz => to_hz(given.mel, edge(index)),
        Triangles::Bins => libm::floor((spec.fft_elems + 1) as f64 * to_hz(given.mel, edge(index)) / rate),
    };
    let (mut bands, mut weights) = (Vec::new(), Vec::new());
    for band in 0..given.count {
        let [left, centre, right] = [place(band), place(band + 1), place(band + 2)];
        let height = match given.area {
            Area::Peak => given.factor,
            Area::Slaney => {
                2.0 * given.factor / (to_hz(given.mel, edge(band + 2)) - to_hz(given.mel, edge(band)))
            }
        };
        let weight = |k: usize| {
            let x = bin(k);
            let up = if x < centre { (x - left) / (centre - left) } else { f64::INFINITY };
            let down = if x >= centre { (right - x) / (right - centre) } else { f64::INFINITY };
            let weight = if left < right { up.min(down).max(0.0) } else { 0.0 };
            if weight.is_finite() { height * weight } else { 0.0 }
        };
        let own: Vec<f64> = (0..bins).map(weight).collect();
        let first = own.iter().position(|&weight| weight > 0.0);
        let last = own.iter().rposition(|&weight| weight > 0.0);
        let (first, count) = match (first, last) {
            (Some(first), Some(last)) => (first, last - first + 1),
            _ => (0, 0),
        };
        bands.push(first as u32 | (count as u32) << 16);
        weights.extend_from_slice(&own[first..first + count]);
    }
    Ok((bands, weights))
}

/// `[coefficients][bands]`.
pub(super) fn dct(spec: &Dct, bands: usize) -> Vec<f64> {
    let mut table = Vec::with_capacity(spec.coefficients * bands);
    for k in 0..spec.coefficients {
        let norm = if k == 0 && spec.norm == DctNorm::Ortho { 1.0 } else { 2.0 };
        let lifter = match spec.lifter {
            0.0 => 1.0,
            lifter => 1.0 + lifter / 2.0 * libm::sin(PI * k as f64 / lifter),
        };
        let cosine = |n: usize| libm::cos(PI * (k * (2 * n + 1)) as f64 / (2 * bands) as f64);
        table.extend((0..bands).map(|n| libm::sqrt(norm / bands as f64) * lifter * cosine(n)));
    }
    table
}
