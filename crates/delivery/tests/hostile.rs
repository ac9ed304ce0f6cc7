//! Next hops that hang, lie, flood, or vanish: at every stage and at every byte.

mod support;

use std::time::Duration;

use delivery::{Report, TransportConfig};
use mail::{Scope, Verdict};
use support::{agents, job, short, transport, word, words};
use testkit::scripted::{Act, Cut, Script, ScriptedServer, Stage};

const STAGES: [Stage; 6] = [Stage::Connect, Stage::Hello, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::End];

fn impatient(kind: &str) -> TransportConfig {
    TransportConfig { deadlines: short(), ..transport(kind) }
}

/// What becomes of two recipients when the next hop follows this script.
async fn against(script: Script) -> Report {
    against_kind(script, "smtp").await
}

async fn against_kind(script: Script, kind: &str) -> Report {
    let server = ScriptedServer::start(script).await;
    let agents = agents();
    let report = agents.deliver(job(impatient(kind), &server.nexthop(), &["a@b.test", "c@d.test"])).await;
    assert_eq!(report.outcomes.len(), 2);
    for outcome in &report.outcomes {
        let class = match outcome.verdict {
            Verdict::Sent => 2,
            Verdict::Deferred => 4,
            Verdict::Bounced => 5,
        };
        assert_eq!(outcome.status.class(), class, "{outcome:?}");
    }
    report
}

#[tokio::test]
async fn a_next_hop_that_hangs_meets_the_deadline_of_its_stage() {
    for stage in STAGES {
        let report = against(Script::but(stage, Act::Hang)).await;
        assert_eq!(words(&report.outcomes), ["Deferred Site 4.4.2"; 2], "{stage:?}");
        assert!(report.outcomes[0].text.contains("timed out while"), "{}", report.outcomes[0].text);
        assert_eq!(report.doubtful, if stage == Stage::End { 2 } else { 0 }, "{stage:?}");
    }
}

#[tokio::test]
async fn a_next_hop_that_closes_is_told_apart_by_what_it_accepted() {
    for (stage, expected) in [
        (Stage::Connect, "Deferred Site 4.4.2"),
        (Stage::Hello, "Deferred Site 4.4.2"),
        (Stage::Mail, "Deferred Site 4.4.2"),
        (Stage::Rcpt, "Deferred Site 4.4.2"),
        (Stage::Data, "Deferred Message 4.4.2"),
        (Stage::End, "Deferred Message 4.4.2"),
    ] {
        let report = against(Script::but(stage, Act::Close)).await;
        assert_eq!(words(&report.outcomes), [expected; 2], "{stage:?}");
        assert_eq!(report.doubtful, if stage == Stage::End { 2 } else { 0 }, "{stage:?}");
    }
}

#[tokio::test]
async fn a_421_is_a_lost_connection_at_every_stage() {
    for stage in STAGES {
        let report = against(Script::but(stage, Act::ReplyAndClose("421 4.3.2 going down".into()))).await;
        let scope = if matches!(stage, Stage::Data | Stage::End) { "Message" } else { "Site" };
        assert_eq!(
            words(&report.outcomes),
            [format!("Deferred {scope} 4.3.2"), format!("Deferred {scope} 4.3.2")]
        );
        assert_eq!(report.doubtful, 0, "an answer was given at {stage:?}");
    }
}

#[tokio::test]
async fn garbage_floods_and_wrong_codes_are_deferred() {
    let endless_lines: &[u8] = b"250-and another line\r\n";
    for stage in STAGES {
        for act in [
            Act::Raw(b"\x00\xff\xfe\r\n".to_vec()),
            Act::Raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
            Act::Raw(b"999 what\r\n".to_vec()),
            Act::Flood(b"250 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            Act::Flood(endless_lines),
            Act::Flood(b"\r\n"),
            Act::reply("399 what"),
        ] {
            if stage == Stage::Data && matches!(act, Act::Reply(_)) {
                // RFC 5321 4.3.2: the first digit decides, and 3 says go on.
                continue;
            }
            let report = against(Script::but(stage, act.clone())).await;
            for outcome in &report.outcomes {
                assert_eq!(outcome.verdict, Verdict::Deferred, "{stage:?} {act:?} {outcome:?}");
                assert!(outcome.text.len() <= mail::limits::REASON_BYTES_MAX);
            }
        }
    }
    let report = against(Script::but(Stage::Data, Act::reply("250 no, not that one"))).await;
    assert_eq!(words(&report.outcomes), ["Deferred Message 4.5.0"; 2]);
    let report = against(Script::but(Stage::Rcpt, Act::reply("354 go ahead"))).await;
    assert_eq!(words(&report.outcomes), ["Deferred Recipient 4.5.0"; 2]);
}

#[tokio::test]
async fn a_flood_of_good_replies_confuses_nobody() {
    let report = against(Script::but(Stage::Mail, Act::Flood(b"250 2.0.0 yes\r\n"))).await;
    assert!(report.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Deferred), "{report:?}");
}

#[tokio::test]
async fn replies_have_the_scope_of_their_command() {
    for (stage, reply, expected) in [
        (Stage::Connect, "554 5.7.1 go away", "Deferred Site 4.7.1"),
        (Stage::Hello, "550 5.7.1 who are you", "Bounced Site 5.7.1"),
        (Stage::Hello, "450 4.7.1 greylisted", "Deferred Site 4.7.1"),
        (Stage::Mail, "450 4.1.8 sender?", "Deferred Message 4.1.8"),
        (Stage::Mail, "550 5.1.8 sender!", "Bounced Message 5.1.8"),
        (Stage::Rcpt, "450 4.2.0 later", "Deferred Recipient 4.2.0"),
        (Stage::Rcpt, "552 5.5.3 too many", "Deferred Recipient 4.5.3"),
        (Stage::Data, "451 4.3.0 hm", "Deferred Message 4.3.0"),
        (Stage::End, "451 4.3.0 hm", "Deferred Message 4.3.0"),
        (Stage::End, "554 5.7.1 spam", "Bounced Message 5.7.1"),
    ] {
        let report = against(Script::but(stage, Act::reply(reply))).await;
        assert_eq!(words(&report.outcomes), [expected; 2], "{stage:?} {reply}");
    }
}

/// Bytes a well-behaved conversation takes, in either direction, are fewer than this.
const CONVERSATION_BYTES: usize = 420;

#[tokio::test]
async fn a_cut_at_every_byte_leaves_one_true_outcome_each() {
    for kind in ["smtp", "lmtp"] {
        let script = || if kind == "lmtp" { Script::good().lmtp() } else { Script::good() };
        for cut in 0..CONVERSATION_BYTES {
            for cut in [Cut::Sent(cut), Cut::Received(cut)] {
                let server = ScriptedServer::start(script().cut(cut)).await;
                let agents = agents();
                let to = ["a@b.test", "c@d.test"];
                let report = agents.deliver(job(impatient(kind), &server.nexthop(), &to)).await;
                let heard =
                    server.wait_until(|heard| heard.closed > 0 || cut_is_behind_the_end(&report)).await;
                let sent = report.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Sent).count();
                for outcome in &report.outcomes {
                    assert!(outcome.verdict != Verdict::Bounced, "{cut:?}: {outcome:?}");
                    let site = outcome.scope == Scope::Site;
                    assert!(!site || outcome.verdict == Verdict::Deferred, "{cut:?}: {outcome:?}");
                }
                // Whoever is reported as sent was taken, and who was taken is sent or named as doubtful.
                let taken: usize = heard.messages.iter().map(|message| message.rcpt.len()).sum();
                assert!(sent <= taken, "{cut:?}: {sent} sent, {taken} taken");
                assert_eq!(
                    taken,
                    sent + report.doubtful as usize * usize::from(taken > 0),
                    "{cut:?}: {report:?}"
                );
            }
        }
    }
}

fn cut_is_behind_the_end(report: &Report) -> bool {
    report.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Sent)
}

#[tokio::test]
async fn a_reply_that_comes_after_the_deadline_counts_for_nothing() {
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let late = Act::After(std::sync::Arc::clone(&permits), Box::new(Act::Good));
    let server = ScriptedServer::start(Script::but(Stage::End, late)).await;
    let agents = agents();
    let report = agents.deliver(job(impatient("smtp"), &server.nexthop(), &["a@b.test"])).await;
    permits.add_permits(1);
    assert_eq!(words(&report.outcomes), ["Deferred Site 4.4.2"]);
    assert_eq!(report.doubtful, 1);
    assert_eq!(agents.idle_connections(), 0);
}

#[tokio::test]
async fn a_tarpit_cannot_stretch_a_reply_letter_by_letter() {
    // The letters come as fast as they are read, but the line never ends; each letter is progress of a kind,
    // none of them may move the deadline.
    let started = std::time::Instant::now();
    let report = against(Script::but(Stage::Mail, Act::Flood(b"2"))).await;
    assert_eq!(report.outcomes[0].verdict, Verdict::Deferred);
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn the_delivery_as_a_whole_has_a_deadline_too() {
    let server = ScriptedServer::start(Script::but(Stage::Rcpt, Act::Hang)).await;
    let mut transport = transport("smtp");
    transport.deadlines.delivery = Duration::from_millis(50);
    let report = agents().deliver(job(transport, &server.nexthop(), &["a@b.test"])).await;
    assert_eq!(words(&report.outcomes), ["Deferred Site 4.4.2"]);
}

#[tokio::test]
async fn a_next_hop_that_stops_reading_content_is_given_up() {
    let server = ScriptedServer::start(Script::new(|asked| match asked.stage {
        Stage::Data => Act::ReplyAndClose("354 go ahead".into()),
        _ => Act::Good,
    }))
    .await;
    let mut job = job(impatient("smtp"), &server.nexthop(), &["a@b.test"]);
    job.body = spool::Body::from_bytes(vec![b'x'; 20_000_000].into());
    let report = agents().deliver(job).await;
    assert_eq!(word(&report.outcomes[0]).split(' ').next(), Some("Deferred"));
    assert_eq!(report.doubtful, 0, "the end of the content was never sent");
}

#[tokio::test]
async fn an_early_refusal_of_the_content_is_heard() {
    let server = ScriptedServer::start(Script::new(|asked| match asked.stage {
        Stage::Data => Act::ReplyAndClose("354 go ahead\n552 5.3.4 too big".into()),
        _ => Act::Good,
    }))
    .await;
    let report = agents().deliver(job(impatient("smtp"), &server.nexthop(), &["a@b.test"])).await;
    assert_eq!(words(&report.outcomes), ["Bounced Message 5.3.4"]);
}
