//! `postrider queue shape`: the table of qshape, counted by the engine; by sender from the listing.

use control::shape::{Buckets, Table};
use control::{Item, QueueName, Request, Selector};
use mail::Time;

use super::failure::{Failure, exit};
use super::output::Output;
use super::session;
use crate::config::Sources;
use crate::format;

/// The queues that are counted when none was named; what is on hold waits for a person, not for a site.
const DEFAULT_QUEUES: [QueueName; 3] = [QueueName::Incoming, QueueName::Active, QueueName::Deferred];

/// Counts and prints.
pub(crate) fn run(queues: Vec<QueueName>, by_sender: bool, sources: &Sources) -> Result<u8, Failure> {
    let queues = if queues.is_empty() { DEFAULT_QUEUES.to_vec() } else { queues };
    let table = count(queues, by_sender, Buckets::default(), sources)?;
    let mut output = Output::open();
    format::shape(&table, format::SHAPE_WIDTH, None, |piece| output.bytes(piece.as_bytes()))?;
    output.finish()?;
    Ok(exit::DONE)
}

/// Counts unfinished recipients by site, or messages by the sender's domain.
pub(crate) fn count(
    queues: Vec<QueueName>,
    by_sender: bool,
    buckets: Buckets,
    sources: &Sources,
) -> Result<Table, Failure> {
    let mut engine = session::engine(sources)?;
    let mut table = Table::new(buckets);
    if !by_sender {
        let unit = u64::try_from(buckets.unit.as_millis()).unwrap_or(u64::MAX);
        let count = u32::try_from(buckets.count).unwrap_or(u32::MAX);
        for item in engine.ask(&Request::Shape { queues, unit, buckets: count, linear: buckets.linear })? {
            let Item::Shape(shape) = item? else { continue };
            shape.sites.iter().for_each(|(site, counts)| table.add_counts(site, counts));
        }
        return Ok(table);
    }
    let now = session::now();
    let selector = Selector { queues, ..Selector::default() };
    for item in engine.ask(&Request::List { selector })? {
        let Item::Message(message) = item? else { continue };
        let age = now.since(Time::from_millis(message.arrival_time.saturating_mul(1000)));
        let domain = message.sender.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
        table.add(domain.as_deref().unwrap_or("MAILER-DAEMON"), age);
    }
    Ok(table)
}
