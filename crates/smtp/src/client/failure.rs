//! What a reply or a broken connection decides for a recipient: the one place where replies become
//! outcomes.

use std::sync::Arc;

use mail::limits::REASON_BYTES_MAX;
use mail::{EnhancedStatus, Outcome, Relay, Reply, Scope};

use super::session::Stage;
use crate::reply::ReplyError;

/// How a connection ended before its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// End of the stream, or an error of the network in the words of the system.
    Closed(Option<String>),
    /// The deadline of the stage passed.
    TimedOut,
    /// What arrived was no reply.
    Garbage(ReplyError),
    /// A reply that makes no sense at its stage.
    OutOfPlace(Reply),
    /// 421 (RFC 5321 3.8), or a refusal that ends the session.
    Refused(Reply),
}

impl Loss {
    /// The outcome of a recipient that was still open when the connection was lost at `stage`.
    pub(super) fn outcome(&self, stage: Stage, scope: Scope, relay: Option<&Arc<Relay>>) -> Outcome {
        let host = relay.map_or_else(|| "the next hop".to_owned(), |relay| relay.to_string());
        let doing = stage.doing();
        let (status, text) = match self {
            Loss::Closed(None) => (CONNECTION_BROKEN, format!("{host} closed the connection while {doing}")),
            Loss::Closed(Some(why)) => {
                (CONNECTION_BROKEN, format!("connection with {host} lost while {doing}: {why}"))
            }
            Loss::TimedOut => (CONNECTION_BROKEN, format!("{host} timed out while {doing}")),
            Loss::Garbage(error) => {
                (PROTOCOL_ERROR, format!("{host} broke the protocol while {doing}: {error}"))
            }
            Loss::OutOfPlace(reply) => {
                (PROTOCOL_ERROR, format!("{host} broke the protocol while {doing}: {}", said(reply)))
            }
            Loss::Refused(reply) => {
                // A refusal to talk is never taken as the last word on a recipient.
                let text = format!("{host} refused to talk while {doing}: {}", said(reply));
                let status = reply.status.map_or(EnhancedStatus::new(4, 3, 0), |status| status.with_class(4));
                let mut outcome = Outcome::deferred(scope, status, shortened(text));
                outcome.reply = Some(Arc::new(bounded(reply.clone())));
                return outcome.at(relay.cloned());
            }
        };
        Outcome::deferred(scope, status, shortened(text)).at(relay.cloned())
    }
}

/// Bad connection (RFC 3463 3.5).
const CONNECTION_BROKEN: EnhancedStatus = EnhancedStatus::new(4, 4, 2);
/// Other or undefined protocol status (RFC 3463 3.6).
const PROTOCOL_ERROR: EnhancedStatus = EnhancedStatus::new(4, 5, 0);

/// The outcome that a reply decides, with the command it answered.
pub(super) fn decided(reply: Reply, command: &str, scope: Scope, relay: Option<&Arc<Relay>>) -> Outcome {
    let mut outcome = Outcome::from_reply(bounded(reply), scope, relay.cloned());
    if outcome.verdict != mail::Verdict::Sent {
        outcome.text = shortened(format!("{} (in reply to {command})", outcome.text));
    }
    outcome
}

/// The outcome of a reply whose code means nothing at its place, such as 354 to RCPT.
pub(super) fn misplaced(reply: Reply, command: &str, scope: Scope, relay: Option<&Arc<Relay>>) -> Outcome {
    let text = format!("{} (out of place in reply to {command})", said(&reply));
    let mut outcome = Outcome::deferred(scope, PROTOCOL_ERROR, shortened(text)).at(relay.cloned());
    outcome.reply = Some(Arc::new(bounded(reply)));
    outcome
}

/// The reply on one line.
pub(super) fn said(reply: &Reply) -> Arc<str> {
    shortened(reply.one_line())
}

/// Keeps the lines that fit into what is kept with a recipient: a next hop that floods would otherwise
/// fill the memory with one reply for each recipient.
fn bounded(mut reply: Reply) -> Reply {
    let mut room = REASON_BYTES_MAX;
    for line in &mut reply.lines {
        line.truncate(line.floor_char_boundary(room));
        room -= line.len();
    }
    let kept = reply.lines.iter().rposition(|line| !line.is_empty()).map_or(1, |last| last + 1);
    reply.lines.truncate(kept);
    reply
}

/// The text within [`REASON_BYTES_MAX`].
fn shortened(mut text: String) -> Arc<str> {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_words_is_cut() {
        let reply = Reply { code: 550, status: None, lines: vec!["é".repeat(1000); 128] };
        let outcome = decided(reply, "RCPT", Scope::Recipient, None);
        assert!(outcome.text.len() <= REASON_BYTES_MAX);
        let kept = outcome.reply.unwrap();
        assert!(kept.lines.iter().map(String::len).sum::<usize>() <= REASON_BYTES_MAX);
        assert!(kept.lines.len() == 1 && kept.lines[0].starts_with('é'));
    }
}
