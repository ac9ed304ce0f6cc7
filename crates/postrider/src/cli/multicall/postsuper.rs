//! postsuper(1): -d, -h, -H, -r, -e, -f with queue ids, `-` or `ALL`, and names of queues. Each message
//! named by its id gets a line, each kind of operation a sum, all on standard error as there. -s, -S and -p
//! repair directories that this spool does not have; they do nothing and succeed.
//!
//! Different: -r resolves in place, so a message keeps its id; -e tells the sender at once when it can.

use std::io::BufRead;

use control::{Action, Client, Item, QueueName, Request, Selector};

use super::super::failure::{Failure, exit};
use super::super::session::{self, in_pieces};
use super::{Word, is_foreign_id, words};
use crate::config::Sources;

const USAGE: &str = "postsuper [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or \
    un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p] [-r queue_id (requeue)] [-s] [-S] [-v] \
    [queue...]";

/// Whatever is wrong with the arguments.
const EX_USAGE: u8 = 1;

/// The queues that postsuper knows; maildrop is taken and always empty.
const QUEUES: [QueueName; 4] = [QueueName::Incoming, QueueName::Active, QueueName::Deferred, QueueName::Hold];

/// What can be done, in the order in which the sums are told.
const OPERATIONS: [Operation; 6] = [
    Operation { letter: 'd', action: Action::Delete, done: "removed", sum: "Deleted" },
    Operation { letter: 'e', action: Action::Expire, done: "expired", sum: "Force-expired" },
    Operation { letter: 'f', action: Action::ExpireRelease, done: "expired", sum: "Force-expired" },
    Operation { letter: 'h', action: Action::Hold, done: "placed on hold", sum: "Placed on hold" },
    Operation { letter: 'H', action: Action::Release, done: "released from hold", sum: "Released from hold" },
    Operation { letter: 'r', action: Action::Requeue, done: "requeued", sum: "Requeued" },
];

struct Operation {
    letter: char,
    action: Action,
    /// Behind the id of a message.
    done: &'static str,
    /// In front of the number of messages.
    sum: &'static str,
}

/// Runs it.
pub(super) fn run(arguments: &[String]) -> Result<u8, Failure> {
    let mut wanted = Vec::new();
    let mut queues = Vec::new();
    for word in words(arguments, "c:d:e:f:h:H:pr:sSv", "cdefhHr", (USAGE, EX_USAGE))? {
        match word {
            Word::Option(letter, which) => {
                let operation = OPERATIONS.iter().position(|operation| operation.letter == letter);
                wanted.extend(operation.map(|operation| (operation, which)));
            }
            Word::Operand(name) => queues.extend(queue(&name)?),
        }
    }
    if wanted.is_empty() {
        return Ok(exit::DONE);
    }
    let mut engine = session::engine(&Sources::default())?;
    let mut sums: [Option<u64>; OPERATIONS.len()] = [None; OPERATIONS.len()];
    for (operation, which) in wanted {
        let count = carry_out(&mut engine, &OPERATIONS[operation], &which, &queues)?;
        *sums[operation].get_or_insert(0) += count;
    }
    for (operation, sum) in OPERATIONS.iter().zip(sums) {
        if let Some(count) = sum {
            eprintln!("postsuper: {}: {count} message{}", operation.sum, if count == 1 { "" } else { "s" });
        }
    }
    Ok(exit::DONE)
}

/// The queue of this name, nothing for the one that Postrider has no use for.
fn queue(name: &str) -> Result<Option<QueueName>, Failure> {
    let known = name.parse::<QueueName>().ok().filter(|queue| QUEUES.contains(queue));
    match known {
        None if name == "maildrop" => Ok(None),
        None => Err(Failure::Told { code: EX_USAGE, text: format!("invalid directory name: {name}") }),
        known => Ok(known),
    }
}

fn carry_out(
    engine: &mut Client,
    operation: &Operation,
    which: &str,
    queues: &[QueueName],
) -> Result<u64, Failure> {
    // Mail that goes on hold when its attempt is over is not in the queue called hold yet.
    let everywhere = operation.action == Action::Release && queues.contains(&QueueName::Hold);
    let queues = if queues.is_empty() || everywhere { QUEUES.to_vec() } else { queues.to_vec() };
    let selector = match which {
        "ALL" => Selector { queues, all: true, ..Selector::default() },
        "-" => Selector { queues, ..Selector::of_ids(ids_of_standard_input()?) },
        id => Selector { queues, ..Selector::of_ids(known(id)) },
    };
    if selector.ids.is_empty() && !selector.all {
        return Ok(0);
    }
    let mut count = 0;
    for selector in in_pieces(selector) {
        let request = Request::Change { action: operation.action, selector, dry_run: false };
        let mut answers = engine.ask(&request)?;
        for item in answers.by_ref() {
            if let Item::Changed(changed) = item? {
                eprintln!("postsuper: {}: {}", changed.queue_id, operation.done);
            }
        }
        count += answers.total();
    }
    Ok(count)
}

fn ids_of_standard_input() -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::Told {
            code: exit::IO,
            text: format!("cannot read queue ids from standard input: {error}"),
        })?;
        ids.extend(line.split_whitespace().filter_map(known));
    }
    Ok(ids)
}

/// The queue id, if a message here can have it; what is no queue id at all is told and left out.
fn known(text: &str) -> Option<String> {
    let id = session::queue_id(text).ok();
    if id.is_none() && !is_foreign_id(text) {
        eprintln!("postsuper: warning: invalid mail queue id: {text}");
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_those_of_postsuper() {
        assert_eq!(queue("hold").unwrap(), Some(QueueName::Hold));
        assert_eq!(queue("maildrop").unwrap(), None);
        for name in ["corrupt", "defered", ""] {
            assert_eq!(queue(name).unwrap_err().code(), EX_USAGE, "{name}");
        }
    }

    #[test]
    fn ids_of_others_are_passed_over() {
        assert_eq!(known("0d5qjk2b7x1zc").as_deref(), Some("0D5QJK2B7X1ZC"));
        assert_eq!((known("4SVLCh0sf8z9HdB"), known("a b"), known("")), (None, None, None));
    }
}
