//! Output pins of Linux, by embedded-hal's trait.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use embedded_hal::digital::{ErrorKind, ErrorType, OutputPin};

/// What `--pin` names.
pub enum Pin {
    /// None: what it would do is in the lines that are printed.
    Print,
    /// A file that takes 1 or 0, as `/sys/class/leds/ACT/brightness` or what a test reads.
    File(PathBuf),
    /// A line of a GPIO character device.
    #[cfg(all(feature = "gpio", target_os = "linux"))]
    Gpio(String, linux_embedded_hal::CdevPin),
}

/// Why a pin cannot be used or written.
#[derive(Debug, thiserror::Error)]
#[error("--pin {pin}: {reason}")]
pub struct PinError {
    pin: String,
    reason: String,
}

impl embedded_hal::digital::Error for PinError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl Pin {
    /// Opens `print`, `file:PATH` or `gpio:CHIP:LINE`. A GPIO line becomes an output that is low.
    ///
    /// # Errors
    /// [`PinError`]: it is none of these, is not there, or belongs to somebody else.
    pub fn open(text: &str) -> Result<Self, PinError> {
        let wrong = |reason: String| PinError { pin: text.into(), reason };
        match text.split_once(':') {
            None if text == "print" => Ok(Self::Print),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("gpio", rest)) => {
                let (chip, line) = rest
                    .rsplit_once(':')
                    .and_then(|(chip, line)| Some((chip, line.parse().ok()?)))
                    .ok_or_else(|| wrong("a chip and a line, as in gpio:/dev/gpiochip0:17".into()))?;
                gpio(text, chip, line).map_err(wrong)
            }
            _ => Err(wrong("print, file:PATH or gpio:CHIP:LINE, as in gpio:/dev/gpiochip0:17".into())),
        }
    }

    fn write(&mut self, high: bool) -> Result<(), PinError> {
        match self {
            Self::Print => Ok(()),
            Self::File(path) => {
                // Truncated, not created: a LED that is not there is an error.
                let file = OpenOptions::new().write(true).truncate(true).open(&*path);
                let written = file.and_then(|mut file| file.write_all(if high { b"1\n" } else { b"0\n" }));
                let failed = |error: std::io::Error| PinError {
                    pin: format!("file:{}", path.display()),
                    reason: error.to_string(),
                };
                written.map_err(failed)
            }
            #[cfg(all(feature = "gpio", target_os = "linux"))]
            Self::Gpio(text, pin) => {
                let written = if high { pin.set_high() } else { pin.set_low() };
                written.map_err(|error| PinError { pin: text.clone(), reason: error.to_string() })
            }
        }
    }
}

#[cfg(all(feature = "gpio", target_os = "linux"))]
fn gpio(text: &str, chip: &str, line: u32) -> Result<Pin, String> {
    let open = || {
        let mut chip = gpio_cdev::Chip::new(chip)?;
        let line = chip.get_line(line)?;
        let handle = line.request(gpio_cdev::LineRequestFlags::OUTPUT, 0, "edgepack-camera")?;
        linux_embedded_hal::CdevPin::new(handle)
    };
    let hint = "`gpioinfo` lists chips and lines; the user must be in the group that owns them";
    open().map(|pin| Pin::Gpio(text.into(), pin)).map_err(|error| format!("{error}; {hint}"))
}

#[cfg(not(all(feature = "gpio", target_os = "linux")))]
fn gpio(_text: &str, _chip: &str, _line: u32) -> Result<Pin, String> {
    Err("this build has no GPIO; build it on Linux with --features gpio".into())
}

impl ErrorType for Pin {
    type Error = PinError;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), PinError> {
        self.write(false)
    }

    fn set_high(&mut self) -> Result<(), PinError> {
        self.write(true)
    }
}
