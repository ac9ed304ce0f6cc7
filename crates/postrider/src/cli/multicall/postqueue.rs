//! postqueue(1): -p, -j, -f, -i ID, -s SITE. Every failure has exit code 69, as there.

use control::{FlushResult, FlushTarget, Item, MessageItem, QueueName, Request, Selector};
use jiff::tz::TimeZone;

use super::super::failure::{Failure, exit};
use super::super::output::Output;
use super::super::{flush, session};
use super::{Word, is_foreign_id, unavailable, words};
use crate::config::Sources;
use crate::format;

const USAGE: &str = "postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site";

/// The queues that postqueue shows.
const QUEUES: [QueueName; 4] = [QueueName::Incoming, QueueName::Active, QueueName::Deferred, QueueName::Hold];

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let words = words(arguments, "c:fi:jps:v", "cis", (USAGE, exit::UNAVAILABLE))?;
    let mut actions = words.into_iter().filter(|word| !matches!(word, Word::Option('c' | 'v', _)));
    let result = match (actions.next(), actions.next()) {
        (Some(Word::Option('p', _)), None) => list(),
        (Some(Word::Option('j', _)), None) => list_json(),
        (Some(Word::Option('f', _)), None) => flush_all(),
        (Some(Word::Option('i', id)), None) => flush_message(&id),
        (Some(Word::Option('s', site)), None) => flush_site(&site),
        _ => Err(Failure::usage(format!("usage: {USAGE}"))),
    };
    result.map_err(unavailable)
}

/// `postqueue -p`, mailq, `sendmail -bp`.
pub(super) fn list() -> Result<u8, Failure> {
    let mut output = Output::open();
    let (mut messages, mut bytes) = (0u64, 0u64);
    each(|message| {
        output.line(if messages == 0 { format::MAILQ_HEADING } else { "" })?;
        messages += 1;
        bytes += message.message_size;
        Ok(output.bytes(format::mailq_entry(&message, TimeZone::system()).as_bytes())?)
    })
    .map_err(unavailable)?;
    match messages {
        0 => output.line(format::MAILQ_EMPTY)?,
        _ => output.line(&format!("\n{}", format::mailq_sums(messages, bytes)))?,
    }
    output.finish()?;
    Ok(exit::DONE)
}

fn list_json() -> Result<u8, Failure> {
    let mut output = Output::open();
    each(|message| Ok(output.line(&format::postqueue_json(&message))?))?;
    output.finish()?;
    Ok(exit::DONE)
}

fn each(mut show: impl FnMut(MessageItem) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut engine = session::engine(&Sources::default())?;
    let selector = Selector { queues: QUEUES.to_vec(), ..Selector::default() };
    for item in engine.ask(&Request::List { selector })? {
        if let Item::Message(message) = item? {
            show(message)?;
        }
    }
    Ok(())
}

/// `postqueue -f`, `sendmail -q`: success means that the engine was told.
pub(super) fn flush_all() -> Result<u8, Failure> {
    flush::trigger("FADI", &Sources::default()).map_err(unavailable)
}

/// `postqueue -i`, `sendmail -qI`: success also when there is no such message.
pub(super) fn flush_message(id: &str) -> Result<u8, Failure> {
    let id = match session::queue_id(id) {
        Ok(id) => id,
        Err(_) if is_foreign_id(id) => return Ok(exit::DONE),
        Err(_) => return Err(invalid("queue ID - invalid name", id)),
    };
    flush::one(FlushTarget::Message(id), &Sources::default()).map_err(unavailable)?;
    Ok(exit::DONE)
}

/// `postqueue -s`, `sendmail -qR`.
pub(super) fn flush_site(site: &str) -> Result<u8, Failure> {
    let name = session::site(site).map_err(|_| invalid("mail queue - invalid destination", site))?;
    let answer =
        flush::one(FlushTarget::EligibleSites(vec![name]), &Sources::default()).map_err(unavailable)?;
    let text = match answer.map(|answer| answer.result) {
        Some(FlushResult::Ok) => return Ok(exit::DONE),
        Some(FlushResult::Deny) => format!("Flush service is not configured for destination \"{site}\""),
        Some(FlushResult::Bad) => format!("Invalid request: \"{site}\""),
        Some(FlushResult::Fail) | None => "Cannot flush mail queue - mail system is down".to_owned(),
    };
    Err(Failure::Told { code: exit::UNAVAILABLE, text })
}

fn invalid(what: &str, text: &str) -> Failure {
    let text = format!("Cannot flush {what}: \"{text}\"");
    Failure::Told { code: exit::UNAVAILABLE, text }
}
