//! Measurements of accelerometers: against the formulas in f64.

use edgepack_signal::writer::{Normalise, OneOrMany, Order, Spec, WindowNormal, encode, preset};
use edgepack_signal::{FrontEnd, Stream};

const CHANNELS: usize = 3;

/// A machine that shakes, on a table that is not level.
fn measurements(count: usize) -> Vec<f32> {
    let axis = |n: usize, channel: usize| {
        let turn = n as f32 * (0.31 + 0.17 * channel as f32);
        9.81 / (channel + 1) as f32 + turn.sin() * 0.5 + (n % 7) as f32 * 0.01
    };
    (0..count).flat_map(|n| (0..CHANNELS).map(move |channel| axis(n, channel))).collect()
}

/// All windows of a front-end over the measurements.
fn windows(spec: &Spec, samples: &[f32]) -> Vec<Vec<f32>> {
    let bytes = encode(spec).unwrap();
    let mut words = vec![0_u32; bytes.len().div_ceil(4)];
    let target: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    target[..bytes.len()].copy_from_slice(&bytes);
    let front_end = FrontEnd::parse(&bytemuck::cast_slice(&words)[..bytes.len()]).unwrap();
    let mut memory = vec![0.0; front_end.memory_elems()];
    let mut stream = Stream::new(front_end, &mut memory).unwrap();
    let (mut windows, mut rest) = (Vec::new(), samples);
    while let Some(left) = stream.push(rest) {
        let mut values = vec![0.0; front_end.elems()];
        stream.read(&mut values).unwrap();
        windows.push(values);
        rest = left;
    }
    windows
}

/// The high-pass filter and the windows, in f64: `[window][frame][channel]`.
fn filtered(spec: &Spec, samples: &[f32]) -> Vec<Vec<[f64; CHANNELS]>> {
    let motion = spec.motion.as_ref().unwrap();
    let turn = 2.0 * std::f64::consts::PI * motion.high_pass_hz / f64::from(motion.sample_hz);
    let share = 1.0 - (-turn).exp();
    let mut slow: Option<[f64; CHANNELS]> = None;
    let rows: Vec<[f64; CHANNELS]> = samples
        .chunks_exact(CHANNELS)
        .map(|row| {
            let row: [f64; CHANNELS] = std::array::from_fn(|c| f64::from(row[c]) * f64::from(motion.scale));
            let before = slow.unwrap_or(row);
            let now = std::array::from_fn(|c| before[c] + share * (row[c] - before[c]));
            slow = Some(now);
            std::array::from_fn(|c| row[c] - if motion.high_pass_hz == 0.0 { 0.0 } else { now[c] })
        })
        .collect();
    let step = motion.step_frames.unwrap_or(motion.frames);
    rows.windows(motion.frames).step_by(step).map(<[_]>::to_vec).collect()
}

fn check(spec: &Spec, normalise: impl Fn(&[f64]) -> Vec<f64>) {
    let samples = measurements(730);
    let (ours, real) = (windows(spec, &samples), filtered(spec, &samples));
    assert_eq!(ours.len(), real.len());
    assert!(ours.len() > 5);
    let mut worst: f64 = 0.0;
    for (ours, real) in ours.iter().zip(&real) {
        for channel in 0..CHANNELS {
            let column: Vec<f64> = real.iter().map(|row| row[channel]).collect();
            for (frame, expected) in normalise(&column).into_iter().enumerate() {
                let at = match spec.motion.as_ref().unwrap().order {
                    Order::TimeFirst => frame * CHANNELS + channel,
                    Order::FeaturesFirst => channel * real.len() + frame,
                };
                worst = worst.max((f64::from(ours[at]) - expected).abs());
            }
        }
    }
    println!("the greatest error is {worst:e}");
    // The measurements are about 10, and f32 of that is exact to 5e-7; sums of 200 squares lose ten times as much.
    assert!(worst < 1e-5, "{worst}");
}

fn preset_with(normalise: Option<WindowNormal>, order: Order) -> Spec {
    let mut spec = Spec::from_toml(preset("accelerometer").unwrap()).unwrap();
    let motion = spec.motion.as_mut().unwrap();
    (motion.normalise, motion.order) = (normalise, order);
    spec
}

#[test]
fn gravity_is_taken_off() {
    check(&preset_with(None, Order::TimeFirst), <[f64]>::to_vec);
    let mut plain = preset_with(None, Order::FeaturesFirst);
    (plain.motion.as_mut().unwrap().high_pass_hz, plain.motion.as_mut().unwrap().scale) = (0.0, 0.5);
    check(&plain, <[f64]>::to_vec);
}

#[test]
fn windows_are_normalised_by_what_is_in_them() {
    let std = |column: &[f64]| -> Vec<f64> {
        let mean = column.iter().sum::<f64>() / column.len() as f64;
        let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64;
        column.iter().map(|x| (x - mean) / (variance.sqrt() + 1e-6)).collect()
    };
    check(&preset_with(Some(WindowNormal::Std { epsilon: 1e-6 }), Order::TimeFirst), std);
    check(&preset_with(Some(WindowNormal::Std { epsilon: 1e-6 }), Order::FeaturesFirst), std);
    let min_max = |column: &[f64]| -> Vec<f64> {
        let least = column.iter().copied().fold(f64::MAX, f64::min);
        let most = column.iter().copied().fold(f64::MIN, f64::max);
        column.iter().map(|x| (x - least) / (most - least + 1e-3)).collect()
    };
    check(&preset_with(Some(WindowNormal::MinMax { epsilon: 1e-3 }), Order::TimeFirst), min_max);
}

#[test]
fn channels_are_normalised_by_numbers_of_the_training_data() {
    let fixed = Normalise { mean: OneOrMany::One(0.1), std: OneOrMany::Many(vec![2.0; 3]) };
    let spec = preset_with(Some(WindowNormal::Fixed(fixed)), Order::TimeFirst);
    check(&spec, |column| column.iter().map(|x| (x - 0.1) / 2.0).collect());
}

#[test]
fn values_are_clipped() {
    let mut spec = preset_with(None, Order::TimeFirst);
    spec.motion.as_mut().unwrap().clip = Some([-0.25, 0.125]);
    check(&spec, |column| column.iter().map(|x| x.clamp(-0.25, 0.125)).collect());
}
