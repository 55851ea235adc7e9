//! Which samples of a source are taken.

/// At most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The first ones.
    First(usize),
    /// From the first to the last, as evenly spread as can be: files are often sorted by class, or by time.
    Spread(usize),
}

impl From<Option<usize>> for Pick {
    fn from(limit: Option<usize>) -> Self {
        Self::First(limit.unwrap_or(usize::MAX))
    }
}

impl Pick {
    /// How many of `total`.
    pub fn count(self, total: u64) -> u64 {
        let (Self::First(most) | Self::Spread(most)) = self;
        total.min(most as u64)
    }

    /// Where in `total` the one at `index` is.
    pub(super) fn place(self, index: u64, total: u64) -> u64 {
        match self {
            Self::First(_) => index,
            Self::Spread(_) => {
                (u128::from(index) * u128::from(total) / u128::from(self.count(total).max(1))) as u64
            }
        }
    }

    /// Those of a list.
    pub(super) fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let total = all.len() as u64;
        let mut places = (0..self.count(total)).map(|index| self.place(index, total)).peekable();
        let taken = all.into_iter().zip(0..).filter(|(_, at)| places.next_if_eq(at).is_some());
        taken.map(|(one, _)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_samples_are_as_many_and_from_everywhere() {
        assert_eq!(Pick::Spread(4).of((0..10).collect()), [0, 2, 5, 7]);
        assert_eq!(Pick::Spread(4).of((0..3).collect()), [0, 1, 2]);
        assert_eq!(Pick::First(4).of((0..10).collect()), [0, 1, 2, 3]);
        assert_eq!(Pick::from(None).of((0..3).collect()), [0, 1, 2]);
        assert_eq!(Pick::Spread(3).of(Vec::<u8>::new()), Vec::<u8>::new());
        assert_eq!(Pick::Spread(2).place(1, u64::MAX), u64::MAX / 2);
    }
}
