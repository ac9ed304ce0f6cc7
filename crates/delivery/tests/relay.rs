//! Delivery over SMTP and LMTP to hosts that behave, and to hosts that are not there.

mod support;

use std::sync::Arc;

use mail::Verdict;
use spool::Body;
use support::{CONTENT, FakeResolver, agents, agents_with, envelope, job, transport, word, words};
use testkit::scripted::{Act, Script, ScriptedServer, Stage, good};

#[tokio::test]
async fn a_message_arrives_exactly_and_everybody_gets_an_answer() {
    let server = ScriptedServer::start(Script::new(|asked| match asked.line {
        "RCPT TO:<no@b.test>" => Act::reply("550 5.1.1 unknown"),
        "RCPT TO:<later@b.test>" => Act::reply("450 4.2.1 busy"),
        _ => Act::Good,
    }))
    .await;
    let agents = agents();
    let to = ["a@b.test", "no@b.test", "later@b.test", "\"x y\"@b.test"];
    let report = agents.deliver(job(transport("smtp"), &server.nexthop(), &to)).await;
    let expected = [
        "Sent Recipient 2.0.0",
        "Bounced Recipient 5.1.1",
        "Deferred Recipient 4.2.1",
        "Sent Recipient 2.0.0",
    ];
    assert_eq!(words(&report.outcomes), expected);
    assert_eq!(report.outcomes[0].text.as_ref(), "250 2.0.0 taken");
    let relay = report.outcomes[1].relay.as_ref().unwrap().to_string();
    assert_eq!(relay, format!("127.0.0.1[127.0.0.1]:{}", server.port()));
    assert!(report.dsn && report.reused == 0 && report.doubtful == 0);

    let heard = server.heard();
    assert_eq!(heard.messages.len(), 1);
    assert_eq!(heard.messages[0].content, format!("{CONTENT}\r\n").as_bytes());
    assert_eq!(heard.messages[0].mail, format!("MAIL FROM:<s@src.test> SIZE={}", CONTENT.len()));
    assert_eq!(heard.messages[0].rcpt, ["RCPT TO:<a@b.test>", "RCPT TO:<\"x y\"@b.test>"]);
    agents.close().await;
    server.wait_until(|heard| heard.lines[0].last().is_some_and(|line| line == "QUIT")).await;
}

#[tokio::test]
async fn a_job_runs_on_any_thread() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    let job = job(transport("smtp"), &server.nexthop(), &["a@b.test"]);
    let report = tokio::spawn(async move { agents.deliver(job).await }).await.unwrap();
    assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"]);
}

#[tokio::test]
async fn content_of_any_size_and_shape_arrives() {
    let server = ScriptedServer::start(Script::good()).await;
    let agents = agents();
    let line = "....................................................................\r\n";
    for content in
        [String::new(), ".".into(), "\n.\n\r.\r".into(), line.repeat(20_000), "x".repeat(3_000_000)]
    {
        let mut job = job(transport("smtp"), &server.nexthop(), &["a@b.test"]);
        job.body = Body::from_bytes(content.clone().into_bytes().into());
        let report = agents.deliver(job).await;
        assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"]);
        let got = server.heard().messages.pop().unwrap().content;
        let end = if content.is_empty() || content.ends_with("\r\n") { "" } else { "\r\n" };
        assert!(got == format!("{content}{end}").as_bytes(), "content of {} bytes differs", content.len());
    }
}

#[tokio::test]
async fn the_agents_that_need_no_network() {
    let agents = agents();
    for (kind, nexthop, expected) in [
        ("discard", "", "Sent Recipient 2.0.0"),
        ("error", "5.1.2 no longer here", "Bounced Recipient 5.1.2"),
        ("retry", "4.3.2 a moment", "Deferred Recipient 4.3.2"),
        ("teleport", "x", "Deferred Transport 4.3.5"),
        ("smtp", "not a host", "Deferred Transport 4.3.5"),
    ] {
        let report = agents.deliver(job(transport(kind), nexthop, &["a@b.test", "c@d.test"])).await;
        assert_eq!(words(&report.outcomes), [expected, expected], "{kind}");
    }
    let mut wrong = job(transport("smtp"), "[127.0.0.1]:1", &["a@b.test"]);
    wrong.recipients = vec![0, 7];
    let report = agents.deliver(wrong).await;
    assert_eq!(words(&report.outcomes), ["Deferred Transport 4.3.5"; 2]);
}

/// Next hops that share the port of a server, at addresses of their own.
async fn port_of_nobody() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound listener").port()
}

#[tokio::test]
async fn hosts_are_tried_by_preference_until_one_can_decide() {
    let server = ScriptedServer::start(Script::good()).await;
    let port = server.port();
    // 127.0.0.2 and the others refuse connections on that port.
    let resolver = FakeResolver::default()
        .domain("b.test", &[(30, "bad.b.test"), (20, "mx.b.test"), (10, "down.b.test"), (20, "gone.b.test")])
        .host("down.b.test", &["127.0.0.2"])
        .host("mx.b.test", &["127.0.0.1"])
        .host("bad.b.test", &["127.0.0.3"]);
    let agents = agents_with(resolver);
    let report = agents.deliver(job(transport("smtp"), &format!("b.test:{port}"), &["a@b.test"])).await;
    assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"]);
    let relay = report.outcomes[0].relay.as_ref().unwrap().to_string();
    assert_eq!(relay, format!("mx.b.test[127.0.0.1]:{port}"));

    let nobody = port_of_nobody().await;
    let report = agents.deliver(job(transport("smtp"), &format!("b.test:{nobody}"), &["a@b.test"])).await;
    assert_eq!(word(&report.outcomes[0]), "Deferred Site 4.4.1");
    let text = format!("connect to bad.b.test[127.0.0.3]:{nobody}: ");
    assert!(report.outcomes[0].text.starts_with(&text), "{}", report.outcomes[0].text);
}

#[tokio::test]
async fn addresses_and_sessions_are_limited() {
    let hosts: Vec<String> = (0..100).map(|number| format!("mx{number}.b.test")).collect();
    let records: Vec<(u16, &str)> = hosts.iter().map(|host| (10, host.as_str())).collect();
    let mut resolver = FakeResolver::default().domain("b.test", &records);
    for host in &hosts {
        resolver = resolver.host(host, &["127.0.0.1"]);
    }
    let refusing = ScriptedServer::start(Script::but(Stage::Connect, Act::reply("421 busy"))).await;
    let agents = agents_with(resolver);
    let nexthop = format!("b.test:{}", refusing.port());
    let report = agents.deliver(job(transport("smtp"), &nexthop, &["a@b.test"])).await;
    assert_eq!(words(&report.outcomes), ["Deferred Site 4.3.0"]);
    assert_eq!(refusing.heard().connections(), 1, "the same address is tried once");

    let list = format!("127.0.0.1:{0},127.0.0.2:{0},localhost:{0},[127.0.0.1]:{0}", refusing.port());
    let mut one = transport("smtp");
    one.mx_session_limit = 1;
    agents.deliver(job(one, &list, &["a@b.test"])).await;
    assert_eq!(refusing.heard().connections(), 2);
}

#[tokio::test]
async fn what_dns_says_decides() {
    let resolver = || {
        FakeResolver::default()
            .domain("null.test", &[(0, "")])
            .domain("loop.test", &[(10, "me.test"), (20, "backup.test")])
            .domain("nohosts.test", &[(10, "a.nohosts.test"), (20, "b.nohosts.test")])
            .domain("unsure.test", &[(10, "a.nohosts.test"), (20, "dead.test")])
            .domain("lies.test", &[(10, "not a host"), (20, "-x.test")])
            // No address is this machine's own: the local server took mail for such a domain.
            .domain("zero.test", &[(10, "a.zero.test"), (20, "b.zero.test")])
            .host("a.zero.test", &["0.0.0.0", "::"])
            .host("b.zero.test", &["255.255.255.255", "224.0.0.1", "ff02::1"])
            .failing("dead.test")
            .silent("late.test")
    };
    for (domain, expected, text) in [
        ("null.test", "Bounced Recipient 5.1.0", "Domain null.test does not accept mail (nullMX)"),
        ("loop.test", "Bounced Recipient 5.4.6", "loops back"),
        ("nowhere.test", "Bounced Recipient 5.4.4", "not found"),
        ("nohosts.test", "Bounced Recipient 5.4.4", "not found"),
        ("lies.test", "Bounced Recipient 5.4.4", "no mail host"),
        ("unsure.test", "Deferred Site 4.4.3", "SERVFAIL"),
        ("dead.test", "Deferred Site 4.4.3", "SERVFAIL"),
        ("late.test", "Deferred Site 4.4.3", "no answer in time"),
        ("zero.test", "Deferred Site 4.4.3", "no usable address"),
    ] {
        let mut transport = transport("smtp");
        transport.deadlines = support::short();
        let agents = agents_with(resolver());
        let report = agents.deliver(job(transport.clone(), domain, &[&format!("a@{domain}")])).await;
        assert_eq!(word(&report.outcomes[0]), expected, "{domain}");
        assert!(report.outcomes[0].text.contains(text), "{}", report.outcomes[0].text);
        // The same next hop chosen by an operator never bounces anything.
        let report = agents.deliver(job(transport, domain, &["a@other.test"])).await;
        assert_eq!(report.outcomes[0].verdict, Verdict::Deferred, "{domain}");
    }
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_host_and_literals_ask_nobody() {
    let server = ScriptedServer::start(Script::good()).await;
    let resolver = Arc::new(FakeResolver::default().host("plain.test", &["127.0.0.1"]));
    let config = delivery::AgentsConfig::default();
    let agents =
        delivery::Agents::new(config, Arc::<FakeResolver>::clone(&resolver), delivery::Tls::native());
    let port = server.port();
    let sent = async |nexthop: String, kind: &str| {
        let report = agents.deliver(job(transport(kind), &nexthop, &["a@plain.test"])).await;
        assert_eq!(words(&report.outcomes), ["Sent Recipient 2.0.0"], "{nexthop}");
        std::mem::take(&mut *resolver.asked.lock().unwrap())
    };
    assert_eq!(sent(format!("plain.test:{port}"), "smtp").await, ["MX plain.test", "A plain.test"]);
    assert_eq!(sent(format!("[plain.test]:{port}"), "smtp").await, ["A plain.test"]);
    assert!(sent(format!("127.0.0.1:{port}"), "smtp").await.is_empty());
    assert!(sent(format!("localhost:{port}"), "smtp").await.is_empty());
    server.follow(Script::good().lmtp());
    assert_eq!(sent(format!("inet:plain.test:{port}"), "lmtp").await, ["A plain.test"]);
}

#[tokio::test]
async fn lmtp_over_a_unix_socket_answers_for_each_recipient() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lmtp");
    let script = Script::new(|asked| match (asked.stage, asked.count) {
        (Stage::End, 1) => Act::reply("452 4.2.2 mailbox full"),
        (Stage::Rcpt, 2) => Act::reply("550 5.1.1 no"),
        _ => Act::Good,
    });
    let server = ScriptedServer::start_unix(&path, script.lmtp());
    let nexthop = format!("unix:{}", path.display());
    let to = ["a@b.test", "full@b.test", "no@b.test", "z@b.test"];
    let agents = agents();
    let report = agents.deliver(job(transport("lmtp"), &nexthop, &to)).await;
    let expected = [
        "Sent Recipient 2.0.0",
        "Deferred Recipient 4.2.2",
        "Bounced Recipient 5.1.1",
        "Sent Recipient 2.0.0",
    ];
    assert_eq!(words(&report.outcomes), expected);
    assert_eq!(server.heard().lines[0][0], "LHLO me.test");
    assert_eq!(report.outcomes[0].relay.as_ref().unwrap().to_string(), path.display().to_string());
}

#[tokio::test]
async fn a_need_the_next_hop_cannot_meet_is_looked_at_before_it_bounces() {
    let bare = Script::but(Stage::Hello, Act::reply("250-mx\n250 PIPELINING"));
    let server = ScriptedServer::start(bare).await;
    let agents = agents();
    for (content, expected) in [
        ("Subject: a\r\n\r\nplain", "Sent Recipient 2.0.0"),
        ("Subject: a\r\n\r\nschön", "Bounced Message 5.6.3"),
        ("Subject: schön\r\n\r\nplain", "Bounced Message 5.6.3"),
    ] {
        let mut job = job(transport("smtp"), &server.nexthop(), &["a@b.test"]);
        let mut message = envelope(&["a@b.test"]);
        message.body = mail::BodyType::EightBitMime;
        message.smtputf8 = true;
        job.envelope = Arc::new(message);
        job.body = Body::from_bytes(content.as_bytes().to_vec().into());
        assert_eq!(words(&agents.deliver(job).await.outcomes), [expected], "{content}");
    }
    assert_eq!(server.heard().messages[0].mail, "MAIL FROM:<s@src.test>");
    assert!(good(Stage::Hello).contains("8BITMIME"));
}
