//! What was accepted is there after the engine ended, however it ended.

use testkit::plain::{Client, Refusal};

use crate::place::{Place, ask, listed, queue_id, start, wait_for_list, wait_until_empty};

/// Accepts three messages (one held, one refused for now, one large and refused for now), ends the
/// engine by `end`, and expects all of them after the next start, then at the sink.
fn survives(end: impl FnOnce(testkit::engine::Engine)) {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "451 4.3.0 not now".into() }]);
    let setup = place.patient_setup();
    let engine = start(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let large = [b"Subject: large\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(60_000)].concat();
    let mut ids = Vec::new();
    for (to, content) in [("a@x.test", &b"Subject: a\r\n\r\n"[..]), ("b@y.test", b"Subject: b\r\n\r\n")] {
        ids.push(queue_id(&client.send("s@src.test", &[to], content).expect("accepted")));
    }
    ids.push(queue_id(&client.send("s@src.test", &["c@z.test"], &large).expect("accepted")));
    wait_for_list(&engine, |list| list.iter().filter(|m| m["queue_name"] == "deferred").count() == 3);
    ask(&engine, &["queue", "hold", &ids[0]], 0);
    // A change of state is durable with the next commit; this message makes one. Its own first delivery
    // may well be the next engine's.
    client.send("s@src.test", &["d@z.test"], b"Subject: d\r\n\r\n").expect("accepted");
    end(engine);

    place.sink.refuse(Vec::new());
    let engine = start(&setup);
    let list = listed(&engine, &[]);
    let found: Vec<_> = list.iter().map(|message| message["queue_id"].as_str().unwrap_or_default()).collect();
    assert_eq!(found[..3], ids, "the same messages under the same names, in order");
    assert_eq!(list[0]["queue_name"], "hold");
    ask(&engine, &["queue", "release", &ids[0]], 0);
    ask(&engine, &["flush", "--all"], 0);
    wait_until_empty(&engine);
    let received = place.sink.received();
    assert_eq!(received.len(), 4);
    let whole = received.iter().filter(|one| one.content.ends_with(&large)).count();
    assert_eq!(whole, 1, "the large message arrives whole");
}

#[test]
fn mail_survives_a_stop() {
    survives(|engine| {
        let (status, printed) = engine.stop().unwrap_or_else(|error| panic!("{error}"));
        assert!(status.success(), "{status}\n{printed}");
    });
}

#[test]
fn mail_survives_a_kill() {
    survives(|engine| {
        engine.kill().unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn queue_ids_are_not_used_again() {
    let place = Place::new();
    let setup = place.setup();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let engine = start(&setup);
        let mut client = Client::greet(engine.smtp()).expect("a greeting");
        ids.push(queue_id(&client.send("s@src.test", &["a@x.test"], b"x\r\n").expect("accepted")));
        wait_until_empty(&engine);
        engine.kill().unwrap_or_else(|error| panic!("{error}"));
    }
    let sorted = ids.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted, "{ids:?}: ids are given in order and never twice");
}
