//! The transports that need no network: discard, error, retry.

use mail::{EnhancedStatus, Outcome, Scope};

/// What the discard transport makes of everybody (discard(8)).
pub(crate) fn discard(nexthop: &str) -> Outcome {
    let reason = if nexthop.is_empty() { "discarded".to_owned() } else { format!("discarded: {nexthop}") };
    Outcome::sent(reason)
}

/// What the error transport makes of everybody: the next hop is a status and a text (error(8)). A status of
/// class 4 defers.
pub(crate) fn error(nexthop: &str) -> Outcome {
    match split(nexthop) {
        (Some(status), text) if status.class() == 4 => Outcome::deferred(Scope::Recipient, status, text),
        (Some(status), text) => Outcome::bounced(Scope::Recipient, status, text),
        (None, text) => Outcome::bounced(Scope::Recipient, EnhancedStatus::new(5, 0, 0), text),
    }
}

/// What the retry transport makes of everybody: the same, but never for good (error(8), `retry`).
pub(crate) fn retry(nexthop: &str) -> Outcome {
    let (status, text) = split(nexthop);
    Outcome::deferred(Scope::Recipient, status.unwrap_or(EnhancedStatus::new(4, 0, 0)), text)
}

fn split(nexthop: &str) -> (Option<EnhancedStatus>, &str) {
    let nexthop = nexthop.trim();
    let (word, rest) = nexthop.split_once(' ').unwrap_or((nexthop, ""));
    let (status, text) = match word.parse() {
        Ok(status) => (Some(status), rest.trim_start()),
        Err(()) => (None, nexthop),
    };
    (status, if text.is_empty() { "mail cannot be delivered to this address" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(outcome: &Outcome) -> String {
        format!("{:?} {} {}", outcome.verdict, outcome.status, outcome.text)
    }

    #[test]
    fn next_hops_become_reasons() {
        assert_eq!(shown(&discard("")), "Sent 2.0.0 discarded");
        assert_eq!(shown(&error("5.1.2 no longer here")), "Bounced 5.1.2 no longer here");
        assert_eq!(shown(&error("gone for good")), "Bounced 5.0.0 gone for good");
        assert_eq!(shown(&error("4.3.2 in a while")), "Deferred 4.3.2 in a while");
        assert_eq!(shown(&error("")), "Bounced 5.0.0 mail cannot be delivered to this address");
        assert_eq!(shown(&retry("4.3.2 in a while")), "Deferred 4.3.2 in a while");
        assert_eq!(shown(&retry("5.3.2 never say never")), "Deferred 4.3.2 never say never");
        assert_eq!(shown(&retry("2.0.0")), "Deferred 4.0.0 mail cannot be delivered to this address");
    }
}
