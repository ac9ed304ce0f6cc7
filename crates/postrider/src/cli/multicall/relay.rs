//! sendmail -bs: SMTP on standard input and output, spoken with the engine's front-end.
//!
//! Promises: bytes are handed on as they come, in both directions; it is over when the front-end closes,
//! which it does after QUIT, at the end of the input, and when nothing is said for too long. Refuses: to know
//! what is said.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::super::failure::{Failure, exit};
use super::submit;

/// Bytes handed on at a time.
const PIECE: usize = 64 << 10;

/// Speaks until the front-end closes.
pub(super) fn run() -> Result<u8, Failure> {
    let address = submit::front_end(&crate::config::Sources::default())?;
    let broken = |error: io::Error| submit::later(&format!("cannot speak with {address}: {error}"));
    let mut stream = TcpStream::connect_timeout(&address, submit::WAIT_MAX).map_err(broken)?;
    stream.set_write_timeout(Some(submit::WAIT_MAX)).map_err(broken)?;
    let to_engine = stream.try_clone().map_err(broken)?;
    // Not joined: it may wait for input that never comes when the front-end has closed.
    thread::spawn(move || {
        // A front-end that is gone is noticed by whoever reads from it.
        let _ = hand_on(&mut io::stdin().lock(), &mut &to_engine);
        let _ = to_engine.shutdown(Shutdown::Write);
    });
    hand_on(&mut stream, &mut io::stdout().lock()).map_err(broken)?;
    Ok(exit::DONE)
}

/// Copies what there is as soon as it is there.
fn hand_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if count == 0 {
            return Ok(());
        }
        to.write_all(&piece[..count])?;
        to.flush()?;
    }
}
