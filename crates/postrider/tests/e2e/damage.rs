//! A damaged record costs its own message only, and that one is kept for a look.

use std::fs;
use std::path::Path;

use testkit::plain::{Client, Refusal};

use crate::place::{Place, ask, expect_code, listed, queue_id, start, wait_for_list, wait_until_empty};

/// Changes one byte of the log where `marker` stands, and says how often it stood there.
fn damage(log: &Path, marker: &[u8]) -> usize {
    let mut places = 0;
    for entry in fs::read_dir(log).expect("the log") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a segment");
        let found: Vec<usize> =
            bytes.windows(marker.len()).enumerate().filter(|(_, w)| *w == marker).map(|(at, _)| at).collect();
        for at in &found {
            bytes[*at] ^= 0x20;
        }
        if !found.is_empty() {
            fs::write(&path, bytes).expect("written back");
        }
        places += found.len();
    }
    places
}

#[test]
fn one_damaged_message_is_set_aside_and_the_others_are_delivered() {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "450 4.2.0 later".into() }]);
    let setup = place.patient_setup();
    let engine = start(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let ids = ["first", "second", "third"].map(|name| {
        let content = format!("Subject: {name}\r\n\r\nthe body of the {name} message\r\n");
        queue_id(
            &client.send("s@src.test", &[&format!("{name}@x.test")], content.as_bytes()).expect("accepted"),
        )
    });
    wait_for_list(&engine, |list| list.iter().filter(|m| m["queue_name"] == "deferred").count() == 3);
    engine.stop().unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(damage(&setup.spool().join("log"), b"the body of the second message"), 1);
    let verify = ["queue", "verify"];
    expect_code(&setup.command(&verify).output().expect("the program runs"), &verify, 65);

    place.sink.refuse(Vec::new());
    let engine = start(&setup);
    ask(&engine, &["flush", "--all"], 0);
    let left = wait_for_list(&engine, |list| list.len() == 1 && list[0]["queue_name"] == "corrupt");
    assert_eq!(left[0]["queue_id"], ids[1].as_str());
    assert_eq!(left[0]["recipients"][0]["address"], "second@x.test");
    assert_eq!(listed(&engine, &["--queue", "corrupt"]).len(), 1);
    place.sink.wait_for(4).expect("two messages, a report and a notice");
    let mut arrived: Vec<_> = place.sink.received().into_iter().flat_map(|one| one.recipients).collect();
    arrived.sort();
    assert_eq!(arrived, ["<first@x.test>", "<postmaster@engine.test>", "<s@src.test>", "<third@x.test>"]);
    told_of(&place, &ids[1]);

    // What is left is shown with the reason: the envelope, and the content as wrong as it is.
    let shown = ask(&engine, &["queue", "show", &ids[1]], 0);
    for part in ["checksum of its content", "<s@src.test>", "second@x.test", "The body of the second"] {
        assert!(shown.contains(part.trim_matches(['<', '>'])), "{part}: {shown}");
    }
    let listed = ask(&engine, &["queue", "list", "--queue", "corrupt"], 0);
    assert!(listed.contains("second@x.test") && listed.contains("checksum"), "{listed}");

    // Nobody is told a second time, and the operator has the last word.
    engine.stop().unwrap_or_else(|error| panic!("{error}"));
    let engine = start(&setup);
    ask(&engine, &["queue", "requeue", &ids[1]], 0);
    wait_until_empty(&engine);
    let arrived: Vec<_> = place.sink.received().into_iter().flat_map(|one| one.recipients).collect();
    assert_eq!(arrived.len(), 5, "{arrived:?}");
    assert_eq!(arrived[4], "<second@x.test>");
    let left = fs::read_dir(setup.spool().join("corrupt")).expect("the folder").count();
    assert_eq!(left, 0, "nothing is left of a message that was taken back");
}

/// A message whose envelope is lost waits for an hour; whoever looks at the queue before finds it, and then
/// the postmaster is told at once. It cannot be taken back, and a requeue says so.
#[test]
fn damage_found_by_a_look_is_told_at_once() {
    lost_envelope(true);
}

/// The same where the start reads everything and finds it.
#[test]
fn damage_found_by_a_start_is_told_at_once() {
    lost_envelope(false);
}

fn lost_envelope(clean: bool) {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT TO:<lost@".into(), reply: "450 4.2.0 later".into() }]);
    let setup = place.patient_setup();
    let engine = start(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let id =
        queue_id(&client.send("s@src.test", &["lost@x.test"], b"Subject: x\r\n\r\nx\r\n").expect("a reply"));
    wait_for_list(&engine, |list| list.iter().any(|message| message["queue_name"] == "deferred"));
    // After a clean stop the next start reads no messages.
    let ended = if clean { engine.stop().map(drop) } else { engine.kill().map(drop) };
    ended.unwrap_or_else(|error| panic!("{error}"));
    // In the envelope, in what is recorded for the recipient, and in the `Received:` line.
    assert!(damage(&setup.spool().join("log"), b"lost@x.test") >= 1);

    let engine = start(&setup);
    let seen = listed(&engine, &[]);
    assert_eq!((&seen[0]["queue_id"], &seen[0]["queue_name"]), (&id.as_str().into(), &"corrupt".into()));
    place.sink.wait_for(1).expect("a notice");
    assert_eq!(place.sink.received()[0].recipients, ["<postmaster@engine.test>"]);
    wait_for_list(&engine, |list| list.len() == 1);
    // The log said "requeued" of it, which nobody had asked for.
    let printed = engine.printed();
    assert_eq!(printed.contains(&format!("{id}: saved in corrupt: ")), clean, "{printed}");
    assert!(!printed.contains(&format!("{id}: requeued")), "{printed}");
    let output = engine.ask(&["queue", "requeue", &id]).expect("runs");
    expect_code(&output, &["queue", "requeue"], 65);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be taken back"), "{output:?}");

    // The reason outlives the process.
    engine.stop().unwrap_or_else(|error| panic!("{error}"));
    let engine = start(&setup);
    let shown = ask(&engine, &["queue", "list"], 0);
    assert!(shown.contains("the checksum of its envelope"), "{shown}");
    let why = ask(&engine, &["queue", "why", &id], 0);
    assert!(why.contains("the checksum of its envelope"), "{why}");
    assert_eq!(place.sink.received().len(), 1, "nobody is told twice");
}

/// The report to the sender and the notice to the postmaster, as they came out.
fn told_of(place: &Place, id: &str) {
    let to = |recipient: &str| {
        let received = place.sink.received();
        let one = received.into_iter().find(|one| one.recipients == [recipient]).expect(recipient);
        (one.mail.clone(), String::from_utf8_lossy(&one.content).into_owned())
    };
    let (sender, report) = to("<s@src.test>");
    assert!(sender.contains("<>"), "{sender}");
    for part in ["Final-Recipient: rfc822;second@x.test", "Action: failed", "Status: 5.3.0"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("body of the second"), "damaged content goes to nobody: {report}");
    let (sender, notice) = to("<postmaster@engine.test>");
    assert!(sender.contains("<double-bounce@engine.test>"), "{sender}");
    assert!(notice.contains(id) && notice.contains("queue requeue"), "{notice}");
}
