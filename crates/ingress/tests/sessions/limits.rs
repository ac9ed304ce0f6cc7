//! Crowds, silence, TLS, reloads and the end.

use std::sync::Arc;
use std::time::Duration;

use super::common::{Client, open_config, start, strict_config};
use ingress::Config;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use testkit::scripted::Certificate;
use tokio_rustls::TlsConnector;

/// Time enough for anything that is to happen by itself.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn connections_are_limited_in_all_and_for_each_client() {
    let world = start(Config { client_connection_limit: 2, ..strict_config() });
    let one = world.client().await;
    let _two = world.client().await;
    world
        .connect()
        .await
        .expect("421 4.7.0 mx.test Error: too many connections from unknown[127.0.0.1]")
        .await;
    drop(one);
    // The place comes free when the server has noticed.
    loop {
        let mut again = world.connect().await;
        if again.line().await.is_some_and(|line| line.starts_with("220 ")) {
            break;
        }
    }
    let world = start(Config { connection_limit: 1, ..open_config() });
    let _one = world.client().await;
    let mut two = world.connect().await;
    two.expect("421 4.3.2 mx.test Error: too many connections").await;
    two.expect_end().await;
    let status = world.ingress.as_ref().unwrap().status();
    assert_eq!((status.open, status.connections, status.turned_away), (1, 1, 1));
}

#[tokio::test]
async fn those_who_may_relay_are_not_counted_for_themselves() {
    let world = start(Config { client_connection_limit: 1, ..open_config() });
    let _one = world.client().await;
    world.client().await;
}

#[tokio::test]
async fn silence_and_trickles_end_by_timeout() {
    let config = Config { command_timeout: Duration::from_millis(500), ..open_config() };
    let world = start(config);
    let mut silent = world.client().await;
    silent.expect("421 4.4.2 mx.test Error: timeout exceeded").await;
    silent.expect_end().await;

    // Bytes that do not make a command do not extend its time.
    let mut trickle = world.client().await;
    let (mut reading, mut writing) = tokio::io::split(trickle.stream);
    let writer = tokio::spawn(async move {
        loop {
            if tokio::io::AsyncWriteExt::write_all(&mut writing, b"N").await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut said = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut said);
    let _ = tokio::time::timeout(GRACE, read).await.unwrap();
    writer.abort();
    assert!(String::from_utf8_lossy(&said).contains("421 4.4.2"), "{}", String::from_utf8_lossy(&said));

    trickle = world.client().await;
    trickle.send(b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n").await;
    trickle.expect("250 ").await;
    trickle.expect("250 ").await;
    trickle.expect("354 ").await;
    trickle.send(b"never ending").await;
    trickle.expect("421 4.4.2").await;
    assert_eq!(world.memory.left(), 64 << 20);
}

#[tokio::test]
async fn silence_in_a_crowd_is_cut_short() {
    let stress_timeout = Duration::from_millis(500);
    let world = start(Config { connection_limit: 10, stress_timeout, ..open_config() });
    let mut early = Vec::new();
    for _ in 0..7 {
        early.push(world.client().await);
    }
    for _ in 0..2 {
        // The eighth place is taken by one silent client after the other.
        world.client().await.expect("421 4.4.2").await;
    }
    early[0].ask("NOOP", "250 ").await;
}

#[tokio::test]
async fn a_session_has_an_age_limit() {
    let world = start(Config { session_timeout: Duration::ZERO, ..open_config() });
    let mut client = world.connect().await;
    client.expect("220 ").await;
    client.expect("421 4.4.2 mx.test Session has lasted long enough").await;
}

#[tokio::test]
async fn stopping_lets_the_message_that_is_arriving_in() {
    let mut world = start(open_config());
    let mut idle = world.client().await;
    let mut busy = world.client().await;
    busy.send(b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n").await;
    busy.expect("250 ").await;
    busy.expect("250 ").await;
    busy.expect("354 ").await;
    let stop = tokio::spawn(world.ingress.take().unwrap().stop(GRACE));
    idle.expect("421 4.3.2").await;
    idle.expect_end().await;
    busy.say("x\r\n.").await;
    busy.expect("250 2.0.0").await;
    busy.expect("421 4.3.2").await;
    drop((idle, busy));
    assert_eq!(stop.await.unwrap(), 0);
    world.next_accepted().await;
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
}

#[tokio::test]
async fn stopping_cuts_off_who_does_not_end() {
    let mut world = start(open_config());
    let mut busy = world.client().await;
    busy.send(b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n").await;
    busy.expect("250 ").await;
    busy.expect("250 ").await;
    busy.expect("354 ").await;
    assert_eq!(world.ingress.take().unwrap().stop(Duration::from_millis(50)).await, 1);
    busy.expect_end().await;
}

#[tokio::test]
async fn a_reload_is_for_new_connections() {
    let world = start(open_config());
    let mut old = world.client().await;
    world.ingress.as_ref().unwrap().reload(Config { hostname: "new.test".into(), ..open_config() });
    world.connect().await.expect("220 new.test").await;
    old.ask("HELO x", "250 mx.test").await;
}

fn certificate() -> (Arc<ServerConfig>, TlsConnector) {
    let made = Certificate::for_names(&["mx.test"]);
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(made.roots())
        .with_no_client_auth();
    (made.server(), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn starttls_forgets_what_was_said_in_clear() {
    let (tls, connector) = certificate();
    let mut world = start(Config { tls: Some(tls), ..open_config() });
    let mut clear = world.connect().await;
    clear.expect("220 ").await;
    clear.ask("EHLO client.test", "250 ").await;
    clear.ask("MAIL FROM:<s@src.test>", "250 ").await;
    clear.ask("STARTTLS\r\nRCPT TO:<evil@dst.test>", "220 2.0.0").await;
    let name = ServerName::try_from("mx.test").unwrap();
    let mut client = Client::over(connector.connect(name, clear.stream).await.unwrap());
    client.ask("MAIL FROM:<s@src.test>", "503 5.5.1").await;
    client.ask("EHLO client.test", "250 ").await;
    client.ask("MAIL FROM:<s@src.test>", "250 ").await;
    client.ask("RCPT TO:<u@dst.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask("x\r\n.", "250 ").await;
    let accepted = world.next_accepted().await;
    assert_eq!(accepted.envelope.recipients.len(), 1);
    assert_eq!(accepted.envelope.client.protocol.word(), "ESMTPS");
    client.ask("QUIT", "221 ").await;
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_costs_that_connection_only() {
    let (tls, _) = certificate();
    let world = start(Config { tls: Some(tls), ..open_config() });
    let mut client = world.client().await;
    client.ask("STARTTLS", "220 ").await;
    client.send(b"this is no ClientHello, and it goes on for a while\r\n").await;
    while client.line().await.is_some() {}
    world.client().await;
}

#[tokio::test]
async fn a_crowd_of_hostile_clients_does_not_keep_an_honest_one_out() {
    let mut world = start(open_config());
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut client = world.connect().await;
        client.expect("220 ").await;
        match number % 5 {
            0 => {}
            1 => client.send(&vec![b'x'; 20_000]).await,
            2 => client.send(&b"FOO\r\n".repeat(10)).await,
            3 => client.send(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nhalf a mess").await,
            _ => client.send(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 99999999\r\n").await,
        }
        crowd.push(client);
    }
    let mut honest = world.client().await;
    honest.ask("MAIL FROM:<s@src.test>", "250 ").await;
    honest.ask("RCPT TO:<u@dst.test>", "250 ").await;
    honest.ask("DATA", "354 ").await;
    honest.ask("x\r\n.", "250 2.0.0").await;
    world.next_accepted().await;
    drop((crowd, honest));
    assert_eq!(world.ingress.take().unwrap().stop(GRACE).await, 0);
    assert_eq!(world.memory.left(), 64 << 20);
}

#[tokio::test]
async fn a_reset_at_any_byte_costs_nobody_anything() {
    let mut world = start(open_config());
    let conversation: &[u8] =
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\n\
          BDAT 3\r\nabcBDAT 1 LAST\r\nd";
    for length in 0..conversation.len() {
        let mut client = world.connect().await;
        client.send(&conversation[..length]).await;
        client.stream.set_zero_linger().unwrap();
    }
    let mut honest = world.client().await;
    honest.ask("MAIL FROM:<s@src.test>", "250 ").await;
    honest.ask("QUIT", "221 ").await;
    drop(honest);
    world.accepted.close();
    assert_eq!(world.ingress.take().unwrap().stop(GRACE).await, 0);
    assert_eq!(world.memory.left(), 64 << 20);
}
