//! The rules of the job list told as plainly as they can be told (sections 4.3 to 4.9 of the reference), and
//! compared with the engine in random worlds: messages that arrive in the middle, also such that count as
//! older than those there, sites with small windows, agents that end in any order, a clock that moves.
//!
//! Everything here walks a list. The only thing that is remembered is what the reference says Postfix
//! remembers, because it can be seen from outside: the best candidate, for a second.

mod world;

use std::collections::{BTreeMap, VecDeque};

use mail::{QueueId, Rng};
use qmgr::Note;
use world::{World, at, postfix};

const MAILBOXES: [&str; 4] = ["p", "q", "r", "s"];

#[derive(Debug, Default)]
struct Job {
    entered: i64,
    read: i64,
    selected: i64,
    available: i64,
    used: i64,
    parent: Option<usize>,
    level: i64,
    /// Entries to do for each mailbox, in the order of turns.
    peers: VecDeque<(usize, i64)>,
    blocker: u64,
}

#[derive(Debug, Default)]
struct Site {
    busy: u64,
    blocker: u64,
}

/// The best candidate for a job, and when it was looked for.
type Candidate = (usize, i64, Option<usize>);

#[derive(Debug)]
struct Scheduler {
    cost: i64,
    loan: i64,
    discount: i64,
    window: u64,
    jobs: Vec<Job>,
    sites: Vec<Site>,
    list: Vec<usize>,
    current: Option<usize>,
    candidate: Option<Candidate>,
    tag: u64,
    now: i64,
}

impl Scheduler {
    fn place(&self, job: usize) -> usize {
        self.list.iter().position(|other| *other == job).expect("it is on the list")
    }

    fn has_children(&self, job: usize) -> bool {
        self.jobs.iter().any(|other| other.parent == Some(job))
    }

    fn is_open(&self, site: usize) -> bool {
        self.sites[site].busy < self.window
    }

    /// New mail: behind all that entered before it, and current if that is in front of the current job.
    fn arrive(&mut self, entered: i64, entries: &[(usize, i64)]) {
        let read = entries.iter().map(|(_, count)| count).sum();
        let new = self.jobs.len();
        self.jobs.push(Job { entered, read, peers: entries.iter().copied().collect(), ..Job::default() });
        let older = |job: &usize| self.jobs[*job].parent.is_none() && self.jobs[*job].entered <= entered;
        let place = self.list.iter().rposition(older).map_or(0, |place| place + 1);
        if self.current.is_none_or(|current| place <= self.place(current)) {
            self.current = Some(new);
        }
        self.list.insert(place, new);
        self.candidate = None;
    }

    /// The entry for a free agent: its job and its site.
    fn select(&mut self) -> Option<(usize, usize)> {
        let open =
            |job: &usize| self.jobs[*job].peers.iter().any(|(site, todo)| *todo > 0 && self.is_open(*site));
        self.list.iter().find(|job| open(job))?;
        if self.cost >= 2 {
            self.preempt();
        }
        let from = self.place(self.current.expect("the list is not empty"));
        for place in from..self.list.len() {
            let job = self.list[place];
            if self.jobs[job].blocker == self.tag {
                continue;
            }
            if let Some(site) = self.take(job) {
                return Some((job, site));
            }
            self.jobs[job].blocker = self.tag;
            for (site, _) in self.jobs[job].peers.iter().filter(|(_, todo)| *todo > 0) {
                self.sites[*site].blocker = self.tag;
            }
        }
        panic!("an open site has mail that no walk finds: {self:?}");
    }

    /// Takes an entry of a job, if one of its sites is open.
    fn take(&mut self, job: usize) -> Option<usize> {
        let ready = |(site, todo): &(usize, i64)| *todo > 0 && self.is_open(*site);
        let turn = self.jobs[job].peers.iter().position(ready)?;
        let here = &mut self.jobs[job];
        here.peers[turn].1 -= 1;
        let site = here.peers[turn].0;
        here.peers.rotate_left(turn + 1);
        (here.selected, here.available, here.used) = (here.selected + 1, here.available + 1, here.used + 1);
        self.sites[site].busy += 1;
        if self.candidate.is_some_and(|(of, _, _)| of != job) {
            self.candidate = None;
        }
        self.current = Some(job);
        if self.jobs[job].selected == self.jobs[job].read {
            self.retire(job);
        }
        Some(site)
    }

    fn retire(&mut self, job: usize) {
        if self.jobs[job].level > 0 {
            self.pop(job);
        }
        self.jobs.iter_mut().filter(|other| other.parent == Some(job)).for_each(|child| child.parent = None);
        let place = self.place(job);
        self.list.remove(place);
        if self.current == Some(job) {
            self.current = self.list.get(place).copied();
        }
        if self.candidate.is_some_and(|(of, _, best)| of == job || best == Some(job)) {
            self.candidate = None;
        }
    }

    fn preempt(&mut self) {
        let victim = self.current.expect("the list is not empty");
        if self.jobs[victim].available <= 0 || self.jobs[victim].read < 3 * self.cost {
            return;
        }
        let Some(best) = self.candidate(victim) else { return };
        let expected = self.jobs[best].read - self.jobs[best].selected;
        let slots = self.jobs[victim].available / self.cost + self.loan;
        if (slots as f64) < expected as f64 * (100 - self.discount) as f64 / 100.0 {
            return;
        }
        if self.jobs[best].level > 0 {
            self.pop(best);
        }
        self.list.remove(self.place(best));
        self.list.insert(self.place(victim), best);
        self.jobs[victim].available -= expected * self.cost;
        let level = self.jobs[victim].level + 1;
        let job = &mut self.jobs[best];
        (job.parent, job.level, job.used) = (Some(victim), level, -expected);
        (self.current, self.candidate) = (Some(best), None);
    }

    fn candidate(&mut self, of: usize) -> Option<usize> {
        if let Some((cached, second, best)) = self.candidate
            && cached == of
            && (second == self.now || best.is_none())
        {
            return best;
        }
        let job = &self.jobs[of];
        let affordable = (job.read - job.selected + job.available) / self.cost;
        let mut best: Option<(f64, usize)> = None;
        for other in &self.list[self.place(of) + 1..] {
            let job = &self.jobs[*other];
            let needed = job.read - job.selected;
            if self.has_children(*other) || job.blocker == self.tag || needed > affordable {
                continue;
            }
            let score = (self.now - job.entered + 1) as f64 / job.read as f64;
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, *other));
            }
        }
        let best = best.map(|(_, job)| job);
        self.candidate = Some((of, self.now, best));
        best
    }

    fn pop(&mut self, job: usize) {
        let parent = self.jobs[job].parent.take();
        if let Some(parent) = parent
            && self.jobs[job].level == self.jobs[parent].level + 1
        {
            self.jobs[parent].available -= self.jobs[job].used * self.cost;
        }
        self.jobs[job].level = 0;
        self.jobs
            .iter_mut()
            .filter(|other| other.parent == Some(job))
            .for_each(|child| child.parent = parent);
        self.candidate = None;
    }

    /// A delivery is over.
    fn finish(&mut self, site: usize) {
        self.sites[site].busy -= 1;
        if self.sites[site].blocker != self.tag || !self.is_open(site) {
            return;
        }
        let waits = |(other, todo): &(usize, i64)| *other == site && *todo > 0;
        self.sites[site].blocker = 0;
        if self.list.iter().any(|job| self.jobs[*job].peers.iter().any(waits)) {
            (self.tag, self.current, self.candidate) = (self.tag + 2, self.list.first().copied(), None);
        }
    }
}

/// The engine, the plain rules, and which message is which job.
struct Pair {
    world: World,
    plain: Scheduler,
    jobs: BTreeMap<QueueId, usize>,
    agents: usize,
    compared: usize,
}

impl Pair {
    fn new(rng: &mut Rng) -> Pair {
        let (cost, loan) = ([0, 2, 3, 5][rng.below(4) as usize], rng.below(4) as i64);
        let (discount, window) = ([0, 50, 100][rng.below(3) as usize], 1 + rng.below(3));
        let agents = 1 + rng.below(6) as usize;
        let config = postfix(&[
            ("smtp.process_limit", &agents.to_string()),
            ("destination_process_share", "100%"),
            ("smtp.initial_destination_concurrency", &window.to_string()),
            ("smtp.destination_concurrency_limit", &window.to_string()),
            ("smtp.destination_recipient_limit", "1"),
            ("smtp.delivery_slot_cost", &cost.to_string()),
            ("smtp.delivery_slot_loan", &loan.to_string()),
            ("smtp.delivery_slot_discount", &discount.to_string()),
        ]);
        let sites = MAILBOXES.iter().map(|_| Site::default()).collect();
        let (jobs, list) = (Vec::new(), Vec::new());
        let (current, candidate, tag, now) = (None, None, 1, 1000);
        let plain =
            Scheduler { cost, loan, discount, window, jobs, sites, list, current, candidate, tag, now };
        let mut world = World::new(config);
        (world.by_hand, world.now) = (true, at(1000));
        Pair { world, plain, jobs: BTreeMap::new(), agents, compared: 0 }
    }

    fn arrive(&mut self, entered: i64, entries: &[(usize, i64)]) {
        let mut mail = self.world.make(&format!("m{}", self.jobs.len()), &[("x.test", 0)]);
        for (site, count) in entries {
            let address = format!("{}@x.test", MAILBOXES[*site]);
            let recipient = (address.into(), "x.test".into(), "smtp".into());
            mail.recipients.extend((0..*count).map(|_| recipient.clone()));
        }
        let count = mail.recipients.len() as u32;
        (mail.stored.recipients, mail.stored.unfinished) = (count, count);
        mail.stored.entered = Some(at(entered));
        self.jobs.insert(mail.stored.id, self.plain.jobs.len());
        self.plain.arrive(entered, entries);
        self.world.accept(mail);
    }

    fn finish(&mut self, rng: &mut Rng) {
        let place = rng.below(self.world.running.len() as u64) as usize;
        let number = *self.world.running.keys().nth(place).expect("in range");
        let site = self.world.destination_of(number);
        self.plain.finish(MAILBOXES.iter().position(|name| site.starts_with(name)).expect("a mailbox"));
        self.world.finish(number);
    }

    /// Lets both select for all free agents, and compares.
    fn compare(&mut self, mut busy: usize) {
        self.world.pump();
        let selected = |(_, note): &(_, Note)| match note {
            Note::Select { id, destination, .. } => Some((self.jobs[id], destination.to_string())),
            _ => None,
        };
        let found: Vec<(usize, String)> =
            self.world.notes.iter().filter_map(selected).skip(self.compared).collect();
        let mut expected = Vec::new();
        while busy < self.agents
            && let Some((job, site)) = self.plain.select()
        {
            expected.push((job, format!("{}@x.test", MAILBOXES[site])));
            busy += 1;
        }
        assert_eq!(found, expected, "after {} selections: {:?}", self.compared, self.plain);
        self.compared += found.len();
    }
}

fn live(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut pair = Pair::new(&mut rng);
    for _ in 0..60 {
        pair.world.now = pair.world.now + std::time::Duration::from_millis(rng.below(3) * rng.below(1500));
        pair.plain.now = pair.world.now.as_secs();
        if pair.world.running.is_empty() || rng.chance(1, 6) {
            let entered = pair.plain.now - [0, 0, 5, 60][rng.below(4) as usize];
            let most = [2, 6, 30][rng.below(3) as usize];
            let mut entries: Vec<(usize, i64)> = (0..MAILBOXES.len())
                .map(|site| (site, rng.below(2) as i64 * (1 + rng.below(most) as i64)))
                .filter(|(_, count)| *count > 0)
                .collect();
            if entries.is_empty() {
                entries.push((0, 1));
            }
            let busy = pair.world.running.len();
            pair.arrive(entered, &entries);
            pair.compare(busy);
        } else {
            pair.finish(&mut rng);
            pair.compare(pair.world.running.len());
        }
        pair.world.engine.check_invariants().unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[test]
fn jobs_are_served_as_the_plain_rules_say() {
    let given: Option<u64> = std::env::var("POSTRIDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let worlds = std::env::var("POSTRIDER_WORLDS").ok().and_then(|count| count.parse().ok()).unwrap_or(400);
    for seed in given.map_or(1..=worlds, |seed| seed..=seed) {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
            eprintln!("POSTRIDER_SEED={seed} cargo test -p qmgr --test restatement jobs_are_served");
            std::panic::resume_unwind(panic);
        }
    }
}
