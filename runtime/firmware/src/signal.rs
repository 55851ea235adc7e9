//! A pin that says yes or no.

use embedded_hal::digital::OutputPin;

/// What a pin that is on looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// High is on.
    ActiveHigh,
    /// Low is on, as with a LED between the supply and the pin.
    ActiveLow,
}

/// An output pin that is written when it changes, and when nobody knows what it is: at first, and after an error.
#[derive(Debug)]
pub struct Signal<P> {
    pin: P,
    level: Level,
    state: Option<bool>,
}

impl<P: OutputPin> Signal<P> {
    /// Of this pin, whose state is not known yet.
    pub fn new(pin: P, level: Level) -> Self {
        Self { pin, level, state: None }
    }

    /// Turns it on or off; gives whether that was a change.
    ///
    /// # Errors
    /// The pin's; its state is not known then, and the next call writes it again.
    pub fn set(&mut self, on: bool) -> Result<bool, P::Error> {
        if self.state == Some(on) {
            return Ok(false);
        }
        self.state = None;
        if on == (self.level == Level::ActiveHigh) {
            self.pin.set_high()?
        } else {
            self.pin.set_low()?
        }
        self.state = Some(on);
        Ok(true)
    }

    /// Whether it is on; `None` where its last writing has failed.
    pub fn state(&self) -> Option<bool> {
        self.state
    }

    /// The pin.
    pub fn release(self) -> P {
        self.pin
    }
}
