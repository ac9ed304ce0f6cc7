//! The one task that owns the engine.
//!
//! Promises: nothing else touches the engine. What happens elsewhere (mail accepted, envelopes read,
//! deliveries ended, operators asking) comes in here, one at a time; what the engine wants is carried out
//! from here, in the engine's order.
//! Refuses: decisions. They are the engine's; the clock and the work behind each effect are here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ingress::Accepted;
use mail::Time;
use qmgr::Engine;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::effects::Effects;
use super::stored::{Piece, named};
use super::work::Happened;

/// Accepted messages that may wait for the engine. When it is full, sessions wait before their `250`:
/// that is the flow control towards clients.
pub(crate) const ACCEPTED_WAITING_MAX: usize = 1024;
/// Questions that may wait for the engine.
const QUESTIONS_WAITING_MAX: usize = 64;
/// Accepted messages that are taken in one go, so that a flood of them cannot keep deliveries waiting.
const ACCEPTED_AT_ONCE: usize = 16;
/// Deliveries that are taken note of in one go, so that those which end as fast as they begin cannot keep
/// everybody else waiting: the one who tells it to stop, an operator, new mail.
const DELIVERIES_AT_ONCE: usize = 64;
/// The engine is asked for the time at least so often while it waits for some instant, so that a machine
/// that slept, or a clock that was set, is noticed.
const NAP_MAX: Duration = Duration::from_secs(60);

type Question = Box<dyn FnOnce(&mut Engine, Time) + Send>;

/// The machine's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How everybody else reaches the engine: with a question that is answered in its task.
#[derive(Clone)]
pub(crate) struct EngineHandle {
    questions: mpsc::Sender<Question>,
    /// What is answered before all mail is known.
    early: mpsc::Sender<Question>,
}

/// The engine has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine is stopping")]
pub(crate) struct Stopped;

impl EngineHandle {
    /// Runs `question` in the engine's task and brings back its answer. It must be short. While the engine
    /// learns what is in its spool, the question waits: every answer is about all mail.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, Time) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        EngineHandle::ask_through(&self.questions, question).await
    }

    /// As [`EngineHandle::ask`], also while the engine does not know all of its mail yet.
    pub(crate) async fn ask_early<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, Time) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        EngineHandle::ask_through(&self.early, question).await
    }

    async fn ask_through<T: Send + 'static>(
        questions: &mpsc::Sender<Question>,
        question: impl FnOnce(&mut Engine, Time) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |engine, now| {
            // Nobody listens any more when the one who asked is gone; what was asked still happened.
            let _ = reply.send(question(engine, now));
        });
        questions.send(question).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Nothing while the engine runs; how long deliveries in flight may take once it is to stop.
pub(crate) type Stop = Option<Duration>;

/// The task and all that it owns.
pub(crate) struct EngineTask {
    engine: Engine,
    effects: Effects,
    accepted: mpsc::Receiver<Accepted>,
    questions: mpsc::Receiver<Question>,
    early: mpsc::Receiver<Question>,
    /// What was in the spool at the start; nothing once all of it is known.
    stored: Option<mpsc::Receiver<Piece>>,
    stop: watch::Receiver<Stop>,
}

impl EngineTask {
    /// A task that is not running yet, and the handle to reach it.
    pub(crate) fn new(
        engine: Engine,
        effects: Effects,
        accepted: mpsc::Receiver<Accepted>,
        stored: mpsc::Receiver<Piece>,
        stop: watch::Receiver<Stop>,
    ) -> (EngineTask, EngineHandle) {
        let (asking, questions) = mpsc::channel(QUESTIONS_WAITING_MAX);
        let (asking_early, early) = mpsc::channel(QUESTIONS_WAITING_MAX);
        let task = EngineTask { engine, effects, accepted, questions, early, stored: Some(stored), stop };
        (task, EngineHandle { questions: asking, early: asking_early })
    }

    /// Runs until told to stop, then ends what is in flight within bounds and gives the engine back.
    pub(crate) async fn run(mut self) -> Engine {
        let mut arrivals = Vec::with_capacity(ACCEPTED_AT_ONCE);
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        loop {
            self.note_deliveries();
            self.effects.carry_out(&mut self.engine, now());
            let wanted = self.nap();
            if let Some(nap) = wanted {
                timer.as_mut().reset(Instant::now() + nap);
            }
            tokio::select! {
                Some(happened) = self.effects.next_happened() => self.happened(happened),
                _ = self.accepted.recv_many(&mut arrivals, ACCEPTED_AT_ONCE) => {
                    let now = now();
                    let effects = &mut self.effects;
                    arrivals.drain(..).for_each(|accepted| effects.arrive(&mut self.engine, now, accepted));
                }
                Some(question) = self.early.recv() => question(&mut self.engine, now()),
                Some(question) = self.questions.recv(), if self.stored.is_none() => {
                    question(&mut self.engine, now());
                }
                piece = next_piece(&mut self.stored), if self.stored.is_some() => self.learn(piece),
                () = &mut timer, if wanted.is_some() => self.engine.handle_timeout(now()),
                grace = told_to_stop(&mut self.stop) => return self.wind_down(grace).await,
            }
        }
    }

    /// How long there is nothing to do unless something happens; nothing when there is nothing else to wait
    /// for.
    fn nap(&self) -> Option<Duration> {
        let engine = self.engine.poll_timeout().map(|at| at.since(now()).min(NAP_MAX));
        engine.into_iter().chain(self.effects.comes_back_in()).min()
    }

    /// What was in the spool, piece by piece.
    fn learn(&mut self, piece: Option<Piece>) {
        let complete = piece.is_none();
        self.effects.note_stored(&mut self.engine, now(), piece);
        if complete {
            self.stored = None;
            info!("all mail of the queue is known");
        }
    }

    /// Starts nothing new; waits for what is in flight, and for messages that were acknowledged while
    /// the listeners closed.
    async fn wind_down(mut self, grace: Duration) -> Engine {
        self.engine.stop(now());
        let deadline = Instant::now() + grace;
        info!("stopping: {} deliveries in flight", self.engine.counts().delivering);
        while self.effects.is_busy() {
            self.note_deliveries();
            self.effects.carry_out(&mut self.engine, now());
            tokio::select! {
                Some(happened) = self.effects.next_happened() => self.happened(happened),
                Some(question) = self.early.recv() => question(&mut self.engine, now()),
                Some(question) = self.questions.recv() => question(&mut self.engine, now()),
                () = sleep_until(deadline) => {
                    let left = self.effects.abandon();
                    warn!(
                        "stopped before {} deliveries ended; recipients may get a second copy: {}",
                        left.len(),
                        named(&left)
                    );
                    break;
                }
            }
        }
        self.effects.carry_out(&mut self.engine, now());
        self.engine
    }

    fn happened(&mut self, happened: Happened) {
        self.effects.note_happened(&mut self.engine, now(), happened);
    }

    /// Whatever is done next, the deliveries that have ended go on record before it.
    fn note_deliveries(&mut self) {
        for _ in 0..DELIVERIES_AT_ONCE {
            let Some(delivery) = self.effects.try_next_delivery() else { return };
            self.happened(delivery);
        }
    }
}

/// The next piece of what was in the spool; nothing when all of it is known.
async fn next_piece(stored: &mut Option<mpsc::Receiver<Piece>>) -> Option<Piece> {
    stored.as_mut()?.recv().await
}

/// Waits for the word to stop, and says how long that may take. Whoever could tell being gone counts as being
/// told, to stop at once.
async fn told_to_stop(stop: &mut watch::Receiver<Stop>) -> Duration {
    stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop).unwrap_or_default()
}
