//! Sets of sequences as ranges: what is delivered or handed out is mostly one run of numbers.
//!
//! As text: `1-5 8 10-12`, both ends inside.

use std::collections::BTreeMap;
use std::fmt;

/// A set of numbers.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ranges {
    /// First → last, both inside; no two touch.
    ranges: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds one number.
    pub fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all numbers from `first` to `last`, both inside.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last);
        // Ranges that overlap or touch become one, from the highest down.
        while let Some((&start, &end)) = self.ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            self.ranges.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.ranges.insert(first, last);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Ranges) {
        for (first, last) in other.iter() {
            self.insert_range(first, last);
        }
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let below = self.ranges.range(..=number).next_back();
        below.is_some_and(|(_, last)| *last >= number)
    }

    /// The ranges in order: first and last number of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// The highest number.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, last)| *last)
    }

    /// True when no number is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The set that such words stand for; `None` when one is no range.
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Ranges> {
        let mut ranges = Ranges::default();
        for word in words {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            if first > last {
                return None;
            }
            ranges.insert_range(first, last);
        }
        Some(ranges)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            if first == last {
                write!(f, "{gap}{first}")?;
            } else {
                write!(f, "{gap}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_become_one_range() {
        let mut ranges = Ranges::default();
        for number in [5, 1, 3, 2, u64::MAX, 4, 9] {
            ranges.insert(number);
        }
        assert_eq!(ranges.to_string(), format!("1-5 9 {}", u64::MAX));
        assert_eq!((ranges.len(), ranges.last()), (3, Some(u64::MAX)));
        assert_eq!(Ranges::parse("7-3".split(' ')), None);
        assert_eq!(Ranges::parse("7-x".split(' ')), None);
    }

    proptest! {
        #[test]
        fn it_is_a_set(added in proptest::collection::vec((0u64..60, 0u64..6), 0..30)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (first, more) in added {
                ranges.insert_range(first, first + more);
                set.extend(first..=first + more);
            }
            for number in 0..70 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0));
            let text = ranges.to_string();
            prop_assert_eq!(Ranges::parse(text.split_whitespace()), Some(ranges));
        }
    }
}
