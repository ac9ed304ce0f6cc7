//! STARTTLS at every level, with certificates that are good, bad, or no certificates at all.

mod support;

use std::sync::Arc;

use delivery::{Agents, AgentsConfig, Tls, TlsLevel, TransportConfig};
use support::{CONTENT, FakeResolver, job, short, transport, word, words};
use testkit::scripted::{Act, Certificate, Script, ScriptedServer, Stage};

const OFFER: &str = "250-mx\n250-PIPELINING\n250 STARTTLS";

fn offering(certificate: &Certificate) -> Script {
    Script::but(Stage::Hello, Act::reply(OFFER)).tls(certificate.server())
}

fn agents_trusting(certificate: &Certificate) -> Agents {
    let resolver = FakeResolver::default().host("mx.test", &["127.0.0.1"]).host("other.test", &["127.0.0.1"]);
    Agents::new(AgentsConfig::default(), Arc::new(resolver), Tls::with_roots(certificate.roots()))
}

fn at(level: TlsLevel) -> TransportConfig {
    TransportConfig { tls: level, deadlines: short(), ..transport("smtp") }
}

/// Handshakes take longer than the short deadlines on a busy machine.
fn unhurried(level: TlsLevel) -> TransportConfig {
    TransportConfig { tls: level, ..transport("smtp") }
}

#[tokio::test]
async fn every_level_gets_what_it_asks_for() {
    let certificate = Certificate::for_names(&["mx.test"]);
    let stranger = Certificate::for_names(&["mx.test"]);
    for (level, served, host, expected) in [
        (TlsLevel::None, &certificate, "mx.test", "Sent Recipient 2.0.0"),
        (TlsLevel::May, &certificate, "mx.test", "Sent Recipient 2.0.0"),
        (TlsLevel::May, &stranger, "other.test", "Sent Recipient 2.0.0"),
        (TlsLevel::Encrypt, &stranger, "other.test", "Sent Recipient 2.0.0"),
        (TlsLevel::Verify, &certificate, "mx.test", "Sent Recipient 2.0.0"),
        (TlsLevel::Verify, &certificate, "other.test", "Deferred Site 4.7.5"),
        (TlsLevel::Verify, &stranger, "mx.test", "Deferred Site 4.7.5"),
    ] {
        let server = ScriptedServer::start(offering(served)).await;
        let agents = agents_trusting(&certificate);
        let nexthop = format!("[{host}]:{}", server.port());
        let report = agents.deliver(job(unhurried(level), &nexthop, &["a@b.test"])).await;
        assert_eq!(words(&report.outcomes), [expected], "{level:?} {host}: {:?}", report.outcomes);
        let heard = server.heard();
        let asked = heard.lines[0].iter().any(|line| line == "STARTTLS");
        assert_eq!(asked, level != TlsLevel::None);
        if expected.starts_with("Sent") {
            assert_eq!(heard.messages[0].content, format!("{CONTENT}\r\n").as_bytes());
            let hellos = heard.lines[0].iter().filter(|line| line.starts_with("EHLO")).count();
            assert_eq!(hellos, if asked { 2 } else { 1 }, "after TLS the server is asked anew");
        }
    }
}

#[tokio::test]
async fn where_tls_fails_may_goes_on_in_clear_and_encrypt_waits() {
    let nonsense = || {
        Script::new(|asked| match asked.stage {
            Stage::Hello => Act::reply(OFFER),
            Stage::StartTls => Act::reply("220 go\nthis is no handshake at all"),
            _ => Act::Good,
        })
    };
    let garbage_after = || {
        Script::new(|asked| match asked.stage {
            Stage::Hello => Act::reply(OFFER),
            // The handshake of the client is read as a line, and answered with another.
            Stage::Other => Act::reply("500 what is this"),
            _ => Act::Good,
        })
    };
    let closes = || {
        Script::new(|asked| match asked.stage {
            Stage::Hello => Act::reply(OFFER),
            Stage::StartTls => Act::ReplyAndClose("220 go".into()),
            _ => Act::Good,
        })
    };
    let refuses = || {
        Script::new(|asked| match asked.stage {
            Stage::Hello => Act::reply(OFFER),
            Stage::StartTls => Act::reply("454 4.7.0 not today"),
            _ => Act::Good,
        })
    };
    let agents = support::agents();
    for (script, may, encrypt) in [
        // Data behind the 220 may come from somebody in between; that connection is not used any more.
        (nonsense(), "Deferred Site 4.4.2", "Deferred Site 4.4.2"),
        (garbage_after(), "Sent Recipient 2.0.0", "Deferred Site 4.7.5"),
        (closes(), "Sent Recipient 2.0.0", "Deferred Site 4.7.5"),
        (refuses(), "Sent Recipient 2.0.0", "Deferred Site 4.7.0"),
        (Script::good(), "Sent Recipient 2.0.0", "Deferred Site 4.7.4"),
    ] {
        let server = ScriptedServer::start(script).await;
        let report = agents.deliver(job(at(TlsLevel::May), &server.nexthop(), &["a@b.test"])).await;
        assert_eq!(word(&report.outcomes[0]), may, "{}", report.outcomes[0].text);
        let report = agents.deliver(job(at(TlsLevel::Encrypt), &server.nexthop(), &["a@b.test"])).await;
        assert_eq!(word(&report.outcomes[0]), encrypt, "{}", report.outcomes[0].text);
    }
}
