//! SIGTERM: nothing new is taken, what is in flight ends or is handed back, the spool is left clean.

use std::net::TcpStream;

use testkit::engine::Signal;
use testkit::plain::{Client, Refusal, dot_stuffed};

use crate::place::{Place, ask, start, start_completely, wait_for_list, wait_until_empty};

#[test]
fn an_open_session_is_told_and_the_engine_ends() {
    let place = Place::new();
    let setup = place.setup();
    let mut engine = start_completely(&setup);
    let address = engine.smtp();
    let mut client = Client::greet(address).expect("a greeting");
    client.send("s@src.test", &["a@x.test"], b"Subject: x\r\n\r\n").expect("accepted");
    engine.signal(Signal::TERM);
    let said = engine.wait_for_line("say that it stops", |line| line.contains("stopping"));
    said.unwrap_or_else(|error| panic!("{error}"));
    // The session is served until the news reaches it; then it gets 421, or sees the connection close.
    let mut replies = std::iter::from_fn(|| client.command("NOOP").ok());
    let last = replies.find(|reply| reply.code != 250);
    assert!(last.is_none_or(|reply| reply.code == 421));
    let (status, printed) = engine.wait_for_end("stop").unwrap_or_else(|error| panic!("{error}"));
    assert!(status.success(), "{status}\n{printed}");
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    // The message was delivered before the end, or is delivered by the next engine; never lost.
    let engine = start(&setup);
    wait_until_empty(&engine);
    assert_eq!(place.sink.count(), 1);
}

#[test]
fn an_unfinished_transaction_is_not_accepted() {
    let place = Place::new();
    let setup = place.setup();
    let engine = start(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for line in ["MAIL FROM:<a@one.test>", "RCPT TO:<b@two.test>"] {
        assert_eq!(client.command(line).expect("a reply").code, 250, "{line}");
    }
    assert_eq!(client.command("DATA").expect("a reply").code, 354);
    let content = dot_stuffed(b"Subject: x\r\n\r\nhalf of it\r\n");
    client.write(&content[..content.len() - 3]).expect("sent without its final dot");
    engine.kill().unwrap_or_else(|error| panic!("{error}"));
    let engine = start(&setup);
    wait_until_empty(&engine);
    assert_eq!(place.sink.count(), 0);
}

/// A delivery that is refused at once ends before the next one has begun. The engine took results as long as
/// there were any, so that nobody else was heard until it had tried its whole backlog; nor did it stop before
/// it had read all of that.
#[test]
fn deliveries_that_end_as_fast_as_they_begin_do_not_keep_it_from_stopping() {
    const BACKLOG: usize = 3000;
    let place = Place::new();
    place.sink.refuse(vec![Refusal { at: "RCPT".into(), reply: "450 4.2.1 not yet".into() }]);
    let setup = place.patient_setup();
    let mut engine = start_completely(&setup);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    for number in 0..BACKLOG {
        let to = format!("u@site{}.test", number % 7);
        client.send("s@src.test", &[&to], b"Subject: x\r\n\r\n").expect("accepted");
    }
    client.command("QUIT").expect("a goodbye");
    wait_for_list(&engine, |list| list.iter().all(|message| message["queue_name"] == "deferred"));
    ask(&engine, &["flush", "--all"], 0);
    engine.signal(Signal::TERM);
    let (status, printed) = engine.wait_for_end("stop").unwrap_or_else(|error| panic!("{error}"));
    assert!(status.success(), "{status}\n{printed}");
    let flushed = printed.lines().skip_while(|line| !line.contains("flush everything"));
    let tried = flushed.filter(|line| line.contains("(queue active)")).count();
    assert!(tried < BACKLOG / 2, "{tried} of {BACKLOG} were tried once more before it stopped");
}
