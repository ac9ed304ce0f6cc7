//! What must hold in every world, told from its trace alone. (What can only be seen inside, the run
//! itself has checked: recipients decided once, failures reported once, slots returned, records exact.)

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sim::scenario::Act;
use sim::{Event, Place, Scenario, Trace};

/// The first rule that is broken.
pub(crate) fn check(scenario: &Scenario, trace: &Trace) -> Result<(), String> {
    everything_ends(trace)?;
    windows_stay_within_limits(scenario, trace)?;
    the_dead_are_left_alone(trace)?;
    deliveries_end_before_they_begin_again(trace)?;
    selections_are_counted(trace)
}

/// Nothing is left but what is damaged.
fn everything_ends(trace: &Trace) -> Result<(), String> {
    let Some(Event::End { messages: left }) = trace.lines.last().map(|line| &line.event) else {
        return Err("the trace does not end".to_owned());
    };
    match left.incoming + left.active + left.deferred + left.hold {
        0 => Ok(()),
        _ => Err(format!("messages are stuck: {left:?}")),
    }
}

fn windows_stay_within_limits(scenario: &Scenario, trace: &Trace) -> Result<(), String> {
    // A limit that an operator lowers clips windows only as they move.
    let limits_change = scenario.actions.iter().any(|action| matches!(action.what, Act::SetLimit(..)));
    for line in &trace.lines {
        let Event::Window { site, transport, to, .. } = &line.event else { continue };
        let limit = scenario.config.transport(transport).destination_concurrency_limit;
        if limit > 0 && u64::from(*to) > limit && !limits_change {
            return Err(format!("{:?}: window of {site} is {to}, over the limit {limit}", line.t));
        }
    }
    Ok(())
}

/// No selection for a site or transport between its death and its revival.
fn the_dead_are_left_alone(trace: &Trace) -> Result<(), String> {
    let mut dead: BTreeSet<Arc<str>> = BTreeSet::new();
    let name = |place: &Place| match place {
        Place::Site(name) | Place::Transport(name) => Arc::clone(name),
    };
    for line in &trace.lines {
        match &line.event {
            Event::Dead { place, .. } => drop(dead.insert(name(place))),
            Event::Alive { place, .. } => drop(dead.remove(&name(place))),
            Event::Operator { words, .. } if words == "restart" || words == "crash" => dead.clear(),
            Event::Select { site, transport, .. } if dead.contains(site) || dead.contains(transport) => {
                return Err(format!("{:?}: {site} over {transport} is dead and was selected", line.t));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each `done` belongs to a `select` of the same message and site.
fn deliveries_end_before_they_begin_again(trace: &Trace) -> Result<(), String> {
    let mut running: BTreeMap<(&Arc<str>, &Arc<str>), u64> = BTreeMap::new();
    for line in &trace.lines {
        match &line.event {
            Event::Select { message, site, .. } => *running.entry((message, site)).or_default() += 1,
            Event::Done { message, site, .. } => {
                let deliveries = running.entry((message, site)).or_default();
                *deliveries = deliveries
                    .checked_sub(1)
                    .ok_or_else(|| format!("{:?}: {message} for {site} ended without a beginning", line.t))?;
            }
            Event::Operator { words, .. } if words == "restart" || words == "crash" => running.clear(),
            _ => {}
        }
    }
    Ok(())
}

/// Selections are numbered 1, 2, 3.
fn selections_are_counted(trace: &Trace) -> Result<(), String> {
    let numbers = trace.lines.iter().filter_map(|line| match line.event {
        Event::Select { n, .. } => Some(n),
        _ => None,
    });
    match numbers.zip(1..).find(|(n, wanted)| n != wanted) {
        Some((n, wanted)) => Err(format!("selection {wanted} has the number {n}")),
        None => Ok(()),
    }
}

/// Messages are selected for a site in the order in which they entered memory.
pub(crate) fn first_in_first_out(_: &Scenario, trace: &Trace) -> Result<(), String> {
    everything_ends(trace)?;
    let mut entered: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    let mut last: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for (place, line) in trace.lines.iter().enumerate() {
        match &line.event {
            Event::Active { message, .. } => drop(entered.insert(message, place)),
            Event::Select { message, site, transport, .. } if &**transport == "smtp" => {
                let turn = entered.get(message).copied().unwrap_or_default();
                if last.insert(site, turn).is_some_and(|before| before > turn) {
                    return Err(format!("{:?}: {message} was overtaken on its way to {site}", line.t));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
