//! Scores that flicker give decisions that do not.

mod common;

use common::decision;
use edgepack_firmware::{DecisionError, Hysteresis, MAX_FRAMES, Votes};

fn seen(mut rule: Hysteresis, scores: &[f32]) -> Vec<bool> {
    scores.iter().map(|&score| rule.update(score)).collect()
}

#[test]
fn between_the_thresholds_nothing_changes() {
    let rule = Hysteresis::new(0.6, 0.4).unwrap();
    let scores = [0.5, 0.6, 0.5, 0.4, 0.399, 0.5, 0.59, 0.61, f32::NAN, 0.5, f32::INFINITY];
    let expected = [false, true, true, true, false, false, false, true, false, false, true];
    assert_eq!(seen(rule, &scores), expected);
    // One threshold is a pair of equal ones.
    assert_eq!(seen(Hysteresis::new(0.5, 0.5).unwrap(), &[0.5, 0.49, 0.5]), [true, false, true]);
}

#[test]
fn n_of_m_frames_are_counted_in_a_window() {
    let mut votes = Votes::new(2, 3).unwrap();
    let frames = [true, false, true, true, false, false, true];
    let decided: Vec<bool> = frames.iter().map(|&vote| votes.update(vote)).collect();
    assert_eq!(decided, [false, false, true, true, true, false, false]);
    // Held against a count over the last M of every sequence of 10 frames, for every N and M.
    for of in [1, 2, 5, 9] {
        for needed in 1..=of {
            for sequence in 0..1u32 << 10 {
                let frames: Vec<bool> = (0..10).map(|bit| sequence >> bit & 1 == 1).collect();
                let mut votes = Votes::new(needed, of).unwrap();
                for last in 0..frames.len() {
                    let window = &frames[(last + 1).saturating_sub(of as usize)..=last];
                    let expected = window.iter().filter(|&&vote| vote).count() >= needed as usize;
                    assert_eq!(
                        votes.update(frames[last]),
                        expected,
                        "{needed} of {of}: {frames:?} at {last}"
                    );
                }
            }
        }
    }
    let mut all = Votes::new(MAX_FRAMES, MAX_FRAMES).unwrap();
    assert_eq!((0..40).map(|_| u32::from(all.update(true))).sum::<u32>(), 40 - MAX_FRAMES + 1);
}

#[test]
fn rules_that_decide_nothing_are_refused() {
    for (on, off) in [(0.4, 0.6), (f32::NAN, 0.1), (0.5, f32::NAN), (f32::INFINITY, 0.0)] {
        assert!(matches!(Hysteresis::new(on, off), Err(DecisionError::Thresholds { .. })), "{on} {off}");
    }
    for (needed, of) in [(0, 1), (2, 1), (1, 0), (0, 0), (1, MAX_FRAMES + 1), (u32::MAX, u32::MAX)] {
        let error = Votes::new(needed, of).unwrap_err();
        assert_eq!(error, DecisionError::Votes { needed, of });
        assert!(error.to_string().contains("at most 32"), "{error}");
    }
}

#[test]
fn what_was_before_a_gap_counts_no_more() {
    let mut rule = decision(0.6, 0.4, 2, 3);
    assert_eq!([0.9, 0.9].map(|score| rule.update(score)), [(true, false), (true, true)]);
    rule.clear();
    assert_eq!(
        [0.5, 0.9, 0.5].map(|score| rule.update(score)),
        [(false, false), (true, false), (true, true)]
    );
}
