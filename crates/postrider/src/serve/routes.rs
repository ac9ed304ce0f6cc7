//! The routing in force, shared by whoever asks where a recipient goes.
//!
//! Promises: a reload replaces it as a whole; one envelope is resolved by one routing. The table of
//! `route.map_file` is read again when it has changed and then stood still for a moment; one that is not good
//! leaves the one before in force, and is said once.
//! Refuses: looking anything up on the network. Which host takes a next hop's mail is the delivery
//! agent's question.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use delivery::TransportConfig;
use mail::{Address, Envelope, Verdict};
use qmgr::{Batch, Pending, Route};
use spool::RecipientRecord;
use tokio::sync::Notify;
use tracing::{error, info};

use super::reload::one_line;
use super::resolve::Resolver;
use crate::config::{self, MapRule, Problems, Settings};

/// How often the table is looked at; it is read when it looks the same twice.
const TABLE_LOOK: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Routes {
    router: ArcSwap<Resolver>,
    rules: Mutex<InForce>,
    /// Other settings are in force; without a table there is nothing else to wait for.
    replaced: Notify,
}

/// A routing that has been read and not yet put into force.
pub(crate) struct Prepared {
    rules: Rules,
    stamp: Stamp,
    table: Option<Vec<MapRule>>,
}

/// What a routing is made of, besides the table.
struct Rules {
    route: config::Route,
    transports: BTreeMap<String, TransportConfig>,
    hostname: String,
}

struct InForce {
    rules: Arc<Rules>,
    /// The table as it was when it was read last, good or not.
    read: Stamp,
    /// The table as it was seen last.
    seen: Stamp,
}

/// What tells that a file has changed: device, inode, size, and its two times with nanoseconds; or why
/// nothing can be told.
type Stamp = Result<[i128; 5], ErrorKind>;

fn stamp(path: Option<&Path>) -> Stamp {
    let Some(path) = path else { return Err(ErrorKind::NotFound) };
    let status = std::fs::metadata(path).map_err(|error| error.kind())?;
    let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (changed, status_changed) =
        (time(status.mtime(), status.mtime_nsec()), time(status.ctime(), status.ctime_nsec()));
    Ok([status.dev().into(), status.ino().into(), status.size().into(), changed, status_changed])
}

impl Rules {
    fn of(settings: &Settings) -> Rules {
        let hostname = settings.smtp.config.hostname.clone();
        Rules { route: settings.route.clone(), transports: settings.transports.clone(), hostname }
    }

    /// The rows of the table; none when there is no table.
    fn table(&self) -> Result<Vec<MapRule>, Problems> {
        let path = self.route.map_file.as_deref();
        path.map_or_else(|| Ok(Vec::new()), |path| config::read_table(path, &self.transports))
    }

    fn resolver(&self, table: Option<&[MapRule]>) -> Resolver {
        Resolver::new(&self.route, table, &self.hostname)
    }
}

impl Routes {
    /// Starts with the routing of these settings. A table that is not good makes all mail wait until it is.
    /// Blocks on the disk.
    pub(crate) fn start(settings: &Settings) -> Routes {
        let rules = Rules::of(settings);
        let stamp = stamp(rules.route.map_file.as_deref());
        let table = rules.table();
        if let Err(problems) = &table {
            error!("all mail waits for route.map_file to become good: {}", one_line(problems));
        }
        let router = rules.resolver(table.as_deref().ok());
        let in_force = InForce { rules: Arc::new(rules), read: stamp, seen: stamp };
        Routes { router: ArcSwap::from_pointee(router), rules: Mutex::new(in_force), replaced: Notify::new() }
    }

    /// Reads what the routing of these settings needs. Blocks on the disk.
    pub(crate) fn prepare(settings: &Settings) -> Result<Prepared, Problems> {
        let rules = Rules::of(settings);
        let stamp = stamp(rules.route.map_file.as_deref());
        let table = Some(rules.table()?);
        Ok(Prepared { rules, stamp, table })
    }

    /// Puts another routing into force. Mail in memory keeps the routes it has.
    pub(crate) fn replace(&self, prepared: Prepared) {
        let Prepared { rules, stamp, table } = prepared;
        let mut in_force = self.in_force();
        self.router.store(Arc::new(rules.resolver(table.as_deref())));
        *in_force = InForce { rules: Arc::new(rules), read: stamp, seen: stamp };
        self.replaced.notify_one();
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after the table for as long as it is polled.
    pub(crate) async fn watch_table(self: Arc<Routes>) {
        loop {
            if self.in_force().rules.route.map_file.is_none() {
                self.replaced.notified().await;
                continue;
            }
            tokio::time::sleep(TABLE_LOOK).await;
            let routes = self.clone();
            // A disk that hangs is waited for: there is nothing else to do here.
            if let Err(failure) = tokio::task::spawn_blocking(move || routes.look_at_table()).await {
                error!("internal error in looking at route.map_file: {failure}");
            }
        }
    }

    /// Reads the table when it has changed since it was read, and not since the last look: a file that is
    /// being written is let be.
    fn look_at_table(&self) {
        let rules = self.in_force().rules.clone();
        let Some(path) = rules.route.map_file.as_deref() else { return };
        let now = stamp(Some(path));
        {
            let mut in_force = self.in_force();
            let stands_still = std::mem::replace(&mut in_force.seen, now) == now;
            if in_force.read == now || !stands_still {
                return;
            }
            in_force.read = now;
        }
        let table = rules.table();
        let in_force = self.in_force();
        if !Arc::ptr_eq(&in_force.rules, &rules) {
            // A reload was faster, and has read it.
            return;
        }
        match table {
            Ok(table) => {
                self.router.store(Arc::new(rules.resolver(Some(&table))));
                info!("route.map_file {}: {} rows in force", path.display(), table.len());
            }
            Err(problems) => {
                error!(
                    "route.map_file not read again, what was before stays in force: {}",
                    one_line(&problems)
                );
            }
        }
    }

    /// Why a new message is put on hold, if a rule says so of any of its recipients.
    pub(crate) fn hold(&self, envelope: &Envelope) -> Option<Arc<str>> {
        let router = self.router.load();
        envelope.recipients.iter().find_map(|recipient| router.hold(&recipient.address).cloned())
    }

    /// Where mail for the address goes now.
    pub(crate) fn resolve(&self, address: &Address) -> Route {
        self.router.load().resolve(address)
    }

    /// At most `limit` unfinished recipients of an envelope from position `from` on, with their routes.
    pub(crate) fn batch(
        &self,
        envelope: &Envelope,
        records: &BTreeMap<u32, RecipientRecord>,
        from: u32,
        limit: u32,
    ) -> Batch {
        let router = self.router.load();
        let finished =
            |position: u32| records.get(&position).is_some_and(|record| record.verdict != Verdict::Deferred);
        let mut unfinished =
            (0..).zip(&envelope.recipients).skip(from as usize).filter(|(position, _)| !finished(*position));
        let recipients = unfinished
            .by_ref()
            .take(limit as usize)
            .map(|(position, recipient)| Pending {
                position,
                address: Arc::from(recipient.address.as_str()),
                site: Arc::from(recipient.address.site().unwrap_or_default()),
                route: router.resolve(&recipient.address),
                recorded: records.contains_key(&position),
                notify_success: recipient.notify.is_some_and(|notify| notify.success),
            })
            .collect();
        Batch { recipients, next: unfinished.next().map(|(position, _)| position) }
    }
}
