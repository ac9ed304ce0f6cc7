//! Sessions of clients that went wrong, told to the postmaster (`notify_classes`: protocol, policy, data).
//!
//! Promises: one notice a session with its transcript, at most [`NOTICES_AN_HOUR_MAX`] an hour: strangers
//! decide how often they go wrong. Refuses: telling of anything that the classes in force do not name.

use std::time::{Duration, Instant};

use dsn::NotifyClass;
use ingress::{ErrorKinds, Errors, SessionErrors};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::notices;
use super::reports::Reports;

/// Transcripts that may wait; more are dropped.
const WAITING_MAX: usize = 16;
/// Notices in one hour.
const NOTICES_AN_HOUR_MAX: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);

/// What a front-end is told to tell.
pub(crate) fn wanted(classes: dsn::NotifyClasses, to: &mpsc::Sender<SessionErrors>) -> Errors {
    let to = to.clone();
    let wanted = ErrorKinds {
        protocol: classes.contain(NotifyClass::Protocol),
        policy: classes.contain(NotifyClass::Policy),
        data: classes.contain(NotifyClass::Data),
    };
    // Without a place it is not told; the log has what was refused.
    Errors::told(wanted, move |errors| drop(to.try_send(errors)))
}

/// Begins to tell; sessions that end with errors go into the channel.
pub(crate) fn start(reports: Reports) -> (mpsc::Sender<SessionErrors>, JoinHandle<()>) {
    let (errors, waiting) = mpsc::channel(WAITING_MAX);
    (errors, tokio::spawn(serve(reports, waiting)))
}

async fn serve(reports: Reports, mut errors: mpsc::Receiver<SessionErrors>) {
    let mut quota = Quota { since: Instant::now(), count: 0 };
    while let Some(SessionErrors { kinds, client, lines }) = errors.recv().await {
        if !quota.allows(Instant::now()) {
            continue;
        }
        let class = match kinds {
            ErrorKinds { policy: true, .. } => NotifyClass::Policy,
            ErrorKinds { data: true, .. } => NotifyClass::Data,
            _ => NotifyClass::Protocol,
        };
        let subject = format!("Postrider SMTP server: errors from unknown[{client}]");
        let mut text = vec!["Transcript of session follows.".to_owned(), String::new()];
        text.extend(lines);
        text.extend([String::new(), "For other details, see the log.".to_owned()]);
        notices::tell(reports.clone(), class, &subject, text).await;
    }
}

struct Quota {
    since: Instant,
    count: u32,
}

impl Quota {
    fn allows(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= HOUR {
            *self = Quota { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        if self.count == NOTICES_AN_HOUR_MAX + 1 {
            warn!("more than {NOTICES_AN_HOUR_MAX} sessions went wrong in an hour, the others are not told");
        }
        self.count <= NOTICES_AN_HOUR_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_errors_is_no_flood_of_mail() {
        let start = Instant::now();
        let mut quota = Quota { since: start, count: 0 };
        let allowed = (0..1000).filter(|n| quota.allows(start + Duration::from_secs(*n))).count();
        assert_eq!(allowed, NOTICES_AN_HOUR_MAX as usize);
        assert!(quota.allows(start + HOUR));
    }
}
