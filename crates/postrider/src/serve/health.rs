//! Saying loudly that the spool takes no mail, and that it does again.
//!
//! Promises: one line when it begins, one when it ends, a reminder in between; when it is over the
//! postmaster is told, if `notify_classes` has `resource`. Refuses: doing anything
//! about it; the spool recovers by itself, and what is already durable goes on being delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dsn::NotifyClass;
use spool::Spool;
use tracing::{error, info};

use super::notices::{self, Rarely};
use super::reports::Reports;

/// How often the spool is asked: soon enough to be read by whoever wonders, seldom enough to cost nothing.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// The same while it takes no mail.
const TROUBLED_ASKED_EVERY: Duration = Duration::from_secs(2);
/// How often a lasting trouble is repeated.
const REMINDED_EVERY: Duration = Duration::from_secs(300);

/// Watches until the runtime ends.
pub(crate) async fn watch(spool: Arc<Spool>, reports: Reports) {
    let mut troubled: Option<(Instant, String)> = None;
    let mut rarely = Rarely::default();
    let mut owed = None;
    loop {
        let health = spool.health();
        let reason = health.reason.unwrap_or_else(|| "no reason given".to_owned());
        match (&troubled, health.accepting) {
            (Some((_, before)), true) => {
                info!("the spool takes mail again");
                if rarely.allows(Instant::now()) {
                    owed = Some(words(before));
                }
                troubled = None;
            }
            (Some((said, before)), false) if said.elapsed() < REMINDED_EVERY && *before == reason => {}
            (_, false) => {
                error!("the spool takes no new mail: {reason}; mail that is queued goes on being delivered");
                troubled = Some((Instant::now(), reason));
            }
            (None, true) => {}
        }
        if troubled.is_none()
            && let Some(lines) = owed.take()
        {
            let subject = "Postrider: no mail was taken for a while";
            // The note is mail, too: where the disk fails again it waits until it works.
            let told = notices::tell(reports.clone(), NotifyClass::Resource, subject, lines.clone()).await;
            owed = (!told).then_some(lines);
        }
        let well = troubled.is_none() && owed.is_none();
        tokio::time::sleep(if well { ASKED_EVERY } else { TROUBLED_ASKED_EVERY }).await;
    }
}

fn words(reason: &str) -> Vec<String> {
    vec![
        "For a while no new mail was taken, because of this:".to_owned(),
        String::new(),
        format!("  {reason}"),
        String::new(),
        "Clients were told to try again later. Mail is taken again now. Nothing that was accepted is lost."
            .to_owned(),
    ]
}
