//! Features against those of public libraries, in pieces against the whole, and on every processor the same bits.

use std::path::{Path, PathBuf};

use edgepack_signal::writer::{Order, Spec, encode, preset};
use edgepack_signal::{FrontEnd, Sample, Stream};

/// Bytes at a multiple of 4.
struct Section(Vec<u32>, usize);

impl Section {
    fn of(spec: &Spec) -> Self {
        let bytes = encode(spec).unwrap();
        let mut words = vec![0; bytes.len().div_ceil(4)];
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        target[..bytes.len()].copy_from_slice(&bytes);
        Self(words, bytes.len())
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }

    fn front_end(&self) -> FrontEnd<'_> {
        FrontEnd::parse(self.bytes()).unwrap()
    }
}

fn spec(name: &str) -> Spec {
    Spec::from_toml(preset(name).unwrap()).unwrap()
}

/// A preset with so many frames.
fn sound(name: &str, frames: usize) -> Spec {
    let mut spec = spec(name);
    let own = spec.spectral.as_mut().unwrap();
    (own.frames, own.step_frames) = (frames, None);
    spec
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The samples of a WAV file of one channel of 16 bits: they are behind 44 bytes of header.
fn wav(name: &str) -> Vec<i16> {
    let bytes = std::fs::read(data(name)).unwrap();
    bytes[44..].as_chunks::<2>().0.iter().map(|&sample| i16::from_le_bytes(sample)).collect()
}

fn reference(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(data(&format!("{name}.f32"))).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// The features of a recording.
fn features<S: Sample>(spec: &Spec, samples: &[S]) -> Vec<f32> {
    let section = Section::of(spec);
    let front_end = section.front_end();
    let mut memory = vec![f32::NAN; front_end.memory_elems()];
    let mut values = vec![0.0; front_end.elems()];
    Stream::new(front_end, &mut memory).unwrap().clip(samples, &mut values).unwrap();
    values
}

/// The greatest error against what a library computes, and of which value.
fn worst(name: &str, frames: usize) -> (f32, f32) {
    let (ours, theirs) = (features(&sound(name, frames), &wav("yes.wav")), reference(name));
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(&theirs);
    let (error, value) = pairs.map(|(a, b)| ((a - b).abs(), *b)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("{name}: {} values, the greatest error is {error:e} of {value}", ours.len());
    (error, value)
}

/// Features are logarithms: an absolute error of theirs is a relative one of a band. A transform of 512 in f32 is wrong
/// by some 9 roundings of 2⁻²⁴ of the *greatest* frequencies of a frame. A band of 1/300 of these may so be wrong by
/// 9 · 2⁻²⁴ · 300, which is 1.6e-4; and half of the libraries compute in f32 too.
#[test]
fn features_are_those_of_public_libraries() {
    for (name, frames, library, tolerance) in [
        ("mlperf-kws", 49, "TensorFlow's tf.signal, itself in f32", 2e-4),
        // Ten times the logarithm to base 10 is 4.3 times the natural one; 30 frames are what a second has.
        ("mlperf-ad", 30, "librosa, in f64", 4.3 * 2e-4),
        ("log-mel-80", 49, "librosa, in f64", 2e-4),
        ("kaldi-fbank-80", 49, "kaldi-native-fbank, itself in f32", 2e-4),
        ("mfcc-13", 49, "python_speech_features, in f64", 2e-4),
    ] {
        let (error, value) = worst(name, frames);
        assert!(error <= tolerance, "{name}: an error of {error} at {value} against {library}");
    }
}

/// What tells of one bit.
fn fnv(values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Of yes.wav and no.wav.
const HASHES: [[u64; 2]; 5] = [
    [0x1901_e687_20fc_e485, 0x0b91_5654_f3e9_0be4],
    [0x9ec9_8cec_d42c_3f89, 0x1377_22e7_5809_0c3e],
    [0x8171_a885_c47b_8e94, 0x8bcb_8984_0572_bd48],
    [0x096f_7ae4_7249_bbe8, 0xfc42_3c29_143f_4529],
    [0xe359_ed02_56e3_a44a, 0x1e70_4f87_53b2_6951],
];
const MOVED: u64 = 0x0fe7_7e13_a005_0971;
const SECTIONS: [u64; 6] = [
    0x9ad3_e8d7_675d_21d9,
    0xcb42_75f0_555b_1b0e,
    0x128a_c056_c17a_b143,
    0x494c_8ad0_3b86_fc32,
    0x0f79_c687_01b7_7d5c,
    0x642b_cb62_5def_e71b,
];

/// The hashes are those of x86-64. CI runs this test on AArch64 and ARMv7 too, and what a microcontroller computes is
/// compared with the host's by its own test.
#[test]
fn features_are_the_same_bits_on_every_processor() {
    let (yes, no) = (wav("yes.wav"), wav("no.wav"));
    let got = ["mlperf-kws", "mlperf-ad", "log-mel-80", "kaldi-fbank-80", "mfcc-13"]
        .map(|name| [&yes, &no].map(|pcm| fnv(&features(&sound(name, 49), pcm))));
    let motion: Vec<f32> = yes.iter().map(|&x| f32::from(x) / 1000.0).collect();
    let moved = fnv(&features(&spec("accelerometer"), &motion[..600]));
    println!("{got:#018x?} {moved:#018x}");
    assert_eq!(got, HASHES);
    assert_eq!(moved, MOVED);
}

#[test]
fn sections_are_the_same_bytes_on_every_host() {
    let hashes = ["mlperf-kws", "mlperf-ad", "log-mel-80", "kaldi-fbank-80", "mfcc-13", "accelerometer"]
        .map(|name| fnv(bytemuck::cast_slice(&Section::of(&spec(name)).0)));
    println!("{hashes:#018x?}");
    assert_eq!(hashes, SECTIONS);
}

/// Windows of a stream in pieces of these sizes, in turn.
fn windows(front_end: FrontEnd<'_>, samples: &[i16], sizes: &[usize]) -> Vec<Vec<f32>> {
    let mut memory = vec![0.0; front_end.memory_elems()];
    let mut stream = Stream::new(front_end, &mut memory).unwrap();
    let (mut windows, mut left) = (Vec::new(), samples);
    for size in sizes.iter().cycle() {
        let (mut piece, after) = left.split_at((*size).min(left.len()));
        left = after;
        while let Some(rest) = stream.push(piece) {
            let mut values = vec![0.0; front_end.elems()];
            stream.read(&mut values).unwrap();
            windows.push(values);
            piece = rest;
        }
        if left.is_empty() {
            return windows;
        }
    }
    windows
}

#[test]
fn samples_in_pieces_give_the_windows_of_the_whole() {
    let samples = [wav("yes.wav"), wav("no.wav"), wav("yes.wav")].concat();
    for (name, order) in [
        ("mlperf-kws", Order::TimeFirst),
        ("mlperf-kws", Order::FeaturesFirst),
        ("mfcc-13", Order::TimeFirst),
        ("kaldi-fbank-80", Order::TimeFirst),
    ] {
        let mut spec = sound(name, 49);
        let own = spec.spectral.as_mut().unwrap();
        (own.step_frames, own.order) = (Some(7), order);
        let hop = own.hop_elems;
        let section = Section::of(&spec);
        let front_end = section.front_end();
        let whole = windows(front_end, &samples, &[samples.len()]);
        assert!(whole.len() > 9, "{}", whole.len());
        for sizes in [&[1][..], &[160], &[7, 1000, 0, 3], &[hop], &[20_000]] {
            assert_eq!(windows(front_end, &samples, sizes), whole, "{name}, pieces of {sizes:?}");
        }
        if name.starts_with("mfcc") {
            continue; // Its pre-emphasis knows what was before.
        }
        // Each window is what a new stream gives of its samples.
        for (index, window) in whole.iter().enumerate() {
            assert_eq!(*window, features(&spec, &samples[index * 7 * hop..]), "{name}, window {index}");
        }
    }
}

#[test]
fn features_first_is_the_transposed_window() {
    let mut spec = sound("mlperf-kws", 49);
    let rows = features(&spec, &wav("no.wav"));
    spec.spectral.as_mut().unwrap().order = Order::FeaturesFirst;
    let columns = features(&spec, &wav("no.wav"));
    for (at, value) in columns.iter().enumerate() {
        assert_eq!(value.to_bits(), rows[(at % 49) * 10 + at / 49].to_bits());
    }
}

#[test]
fn samples_of_f32_are_those_of_16_bits() {
    let samples = wav("yes.wav");
    let floats: Vec<f32> = samples.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    for name in ["mlperf-kws", "kaldi-fbank-80"] {
        assert_eq!(features(&sound(name, 49), &samples), features(&sound(name, 49), &floats));
    }
}

/// By `level = "peak"` the volume does not matter, but for the offset of the logarithm, which is as small as here is
/// the difference.
#[test]
fn volume_is_taken_out_where_the_level_is_the_peak() {
    let samples = wav("yes.wav");
    let quiet: Vec<i16> = samples.iter().map(|&x| x / 2 * 2).collect();
    let half: Vec<i16> = quiet.iter().map(|&x| x / 2).collect();
    let spec = sound("mlperf-kws", 49);
    assert_eq!(features(&spec, &quiet), features(&spec, &half));
    let silence = features(&spec, &[0_i16; 16_000]);
    assert!(
        silence.chunks(10).all(|frame| (frame[0] + 13.815_51 * 80_f32.sqrt()).abs() < 1e-3),
        "{silence:?}"
    );
}

#[test]
fn what_is_no_number_is_in_no_feature() {
    let nonsense = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -1e38, 0.0, 1e-40];
    let samples: Vec<f32> = nonsense.iter().copied().cycle().take(20_000).collect();
    for (name, _) in edgepack_signal::writer::PRESETS {
        let values = features(&spec(name), &samples);
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn a_stream_that_is_cleared_is_a_new_one() {
    let section = Section::of(&sound("mfcc-13", 20));
    let front_end = section.front_end();
    let mut memory = vec![0.0; front_end.memory_elems()];
    let mut stream = Stream::new(front_end, &mut memory).unwrap();
    let (mut first, mut second) = (vec![0.0; front_end.elems()], vec![0.0; front_end.elems()]);
    let samples = wav("yes.wav");
    assert!(stream.push(&samples).is_some());
    stream.read(&mut first).unwrap();
    assert!(stream.push(&samples[..777]).is_none());
    stream.clear();
    assert!(stream.push(&samples).is_some());
    stream.read(&mut second).unwrap();
    assert_eq!(first, second);
}

#[test]
fn the_selftest_tells_of_one_bit_in_a_table() {
    for (name, _) in edgepack_signal::writer::PRESETS {
        let mut section = Section::of(&spec(name));
        let is_ok = |section: &Section| {
            let front_end = section.front_end();
            let mut memory = vec![0.0; front_end.memory_elems()];
            Stream::new(front_end, &mut memory).unwrap().selftest(&mut vec![0.0; front_end.elems()])
        };
        assert_eq!(is_ok(&section), Ok(()), "{name}");
        // Of sound in the middle of the window; of what moves the filter.
        let at = if *name == "accelerometer" { 9 } else { 21 + 200 };
        section.0[at] ^= 4;
        assert_eq!(is_ok(&section), Err(edgepack_signal::Error::Check), "{name}");
    }
}

#[test]
fn memory_that_is_too_small_is_refused() {
    let section = Section::of(&spec("mlperf-kws"));
    let front_end = section.front_end();
    let needed = front_end.memory_elems();
    let mut memory = vec![0.0; needed];
    let error = Stream::new(front_end, &mut memory[1..]).unwrap_err();
    assert_eq!(error, edgepack_signal::Error::Memory { needed, given: needed - 1 });
    let mut stream = Stream::new(front_end, &mut memory).unwrap();
    let error = stream.read(&mut [0.0; 489]).unwrap_err();
    assert_eq!(error, edgepack_signal::Error::Output { needed: 490, given: 489 });
    // 480 samples, 512 for the transform, 40 bands, 49 rows of them and the greatest sample.
    assert_eq!(needed, 480 + 512 + 40 + 49 * 41);
}
