//! Two packages side by side: what slows the device meanwhile slows both.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{BenchOptions, Until, median, pin, us, warm_up};
use crate::{Error, InputData, Model, SessionOptions};

/// Medians of two blocks of runs, one right after the other, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Of the package that is measured.
    pub own_us: f64,
    /// Of the one that it is held against.
    pub other_us: f64,
}

/// What a measurement of two packages came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// The pairs of blocks, in their order.
    pub pairs: Vec<Pair>,
    /// Runs of a block of each package.
    pub runs_of_block: [u64; 2],
}

/// The shortest block: long enough that a package's weights are back in the caches for most of it.
const BLOCK: Duration = Duration::from_millis(5);
/// The fewest runs of a block.
const BLOCK_RUNS: u64 = 5;
/// Pairs: at least these, whatever the options say, or the ratio would have no spread; and at most those.
const LEAST: usize = 10;
const MOST: usize = 5000;

/// Measures two packages, each on its own input, in turns: a block of runs of the one, a block of the other, and the
/// next time in the other order, so that whoever comes first has no advantage and a steady drift cancels.
///
/// # Errors
/// As those of [`super::bench`], of either package.
pub fn bench_pairs(
    packages: [(&Path, InputData<'_>); 2],
    session: &SessionOptions,
    options: &BenchOptions,
) -> Result<Pairs, Error> {
    let _pinned = pin(&options.pin, session.threads)?;
    let [(own, own_input), (other, other_input)] = packages;
    let (own, other) = (Model::open(own)?, Model::open(other)?);
    let mut sessions = [(own.session(session)?, own_input), (other.session(session)?, other_input)];
    let mut run = |which: usize| {
        let (session, input) = &mut sessions[which];
        session.set_input(0, *input)?;
        session.run()
    };
    let run: &mut dyn FnMut(usize) -> Result<(), Error> = &mut run;
    let mut runs_of_block = [0; 2];
    for (which, runs) in runs_of_block.iter_mut().enumerate() {
        warm_up(options.warmup, &mut || run(which))?;
        let start = Instant::now();
        run(which)?;
        let one = start.elapsed().max(Duration::from_nanos(1));
        *runs = (BLOCK.as_nanos() as u64 / one.as_nanos() as u64 + 1).max(BLOCK_RUNS);
    }
    let mut times = Vec::with_capacity(runs_of_block.into_iter().max().unwrap_or(0) as usize);
    let mut block = |which: usize| {
        times.clear();
        for _ in 0..runs_of_block[which] {
            let before = Instant::now();
            run(which)?;
            times.push(before.elapsed().as_nanos() as u64);
        }
        Ok::<_, Error>(us(median(&mut times)))
    };
    let mut pairs = Vec::new();
    let (start, mut runs) = (Instant::now(), 0);
    loop {
        let is_enough = match options.until {
            Until::Runs(most) => runs >= most,
            Until::Seconds(seconds) => start.elapsed().as_secs_f64() >= seconds,
        };
        if pairs.len() >= MOST || is_enough && pairs.len() >= LEAST {
            return Ok(Pairs { pairs, runs_of_block });
        }
        let first = pairs.len() % 2;
        let mut medians = [0.0; 2];
        for which in [first, 1 - first] {
            medians[which] = block(which)?;
        }
        pairs.push(Pair { own_us: medians[0], other_us: medians[1] });
        runs += runs_of_block[0];
    }
}
