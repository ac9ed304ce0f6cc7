//! Opening a spool: the lock, `FORMAT`, reading, and then putting in order what a crash left.
//!
//! Promises: whatever can be put off is: a full or failing disk keeps no engine from starting as long
//! as the log can be read. What is removed here is provably nobody's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use mail::{IdSource, QueueId, Rng};

use crate::cache::Cache;
use crate::disk::{Access, Disk, Lock, LockError};
use crate::inventory::{Inventory, UNREADABLE};
use crate::layout::{
    BIG, BLOCK, CORRUPT, FORMAT, LOG, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN, big_name, big_path, segment_path,
    spare_path,
};
use crate::log::{End, write_footer};
use crate::quarantine::{self, Cut, Kept};
use crate::recover::{self, Read};
use crate::shared::{Counters, Pending, Shared, lock};
use crate::spares::Spares;
use crate::{OpenError, Options, Progress, Recovery};

/// An opened spool before its threads run.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lock: Lock,
    pub(crate) end: End,
    pub(crate) recovery: Recovery,
    pub(crate) inventory: Inventory,
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

/// Opens and recovers.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Opened, OpenError> {
    check(&options)?;
    let start = Instant::now();
    let exclusive = take_lock(&*disk)?;
    let uuid = format_file(&*disk, options.seed)?;
    for directory in [LOG, BIG, CORRUPT] {
        disk.create_directory(directory).map_err(failed(directory))?;
    }
    disk.sync_directory("").map_err(failed("."))?;
    let mut read = recover::read(&*disk, progress).map_err(failed(LOG))?;
    let mut kept = quarantine::list(&*disk).map_err(failed(CORRUPT))?;
    let (logged, twice) = (read.index.len(), twice(&kept, &read));
    let greatest = kept.keys().map(|id| id.as_u64()).max().unwrap_or(0);
    read.end.id_floor = read.end.id_floor.max(greatest);
    let mut recovery = Recovery {
        clean: read.clean && read.torn_bytes == 0,
        torn_bytes: read.torn_bytes,
        scanned: read.unsealed.len() as u64,
        damaged: (read.faults.len() + read.regions.len()) as u64,
        ..Recovery::default()
    };
    let spares = put_files_in_order(&*disk, &options, &mut read);
    recovery.segments = read.index.segments.len() as u64;
    let shared = Arc::new(share(disk, options, uuid, &mut read, &kept, spares));
    set_aside(&shared, &read, &kept);
    seal(&shared, &read);
    recovery.orphans = remove_orphans(&shared, read.regions.is_empty());
    count_found(&shared);
    kept.retain(|id, _| !twice.contains(id));
    let inventory = Inventory::new(shared.clone(), std::mem::take(&mut read.summaries), logged, kept);
    recovery.messages = inventory.total();
    recovery.corrupt = lock(&shared.corrupt).len() as u64;
    recovery.elapsed = start.elapsed();
    Ok(Opened { shared, lock: exclusive, end: read.end, recovery, inventory })
}

/// The messages that are in the log and in `corrupt/`: see [`set_aside`].
fn twice(kept: &BTreeMap<QueueId, Kept>, read: &Read) -> BTreeSet<QueueId> {
    kept.keys().copied().filter(|&id| read.index.get(id).is_some()).collect()
}

fn count_found(shared: &Shared) {
    let live = lock(&shared.index).len();
    Counters::add(&shared.counters.found, (live + lock(&shared.corrupt).len()) as u64);
}

/// Reads a stopped spool without changing anything, and says what is wrong with which message.
pub(crate) fn look(
    disk: Arc<dyn Disk>,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Shared, Vec<(QueueId, String)>), OpenError> {
    let mut read = recover::read(&*disk, progress).map_err(failed(LOG))?;
    let kept = quarantine::list(&*disk).map_err(failed(CORRUPT))?;
    while let Some((message, readable)) = read.summaries.take_next() {
        if !readable {
            read.faults.push((message.id, UNREADABLE.to_owned()));
        }
    }
    let shared = share(disk, options, [0; 16], &mut read, &kept, Spares::default());
    Ok((shared, read.faults))
}

fn check(options: &Options) -> Result<(), OpenError> {
    let size = options.segment_size;
    let wrong = if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&size) || !size.is_multiple_of(BLOCK) {
        "segment_size must be a multiple of 4 KiB between 64 KiB and 1 GiB"
    } else if options.batch_records == 0 || options.batch_bytes == 0 {
        "a batch must hold something"
    } else if options.compact_ratio < 2 {
        "compact_ratio must be at least 2"
    } else if options.state_chain_max == 0 || options.state_chain_max > u32::from(u16::MAX) {
        "state_chain_max must be between 1 and 65535"
    } else {
        return Ok(());
    };
    Err(OpenError::Options(wrong))
}

fn take_lock(disk: &dyn Disk) -> Result<Lock, OpenError> {
    disk.lock().map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { pid },
        LockError::Io(source) => OpenError::Io { path: "LOCK".to_owned(), source },
    })
}

/// What the first line of `FORMAT` must be.
const TITLE: &str = "postrider spool format 1";

/// Reads `FORMAT`, or writes it when there is none or it is damaged. Only a whole file of another
/// version is refused.
fn format_file(disk: &dyn Disk, seed: u64) -> Result<[u8; 16], OpenError> {
    let text = match disk.open(FORMAT, Access::Read) {
        Ok(file) => {
            let mut bytes = vec![0; BLOCK as usize];
            let count = file.read_at(0, &mut bytes).map_err(failed(FORMAT))?;
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(FORMAT)(error)),
    };
    if let Some((content, sum)) = text.rsplit_once("sum ")
        && u32::from_str_radix(sum.trim_end(), 16) == Ok(crc32c::crc32c(content.as_bytes()))
    {
        if content.lines().next() != Some(TITLE) {
            return Err(OpenError::Format(format!("{:?} instead of {TITLE:?}", content.lines().next())));
        }
        let uuid = content.lines().find_map(|line| line.strip_prefix("uuid "));
        let uuid = uuid.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        return uuid.map(u128::to_be_bytes).ok_or_else(|| OpenError::Format("no uuid".to_owned()));
    }
    let mut rng = Rng::new(seed);
    let uuid = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let content = format!(
        "{TITLE}\nuuid {uuid:032x}\n\
         log/seg-*.mql: blocks of 4096 bytes; batches of records; message texts are plain bytes in them.\n\
         big/*/*.eml: large message texts. corrupt/: damaged messages with the reason.\n\
         docs/spool-format.md of the program describes every byte.\n"
    );
    let text = format!("{content}sum {:08x}\n", crc32c::crc32c(content.as_bytes()));
    let write = || {
        let temporary = "FORMAT.tmp";
        let file = disk.open(temporary, Access::Create)?;
        file.write_at(0, &[IoSlice::new(text.as_bytes())])?;
        file.sync()?;
        disk.rename(temporary, FORMAT)?;
        disk.sync_directory("")
    };
    write().map_err(failed(FORMAT))?;
    Ok(uuid.to_be_bytes())
}

/// Recycles or removes files of the log that hold nothing, and says which spares there are.
fn put_files_in_order(disk: &dyn Disk, options: &Options, read: &mut Read) -> Spares {
    let next = read.spares.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    let mut next = next.max(1);
    let mut ready = VecDeque::new();
    for name in read.unfinished.drain(..) {
        let _ = disk.remove(&name);
    }
    for (number, length) in read.spares.drain(..) {
        if length == options.segment_size && ready.len() < options.spares_max {
            ready.push_back(number);
        } else {
            let _ = disk.remove(&spare_path(number));
        }
    }
    for (seq, length) in read.free.drain(..) {
        let path = segment_path(seq);
        let links = || disk.open(&path, Access::Read).and_then(|file| file.status()).map_or(2, |s| s.links);
        let usable = length == options.segment_size && ready.len() < options.spares_max && links() == 1;
        if usable && disk.rename(&path, &spare_path(next)).is_ok() {
            ready.push_back(next);
            next += 1;
        } else {
            let _ = disk.remove(&path);
        }
    }
    Spares::new(ready, next)
}

fn share(
    disk: Arc<dyn Disk>,
    options: Options,
    uuid: [u8; 16],
    read: &mut Read,
    kept: &BTreeMap<QueueId, Kept>,
    spares: Spares,
) -> Shared {
    let floor = Some(read.end.id_floor).filter(|&floor| floor > 0).map(QueueId::from_u64);
    let corrupt = kept.iter().map(|(&id, kept)| (id, kept.message.clone())).collect();
    Shared {
        disk,
        uuid,
        setting_aside: Mutex::new(()),
        index: Mutex::new(std::mem::take(&mut read.index)),
        cache: Mutex::new(Cache::new(options.cache_bytes)),
        pending: Mutex::new(Pending::default()),
        wake: Condvar::new(),
        unsettled: Mutex::default(),
        settled: Condvar::new(),
        ids: Mutex::new(IdSource::above(floor)),
        corrupt: Mutex::new(corrupt),
        verified: Mutex::new(BTreeSet::new()),
        directories: Mutex::default(),
        refusal: Mutex::new(None),
        spares,
        counters: Counters::default(),
        options,
    }
}

/// Moves what is damaged to `corrupt/`. What cannot be moved now is found again when it is read.
fn set_aside(shared: &Arc<Shared>, read: &Read, kept: &BTreeMap<QueueId, Kept>) {
    let time = (shared.options.clock)().as_millis();
    for region in &read.regions {
        let stem = format!("{:016x}-{:08x}", region.segment, region.range.start);
        let origin =
            format!("segment {}, bytes {} to {}", region.segment, region.range.start, region.range.end);
        let reason = "damaged records of messages that cannot be told any more";
        let cut = Cut { stem: &stem, bytes: &region.bytes, reason, origin: &origin, time };
        if quarantine::write(&*shared.disk, &cut).is_err() {
            Counters::add(&shared.counters.failures, 1);
        }
    }
    for (id, reason) in &read.faults {
        if shared.quarantine(*id, reason).is_err() {
            Counters::add(&shared.counters.failures, 1);
        }
    }
    // A crash between setting a message aside and forgetting it, or between taking it back and removing
    // its files: as long as the log has it, the log is right, so that the files are made anew.
    for (&id, kept) in kept {
        if lock(&shared.index).get(id).is_none() {
            continue;
        }
        lock(&shared.corrupt).remove(&id);
        if shared.quarantine(id, &kept.message.reason).is_err() {
            Counters::add(&shared.counters.failures, 1);
            lock(&shared.corrupt).insert(id, kept.message.clone());
        }
    }
}

/// Gives footers to segments that a crash left without, so that the next start is fast. Their flush
/// also makes durable what a killed process had written but not flushed.
fn seal(shared: &Shared, read: &Read) {
    for unsealed in &read.unsealed {
        let path = segment_path(unsealed.footer.seq);
        let complete = !unsealed.faulty && unsealed.footer.fits(&unsealed.entries);
        let sealed = shared.disk.open(&path, Access::Write).and_then(|file| match complete {
            true => write_footer(&*file, &unsealed.footer, &unsealed.entries),
            false => file.sync(),
        });
        if sealed.is_err() {
            Counters::add(&shared.counters.failures, 1);
        }
    }
}

/// Removes bodies in `big/` that belong to no message, unless somebody's name may have been lost.
fn remove_orphans(shared: &Shared, certain: bool) -> u64 {
    let mut removed = 0;
    let list = |directory: &str| shared.disk.list(directory).unwrap_or_default();
    for directory in list(BIG).into_iter().filter(|entry| entry.directory) {
        for file in list(&format!("{BIG}/{}", directory.name)) {
            let path = format!("{BIG}/{}/{}", directory.name, file.name);
            let wanted = match big_name(&file.name) {
                Some(id) if big_path(id) == path => {
                    !certain
                        || lock(&shared.index).get(id).is_some_and(|entry| entry.is_big())
                        || lock(&shared.corrupt).contains_key(&id)
                }
                _ => true,
            };
            if !wanted && shared.disk.remove(&path).is_ok() {
                removed += 1;
            }
        }
    }
    removed
}
