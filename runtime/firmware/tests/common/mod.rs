//! Stand-ins for what an application is given.
#![allow(dead_code)] // Every test file uses a part of it.

use std::collections::VecDeque;

use edgepack_firmware::edgepack_core::{InputData, OutputData};
use edgepack_firmware::{Decision, Hysteresis, Inference, Source, Votes};

/// Gives what was written down: samples of one number, ends, and errors.
pub struct Script(pub VecDeque<Result<Option<f32>, &'static str>>);

impl Script {
    pub fn of(frames: &[Result<Option<f32>, &'static str>]) -> Self {
        Self(frames.iter().copied().collect())
    }

    pub fn scores(scores: &[f32]) -> Self {
        Self(scores.iter().map(|&score| Ok(Some(score))).chain([Ok(None)]).collect())
    }
}

impl Source<f32> for Script {
    type Error = &'static str;

    fn read(&mut self, sample: &mut [f32]) -> Result<bool, &'static str> {
        let next = self.0.pop_front().expect("nobody reads on after the end")?;
        next.map_or(Ok(false), |score| {
            sample.fill(score);
            Ok(true)
        })
    }
}

/// Two classes: the rest, and what is in the sample. Fails below zero.
#[derive(Default)]
pub struct Echo([f32; 2]);

impl Inference for Echo {
    type Error = &'static str;

    fn infer(&mut self, sample: InputData<'_>) -> Result<OutputData<'_>, &'static str> {
        match sample {
            InputData::F32(&[score]) if score < 0.0 => Err("negative"),
            InputData::F32(&[score]) => {
                self.0 = [1.0 - score, score];
                Ok(OutputData::F32(&self.0))
            }
            _ => Err("not one number"),
        }
    }
}

pub fn decision(on: f32, off: f32, needed: u32, of: u32) -> Decision {
    Decision::new(Hysteresis::new(on, off).unwrap(), Votes::new(needed, of).unwrap())
}
