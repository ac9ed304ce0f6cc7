//! Bodies that are not in memory: streamed from the spool in pieces, exact, and given up cleanly.

mod support;

use std::sync::{Arc, mpsc};

use mail::{Address, BodyType, Time};
use spool::disk::RealDisk;
use spool::{Body, Flags, NewBody, NewMessage, Options, Queue, Spool, Summary};
use support::{agents, envelope, job, transport, words};
use testkit::scripted::{Act, Script, ScriptedServer, Stage};

const TO: [&str; 1] = ["a@b.test"];

/// A spool with one message whose body has a file of its own.
fn spooled(directory: &std::path::Path, content: &[u8]) -> (Spool, Body) {
    let disk = Arc::new(RealDisk::new(directory));
    let options = Options { segment_size: 1 << 20, free_min: 0, ..Options::default() };
    let spool = Spool::open(disk, options, &mut |_| {}, &mut |_| {}).expect("an empty spool");
    let id = spool.next_id(Time::from_millis(1));
    let mut writer = spool.begin_large(id, None).expect("room for a body");
    content.chunks(100_000).for_each(|piece| writer.write(piece).expect("room for a piece"));
    let body = NewBody::Large(writer.finish().expect("a synced body"));
    let summary = Summary {
        queue: Queue::Incoming,
        due: Time::ZERO,
        attempts: 0,
        null_sender: false,
        recipients: 1,
        unfinished: 1,
        sites: vec!["b.test".into()],
        flags: Flags::default(),
    };
    let message = NewMessage { id, envelope: Arc::new(envelope(&TO)), summary, body };
    let (done, accepted) = mpsc::channel();
    spool.accept(message, Box::new(move |result| done.send(result).expect("somebody waits")));
    accepted.recv().expect("the writer answers").expect("the message is durable");
    let body = spool.body(id).expect("the body is there");
    assert!(body.as_memory().is_none(), "the body is to be streamed");
    (spool, body)
}

/// Lines that begin with dots, of lengths that put dots and line ends at every place of a piece.
fn dotted(bytes: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(bytes + 100);
    let mut length = 0;
    while content.len() < bytes {
        content.extend(std::iter::repeat_n(b'.', length % 83));
        content.extend_from_slice(b"\r\n");
        length += 1;
    }
    content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_arrives_exactly() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    for (content, end) in [
        (dotted(1_500_000), ""),
        ([b"no end ".repeat(100_000), b"of line".to_vec()].concat(), "\r\n"),
        // The last piece is a full one, so that the end is found by an empty read.
        (vec![b'x'; 16 * 64 * 1024], "\r\n"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let (_spool, body) = spooled(directory.path(), &content);
        let mut job = job(transport("smtp"), &server.nexthop(), &TO);
        job.body = body;
        let report = agents.deliver(job).await;
        assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"]);
        let got = server.heard().messages.pop().expect("a message").content;
        assert!(got == [&content, end.as_bytes()].concat(), "{} bytes differ", content.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_looked_through_for_what_it_needs() {
    let server = ScriptedServer::start(Script::but(Stage::Hello, Act::reply("250 bare"))).await;
    let agents = agents();
    for (tail, expected) in [("plain", "Sent Recipient 2.0.0"), ("schön", "Bounced Message 5.6.3")] {
        let directory = tempfile::tempdir().expect("a directory");
        let content = ["Subject: a\r\n\r\n", &"x\r\n".repeat(300_000), tail].concat();
        let (_spool, body) = spooled(directory.path(), content.as_bytes());
        let mut job = job(transport("smtp"), &server.nexthop(), &TO);
        let mut message = envelope(&TO);
        message.sender = Address::parse("s@src.test").ok();
        message.body = BodyType::EightBitMime;
        job.envelope = Arc::new(message);
        job.body = body;
        assert_eq!(words(&agents.deliver(job).await.outcomes), [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_gets_lost_is_never_sent_by_half() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_spool, body) = spooled(directory.path(), &dotted(1_500_000));
    // The file is cut short behind the back of everybody.
    let mut files = vec![directory.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().expect("a directory").flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            std::fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(700_000))
                .expect("cut");
        }
    }
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    let mut job = job(transport("smtp"), &server.nexthop(), &TO);
    job.body = body;
    let report = agents.deliver(job).await;
    assert_eq!(words(&report.outcomes), ["Deferred Message 4.3.0"]);
    assert_eq!(agents.idle_connections(), 0);
    let heard = server.wait_until(|heard| heard.closed == 1).await;
    assert!(heard.messages.is_empty(), "the next hop must not see an end");
}
