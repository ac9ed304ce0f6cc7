//! An ordered map that is nearly always tiny: one site, one job, one peer.
//!
//! Promises: the order and the results of `BTreeMap`, whatever the size; the first pair needs no memory of
//! its own. Refuses: to turn back into an array when it shrinks, except when it is empty; its owners do
//! not live long.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Most pairs in the array; a change moves at most this many.
const FEW_MAX: usize = 16;

/// An ordered map for mostly one pair.
#[derive(Clone, Debug)]
pub(crate) enum FewMap<K: Copy, V: Copy> {
    Few(SmallVec<[(K, V); 1]>),
    Many(BTreeMap<K, V>),
}

impl<K: Copy + Ord, V: Copy> FewMap<K, V> {
    pub(crate) fn new() -> FewMap<K, V> {
        FewMap::Few(SmallVec::new())
    }

    pub(crate) fn get(&self, key: K) -> Option<V> {
        match self {
            FewMap::Few(pairs) => pairs.iter().find(|(other, _)| *other == key).map(|(_, value)| *value),
            FewMap::Many(map) => map.get(&key).copied(),
        }
    }

    /// The value of `key`; `value` if there was none.
    pub(crate) fn entry(&mut self, key: K, value: V) -> &mut V {
        if let FewMap::Few(pairs) = self
            && pairs.len() == FEW_MAX
            && pairs.iter().all(|(other, _)| *other != key)
        {
            *self = FewMap::Many(pairs.iter().copied().collect());
        }
        match self {
            FewMap::Few(pairs) => {
                let place = pairs.iter().position(|(other, _)| *other >= key).unwrap_or(pairs.len());
                if pairs.get(place).is_none_or(|(other, _)| *other != key) {
                    pairs.insert(place, (key, value));
                }
                &mut pairs[place].1
            }
            FewMap::Many(map) => map.entry(key).or_insert(value),
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        *self.entry(key, value) = value;
    }

    pub(crate) fn remove(&mut self, key: K) {
        match self {
            FewMap::Few(pairs) => {
                if let Some(place) = pairs.iter().position(|(other, _)| *other == key) {
                    pairs.remove(place);
                }
            }
            FewMap::Many(map) => {
                map.remove(&key);
                if map.is_empty() {
                    *self = FewMap::new();
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = FewMap::new();
    }

    /// The pair with the least key.
    pub(crate) fn first(&self) -> Option<(K, V)> {
        match self {
            FewMap::Few(pairs) => pairs.first().copied(),
            FewMap::Many(map) => map.first_key_value().map(|(key, value)| (*key, *value)),
        }
    }

    /// All pairs, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, V)> {
        let (few, many) = match self {
            FewMap::Few(pairs) => (Some(pairs), None),
            FewMap::Many(map) => (None, Some(map)),
        };
        let few = few.into_iter().flatten().copied();
        few.chain(many.into_iter().flatten().map(|(key, value)| (*key, *value)))
    }

    /// All values, by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        let (few, many) = match self {
            FewMap::Few(pairs) => (Some(pairs), None),
            FewMap::Many(map) => (None, Some(map)),
        };
        let few = few.into_iter().flatten().map(|(_, value)| value);
        few.chain(many.into_iter().flat_map(BTreeMap::values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_plain_map(steps in proptest::collection::vec((0u8..3, 0u8..40, any::<u8>()), 0..300)) {
            let (mut few, mut plain) = (FewMap::new(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => {
                        few.insert(key, value);
                        plain.insert(key, value);
                    }
                    1 => {
                        *few.entry(key, value) |= 1;
                        *plain.entry(key).or_insert(value) |= 1;
                    }
                    _ => {
                        few.remove(key);
                        plain.remove(&key);
                    }
                }
                prop_assert_eq!(few.get(key), plain.get(&key).copied());
                prop_assert_eq!(few.first(), plain.first_key_value().map(|(key, value)| (*key, *value)));
                prop_assert!(few.iter().eq(plain.iter().map(|(key, value)| (*key, *value))));
            }
        }
    }
}
