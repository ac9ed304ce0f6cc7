//! What the postmaster is told that is about no single message, as `notify_classes` says.
//!
//! Promises: at most one notice an hour for each kind of trouble; the log has all of it. Refuses: telling
//! of anything while the spool takes no mail; that is told when it does again.

use std::time::{Duration, Instant};

use dsn::{Notice, NotifyClass};
use tracing::{info, warn};

use super::engine_task::now;
use super::reports::{Reports, queue};

/// Least time between two notices of one kind.
const EVERY: Duration = Duration::from_secs(3600);

/// Lets one through in [`EVERY`].
#[derive(Default)]
pub(crate) struct Rarely(Option<Instant>);

impl Rarely {
    /// Whether it is time for one.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.0.is_none_or(|last| now.saturating_duration_since(last) >= EVERY);
        if allowed {
            self.0 = Some(now);
        }
        allowed
    }
}

/// Tells whoever wants to know of this class, if anybody does. Whether that is done with.
pub(crate) async fn tell(reports: Reports, class: NotifyClass, subject: &str, lines: Vec<String>) -> bool {
    let settings = reports.settings.load_full();
    let Some(to) = settings.notices.recipient(class) else { return true };
    let now = now();
    let report_id = reports.spool.next_id(now);
    let report = dsn::compose_notice(&Notice {
        from: &settings.notices.double_bounce_sender,
        to,
        report_id,
        host: &settings.hostname,
        now,
        subject,
        lines: &lines,
    });
    match queue(&reports.spool, &reports.accepted, report_id, report, now).await {
        Ok(()) => {
            info!(target: "mail", "postmaster notification: {report_id}");
            true
        }
        Err(error) => {
            warn!("the postmaster could not be told ({subject}): {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_an_hour_is_enough() {
        let (mut rarely, start) = (Rarely::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let allowed = [0, 1, 3599, 3600, 3601].map(|seconds| rarely.allows(after(seconds)));
        assert_eq!(allowed, [true, false, false, true, false]);
    }
}
