//! A long listing starts at once and never stops mail, however slowly it is read.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use testkit::plain::{Client, Refusal};

use crate::place::{Place, listed, start};

/// Enough that the listing fills every buffer between the engine and its reader.
const MESSAGES: usize = 3000;

#[test]
fn a_reader_that_stands_still_stops_nobody() {
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT TO:<later".into(), reply: "450 4.2.0 later".into() }]);
    let engine = start(&place.patient_setup());
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for number in 0..MESSAGES {
        client.send("s@src.test", &[&format!("later{number}@x.test")], b"x\r\n").expect("accepted");
    }
    let mut command = engine.setup().command(&["queue", "list", "--json"]);
    let mut listing =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let mut output = BufReader::with_capacity(256, listing.stdout.take().expect("a pipe"));
    let mut first = String::new();
    output.read_line(&mut first).expect("the first line");
    assert!(first.starts_with('{'), "{first}");

    // Nobody reads on; mail goes its way and others get their listings.
    client.send("s@src.test", &["now@y.test"], b"x\r\n").expect("accepted");
    assert!(place.sink.wait_for(1).is_some(), "{}", engine.printed());
    assert_eq!(listed(&engine, &["--site", "x.test"]).len(), MESSAGES);

    // The reader goes away, as `head` does; that is no error to complain about.
    drop(output);
    let mut complaint = String::new();
    listing.stderr.take().expect("a pipe").read_to_string(&mut complaint).expect("UTF-8");
    listing.wait().expect("it ends");
    assert_eq!(complaint, "");
}
