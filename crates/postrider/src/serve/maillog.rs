//! The mail log: one line an event, in the shape of Postfix, so that existing log tools read it
//! (reference: `log_adhoc.c`'s format as seen in the field, postfix-behaviour 8.6).
//!
//! Promises: every line begins with the queue id; text that came from outside is reduced to printable
//! characters; the JSON format carries the same values by name.
//! Refuses: deciding what is worth a line. The engine's notes decide that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mail::{Address, EnhancedStatus, Outcome, QueueId};
use tracing::info;

/// The four parts of a delay: before the message was active, active, connection set-up, transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delays {
    pub(crate) before_active: Duration,
    pub(crate) active: Duration,
    pub(crate) setup: Duration,
    pub(crate) transfer: Duration,
}

/// One recipient's line.
pub(crate) struct RecipientLine<'a> {
    pub(crate) id: QueueId,
    pub(crate) to: &'a str,
    pub(crate) original: Option<&'a str>,
    /// Who delivers where there is no host to name: `relay=` of pipes and Maildirs.
    pub(crate) agent: Option<&'a str>,
    pub(crate) outcome: &'a Outcome,
    pub(crate) word: &'static str,
    pub(crate) uses: u32,
    pub(crate) delay: Duration,
    pub(crate) delays: Delays,
}

/// `ID: from=<…>, size=N, nrcpt=N (queue active)`
pub(crate) fn active(id: QueueId, sender: Option<&Address>, size: u64, recipients: usize) {
    let from = sender.map(Address::as_str).unwrap_or_default();
    info!(
        target: "mail", event = "active", %id, from, size, nrcpt = recipients,
        "{id}: from=<{from}>, size={size}, nrcpt={recipients} (queue active)"
    );
}

/// `ID: to=<…>, relay=…, delay=…, delays=a/b/c/d, dsn=x.y.z, status=… (text)`
pub(crate) fn recipient(line: &RecipientLine<'_>) {
    let RecipientLine { id, to, outcome, word, .. } = line;
    let relay = outcome.relay.as_ref().map(|relay| relay.to_string());
    let relay = relay.as_deref().or(line.agent).unwrap_or("none");
    let original =
        line.original.map_or_else(String::new, |address| format!(" orig_to=<{}>,", printable(address)));
    let uses = if line.uses > 1 { format!(" conn_use={},", line.uses) } else { String::new() };
    let conn_use = (line.uses > 1).then_some(line.uses);
    let (delay, delays) = (Seconds(line.delay), line.delays.to_string());
    let status: EnhancedStatus = outcome.status;
    let text = printable(&outcome.text);
    info!(
        target: "mail", event = "recipient", %id, to, orig_to = line.original, relay, conn_use, %delay,
        delays, dsn = %status, status = word, reason = &*text,
        "{id}: to=<{to}>,{original} relay={relay},{uses} delay={delay}, delays={delays}, \
         dsn={status}, status={word} ({text})"
    );
}

/// `ID: from=<…>, status=expired, returned to sender`
pub(crate) fn expired(id: QueueId, sender: Option<&Address>, forced: bool) {
    let from = sender.map(Address::as_str).unwrap_or_default();
    let status = if forced { "force-expired" } else { "expired" };
    info!(
        target: "mail", event = "expired", %id, from, status,
        "{id}: from=<{from}>, status={status}, returned to sender"
    );
}

/// `ID: removed`
pub(crate) fn removed(id: QueueId) {
    info!(target: "mail", event = "removed", %id, "{id}: removed");
}

/// Any other line about one message, such as `ID: placed on hold`.
pub(crate) fn remark(id: QueueId, event: &'static str, text: &str) {
    let text = printable(text);
    info!(target: "mail", event, %id, "{id}: {text}");
}

/// `a/b/c/d`
impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = [self.before_active, self.active, self.setup, self.transfer].map(Seconds);
        write!(f, "{a}/{b}/{c}/{d}")
    }
}

/// Seconds with at most two significant digits below ten and whole seconds above, never more than two
/// decimals (`delay_logging_resolution_limit`), without trailing zeros.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let decimals = match seconds {
            s if s >= 10.0 => 0,
            s if s >= 1.0 => 1,
            _ => 2,
        };
        let text = format!("{seconds:.decimals$}");
        let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        f.write_str(short)
    }
}

/// The text with everything that could break a log line replaced by `?`.
fn printable(text: &str) -> Arc<str> {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_written_as_postfix_writes_them() {
        for (millis, text) in [
            (0, "0"),
            (4, "0"),
            (20, "0.02"),
            (123, "0.12"),
            (100, "0.1"),
            (5_120, "5.1"),
            (3_000, "3"),
            (305_400, "305"),
        ] {
            assert_eq!(Seconds(Duration::from_millis(millis)).to_string(), text, "{millis} ms");
        }
    }

    #[test]
    fn control_characters_cannot_break_a_line() {
        assert_eq!(&*printable("a\r\nb\u{7}"), "a??b?");
    }
}
