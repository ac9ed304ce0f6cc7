//! From the text of a scenario file to a [`Scenario`].
//!
//! Promises: whatever is wrong is refused with its place, and with the nearest valid name where a name
//! was mistyped. What is accepted can be run.
//! Known to be wrong: a text in `do` that is written with escapes is blamed at its start, not at the word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mail::Time;
use qmgr::Config;
use toml::{Spanned, Value};

use crate::fault::{Fault, ParseError};
use crate::scenario::{Act, Action, Answer, Appears, Message, Recipient, Scenario, Site, World};
use crate::{action, file, settings};

/// When a scenario does not say how long it runs.
const UNTIL_DEFAULT: Time = Time::from_millis(10 * 86_400_000);
/// Recipients of one message; more is a slip of the hand.
const RECIPIENTS_MAX: usize = 1_000_000;
/// Copies of one message; more is a slip of the hand.
const COPIES_MAX: u64 = 1_000_000;
/// The transport of a site that names none.
const TRANSPORT_DEFAULT: &str = "smtp";
/// The sender of a message that names none.
const SENDER_DEFAULT: &str = "s@src.test";

/// Reads a scenario. `path` is only used to name the place of what is refused.
pub fn parse(path: &str, text: &str) -> Result<Scenario, ParseError> {
    toml::from_str::<file::File>(text)
        .map_err(|error| Fault::from_toml(&error))
        .and_then(scenario)
        .map_err(|fault| fault.into_error(path, text))
}

fn scenario(file: file::File) -> Result<Scenario, Fault> {
    let transports: BTreeSet<Arc<str>> = file
        .transport
        .keys()
        .map(|name| name.get_ref().as_str())
        .chain(settings::TRANSPORTS)
        .map(Arc::from)
        .collect();
    let config = settings::config(&file)?;
    let mut sites = BTreeMap::new();
    for raw in &file.site {
        let (name, site) = site(raw, &transports)?;
        if sites.insert(name, site).is_some() {
            return Err(Fault::new(start(&raw.name), "this site is described twice"));
        }
    }
    let mut labels = BTreeSet::new();
    let mut messages = Vec::with_capacity(file.message.len());
    for raw in &file.message {
        let message = message(raw)?;
        for name in names(raw)? {
            if !labels.insert(Arc::clone(&name)) {
                let what = format!("{name:?} is the name of another message");
                return Err(Fault::new(start(&raw.name), what));
            }
            messages.push(Message { name, ..message.clone() });
        }
    }
    let actions = file
        .operator
        .iter()
        .map(|raw| operator(raw, &labels, &transports, &config))
        .collect::<Result<_, _>>()?;
    Ok(Scenario { title: file.title, config, world: world(&file.world)?, sites, messages, actions })
}

fn world(raw: &file::World) -> Result<World, Fault> {
    Ok(World {
        agents_from: instant(&raw.agents_from)?.unwrap_or(Time::ZERO),
        until: instant(&raw.until)?.unwrap_or(UNTIL_DEFAULT),
        seed: raw.seed.unwrap_or(1),
    })
}

fn site(raw: &file::Site, transports: &BTreeSet<Arc<str>>) -> Result<(Arc<str>, Site), Fault> {
    let name = site_name(start(&raw.name), raw.name.get_ref())?;
    let answers = match &raw.answers {
        None => vec![Answer::Ok],
        Some(list) if list.get_ref().is_empty() => {
            return Err(Fault::new(list.span().start, "at least one answer is needed"));
        }
        Some(list) => list
            .get_ref()
            .iter()
            .map(|word| action::answer(start(word), word.get_ref()))
            .collect::<Result<_, _>>()?,
    };
    let transport = match &raw.transport {
        None => Arc::from(TRANSPORT_DEFAULT),
        Some(wanted) => transports.get(wanted.get_ref().as_str()).cloned().ok_or_else(|| {
            let known = transports.iter().map(|name| &**name);
            Fault::unknown(start(wanted), "transport", wanted.get_ref(), known)
        })?,
    };
    let takes = raw.takes.as_ref().map(length).transpose()?.unwrap_or_default();
    Ok((name, Site { transport, takes, answers, resolves: raw.resolves.unwrap_or(true) }))
}

/// The labels of a message and its copies: `A`, or `A1`, `A2` and so on.
fn names(raw: &file::Message) -> Result<Vec<Arc<str>>, Fault> {
    let name = raw.name.get_ref();
    match &raw.copies {
        None => Ok(vec![name.as_str().into()]),
        Some(copies) if (1..=COPIES_MAX).contains(copies.get_ref()) => {
            Ok((1..=*copies.get_ref()).map(|number| format!("{name}{number}").into()).collect())
        }
        Some(copies) => {
            Err(Fault::new(copies.span().start, format!("1 to {COPIES_MAX} copies are possible")))
        }
    }
}

fn message(raw: &file::Message) -> Result<Message, Fault> {
    let name = raw.name.get_ref();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Fault::new(start(&raw.name), "the name of a message is one word"));
    }
    let sender = raw.sender.as_ref().map_or(SENDER_DEFAULT, |sender| sender.get_ref());
    if !sender.is_empty() {
        let at = raw.sender.as_ref().map_or(0, start);
        mail::Address::parse(sender).map_err(|error| Fault::new(at, format!("{sender:?}: {error}")))?;
    }
    let appears = appears(raw)?;
    let arrived = match (appears, &raw.at) {
        (Appears::Found(..), at) => instant(at)?,
        _ => None,
    };
    Ok(Message {
        name: name.as_str().into(),
        appears,
        entered: instant(&raw.entered)?,
        arrived,
        sender: sender.into(),
        recipients: recipients(&raw.to)?,
        damaged: raw.damaged,
    })
}

fn appears(raw: &file::Message) -> Result<Appears, Fault> {
    let at = instant(&raw.at)?;
    let due = instant(&raw.next_attempt)?;
    let queue = match &raw.queue {
        None => None,
        Some(word) => Some(match word.get_ref().as_str() {
            "incoming" => qmgr::Queue::Incoming,
            "active" => qmgr::Queue::Active,
            "deferred" => qmgr::Queue::Deferred,
            "hold" => qmgr::Queue::Hold,
            other => {
                let known = ["incoming", "active", "deferred", "hold"];
                return Err(Fault::unknown(start(word), "queue", other, known));
            }
        }),
    };
    if let (Some(place), false) = (&raw.next_attempt, queue == Some(qmgr::Queue::Deferred)) {
        return Err(Fault::new(place.span().start, "next_attempt needs queue = \"deferred\""));
    }
    let late = |at: Option<Time>| at.is_some_and(|at| at > Time::ZERO);
    match (queue, &raw.before_selection) {
        (None, None) => match (&raw.at, at) {
            (Some(place), Some(at)) if at < Time::ZERO => Err(Fault::new(
                place.span().start,
                "accepted before the start: say in which queue it is found",
            )),
            _ => Ok(Appears::At(at.unwrap_or(Time::ZERO))),
        },
        (None, Some(n)) if *n.get_ref() == 0 => Err(Fault::new(n.span().start, "selections count from 1")),
        (_, Some(n)) if raw.at.is_some() || queue.is_some() => {
            Err(Fault::new(n.span().start, "before_selection stands instead of at and queue"))
        }
        (_, Some(n)) => Ok(Appears::BeforeSelection(*n.get_ref())),
        (Some(qmgr::Queue::Incoming), None) if late(at) => Ok(Appears::At(at.unwrap_or(Time::ZERO))),
        (Some(_), None) if late(at) => {
            let place = raw.at.as_ref().map_or(0, |at| at.span().start);
            Err(Fault::new(place, "found at the start, so it was accepted at 0s or before"))
        }
        (Some(queue), None) => Ok(Appears::Found(queue, due.unwrap_or(Time::ZERO))),
    }
}

/// `["u@site", …]` or `[{ site = "…", count = 2 }, …]`, mixed as one likes. Groups make the addresses
/// `u1@site`, `u2@site` and so on, counted through the whole message.
fn recipients(list: &Spanned<Vec<Spanned<Value>>>) -> Result<Vec<Recipient>, Fault> {
    let mut recipients = Vec::new();
    let mut made: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for item in list.get_ref() {
        let at = item.span().start;
        match item.get_ref() {
            Value::String(text) => recipients.push(recipient(at + 1, text)?),
            Value::Table(table) => {
                let (site, count) = group(at, table)?;
                if recipients.len().saturating_add(count) > RECIPIENTS_MAX {
                    return Err(Fault::new(at, format!("more than {RECIPIENTS_MAX} recipients")));
                }
                let number = made.entry(Arc::clone(&site)).or_default();
                recipients.extend((0..count).map(|_| {
                    *number += 1;
                    Recipient { address: format!("u{number}@{site}").into(), site: Arc::clone(&site) }
                }));
            }
            _ => return Err(Fault::new(at, "an address or { site = \"…\", count = N } is expected")),
        }
    }
    if recipients.is_empty() {
        return Err(Fault::new(list.span().start, "at least one recipient is needed"));
    }
    Ok(recipients)
}

fn recipient(at: usize, text: &str) -> Result<Recipient, Fault> {
    let address = mail::Address::parse(text).map_err(|error| Fault::new(at, format!("{text:?}: {error}")))?;
    let site = address.site().ok_or_else(|| Fault::new(at, format!("{text:?} names no site")))?;
    Ok(Recipient { address: text.into(), site: site.into() })
}

fn group(at: usize, table: &toml::Table) -> Result<(Arc<str>, usize), Fault> {
    if let Some(key) = table.keys().find(|key| !["site", "count"].contains(&key.as_str())) {
        return Err(Fault::unknown(at, "key", key, ["site", "count"]));
    }
    let name =
        table.get("site").and_then(Value::as_str).ok_or_else(|| Fault::new(at, "site is missing here"))?;
    let count = match table.get("count") {
        None => 1,
        Some(value) => value
            .as_integer()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| Fault::new(at, "count is not a number of recipients"))?,
    };
    Ok((site_name(at, name)?, count))
}

fn operator(
    raw: &file::Operator,
    labels: &BTreeSet<Arc<str>>,
    transports: &BTreeSet<Arc<str>>,
    config: &Config,
) -> Result<Action, Fault> {
    let at = instant(&raw.at)?.unwrap_or(Time::ZERO);
    let (text, place) = (raw.action.get_ref(), start(&raw.action));
    let what = action::parse(text, place, labels)?;
    if let Act::SetLimit(name, value) = &what {
        let at = place + text.find(name.as_str()).unwrap_or(0);
        let of_value = place + text.rfind(value.as_str()).unwrap_or(0);
        settings::check_limit(config, transports, (at, name), (of_value, value))?;
    }
    Ok(Action { at, what })
}

fn site_name(at: usize, name: &str) -> Result<Arc<str>, Fault> {
    mail::site_of_domain(name).map(Arc::from).map_err(|error| Fault::new(at, format!("{name:?}: {error}")))
}

/// Where the text of a string begins: behind its quote.
fn start<T>(text: &Spanned<T>) -> usize {
    text.span().start + 1
}

/// A point in time: a duration since the start, `-` in front for before it.
fn instant(value: &Option<Spanned<Value>>) -> Result<Option<Time>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let text = match value.get_ref() {
        Value::String(text) => text.clone(),
        Value::Integer(seconds) => seconds.to_string(),
        _ => return Err(not_a_duration(value)),
    };
    let (sign, length) = match text.strip_prefix('-') {
        Some(length) => (-1, length),
        None => (1, text.as_str()),
    };
    let millis = duration(value, length)?.as_millis();
    Ok(Some(Time::from_millis(sign * i64::try_from(millis).unwrap_or(i64::MAX))))
}

fn length(value: &Spanned<Value>) -> Result<Duration, Fault> {
    match value.get_ref() {
        Value::String(text) => duration(value, text),
        Value::Integer(seconds) => duration(value, &seconds.to_string()),
        _ => Err(not_a_duration(value)),
    }
}

fn duration(value: &Spanned<Value>, text: &str) -> Result<Duration, Fault> {
    mail::parse_duration(text, Duration::from_secs(1))
        .map_err(|error| Fault::new(value.span().start, error.to_string()))
}

fn not_a_duration(value: &Spanned<Value>) -> Fault {
    Fault::new(value.span().start, "a duration is expected, as in \"30s\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Result<Message, String> {
        let text = format!("[[message]]\nname = \"A\"\nto = [\"u@x.test\"]\n{text}");
        let scenario = parse("f", &text).map_err(|error| error.to_string())?;
        Ok(scenario.messages[0].clone())
    }

    fn seconds(seconds: i64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn an_empty_file_is_a_world() {
        let scenario = parse("f", "").expect("nothing is missing");
        assert_eq!(scenario.world.until, UNTIL_DEFAULT);
        assert!(scenario.messages.is_empty());
    }

    #[test]
    fn messages_appear_as_told() {
        for (text, appears) in [
            ("", Appears::At(Time::ZERO)),
            ("at = \"5s\"", Appears::At(seconds(5))),
            ("at = 5", Appears::At(seconds(5))),
            ("at = \"5s\"\nqueue = \"incoming\"", Appears::At(seconds(5))),
            ("queue = \"incoming\"", Appears::Found(qmgr::Queue::Incoming, Time::ZERO)),
            (
                "queue = \"deferred\"\nnext_attempt = \"7s\"",
                Appears::Found(qmgr::Queue::Deferred, seconds(7)),
            ),
            ("queue = \"hold\"\nat = \"-5d\"", Appears::Found(qmgr::Queue::Hold, Time::ZERO)),
            ("before_selection = 3", Appears::BeforeSelection(3)),
        ] {
            assert_eq!(message(text).expect(text).appears, appears, "{text:?}");
        }
        assert_eq!(message("queue = \"hold\"\nat = \"-5s\"").expect("valid").arrived, Some(seconds(-5)));
        assert_eq!(message("entered = \"-100s\"").expect("valid").entered, Some(seconds(-100)));
        for bad in [
            "at = \"-5s\"",
            "at = true",
            "queue = \"deferred\"\nat = \"5s\"",
            "queue = \"corrupt\"",
            "before_selection = 0",
            "before_selection = 1\nat = \"5s\"",
            "next_attempt = \"5s\"",
            "copies = 0",
            "sender = \"nobody\"",
        ] {
            assert!(message(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn groups_make_addresses_and_copies_make_names() {
        let text = "[[message]]\nname = \"A\"\ncopies = 2\n\
                    to = [{ site = \"X.test\", count = 2 }, \"v@y.test\", { site = \"x.test\" }]";
        let scenario = parse("f", text).expect("valid");
        let names: Vec<_> = scenario.messages.iter().map(|message| &*message.name).collect();
        assert_eq!(names, ["A1", "A2"]);
        let addresses: Vec<_> = scenario.messages[1].recipients.iter().map(|to| &*to.address).collect();
        assert_eq!(addresses, ["u1@x.test", "u2@x.test", "v@y.test", "u3@x.test"]);
    }

    #[test]
    fn sections_of_the_configuration_reach_the_engine() {
        let text = "preset = \"postfix\"\n[qmgr]\nminimal_backoff_time = 60\n[transport.big]\nkind = \"smtp\"\n\
                    process_limit = 3\n[route]\nrelay_domains = [\"x.test\"]\n[flush]\n\
                    fast_flush_domains = [\"$relay_domains\", \"y.test\"]";
        let config = parse("f", text).expect("valid").config;
        assert_eq!(config.global().minimal_backoff_time, Duration::from_secs(60));
        assert_eq!(config.global().queue_run_delay, Duration::from_secs(300));
        assert_eq!(config.transport("big").process_limit, 3);
        assert!(
            config.fast_flush_domains.matches("sub.x.test") && config.fast_flush_domains.matches("y.test")
        );
        assert!(!config.fast_flush_domains.matches("z.test"));
    }
}
