//! Mail that waits for room in memory when its sender is to be warned, or when its life ends.
//!
//! Promises: while memory is full, such mail is looked for once a minute, and enters memory beyond the limit,
//! [`BEYOND_LIMIT_MAX`] messages at most, for nothing but that: at the end of life it is given up without an
//! attempt, after the warning it goes on waiting. Looking costs a few nanoseconds a message, in pieces, and
//! nothing as long as there is room.
//!
//! Refuses: times where mail is tried by scans only, as [`crate::appointment`] does.

use std::collections::VecDeque;
use std::time::Duration;

use mail::{QueueId, Time};

use crate::backoff;
use crate::engine::Engine;
use crate::event::Queue;
use crate::message::{Activation, MessageKey, Order, Stub};
use crate::timer::Timer;

/// How often waiting mail is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How soon a look goes on that was not finished.
const SOON: Duration = Duration::from_secs(1);
/// Messages that are looked at in one go.
const PAGE: usize = 65_536;
/// Messages that may be in memory beyond the limit; fewer where the limit is less.
const BEYOND_LIMIT_MAX: u64 = 100;

/// Where the looking is.
#[derive(Debug, Default)]
pub(crate) struct Overtime {
    /// When it goes on; nothing while there is room.
    pub(crate) next: Option<Time>,
    cursor: Option<QueueId>,
    /// Those whose time has come.
    found: VecDeque<QueueId>,
}

impl Engine {
    /// Memory is full: lets in a message whose time has come. Returns whether there was one.
    pub(crate) fn import_beyond_limit(&mut self, limit: u64) -> bool {
        if self.overtime.next.is_none() && self.config.global.queue_run_delay.is_zero() {
            self.look_for_overtime_at(self.now + EVERY);
        }
        if self.active.len() as u64 >= limit.saturating_add(limit.min(BEYOND_LIMIT_MAX)) {
            return false;
        }
        while let Some(id) = self.overtime.found.pop_front() {
            if self.stubs.get(id).is_some_and(|stub| self.is_over_time(stub)) {
                self.activate(id, Activation { over_time: true, ..Activation::default() });
                return true;
            }
        }
        false
    }

    fn look_for_overtime_at(&mut self, at: Time) {
        self.overtime.next = Some(at);
        self.timers.insert((at, Timer::Overtime));
    }

    /// Looks at the next of the messages that wait for room.
    pub(crate) fn look_for_overtime(&mut self) {
        self.overtime.next = None;
        if (self.active.len() as u64) < self.config.global.qmgr_message_active_limit {
            self.overtime = Overtime::default();
            return;
        }
        if !self.overtime.found.is_empty() {
            return self.look_for_overtime_at(self.now + SOON);
        }
        let (mut found, mut seen) = (VecDeque::new(), 0);
        let mut cursor = self.overtime.cursor;
        for (id, stub) in self.stubs.after(cursor).take(PAGE) {
            seen += 1;
            cursor = Some(id);
            if self.is_over_time(stub) {
                found.push_back(id);
                if found.len() as u64 == BEYOND_LIMIT_MAX {
                    break;
                }
            }
        }
        let stopped = found.len() as u64 == BEYOND_LIMIT_MAX || seen == PAGE;
        self.overtime.found = found;
        self.overtime.cursor = cursor.filter(|_| stopped);
        self.look_for_overtime_at(self.now + if stopped { SOON } else { EVERY });
    }

    /// Whether a message waits for room and should not wait longer.
    fn is_over_time(&self, stub: &Stub) -> bool {
        let global = &self.config.global;
        let waits = match stub.queue {
            Queue::Incoming => true,
            Queue::Deferred => stub.due <= self.now,
            Queue::Active | Queue::Hold | Queue::Corrupt => false,
        };
        let over = || self.now >= backoff::end_of_life(global, stub.arrived, stub.null_sender);
        let late = || backoff::warning_due(global, self.now, stub.arrived, stub.null_sender);
        waits && (over() || (!stub.flags.warned && late()))
    }

    /// A message that entered memory beyond the limit has been read.
    pub(crate) fn serve_overtime(&mut self, key: MessageKey) {
        self.forget_appointment(key);
        self.keep_appointment(key);
        if let Some(message) = self.messages.get_mut(key).filter(|message| !message.time_over) {
            message.order.get_or_insert(Order::Return);
            self.withdraw(key);
        }
        // Without entries nothing above has ended the run.
        if self.messages.get(key).is_some_and(|message| message.entries == 0) {
            self.complete(key);
        }
    }
}
