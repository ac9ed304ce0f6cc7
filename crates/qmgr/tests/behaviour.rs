//! Every parameter changes what the engine does: for each row of the table there is a world here that goes
//! differently with another value. A parameter of transports does so under its global name and under its name
//! for one transport, alike.

mod world;

use std::collections::BTreeSet;

use flush::Authority;
use mail::{DomainList, Time};
use qmgr::{Config, Preset, Section, parameters};
use world::{Answer, World, at};

/// A world with what makes the parameter matter, and two values of it.
type Row = (&'static str, &'static [(&'static str, &'static str)], [&'static str; 2], fn(&mut World));

/// One message that is put off whenever it is tried.
fn deferred(world: &mut World) {
    world.answer("x.test", &[Answer::RecipientDeferred]);
    world.send("A", &[("x.test", 1)]);
    world.run_until(at(3 * 86_400));
}

fn deferred_report(world: &mut World) {
    world.answer("x.test", &[Answer::RecipientDeferred]);
    let mut mail = world.make("A", &[("x.test", 1)]);
    mail.stored.null_sender = true;
    world.accept(mail);
    world.run_until(at(6 * 86_400));
}

/// The sender was warned, and then all is well.
fn late(world: &mut World) {
    world.answer("x.test", &[Answer::RecipientDeferred; 6]);
    world.send("A", &[("x.test", 1)]);
    world.run_until(at(4000));
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(86_400));
}

fn half_bounced(world: &mut World) {
    world.answer("gone.test", &[Answer::Bounce]);
    world.answer("slow.test", &[Answer::Hang]);
    world.send("A", &[("gone.test", 1), ("slow.test", 1)]);
    world.run_until(at(3600));
}

fn no_agent(world: &mut World) {
    world.answer("x.test", &[Answer::NoAgent, Answer::Ok]);
    for second in 0..100 {
        world.run_until(at(second));
        world.send(&second.to_string(), &[("x.test", 1)]);
    }
}

/// Five at once, and none ends.
fn at_once(world: &mut World) {
    world.by_hand = true;
    (0..5).for_each(|n| _ = world.send(&n.to_string(), &[("x.test", 1)]));
}

/// A mailing and a small message to the same site, served to the end by whoever has an agent.
fn mailing(world: &mut World) {
    world.by_hand = true;
    world.send("mailing", &[("x.test", 60)]);
    world.send("small", &[("x.test", 8)]);
    for second in 0..200 {
        world.now = at(second);
        if let Some(number) = world.running.keys().next().copied() {
            world.finish(number);
        }
        world.pump();
    }
}

/// The site fails, and is well later; new mail comes all the time.
fn outage(world: &mut World) {
    world.answer("x.test", &[Answer::SiteDown]);
    let mails: Vec<_> = (0..9).map(|n| world.make(&n.to_string(), &[("x.test", 1)])).collect();
    mails.into_iter().for_each(|mail| _ = world.accept(mail));
    world.run_until(at(250));
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(290));
    world.send("new", &[("x.test", 1)]);
    world.run_until(at(86_400));
}

fn two_apart(world: &mut World) {
    for second in [0, 60] {
        world.run_until(at(second));
        world.send(&second.to_string(), &[("x.test", 1)]);
    }
}

fn two_sites(world: &mut World) {
    world.by_hand = true;
    let mails = (0..9).map(|n| world.make(&n.to_string(), &[(["x.test", "y.test"][n % 2], 1)]));
    mails.collect::<Vec<_>>().into_iter().for_each(|mail| _ = world.accept(mail));
    world.pump();
    for _ in 0..9 {
        world.send("x", &[("x.test", 1)]);
    }
}

fn flushed(world: &mut World) {
    world.answer("x.test", &[Answer::RecipientDeferred]);
    world.send("A", &[("x.test", 1)]);
    world.run_until(at(10));
    world.engine.flush_site(Time::from_millis(10_000), "x.test", Authority::Client);
    world.run_until(at(2 * 86_400));
    world.answer("x.test", &[Answer::Ok]);
    world.run_until(at(9 * 86_400));
}

const ONE_BY_ONE: &[(&str, &str)] = &[("smtp.process_limit", "1"), ("smtp.destination_recipient_limit", "1")];
const LITTLE_ROOM: &[(&str, &str)] = &[
    ("qmgr_message_active_limit", "2"),
    ("qmgr_message_recipient_limit", "2"),
    ("qmgr_message_recipient_minimum", "2"),
    ("smtp.process_limit", "1"),
    ("smtp.destination_recipient_limit", "1"),
    ("smtp.delivery_slot_discount", "100"),
];
/// The mailing may have few recipients in memory, and reads on as soon as there is a place.
const FEW_SLOTS: &[(&str, &str)] = &[
    ("qmgr_message_active_limit", "2"),
    ("qmgr_message_recipient_limit", "2"),
    ("qmgr_message_recipient_minimum", "2"),
    ("smtp.process_limit", "1"),
    ("smtp.destination_recipient_limit", "1"),
    ("smtp.delivery_slot_discount", "100"),
    ("smtp.recipient_limit", "50"),
    ("smtp.recipient_refill_limit", "1"),
];
const TWENTY_SLOTS: &[(&str, &str)] = &[
    ("qmgr_message_active_limit", "2"),
    ("qmgr_message_recipient_limit", "2"),
    ("qmgr_message_recipient_minimum", "2"),
    ("smtp.process_limit", "1"),
    ("smtp.destination_recipient_limit", "1"),
    ("smtp.recipient_limit", "20"),
];
const SLOWLY: &[(&str, &str)] = &[
    ("qmgr_message_active_limit", "2"),
    ("qmgr_message_recipient_limit", "10"),
    ("qmgr_message_recipient_minimum", "10"),
    ("smtp.process_limit", "1"),
    ("smtp.destination_recipient_limit", "1"),
    ("smtp.recipient_refill_limit", "1000000"),
];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("queue_run_delay", &[], ["0s", "1000s"], deferred),
    ("minimal_backoff_time", &[], ["300s", "7s"], deferred),
    ("maximal_backoff_time", &[], ["4000s", "500s"], deferred),
    ("retry_jitter", &[], ["0%", "50%"], deferred),
    ("maximal_queue_lifetime", &[], ["5d", "1h"], deferred),
    ("bounce_queue_lifetime", &[], ["5d", "1h"], deferred_report),
    ("delay_warning_time", &[], ["0h", "1h"], deferred),
    ("bounce_report_delay", &[], ["0s", "60s"], half_bounced),
    ("confirm_delay_cleared", &[("delay_warning_time", "1h")], ["no", "yes"], late),
    ("soft_bounce", &[], ["no", "yes"], half_bounced),
    ("transport_retry_time", &[], ["60s", "7s"], no_agent),
    ("qmgr_message_active_limit", &[], ["20000", "2"], at_once),
    ("qmgr_message_recipient_limit", &[("qmgr_message_active_limit", "2")], ["20000", "20"], mailing),
    ("qmgr_message_recipient_minimum", LITTLE_ROOM, ["2", "5"], mailing),
    ("qmgr_clog_warn_time", &[("qmgr_message_active_limit", "5")], ["300s", "0s"], at_once),
    ("defer_transports", &[], ["", "smtp"], at_once),
    ("double_bounce_sender", &[], ["double-bounce", "u0"], at_once),
    ("recipient_delimiter", ONE_BY_ONE, ["", "0"], at_once),
    ("site_recovery_wakeup", &[], ["yes", "no"], outage),
    ("keep_learned_concurrency", &[], ["10m", "0s"], two_apart),
    ("destination_process_share", &[("smtp.process_limit", "4")], ["75%", "25%"], two_sites),
    ("destination_concurrency_feedback_debug", &[], ["no", "yes"], two_apart),
    ("flush_ineligible_site", &[], ["reject", "deliver-all"], flushed),
    ("fast_flush_refresh_time", &[("maximal_backoff_time", "90000s"), ("minimal_backoff_time", "90000s")], ["12h", "30h"], flushed),
    ("fast_flush_purge_time", &[], ["7d", "1h"], flushed),
    ("default_process_limit", &[], ["100", "2"], at_once),
    ("initial_destination_concurrency", &[], ["5", "2"], at_once),
    ("default_destination_concurrency_limit", &[], ["20", "2"], at_once),
    ("default_destination_concurrency_positive_feedback", &[], ["1", "1/8"], two_apart),
    ("default_destination_concurrency_negative_feedback", &[], ["1", "1/8"], outage),
    ("default_destination_concurrency_failed_cohort_limit", &[], ["1", "0"], outage),
    ("default_destination_recipient_limit", &[], ["50", "3"], mailing),
    ("default_destination_rate_delay", &[], ["0s", "1500ms"], mailing),
    ("default_transport_rate_delay", &[], ["0s", "1500ms"], mailing),
    ("default_recipient_limit", LITTLE_ROOM, ["20000", "20"], mailing),
    ("default_extra_recipient_limit", FEW_SLOTS, ["10", "0"], mailing),
    ("default_recipient_refill_limit", TWENTY_SLOTS, ["30", "1"], mailing),
    ("default_recipient_refill_delay", SLOWLY, ["5s", "20s"], mailing),
    ("default_delivery_slot_cost", ONE_BY_ONE, ["5", "0"], mailing),
    ("default_delivery_slot_loan", ONE_BY_ONE, ["3", "0"], mailing),
    ("default_delivery_slot_discount", ONE_BY_ONE, ["50%", "0%"], mailing),
    ("default_minimum_delivery_slots", ONE_BY_ONE, ["3", "30"], mailing),
];

/// Everything that can be seen of a world with a parameter under one of its names.
fn seen(context: &[(&str, &str)], name: &str, value: &str, live: fn(&mut World)) -> String {
    let mut config = Config::new(Preset::Postrider);
    config.local_domains = DomainList::parse(&["x.test"], false).expect("a domain");
    // Without jitter two runs differ by the parameter only.
    for (name, value) in [("retry_jitter", "0%")].iter().chain(context).chain(&[(name, value)]) {
        config.set_any(name, value).unwrap_or_else(|error| panic!("{error}"));
    }
    if matches!(name, "fast_flush_refresh_time" | "fast_flush_purge_time") {
        config.fast_flush_domains = DomainList::parse(&["x.test"], false).expect("a domain");
    }
    let mut world = World::new(config);
    live(&mut world);
    let logs = world.engine.flush_logs();
    format!("{:?} {:?} {:?} {:?} {logs:?}", world.notes, world.reports, world.loads, world.running)
}

#[test]
fn every_parameter_has_its_row() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.0).collect();
    let all: BTreeSet<&str> = parameters().iter().map(|parameter| parameter.name).collect();
    assert_eq!(rows, all);
}

#[test]
fn every_parameter_changes_what_happens() {
    let differs = |(name, context, [one, other], live): &&Row| {
        seen(context, name, one, *live) != seen(context, name, other, *live)
    };
    let idle: Vec<&str> = ROWS.iter().filter(|row| !differs(row)).map(|row| row.0).collect();
    assert!(idle.is_empty(), "{idle:?} make no difference");
}

#[test]
fn every_parameter_of_a_transport_does_so_for_one_transport_too() {
    let of_transports = parameters().iter().filter(|parameter| parameter.section == Section::Transport);
    let mut wrong = Vec::new();
    for parameter in of_transports {
        let row = ROWS.iter().find(|row| row.0 == parameter.name).expect("it has a row");
        let (name, context, [_, value], live) = row;
        let for_all = seen(context, name, value, *live);
        let for_one = seen(context, &format!("smtp_{}", parameter.short_name), value, *live);
        let for_another = seen(context, &format!("other_{}", parameter.short_name), value, *live);
        if for_all != for_one || for_all == for_another {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
