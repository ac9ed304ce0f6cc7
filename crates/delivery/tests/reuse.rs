//! Connections that carry more than one message.

mod support;

use std::sync::Arc;
use std::time::Duration;

use delivery::{Reuse, TransportConfig};
use support::{agents, job, transport, words};
use testkit::scripted::{Act, Script, ScriptedServer, Stage};
use tokio::sync::Semaphore;

const SENT: [&str; 1] = ["Sent Recipient 2.0.0"];

fn patient() -> TransportConfig {
    let reuse = Reuse { idle: Duration::from_secs(3600), ..Reuse::default() };
    TransportConfig { reuse, ..transport("smtp") }
}

#[tokio::test]
async fn messages_for_one_next_hop_share_a_connection() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    for used in 0..5 {
        let report = agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
        assert_eq!(words(&report.outcomes), SENT);
        assert_eq!(report.reused, used);
        assert_eq!(report.timing.setup.is_zero(), used > 0);
        assert_eq!(agents.idle_connections(), 1);
    }
    let heard = server.heard();
    assert_eq!((heard.connections(), heard.messages.len()), (1, 5));
    assert!(!heard.lines[0].iter().any(|line| line == "RSET"), "nothing was left over");

    // Another next hop, another transport, another level of TLS: another connection.
    let other = format!("127.0.0.1:{}", server.port());
    agents.deliver(job(patient(), &other, &["a@b.test"])).await;
    let mut clear = patient();
    clear.tls = delivery::TlsLevel::None;
    agents.deliver(job(clear, &server.nexthop(), &["a@b.test"])).await;
    let mut named = patient();
    named.name = "other".into();
    agents.deliver(job(named, &server.nexthop(), &["a@b.test"])).await;
    assert_eq!(server.heard().connections(), 4);
    assert_eq!(agents.idle_connections(), 4);
    agents.close().await;
    assert_eq!(agents.idle_connections(), 0);
    server.wait_until(|heard| heard.closed == 4).await;
}

#[tokio::test]
async fn a_new_name_is_given_on_new_connections() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
    agents.set_hostname("new.test");
    agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
    agents.close().await;
    agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
    let heard = server.heard();
    let hellos: Vec<&str> = heard.lines.iter().map(|lines| lines[0].as_str()).collect();
    assert_eq!(hellos, ["EHLO me.test", "EHLO new.test"]);
}

#[tokio::test]
async fn what_a_refused_message_left_behind_is_reset() {
    let server = ScriptedServer::start(Script::new(|asked| match (asked.stage, asked.count) {
        (Stage::Rcpt, 0) => Act::reply("550 5.1.1 no"),
        (Stage::Data, 0) => Act::reply("554 5.5.1 for whom"),
        _ => Act::Good,
    }))
    .await;
    let agents = agents();
    let report = agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
    assert_eq!(words(&report.outcomes), ["Bounced Recipient 5.1.1"]);
    let report = agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
    assert_eq!((words(&report.outcomes), report.reused), (SENT.map(String::from).to_vec(), 1));
    assert!(server.heard().lines[0].iter().any(|line| line == "RSET"));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    // Closed before it is taken: it is seen. Closed by the first command: it is tried again.
    for late in [false, true] {
        let server = ScriptedServer::start(Script::new(move |asked| match (asked.stage, asked.count) {
            (Stage::End, _) if !late => Act::ReplyAndClose("250 2.0.0 taken".into()),
            (Stage::Mail, 1) => Act::ReplyAndClose("421 4.4.2 you were idle for too long".into()),
            _ => Act::Good,
        }))
        .await;
        let agents = agents();
        for round in 1..=3 {
            let report = agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"])).await;
            assert_eq!(words(&report.outcomes), SENT, "round {round}");
            assert_eq!(report.reused, 0);
            if !late {
                server.wait_until(|heard| heard.closed == round).await;
            }
        }
        assert_eq!(server.heard().connections(), 3);
    }
}

#[tokio::test]
async fn a_connection_is_used_as_often_and_as_long_as_told() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    let mut twice = patient();
    twice.reuse.messages = 2;
    for _ in 0..5 {
        agents.deliver(job(twice.clone(), &server.nexthop(), &["a@b.test"])).await;
    }
    assert_eq!(server.heard().connections(), 3);
    server.wait_until(|heard| heard.closed == 2).await;

    let mut never = patient();
    never.name = "never".into();
    never.reuse.idle = Duration::ZERO;
    agents.deliver(job(never, &server.nexthop(), &["a@b.test"])).await;
    server.wait_until(|heard| heard.closed == 3).await;

    // The idle time passes by itself, and the connection is closed with a goodbye.
    let mut brief = patient();
    brief.name = "brief".into();
    brief.reuse.idle = Duration::from_millis(20);
    agents.deliver(job(brief, &server.nexthop(), &["a@b.test"])).await;
    let heard = server.wait_until(|heard| heard.closed == 4).await;
    assert_eq!(heard.lines.last().unwrap().last().map(String::as_str), Some("QUIT"));
}

#[tokio::test]
async fn two_messages_at_once_use_two_connections() {
    let permits = Arc::new(Semaphore::new(0));
    let held = Act::After(Arc::clone(&permits), Box::new(Act::Good));
    let server = ScriptedServer::start(Script::but(Stage::End, held)).await;
    let agents = agents();
    let deliver = || agents.deliver(job(patient(), &server.nexthop(), &["a@b.test"]));
    let release = async {
        server.wait_until(|heard| heard.messages.len() == 2).await;
        permits.add_permits(2);
    };
    let (one, two, ()) = tokio::join!(deliver(), deliver(), release);
    assert_eq!((words(&one.outcomes), words(&two.outcomes)), (vec![SENT[0].into()], vec![SENT[0].into()]));
    assert_eq!(server.heard().connections(), 2);
    assert_eq!(agents.idle_connections(), 2);
}

/// The limit was 256 once: a backlog over a thousand sites went round, and every connection was closed just
/// before its site's next message came, so that a drain spent half its time on greetings.
#[tokio::test]
async fn a_round_over_many_sites_finds_every_connection_again() {
    const SITES: usize = 300;
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    for _ in 0..2 {
        for site in 0..SITES {
            let mut transport = patient();
            transport.name = format!("site{site}").into();
            agents.deliver(job(transport, &server.nexthop(), &["a@b.test"])).await;
        }
    }
    assert_eq!(server.heard().connections(), SITES);
    assert_eq!(agents.idle_connections(), SITES);
}

#[tokio::test]
async fn idle_connections_are_limited() {
    let server = ScriptedServer::start(Script::good()).await;
    let config = delivery::AgentsConfig { idle_connections_max: 2, ..Default::default() };
    let resolver = Arc::new(support::FakeResolver::default());
    let agents = delivery::Agents::new(config, resolver, delivery::Tls::native());
    for name in ["one", "two", "three", "four"] {
        let mut transport = patient();
        transport.name = name.into();
        agents.deliver(job(transport, &server.nexthop(), &["a@b.test"])).await;
        assert!(agents.idle_connections() <= 2);
    }
    server.wait_until(|heard| heard.closed == 2).await;
}
