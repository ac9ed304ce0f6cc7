//! Ordered maps that are nearly always tiny: one site, one job, one peer. [`FewMap`] is small, [`FrontMap`]
//! has its first few pairs at hand.
//!
//! Promises: the order and the results of `BTreeMap`, whatever the size; a single pair needs no memory of
//! its own; to take the first pair touches nothing but that pair, nearly always. Refuses: to turn back into
//! a smaller form when it shrinks, except when it is empty; its owners do not live long.

use std::collections::VecDeque;

use mail::AscendingMap;
use smallvec::SmallVec;

/// From this many pairs at the front on, new ones go behind it. A change moves at most half as many.
const FRONT: usize = 32;

/// An ordered map for mostly one pair.
#[derive(Debug)]
pub(crate) enum FewMap<K: Copy, V: Copy> {
    One(Option<(K, V)>),
    /// The least keys in an array, which is never empty, and all others.
    Line(VecDeque<(K, V)>, Option<Box<AscendingMap<K, V>>>),
}

impl<K: Copy + Ord, V: Copy> FewMap<K, V> {
    pub(crate) fn new() -> FewMap<K, V> {
        FewMap::One(None)
    }

    /// Whether there may be more than one pair: false is certain.
    pub(crate) fn has_several(&self) -> bool {
        matches!(self, FewMap::Line(..))
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        match self {
            FewMap::One(pair) => pair.filter(|(other, _)| *other == key).map(|(_, value)| value),
            FewMap::Line(front, rest) => match place(front, key) {
                Ok(place) => Some(front[place].1),
                Err(_) => rest.as_ref().and_then(|rest| rest.get(&key).copied()),
            },
        }
    }

    /// The value of `key`; `value` if there was none.
    pub(crate) fn entry(&mut self, key: K, value: V) -> &mut V {
        if let FewMap::One(Some(pair)) = self
            && pair.0 != key
        {
            *self = FewMap::Line(VecDeque::from([*pair]), None);
        }
        match self {
            FewMap::One(pair) => &mut pair.get_or_insert((key, value)).1,
            FewMap::Line(front, rest) => {
                let full = front.len() >= FRONT;
                let behind = front.back().is_some_and(|(last, _)| *last < key);
                if behind && (full || rest.is_some()) {
                    return rest.get_or_insert_default().entry(key, value);
                }
                let place = place(front, key).unwrap_or_else(|place| {
                    if let Some((key, value)) = front.pop_back_if(|_| full) {
                        rest.get_or_insert_default().insert(key, value);
                    }
                    front.insert(place, (key, value));
                    place
                });
                &mut front[place].1
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        *self.entry(key, value) = value;
    }

    pub(crate) fn remove(&mut self, key: K) {
        let (front, rest) = match self {
            FewMap::One(pair) => {
                pair.take_if(|(other, _)| *other == key);
                return;
            }
            FewMap::Line(front, rest) => (front, rest),
        };
        if let Ok(place) = place(front, key) {
            front.remove(place);
        } else if let Some(rest) = rest {
            rest.remove(&key);
        }
        if rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            *rest = None;
        }
        if front.is_empty() {
            match rest {
                Some(rest) => front.extend(rest.take_front()),
                None => *self = FewMap::new(),
            }
        }
    }

    /// The pair with the least key.
    pub(crate) fn first(&self) -> Option<(K, V)> {
        match self {
            FewMap::One(pair) => *pair,
            FewMap::Line(front, _) => front.front().copied(),
        }
    }

    /// All pairs, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        let (one, front, rest) = match self {
            FewMap::One(pair) => (*pair, None, None),
            FewMap::Line(front, rest) => (None, Some(front), rest.as_ref()),
        };
        let front = front.into_iter().flatten().copied();
        let rest = rest.into_iter().flat_map(|map| map.after(None));
        one.into_iter().chain(front).chain(rest.map(|(key, value)| (key, *value)))
    }

    /// All values, by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = V> {
        self.iter().map(|(_, value)| value)
    }
}

/// So many pairs are kept in place. More would be more to read each time, fewer would be read from
/// elsewhere more often.
const NEAR: usize = 3;

/// An ordered map of pairs that are taken from the front one after the other, long after they came: the first
/// few are kept in place, so that taking one seldom waits for memory that no cache holds.
#[derive(Debug)]
pub(crate) struct FrontMap<K: Copy, V: Copy> {
    /// The least keys; empty when there are none at all.
    near: SmallVec<[(K, V); NEAR]>,
    rest: FewMap<K, V>,
}

impl<K: Copy + Ord, V: Copy> FrontMap<K, V> {
    pub(crate) fn new() -> FrontMap<K, V> {
        FrontMap { near: SmallVec::new(), rest: FewMap::new() }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let full = self.near.len() == NEAR;
        let behind = self.near.last().is_some_and(|(last, _)| *last < key);
        if behind && (full || self.rest.first().is_some()) {
            return self.rest.insert(key, value);
        }
        match self.near.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => self.near[place].1 = value,
            Err(place) => {
                if full && let Some((key, value)) = self.near.pop() {
                    self.rest.insert(key, value);
                }
                self.near.insert(place, (key, value));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) {
        match self.near.iter().position(|(other, _)| *other == key) {
            Some(place) => _ = self.near.remove(place),
            None => self.rest.remove(key),
        }
        if self.near.is_empty() {
            while let Some((key, value)) = self.rest.first().filter(|_| self.near.len() < NEAR) {
                self.near.push((key, value));
                self.rest.remove(key);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = FrontMap::new();
    }

    /// The pair with the least key.
    pub(crate) fn first(&self) -> Option<(K, V)> {
        self.near.first().copied()
    }

    /// All pairs, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.near.iter().copied().chain(self.rest.iter())
    }

    /// All values, by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = V> {
        self.iter().map(|(_, value)| value)
    }
}

/// Where a key is, or belongs. Mostly it is the first one.
fn place<K: Copy + Ord, V>(pairs: &VecDeque<(K, V)>, key: K) -> Result<usize, usize> {
    match pairs.front() {
        Some((first, _)) if *first == key => Ok(0),
        _ => pairs.binary_search_by_key(&key, |(key, _)| *key),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_plain_map(steps in proptest::collection::vec((0u8..3, 0u8..250, any::<u8>()), 0..1500)) {
            let (mut few, mut front, mut plain) = (FewMap::new(), FrontMap::new(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => {
                        few.insert(key, value);
                        front.insert(key, value);
                        plain.insert(key, value);
                    }
                    1 => {
                        *few.entry(key, value) |= 1;
                        front.insert(key, few.get(key).unwrap());
                        *plain.entry(key).or_insert(value) |= 1;
                    }
                    _ => {
                        few.remove(key);
                        front.remove(key);
                        plain.remove(&key);
                    }
                }
                prop_assert_eq!(few.get(key), plain.get(&key).copied());
                prop_assert_eq!(front.first(), few.first());
                prop_assert!(front.iter().eq(few.iter()));
                prop_assert_eq!(few.first(), plain.first_key_value().map(|(key, value)| (*key, *value)));
                prop_assert!(few.iter().eq(plain.iter().map(|(key, value)| (*key, *value))));
            }
        }
    }
}
