//! Exim and OpenSMTPD: unpacked beside the machine's programs, run where they see files of their own.
//!
//! Promises: each runs as process 1 of namespaces of its own for processes and mounts, with users, spool and
//! sockets that only it sees, so that compiled-in paths hurt nobody; with its end everything it started
//! ends, and until then everything it started is charged to it.
//!
//! Refuses: a backlog over many sites, lists and traced runs; only what the two can be asked for in the same
//! way is measured. Known to be wrong: OpenSMTPD does not sync what it acknowledges, so that its figures are
//! no bar; the table marks it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::package::Unpacked;
use super::peer::{Peer, Plan, Running, listening};
use super::settings::{self, Setting, Task};
use super::usage::processes;
use crate::e2e::debian::closed_port;
use crate::interrupt;
use crate::program::{Workplace, gone};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Exim 4.
    Exim,
    /// OpenSMTPD.
    OpenSmtpd,
}

/// All of them.
pub(crate) const KINDS: [Kind; 2] = [Kind::Exim, Kind::OpenSmtpd];

impl Kind {
    /// Where it comes from.
    pub(crate) fn unpacked(self) -> Unpacked {
        match self {
            Kind::Exim => Unpacked {
                name: "exim",
                packages: &["exim4-daemon-light", "libidn12"],
                program: "usr/sbin/exim4",
            },
            Kind::OpenSmtpd => {
                Unpacked { name: "opensmtpd", packages: &["opensmtpd"], program: "usr/sbin/smtpd" }
            }
        }
    }

    /// The users it wants to be.
    fn users(self) -> &'static [&'static str] {
        match self {
            Kind::Exim => &["Debian-exim"],
            Kind::OpenSmtpd => &["opensmtpd", "opensmtpq"],
        }
    }

    /// Folders that it only knows by their compiled-in names.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Kind::Exim => &[],
            Kind::OpenSmtpd => &["/var/spool", "/var/lib", "/run"],
        }
    }
}

/// One of the two, unpacked.
pub(crate) struct Guest {
    pub(crate) kind: Kind,
    /// Where.
    pub(crate) unpacked: PathBuf,
    pub(crate) setting: &'static Setting,
}

impl Peer for Guest {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Exim => "exim",
            Kind::OpenSmtpd => "opensmtpd*",
        }
    }

    fn remark(&self) -> Option<&'static str> {
        (self.kind == Kind::OpenSmtpd)
            .then_some("* not durable: OpenSMTPD acknowledges without any sync, so that its rows are no bar.")
    }

    fn setting(&self) -> &'static str {
        self.setting.name
    }

    fn candidates(&self, task: Task) -> Vec<Box<dyn Peer>> {
        let settings = match self.kind {
            Kind::Exim => settings::exim(task),
            Kind::OpenSmtpd => &[],
        };
        let with = |setting| {
            Box::new(Guest { kind: self.kind, unpacked: self.unpacked.clone(), setting }) as Box<dyn Peer>
        };
        settings.iter().map(with).collect()
    }

    fn start(&self, place: &Workplace, plan: Plan) -> Result<Option<Box<dyn Running>>> {
        if matches!(plan, Plan::List(_) | Plan::Backlog(_)) {
            return Ok(None);
        }
        ensure!(testkit::engine::runs_as_root(), "{} can only be started by root", self.name());
        let folder = place.folder("guest", 0o755)?;
        let server = closed_port()?;
        let config = folder.join("config");
        fs::create_dir_all(folder.join("spool"))?;
        fs::create_dir_all(folder.join("log"))?;
        let text = match self.kind {
            Kind::Exim => exim(&self.unpacked, &folder, server, plan, self.setting),
            Kind::OpenSmtpd => opensmtpd(server, plan),
        };
        fs::write(&config, text)?;
        let mut arguments: Vec<&str> = match self.kind {
            Kind::Exim => vec!["-bdf", "-C"],
            Kind::OpenSmtpd if plan == Plan::Keep => vec!["-d", "-P", "mta", "-f"],
            Kind::OpenSmtpd => vec!["-d", "-f"],
        };
        let config = config.display().to_string();
        arguments.push(&config);
        let child = self.enter(&folder, &arguments)?;
        let running = RunningGuest { child, server };
        listening(self.name(), server)?;
        Ok(Some(Box::new(running)))
    }
}

impl Guest {
    /// Starts the program as process 1 of its own namespaces.
    fn enter(&self, folder: &Path, arguments: &[&str]) -> Result<Child> {
        accounts(self.kind, folder)?;
        let script = folder.join("enter");
        fs::write(&script, entrance(self.kind, folder)?)?;
        let log = File::create(folder.join("printed"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh"]);
        command.arg(script).arg(self.unpacked.join(self.kind.unpacked().program)).args(arguments);
        command.env("LD_LIBRARY_PATH", self.unpacked.join("usr/lib/x86_64-linux-gnu"));
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        interrupt::apart(&mut command).spawn().context("unshare")
    }
}

/// The machine's accounts and those of the guest, in files that only the guest sees.
fn accounts(kind: Kind, folder: &Path) -> Result<()> {
    /// The first number; few systems have any near it.
    const FIRST: usize = 64_990;
    let (mut users, mut groups) = (fs::read_to_string("/etc/passwd")?, fs::read_to_string("/etc/group")?);
    for (number, name) in kind.users().iter().enumerate() {
        let (number, named) = (FIRST + number, format!("{name}:"));
        if !users.lines().any(|line| line.starts_with(&named)) {
            users.push_str(&format!("{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"));
        }
        if !groups.lines().any(|line| line.starts_with(&named)) {
            groups.push_str(&format!("{name}:x:{number}:\n"));
        }
    }
    fs::write(folder.join("passwd"), users)?;
    Ok(fs::write(folder.join("group"), groups)?)
}

/// What the shell does before it becomes the program.
fn entrance(kind: Kind, folder: &Path) -> Result<String> {
    let shown = folder.display();
    let mut script = "set -e\n".to_owned();
    for file in ["passwd", "group"] {
        script.push_str(&format!("mount --bind {shown}/{file} /etc/{file}\n"));
    }
    for name in kind.folders() {
        let own = folder.join(format!("own{name}"));
        fs::create_dir_all(&own)?;
        script.push_str(&format!("mount --bind {} {name}\n", own.display()));
    }
    script.push_str(match kind {
        Kind::Exim => "",
        Kind::OpenSmtpd => "mkdir -p /var/lib/opensmtpd/empty\n",
    });
    if kind == Kind::Exim {
        script.push_str(&format!("chown Debian-exim {shown}/spool {shown}/log\n"));
    }
    Ok(script + "exec \"$@\"\n")
}

/// Exim's fastest: no look-ups, no limits on what may be delivered at once, as one user.
fn exim(unpacked: &Path, folder: &Path, server: SocketAddr, plan: Plan, setting: &Setting) -> String {
    let (unpacked, folder, port) = (unpacked.display(), folder.display(), server.port());
    let lines = setting.lines();
    let (kept, next_hop) = match plan {
        Plan::Relay(next_hop) => ("", next_hop.port()),
        Plan::Keep | Plan::List(_) | Plan::Backlog(_) => ("queue_only = true\n", 9),
    };
    format!(
        "exim_path = {unpacked}/usr/sbin/exim4\n\
         spool_directory = {folder}/spool\n\
         log_file_path = {folder}/log/%slog\n\
         pid_file_path = {folder}/exim.pid\n\
         primary_hostname = exim.bench.test\n\
         local_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = {port}\n\
         {kept}{lines}\
         deliver_drop_privilege = true\n\
         tls_advertise_hosts =\n\
         host_lookup =\n\
         rfc1413_hosts =\n\
         prdr_enable = false\n\
         smtp_accept_max = 200\n\
         smtp_accept_queue_per_connection = 0\n\
         smtp_accept_max_per_connection = 0\n\
         recipients_max = 0\n\
         acl_smtp_rcpt = accept\n\
         acl_smtp_data = accept\n\
         begin routers\n\
         next:\n  driver = manualroute\n  transport = smtp\n  route_list = * 127.0.0.1\n  self = send\n\
         begin transports\n\
         smtp:\n  driver = smtp\n  port = {next_hop}\n  allow_localhost\n  hosts_avoid_tls = *\n\
         begin retry\n* * F,1h,5m\n"
    )
}

/// OpenSMTPD has next to nothing to choose; where mail is to be kept, `-P mta` stops its sending half.
fn opensmtpd(server: SocketAddr, plan: Plan) -> String {
    let next_hop = match plan {
        Plan::Relay(next_hop) => next_hop.port(),
        Plan::Keep | Plan::List(_) | Plan::Backlog(_) => 9,
    };
    format!(
        "listen on 127.0.0.1 port {} hostname opensmtpd.bench.test\n\
         action \"out\" relay host \"smtp://127.0.0.1:{next_hop}\"\n\
         match from any for any action \"out\"\n",
        server.port()
    )
}

struct RunningGuest {
    child: Child,
    server: SocketAddr,
}

impl Running for RunningGuest {
    fn server(&self) -> SocketAddr {
        self.server
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn listing(&self) -> Command {
        Command::new("true")
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        let running = processes(self.child.id());
        // With process 1 ends all of its namespace. `--kill-child` alone is not enough: the kernel forgets
        // that wish when a program that changes its user is started, as Exim is.
        for process in running.iter().filter_map(|process| Pid::from_raw(i32::try_from(*process).ok()?)) {
            // Fails only when it has ended already.
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.child.wait();
        gone(&running, Duration::from_secs(20));
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SHIPPED;
    use super::*;

    #[test]
    fn everything_of_a_guest_is_below_its_folder() {
        let server = SocketAddr::from(([127, 0, 0, 1], 2500));
        let text = exim(Path::new("/u"), Path::new("/x"), server, Plan::Keep, &SHIPPED);
        for name in ["spool_directory", "log_file_path", "pid_file_path"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} = /x"))), "{name}");
        }
        assert!(text.contains("queue_only = true") && text.contains("daemon_smtp_ports = 2500"), "{text}");
        assert!(
            !exim(Path::new("/u"), Path::new("/x"), server, Plan::Relay(server), &SHIPPED)
                .contains("queue_only")
        );
        assert!(opensmtpd(server, Plan::Relay(server)).contains("smtp://127.0.0.1:2500"));
    }
}
