//! Sections that nobody should have written: an error, or a front-end that neither panics nor reads beyond its tables.

use edgepack_signal::writer::{PRESETS, Spec, encode};
use edgepack_signal::{FrontEnd, Stream};

/// A section at a multiple of 4, to be cut and changed.
struct Bytes(Vec<u32>, usize);

impl Bytes {
    fn of(section: &[u8]) -> Self {
        let mut words = vec![0; section.len().div_ceil(4) + 1];
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        target[..section.len()].copy_from_slice(section);
        Self(words, section.len())
    }

    fn bytes(&self, length: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..length]
    }

    /// What it does with samples, if it is accepted. Windows that would take minutes are left out.
    fn try_it(&self) {
        let Ok(front_end) = FrontEnd::parse(self.bytes(self.1)) else { return };
        let memory_elems = front_end.memory_elems();
        if memory_elems > 20_000 {
            return;
        }
        let mut memory = vec![0.0; memory_elems];
        let mut features = vec![0.0; front_end.elems()];
        let mut stream = Stream::new(front_end, &mut memory).unwrap();
        let samples: Vec<i16> = (0..1000).map(|n: i32| (n * n * 31 % 65_536 - 32_768) as i16).collect();
        let mut rest = &samples[..];
        while let Some(left) = stream.push(rest) {
            stream.read(&mut features).unwrap();
            rest = left;
        }
        assert!(features.iter().all(|feature| feature.is_finite()));
    }
}

fn sections() -> Vec<(&'static str, Vec<u8>)> {
    PRESETS.iter().map(|(name, text)| (*name, encode(&Spec::from_toml(text).unwrap()).unwrap())).collect()
}

/// Words of the section that are not its text.
fn words(section: &[u8]) -> usize {
    u32::from_le_bytes(*section.first_chunk().unwrap()) as usize
}

#[test]
fn presets_are_accepted() {
    for (name, section) in sections() {
        let bytes = Bytes::of(&section);
        assert!(FrontEnd::parse(bytes.bytes(section.len())).is_ok(), "{name}");
        assert!(FrontEnd::description(bytes.bytes(section.len())).starts_with("{\"description\""), "{name}");
    }
}

#[test]
fn a_section_that_ends_too_early_is_refused_at_each_length() {
    for (name, section) in sections() {
        let bytes = Bytes::of(&section);
        for length in 0..4 * words(&section) {
            assert!(FrontEnd::parse(bytes.bytes(length)).is_err(), "{name}: {length} bytes");
        }
    }
}

#[test]
fn a_section_at_an_odd_address_is_refused() {
    let (_, section) = &sections()[0];
    let mut moved = Bytes::of(&[&[0], &section[..]].concat());
    moved.1 = section.len() + 1;
    assert_eq!(FrontEnd::parse(&moved.bytes(moved.1)[1..]).unwrap_err(), edgepack_signal::Error::Alignment);
}

#[test]
fn words_of_any_value_are_refused_or_harmless() {
    for (_, section) in sections() {
        let mut bytes = Bytes::of(&section);
        // Parameters, and the first words of the tables.
        for at in 0..words(&section).min(40) {
            let own = bytes.0[at];
            let values = [0, 1, 2, 3, 15, 16, 31, 40, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
            let floats = [1e-45_f32, -1.0, f32::MAX, f32::MIN, f32::NAN, f32::INFINITY].map(f32::to_bits);
            let near = [own.wrapping_add(1), own.wrapping_sub(1), own << 1, own >> 1];
            for value in values.into_iter().chain(floats).chain(near).chain((0..32).map(|bit| own ^ 1 << bit))
            {
                bytes.0[at] = value;
                bytes.try_it();
            }
            bytes.0[at] = own;
        }
    }
}

#[test]
fn tables_of_any_words_are_refused_or_harmless() {
    for (_, section) in sections() {
        let mut bytes = Bytes::of(&section);
        let count = words(&section);
        let mut state = 1_u32;
        for _ in 0..2000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % count;
            let own = bytes.0[at];
            bytes.0[at] = state.rotate_left(11);
            bytes.try_it();
            bytes.0[at] = own;
        }
    }
}

#[test]
fn what_a_description_gets_wrong_is_named() {
    let fails = |change: (&str, &str), says: &str| {
        let text = edgepack_signal::writer::preset("mlperf-kws").unwrap();
        assert!(text.contains(change.0), "{change:?}");
        let error = Spec::from_toml(&text.replacen(change.0, change.1, 1)).and_then(|spec| encode(&spec));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    fails(("fft_elems = 512", "fft_elems = 500"), "fft_elems: 500: give a power of two");
    fails(("fft_elems = 512", "fft_elems = 256"), "frame_elems: 480: give 1 to fft_elems (256)");
    fails(("hop_elems = 320", "hop_elems = 481"), "hop_elems: 481: give 1 to frame_elems (480)");
    fails(("high_hz = 4000", "high_hz = 8001"), "bands: 20 to 8001 Hz");
    fails(("coefficients = 10", "coefficients = 41"), "dct.coefficients: 41");
    fails(("step_frames = 12", "step_frames = 50"), "step_frames");
    fails(("offset = 1e-6", "offset = 0.0"), "log");
    fails(("window = \"hann\"", "window = \"kaiser\""), "unknown variant `kaiser`");
    fails(("frames = 49", "frame = 49"), "unknown field `frame`");
    fails(("[spectral]", "[motion]"), "unknown field `fft_elems`");
    let nothing = Spec::from_toml("description = \"\"").and_then(|spec| encode(&spec)).unwrap_err();
    assert!(nothing.to_string().contains("[spectral] or [motion]"), "{nothing}");
}
