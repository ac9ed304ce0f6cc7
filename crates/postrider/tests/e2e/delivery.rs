//! Mail is accepted, delivered once and not changed.

use testkit::plain::Client;

use crate::place::{Place, queue_id, start, wait_until_empty};

/// What a relay damages first: dots, lines of every length, bytes of every value, no final line end.
fn nasty_contents() -> Vec<Vec<u8>> {
    let all_bytes: Vec<u8> = (1..=255u8).filter(|byte| !b"\r\n".contains(byte)).collect();
    vec![
        b"Subject: plain\r\n\r\nbody\r\n".to_vec(),
        b"\r\nno header at all\r\n".to_vec(),
        b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n.\r\n".to_vec(),
        [b"Subject: bytes\r\n\r\n", all_bytes.as_slice(), b"\r\n"].concat(),
        [b"Subject: long\r\n\r\n".to_vec(), vec![b'x'; 5000], b"\r\n".to_vec()].concat(),
        b"Subject: blanks  \r\n \tfolded\t\r\n\r\n  \r\n\r\n\r\n".to_vec(),
        // Past what the log keeps itself, and past every buffer on the way.
        [b"Subject: large\r\n\r\n".to_vec(), b".0123456789abcdef\r\n".repeat(150_000)].concat(),
    ]
}

/// The content behind the one header the engine put in front.
fn without_received(content: &[u8]) -> &[u8] {
    assert!(
        content.starts_with(b"Received: from client.test"),
        "{:?}",
        String::from_utf8_lossy(&content[..60])
    );
    let mut at = 0;
    for (number, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            break;
        }
        at += line.len();
    }
    &content[at..]
}

#[test]
fn content_arrives_bit_exact_and_once() {
    let place = Place::new();
    let engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let contents = nasty_contents();
    for (number, content) in contents.iter().enumerate() {
        client.send("a@one.test", &[&format!("u{number}@two.test")], content).expect("accepted");
    }
    wait_until_empty(&engine);
    let mut received = place.sink.received();
    received.sort_by(|a, b| a.recipients.cmp(&b.recipients));
    assert_eq!(received.len(), contents.len());
    for (number, (one, content)) in received.iter().zip(&contents).enumerate() {
        assert_eq!(one.recipients, [format!("<u{number}@two.test>")]);
        assert!(one.mail.starts_with("<a@one.test>"), "{}", one.mail);
        assert!(without_received(&one.content) == content, "message {number} was changed");
    }
}

#[test]
fn every_recipient_gets_it_and_the_log_says_so() {
    let place = Place::new();
    let mut engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let to = ["a@two.test", "b@two.test", "\"c d\"@three.test", "e@[127.0.0.5]"];
    let reply = client.send("", &to, b"Subject: four\r\n\r\nx\r\n").expect("accepted");
    let id = queue_id(&reply);
    wait_until_empty(&engine);
    let mut recipients: Vec<String> =
        place.sink.received().into_iter().flat_map(|one| one.recipients).collect();
    recipients.sort();
    assert_eq!(recipients, ["<\"c d\"@three.test>", "<a@two.test>", "<b@two.test>", "<e@[127.0.0.5]>"]);
    let says = |engine: &mut testkit::engine::Engine, words: &[&str]| {
        let about = |line: &str| line.contains(&format!("{id}: ")) && words.iter().all(|w| line.contains(w));
        engine.wait_for_line(&format!("log {words:?}"), about).unwrap_or_else(|error| panic!("{error}"));
    };
    says(&mut engine, &["from=<>", "nrcpt=4", "(queue active)"]);
    says(&mut engine, &["to=<a@two.test>", "relay=", "dsn=2.0.0", "status=sent"]);
    says(&mut engine, &["removed"]);
}
