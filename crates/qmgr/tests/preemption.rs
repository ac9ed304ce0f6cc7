//! The golden order of preemptive scheduling (Appendix B of the reference), and a naive re-statement of
//! the rule compared with the engine on random sets of jobs.

mod world;

use std::collections::BTreeMap;

use mail::{QueueId, Rng};
use world::{World, at, compress, postfix};

/// Slot cost, loan and discount; jobs; the order they are served in.
type Row<'n> = ((u64, u64, u64), &'n [(&'n str, usize)], &'n str);

/// A job: name, entries, when it entered memory (seconds), and before which selection it arrives.
type Job<'n> = (&'n str, usize, i64, usize);

/// The order in which the engine selects, one agent, unlimited windows, one recipient an entry.
fn order(cost: u64, loan: u64, discount: u64, now: i64, jobs: &[Job<'_>]) -> String {
    let (cost, loan, discount) = (cost.to_string(), loan.to_string(), discount.to_string());
    let config = postfix(&[
        ("smtp.process_limit", "1"),
        ("smtp.destination_concurrency_limit", "0"),
        ("smtp.destination_recipient_limit", "1"),
        ("smtp.delivery_slot_cost", &cost),
        ("smtp.delivery_slot_loan", &loan),
        ("smtp.delivery_slot_discount", &discount),
    ]);
    let mut world = World::new(config);
    world.now = at(now);
    world.engine.pause_deliveries(world.now);
    world.by_hand = true;
    let mut names: BTreeMap<QueueId, String> = BTreeMap::new();
    let mut arrive = |world: &mut World, selection: usize| {
        for (name, entries, entered, _) in jobs.iter().filter(|job| job.3 == selection) {
            let mut mail = world.make(name, &[("x.test", *entries)]);
            mail.stored.entered = Some(at(*entered));
            names.insert(mail.stored.id, (*name).to_owned());
            world.accept(mail);
            world.pump();
        }
    };
    arrive(&mut world, 1);
    world.engine.resume_deliveries(world.now);
    world.pump();
    for selection in 2.. {
        arrive(&mut world, selection);
        let Some(number) = world.running.keys().next().copied() else { break };
        world.finish(number);
        world.pump();
    }
    world.engine.check_invariants().expect("invariants hold");
    assert!(world.mail.is_empty(), "everything is delivered");
    assert!(world.engine.transports().iter().all(|view| view.free_recipient_slots == 20000));
    world.order(&names)
}

fn together<'n>(jobs: &[(&'n str, usize)]) -> Vec<Job<'n>> {
    jobs.iter().map(|(name, entries)| (*name, *entries, 0, 1)).collect()
}

#[test]
fn golden_orders() {
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        ((2, 0, 0), &[("1", 10), ("2", 2), ("3", 2)], "1×4 2×2 1×4 3×2 1×2"),
        ((2, 0, 50), &[("1", 10), ("2", 2), ("3", 2)], "1×2 2×2 1×4 3×2 1×4"),
        ((5, 3, 50), &[("A", 14), ("b", 1)], "A×14 b"),
        ((5, 3, 50), &[("A", 15), ("b", 1)], "A b A×14"),
        ((5, 3, 50), &[("A", 15), ("b", 2)], "A b×2 A×14"),
        ((5, 3, 50), &[("A", 20), ("b", 1), ("c", 1), ("d", 1)], "A b A×5 c A×5 d A×9"),
        ((5, 3, 50), &[("A", 15), ("b", 1), ("c", 1), ("d", 1), ("e", 1)], "A b A×5 c A×5 d A×4 e"),
        ((5, 3, 50), &[("A", 30), ("b", 6)], "A b×6 A×29"),
        ((5, 3, 50), &[("A", 30), ("b", 7)], "A×30 b×7"),
        ((5, 3, 50), &[("A", 40), ("b", 8)], "A×5 b×8 A×35"),
        ((5, 3, 50), &[("A", 40), ("b", 9)], "A×40 b×9"),
        ((5, 3, 50), &[("A", 30), ("b", 6), ("c", 2), ("d", 1)], "A d A×5 c×2 A×24 b×6"),
        ((5, 3, 50), &[("A", 40), ("b", 7), ("c", 1)], "A c A×9 b×7 A×30"),
        ((5, 0, 0), &[("A", 20), ("b", 1), ("c", 1), ("d", 1)], "A×5 b A×5 c A×5 d A×5"),
        ((5, 0, 0), &[("A", 30), ("b", 3), ("c", 1)], "A×5 c A×15 b×3 A×10"),
        ((2, 3, 50), &[("A", 20), ("b", 1), ("c", 1), ("d", 1)], "A b A×2 c A×2 d A×15"),
        ((3, 0, 0), &[("A", 30), ("b", 3), ("c", 2), ("d", 1)], "A×3 d A×6 c×2 A×9 b×3 A×12"),
        ((5, 0, 100), &[("A", 20), ("b", 4)], "A b×4 A×19"),
        ((0, 3, 50), &[("A", 20), ("b", 1)], "A×20 b"),
        ((1, 3, 50), &[("A", 20), ("b", 1)], "A×20 b"),
        ((2, 0, 0), &[("A", 60), ("b", 16), ("c", 1), ("d", 1)], "A×2 c A×2 d A×32 b×16 A×24"),
    ];
    for ((cost, loan, discount), jobs, expected) in rows {
        assert_eq!(order(*cost, *loan, *discount, 0, &together(jobs)), *expected, "{jobs:?}");
    }
}

#[test]
fn age_wins_over_size_and_overtaking_nests() {
    #[rustfmt::skip]
    let rows: &[(&[Job<'_>], &str)] = &[
        (&[("A", 60, 0, 1), ("b", 4, 90, 1), ("c", 1, 95, 1)], "A c A×5 b×4 A×54"),
        (&[("A", 60, 0, 1), ("b", 4, 10, 1), ("c", 1, 95, 1)], "A b×4 A×20 c A×39"),
        (&[("A", 100, 0, 1), ("b", 16, 50, 2), ("c", 1, 99, 27)], "A×25 b c b×15 A×75"),
    ];
    for (jobs, expected) in rows {
        assert_eq!(order(5, 3, 50, 100, jobs), *expected, "{jobs:?}");
    }
}

/// The search for a candidate ends early only at jobs that nobody let pass: behind one that overtook, older
/// ones may stand. b overtakes A. Then C and x come to stand in front, both older, and y behind A: the list
/// is C x b A y. Second turn of C: x scores 91 / 20, b 4 / 4, A let b pass, y scores 41.
#[test]
fn the_best_candidate_may_stand_behind_one_that_overtook() {
    let jobs = [("A", 60, 50, 1), ("b", 4, 97, 1), ("C", 100, 0, 3), ("x", 20, 10, 3), ("y", 1, 60, 3)];
    let found = order(5, 3, 50, 100, &jobs);
    assert!(found.starts_with("A b C y C"), "{found}");
}

/// One job of the naive scheduler.
#[derive(Clone, Debug)]
struct Naive {
    name: String,
    entries: i64,
    selected: i64,
    available: i64,
    used: i64,
    victim: Option<usize>,
    level: i64,
    entered: i64,
}

/// The rule as one would tell it: a list of jobs, the first is served; before each selection the best
/// small one may be put in front. No caches, no stack pointers but the victim's number.
fn naive(cost: i64, loan: i64, discount: i64, now: i64, jobs: &[Job<'_>]) -> String {
    let mut all: Vec<Naive> = Vec::new();
    for (name, entries, entered, _) in jobs {
        let (name, entries) = ((*name).to_owned(), *entries as i64);
        let fresh = Naive {
            name,
            entries,
            selected: 0,
            available: 0,
            used: 0,
            victim: None,
            level: 0,
            entered: *entered,
        };
        all.push(fresh);
    }
    let mut list: Vec<usize> = (0..all.len()).collect();
    list.sort_by_key(|job| all[*job].entered);
    let mut served = Vec::new();
    while let Some(current) = list.first().copied() {
        if cost >= 2 {
            overtake(&mut all, &mut list, (cost, loan, discount), now);
        }
        let first = list[0];
        let job = &mut all[first];
        (job.selected, job.available, job.used) = (job.selected + 1, job.available + 1, job.used + 1);
        served.push(job.name.clone());
        if job.selected == job.entries {
            leave(&mut all, first, cost);
            list.retain(|other| *other != first);
        }
        assert!(current < all.len());
    }
    compress(served.iter().map(String::as_str))
}

fn overtake(all: &mut [Naive], list: &mut Vec<usize>, (cost, loan, discount): (i64, i64, i64), now: i64) {
    let victim = list[0];
    let job = &all[victim];
    if job.available <= 0 || job.entries < 3 * cost {
        return;
    }
    let affordable = (job.entries - job.selected + job.available) / cost;
    let has_children = |job: usize| all.iter().any(|other| other.victim == Some(job));
    let small = |job: &&usize| {
        let needed = all[**job].entries - all[**job].selected;
        !has_children(**job) && 0 < needed && needed <= affordable
    };
    let score = |job: usize| (now - all[job].entered + 1) as f64 / all[job].entries as f64;
    let mut best: Option<usize> = None;
    for candidate in list[1..].iter().filter(small) {
        if best.is_none_or(|best| score(*candidate) > score(best)) {
            best = Some(*candidate);
        }
    }
    let Some(best) = best else { return };
    let expected = all[best].entries - all[best].selected;
    if ((all[victim].available / cost + loan) as f64) < expected as f64 * (100 - discount) as f64 / 100.0 {
        return;
    }
    if all[best].level > 0 {
        leave(all, best, cost);
    }
    list.retain(|other| *other != best);
    list.insert(0, best);
    all[victim].available -= expected * cost;
    (all[best].victim, all[best].level, all[best].used) = (Some(victim), all[victim].level + 1, -expected);
}

/// A job leaves the stack: its victim is settled with, those it was overtaken by pass to the victim.
fn leave(all: &mut [Naive], job: usize, cost: i64) {
    let victim = all[job].victim.take();
    if let Some(victim) = victim
        && all[job].level == all[victim].level + 1
    {
        all[victim].available -= all[job].used * cost;
    }
    all[job].level = 0;
    for other in all.iter_mut().filter(|other| other.victim == Some(job)) {
        other.victim = victim;
    }
}

#[test]
fn the_naive_rule_gives_the_golden_orders_too() {
    let jobs = [("A", 60, 0, 1), ("b", 4, 10, 1), ("c", 1, 95, 1)];
    assert_eq!(naive(5, 3, 50, 100, &jobs), "A b×4 A×20 c A×39");
    assert_eq!(naive(2, 0, 0, 0, &together(&[("1", 10), ("2", 2), ("3", 2)])), "1×4 2×2 1×4 3×2 1×2");
}

#[test]
fn random_jobs_are_served_as_the_naive_rule_says() {
    let seed: u64 = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    for case in 0..60 {
        let names: Vec<String> = (0..1 + rng.below(8)).map(|n| format!("j{n}")).collect();
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for name in &names {
            let size = [3, 12, 40, 120][rng.below(4) as usize];
            jobs.push((name, 1 + rng.below(size) as usize, rng.below(100) as i64, 1));
        }
        let (cost, loan) = (rng.below(7), rng.below(5));
        let discount = [0, 25, 50, 100][rng.below(4) as usize];
        let expected = naive(cost as i64, loan as i64, discount as i64, 100, &jobs);
        let found = order(cost, loan, discount, 100, &jobs);
        assert_eq!(
            found, expected,
            "case {case}: cost {cost} loan {loan} discount {discount} {jobs:?}\n\
             POSTRIDER_SEED={seed} cargo test -p qmgr --test preemption random_jobs"
        );
    }
}
