//! Runs a package on raw pixels and prints the greatest value of its first output for each sample.
//!
//! ```sh
//! cargo run -p edgepack-engine --example run -- digits.epk pixels
//! ```
//!
//! `pixels` holds samples one after the other, each as many bytes as the first input has elements.

use std::process::ExitCode;

use edgepack_engine::{InputData, Model, SessionOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [package, pixels] = &arguments[..] else {
        eprintln!("usage: run PACKAGE PIXELS");
        return ExitCode::from(2);
    };
    match run(package, pixels) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(package: &str, pixels: &str) -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(package)?;
    let mut session = model.session(&SessionOptions { threads: 1, ..SessionOptions::default() })?;
    println!("{} golden samples have the workstation's outputs on {}", session.selftest()?, session.isa());

    let input = model.package().inputs().next().ok_or("the package has no input")?;
    let elems = input.dims.elems().ok_or("the input is too large")? as usize;
    for (index, sample) in std::fs::read(pixels)?.chunks_exact(elems).enumerate() {
        // From here on nothing is allocated.
        session.set_input(0, InputData::Pixels(sample))?;
        session.run()?;
        let greatest = session.output(0)?.values().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((class, value)) = greatest {
            println!("sample {index}: class {class}, {value}");
        }
    }
    Ok(())
}
