//! How slow the machine is just now.
//!
//! Promises: a beat is what the engine's record of a delivery costs at least: one thread wakes another, which
//! writes to the file system of the spool and syncs. The slowest beat of the last seconds bounds what the
//! machine may have added to one step of the engine. Refuses: to be light; it syncs fifty times a second.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Between two beats.
const REST: Duration = Duration::from_millis(15);
/// How far back beats count.
const MEMORY: Duration = Duration::from_secs(2);
/// A beat writes one block.
const BLOCK: [u8; 4096] = [0x50; 4096];

/// Beats until it is dropped.
pub(super) struct Pulse {
    beats: Arc<Mutex<Beats>>,
    /// Closed, it ends the thread that beats.
    alive: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// When each of the last beats began and how long it took; the one that is under way stands last.
#[derive(Default)]
struct Beats {
    ended: Vec<(Instant, Duration)>,
    under_way: Option<Instant>,
}

impl Pulse {
    /// Begins to beat, with a file of its own. The file is open only while it is written: its file system may
    /// go away in between.
    pub(super) fn start(path: &Path) -> Result<Pulse> {
        let path = path.to_owned();
        write(&path)?;
        let beats = Arc::new(Mutex::new(Beats::default()));
        let (alive, ended) = sync_channel(0);
        let (ask, asked) = sync_channel(0);
        let (answer, answered) = sync_channel(0);
        let shared = Arc::clone(&beats);
        let threads = vec![
            thread::spawn(move || write_when(&path, &asked, &answer)),
            thread::spawn(move || beat(&shared, &ended, &ask, &answered)),
        ];
        Ok(Pulse { beats, alive: Some(alive), threads })
    }

    /// The slowest beat of late, the one that is under way included.
    pub(super) fn slowest(&self) -> Duration {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = beats.ended.iter().filter(|(began, took)| (*began + *took).elapsed() <= MEMORY);
        let under_way = beats.under_way.map(|began| began.elapsed());
        ended.map(|(_, took)| *took).chain(under_way).max().unwrap_or_default()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.alive = None;
        for thread in self.threads.drain(..) {
            // It has nothing to say any more.
            let _ = thread.join();
        }
    }
}

fn write(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.write_all_at(&BLOCK, 0)?;
    file.sync_data()
}

fn write_when(path: &Path, asked: &Receiver<()>, answer: &SyncSender<()>) {
    while asked.recv().is_ok() {
        // A disk that fails makes the beat no slower; the engine says so itself.
        let _ = write(path);
        if answer.send(()).is_err() {
            return;
        }
    }
}

fn beat(beats: &Mutex<Beats>, ended: &Receiver<()>, ask: &SyncSender<()>, answered: &Receiver<()>) {
    use std::sync::mpsc::RecvTimeoutError::Timeout;
    let lock = || beats.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        // To wake up late belongs to the beat: whoever waits for a processor waits like this.
        let began = Instant::now();
        lock().under_way = Some(began);
        if ended.recv_timeout(REST) != Err(Timeout) || ask.send(()).is_err() || answered.recv().is_err() {
            return;
        }
        let took = began.elapsed().saturating_sub(REST);
        let mut beats = lock();
        beats.under_way = None;
        beats.ended.retain(|(began, took)| (*began + *took).elapsed() <= MEMORY);
        beats.ended.push((began, took));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let pulse = Pulse::start(&folder.path().join("beat")).expect("it beats");
        let deadline = Instant::now() + Duration::from_secs(60);
        while pulse.beats.lock().expect("no panic").ended.is_empty() {
            assert!(Instant::now() < deadline, "it does not beat");
            thread::yield_now();
        }
        assert!(pulse.slowest() > Duration::ZERO);
    }
}
