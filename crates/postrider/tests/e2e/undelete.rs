//! Deleted mail can be taken back for a while, also by the next engine.

use testkit::engine::Engine;
use testkit::plain::{Client, Refusal};

use crate::place::{Place, ask, listed, queue_id, start, wait_for_list, wait_until_empty};

/// Two messages, one of them on hold; their ids.
fn two(place: &Place, engine: &Engine) -> [String; 2] {
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "450 4.2.0 greylisted".into() }]);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let ids = ["a@x.test", "b@y.test"].map(|to| {
        queue_id(&client.send("s@src.test", &[to], b"Subject: x\r\n\r\nbody\r\n").expect("accepted"))
    });
    wait_for_list(engine, |list| list.iter().filter(|m| m["queue_name"] == "deferred").count() == 2);
    ask(engine, &["queue", "hold", &ids[1]], 0);
    ids
}

#[test]
fn what_was_deleted_is_back_where_it_was() {
    let place = Place::new();
    let setup = place.patient_setup();
    let engine = start(&setup);
    let [tried, held] = two(&place, &engine);
    assert_eq!(ask(&engine, &["queue", "delete", "--all"], 0), "2\n");
    assert!(listed(&engine, &[]).is_empty(), "nothing lists what was deleted");
    assert_eq!(ask(&engine, &["queue", "undelete", "--recipient", "@y.test", "--dry-run"], 0), "1\n");
    assert_eq!(ask(&engine, &["queue", "undelete", &held], 0), "1\n");
    assert_eq!(ask(&engine, &["queue", "undelete", &held], 1), "0\n");
    assert_eq!(listed(&engine, &["--queue", "hold"]).len(), 1);

    engine.stop().unwrap_or_else(|error| panic!("{error}"));
    place.sink.refuse(Vec::new());
    let engine = start(&setup);
    assert_eq!(listed(&engine, &[]).len(), 1, "still deleted after a restart");
    assert_eq!(ask(&engine, &["queue", "undelete", &tried], 0), "1\n");
    ask(&engine, &["queue", "release", &held], 0);
    wait_until_empty(&engine);
    assert_eq!(place.sink.received().len(), 2);
}

#[test]
fn without_a_grace_it_is_gone() {
    let place = Place::new();
    let engine = start(&place.patient_setup().with("control.delete_grace", "\"0s\""));
    two(&place, &engine);
    assert_eq!(ask(&engine, &["queue", "delete", "--all"], 0), "2\n");
    assert_eq!(ask(&engine, &["queue", "undelete", "--all"], 1), "0\n");
}

#[test]
fn when_the_time_is_over_it_is_gone() {
    let place = Place::new();
    let engine = start(&place.patient_setup().with("control.delete_grace", "\"1s\""));
    two(&place, &engine);
    assert_eq!(ask(&engine, &["queue", "delete", "--all"], 0), "2\n");
    while engine.ask(&["queue", "undelete", "--all", "--dry-run"]).expect("an answer").status.success() {
        std::thread::yield_now();
    }
    assert_eq!(ask(&engine, &["queue", "undelete", "--all"], 1), "0\n");
}
