//! Samples in pieces of any size become windows of features.

use core::fmt;

use crate::{Error, FrontEnd, Layout, Sample};

/// A front-end over a stream of samples, in memory of its owner.
///
/// ```
/// # fn example(section: &[u8], microphone: &mut dyn FnMut() -> Option<[i16; 160]>) -> Result<(), edgepack_signal::Error> {
/// use edgepack_signal::{FrontEnd, Stream};
///
/// let front_end = FrontEnd::parse(section)?;
/// let mut memory = [0.0; 4096];
/// let mut stream = Stream::new(front_end, &mut memory)?;
/// let mut features = [0.0; 490];
/// while let Some(chunk) = microphone() {
///     let mut samples = &chunk[..];
///     while let Some(rest) = stream.push(samples) {
///         stream.read(&mut features)?;
///         // … run the package on them.
///         samples = rest;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Stream<'a, 'm> {
    front_end: FrontEnd<'a>,
    /// Samples of the frame that is next, `filled` of them there.
    frame: &'m mut [f32],
    filled: usize,
    /// The sample before the frame.
    before: f32,
    /// Of sound for the transform; of what moves, the slow part of every channel.
    work: &'m mut [f32],
    bands: &'m mut [f32],
    /// What is kept of the last frames, in turn.
    rows: &'m mut [f32],
    row_elems: usize,
    /// The row that is written next.
    next: usize,
    /// Frames that are missing until there is a window.
    missing: usize,
    is_new: bool,
}

impl<'a, 'm> Stream<'a, 'm> {
    /// A stream that has seen nothing. `memory` has [`FrontEnd::memory_elems`] elements, or more.
    ///
    /// # Errors
    /// [`Error::Memory`]: they are fewer.
    pub fn new(front_end: FrontEnd<'a>, memory: &'m mut [f32]) -> Result<Self, Error> {
        let (needed, given) = (front_end.memory_elems(), memory.len());
        let parts = front_end.memory();
        let [frame, work, bands, row_elems] = parts;
        let Some((memory, _)) = memory.split_at_mut_checked(needed) else {
            return Err(Error::Memory { needed, given });
        };
        let (frame, memory) = memory.split_at_mut(frame);
        let (work, memory) = memory.split_at_mut(work);
        let (bands, rows) = memory.split_at_mut(bands);
        let mut stream = Self {
            front_end,
            frame,
            filled: 0,
            before: 0.0,
            work,
            bands,
            rows,
            row_elems,
            next: 0,
            missing: 0,
            is_new: true,
        };
        stream.clear();
        Ok(stream)
    }

    /// The front-end.
    pub fn front_end(&self) -> FrontEnd<'a> {
        self.front_end
    }

    /// Forgets all samples: after a gap, since a frame over it would be of no sound that there was.
    pub fn clear(&mut self) {
        (self.filled, self.before, self.next) = (0, 0.0, 0);
        self.missing = self.front_end.frames();
        self.is_new = true;
    }

    /// Takes samples until a window of features is there: then gives those that are left, for the next call, else
    /// `None`. Sound is `i16` as sensors give it, or `f32` from -1 to 1; of what moves, the channels of a measurement
    /// follow each other.
    pub fn push<'s, S: Sample>(&mut self, samples: &'s [S]) -> Option<&'s [S]> {
        let mut rest = samples;
        let scale = self.front_end.scale::<S>();
        loop {
            let places = self.frame.get_mut(self.filled..)?;
            let (taken, after) = rest.split_at(places.len().min(rest.len()));
            places.iter_mut().zip(taken).for_each(|(to, sample)| *to = sample.value() * scale);
            self.filled += taken.len();
            rest = after;
            if self.filled < self.frame.len() {
                return None;
            }
            self.take_frame();
            if self.missing == 0 {
                self.missing = self.front_end.step_frames();
                return Some(rest);
            }
        }
    }

    /// The frame that is full becomes a row.
    fn take_frame(&mut self) {
        let start = self.next * self.row_elems;
        let Some(row) = self.rows.get_mut(start..start + self.row_elems) else { return };
        match &self.front_end {
            FrontEnd::Spectral(sound) => {
                if sound.by_peak() {
                    let Some((peak, bands)) = row.split_last_mut() else { return };
                    *peak = self.frame.iter().fold(0.0, |peak, &x| if x > peak { x } else { peak });
                    sound.bands(self.frame, self.before, self.work, bands);
                } else {
                    sound.bands(self.frame, self.before, self.work, self.bands);
                    sound.finish(self.bands, 1.0, row);
                }
                let hop = sound.hop_elems;
                self.before = self.frame.get(hop - 1).copied().unwrap_or_default();
                self.frame.copy_within(hop.., 0);
                self.filled -= hop;
            }
            FrontEnd::Motion(motion) => {
                motion.measure(self.frame, self.work, self.is_new, row);
                self.filled = 0;
            }
        }
        self.is_new = false;
        self.next = (self.next + 1) % self.front_end.frames();
        self.missing -= 1;
    }

    /// The features of the last frames, as the model takes them: f32 `[frames, features]`, or `[features, frames]` by
    /// [`FrontEnd::layout`]. Frames that there were not yet are of what memory held.
    ///
    /// # Errors
    /// [`Error::Output`]: `features` has not [`FrontEnd::elems`] elements.
    pub fn read(&mut self, features: &mut [f32]) -> Result<(), Error> {
        let (needed, given) = (self.front_end.elems(), features.len());
        if needed != given {
            return Err(Error::Output { needed, given });
        }
        let count = self.front_end.features();
        // The oldest row is the one that would be written next.
        let split = (self.next * self.row_elems).min(self.rows.len());
        let (newer, older) = self.rows.split_at(split);
        let rows = older.chunks_exact(self.row_elems).chain(newer.chunks_exact(self.row_elems));
        match &self.front_end {
            FrontEnd::Spectral(sound) if sound.by_peak() => {
                let peaks = self.rows.chunks_exact(self.row_elems).filter_map(|row| row.last());
                let peak = peaks.fold(0.0, |peak: f32, &x| if x > peak { x } else { peak });
                // Silence stays what it is.
                let gain = if peak > 0.0 { 1.0 / peak } else { 0.0 };
                for (row, to) in rows.zip(features.chunks_exact_mut(count)) {
                    self.bands.iter_mut().zip(row).for_each(|(band, x)| *band = *x);
                    sound.finish(self.bands, gain, to);
                }
            }
            _ => {
                rows.zip(features.chunks_exact_mut(count)).for_each(|(row, to)| to.copy_from_slice(row));
                if let FrontEnd::Motion(motion) = &self.front_end {
                    motion.normalise(features);
                }
            }
        }
        if self.front_end.layout() == Layout::FeaturesFirst {
            transpose(features, count);
        }
        Ok(())
    }

    /// The features of one recording: of its first samples, as many as a window has, and zeros where it is shorter. The
    /// stream is new then.
    ///
    /// # Errors
    /// As [`Stream::read`].
    pub fn clip<S: Sample>(&mut self, samples: &[S], features: &mut [f32]) -> Result<(), Error> {
        self.clear();
        let mut window = self.push(samples).is_some();
        let zeros = [0_i16; 64];
        while !window {
            window = self.push(&zeros).is_some();
        }
        let result = self.read(features);
        self.clear();
        result
    }

    /// Whether this processor computes what the workstation did: the features of a window of noise, bit for bit. The
    /// stream is new then, and `features`, as long as for [`Stream::read`], are of noise.
    ///
    /// # Errors
    /// [`Error::Check`]: they are others. [`Error::Output`] as [`Stream::read`].
    pub fn selftest(&mut self, features: &mut [f32]) -> Result<(), Error> {
        if self.check(features)? == self.front_end.check() { Ok(()) } else { Err(Error::Check) }
    }

    /// FNV-1a of 64 bits (Fowler, Noll, Vo) over the features of noise: a sample is the upper half of each state of a
    /// linear congruential generator (Press et al., "Numerical Recipes", section 7.1) from 0 on.
    pub(crate) fn check(&mut self, features: &mut [f32]) -> Result<u64, Error> {
        self.clear();
        let mut state = 0_u32;
        loop {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if self.push(&[(state >> 16) as i16]).is_some() {
                break;
            }
        }
        let result = self.read(features);
        self.clear();
        let bytes = features.iter().flat_map(|feature| feature.to_bits().to_le_bytes());
        let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        result.map(|()| bytes.fold(0xcbf2_9ce4_8422_2325, hash))
    }
}

impl fmt::Debug for Stream<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { front_end, filled, missing, .. } = self;
        write!(f, "Stream {{ front_end: {front_end:?}, filled: {filled}, missing: {missing} }}")
    }
}

/// Rows of `columns` become columns, in place: every cycle of the permutation is followed from its least index (Knuth,
/// "The Art of Computer Programming", volume 1, 1.3.3, exercise 12). Windows are small, and memory is smaller.
fn transpose(values: &mut [f32], columns: usize) {
    let (count, rows) = (values.len(), values.len() / columns.max(1));
    let from = |at: usize| (at % rows) * columns + at / rows;
    for start in 0..count {
        let mut at = from(start);
        while at > start {
            at = from(at);
        }
        // Where it comes back to, nothing below was before: this cycle is new.
        if at == start {
            let mut to = start;
            loop {
                let source = from(to);
                if source == start {
                    break;
                }
                values.swap(to, source);
                to = source;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::transpose;

    #[test]
    fn rows_become_columns() {
        for (rows, columns) in [(1, 1), (1, 5), (5, 1), (2, 3), (7, 4), (49, 10), (16, 16)] {
            let mut values: Vec<f32> = (0..rows * columns).map(|x| x as f32).collect();
            transpose(&mut values, columns);
            for (at, value) in values.iter().enumerate() {
                assert_eq!(*value as usize, (at % rows) * columns + at / rows, "{rows}x{columns} at {at}");
            }
        }
    }
}
