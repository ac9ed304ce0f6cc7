//! The logs of eligible sites as files that an operator can read: `flush/@example.com` in the spool's
//! directory, one queue id a line, `-` in front when it waits no longer.
//!
//! Promises: what the engine notes of a log is in its file soon afterwards; mail never waits for a file
//! (changes are collapsed by site in a queue of bounded size, and a log whose changes found no place is
//! written anew later); a log that somebody removes is whole again with its next line; trouble with the
//! disk costs the logs and nothing else. At the start nothing is written before every message is known.
//!
//! Refuses: to be read back for anything but the times of the files. The record comes from the spool.
//!
//! Known weakness: the access time of a file says when its mail was last asked for. Where the file system
//! keeps access times, reading a log before a restart lets its next refresh come later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flush::{LogChange, LogTimes, added_line, file_name, read_log, removed_line, site_of_file};
use mail::{QueueId, Time};
use qmgr::Engine;
use tokio::sync::oneshot;
use tracing::warn;

/// Bytes of lines that may wait to be written, all logs together.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// What one log costs beside its lines while it waits.
const SITE_BYTES: usize = 64;
/// How long changes are collected before they are written together.
const LINGER: Duration = Duration::from_millis(100);
/// How long the disk is left alone after it failed.
const RETRY: Duration = Duration::from_secs(60);
/// Under this name a log is written before it gets its own; sites have a `@` in front.
const STAGING: &str = "new";
/// Logs that are written anew for one event of the engine, at most.
const CATCH_UP_LOGS: usize = 16;
/// Lines of messages that wait no longer which a log may have at the start without being written anew.
const STALE_LINES_MAX: usize = 64;

/// How the engine's task reaches the writer.
#[derive(Clone)]
pub(crate) struct FlushLogs(Arc<Shared>);

/// The thread that writes.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<Arc<str>, Work>,
    bytes: usize,
    /// Logs whose files are not what they should be; written anew when there is room.
    lost: BTreeSet<Arc<str>>,
    /// Every message is known; before that, what a log says cannot be right.
    begun: bool,
    /// Not before this instant.
    retry_at: Option<Instant>,
    stop: bool,
}

/// What is to be done with one file: first the base, then the lines.
#[derive(Default)]
struct Work {
    base: Base,
    lines: String,
}

#[derive(Default)]
enum Base {
    /// Go on with what is there.
    #[default]
    Keep,
    /// Empty it. `sent`: because its mail was asked for.
    Empty { sent: bool },
    /// It says this.
    Whole { ids: Vec<QueueId>, times: LogTimes },
    /// It goes away.
    Delete,
}

impl Work {
    fn fold(&mut self, change: LogChange) {
        match change {
            LogChange::Added(id) => return self.lines.push_str(&added_line(id)),
            LogChange::Removed(id) => return self.lines.push_str(&removed_line(id)),
            LogChange::Sent => self.base = Base::Empty { sent: true },
            LogChange::Emptied => {
                let sent = matches!(self.base, Base::Empty { sent: true });
                self.base = Base::Empty { sent };
            }
            LogChange::Deleted => self.base = Base::Delete,
        }
        self.lines.clear();
    }

    fn bytes(&self) -> usize {
        let ids = if let Base::Whole { ids, .. } = &self.base { ids.len() } else { 0 };
        SITE_BYTES + self.lines.len() + ids * size_of::<QueueId>()
    }
}

/// The folder of the logs.
pub(crate) fn directory(spool: &Path) -> PathBuf {
    spool.join("flush")
}

/// A log that was found at the start.
pub(crate) type FoundLog = (Arc<str>, LogTimes);

/// The times of a log that is there.
fn times_of(path: &Path) -> Option<LogTimes> {
    let file = path.metadata().ok()?;
    let modified = file.modified().map_or(Time::ZERO, time);
    Some(LogTimes {
        begun: modified,
        last_sent: file.accessed().ok().map(time).filter(|at| *at > Time::ZERO),
        last_added: modified,
        empty_since: (file.len() == 0).then_some(modified),
    })
}

/// The logs in the folder by site; nothing when there is no folder.
fn found(spool: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory(spool)).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((site_of_file(entry.file_name().to_str()?)?, entry.path()))).collect()
}

/// Starts the writer. It has nothing to do before [`FlushLogs::begin`].
pub(crate) fn start(spool: &Path) -> (FlushLogs, Writer) {
    let shared = Arc::new(Shared::default());
    let (writing, directory) = (shared.clone(), directory(spool));
    let (running, ended) = oneshot::channel();
    let started = thread::Builder::new().name("flush logs".to_owned()).spawn(move || {
        write(&writing, &directory);
        drop(running);
    });
    if let Err(error) = started {
        warn!("no thread for the logs of sites, they are not written: {error}");
    }
    (FlushLogs(shared.clone()), Writer { shared, ended })
}

impl FlushLogs {
    /// At the start: the logs that are there, for the engine to be told of before it hears of their mail.
    /// Reads the folder.
    pub(crate) fn restore(&self, spool: &Path) -> Vec<FoundLog> {
        let found = found(spool).into_iter();
        let logs: Vec<FoundLog> =
            found.filter_map(|(site, path)| Some((site.into(), times_of(&path)?))).collect();
        self.0.lock().lost.extend(logs.iter().map(|(site, _)| site.clone()));
        logs
    }

    /// Every message is known: from now on the files are brought up to what the engine knows.
    pub(crate) fn begin(&self, engine: &Engine) {
        let mut state = self.0.lock();
        state.lost.extend(engine.flush_logs().into_iter().map(|(site, _)| site));
        state.begun = true;
    }

    /// Takes note of a change. Never waits for a file.
    pub(crate) fn note(&self, site: Arc<str>, change: LogChange) {
        let mut state = self.0.lock();
        if !state.begun || state.lost.contains(&site) {
            return;
        }
        let mut work = state.take(&site).unwrap_or_default();
        work.fold(change);
        if state.bytes + work.bytes() > WAITING_BYTES_MAX {
            state.lost.insert(site);
        } else {
            state.wait(site, work);
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Makes good for some of the logs whose changes were lost, as far as there is room. The answer says when
    /// to come back for more; nothing when all is well.
    pub(crate) fn catch_up(&self, engine: &Engine) -> Option<Duration> {
        let mut state = self.0.lock();
        if !state.begun || state.lost.is_empty() {
            return None;
        }
        if let Some(wait) = state.retry_at.and_then(|at| at.checked_duration_since(Instant::now())) {
            return Some(wait);
        }
        for _ in 0..CATCH_UP_LOGS {
            if state.bytes > WAITING_BYTES_MAX / 2 {
                return Some(LINGER);
            }
            let site = state.lost.pop_first()?;
            let base = match engine.flush_log(&site) {
                Some(times) => Base::Whole { ids: engine.logged_messages(&site), times },
                None => Base::Delete,
            };
            state.wait(site, Work { base, lines: String::new() });
            self.0.changed.notify_all();
        }
        Some(Duration::ZERO)
    }
}

impl Writer {
    /// Writes what waits and ends. Takes as long as the disk does.
    pub(crate) async fn finish(self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        // Nothing is ever sent: the end of the thread closes the channel.
        let _ = self.ended.await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These files may not be what they should be. What waits for them is known to the engine as well.
    fn write_anew(&self, sites: Vec<Arc<str>>) {
        let mut state = self.lock();
        for site in sites {
            state.take(&site);
            state.lost.insert(site);
        }
    }

    /// Waits for work, lets it gather, and takes all of it; whether it is the last.
    fn next(&self) -> (BTreeMap<Arc<str>, Work>, bool) {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.stop {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + LINGER;
        while !state.stop && state.bytes < WAITING_BYTES_MAX / 2 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.bytes = 0;
        (std::mem::take(&mut state.waiting), state.stop)
    }
}

impl State {
    fn wait(&mut self, site: Arc<str>, work: Work) {
        self.bytes += work.bytes();
        self.waiting.insert(site, work);
    }

    fn take(&mut self, site: &str) -> Option<Work> {
        let work = self.waiting.remove(site)?;
        self.bytes -= work.bytes();
        Some(work)
    }
}

fn write(shared: &Shared, directory: &Path) {
    loop {
        let (work, last) = shared.next();
        let (mut failed, mut begun) = (Vec::new(), Vec::new());
        let mut reason = None;
        for (site, work) in work {
            match carry_out(directory, &site, work) {
                Ok(Written::AsExpected) => {}
                Ok(Written::Begun) => begun.push(site),
                Err(error) => {
                    reason.get_or_insert(error);
                    failed.push(site);
                }
            }
        }
        shared.write_anew(begun);
        if let Some(reason) = reason {
            let count = failed.len();
            warn!("{}: {count} logs of sites not written, tried again later: {reason}", directory.display());
            shared.write_anew(failed);
            shared.lock().retry_at = Some(Instant::now() + RETRY);
        }
        if last {
            return;
        }
    }
}

/// What became of the file of a log.
#[derive(PartialEq, Eq, Debug)]
enum Written {
    AsExpected,
    /// There was none to go on with: the log is new, or somebody has removed it.
    Begun,
}

fn carry_out(directory: &Path, site: &str, work: Work) -> io::Result<Written> {
    let path = directory.join(file_name(site).map_err(io::Error::other)?);
    let begun = matches!(work.base, Base::Keep) && !path.exists();
    match work.base {
        Base::Keep => {}
        Base::Empty { sent } => empty(&path, sent)?,
        Base::Whole { ids, times } => write_whole(directory, &path, &ids, times)?,
        Base::Delete => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    if !work.lines.is_empty() {
        open(&path)?.write_all(work.lines.as_bytes())?;
    }
    Ok(if begun { Written::Begun } else { Written::AsExpected })
}

/// Opens a log for appending. A new one has an access time that says: never asked for.
fn open(path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600);
        options
    };
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = options().create(true).open(path)?;
    file.set_times(FileTimes::new().set_accessed(UNIX_EPOCH))?;
    Ok(file)
}

fn empty(path: &Path, sent: bool) -> io::Result<()> {
    let file = open(path)?;
    // An empty log keeps the time since when it is.
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    if sent { file.set_times(FileTimes::new().set_accessed(SystemTime::now())) } else { Ok(()) }
}

fn write_whole(directory: &Path, path: &Path, ids: &[QueueId], times: LogTimes) -> io::Result<()> {
    if let Ok(text) = fs::read_to_string(path) {
        let log = read_log(&text);
        let stale = log.lines.saturating_sub(ids.len()) > STALE_LINES_MAX.max(ids.len());
        let whole = log.damaged_at.is_none() && (text.is_empty() || text.ends_with('\n'));
        if whole && !stale && log.waiting.iter().eq(ids) {
            return set_times(&File::options().append(true).open(path)?, times);
        }
    }
    let staging = directory.join(STAGING);
    match fs::remove_file(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open(&staging)?;
    let mut text = String::new();
    ids.iter().for_each(|id| text.push_str(&added_line(*id)));
    file.write_all(text.as_bytes())?;
    set_times(&file, times)?;
    fs::rename(&staging, path)
}

fn set_times(file: &File, times: LogTimes) -> io::Result<()> {
    let modified = times.empty_since.unwrap_or(times.last_added);
    let accessed = times.last_sent.map_or(UNIX_EPOCH, system_time);
    file.set_times(FileTimes::new().set_accessed(accessed).set_modified(system_time(modified)))
}

fn time(at: SystemTime) -> Time {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn system_time(at: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn id(n: u64) -> QueueId {
        QueueId::from_u64(n)
    }

    fn engine(domains: &[&str]) -> Engine {
        let mut config = qmgr::Config::new(qmgr::Preset::Postrider);
        config.fast_flush_domains = mail::DomainList::parse(domains, true).unwrap();
        Engine::new(config, 1)
    }

    fn store(engine: &mut Engine, n: u64, site: &str) {
        let due = Time::from_millis(1_000_000);
        let stored = qmgr::Stored {
            id: id(n),
            arrived: Time::from_millis(500_000),
            entered: None,
            queue: qmgr::Queue::Deferred,
            due,
            attempts: 1,
            size: 1,
            null_sender: false,
            recipients: 1,
            unfinished: 1,
            sites: vec![site.into()],
            flags: qmgr::Flags::default(),
            reason: None,
        };
        engine.handle_stored(Time::from_millis(500_000), stored);
    }

    /// As after a start, with everything known and on its way to the files.
    fn started(spool: &Path, engine: &mut Engine, mail: impl FnOnce(&mut Engine)) -> (FlushLogs, Writer) {
        let (logs, writer) = start(spool);
        for (site, times) in logs.restore(spool) {
            engine.handle_flush_log(&site, times);
        }
        mail(engine);
        logs.begin(engine);
        while logs.catch_up(engine).is_some() {}
        (logs, writer)
    }

    fn read(spool: &Path, name: &str) -> Option<String> {
        fs::read_to_string(directory(spool).join(name)).ok()
    }

    #[tokio::test]
    async fn changes_reach_the_file_in_order_and_a_request_empties_it() {
        let spool = tempfile::tempdir().unwrap();
        let (logs, writer) = started(spool.path(), &mut engine(&["a.test"]), |_| ());
        let site: Arc<str> = "a.test".into();
        for change in
            [LogChange::Added(id(1)), LogChange::Sent, LogChange::Added(id(2)), LogChange::Added(id(3))]
        {
            logs.note(site.clone(), change);
        }
        logs.note(site, LogChange::Removed(id(2)));
        writer.finish().await;
        let text = added_line(id(2)) + &added_line(id(3)) + &removed_line(id(2));
        assert_eq!(read(spool.path(), "@a.test"), Some(text));
        let found = fs::metadata(directory(spool.path()).join("@a.test")).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        assert!(found.accessed().unwrap() > UNIX_EPOCH, "it was asked for");
        assert_eq!(fs::metadata(directory(spool.path())).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn the_start_writes_what_the_engine_knows_and_keeps_the_times() {
        let spool = tempfile::tempdir().unwrap();
        let flush = directory(spool.path());
        fs::create_dir(&flush).unwrap();
        for (name, text) in
            [("@a.test", added_line(id(9))), ("@gone.test", added_line(id(8))), ("@old.net", "x\n".into())]
        {
            fs::write(flush.join(name), text).unwrap();
            let asked = UNIX_EPOCH + Duration::from_secs(77);
            let file = File::options().append(true).open(flush.join(name)).unwrap();
            file.set_times(FileTimes::new().set_accessed(asked).set_modified(asked)).unwrap();
        }
        fs::write(flush.join("a foreign file"), "stays").unwrap();
        let mut engine = engine(&["a.test", "gone.test"]);
        let (_, writer) = started(spool.path(), &mut engine, |engine| {
            store(engine, 1, "a.test");
            store(engine, 2, "a.test");
        });
        writer.finish().await;
        assert_eq!(read(spool.path(), "@a.test"), Some(added_line(id(1)) + &added_line(id(2))));
        assert_eq!(read(spool.path(), "@gone.test"), Some(String::new()));
        assert_eq!(read(spool.path(), "@old.net"), None, "its site is not eligible");
        assert_eq!(read(spool.path(), "a foreign file"), Some("stays".to_owned()));
        let times = engine.flush_log("a.test").unwrap();
        assert_eq!(times.last_sent, Some(Time::from_millis(77_000)));
        let found = fs::metadata(flush.join("@a.test")).unwrap();
        assert_eq!(found.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(500), "when mail was added");
    }

    #[test]
    fn what_finds_no_place_is_written_anew_later() {
        let spool = tempfile::tempdir().unwrap();
        let mut engine = engine(&["a.test"]);
        store(&mut engine, 5, "a.test");
        let logs = FlushLogs(Arc::default());
        logs.0.lock().begun = true;
        let site: Arc<str> = "a.test".into();
        let lines = WAITING_BYTES_MAX / added_line(id(1)).len() + 1;
        (0..lines as u64).for_each(|n| logs.note(site.clone(), LogChange::Added(id(n))));
        assert!(logs.0.lock().lost.contains(&site) && logs.0.lock().bytes == 0, "the queue is bounded");
        logs.catch_up(&engine);
        let (work, _) = {
            logs.0.lock().stop = true;
            logs.0.next()
        };
        for (site, work) in work {
            carry_out(&directory(spool.path()), &site, work).unwrap();
        }
        assert_eq!(read(spool.path(), "@a.test"), Some(added_line(id(5))));
    }

    #[test]
    fn a_log_that_was_removed_is_whole_again_with_its_next_line() {
        let spool = tempfile::tempdir().unwrap();
        let mut engine = engine(&["a.test"]);
        (1..=3).for_each(|n| store(&mut engine, n, "a.test"));
        let logs = FlushLogs(Arc::default());
        logs.0.lock().begun = true;
        // One turn of the writer.
        let turn = || {
            let (work, _) = {
                logs.0.lock().stop = true;
                logs.0.next()
            };
            for (site, work) in work {
                if carry_out(&directory(spool.path()), &site, work).unwrap() == Written::Begun {
                    logs.0.write_anew(vec![site]);
                }
            }
        };
        logs.note("a.test".into(), LogChange::Added(id(3)));
        turn();
        assert_eq!(
            read(spool.path(), "@a.test"),
            Some(added_line(id(3))),
            "the others stood in the old file"
        );
        logs.catch_up(&engine);
        turn();
        let whole: String = (1..=3).map(|n| added_line(id(n))).collect();
        assert_eq!(read(spool.path(), "@a.test"), Some(whole));
        logs.note("a.test".into(), LogChange::Removed(id(1)));
        turn();
        assert!(logs.0.lock().lost.is_empty(), "it is there and goes on");
    }

    #[tokio::test]
    async fn a_disk_that_fails_costs_the_log_only() {
        let spool = tempfile::tempdir().unwrap();
        fs::write(directory(spool.path()), "a file where the folder should be").unwrap();
        let mut engine = engine(&["a.test"]);
        let (logs, writer) = started(spool.path(), &mut engine, |_| ());
        logs.note("a.test".into(), LogChange::Added(id(1)));
        writer.finish().await;
        assert!(logs.0.lock().lost.contains("a.test"));
        logs.catch_up(&engine);
        assert!(logs.0.lock().waiting.is_empty(), "the disk is left alone for a while");
    }
}
