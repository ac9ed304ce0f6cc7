//! A sink driven through real sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use testkit::plain::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Sink, SinkArgs};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: SinkArgs,
}

/// A sink with these options, and its end.
async fn start(options: &[&str]) -> (Arc<Sink>, SocketAddr, JoinHandle<()>) {
    let line = ["sink", "--quiet"].iter().chain(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sink = Arc::new(Sink::new(Line::parse_from(line).args));
    let end = tokio::spawn(sink.clone().take_mail(listener));
    (sink, address, end)
}

/// Runs what a blocking client does.
async fn drive<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(client).await.unwrap()
}

#[tokio::test]
async fn takes_counts_keeps_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().to_str().unwrap().to_owned();
    let (sink, address, end) = start(&["--count", "2", "--dump", &dump]).await;
    drive(move || {
        let mut client = Client::greet(address).unwrap();
        client.send("s@src.test", &["a@x.test", "b@x.test"], b".dot\r\n..\r\n").unwrap();
        let (mut other, _) = Client::connect(address).unwrap();
        other.command("EHLO x").unwrap();
        client.send("", &["c@x.test"], b"x\r\n").unwrap();
        assert_eq!(client.command("NOOP").unwrap().code, 250);
        // A client that had much to send was served beyond the count once.
        assert_eq!(client.command("MAIL FROM:<>").unwrap().code, 421);
        assert_eq!(other.command("QUIT").unwrap().code, 221);
    })
    .await;
    end.await.unwrap();
    assert_eq!((sink.counts.messages.now(), sink.counts.recipients.now()), (2, 3));
    assert_eq!(std::fs::read(folder.path().join("000001.eml")).unwrap(), b".dot\r\n..\r\n");
    let envelope = std::fs::read_to_string(folder.path().join("000001.json")).unwrap();
    assert!(envelope.contains(r#""from":"s@src.test","to":["a@x.test","b@x.test"]"#), "{envelope}");
}

#[tokio::test]
async fn refuses_and_drops_at_every_stage() {
    let commands = ["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@x.test>", "DATA", "x\r\n."];
    for (number, stage) in ["connect", "helo", "mail", "rcpt", "data", "message"].into_iter().enumerate() {
        let (sink, address, _end) = start(&["--refuse", &format!("450 4.7.0 no@{stage}")]).await;
        let codes = drive(move || {
            let (mut client, greeting) = Client::connect(address).unwrap();
            let mut codes = vec![greeting.code];
            for command in &commands[..number] {
                codes.push(client.command(command).unwrap().code);
            }
            codes
        })
        .await;
        assert_eq!(codes.last(), Some(&450), "{stage}: {codes:?}");
        assert!(codes[..number].iter().all(|code| *code < 400), "{stage}: {codes:?}");
        assert_eq!((sink.counts.refused.now(), sink.counts.messages.now()), (1, 0), "{stage}");

        let (sink, address, _end) = start(&["--drop", stage]).await;
        drive(move || match Client::connect(address) {
            Err(_) => assert_eq!(stage, "connect"),
            Ok((mut client, _)) => {
                let (last, before) = commands[..number].split_last().unwrap();
                for command in before {
                    client.command(command).unwrap();
                }
                assert!(client.command(last).is_err(), "{stage}");
            }
        })
        .await;
        assert_eq!((sink.counts.dropped.now(), sink.counts.messages.now()), (1, 0), "{stage}");
    }
}

#[tokio::test]
async fn lmtp_recipients_are_refused_one_by_one() {
    let (sink, address, _end) = start(&["--lmtp", "--refuse", "452 4.2.2 full@message:50%"]).await;
    let codes = drive(move || {
        let (mut client, _) = Client::connect(address).unwrap();
        client.command("LHLO x").unwrap();
        client.command("MAIL FROM:<>").unwrap();
        for number in 0..20 {
            client.command(&format!("RCPT TO:<u{number}@x.test>")).unwrap();
        }
        client.command("DATA").unwrap();
        client.write(b"x\r\n.\r\n").unwrap();
        (0..20).map(|_| client.reply().unwrap().code).collect::<Vec<u16>>()
    })
    .await;
    let taken = codes.iter().filter(|code| **code == 250).count() as u64;
    assert!(taken > 0 && taken < 20, "{codes:?}");
    assert_eq!((sink.counts.recipients.now(), sink.counts.refused.now()), (taken, 20 - taken));
}
