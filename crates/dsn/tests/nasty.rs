//! Reports on hostile input: whatever a reply, an address or an original holds, the report has the
//! parts and fields it should have, its lines hold the limits, and it is the same every time.

mod world;

use dsn::{Action, Kind, Report, TEXT_RECIPIENTS_MAX};
use mail::{BodyType, Orcpt, Outcome, Relay, Reply, Ret, Scope};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;
use std::sync::Arc;
use world::{World, bounced};

/// Names of the fields in front of the first part.
fn field_names(report: &Report) -> Vec<String> {
    let text = String::from_utf8_lossy(&report.content);
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let fields = header.split("\r\n").filter(|line| !line.starts_with(' '));
    fields.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
}

fn check_lines(report: &Report) {
    let body = report.content.strip_suffix(b"\r\n").expect("the last line is ended");
    for line in body.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 998, "{} bytes", line.len());
        assert!(!line.contains(&b'\r') && !line.contains(&0));
    }
    let lines = report.content.iter().filter(|&&b| b == b'\n').count();
    assert_eq!(lines, report.content.windows(2).filter(|pair| *pair == b"\r\n").count(), "bare LF");
    assert_eq!(report.body == BodyType::SevenBit, report.content.is_ascii());
}

fn part_types(report: &Report) -> Vec<String> {
    let message = MessageParser::default().parse(&report.content).expect("a message");
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    let kind = |id: &u32| {
        message.parts[*id as usize].content_type().expect("a type").subtype().expect("a subtype").to_owned()
    };
    parts.iter().map(kind).collect()
}

/// Names of all fields in the delivery status, one list for each block.
fn status_fields(report: &Report) -> Vec<Vec<String>> {
    let text = String::from_utf8_lossy(&report.content).into_owned();
    let start = text.find("delivery-status\r\n").expect("a status part");
    let body = &text[start + text[start..].find("\r\n\r\n").expect("its header ends") + 4..];
    let body = &body[..body.find("\r\n\r\n--=_").expect("an end")];
    let names = |block: &str| {
        let fields = block.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with(' '));
        fields.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    body.split("\r\n\r\n").map(names).collect()
}

#[test]
fn a_reply_cannot_add_fields_or_parts() {
    let mut world = World::new(&["u@x.test"]);
    let evil = "no\r\n\r\n--=_0\r\nContent-Type: text/html\r\n\r\nBcc: v@x.test\u{0}\u{1b}[31m";
    let reply = Reply { code: 550, status: None, lines: vec![evil.to_owned(), "x ".repeat(4000)] };
    let relay = Relay { host: "mx\r\nX-Evil: 1".to_owned(), address: None, port: 25 };
    world.tell(0, Action::Failed, Outcome::from_reply(reply, Scope::Recipient, Some(Arc::new(relay))));
    let report = world.compose(Kind::Failure);
    check_lines(&report);
    assert_eq!(part_types(&report), ["plain", "delivery-status", "rfc822"]);
    let message = ["Reporting-MTA", "X-Postrider-Queue-ID", "X-Postrider-Sender", "Arrival-Date"];
    let recipient =
        ["Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"];
    assert_eq!(
        status_fields(&report),
        [message.map(str::to_owned).to_vec(), recipient.map(str::to_owned).to_vec()]
    );
}

#[test]
fn an_original_cannot_end_its_part() {
    let mut world = World::new(&["u@x.test"]);
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "No"));
    let first = world.compose(Kind::Failure);
    let text = String::from_utf8(first.content).unwrap();
    let boundary = text.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let evil = format!(
        "Subject: x\r\n\r\n--{boundary}--\r\n\r\n--{boundary}\r\nContent-Type: text/html\r\n\r\nevil\r\n"
    );
    world.content = evil.clone().into_bytes();
    let report = world.compose(Kind::Failure);
    assert_eq!(part_types(&report), ["plain", "delivery-status", "rfc822"]);
    let message = MessageParser::default().parse(&report.content).unwrap();
    let nested = message.parts.iter().find_map(|part| match &part.body {
        PartType::Message(inner) => Some(inner.raw_message().to_vec()),
        _ => None,
    });
    assert_eq!(nested, Some(evil.into_bytes()));
}

#[test]
fn many_recipients_make_a_bounded_text_and_a_complete_status() {
    let names: Vec<String> = (0..TEXT_RECIPIENTS_MAX + 50).map(|n| format!("u{n}@x.test")).collect();
    let mut world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    (0..names.len()).for_each(|n| world.tell(n, Action::Failed, bounced(550, "5.1.1", "No such user")));
    let report = world.compose(Kind::Failure);
    assert_eq!(status_fields(&report).len(), names.len() + 1);
    let text = String::from_utf8(report.content).unwrap();
    assert!(text.contains("and 50 more, all of them named"));
    assert_eq!(text.matches("u249@x.test").count(), 1);
}

#[test]
fn operators_texts_beyond_ascii_travel_in_seven_bits() {
    let mut world = World::new(&["u@x.test"]);
    let file = "failure_template = <<EOF\nCharset: utf-8\nFrom: postmeister (Poststelle Köln, \"Süd\")\n\
                Subject: Unzustellbar: schöne Grüße\n\n\
                Nicht zustellbar für $maximal_queue_lifetime_days Tage.\nEOF\n";
    world.templates = dsn::Templates::parse(file).unwrap();
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "No such user"));
    let report = world.compose(Kind::Failure);
    assert_eq!(report.body, BodyType::SevenBit);
    let message = MessageParser::default().parse(&report.content).unwrap();
    assert_eq!(message.subject(), Some("Unzustellbar: schöne Grüße"));
    let from = message.from().unwrap().first().unwrap();
    assert_eq!(
        (from.name(), from.address()),
        (Some("Poststelle Köln, \"Süd\""), Some("postmeister@mail.src.test"))
    );
    // An empty line stands before the recipients, though the text does not end in one.
    let text = message.body_text(0).unwrap().replace('\r', "");
    assert!(text.contains("für 5 Tage.\n\n<u@x.test>: "), "{text}");
}

#[test]
fn without_the_original_the_report_still_goes() {
    let mut world = World::new(&["u@x.test"]);
    world.limit = 0;
    world.tell(0, Action::Failed, bounced(550, "5.1.1", "No"));
    assert_eq!(part_types(&world.compose(Kind::Failure)), ["plain", "delivery-status"]);
}

fn nasty_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(\\PC|[\r\n\t\u{0}\u{85}:=-]){0,120}",
        "[ -~]{0,200}",
        "x{900,3000}",
        Just("\r\n.\r\nQUIT\r\n".to_owned()),
        Just("\r\n\r\n--=_00000000000000.0.--\r\n".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_breaks_out(
        texts in proptest::collection::vec(nasty_text(), 1..4),
        envid in nasty_text(),
        orcpt in nasty_text(),
        host in nasty_text(),
        content in nasty_text(),
        raw in proptest::collection::vec(any::<u8>(), 0..200),
        local in "[a-zöü0-9!#$%&'*+/=?^_`{|}~-]{1,60}",
        smtputf8: bool,
        headers: bool,
        limit in 0u64..4000,
    ) {
        let mut world = World::new(&[&format!("{local}@x.test"), &format!("\"{local}\"@[192.0.2.1]")]);
        world.envelope.envid = Some(envid.chars().take(100).collect());
        world.envelope.smtputf8 = smtputf8;
        let address = orcpt.chars().take(500).collect();
        world.envelope.recipients[1].orcpt = Some(Orcpt { kind: "rfc822".to_owned(), address });
        world.returned = if headers { Ret::Headers } else { Ret::Full };
        world.limit = limit;
        world.content = [content.as_bytes(), &raw].concat();
        let reply = Reply { code: 554, status: None, lines: texts };
        let relay = Relay { host, address: None, port: 25 };
        let outcome = Outcome::from_reply(reply, Scope::Recipient, Some(Arc::new(relay)));
        world.tell(0, Action::Failed, outcome.clone());
        world.tell(1, Action::Failed, outcome);
        let report = world.compose(Kind::Failure);
        prop_assert_eq!(&report, &world.compose(Kind::Failure));
        check_lines(&report);
        let names = field_names(&report);
        let expected = ["Date", "From", "To", "Subject", "Message-ID"];
        prop_assert!(names.iter().map(String::as_str).take(5).eq(expected));
        let others = ["In-Reply-To", "References", "Auto-Submitted", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding"];
        prop_assert!(names[5..].iter().all(|name| others.contains(&name.as_str())), "{:?}", names);
        let types = part_types(&report);
        prop_assert!((2..=3).contains(&types.len()), "{:?}", types);
        let blocks = status_fields(&report);
        prop_assert_eq!(blocks.len(), 3);
        let expected = ["Final-Recipient", "Original-Recipient", "Action", "Status", "Remote-MTA",
            "Diagnostic-Code", "Last-Attempt-Date"];
        prop_assert!(blocks[2].iter().map(String::as_str).eq(expected), "{:?}", blocks);
    }
}
