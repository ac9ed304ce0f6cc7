//! The age-by-site table of qshape(1): pure counting, for whoever walks the queue.
//!
//! Ages count from acceptance. Buckets: below one unit the first; then doubling, or linear; the last
//! bucket takes the rest (reference behaviour of qshape: with a unit of 5 minutes 299 s falls into the
//! first, 300 s into the second, 600 s into the third bucket).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use foldhash::fast::RandomState;

/// How ages are sorted into buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buckets {
    /// The age that the first bucket covers.
    pub unit: Duration,
    /// How many buckets, at least 1.
    pub count: usize,
    /// Equal steps instead of doubling ones.
    pub linear: bool,
}

impl Default for Buckets {
    /// 10 buckets that double from 5 minutes on.
    fn default() -> Buckets {
        Buckets { unit: Duration::from_secs(300), count: 10, linear: false }
    }
}

impl Buckets {
    /// The bucket of an age, from 0.
    pub fn of(&self, age: Duration) -> usize {
        self.of_millis(millis(age))
    }

    /// The bucket of an age in milliseconds.
    pub fn of_millis(&self, age: u64) -> usize {
        let units = age / millis(self.unit).max(1);
        let bucket = match units {
            0 => 0,
            _ if self.linear => usize::try_from(units).unwrap_or(usize::MAX),
            _ => 1 + units.ilog2() as usize,
        };
        bucket.min(self.count.max(1) - 1)
    }

    /// The upper ends in minutes, `N+` for the last bucket.
    pub fn headings(&self) -> Vec<String> {
        let minutes = |bucket: usize| {
            let factor = if self.linear {
                bucket as u64 + 1
            } else {
                1u64.checked_shl(bucket as u32).unwrap_or(u64::MAX)
            };
            (self.unit.as_secs() / 60).saturating_mul(factor)
        };
        let last = self.count.max(1) - 1;
        let mut headings: Vec<String> = (0..last).map(|bucket| minutes(bucket).to_string()).collect();
        headings.push(format!("{}+", if last == 0 { 0 } else { minutes(last - 1) }));
        headings
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One row: a name and its counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row<'t> {
    /// Site, sender domain, or `TOTAL`.
    pub name: &'t str,
    /// Sum of the counts.
    pub total: u64,
    /// By bucket.
    pub counts: Cow<'t, [u64]>,
    /// Where it stands, as far as that is told without the whole name.
    place: (Reverse<u64>, usize, [u8; 8]),
}

impl<'t> Row<'t> {
    fn new(name: &'t str, counts: Cow<'t, [u64]>) -> Row<'t> {
        let total = counts.iter().sum();
        let mut beginning = [0; 8];
        beginning.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
        Row { name, total, counts, place: (Reverse(total), name.len(), beginning) }
    }
}

/// Counts by name and age.
#[derive(Clone, Debug)]
pub struct Table {
    buckets: Buckets,
    /// The place of each name's counts.
    names: HashMap<String, usize, RandomState>,
    /// As many for each name as there are buckets.
    counts: Vec<u64>,
    /// Rows that repeat others; they do not count for the total.
    sums: BTreeMap<String, Vec<u64>>,
}

impl Table {
    /// An empty table.
    pub fn new(buckets: Buckets) -> Table {
        Table { buckets, names: HashMap::default(), counts: Vec::new(), sums: BTreeMap::new() }
    }

    fn width(&self) -> usize {
        self.buckets.count.max(1)
    }

    /// The counts of a name, which is in the table from now on.
    fn of(&mut self, name: &str) -> &mut [u64] {
        let width = self.width();
        let place = match self.names.get(name) {
            Some(place) => *place,
            None => {
                let place = self.counts.len();
                self.names.insert(name.to_owned(), place);
                self.counts.resize(place + width, 0);
                place
            }
        };
        &mut self.counts[place..place + width]
    }

    /// Counts one recipient (or one message) of this age under the name.
    pub fn add(&mut self, name: &str, age: Duration) {
        let bucket = self.buckets.of(age);
        self.of(name)[bucket] += 1;
    }

    /// Counts what was counted elsewhere, by number of the bucket. What is beyond the last one counts there.
    pub fn add_counts(&mut self, name: &str, found: &[(u32, u64)]) {
        let counts = self.of(name);
        let last = counts.len() - 1;
        found.iter().for_each(|(bucket, count)| counts[last.min(*bucket as usize)] += count);
    }

    /// The rows with `TOTAL`, largest first, ties by the shorter name, then by name. `TOTAL` takes part,
    /// as in qshape(1).
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut total = vec![0; self.width()];
        for counts in self.counts.chunks(self.width()) {
            total.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let mut rows = vec![Row::new("TOTAL", Cow::Owned(total))];
        rows.extend(self.counts().map(|(name, counts)| Row::new(name, Cow::Borrowed(counts))));
        rows.extend(self.sums.iter().map(|(name, counts)| Row::new(name, Cow::Borrowed(counts))));
        rows.sort_unstable_by(|a, b| a.place.cmp(&b.place).then_with(|| a.name.cmp(b.name)));
        rows
    }

    /// Adds a row that sums up these others, such as one for a parent domain.
    pub fn sum_up(&mut self, name: &str, others: &[String]) {
        let mut sum = vec![0; self.width()];
        for place in others.iter().filter_map(|other| self.names.get(other)) {
            sum.iter_mut().zip(&self.counts[*place..]).for_each(|(sum, count)| *sum += count);
        }
        self.sums.insert(name.to_owned(), sum);
    }

    /// What was counted, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &[u64])> {
        let width = self.width();
        self.names.iter().map(move |(name, place)| (name.as_str(), &self.counts[*place..place + width]))
    }

    /// The names that were counted, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The table's buckets.
    pub fn buckets(&self) -> Buckets {
        self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_fall_where_qshape_puts_them() {
        let buckets = Buckets::default();
        for (seconds, bucket) in [(0, 1), (299, 1), (300, 2), (599, 2), (600, 3), (1200, 4), (76_800, 10)] {
            assert_eq!(buckets.of(Duration::from_secs(seconds)), bucket - 1, "{seconds} s");
        }
        assert_eq!(buckets.of(Duration::MAX), 9);
        let linear = Buckets { linear: true, ..buckets };
        assert_eq!(linear.of(Duration::from_secs(900)), 3);
    }

    #[test]
    fn headings_are_the_upper_ends() {
        let words = ["5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"];
        assert_eq!(Buckets::default().headings(), words);
        let one = Buckets { count: 1, ..Buckets::default() };
        assert_eq!(one.headings(), ["0+"]);
    }

    #[test]
    fn rows_are_sorted_by_total_then_by_the_shorter_name() {
        let mut table = Table::new(Buckets::default());
        for (name, times) in [("bb.test", 2), ("a.test", 2), ("c.test", 3)] {
            (0..times).for_each(|_| table.add(name, Duration::ZERO));
        }
        let names: Vec<_> = table.rows().into_iter().map(|row| (row.name, row.total)).collect();
        assert_eq!(names, [("TOTAL", 7), ("c.test", 3), ("a.test", 2), ("bb.test", 2)]);
    }
}
