//! Delivery into Maildirs: one file a message, written beside its place and then linked into it.
//!
//! Promises: a message is in `new/` whole and durable before it counts as delivered, or not at all. Its name
//! there is made of the queue id and the recipient, so that a delivery that is repeated after a crash finds
//! the copy of the first one, as long as no mail reader has moved it. Every wait has a deadline.
//!
//! Refuses: making folders, unless told to, and making the part of the path that all recipients share: where
//! that is missing or empty a disk is not mounted, and mail waits.
//!
//! Known: everything belongs to the user that the engine runs as; folders that their owners may change
//! are better served by LMTP or by a program of theirs. A disk that hangs keeps a thread until it answers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use mail::{EnhancedStatus, Envelope, Outcome, QueueId, Scope};
use spool::Body;
use tokio::time::{Instant, timeout_at};

use crate::agents::{Job, Report, broken};
use crate::content::PIECE_BYTES;
use crate::copy::{Preparation, UnixLines, was_delivered_to};
use crate::folder::{Folder, MaildirPath};
use crate::words::Mailbox;

/// The folders of a Maildir.
const FOLDERS: [&str; 3] = ["cur", "new", "tmp"];
/// Access to new folders and files: the owner's.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
enum MaildirError {
    #[error("\"{0}\" is no name for a mailbox")]
    Name(String),
    #[error("mail forwarding loop for {0}")]
    Loop(String),
    #[error("unknown user: there is no mailbox {}", .0.display())]
    NoMailbox(PathBuf),
    #[error("{}: no mailboxes there, is a disk not mounted?", .0.display())]
    NoRoot(PathBuf),
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("queue file read error: {0}")]
    Content(io::Error),
}

impl MaildirError {
    /// Statuses of RFC 3463 3.2 to 3.4. Only what concerns every mailbox keeps mail from all of them.
    fn outcome(&self) -> Outcome {
        let text = self.to_string();
        let later = |scope, subject, detail| {
            Outcome::deferred(scope, EnhancedStatus::new(4, subject, detail), text.clone())
        };
        let never = |subject, detail| {
            Outcome::bounced(Scope::Recipient, EnhancedStatus::new(5, subject, detail), text.clone())
        };
        match self {
            MaildirError::Name(_) => never(1, 3),
            MaildirError::NoMailbox(_) => never(1, 1),
            MaildirError::Loop(_) => never(4, 6),
            MaildirError::NoRoot(_) => later(Scope::Transport, 3, 0),
            MaildirError::Content(_) => later(Scope::Message, 3, 0),
            MaildirError::Disk { source, .. } => match source.kind() {
                ErrorKind::StorageFull => later(Scope::Site, 3, 1),
                ErrorKind::ReadOnlyFilesystem => later(Scope::Site, 3, 0),
                ErrorKind::QuotaExceeded => later(Scope::Recipient, 2, 2),
                _ => later(Scope::Recipient, 3, 0),
            },
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> MaildirError {
    move |source| MaildirError::Disk { path: path.to_owned(), source }
}

/// Delivers to each recipient's folder.
pub(crate) async fn deliver(job: &Job, hostname: &str) -> Report {
    let started = Instant::now();
    let folder = match Folder::parse(&job.nexthop) {
        Ok(folder) => folder,
        Err(error) => {
            return Report::each(vec![broken(error.to_string()); job.recipients.len()], started.elapsed());
        }
    };
    let limit = started + job.transport.time_limit;
    let mut outcomes = Vec::with_capacity(job.recipients.len());
    for &position in &job.recipients {
        let Some(recipient) = job.envelope.recipients.get(position as usize) else { continue };
        let copy = Copy {
            mailbox: Mailbox::new(recipient, hostname, &job.transport.recipient_delimiter),
            envelope: Arc::clone(&job.envelope),
            body: job.body.clone(),
            create: job.transport.maildir_create,
            name: name(job.id, &job.envelope, position, hostname),
            place_for_writing: name_for_writing(hostname),
        };
        let folder = folder.clone();
        let work = tokio::task::spawn_blocking(move || copy.deliver(&folder));
        outcomes.push(match timeout_at(limit, work).await {
            Ok(Ok(Ok(text))) => Outcome::sent(text),
            Ok(Ok(Err(error))) => error.outcome(),
            Ok(Err(failure)) => broken(format!("internal error: {failure}")),
            Err(_) => {
                let text = format!("{}: no answer from the disk in time", job.nexthop);
                Outcome::deferred(Scope::Site, EnhancedStatus::new(4, 3, 0), text)
            }
        });
    }
    Report::each(outcomes, started.elapsed())
}

/// The same whenever this message is delivered to this recipient, and different otherwise.
fn name(id: QueueId, envelope: &Envelope, position: u32, hostname: &str) -> String {
    format!("{}.{id}R{position}.{}", envelope.arrived.as_secs(), host_in_name(hostname))
}

/// Different each time: a delivery given up may still be writing.
fn name_for_writing(hostname: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let (seconds, micros, host) = (since.as_secs(), since.subsec_micros(), host_in_name(hostname));
    format!("{seconds}.M{micros}P{}Q{count}.{host}", std::process::id())
}

/// Characters that mean something in names of Maildirs are written in octal.
fn host_in_name(hostname: &str) -> String {
    hostname.replace('/', "\\057").replace(':', "\\072")
}

/// One copy for one recipient.
struct Copy {
    mailbox: Mailbox,
    envelope: Arc<Envelope>,
    body: Body,
    create: bool,
    name: String,
    place_for_writing: String,
}

impl Copy {
    fn deliver(&self, folder: &Folder) -> Result<&'static str, MaildirError> {
        let path = folder.path(&self.mailbox).map_err(|no| MaildirError::Name(no.name))?;
        if was_delivered_to(&self.body, &self.mailbox.recipient).map_err(MaildirError::Content)? {
            return Err(MaildirError::Loop(self.mailbox.recipient.clone()));
        }
        let maildir = self.open(&path)?;
        let unfinished = maildir.join("tmp").join(&self.place_for_writing);
        let new = maildir.join("new");
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&unfinished);
        let written = file.map_err(at(&unfinished)).and_then(|file| self.write(file, &unfinished));
        let linked = written.and_then(|()| link(&unfinished, &new.join(&self.name)));
        // Mail readers remove what stays in tmp/ for more than a day.
        let _ = fs::remove_file(&unfinished);
        let fresh = linked?;
        sync(&new)?;
        Ok(if fresh { "delivered to maildir" } else { "delivered to maildir before" })
    }

    /// The Maildir, made when that was asked for.
    fn open(&self, path: &MaildirPath) -> Result<PathBuf, MaildirError> {
        let maildir = path.whole();
        match fs::metadata(&maildir) {
            Ok(_) if !self.create => return Ok(maildir),
            Ok(_) => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&maildir)(error)),
            Err(_) if !self.create => return Err(missing(path)),
            Err(_) => make_below(&path.root, &path.below)?,
        }
        FOLDERS.iter().try_for_each(|folder| make(&maildir, folder))?;
        Ok(maildir)
    }

    fn write(&self, mut file: File, path: &Path) -> Result<(), MaildirError> {
        let preparation = Preparation {
            return_path: true,
            delivered_to: true,
            original_to: self.mailbox.original.is_some(),
            ..Preparation::default()
        };
        let mut out = preparation.head(&self.envelope, &self.mailbox, SystemTime::now()).into_bytes();
        let mut lines = UnixLines::new(&preparation);
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < self.body.len() {
            let count = self.body.read_at(offset, &mut piece).map_err(MaildirError::Content)?;
            offset += count as u64;
            lines.convert(&piece[..count], &mut out);
            file.write_all(&out).map_err(at(path))?;
            out.clear();
        }
        lines.finish(&preparation, &mut out);
        file.write_all(&out).and_then(|()| file.sync_all()).map_err(at(path))
    }
}

/// A folder that is missing is an unknown user, where there are others.
fn missing(path: &MaildirPath) -> MaildirError {
    let others = fs::read_dir(&path.root).is_ok_and(|mut entries| entries.next().is_some());
    if others { MaildirError::NoMailbox(path.whole()) } else { MaildirError::NoRoot(path.root.clone()) }
}

fn make_below(root: &Path, names: &[String]) -> Result<(), MaildirError> {
    if !root.is_dir() {
        return Err(MaildirError::NoRoot(root.to_owned()));
    }
    let mut parent = root.to_owned();
    for name in names {
        make(&parent, name)?;
        parent.push(name);
    }
    Ok(())
}

/// Makes a folder and its name durable; one that is there is fine.
fn make(parent: &Path, name: &str) -> Result<(), MaildirError> {
    let path = parent.join(name);
    match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
        Ok(()) => sync(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(at(&path)(error)),
    }
}

/// Gives the file its name; false when a copy of that name is there already.
fn link(from: &Path, to: &Path) -> Result<bool, MaildirError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // File systems without links.
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            fs::rename(from, to).map(|()| true).map_err(at(to))
        }
        Err(error) => Err(at(to)(error)),
    }
}

fn sync(folder: &Path) -> Result<(), MaildirError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}
