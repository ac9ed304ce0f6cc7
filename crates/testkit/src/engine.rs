//! The real program, run as a process: started, asked, stopped, killed.
//!
//! Promises: the engine listens on ports the system chose, keeps everything in one folder and reads no
//! configuration but what the test gives; every wait has a deadline and says at the end of it what the
//! engine printed; dropping an engine kills it.
//!
//! Refuses: knowing what the engine should do. It only carries words to and from it.

use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, geteuid, getrlimit, kill_process, setrlimit};

/// How long anything a test waits for may take; far more than it needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The program could not be run at all.
    #[error("running {program}: {error}")]
    Run {
        /// What should have been run.
        program: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It ended, or said nothing of the kind in time.
    #[error("the engine did not {awaited}; it printed:\n{printed}")]
    Waited {
        /// What was waited for.
        awaited: String,
        /// Everything it printed until then.
        printed: String,
    },
}

/// What an engine is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    program: PathBuf,
    directory: PathBuf,
    overrides: Vec<String>,
    config: Option<PathBuf>,
    wrapper: Vec<String>,
}

impl Setup {
    /// `program` (a built `postrider`) with its spool and control socket below `directory`, SMTP on a
    /// port the system chooses and nothing else changed from the defaults.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Setup {
        let setup = Setup {
            program: program.into(),
            directory: directory.into(),
            overrides: Vec::new(),
            config: None,
            wrapper: Vec::new(),
        };
        setup.with("smtp.listen", r#"["127.0.0.1:0"]"#).with("smtp.hostname", r#""engine.test""#)
    }

    /// The same with one more `-o section.key=value`; `value` is written as in the configuration file.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Setup {
        self.overrides.push(format!("{key}={value}"));
        self
    }

    /// The same with a configuration file; what [`Setup::with`] says still wins over it.
    #[must_use]
    pub fn with_file(mut self, config: impl Into<PathBuf>) -> Setup {
        self.config = Some(config.into());
        self
    }

    /// The same with the engine run by another program: these words, then the engine's own command line.
    #[must_use]
    pub fn run_by(mut self, wrapper: &[&str]) -> Setup {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Where the engine keeps its spool.
    pub fn spool(&self) -> PathBuf {
        self.directory.join("spool")
    }

    /// A command of the program, run in the same surroundings as the engine: `queue list`, `flush` …
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        self.surround(&mut command);
        command
    }

    fn serve(&self) -> Command {
        let program = self.program.display().to_string();
        let mut words = self.wrapper.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap_or(&program));
        command.args(words).arg("serve");
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        for one in &self.overrides {
            command.args(["-o", one]);
        }
        self.surround(&mut command);
        command
    }

    /// Everything that could differ from machine to machine. The control socket is not in the spool, so
    /// that it can be reached when the spool is on a file system that only the engine sees.
    fn surround(&self, command: &mut Command) {
        command
            .current_dir(&self.directory)
            .env_remove("POSTRIDER_CONFIG")
            .env_remove("STATE_DIRECTORY")
            .env_remove("JOURNAL_STREAM")
            .env("NO_COLOR", "1")
            .env("POSTRIDER__SPOOL__DIRECTORY", self.spool())
            .env("POSTRIDER__CONTROL__SOCKET", self.directory.join("control.sock"))
            .stdin(Stdio::null());
    }

    /// Starts the engine and returns once it listens.
    pub fn start(&self) -> Result<Engine, EngineError> {
        let mut engine = self.spawn()?;
        let awaited = "say on which address it listens";
        let line =
            engine.wait_for_line(awaited, |line| address_after(line, "listening on smtp ").is_some())?;
        engine.smtp = address_after(&line, "listening on smtp ");
        Ok(engine)
    }

    /// Starts the engine and returns at once; for an engine that is expected to refuse.
    pub fn spawn(&self) -> Result<Engine, EngineError> {
        let spawned = self.serve().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let failed = |error| EngineError::Run { program: self.program.display().to_string(), error };
        let mut child = spawned.map_err(failed)?;
        let printed = Arc::new(Printed::default());
        if let Some(stdout) = child.stdout.take() {
            printed.follow(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            printed.follow(stderr);
        }
        Ok(Engine { setup: self.clone(), child, printed, smtp: None })
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    child: Child,
    printed: Arc<Printed>,
    smtp: Option<SocketAddr>,
}

impl Engine {
    /// Where it takes mail by SMTP.
    ///
    /// # Panics
    ///
    /// When the engine was only spawned, not started.
    pub fn smtp(&self) -> SocketAddr {
        self.smtp.expect("a started engine has said where it listens")
    }

    /// What it was started with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Everything printed so far, standard output and standard error in the order of arrival.
    pub fn printed(&self) -> String {
        self.printed.lines().join("\n")
    }

    /// Waits for the first line (from the beginning) for which `matches` is true.
    pub fn wait_for_line(
        &mut self,
        awaited: &str,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String, EngineError> {
        let deadline = Instant::now() + PATIENCE;
        let found = self.printed.wait(deadline, |lines| lines.iter().find(|line| matches(line)).cloned());
        found.ok_or_else(|| self.failed(awaited))
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command of the program against this engine.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output, EngineError> {
        let failed = |error| EngineError::Run { program: self.setup.program.display().to_string(), error };
        self.setup.command(arguments).output().map_err(failed)
    }

    /// Sends a signal, `Signal::HUP` for instance.
    pub fn signal(&self, signal: Signal) {
        // A process that is gone already is what a test wants to see afterwards, not here.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Asks it to stop, as systemd does, and waits until it has.
    pub fn stop(mut self) -> Result<(ExitStatus, String), EngineError> {
        self.signal(Signal::TERM);
        self.wait_for_end("stop after SIGTERM")
    }

    /// Ends it at once, without a chance to tidy up, as a power cut would.
    pub fn kill(mut self) -> Result<String, EngineError> {
        self.signal(Signal::KILL);
        self.wait_for_end("end after SIGKILL").map(|(_, printed)| printed)
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(&mut self, awaited: &str) -> Result<(ExitStatus, String), EngineError> {
        let deadline = Instant::now() + PATIENCE;
        // The pipes close when the process is gone; only then can nothing be printed any more.
        self.printed.wait_closed(deadline).ok_or_else(|| self.failed(awaited))?;
        let failed = |error| EngineError::Run { program: self.setup.program.display().to_string(), error };
        let status = self.child.wait().map_err(failed)?;
        Ok((status, self.printed()))
    }

    fn failed(&self, awaited: &str) -> EngineError {
        EngineError::Waited { awaited: awaited.to_owned(), printed: self.printed() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Both fail only when the process has ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the tests run as root; a few things are done differently then.
pub fn runs_as_root() -> bool {
    geteuid().is_root()
}

/// Lets this process open as many files as the system allows it, and says how many that are: a test with
/// thousands of connections needs as many descriptors as the engine.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// The socket address that follows `words` in a line the engine printed.
pub fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    rest.split_whitespace().next()?.trim_end_matches([',', '.', ';']).parse().ok()
}

/// The lines of both outputs, shared with the threads that read them.
#[derive(Debug, Default)]
struct Printed {
    state: Mutex<PrintedState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PrintedState {
    lines: Vec<String>,
    open: usize,
}

impl Printed {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) {
        self.change(|state| state.open += 1);
        let printed = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                printed.change(|state| state.lines.push(line));
            }
            printed.change(|state| state.open -= 1);
        });
    }

    fn change(&self, change: impl FnOnce(&mut PrintedState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    fn wait<T>(&self, deadline: Instant, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match found(&state.lines) {
                Some(found) => return Some(found),
                None if left.is_zero() || state.open == 0 => return None,
                None => {}
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait_closed(&self, deadline: Instant) -> Option<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(())
    }
}
