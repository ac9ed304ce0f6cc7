//! Scenario files: any text is refused with a place, or makes a world; a small world is run, and no
//! invariant of the engine breaks in it.

use std::time::Duration;

use mail::Time;
use sim::{Options, Scenario};

/// A world with more recipients than this takes longer than a fuzzer likes.
const RECIPIENTS_MAX: usize = 40;
/// Nor may it go on for longer than this, in its own time.
const UNTIL_MAX: Time = Time::from_millis(3_600_000);

/// See the module head.
pub fn scenario(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match sim::parse("s.toml", text) {
        Ok(world) if is_small(&world) => {
            if let Err(broken) = sim::run(&world, Options::default()) {
                panic!("{broken}");
            }
        }
        Ok(_) => {}
        Err(refused) => {
            let said = refused.to_string();
            assert!(said.starts_with("s.toml:"), "no place in: {said}");
        }
    }
}

/// Whether it ends soon: few recipients, an early end, and nothing that may happen thousands of times a
/// second.
fn is_small(world: &Scenario) -> bool {
    let recipients: usize = world.messages.iter().map(|message| message.recipients.len()).sum();
    let global = world.config.global();
    let slow = |delay: Duration| delay >= Duration::from_secs(10);
    recipients <= RECIPIENTS_MAX
        && world.actions.len() <= RECIPIENTS_MAX
        && world.world.until <= UNTIL_MAX
        && slow(global.minimal_backoff_time)
        && (global.queue_run_delay.is_zero() || slow(global.queue_run_delay))
}
