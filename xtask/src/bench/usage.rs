//! What processes cost: processor time and memory, from `/proc`.
//!
//! Promises: a process counts with everything it started, children that have ended included; memory is
//! what nobody shares (`RssAnon`), so that many small processes are not charged for one library many times.
//! Refuses: page cache. Known to be wrong: a peak between two looks is missed; where the kernel keeps
//! no `schedstat`, time has steps of 10 ms for each process.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second; the same on every Linux (USER_HZ).
const TICKS_PER_SECOND: u64 = 100;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(200);

/// One line of `/proc/PID/stat`, as far as it matters here.
struct Stat {
    parent: u32,
    own_ticks: u64,
    children_ticks: u64,
}

impl Stat {
    /// The name in brackets may hold anything; the fields behind its end may not.
    fn parse(line: &str) -> Option<Stat> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat {
            parent: u32::try_from(number(1)?).ok()?,
            own_ticks: number(11)? + number(12)?,
            children_ticks: number(13)? + number(14)?,
        })
    }
}

/// The processes that descend from `root`, itself included, with their figures.
fn tree(root: u32) -> BTreeMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that ends while it is looked at is skipped.
    let stat = |pid| Some((pid, Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?));
    let all: BTreeMap<u32, Stat> = pids.filter_map(stat).collect();
    let descends = |mut pid: u32| loop {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(stat) if stat.parent != pid => pid = stat.parent,
            _ => return false,
        }
    };
    let inside: Vec<u32> = all.keys().copied().filter(|pid| descends(*pid)).collect();
    all.into_iter().filter(|(pid, _)| inside.contains(pid)).collect()
}

/// `root` and the living processes it started, however indirectly.
pub(crate) fn processes(root: u32) -> Vec<u32> {
    tree(root).into_keys().collect()
}

/// Processor time of `root` and everything it started, until now.
pub(crate) fn processor_time(root: u32) -> Duration {
    let one = |(pid, stat): (&u32, &Stat)| {
        ticks(stat.own_ticks).max(threads_time(*pid)) + ticks(stat.children_ticks)
    };
    tree(root).iter().map(one).sum()
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// What the scheduler has given to the living threads of a process. Exact, where the ticks of a hundred
/// processes that each did little would all be rounded down to nothing; without threads that have ended.
fn threads_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let one = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.filter_map(one).sum()
}

/// Memory that `root` and everything it started share with nobody, in KiB.
pub(crate) fn memory_kib(root: u32) -> u64 {
    let own = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        field_kib(&status, "RssAnon:")
    };
    tree(root).keys().map(own).sum()
}

fn field_kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What a piece of work cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Of the processes that did it.
    pub(crate) processor: Duration,
    /// The highest that was seen.
    pub(crate) peak_kib: u64,
}

/// Does `work` and says what it cost the processes below `root`; nothing is charged without one.
pub(crate) fn charged<T>(root: Option<u32>, work: impl FnOnce() -> T) -> (T, Cost) {
    let Some(root) = root else { return (work(), Cost::default()) };
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let look = || peak.fetch_max(memory_kib(root), Ordering::Relaxed);
    let before = processor_time(root);
    let answer = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                look();
                thread::park_timeout(LOOK);
            }
        });
        let answer = work();
        done.store(true, Ordering::Relaxed);
        looking.thread().unpark();
        answer
    });
    look();
    let processor = processor_time(root).saturating_sub(before);
    (answer, Cost { processor, peak_kib: peak.into_inner() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_behind_the_name() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 50 6 70 8 20 0 1 0";
        let stat = Stat::parse(line).expect("a good line");
        assert_eq!((stat.parent, stat.own_ticks, stat.children_ticks), (3, 56, 78));
        assert!(Stat::parse("7 (a S").is_none());
    }

    #[test]
    fn own_memory_and_time_are_seen() {
        let own = std::process::id();
        let (answer, cost) = charged(Some(own), || 7);
        assert_eq!((answer, cost.peak_kib > 0), (7, true));
        assert!(processor_time(own) > Duration::ZERO);
        assert_eq!(field_kib("VmRSS:\t 5 kB\nRssAnon:\t  42 kB\n", "RssAnon:"), 42);
    }
}
