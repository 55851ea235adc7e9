//! How many channels each group loses.

use super::importance::Order;
use super::units::Group;

/// How the channels that go are shared among the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Where the model's outputs lose least for the multiply-adds that are saved.
    #[default]
    Sensitivity,
    /// The same share of every layer.
    Uniform,
}

const NAMES: [(Allocation, &str); 2] =
    [(Allocation::Sensitivity, "sensitivity"), (Allocation::Uniform, "uniform")];

impl std::fmt::Display for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMES.iter().find(|(allocation, _)| allocation == self).map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for Allocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(allocation, _)| *allocation);
        found.ok_or_else(|| format!("`{text}` is none of {}", NAMES.map(|(_, name)| name).join(", ")))
    }
}

/// What is known of a group.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its units and products.
    pub group: &'a Group,
    /// The order in which they go.
    pub order: &'a Order,
    /// The share that goes, where the user says so.
    pub share: Option<f64>,
    /// Output channels of all its products that a unit is.
    pub channels: usize,
    /// Multiply-adds that a unit is, before any goes.
    pub macs: f64,
    /// Noise at the model's outputs for what its readers lose.
    pub sensitivity: f64,
}

/// No group loses more, unless the user says so: how it would be made up for is too far from what is known.
const MOST: f64 = 0.75;

impl Candidate<'_> {
    /// How many units may go so that as many stay as `multiple` divides (or a divisor of it, where there are
    /// few), from none on.
    fn steps(&self, multiple: usize, most: f64) -> Vec<usize> {
        let count = self.group.units.len();
        let mut multiple = multiple.max(1);
        while multiple > 1 && count < 4 * multiple {
            multiple /= 2;
        }
        let limit = (most * count as f64 + 1e-9) as usize;
        let fits = |gone: &usize| *gone == 0 || (count - gone).is_multiple_of(multiple);
        (0..=limit.min(self.order.units.len()).min(count - 1)).filter(fits).collect()
    }

    /// The step that is nearest to a share.
    fn nearest(&self, multiple: usize, share: f64) -> usize {
        let wanted = share * self.group.units.len() as f64;
        let steps = self.steps(multiple, 1.0);
        let far = |gone: usize| (gone as f64 - wanted).abs();
        steps.into_iter().min_by(|&a, &b| far(a).total_cmp(&far(b))).unwrap_or(0)
    }
}

/// How many units of each group go, so that `share` of all channels do.
pub fn allocate(groups: &[Candidate<'_>], share: f64, multiple: usize, allocation: Allocation) -> Vec<usize> {
    let fixed = |group: &Candidate<'_>| group.share.map(|share| group.nearest(multiple, share));
    if allocation == Allocation::Uniform {
        let of = |group: &Candidate<'_>| fixed(group).unwrap_or_else(|| group.nearest(multiple, share));
        return groups.iter().map(of).collect();
    }
    let mut gone: Vec<usize> = groups.iter().map(|group| fixed(group).unwrap_or(0)).collect();
    let free: Vec<usize> = (0..groups.len()).filter(|&g| groups[g].share.is_none()).collect();
    let steps: Vec<Vec<usize>> = groups.iter().map(|group| group.steps(multiple, MOST)).collect();
    let all: usize = free.iter().map(|&g| groups[g].group.units.len() * groups[g].channels).sum();
    let mut wanted = share * all as f64;
    // What costs least for the multiply-adds that it saves, until enough channels are gone; steps may join, since
    // what is lost need not grow more with each.
    loop {
        let options = free.iter().flat_map(|&g| {
            let (group, now) = (&groups[g], gone[g]);
            let lost = &group.order.lost;
            steps[g].iter().filter(move |&&to| to > now).map(move |&to| {
                let channels = (to - now) * group.channels;
                let saved = (to - now) as f64 * group.macs;
                ((lost[to] - lost[now]) * group.sensitivity / saved, g, to, channels)
            })
        });
        let nearer = options.filter(|(.., channels)| (wanted - *channels as f64).abs() < wanted.abs());
        let Some((_, g, to, channels)) = nearer.min_by(|a, b| a.0.total_cmp(&b.0)) else { return gone };
        gone[g] = to;
        wanted -= channels as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(count: usize, lost: impl Fn(usize) -> f64) -> Order {
        Order { units: (0..count).collect(), lost: (0..=count).map(lost).collect() }
    }

    fn group(count: usize) -> Group {
        Group { makers: vec![0], units: (0..count).collect() }
    }

    fn candidate<'a>(group: &'a Group, order: &'a Order, sensitivity: f64) -> Candidate<'a> {
        Candidate { group, order, share: None, channels: 1, macs: 1.0, sensitivity }
    }

    #[test]
    fn a_uniform_share_is_rounded_to_the_multiple() {
        let (group, order) = (group(64), order(64, |n| n as f64));
        let of = |multiple| allocate(&[candidate(&group, &order, 1.0)], 0.3, multiple, Allocation::Uniform);
        assert_eq!([of(1), of(4), of(8), of(16)], [[19], [20], [16], [16]]);
    }

    #[test]
    fn few_channels_have_a_smaller_multiple_and_one_always_stays() {
        let (group, order) = (group(6), order(6, |n| n as f64));
        let of = |share| allocate(&[candidate(&group, &order, 1.0)], share, 8, Allocation::Uniform);
        assert_eq!([of(0.3), of(1.0)], [[2], [5]]);
    }

    #[test]
    fn the_less_sensitive_group_loses_more() {
        let (group, order) = (group(64), order(64, |n| (n * n) as f64));
        let groups = [candidate(&group, &order, 1.0), candidate(&group, &order, 3.0)];
        let gone = allocate(&groups, 0.25, 4, Allocation::Sensitivity);
        assert_eq!(gone, [24, 8]);
    }

    #[test]
    fn a_share_that_is_said_holds_and_the_others_go_by_theirs() {
        let (group, order) = (group(64), order(64, |n| n as f64));
        let mut groups = [candidate(&group, &order, 1.0), candidate(&group, &order, 1.0)];
        groups[0].share = Some(0.0);
        assert_eq!(allocate(&groups, 0.25, 4, Allocation::Sensitivity), [0, 16]);
        groups[0].share = Some(1.0);
        assert_eq!(allocate(&groups, 0.25, 4, Allocation::Sensitivity), [60, 16]);
    }
}
