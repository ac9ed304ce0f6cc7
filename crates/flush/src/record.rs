//! The record: for every site, the messages that have unfinished mail for it.
//!
//! Promises: exact after any history of additions and removals; looking at one site touches that site
//! only; sites come in an order that puts a domain right before its subdomains, ids in ascending order.
//! The name of a site that nothing waits for any more is kept until there are as many of them as of the
//! others: most sites are back soon, and forgetting many at a time needs no comparison of names.
//!
//! Refuses: to know which messages a caller forgot to remove. Whoever ends a message says so, with the
//! sites it had.
//!
//! Known to be wrong: the hash has a fixed seed, so that names can be made that collide; look-ups of
//! such names are slow, and nothing else is.
//!
//! The measured cost of a million ids over 100,000 sites is printed by `tests/memory.rs`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::FixedState;
use mail::QueueId;

use crate::site_ids::{Ids, SiteIds};

/// Names a site as long as something waits for it; afterwards the number may name another site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SiteId(u32);

impl SiteId {
    /// The number, below the greatest count of sites there ever was at one time.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A site name that sorts by its labels from the last to the first: `example.com` stands in front of
/// everything below it, and all of `*.example.com` stands together.
#[derive(Clone, PartialEq, Eq, Debug)]
struct SiteName(Arc<str>);

impl Ord for SiteName {
    fn cmp(&self, other: &SiteName) -> Ordering {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        let same = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
        // What is behind the last label that differs, with its dot, is the same in both.
        let tail = a[a.len() - same..].iter().position(|byte| *byte == b'.').map_or(0, |dot| same - dot);
        let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
        let last_label = |name: &[u8]| name.iter().rposition(|byte| *byte == b'.').map_or(0, |dot| dot + 1);
        // Equal labels mean that one name ended: it stands before those below it.
        a[last_label(a)..].cmp(&b[last_label(b)..]).then(a.len().cmp(&b.len()))
    }
}

impl PartialOrd for SiteName {
    fn partial_cmp(&self, other: &SiteName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Site {
    name: Arc<str>,
    ids: SiteIds,
}

/// Which messages wait for which site.
///
/// Sites are spelled as [`mail::site_of_domain`] gives them; another spelling is another site.
#[derive(Debug, Default)]
pub struct Record {
    /// For look-ups; nobody sees its order.
    by_name: HashMap<Arc<str>, SiteId, FixedState>,
    /// For listings.
    ordered: BTreeMap<SiteName, SiteId>,
    /// By [`SiteId`]; nothing in the places of `free`.
    sites: Vec<Option<Site>>,
    /// Places to use again, the last freed first.
    free: Vec<SiteId>,
    /// Sites that nothing waits for, whose names are still known.
    empty: usize,
    /// How often numbers were given up.
    numbering: u64,
    pairs: usize,
}

/// So many names of empty sites are kept in any case.
const EMPTY_MIN: usize = 1024;

impl Record {
    /// An empty record.
    pub fn new() -> Record {
        Record::default()
    }

    /// Notes that `id` waits for `site`; noting it twice changes nothing.
    ///
    /// Panics when more than 2³² sites are waited for at one time.
    pub fn add(&mut self, site: &str, id: QueueId) -> SiteId {
        let place = self.by_name.get(site).copied().unwrap_or_else(|| self.open(site));
        let ids = &mut self.sites[place.index()].as_mut().expect("named sites are there").ids;
        let was_empty = ids.len() == 0;
        let added = ids.insert(id);
        self.empty -= usize::from(was_empty);
        self.pairs += usize::from(added);
        place
    }

    /// Notes that `id` waits for `site` no longer. Returns whether it did.
    pub fn remove(&mut self, site: &str, id: QueueId) -> bool {
        self.site(site).is_some_and(|site| self.remove_at(site, id))
    }

    /// [`Record::remove`] for who knows the number of the site.
    pub fn remove_at(&mut self, site: SiteId, id: QueueId) -> bool {
        let Some(Some(entry)) = self.sites.get_mut(site.index()) else { return false };
        if !entry.ids.remove(id) {
            return false;
        }
        self.pairs -= 1;
        if entry.ids.len() == 0 {
            self.empty += 1;
            if self.empty > EMPTY_MIN.max(self.site_count()) {
                self.forget_empty();
            }
        }
        true
    }

    /// Notes that `id` waits for none of `sites` any more. Returns for how many it did.
    pub fn remove_all<'s>(&mut self, id: QueueId, sites: impl IntoIterator<Item = &'s str>) -> usize {
        sites.into_iter().filter(|site| self.remove(site, id)).count()
    }

    /// Whether `id` waits for `site`.
    pub fn contains(&self, site: &str, id: QueueId) -> bool {
        self.find(site).is_some_and(|site| site.ids.contains(id))
    }

    /// The number of a site that something waits for.
    pub fn site(&self, name: &str) -> Option<SiteId> {
        self.by_name.get(name).copied().filter(|site| self.ids(*site).len() > 0)
    }

    /// The name of a site that something waits for.
    pub fn name(&self, site: SiteId) -> Option<&str> {
        let site = self.sites.get(site.index())?.as_ref()?;
        (site.ids.len() > 0).then_some(&*site.name)
    }

    /// As long as this stays the same, no number has passed from one site to another.
    pub fn numbering(&self) -> u64 {
        self.numbering
    }

    /// All sites that something waits for, by number.
    pub fn numbered(&self) -> impl Iterator<Item = (SiteId, &Arc<str>)> {
        let sites = (0u32..).zip(&self.sites);
        let waited_for = |site: &&Site| site.ids.len() > 0;
        sites.filter_map(move |(place, site)| {
            site.as_ref().filter(waited_for).map(|site| (SiteId(place), &site.name))
        })
    }

    /// How many messages wait for `site`.
    pub fn count(&self, site: &str) -> usize {
        self.find(site).map_or(0, |site| site.ids.len())
    }

    /// The messages that wait for `site`, oldest first.
    pub fn waiting(&self, site: &str) -> Ids<'_> {
        self.waiting_after(site, None)
    }

    /// The messages that wait for `site` with ids greater than `after`: lets a release go on where it
    /// paused, whatever was added or removed meanwhile.
    pub fn waiting_after(&self, site: &str, after: Option<QueueId>) -> Ids<'_> {
        self.find(site).map_or_else(Ids::none, |site| site.ids.after(after))
    }

    /// All sites that something waits for, with how many messages do, in the order of their labels from
    /// the last to the first: a domain is followed by its subdomains.
    pub fn sites(&self) -> impl Iterator<Item = (&str, usize)> {
        let all = self.ordered.iter().map(|(name, site)| (&*name.0, self.ids(*site).len()));
        all.filter(|(_, count)| *count > 0)
    }

    /// The subdomains of `parent` that something waits for, without `parent` itself, in the order of
    /// [`Record::sites`]. Costs nothing for sites elsewhere.
    pub fn subdomains(&self, parent: &str) -> impl Iterator<Item = &str> {
        let suffix = format!(".{parent}");
        let from = Bound::Excluded(SiteName(suffix.as_str().into()));
        let names = self.ordered.range((from, Bound::Unbounded)).map(|(name, site)| (&*name.0, site));
        let below = names.take_while(move |(name, _)| name.ends_with(&suffix));
        below.filter(|(_, site)| self.ids(**site).len() > 0).map(|(name, _)| name)
    }

    /// How many (site, message) pairs there are.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// How many sites are waited for.
    pub fn site_count(&self) -> usize {
        self.by_name.len() - self.empty
    }

    fn find(&self, name: &str) -> Option<&Site> {
        self.sites[self.site(name)?.index()].as_ref()
    }

    fn ids(&self, site: SiteId) -> &SiteIds {
        &self.sites[site.index()].as_ref().expect("named sites are there").ids
    }

    fn open(&mut self, name: &str) -> SiteId {
        let name: Arc<str> = name.into();
        let site = self.free.pop().unwrap_or_else(|| {
            let place = u32::try_from(self.sites.len()).expect("sites are fewer than 2^32");
            self.sites.push(None);
            SiteId(place)
        });
        self.sites[site.index()] = Some(Site { name: Arc::clone(&name), ids: SiteIds::new() });
        self.empty += 1;
        self.by_name.insert(Arc::clone(&name), site);
        self.ordered.insert(SiteName(name), site);
        site
    }

    /// Forgets the names of all sites that nothing waits for. Costs a walk, at most once for as many
    /// sites as there are.
    fn forget_empty(&mut self) {
        let sites = &self.sites;
        let waited_for = |site: SiteId| sites[site.index()].as_ref().is_some_and(|site| site.ids.len() > 0);
        self.by_name.retain(|_, site| waited_for(*site));
        self.ordered.retain(|_, site| waited_for(*site));
        for (place, site) in (0u32..).zip(&mut self.sites) {
            if site.as_ref().is_some_and(|site| site.ids.len() == 0) {
                *site = None;
                self.free.push(SiteId(place));
            }
        }
        self.empty = 0;
        self.numbering += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use proptest::prelude::*;

    fn id(number: u64) -> QueueId {
        QueueId::from_u64(number)
    }

    #[test]
    fn a_site_lives_as_long_as_something_waits_for_it() {
        let mut record = Record::new();
        let a = record.add("a.test", id(1));
        let b = record.add("b.test", id(1));
        assert_eq!(record.add("a.test", id(1)), a);
        assert_eq!((record.len(), record.site_count()), (2, 2));
        assert_eq!(record.name(b), Some("b.test"));
        assert!(record.remove_at(a, id(1)));
        assert!(!record.remove_at(a, id(1)), "the site is gone");
        assert_eq!((record.site("a.test"), record.name(a)), (None, None));
        record.add("c.test", id(2));
        assert_eq!(record.remove_all(id(1), ["b.test", "c.test", "d.test"]), 1);
        assert_eq!(record.sites().collect::<Vec<_>>(), [("c.test", 1)]);
    }

    #[test]
    fn names_that_nothing_waits_for_are_forgotten_in_time() {
        let mut record = Record::new();
        let all = 10 * EMPTY_MIN as u64;
        for n in 0..all {
            let site = record.add(&format!("{n}.test"), id(n));
            assert!(record.remove_at(site, id(n)));
            assert!(record.by_name.len() <= EMPTY_MIN + 1, "{} names", record.by_name.len());
        }
        assert_eq!((record.site_count(), record.sites().count()), (0, 0));
        assert!(record.sites.len() <= EMPTY_MIN + 1, "places are used again");
    }

    #[test]
    fn subdomains_stand_behind_their_parent_and_nothing_else_does() {
        let mut record = Record::new();
        for site in [
            "b.example.com",
            "notexample.com",
            "example.com",
            "x.b.example.com",
            "com",
            "a.test",
            "-.example.com",
        ] {
            record.add(site, id(7));
        }
        let all: Vec<&str> = record.sites().map(|(site, _)| site).collect();
        assert_eq!(all[..2], ["com", "example.com"]);
        let below: BTreeSet<&str> = record.subdomains("example.com").collect();
        assert_eq!(below, BTreeSet::from(["b.example.com", "x.b.example.com", "-.example.com"]));
        assert_eq!(record.subdomains("a.test").count(), 0);
        assert_eq!(record.subdomains("com").count(), 5);
    }

    #[test]
    fn a_crowded_site_is_read_in_pieces_while_it_changes() {
        let mut record = Record::new();
        for n in 0..100_000 {
            record.add("crowded.test", id(n));
        }
        let mut seen = 0;
        let mut last = None;
        while let Some(piece_end) = record.waiting_after("crowded.test", last).take(1000).last() {
            seen += 1000;
            record.remove("crowded.test", piece_end);
            last = Some(piece_end);
        }
        assert_eq!((seen, record.count("crowded.test")), (100_000, 99_900));
    }

    fn sites() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]\\.(x\\.)?test", Just("x".to_owned()), Just("..".to_owned()), "\\PC{0,3}"]
    }

    proptest! {
        #[test]
        fn names_sort_by_their_labels_from_the_last(a in "[ab.]{0,8}", b in "[ab.]{0,8}") {
            let by_labels = a.rsplit('.').cmp(b.rsplit('.'));
            prop_assert_eq!(SiteName(a.into()).cmp(&SiteName(b.into())), by_labels);
        }

        #[test]
        fn equals_a_plain_map(
            history in proptest::collection::vec((any::<bool>(), sites(), 0u64..40), 0..400),
        ) {
            let mut record = Record::new();
            let mut model: BTreeMap<String, BTreeSet<QueueId>> = BTreeMap::new();
            for (add, site, n) in history {
                let ids = model.entry(site.clone()).or_default();
                if add {
                    ids.insert(id(n));
                    let place = record.add(&site, id(n));
                    prop_assert_eq!(record.name(place), Some(site.as_str()));
                } else {
                    prop_assert_eq!(record.remove(&site, id(n)), ids.remove(&id(n)));
                }
                model.retain(|_, ids| !ids.is_empty());
                prop_assert_eq!(record.len(), model.values().map(BTreeSet::len).sum::<usize>());
                prop_assert_eq!(record.site_count(), model.len());
                prop_assert!(record.sites.len() <= record.by_name.len() + record.free.len());
            }
            let mut names: Vec<(&str, usize)> = record.sites().collect();
            names.sort_unstable();
            let expected = model.iter().map(|(site, ids)| (site.as_str(), ids.len()));
            prop_assert!(names.iter().copied().eq(expected));
            for (site, ids) in &model {
                prop_assert!(record.waiting(site).eq(ids.iter().copied()));
                prop_assert!(record.contains(site, *ids.first().unwrap()));
                let below: BTreeSet<&str> = record.subdomains(site).collect();
                let suffix = format!(".{site}");
                let expected = model.keys().filter(|name| name.ends_with(&suffix) && **name != suffix);
                prop_assert_eq!(below, expected.map(String::as_str).collect::<BTreeSet<_>>());
            }
        }
    }
}
