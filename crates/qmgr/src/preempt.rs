//! Preemptive message scheduling: when a small message may overtake a big one, and which.
//!
//! Promises: Patrik Rak's rules as they are in Postfix (SCHEDULER_README), step by step. Every entry of a
//! job earns it a slot; an overtaking job pays for its entries in units of the slot cost; loan and
//! discount let it go earlier, never cheaper. One overtaking for each selection at most.
//!
//! Known weakness, kept for the sake of the golden traces: a message counts with all of its unread
//! recipients, whatever transports they will need.

use crate::engine::Engine;
use crate::job::{Job, JobKey};
use crate::transport::Candidate;

impl Engine {
    /// Lets the best candidate overtake the current job, if it has waited long enough.
    pub(crate) fn preempt(&mut self, transport: usize) {
        let Some(current) = self.transports[transport].current else { return };
        let params = &self.transports[transport].params;
        let cost = signed(params.delivery_slot_cost);
        let loan = signed(params.delivery_slot_loan);
        let percent = 100 - signed(params.delivery_slot_discount).min(100);
        let extra = signed(params.extra_recipient_limit);
        let minimum = signed(params.minimum_delivery_slots);
        let job = &self.jobs[current];
        if job.slots_available <= 0 || self.most_entries(job) < minimum.saturating_mul(cost) {
            return;
        }
        let Some(best) = self.candidate(transport, current, cost) else { return };
        let expected = self.most_entries(&self.jobs[best]) - self.jobs[best].selected;
        // floor(available / cost) + loan < expected * percent / 100, in whole numbers.
        if (self.jobs[current].slots_available / cost + loan).saturating_mul(100) < expected * percent {
            return;
        }
        if self.jobs[best].level > 0 {
            self.pop_job(best);
        }
        self.unlist_job(best);
        self.insert_job(best, self.jobs[current].previous, Some(current));
        let level = self.jobs[current].level + 1;
        self.jobs[current].children.push(best);
        self.jobs[current].slots_available -= expected * cost;
        let overtaking = &mut self.jobs[best];
        (overtaking.parent, overtaking.level, overtaking.slots_used) = (Some(current), level, -expected);
        let unread = self.messages[overtaking.message].next.is_some();
        let here = &mut self.transports[transport];
        (here.current, here.candidate) = (Some(best), None);
        let grant = (extra + here.free_slots + 1) / 2;
        if unread && grant > 0 {
            self.grant_slots(best, grant);
        }
    }

    /// The job behind `current` that gains most by overtaking it: the oldest for its size, among those
    /// small enough that `current` can ever earn their slots.
    fn candidate(&mut self, transport: usize, current: JobKey, cost: i64) -> Option<JobKey> {
        let second = self.now.as_secs();
        if let Some(cache) = self.transports[transport].candidate
            && cache.of == current
            && (cache.second == second || cache.best.is_none())
        {
            return cache.best;
        }
        let job = &self.jobs[current];
        let affordable = (job.read - job.selected + job.slots_available) / cost;
        let best = if affordable > 0 { self.best_behind(current, affordable) } else { None };
        self.transports[transport].candidate = Some(Candidate { of: current, second, best });
        best
    }

    fn best_behind(&self, current: JobKey, affordable: i64) -> Option<JobKey> {
        let now = self.now.as_secs();
        let round = self.transports[self.jobs[current].transport].blocked_round;
        let mut best: Option<(JobKey, f64)> = None;
        let mut next = self.jobs[current].next;
        while let Some(key) = next {
            let job = &self.jobs[key];
            next = job.next;
            if !job.children.is_empty() || job.blocked == round {
                continue;
            }
            let most = self.most_entries(job);
            let needed = most - job.selected;
            let age = (now - job.queued.0.as_secs() + 1) as f64;
            let score = if most > 0 { age / most as f64 } else { 0.0 };
            if 0 < needed && needed <= affordable && best.is_none_or(|(_, highest)| score > highest) {
                best = Some((key, score));
            }
            // Jobs behind are younger, and at best as small as one entry.
            if job.level == 0 && best.is_some_and(|(_, highest)| age <= highest) {
                break;
            }
        }
        best.map(|(key, _)| key)
    }

    /// Takes a job off the stack: its victim gets back what it did not use, or pays for what it used
    /// beyond its price.
    pub(crate) fn pop_job(&mut self, key: JobKey) {
        let job = &mut self.jobs[key];
        let (parent, level, used, transport) = (job.parent.take(), job.level, job.slots_used, job.transport);
        job.level = 0;
        let children = std::mem::take(&mut job.children);
        for child in &children {
            self.jobs[*child].parent = parent;
        }
        if let Some(parent) = parent {
            let cost = signed(self.transports[transport].params.delivery_slot_cost);
            let victim = &mut self.jobs[parent];
            if level == victim.level + 1 {
                victim.slots_available -= used * cost;
            }
            victim.children.retain(|child| *child != key);
            victim.children.extend(children);
        }
        self.transports[transport].candidate = None;
    }

    /// Entries the job has had and may still get.
    fn most_entries(&self, job: &Job) -> i64 {
        let message = &self.messages[job.message];
        job.read + if message.next.is_some() { i64::from(message.unread) } else { 0 }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
