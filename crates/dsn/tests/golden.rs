//! One report of each kind, compared to the byte with `testdata/dsn/*.eml` and read back by a MIME
//! parser. `UPDATE_GOLDEN=1 cargo test -p dsn --test golden` writes the files anew.

mod world;

use std::path::PathBuf;
use std::time::Duration;

use dsn::{Action, Audience, Kind, Report};
use mail::{BodyType, Orcpt, Outcome, Ret};
use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use world::{World, address, bounced, deferred, relayed};

fn golden(name: &str, report: &Report) {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/dsn")).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &report.content).expect("testdata can be written");
    }
    let expected = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (expected, found) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(&report.content));
    assert!(expected == found, "{name} differs; expected:\n{expected}\nfound:\n{found}");
}

/// What a MIME parser makes of a report: the types of the parts, and the decoded text of each.
struct Seen {
    types: Vec<String>,
    texts: Vec<String>,
}

fn seen(report: &Report) -> Seen {
    let message = MessageParser::default().parse(&report.content).expect("a message");
    let kind = message.content_type().expect("a content type");
    assert_eq!(kind.ctype(), "multipart");
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    assert_eq!(message.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    let part = |id: &u32| &message.parts[*id as usize];
    let types = parts.iter().map(|id| {
        let kind = part(id).content_type().expect("every part has a type");
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
    });
    let texts = parts.iter().map(|id| match &part(id).body {
        PartType::Text(text) => text.to_string(),
        PartType::Message(inner) => String::from_utf8_lossy(inner.raw_message()).into_owned(),
        _ => String::from_utf8_lossy(part(id).contents()).into_owned(),
    });
    Seen { types: types.collect(), texts: texts.collect() }
}

/// The unfolded value of a field in one block of a delivery status.
fn value<'b>(block: &'b str, name: &str) -> Option<&'b str> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn blocks(status: &str) -> Vec<String> {
    let unfolded = status.replace("\r\n    ", " ").replace("\r\n ", "");
    unfolded.trim_end().split("\r\n\r\n").map(str::to_owned).collect()
}

fn parsed(report: &Report) -> Message<'_> {
    MessageParser::default().parse(&report.content).expect("a message")
}

#[test]
fn failure() {
    let mut world = World::new(&["nobody@x.test", "full@[192.0.2.7]", "\"a b\"@y.test"]);
    world.envelope.envid = Some("QQ 314159".to_owned());
    world.envelope.recipients[0].orcpt =
        Some(Orcpt { kind: "rfc822".to_owned(), address: "info@list.test".to_owned() });
    let text = "The mailbox you are writing to does not exist or was closed a long time ago, see \
                https://x.test/help/unknown-mailbox";
    world.tell(0, Action::Failed, bounced(550, "5.1.1", text));
    world.tell(1, Action::Failed, bounced(552, "5.2.2", "Mailbox full"));
    let lost = Outcome::bounced(mail::Scope::Message, "5.4.6".parse().unwrap(), "mail loops back to myself");
    world.tell(2, Action::Failed, lost);
    let report = world.compose(Kind::Failure);
    golden("failure.eml", &report);
    assert_eq!((&report.from, report.to.as_str()), (&None, "s@src.test"));
    assert_eq!((report.smtputf8, report.body), (false, BodyType::SevenBit));
    let seen = seen(&report);
    assert_eq!(seen.types, ["text/plain", "message/delivery-status", "message/rfc822"]);
    assert!(seen.texts[0].contains("<nobody@x.test> (originally <info@list.test>):"));
    let blocks = blocks(&seen.texts[1]);
    assert_eq!(blocks.len(), 4);
    assert_eq!(value(&blocks[0], "Reporting-MTA"), Some("dns; mail.src.test"));
    assert_eq!(value(&blocks[0], "Original-Envelope-Id"), Some("QQ 314159"));
    assert_eq!(value(&blocks[1], "Final-Recipient"), Some("rfc822;nobody@x.test"));
    assert_eq!(value(&blocks[1], "Original-Recipient"), Some("rfc822;info@list.test"));
    assert_eq!(value(&blocks[1], "Action"), Some("failed"));
    assert_eq!(value(&blocks[1], "Status"), Some("5.1.1"));
    assert_eq!(value(&blocks[1], "Remote-MTA"), Some("dns; mx.x.test"));
    assert_eq!(value(&blocks[1], "Diagnostic-Code"), Some(format!("smtp; 550 5.1.1 {text}").as_str()));
    assert_eq!(value(&blocks[3], "Final-Recipient"), Some("rfc822;\"a b\"@y.test"));
    assert_eq!(value(&blocks[3], "Diagnostic-Code"), Some("x-postrider; mail loops back to myself"));
    assert_eq!(value(&blocks[3], "Remote-MTA"), None);
    assert_eq!(seen.texts[2].as_bytes(), world.content.as_slice(), "the original is untouched");
    assert_eq!(parsed(&report).references().as_text(), Some("orig.1@src.test"));
}

#[test]
fn failure_with_header_only() {
    let mut world = World::new(&["nobody@x.test"]);
    world.returned = Ret::Headers;
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "No such user"));
    let report = world.compose(Kind::Failure);
    golden("failure-headers.eml", &report);
    let seen = seen(&report);
    assert_eq!(seen.types[2], "text/rfc822-headers");
    assert!(seen.texts[2].contains("Subject: Minutes") && !seen.texts[2].contains("Dear"));
}

#[test]
fn expired() {
    let mut world = World::new(&["u@slow.test"]);
    world.returned = Ret::Headers;
    world.age = Duration::from_secs(5 * 86_400);
    world.status = "5.4.7".parse().ok();
    world.tell(0, Action::Failed, deferred("connect to mx.slow.test[192.0.2.9]:25: Connection timed out"));
    let report = world.compose(Kind::Failure);
    golden("expired.eml", &report);
    let seen = seen(&report);
    assert!(seen.texts[0].contains("<u@slow.test>: given up after 5 days. connect to"), "{}", seen.texts[0]);
    let blocks = blocks(&seen.texts[1]);
    assert_eq!((value(&blocks[1], "Action"), value(&blocks[1], "Status")), (Some("failed"), Some("5.4.7")));
}

#[test]
fn delay() {
    let mut world = World::new(&["u@slow.test"]);
    world.returned = Ret::Headers;
    world.tell(0, Action::Delayed, deferred("connect to mx.slow.test[192.0.2.9]:25: Connection timed out"));
    world.will_retry();
    let report = world.compose(Kind::Delay);
    golden("delay.eml", &report);
    let seen = seen(&report);
    assert!(seen.texts[0].contains("waiting for 4 hours.") && seen.texts[0].contains("waiting for 5 days."));
    let blocks = blocks(&seen.texts[1]);
    assert_eq!(value(&blocks[1], "Action"), Some("delayed"));
    assert_eq!(value(&blocks[1], "Status"), Some("4.4.1"));
    assert_eq!(value(&blocks[1], "Will-Retry-Until"), Some("Fri, 27 Nov 2026 03:14:39 +0000"));
}

#[test]
fn success() {
    let mut world = World::new(&["a@x.test", "b@local.test"]);
    world.returned = Ret::Headers;
    world.tell(0, Action::Relayed, relayed("250 2.0.0 Ok: queued as 4F2"));
    world.tell(1, Action::Delivered, Outcome::sent("delivered to maildir"));
    let report = world.compose(Kind::Success);
    golden("success.eml", &report);
    let blocks = blocks(&seen(&report).texts[1]);
    assert_eq!(
        (value(&blocks[1], "Action"), value(&blocks[2], "Action")),
        (Some("relayed"), Some("delivered"))
    );
    assert_eq!(value(&blocks[1], "Status"), Some("2.0.0"));
}

#[test]
fn verify() {
    let mut world = World::new(&["a@x.test", "b@x.test"]);
    world.tell(0, Action::Deliverable, relayed("250 2.1.5 Ok"));
    world.tell(1, Action::Undeliverable, bounced(550, "5.1.1", "No such user"));
    world.content.clear();
    let report = world.compose(Kind::Verify);
    golden("verify.eml", &report);
    assert_eq!(seen(&report).types, ["text/plain", "message/delivery-status"]);
}

#[test]
fn double_bounce() {
    let mut world = World::new(&["s@gone.test"]);
    world.envelope.sender = None;
    world.audience = Audience::Postmaster;
    world.from = Some(address("double-bounce@mail.src.test"));
    world.to = address("postmaster");
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "No such user"));
    let report = world.compose(Kind::Failure);
    golden("double-bounce.eml", &report);
    assert_eq!(report.from, world.from);
    assert!(parsed(&report).subject().unwrap().starts_with("Copy for the postmaster"));
    assert!(!seen(&report).texts[1].contains("X-Postrider-Sender"));
}

#[test]
fn failure_with_utf8() {
    let mut world = World::new(&["jörg@bücher.example", "plain@x.test"]);
    world.envelope.smtputf8 = true;
    world.envelope.sender = Some(address("zoë@src.test"));
    world.to = address("zoë@src.test");
    world.content = "From: zoë@src.test\r\nSubject: Grüße\r\n\r\nHallo Jörg\r\n".into();
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "Postfach „jörg“ unbekannt"));
    world.tell(1, Action::Failed, bounced(550, "5.6.7", "SMTPUTF8 required"));
    let report = world.compose(Kind::Failure);
    golden("failure-utf8.eml", &report);
    assert_eq!((report.smtputf8, report.body), (true, BodyType::EightBitMime));
    let seen = seen(&report);
    assert_eq!(seen.types, ["text/plain", "message/global-delivery-status", "message/global"]);
    assert!(seen.texts[0].contains("<jörg@bücher.example>:"), "{}", seen.texts[0]);
    let blocks = blocks(&seen.texts[1]);
    assert_eq!(value(&blocks[1], "Final-Recipient"), Some("utf-8;jörg@bücher.example"));
    assert_eq!(value(&blocks[2], "Final-Recipient"), Some("rfc822;plain@x.test"));
}

#[test]
fn a_sender_without_utf8_can_always_be_told() {
    let mut world = World::new(&["jörg@bücher.example"]);
    world.envelope.smtputf8 = true;
    world.returned = Ret::Headers;
    world.tell(0, Action::Failed, bounced(550, "5.6.7", "SMTPUTF8 required"));
    let report = world.compose(Kind::Failure);
    golden("failure-utf8-headers.eml", &report);
    assert!(!report.smtputf8);
    assert_eq!(seen(&report).types[2], "message/global-headers");
}

#[test]
fn a_failure_for_a_next_hop_that_takes_seven_bits() {
    for (utf8, last) in [(false, "text/rfc822-headers"), (true, "message/global")] {
        let mut world = World::new(&["nobody@x.test"]);
        world.content = "Subject: Grüße\r\nMessage-ID: <1@x.test>\r\n\r\nLiebe Grüße\r\n".into();
        world.envelope.smtputf8 = utf8;
        world.tell(0, Action::Failed, bounced(550, "5.1.1", "No such user"));
        let report = world.compose(Kind::Failure);
        assert_eq!(report.body, BodyType::EightBitMime);
        let content = dsn::in_seven_bits(&report.content).expect("a report of ours");
        assert!(content.is_ascii());
        let report = Report { content, ..report };
        if !utf8 {
            golden("failure-seven-bits.eml", &report);
        }
        let message = parsed(&report);
        let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
        let part = &message.parts[parts[2] as usize];
        let kind = part.content_type().expect("a type");
        assert_eq!(format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()), last);
        let decoded = match &part.body {
            PartType::Text(text) => text.to_string(),
            PartType::Message(inner) => String::from_utf8_lossy(inner.raw_message()).into_owned(),
            _ => String::from_utf8_lossy(part.contents()).into_owned(),
        };
        assert!(decoded.contains("Subject: Grüße"), "{decoded}");
        assert_eq!(dsn::in_seven_bits(&report.content), Some(report.content.clone()), "nothing more to do");
    }
    assert_eq!(dsn::in_seven_bits(b"Subject: x\r\n\r\nboundary=\"x\"\r\n"), None);
}
