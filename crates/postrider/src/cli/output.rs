//! Standard output: at once on a terminal, in pieces elsewhere, the first line always at once.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use anstream::{AutoStream, ColorChoice};

/// Standard output of one command.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    terminal: bool,
    colour: bool,
    started: bool,
}

impl Output {
    /// Opens it.
    pub(crate) fn open() -> Output {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        // Knows NO_COLOR, CLICOLOR and TERM=dumb; never a pipe, even if one of them would force it.
        let colour = terminal && AutoStream::choice(&stdout) != ColorChoice::Never;
        Output { writer: BufWriter::new(stdout.lock()), terminal, colour, started: false }
    }

    /// Whether a person is looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours are wanted.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(line.as_bytes())?;
        self.writer.write_all(b"\n")?;
        if self.terminal || !self.started {
            self.started = true;
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Writes what is still kept back.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
