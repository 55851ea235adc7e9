#!/usr/bin/env python3
"""Features that public libraries compute of tests/data/yes.wav: what tests/features.rs compares ours with.

    pip install numpy==2.4.6 scipy==1.17.1 librosa==0.11.0 python_speech_features==0.6 kaldi-native-fbank==1.22.4
    pip install tensorflow-cpu==2.21.0        # may need an environment of its own
    tests/references.py FOLDER                # writes NAME.f32, f32 in little-endian order, [frames, features]

What is not installed is skipped, and said so. Committed in tests/data is what these versions write.
"""

import pathlib
import sys
import wave

import numpy as np

FRAMES = 49
HERE = pathlib.Path(__file__).parent


def samples():
    with wave.open(str(HERE / "data/yes.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def mlperf_kws(pcm):
    """The lines of mlcommons/tiny, benchmark/training/keyword_spotting/get_dataset.py, feature_type "mfcc"."""
    import tensorflow as tf

    wav = tf.cast(pcm, tf.float32)
    wav = wav / tf.reduce_max(wav)
    stfts = tf.signal.stft(wav, frame_length=480, frame_step=320, fft_length=None, window_fn=tf.signal.hann_window)
    spectrograms = tf.abs(stfts)
    matrix = tf.signal.linear_to_mel_weight_matrix(40, stfts.shape[-1], 16000, 20.0, 4000.0)
    mel = tf.tensordot(spectrograms, matrix, 1)
    return tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + 1e-6))[..., :10].numpy()


def mlperf_ad(pcm):
    """The lines of mlcommons/tiny, benchmark/training/anomaly_detection/common.py, but for frames centred at the ends."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=pcm / 32768.0, sr=16000, n_fft=1024, hop_length=512, center=False, n_mels=128, power=2.0, dtype=np.float64)
    return (20.0 / 2.0 * np.log10(mel + sys.float_info.epsilon)).T


def log_mel_80(pcm):
    import librosa

    # Where a window is shorter than the transform, librosa centres it: a frame begins 56 samples later.
    audio = np.concatenate([np.zeros(56), pcm / 32768.0])
    mel = librosa.feature.melspectrogram(
        y=audio, sr=16000, n_fft=512, win_length=400, hop_length=160, window="hann", center=False, n_mels=80, fmin=0.0,
        fmax=8000.0, dtype=np.float64)
    return np.log10(np.maximum(mel, 1e-10)).T


def kaldi_fbank_80(pcm):
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = 16000
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 80
    options.mel_opts.low_freq = 20
    options.mel_opts.high_freq = 8000
    options.mel_opts.debug_mel = False
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16000, pcm.astype(np.float32).tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(index) for index in range(bank.num_frames_ready)])


def mfcc_13(pcm):
    import python_speech_features

    return python_speech_features.mfcc(pcm.astype(np.float64), 16000, appendEnergy=False)


def main():
    folder = pathlib.Path(sys.argv[1])
    pcm = samples()
    for reference in [mlperf_kws, mlperf_ad, log_mel_80, kaldi_fbank_80, mfcc_13]:
        name = reference.__name__.replace("_", "-")
        try:
            features = reference(pcm)
        except ImportError as error:
            print(f"SKIPPED {name}: {error}")
            continue
        features = np.ascontiguousarray(features[:FRAMES], "<f4")
        (folder / f"{name}.f32").write_bytes(features.tobytes())
        print(name, features.shape)


main()
