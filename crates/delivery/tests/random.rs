//! Next hops that misbehave at random, over connections that are reused: whatever they do, each recipient
//! has one outcome, whoever is reported as sent was taken, and nobody gets a message twice in one delivery.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use delivery::{Reuse, TransportConfig};
use mail::{Rng, Verdict};
use support::{agents, job, short, transport};
use testkit::scripted::{Act, Asked, Script, ScriptedServer, Stage};

const WORLDS: u64 = 30;
const MESSAGES: usize = 12;

/// What a server of this seed does here: the same whenever it is asked the same.
fn act(seed: u64, asked: Asked<'_>) -> Act {
    let place = (asked.connection as u64) << 32 | (asked.count as u64) << 8 | asked.stage as u64;
    let mut rng = Rng::new(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    if rng.chance(4, 5) {
        return Act::Good;
    }
    match rng.below(12) {
        0 => Act::reply("421 4.3.2 going down"),
        1 => Act::ReplyAndClose("421 4.3.2 gone".into()),
        2 => Act::Close,
        3 => Act::Hang,
        4 => Act::Raw(b"nonsense\r\n".to_vec()),
        5 => Act::Raw(Vec::new()),
        6 => Act::ReplyAndClose("250 2.0.0 and off".into()),
        // Anywhere else one reply too many makes every later one an answer to the wrong question.
        7 if asked.stage == Stage::End => Act::reply("250 2.0.0 once\n250 2.0.0 twice"),
        8 => Act::reply("354 go ahead"),
        9 => Act::reply("550 5.0.0 no"),
        10 => Act::reply("450 4.0.0 later"),
        _ if asked.stage == Stage::End => Act::ReplyAndClose("250 2.0.0 taken".into()),
        _ => Act::reply("220 2.0.0 what"),
    }
}

async fn world(seed: u64) {
    let mut rng = Rng::new(seed);
    let lmtp = rng.chance(1, 3);
    let script = Script::new(move |asked| act(seed, asked));
    let server = ScriptedServer::start(if lmtp { script.lmtp() } else { script }).await;
    let reuse = Reuse { idle: Duration::from_secs(60), ..Reuse::default() };
    let kind = if lmtp { "lmtp" } else { "smtp" };
    let transport = TransportConfig { deadlines: short(), reuse, ..transport(kind) };
    let agents = agents();
    let mut reported = BTreeMap::new();
    for message in 0..MESSAGES {
        let to: Vec<String> =
            (0..1 + rng.below(3)).map(|number| format!("m{message}u{number}@b.test")).collect();
        let names: Vec<&str> = to.iter().map(String::as_str).collect();
        let report = agents.deliver(job(transport.clone(), &server.nexthop(), &names)).await;
        assert_eq!(report.outcomes.len(), to.len(), "one outcome for each recipient");
        for (name, outcome) in to.into_iter().zip(report.outcomes) {
            let class = match outcome.verdict {
                Verdict::Sent => 2,
                Verdict::Deferred => 4,
                Verdict::Bounced => 5,
            };
            assert_eq!(outcome.status.class(), class, "{outcome:?}");
            reported.insert(name, outcome);
        }
    }
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for rcpt in server.heard().messages.iter().flat_map(|message| &message.rcpt) {
        let name = rcpt.trim_start_matches("RCPT TO:<").trim_end_matches('>');
        *taken.entry(name.to_owned()).or_default() += 1;
    }
    for (name, outcome) in reported {
        let times = taken.get(&name).copied().unwrap_or(0);
        assert!(times <= 1, "{name} got the message {times} times");
        assert!(outcome.verdict != Verdict::Sent || times == 1, "{name} did not get it: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_forgotten_and_nobody_gets_it_twice() {
    let given = std::env::var("DELIVERY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..WORLDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if tokio::spawn(world(seed)).await.is_err() {
            panic!("seed {seed}; again: DELIVERY_SEED={seed} cargo test -p delivery --test random");
        }
    }
}
