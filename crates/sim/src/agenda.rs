//! What is still to come from outside the engine, in the order in which it will happen.
//!
//! Promises: at one instant first mail is accepted, then operators act, then agents become free, then
//! deliveries end; within each kind what was planned first happens first.

use std::collections::BTreeMap;

use mail::Time;
use qmgr::DeliveryNumber;

/// Something that will happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Plan {
    /// The message of this index is accepted.
    Accept(usize),
    /// The action of this index is done.
    Act(usize),
    /// Agents are free from now on.
    AgentsFree,
    /// This delivery ends.
    Ends(DeliveryNumber),
}

impl Plan {
    const fn rank(self) -> u8 {
        match self {
            Plan::Accept(_) => 0,
            Plan::Act(_) => 1,
            Plan::AgentsFree => 2,
            Plan::Ends(_) => 3,
        }
    }
}

/// All plans.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    plans: BTreeMap<(Time, u8, u64), Plan>,
    planned: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at: Time, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at, plan.rank(), self.planned), plan);
    }

    pub(crate) fn next_at(&self) -> Option<Time> {
        self.plans.keys().next().map(|(at, ..)| *at)
    }

    pub(crate) fn take(&mut self) -> Option<Plan> {
        self.plans.pop_first().map(|(_, plan)| plan)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// The deliveries in flight will never end: their agents are gone.
    pub(crate) fn forget_deliveries(&mut self) {
        self.plans.retain(|_, plan| !matches!(plan, Plan::Ends(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instant_has_an_order() {
        let mut agenda = Agenda::default();
        let (early, late) = (Time::from_millis(1), Time::from_millis(2));
        agenda.plan(late, Plan::Accept(7));
        agenda.plan(early, Plan::Ends(DeliveryNumber(1)));
        agenda.plan(early, Plan::AgentsFree);
        agenda.plan(early, Plan::Act(0));
        agenda.plan(early, Plan::Accept(2));
        agenda.plan(early, Plan::Accept(1));
        let order: Vec<Plan> = std::iter::from_fn(|| agenda.take()).collect();
        let ends = Plan::Ends(DeliveryNumber(1));
        let wanted =
            [Plan::Accept(2), Plan::Accept(1), Plan::Act(0), Plan::AgentsFree, ends, Plan::Accept(7)];
        assert_eq!(order, wanted);
    }
}
