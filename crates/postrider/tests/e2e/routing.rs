//! Where mail goes: into Maildirs, to programs, by rows of the configuration and of a table.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::engine::{Engine, Setup, Signal, runs_as_root};
use testkit::plain::{Client, Refusal, Sink};

use crate::place::{
    Place, ask, expect_code, listed, queue_id, start, start_completely, wait_for_list, wait_until_empty,
};

fn send(engine: &Engine, to: &str) -> String {
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let content = format!("Subject: for {to}\r\n\r\n.dot\r\nFrom here\r\n");
    queue_id(&client.send("s@src.test", &[to], content.as_bytes()).expect("accepted"))
}

fn says(engine: &mut Engine, words: &str) {
    let said = engine.wait_for_line(words, |line| line.contains(words));
    said.unwrap_or_else(|error| panic!("{error}"));
}

/// A transport that runs a program; never as root, so that tests that are root name somebody else.
fn with_program(setup: Setup, name: &str, argv: &str) -> Setup {
    let key = |key: &str| format!("transport.{name}.{key}");
    let setup = setup.with(&key("kind"), "\"pipe\"").with(&key("argv"), argv);
    if runs_as_root() { setup.with(&key("user"), "\"nobody\"") } else { setup }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn maildirs_programs_and_nowhere() {
    let place = Place::new();
    let root = place.folder.path().join("mail");
    fs::create_dir(&root).expect("a folder");
    let map = format!(
        "[{{match=\"box.test\",to=\"maildir:{}/${{domain}}/${{user}}\"}},\
          {{match=\"program.test\",to=\"filter:hop\"}},{{match=\"nowhere.test\",to=\"discard:\"}}]",
        root.display()
    );
    let script =
        r#"["/bin/sh", "-c", "cat >/dev/null; echo $$*", "filter", "${user}", "${domain}", "${nexthop}"]"#;
    let setup = place.setup().with("route.map", &map).with("transport.maildir.maildir_create", "true");
    let mut engine = start(&with_program(setup, "filter", script));
    send(&engine, "U@box.test");
    send(&engine, "v@program.test");
    send(&engine, "w@nowhere.test");
    wait_until_empty(&engine);
    let mail = files(&root.join("box.test/u/new"));
    let [file] = &mail[..] else { panic!("{mail:?}") };
    let content = fs::read_to_string(file).expect("a message");
    assert!(
        content.starts_with("Return-Path: <s@src.test>\nDelivered-To: U@box.test\nReceived: "),
        "{content}"
    );
    assert!(content.ends_with("Subject: for U@box.test\n\n.dot\nFrom here\n"), "{content}");
    says(&mut engine, "status=sent (delivered via filter service (v program.test hop))");
    says(&mut engine, "status=sent (discarded");
    assert_eq!(place.sink.count(), 0);
}

#[test]
fn a_table_is_read_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let place = Place::new();
    let table = place.folder.path().join("routes");
    let setup = place.patient_setup().with("route.map_file", &format!("{:?}", table.display().to_string()));
    let mut engine = start_completely(&setup);
    let id = send(&engine, "u@x.test");
    wait_for_list(&engine, |list| {
        let reason = |m: &serde_json::Value| m["recipients"][0]["delay_reason"].as_str().map(str::to_owned);
        list.iter().filter_map(reason).any(|reason| reason.contains("address resolver failure"))
    });
    says(&mut engine, "dsn=4.3.0, status=deferred");

    fs::write(&table, "# domain  where to\nx.test  discard:by the table\n").expect("a table");
    says(&mut engine, "1 rows in force");
    ask(&engine, &["queue", "requeue", &id], 0);
    wait_until_empty(&engine);
    says(&mut engine, "status=sent (discarded: by the table)");

    fs::write(&table, "x.test  discard:again\ny.test  nowhere:\n").expect("a table");
    says(&mut engine, "routes:2: no transport is called \"nowhere\"");
    engine.signal(Signal::HUP);
    says(&mut engine, "configuration not reloaded");
    send(&engine, "v@x.test");
    wait_until_empty(&engine);
    assert!(!engine.printed().contains("discarded: again"), "{}", engine.printed());
    let check = ["config", "check"];
    let mut command = setup.command(&check);
    let checked = command.env("POSTRIDER__ROUTE__MAP_FILE", &table).output().expect("the program runs");
    expect_code(&checked, &check, 78);
    assert!(String::from_utf8_lossy(&checked.stderr).contains("routes:2: "), "{checked:?}");
}

#[test]
fn a_requeue_resolves_anew() {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "450 4.2.0 later".into() }]);
    let other = Sink::start().expect("a port");
    let file = place.folder.path().join("postrider.toml");
    let route = |to: &str| format!("[route]\nmap = [{{ match = \"x.test\", to = \"smtp:{to}\" }}]\n");
    fs::write(&file, route(&place.sink.next_hop())).expect("a file");
    let mut engine = start_completely(&place.patient_setup().with_file(&file));
    let id = send(&engine, "u@x.test");
    wait_for_list(&engine, |list| list.iter().any(|m| m["queue_name"] == "deferred"));
    fs::write(&file, route(&other.next_hop())).expect("a file");
    engine.signal(Signal::HUP);
    says(&mut engine, "configuration reloaded: route.map");
    assert_eq!(other.count(), 0, "what waits keeps waiting");
    ask(&engine, &["queue", "requeue", &id], 0);
    wait_until_empty(&engine);
    assert_eq!(other.count(), 1);
    assert!(listed(&engine, &[]).is_empty());
}
