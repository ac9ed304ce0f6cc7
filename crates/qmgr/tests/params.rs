//! The table of parameters: whole, unambiguous, and obeyed under every name a parameter has.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use mail::QueueId;
use qmgr::{Config, Kind, Note, ParameterError, Preset, ReportKind, Section, parameters};
use world::{Answer, World, at, postfix};

#[test]
fn names_are_unique_and_every_row_is_complete() {
    let names: BTreeSet<&str> = parameters().iter().map(|parameter| parameter.name).collect();
    assert_eq!(names.len(), parameters().len());
    for parameter in parameters() {
        assert!(!parameter.meaning.is_empty() && !parameter.meaning.ends_with('.'), "{}", parameter.name);
        let mut config = Config::default();
        config.set(parameter.name, parameter.default).expect("defaults can be written");
        let (least, greatest) = parameter.range;
        assert!(least < greatest, "{}", parameter.name);
        if parameter.section == Section::Transport {
            config.set_for_transport("t", parameter.short_name, parameter.default).expect("also short");
            assert!(parameter.name.ends_with(parameter.short_name), "{}", parameter.name);
        } else {
            assert_eq!(parameter.name, parameter.short_name);
        }
    }
}

#[test]
fn the_preset_of_postfix_differs_in_what_the_design_says() {
    let differing: Vec<&str> = parameters()
        .iter()
        .filter(|parameter| parameter.postfix.is_some_and(|value| value != parameter.default))
        .map(|parameter| parameter.name)
        .collect();
    let expected = [
        "queue_run_delay",
        "retry_jitter",
        "bounce_report_delay",
        "site_recovery_wakeup",
        "keep_learned_concurrency",
    ];
    assert_eq!(differing, expected, "flush_ineligible_site is the same in both");
    assert_eq!(Config::new(Preset::Postfix).global().queue_run_delay, Duration::from_secs(300));
}

#[test]
fn a_parameter_is_obeyed_under_each_of_its_names() {
    let mut config = Config::default();
    config.set_any("default_destination_concurrency_limit", "7").unwrap();
    assert_eq!(config.transport("smtp").destination_concurrency_limit, 7);
    assert_eq!(config.transport("local").destination_concurrency_limit, 2, "postconf(5) says 2 for local");
    config.set_any("smtp_destination_concurrency_limit", "8").unwrap();
    config.set_any("my_relay.destination_concurrency_limit", "9").unwrap();
    assert_eq!(config.transport("smtp").destination_concurrency_limit, 8);
    assert_eq!(config.transport("my_relay").destination_concurrency_limit, 9);
    assert_eq!(config.transport("other").destination_concurrency_limit, 7);
    config.set_any("initial_destination_concurrency", "3").unwrap();
    config.set_any("smtp_initial_destination_concurrency", "4").unwrap();
    assert_eq!(config.transport("other").initial_destination_concurrency, 3);
    assert_eq!(config.transport("smtp").initial_destination_concurrency, 4);
    config.set_any("transport.smtp.process_limit", "11").unwrap();
    config.set_any("process_limit", "12").unwrap();
    assert_eq!((config.transport("smtp").process_limit, config.transport("other").process_limit), (11, 12));
    config.set_any("qmgr.minimal_backoff_time", "7s").unwrap();
    assert_eq!(config.global().minimal_backoff_time, Duration::from_secs(7));
    assert_eq!(Config::transport_in("smtp_process_limit"), Ok(Some("smtp")));
    assert_eq!(Config::transport_in("default_process_limit"), Ok(None));
}

/// `extra_recipient_limit` and `destination_recipient_limit` end in `recipient_limit`.
#[test]
fn every_parameter_of_a_transport_is_known_by_its_name_in_main_cf() {
    for parameter in parameters().iter().filter(|parameter| parameter.section == Section::Transport) {
        for transport in ["smtp", "my_relay", "my-relay"] {
            let name = format!("{transport}_{}", parameter.short_name);
            assert_eq!(Config::transport_in(&name), Ok(Some(transport)), "{name}");
            let (mut by_any, mut by_short) = (Config::default(), Config::default());
            by_any.set_any(&name, parameter.default).expect("defaults are valid");
            by_short
                .set_for_transport(transport, parameter.short_name, parameter.default)
                .expect("defaults are valid");
            assert_eq!(by_any, by_short, "{name}");
        }
    }
}

#[test]
fn bad_values_are_refused_and_change_nothing() {
    let mut config = Config::default();
    let before = config.clone();
    for (name, value) in [
        ("minimal_backoff_time", "0"),
        ("minimal_backoff_time", "5 parsecs"),
        ("maximal_queue_lifetime", "101d"),
        ("qmgr_message_active_limit", "0"),
        ("qmgr_message_active_limit", "-1"),
        ("qmgr_message_active_limit", "many"),
        ("retry_jitter", "101%"),
        ("soft_bounce", "maybe"),
        ("flush_ineligible_site", "deliver"),
        ("double_bounce_sender", "two words"),
        ("default_destination_concurrency_positive_feedback", "2"),
        ("default_minimum_delivery_slots", "0"),
    ] {
        let error = config.set(name, value).expect_err(name);
        assert!(error.to_string().starts_with(name), "{error}");
    }
    for name in ["no_such_parameter", "destination_concurrency_limit", ""] {
        assert!(matches!(config.set(name, "1"), Err(ParameterError::Unknown { .. })), "{name}");
    }
    assert!(config.set_for_transport("smtp", "queue_run_delay", "1").is_err(), "not of a transport");
    assert_eq!(config, before);
}

#[test]
fn bare_numbers_count_in_the_unit_of_postfix() {
    for parameter in parameters() {
        let Kind::Duration { bare } = parameter.kind else { continue };
        let expected = match parameter.name {
            "maximal_queue_lifetime" | "bounce_queue_lifetime" | "fast_flush_purge_time" => 86_400,
            "delay_warning_time" | "fast_flush_refresh_time" => 3_600,
            _ => 1,
        };
        assert_eq!(bare, Duration::from_secs(expected), "{}", parameter.name);
    }
}

#[test]
fn destination_concurrency_feedback_debug_notes_all_numbers_of_each_step() {
    let steps = |value: &str| -> Vec<String> {
        let mut world = World::new(postfix(&[("destination_concurrency_feedback_debug", value)]));
        world.answer("x.test", &[Answer::Ok, Answer::SiteDown]);
        world.send("A", &[("x.test", 1)]);
        world.send("B", &[("x.test", 1)]);
        let text = |note: &Note| match note {
            Note::Feedback { transport, destination, text } => {
                Some(format!("{transport}:{destination}: {text}"))
            }
            _ => None,
        };
        world.notes.iter().filter_map(|(_, note)| text(note)).collect()
    };
    assert_eq!(
        steps("yes"),
        [
            "smtp:x.test: success: window 5, now 6 (success 0.00, failure 0.00, failed cohorts 0.00), \
             limit 20, busy 1",
            "smtp:x.test: failure: window 5, now 3 (success 0.00, failure 1.00, failed cohorts 0.20), \
             limit 20, busy 1",
        ]
    );
    assert_eq!(steps("no"), Vec::<String>::new());
}

#[test]
fn confirm_delay_cleared_tells_a_warned_sender_that_mail_has_arrived() {
    for value in ["yes", "no"] {
        let parameters = [("delay_warning_time", "1h"), ("confirm_delay_cleared", value)];
        let mut world = World::new(postfix(&parameters));
        world.answer("x.test", &[Answer::RecipientDeferred]);
        world.send("A", &[("x.test", 1)]);
        world.run_until(at(2 * 3_600));
        world.answer("x.test", &[Answer::Ok]);
        world.run_until(at(86_400));
        let told: Vec<ReportKind> = world.reports.iter().map(|(_, _, kind, _)| *kind).collect();
        let expected = [ReportKind::Delay, ReportKind::DelayCleared];
        assert_eq!(told, expected[..if value == "yes" { 2 } else { 1 }], "{value}");
    }
}

#[test]
fn qmgr_clog_warn_time_spaces_the_warnings_that_a_site_fills_the_queue() {
    let warned = |interval: &str| -> Vec<i64> {
        let parameters = [("qmgr_message_active_limit", "20"), ("qmgr_clog_warn_time", interval)];
        let mut world = World::new(postfix(&parameters));
        world.by_hand = true;
        for second in 0..20 {
            world.now = at(10 * second);
            world.send(&format!("{second}"), &[("x.test", 1)]);
        }
        let is_warning = |note: &Note| matches!(note, Note::Clogged { destination, of: 20, .. } if &**destination == "x.test");
        let warnings = world.notes.iter().filter(|(_, note)| is_warning(note));
        warnings.map(|(time, _)| time.as_secs()).collect()
    };
    assert_eq!(warned("0s"), [0i64; 0], "never");
    assert_eq!(warned("100s"), [40, 140], "a fifth of the limit is reached with the fifth");
    assert_eq!(warned("50s"), [40, 90, 140, 190]);
}

#[test]
fn transport_retry_time_is_how_long_a_transport_that_cannot_run_is_left_alone() {
    for (value, again) in [("60s", 60), ("7s", 7)] {
        let mut world = World::new(postfix(&[("transport_retry_time", value)]));
        world.answer("x.test", &[Answer::NoAgent]);
        world.send("A", &[("x.test", 1)]);
        let (mut before, mut after) = (None, None);
        for (second, probe) in [(again - 1, &mut before), (again, &mut after)] {
            world.run_until(at(second));
            *probe = Some(world.send(&second.to_string(), &[("x.test", 1)]));
        }
        let attempts = |id: Option<QueueId>| id.map_or(0, |id| world.attempts(id).len());
        assert_eq!((attempts(before), attempts(after)), (0, 1), "{value}");
    }
}

#[test]
fn recipient_refill_delay_reads_on_though_few_are_done() {
    for (value, reads_on) in [("5s", true), ("60s", false)] {
        let parameters = [
            ("qmgr_message_active_limit", "1"),
            ("qmgr_message_recipient_limit", "10"),
            ("default_recipient_limit", "10"),
            ("default_recipient_refill_limit", "8"),
            ("default_recipient_refill_delay", value),
            ("default_destination_recipient_limit", "2"),
        ];
        let mut world = World::new(postfix(&parameters));
        world.by_hand = true;
        world.send("A", &[("x.test", 100)]);
        world.now = at(6);
        let first = *world.running.keys().next().expect("something runs");
        let before = world.engine.counts().recipients;
        world.finish(first);
        world.pump();
        assert_eq!(world.engine.counts().recipients == before, reads_on, "{value}");
    }
}

#[test]
fn destination_process_share_bounds_a_site_while_others_wait() {
    for (share, expected) in [("25%", 2), ("50%", 4), ("100%", 8)] {
        let parameters = [
            ("destination_process_share", share),
            ("smtp.process_limit", "8"),
            ("smtp.initial_destination_concurrency", "100"),
            ("smtp.destination_concurrency_limit", "0"),
        ];
        let mut world = World::new(postfix(&parameters));
        world.by_hand = true;
        for n in 0..20 {
            world.send(&format!("slow {n}"), &[("slow.test", 1)]);
        }
        let to_slow = world.running.values().filter(|delivery| delivery.nexthop == "slow.test").count();
        assert_eq!(to_slow, expected, "{share}");
        for n in 0..20 {
            world.send(&format!("fast {n}"), &[("fast.test", 1)]);
        }
        let to_fast = world.running.values().filter(|delivery| delivery.nexthop == "fast.test").count();
        assert_eq!(to_fast, expected.min(8 - to_slow), "{share}");
    }
}
