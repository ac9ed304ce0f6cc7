//! Reports that do not wait for the slowest recipient (`bounce_report_delay`).
//!
//! Promises: a recipient that failed is reported no later than that after it failed, while others of the
//! same message are still being delivered; nobody is in two reports for that. A run that takes over
//! failures of an earlier one reports at its end, since their positions are not known.

use std::sync::Arc;
use std::time::Duration;

use crate::effect::Effect;
use crate::engine::Engine;
use crate::event::ReportKind;
use crate::message::{Early, MessageKey};
use crate::note::Note;
use crate::timer::Timer;

/// How long a report waits for another one about the same message.
const BUSY_RETRY: Duration = Duration::from_secs(1);

impl Engine {
    /// A recipient failed: its report is due in a while, if the run takes that long.
    pub(crate) fn expect_early_report(&mut self, key: MessageKey) {
        let delay = self.config.global.bounce_report_delay;
        let message = &mut self.messages[key];
        let waiting = message.report_due.is_some() || message.early.is_some() || message.failure_before;
        if delay.is_zero() || waiting || message.bounced.is_empty() {
            return;
        }
        let at = self.now + delay;
        message.report_due = Some(at);
        self.timers.insert((at, Timer::BounceReport(key)));
    }

    /// The run has ended, or the report is asked for: the timer has no meaning any more.
    pub(crate) fn forget_early_report(&mut self, key: MessageKey) {
        if let Some(at) = self.messages.get_mut(key).and_then(|message| message.report_due.take()) {
            self.timers.remove(&(at, Timer::BounceReport(key)));
        }
    }

    /// The time is over and the run is not.
    pub(crate) fn report_early(&mut self, key: MessageKey) {
        let Some(message) = self.messages.get_mut(key) else { return };
        message.report_due = None;
        if message.reporting.is_some() || message.bounced.is_empty() {
            return;
        }
        if message.early.is_some() {
            // One at a time: that of the delay is under way.
            let at = self.now + BUSY_RETRY;
            message.report_due = Some(at);
            self.timers.insert((at, Timer::BounceReport(key)));
            return;
        }
        let (id, kind) = (message.id, ReportKind::Failure);
        let positions = std::mem::take(&mut message.bounced);
        message.early = Some(Early { kind, positions: positions.clone() });
        // The outcomes must be readable by whoever writes the report.
        self.save_active(key);
        self.outbox.push_back(Effect::Report { id, kind, positions });
    }

    /// An early report is durable, or was refused: then the end of the run, or the next failure, tries again.
    pub(crate) fn reported_early(&mut self, key: MessageKey, early: Early, result: Result<(), Arc<str>>) {
        let message = &mut self.messages[key];
        let (id, Early { kind, positions }) = (message.id, early);
        match result {
            Ok(()) if kind == ReportKind::Delay => {
                if let Some(stub) = self.stubs.get_mut(id) {
                    stub.flags.warned = true;
                }
                self.save_active(key);
                self.note(Note::Warned { id, positions });
            }
            Ok(()) => {
                message.told = true;
                let due = !message.bounced.is_empty();
                if let Some(stub) = self.stubs.get_mut(id) {
                    stub.flags.failure_due = due;
                }
                self.save_active(key);
                self.note(Note::Bounced { id, positions });
            }
            Err(reason) => {
                if kind == ReportKind::Failure {
                    message.bounced.splice(0..0, positions);
                }
                self.note(Note::ReportFailed { id, kind, reason });
            }
        }
        self.expect_early_report(key);
        self.complete(key);
    }
}
