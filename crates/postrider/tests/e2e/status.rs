//! The counters of `postrider status`: nothing comes from nowhere, nothing goes without having ended.

use std::time::{Duration, Instant};

use testkit::engine::{Engine, PATIENCE};
use testkit::plain::{Client, Refusal};

use crate::place::{Place, ask, start_completely};

/// Asks until the counters are these: found, accepted, ended, stored, deleted.
fn wait_for_totals(engine: &Engine, wanted: [u64; 5]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status: serde_json::Value =
            serde_json::from_str(&ask(engine, &["status", "--json"], 0)).expect("one JSON object");
        let total = |name: &str| status["totals"][name].as_u64().expect("a number");
        let totals = ["found", "accepted", "ended", "stored", "deleted"].map(total);
        if totals == wanted {
            let queues = status["queues"].as_object().expect("the queues");
            let queued: u64 = queues.values().filter_map(serde_json::Value::as_u64).sum();
            assert_eq!(queued + totals[4], totals[3], "{status}");
            return;
        }
        assert!(Instant::now() < deadline, "it stayed {status}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn what_was_found_and_accepted_has_ended_or_is_stored() {
    let place = Place::new();
    place.sink.refuse(vec![
        Refusal { at: "RCPT TO:<later".into(), reply: "450 4.2.1 later".into() },
        Refusal { at: "RCPT TO:<never".into(), reply: "550 5.1.1 never".into() },
    ]);
    let setup = place.patient_setup();
    let engine = start_completely(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for to in ["now@a.test", "later-1@a.test", "later-2@a.test", "never@a.test"] {
        client.send("s@src.test", &[to], b"Subject: x\r\n\r\n").expect("accepted");
    }
    // The fifth is the report on the one that is refused for good.
    wait_for_totals(&engine, [0, 5, 3, 2, 0]);
    ask(&engine, &["queue", "delete", "--recipient", "later-1@a.test"], 0);
    wait_for_totals(&engine, [0, 5, 3, 2, 1]);
    engine.stop().expect("it stops");
    let engine = start_completely(&setup);
    wait_for_totals(&engine, [2, 0, 0, 2, 1]);
}
