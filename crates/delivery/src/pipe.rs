//! Delivery to a program (pipe(8)): the message on its standard input, its exit code and output the outcome.
//!
//! Promises: no shell, no inherited descriptor, a clean environment, never root. The program sees the end of
//! its input only when that was the end of the message: before anything is cut short it is killed, with all
//! of its process group. Output is bounded, and so is time.
//!
//! Refuses: knowing whether a program that says 0 has done anything.
//!
//! Known: what a program leaves running in another process group is not waited for, nor killed.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use mail::{Address, EnhancedStatus, Outcome, Scope};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Group as UserGroup, Pid, Uid, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, timeout, timeout_at};

use crate::agents::{Job, Report, broken};
use crate::content::read_piece;
use crate::copy::{UnixLines, was_delivered_to};
use crate::exit;
use crate::program::Program;
use crate::words::{Mailbox, Word};

/// Where programs find other programs.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What is passed on of the engine's own environment.
const PASSED_ON: [&str; 2] = ["LANG", "TZ"];
/// Bytes of output that are kept; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 4096;
/// How long output may keep coming from processes that a program has left behind.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// The sender of mail from the null sender, as programs know it (`null_sender` of pipe(8)).
const NULL_SENDER: &str = "MAILER-DAEMON";

/// Runs the program once for all recipients.
pub(crate) async fn deliver(job: &Job, hostname: &str) -> Report {
    let started = Instant::now();
    let limit = started + job.transport.time_limit;
    let Some(program) = &job.transport.program else {
        let outcome = broken(format!("transport {} has no program", job.transport.name));
        return Report::each(vec![outcome; job.recipients.len()], started.elapsed());
    };
    let recipients = job.recipients.iter().filter_map(|&at| job.envelope.recipients.get(at as usize));
    let mailboxes = recipients.map(|one| Mailbox::new(one, hostname, &job.transport.recipient_delimiter));
    let mailboxes: Vec<Mailbox> = mailboxes.collect();
    let refused: Vec<Option<Outcome>> = mailboxes
        .iter()
        .map(|mailbox| program.check_recipient(mailbox).err().map(|no| optionlike(&no.argument, 3)))
        .collect();
    let (good, _): (Vec<_>, Vec<_>) = mailboxes.into_iter().zip(&refused).partition(|(_, no)| no.is_none());
    let good: Vec<Mailbox> = good.into_iter().map(|(mailbox, _)| mailbox).collect();
    let decided = match good.is_empty() {
        true => None,
        false => Some(run(job, program, &good, limit).await.unwrap_or_else(|outcome| outcome)),
    };
    let everybody = refused.into_iter().filter_map(|no| no.or_else(|| decided.clone())).collect();
    Report::each(everybody, started.elapsed())
}

/// An address that a program would read as an option: 5.1.3 for a recipient, 5.1.7 for a sender.
fn optionlike(argument: &str, detail: u16) -> Outcome {
    let text = format!("\"{argument}\" cannot be passed to a program: it begins with a hyphen");
    Outcome::bounced(Scope::Recipient, EnhancedStatus::new(5, 1, detail), text)
}

async fn run(
    job: &Job,
    program: &Program,
    mailboxes: &[Mailbox],
    limit: Instant,
) -> Result<Outcome, Outcome> {
    let (first, more) = mailboxes.split_first().expect("a program is run for somebody");
    if program.preparation.names_recipient() && !more.is_empty() {
        let text = "flags D and O need destination_recipient_limit = 1";
        return Err(broken(format!("transport {}: {text}", job.transport.name)));
    }
    if program.preparation.delivered_to {
        refuse_loop(job, first, limit).await?;
    }
    let arguments = program.arguments(mailboxes, |word| value(word, job));
    let arguments = arguments.map_err(|no| optionlike(&no.argument, 7))?;
    let ids = user(program.user.clone(), limit).await?;
    let name = program.path().display().to_string();
    let (child, output) = spawn(program, arguments, ids).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
            let text = format!("cannot run {name}: {error}");
            Outcome::bounced(Scope::Message, EnhancedStatus::new(5, 6, 0), text)
        }
        _ => broken(format!("cannot run {name} in {}: {error}", program.directory.display())),
    })?;
    let head = program.preparation.head(&job.envelope, first, SystemTime::now());
    match timeout_at(limit, converse(job, program, head, child, output)).await {
        Ok(Ok((status, output))) => Ok(exit::outcome(status, &output, &job.transport.name, &name)),
        Ok(Err(error)) => Err(trouble(format!("queue file read error: {error}"))),
        Err(_) => Err(trouble(format!("time limit exceeded by {name}"))),
    }
}

fn trouble(text: String) -> Outcome {
    Outcome::deferred(Scope::Message, EnhancedStatus::new(4, 3, 0), text)
}

async fn refuse_loop(job: &Job, mailbox: &Mailbox, limit: Instant) -> Result<(), Outcome> {
    let (body, address) = (job.body.clone(), mailbox.recipient.clone());
    let look = tokio::task::spawn_blocking(move || was_delivered_to(&body, &address));
    match timeout_at(limit, look).await {
        Ok(Ok(Ok(false))) => Ok(()),
        Ok(Ok(Ok(true))) => {
            let text = format!("mail forwarding loop for {}", mailbox.recipient);
            Err(Outcome::bounced(Scope::Recipient, EnhancedStatus::new(5, 4, 6), text))
        }
        Ok(Ok(Err(error))) => Err(trouble(format!("queue file read error: {error}"))),
        Ok(Err(failure)) => Err(trouble(format!("internal error: {failure}"))),
        Err(_) => Err(trouble("queue file read error: no answer from the disk in time".to_owned())),
    }
}

/// The words that are not about a recipient.
fn value(word: Word, job: &Job) -> String {
    let envelope = &job.envelope;
    match word {
        Word::Sender => envelope.sender.as_ref().map_or(NULL_SENDER, Address::as_str).to_owned(),
        Word::Nexthop => job.nexthop.to_string(),
        Word::QueueId => job.id.to_string(),
        Word::Size => job.body.len().to_string(),
        Word::ClientAddress => envelope.client.address.map(|address| address.to_string()).unwrap_or_default(),
        Word::ClientHelo => envelope.client.helo.clone(),
        Word::ClientProtocol => envelope.client.protocol.word().to_owned(),
        Word::Envid => envelope.envid.clone().unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whom the program runs as, when that is somebody else than the engine.
type Ids = Option<(u32, u32)>;

async fn user(wanted: Option<String>, limit: Instant) -> Result<Ids, Outcome> {
    // Name services may take their time.
    let look = tokio::task::spawn_blocking(move || ids(wanted.as_deref()));
    match timeout_at(limit, look).await {
        Ok(Ok(found)) => found.map_err(broken),
        Ok(Err(failure)) => Err(broken(format!("internal error: {failure}"))),
        Err(_) => Err(broken("the user database does not answer".to_owned())),
    }
}

fn ids(wanted: Option<&str>) -> Result<Ids, String> {
    let own = Uid::effective();
    let Some(wanted) = wanted else {
        let root = "a program never runs as root: say whom it runs as with user = \"name\"".to_owned();
        return if own.is_root() { Err(root) } else { Ok(None) };
    };
    let (name, group) = wanted.split_once(':').map_or((wanted, None), |(name, group)| (name, Some(group)));
    let unknown = |what: &str, name: &str| format!("there is no {what} \"{name}\" to run a program as");
    let found = User::from_name(name).map_err(|error| format!("user \"{name}\": {error}"))?;
    let user = found.ok_or_else(|| unknown("user", name))?;
    let gid = match group {
        None => user.gid,
        Some(group) => {
            let found = UserGroup::from_name(group).map_err(|error| format!("group \"{group}\": {error}"))?;
            found.ok_or_else(|| unknown("group", group))?.gid
        }
    };
    if user.uid.is_root() || gid.as_raw() == 0 {
        return Err(format!("a program never runs as root, nor in its group: {wanted}"));
    }
    Ok((user.uid != own || group.is_some()).then(|| (user.uid.as_raw(), gid.as_raw())))
}

/// Starts the program; standard output and standard error come out of one pipe.
fn spawn(program: &Program, arguments: Vec<String>, ids: Ids) -> io::Result<(Child, Output)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program.path());
    command
        .args(arguments.into_iter().map(OsString::from))
        .env_clear()
        .env("PATH", PATH)
        .envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir(&program.directory)
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    if let Some((uid, gid)) = ids {
        command.gid(gid).uid(uid);
    }
    let receiver = Receiver::from_owned_fd(reader.into())?;
    Ok((command.spawn()?, Output { receiver, kept: Vec::new(), open: true }))
}

/// What a program says.
struct Output {
    receiver: Receiver,
    kept: Vec<u8>,
    open: bool,
}

impl Output {
    /// Takes the next piece. Nothing is lost when this is dropped half way.
    async fn take_piece(&mut self) {
        let mut piece = [0; 1024];
        match self.receiver.read(&mut piece).await {
            Ok(count) if count > 0 => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&piece[..count.min(room)]);
            }
            _ => self.open = false,
        }
    }

    async fn take_rest(&mut self) {
        while self.open {
            self.take_piece().await;
        }
    }
}

/// The processes of a program that still runs; killed when this is dropped.
struct Running(Option<Pid>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails when all of them have ended.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Feeds the program and listens to it until it ends. An error is one of reading the message.
async fn converse(
    job: &Job,
    program: &Program,
    head: String,
    mut child: Child,
    mut output: Output,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let stdin = child.stdin.take();
    let mut feeding = std::pin::pin!(feed(job, program, head, stdin));
    let mut fed = false;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    // Behind the feeding, so that it is dropped first: what is cut short is killed before its input ends.
    let mut running = Running(pid);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            read = &mut feeding, if !fed => {
                fed = true;
                if let Err((_open, error)) = read {
                    drop(running);
                    return Err(error);
                }
            }
            () = output.take_piece(), if output.open => {}
        }
    };
    running.0 = None;
    // The end of the program is what counts; whoever still holds its output is not waited for.
    let _ = timeout(OUTPUT_GRACE, output.take_rest()).await;
    Ok((status, output.kept))
}

/// Writes the message into the program and ends its input. A program that stops reading may do so; its exit
/// code says why. With an error of reading comes the input, still open.
async fn feed(
    job: &Job,
    program: &Program,
    head: String,
    stdin: Option<ChildStdin>,
) -> Result<(), (ChildStdin, io::Error)> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    let patience = job.transport.time_limit;
    let mut lines = UnixLines::new(&program.preparation);
    let mut out = head.into_bytes();
    let mut piece = Vec::new();
    let mut offset = 0;
    loop {
        piece = match read_piece(&job.body, offset, piece, patience).await {
            Ok(piece) => piece,
            Err(error) => return Err((stdin, error)),
        };
        if piece.is_empty() {
            lines.finish(&program.preparation, &mut out);
            let _ = stdin.write_all(&out).await;
            return Ok(());
        }
        offset += piece.len() as u64;
        lines.convert(&piece, &mut out);
        if stdin.write_all(&out).await.is_err() {
            return Ok(());
        }
        out.clear();
    }
}
