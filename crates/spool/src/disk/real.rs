//! The disk of the machine: std::fs for names, rustix for positioned and synchronising calls.
//!
//! Promises: an interrupted call is repeated, a short write is continued, nothing else is hidden.
//! Known: on file systems that cannot preallocate, a file is extended sparsely instead, so that a
//! full disk shows at the write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

use super::{Access, Disk, DiskFile, Entry, Lock, LockError, Status};

/// Most slices of one pwritev call (IOV_MAX of Linux).
const SLICES_MAX: usize = 1024;

/// Mail is nobody else's business.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of the machine's file system.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The spool in this directory, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> RealDisk {
        RealDisk { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of the file system that the directory is on, or will be on, used ones included.
    pub fn size(&self) -> io::Result<u64> {
        let there = self.root.ancestors().find(|ancestor| ancestor.exists());
        let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let status = rustix::fs::statvfs(there)?;
        Ok(status.f_blocks.saturating_mul(status.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Disk for RealDisk {
    fn lock(&self) -> Result<Lock, LockError> {
        self.create_directory("")?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut file = options.open(self.path("LOCK"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let known = file.read_to_string(&mut text).is_ok();
                return Err(LockError::Held(if known { text.trim().parse().ok() } else { None }));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        // The number is for people and for the message of the second engine only: a full disk must not
        // keep the engine from starting.
        let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Box::new(file))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let listing = match fs::read_dir(self.path(directory)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let Ok(name) = entry.file_name().into_string() else { continue };
            let length = if metadata.is_dir() { 0 } else { metadata.len() };
            entries.push(Entry { name, length, directory: metadata.is_dir() });
        }
        Ok(entries)
    }

    fn create_directory(&self, directory: &str) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(self.path(directory))
    }

    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match access {
            Access::Read => &mut options,
            Access::Write => options.write(true),
            Access::Create => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile { file: options.open(self.path(path))? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        File::open(self.path(directory))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::statvfs(&self.root)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// An open file of the machine's file system.
#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_at_hand(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let wanted = buffer.len();
        let mut slices = [IoSliceMut::new(buffer)];
        // Whatever is wrong is found, and said, by whoever may wait (RWF_NOWAIT in preadv2(2)).
        let read = rustix::io::preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|count| count == wanted)
    }

    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut offset = offset;
        let mut skip = 0;
        let mut first = 0;
        while first < slices.len() {
            let end = slices.len().min(first + SLICES_MAX);
            let written = if skip == 0 {
                rustix::io::pwritev(&self.file, &slices[first..end], offset)
            } else {
                rustix::io::pwrite(&self.file, &slices[first][skip..], offset)
            };
            let mut written = match written {
                Ok(0) if slices[first..end].iter().any(|slice| slice.len() > skip) => {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            while first < end && written >= slices[first].len() - skip {
                written -= slices[first].len() - skip;
                skip = 0;
                first += 1;
            }
            skip += written;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        // rustix has no sync_file_range; telling the kernel that the pages are not needed again makes
        // Linux start their writeback. Those that are not clean yet stay in its cache.
        let length = std::num::NonZeroU64::new(length);
        let _ = rustix::fs::fadvise(&self.file, offset, length, rustix::fs::Advice::DontNeed);
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(length),
            Err(error) => Err(error.into()),
        }
    }

    fn status(&self) -> io::Result<Status> {
        let metadata = self.file.metadata()?;
        Ok(Status { length: metadata.len(), links: metadata.nlink() })
    }
}
