//! The command line as clap reads it. Nothing here acts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use control::QueueName;

use crate::config::Sources;
use crate::sink::SinkArgs;
use crate::source::SourceArgs;

/// A durable mail queue engine: takes mail over SMTP or LMTP, keeps it safe, delivers it, and shows its
/// queue.
#[derive(Parser, Debug)]
#[command(
    name = "postrider",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 nothing matched, 2 usage, 65 damaged data, 69 the engine is not \
                  running, 74 I/O error, 77 not permitted, 78 configuration error.\n\n\
                  Examples:\n  postrider serve\n  postrider queue list\n  \
                  postrider queue why 0D5QJK2B7X1ZC\n  postrider flush example.com"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Default)]
pub(crate) struct Common {
    /// Configuration file [default: $POSTRIDER_CONFIG, ./postrider.toml, /etc/postrider/postrider.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, over the file and the environment; may be repeated
    #[arg(short = 'o', long = "option", global = true, value_name = "SECTION.KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

impl Common {
    /// Where the configuration comes from.
    pub(crate) fn sources(self) -> Sources {
        Sources { file: self.config, overrides: self.overrides }
    }
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the engine in the foreground
    #[command(after_help = "Examples:\n  postrider serve\n  postrider serve -o smtp.listen=127.0.0.1:25 \
                            -o route.relayhost='[192.0.2.1]:25'\n\n\
                            SIGTERM and Ctrl-C stop it cleanly; SIGHUP reads the configuration again.")]
    Serve,
    /// Check, show or explain the configuration
    #[command(
        subcommand,
        after_help = "Examples:\n  postrider config check --config new.toml\n  \
                      postrider config show -o smtp.recipient_limit=50"
    )]
    Config(ConfigCommand),
    /// Look at the queue and change it
    #[command(
        subcommand,
        after_help = "Examples:\n  postrider queue list --queue deferred --older-than 1d\n  \
                      postrider queue hold --sender @example.com"
    )]
    Queue(QueueCommand),
    /// Ask for delivery now
    Flush(FlushArgs),
    /// Send trigger letters: D deferred, I incoming, A all, F forget failures, W wake up
    #[command(after_help = "All letters of one trigger are taken together, whatever their order.\n\n\
                            Examples:\n  postrider trigger FADI    try everything now\n  \
                            postrider trigger D       start a scan of the deferred queue")]
    Trigger {
        /// Any of D I A F W
        letters: String,
    },
    /// How the engine is: addresses, queues, disk
    #[command(after_help = "Examples:\n  postrider status\n  postrider status --json | jq .accepting")]
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Run a scenario file through the engine in simulated time
    #[command(
        after_help = "Examples:\n  postrider sim slow-site.toml\n  postrider sim slow-site.toml --order"
    )]
    Sim {
        /// Scenario
        scenario: PathBuf,
        /// Print the order of selection only, on one line
        #[arg(long, conflicts_with = "trace")]
        order: bool,
        /// Print every event as a JSON object (the default)
        #[arg(long)]
        trace: bool,
        /// Random seed, over the scenario's own
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// A test server: takes SMTP or LMTP, counts, delays, refuses and drops as told
    Sink(SinkArgs),
    /// A test client: sends messages over SMTP or LMTP as fast as told, and says how it went
    Source(SourceArgs),
    /// Version of the program, the spool format and the control protocol
    #[command(after_help = "Example:\n  postrider version")]
    Version,
}

/// `postrider config …`
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Read everything, say what is wrong with file, line and column, and exit with 78 if anything is
    #[command(after_help = "Example:\n  postrider config check --config /etc/postrider/postrider.toml")]
    Check,
    /// Every value in effect, and where it comes from
    #[command(after_help = "Example:\n  postrider config show | grep -v 'built-in default'")]
    Show {
        /// One JSON object a line: key, value, origin
        #[arg(long)]
        json: bool,
    },
    /// Every key with its default, unit and meaning, as a valid file
    #[command(after_help = "Example:\n  postrider config defaults > postrider.toml")]
    Defaults,
    /// The reference page docs/config.md
    #[command(hide = true)]
    Page,
}

/// `postrider queue …`
#[derive(Subcommand, Debug)]
pub(crate) enum QueueCommand {
    /// One line for each message: id, queue, size, age, next attempt, attempts, sender, recipient, reason
    #[command(after_help = "Without criteria every message is listed. On a terminal there is a heading and \
                            a last line with sums; elsewhere there are messages only.\n\n\
                            Examples:\n  postrider queue list --queue deferred --reason refused\n  \
                            postrider queue list --json --older-than 1d | jq -r .queue_id")]
    List {
        #[command(flatten)]
        selector: SelectorArgs,
        /// One JSON object a line: the fields of postqueue -j and more
        #[arg(long)]
        json: bool,
    },
    /// How many messages there are
    #[command(after_help = "Prints the number; exit code 1 when it is 0 and something was asked for.\n\n\
                            Example:\n  postrider queue count --queue deferred --site example.com")]
    Count {
        #[command(flatten)]
        selector: SelectorArgs,
    },
    /// One message: envelope, headers and body
    #[command(
        after_help = "With --headers or --body alone the content is written as it is, byte for byte.\n\n\
                            Examples:\n  postrider queue show 0D5QJK2B7X1ZC\n  \
                            postrider queue show 0D5QJK2B7X1ZC --headers"
    )]
    Show {
        /// Queue id
        id: String,
        /// The envelope, and what is recorded for each recipient
        #[arg(long)]
        envelope: bool,
        /// The header section
        #[arg(long)]
        headers: bool,
        /// The body
        #[arg(long)]
        body: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Everything known of messages, sites and transports, one JSON object a line
    #[command(after_help = "Each object says what it is about in `kind`: message, site or transport.\n\n\
                            Example:\n  postrider queue dump --site example.com")]
    Dump {
        #[command(flatten)]
        selector: SelectorArgs,
    },
    /// How old the mail for each site is (qshape)
    #[command(after_help = "Counts recipients by site, or messages by sender domain; ages in minutes.\n\n\
                            Examples:\n  postrider queue shape --queue deferred\n  \
                            postrider queue shape --by sender")]
    Shape {
        /// A queue; may be repeated [default: incoming and active and deferred]
        #[arg(long, value_name = "NAME")]
        queue: Vec<QueueName>,
        /// What the rows are
        #[arg(long, value_parser = ["recipient", "sender"], default_value = "recipient")]
        by: String,
    },
    /// What a message or a site waits for, and what would release it
    #[command(
        after_help = "Examples:\n  postrider queue why 0D5QJK2B7X1ZC\n  postrider queue why example.com"
    )]
    Why {
        /// Queue id or site
        #[arg(value_name = "ID|SITE")]
        what: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Keep messages back until they are released
    #[command(after_help = CHANGE_HELP)]
    Hold(ChangeArgs),
    /// Let held messages go
    #[command(after_help = CHANGE_HELP)]
    Release(ChangeArgs),
    /// Route messages anew and try them now
    #[command(after_help = CHANGE_HELP)]
    Requeue(ChangeArgs),
    /// Try deferred messages now, all their recipients; `postrider flush SITE` tries those at a site
    #[command(after_help = CHANGE_HELP)]
    Flush(ChangeArgs),
    /// Remove messages without telling their senders
    #[command(after_help = CHANGE_HELP)]
    Delete(ChangeArgs),
    /// Take back messages that were deleted within control.delete_grace
    #[command(after_help = "They are again where they were: on hold, or tried at once.\n\n\
                            Example:\n  postrider queue undelete --sender @example.com")]
    Undelete(ChangeArgs),
    /// Return messages to their senders at the next attempt
    #[command(after_help = CHANGE_HELP)]
    Expire {
        #[command(flatten)]
        change: ChangeArgs,
        /// Release them from hold, too
        #[arg(long)]
        release: bool,
    },
    /// Read every record of the spool and check every sum; works on a stopped spool, too
    #[command(after_help = "Exit code 65 when damage was found and not repaired.\n\n\
                            Examples:\n  postrider queue verify\n  postrider queue verify --repair")]
    Verify {
        /// Move damaged messages to the corrupt queue (needs a running engine)
        #[arg(long)]
        repair: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

const CHANGE_HELP: &str = "Prints the number of messages on standard output; exit code 1 when it is 0.\n\n\
    Examples (with any of hold, release, requeue, flush, delete, expire):\n  \
    postrider queue hold 0D5QJK2B7X1ZC\n  \
    postrider queue delete --sender '' --older-than 1d --dry-run\n  \
    postrider queue list --json --site example.com | jq -r .queue_id | postrider queue requeue -";

/// Options of the commands that change messages.
#[derive(Args, Debug, Default)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) selector: SelectorArgs,
    /// Count only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, however many messages there are
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Which messages; several criteria are joined by *and*.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Which messages (all criteria must hold)")]
pub(crate) struct SelectorArgs {
    /// Queue ids; - reads them from standard input
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Every message
    #[arg(long)]
    pub(crate) all: bool,
    /// In this queue: incoming, active, deferred, hold or corrupt; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Vec<QueueName>,
    /// Waiting for this site
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) site: Option<String>,
    /// From this sender; '' is the null sender
    #[arg(long, value_name = "ADDRESS|@DOMAIN")]
    pub(crate) sender: Option<String>,
    /// With this unfinished recipient
    #[arg(long, value_name = "ADDRESS|@DOMAIN")]
    pub(crate) recipient: Option<String>,
    /// Accepted longer ago than this: 30s, 5m, 12h, 5d, 1w
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    pub(crate) older_than: Option<u64>,
    /// Accepted less long ago than this
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    pub(crate) newer_than: Option<u64>,
    /// Tried at least so many times
    #[arg(long, value_name = "N")]
    pub(crate) min_attempts: Option<u32>,
    /// With this text in the last reason
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Going by this transport
    #[arg(long, value_name = "NAME")]
    pub(crate) transport: Option<String>,
    /// Not more than so many, oldest first
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// A duration in milliseconds; a bare number counts seconds.
fn milliseconds(text: &str) -> Result<u64, mail::UnitError> {
    let duration = mail::parse_duration(text, std::time::Duration::from_secs(1))?;
    Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// `postrider flush …`
#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("target")
        .required(true)
        .args(["sites", "all", "message", "refresh", "purge", "status"]),
    after_help = "Prints what each flush released; exit code 1 when nothing was waiting.\n\n\
                  Examples:\n  postrider flush example.com\n  postrider flush --message 0D5QJK2B7X1ZC\n  \
                  postrider flush --all"
)]
pub(crate) struct FlushArgs {
    /// Sites
    #[arg(value_name = "SITE")]
    pub(crate) sites: Vec<String>,
    /// Everything
    #[arg(long)]
    pub(crate) all: bool,
    /// One message
    #[arg(long, value_name = "ID")]
    pub(crate) message: Option<String>,
    /// Note that a message waits for the one site named; says whether it is on record there
    #[arg(long, value_name = "ID", requires = "sites", conflicts_with_all = ["all", "message"])]
    pub(crate) add: Option<String>,
    /// Eligible sites not asked for within fast_flush_refresh_time
    #[arg(long)]
    pub(crate) refresh: bool,
    /// All eligible sites with mail waiting
    #[arg(long)]
    pub(crate) purge: bool,
    /// Only tell which sites have mail waiting
    #[arg(long)]
    pub(crate) status: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
