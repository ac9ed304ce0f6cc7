//! SIGHUP takes over a new configuration, and says what changed; a bad one changes nothing.

use std::fs;

use testkit::engine::Signal;
use testkit::plain::Client;

use crate::place::{Place, start_completely};

/// Whether the engine announces this size limit to a new connection.
fn announces(engine: &testkit::engine::Engine, limit: &str) -> bool {
    let (mut client, _) = Client::connect(engine.smtp()).expect("a greeting");
    let hello = client.command("EHLO client.test").expect("a reply");
    hello.lines.iter().any(|line| line == &format!("SIZE {limit}"))
}

#[test]
fn a_reload_changes_what_the_file_changed() {
    let place = Place::new();
    let file = place.folder.path().join("postrider.toml");
    fs::write(&file, "[smtp]\nmessage_size_limit = 100000\n").expect("a file");
    let mut engine = start_completely(&place.setup().with_file(&file));
    assert!(announces(&engine, "100000"));

    fs::write(&file, "[smtp]\nmessage_size_limit = 200000\n").expect("a file");
    engine.signal(Signal::HUP);
    let said = engine.wait_for_line("say what changed", |line| line.contains("message_size_limit"));
    said.unwrap_or_else(|error| panic!("{error}"));
    assert!(announces(&engine, "200000"), "{}", engine.printed());

    fs::write(&file, "[smtp]\nmessage_size_limt = 300000\n").expect("a file");
    engine.signal(Signal::HUP);
    let said = engine.wait_for_line("refuse the bad file", |line| line.contains("message_size_limt"));
    said.unwrap_or_else(|error| panic!("{error}"));
    assert!(announces(&engine, "200000"), "the old configuration keeps running");
}

#[test]
fn a_new_level_of_the_log_holds_at_once() {
    let place = Place::new();
    let file = place.folder.path().join("postrider.toml");
    fs::write(&file, "").expect("a file");
    let mut engine = start_completely(&place.setup().with_file(&file));
    fs::write(&file, "[log]\nlevel = \"debug\"\n").expect("a file");
    engine.signal(Signal::HUP);
    let said = engine.wait_for_line("say what changed", |line| line.contains("log.level"));
    said.unwrap_or_else(|error| panic!("{error}"));
    let (_client, _) = Client::connect(engine.smtp()).expect("a greeting");
    let said = engine.wait_for_line("tell of the client", |line| line.contains("debug: connect from"));
    said.unwrap_or_else(|error| panic!("{error}"));
}
