//! qshape(1): the age of mail by site, with -s (senders), -l (linear), -b BUCKETS, -t MINUTES, -p and -m
//! (rows for parent domains), -w WIDTH, and names of queues. -N and -n concern the interim tables of a
//! slow scan; there are none here.

use std::collections::BTreeMap;
use std::time::Duration;

use control::QueueName;
use control::shape::{Buckets, Table};

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

/// Rows shown on a terminal.
const TERMINAL_ROWS: usize = 20;

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let mut buckets = Buckets::default();
    let (mut by_sender, mut parents, mut subdomains_min) = (false, false, 5);
    let (mut width, mut queues) = (format::SHAPE_WIDTH, Vec::new());
    for word in words(arguments, "b:c:lm:n:N:pst:w:", "bcmnNtw", (USAGE, EX_USAGE))? {
        match word {
            Word::Option('s', _) => by_sender = true,
            Word::Option('l', _) => buckets.linear = true,
            Word::Option('p', _) => parents = true,
            Word::Option('m', text) => subdomains_min = number(&text)?,
            Word::Option('b', text) => buckets.count = number(&text)?,
            Word::Option('t', text) => buckets.unit = Duration::from_secs(60 * number(&text)? as u64),
            Word::Option('w', text) => width = format::SHAPE_WIDTH.max(number(&text)?),
            Word::Option(..) => {}
            Word::Operand(name) => {
                queues.push(name.parse::<QueueName>().map_err(|error| Failure::usage(error.to_string()))?);
            }
        }
    }
    if queues.is_empty() {
        queues = vec![QueueName::Incoming, QueueName::Active];
    }
    let table = shape::count(queues, by_sender, buckets, &Sources::default())?;
    let table = if parents { with_parents(&table, subdomains_min) } else { table };
    let mut output = Output::open();
    let rows = output.is_terminal().then_some(TERMINAL_ROWS);
    output.bytes(format::shape(&table, width, rows).as_bytes())?;
    output.finish()?;
    Ok(exit::DONE)
}

fn number(text: &str) -> Result<usize, Failure> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| {
        Failure::usage(format!("\"{text}\": a number from 1 to 1000 is expected; usage: {USAGE}"))
    })
}

/// Adds a row `.domain` for each parent domain with enough subdomains. Such rows repeat what the rows of
/// the subdomains count; they do not count for the total.
fn with_parents(table: &Table, subdomains_min: usize) -> Table {
    let mut subdomains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let names: Vec<String> = table.names().map(str::to_owned).collect();
    for name in &names {
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if !parent.contains('.') {
                break;
            }
            subdomains.entry(format!(".{parent}")).or_default().push(name.clone());
            rest = parent;
        }
    }
    let mut table = table.clone();
    for (parent, of) in subdomains.into_iter().filter(|(_, of)| of.len() >= subdomains_min) {
        table.sum_up(&parent, &of);
    }
    table
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
        let rows = with_parents(&table, 2).rows();
        let row = rows.iter().find(|row| row.name == ".x.test").map(|row| row.total);
        assert_eq!(row, Some(2));
        assert!(rows.iter().all(|row| row.name != ".y.test"));
        assert_eq!(rows.iter().find(|row| row.name == "TOTAL").map(|row| row.total), Some(3));
    }
}
