//! Two engines never work on one spool.

use testkit::plain::Client;

use crate::place::{Place, start, wait_until_empty};

#[test]
fn a_second_engine_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let setup = place.setup();
    let first = start(&setup);
    let mut second = setup.spawn().expect("the program runs");
    let (status, printed) = second.wait_for_end("refuse to start").unwrap_or_else(|error| panic!("{error}"));
    assert!(status.code().is_some_and(|code| (64..=78).contains(&code)), "{status}");
    let names_spool = printed.contains(&setup.spool().display().to_string());
    assert!(names_spool, "it says which spool is taken:\n{printed}");
    let mut client = Client::greet(first.smtp()).expect("the first still answers");
    client.send("s@src.test", &["a@x.test"], b"x\r\n").expect("accepted");
    wait_until_empty(&first);
    assert_eq!(place.sink.count(), 1);
}
