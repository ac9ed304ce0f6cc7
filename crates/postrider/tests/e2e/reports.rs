//! What senders hear: reports come back through the queue, and a real MIME parser reads them.

use std::time::{Duration, Instant};

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use testkit::engine::{Engine, PATIENCE, Setup};
use testkit::plain::{Client, Received, Refusal, dot_stuffed};

use crate::place::{Place, ask, queue_id, start, wait_for_list, wait_until_empty};

const CONTENT: &[u8] = b"Subject: Minutes\r\nMessage-ID: <1@src.test>\r\n\r\nDear all\r\n";

fn refuse(at: &str, reply: &str) -> Refusal {
    Refusal { at: at.into(), reply: reply.into() }
}

/// One transaction with parameters, each line as written; the queue id.
fn send(engine: &Engine, commands: &[&str], content: &[u8]) -> String {
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for command in commands {
        let reply = client.command(command).expect("a reply");
        assert_eq!(reply.code, 250, "{command}: {reply}");
    }
    assert_eq!(client.command("DATA").expect("a reply").code, 354);
    client.write(&dot_stuffed(content)).expect("written");
    queue_id(&client.reply().expect("a reply"))
}

/// A report as a MIME parser sees it.
struct Seen {
    types: Vec<String>,
    texts: Vec<String>,
    subject: String,
}

fn seen(received: &Received) -> Seen {
    let message: Message<'_> = MessageParser::default().parse(&received.content).expect("a message");
    let kind = message.content_type().expect("a content type");
    assert_eq!((kind.ctype(), kind.attribute("report-type")), ("multipart", Some("delivery-status")));
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    let part = |id: &u32| &message.parts[*id as usize];
    let of_type = |id: &u32| {
        let kind = part(id).content_type().expect("every part has a type");
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
    };
    let text = |id: &u32| match &part(id).body {
        PartType::Text(text) => text.to_string(),
        PartType::Message(inner) => String::from_utf8_lossy(inner.raw_message()).into_owned(),
        _ => String::from_utf8_lossy(part(id).contents()).into_owned(),
    };
    Seen {
        types: parts.iter().map(of_type).collect(),
        texts: parts.iter().map(text).collect(),
        subject: message.subject().unwrap_or_default().to_owned(),
    }
}

impl Seen {
    /// The blocks of fields, unfolded: the message's, then one for each recipient.
    fn blocks(&self) -> Vec<String> {
        let unfolded = self.texts[1].replace("\r\n    ", " ").replace("\r\n ", "");
        unfolded.trim_end().split("\r\n\r\n").map(str::to_owned).collect()
    }

    /// The values of a field in all blocks.
    fn values(&self, name: &str) -> Vec<String> {
        let named = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
        self.blocks().iter().flat_map(|block| block.lines().filter_map(named).collect::<Vec<_>>()).collect()
    }
}

/// The reports among what arrived: they come from nobody.
fn reports(place: &Place) -> Vec<Received> {
    place.sink.received().into_iter().filter(|one| one.mail.starts_with("<>")).collect()
}

/// Waits until `count` reports have arrived.
fn wait_for_reports(place: &Place, engine: &Engine, count: usize) -> Vec<Received> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reports = reports(place);
        if reports.len() >= count {
            return reports;
        }
        assert!(Instant::now() < deadline, "{} of {count} reports\n{}", reports.len(), engine.printed());
        // Mail that is no report arrives too, so there is no count to wait for; the deadline bounds this.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_failure_comes_back_with_everything_the_sender_asked_for() {
    let place = Place::new();
    place.sink.refuse(vec![
        refuse("RCPT TO:<gone@", "550 5.1.1 no such user"),
        refuse("RCPT TO:<full@", "554 5.2.2 mailbox full"),
        refuse("RCPT TO:<silent@", "550 5.1.1 no such user"),
    ]);
    let engine = start(&place.setup());
    let id = send(
        &engine,
        &[
            "MAIL FROM:<s@src.test> RET=HDRS ENVID=QQ+20314",
            "RCPT TO:<gone@two.test> NOTIFY=FAILURE ORCPT=rfc822;info@list.test",
            "RCPT TO:<good@two.test>",
            "RCPT TO:<full@two.test>",
            "RCPT TO:<silent@two.test> NOTIFY=NEVER",
        ],
        CONTENT,
    );
    let all = wait_for_reports(&place, &engine, 1);
    wait_until_empty(&engine);
    assert_eq!(reports(&place).len(), 1, "one report for all recipients of a run");
    assert_eq!(all[0].recipients, ["<s@src.test>"]);
    let seen = seen(&all[0]);
    assert_eq!(seen.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    assert_eq!(seen.values("Final-Recipient"), ["rfc822;gone@two.test", "rfc822;full@two.test"]);
    assert_eq!(seen.values("Original-Recipient"), ["rfc822;info@list.test"]);
    assert_eq!(seen.values("Original-Envelope-Id"), ["QQ 314"]);
    assert_eq!(seen.values("X-Postrider-Queue-ID"), [id]);
    assert_eq!(seen.values("Action"), ["failed", "failed"]);
    assert_eq!(seen.values("Status"), ["5.1.1", "5.2.2"]);
    let diagnostics = ["smtp; 550 5.1.1 no such user", "smtp; 554 5.2.2 mailbox full"];
    assert_eq!(seen.values("Diagnostic-Code"), diagnostics);
    assert!(seen.texts[0].contains("<gone@two.test> (originally <info@list.test>)"), "{}", seen.texts[0]);
    assert!(seen.texts[2].contains("Subject: Minutes") && !seen.texts[2].contains("Dear all"));
}

#[test]
fn success_is_reported_where_it_was_asked_for() {
    let place = Place::new();
    let engine = start(&place.setup());
    let commands = [
        "MAIL FROM:<s@src.test>",
        "RCPT TO:<a@two.test> NOTIFY=SUCCESS,FAILURE",
        "RCPT TO:<b@two.test> NOTIFY=FAILURE",
        "RCPT TO:<c@two.test>",
    ];
    send(&engine, &commands, CONTENT);
    let all = wait_for_reports(&place, &engine, 1);
    wait_until_empty(&engine);
    assert_eq!(reports(&place).len(), 1);
    let seen = seen(&all[0]);
    assert_eq!(seen.values("Final-Recipient"), ["rfc822;a@two.test"]);
    assert_eq!(
        (seen.values("Action"), seen.values("Status")),
        (vec!["relayed".into()], vec!["2.0.0".into()])
    );
    assert_eq!(seen.types[2], "text/rfc822-headers");
}

/// What is in a mailbox is delivered; what a next hop took is relayed (RFC 3464 2.3.3).
#[test]
fn a_mailbox_is_the_end_of_the_way() {
    let place = Place::new();
    let folder = place.folder.path().join("mail");
    std::fs::create_dir_all(folder.join("others")).expect("a folder");
    let map = format!("[{{match = \"home.test\", to = \"maildir:{}/${{user}}\"}}]", folder.display());
    let setup = place.setup().with("route.map", &map).with("transport.maildir.maildir_create", "true");
    let mut engine = start(&setup);
    let commands = [
        "MAIL FROM:<s@src.test>",
        "RCPT TO:<a@home.test> NOTIFY=SUCCESS",
        "RCPT TO:<b@far.test> NOTIFY=SUCCESS",
    ];
    send(&engine, &commands, CONTENT);
    let seen = seen(&wait_for_reports(&place, &engine, 1)[0]);
    assert_eq!(seen.values("Final-Recipient"), ["rfc822;a@home.test", "rfc822;b@far.test"]);
    assert_eq!(seen.values("Action"), ["delivered", "relayed"]);
    assert_eq!(seen.values("Remote-MTA"), ["dns; [127.0.0.1]"]);
    assert!(seen.texts[0].contains("<a@home.test>: delivered. "), "{}", seen.texts[0]);
    let line = |line: &str| line.contains("to=<a@home.test>, relay=maildir,");
    engine.wait_for_line("name the agent", line).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_delay_is_reported_once_and_so_is_its_end() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full")]);
    let setup =
        place.setup().with("qmgr.delay_warning_time", "\"1s\"").with("qmgr.confirm_delay_cleared", "true");
    let engine = start(&setup);
    let commands =
        ["MAIL FROM:<s@src.test>", "RCPT TO:<slow@two.test>", "RCPT TO:<slow@three.test> NOTIFY=FAILURE"];
    let id = send(&engine, &commands, CONTENT);
    let all = wait_for_reports(&place, &engine, 1);
    let late = seen(&all[0]);
    assert_eq!(
        (late.values("Action"), late.values("Status")),
        (vec!["delayed".into()], vec!["4.2.2".into()])
    );
    assert_eq!(late.values("Final-Recipient"), ["rfc822;slow@two.test"], "as NOTIFY says");
    assert_eq!(late.values("Will-Retry-Until").len(), 1);
    let attempts = |list: &[serde_json::Value]| list.first().and_then(|one| one["attempts"].as_u64());
    wait_for_list(&engine, |list| attempts(list).is_some_and(|count| count >= 3));
    assert_eq!(reports(&place).len(), 1, "warned once");
    place.sink.refuse(Vec::new());
    ask(&engine, &["queue", "requeue", &id], 0);
    let all = wait_for_reports(&place, &engine, 2);
    wait_until_empty(&engine);
    assert_eq!(seen(&all[1]).values("Action"), ["relayed"]);
    assert_eq!(reports(&place).len(), 2);
}

#[test]
fn time_over_is_told_when_it_is_over() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full")]);
    // No retry would come before the end: the end itself is an appointment.
    let setup = place.patient_setup().with("qmgr.maximal_queue_lifetime", "\"2s\"");
    let engine = start(&setup);
    send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<slow@two.test>"], CONTENT);
    let all = wait_for_reports(&place, &engine, 1);
    wait_until_empty(&engine);
    let seen = seen(&all[0]);
    assert_eq!((seen.values("Action"), seen.values("Status")), (vec!["failed".into()], vec!["5.4.7".into()]));
    assert_eq!(seen.values("Diagnostic-Code"), ["smtp; 450 4.2.2 mailbox full"]);
    assert!(seen.texts[0].contains("given up after"), "{}", seen.texts[0]);
}

#[test]
fn an_operator_who_expires_mail_has_every_recipient_told() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full")]);
    let setup = place.patient_setup().with("qmgr.defer_transports", "[\"lmtp\"]").with(
        "route.map",
        &format!("[{{match = \"untried.test\", to = \"lmtp:{}\"}}]", place.sink.next_hop()),
    );
    let engine = start(&setup);
    let commands = ["MAIL FROM:<s@src.test>", "RCPT TO:<slow@two.test>", "RCPT TO:<a@untried.test>"];
    let id = send(&engine, &commands, CONTENT);
    wait_for_list(&engine, |list| list.iter().any(|message| message["queue_name"] == "deferred"));
    ask(&engine, &["queue", "expire", &id], 0);
    ask(&engine, &["flush", "--all"], 0);
    let all = wait_for_reports(&place, &engine, 1);
    wait_until_empty(&engine);
    let told = seen(&all[0]).values("Final-Recipient");
    assert_eq!(told, ["rfc822;slow@two.test", "rfc822;a@untried.test"]);
}

#[test]
fn soft_bounce_keeps_what_would_bounce() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<gone@", "550 5.1.1 no such user")]);
    let engine = start(&place.patient_setup().with("qmgr.soft_bounce", "true"));
    let id = send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>"], CONTENT);
    wait_for_list(&engine, |list| list.iter().any(|message| message["queue_name"] == "deferred"));
    assert!(reports(&place).is_empty());
    place.sink.refuse(Vec::new());
    ask(&engine, &["queue", "requeue", &id], 0);
    wait_until_empty(&engine);
    assert_eq!(place.sink.received()[0].recipients, ["<gone@two.test>"]);
}

#[test]
fn subjects_name_what_happened() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<gone@", "550 5.1.1 no such user")]);
    let engine = start(&place.setup());
    send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>"], CONTENT);
    let all = wait_for_reports(&place, &engine, 1);
    let seen = seen(&all[0]);
    assert_eq!(seen.subject, "Your message could not be delivered");
    assert!(seen.texts[2].contains("Dear all"), "the whole message without RET");
}

#[test]
fn a_report_is_never_reported_on() {
    let place = Place::new();
    place.sink.refuse(vec![
        refuse("RCPT TO:<gone@", "550 5.1.1 no such user"),
        refuse("RCPT TO:<s@src.test", "550 5.1.1 no such sender either"),
        refuse("RCPT TO:<chief@src.test", "550 5.1.1 nor such a postmaster"),
    ]);
    let setup = place
        .setup()
        .with("smtp.hostname", "\"mail.src.test\"")
        .with("bounce.notify_classes", "[\"bounce\"]")
        .with("bounce.bounce_notice_recipient", "\"copies@src.test\"")
        .with("bounce.2bounce_notice_recipient", "\"chief@src.test\"");
    let mut engine = start(&setup);
    send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>"], CONTENT);
    let copies = |line: &str| line.contains(": postmaster non-delivery notification: ");
    engine.wait_for_line("copy the postmaster", copies).unwrap_or_else(|error| panic!("{error}"));
    let end = |line: &str| line.contains("undeliverable postmaster notification discarded");
    engine.wait_for_line("discard the last one", end).unwrap_or_else(|error| panic!("{error}"));
    wait_until_empty(&engine);
    let received = place.sink.received();
    let to: Vec<_> = received.iter().map(|one| (one.mail.as_str(), one.recipients[0].as_str())).collect();
    let [(from, "<copies@src.test>")] = to[..] else { panic!("{to:?}") };
    assert!(from.starts_with("<double-bounce@mail.src.test>"), "{from}");
    assert_eq!(seen(&received[0]).types[2], "text/rfc822-headers", "a copy has no content");
}

/// Each class of sessions that go wrong is told when it is wanted, with what was said and without content.
#[test]
fn sessions_that_go_wrong_are_told_as_the_classes_say() {
    for (classes, to_tell) in
        [("protocol", 1), ("policy", 1), ("data", 1), ("protocol, policy, data", 3), ("", 0)]
    {
        let place = Place::new();
        let setup = place
            .setup()
            .with("smtp.relay_from", "[]")
            .with("route.relay_domains", "[\"two.test\"]")
            .with("smtp.message_size_limit", "1000")
            .with("bounce.error_notice_recipient", "\"errors@two.test\"")
            .with("bounce.notify_classes", &format!("{classes:?}"));
        let engine = start(&setup);
        let session = |commands: &[&str]| {
            let mut client = Client::greet(engine.smtp()).expect("a greeting");
            commands.iter().for_each(|command| drop(client.command(command).expect("a reply")));
            client
        };
        drop(session(&["RCPT TO:<u@two.test>", "QUIT"]));
        drop(session(&["MAIL FROM:<s@src.test>", "RCPT TO:<u@far.test>", "QUIT"]));
        let mut client = session(&["MAIL FROM:<s@src.test>", "RCPT TO:<u@two.test>", "DATA"]);
        client.write(&dot_stuffed(&[b"secret line\r\n".as_slice(); 200].concat())).expect("written");
        assert_eq!(client.reply().expect("a reply").code, 552);
        drop(client);
        // Nothing says that nothing comes; mail that is sent now comes after it.
        send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<last@two.test>"], CONTENT);
        place.sink.wait_for(to_tell + 1).expect("notices");
        wait_until_empty(&engine);
        let received = place.sink.received();
        let notices: Vec<_> = received.iter().filter(|one| one.recipients == ["<errors@two.test>"]).collect();
        assert_eq!(notices.len(), to_tell, "{classes}: {}", engine.printed());
        for notice in notices {
            assert!(notice.mail.starts_with("<double-bounce@"), "{}", notice.mail);
            let text = String::from_utf8_lossy(&notice.content);
            assert!(text.contains("errors from unknown[127.0.0.1]") && text.contains("In:  "), "{text}");
            assert!(text.contains(" Out: 5") && !text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn the_double_bounce_holds_the_report_that_failed() {
    let place = Place::new();
    place.sink.refuse(vec![
        refuse("RCPT TO:<gone@", "550 5.1.1 no such user"),
        refuse("RCPT TO:<s@src.test", "550 5.1.1 no such sender either"),
    ]);
    let setup = place.setup().with("bounce.notify_classes", "\"2bounce\"");
    let engine = start(&setup);
    send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>"], CONTENT);
    wait_until_empty(&engine);
    let received = place.sink.received();
    assert_eq!(received.len(), 1, "{}", engine.printed());
    assert!(received[0].recipients[0].starts_with("<postmaster@"), "{:?}", received[0].recipients);
    let seen = seen(&received[0]);
    assert_eq!(seen.values("Final-Recipient"), ["rfc822;s@src.test"]);
    assert!(seen.texts[2].contains("rfc822;gone@two.test"), "the first report is in it: {}", seen.texts[2]);
}

/// What `config check` says on standard error when it refuses.
fn refused_by_check(setup: &Setup) -> String {
    let file = setup.spool().with_file_name("texts").display().to_string();
    let option = format!("bounce.bounce_template_file={file:?}");
    let output = setup.command(&["config", "check", "-o", &option]).output().expect("runs");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn texts_and_sizes_are_the_operators() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<gone@", "550 5.1.1 no such user")]);
    let file = place.folder.path().join("texts");
    let texts = "failure_template = <<END\nSubject: Unzustellbar\n\nHier ist $myhostname.\n\nEND\n";
    std::fs::write(&file, texts).expect("written");
    let setup = place
        .setup()
        .with("bounce.bounce_template_file", &format!("{:?}", file.display().to_string()))
        .with("bounce.bounce_size_limit", "100");
    let engine = start(&setup);
    send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>"], CONTENT);
    let all = wait_for_reports(&place, &engine, 1);
    let seen = seen(&all[0]);
    assert_eq!(seen.subject, "Unzustellbar");
    assert!(seen.texts[0].starts_with("Hier ist "), "{}", seen.texts[0]);
    assert_eq!(seen.types[2], "text/rfc822-headers", "over the limit");
    let (status, _) = engine.stop().unwrap_or_else(|error| panic!("{error}"));
    assert!(status.success());
    std::fs::write(&file, "failure_template = <<END\nSubject: x\n\n$myhostnam\nEND\n").expect("written");
    let said = refused_by_check(&setup);
    assert!(said.contains(&format!("{}:4: ", file.display())), "{said}");
    let mut engine = setup.spawn().unwrap_or_else(|error| panic!("{error}"));
    let (status, printed) = engine.wait_for_end("refuse").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains(&format!("{}:4: ", file.display())), "{printed}");
}

#[test]
fn every_attempt_is_on_record() {
    let place = Place::new();
    place.sink.refuse(vec![refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full")]);
    let engine = start(&place.setup());
    let id = send(&engine, &["MAIL FROM:<s@src.test>", "RCPT TO:<slow@two.test>"], CONTENT);
    let attempts = |list: &[serde_json::Value]| list.first().and_then(|one| one["attempts"].as_u64());
    wait_for_list(&engine, |list| attempts(list).is_some_and(|count| count >= 2));
    place.sink.refuse(vec![refuse("RCPT TO:<slow@", "451 4.3.0 try later")]);
    wait_for_list(&engine, |list| attempts(list).is_some_and(|count| count >= 4));
    let shown: serde_json::Value =
        serde_json::from_str(&ask(&engine, &["queue", "show", &id, "--json"], 0)).expect("JSON");
    let record = &shown["envelope"]["recipients"][0];
    let earlier = record["earlier"].as_array().expect("earlier attempts");
    assert_eq!(earlier.len() as u64 + 1, record["attempts"].as_u64().expect("a number"), "{shown:#}");
    assert!(earlier[0]["text"].as_str().is_some_and(|text| text.contains("mailbox full")), "{shown:#}");
    assert!(record["text"].as_str().is_some_and(|text| text.contains("try later")), "{shown:#}");
    assert!(ask(&engine, &["queue", "show", &id], 0).contains("  earlier_attempt: "));
}

/// Ends the engine between the report and whatever follows it.
#[test]
fn a_crash_repeats_a_report_at_most_once_and_loses_none() {
    let place = Place::new();
    place.sink.refuse(vec![
        refuse("RCPT TO:<gone@", "550 5.1.1 no such user"),
        refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full"),
    ]);
    let setup = place.setup();
    let mut engine = start(&setup);
    let commands = ["MAIL FROM:<s@src.test>", "RCPT TO:<gone@two.test>", "RCPT TO:<slow@two.test>"];
    send(&engine, &commands, CONTENT);
    let made = |line: &str| line.contains("sender non-delivery notification");
    engine.wait_for_line("make a report", made).unwrap_or_else(|error| panic!("{error}"));
    engine.kill().unwrap_or_else(|error| panic!("{error}"));
    let engine = start(&setup);
    wait_for_reports(&place, &engine, 1);
    let attempts = |list: &[serde_json::Value]| list.first().and_then(|one| one["attempts"].as_u64());
    wait_for_list(&engine, |list| attempts(list).is_some_and(|count| count >= 4));
    let told = reports(&place);
    assert!((1..=2).contains(&told.len()), "{}", engine.printed());
    assert!(told.iter().all(|one| seen(one).values("Final-Recipient") == ["rfc822;gone@two.test"]));
    place.sink.refuse(Vec::new());
    wait_until_empty(&engine);
    assert_eq!(reports(&place).len(), told.len(), "the end of the others tells nothing again");
}

/// A next hop without 8BITMIME; nothing but what it needs is said.
fn take_seven_bits(listener: &std::net::TcpListener, refused: &str) -> Option<(String, Vec<u8>)> {
    use std::io::{BufRead, BufReader, Write};
    for stream in listener.incoming().flatten() {
        let mut input = BufReader::new(stream.try_clone().ok()?);
        let mut output = stream;
        let mut say = |text: &str| output.write_all(format!("{text}\r\n").as_bytes()).ok();
        let (mut line, mut to) = (String::new(), String::new());
        say("220 seven.test")?;
        while let Ok(1..) = {
            line.clear();
            input.read_line(&mut line)
        } {
            match line.get(..4).unwrap_or_default() {
                "RCPT" if line.contains(refused) => say("550 5.1.1 no such user")?,
                "RCPT" => {
                    to = line.trim_end().to_owned();
                    say("250 ok")?;
                }
                "DATA" if to.is_empty() => say("503 5.5.1 no recipient")?,
                "DATA" => {
                    say("354 go on")?;
                    let mut content = Vec::new();
                    while !content.ends_with(b"\r\n.\r\n") {
                        input.read_until(b'\n', &mut content).ok()?;
                    }
                    say("250 ok")?;
                    return Some((to, content));
                }
                "QUIT" => break,
                _ => say("250 seven.test")?,
            };
        }
    }
    None
}

#[test]
fn a_report_is_not_lost_where_eight_bits_cannot_go() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let taken = std::thread::spawn(move || take_seven_bits(&listener, "<gone@"));
    place.sink.refuse(vec![refuse("RCPT TO:<gone@", "550 5.1.1 no such user")]);
    let map = format!("[{{match = \"src.test\", to = \"smtp:[{}]:{}\"}}]", address.ip(), address.port());
    let engine = start(&place.setup().with("route.map", &map));
    let commands = ["MAIL FROM:<s@src.test> BODY=8BITMIME", "RCPT TO:<gone@two.test>"];
    let content = "Subject: Grüße\r\n\r\nLiebe Grüße\r\n".as_bytes();
    send(&engine, &commands, content);
    wait_until_empty(&engine);
    let (to, content) = taken.join().expect("no panic").expect("a report");
    assert!(to.contains("<s@src.test>") && content.is_ascii(), "{to}");
    let message = MessageParser::default().parse(&content).expect("a message");
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("not a multipart") };
    let PartType::Text(header) = &message.parts[parts[2] as usize].body else { panic!("no header") };
    assert!(header.contains("Subject: Grüße"), "{header}");
}
