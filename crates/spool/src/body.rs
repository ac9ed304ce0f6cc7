//! The content of a message, for whoever delivers or shows it.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::DiskFile;

/// The content of a message: bytes in memory, or a large file. Cheap to clone; stays readable as long
/// as it is held, whatever happens to the message.
#[derive(Clone)]
pub struct Body {
    place: Place,
}

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    File { file: Arc<dyn DiskFile>, length: u64 },
}

impl Body {
    /// A body in memory.
    pub fn from_bytes(bytes: Bytes) -> Body {
        Body { place: Place::Memory(bytes) }
    }

    /// A body in a file, whose length has been checked.
    pub(crate) fn from_file(file: Arc<dyn DiskFile>, length: u64) -> Body {
        Body { place: Place::File { file, length } }
    }

    /// Bytes of content.
    pub fn len(&self) -> u64 {
        match &self.place {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::File { length, .. } => *length,
        }
    }

    /// Whether there is no content at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, when they are in memory.
    pub fn as_memory(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(bytes) => Some(bytes),
            Place::File { .. } => None,
        }
    }

    /// Fills the buffer from `offset` on and says how many bytes there were; fewer than the buffer
    /// holds only at the end. Blocks when the body is not in memory.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        match &self.place {
            Place::Memory(bytes) => {
                let from = offset as usize;
                buffer[..wanted].copy_from_slice(&bytes[from..from + wanted]);
            }
            Place::File { file, .. } => {
                if file.read_at(offset, &mut buffer[..wanted])? < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(wanted)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.as_memory().is_some() { "memory" } else { "file" };
        write!(f, "Body({} bytes in {place})", self.len())
    }
}
