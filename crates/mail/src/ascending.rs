//! An ordered map whose keys nearly always come in ascending order, as queue ids and delivery numbers do.
//!
//! Promises: the order and the results of `BTreeMap`; hardly any unused places between keys that came in
//! order, or nearly so (a tree of such keys is half empty); taking from the front is cheap. Refuses: to be
//! fast for a million keys that come in random order.

use std::collections::VecDeque;
use std::ops::Index;

/// Pairs in one chunk, at most. A change moves at most half as many, and at either end none.
const CHUNK: usize = 64;
/// A chunk and the one behind it become one when they hold no more than this.
const MERGED_MAX: usize = CHUNK / 2;

#[derive(Debug)]
struct Chunk<K, V> {
    keys: VecDeque<K>,
    values: VecDeque<V>,
}

/// An ordered map for keys that ascend.
#[derive(Debug)]
pub struct AscendingMap<K, V> {
    /// No key of a chunk is less than its bound, and all are less than the next one.
    bounds: VecDeque<K>,
    chunks: VecDeque<Chunk<K, V>>,
    len: usize,
}

impl<K: Copy + Ord, V> AscendingMap<K, V> {
    /// An empty map.
    pub const fn new() -> AscendingMap<K, V> {
        AscendingMap { bounds: VecDeque::new(), chunks: VecDeque::new(), len: 0 }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where a key is: its chunk, and its place there, if it is there. Whatever is oldest or newest is
    /// nearly always asked for, and found without a search.
    fn find(&self, key: K) -> Option<(usize, usize)> {
        let chunk = match (self.bounds.get(1), self.bounds.back()) {
            (_, None) => return None,
            (Some(second), Some(last)) if *second <= key => match *last <= key {
                true => self.bounds.len() - 1,
                false => self.bounds.partition_point(|bound| *bound <= key) - 1,
            },
            _ => 0,
        };
        let keys = &self.chunks[chunk].keys;
        if keys.front() == Some(&key) {
            return Some((chunk, 0));
        } else if keys.back() == Some(&key) {
            return Some((chunk, keys.len() - 1));
        }
        keys.binary_search(&key).ok().map(|place| (chunk, place))
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(*key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(*key).map(|(chunk, place)| &self.chunks[chunk].values[place])
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(*key).map(|(chunk, place)| &mut self.chunks[chunk].values[place])
    }

    /// Sets the value of a key, whether or not it had one.
    pub fn insert(&mut self, key: K, value: V) {
        let newest = self.bounds.back().is_some_and(|bound| *bound <= key);
        let behind = match newest {
            true => self.bounds.len(),
            false => self.bounds.partition_point(|bound| *bound <= key),
        };
        let at = behind.saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else { return self.open(0, key, value) };
        let last = chunk.keys.back().is_some_and(|last| *last < key);
        let found = if last { Err(chunk.keys.len()) } else { chunk.keys.binary_search(&key) };
        let place = match found {
            Ok(place) => {
                chunk.values[place] = value;
                return;
            }
            Err(place) => place,
        };
        if chunk.keys.len() == CHUNK {
            return self.insert_where_full(at, place, key, value);
        }
        chunk.keys.insert(place, key);
        chunk.values.insert(place, value);
        self.bounds[at] = self.bounds[at].min(key);
        self.len += 1;
    }

    /// The chunk behind takes what is too much, so that keys that come a little late do not leave chunks
    /// half empty. Only a full one in the middle is parted in two.
    fn insert_where_full(&mut self, at: usize, place: usize, key: K, value: V) {
        let full_behind = self.chunks.get(at + 1).map(|next| next.keys.len() == CHUNK);
        if place == CHUNK {
            return match full_behind {
                Some(false) => {
                    self.len += 1;
                    self.put_in_front(at + 1, key, value);
                }
                Some(true) | None => self.open(at + 1, key, value),
            };
        }
        let full = &mut self.chunks[at];
        if full_behind == Some(true) {
            let upper =
                Chunk { keys: full.keys.split_off(CHUNK / 2), values: full.values.split_off(CHUNK / 2) };
            self.bounds.insert(at + 1, upper.keys[0]);
            self.chunks.insert(at + 1, upper);
        } else if let Some((last, last_value)) = full.keys.pop_back().zip(full.values.pop_back()) {
            match full_behind {
                Some(_) => self.put_in_front(at + 1, last, last_value),
                None => {
                    self.len -= 1;
                    self.open(at + 1, last, last_value);
                }
            }
        }
        self.insert(key, value);
    }

    fn put_in_front(&mut self, at: usize, key: K, value: V) {
        self.bounds[at] = key;
        self.chunks[at].keys.push_front(key);
        self.chunks[at].values.push_front(value);
    }

    /// The value of `key`; `value` if there was none.
    pub fn entry(&mut self, key: K, value: V) -> &mut V {
        if !self.contains_key(&key) {
            self.insert(key, value);
        }
        self.get_mut(&key).expect("the key is there")
    }

    fn open(&mut self, at: usize, key: K, value: V) {
        // Many a map stays small.
        let room = if self.chunks.is_empty() { 4 } else { CHUNK };
        let (mut keys, mut values) = (VecDeque::with_capacity(room), VecDeque::with_capacity(room));
        keys.push_back(key);
        values.push_back(value);
        self.bounds.insert(at, key);
        self.chunks.insert(at, Chunk { keys, values });
        self.len += 1;
    }

    /// Takes a key out and gives its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at, place) = self.find(*key)?;
        let chunk = &mut self.chunks[at];
        chunk.keys.remove(place);
        let value = chunk.values.remove(place)?;
        self.len -= 1;
        if chunk.keys.is_empty() {
            self.bounds.remove(at);
            self.chunks.remove(at);
        } else {
            self.merge(at);
            if let Some(before) = at.checked_sub(1) {
                self.merge(before);
            }
        }
        Some(value)
    }

    /// Makes one of two neighbours that are small.
    fn merge(&mut self, at: usize) {
        let small = self.chunks[at].keys.len();
        if self.chunks.get(at + 1).is_none_or(|next| small + next.keys.len() > MERGED_MAX) {
            return;
        }
        self.bounds.remove(at + 1);
        if let Some(next) = self.chunks.remove(at + 1) {
            self.chunks[at].keys.extend(next.keys);
            self.chunks[at].values.extend(next.values);
        }
    }

    /// The pair with the least key.
    pub fn first(&self) -> Option<(K, &V)> {
        let chunk = self.chunks.front()?;
        Some((*chunk.keys.front()?, chunk.values.front()?))
    }

    /// Takes the pair with the least key out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first()?.0;
        self.remove(&key).map(|value| (key, value))
    }

    /// Takes a few dozen of the least keys out.
    pub fn take_front(&mut self) -> impl Iterator<Item = (K, V)> {
        self.bounds.pop_front();
        let chunk = self.chunks.pop_front();
        self.len -= chunk.as_ref().map_or(0, |chunk| chunk.keys.len());
        chunk.into_iter().flat_map(|chunk| chunk.keys.into_iter().zip(chunk.values))
    }

    /// The first pair whose key is at least `from`.
    pub fn at_least(&self, from: K) -> Option<(K, &V)> {
        let mut at = match self.bounds.get(1) {
            Some(second) if *second <= from => self.bounds.partition_point(|bound| *bound <= from) - 1,
            _ => 0,
        };
        let mut chunk = self.chunks.get(at)?;
        let mut place = chunk.keys.partition_point(|key| *key < from);
        if place == chunk.keys.len() {
            (at, place) = (at + 1, 0);
            chunk = self.chunks.get(at)?;
        }
        Some((chunk.keys[place], &chunk.values[place]))
    }

    /// All pairs with keys greater than `after`, by key.
    pub fn after(&self, after: Option<K>) -> Pairs<'_, K, V> {
        let behind = move |key: &K| after.is_some_and(|after| *key <= after);
        let chunk = self.bounds.partition_point(behind).saturating_sub(1);
        let place = self.chunks.get(chunk).map_or(0, |chunk| chunk.keys.partition_point(behind));
        Pairs { map: self, chunk, place }
    }
}

/// Pairs of a map, by key: see [`AscendingMap::after`].
#[derive(Clone, Debug)]
pub struct Pairs<'m, K, V> {
    map: &'m AscendingMap<K, V>,
    chunk: usize,
    place: usize,
}

impl<'m, K: Copy, V> Iterator for Pairs<'m, K, V> {
    type Item = (K, &'m V);

    fn next(&mut self) -> Option<(K, &'m V)> {
        loop {
            let chunk = self.map.chunks.get(self.chunk)?;
            if let Some(key) = chunk.keys.get(self.place) {
                self.place += 1;
                return Some((*key, &chunk.values[self.place - 1]));
            }
            (self.chunk, self.place) = (self.chunk + 1, 0);
        }
    }
}

impl<K: Copy + Ord, V> Default for AscendingMap<K, V> {
    fn default() -> AscendingMap<K, V> {
        AscendingMap::new()
    }
}

impl<K: Copy + Ord, V> Index<&K> for AscendingMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key is there")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ascending_keys_fill_their_chunks() {
        let mut map = AscendingMap::new();
        (0..100 * CHUNK).for_each(|n| map.insert(n, ()));
        assert_eq!(map.chunks.len(), 100);
        (0..100 * CHUNK).filter(|n| n % 20 > 0).for_each(|n| assert!(map.remove(&n).is_some()));
        assert!(map.chunks.len() <= 2 * map.len().div_ceil(MERGED_MAX) + 1, "{} chunks", map.chunks.len());
        (0..100 * CHUNK).for_each(|n| _ = map.remove(&n));
        assert!(map.is_empty() && map.chunks.is_empty() && map.bounds.is_empty());
    }

    #[test]
    fn keys_that_come_a_little_late_leave_no_gaps() {
        let mut map = AscendingMap::new();
        let mut rng = crate::Rng::new(1);
        // As ids that are made in order and become durable in another one, a few dozen at a time.
        for batch in 0..160 {
            let mut under_way: Vec<usize> = (40 * batch..40 * (batch + 1)).collect();
            while !under_way.is_empty() {
                let done = rng.below(under_way.len() as u64) as usize;
                map.insert(under_way.swap_remove(done), ());
            }
        }
        let fewest = map.len().div_ceil(CHUNK);
        assert!(map.chunks.len() <= fewest + fewest / 5, "{} chunks for {fewest}", map.chunks.len());
    }

    proptest! {
        #[test]
        fn equals_a_plain_map(
            steps in proptest::collection::vec((any::<bool>(), 0u32..400, any::<u8>()), 0..1500),
            cut in 0u32..400,
        ) {
            let (mut map, mut plain) = (AscendingMap::new(), BTreeMap::new());
            // Keys in order first, so that there are chunks to change.
            for key in (0..400).step_by(3) {
                map.insert(key, 0);
                plain.insert(key, 0);
            }
            for (add, key, value) in steps {
                if add {
                    map.insert(key, value);
                    plain.insert(key, value);
                } else {
                    prop_assert_eq!(map.remove(&key), plain.remove(&key));
                }
                prop_assert_eq!(map.len(), plain.len());
                prop_assert_eq!(map.get(&key), plain.get(&key));
                prop_assert_eq!(map.get_mut(&key).copied(), plain.get(&key).copied());
                prop_assert_eq!(map.first(), plain.first_key_value().map(|(key, value)| (*key, value)));
                let next = plain.range(key..).next().map(|(key, value)| (*key, value));
                prop_assert_eq!(map.at_least(key), next);
            }
            prop_assert!(map.after(None).eq(plain.iter().map(|(key, value)| (*key, value))));
            let greater = plain.iter().filter(|(key, _)| **key > cut).map(|(key, value)| (*key, value));
            prop_assert!(map.after(Some(cut)).eq(greater));
        }
    }
}
