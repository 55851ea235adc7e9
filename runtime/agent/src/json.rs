//! What the agent prints: one line of JSON.

use std::io::Write;

use serde::Serialize;
use serde_json::ser::Formatter;

/// Prints a value on a line of its own.
pub fn print(value: &impl Serialize) -> Result<(), Box<dyn std::error::Error>> {
    let mut line = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Floats))?;
    line.push(b'\n');
    Ok(std::io::stdout().write_all(&line)?)
}

/// Floats by the standard library, which the agent has in it anyway: serde_json's own way needs tables of 18 kB.
struct Floats;

impl Formatter for Floats {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        write!(writer, "{value:?}")
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> std::io::Result<()> {
        self.write_f64(writer, value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_what_json_reads_back() {
        for value in [0.0, -0.0, 1.0, 0.1, 1e-9, 123456.789, 1e21, f64::MAX, f64::MIN_POSITIVE] {
            let mut line = Vec::new();
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Floats)).unwrap();
            assert_eq!(serde_json::from_slice::<f64>(&line).unwrap().to_bits(), value.to_bits());
        }
    }
}
