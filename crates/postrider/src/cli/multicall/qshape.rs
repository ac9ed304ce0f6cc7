//! qshape(1): the age of mail by site, with -s (senders), -l (linear), -b BUCKETS, -t MINUTES, -p and -m
//! (rows for parent domains), -w WIDTH, and names of queues. -N and -n concern the interim tables of a
//! slow scan; there are none here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use control::shape::{Buckets, Table};
use control::{QueueName, SHAPE_BUCKETS_MAX};

use super::super::failure::{Failure, exit};
use super::super::output::Output;
use super::super::shape;
use super::{Word, words};
use crate::config::Sources;
use crate::format;

const USAGE: &str = "qshape [-s] [-l] [-p] [-m min_subdomains] [-b bucket_count] [-t bucket_time] \
    [-w terminal_width] [queue...]";

/// What qshape ends with when it does not understand its options.
const EX_USAGE: u8 = 255;

/// The greatest number that an option takes, where nothing less is said.
const NUMBER_MAX: usize = 1000;

/// Rows shown on a terminal.
const TERMINAL_ROWS: usize = 20;

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let mut buckets = Buckets::default();
    let (mut by_sender, mut parents, mut subdomains_min) = (false, false, 5);
    let (mut width, mut names) = (format::SHAPE_WIDTH, Vec::new());
    for word in words(arguments, "b:c:lm:n:N:pst:w:", "bcmnNtw", (USAGE, EX_USAGE))? {
        match word {
            Word::Option('s', _) => by_sender = true,
            Word::Option('l', _) => buckets.linear = true,
            Word::Option('p', _) => parents = true,
            Word::Option('m', text) => subdomains_min = number(&text, NUMBER_MAX)?,
            Word::Option('b', text) => buckets.count = number(&text, SHAPE_BUCKETS_MAX as usize)?,
            Word::Option('t', text) => {
                buckets.unit = Duration::from_secs(60 * number(&text, NUMBER_MAX)? as u64)
            }
            Word::Option('w', text) => width = format::SHAPE_WIDTH.max(number(&text, NUMBER_MAX)?),
            Word::Option(..) => {}
            Word::Operand(name) => names.push(name),
        }
    }
    let queues = match names.is_empty() {
        true => vec![QueueName::Incoming, QueueName::Active],
        false => queues(&names)?,
    };
    let table = match queues.is_empty() {
        true => Table::new(buckets),
        false => shape::count(queues, by_sender, buckets, &Sources::default())?,
    };
    let table = if parents { with_parents(&table, subdomains_min) } else { table };
    let mut output = Output::open();
    let rows = output.is_terminal().then_some(TERMINAL_ROWS);
    format::shape(&table, width, rows, |piece| output.bytes(piece.as_bytes()))?;
    output.finish()?;
    Ok(exit::DONE)
}

/// The queues of these names, or paths that end in them; maildrop is known there, and nothing is ever in it.
fn queues(names: &[String]) -> Result<Vec<QueueName>, Failure> {
    let names = names.iter().map(|name| name.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    let queues = names.filter(|name| *name != "maildrop").map(str::parse::<QueueName>);
    queues.collect::<Result<_, _>>().map_err(|error| Failure::usage(error.to_string()))
}

fn number(text: &str, most: usize) -> Result<usize, Failure> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        Failure::usage(format!("\"{text}\": a number from 1 to {most} is expected; usage: {USAGE}"))
    })
}

/// Adds a row `.domain` for each parent domain with enough rows directly below it, those of parents
/// included, shown or not. Such rows repeat what the rows of the subdomains count; they do not count for
/// the total.
fn with_parents(table: &Table, subdomains_min: usize) -> Table {
    let mut parents: BTreeMap<String, Parent> = BTreeMap::new();
    for name in table.names() {
        let mut below = name.to_owned();
        while let Some(above) = parent_of(&below) {
            let parent = parents.entry(above.clone()).or_default();
            parent.below.insert(below);
            parent.names.push(name.to_owned());
            below = above;
        }
    }
    let mut table = table.clone();
    for (name, parent) in parents.into_iter().filter(|(_, parent)| parent.below.len() >= subdomains_min) {
        table.sum_up(&name, &parent.names);
    }
    table
}

/// What stands below a parent domain.
#[derive(Default)]
struct Parent {
    /// The rows one level down.
    below: BTreeSet<String>,
    /// The rows at any level that were counted.
    names: Vec<String>,
}

/// The row above one: `.b.test` for `a.b.test` and for `.a.b.test`; top-level domains have none.
fn parent_of(row: &str) -> Option<String> {
    let (_, parent) = row.strip_prefix('.').unwrap_or(row).split_once('.')?;
    parent.contains('.').then(|| format!(".{parent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_with_enough_subdomains_get_a_row() {
        let mut table = Table::new(Buckets::default());
        for name in ["a.x.test", "b.x.test", "c.y.test"] {
            table.add(name, Duration::ZERO);
        }
        let table = with_parents(&table, 2);
        let rows = table.rows();
        let row = rows.iter().find(|row| row.name == ".x.test").map(|row| row.total);
        assert_eq!(row, Some(2));
        assert!(rows.iter().all(|row| row.name != ".y.test"));
        assert_eq!(rows.iter().find(|row| row.name == "TOTAL").map(|row| row.total), Some(3));
    }

    #[test]
    fn only_what_is_directly_below_makes_a_parent_a_row() {
        let mut table = Table::new(Buckets::default());
        for name in ["a.sub.x.test", "b.sub.x.test", "c.sub.x.test", "e.x.test", "sub.x.test"] {
            table.add(name, Duration::ZERO);
        }
        let shown = |min| {
            let table = with_parents(&table, min);
            let rows = table.rows().into_iter().filter(|row| row.name.starts_with('.'));
            rows.map(|row| (row.name.to_owned(), row.total)).collect::<Vec<_>>()
        };
        let row = |name: &str, total| (name.to_owned(), total);
        // .sub.x.test is below .x.test, too.
        assert_eq!(shown(3), [row(".x.test", 5), row(".sub.x.test", 3)]);
        assert_eq!(shown(4), []);
        let mut table = Table::new(Buckets::default());
        for name in ["a.sub.x.test", "b.sub.x.test"] {
            table.add(name, Duration::ZERO);
        }
        let table = with_parents(&table, 2);
        let rows = table.rows();
        assert!(rows.iter().all(|row| row.name != ".x.test"), "it has one row below it");
    }

    #[test]
    fn queues_are_named_as_there() {
        let of = |names: &[&str]| queues(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let paths = of(&["maildrop", "deferred", "/var/spool/postfix/hold/"]).unwrap();
        assert_eq!(paths, [QueueName::Deferred, QueueName::Hold]);
        assert_eq!(of(&["maildrop"]).unwrap(), []);
        assert_eq!(of(&["defered"]).unwrap_err().code(), 2);
    }
}
