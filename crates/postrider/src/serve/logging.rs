//! Where log lines go and what they look like.
//!
//! Promises: one event is one line on standard error. The text format is the one Debian's syslog writes
//! for Postfix (`TIME HOST postrider/SERVICE[PID]: MESSAGE`), so that tools made for mail logs read it;
//! under systemd, which stamps lines itself, only `MESSAGE` is written. The JSON format is one object a
//! line with the same values by name.
//! Refuses: files and rotation. Standard error is read by systemd, containers and shells alike.

use std::fmt;
use std::io::IsTerminal;
use std::sync::OnceLock;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, reload};

/// The formats of `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Puts another filter into force.
type Refilter = dyn Fn(EnvFilter) + Send + Sync;

/// There is one log in a process.
static REFILTER: OnceLock<Box<Refilter>> = OnceLock::new();

/// Starts logging. Called once, before anything can have something to say.
pub(crate) fn start(format: Format, level: &str, hostname: &str) {
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr);
    // A second start (a test that serves twice in one process) keeps the first one's settings.
    let _ = match format {
        Format::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false);
            let builder = builder.with_env_filter(filter(level)).with_filter_reloading();
            keep(builder.reload_handle());
            builder.try_init()
        }
        Format::Text => {
            let stamped = std::env::var_os("JOURNAL_STREAM").is_none() || std::io::stderr().is_terminal();
            let hostname = hostname.to_owned();
            let builder = builder.event_format(TextLine { stamped, hostname, pid: std::process::id() });
            let builder = builder.with_env_filter(filter(level)).with_filter_reloading();
            keep(builder.reload_handle());
            builder.try_init()
        }
    };
}

/// From now on lines of this level and above are written.
pub(crate) fn set_level(level: &str) {
    if let Some(refilter) = REFILTER.get() {
        refilter(filter(level));
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

fn keep<S: 'static>(handle: reload::Handle<EnvFilter, S>)
where
    reload::Handle<EnvFilter, S>: Send + Sync,
{
    let refilter = move |filter| {
        // It fails only when there is no log any more.
        let _ = handle.reload(filter);
    };
    let _ = REFILTER.set(Box::new(refilter));
}

struct TextLine {
    stamped: bool,
    hostname: String,
    pid: u32,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        if self.stamped {
            let now = Timestamp::now();
            write!(
                out,
                "{now:.3} {} postrider/{}[{}]: ",
                self.hostname,
                service(metadata.target()),
                self.pid
            )?;
        }
        match *metadata.level() {
            Level::ERROR => out.write_str("error: ")?,
            Level::WARN => out.write_str("warning: ")?,
            Level::DEBUG | Level::TRACE => out.write_str("debug: ")?,
            Level::INFO => {}
        }
        let mut message = Message::default();
        event.record(&mut message);
        out.write_str(&message.text)?;
        // The mail log's message already says everything; elsewhere the values follow the words.
        if metadata.target() != "mail" && !metadata.target().ends_with("::mail") {
            out.write_str(&message.values)?;
        }
        writeln!(out)
    }
}

/// The Postfix daemon whose line this would have been.
fn service(target: &str) -> &str {
    match target.split("::").next().unwrap_or(target) {
        "ingress" => "smtpd",
        "delivery" => "smtp",
        _ => "qmgr",
    }
}

#[derive(Default)]
struct Message {
    text: String,
    values: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else {
            self.values.push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.text = value.to_owned();
        } else {
            self.values.push_str(&format!(" {}={value}", field.name()));
        }
    }
}
