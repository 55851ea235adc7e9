//! A front-end between a recorder and a package.

use edgepack_firmware::edgepack_signal::writer::{Spec, encode, preset};
use edgepack_firmware::edgepack_signal::{self as signal, FrontEnd, Stream};
use edgepack_firmware::{Listen, ListenError, Source};

/// MFCC of 20 frames, with a new window every 5: the section's words, and its bytes.
fn section() -> (Vec<u32>, usize) {
    let mut spec = Spec::from_toml(preset("mfcc-13").unwrap()).unwrap();
    let sound = spec.spectral.as_mut().unwrap();
    (sound.frames, sound.step_frames, sound.pre_emphasis) = (20, Some(5), 0.0);
    let bytes = encode(&spec).unwrap();
    let words = bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_ne_bytes(word)
    });
    (words.collect(), bytes.len())
}

fn sample(n: usize) -> i16 {
    (n * n * 7 % 20_011) as i16 - 10_000
}

/// Windows, ends and errors of a recorder that gives pieces of these sizes, and an error for a 0.
fn listen(pieces: &[usize]) -> Vec<Result<Option<Vec<f32>>, &'static str>> {
    let (words, bytes) = section();
    let front_end = FrontEnd::parse(&bytemuck::cast_slice(&words)[..bytes]).unwrap();
    let mut memory = vec![0.0; front_end.memory_elems()];
    let (mut at, mut pieces) = (0, pieces.iter());
    let recorder = |buffer: &mut [i16]| match pieces.next() {
        None => Ok(0),
        Some(0) => Err("overrun"),
        Some(&count) => {
            let count = count.min(buffer.len());
            buffer[..count].iter_mut().for_each(|to| {
                *to = sample(at);
                at += 1;
            });
            Ok(count)
        }
    };
    let mut buffer = [0; 3000];
    let mut source = Listen::new(recorder, Stream::new(front_end, &mut memory).unwrap(), &mut buffer);
    let (mut windows, mut ends) = (Vec::new(), 0);
    while ends < 2 {
        let mut window = vec![0.0; front_end.elems()];
        let outcome = source.read(&mut window);
        ends += usize::from(outcome == Ok(false));
        windows.push(match outcome {
            Ok(there) => Ok(there.then_some(window)),
            Err(ListenError::Recorder(error)) => Err(error),
            Err(error) => panic!("{error}"),
        });
    }
    windows
}

#[test]
fn windows_do_not_depend_on_the_recorders_pieces() {
    let whole = listen(&[3000; 4]);
    // 20 frames of 160 samples and 240 more, then every 800: of 12000 samples eleven windows.
    assert_eq!(whole.iter().filter(|window| matches!(window, Ok(Some(_)))).count(), 11);
    assert_eq!(whole[11..], [Ok(None), Ok(None)]);
    assert_eq!(listen(&[1000; 12]), whole);
    assert_eq!(listen(&[1; 12_000]), whole);
}

#[test]
fn after_an_error_there_is_no_window_over_the_gap() {
    let windows = listen(&[3000, 2000, 0, 3000, 3000]);
    // 5000 samples give two windows; of the 6000 after the error the first needs 3440 again.
    let kinds: Vec<_> = windows.iter().map(|window| window.as_ref().map(Option::is_some)).collect();
    let expected =
        [Ok(true), Ok(true), Err("overrun"), Ok(true), Ok(true), Ok(true), Ok(true), Ok(false), Ok(false)];
    assert_eq!(kinds, expected.each_ref().map(|kind| kind.as_ref().map(|&there| there)));
}

#[test]
fn a_place_of_another_length_is_an_error() {
    let (words, bytes) = section();
    let front_end = FrontEnd::parse(&bytemuck::cast_slice(&words)[..bytes]).unwrap();
    let mut memory = vec![0.0; front_end.memory_elems()];
    let mut buffer = [0_i16; 100];
    let silence = |samples: &mut [i16]| Ok::<_, &str>(samples.len());
    let mut source = Listen::new(silence, Stream::new(front_end, &mut memory).unwrap(), &mut buffer);
    let error = source.read(&mut [0.0; 10]).unwrap_err();
    assert_eq!(error, ListenError::Signal(signal::Error::Output { needed: 260, given: 10 }));
}
