//! Reports to senders: written by crate `dsn`, sent through Postrider's own queue.
//!
//! Promises: the answer to the engine comes after the report is durable, or after it was decided that
//! nobody is to be told; a crash in between repeats a report at most once and loses none.
//! Refuses: deciding who is told. `dsn` plans that from the envelope and the settings.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use dsn::{Action, Audience, Kind, Notices, Plan, Planned, ReportedRecipient, Templates, Values};
use ingress::Accepted;
use mail::{
    Address, BodyType, Client, EnhancedStatus, Envelope, Notify, Outcome, QueueId, Recipient, Reply, Scope,
    Time, Verdict,
};
use qmgr::ReportKind;
use spool::{Body, NewBody, NewMessage, RecipientRecord, Spool, StoredMessage, Summary};
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::info;

use super::engine_task::now;
use super::last_stop::LastStop;
use super::work::Happened;
use crate::config::{Problem, Settings};

/// What reports are made with; replaced as a whole by a reload.
pub(crate) struct ReportSettings {
    pub(crate) hostname: String,
    pub(crate) notices: Notices,
    pub(crate) templates: Templates,
    pub(crate) values: Values,
    pub(crate) bounce_size_limit: u64,
}

impl ReportSettings {
    /// Reads the texts and says in whose name and to whom reports go. Blocks on the disk.
    pub(crate) fn read(settings: &Settings) -> Result<ReportSettings, Problem> {
        let (bounce, global) = (&settings.bounce, settings.engine.global());
        let hostname = &settings.smtp.config.hostname;
        let double_bounce_sender = format!("{}@{hostname}", global.double_bounce_sender).parse::<Address>();
        let double_bounce_sender = double_bounce_sender
            .map_err(|error| settings.problem("qmgr.double_bounce_sender", &error.to_string()))?;
        let texts = bounce.bounce_template_file.as_deref().map(|file| texts(settings, file)).transpose()?;
        Ok(ReportSettings {
            hostname: hostname.clone(),
            notices: Notices {
                classes: bounce.notify_classes,
                double_bounce_sender,
                bounce_notice_recipient: bounce.bounce_notice_recipient.clone(),
                second_bounce_notice_recipient: bounce.second_bounce_notice_recipient.clone(),
                delay_notice_recipient: bounce.delay_notice_recipient.clone(),
                error_notice_recipient: bounce.error_notice_recipient.clone(),
            },
            templates: texts.unwrap_or_default(),
            values: Values {
                myhostname: hostname.clone(),
                mydomain: hostname.split_once('.').map_or(hostname.as_str(), |(_, domain)| domain).to_owned(),
                mail_name: "Postrider".to_owned(),
                delay: Duration::ZERO,
                delay_warning_time: global.delay_warning_time,
                maximal_queue_lifetime: global.maximal_queue_lifetime,
                bounce_queue_lifetime: global.bounce_queue_lifetime,
            },
            bounce_size_limit: bounce.bounce_size_limit,
        })
    }
}

/// The texts in a file; what is wrong with them is said with file and line.
fn texts(settings: &Settings, file: &Path) -> Result<Templates, Problem> {
    let name = file.display();
    let unreadable = |error: io::Error| {
        settings.problem("bounce.bounce_template_file", &format!("{name} cannot be read: {error}"))
    };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    Templates::parse(&text)
        .map_err(|error| Problem::new(format!("{name}:{}", error.line), error.problem.to_string()))
}

/// The next hop would have to take 8-bit content and does not (RFC 3463 3.7).
const CONVERSION_NEEDED: EnhancedStatus = EnhancedStatus::new(5, 6, 3);

/// See the module.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) spool: Arc<Spool>,
    pub(crate) accepted: mpsc::Sender<Accepted>,
    pub(crate) settings: Arc<ArcSwap<ReportSettings>>,
    pub(crate) last_stop: LastStop,
    /// Held by whoever tells of a damaged message, so that nobody does it twice.
    pub(crate) telling: Arc<Mutex<()>>,
}

/// Everything one report needs.
struct Task {
    spool: Arc<Spool>,
    accepted: mpsc::Sender<Accepted>,
    settings: Arc<ReportSettings>,
    last_stop: LastStop,
    id: QueueId,
    kind: ReportKind,
    positions: Vec<u32>,
}

impl Reports {
    /// The work of making a report on some recipients of a message. `known` is the message as it is in
    /// memory; without it, it is read.
    pub(crate) fn make(
        &self,
        id: QueueId,
        kind: ReportKind,
        positions: Vec<u32>,
        known: Option<StoredMessage>,
    ) -> impl Future<Output = Happened> + Send + use<> {
        let task = Task {
            spool: self.spool.clone(),
            accepted: self.accepted.clone(),
            settings: self.settings.load_full(),
            last_stop: self.last_stop.clone(),
            id,
            kind,
            positions,
        };
        async move {
            let result = task.run(known).await.map_err(Arc::from);
            Happened::Reported { id, kind, result }
        }
    }
}

impl Task {
    /// Makes the reports and says which recipients they were about.
    async fn run(self, known: Option<StoredMessage>) -> Result<Vec<u32>, String> {
        let message = match known {
            Some(message) => message,
            None => {
                let (spool, id) = (self.spool.clone(), self.id);
                blocking(move || spool.read(id)).await?.map_err(|error| error.to_string())?
            }
        };
        let positions = concerned(self.kind, &self.positions, &message);
        if positions.is_empty() {
            return Ok(positions);
        }
        if self.needs_seven_bits(&message, &positions)
            && let Some(report_id) = self.send_in_seven_bits(&message).await?
        {
            info!(target: "mail", "{}: sent again in seven bits: {report_id}", self.id);
            return Ok(positions);
        }
        let plan = self.settings.notices.plan(dsn_kind(self.kind), &message.envelope, &positions);
        let planned = match plan {
            Plan::Reports(planned) => planned,
            Plan::Silent(silence) => {
                info!(target: "mail", "{}: nobody is told: {}", self.id, silence_words(silence));
                return Ok(positions);
            }
        };
        let message = Arc::new(message);
        for one in planned {
            self.send(one, message.clone()).await?;
        }
        Ok(positions)
    }

    /// Whether this message is a report of ours that failed because the next hop takes no 8-bit content.
    fn needs_seven_bits(&self, message: &StoredMessage, positions: &[u32]) -> bool {
        let envelope = &message.envelope;
        let ours = envelope.client == Client::default() && envelope.body == BodyType::EightBitMime;
        let for_that = |position| {
            message.recipients.get(position).is_some_and(|record| record.status == CONVERSION_NEEDED)
        };
        self.kind == ReportKind::Failure && ours && positions.iter().all(for_that)
    }

    /// Queues the report once more, encoded. It has no 8-bit content then, and cannot come here again.
    async fn send_in_seven_bits(&self, message: &StoredMessage) -> Result<Option<QueueId>, String> {
        let (spool, id) = (self.spool.clone(), self.id);
        let encoded = blocking(move || {
            let mut content = Vec::new();
            let body = spool.body(id).ok()?;
            BodyReader { body, place: 0 }.read_to_end(&mut content).ok()?;
            dsn::in_seven_bits(&content)
        });
        let Some(content) = encoded.await? else { return Ok(None) };
        let Some(to) = message.envelope.recipients.first() else { return Ok(None) };
        let (now, from) = (now(), message.envelope.sender.clone());
        let report_id = self.spool.next_id(now);
        let smtputf8 = message.envelope.smtputf8;
        let report =
            dsn::Report { from, to: to.address.clone(), smtputf8, body: BodyType::SevenBit, content };
        queue(&self.spool, &self.accepted, report_id, report, now).await?;
        Ok(Some(report_id))
    }

    async fn send(&self, planned: Planned, message: Arc<StoredMessage>) -> Result<(), String> {
        let now = now();
        let report_id = self.spool.next_id(now);
        let (spool, settings, last_stop) =
            (self.spool.clone(), self.settings.clone(), self.last_stop.clone());
        let (id, kind, words) = (self.id, self.kind, kind_words(self.kind, planned.audience));
        let report = blocking(move || {
            let original = spool.body(id).ok();
            let is_delivery = |address: &Address| last_stop.is_delivery(address);
            let about = About { id, kind, message: &message, is_delivery: &is_delivery };
            compose(&settings, &about, report_id, &planned, original, now)
        })
        .await?;
        info!(target: "mail", "{}: {words}: {report_id}", self.id);
        queue(&self.spool, &self.accepted, report_id, report, now).await
    }
}

/// The recipients that a report is about, in the order of the envelope. An empty list stands for what is on
/// record: where a crash came between an end and its report every recipient that ended like that and that
/// nobody was told of, where a delay is over every recipient that was late and has arrived. What the next
/// hop tells is not told twice.
fn concerned(kind: ReportKind, asked: &[u32], message: &StoredMessage) -> Vec<u32> {
    let told = |position: &u32| message.recipients.get(position).is_some_and(|record| record.reported);
    if !asked.is_empty() {
        let mut positions = asked.to_vec();
        positions.retain(|position| kind != ReportKind::Success || !told(position));
        positions.sort_unstable();
        return positions;
    }
    let wants_success = |record: &RecipientRecord| {
        let recipient = message.envelope.recipients.get(record.position as usize);
        recipient.and_then(|recipient| recipient.notify).is_some_and(|notify| notify.success)
    };
    let is_concerned = |record: &&RecipientRecord| match kind {
        ReportKind::DelayCleared => record.verdict == Verdict::Sent && record.attempts > 1,
        ReportKind::Success => record.verdict == Verdict::Sent && !record.reported && wants_success(record),
        _ => record.verdict == Verdict::Bounced && !record.reported,
    };
    message.recipients.values().filter(is_concerned).map(|record| record.position).collect()
}

/// Makes a report durable and hands it to the engine.
pub(super) async fn queue(
    spool: &Spool,
    accepted: &mpsc::Sender<Accepted>,
    id: QueueId,
    report: dsn::Report,
    now: Time,
) -> Result<(), String> {
    let envelope = Arc::new(envelope_of(&report, now));
    let permit = accepted.clone().reserve_owned().await.map_err(|_| "the engine is stopping")?;
    let summary = summary_of(&envelope);
    let body = NewBody::Inline(Bytes::from(report.content));
    let message = NewMessage { id, envelope: envelope.clone(), summary: summary.clone(), body };
    let (reply, answer) = oneshot::channel();
    let done = move |result: Result<(), spool::AcceptError>| {
        if result.is_ok() {
            permit.send(Accepted { id, envelope, summary });
        }
        // The one who waits may have been stopped; the report is queued all the same.
        let _ = reply.send(result);
    };
    spool.accept(message, Box::new(done));
    let result = answer.await.map_err(|_| "the spool is closed")?;
    result.map_err(|error| error.to_string())
}

/// What a report is about.
pub(super) struct About<'m> {
    pub(super) id: QueueId,
    pub(super) kind: ReportKind,
    pub(super) message: &'m StoredMessage,
    /// Whether what was sent to an address is in a mailbox now.
    pub(super) is_delivery: &'m (dyn Fn(&Address) -> bool + Sync),
}

pub(super) fn compose(
    settings: &ReportSettings,
    about: &About<'_>,
    report_id: QueueId,
    planned: &Planned,
    original: Option<Body>,
    now: Time,
) -> dsn::Report {
    let About { id, kind, message, is_delivery } = *about;
    let lifetime = if message.envelope.sender.is_some() {
        settings.values.maximal_queue_lifetime
    } else {
        settings.values.bounce_queue_lifetime
    };
    let outcomes: Vec<(u32, Outcome, Option<Time>)> = planned
        .recipients
        .iter()
        .map(|position| match message.recipients.get(position) {
            Some(record) => (*position, outcome_of(record), Some(record.time)),
            None => (*position, never_tried(kind), None),
        })
        .collect();
    let recipients: Vec<ReportedRecipient<'_>> = outcomes
        .iter()
        .filter_map(|(position, outcome, last_attempt)| {
            let recipient = message.envelope.recipients.get(*position as usize)?;
            Some(ReportedRecipient {
                address: &recipient.address,
                orcpt: recipient.orcpt.as_ref(),
                action: action_of(kind, || is_delivery(&recipient.address)),
                outcome,
                status: (outcome.verdict == Verdict::Deferred).then(|| final_status(kind)).flatten(),
                last_attempt: *last_attempt,
                will_retry_until: (kind == ReportKind::Delay).then(|| message.envelope.arrived + lifetime),
            })
        })
        .collect();
    let mut values = settings.values.clone();
    values.delay = now.since(message.envelope.arrived);
    let request = dsn::Request {
        kind: dsn_kind(kind),
        audience: planned.audience,
        from: planned.from.as_ref(),
        to: &planned.to,
        report_id,
        id,
        envelope: &message.envelope,
        recipients: &recipients,
        reporting_mta: &settings.hostname,
        now,
        returned: planned.returned,
        bounce_size_limit: settings.bounce_size_limit,
        templates: &settings.templates,
        values: &values,
    };
    match original {
        Some(body) => dsn::compose(&request, Some(&mut BodyReader { body, place: 0 })),
        None => dsn::compose(&request, None),
    }
}

fn envelope_of(report: &dsn::Report, now: Time) -> Envelope {
    Envelope {
        sender: report.from.clone(),
        recipients: vec![Recipient { address: report.to.clone(), orcpt: None, notify: Some(Notify::NEVER) }],
        ret: None,
        envid: None,
        body: report.body,
        smtputf8: report.smtputf8,
        arrived: now,
        size: report.content.len() as u64,
        client: Client::default(),
    }
}

fn summary_of(envelope: &Envelope) -> Summary {
    Summary {
        null_sender: envelope.sender.is_none(),
        recipients: 1,
        unfinished: 1,
        sites: envelope.recipients.iter().filter_map(|recipient| recipient.address.site()).collect(),
        ..Summary::default()
    }
}

fn outcome_of(record: &RecipientRecord) -> Outcome {
    Outcome {
        verdict: record.verdict,
        scope: record.scope,
        status: record.status,
        text: record.text.clone(),
        reply: record.relay.as_ref().and_then(|_| reply_of(&record.text)),
        relay: record.relay.clone(),
    }
}

/// The next hop's reply, as kept in the record: `CODE …` on one line, and perhaps which command it
/// answered, in our words.
fn reply_of(text: &str) -> Option<Arc<Reply>> {
    let text = text.rsplit_once(" (in reply to ").map_or(text, |(said, _)| said);
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code: u16 = code.parse().ok().filter(|code| (200..600).contains(code))?;
    let (status, words) = match rest.split_once(' ').map(|(first, words)| (first.parse(), words)) {
        Some((Ok(status), words)) => (Some(status), words),
        _ => (None, rest),
    };
    Some(Arc::new(Reply::new(code, status, words)))
}

fn never_tried(kind: ReportKind) -> Outcome {
    let status = final_status(kind).unwrap_or(EnhancedStatus::new(4, 0, 0));
    Outcome::deferred(Scope::Message, status, "no delivery was tried")
}

/// What a deferral becomes when its message's time is over (RFC 3463 3.5: delivery time expired).
fn final_status(kind: ReportKind) -> Option<EnhancedStatus> {
    match kind {
        ReportKind::Expired => Some(EnhancedStatus::new(5, 4, 7)),
        ReportKind::ForceExpired => Some(EnhancedStatus::new(5, 7, 0)),
        _ => None,
    }
}

fn dsn_kind(kind: ReportKind) -> Kind {
    match kind {
        ReportKind::Failure | ReportKind::Expired | ReportKind::ForceExpired => Kind::Failure,
        ReportKind::Delay => Kind::Delay,
        ReportKind::DelayCleared => Kind::DelayCleared,
        ReportKind::Success => Kind::Success,
    }
}

fn action_of(kind: ReportKind, is_delivery: impl Fn() -> bool) -> Action {
    match kind {
        ReportKind::Failure | ReportKind::Expired | ReportKind::ForceExpired => Action::Failed,
        ReportKind::Delay => Action::Delayed,
        ReportKind::DelayCleared | ReportKind::Success if is_delivery() => Action::Delivered,
        ReportKind::DelayCleared | ReportKind::Success => Action::Relayed,
    }
}

/// The words of Postfix's log.
pub(super) fn kind_words(kind: ReportKind, audience: Audience) -> &'static str {
    let to_sender = audience == Audience::Sender;
    match kind {
        ReportKind::Failure | ReportKind::Expired | ReportKind::ForceExpired if to_sender => {
            "sender non-delivery notification"
        }
        ReportKind::Failure | ReportKind::Expired | ReportKind::ForceExpired => {
            "postmaster non-delivery notification"
        }
        ReportKind::Delay if to_sender => "sender delay notification",
        ReportKind::Delay => "postmaster delay notification",
        ReportKind::DelayCleared | ReportKind::Success => "sender delivery status notification",
    }
}

fn silence_words(silence: dsn::Silence) -> &'static str {
    match silence {
        dsn::Silence::NotAsked => "no recipient asks for a report",
        dsn::Silence::NullSender => "the sender is null",
        dsn::Silence::PostmasterNotice => "undeliverable postmaster notification discarded",
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|failure| format!("internal error: {failure}"))
}

struct BodyReader {
    body: Body,
    place: u64,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read_at(self.place, buffer)?;
        self.place += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(position: u32, verdict: Verdict, attempts: u32, reported: bool) -> RecipientRecord {
        let (scope, status) = (Scope::Recipient, EnhancedStatus::new(2, 0, 0));
        let (text, time) = ("".into(), Time::ZERO);
        let (relay, earlier) = (None, Vec::new());
        RecipientRecord { position, verdict, scope, status, text, relay, time, attempts, reported, earlier }
    }

    /// The end of a run was recorded, and then came a crash: the next run tells, and tells nothing twice.
    #[test]
    fn after_a_crash_a_report_is_about_what_nobody_was_told_of() {
        let recipient = |notify: &str| Recipient {
            address: "u@x.test".parse().unwrap(),
            orcpt: None,
            notify: Some(Notify::parse(notify).unwrap()),
        };
        let all = ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS", "FAILURE", "FAILURE", "SUCCESS"];
        let envelope = Envelope {
            sender: Some("s@x.test".parse().unwrap()),
            recipients: all.map(recipient).to_vec(),
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            arrived: Time::ZERO,
            size: 0,
            client: Client::default(),
        };
        let records = [
            record(0, Verdict::Sent, 1, false),
            record(1, Verdict::Sent, 2, true),
            record(2, Verdict::Sent, 1, false),
            record(3, Verdict::Deferred, 1, false),
            record(4, Verdict::Bounced, 1, false),
            record(5, Verdict::Bounced, 1, true),
        ];
        let message = StoredMessage {
            envelope: Arc::new(envelope),
            summary: Summary::default(),
            recipients: records.map(|record| (record.position, record)).into(),
        };
        for (kind, asked, expected) in [
            (ReportKind::Success, &[][..], &[0][..]),
            (ReportKind::Success, &[1, 0], &[0]),
            (ReportKind::Success, &[1], &[]),
            (ReportKind::Failure, &[], &[4]),
            (ReportKind::Failure, &[5, 4], &[4, 5]),
            (ReportKind::DelayCleared, &[], &[1]),
        ] {
            assert_eq!(concerned(kind, asked, &message), expected, "{kind:?} {asked:?}");
        }
    }
}
