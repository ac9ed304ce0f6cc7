//! What an operator sees and changes.

use serde_json::Value;
use testkit::engine::Engine;
use testkit::plain::{Client, Refusal};

use crate::place::{Place, ask, expect_code, listed, queue_id, start, wait_for_list, wait_until_empty};

/// An engine with three deferred messages, and their ids.
fn with_three(place: &Place) -> (Engine, Vec<String>) {
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "450 4.2.0 greylisted".into() }]);
    let engine = start(&place.patient_setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let ids = ["a@x.test", "b@x.test", "c@y.test"].map(|to| {
        let content = format!("Subject: for {to}\r\n\r\nbody of {to}\r\n");
        queue_id(&client.send("s@src.test", &[to], content.as_bytes()).expect("accepted"))
    });
    wait_for_list(&engine, |list| list.iter().filter(|m| m["queue_name"] == "deferred").count() == 3);
    (engine, ids.to_vec())
}

fn ids(list: &[Value]) -> Vec<&str> {
    list.iter().map(|message| message["queue_id"].as_str().unwrap_or_default()).collect()
}

#[test]
fn a_listing_has_the_fields_scripts_rely_on() {
    let place = Place::new();
    let (engine, queued) = with_three(&place);
    let list = listed(&engine, &[]);
    assert_eq!(ids(&list), queued);
    let message = &list[0];
    for number in ["arrival_time", "message_size", "next_attempt", "attempts"] {
        assert!(message[number].is_u64(), "{number} in {message}");
    }
    assert_eq!(message["queue_name"], "deferred");
    assert_eq!(message["forced_expire"], false);
    assert_eq!(message["sender"], "s@src.test");
    let recipient = &message["recipients"][0];
    assert_eq!(recipient["address"], "a@x.test");
    assert_eq!(recipient["site"], "x.test");
    assert_eq!(recipient["transport"], "smtp");
    assert_eq!(recipient["status"], "deferred");
    assert!(recipient["delay_reason"].as_str().is_some_and(|reason| reason.contains("greylisted")));
    let human = ask(&engine, &["queue", "list"], 0);
    for word in [&queued[0], "a@x.test", "greylisted"] {
        assert!(human.contains(word), "{word} in:\n{human}");
    }
}

#[test]
fn the_shape_counts_the_recipients_that_wait() {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT TO:<later".into(), reply: "450 4.2.0 greylisted".into() }]);
    let engine = start(&place.patient_setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for to in [
        &["later1@x.test"][..],
        &["later1@x.test", "later2@y.test"],
        &["later1@x.test", "later2@x.test", "now@y.test"],
    ] {
        client.send("s@src.test", to, b"x\r\n").expect("accepted");
    }
    let waiting = |list: &[Value]| list.iter().filter(|m| m["queue_name"] == "deferred").count() == 3;
    wait_for_list(&engine, waiting);
    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let table = ask(&engine, arguments, 0);
        table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().take(3).map(str::to_owned).collect())
            .collect()
    };
    let row = |name: &str, count: &str| vec![name.to_owned(), count.to_owned(), count.to_owned()];
    assert_eq!(rows(&["queue", "shape"]), [row("TOTAL", "5"), row("x.test", "4"), row("y.test", "1")]);
    assert_eq!(rows(&["queue", "shape", "--queue", "hold"]), [row("TOTAL", "0")]);
    assert_eq!(rows(&["queue", "shape", "--by", "sender"]), [row("TOTAL", "3"), row("src.test", "3")]);
}

#[test]
fn selectors_narrow_and_nothing_matched_is_1() {
    let place = Place::new();
    let (engine, queued) = with_three(&place);
    let cases: [(&[&str], usize); 8] = [
        (&["--site", "x.test"], 2),
        (&["--recipient", "c@y.test"], 1),
        (&["--recipient", "@y.test"], 1),
        (&["--sender", "s@src.test"], 3),
        (&["--reason", "greylisted", "--limit", "2"], 2),
        (&["--queue", "hold"], 0),
        (&["--older-than", "1h"], 0),
        (&[&queued[1]], 1),
    ];
    for (selector, count) in cases {
        assert_eq!(listed(&engine, selector).len(), count, "{selector:?}");
        let arguments = [&["queue", "list"], selector].concat();
        ask(&engine, &arguments, i32::from(count == 0));
    }
}

#[test]
fn a_message_is_shown_with_its_parts() {
    let place = Place::new();
    let (engine, queued) = with_three(&place);
    let whole = ask(&engine, &["queue", "show", &queued[0]], 0);
    for word in
        ["s@src.test", "a@x.test", "Received: from client.test", "Subject: for a@x.test", "body of a@x.test"]
    {
        assert!(whole.contains(word), "{word} in:\n{whole}");
    }
    let body = ask(&engine, &["queue", "show", &queued[0], "--body"], 0);
    assert!(body.contains("body of") && !body.contains("Subject:"), "{body}");
    let headers = ask(&engine, &["queue", "show", &queued[0], "--headers"], 0);
    assert!(headers.contains("Subject:") && !headers.contains("body of"), "{headers}");
    let envelope = ask(&engine, &["queue", "show", &queued[0], "--envelope"], 0);
    assert!(envelope.contains("a@x.test") && !envelope.contains("Subject:"), "{envelope}");
    for line in ask(&engine, &["queue", "dump"], 0).lines() {
        serde_json::from_str::<Value>(line).expect("one JSON object a line");
    }
}

#[test]
fn hold_release_and_delete_say_how_many() {
    let place = Place::new();
    let (engine, queued) = with_three(&place);
    let counts = |arguments: &[&str], code: i32, count: &str| {
        let printed = ask(&engine, arguments, code);
        let found = printed.split(|c: char| !c.is_ascii_digit()).any(|number| number == count);
        assert!(found, "{arguments:?} prints {count}: {printed}");
    };
    counts(&["queue", "count"], 0, "3");
    counts(&["queue", "count", "--site", "x.test"], 0, "2");
    counts(&["queue", "count", "--site", "nowhere.test"], 1, "0");
    counts(&["queue", "flush", "--site", "y.test"], 0, "1");
    wait_for_list(&engine, |list| list[2]["queue_name"] == "deferred" && list[2]["attempts"] == 2);
    counts(&["queue", "hold", "--site", "x.test", "--dry-run"], 0, "2");
    assert_eq!(listed(&engine, &["--queue", "hold"]).len(), 0, "--dry-run changes nothing");
    counts(&["queue", "hold", "--site", "x.test"], 0, "2");
    assert_eq!(listed(&engine, &["--queue", "hold"]).len(), 2);
    counts(&["queue", "delete", &queued[2]], 0, "1");
    assert_eq!(ids(&listed(&engine, &[])), queued[..2]);
    counts(&["queue", "delete", "--site", "nowhere.test"], 1, "0");
    place.sink.refuse(Vec::new());
    counts(&["queue", "release", "--all"], 0, "2");
    // Released mail keeps its time of the next attempt; a flush brings it forward.
    assert_eq!(listed(&engine, &["--queue", "deferred"]).len(), 2);
    ask(&engine, &["flush", "x.test"], 0);
    wait_until_empty(&engine);
    let recipients: Vec<_> = place.sink.received().into_iter().flat_map(|one| one.recipients).collect();
    assert_eq!(recipients.len(), 2, "the deleted one is not delivered: {recipients:?}");
}

#[test]
fn what_operators_do_is_logged_with_who_what_and_how_many() {
    let place = Place::new();
    let (mut engine, _) = with_three(&place);
    ask(&engine, &["queue", "hold", "--sender", "@src.test", "--limit", "2"], 0);
    ask(&engine, &["flush", "nowhere.test"], 1);
    for words in [
        "operator uid=",
        ": hold --sender @src.test --limit 2: 2 messages",
        ": flush nowhere.test: 0 messages",
    ] {
        engine.wait_for_line(words, |line| line.contains(words)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_changing_command_needs_a_selector() {
    let place = Place::new();
    let engine = start(&place.setup());
    for command in ["hold", "release", "requeue", "delete", "expire"] {
        ask(&engine, &["queue", command], 2);
    }
    ask(&engine, &["trigger", "X"], 2);
    ask(&engine, &["trigger", "DIAFW"], 0);
}

#[test]
fn without_an_engine_the_answer_is_69_in_one_line() {
    let place = Place::new();
    for arguments in [&["queue", "list"][..], &["flush", "--all"], &["trigger", "F"]] {
        let output = place.setup().command(arguments).output().expect("the program runs");
        expect_code(&output, arguments, 69);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
