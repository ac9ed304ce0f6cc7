//! The engine starts with no configuration at all and says what a newcomer needs.

use std::process::{Command, Stdio};

use testkit::engine::Setup;
use testkit::plain::Client;

use crate::place::{Place, listed, start};

#[test]
fn it_says_where_it_listens_where_the_spool_is_and_how_to_send() {
    let place = Place::new();
    // Only the port differs from the defaults, so that two of these can run at the same time.
    let setup = Setup::new(env!("CARGO_BIN_EXE_postrider"), place.folder.path());
    let mut engine = start(&setup);
    let spool = setup.spool().display().to_string();
    let mut says = |what: &str, words: &str| {
        engine.wait_for_line(what, |line| line.contains(words)).unwrap_or_else(|error| panic!("{error}"))
    };
    says("say where the spool is", &spool);
    says("say how to send a first message", "postrider source");
    let address = engine.smtp();
    Client::greet(address).expect("a greeting");
    assert_eq!(listed(&engine, &[]).len(), 0);
    let (status, _) = engine.stop().unwrap_or_else(|error| panic!("{error}"));
    assert!(status.success(), "{status}");
}

#[test]
fn source_and_sink_are_two_ends_of_a_relay() {
    let place = Place::new();
    let engine = start(&place.setup());
    let source = |to: &str| {
        Command::new(env!("CARGO_BIN_EXE_postrider"))
            .args(["source", "--to", to, "--messages", "20", "--connections", "4", "--quiet"])
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    };
    let output = source(&engine.smtp().to_string());
    assert!(output.status.success(), "{output:?}");
    assert!(place.sink.wait_for(20).is_some(), "{}", engine.printed());
}
