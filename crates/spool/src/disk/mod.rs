//! All that the spool asks of a disk, as a small trait, so that a test can tear writes, lose unsynced
//! data, fail a call or fill the disk.
//!
//! Promises: names are relative to the spool and use `/`; nothing outside the spool is touched.
//! Refuses: buffering, retrying, interpreting. An error is handed up as it came.

mod real;

use std::any::Any;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; created empty, or emptied.
    Create,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name within the directory.
    pub name: String,
    /// Bytes; 0 for a directory.
    pub length: u64,
    /// Whether it is a directory.
    pub directory: bool,
}

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; its id, when it could be told.
    #[error("locked by another process")]
    Held(Option<u32>),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Keeps the spool locked until it is dropped.
pub type Lock = Box<dyn Any + Send + Sync>;

/// A disk that holds one spool.
pub trait Disk: Send + Sync + 'static {
    /// Takes the lock of the spool, creating its directory when there is none.
    fn lock(&self) -> Result<Lock, LockError>;

    /// The entries of a directory in no particular order; none when it does not exist.
    fn list(&self, directory: &str) -> io::Result<Vec<Entry>>;

    /// Creates a directory and its parents. Its entry is durable once its parent has been synced.
    fn create_directory(&self, directory: &str) -> io::Result<()>;

    /// Opens or creates a file. A new file's entry is durable once its directory has been synced.
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing the target. Durable once the directories have been synced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the entries of a directory durable; `""` is the spool itself.
    fn sync_directory(&self, directory: &str) -> io::Result<()>;

    /// Bytes that can still be allocated.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Reads and writes say where, so that it can be shared.
pub trait DiskFile: Send + Sync {
    /// Reads until the buffer is full or the file ends; says how many bytes there were.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Fills the buffer if that needs no waiting for the disk, and says whether it did. A file that does not
    /// know says no.
    fn read_at_hand(&self, _offset: u64, _buffer: &mut [u8]) -> bool {
        false
    }

    /// Writes all of the slices one behind the other, or fails. After a failure any part may have
    /// been written.
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Makes everything written durable, with the metadata needed to read it back. After a failure
    /// nothing written since the last success may be believed, whatever a later call says.
    fn sync(&self) -> io::Result<()>;

    /// Starts writing a range back without waiting, so that a later sync is short. A hint.
    fn start_writeback(&self, offset: u64, length: u64);

    /// Reserves room up to this length and makes the file that long.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// The length of the file, and how many names it has.
    fn status(&self) -> io::Result<Status>;
}

/// What is known of an open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// Bytes.
    pub length: u64,
    /// Directory entries that name it; above 1 a backup has linked it.
    pub links: u64,
}
