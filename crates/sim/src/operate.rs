//! What operators and fate do to a running world.
//!
//! Promises: commands go to the engine as the daemon gives them; a crash leaves nothing but what was
//! saved, a restart also carries what the engine learned.

use std::sync::Arc;

use flush::Authority;
use mail::QueueId;
use qmgr::Engine;

use crate::run::Run;
use crate::scenario::Act;
use crate::trace::Event;

impl Run<'_> {
    /// Does the action of this index.
    pub(crate) fn act(&mut self, index: usize) {
        let act = &self.scenario.actions[index].what;
        let changed = match act {
            Act::Restart => {
                let learned = self.engine.learned(self.now);
                self.replace_engine(Some(learned));
                None
            }
            Act::Crash => {
                self.replace_engine(None);
                None
            }
            Act::SetAnswers(site, answers) => {
                self.sites.set_answers(site, answers.clone());
                None
            }
            Act::SetReports(possible) => {
                self.reports_possible = *possible;
                None
            }
            Act::Damage(label) => {
                if let Some(id) = self.narrator.id(label) {
                    self.store.damage(id);
                }
                None
            }
            Act::SetLimit(name, value) => {
                let set = self.config.set_any(name, value);
                set.and_then(|()| self.engine.set_parameter(self.now, name, value))
                    .expect("checked when the scenario was read");
                None
            }
            other => self.command(other),
        };
        self.tell(Event::Operator { words: act.to_string(), changed });
    }

    /// What an operator tells the engine. Returns how many messages it changed.
    fn command(&mut self, act: &Act) -> Option<u64> {
        let now = self.now;
        let of = |label: &Arc<str>| self.narrator.id(label).into_iter().collect::<Vec<QueueId>>();
        let engine = &mut self.engine;
        let changed = match act {
            Act::Trigger(letters) => {
                engine.trigger(now, letters);
                return None;
            }
            Act::Flush(site) => {
                return Some(engine.flush_site(now, site, Authority::Client).released.released);
            }
            Act::FlushMessage(label) => {
                let answer = of(label).first().map(|id| engine.flush_message(now, *id));
                return Some(answer.map_or(0, |answer| answer.released.released));
            }
            Act::FlushRefresh => return Some(engine.flush_refresh(now).released.released),
            Act::FlushPurge => return Some(engine.flush_purge(now).released.released),
            Act::Hold(label) => engine.hold(now, &of(label)),
            Act::Release(label) => engine.release(now, &of(label)),
            Act::Requeue(label) => engine.requeue(now, &of(label)),
            Act::Delete(label) => engine.delete(now, &of(label)),
            Act::Expire(label) => engine.expire(now, &of(label), false),
            Act::ExpireRelease(label) => engine.expire(now, &of(label), true),
            _ => return None,
        };
        Some(changed.done + changed.after_attempt)
    }

    /// The engine is gone, its agents with it; the next one starts from what was saved.
    fn replace_engine(&mut self, learned: Option<qmgr::Learned>) {
        self.store.crash();
        self.in_flight.clear();
        self.in_memory.clear();
        self.agenda.forget_deliveries();
        self.selections = (self.selections.0 + self.selections.1, 0);
        self.engine = Engine::new(self.config.clone(), self.seed);
        if let Some(learned) = learned {
            self.engine.handle_learned(self.now, learned);
        }
        self.start_engine();
    }
}
