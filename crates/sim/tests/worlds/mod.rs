//! Makes the text of a scenario from a seed.
//!
//! Every world can come to its end: after an hour all trouble is over, what hangs is cut off, what is
//! held is released.

use std::fmt::Write;

use mail::Rng;

/// When trouble ends, in seconds.
const TROUBLE_ENDS: u64 = 3_600;

/// A world.
pub(crate) fn world(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut text = format!("title = \"random world {seed}\"\n");
    let sites = 1 + rng.below(5);
    let messages = 1 + rng.below(30);
    settings(&mut rng, &mut text);
    writeln!(text, "\n[world]\nseed = {seed}\nuntil = \"30d\"").unwrap();
    for site in 0..sites {
        let transport = if rng.chance(1, 4) { "other" } else { "smtp" };
        let answers: Vec<String> = (0..1 + rng.below(8)).map(|_| answer(&mut rng)).collect();
        let takes = rng.below(20_000);
        writeln!(
            text,
            "\n[[site]]\nname = \"s{site}.test\"\ntransport = \"{transport}\"\ntakes = \"{takes}ms\"\nanswers = [{}]",
            answers.join(", ")
        )
        .unwrap();
    }
    for message in 0..messages {
        write_message(&mut rng, &mut text, message, sites);
    }
    for _ in 0..rng.below(25) {
        let at = rng.below(TROUBLE_ENDS * 1000);
        let act = act(&mut rng, messages, sites);
        writeln!(text, "\n[[operator]]\nat = \"{at}ms\"\ndo = \"{act}\"").unwrap();
    }
    end_trouble(&mut text, messages, sites);
    text
}

/// A world in which nothing but trouble at sites changes the order of mail: no pre-emption, one recipient
/// a message.
pub(crate) fn orderly(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let preset = if rng.chance(1, 2) { "postfix" } else { "postrider" };
    let mut text = format!("title = \"orderly world {seed}\"\npreset = \"{preset}\"\n");
    writeln!(text, "\n[transport.smtp]\ndelivery_slot_cost = 0\nprocess_limit = {}", rng.below(5)).unwrap();
    writeln!(text, "destination_concurrency_limit = {}", rng.below(5)).unwrap();
    writeln!(text, "\n[world]\nseed = {seed}").unwrap();
    let sites = 1 + rng.below(4);
    for site in 0..sites {
        let words = ["\"ok\"", "\"ok\"", "\"ok\"", "\"rdefer\"", "\"site\""];
        let answers: Vec<&str> = (0..5).map(|_| words[rng.below(5) as usize]).collect();
        let takes = rng.below(9_000);
        let answers = answers.join(", ");
        writeln!(text, "\n[[site]]\nname = \"s{site}.test\"\ntakes = \"{takes}ms\"").unwrap();
        writeln!(text, "answers = [{answers}, \"ok\"]").unwrap();
    }
    for message in 0..1 + rng.below(60) {
        let (at, site) = (rng.below(60_000), rng.below(sites));
        writeln!(text, "\n[[message]]\nname = \"m{message}\"\nat = \"{at}ms\"").unwrap();
        writeln!(text, "to = [\"u@s{site}.test\"]").unwrap();
    }
    text
}

fn settings(rng: &mut Rng, text: &mut String) {
    let preset = if rng.chance(1, 2) { "postfix" } else { "postrider" };
    let (active, lifetime) = (1 + rng.below(30), 1 + rng.below(5));
    writeln!(text, "preset = \"{preset}\"\n\n[qmgr]\nqmgr_message_active_limit = {active}").unwrap();
    writeln!(text, "qmgr_message_recipient_limit = {}", active + rng.below(100)).unwrap();
    writeln!(text, "qmgr_message_recipient_minimum = {}", 1 + rng.below(10)).unwrap();
    writeln!(text, "maximal_queue_lifetime = \"{lifetime}d\"").unwrap();
    writeln!(text, "bounce_report_delay = \"{}s\"", active % 20).unwrap();
    if rng.chance(1, 3) {
        writeln!(text, "delay_warning_time = \"1h\"").unwrap();
    }
    if rng.chance(1, 4) {
        writeln!(text, "defer_transports = \"other\"").unwrap();
    }
    writeln!(text, "\n[flush]\nfast_flush_domains = [\"s0.test\", \"s1.test\"]").unwrap();
    for transport in ["smtp", "other"] {
        writeln!(text, "\n[transport.{transport}]\nprocess_limit = {}", rng.below(6)).unwrap();
        writeln!(text, "destination_concurrency_limit = {}", rng.below(8)).unwrap();
        writeln!(text, "destination_recipient_limit = {}", 1 + rng.below(5)).unwrap();
        writeln!(text, "destination_concurrency_failed_cohort_limit = {}", 1 + rng.below(3)).unwrap();
        writeln!(text, "recipient_limit = {}", 1 + rng.below(60)).unwrap();
        writeln!(text, "extra_recipient_limit = {}", rng.below(30)).unwrap();
        writeln!(text, "recipient_refill_limit = {}", 1 + rng.below(10)).unwrap();
        writeln!(text, "delivery_slot_cost = {}", rng.below(6)).unwrap();
        writeln!(text, "minimum_delivery_slots = {}", 1 + rng.below(4)).unwrap();
        if rng.chance(1, 5) {
            writeln!(text, "destination_rate_delay = \"{}ms\"", rng.below(5_000)).unwrap();
        }
        if rng.chance(1, 6) {
            writeln!(text, "transport_rate_delay = \"{}ms\"", rng.below(5_000)).unwrap();
        }
    }
}

fn answer(rng: &mut Rng) -> String {
    let words = ["ok", "ok", "ok", "rdefer", "site", "site", "bounce", "die", "transport", "hang"];
    format!("\"{}\"", words[rng.below(words.len() as u64) as usize])
}

fn write_message(rng: &mut Rng, text: &mut String, number: u64, sites: u64) {
    writeln!(text, "\n[[message]]\nname = \"m{number}\"").unwrap();
    match rng.below(10) {
        0 => writeln!(text, "queue = \"deferred\"\nnext_attempt = \"{}s\"", rng.below(2_000)).unwrap(),
        1 => writeln!(text, "queue = \"active\"").unwrap(),
        2 => writeln!(text, "queue = \"hold\"").unwrap(),
        _ => writeln!(text, "at = \"{}ms\"", rng.below(600_000)).unwrap(),
    }
    if rng.chance(1, 10) {
        writeln!(text, "sender = \"\"").unwrap();
    }
    if rng.chance(1, 20) {
        writeln!(text, "damaged = true").unwrap();
    }
    let most = if rng.chance(1, 6) { 150 } else { 4 };
    let groups: Vec<String> = (0..1 + rng.below(3))
        .map(|_| format!("{{ site = \"s{}.test\", count = {} }}", rng.below(sites + 1), 1 + rng.below(most)))
        .collect();
    writeln!(text, "to = [{}]", groups.join(", ")).unwrap();
}

fn act(rng: &mut Rng, messages: u64, sites: u64) -> String {
    let message = format!("m{}", rng.below(messages));
    let site = format!("s{}.test", rng.below(sites));
    match rng.below(23) {
        0 => "restart".to_owned(),
        1 => "crash".to_owned(),
        2 => "trigger FADI".to_owned(),
        3 => "trigger I".to_owned(),
        4 => "trigger AD".to_owned(),
        5 | 6 => format!("hold {message}"),
        7 | 8 => format!("release {message}"),
        9 => format!("requeue {message}"),
        10 => format!("delete {message}"),
        11 => format!("expire {message}"),
        12 => format!("expire-release {message}"),
        13 | 14 => format!("flush {site}"),
        15 => format!("flush-message {message}"),
        16 => "flush-refresh".to_owned(),
        17 => "flush-purge".to_owned(),
        18 => format!("set-limit smtp_destination_concurrency_limit {}", 1 + rng.below(5)),
        19 => format!("damage {message}"),
        20 => "set-reports fail".to_owned(),
        21 => "set-reports ok".to_owned(),
        _ => format!("set-answers {site} ok site ok"),
    }
}

/// Sites answer well, what hangs is cut off by a restart, what is held is released.
fn end_trouble(text: &mut String, messages: u64, sites: u64) {
    let mut at_the_end = |act: String| {
        writeln!(text, "\n[[operator]]\nat = \"{}s\"\ndo = \"{act}\"", TROUBLE_ENDS + 1).unwrap();
    };
    (0..sites).for_each(|site| at_the_end(format!("set-answers s{site}.test ok")));
    at_the_end("set-reports ok".to_owned());
    at_the_end("restart".to_owned());
    (0..messages).for_each(|message| at_the_end(format!("release m{message}")));
}
