//! What an operator may ask and do, as requests of crate `control`.
//!
//! Promises: every change is logged with who, what and how many; counts are those of the engine, after
//! the fact. Long answers are written as they are found.
//! Refuses: authorisation beyond the mode of the socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use control::shape::Buckets;
use control::{
    Action, Answer, ChangedItem, FlushItem, FlushResult, FlushTarget, HelloItem, Item, Parts, QueueCounts,
    QueueName, Request, Selector, StatusItem, Totals,
};
use flush::{Authority, Status};
use mail::{QueueId, Time};
use qmgr::{Changed, Engine, FlushView};
use spool::{CorruptMessage, Spool};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use super::control_socket::AnswerStream;
use super::deleted::Deleted;
use super::engine_task::{EngineHandle, Stopped, now};
use super::listing::Walk;
use super::routes::Routes;
use super::{shape, show, why};

/// Ids that the engine changes in one go.
const CHANGE_AT_ONCE: usize = 1000;
/// How long a change may take to become durable before the operator is told that it is not yet.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What does not change while the engine runs.
pub(crate) struct Facts {
    pub(crate) started: Time,
    pub(crate) spool_directory: String,
    pub(crate) listen: Vec<String>,
}

/// See the module.
pub(crate) struct Operator {
    pub(crate) engine: EngineHandle,
    pub(crate) spool: Arc<Spool>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) deleted: Arc<Deleted>,
    pub(crate) facts: Facts,
}

/// Why a request was not carried out.
pub(crate) enum Refusal {
    /// To be told: an exit code and one line.
    Told(u8, String),
    /// The client is gone.
    Gone(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Gone(error)
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Refusal {
        Refusal::Told(69, stopped.to_string())
    }
}

impl Operator {
    /// Answers one request. An error means that the client is gone.
    pub(crate) async fn answer(
        &self,
        request: Request,
        who: &str,
        answers: &mut AnswerStream,
    ) -> io::Result<()> {
        match self.carry_out(request, who, answers).await {
            Ok(count) => answers.end(Answer::done(count)).await,
            Err(Refusal::Told(code, text)) => answers.end(Answer::failed(code, text)).await,
            Err(Refusal::Gone(error)) => Err(error),
        }
    }

    /// Carries out a trigger buffer.
    pub(crate) async fn trigger(&self, letters: &[u8], who: &str) {
        let buffer = letters.to_vec();
        info!("operator {who}: trigger {}", String::from_utf8_lossy(letters).trim());
        // A trigger has no answer; an engine that is stopping will scan at its next start anyway.
        let _ = self.engine.ask(move |engine, now| engine.trigger(now, &buffer)).await;
    }

    async fn carry_out(
        &self,
        request: Request,
        who: &str,
        answers: &mut AnswerStream,
    ) -> Result<u64, Refusal> {
        match request {
            Request::Hello { version } => self.hello(version, answers).await,
            Request::List { selector } => self.list(selector, answers).await,
            Request::Shape { queues, unit, buckets, linear } => {
                let buckets = shape::buckets(unit, buckets, linear)?;
                self.shape(queues, buckets, answers).await
            }
            Request::Show { id, parts } => self.show(&id, parts, answers).await,
            Request::Dump { selector } => self.dump(selector, answers).await,
            Request::Change { action, selector, dry_run } => {
                self.change(action, selector, dry_run, who, answers).await
            }
            Request::Flush { target } => self.flush(target, who, answers).await,
            Request::Trigger { letters } => {
                self.trigger(letters.as_bytes(), who).await;
                Ok(0)
            }
            Request::Why { what } => self.why(what, answers).await,
            Request::Verify { repair } => self.verify(repair, who, answers).await,
            Request::Status {} => self.status(answers).await,
            Request::Ping {} => Ok(0),
        }
    }

    async fn hello(&self, version: u32, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        if version != control::VERSION {
            let text = format!(
                "this engine speaks version {} of the control protocol, not {version}",
                control::VERSION
            );
            return Err(Refusal::Told(64, text));
        }
        let program = super::PROGRAM.to_owned();
        answers.item(Item::Hello(HelloItem { version: control::VERSION, program })).await?;
        Ok(0)
    }

    async fn list(&self, selector: Selector, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let walk = Walk::new(selector);
        let mut pages = walk.ahead(self.engine.clone(), self.spool.clone(), self.routes.clone());
        let mut count = 0;
        while let Some(page) = pages.recv().await.ok_or(Stopped)?? {
            for item in page {
                answers.item(Item::Message(item)).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn shape(
        &self,
        queues: Vec<QueueName>,
        buckets: Buckets,
        answers: &mut AnswerStream,
    ) -> Result<u64, Refusal> {
        let items = shape::count(queues, buckets, &self.engine, &self.spool, &self.routes).await?;
        let mut count = 0;
        for item in items {
            count += item.sites.len() as u64;
            answers.item(Item::Shape(item)).await?;
        }
        Ok(count)
    }

    async fn dump(&self, selector: Selector, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let named = (!selector.is_empty()).then(|| selector.site.clone()).flatten();
        let count = self.list(selector, answers).await?;
        let (recorded, sites, transports) = self
            .engine
            .ask(|engine, _| (engine.recorded_sites(), engine.sites(), engine.transports()))
            .await?;
        for item in why::site_items(&recorded, &sites, &self.routes) {
            if named.as_deref().is_none_or(|named| *named == *item.site) {
                answers.item(Item::Site(item)).await?;
            }
        }
        for transport in transports {
            answers.item(Item::Transport(why::transport_item(&transport))).await?;
        }
        Ok(count)
    }

    async fn show(&self, id: &str, parts: Parts, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let id: QueueId = id.parse().map_err(|error| Refusal::Told(64, format!("{id}: {error}")))?;
        let view = self.engine.ask(move |engine, _| engine.message(id)).await?;
        let view = view.ok_or_else(|| Refusal::Told(1, format!("{id}: no such message")))?;
        show::message(view, parts, &self.engine, &self.spool, &self.routes, answers).await?;
        Ok(1)
    }

    async fn change(
        &self,
        action: Action,
        selector: Selector,
        dry_run: bool,
        who: &str,
        answers: &mut AnswerStream,
    ) -> Result<u64, Refusal> {
        selector.require_some().map_err(|error| Refusal::Told(64, error.to_string()))?;
        if action == Action::Undelete {
            return self.undelete(selector, dry_run, who).await;
        }
        let (each_is_told, what) = (!selector.ids.is_empty(), selector.to_string());
        let mut walk = Walk::new(selector);
        let mut ids: Vec<QueueId> = Vec::new();
        while let Some(page) = walk.next_page(&self.engine, &self.spool, &self.routes).await? {
            ids.extend(page.iter().filter_map(|item| item.queue_id.parse::<QueueId>().ok()));
        }
        if dry_run {
            return Ok(ids.len() as u64);
        }
        if action == Action::Requeue {
            let (lost, reason) = self.take_back_from_corrupt(&ids).await?;
            ids.retain(|id| lost.binary_search(id).is_err());
            if let (true, Some(reason)) = (ids.is_empty(), reason) {
                return Err(Refusal::Told(65, reason));
            }
        }
        let (mut done, mut after_attempt) = (0, 0);
        for piece in ids.chunks(CHANGE_AT_ONCE) {
            let piece = piece.to_vec();
            let changed = self.engine.ask(move |engine, now| change(engine, now, action, &piece)).await?;
            done += changed.done;
            after_attempt += changed.after_attempt;
            for id in changed.ids.iter().filter(|_| each_is_told) {
                answers.item(Item::Changed(ChangedItem { queue_id: id.to_string() })).await?;
            }
        }
        let action = action.as_str();
        info!(
            "operator {who}: {action} {what}: {done} messages, {after_attempt} more after the attempt in \
             flight"
        );
        self.settle().await?;
        Ok(done + after_attempt)
    }

    /// Waits until what was done is durable, so that no crash takes back what an operator was told.
    async fn settle(&self) -> Result<(), Refusal> {
        // A second question is answered only after the effects of the first were carried out.
        self.engine.ask(|_, _| ()).await?;
        let deleted = self.deleted.clone();
        let marked = tokio::task::spawn_blocking(move || deleted.settle());
        marked.await.map_err(|failure| Refusal::Told(70, format!("internal error: {failure}")))?;
        let (reply, written) = oneshot::channel();
        self.spool.settled(Box::new(move |result| {
            // The operator may have left; what was asked is done all the same.
            let _ = reply.send(result);
        }));
        match timeout(SETTLE_MAX, written).await {
            Ok(Ok(Ok(()))) => Ok(()),
            _ => Err(Refusal::Told(
                74,
                "done, but not on the disk yet: the spool's disk fails, or is very slow".to_owned(),
            )),
        }
    }

    async fn undelete(&self, selector: Selector, dry_run: bool, who: &str) -> Result<u64, Refusal> {
        let internal = |failure| Refusal::Told(70, format!("internal error: {failure}"));
        let what = selector.to_string();
        let (deleted, routes) = (self.deleted.clone(), self.routes.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let ids = deleted.selected(&selector, &routes);
            let stored = ids.iter().filter(|_| !dry_run).filter_map(|id| deleted.take_back(*id)).collect();
            (ids.len() as u64, stored)
        });
        let (count, stored): (u64, Vec<qmgr::Stored>) = taken.await.map_err(internal)?;
        if dry_run {
            return Ok(count);
        }
        let count = stored.len() as u64;
        let hand_over =
            |engine: &mut Engine, now| stored.into_iter().for_each(|one| engine.handle_stored(now, one));
        self.engine.ask(hand_over).await?;
        info!("operator {who}: undelete {what}: {count} messages");
        self.settle().await?;
        Ok(count)
    }

    /// Bytes in `corrupt/` become a message again before the engine hears of it. What cannot be restored
    /// stays where it is: which messages these are, and why the last of them.
    async fn take_back_from_corrupt(
        &self,
        ids: &[QueueId],
    ) -> Result<(Vec<QueueId>, Option<String>), Refusal> {
        let spool = self.spool.clone();
        let wanted = ids.to_vec();
        let restore = move || {
            let (mut lost, mut reason) = (Vec::new(), None);
            let wanted = |message: &CorruptMessage| wanted.binary_search(&message.id).is_ok();
            for message in spool.corrupt().into_iter().filter(wanted) {
                if let Err(error) = spool.restore(message.id) {
                    let text = format!("{}: cannot be taken back from corrupt: {error}", message.id);
                    info!("{text}");
                    lost.push(message.id);
                    reason = Some(text);
                }
            }
            (lost, reason)
        };
        tokio::task::spawn_blocking(restore)
            .await
            .map_err(|failure| Refusal::Told(70, format!("internal error: {failure}")))
    }

    async fn flush(
        &self,
        target: FlushTarget,
        who: &str,
        answers: &mut AnswerStream,
    ) -> Result<u64, Refusal> {
        if let FlushTarget::Status {} = target {
            return self.flush_status(answers).await;
        }
        let what = flush_words(&target);
        let noting = matches!(target, FlushTarget::Add { .. });
        let waiting = matches!(target, FlushTarget::Refresh {} | FlushTarget::Purge {});
        let nothing = nothing_done(&target);
        let results = match target {
            FlushTarget::Sites(sites) => self.flush_sites(sites, Authority::Operator).await?,
            FlushTarget::EligibleSites(sites) => self.flush_sites(sites, Authority::User).await?,
            FlushTarget::Add { site, id } => {
                let noted = match flush::Request::parse(&format!("add {site} {id}")) {
                    Ok(add) => {
                        self.engine
                            .ask(move |engine, now| engine.flush(now, Authority::Operator, add))
                            .await?
                    }
                    Err(_) => flush::Answer::refused(Status::Bad),
                };
                vec![(format!("{site} {id}"), noted)]
            }
            FlushTarget::Message(text) => {
                let flushed = match text.parse::<QueueId>() {
                    Ok(id) => self.engine.ask(move |engine, now| engine.flush_message(now, id)).await?,
                    Err(_) => flush::Answer::refused(Status::Bad),
                };
                vec![(text, flushed)]
            }
            FlushTarget::All {} => vec![(String::new(), self.flush_with(Engine::flush_all).await?)],
            FlushTarget::Refresh {} => {
                vec![("refresh".to_owned(), self.flush_with(Engine::flush_refresh).await?)]
            }
            FlushTarget::Purge {} => vec![("purge".to_owned(), self.flush_with(Engine::flush_purge).await?)],
            FlushTarget::Status {} => Vec::new(),
        };
        let left = match waiting {
            true => Some(self.engine.ask(|engine, _| engine.flush_sites_left()).await?),
            false => None,
        };
        let mut released = 0;
        for (target, flushed) in results {
            released += flushed.released.released;
            let mut item = flush_item(target, flushed);
            item.sites_left = left.filter(|left| *left > 0);
            match flushed.status {
                Status::Ok if noting => item.text = Some("on record".to_owned()),
                Status::Fail if noting => item.text = Some("the message does not wait there".to_owned()),
                Status::Ok if flushed.released.total() == 0 && item.sites_left.is_none() => {
                    item.text = nothing.map(str::to_owned)
                }
                _ => {}
            }
            answers.item(Item::Flush(item)).await?;
        }
        info!("operator {who}: {what}: {released} messages");
        Ok(released)
    }

    async fn flush_sites(
        &self,
        sites: Vec<String>,
        authority: Authority,
    ) -> Result<Vec<(String, flush::Answer)>, Stopped> {
        let mut results = Vec::with_capacity(sites.len());
        for site in sites {
            let name = site.clone();
            let flush = move |engine: &mut Engine, now| engine.flush_site(now, &name, authority);
            results.push((site, self.engine.ask(flush).await?));
        }
        Ok(results)
    }

    async fn flush_with(
        &self,
        flush: fn(&mut Engine, Time) -> flush::Answer,
    ) -> Result<flush::Answer, Stopped> {
        self.engine.ask(flush).await
    }

    async fn flush_status(&self, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let rows = self.engine.ask(|engine, _| engine.flush_status()).await?;
        let count = rows.len() as u64;
        for FlushView { site, waiting, eligible, last_sent, to_be_tried } in rows {
            let nothing = flush::Answer::ok(flush::Released::default());
            let item = FlushItem {
                waiting: Some(waiting),
                eligible: Some(eligible),
                last_flushed: last_sent.map(Time::as_secs),
                text: (to_be_tried > 0).then(|| format!("{to_be_tried} still to be tried")),
                ..flush_item(site.to_string(), nothing)
            };
            answers.item(Item::Flush(item)).await?;
        }
        Ok(count)
    }

    async fn why(&self, what: String, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let asked = what.clone();
        let cause = self.engine.ask(move |engine, _| match asked.parse::<QueueId>() {
            Ok(id) => engine.why_message(id),
            Err(_) => engine.why_site(&asked),
        });
        let cause = cause.await?;
        if cause == qmgr::Why::Unknown {
            return Err(Refusal::Told(1, format!("{what}: no such message, and no mail for such a site")));
        }
        answers.item(Item::Why(why::item(what, &cause))).await?;
        Ok(1)
    }

    async fn verify(&self, repair: bool, who: &str, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        info!("operator {who}: verify{}", if repair { " and repair" } else { "" });
        let damaged = show::verify(&self.spool, repair, answers).await?;
        let count = damaged.len() as u64;
        if repair && !damaged.is_empty() {
            // Loading them is how the engine finds out that they are damaged.
            self.engine.ask(move |engine, now| engine.requeue(now, &damaged)).await?;
        }
        Ok(count)
    }

    async fn status(&self, answers: &mut AnswerStream) -> Result<u64, Refusal> {
        let (counts, next) =
            self.engine.ask_early(|engine, _| (engine.counts(), engine.poll_timeout())).await?;
        let health = self.spool.health();
        let status = StatusItem {
            program: super::PROGRAM.to_owned(),
            pid: std::process::id(),
            started: self.facts.started.as_secs(),
            spool: self.facts.spool_directory.clone(),
            listen: self.facts.listen.clone(),
            queues: QueueCounts {
                incoming: counts.incoming,
                active: counts.active,
                deferred: counts.deferred,
                hold: counts.hold,
                corrupt: counts.corrupt,
            },
            deliveries: counts.delivering,
            envelopes_read: health.envelopes_read,
            contents_read: health.contents_read,
            starting: !counts.all_stored,
            accepting: health.accepting,
            reason: health.reason,
            next_event: next.map(|at| at.max(now()).as_secs()),
            totals: Totals {
                found: health.found,
                accepted: health.accepted,
                ended: health.ended,
                stored: health.messages + health.corrupt,
                deleted: self.deleted.count() as u64,
            },
        };
        answers.item(Item::Status(status)).await?;
        Ok(counts.incoming + counts.active + counts.deferred + counts.hold + counts.corrupt)
    }
}

/// What is flushed, as on the command line.
fn flush_words(target: &FlushTarget) -> String {
    match target {
        FlushTarget::Sites(sites) | FlushTarget::EligibleSites(sites) => {
            let sites: Vec<String> = sites.iter().map(|site| site.escape_debug().to_string()).collect();
            format!("flush {}", sites.join(" "))
        }
        FlushTarget::Add { site, id } => {
            format!("flush --add {} {}", id.escape_debug(), site.escape_debug())
        }
        FlushTarget::All {} => "flush --all".to_owned(),
        FlushTarget::Message(id) => format!("flush --message {}", id.escape_debug()),
        FlushTarget::Refresh {} => "flush --refresh".to_owned(),
        FlushTarget::Purge {} => "flush --purge".to_owned(),
        FlushTarget::Status {} => "flush --status".to_owned(),
    }
}

fn change(engine: &mut Engine, now: Time, action: Action, ids: &[QueueId]) -> Changed {
    match action {
        Action::Hold => engine.hold(now, ids),
        Action::Release => engine.release(now, ids),
        Action::Requeue => engine.requeue(now, ids),
        Action::Flush => engine.release_ids(now, ids),
        Action::Delete => engine.delete(now, ids),
        // The engine has forgotten what was deleted.
        Action::Undelete => Changed::default(),
        Action::Expire => engine.expire(now, ids, false),
        Action::ExpireRelease => engine.expire(now, ids, true),
    }
}

/// What it means that a flush concerned no message, where that is not simply that none waits.
fn nothing_done(target: &FlushTarget) -> Option<&'static str> {
    match target {
        FlushTarget::Message(_) => Some("no such message that could be tried"),
        FlushTarget::Refresh {} => Some("nothing has waited for fast_flush_refresh_time"),
        FlushTarget::Purge {} => Some("no mail is waiting for a site of fast_flush_domains"),
        _ => None,
    }
}

fn flush_item(target: String, flushed: flush::Answer) -> FlushItem {
    let (result, text) = match flushed.status {
        Status::Ok => (FlushResult::Ok, None),
        Status::Deny => (FlushResult::Deny, Some("the site is not in fast_flush_domains")),
        Status::Bad => (FlushResult::Bad, Some("neither a domain, an address literal nor a queue id")),
        Status::Fail => (FlushResult::Fail, Some("the engine could not do it, see its log")),
    };
    let flush::Released { released, already_active, on_hold } = flushed.released;
    FlushItem {
        target,
        result,
        released,
        already_active,
        on_hold,
        sites_left: None,
        waiting: None,
        eligible: None,
        last_flushed: None,
        text: text.map(str::to_owned),
    }
}
