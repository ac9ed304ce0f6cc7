//! Postfix in a private instance: its own configuration, queue, data and log below one folder.
//!
//! Promises: the Postfix of the machine is neither read nor changed; the instance has nothing in
//! its way (`in_flow_delay = 0`, no client counting, no name service, no chroot) and otherwise what is
//! shipped, syncs included, under the lines of its setting.
//!
//! Refuses: to work for anybody but root, as Postfix does.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::peer::{LIST_DELIVERY, LIST_RECIPIENTS_MAX, Peer, Plan, Running, Sites, listening};
use super::settings::{self, Setting, Task};
use super::usage::processes;
use crate::e2e::debian::{closed_port, find};
use crate::interrupt;
use crate::program::{Workplace, gone};

/// The services that take part: name, type, private, wake-up, process limit, program.
const SERVICES: &[[&str; 6]] = &[
    ["cleanup", "unix", "n", "-", "0", "cleanup"],
    ["pickup", "unix", "n", "60", "1", "pickup"],
    ["qmgr", "unix", "n", "300", "1", "qmgr"],
    ["rewrite", "unix", "y", "-", "-", "trivial-rewrite"],
    ["bounce", "unix", "y", "-", "0", "bounce"],
    ["defer", "unix", "y", "-", "0", "bounce"],
    ["trace", "unix", "y", "-", "0", "bounce"],
    ["flush", "unix", "n", "1000?", "0", "flush"],
    ["proxymap", "unix", "y", "-", "-", "proxymap"],
    ["smtp", "unix", "y", "-", "-", "smtp"],
    ["relay", "unix", "y", "-", "-", "smtp"],
    ["showq", "unix", "n", "-", "-", "showq"],
    ["error", "unix", "y", "-", "-", "error"],
    ["retry", "unix", "y", "-", "-", "error"],
    ["anvil", "unix", "y", "-", "1", "anvil"],
    ["scache", "unix", "y", "-", "1", "scache"],
    ["postlog", "unix-dgram", "n", "-", "1", "postlogd"],
];

/// Theirs.
pub(crate) struct Postfix {
    pub(crate) setting: &'static Setting,
}

impl Peer for Postfix {
    fn name(&self) -> &'static str {
        "postfix"
    }

    fn setting(&self) -> &'static str {
        self.setting.name
    }

    fn candidates(&self, task: Task) -> Vec<Box<dyn Peer>> {
        let with = |setting| Box::new(Postfix { setting }) as Box<dyn Peer>;
        settings::postfix(task).iter().map(with).collect()
    }

    fn start(&self, place: &Workplace, plan: Plan) -> Result<Option<Box<dyn Running>>> {
        ensure!(testkit::engine::runs_as_root(), "a private Postfix can only be started by root");
        let folder = place.folder("postfix", 0o755)?;
        let server = closed_port()?;
        let running = RunningPostfix { config: folder.join("config"), queue: folder.join("queue"), server };
        for name in ["config", "queue", "data"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let owner = Command::new("chown").arg("postfix").arg(folder.join("data")).status()?;
        ensure!(owner.success(), "chown postfix failed");
        fs::write(running.config.join("main.cf"), main_cf(&folder, plan, self.setting))?;
        fs::write(running.config.join("master.cf"), master_cf(server))?;
        if let Plan::Backlog(sites) = plan {
            fs::write(folder.join("transport"), transport_map(sites))?;
        }
        running.control("start")?;
        listening("postfix", server)?;
        Ok(Some(Box::new(running)))
    }
}

fn main_cf(folder: &Path, plan: Plan, setting: &Setting) -> String {
    let folder = folder.display();
    let mut text = format!(
        "compatibility_level = 3.6\n\
         queue_directory = {folder}/queue\n\
         data_directory = {folder}/data\n\
         maillog_file = {folder}/log\n\
         maillog_file_prefixes = {folder}\n\
         meta_directory = /etc/postfix\n\
         myhostname = postfix.bench.test\n\
         mydestination =\n\
         alias_maps =\n\
         relay_domains = test\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = loopback-only\n\
         inet_protocols = ipv4\n\
         smtp_dns_support_level = disabled\n\
         smtp_host_lookup = native\n\
         smtpd_peername_lookup = no\n\
         smtpd_tls_security_level = none\n\
         smtp_tls_security_level = none\n\
         smtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\n\
         in_flow_delay = 0\n"
    );
    let rest = match plan {
        Plan::Keep => "smtpd_data_restrictions = check_client_access static:HOLD\n".to_owned(),
        Plan::Relay(next_hop) => relayhost(next_hop),
        Plan::List(next_hop) => {
            let taken = format!("smtpd_recipient_limit = {LIST_RECIPIENTS_MAX}\n");
            let sent = format!("default_destination_recipient_limit = {LIST_DELIVERY}\n");
            relayhost(next_hop) + &taken + &sent
        }
        Plan::Backlog(_) => {
            format!("defer_transports = smtp, relay\ntransport_maps = texthash:{folder}/transport\n")
        }
    };
    text.push_str(&rest);
    text + &setting.lines()
}

fn relayhost(next_hop: SocketAddr) -> String {
    format!("relayhost = [{}]:{}\n", next_hop.ip(), next_hop.port())
}

fn master_cf(server: SocketAddr) -> String {
    let mut text = format!("{server} inet n - n - - smtpd\n");
    for [name, kind, private, wake_up, limit, program] in SERVICES {
        let line = writeln!(text, "{name} {kind} {private} - n {wake_up} {limit} {program}");
        line.expect("a string takes everything");
    }
    text
}

fn transport_map(sites: Sites) -> String {
    let line = |number| {
        let to = sites.address(number);
        format!("s{number}.test smtp:[{}]:{}\n", to.ip(), to.port())
    };
    (0..sites.number).map(line).collect()
}

struct RunningPostfix {
    config: PathBuf,
    queue: PathBuf,
    server: SocketAddr,
}

impl RunningPostfix {
    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(find(tool).unwrap_or_else(|| PathBuf::from(tool)));
        interrupt::apart(&mut command).arg("-c").arg(&self.config).stdin(Stdio::null());
        command
    }

    fn control(&self, what: &str) -> Result<()> {
        // It prints what it does to its log; on standard error only what went wrong before there is one.
        let status = self.command("postfix").arg(what).status().context("postfix")?;
        ensure!(status.success(), "postfix {what}: {status}");
        Ok(())
    }
}

/// How many files there are in `folder`, however deep.
fn files_below(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { files_below(&entry.path())? } else { 1 };
    }
    Ok(count)
}

impl Running for RunningPostfix {
    fn server(&self) -> SocketAddr {
        self.server
    }

    fn process(&self) -> Option<u32> {
        fs::read_to_string(self.queue.join("pid/master.pid")).ok()?.trim().parse().ok()
    }

    fn restless(&self) -> Result<usize> {
        let files = |queue| files_below(&self.queue.join(queue));
        Ok(files("maildrop")? + files("incoming")? + files("active")?)
    }

    fn flush(&self) -> Result<()> {
        let status = self.command("postqueue").arg("-f").status()?;
        ensure!(status.success(), "postqueue -f: {status}");
        Ok(())
    }

    fn listing(&self) -> Command {
        let mut command = self.command("postqueue");
        command.arg("-p");
        command
    }
}

impl Drop for RunningPostfix {
    fn drop(&mut self) {
        let running = self.process().map(processes).unwrap_or_default();
        // `abort` ends all its processes; an instance that is gone already is no failure.
        let _ = self.control("abort");
        // The folder is removed next; what then still runs would only complain in its log.
        gone(&running, Duration::from_secs(20));
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SHIPPED;
    use super::*;

    #[test]
    fn files_are_counted_however_deep() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("a/b")).expect("folders");
        for name in ["one", "a/two", "a/b/three"] {
            fs::write(folder.path().join(name), "").expect("a file");
        }
        assert_eq!(files_below(folder.path()).expect("readable"), 3);
    }

    #[test]
    fn everything_of_the_instance_is_below_its_folder() {
        let text = main_cf(Path::new("/x"), Plan::Keep, &SHIPPED);
        for name in ["queue_directory", "data_directory", "maillog_file"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} = /x"))), "{name}");
        }
        let master = master_cf(SocketAddr::from(([127, 0, 0, 1], 2500)));
        assert!(master.starts_with("127.0.0.1:2500 inet n - n - - smtpd\n"));
        assert!(master.lines().all(|line| line.split_whitespace().count() == 8), "{master}");
    }
}
