//! One connection carries many messages to the same next hop.

use testkit::plain::Client;

use crate::place::{Place, start, wait_until_empty};

#[test]
fn connections_are_used_again() {
    let place = Place::new();
    let engine = start(&place.setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for number in 0..20 {
        // One at a time, so that one connection is enough for all of them.
        client.send("s@src.test", &["a@x.test"], b"Subject: x\r\n\r\n").expect("accepted");
        assert!(place.sink.wait_for(number + 1).is_some(), "{}", engine.printed());
    }
    wait_until_empty(&engine);
    let connections = place.sink.connections();
    assert!(connections <= 5, "20 messages one after the other took {connections} connections");
}
