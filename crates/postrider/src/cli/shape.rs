//! `postrider queue shape`: the table of qshape, counted here from the listing.

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
    output.bytes(format::shape(&table, format::SHAPE_WIDTH, None).as_bytes())?;
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
    let now = session::now();
    let selector = Selector { queues, ..Selector::default() };
    for item in engine.ask(&Request::List { selector })? {
        let Item::Message(message) = item? else { continue };
        let age = now.since(Time::from_millis(message.arrival_time.saturating_mul(1000)));
        if by_sender {
            let domain = message.sender.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
            table.add(domain.as_deref().unwrap_or("MAILER-DAEMON"), age);
            continue;
        }
        for recipient in message.recipients.iter().filter(|recipient| !recipient.status.is_final()) {
            table.add(&recipient.site, age);
        }
    }
    Ok(table)
}
