//! From a delivery that the engine wants to the agent that carries it out.
//!
//! Promises: every delivery comes back as a report with one outcome for each recipient; a message that
//! cannot be read is a deferral of that message, nothing more.
//! Refuses: choosing when or where to; that was the engine and the routing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use delivery::{Agents, Job, Kind, Report, Timing, TransportConfig};
use mail::{EnhancedStatus, Envelope, Outcome, Scope};
use qmgr::Delivery;
use spool::{Body, ReadError, Spool};

use super::work::Happened;

/// The transports in force, by name.
pub(crate) type Transports = BTreeMap<Arc<str>, Arc<TransportConfig>>;

/// See the module.
pub(crate) struct Deliveries {
    pub(crate) spool: Arc<Spool>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) transports: Arc<ArcSwap<Transports>>,
}

impl Deliveries {
    /// The work of one delivery. Without the envelope it is read from the spool.
    pub(crate) fn carry_out(
        &self,
        delivery: Delivery,
        envelope: Option<Arc<Envelope>>,
    ) -> impl Future<Output = Happened> + Send + use<> {
        let (spool, agents) = (self.spool.clone(), self.agents.clone());
        let transport = self.transport(&delivery.transport);
        async move {
            let (number, id) = (delivery.number, delivery.id);
            let positions = delivery.recipients.to_vec();
            let report = match content(spool, &delivery, envelope).await {
                Ok((envelope, body)) => {
                    agents
                        .deliver(Job {
                            id,
                            number: number.0,
                            transport,
                            nexthop: delivery.nexthop.into(),
                            envelope,
                            recipients: positions.clone(),
                            body,
                        })
                        .await
                }
                Err(ContentError::Damaged(reason)) => return Happened::Damaged { number, id, reason },
                Err(ContentError::Trouble(text)) => not_begun(text, positions.len()),
            };
            Happened::Delivered { number, id, positions, report }
        }
    }

    /// Whether a transport delivers on this machine, to mailboxes or programs.
    pub(crate) fn are_local(&self, transport: &str) -> bool {
        let known = self.transports.load().get(transport).map(|transport| transport.kind.clone());
        matches!(known, Some(Kind::Maildir | Kind::Pipe))
    }

    fn transport(&self, name: &Arc<str>) -> Arc<TransportConfig> {
        let known = self.transports.load().get(name).cloned();
        known.unwrap_or_else(|| Arc::new(TransportConfig::new(name, Kind::Unknown(name.to_string()))))
    }
}

async fn content(
    spool: Arc<Spool>,
    delivery: &Delivery,
    envelope: Option<Arc<Envelope>>,
) -> Result<(Arc<Envelope>, Body), ContentError> {
    let id = delivery.id;
    let at_hand = envelope.as_ref().and_then(|_| spool.body_at_hand(id));
    if let (Some(envelope), Some(body)) = (&envelope, at_hand) {
        // The common way: new mail, or read not long ago. No thread to wake.
        return Ok((envelope.clone(), body));
    }
    let read = move || -> Result<(Arc<Envelope>, Body), ReadError> {
        let envelope = match envelope {
            Some(envelope) => envelope,
            None => spool.read(id)?.envelope,
        };
        Ok((envelope, spool.body(id)?))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(content)) => Ok(content),
        Ok(Err(ReadError::Corrupt { reason })) => Err(ContentError::Damaged(reason)),
        Ok(Err(error)) => Err(ContentError::Trouble(format!("queue file read error: {error}"))),
        Err(failure) => Err(ContentError::Trouble(format!("internal error: {failure}"))),
    }
}

/// Why there is nothing to deliver.
enum ContentError {
    /// The message is in `corrupt` now.
    Damaged(String),
    /// Trying again may help.
    Trouble(String),
}

/// The report of a delivery for which there was nothing to deliver.
fn not_begun(text: String, recipients: usize) -> Report {
    let outcome = Outcome::deferred(Scope::Message, EnhancedStatus::new(4, 3, 0), text);
    Report {
        outcomes: vec![outcome; recipients],
        timing: Timing::default(),
        reused: 0,
        doubtful: 0,
        dsn: false,
    }
}
