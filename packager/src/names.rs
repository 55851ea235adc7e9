//! Names of nodes where there is little room: exporters join those of all that they fuse, to hundreds of letters.

use std::collections::HashMap;

/// The end of a name, of at most so many bytes, from the beginning of one of its parts on if there is one.
pub(crate) fn tail(name: &str, bytes: usize) -> &str {
    let mut start = name.len().saturating_sub(bytes);
    if start == 0 {
        return name;
    }
    while !name.is_char_boundary(start) {
        start += 1;
    }
    let end = &name[start..];
    match end.find([';', '/']).filter(|cut| cut + 1 < end.len()) {
        Some(cut) => &end[cut + 1..],
        None => end,
    }
}

/// Bytes of a name that most have enough of.
const SHORT_BYTES: usize = 32;

/// By name: its end, or all of it where others have the same end.
pub(crate) fn short<'a>(names: impl Iterator<Item = &'a str> + Clone) -> HashMap<&'a str, &'a str> {
    let mut ends: HashMap<&str, &str> = HashMap::new();
    let mut is_shared: HashMap<&str, bool> = HashMap::new();
    for name in names.clone() {
        let end = tail(name, SHORT_BYTES);
        let first = *ends.entry(end).or_insert(name);
        *is_shared.entry(end).or_default() |= first != name;
    }
    let of = |name: &'a str| match tail(name, SHORT_BYTES) {
        end if is_shared[end] => name,
        end => end,
    };
    names.map(|name| (name, of(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_names_are_whole_parts_and_stay_distinct() {
        assert_eq!(tail("model/block/conv;model/block/relu", 12), "block/relu");
        assert_eq!(tail("short", 12), "short");
        assert_eq!(tail("ääääääää", 5), "ää");
        let long = "a/".repeat(40);
        let (one, other, third) = (format!("{long}x/conv"), format!("{long}y/conv"), format!("{long}z/relu"));
        let names = [one.as_str(), &other, &one, &third];
        let short = short(names.into_iter());
        assert!(short[third.as_str()].len() <= 32 && short[third.as_str()].ends_with("relu"));
        let mut ends: Vec<&str> = short.values().copied().collect();
        ends.sort_unstable();
        ends.dedup();
        assert_eq!(ends.len(), 3);
    }
}
