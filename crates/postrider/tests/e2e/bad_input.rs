//! What malformed and forbidden input gets, reply by reply.

use testkit::plain::{Client, PlainReply};

use crate::place::{Place, start, wait_until_empty};

fn expect(reply: &PlainReply, code: u16, status: &str, line: &str) {
    let text = reply.lines.last().map_or("", String::as_str);
    assert!(reply.code == code && text.starts_with(status), "{line}: {reply}, not {code} {status}");
}

#[test]
fn commands_get_the_reply_of_their_mistake() {
    let place = Place::new();
    let engine = start(&place.setup().with("smtp.message_size_limit", "10000"));
    let cases: [(&[&str], u16, &str); 8] = [
        (&["WHAT"], 500, "5.5.2"),
        (&["RCPT TO:<a@x.test>"], 503, "5.5.1"),
        (&["MAIL FROM:a@x.test>"], 501, "5."),
        (&["MAIL FROM:<a@x.test> NONSENSE=1"], 555, "5.5.4"),
        (&["MAIL FROM:<a@x.test> SIZE=20000"], 552, "5.3.4"),
        (&["MAIL FROM:<a@x.test>", "RCPT TO:<a@b@c>"], 501, "5.1.3"),
        (&["MAIL FROM:<a@x.test>", "DATA"], 503, "5.5.1"),
        (&["MAIL FROM:<a@x.test>", "MAIL FROM:<a@x.test>"], 503, "5.5.1"),
    ];
    for (lines, code, status) in cases {
        let mut client = Client::greet(engine.smtp()).expect("a greeting");
        let (last, before) = lines.split_last().expect("a line");
        for line in before {
            assert_eq!(client.command(line).expect("a reply").code, 250, "{line}");
        }
        expect(&client.command(last).expect("a reply"), code, status, last);
        assert_eq!(client.command("RSET").expect("the connection stays usable").code, 250, "after {last}");
    }
}

#[test]
fn relaying_is_for_those_who_may() {
    let place = Place::new();
    let setup = place.setup().with("smtp.relay_from", "[]").with("route.relay_domains", "[\"ours.test\"]");
    let engine = start(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    assert_eq!(client.command("MAIL FROM:<a@x.test>").expect("a reply").code, 250);
    expect(&client.command("RCPT TO:<b@theirs.test>").expect("a reply"), 554, "5.7.1", "a foreign site");
    assert_eq!(client.command("RCPT TO:<b@ours.test>").expect("a reply").code, 250);
    assert_eq!(client.command("RCPT TO:<b@sub.ours.test>").expect("a reply").code, 250);
}

#[test]
fn bare_line_ends_smuggle_nothing() {
    let place = Place::new();
    let engine = start(&place.setup());
    let smuggled = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\nSubject: evil\r\n\r\n";
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n"] {
        let mut client = Client::greet(engine.smtp()).expect("a greeting");
        for line in ["MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>"] {
            assert_eq!(client.command(line).expect("a reply").code, 250, "{line}");
        }
        assert_eq!(client.command("DATA").expect("a reply").code, 354);
        client.write(format!("Subject: x\r\n\r\nbody{end}{smuggled}.\r\n").as_bytes()).expect("sent");
        let reply = client.reply().expect("one reply to one message");
        assert!(reply.code == 250 || reply.code >= 500, "{end:?}: {reply}");
        assert_eq!(client.command("NOOP").expect("nothing else was answered").code, 250, "{end:?}");
    }
    wait_until_empty(&engine);
    let victims =
        place.sink.received().into_iter().filter(|one| one.recipients == ["<victim@y.test>"]).count();
    assert_eq!(victims, 0, "no smuggled message was sent");
}

#[test]
fn the_error_budget_ends_the_connection() {
    let place = Place::new();
    let engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let mut replies = (0..200).map_while(|_| client.command("WHAT").ok());
    let last = replies.find(|reply| reply.code == 421);
    assert!(last.is_some(), "200 wrong commands were all answered");
}

#[test]
fn an_endless_line_is_cut_off() {
    let place = Place::new();
    let engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let line = "NOOP ".to_owned() + &"x".repeat(100_000);
    // Refused, or the connection is closed while the line is still being written.
    if let Ok(reply) = client.command(&line) {
        assert!(reply.code == 500 || reply.code == 421, "{reply}");
    }
    let mut next = Client::greet(engine.smtp()).expect("others are served");
    next.send("s@src.test", &["a@x.test"], b"x\r\n").expect("accepted");
}
