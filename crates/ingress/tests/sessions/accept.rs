//! Messages through real sockets into a real spool.

use super::common::{open_config, start, start_with, strict_config};
use ingress::{Config, EtrnAnswer, Hold};
use mail::{BodyType, Notify};
use spool::Queue;

const RECEIVED: &str = "Received: from client.test ([127.0.0.1])\r\n\tby mx.test (Postrider) with ESMTP id ";

#[tokio::test]
async fn a_message_becomes_durable_and_reaches_the_engine() {
    let mut world = start(open_config());
    let mut client = world.client().await;
    client.ask("MAIL FROM:<s@src.test> BODY=8BITMIME RET=HDRS ENVID=x+2By", "250 2.1.0").await;
    client.ask("RCPT TO:<\"u v\"@dst.test> NOTIFY=DELAY ORCPT=rfc822;o@dst.test", "250 2.1.5").await;
    client.ask("DATA", "354 ").await;
    let reply = client.ask("Subject: x\r\n\r\n..text\r\n.", "250 2.0.0 Ok: queued as ").await;

    let accepted = world.next_accepted().await;
    assert!(reply.ends_with(&accepted.id.to_string()));
    let stored = world.spool.read(accepted.id).unwrap();
    assert_eq!((&stored.envelope, &stored.summary), (&accepted.envelope, &accepted.summary));
    let envelope = &stored.envelope;
    assert_eq!(envelope.sender.as_ref().unwrap().as_str(), "s@src.test");
    assert_eq!((envelope.body, envelope.envid.as_deref()), (BodyType::EightBitMime, Some("x+y")));
    assert_eq!(envelope.recipients[0].address.as_str(), "\"u v\"@dst.test");
    assert_eq!(envelope.recipients[0].notify.unwrap(), Notify { delay: true, ..Notify::NEVER });
    assert_eq!((envelope.client.helo.as_str(), envelope.client.protocol.word()), ("client.test", "ESMTP"));
    assert_eq!(stored.summary.queue, Queue::Incoming);
    assert_eq!(
        (stored.summary.sites.as_slice(), stored.summary.unfinished),
        (&["dst.test".to_owned()][..], 1)
    );

    let content = String::from_utf8(world.content(&accepted).await).unwrap();
    let expected = format!(
        "{RECEIVED}{}\r\n\tfor <\"u v\"@dst.test>; Sun, 22 Nov 2026 03:00:00 +0000\r\nSubject: x\r\n\r\n.text\r\n",
        accepted.id
    );
    assert_eq!(content, expected);
    assert_eq!(envelope.size, content.len() as u64);
    client.ask("QUIT", "221 2.0.0").await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_pipelined_group_is_answered_in_order() {
    let mut world = start(open_config());
    let mut client = world.client().await;
    let group = "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<a@x.test>\r\nBOGUS\r\nRCPT TO:<postmaster>\r\n\
                 BDAT 4\r\na\r\nbBDAT 3 LAST\r\nc\r\nMAIL FROM:<>\r\nQUIT\r\n";
    client.send(group.as_bytes()).await;
    for front in
        ["250 2.1.0", "250 2.1.5", "250 2.1.5", "500 5.5.2", "250 2.1.5", "250 2.0.0", "250 2.0.0 Ok: q"]
    {
        client.expect(front).await;
    }
    client.expect("250 2.1.0").await;
    client.expect("221 2.0.0").await;
    let accepted = world.next_accepted().await;
    assert_eq!(accepted.envelope.recipients.len(), 2, "the repetition is dropped");
    assert_eq!(accepted.summary.sites, ["mx.test", "x.test"]);
    assert!(accepted.summary.null_sender);
    let content = world.content(&accepted).await;
    assert!(content.ends_with(b"+0000\r\na\r\nbc\r\n"), "{}", String::from_utf8_lossy(&content));
}

#[tokio::test]
async fn strangers_may_send_to_our_own_domains_only() {
    let mut world = start(strict_config());
    let mut client = world.client().await;
    client.ask("MAIL FROM:<s@src.test>", "250 ").await;
    client.ask("RCPT TO:<u@elsewhere.test>", "554 5.7.1 <u@elsewhere.test>: Relay access denied").await;
    client.ask("RCPT TO:<u@Here.Test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask(".", "250 ").await;
    assert_eq!(world.next_accepted().await.envelope.recipients.len(), 1);

    // With soft_bounce a mistake in the lists costs no mail.
    let mut config = strict_config();
    config.policy.soft_bounce = true;
    let world = start(config);
    let mut client = world.client().await;
    client.ask("MAIL FROM:<s@src.test>", "250 ").await;
    client.ask("RCPT TO:<u@elsewhere.test>", "454 4.7.1 <u@elsewhere.test>: Relay access denied").await;
}

#[tokio::test]
async fn large_bodies_go_through_a_file_bit_by_bit() {
    let line = format!("{}\r\n", "0123456789".repeat(7));
    let body = line.repeat(2 * 1024 * 1024 / line.len());
    for memory in [64 << 20, 0] {
        let mut world = start_with(open_config(), memory);
        let mut client = world.client().await;
        for text in [body.as_str(), &body[..720 * 100]] {
            client.ask("MAIL FROM:<s@src.test>", "250 ").await;
            client.ask("RCPT TO:<u@dst.test>", "250 ").await;
            client.ask("DATA", "354 ").await;
            client.ask(&format!("{text}."), "250 2.0.0").await;
            let accepted = world.next_accepted().await;
            let content = world.content(&accepted).await;
            assert_eq!(accepted.envelope.size, content.len() as u64);
            assert!(content.starts_with(b"Received: ") && content.ends_with(text.as_bytes()));
        }
        assert_eq!(world.memory.left(), memory, "everything was given back");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_early_and_late() {
    let config = Config { message_size_limit: 1_000_000, ..open_config() };
    let mut world = start(config);
    let mut client = world.client().await;
    client.ask("MAIL FROM:<s@src.test> SIZE=1000001", "552 5.3.4").await;
    client.ask("MAIL FROM:<s@src.test>", "250 ").await;
    client.ask("RCPT TO:<u@dst.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask(&format!("{}.", "0123456789\r\n".repeat(100_000)), "552 5.3.4").await;
    client.ask("NOOP", "250 ").await;
    assert!(world.accepted.try_recv().is_err());
    assert_eq!(world.memory.left(), 64 << 20);
}

#[tokio::test]
async fn a_durable_message_reaches_the_engine_when_its_client_is_gone() {
    let mut world = start(open_config());
    let mut client = world.client().await;
    let group = "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n";
    client.send(group.as_bytes()).await;
    client.expect("250 ").await;
    client.expect("250 ").await;
    client.expect("354 ").await;
    client.say("x\r\n.").await;
    drop(client);
    assert_eq!(world.next_accepted().await.envelope.recipients.len(), 1);
}

#[tokio::test]
async fn without_an_engine_or_a_spool_nothing_is_promised() {
    let mut world = start(open_config());
    let mut client = world.client().await;
    let message = "MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 0 LAST";
    world.spool.close();
    client.say(message).await;
    client.expect("250 ").await;
    client.expect("250 ").await;
    client.expect("451 4.3.2").await;
    assert!(world.accepted.try_recv().is_err());
    let mut world = start(open_config());
    world.accepted.close();
    let mut client = world.client().await;
    client.say(message).await;
    client.expect("250 ").await;
    client.expect("250 ").await;
    client.expect("451 4.3.2").await;
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let mut world = start(Config { lmtp: true, ..open_config() });
    let mut client = world.client().await;
    client.ask("MAIL FROM:<s@src.test>", "250 ").await;
    client.ask("RCPT TO:<a@dst.test>", "250 ").await;
    client.ask("RCPT TO:<a@dst.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask("x\r\n.", "250 2.0.0").await;
    client.expect("250 2.0.0").await;
    let accepted = world.next_accepted().await;
    assert_eq!(accepted.envelope.recipients.len(), 1);
    let content = String::from_utf8(world.content(&accepted).await).unwrap();
    assert!(content.contains(" with LMTP id "), "{content}");
}

#[tokio::test]
async fn a_rule_puts_messages_on_hold() {
    let mut config = open_config();
    config.policy.hold = Hold::when(|envelope| envelope.sender.is_none().then(|| "a report".into()));
    let mut world = start(config);
    let mut client = world.client().await;
    for (sender, queue) in [("", Queue::Hold), ("s@src.test", Queue::Incoming)] {
        client.ask(&format!("MAIL FROM:<{sender}>"), "250 ").await;
        client.ask("RCPT TO:<a@dst.test>", "250 ").await;
        client.ask("BDAT 0 LAST", "250 ").await;
        assert_eq!(world.next_accepted().await.summary.queue, queue);
    }
}

#[tokio::test]
async fn etrn_is_handed_on_and_answered() {
    let mut world = start(open_config());
    let mut client = world.client().await;
    for (answer, front) in [
        (EtrnAnswer::Started, "250 2.0.0 Queuing started"),
        (EtrnAnswer::StartedCount(7), "253 2.0.0 OK, 7 pending messages for node a.test started"),
        (EtrnAnswer::NothingQueued, "251 2.0.0 OK, no messages waiting for node a.test"),
        (EtrnAnswer::Denied, "459 4.7.1 a.test: service unavailable"),
        (EtrnAnswer::Unavailable, "458 4.3.0 Unable to queue messages"),
        (EtrnAnswer::Bad, "501 5.5.4"),
    ] {
        client.say("ETRN @A.test").await;
        let request = world.etrn.recv().await.unwrap();
        assert_eq!((request.site.as_str(), request.subdomains), ("a.test", true));
        assert!(request.client.is_loopback());
        request.answer.send(answer).unwrap();
        client.expect(front).await;
    }
    client.say("ETRN a.test").await;
    drop(world.etrn.recv().await.unwrap().answer);
    client.expect("458 ").await;

    let mut strict = start(strict_config());
    let mut stranger = strict.client().await;
    stranger.ask("ETRN a.test", "459 4.7.1 a.test: service unavailable").await;
    assert!(strict.etrn.try_recv().is_err());
}
