//! The ids that wait for one site: a sorted array while there are few, a map for ascending keys when there
//! are many.
//!
//! Promises: ascending order, no duplicates; the oldest id, which mostly ends first, is found without a
//! search however many there are.

use std::iter::Copied;
use std::slice;

use mail::{AscendingMap, AscendingPairs, QueueId};

/// Most ids kept in the array; changing it moves at most this many words.
const FEW_MAX: usize = 64;
/// A map that shrinks to this size turns back into an array. Well below [`FEW_MAX`], so that a site
/// at the border does not change form with every message.
const MANY_MIN: usize = 32;
/// The array grows by this many places: doubling would leave a good part of a small site's memory unused.
const FEW_STEP: usize = 2;

#[derive(Debug)]
pub(crate) enum SiteIds {
    Few(Vec<QueueId>),
    /// Boxed because in place it would add nine words to every small site.
    Many(Box<AscendingMap<QueueId, ()>>),
}

impl SiteIds {
    pub(crate) const fn new() -> SiteIds {
        SiteIds::Few(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            SiteIds::Few(ids) => ids.len(),
            SiteIds::Many(ids) => ids.len(),
        }
    }

    pub(crate) fn contains(&self, id: QueueId) -> bool {
        match self {
            SiteIds::Few(ids) => ids.binary_search(&id).is_ok(),
            SiteIds::Many(ids) => ids.contains_key(&id),
        }
    }

    /// Returns whether the id was new.
    pub(crate) fn insert(&mut self, id: QueueId) -> bool {
        match self {
            SiteIds::Few(ids) => {
                let Err(place) = ids.binary_search(&id) else { return false };
                if ids.len() == FEW_MAX {
                    let mut many = AscendingMap::new();
                    ids.iter().for_each(|id| many.insert(*id, ()));
                    many.insert(id, ());
                    *self = SiteIds::Many(Box::new(many));
                } else {
                    if ids.len() == ids.capacity() {
                        ids.reserve_exact(FEW_STEP);
                    }
                    ids.insert(place, id);
                }
                true
            }
            SiteIds::Many(ids) => {
                let before = ids.len();
                ids.insert(id, ());
                ids.len() > before
            }
        }
    }

    /// Returns whether the id was there.
    pub(crate) fn remove(&mut self, id: QueueId) -> bool {
        match self {
            SiteIds::Few(ids) => {
                let Ok(place) = ids.binary_search(&id) else { return false };
                ids.remove(place);
                if ids.len() + 2 * FEW_STEP <= ids.capacity() {
                    ids.shrink_to(ids.len() + FEW_STEP);
                }
                true
            }
            SiteIds::Many(ids) => {
                let found = ids.remove(&id);
                if ids.len() <= MANY_MIN {
                    *self = SiteIds::Few(ids.after(None).map(|(id, ())| id).collect());
                }
                found.is_some()
            }
        }
    }

    /// The ids greater than `after`, ascending.
    pub(crate) fn after(&self, after: Option<QueueId>) -> Ids<'_> {
        match self {
            SiteIds::Few(ids) => {
                let start = after.map_or(0, |after| ids.partition_point(|&id| id <= after));
                Ids(Form::Few(ids[start..].iter().copied()))
            }
            SiteIds::Many(ids) => Ids(Form::Many(ids.after(after))),
        }
    }
}

/// Queue ids in ascending order.
#[derive(Clone, Debug)]
pub struct Ids<'r>(Form<'r>);

#[derive(Clone, Debug)]
enum Form<'r> {
    Few(Copied<slice::Iter<'r, QueueId>>),
    Many(AscendingPairs<'r, QueueId, ()>),
}

impl<'r> Ids<'r> {
    pub(crate) fn none() -> Ids<'r> {
        Ids(Form::Few([].iter().copied()))
    }
}

impl Iterator for Ids<'_> {
    type Item = QueueId;

    fn next(&mut self) -> Option<QueueId> {
        match &mut self.0 {
            Form::Few(ids) => ids.next(),
            Form::Many(ids) => ids.next().map(|(id, ())| id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn id(number: u64) -> QueueId {
        QueueId::from_u64(number)
    }

    #[test]
    fn the_form_follows_the_size() {
        let mut ids = SiteIds::new();
        for n in 0..FEW_MAX as u64 {
            assert!(ids.insert(id(n)));
        }
        assert!(matches!(ids, SiteIds::Few(_)));
        assert!(ids.insert(id(FEW_MAX as u64)));
        assert!(matches!(ids, SiteIds::Many(_)));
        for n in MANY_MIN..=FEW_MAX {
            assert!(matches!(ids, SiteIds::Many(_)));
            assert!(ids.remove(id(n as u64)));
        }
        assert!(matches!(ids, SiteIds::Few(_)));
        assert_eq!(ids.len(), MANY_MIN);
    }

    #[test]
    fn an_emptied_array_gives_its_memory_back() {
        let mut ids = SiteIds::new();
        (0..FEW_MAX as u64).for_each(|n| assert!(ids.insert(id(n))));
        (1..FEW_MAX as u64).for_each(|n| assert!(ids.remove(id(n))));
        let SiteIds::Few(left) = &ids else { panic!("one id needs no map") };
        assert!(left.capacity() <= 2 * FEW_STEP, "{}", left.capacity());
    }

    proptest! {
        #[test]
        fn equals_a_set(
            changes in proptest::collection::vec((any::<bool>(), 0u64..150), 0..600),
            cut in 0u64..150,
        ) {
            let (mut ids, mut model) = (SiteIds::new(), BTreeSet::new());
            for (add, n) in changes {
                if add {
                    prop_assert_eq!(ids.insert(id(n)), model.insert(id(n)));
                } else {
                    prop_assert_eq!(ids.remove(id(n)), model.remove(&id(n)));
                }
                prop_assert_eq!(ids.len(), model.len());
                prop_assert_eq!(ids.contains(id(n)), model.contains(&id(n)));
            }
            prop_assert!(ids.after(None).eq(model.iter().copied()));
            prop_assert!(ids.after(Some(id(cut))).eq(model.into_iter().filter(|&n| n > id(cut))));
        }
    }
}
