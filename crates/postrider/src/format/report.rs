//! Sentences about flushes, causes, the engine's state and the spool's.

use std::fmt::Write;

use control::{DamageItem, FlushItem, FlushResult, StatusItem, VerifyItem, WhyItem};
use mail::Time;

use super::text::{counted, printable};
use super::time::{ahead, instant, passed, span, until};

/// What one flush did.
pub(crate) fn flush(item: &FlushItem) -> String {
    let target = if item.target.is_empty() { "everything" } else { item.target.as_str() };
    let target = printable(target);
    if item.result != FlushResult::Ok {
        let answer = match item.result {
            FlushResult::Ok | FlushResult::Fail => "failed",
            FlushResult::Bad => "neither a site nor a queue id",
            FlushResult::Deny => "not a site of fast_flush_domains",
        };
        return format!("{target}: {}", item.text.as_deref().map_or(answer.into(), printable));
    }
    if let Some(text) = &item.text {
        return format!("{target}: {}", printable(text));
    }
    let mut line = format!("{target}: {} released", counted(item.released, "message"));
    if item.already_active > 0 {
        let _ = write!(line, ", {} being delivered already", item.already_active);
    }
    if item.on_hold > 0 {
        let _ = write!(line, ", {} left on hold", item.on_hold);
    }
    if let Some(left) = item.sites_left {
        let _ = write!(line, ", {} still to come", counted(left, "site"));
    } else if item.released + item.already_active + item.on_hold == 0 {
        line = format!("{target}: no mail is waiting");
    }
    line
}

/// One row of the flush status.
pub(crate) fn flush_status(item: &FlushItem) -> String {
    let flushed = match item.last_flushed {
        Some(at) => format!("flushed {}", instant(at)),
        None if item.eligible == Some(false) => "not in fast_flush_domains".to_owned(),
        None => "never flushed".to_owned(),
    };
    let waiting = counted(item.waiting.unwrap_or(0), "message");
    let progress = item.text.as_deref().map(|text| format!(", {}", printable(text))).unwrap_or_default();
    format!("{}: {waiting} waiting, {flushed}{progress}", printable(&item.target))
}

/// What binds a message or a site, on one to three lines.
pub(crate) fn why(item: &WhyItem, now: Time) -> String {
    let mut text = format!("{}: {}", printable(&item.what), printable(&item.text));
    if let Some(since) = item.since {
        let _ = write!(text, "\n  since: {}", passed(since, now));
    }
    if let Some(at) = item.until {
        let _ = write!(text, "\n  until: {}", ahead(at, now));
    }
    if let Some(remedy) = &item.remedy {
        let _ = write!(text, "\n  released by: {}", printable(remedy));
    }
    text
}

/// A damaged place.
pub(crate) fn damage(item: &DamageItem) -> String {
    let repaired = if item.repaired { " (moved to corrupt)" } else { "" };
    format!("damaged: {}: {}{repaired}", printable(&item.place), printable(&item.reason))
}

/// The sums of a verification.
pub(crate) fn verify(item: &VerifyItem) -> String {
    let found = match item.damaged {
        0 => "no damage".to_owned(),
        count => format!("{count} damaged, {} repaired", item.repaired),
    };
    format!("verified {}, {} KiB: {found}", counted(item.messages, "message"), item.bytes.div_ceil(1024))
}

/// The engine's state, one `name: value` a line.
pub(crate) fn status(item: &StatusItem, now: Time) -> String {
    let (queues, totals) = (&item.queues, &item.totals);
    let accepting = match (&item.reason, item.accepting) {
        (_, true) => "yes".to_owned(),
        (Some(reason), false) => format!("no: {}", printable(reason)),
        (None, false) => "no".to_owned(),
    };
    let up = span(now.as_secs().saturating_sub(item.started));
    let next = until(item.next_event, now);
    let so_far = if item.starting { ", as far as the spool has been read" } else { "" };
    format!(
        "{} (process {}), up {up}\nlisten: {}\nspool: {}\naccepting: {accepting}\n\
         queues{so_far}: incoming {}, active {}, deferred {}, hold {}, corrupt {}\n\
         deliveries: {}\nnext event: {next}\n\
         messages since the start: found {}, accepted {}, ended {}; stored {}, deleted of these {}",
        item.program,
        item.pid,
        item.listen.join(", "),
        item.spool,
        queues.incoming,
        queues.active,
        queues.deferred,
        queues.hold,
        queues.corrupt,
        item.deliveries,
        totals.found,
        totals.accepted,
        totals.ended,
        totals.stored,
        totals.deleted,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(released: u64, on_hold: u64) -> FlushItem {
        FlushItem {
            target: "a.test".to_owned(),
            result: FlushResult::Ok,
            released,
            already_active: 0,
            on_hold,
            sites_left: None,
            waiting: None,
            eligible: None,
            last_flushed: None,
            text: None,
        }
    }

    #[test]
    fn a_flush_says_what_it_did() {
        assert_eq!(flush(&item(1, 0)), "a.test: 1 message released");
        assert_eq!(flush(&item(0, 2)), "a.test: 0 messages released, 2 left on hold");
        assert_eq!(flush(&item(0, 0)), "a.test: no mail is waiting");
        let denied = FlushItem { result: FlushResult::Deny, ..item(0, 0) };
        assert_eq!(flush(&denied), "a.test: not a site of fast_flush_domains");
        let row = FlushItem { waiting: Some(3), ..item(0, 0) };
        assert_eq!(flush_status(&row), "a.test: 3 messages waiting, never flushed");
    }

    #[test]
    fn a_cause_names_its_end() {
        let now = Time::from_millis(100_000);
        let item = WhyItem {
            what: "a.test".to_owned(),
            text: "waits for its next attempt".to_owned(),
            until: Some(160),
            remedy: Some("postrider flush a.test".to_owned()),
            ..WhyItem::default()
        };
        let text = why(&item, now);
        assert!(
            text.starts_with("a.test: waits for its next attempt\n  until: ") && text.contains("(in 1m)")
        );
        assert!(text.ends_with("\n  released by: postrider flush a.test"));
    }
}
