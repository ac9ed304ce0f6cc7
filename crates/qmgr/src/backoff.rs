//! Exponential backoff, lifetime and warning: when a message is tried again and when time is over.
//!
//! Promises: Postfix's arithmetic (the delay is the age, between a minimum and a maximum), plus a share
//! added by chance. Refuses: to count attempts; "doubling" is what waiting one's own age amounts to.

use std::time::Duration;

use mail::{Rng, Time};

use crate::params::Global;

/// How long to wait after a failure at `now`. The minimum wins over the maximum; jitter only adds.
pub(crate) fn delay(global: &Global, rng: &mut Rng, now: Time, arrived: Time) -> Duration {
    let age = now.since(arrived);
    let delay = age.min(global.maximal_backoff_time).max(global.minimal_backoff_time);
    let spread = delay.as_millis() as u64 / 100 * global.retry_jitter;
    if spread == 0 { delay } else { delay + Duration::from_millis(rng.below(spread + 1)) }
}

/// The moment from which a failure is final.
pub(crate) fn end_of_life(global: &Global, arrived: Time, null_sender: bool) -> Time {
    arrived + if null_sender { global.bounce_queue_lifetime } else { global.maximal_queue_lifetime }
}

/// From when on the sender is to be warned, if ever.
pub(crate) fn warning_time(global: &Global, arrived: Time, null_sender: bool) -> Option<Time> {
    let after = global.delay_warning_time;
    (!after.is_zero() && !null_sender).then(|| arrived + after)
}

/// Whether the sender is to be warned now; a second early counts, because due times do.
pub(crate) fn warning_due(global: &Global, now: Time, arrived: Time, null_sender: bool) -> bool {
    warning_time(global, arrived, null_sender).is_some_and(|at| now + Duration::from_secs(1) >= at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Config, Preset};

    fn at(seconds: i64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn waits_its_own_age_between_the_limits() {
        let config = Config::new(Preset::Postfix);
        let mut rng = Rng::new(1);
        let rows = [(1, 301), (2, 302), (300, 600), (600, 1200), (2400, 4800), (4800, 8800), (9000, 13000)];
        for (now, next) in rows {
            assert_eq!(
                at(now) + delay(config.global(), &mut rng, at(now), at(0)),
                at(next),
                "failed at {now}"
            );
        }
    }

    #[test]
    fn the_minimum_wins_over_the_maximum() {
        let mut config = Config::new(Preset::Postfix);
        config.set("maximal_backoff_time", "100s").unwrap();
        let mut rng = Rng::new(1);
        assert_eq!(delay(config.global(), &mut rng, at(9000), at(0)), Duration::from_secs(300));
    }

    #[test]
    fn jitter_only_adds_and_no_more_than_its_share() {
        let config = Config::new(Preset::Postrider);
        let mut rng = Rng::new(7);
        let delays: Vec<Duration> =
            (0..1000).map(|_| delay(config.global(), &mut rng, at(1000), at(0))).collect();
        assert!(delays.iter().all(|d| (1000.0..=1100.0).contains(&d.as_secs_f64())));
        assert!(delays.iter().max() > delays.iter().min());
    }

    #[test]
    fn warns_a_second_early_and_never_the_null_sender() {
        let mut config = Config::new(Preset::Postfix);
        assert!(!warning_due(config.global(), at(10_000), at(0), false));
        config.set("delay_warning_time", "1h").unwrap();
        assert!(!warning_due(config.global(), at(3598), at(0), false));
        assert!(warning_due(config.global(), at(3599), at(0), false));
        assert!(!warning_due(config.global(), at(9000), at(0), true));
    }
}
