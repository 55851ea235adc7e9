//! From scores, which flicker, to a decision, which does not.

use core::fmt;

/// A decision from the score of each frame: a frame is seen by [`Hysteresis`], and [`Votes`] of several frames
/// decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    hysteresis: Hysteresis,
    votes: Votes,
}

impl Decision {
    /// Both of them.
    pub fn new(hysteresis: Hysteresis, votes: Votes) -> Self {
        Self { hysteresis, votes }
    }

    /// The next frame's score; gives whether it counts for, and what is decided now.
    pub fn update(&mut self, score: f32) -> (bool, bool) {
        let seen = self.hysteresis.update(score);
        (seen, self.votes.update(seen))
    }

    /// Forgets all frames: what follows a gap says nothing about what was before it.
    pub fn clear(&mut self) {
        self.hysteresis.is_on = false;
        self.votes.frames = 0;
    }
}

/// Two thresholds in place of one, so that a score about a threshold does not switch with every frame: O. H.
/// Schmitt, "A thermionic trigger", Journal of Scientific Instruments 15, 1938.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hysteresis {
    on: f32,
    off: f32,
    is_on: bool,
}

impl Hysteresis {
    /// On from a score of `on` on, until one is below `off`.
    ///
    /// # Errors
    /// [`DecisionError::Thresholds`] where one is not finite, or `off` is above `on`.
    pub fn new(on: f32, off: f32) -> Result<Self, DecisionError> {
        let ordered = on.is_finite() && off.is_finite() && off <= on;
        if ordered { Ok(Self { on, off, is_on: false }) } else { Err(DecisionError::Thresholds { on, off }) }
    }

    /// The next score. One that is no number is below both.
    pub fn update(&mut self, score: f32) -> bool {
        self.is_on = score >= if self.is_on { self.off } else { self.on };
        self.is_on
    }
}

/// The most frames that vote.
pub const MAX_FRAMES: u32 = 32;

/// N of the last M frames: M. Schwartz, "A coincidence procedure for signal detection", IRE Transactions on
/// Information Theory 2, 1956. Frames before the first count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Votes {
    needed: u32,
    mask: u32,
    /// The last frame in the lowest bit.
    frames: u32,
}

impl Votes {
    /// `needed` of the last `of` frames.
    ///
    /// # Errors
    /// [`DecisionError::Votes`] but for 1 ≤ needed ≤ of ≤ [`MAX_FRAMES`].
    pub fn new(needed: u32, of: u32) -> Result<Self, DecisionError> {
        let possible = 1 <= needed && needed <= of && of <= MAX_FRAMES;
        if possible {
            Ok(Self { needed, mask: u32::MAX >> (32 - of), frames: 0 })
        } else {
            Err(DecisionError::Votes { needed, of })
        }
    }

    /// The next frame's vote; gives whether there are enough.
    pub fn update(&mut self, vote: bool) -> bool {
        self.frames = (self.frames << 1 | u32::from(vote)) & self.mask;
        self.frames.count_ones() >= self.needed
    }
}

/// A rule that decides nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DecisionError {
    /// Thresholds that are not finite, or in the wrong order.
    Thresholds {
        /// From where on.
        on: f32,
        /// Below which off.
        off: f32,
    },
    /// Numbers of frames that cannot be.
    Votes {
        /// Frames that are needed.
        needed: u32,
        /// Of so many.
        of: u32,
    },
}

impl fmt::Display for DecisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thresholds { on, off } => {
                write!(f, "thresholds {on} (on) and {off} (off): both are finite, and off is not above on")
            }
            Self::Votes { needed, of } => {
                write!(
                    f,
                    "{needed} of {of} frames: at least 1, of at most {MAX_FRAMES}, not more than there are"
                )
            }
        }
    }
}

impl core::error::Error for DecisionError {}
