//! A disk in memory that loses power, fails calls and fills up on command.
//!
//! Promises: what was synced survives; of everything else a power cut keeps what the chosen [`Loss`]
//! and seed say: whole writes, pieces of 512 or 4,096 bytes in any combination (which includes every
//! order), some prefix of the unsynced renames and removals of each directory. After a failed sync the
//! unsynced data stays readable and is lost with the power, as on Linux. The same seed gives the same
//! result.
//! Refuses: to be fast, or to model a file system that reorders synced data.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use mail::Rng;
use spool::disk::{Access, Disk, DiskFile, Entry, Lock, LockError, Status};

/// What a power cut does to writes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// All of them had reached the disk.
    Nothing,
    /// None had.
    Everything,
    /// Each piece of this many bytes had, or had not.
    Torn(usize),
}

/// The disk. Clones share it.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    directories: BTreeSet<String>,
    durable_directories: BTreeSet<String>,
    /// Name changes that their directory's sync has not made durable.
    unsynced: Vec<NameChange>,
    locked: bool,
    capacity: Option<u64>,
    calls: u64,
    changes: u64,
    power_off_at: Option<u64>,
    /// The call under way is the one in whose middle the power goes off.
    gasp: bool,
    failing: Range<u64>,
    failure: Option<io::ErrorKind>,
}

#[derive(Clone, Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync; without bytes it is a new length.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    File { name: String, inode: u64 },
    Renamed { from: String, to: String, inode: u64 },
    Removed { name: String },
    Directory { name: String },
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl NameChange {
    fn directory(&self) -> &str {
        match self {
            NameChange::File { name, .. } | NameChange::Removed { name } | NameChange::Directory { name } => {
                parent(name)
            }
            NameChange::Renamed { to, .. } => parent(to),
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>, directories: &mut BTreeSet<String>) {
        match self {
            NameChange::File { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Renamed { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Removed { name } => {
                names.remove(name);
            }
            NameChange::Directory { name } => {
                directories.insert(name.clone());
            }
        }
    }
}

impl Inode {
    fn write(data: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if data.len() < end {
            data.resize(end, 0);
        }
        data[start..end].copy_from_slice(bytes);
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts one call; says whether it must fail.
    fn call(&mut self, change: bool) -> io::Result<()> {
        self.gasp = false;
        if self.is_off() {
            return Err(off());
        }
        self.changes += u64::from(change);
        self.calls += 1;
        if self.is_off() {
            self.gasp = true;
            return Err(off());
        }
        match self.failure {
            Some(kind) if self.failing.contains(&(self.calls - 1)) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn is_off(&self) -> bool {
        self.power_off_at.is_some_and(|at| self.changes >= at)
    }

    fn used(&self) -> u64 {
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        linked.iter().map(|inode| self.inodes[inode].data.len() as u64).sum()
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn rename_change(&mut self, change: NameChange) {
        change.apply(&mut self.names, &mut self.directories);
        self.unsynced.push(change);
    }
}

impl Default for FaultyDisk {
    fn default() -> FaultyDisk {
        FaultyDisk::new()
    }
}

impl FaultyDisk {
    /// An empty disk that works.
    pub fn new() -> FaultyDisk {
        FaultyDisk { state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Bytes that fit on it; nothing for no limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Calls that changed or synced something, so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// All calls so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The power goes off in the middle of this change; 1 is the first.
    pub fn power_off_at(&self, change: u64) {
        self.state().power_off_at = Some(change);
    }

    /// Whether the power went off.
    pub fn is_off(&self) -> bool {
        self.state().is_off()
    }

    /// Calls with these numbers (0 is the first) fail; none when the range is empty.
    pub fn fail_calls(&self, calls: Range<u64>, kind: io::ErrorKind) {
        let mut state = self.state();
        (state.failing, state.failure) = (calls, Some(kind));
    }

    /// A copy that shares nothing, as it would be found by a process that was started after this one
    /// was killed: nothing is lost, nothing is locked.
    pub fn fork(&self) -> FaultyDisk {
        let mut state = self.state().clone();
        state.locked = false;
        (state.calls, state.changes) = (0, 0);
        (state.power_off_at, state.failure) = (None, None);
        FaultyDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as it is found when the power is back.
    pub fn after_power_cut(&self, loss: Loss, seed: u64) -> FaultyDisk {
        let mut rng = Rng::new(seed);
        let disk = self.fork();
        let mut state = disk.state();
        let state = &mut *state;
        for inode in state.inodes.values_mut() {
            for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
                keep(&mut inode.durable, offset, &bytes, loss, &mut rng);
            }
            inode.data = inode.durable.clone();
        }
        let changes = std::mem::take(&mut state.unsynced);
        let directories: BTreeSet<String> =
            changes.iter().map(|change| change.directory().to_owned()).collect();
        for directory in directories {
            let own: Vec<_> = changes.iter().filter(|change| change.directory() == directory).collect();
            let kept = match loss {
                Loss::Nothing => own.len(),
                Loss::Everything => 0,
                Loss::Torn(_) => rng.below(own.len() as u64 + 1) as usize,
            };
            for change in &own[..kept] {
                change.apply(&mut state.durable_names, &mut state.durable_directories);
            }
        }
        let directories = state.durable_directories.clone();
        state.durable_names.retain(|name, _| parent(name).is_empty() || directories.contains(parent(name)));
        state.names = state.durable_names.clone();
        state.directories = directories;
        let linked: BTreeSet<u64> = state.names.values().copied().collect();
        state.inodes.retain(|inode, _| linked.contains(inode));
        disk.clone()
    }

    /// All files and their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state();
        let length = |inode: &u64| state.inodes[inode].data.len() as u64;
        state.names.iter().map(|(name, inode)| (name.clone(), length(inode))).collect()
    }

    /// The bytes of a file; nothing when there is none of that name.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|inode| state.inodes[inode].data.clone())
    }

    /// Changes bits of one byte, as rot does.
    pub fn rot(&self, name: &str, offset: u64, bits: u8) {
        let mut state = self.state();
        let Some(&number) = state.names.get(name) else { return };
        let Some(inode) = state.inodes.get_mut(&number) else { return };
        for bytes in [&mut inode.data, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= bits;
            }
        }
    }
}

/// Applies what of one write had reached the disk.
fn keep(durable: &mut Vec<u8>, offset: u64, bytes: &[u8], loss: Loss, rng: &mut Rng) {
    let piece = match loss {
        Loss::Nothing => bytes.len().max(1),
        Loss::Everything => return,
        Loss::Torn(piece) => piece,
    };
    let all = loss == Loss::Nothing;
    if bytes.is_empty() && (all || rng.chance(1, 2)) && durable.len() < offset as usize {
        durable.resize(offset as usize, 0);
    }
    let mut start = 0;
    while start < bytes.len() {
        // Pieces are sectors of the disk, not of the write.
        let place = offset as usize + start;
        let end = bytes.len().min(if all { bytes.len() } else { start + piece - place % piece });
        if all || rng.chance(1, 2) {
            Inode::write(durable, place as u64, &bytes[start..end]);
        }
        start = end;
    }
}

struct HeldLock(Arc<Mutex<State>>);

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).locked = false;
    }
}

impl Disk for FaultyDisk {
    fn lock(&self) -> Result<Lock, LockError> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Err(LockError::Held(None));
        }
        let held: Box<dyn Any + Send + Sync> = Box::new(HeldLock(self.state.clone()));
        Ok(held)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.call(false)?;
        let inside = |name: &&String| !name.is_empty() && parent(name) == directory;
        let short = |name: &String| name.rsplit('/').next().unwrap_or_default().to_owned();
        let files = state.names.iter().filter(|(name, _)| inside(name)).map(|(name, inode)| Entry {
            name: short(name),
            length: state.inodes[inode].data.len() as u64,
            directory: false,
        });
        let directories = state.directories.iter().filter(inside);
        let directories = directories.map(|name| Entry { name: short(name), length: 0, directory: true });
        Ok(files.chain(directories).collect())
    }

    fn create_directory(&self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        if !directory.is_empty() && !state.directories.contains(directory) {
            state.rename_change(NameChange::Directory { name: directory.to_owned() });
        }
        Ok(())
    }

    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(access == Access::Create)?;
        let inode = match (state.names.get(path).copied(), access) {
            (Some(inode), Access::Read | Access::Write) => inode,
            (None, Access::Read | Access::Write) => return Err(io::ErrorKind::NotFound.into()),
            (_, Access::Create) => {
                if !parent(path).is_empty() && !state.directories.contains(parent(path)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                state.rename_change(NameChange::File { name: path.to_owned(), inode });
                inode
            }
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        let inode = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.rename_change(NameChange::Renamed { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_change(NameChange::Removed { name: path.to_owned() });
        Ok(())
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        let changes = std::mem::take(&mut state.unsynced);
        let (own, others): (Vec<_>, _) =
            changes.into_iter().partition(|change| change.directory() == directory);
        state.unsynced = others;
        let state = &mut *state;
        for change in own {
            change.apply(&mut state.durable_names, &mut state.durable_directories);
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.call(false)?;
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())))
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
}

impl FaultyFile {
    fn with<T>(
        &self,
        change: bool,
        act: impl FnOnce(&mut State, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.state();
        let verdict = state.call(change);
        if !state.inodes.contains_key(&self.inode) {
            return Err(off());
        }
        act(&mut state, verdict)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(false, |state, verdict| {
            verdict?;
            let data = &state.inodes[&self.inode].data;
            let from = (offset as usize).min(data.len());
            let count = buffer.len().min(data.len() - from);
            buffer[..count].copy_from_slice(&data[from..from + count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.with(true, |state, verdict| {
            let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let verdict = verdict.and_then(|()| {
                let length = state.inodes[&self.inode].data.len() as u64;
                state.room_for((offset + bytes.len() as u64).saturating_sub(length))
            });
            if state.is_off() && !state.gasp {
                return verdict;
            }
            if verdict.is_err() && !state.gasp {
                // A write that fails may have got half of its way.
                bytes.truncate(bytes.len() / 2);
            }
            let Some(inode) = state.inodes.get_mut(&self.inode) else { return Err(off()) };
            if offset as usize <= inode.data.len() || verdict.is_ok() {
                Inode::write(&mut inode.data, offset, &bytes);
                inode.unsynced.push((offset, bytes));
            }
            verdict
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(true, |state, verdict| {
            let off = state.is_off();
            let Some(inode) = state.inodes.get_mut(&self.inode) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            if off {
                return verdict;
            }
            // A failed sync marks the pages clean all the same: a later one will not write them.
            for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
                if verdict.is_ok() {
                    keep(&mut inode.durable, offset, &bytes, Loss::Nothing, &mut Rng::new(0));
                }
            }
            verdict
        })
    }

    fn start_writeback(&self, _offset: u64, _length: u64) {}

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(true, |state, verdict| {
            verdict?;
            let now = state.inodes[&self.inode].data.len() as u64;
            state.room_for(length.saturating_sub(now))?;
            let Some(inode) = state.inodes.get_mut(&self.inode) else { return Err(off()) };
            if now < length {
                inode.data.resize(length as usize, 0);
                inode.unsynced.push((length, Vec::new()));
            }
            Ok(())
        })
    }

    fn status(&self) -> io::Result<Status> {
        self.with(false, |state, verdict| {
            verdict?;
            let links = state.names.values().filter(|&&inode| inode == self.inode).count();
            Ok(Status { length: state.inodes[&self.inode].data.len() as u64, links: links as u64 })
        })
    }
}
