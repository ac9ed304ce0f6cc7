//! Counting for `queue shape`: unfinished recipients by site and age.
//!
//! Promises: the engine is asked in pages that take about a millisecond each; envelopes are read only of
//! messages that have more recipients than sites. Refuses: counting by sender, which the engine does not
//! know; whoever wants that walks the listing.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::shape::{Buckets, Table};
use control::{QueueName, SHAPE_BUCKETS_MAX, ShapeItem};
use mail::{QueueId, Time};
use qmgr::{Shape, ShapePage, Waiting};
use spool::Spool;

use super::engine_task::{EngineHandle, now};
use super::listing;
use super::operator::Refusal;
use super::routes::Routes;

/// Messages that the engine looks at in one go.
const PAGE: usize = 65_536;
/// Sites in one item of the answer.
const SITES_AT_ONCE: usize = 512;
/// How often the count begins anew because sites got other numbers.
const TRIES: u32 = 8;

/// The buckets that a request asks for.
pub(crate) fn buckets(unit: u64, count: u32, linear: bool) -> Result<Buckets, Refusal> {
    if unit == 0 || !(1..=SHAPE_BUCKETS_MAX).contains(&count) {
        let text = format!("a shape has 1 to {SHAPE_BUCKETS_MAX} buckets of at least a millisecond");
        return Err(Refusal::Told(64, text));
    }
    Ok(Buckets { unit: std::time::Duration::from_millis(unit), count: count as usize, linear })
}

/// Counts by site.
#[derive(Default)]
struct Counts {
    /// By number of the site, then by bucket.
    numbered: Vec<u32>,
    /// Of messages that had to be read.
    named: BTreeMap<String, Vec<u64>>,
}

/// Counts the unfinished recipients in these queues.
pub(crate) async fn count(
    queues: Vec<QueueName>,
    buckets: Buckets,
    engine: &EngineHandle,
    spool: &Arc<Spool>,
    routes: &Arc<Routes>,
) -> Result<impl Iterator<Item = ShapeItem> + Send, Refusal> {
    let now = now();
    let mut shape = Shape::new(listing::queues(&queues));
    let (mut counts, mut tries, mut names) = (Counts::default(), 1, None);
    let (mut waiting, mut unclear) = (Vec::new(), Vec::new());
    while names.is_none() {
        let page = engine.ask(move |engine, _| {
            let page = engine.shape_page(&mut shape, PAGE);
            (page, shape, (page == ShapePage::Last).then(|| engine.shape_names()))
        });
        // What one page found is counted while the engine looks at the next.
        let counting = tokio::task::spawn_blocking(move || counts.add(&waiting, buckets, now));
        let (page, found, last) = page.await?;
        (shape, names) = (found, last);
        counts = counting.await.map_err(|_| failed())?;
        if page == ShapePage::Anew {
            tries += 1;
            (counts, unclear) = (Counts::default(), Vec::new());
            if tries > TRIES {
                return Err(Refusal::Told(75, "the queue changes too fast to be counted".to_owned()));
            }
        }
        waiting = std::mem::take(&mut shape.waiting);
        unclear.append(&mut shape.unclear);
    }
    counts = counts.add(&waiting, buckets, now);
    read(unclear, &mut counts, (buckets, now), (engine, spool, routes)).await?;
    Ok(items(counts, buckets, names.unwrap_or_default()))
}

fn failed() -> Refusal {
    Refusal::Told(70, "counting failed; the log says why".to_owned())
}

impl Counts {
    fn add(mut self, found: &[Waiting], buckets: Buckets, now: Time) -> Counts {
        for waiting in found {
            let age = now.as_millis().saturating_sub(waiting.arrived.as_millis()).max(0);
            let from = waiting.site as usize * buckets.count;
            if self.numbered.len() <= from {
                self.numbered.resize(from + buckets.count, 0);
            }
            self.numbered[from + buckets.of_millis(age.unsigned_abs())] += 1;
        }
        self
    }
}

/// Counts messages whose envelopes have to be read, a few at a time.
async fn read(
    unclear: Vec<QueueId>,
    counts: &mut Counts,
    (buckets, now): (Buckets, Time),
    (engine, spool, routes): (&EngineHandle, &Arc<Spool>, &Arc<Routes>),
) -> Result<(), Refusal> {
    for page in unclear.chunks(listing::PAGE) {
        let ids = page.to_vec();
        let views =
            engine.ask(move |engine, _| ids.iter().filter_map(|id| engine.message(*id)).collect::<Vec<_>>());
        let (views, spool, routes) = (views.await?, spool.clone(), routes.clone());
        let look = move || {
            let mut table = Table::new(buckets);
            for (view, item) in
                views.iter().filter_map(|view| Some((view, listing::item(view, &spool, &routes)?)))
            {
                let open = item.recipients.iter().filter(|recipient| !recipient.status.is_final());
                open.for_each(|recipient| table.add(&recipient.site, now.since(view.arrived)));
            }
            table
        };
        let table = tokio::task::spawn_blocking(look).await.map_err(|_| failed())?;
        for (name, found) in table.counts() {
            let sums = counts.named.entry(name.to_owned()).or_insert_with(|| vec![0; buckets.count]);
            sums.iter_mut().zip(found).for_each(|(sum, count)| *sum += count);
        }
    }
    Ok(())
}

/// The answer, made while it is sent.
fn items(counts: Counts, buckets: Buckets, names: Vec<(u32, Arc<str>)>) -> impl Iterator<Item = ShapeItem> {
    let Counts { numbered, mut named } = counts;
    let row = move |(site, name): (u32, Arc<str>), named: &mut BTreeMap<String, Vec<u64>>| {
        let from = site as usize * buckets.count;
        let row = numbered.get(from..from + buckets.count).unwrap_or_default();
        let row = row.iter().map(|count| u64::from(*count));
        let counts = match named.remove(&*name) {
            Some(mut counts) => {
                counts.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
                filled(counts.into_iter())
            }
            None => filled(row),
        };
        (name.to_string(), counts)
    };
    let mut names = names.into_iter();
    let next_row = move || {
        let other = |(name, counts): (String, Vec<u64>)| (name, filled(counts.into_iter()));
        names.next().map(|name| row(name, &mut named)).or_else(|| named.pop_first().map(other))
    };
    let mut rows = std::iter::from_fn(next_row).filter(|(_, counts)| !counts.is_empty()).fuse();
    std::iter::from_fn(move || {
        let sites: Vec<_> = rows.by_ref().take(SITES_AT_ONCE).collect();
        (!sites.is_empty()).then_some(ShapeItem { sites })
    })
}

/// The buckets that are not empty, with their numbers.
fn filled(row: impl Iterator<Item = u64>) -> Vec<(u32, u64)> {
    (0..).zip(row).filter(|(_, count)| *count > 0).collect()
}
