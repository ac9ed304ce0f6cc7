//! postsuper(1): -d, -h, -H, -r, -e, -f with queue ids, `-` or `ALL`, and names of queues. Each message
//! named by its id gets a line, each kind of operation a sum, all on standard error as there; -f is -e and
//! then -H. -s, -S and -p repair directories that this spool does not have; they do nothing and succeed.
//!
//! Different: -r resolves in place, so a message keeps its id; everything goes through the engine, which
//! has to run.

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

/// What can be done to messages, in the order in which the sums are told and one option does several.
const STEPS: [Step; 5] = [
    Step { letters: "r", action: Action::Requeue, done: "requeued", sum: "Requeued" },
    Step { letters: "d", action: Action::Delete, done: "removed", sum: "Deleted" },
    Step { letters: "ef", action: Action::Expire, done: "expired", sum: "Force-expired" },
    Step { letters: "h", action: Action::Hold, done: "placed on hold", sum: "Placed on hold" },
    Step { letters: "fH", action: Action::Release, done: "released from hold", sum: "Released from hold" },
];

struct Step {
    /// The options that ask for it.
    letters: &'static str,
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
            Word::Option(letter, which) => wanted.push((letter, which)),
            Word::Operand(name) => queues.extend(queue(&name)?),
        }
    }
    wanted.retain(|(letter, _)| STEPS.iter().any(|step| step.letters.contains(*letter)));
    if wanted.is_empty() {
        return Ok(exit::DONE);
    }
    let mut engine = session::engine(&Sources::default())?;
    let mut sums: [Option<u64>; STEPS.len()] = [None; STEPS.len()];
    for (letter, which) in wanted {
        let selector = selector(&which)?;
        for (step, sum) in STEPS.iter().zip(&mut sums).filter(|(step, _)| step.letters.contains(letter)) {
            *sum.get_or_insert(0) += carry_out(&mut engine, step, &selector, &queues)?;
        }
    }
    for (step, sum) in STEPS.iter().zip(sums) {
        if let Some(count) = sum {
            eprintln!("postsuper: {}: {count} message{}", step.sum, if count == 1 { "" } else { "s" });
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

/// The messages that an option names; those in all queues.
fn selector(which: &str) -> Result<Selector, Failure> {
    Ok(match which {
        "ALL" => Selector::everything(),
        "-" => Selector::of_ids(ids_of_standard_input()?),
        id => Selector::of_ids(known(id)),
    })
}

fn carry_out(
    engine: &mut Client,
    step: &Step,
    selector: &Selector,
    queues: &[QueueName],
) -> Result<u64, Failure> {
    if selector.ids.is_empty() && !selector.all {
        return Ok(0);
    }
    // Mail that goes on hold when its attempt is over is not in the queue called hold yet.
    let everywhere = step.action == Action::Release && queues.contains(&QueueName::Hold);
    let queues = if queues.is_empty() || everywhere { QUEUES.to_vec() } else { queues.to_vec() };
    let mut count = 0;
    for selector in in_pieces(Selector { queues, ..selector.clone() }) {
        let request = Request::Change { action: step.action, selector, dry_run: false };
        let mut answers = engine.ask(&request)?;
        for item in answers.by_ref() {
            if let Item::Changed(changed) = item? {
                eprintln!("postsuper: {}: {}", changed.queue_id, step.done);
            }
        }
        count += answers.total();
    }
    Ok(count)
}

/// The ids on standard input, one a line and nothing else: whoever sends a listing here by mistake is
/// warned and deletes nothing.
fn ids_of_standard_input() -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::Told {
            code: exit::IO,
            text: format!("cannot read queue ids from standard input: {error}"),
        })?;
        ids.extend(known(&line));
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
