//! How each hostile site behaves, and how it does once it has come to its senses.
//!
//! Promises: a server does the same whenever it is asked the same; another seed gives other servers.

use std::sync::Arc;
use std::time::Duration;

use mail::Rng;
use testkit::scripted::{Act, Asked, Certificate, Cut, Script, Stage};
use tokio::sync::Semaphore;

/// A well-behaved conversation has fewer bytes than this, in either direction.
const CONVERSATION_BYTES: usize = 420;
/// How a server offers encryption.
const OFFER: &str = "250-scripted.test\n250-PIPELINING\n250 STARTTLS";

/// The sites with the transport that serves each.
pub(super) fn all(seed: u64, deadline: Duration) -> Vec<(&'static str, &'static str, Script)> {
    let spoiled = || encrypted(Script::new(move |asked| spoiled(seed, asked)));
    vec![
        ("wrong.test", "smtp", Script::new(move |asked| wrong(seed, asked))),
        ("late.test", "smtp", Script::new(move |asked| late(seed, deadline, asked))),
        ("cut.test", "smtp", Script::good().cut_each(move |connection| cut(seed, connection))),
        ("tls.test", "smtp", spoiled()),
        ("secure.test", "secure", spoiled()),
    ]
}

/// The same site when it behaves.
pub(super) fn reformed(site: &str) -> Script {
    match site {
        "secure.test" => encrypted(Script::but(Stage::Hello, Act::reply(OFFER))),
        _ => Script::good(),
    }
}

/// With a certificate that nobody can know.
fn encrypted(script: Script) -> Script {
    script.tls(Certificate::for_names(&["scripted.test"]).server())
}

/// Chance, the same at the same place of the same conversation.
fn chance(seed: u64, asked: Asked<'_>) -> Rng {
    let place = (asked.connection as u64) << 32 | (asked.count as u64) << 8 | asked.stage as u64;
    Rng::new(seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Says something else, one time in four.
fn wrong(seed: u64, asked: Asked<'_>) -> Act {
    let mut rng = chance(seed, asked);
    if rng.chance(3, 4) {
        return Act::Good;
    }
    match rng.below(11) {
        0 => Act::reply("421 4.3.2 going down"),
        1 => Act::ReplyAndClose("421 4.3.2 gone".into()),
        2 => Act::Close,
        3 => Act::Hang,
        4 => Act::Raw(b"nonsense\r\n".to_vec()),
        5 => Act::ReplyAndClose("250 2.0.0 and off".into()),
        6 => Act::reply("354 go ahead"),
        7 => Act::reply("550 5.0.0 no"),
        8 => Act::reply("450 4.0.0 later"),
        9 => Act::Flood(b"250-more and more\r\n"),
        _ if asked.stage == Stage::End => Act::ReplyAndClose("250 2.0.0 taken".into()),
        _ => Act::reply("220 2.0.0 what"),
    }
}

/// Says what is right when nobody waits for it any more, one time in five; or never.
fn late(seed: u64, deadline: Duration, asked: Asked<'_>) -> Act {
    let mut rng = chance(seed, asked);
    match rng.below(10) {
        0 => Act::Hang,
        1 | 2 => {
            let permits = Arc::new(Semaphore::new(0));
            let given = Arc::clone(&permits);
            let by = deadline / 10 * (11 + rng.below(5) as u32);
            tokio::spawn(async move {
                tokio::time::sleep(by).await;
                given.add_permits(1);
            });
            Act::After(permits, Box::new(Act::Good))
        }
        _ => Act::Good,
    }
}

/// Every byte of a conversation has its turn, over many connections and rounds.
fn cut(seed: u64, connection: usize) -> Cut {
    let byte = (seed as usize).wrapping_mul(31).wrapping_add(connection / 2 * 7) % CONVERSATION_BYTES;
    if connection.is_multiple_of(2) { Cut::Sent(byte) } else { Cut::Received(byte) }
}

/// Offers encryption and spoils it, one time in two.
fn spoiled(seed: u64, asked: Asked<'_>) -> Act {
    let mut rng = chance(seed, asked);
    match asked.stage {
        Stage::Hello => Act::reply(OFFER),
        Stage::StartTls if rng.chance(1, 2) => match rng.below(7) {
            0 => Act::reply("454 4.7.0 not now"),
            1 => Act::reply("554 5.7.0 never"),
            2 => Act::ReplyAndClose("220 2.0.0 go ahead".into()),
            3 => Act::Raw(b"220 2.0.0 go ahead\r\n250 and this in plain\r\n".to_vec()),
            // A record of the handshake that holds noise, and an alert.
            4 => Act::Raw(b"220 2.0.0 go ahead\r\n\x16\x03\x03\x00\x05noise".to_vec()),
            5 => Act::Raw(b"220 2.0.0 go ahead\r\n\x15\x03\x03\x00\x02\x02\x28".to_vec()),
            _ => Act::Hang,
        },
        _ => Act::Good,
    }
}
