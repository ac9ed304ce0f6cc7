//! Mail on hold: by a rule, by an operator, in the middle of a delivery, over a restart.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use testkit::engine::{Engine, runs_as_root};
use testkit::plain::Client;

use crate::place::{Place, ask, listed, queue_id, start, wait_for_list, wait_until_empty};

fn send(engine: &Engine, to: &[&str]) -> String {
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    queue_id(&client.send("s@src.test", to, b"Subject: x\r\n\r\nbody\r\n").expect("accepted"))
}

#[test]
fn a_rule_holds_mail_and_a_release_sends_it() {
    let place = Place::new();
    let rows = "[{match=\"held.test\",to=\"hold:under review\"},{match=\"held.test\",to=\"smtp:SINK\"},\
                 {match=\"good@held.test\",to=\"smtp:SINK\"}]";
    let setup = place.setup().with("route.map", &rows.replace("SINK", &place.sink.next_hop()));
    let mut engine = start(&setup);
    let id = send(&engine, &["a@free.test", "b@held.test"]);
    let said = engine.wait_for_line("say why it holds", |line| line.contains(": hold: under review"));
    assert!(said.unwrap_or_else(|error| panic!("{error}")).contains(&id));
    send(&engine, &["good@held.test"]);
    wait_for_list(&engine, |list| list.len() == 1 && list[0]["queue_name"] == "hold");
    assert_eq!(place.sink.count(), 1, "only the exception has gone out");
    assert!(ask(&engine, &["queue", "why", &id], 0).contains("hold"));

    engine.stop().unwrap_or_else(|error| panic!("{error}"));
    let engine = start(&setup);
    let list = listed(&engine, &["--queue", "hold"]);
    assert!(list.len() == 1 && list[0]["queue_id"] == id.as_str(), "{list:?}");
    ask(&engine, &["trigger", "DIAFW"], 0);
    assert!(ask(&engine, &["flush", "--all"], 0).contains("0 messages released, 1 left on hold"));
    assert_eq!(listed(&engine, &["--queue", "hold"]).len(), 1, "nothing but a release ends a hold");
    ask(&engine, &["queue", "release", "--recipient", "@held.test"], 0);
    wait_until_empty(&engine);
    let recipients: usize = place.sink.received().iter().map(|one| one.recipients.len()).sum();
    assert_eq!(recipients, 3);
}

/// A transport whose program waits until somebody writes its exit code into a pipe.
fn waiting(place: &Place) -> (Engine, std::path::PathBuf) {
    let folder = place.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("others may look");
    let pipe = folder.join("verdict");
    let made = Command::new("mkfifo").args(["-m", "666"]).arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let argv = format!(r#"["/bin/sh", "-c", "echo began >&2; read code <{}; exit $$code"]"#, pipe.display());
    let setup = place
        .patient_setup()
        .with("transport.slow.kind", "\"pipe\"")
        .with("transport.slow.argv", &argv)
        .with("route.map", "[{match=\"slow.test\",to=\"slow:\"}]");
    let setup = if runs_as_root() { setup.with("transport.slow.user", "\"nobody\"") } else { setup };
    (start(&setup), pipe)
}

#[test]
fn a_hold_waits_for_the_attempt_in_flight() {
    let place = Place::new();
    let (engine, pipe) = waiting(&place);
    for (code, stays) in [("75", true), ("0", false)] {
        let id = send(&engine, &["u@slow.test"]);
        wait_for_list(&engine, |list| list.iter().any(|m| m["queue_name"] == "active"));
        // Open for both, so that the program may come before or after it.
        let mut verdict = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
        assert!(ask(&engine, &["queue", "hold", &id], 0).contains('1'));
        assert_eq!(listed(&engine, &["--queue", "active"]).len(), 1, "the attempt goes on");
        writeln!(verdict, "{code}").expect("room in the pipe");
        if stays {
            wait_for_list(&engine, |list| {
                let reason =
                    |m: &serde_json::Value| m["recipients"][0]["delay_reason"].as_str().map(str::to_owned);
                let told = |m| reason(m).is_some_and(|reason| reason.contains("temporary failure"));
                list.iter().any(|m| m["queue_name"] == "hold" && told(m))
            });
            ask(&engine, &["queue", "delete", &id], 0);
        }
        wait_until_empty(&engine);
    }
}
