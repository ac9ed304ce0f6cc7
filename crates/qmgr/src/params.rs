//! The parameters of the queue manager, under their Postfix names: one table, used by the
//! configuration, by `config defaults`, by the documentation and by the engine itself.
//!
//! Promises: a name, unit, default, range and meaning is stated here and nowhere else; every value is
//! checked when it is set; the default and the preset are the same table read by another column.
//!
//! Refuses: to read files. Whoever reads the configuration hands over (name, text) pairs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flush::IneligibleSite;
use mail::{DomainList, UnitError, parse_duration};

use crate::feedback::{Feedback, FeedbackError, WindowRules};
use crate::table::PARAMETERS;

/// What kind of value a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A duration; a bare number counts in the given unit.
    Duration {
        /// The unit of a bare number.
        bare: Duration,
    },
    /// A whole number.
    Count,
    /// A whole number of percent.
    Percent,
    /// `yes` or `no` (`true` and `false` are read as well).
    Flag,
    /// A concurrency feedback.
    Feedback,
    /// Names separated by commas or blanks.
    Names,
    /// One word.
    Word,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Where a parameter may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// `[qmgr]` only.
    Qmgr,
    /// `[flush]` only.
    Flush,
    /// `[qmgr]` for all transports, and `[transport.NAME]` under its short name for one.
    Transport,
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The name of postconf(5), or ours where Postfix has none.
    pub name: &'static str,
    /// The name inside `[transport.NAME]`; the same as `name` for parameters that have no such form.
    pub short_name: &'static str,
    /// Where it may be written.
    pub section: Section,
    /// What it takes.
    pub kind: Kind,
    /// The default, as one would write it.
    pub default: &'static str,
    /// The value under `preset = "postfix"`, where that differs.
    pub postfix: Option<&'static str>,
    /// Least and greatest value: of a count or percentage itself, of a duration in milliseconds.
    pub range: (u64, u64),
    /// One line.
    pub meaning: &'static str,
    pub(crate) field: Field,
}

/// Where a value lands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Global(fn(&mut Global, &Value)),
    Transport(fn(&mut TransportParameters, &Value)),
}

/// A checked value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Duration(Duration),
    Number(u64),
    Flag(bool),
    Feedback(Feedback),
    Names(Vec<Arc<str>>),
    Word(Arc<str>),
}

/// Why a parameter was not set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParameterError {
    /// There is no parameter of this name here.
    #[error("unknown parameter {name}")]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// A duration or number that cannot be read.
    #[error("{name}: {source}")]
    Unit {
        /// The parameter.
        name: &'static str,
        /// What is wrong with the value.
        source: UnitError,
    },
    /// A feedback that cannot be read.
    #[error("{name}: {source}")]
    Feedback {
        /// The parameter.
        name: &'static str,
        /// What is wrong with the value.
        source: FeedbackError,
    },
    /// Something else was expected.
    #[error("{name}: {expected} is expected")]
    Malformed {
        /// The parameter.
        name: &'static str,
        /// What would be right.
        expected: String,
    },
    /// Read, but outside the range.
    #[error("{name}: the value must lie between {least} and {greatest}")]
    Range {
        /// The parameter.
        name: &'static str,
        /// The least value, as one would write it.
        least: String,
        /// The greatest value, as one would write it.
        greatest: String,
    },
}

/// Which column of defaults the configuration starts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preset {
    /// Postrider's own defaults.
    #[default]
    Postrider,
    /// Postfix's behaviour where both are useful.
    Postfix,
}

/// The parameters that hold for the whole engine. Names and meanings are those of [`parameters`].
#[allow(missing_docs, reason = "the meaning of each field is in the table of parameters")]
#[derive(Clone, PartialEq, Debug)]
pub struct Global {
    pub queue_run_delay: Duration,
    pub retry_jitter: u64,
    pub site_recovery_wakeup: bool,
    pub keep_learned_concurrency: Duration,
    pub flush_ineligible_site: IneligibleSite,
    pub minimal_backoff_time: Duration,
    pub maximal_backoff_time: Duration,
    pub maximal_queue_lifetime: Duration,
    pub bounce_queue_lifetime: Duration,
    pub delay_warning_time: Duration,
    pub confirm_delay_cleared: bool,
    pub bounce_report_delay: Duration,
    pub soft_bounce: bool,
    pub transport_retry_time: Duration,
    pub qmgr_message_active_limit: u64,
    pub qmgr_message_recipient_limit: u64,
    pub qmgr_message_recipient_minimum: u64,
    pub qmgr_clog_warn_time: Duration,
    pub defer_transports: Vec<Arc<str>>,
    pub double_bounce_sender: Arc<str>,
    pub recipient_delimiter: Arc<str>,
    pub destination_process_share: u64,
    pub destination_concurrency_feedback_debug: bool,
    pub fast_flush_refresh_time: Duration,
    pub fast_flush_purge_time: Duration,
}

/// The parameters of one transport. Names and meanings are those of [`parameters`].
#[allow(missing_docs, reason = "the meaning of each field is in the table of parameters")]
#[derive(Clone, PartialEq, Debug)]
pub struct TransportParameters {
    pub process_limit: u64,
    pub initial_destination_concurrency: u64,
    pub destination_concurrency_limit: u64,
    pub destination_concurrency_positive_feedback: Feedback,
    pub destination_concurrency_negative_feedback: Feedback,
    pub destination_concurrency_failed_cohort_limit: u64,
    pub destination_recipient_limit: u64,
    pub destination_rate_delay: Duration,
    pub transport_rate_delay: Duration,
    pub recipient_limit: u64,
    pub extra_recipient_limit: u64,
    pub recipient_refill_limit: u64,
    pub recipient_refill_delay: Duration,
    pub delivery_slot_cost: u64,
    pub delivery_slot_loan: u64,
    pub delivery_slot_discount: u64,
    pub minimum_delivery_slots: u64,
}

impl TransportParameters {
    /// The rules of a window: the initial size is clipped to the limit, and a rate delay makes the
    /// limit 1.
    pub(crate) fn window_rules(&self) -> WindowRules {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let limit =
            if self.destination_rate_delay.is_zero() { small(self.destination_concurrency_limit) } else { 1 };
        let initial = small(self.initial_destination_concurrency).max(1);
        WindowRules {
            initial: if limit == 0 { initial } else { initial.min(limit) },
            limit,
            positive: self.destination_concurrency_positive_feedback,
            negative: self.destination_concurrency_negative_feedback,
            cohort_limit: self.destination_concurrency_failed_cohort_limit as f64,
        }
    }
}

/// All parameters, sorted by section as `config defaults` prints them.
pub fn parameters() -> &'static [Parameter] {
    PARAMETERS
}

/// Everything the engine is told. A plain value: compare two to see what a reload changes.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub(crate) global: Global,
    for_all: TransportParameters,
    /// What single transports have set, in the order of setting, over `for_all`.
    overrides: BTreeMap<Arc<str>, BTreeMap<&'static str, Value>>,
    /// Sites whose mail may be flushed by clients (`fast_flush_domains`).
    pub fast_flush_domains: DomainList,
    /// Domains that are delivered here: where `double_bounce_sender` is a sink.
    pub local_domains: DomainList,
}

impl Default for Config {
    fn default() -> Config {
        Config::new(Preset::Postrider)
    }
}

impl Config {
    /// The defaults of a preset, without eligible sites and local domains. The transport `local` starts
    /// with a concurrency of 2 and one recipient a delivery, as in postconf(5).
    pub fn new(preset: Preset) -> Config {
        let mut config = Config {
            global: Global::blank(),
            for_all: TransportParameters::blank(),
            overrides: BTreeMap::new(),
            fast_flush_domains: DomainList::default(),
            local_domains: DomainList::default(),
        };
        for parameter in PARAMETERS {
            let text = match preset {
                Preset::Postfix => parameter.postfix.unwrap_or(parameter.default),
                Preset::Postrider => parameter.default,
            };
            let value = parameter.read(text).expect("defaults are valid");
            config.apply(parameter, value);
        }
        for (name, text) in [("destination_concurrency_limit", "2"), ("destination_recipient_limit", "1")] {
            config.set_for_transport("local", name, text).expect("defaults are valid");
        }
        config
    }

    /// Sets a parameter of `[qmgr]` or `[flush]` by its full name.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), ParameterError> {
        let parameter = PARAMETERS.iter().find(|parameter| parameter.name == name);
        let parameter = parameter.ok_or_else(|| ParameterError::Unknown { name: name.to_owned() })?;
        let value = parameter.read(text)?;
        self.apply(parameter, value);
        Ok(())
    }

    /// Sets a parameter of `[transport.NAME]` by its short name.
    pub fn set_for_transport(
        &mut self,
        transport: &str,
        name: &str,
        text: &str,
    ) -> Result<(), ParameterError> {
        let here =
            |parameter: &&Parameter| parameter.section == Section::Transport && parameter.short_name == name;
        let parameter = PARAMETERS.iter().find(here);
        let parameter = parameter.ok_or_else(|| ParameterError::Unknown { name: name.to_owned() })?;
        let value = parameter.read(text)?;
        self.overrides.entry(transport.into()).or_default().insert(parameter.short_name, value);
        Ok(())
    }

    /// Sets a parameter by any of its names: the full one, `TRANSPORT_short_name` as in main.cf,
    /// `TRANSPORT.short_name`, the short one alone for all transports that have no value of their own, or
    /// any of them behind its section as in `transport.smtp.process_limit`.
    pub fn set_any(&mut self, name: &str, text: &str) -> Result<(), ParameterError> {
        let (transport, parameter) = resolve(name)?;
        match transport {
            Some(transport) => self.set_for_transport(transport, parameter.short_name, text),
            None => self.set(parameter.name, text),
        }
    }

    /// The transport that [`Config::set_any`] would set a parameter of; nothing for all of them.
    pub fn transport_in(name: &str) -> Result<Option<&str>, ParameterError> {
        resolve(name).map(|(transport, _)| transport)
    }

    /// The parameters of the whole engine, repaired where two contradict each other: the recipient
    /// limit is at least the active limit, and bounces live no longer than mail.
    pub fn global(&self) -> &Global {
        &self.global
    }

    /// The parameters of one transport.
    pub fn transport(&self, name: &str) -> TransportParameters {
        let mut parameters = self.for_all.clone();
        for (short_name, value) in self.overrides.get(name).into_iter().flatten() {
            let parameter = PARAMETERS.iter().find(|parameter| parameter.short_name == *short_name);
            if let Some(Field::Transport(field)) = parameter.map(|parameter| parameter.field) {
                field(&mut parameters, value);
            }
        }
        parameters
    }

    fn apply(&mut self, parameter: &Parameter, value: Value) {
        match parameter.field {
            Field::Global(field) => field(&mut self.global, &value),
            Field::Transport(field) => field(&mut self.for_all, &value),
        }
    }

    /// The configuration as the engine uses it: see [`Config::global`].
    pub(crate) fn repaired(mut self) -> Config {
        let global = &mut self.global;
        global.qmgr_message_recipient_limit =
            global.qmgr_message_recipient_limit.max(global.qmgr_message_active_limit);
        global.bounce_queue_lifetime = global.bounce_queue_lifetime.min(global.maximal_queue_lifetime);
        self
    }
}

/// The transport, if it is for one, and the parameter behind a name that [`Config::set_any`] takes.
fn resolve(name: &str) -> Result<(Option<&str>, &'static Parameter), ParameterError> {
    let unknown = || ParameterError::Unknown { name: name.to_owned() };
    let of_transport = || PARAMETERS.iter().filter(|parameter| parameter.section == Section::Transport);
    let bare = ["qmgr.", "flush.", "transport."].iter().find_map(|section| name.strip_prefix(section));
    let bare = bare.unwrap_or(name);
    if let Some((transport, short)) = bare.split_once('.') {
        let parameter = of_transport().find(|parameter| parameter.short_name == short).ok_or_else(unknown)?;
        return Ok((Some(transport), parameter));
    }
    let whole = |parameter: &&Parameter| parameter.name == bare || parameter.short_name == bare;
    if let Some(parameter) = PARAMETERS.iter().find(whole) {
        return Ok((None, parameter));
    }
    // The longest, because one short name may end in another.
    let split = of_transport().filter_map(|parameter| {
        let transport = bare.strip_suffix(parameter.short_name)?.strip_suffix('_')?;
        (!transport.is_empty()).then_some((Some(transport), parameter))
    });
    split.max_by_key(|(_, parameter)| parameter.short_name.len()).ok_or_else(unknown)
}

impl Parameter {
    /// Reads and checks a value.
    pub(crate) fn read(&self, text: &str) -> Result<Value, ParameterError> {
        let malformed =
            |expected: &str| ParameterError::Malformed { name: self.name, expected: expected.into() };
        let text = text.trim();
        let value = match self.kind {
            Kind::Duration { bare } => Value::Duration(
                parse_duration(text, bare)
                    .map_err(|source| ParameterError::Unit { name: self.name, source })?,
            ),
            Kind::Count => Value::Number(text.parse().map_err(|_| malformed("a whole number"))?),
            Kind::Percent => {
                let digits = text.strip_suffix('%').unwrap_or(text).trim_end();
                Value::Number(digits.parse().map_err(|_| malformed("a whole number of percent"))?)
            }
            Kind::Flag => match text {
                "yes" | "true" => Value::Flag(true),
                "no" | "false" => Value::Flag(false),
                _ => return Err(malformed("yes or no")),
            },
            Kind::Feedback => Value::Feedback(
                text.parse().map_err(|source| ParameterError::Feedback { name: self.name, source })?,
            ),
            Kind::Names => {
                let words = text.split(|c: char| c == ',' || c.is_whitespace());
                Value::Names(words.filter(|word| !word.is_empty()).map(Arc::from).collect())
            }
            Kind::Word if text.contains(char::is_whitespace) => return Err(malformed("one word")),
            Kind::Word => Value::Word(text.into()),
            Kind::Choice(words) if words.contains(&text) => Value::Word(text.into()),
            Kind::Choice(words) => return Err(malformed(&words.join(" or "))),
        };
        self.check_range(&value)?;
        Ok(value)
    }

    fn check_range(&self, value: &Value) -> Result<(), ParameterError> {
        let number = match value {
            Value::Duration(duration) => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            Value::Number(number) => *number,
            _ => return Ok(()),
        };
        let (least, greatest) = self.range;
        if (least..=greatest).contains(&number) {
            return Ok(());
        }
        let written = |number: u64| match self.kind {
            Kind::Duration { .. } => mail::format_duration(Duration::from_millis(number)),
            _ => number.to_string(),
        };
        Err(ParameterError::Range { name: self.name, least: written(least), greatest: written(greatest) })
    }
}

impl Value {
    pub(crate) fn duration(&self) -> Duration {
        if let Value::Duration(duration) = self { *duration } else { Duration::ZERO }
    }

    pub(crate) fn number(&self) -> u64 {
        if let Value::Number(number) = self { *number } else { 0 }
    }

    pub(crate) fn flag(&self) -> bool {
        matches!(self, Value::Flag(true))
    }

    pub(crate) fn feedback(&self) -> Feedback {
        if let Value::Feedback(feedback) = self { *feedback } else { Feedback::ONE }
    }

    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        if let Value::Names(names) = self { names.clone() } else { Vec::new() }
    }

    pub(crate) fn word(&self) -> Arc<str> {
        if let Value::Word(word) = self { Arc::clone(word) } else { Arc::from("") }
    }
}

impl Global {
    /// Zeroes, overwritten by the defaults of the table before anybody sees them.
    fn blank() -> Global {
        Global {
            queue_run_delay: Duration::ZERO,
            retry_jitter: 0,
            site_recovery_wakeup: false,
            keep_learned_concurrency: Duration::ZERO,
            flush_ineligible_site: IneligibleSite::Reject,
            minimal_backoff_time: Duration::ZERO,
            maximal_backoff_time: Duration::ZERO,
            maximal_queue_lifetime: Duration::ZERO,
            bounce_queue_lifetime: Duration::ZERO,
            delay_warning_time: Duration::ZERO,
            confirm_delay_cleared: false,
            bounce_report_delay: Duration::ZERO,
            soft_bounce: false,
            transport_retry_time: Duration::ZERO,
            qmgr_message_active_limit: 0,
            qmgr_message_recipient_limit: 0,
            qmgr_message_recipient_minimum: 0,
            qmgr_clog_warn_time: Duration::ZERO,
            defer_transports: Vec::new(),
            double_bounce_sender: Arc::from(""),
            recipient_delimiter: Arc::from(""),
            destination_process_share: 0,
            destination_concurrency_feedback_debug: false,
            fast_flush_refresh_time: Duration::ZERO,
            fast_flush_purge_time: Duration::ZERO,
        }
    }
}

impl TransportParameters {
    /// As [`Global::blank`].
    fn blank() -> TransportParameters {
        TransportParameters {
            process_limit: 0,
            initial_destination_concurrency: 0,
            destination_concurrency_limit: 0,
            destination_concurrency_positive_feedback: Feedback::ONE,
            destination_concurrency_negative_feedback: Feedback::ONE,
            destination_concurrency_failed_cohort_limit: 0,
            destination_recipient_limit: 0,
            destination_rate_delay: Duration::ZERO,
            transport_rate_delay: Duration::ZERO,
            recipient_limit: 0,
            extra_recipient_limit: 0,
            recipient_refill_limit: 0,
            recipient_refill_delay: Duration::ZERO,
            delivery_slot_cost: 0,
            delivery_slot_loan: 0,
            delivery_slot_discount: 0,
            minimum_delivery_slots: 0,
        }
    }
}
