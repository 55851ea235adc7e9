//! The greatest values of an output.

use core::cmp::Ordering;

/// How many of the greatest values a report has.
pub const TOP: usize = 5;

/// The greatest values, the greatest first; of equal ones the first class. At most [`TOP`].
pub type Top = heapless::Vec<Class, TOP>;

/// A value of the output.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Class {
    /// Its index in the output.
    pub class: usize,
    /// The value; that of an int8 output as it is.
    pub score: f32,
}

/// The greatest of `scores`, such as [`crate::edgepack_core::OutputData::values`] of an output, in one pass.
pub fn top(scores: impl Iterator<Item = f32>) -> Top {
    let mut top = Top::new();
    for (class, score) in scores.enumerate() {
        let place = top.iter().position(|other| score.total_cmp(&other.score) == Ordering::Greater);
        let place = place.unwrap_or(top.len());
        if place < TOP {
            if top.is_full() {
                top.pop();
            }
            // There is room, and the place is in it.
            let _ = top.insert(place, Class { class, score });
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first_and_of_equal_ones_the_first() {
        let classes = |scores: &[f32]| {
            top(scores.iter().copied()).iter().map(|c| c.class).collect::<heapless::Vec<_, TOP>>()
        };
        assert_eq!(classes(&[0.1, 0.7, 0.7, -1.0, f32::NEG_INFINITY, 0.5, 0.9]), [6, 1, 2, 5, 0]);
        assert_eq!(classes(&[1.0]), [0]);
        assert!(classes(&[]).is_empty());
        let seven: [f32; 7] = core::array::from_fn(|i| i as f32);
        assert_eq!(classes(&seven), [6, 5, 4, 3, 2]);
    }
}
