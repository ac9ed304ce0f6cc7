//! What fails for now is kept with its reason, and arrives when the trouble is over.

use serde_json::Value;
use testkit::plain::{Client, Refusal, Sink};

use crate::place::{Place, ask, queue_id, start, wait_for_list, wait_until_empty};

fn refuse(at: &str, reply: &str) -> Vec<Refusal> {
    vec![Refusal { at: at.into(), reply: reply.into() }]
}

/// All recipients with a reason of all messages in the deferred queue. A reason is known as soon as the
/// attempt is over, but the message is active until that is on record.
fn deferred(list: &[Value]) -> Vec<(&str, &str)> {
    let back = list.iter().filter(|message| message["queue_name"] == "deferred");
    let recipients = back.filter_map(|message| message["recipients"].as_array()).flatten();
    let text = |value: &'static str| move |recipient: &Value| recipient[value].as_str().is_some();
    recipients
        .filter(|recipient| text("delay_reason")(recipient))
        .map(|recipient| {
            (
                recipient["address"].as_str().unwrap_or_default(),
                recipient["delay_reason"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

#[test]
fn one_refused_recipient_does_not_hold_up_the_others() {
    let place = Place::new();
    place.sink.refuse(refuse("RCPT TO:<slow@", "450 4.2.2 mailbox full"));
    let engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    client.send("a@one.test", &["fast@two.test", "slow@two.test"], b"Subject: x\r\n\r\n").expect("accepted");
    let list = wait_for_list(&engine, |list| !deferred(list).is_empty());
    let [(address, reason)] = deferred(&list)[..] else { panic!("{list:#?} {}", engine.printed()) };
    assert_eq!(address, "slow@two.test");
    assert!(reason.contains("450 4.2.2 mailbox full"), "{reason}");
    place.sink.refuse(Vec::new());
    wait_until_empty(&engine);
    let recipients: Vec<_> = place.sink.received().into_iter().map(|one| one.recipients).collect();
    assert_eq!(recipients, [["<fast@two.test>"], ["<slow@two.test>"]]);
}

#[test]
fn a_dead_next_hop_delays_and_a_release_hurries() {
    let place = Place::new();
    let dead = Sink::start().expect("a port");
    let address = dead.address();
    let next_hop = format!("{:?}", dead.next_hop());
    dead.stop();
    let engine = start(&place.patient_setup().with("route.relayhost", &next_hop));
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let id = queue_id(&client.send("a@one.test", &["b@two.test"], b"Subject: x\r\n\r\n").expect("accepted"));
    let list = wait_for_list(&engine, |list| !deferred(list).is_empty());
    assert!(deferred(&list)[0].1.to_lowercase().contains("refused"), "{list:#?}");
    assert!(list[0]["next_attempt"].as_u64().is_some(), "{list:#?}");
    assert!(list[0]["attempts"].as_u64().is_some_and(|attempts| attempts >= 1), "{list:#?}");
    let revived = Sink::start_on(address).expect("the port of the dead sink");
    ask(&engine, &["queue", "requeue", &id], 0);
    assert!(revived.wait_for(1).is_some(), "{}", engine.printed());
    wait_until_empty(&engine);
}

#[test]
fn a_permanent_refusal_ends_the_recipient() {
    let place = Place::new();
    place.sink.refuse(refuse("RCPT TO:<gone@", "550 5.1.1 no such user"));
    let mut engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    client.send("", &["gone@two.test"], b"Subject: x\r\n\r\n").expect("accepted");
    let bounced = |line: &str| line.contains("to=<gone@two.test>") && line.contains("status=bounced");
    let line = engine.wait_for_line("log the bounce", bounced).unwrap_or_else(|error| panic!("{error}"));
    assert!(line.contains("dsn=5.1.1") && line.contains("no such user"), "{line}");
    wait_until_empty(&engine);
    assert_eq!(place.sink.count(), 0);
}

#[test]
fn a_next_hop_that_talks_garbage_is_a_reason_to_wait() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The engine hangs up as soon as it has seen enough.
            while std::io::Write::write_all(&mut stream, b"\x00\xffHTTP/1.1 400 Bad Request and no line end")
                .is_ok()
            {}
        }
    });
    let place = Place::new();
    let next_hop = format!("\"[{}]:{}\"", address.ip(), address.port());
    let engine = start(&place.patient_setup().with("route.relayhost", &next_hop));
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    client.send("a@one.test", &["b@two.test"], b"Subject: x\r\n\r\n").expect("accepted");
    let list = wait_for_list(&engine, |list| !deferred(list).is_empty());
    assert!(!deferred(&list)[0].1.is_empty(), "the reason is kept: {list:#?}");
}
