//! LMTP answers for every recipient.

use testkit::engine::address_after;
use testkit::plain::{Client, dot_stuffed};

use crate::place::{Place, start, wait_until_empty};

#[test]
fn each_accepted_recipient_has_its_own_final_reply() {
    let place = Place::new();
    let mut engine = start(&place.setup().with("lmtp.listen", "[\"127.0.0.1:0\"]"));
    let words = "listening on lmtp ";
    let line = engine.wait_for_line("listen on LMTP", |line| line.contains(words));
    let address = address_after(&line.unwrap_or_else(|error| panic!("{error}")), words).expect("an address");
    let (mut client, greeting) = Client::connect(address).expect("a greeting");
    assert_eq!(greeting.code, 220);
    assert_eq!(client.command("EHLO client.test").expect("a reply").code, 500, "LMTP knows no EHLO");
    assert_eq!(client.command("LHLO client.test").expect("a reply").code, 250);
    for line in ["MAIL FROM:<a@one.test>", "RCPT TO:<b@two.test>", "RCPT TO:<c@three.test>"] {
        assert_eq!(client.command(line).expect("a reply").code, 250, "{line}");
    }
    assert_eq!(client.command("DATA").expect("a reply").code, 354);
    client.write(&dot_stuffed(b"Subject: x\r\n\r\ny\r\n")).expect("sent");
    for _ in 0..2 {
        assert_eq!(client.reply().expect("one reply a recipient").code, 250);
    }
    assert_eq!(client.command("QUIT").expect("a reply").code, 221);
    wait_until_empty(&engine);
    let arrived: usize = place.sink.received().iter().map(|one| one.recipients.len()).sum();
    assert_eq!(arrived, 2);
}
